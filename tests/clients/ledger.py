"""Who changed which rows of one table, what each was told of it, and whether the table agrees.

The table is `t (id BIGINT, n BIGINT, trail VARCHAR)`. Every statement has a number, and leaves it behind
its predecessors' in the trail of each row that it writes; `n` counts them. So the rows tell at the end which
statements took effect, and how often.
"""

import collections
import dataclasses
import enum
import itertools
import os
import random
import re
import threading

import adbc_driver_manager
import s3
from deltalake import DeltaTable
from server import Server

CREATE = "CREATE TABLE t (id BIGINT, n BIGINT, trail VARCHAR)"
# The row that everybody changes. Every other row has one owner; those of another engine are below zero.
SHARED = 0


def seeds(variable: str) -> list[int]:
    """`0..20` or `7` in this variable of the environment; otherwise the one that is always run."""
    first, _, end = os.environ.get(variable, "1").partition("..")
    return list(range(int(first), int(end or int(first) + 1)))


class Told(enum.Enum):
    DONE = "done"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclasses.dataclass
class Statement:
    """What it does, in this order, and what its sender was told."""

    number: int
    inserts: tuple[int, ...] = ()
    marks: tuple[int, ...] = ()
    deletes: tuple[int, ...] = ()
    # It marks all rows of another engine that it sees, too.
    sweeps: bool = False
    # Moments of one clock for all.
    sent: int = 0
    ended: int = 0
    told: Told = Told.UNKNOWN

    def left_something(self, found: dict[int, list[int]]) -> bool:
        wrote = any(self.number in trail for trail in found.values())
        # Nobody touches a row whose deletion has an unknown outcome.
        deleted = bool(self.deletes) and not found.keys() & set(self.deletes)
        return wrote or deleted


class Ledger:
    """All statements of all sessions."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.statements: list[Statement] = []
        self.clock = itertools.count(1)
        self.counts: collections.Counter[str] = collections.Counter()

    def begin(self, statement: Statement) -> None:
        with self.lock:
            statement.sent = next(self.clock)
            self.statements.append(statement)

    def end(self, statement: Statement, what: str, told: Told) -> None:
        with self.lock:
            statement.ended = next(self.clock)
            statement.told = told
            self.counts[f"{what} {told.value}"] += 1

    def count(self, what: str) -> None:
        with self.lock:
            self.counts[what] += 1

    def create(self, server: Server, location: str) -> None:
        """The table, with the row that everybody changes."""
        rows(server, f"{CREATE} LOCATION '{location}'")
        rows(server, f"INSERT INTO t VALUES ({SHARED}, 1, '0')")
        self.statements.append(Statement(0, inserts=(SHARED,), told=Told.DONE))

    def discrepancies(self, rows: list[tuple[int, int, str]]) -> list[str]:
        """Where the rows at the end are not what the statements have to leave."""
        wrong = []
        found: dict[int, list[int]] = {}
        for id, n, trail in rows:
            marks = [int(mark) for mark in trail.split()]
            if id in found:
                wrong.append(f"row {id} is there twice")
            if len(set(marks)) != len(marks) or n != len(marks):
                wrong.append(f"row {id} was changed twice by one statement: {n}, {trail}")
            found[id] = marks
        took = [s for s in self.statements if s.told is Told.DONE or (s.told is Told.UNKNOWN and s.left_something(found))]
        expected = self.replayed(took)
        for id in sorted(expected.keys() | found.keys()):
            if id not in found:
                wrong.append(f"row {id} is lost: {expected[id].of_owner}")
            elif id not in expected:
                wrong.append(f"row {id} should not be there: {found[id]}")
            elif not expected[id].agrees(found[id]):
                wrong.append(f"row {id} is {found[id]} and should be {expected[id]}")
        return wrong

    def replayed(self, took: list[Statement]) -> dict[int, "Expected"]:
        rows: dict[int, Expected] = {}
        born: dict[int, Statement] = {}
        for statement in sorted(took, key=lambda s: s.sent):
            for id in statement.inserts:
                rows[id] = Expected([statement.number])
                born[id] = statement
            for id in statement.marks:
                rows[id].of_owner.append(statement.number)
            for id in statement.deletes:
                del rows[id]
        for sweep in (s for s in took if s.sweeps):
            for id in rows:
                if id >= 0 or sweep.ended < born[id].sent:
                    continue
                # Of what was there before it, it misses nothing.
                surely = sweep.told is Told.DONE and born[id].told is Told.DONE and born[id].ended < sweep.sent
                (rows[id].of_sweeps if surely else rows[id].perhaps).add(sweep.number)
        if SHARED in rows:
            rows[SHARED].of_many = True
        return rows


@dataclasses.dataclass
class Expected:
    """What the trail of a row has to be."""

    of_owner: list[int]
    of_sweeps: set[int] = dataclasses.field(default_factory=set)
    perhaps: set[int] = dataclasses.field(default_factory=set)
    # Many change it, and nobody knows in which order.
    of_many: bool = False

    def agrees(self, trail: list[int]) -> bool:
        swept = self.of_sweeps | self.perhaps
        own = [mark for mark in trail if mark not in swept]
        if self.of_many:
            return sorted(own) == sorted(self.of_owner)
        return own == self.of_owner and self.of_sweeps <= set(trail)


class Session:
    """A client of a Whimbrel server, which changes the shared row and rows of its own."""

    def __init__(self, number: int, server: Server, ledger: Ledger, seed: int, *, sweeps: bool = False) -> None:
        self.server, self.ledger, self.sweeps = server, ledger, sweeps
        self.chance = random.Random(seed * 1_000 + number)
        self.numbers = itertools.count(number * 1_000 + 1)
        # Rows of its own that are there for sure.
        self.known: list[int] = []
        self.steps: list = []

    def run(self, statements: int) -> None:
        with self.server.connect() as connection, connection.cursor() as cursor:
            self.cursor = cursor
            for _ in range(statements):
                self.step()

    def step(self) -> None:
        if len(self.known) < 3:
            return self.insert()
        if not self.steps:
            # Dealt like cards, so that no kind is missing.
            self.steps = [self.insert, self.insert, self.update, self.update, self.merge, self.merge, self.delete]
            self.chance.shuffle(self.steps)
        return self.steps.pop()()

    def insert(self) -> None:
        number = next(self.numbers)
        new = self.new(number, self.chance.randint(1, 3))
        values = ", ".join(f"({id}, 1, '{number}')" for id in new)
        self.send("INSERT", f"INSERT INTO t VALUES {values}", Statement(number, inserts=new), len(new))

    def update(self) -> None:
        number = next(self.numbers)
        ids = (SHARED, self.chance.choice(self.known))
        sweeps = self.sweeps and self.chance.random() < 0.5
        sql = f"UPDATE t SET n = n + 1, trail = trail || ' {number}' WHERE id IN {ids}" + (" OR id < 0" if sweeps else "")
        statement = Statement(number, marks=ids, sweeps=sweeps)
        self.send("UPDATE", sql, statement, None if sweeps else len(ids))

    def merge(self) -> None:
        number = next(self.numbers)
        # Half of the time it is no other row than its own that it finds.
        shared = self.chance.choice([(), (SHARED,)])
        marks = (*shared, self.chance.choice(self.known))
        new = self.new(number, 1)
        values = ", ".join(f"({id})" for id in (*marks, *new))
        sql = (
            f"MERGE INTO t USING (VALUES {values}) AS s (id) ON t.id = s.id"
            f" WHEN MATCHED THEN UPDATE SET n = t.n + 1, trail = t.trail || ' {number}'"
            f" WHEN NOT MATCHED THEN INSERT (id, n, trail) VALUES (s.id, 1, '{number}')"
        )
        self.send("MERGE", sql, Statement(number, inserts=new, marks=marks), len(marks) + len(new))

    def delete(self) -> None:
        number = next(self.numbers)
        ids = tuple(self.chance.sample(self.known, 2))
        self.send("DELETE", f"DELETE FROM t WHERE id IN {ids}", Statement(number, deletes=ids), len(ids))

    @staticmethod
    def new(number: int, count: int) -> tuple[int, ...]:
        return tuple(number * 10 + n for n in range(count))

    def send(self, what: str, sql: str, statement: Statement, rows: int | None) -> None:
        self.ledger.begin(statement)
        try:
            self.cursor.execute(sql)
            ((changed,),) = self.cursor.fetchall()
            assert rows in (None, changed), f"{sql} changed {changed} rows"
            told = Told.DONE
        except adbc_driver_manager.Error as error:
            told = told_by(error)
        self.ledger.end(statement, what, told)
        if told is Told.DONE:
            self.known += statement.inserts
        if told is not Told.REFUSED:
            self.known = [id for id in self.known if id not in statement.deletes]


def rows(server: Server, sql: str) -> list[tuple]:
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def is_in_order(server: Server, location: str, options: dict[str, str], left: list[tuple]) -> None:
    """Log and files of the table agree, and another engine reads the same rows."""
    theirs = DeltaTable(location, storage_options=options)
    read = theirs.to_pyarrow_table().sort_by("id").to_pylist()
    assert [(row["id"], row["n"], row["trail"]) for row in read] == left
    names = s3.names(f"{location}/_delta_log") if location.startswith("s3://") else os.listdir(f"{location}/_delta_log")
    versions = sorted(int(name[:20]) for name in names if re.fullmatch(r"\d{20}\.json", name))
    assert versions == list(range(theirs.version() + 1))
    for severity, check, *finding in rows(server, "VALIDATE TABLE t"):
        # Files of tries that came to nothing stay where their writer could not, or does not, delete them.
        assert severity == "ok" or check == "orphans", (check, finding)


def told_by(error: adbc_driver_manager.Error) -> Told:
    text = str(error)
    if "it is not known whether version" in text:
        return Told.UNKNOWN
    if re.search(r"version \d+ .* is committed; do not run the statement again", text):
        return Told.DONE
    # Lost against others, or the store is out of reach: neither is a defect, and neither has any effect.
    sqlstates = [value for name, value in error.details if name == b"sqlstate"]
    assert sqlstates in ([b"40001"], [b"58030"]), text
    return Told.REFUSED
