"""Whimbrel and another Delta engine, the Python package deltalake, on the same tables."""

import datetime
import decimal
import json
import pathlib
import re

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake


@pytest.fixture
def cursor(stopped, location):
    with stopped.start().connect() as connection, connection.cursor() as cursor:
        yield cursor


def rows(cursor, sql):
    cursor.execute(sql)
    return cursor.fetchall()


def read(location):
    return DeltaTable(location).to_pyarrow_table()


def transactions(location):
    """Application transactions in the log: name and number of each."""
    for commit in sorted(pathlib.Path(location, "_delta_log").glob("*.json")):
        for line in commit.read_text().splitlines():
            if transaction := json.loads(line).get("txn"):
                yield transaction["appId"], transaction["version"]


def test_what_another_engine_writes_is_seen_by_the_next_statement(cursor, location):
    write_deltalake(location, pa.table({"a": pa.array([1, 2], pa.int64()), "b": ["x", None]}))
    cursor.execute(f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")
    assert rows(cursor, "SELECT a, b FROM t ORDER BY a") == [(1, "x"), (2, None)]
    for n in range(3, 8):
        write_deltalake(location, pa.table({"a": pa.array([n], pa.int64()), "b": ["y"]}), mode="append")
        assert rows(cursor, "SELECT count(*), max(a) FROM t") == [(n, n)]
    write_deltalake(location, pa.table({"a": pa.array([100], pa.int64()), "b": ["z"]}), mode="overwrite")
    assert rows(cursor, "SELECT a, b FROM t") == [(100, "z")]
    assert rows(cursor, "SELECT count(*) FROM t VERSION AS OF 1") == [(3,)]
    DeltaTable(location).delete("a = 100")
    assert rows(cursor, "SELECT count(*) FROM t") == [(0,)]


def test_a_new_column_of_another_engine_is_seen(cursor, location):
    write_deltalake(location, pa.table({"a": pa.array([1], pa.int64())}))
    cursor.execute(f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")
    assert rows(cursor, "SELECT * FROM t") == [(1,)]
    wider = pa.table({"a": pa.array([2], pa.int64()), "b": ["x"]})
    write_deltalake(location, wider, mode="append", schema_mode="merge")
    assert rows(cursor, "SELECT * FROM t ORDER BY a") == [(1, None), (2, "x")]


def test_both_append_in_turns(cursor, location):
    cursor.execute(f"CREATE TABLE t (a BIGINT, b VARCHAR) LOCATION '{location}'")
    for n in range(4):
        cursor.execute(f"INSERT INTO t VALUES ({n}, 'ours')")
        write_deltalake(location, pa.table({"a": pa.array([n + 10], pa.int64()), "b": ["theirs"]}), mode="append")
    assert rows(cursor, "SELECT count(*), sum(a) FROM t") == [(8, 52)]
    assert DeltaTable(location).version() == 8
    assert read(location).num_rows == 8


def test_another_engine_reads_what_we_write_as_we_do(cursor, location):
    cursor.execute(
        f"""CREATE TABLE t (i INT NOT NULL, l BIGINT, f DOUBLE, m DECIMAL(10, 2), s VARCHAR, x BYTEA,
            yes BOOLEAN, d DATE, ts TIMESTAMP, utc TIMESTAMP WITH TIME ZONE, part VARCHAR)
            PARTITIONED BY (part) LOCATION '{location}'"""
    )
    cursor.execute(
        """INSERT INTO t VALUES
           (1, 2, 1.5, -12.34, 'ä🐦', X'00ff', true, '2024-02-29', '2024-02-29 12:30:00.123456',
            '2024-02-29T12:30:00+02:00', 'a b/c=%'),
           (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
           (3, -1, 'NaN', 0, '', X'', false, '1969-12-31', '1969-12-31 23:59:59', '1969-12-31T00:00:00Z', 'x')"""
    )
    theirs = read(location).sort_by("i").to_pylist()
    cursor.execute("SELECT * FROM t ORDER BY i")
    ours = cursor.fetch_arrow_table().to_pylist()
    assert str(ours) == str(theirs)  # NaN is not equal to itself
    assert ours[0]["m"] == decimal.Decimal("-12.34")
    assert ours[0]["utc"] == datetime.datetime(2024, 2, 29, 10, 30, tzinfo=datetime.timezone.utc)
    table = DeltaTable(location)
    assert table.metadata().partition_columns == ["part"]
    assert table.schema().fields[0].nullable is False


def test_another_engine_reads_a_materialized_view_and_its_transaction(cursor, stopped, location):
    cursor.execute(
        f"""CREATE MATERIALIZED VIEW m PARTITIONED BY (k) LOCATION '{location}'
            AS SELECT x % 3 AS k, x FROM (SELECT unnest(range(0, 1000)) AS x) AS r"""
    )
    cursor.execute("REFRESH MATERIALIZED VIEW m FULL SYNC TIMEOUT 2 MINUTES")
    table = DeltaTable(location)
    read_back = read(location)
    assert (read_back.num_rows, pa.compute.sum(read_back["x"]).as_py()) == (1000, 499500)
    (seq,) = rows(cursor, f"SELECT run_seq FROM system.runs WHERE output_version = {table.version()}")[0]
    runs = [t for t in transactions(location) if re.fullmatch("whimbrel:[0-9a-f-]{36}", t[0])]
    assert [number for _, number in runs] == list(range(1, seq + 1))
    assert table.transaction_version(runs[0][0]) == seq


def test_a_materialized_view_that_another_engine_changed_is_computed_anew(cursor, location):
    cursor.execute("CREATE TABLE t AS SELECT unnest(range(0, 10)) AS x")
    cursor.execute(f"CREATE MATERIALIZED VIEW m LOCATION '{location}' AS SELECT x, x * 2 AS y FROM t")
    refresh = "REFRESH MATERIALIZED VIEW m SYNC TIMEOUT 2 MINUTES"
    cursor.execute(refresh)
    DeltaTable(location).optimize.compact()
    cursor.execute(refresh)
    DeltaTable(location).delete("x = 3")
    cursor.execute(refresh)
    assert rows(cursor, "SELECT count(*), sum(y) FROM m") == [(10, 90)]
    runs = "SELECT strategy, reason FROM system.runs WHERE strategy IS NOT NULL ORDER BY run_seq"
    reasons = [reason.split(":")[0] for _, reason in rows(cursor, runs)]
    assert reasons == ["FIRST_RUN", "TABLE_CHANGED"]
    cursor.execute("VERIFY m")
    assert "EQUAL" in str(cursor.fetchall())


def test_checkpoints_compaction_and_cleaning_by_another_engine_change_no_answer(cursor, location):
    cursor.execute(f"CREATE TABLE t (a BIGINT) LOCATION '{location}'")
    for n in range(12):
        cursor.execute(f"INSERT INTO t VALUES ({n})")
    expected = rows(cursor, "SELECT count(*), sum(a) FROM t")
    assert expected == [(12, 66)]
    table = DeltaTable(location)
    table.optimize.compact()
    assert rows(cursor, "SELECT count(*), sum(a) FROM t") == expected
    table.create_checkpoint()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert rows(cursor, "SELECT count(*), sum(a) FROM t") == expected
    cursor.execute("INSERT INTO t VALUES (100)")
    assert rows(cursor, "SELECT count(*), sum(a) FROM t") == [(13, 166)]


def test_odd_partition_values_of_another_engine_are_read_right(cursor, location):
    table = pa.table(
        {
            "n": pa.array([1, 2, 3, 4], pa.int64()),
            "d": pa.array([decimal.Decimal("0.12"), decimal.Decimal("12.30"), None, decimal.Decimal("7.00")], pa.decimal128(6, 2)),
            "day": pa.array([datetime.date(2024, 1, 31), datetime.date(1969, 12, 31), None, datetime.date(2024, 1, 1)]),
            "s": ["a/b", "ä 🐦", None, "x=y%20"],
        }
    )
    write_deltalake(location, table, partition_by=["d", "day", "s"])
    cursor.execute(f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")
    cursor.execute("SELECT n, d, day, s FROM t ORDER BY n")
    assert cursor.fetch_arrow_table().to_pylist() == table.to_pylist()
    assert rows(cursor, "SELECT n FROM t WHERE d = 12.30 AND day < DATE '1970-01-01'") == [(2,)]
    assert rows(cursor, "SELECT n FROM t WHERE s IS NULL") == [(3,)]


def test_ranges_of_another_engine_hide_no_nan(cursor, location):
    nan = float("nan")
    rows_of_theirs = {"id": pa.array([1, 2, 3], pa.int64()), "f": [nan, 7.0, 7.0], "k": ["", None, ""]}
    write_deltalake(location, pa.table(rows_of_theirs), partition_by=["k"])
    cursor.execute(f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")
    assert rows(cursor, "SELECT id FROM t WHERE f > 100") == [(1,)]
    assert rows(cursor, "SELECT id FROM t ORDER BY f DESC LIMIT 1") == [(1,)]
    assert rows(cursor, "SELECT count(*) FROM t WHERE f = 7") == [(2,)]
    # What the log has as an empty text is one for whoever reads and changes.
    seen = rows(cursor, "SELECT id FROM t WHERE k = '' ORDER BY id")
    cursor.execute("UPDATE t SET id = id + 10 WHERE k = ''")
    assert rows(cursor, "SELECT id FROM t WHERE k = '' ORDER BY id") == [(id + 10,) for (id,) in seen]
    assert rows(cursor, "SELECT count(*) FROM t") == [(3,)]


def test_a_foreign_transaction_identifier_does_not_disturb(cursor, location):
    properties = CommitProperties(app_transactions=[Transaction("somebody", 7)])
    write_deltalake(location, pa.table({"a": pa.array([1], pa.int64())}), commit_properties=properties)
    cursor.execute(f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")
    cursor.execute("INSERT INTO t VALUES (2)")
    assert DeltaTable(location).transaction_version("somebody") == 7
    assert rows(cursor, "SELECT sum(a) FROM t") == [(3,)]


def test_what_a_table_tells_of_itself_is_what_another_engine_says_of_it(cursor, location):
    cursor.execute(
        f"""CREATE TABLE t (a BIGINT NOT NULL, at TIMESTAMP, k VARCHAR, CONSTRAINT positive CHECK (a > 0))
            PARTITIONED BY (k) LOCATION '{location}' COMMENT 'birds' TBLPROPERTIES ('owner.team' = 'shore')"""
    )
    cursor.execute("INSERT INTO t VALUES (1, NULL, 'x'), (2, NULL, 'y'), (3, NULL, 'y')")
    cursor.execute("UPDATE t SET a = a + 10 WHERE k = 'y' AND a = 3")
    cursor.execute("DESCRIBE DETAIL t")
    (detail,) = cursor.fetch_arrow_table().to_pylist()
    table = DeltaTable(location)
    files = pa.table(table.get_add_actions(flatten=True))
    metadata, protocol = table.metadata(), table.protocol()
    theirs = {
        "format": "delta",
        "id": metadata.id,
        "description": "birds",
        "version": table.version(),
        "partition_columns": "k",
        "num_files": len(table.file_uris()),
        "size_in_bytes": pa.compute.sum(files["size_bytes"]).as_py(),
        "num_rows": read(location).num_rows,
        "min_reader_version": protocol.min_reader_version,
        "min_writer_version": protocol.min_writer_version,
    }
    assert theirs == {key: detail[key] for key in theirs}
    assert (detail["version"], detail["num_files"], detail["num_rows"]) == (2, 2, 3)
    assert detail["location"].rstrip("/").endswith(location)
    assert set(detail["properties"].split(", ")) >= {"owner.team=shore"}
    features = {*(protocol.reader_features or []), *(protocol.writer_features or [])}
    assert set(detail["table_features"].split(", ")) == features

    cursor.execute("DESCRIBE HISTORY t")
    ours = cursor.fetch_arrow_table().to_pylist()
    history = table.history()
    assert [commit["version"] for commit in ours] == [2, 1, 0]
    assert [commit["operation"] for commit in ours] == [commit["operation"] for commit in history]
    assert ours[0]["timestamp"] == detail["last_modified"]
    assert json.loads(ours[0]["operation_parameters"]) == history[0]["operationParameters"]
    assert (ours[0]["read_version"], ours[1]["is_blind_append"]) == (1, "true")


@pytest.mark.parametrize("how", ["appended", "converted"])
def test_a_column_that_a_file_stores_without_null_can_become_null(cursor, location, how):
    """Other engines write a column that happens to have no NULL as one that cannot have any."""
    strict = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("n", pa.int32(), nullable=False)])
    theirs = pa.table({"id": [1, 2, 3], "n": [10, 20, 30]}, schema=strict)
    if how == "appended":
        cursor.execute(f"CREATE TABLE t (id BIGINT, n INT) LOCATION '{location}'")
        write_deltalake(location, theirs, mode="append")
    else:
        pathlib.Path(location).mkdir()
        pyarrow.parquet.write_table(theirs, pathlib.Path(location, "theirs.parquet"), write_page_index=True)
        cursor.execute(f"CONVERT TO DELTA parquet.'{location}'")
        cursor.execute(f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")
    cursor.execute("UPDATE t SET n = NULL WHERE id = 1")
    cursor.execute("MERGE INTO t USING (SELECT 2 AS id) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = NULL")
    assert rows(cursor, "SELECT id, n FROM t ORDER BY id") == [(1, None), (2, None), (3, 30)]
    assert rows(cursor, "SELECT count(*) FROM t WHERE n IS NULL") == [(2,)]
    assert read(location).sort_by("id").to_pydict() == {"id": [1, 2, 3], "n": [None, None, 30]}


@pytest.mark.parametrize("index", [True, False], ids=["with an index of pages", "without one"])
def test_rows_of_files_that_others_wrote_are_changed(cursor, location, index):
    """pyarrow, pandas and DuckDB write no index of pages unless they are asked to."""
    pathlib.Path(location).mkdir()
    theirs = pa.table({"id": [1, 2, 3], "n": [10, 20, 30], "s": ["a", None, "c"]})
    pyarrow.parquet.write_table(theirs, pathlib.Path(location, "theirs.parquet"), write_page_index=index)
    cursor.execute(f"CONVERT TO DELTA parquet.'{location}'")
    cursor.execute(f"CREATE EXTERNAL TABLE t USING DELTA LOCATION '{location}'")
    cursor.execute("UPDATE t SET n = n + 1 WHERE id = 1")
    cursor.execute("MERGE INTO t USING (SELECT 2 AS id) AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET s = 'b'")
    cursor.execute("DELETE FROM t WHERE id = 3")
    assert rows(cursor, "SELECT id, n, s FROM t ORDER BY id") == [(1, 11, "a"), (2, 20, "b")]
    assert read(location).sort_by("id").to_pydict() == {"id": [1, 2], "n": [11, 20], "s": ["a", "b"]}
