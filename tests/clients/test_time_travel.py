"""Versions by the times at which they were really committed, and what another Delta engine says of the same times."""

import datetime
import os
import pathlib

import adbc_driver_manager
import pytest
from deltalake import DeltaTable

TOO_EARLY = "has no version of .*; its first known version is of "
MICROSECOND = datetime.timedelta(microseconds=1)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def cursor(stopped, location):
    with stopped.start().connect() as connection, connection.cursor() as cursor:
        yield cursor


def rows(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchall()


def entry(location, version):
    return pathlib.Path(location, "_delta_log", f"{version:020}.json")


def wait_for_the_next_millisecond(location, version):
    """Other engines know times of commits in milliseconds: two commits in one would be one time to them. The
    clock of files may be coarser, so a file is asked."""
    probe = pathlib.Path(location).with_name("now")
    committed = entry(location, version).stat().st_mtime_ns // 1_000_000
    probe.touch()
    while probe.stat().st_mtime_ns // 1_000_000 <= committed:
        probe.touch()


@pytest.fixture
def versions(cursor, location):
    """Six versions of the table t, each with other rows: what each holds, and when it was committed."""
    content = {}
    for version, statement in enumerate(
        [
            f"CREATE TABLE t (a BIGINT, b VARCHAR) LOCATION '{location}'",
            "INSERT INTO t VALUES (1, 'one'), (2, 'two')",
            "INSERT INTO t VALUES (3, NULL)",
            "UPDATE t SET b = 'TWO' WHERE a = 2",
            "DELETE FROM t WHERE a = 1",
            "INSERT OVERWRITE t VALUES (9, 'nine')",
        ]
    ):
        cursor.execute(statement)
        content[version] = rows(cursor, "SELECT a, b FROM t ORDER BY a")
        wait_for_the_next_millisecond(location, version)
    assert len(set(map(str, content.values()))) == len(content), "each version can be told by its rows"
    return content, times(cursor)


def times(cursor):
    """When each version was committed, as DESCRIBE HISTORY says."""
    history = {row[0]: row[1] for row in rows(cursor, "DESCRIBE HISTORY t")}
    return [history[version] for version in sorted(history)]


def moments(times, digits=6):
    """Moments of each version: that of its commit, some until the next one, and for the newest long after. So many
    digits of a second are known of times."""
    unit = 10 ** (6 - digits)
    for version, (this, following) in enumerate(zip(times, times[1:] + [times[-1] + DAY])):
        last = following.replace(microsecond=following.microsecond // unit * unit) - MICROSECOND
        for moment in (this, this + (last - this) / 2, last):
            yield version, moment


def at(moment):
    return f"TIMESTAMP AS OF '{moment.isoformat()}'"


def test_a_time_is_the_newest_version_that_was_there_then(cursor, location, versions):
    content, committed = versions
    assert len(committed) == 6 and committed == sorted(set(committed))
    for version, moment in moments(committed):
        assert rows(cursor, f"SELECT a, b FROM t {at(moment)} ORDER BY a") == content[version], (version, moment)


def test_another_engine_has_the_same_version_at_a_time(cursor, location, versions):
    content, committed = versions
    for version, moment in moments(committed, digits=3):
        theirs = DeltaTable(location)
        theirs.load_as_version(moment)
        assert theirs.version() == version, moment
        ours = rows(cursor, f"SELECT a, b FROM t {at(moment)} ORDER BY a")
        assert ours == [(row["a"], row["b"]) for row in theirs.to_pyarrow_table().sort_by("a").to_pylist()]


def test_a_time_before_the_first_version_is_refused(cursor, location, versions):
    content, committed = versions
    early = committed[0] - MICROSECOND
    for statement in (f"SELECT a FROM t {at(early)}", f"RESTORE TABLE t TO {at(early)}"):
        with pytest.raises(adbc_driver_manager.Error, match=TOO_EARLY) as error:
            cursor.execute(statement)
        assert error.value.status_code == adbc_driver_manager.AdbcStatusCode.INVALID_ARGUMENT
    assert times(cursor) == committed, "nothing was committed"
    assert rows(cursor, "SELECT a, b FROM t") == content[5]


def test_a_time_is_written_in_any_zone_and_to_any_digit(cursor, location, versions):
    content, committed = versions
    expected = content[2]
    moment = committed[2]
    plus_two = datetime.timezone(datetime.timedelta(hours=2))
    utc = moment.astimezone(datetime.timezone.utc)
    for text in (
        utc.isoformat().replace("+00:00", "Z"),
        utc.strftime("%Y-%m-%d %H:%M:%S.%f"),  # without a zone it is UTC
        utc.strftime("%Y-%m-%dT%H:%M:%S.%f999"),  # what is finer than a microsecond is cut off
        moment.astimezone(plus_two).isoformat(),
    ):
        assert rows(cursor, f"SELECT a, b FROM t TIMESTAMP AS OF '{text}' ORDER BY a") == expected, text


def test_restore_to_a_time_brings_the_rows_of_then(cursor, location, versions):
    content, committed = versions
    # Not in their order, and what was restored is itself a version that a time names.
    for version in (1, 4, 0, 3, 5):
        cursor.execute(f"RESTORE TABLE t TO {at(committed[version + 1] - MICROSECOND if version < 5 else committed[5])}")
        newest = cursor.fetchall()[0][0]
        assert newest == DeltaTable(location).version()
        assert rows(cursor, "SELECT a, b FROM t ORDER BY a") == content[version]
        theirs = DeltaTable(location).to_pyarrow_table().sort_by("a").to_pylist()
        assert [(row["a"], row["b"]) for row in theirs] == content[version]
        assert rows(cursor, f"SELECT a, b FROM t {at(times(cursor)[newest])} ORDER BY a") == content[version]
    assert times(cursor)[:6] == committed, "what was is still there"


def test_restore_to_a_time_brings_the_columns_and_constraints_of_then(cursor, location, versions):
    content, committed = versions
    cursor.execute("ALTER TABLE t ADD COLUMN c INT")
    cursor.execute("ALTER TABLE t ADD CONSTRAINT big CHECK (a > 8)")
    cursor.execute("INSERT INTO t VALUES (10, 'ten', 10)")
    with_both = times(cursor)[-1]
    cursor.execute(f"SELECT * FROM t {at(committed[5])}")
    assert [column[0] for column in cursor.description] == ["a", "b"]
    cursor.execute(f"RESTORE TABLE t TO {at(committed[5])}")
    cursor.execute("INSERT INTO t VALUES (7, 'seven')")
    assert rows(cursor, "SELECT * FROM t ORDER BY a") == [(7, "seven"), (9, "nine")]
    cursor.execute(f"RESTORE TABLE t TO {at(with_both)}")
    with pytest.raises(adbc_driver_manager.Error, match="violates CHECK 'big'"):
        cursor.execute("INSERT INTO t VALUES (7, 'seven', 7)")
    assert rows(cursor, "SELECT * FROM t ORDER BY a") == [(9, "nine", None), (10, "ten", 10)]


def test_a_clock_that_went_back_takes_no_version_away(cursor, location, versions):
    """Version 3 has an earlier time than version 2, which somebody with another clock had written. It counts as
    written just after version 2, so that times are in the order of versions."""
    content, _ = versions
    noon = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.timezone.utc)
    hours = {0: 0, 1: 1, 2: 5, 3: 2, 4: 6, 5: 7}
    for version, hour in hours.items():
        moment = (noon + datetime.timedelta(hours=hour)).timestamp()
        os.utime(entry(location, version), (moment, moment))
    seen = times(cursor)
    assert seen == sorted(set(seen))
    for hour, version in {0: 0, 1: 1, 2.5: 1, 4.5: 1, 5: 2, 5.5: 3, 6: 4, 6.5: 4, 7: 5}.items():
        moment = noon + datetime.timedelta(hours=hour)
        assert rows(cursor, f"SELECT a, b FROM t {at(moment)} ORDER BY a") == content[version], hour
        theirs = DeltaTable(location)
        theirs.load_as_version(moment)
        assert theirs.version() == version
