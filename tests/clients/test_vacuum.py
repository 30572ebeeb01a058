"""VACUUM beside readers: files that a stream, a ticket or a transaction has still to read stay until it is over, and go then."""

import os
import pathlib
import time

import adbc_driver_flightsql.dbapi as flight_sql
import pyarrow as pa
import pyarrow.compute
import pytest
from deltalake import DeltaTable

# Many times what a driver and the connection hold of a stream: most files are opened only when the rest is fetched.
FILES = 24
ROWS_OF_A_FILE = 10_000
ROWS = FILES * ROWS_OF_A_FILE
WIDE = "whimbrel" * 64

# Batches that the driver asks for before they are read.
ONE_BATCH = {"adbc.rpc.result_queue_size": "1"}

# Everything that no version needs may go at once, however young it is.
AT_ONCE = "'delta.deletedFileRetentionDuration' = 'interval 0 hours', 'delta.autoOptimize.autoCompact' = 'false'"


@pytest.fixture
def server(stopped, location):
    return stopped.start()


@pytest.fixture
def cursor(cursor, location):
    fill(cursor, location)
    return cursor


def fill(cursor, location):
    """Makes a table t of many files, in which n is every number once."""
    cursor.execute(f"CREATE TABLE t (n BIGINT, changes INT, wide VARCHAR) LOCATION '{location}' TBLPROPERTIES ({AT_ONCE})")
    for first in range(0, ROWS, ROWS_OF_A_FILE):
        n = pa.array(range(first, first + ROWS_OF_A_FILE), pa.int64())
        rows = {"n": n, "changes": pa.repeat(pa.scalar(0, pa.int32()), len(n)), "wide": pa.repeat(WIDE, len(n))}
        cursor.adbc_ingest("t", pa.table(rows), mode="append")
    assert len(needed(location)) == FILES


def files(location):
    """The data files that are there."""
    return {path.name for path in pathlib.Path(location).glob("*.parquet")}


def needed(location):
    """The data files of the newest version, as another engine reads its log."""
    return {os.path.basename(uri) for uri in DeltaTable(location).file_uris()}


def vacuum(cursor, how):
    cursor.execute(f"VACUUM t {how} RETAIN 0 HOURS")
    cursor.fetchall()


def vacuum_until(cursor, how, location, expected):
    """Vacuums until just these files are there: a statement is over for its client a moment before it is for the
    server. None of them may ever be missing."""
    last = time.monotonic() + 60
    while True:
        vacuum(cursor, how)
        there = files(location)
        if there == expected:
            return
        assert expected < there, f"missing: {expected - there}"
        assert time.monotonic() < last, f"still there: {len(there - expected)} files"
        time.sleep(0.05)


def rows_read_of(cursor, marked):
    """How far a running statement is that has a mark in its text."""
    cursor.execute(
        f"SELECT state, rows_read FROM system.queries WHERE sql LIKE '%{marked}%' AND sql NOT LIKE '%system.queries%'"
    )
    ((state, rows_read),) = cursor.fetchall()
    assert state == "RUNNING"
    return rows_read


def check_rows(table, changes):
    """Every row once, and as it was at the version."""
    assert table.num_rows == ROWS
    assert pa.compute.count_distinct(table["n"]).as_py() == ROWS
    assert pa.compute.sum(table["n"]).as_py() == ROWS * (ROWS - 1) // 2
    assert table["changes"].unique().to_pylist() == [changes]
    assert table["wide"].unique().to_pylist() == [WIDE]


@pytest.mark.parametrize("how", ["LITE", "FULL"])
def test_a_stream_half_read_and_a_ticket_not_fetched_find_their_files(server, cursor, location, how):
    of_ticket = needed(location)
    with server.connect() as waiting, server.connect() as reading:
        with waiting.cursor() as ticket, reading.cursor() as stream:
            # A plan that waits for its client, of the version before every row was changed.
            (partition,), _ = ticket.adbc_execute_partitions("SELECT n, changes, wide FROM t")
            cursor.execute("UPDATE t SET changes = changes + 1")
            of_stream = needed(location)
            stream.adbc_statement.set_options(**ONE_BATCH)
            stream.execute("SELECT n, changes, wide AS streamed FROM t")
            batches = stream.fetch_record_batch()
            began = [batches.read_next_batch()]

            cursor.execute("UPDATE t SET changes = changes + 1")
            in_between = needed(location)
            cursor.execute("DELETE FROM t WHERE n % 2 = 0")
            cursor.execute("OPTIMIZE t")
            newest = needed(location)
            assert not of_ticket & of_stream and not of_stream & in_between and not in_between & newest
            # Nobody reads what was in between.
            vacuum_until(cursor, how, location, of_ticket | of_stream | newest)
            assert rows_read_of(cursor, "AS streamed") < ROWS / 2, "the stream has most of its files still to open"

            rest = pa.Table.from_batches(began + list(batches)).rename_columns(["n", "changes", "wide"])
            check_rows(rest, changes=1)
        vacuum_until(cursor, how, location, of_ticket | newest)
        with waiting.cursor() as ticket:
            ticket.adbc_read_partition(partition)
            check_rows(ticket.fetch_arrow_table(), changes=0)
    vacuum_until(cursor, how, location, newest)
    cursor.execute("SELECT count(*), min(changes), max(changes) FROM t")
    assert cursor.fetchall() == [(ROWS // 2, 2, 2)]


def test_a_transaction_keeps_the_version_that_it_reads(server, cursor, location):
    """Its reads are repeatable, so that what it has looked at stays also while nothing runs."""
    url = server.url.replace("grpc://", "grpc+tcp://")
    with flight_sql.connect(url) as transaction, transaction.cursor() as looking:
        looking.execute("SELECT count(*) FROM t")
        assert looking.fetchall() == [(ROWS,)]
        of_transaction = needed(location)
        cursor.execute("UPDATE t SET changes = changes + 1")
        newest = needed(location)
        vacuum_until(cursor, "FULL", location, of_transaction | newest)
        looking.execute("SELECT n, changes, wide FROM t")
        check_rows(looking.fetch_arrow_table(), changes=0)
        transaction.rollback()
        vacuum_until(cursor, "FULL", location, newest)


def test_a_stream_that_its_client_has_closed_keeps_nothing(server, cursor, location):
    with server.connect() as reading, reading.cursor() as closed:
        closed.adbc_statement.set_options(**ONE_BATCH)
        closed.execute("SELECT n, changes, wide FROM t")
        assert next(iter(closed.fetch_record_batch())).num_rows > 0
        cursor.execute("UPDATE t SET changes = changes + 1")
    vacuum_until(cursor, "LITE", location, needed(location))


@pytest.mark.parametrize("how", ["LITE", "FULL"])
def test_changes_that_wait_to_be_read_find_their_files(server, connection, location, how):
    """They are in files that the newest version has no more: of versions in between, and of the feed."""
    with connection.cursor() as cursor, server.connect() as waiting, waiting.cursor() as ticket:
        cursor.execute(
            f"CREATE TABLE t (n BIGINT) LOCATION '{location}' TBLPROPERTIES ({AT_ONCE}, 'delta.enableChangeDataFeed' = 'true')"
        )
        cursor.execute("INSERT INTO t VALUES (1), (2), (3)")
        cursor.execute("UPDATE t SET n = n + 10 WHERE n > 1")
        cursor.execute("INSERT OVERWRITE t VALUES (7)")
        changes = "SELECT n, _change_type, _commit_version FROM table_changes('t', 0) ORDER BY 3, 2, 1"
        cursor.execute(changes)
        expected = cursor.fetch_arrow_table()
        assert expected.num_rows == 3 + 4 + 4
        (partition,), _ = ticket.adbc_execute_partitions(changes)
        cursor.execute("INSERT OVERWRITE t VALUES (8)")
        vacuum(cursor, how)
        ticket.adbc_read_partition(partition)
        assert ticket.fetch_arrow_table() == expected
        vacuum_until(cursor, how, location, needed(location))
        feed = list(pathlib.Path(location, "_change_data").glob("*.parquet"))
        assert len(feed) == (0 if how == "FULL" else 1), "FULL takes the feed as well"
