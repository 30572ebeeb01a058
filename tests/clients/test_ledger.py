"""The ledger, which judges the tests of many writers, sees each kind of mistake."""

import pytest
from ledger import SHARED, Ledger, Statement, Told

RIGHT = {
    SHARED: "0 2001 1002 1006",
    10010: "1001 1002",
    10060: "1006",
    -110010: "11001 1006",
}
MISTAKES = {
    "what was done is lost": {SHARED: "0 2001 1006", 10010: "1001"},
    "a part of it is lost": {10010: "1001"},
    "a row is lost": {10010: None},
    "a deleted row came back": {10011: "1001"},
    "what was refused took effect": {10010: "1001 1002 1003"},
    "it took effect twice": {10010: "1001 1002 1002"},
    "a row of the unknown is there without the other": {10050: "1005"},
    "an update of another engine's row is lost": {-110010: "11001"},
    "a row of another engine is lost": {-110010: None},
    "a row that another engine deleted came back": {-110011: "11001 1006"},
    "a row is nobody's": {77: "7"},
}


def ledger() -> Ledger:
    ledger = Ledger()
    for statement, told in (
        (Statement(0, inserts=(SHARED,)), Told.DONE),
        (Statement(11001, inserts=(-110010, -110011)), Told.DONE),
        (Statement(11002, deletes=(-110011,)), Told.DONE),
        (Statement(1001, inserts=(10010, 10011)), Told.DONE),
        (Statement(1002, marks=(SHARED, 10010)), Told.DONE),
        (Statement(2001, marks=(SHARED,)), Told.DONE),
        (Statement(1003, marks=(10010,)), Told.REFUSED),
        (Statement(1004, deletes=(10011,)), Told.DONE),
        (Statement(1005, inserts=(10050, 10051)), Told.UNKNOWN),
        (Statement(1006, inserts=(10060,), marks=(SHARED,), sweeps=True), Told.DONE),
    ):
        ledger.begin(statement)
        ledger.end(statement, "statement", told)
    return ledger


def judged(table: dict[int, str | None]) -> list[str]:
    return ledger().discrepancies([(id, len(trail.split()), trail) for id, trail in table.items() if trail])


def test_what_was_told_is_right_whether_or_not_the_unknown_took_effect():
    assert judged(RIGHT) == []
    assert judged(RIGHT | {10050: "1005", 10051: "1005"}) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_seen(mistake):
    assert judged(RIGHT | MISTAKES[mistake])


def test_a_row_that_is_there_twice_is_seen():
    twice = [(id, len(trail.split()), trail) for id, trail in RIGHT.items()]
    assert ledger().discrepancies([*twice, twice[1]])
