"""What the real Python ADBC driver for Flight SQL sees."""

import datetime
import decimal
import threading
import time

import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import pyarrow as pa
import pyarrow.compute
import pytest


def rows(cursor, sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


def count(connection, table):
    with connection.cursor() as cursor:
        return rows(cursor, f"SELECT count(*) FROM {table}")[0][0]


# --- queries --------------------------------------------------------------------------------------


def test_a_query_answers_rows_and_arrow(cursor):
    assert rows(cursor, "SELECT 1 AS a, 'x' AS b, NULL AS c") == [(1, "x", None)]
    cursor.execute("SELECT a FROM (VALUES (1), (2), (NULL)) AS t (a)")
    table = cursor.fetch_arrow_table()
    assert table.column_names == ["a"]
    assert sorted(table["a"].to_pylist(), key=str) == [1, 2, None]


def test_values_of_every_type_come_back_as_python_values(cursor):
    cursor.execute(
        """CREATE TABLE t (b BOOLEAN, i INT, l BIGINT, f DOUBLE, m DECIMAL(10, 2), s VARCHAR,
           x BYTEA, d DATE, ts TIMESTAMP)"""
    )
    cursor.execute(
        """INSERT INTO t VALUES
           (true, 1, 2, 1.5, 12.34, 'ä🐦', X'00ff', '2024-02-29', '2024-02-29 12:30:00.5')"""
    )
    assert rows(cursor, "SELECT * FROM t") == [
        (
            True,
            1,
            2,
            1.5,
            decimal.Decimal("12.34"),
            "ä🐦",
            b"\x00\xff",
            datetime.date(2024, 2, 29),
            datetime.datetime(2024, 2, 29, 12, 30, 0, 500_000),
        )
    ]


def test_no_view_or_dictionary_types_reach_the_driver(cursor):
    cursor.execute("CREATE TABLE t AS SELECT 'x' AS s, arrow_cast('y', 'Dictionary(Int32, Utf8)') AS d, [1, 2] AS l")
    cursor.execute("SELECT s, d, l, upper(s) AS u, arrow_cast(s, 'Utf8View') AS v FROM t")
    schema = cursor.fetch_arrow_table().schema
    assert [str(data_type) for data_type in schema.types] == [
        "string",
        "string",
        "list<element: int64>",  # as Delta and Parquet call it
        "string",
        "string",
    ]


def test_a_big_result_streams_whole(cursor):
    cursor.execute("CREATE TABLE t AS SELECT unnest(range(0, 1000000)) AS n")
    cursor.execute("SELECT n, repeat('x', 50) AS s FROM t")
    n = total = 0
    for batch in cursor.fetch_record_batch():
        n += batch.num_rows
        total += pa.compute.sum(batch["n"]).as_py()
    assert (n, total) == (1_000_000, 499_999_500_000)


def test_a_result_that_is_closed_early_leaves_the_server_free(server, connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT unnest(range(0, 3000)) AS n")
        cursor.execute("SELECT a.n FROM t AS a, t AS b, t AS c")
        assert next(iter(cursor.fetch_record_batch())).num_rows > 0
    assert count(connection, "t") == 3000


# --- parameters -----------------------------------------------------------------------------------


def test_parameters_are_bound(cursor):
    cursor.execute("CREATE TABLE t (a BIGINT, b VARCHAR)")
    cursor.execute("INSERT INTO t VALUES (?, ?)", (1, "one"))
    cursor.execute("INSERT INTO t VALUES ($1, $2)", (2, None))
    cursor.executemany("INSERT INTO t VALUES (?, ?)", [(3, "three"), (4, None), (5, "five")])
    assert rows(cursor, "SELECT a, b FROM t ORDER BY a") == [
        (1, "one"),
        (2, None),
        (3, "three"),
        (4, None),
        (5, "five"),
    ]
    assert rows(cursor, "SELECT a FROM t WHERE a > ? AND b = ?", (2, "five")) == [(5,)]
    assert rows(cursor, "SELECT a FROM t WHERE a BETWEEN $1 AND $1 + 1 ORDER BY a", (2,)) == [(2,), (3,)]
    assert rows(cursor, "SELECT count(*) FROM t WHERE b IS NULL AND CAST(? AS VARCHAR) IS NULL", (None,)) == [(2,)]


def test_dates_decimals_and_floats_are_bound(cursor):
    cursor.execute("CREATE TABLE t (d DATE, m DECIMAL(10, 2), f DOUBLE, b BOOLEAN, ts TIMESTAMP)")
    row = (
        datetime.date(2024, 2, 29),
        decimal.Decimal("1.25"),
        0.5,
        True,
        datetime.datetime(2024, 2, 29, 1, 2, 3),
    )
    cursor.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?)", row)
    assert rows(cursor, "SELECT * FROM t WHERE d = ? AND m = ?", row[:2]) == [row]


# --- exactly once ---------------------------------------------------------------------------------


@pytest.mark.parametrize("fetch", [False, True], ids=["without a fetch", "with a fetch"])
def test_ddl_and_dml_take_effect_exactly_once(connection, fetch):
    def run(sql, parameters=None):
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            if fetch:
                try:
                    cursor.fetchall()
                except adbc_driver_manager.ProgrammingError:
                    pass  # a statement without rows

    run("CREATE TABLE t (a BIGINT)")
    run("INSERT INTO t VALUES (1)")
    assert count(connection, "t") == 1
    run("INSERT INTO t VALUES (?)", (2,))
    assert count(connection, "t") == 2
    run("CREATE TABLE u AS SELECT a FROM t")
    assert count(connection, "u") == 2
    run("CREATE VIEW v AS SELECT a FROM u")
    run("INSERT INTO u SELECT a FROM v")
    assert count(connection, "v") == 4
    run("CREATE MATERIALIZED VIEW m AS SELECT sum(a) AS s FROM u")
    assert count(connection, "system.jobs") == 1
    run("REFRESH MATERIALIZED VIEW m SYNC TIMEOUT 1 MINUTE")
    with connection.cursor() as cursor:
        assert rows(cursor, "SELECT s FROM m") == [(6,)]
    run("DROP VIEW v")
    with connection.cursor() as cursor, pytest.raises(adbc_driver_manager.Error):
        cursor.execute("SELECT * FROM v")


def test_preparing_a_statement_takes_no_effect(connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a BIGINT)")
        cursor.adbc_prepare("INSERT INTO t VALUES (1)")
        cursor.adbc_prepare("CREATE TABLE u (a BIGINT)")
        assert cursor.adbc_prepare("SELECT a FROM t WHERE a = ?").types == [pa.int64()]
    assert count(connection, "t") == 0
    assert count(connection, "information_schema.tables WHERE table_schema = 'main'") == 1


# --- metadata -------------------------------------------------------------------------------------


def test_metadata_calls(connection):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a BIGINT NOT NULL, b VARCHAR)")
        cursor.execute("CREATE VIEW v AS SELECT a FROM t")
    assert set(connection.adbc_get_table_types()) == {"TABLE", "VIEW", "MATERIALIZED VIEW", "SYSTEM TABLE"}
    info = connection.adbc_get_info()
    assert "whimbrel" in str(info["vendor_name"]).lower()
    objects = connection.adbc_get_objects(depth="all", db_schema_filter="main").read_all().to_pylist()
    (catalog,) = objects
    assert catalog["catalog_name"] == "whimbrel"
    (schema,) = catalog["catalog_db_schemas"]
    tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
    assert tables.keys() == {"t", "v"}
    columns = [column["column_name"] for column in tables["t"]["table_columns"]]
    assert columns == ["a", "b"]
    schema = connection.adbc_get_table_schema("t", db_schema_filter="main")
    assert (schema.names, schema.types) == (["a", "b"], [pa.int64(), pa.string()])


# --- errors and users -----------------------------------------------------------------------------


def test_errors_carry_what_and_where(cursor):
    with pytest.raises(adbc_driver_manager.Error, match="main.nowhere") as error:
        cursor.execute("SELECT * FROM nowhere")
    assert error.value.status_code == adbc_driver_manager.AdbcStatusCode.NOT_FOUND
    with pytest.raises(adbc_driver_manager.Error, match="line 1") as error:
        cursor.execute("SELEC 1")
    assert error.value.status_code == adbc_driver_manager.AdbcStatusCode.INVALID_ARGUMENT
    assert rows(cursor, "SELECT 1") == [(1,)]


def test_users_log_in_with_their_password(stopped):
    stopped.add_user("ann", "päss:word")
    server = stopped.start()
    with server.connect("ann", "päss:word") as connection, connection.cursor() as cursor:
        assert rows(cursor, "SELECT 1") == [(1,)]
    for user, password in [("ann", "wrong"), ("bob", "päss:word"), (None, None)]:
        with pytest.raises(adbc_driver_manager.Error) as error:
            with server.connect(user, password) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        assert error.value.status_code in (
            adbc_driver_manager.AdbcStatusCode.UNAUTHENTICATED,
            adbc_driver_manager.AdbcStatusCode.UNAUTHORIZED,
        ), error.value


def test_errors_carry_sqlstate_and_position(cursor):
    def details(sql):
        with pytest.raises(adbc_driver_manager.Error) as error:
            cursor.execute(sql)
            cursor.fetchall()
        return {name.decode(): value.decode("utf-8", "replace") for name, value in error.value.details}

    found = details("SELECT 1,\n  FROM")
    assert (found["sqlstate"], found["sql-line"]) == ("42601", "2")
    assert found["sql-column"].isdigit()
    assert "google.rpc.ErrorInfo" in found["grpc-status-details-bin"]
    for sql, sqlstate in [
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nothing", "42703"),
        ("SELECT nothing(1)", "42883"),
        ("SELECT 1 / 0", "22012"),
        ("SELECT 'abc'::int", "22P02"),
        ("SELECT 9223372036854775807 + 1", "22003"),
        ("SELECT sum(n) FROM (VALUES (9223372036854775807), (1)) AS t(n)", "22003"),
        ("SELECT 99999999999::int", "22003"),
        ("CREATE SCHEMA main", "42P06"),
    ]:
        assert details(sql)["sqlstate"] == sqlstate, sql


def test_as_many_parameters_as_there_are_have_to_be_bound(cursor):
    cursor.execute("CREATE TABLE t (a BIGINT)")
    for sql in ("SELECT ? + 1", "INSERT INTO t VALUES (?)", "DELETE FROM t WHERE a = ?"):
        with pytest.raises(adbc_driver_manager.Error, match="1 parameters and 2 were bound"):
            cursor.execute(sql, (1, 2))


# --- sessions -------------------------------------------------------------------------------------


def test_a_session_has_a_schema_when_the_driver_keeps_cookies(server):
    cookies = {"adbc.flight.sql.rpc.with_cookie_middleware": "true"}
    with server.connect(**cookies) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA shop")
        cursor.execute("CREATE TABLE shop.t AS SELECT 1 AS a")
        assert connection.adbc_current_catalog == "whimbrel"
        assert connection.adbc_current_db_schema == "main"
        connection.adbc_current_db_schema = "shop"
        assert connection.adbc_current_db_schema == "shop"
        assert rows(cursor, "SELECT a FROM t") == [(1,)]
        with pytest.raises(adbc_driver_manager.Error, match="schema.*invalid value"):
            connection.adbc_current_db_schema = "nowhere"
        with pytest.raises(adbc_driver_manager.Error, match="catalog.*invalid value"):
            connection.adbc_current_catalog = "other"
        assert connection.adbc_current_db_schema == "shop"
    url = server.url.replace("grpc://", "grpc+tcp://")
    at_once = {"adbc.connection.db_schema": "shop"}
    with flight_sql.connect(url, db_kwargs=cookies, conn_kwargs=at_once, autocommit=True) as connection:
        with connection.cursor() as cursor:
            assert rows(cursor, "SELECT a FROM t") == [(1,)]


def test_an_option_that_would_be_lost_is_refused(connection, cursor):
    cursor.execute("CREATE SCHEMA shop")
    with pytest.raises(adbc_driver_manager.Error, match="with_cookie_middleware"):
        connection.adbc_current_db_schema = "shop"
    assert rows(cursor, "SELECT 1") == [(1,)]


# --- transactions ---------------------------------------------------------------------------------


@pytest.fixture
def manual(server):
    """A connection with autocommit off, as the DB-API begins."""
    with flight_sql.connect(server.url.replace("grpc://", "grpc+tcp://")) as connection:
        yield connection


def test_autocommit_off_commits_and_rolls_back(connection, manual, recwarn):
    with manual.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a BIGINT, b VARCHAR)")  # by itself, at once
        assert count(connection, "t") == 0
        cursor.execute("INSERT INTO t VALUES (1, 'x')")
        cursor.executemany("INSERT INTO t VALUES (?, ?)", [(2, "y"), (3, None)])
    assert count(connection, "t") == 0
    manual.commit()
    assert count(connection, "t") == 3
    with manual.cursor() as cursor:
        cursor.execute("DELETE FROM t WHERE a > ?", (1,))
        assert count(connection, "t") == 3
    manual.rollback()
    assert count(connection, "t") == 3
    with manual.cursor() as cursor:
        cursor.execute("UPDATE t SET b = 'new' WHERE a = 1")
    manual.commit()
    with connection.cursor() as cursor:
        assert rows(cursor, "SELECT b FROM t WHERE a = 1") == [("new",)]
    assert not [w for w in recwarn if "autocommit" in str(w.message).lower()]


def test_an_ingest_of_this_driver_takes_effect_by_itself(connection, manual):
    """It does not send the transaction: whoever relies on a rollback has to know."""
    with manual.cursor() as cursor:
        assert cursor.adbc_ingest("t", pa.table({"a": [1]}), mode="create") == 1
        assert cursor.adbc_ingest("t", pa.table({"a": [2]}), mode="append") == 1
    manual.rollback()
    assert count(connection, "t") == 2


def test_reads_of_a_transaction_are_repeatable(connection, manual):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT 1 AS a")
    assert count(manual, "t") == 1
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (2)")
    assert count(manual, "t") == 1
    manual.commit()
    assert count(manual, "t") == 2


def test_what_a_transaction_cannot_do_says_what_to_do(connection, manual):
    with manual.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a BIGINT)")
        cursor.execute("INSERT INTO t VALUES (1)")
        for sql in ["SELECT a FROM t", "CREATE TABLE u (a BIGINT)", "DELETE FROM t"]:
            with pytest.raises(adbc_driver_manager.Error, match="commit first"):
                cursor.execute(sql)
    manual.commit()
    assert count(connection, "t") == 1


def test_pandas_like_use_of_one_cursor_over_commits(connection, manual):
    with manual.cursor() as cursor:
        cursor.execute("CREATE TABLE t (a BIGINT)")
    for n in range(3):
        with manual.cursor() as cursor:
            cursor.execute("INSERT INTO t VALUES (?)", (n,))
        manual.commit()
    assert count(connection, "t") == 3


# --- cancelling -----------------------------------------------------------------------------------


def test_cancelling_from_another_thread_ends_the_statement(connection, server):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE t AS SELECT unnest(range(0, 20000)) AS n")
    slow = "SELECT count(*) AS slow FROM t AS a, t AS b, t AS c WHERE (a.n + b.n * c.n) % 7 = 3"
    state = "SELECT state FROM system.queries WHERE sql LIKE '%AS slow%' AND sql NOT LIKE '%system%'"

    def is_now(expected):
        with connection.cursor() as cursor:
            for _ in range(1200):
                if rows(cursor, state) == [(expected,)]:
                    return
                time.sleep(0.05)
        raise AssertionError(f"never {expected}")

    with server.connect() as other, other.cursor() as cursor:
        failed = []

        def run():
            try:
                cursor.execute(slow)
                cursor.fetchall()
            except Exception as error:  # noqa: BLE001
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        is_now("RUNNING")
        cursor.adbc_cancel()
        thread.join(60)
        assert failed, "the statement ended well"
    is_now("CANCELLED")


def test_a_statement_is_polled_until_its_rows_are_there(connection, cursor):
    cursor.execute("CREATE TABLE t AS SELECT n, repeat('abc', 40) AS s FROM (SELECT unnest(range(0, 100000)) AS n) AS r")
    incremental = adbc_driver_manager.StatementOptions.INCREMENTAL.value
    progress = adbc_driver_manager.StatementOptions.PROGRESS.value
    with connection.cursor() as polled:
        statement = polled.adbc_statement
        statement.set_options(**{incremental: "true"})
        statement.set_sql_query("SELECT count(DISTINCT sha512(repeat(s, 10) || n::text)) AS n FROM t")
        partitions, _, _ = statement.execute_partitions()
        assert statement.get_option_float(progress) == 1.0
    (partition,) = partitions
    cursor.adbc_read_partition(partition)
    assert cursor.fetchall() == [(100_000,)]


# --- ingest ---------------------------------------------------------------------------------------


def batches(n, size=10_000):
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])

    def make():
        for start in range(0, n, size):
            ids = range(start, min(start + size, n))
            yield pa.record_batch([pa.array(ids), pa.array([f"name {i}" for i in ids])], schema=schema)

    return pa.RecordBatchReader.from_batches(schema, make())


def test_ingest_creates_appends_and_replaces(connection, cursor):
    table = pa.table({"id": [1, 2], "name": ["a", None]})
    assert cursor.adbc_ingest("t", table, mode="create") == 2
    with pytest.raises(adbc_driver_manager.Error, match="main.t.*exists"):
        cursor.adbc_ingest("t", table, mode="create")
    # By name: in another order, and what is missing is NULL.
    assert cursor.adbc_ingest("t", pa.table({"name": ["c"], "id": [3]}), mode="append") == 1
    assert cursor.adbc_ingest("t", pa.table({"id": [4]}), mode="create_append") == 1
    assert rows(cursor, "SELECT id, name FROM t ORDER BY id") == [(1, "a"), (2, None), (3, "c"), (4, None)]
    with pytest.raises(adbc_driver_manager.Error, match="no column 'other'"):
        cursor.adbc_ingest("t", pa.table({"other": [1]}), mode="append")
    assert count(connection, "t") == 4
    assert cursor.adbc_ingest("t", pa.table({"x": [1.5]}), mode="replace") == 1
    assert rows(cursor, "SELECT * FROM t") == [(1.5,)]
    assert rows(cursor, "SELECT count(*) FROM t VERSION AS OF 0") == [(2,)]
    with pytest.raises(adbc_driver_manager.Error, match="main.missing.*does not exist"):
        cursor.adbc_ingest("missing", table, mode="append")


def test_ingest_takes_a_schema_and_our_catalog(connection):
    def ingest(table="t", **options):
        # The driver keeps options of one ingest for the next one of the cursor.
        with connection.cursor() as cursor:
            return cursor.adbc_ingest(table, pa.table({"a": [1]}), mode="create", **options)

    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA shop")
    assert ingest(catalog_name="whimbrel", db_schema_name="shop") == 1
    assert count(connection, "shop.t") == 1
    with pytest.raises(adbc_driver_manager.Error, match="catalog 'other'"):
        ingest(catalog_name="other")
    with pytest.raises(adbc_driver_manager.Error, match="schema 'nowhere'"):
        ingest(db_schema_name="nowhere")
    with pytest.raises(adbc_driver_manager.Error, match="temporary tables"):
        ingest("u", temporary=True)


def test_a_big_ingest_streams_whole(connection, cursor):
    assert cursor.adbc_ingest("t", batches(1_000_000), mode="create") == 1_000_000
    assert rows(cursor, "SELECT count(*), sum(id), count(DISTINCT name) FROM t") == [
        (1_000_000, 499_999_500_000, 1_000_000)
    ]


def test_ingested_types_are_those_of_the_table(cursor):
    table = pa.table(
        {
            "d": pa.array(["x", "y", "x"]).dictionary_encode(),
            "v": pa.array(["a", "b", None], pa.string_view()),
            "l": pa.array(["a", "b", None], pa.large_string()),
            "b": pa.array([b"\x00", None, b"\xff"], pa.large_binary()),
            "u": pa.array([1, 2, None], pa.uint32()),
            "m": pa.array([decimal.Decimal("1.25"), None, None], pa.decimal128(10, 2)),
            "ts": pa.array([0, 1_000_000_000, None], pa.timestamp("ns", "Europe/Berlin")),
            "n": pa.array([[1, 2], None, []], pa.large_list(pa.int32())),
            "s": pa.array([{"a": 1}, None, {"a": None}], pa.struct([("a", pa.int16())])),
        }
    )
    assert cursor.adbc_ingest("t", table, mode="create") == 3
    cursor.execute("SELECT * FROM t")
    created = cursor.fetch_arrow_table()
    assert [str(field.type) for field in created.schema] == [
        "string",
        "string",
        "string",
        "binary",
        "int64",
        "decimal128(10, 2)",
        "timestamp[us, tz=UTC]",
        "list<element: int32>",
        "struct<a: int16>",
    ]
    assert created["d"].to_pylist() == ["x", "y", "x"]
    assert created["n"].to_pylist() == [[1, 2], None, []]
    # Into the table that is there, the same types are no others.
    assert cursor.adbc_ingest("t", table, mode="append") == 3
    cursor.execute("SELECT * FROM t")
    assert cursor.fetch_arrow_table().slice(0, 3).schema == created.schema


def test_an_ingest_whose_source_fails_leaves_nothing(connection, cursor):
    cursor.adbc_ingest("t", batches(10), mode="create")
    schema = pa.schema([("id", pa.int64()), ("name", pa.string())])

    def failing():
        yield from batches(300_000)
        raise ValueError("the source is gone")

    with pytest.raises(Exception, match="the source is gone"):
        cursor.adbc_ingest("t", pa.RecordBatchReader.from_batches(schema, failing()), mode="append")
    assert count(connection, "t") == 10


# --- parameters in rows ---------------------------------------------------------------------------


def test_a_query_answers_each_row_of_its_parameters_in_their_order(cursor):
    cursor.execute("CREATE TABLE numbers AS SELECT value AS n FROM generate_series(1, 10)")
    wanted = pa.RecordBatch.from_pydict({"1": [3, 1, 3, 99], "2": [4, 1, 3, 100]})
    cursor.execute("SELECT n FROM numbers WHERE n BETWEEN ? AND ? ORDER BY n", wanted)
    assert cursor.fetch_arrow_table()["n"].to_pylist() == [3, 4, 1, 3]
    cursor.execute("SELECT count(*) AS c FROM numbers WHERE n BETWEEN ? AND ?", wanted)
    assert cursor.fetch_arrow_table()["c"].to_pylist() == [2, 1, 1, 0]


def test_a_query_takes_no_more_rows_of_parameters_than_it_can_plan(cursor):
    rows = pa.RecordBatch.from_pydict({"1": list(range(1_001))})
    with pytest.raises(adbc_driver_manager.Error, match="at most 1000 rows of parameters"):
        cursor.execute("SELECT ?", rows)
