"""What the real Postgres clients see: psycopg, SQLAlchemy and psql, over `--pg-addr`."""

import datetime
import decimal
import os
import pathlib
import select
import shutil
import socket
import struct
import subprocess
import threading
import time
import uuid

import psycopg
import pytest
import sqlalchemy
import trustme
from server import Server

RECORDED = sorted((pathlib.Path(__file__).parent / "recorded").glob("*.sql"))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One server for all tests that only look, or have a table of their own."""
    server = Server(tmp_path_factory.mktemp("postgres")).start("--pg-addr", "127.0.0.1:0")
    yield server
    server.stop()


def connect(server, **options):
    options = {"dbname": "whimbrel", "user": "ada", "autocommit": True, **server.postgres, **options}
    return psycopg.connect(**options)


@pytest.fixture
def pg(shared):
    with connect(shared) as connection:
        yield connection


@pytest.fixture
def table(pg):
    """The name of a table that is not there yet."""
    return "t_" + uuid.uuid4().hex


def sqlstate(raised):
    return raised.value.sqlstate


# --- values ---------------------------------------------------------------------------------------

VALUES = [
    ("true", True),
    ("arrow_cast(7, 'Int8')", 7),
    ("arrow_cast(7, 'Int16')", 7),
    ("arrow_cast(-7, 'Int32')", -7),
    ("9223372036854775807", 9223372036854775807),
    ("arrow_cast(255, 'UInt8')", 255),
    ("arrow_cast(65535, 'UInt16')", 65535),
    ("arrow_cast(4294967295, 'UInt32')", 4294967295),
    ("arrow_cast('18446744073709551615', 'UInt64')", decimal.Decimal("18446744073709551615")),
    ("arrow_cast(1.5, 'Float32')", 1.5),
    ("1e300", 1e300),
    ("CAST('-12.340' AS DECIMAL(10, 3))", decimal.Decimal("-12.340")),
    ("'ä🐦'", "ä🐦"),
    ("X'00ff'", b"\x00\xff"),
    ("DATE '2024-02-29'", datetime.date(2024, 2, 29)),
    ("TIME '12:30:00.5'", datetime.time(12, 30, 0, 500_000)),
    ("TIMESTAMP '2024-02-29 12:30:00.5'", datetime.datetime(2024, 2, 29, 12, 30, 0, 500_000)),
    (
        "arrow_cast('2024-02-29T12:30:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')",
        datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc),
    ),
    ("INTERVAL '1 day 2 hours'", datetime.timedelta(days=1, hours=2)),
    ("[1, NULL, 3]", [1, None, 3]),
    ("['a b', 'c\"d', '']", ["a b", 'c"d', ""]),
    ("named_struct('a', 1, 'b', 'x')", {"a": 1, "b": "x"}),
    ("map(['k'], [7])", {"k": 7}),
    ("NULL", None),
]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
@pytest.mark.parametrize(("sql", "expected"), VALUES, ids=[sql for sql, _ in VALUES])
def test_a_value_of_each_type_arrives_in_both_forms(pg, sql, expected, binary):
    row = pg.execute(f"SELECT {sql} AS v", binary=binary, prepare=binary).fetchone()
    assert row[0] == expected


PARAMETERS = [
    ("BOOLEAN", True),
    ("SMALLINT", -7),
    ("BIGINT", 2**40),
    ("DOUBLE", 1.25),
    ("DECIMAL(20, 4)", decimal.Decimal("-12345.6700")),
    ("VARCHAR", "it's ä"),
    ("BYTEA", b"\x00\xff"),
    ("DATE", datetime.date(2024, 2, 29)),
    ("TIMESTAMP", datetime.datetime(1969, 12, 31, 23, 59, 59, 999_999)),
    ("BIGINT", None),
]


@pytest.mark.parametrize("form", ["%t", "%b"], ids=["text", "binary"])
@pytest.mark.parametrize(("kind", "value"), PARAMETERS, ids=[kind for kind, _ in PARAMETERS])
def test_a_parameter_of_each_type_is_stored(pg, table, kind, value, form):
    pg.execute(f"CREATE TABLE {table} (v {kind})")
    done = pg.execute(f"INSERT INTO {table} VALUES ({form})", (value,))
    assert (done.statusmessage, done.rowcount) == ("INSERT 0 1", 1)
    assert pg.execute(f"SELECT v FROM {table}").fetchall() == [(value,)]
    if value is not None:
        found = pg.execute(f"SELECT count(*) FROM {table} WHERE v = {form}", (value,)).fetchone()
        assert found == (1,)


def test_lists_are_parameters_too(pg):
    query = "SELECT a FROM (VALUES (1), (2), (3)) AS t (a) WHERE a = ANY(%s) ORDER BY a"
    assert pg.execute(query, ([1, 3, 9],)).fetchall() == [(1,), (3,)]


# --- statements -----------------------------------------------------------------------------------


def test_tags_and_counts_are_those_of_postgres(pg, table):
    for sql, tag in [
        (f"CREATE TABLE {table} (a BIGINT, b VARCHAR)", "CREATE TABLE"),
        (f"INSERT INTO {table} VALUES (1, 'x'), (2, 'y')", "INSERT 0 2"),
        (f"UPDATE {table} SET b = 'z' WHERE a = 1", "UPDATE 1"),
        (f"SELECT * FROM {table}", "SELECT 2"),
        (f"DELETE FROM {table} WHERE a = 2", "DELETE 1"),
        (f"TRUNCATE {table}", "TRUNCATE TABLE"),
        (f"DROP TABLE {table}", "DROP TABLE"),
    ]:
        assert pg.execute(sql).statusmessage == tag


def test_several_statements_at_once_are_run_in_their_order(pg):
    cursor = pg.execute("SELECT 1; SELECT ';' ; -- nothing\n SELECT 3")
    answers = [cursor.fetchall()]
    while cursor.nextset():
        answers.append(cursor.fetchall())
    assert answers == [[(1,)], [(";",)], [(3,)]]


ERRORS = [
    ("SELEC 1", "42601"),
    ("SELECT * FROM no_such_table", "42P01"),
    ("SELECT 1; SELECT no_such_column", "42703"),
    ("SELECT t.a FROM (SELECT 1 AS a) AS other", "42P01"),
    ("SELECT a FROM (SELECT 1 AS a) AS x, (SELECT 2 AS a) AS y", "42702"),
    ("SELECT no_such_function(1)", "42883"),
    ("SELECT * FROM no_such_function(1)", "42883"),
    ("SELECT abs('a')", "42883"),
    ("SELECT sum('a')", "42883"),
    ("SELECT 1 + true", "42883"),
    ("SELECT a, count(*) FROM (SELECT 1 AS a) AS t", "42803"),
    ("SELECT 1 UNION SELECT 1, 2", "42601"),
    ("SELECT 1::no_such_type", "42704"),
    ("SELECT 1 / 0", "22012"),
    ("SELECT 'abc'::int", "22P02"),
    ("SELECT 'x'::boolean", "22P02"),
    ("SELECT 9223372036854775807 + 1", "22003"),
    ("SELECT sum(n) FROM (VALUES (9223372036854775807), (1)) AS t(n)", "22003"),
    ("SELECT 99999999999::int", "22003"),
    ("SELECT '99999999999'::int", "22003"),
    ("SELECT 123456.78::decimal(5, 2)", "22003"),
    ("SELECT '2024-99-99'::date", "22008"),
    ("SELECT 'abc'::date", "22007"),
    ("SELECT 'abc'::timestamp", "22007"),
    ("SELECT 'a' ~ '('", "2201B"),
    ("SELECT (SELECT a FROM (VALUES (1), (2)) AS t (a))", "21000"),
    ("CREATE SCHEMA main", "42P06"),
    ("DROP SCHEMA no_such_schema", "3F000"),
    ("CREATE TABLE no_such_schema.t (a INT)", "3F000"),
    ("DROP TABLE no_such_table", "42P01"),
    ("INSERT INTO no_such_table VALUES (1)", "42P01"),
    ("CREATE INDEX i ON t (a)", "0A000"),
    ("COPY no_such_table FROM STDIN", "42P01"),
    ("SET no_such_setting = 1", "42704"),
    ("SET client_encoding = 'LATIN1'", "0A000"),
    ("FETCH 1 FROM nothing", "34000"),
    ("DEALLOCATE nothing", "26000"),
]


@pytest.mark.parametrize(("sql", "code"), ERRORS, ids=[sql for sql, _ in ERRORS])
def test_errors_have_their_sqlstate_and_the_session_goes_on(pg, sql, code):
    with pytest.raises(psycopg.Error) as raised:
        pg.execute(sql)
    assert sqlstate(raised) == code, raised.value
    assert pg.execute("SELECT 1").fetchone() == (1,)


def test_rules_of_a_table_are_broken_by_class(pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT NOT NULL, CONSTRAINT positive CHECK (a > 0))")
    with pytest.raises(psycopg.errors.NotNullViolation):
        pg.execute(f"INSERT INTO {table} VALUES (NULL)")
    with pytest.raises(psycopg.errors.CheckViolation):
        pg.execute(f"INSERT INTO {table} VALUES (-1)")
    with pytest.raises(psycopg.errors.CheckViolation):
        pg.execute(f"INSERT INTO {table} SELECT -2")
    for sql, code in [
        (f"CREATE TABLE {table} (a BIGINT)", "42P07"),
        (f"INSERT INTO {table} VALUES ('abc')", "22P02"),
        (f"INSERT INTO {table} VALUES (1e30)", "22003"),
        (f"INSERT INTO {table} VALUES (1, 2)", "42601"),
        (f"INSERT INTO {table} (no_such_column) VALUES (1)", "42703"),
        (f"UPDATE {table} SET no_such_column = 1", "42703"),
        (f"DROP VIEW {table}", "42809"),
    ]:
        with pytest.raises(psycopg.Error) as raised:
            pg.execute(sql)
        assert sqlstate(raised) == code, (sql, raised.value)


def test_a_bad_parameter_is_told_by_class(pg):
    def bound(value, kind):
        with pytest.raises(psycopg.Error) as raised:
            pg.execute(f"SELECT %s::{kind}", (value,))
        return sqlstate(raised)

    assert bound("abc", "int") == "22P02"
    assert bound("99999999999", "int") == "22003"
    declared = pg.pgconn.exec_params(b"SELECT $1 + 1", [b"abc"], [20])
    assert declared.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"22P02"
    for given in ([], [b"1", b"2"]):
        wrong = pg.pgconn.exec_params(b"SELECT $1::int", given)
        assert wrong.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"08P01"
    wrong = pg.pgconn.exec_params(b"SELECT $1::text", [b"a\xff"])
    assert wrong.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"22021"
    assert pg.execute("SELECT 1").fetchone() == (1,)


def test_a_syntax_error_points_at_its_word(pg):
    with pytest.raises(psycopg.errors.SyntaxError) as raised:
        pg.execute("SELECT 'ä';\n  SELEC 1")
    assert raised.value.diag.statement_position == "15"


def test_an_error_in_the_extended_protocol_skips_to_the_next_sync(pg):
    with pytest.raises(psycopg.Error), pg.pipeline():
        pg.execute("SELECT %s", (1,))
        pg.execute("SELECT no_such_column WHERE 1 = %s", (1,))
        pg.execute("SELECT %s", (3,))
    assert pg.execute("SELECT %s::bigint", (4,)).fetchone() == (4,)


def test_a_prepared_statement_is_run_again_and_sees_the_newest_rows(pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT)")
    query = f"SELECT count(*) FROM {table} WHERE a > %s"
    assert pg.execute(query, (0,), prepare=True).fetchone() == (0,)
    pg.execute(f"INSERT INTO {table} VALUES (1), (2)")
    assert pg.execute(query, (1,), prepare=True).fetchone() == (1,)


# --- messages -------------------------------------------------------------------------------------


class Wire:
    """Messages as no driver sends them."""

    def __init__(self, server):
        self.socket = socket.create_connection((server.postgres["host"], server.postgres["port"]), 20)
        self.stream = self.socket.makefile("rb")
        start = b"".join(text + b"\0" for text in (b"user", b"ada", b"database", b"whimbrel", b""))
        self.socket.sendall(struct.pack("!ii", len(start) + 8, 196608) + start)
        self.answers()

    def send(self, letter: bytes, body: bytes):
        self.socket.sendall(letter + struct.pack("!i", len(body) + 4) + body)

    def answers(self) -> list[str]:
        """Letters of what comes until the server is ready, errors with their SQLSTATE."""
        found = []
        while not found or found[-1] != "Z":
            head = self.stream.read(5)
            assert len(head) == 5, f"the session ended after {found}"
            body = self.stream.read(struct.unpack("!i", head[1:])[0] - 4)
            state = [field[1:].decode() for field in body.split(b"\0") if field[:1] == b"C"] if head[:1] == b"E" else []
            found.append("".join([head[:1].decode(), *state]))
        return found

    def close(self):
        self.stream.close()
        self.socket.close()


@pytest.fixture
def wire(shared):
    wire = Wire(shared)
    yield wire
    wire.close()


def test_bytes_that_are_no_text_are_refused_and_the_session_goes_on(wire):
    wire.send(b"Q", b"SELECT '\xff'\0")
    assert wire.answers() == ["E22021", "Z"]
    wire.send(b"P", b"\0SELECT '\xff'\0\0\0")
    wire.send(b"B", b"\0\0\0\0\0\0\0\0")
    wire.send(b"S", b"")
    assert wire.answers() == ["E22021", "Z"]
    wire.send(b"P", b"\0SELECT $1\0\0\0")
    wire.send(b"B", b"\0\0\0\0" + struct.pack("!hi", 1, 3) + b"a\0b" + b"\0\0")
    wire.send(b"S", b"")
    assert wire.answers() == ["1", "E22021", "Z"]
    wire.send(b"Q", b"SELECT 1\0")
    assert wire.answers() == ["T", "D", "C", "Z"]


def test_a_message_that_makes_no_sense_is_an_error_and_no_end(wire):
    for letter in (b"D", b"C"):
        wire.send(letter, b"Q\0")
        wire.send(b"S", b"")
        assert wire.answers() == ["E08P01", "Z"]
    wire.send(b"F", b"\0" * 10)
    assert wire.answers() == ["E0A000", "Z"]
    wire.send(b"Q", b"SELECT 1\0")
    assert wire.answers() == ["T", "D", "C", "Z"]


# --- blocks ---------------------------------------------------------------------------------------


def test_a_block_is_one_commit_or_nothing(shared, pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT)")
    count = f"SELECT count(*) FROM {table}"
    with connect(shared, autocommit=False) as writer:
        assert writer.execute(count).fetchone() == (0,)
        writer.execute(f"INSERT INTO {table} VALUES (1)")
        writer.execute(f"INSERT INTO {table} VALUES (%s), (%s)", (2, 3))
        with writer.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
            copy.write_row((4,))
        assert pg.execute(count).fetchone() == (0,)
        writer.rollback()
        assert pg.execute(count).fetchone() == (0,)
        writer.execute(f"INSERT INTO {table} VALUES (1)")
        with writer.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {table} VALUES (%s)", [(2,), (3,)])
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                copy.write_row((4,))
        writer.commit()
        assert pg.execute(count).fetchone() == (4,)
        versions = pg.execute(f"DESCRIBE HISTORY {table}").fetchall()
        assert len(versions) == 2, versions
        writer.execute(f"UPDATE {table} SET a = a + 10")
        writer.commit()
        assert pg.execute(f"SELECT min(a), max(a) FROM {table}").fetchone() == (11, 14)


def test_what_a_block_cannot_keep_together_is_refused(shared, pg, table):
    for name in (table, f"{table}_2"):
        pg.execute(f"CREATE TABLE {name} (a BIGINT)")
    for sql in [f"SELECT * FROM {table}", f"INSERT INTO {table}_2 VALUES (1)", f"DELETE FROM {table}", f"DROP TABLE {table}"]:
        with connect(shared, autocommit=False) as writer:
            writer.execute(f"INSERT INTO {table} VALUES (1)")
            with pytest.raises(psycopg.Error) as raised:
                writer.execute(sql)
            assert sqlstate(raised) == "25000", raised.value
            with pytest.raises(psycopg.errors.InFailedSqlTransaction):
                writer.execute("SELECT 1")
            assert writer.execute("COMMIT").statusmessage == "ROLLBACK"
            assert writer.execute("SELECT 1").fetchone() == (1,)
    assert pg.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_savepoints_take_back_what_came_after_them(shared, pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT)")
    with connect(shared, autocommit=False) as writer:
        writer.execute(f"INSERT INTO {table} VALUES (1)")
        with pytest.raises(psycopg.errors.DivisionByZero), writer.transaction():
            writer.execute(f"INSERT INTO {table} VALUES (2)")
            writer.execute("DECLARE c CURSOR FOR SELECT 1")
            writer.execute("SELECT 1 / 0")
        writer.execute("DECLARE c CURSOR FOR SELECT 7")
        assert writer.execute("FETCH ALL FROM c").fetchall() == [(7,)]
        with writer.transaction():
            writer.execute(f"INSERT INTO {table} VALUES (3)")
        with pytest.raises(psycopg.errors.InvalidSavepointSpecification):
            writer.execute("ROLLBACK TO SAVEPOINT nothing")
        writer.rollback()
        writer.execute(f"INSERT INTO {table} VALUES (1)")
        writer.execute("SAVEPOINT s")
        writer.execute(f"INSERT INTO {table} VALUES (2)")
        writer.execute("ROLLBACK TO s")
        writer.execute(f"INSERT INTO {table} VALUES (3)")
        writer.execute("RELEASE s")
        writer.commit()
    assert pg.execute(f"SELECT a FROM {table} ORDER BY a").fetchall() == [(1,), (3,)]


def test_a_block_that_ends_with_its_client_writes_nothing(shared, pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT)")
    writer = connect(shared, autocommit=False)
    writer.execute(f"INSERT INTO {table} VALUES (1)")
    writer.close()
    assert pg.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_block_reads_the_newest_or_what_it_has_read(shared, pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT)")
    count = f"SELECT count(*) FROM {table}"
    levels = [(psycopg.IsolationLevel.READ_COMMITTED, 1), (psycopg.IsolationLevel.REPEATABLE_READ, 0)]
    for before, (level, sees) in enumerate(levels):
        with connect(shared, autocommit=False) as reader:
            reader.isolation_level = level
            assert reader.execute(count).fetchone() == (before,)
            pg.execute(f"INSERT INTO {table} VALUES (1)")
            assert reader.execute(count).fetchone() == (before + sees,)
            assert reader.execute("SHOW transaction_isolation").fetchone() == (level.name.lower().replace("_", " "),)


def test_what_takes_effect_at_once_warns_in_a_block(shared, pg, table):
    with connect(shared, autocommit=False) as writer:
        notices = []
        writer.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        writer.execute(f"CREATE TABLE {table} (a BIGINT)")
        assert "ROLLBACK does not undo it" in notices[0]
        writer.execute(f"INSERT INTO {table} VALUES (1)")
        writer.rollback()
    assert len(notices) == 1
    assert pg.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_read_only_block_writes_nothing(shared, pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT)")
    with connect(shared, autocommit=False) as reader:
        reader.read_only = True
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute(f"INSERT INTO {table} VALUES (1)")
        reader.rollback()
        reader.read_only = None
        reader.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            reader.execute(f"INSERT INTO {table} VALUES (1)")
        reader.rollback()
        reader.execute(f"INSERT INTO {table} VALUES (1)")
        reader.commit()
    assert pg.execute(f"SELECT count(*) FROM {table}").fetchone() == (1,)


def test_more_isolation_than_there_is_is_refused(shared):
    with connect(shared, autocommit=False) as connection:
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        with pytest.raises(psycopg.errors.FeatureNotSupported):
            connection.execute("SELECT 1")


def test_a_read_only_session_writes_nothing(pg, table):
    pg.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        pg.execute(f"CREATE TABLE {table} (a BIGINT)")


# --- rows ------------------------------------------------------------------------------------------


def test_a_cursor_of_the_server_gives_rows_a_few_at_a_time(shared):
    with connect(shared, autocommit=False) as connection, connection.cursor("c") as cursor:
        cursor.itersize = 1000
        cursor.execute("SELECT value FROM generate_series(1, 9999) WHERE value <= %s ORDER BY value", (2500,))
        assert cursor.fetchone() == (1,)
        assert cursor.fetchmany(3) == [(2,), (3,), (4,)]
        assert len(cursor.fetchall()) == 2496


def test_a_large_result_waits_for_a_slow_reader(shared):
    """Rows of some gigabytes: they are neither collected by the server, nor is it in the reader's hands."""
    with connect(shared) as connection:
        cursor = connection.cursor()
        rows = cursor.stream("SELECT value, repeat('x', 1000) FROM generate_series(1, 3000000)")
        for _ in range(3):
            next(rows)
        time.sleep(1)
        status = pathlib.Path(f"/proc/{shared.process.pid}/status")
        if status.exists():
            resident = [line for line in status.read_text().splitlines() if line.startswith("VmRSS")]
            assert int(resident[0].split()[1]) < 2_000_000, resident
        rows.close()
        with connect(shared) as other:
            assert other.execute("SELECT 1").fetchone() == (1,)


def running(pg, text):
    query = "SELECT count(*) FROM system.queries WHERE state = 'RUNNING' AND sql LIKE %s AND sql NOT LIKE %s"
    return pg.execute(query, (f"%{text}%", "%system.queries%")).fetchone()[0]


def eventually(holds):
    last = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < last, "it does not come to be"
        time.sleep(0.05)


SLOW = "SELECT count(*) AS {name} FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b WHERE a.value % 7 = b.value % 11"


def test_cancel_ends_what_runs_and_the_session_goes_on(shared, pg):
    with connect(shared) as connection:
        failed = []

        def work():
            try:
                connection.execute(SLOW.format(name="to_cancel"))
            except psycopg.Error as error:
                failed.append(error)

        worker = threading.Thread(target=work)
        worker.start()
        eventually(lambda: running(pg, "to_cancel") == 1)
        connection.cancel()
        worker.join(30)
        assert isinstance(failed[0], psycopg.errors.QueryCanceled), failed
        eventually(lambda: running(pg, "to_cancel") == 0)
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_what_a_client_ran_ends_when_it_goes_away(shared, pg):
    connection = connect(shared)
    connection.pgconn.send_query(SLOW.format(name="left_alone").encode())
    eventually(lambda: running(pg, "left_alone") == 1)
    connection.close()
    eventually(lambda: running(pg, "left_alone") == 0)


def test_statement_timeout_ends_a_statement(pg):
    pg.execute("SET statement_timeout = '200ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        pg.execute(SLOW.format(name="too_slow"))
    pg.execute("RESET statement_timeout")


# --- COPY ------------------------------------------------------------------------------------------


def test_copy_in_and_out_gives_back_the_same_rows(pg, table):
    rows = [(n, f"a\tb\n{n}\\N", None if n % 3 else n / 4, b"\x00\xff", n % 2 == 0) for n in range(20_000)]
    pg.execute(f"CREATE TABLE {table} (a BIGINT, b VARCHAR, c DOUBLE, d BYTEA, e BOOLEAN)")
    with pg.cursor() as cursor:
        with cursor.copy(f"COPY {table} (a, b, c, d, e) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        assert cursor.statusmessage == "COPY 20000"
        assert pg.execute(f"SELECT count(*) FROM {table}").fetchone() == (20_000,)
        for options in ["", "(FORMAT csv, HEADER)"]:
            with cursor.copy(f"COPY (SELECT * FROM {table} ORDER BY a) TO STDOUT {options}") as copy:
                data = b"".join(bytes(piece) for piece in copy)
            other = f"{table}_{'csv' if options else 'text'}"
            pg.execute(f"CREATE TABLE {other} (a BIGINT, b VARCHAR, c DOUBLE, d BYTEA, e BOOLEAN)")
            with cursor.copy(f"COPY {other} FROM STDIN {options}") as copy:
                copy.write(data)
            assert pg.execute(f"SELECT * FROM {other} ORDER BY a").fetchall() == rows
    with pg.cursor() as cursor, cursor.copy(f"COPY {table} (a) TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int8"])
        assert sorted(row[0] for row in copy.rows()) == list(range(20_000))
    pg.execute(f"TRUNCATE {table}")
    with pg.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int8", "text", "float8", "bytea", "bool"])
        for row in rows:
            copy.write_row(row)
    assert pg.execute(f"SELECT * FROM {table} ORDER BY a").fetchall() == rows


def test_a_copy_that_fails_or_breaks_off_writes_nothing(shared, pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT NOT NULL)")
    for text, code in [("1\nx\n", "22P02"), ("1\t2\n", "22P04"), ("1\n\\N\n", "23502"), (b"\xff\n", "22021")]:
        with pytest.raises(psycopg.Error) as raised, pg.cursor() as cursor:
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                copy.write(text)
        assert sqlstate(raised) == code, raised.value
    with pytest.raises(ZeroDivisionError), pg.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            copy.write("1\n" * 100_000)
            raise ZeroDivisionError
    connection = connect(shared)
    connection.pgconn.exec_(f"COPY {table} FROM STDIN".encode())
    connection.pgconn.put_copy_data(b"1\n" * 100_000)
    connection.pgconn.finish()
    eventually(lambda: running(pg, table) == 0)
    assert pg.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_header_that_has_to_match_does(pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT, b BIGINT)")
    for header, code in [("a,b", None), ("b,a", "22P04"), ("a", "22P04")]:
        def load():
            with pg.cursor() as cursor, cursor.copy(f"COPY {table} (a, b) FROM STDIN (FORMAT csv, HEADER MATCH)") as copy:
                copy.write(f"{header}\n7,8\n")

        if code is None:
            load()
        else:
            with pytest.raises(psycopg.Error) as raised:
                load()
            assert sqlstate(raised) == code, raised.value
    assert pg.execute(f"SELECT a, b FROM {table}").fetchall() == [(7, 8)]


def test_a_binary_copy_that_was_cut_off_writes_nothing(pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT)")
    row = struct.pack("!hiq", 1, 8, 77)
    head = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
    for data, code in [(head + row, "22P04"), (head + row + row[:5], "22P04"), (head + row + b"\xff\xff", None)]:
        assert pg.pgconn.exec_(f"COPY {table} FROM STDIN (FORMAT binary)".encode()).status == psycopg.pq.ExecStatus.COPY_IN
        pg.pgconn.put_copy_data(data)
        pg.pgconn.put_copy_end()
        found = pg.pgconn.get_result()
        state = found.error_field(psycopg.pq.DiagnosticField.SQLSTATE)
        assert (state and state.decode()) == code
        assert pg.pgconn.get_result() is None
        assert pg.execute(f"SELECT count(*) FROM {table}").fetchone() == (0 if code else 1,)


def test_arrays_are_copied_out_and_in(pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT[], b VARCHAR[])")
    pg.execute(f"INSERT INTO {table} VALUES ([1, NULL], ['x,y', '']), (NULL, [])")
    rows = pg.execute(f"SELECT * FROM {table} ORDER BY a").fetchall()
    with pg.cursor() as cursor:
        for options in ("", "(FORMAT csv)"):
            with cursor.copy(f"COPY {table} TO STDOUT {options}") as copy:
                data = b"".join(bytes(piece) for piece in copy)
            pg.execute(f"TRUNCATE {table}")
            with cursor.copy(f"COPY {table} FROM STDIN {options}") as copy:
                copy.write(data)
            assert pg.execute(f"SELECT * FROM {table} ORDER BY a").fetchall() == rows


# --- what tools ask -------------------------------------------------------------------------------


def statements(path):
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("--"))
    return [statement.strip() for statement in text.split(";\n") if statement.strip()]


@pytest.mark.parametrize(
    ("tool", "sql"),
    [(path.stem, sql.rstrip(";")) for path in RECORDED for sql in statements(path)],
    ids=lambda value: value[:60] if isinstance(value, str) else value,
)
def test_what_a_tool_sends_is_answered(pg, tool, sql):
    pg.execute("CREATE TABLE IF NOT EXISTS orders (id BIGINT, note VARCHAR, PRIMARY KEY (id))")
    pg.execute(sql)


@pytest.fixture(scope="module")
def goods(shared):
    """A table with everything that tools show of one, and a view."""
    with connect(shared) as connection:
        connection.execute(
            """CREATE TABLE goods (
                 id BIGINT NOT NULL COMMENT 'the number', name VARCHAR, price DECIMAL(10, 2), at TIMESTAMP, on_sale BOOLEAN,
                 small SMALLINT, size INT, weight DOUBLE, tags VARCHAR[],
                 gross DECIMAL(12, 2) GENERATED ALWAYS AS (CAST(price * 2 AS DECIMAL(12, 2))),
                 PRIMARY KEY (id), CONSTRAINT priced CHECK (price > 0)
               ) COMMENT 'what is sold'"""
        )
        connection.execute("CREATE VIEW cheap AS SELECT id FROM goods WHERE price < 1")
    yield
    with connect(shared) as connection:
        connection.execute("DROP VIEW cheap")
        connection.execute("DROP TABLE goods")


ANSWERS = [
    # Power BI: what there is, and its columns.
    (
        """select TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE from INFORMATION_SCHEMA.tables
           where TABLE_SCHEMA = 'main' and TABLE_NAME in ('goods', 'cheap') order by TABLE_SCHEMA, TABLE_NAME""",
        [("main", "cheap", "VIEW"), ("main", "goods", "BASE TABLE")],
    ),
    (
        """select COLUMN_NAME, ORDINAL_POSITION, IS_NULLABLE, DATA_TYPE from INFORMATION_SCHEMA.columns
           where TABLE_SCHEMA = 'main' and TABLE_NAME = 'goods' order by TABLE_SCHEMA, TABLE_NAME, ORDINAL_POSITION""",
        [
            ("id", 1, "NO", "bigint"),
            ("name", 2, "YES", "text"),
            ("price", 3, "YES", "numeric"),
            ("at", 4, "YES", "timestamp without time zone"),
            ("on_sale", 5, "YES", "boolean"),
            ("small", 6, "YES", "smallint"),
            ("size", 7, "YES", "integer"),
            ("weight", 8, "YES", "double precision"),
            ("tags", 9, "YES", "ARRAY"),
            ("gross", 10, "YES", "numeric"),
        ],
    ),
    ("select CHARACTER_SET_NAME from INFORMATION_SCHEMA.character_sets", [("UTF8",)]),
    (
        """select i.CONSTRAINT_SCHEMA || '_' || i.CONSTRAINT_NAME as INDEX_NAME, ii.COLUMN_NAME, ii.ORDINAL_POSITION,
             case when i.CONSTRAINT_TYPE = 'PRIMARY KEY' then 'Y' else 'N' end as PRIMARY_KEY
           from INFORMATION_SCHEMA.table_constraints i inner join INFORMATION_SCHEMA.key_column_usage ii
             on i.CONSTRAINT_SCHEMA = ii.CONSTRAINT_SCHEMA and i.CONSTRAINT_NAME = ii.CONSTRAINT_NAME
             and i.TABLE_SCHEMA = ii.TABLE_SCHEMA and i.TABLE_NAME = ii.TABLE_NAME
           where i.TABLE_SCHEMA = 'main' and i.TABLE_NAME = 'goods' and i.CONSTRAINT_TYPE in ('PRIMARY KEY', 'UNIQUE')""",
        [("main_goods_pkey", "id", 1, "Y")],
    ),
    # Npgsql: GetSchema("Columns").
    (
        """SELECT udt_name, numeric_precision, numeric_precision_radix, numeric_scale, datetime_precision, is_generated
           FROM information_schema.columns WHERE table_name = 'goods' AND column_name IN ('id', 'price', 'at', 'tags', 'gross')
           ORDER BY ordinal_position""",
        [
            ("int8", 64, 2, 0, None, "NEVER"),
            ("numeric", 10, 10, 2, None, "NEVER"),
            ("timestamp", None, None, None, 6, "NEVER"),
            ("_text", None, None, None, None, "NEVER"),
            ("numeric", 12, 10, 2, None, "ALWAYS"),
        ],
    ),
    # Grafana: times and numbers, by the names of their types.
    (
        """SELECT quote_ident(column_name) AS "column", data_type AS "type" FROM information_schema.columns
           WHERE quote_ident(table_name) = 'goods' AND (data_type LIKE 'timestamp%' OR data_type IN ('bigint', 'numeric'))
           ORDER BY ordinal_position""",
        [("id", "bigint"), ("price", "numeric"), ("at", "timestamp without time zone"), ("gross", "numeric")],
    ),
    ("SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = 'main' AND table_name IN ('goods', 'cheap')",
     [("cheap", "SELECT id FROM main.goods WHERE price < 1")]),
    ("SELECT constraint_name, check_clause FROM information_schema.check_constraints WHERE constraint_name = 'priced'", [("priced", "price > 0")]),
    ("SELECT constraint_name, constraint_type FROM information_schema.table_constraints WHERE table_name = 'goods' ORDER BY 1",
     [("goods_pkey", "PRIMARY KEY"), ("priced", "CHECK")]),
    ("SELECT privilege_type FROM information_schema.table_privileges WHERE table_name = 'goods' ORDER BY 1",
     [("DELETE",), ("INSERT",), ("SELECT",), ("UPDATE",)]),
    ("SELECT count(*) FROM information_schema.sequences", [(0,)]),
    # DBeaver: comments of tables and columns.
    (
        """SELECT c.relname, d.description FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d
           ON d.objoid=c.oid AND d.objsubid=0 AND d.classoid='pg_class'::regclass
           WHERE c.relnamespace=2200 AND c.relname IN ('goods', 'cheap') ORDER BY 1""",
        [("cheap", None), ("goods", "what is sold")],
    ),
    (
        """SELECT a.attname, a.attnotnull, dsc.description FROM pg_catalog.pg_attribute a
           INNER JOIN pg_catalog.pg_class c ON (a.attrelid=c.oid)
           LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid=dsc.objoid AND a.attnum = dsc.objsubid)
           WHERE NOT a.attisdropped AND c.oid='goods'::regclass AND a.attnum < 3 ORDER BY a.attnum""",
        [("id", True, "the number"), ("name", False, None)],
    ),
    ("SELECT col_description('goods'::regclass, 1), obj_description('goods'::regclass, 'pg_class')", [("the number", "what is sold")]),
    (
        "SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'goods'::regclass ORDER BY conname",
        [("goods_pkey", "p", "PRIMARY KEY (id)"), ("priced", "c", "CHECK (price > 0)")],
    ),
    ("SELECT 'pg_class'::regclass::oid, 'pg_catalog.pg_namespace'::regclass::oid, to_regclass('nothing')", [(1259, 2615, None)]),
    # pgAdmin: at connect.
    ("SELECT set_config('bytea_output','hex',false) FROM pg_show_all_settings() WHERE name = 'bytea_output'", [("hex",)]),
    ("SELECT gss_authenticated, encrypted FROM pg_catalog.pg_stat_gssapi WHERE pid = pg_backend_pid()", []),
    # Metabase: what may be read and written.
    (
        """SELECT t.n, pg_catalog.has_any_column_privilege(current_user, '"main"."' || t.n || '"', 'update') AS update,
             pg_catalog.has_any_column_privilege(current_user, '"main"."' || t.n || '"', 'select') AS select
           FROM (VALUES ('goods'), ('cheap'), ('nothing')) AS t (n)""",
        [("goods", True, True), ("cheap", False, True), ("nothing", None, None)],
    ),
    ("SELECT has_schema_privilege('main', 'CREATE'), has_schema_privilege('pg_catalog', 'CREATE'), has_database_privilege('whimbrel', 'CONNECT')",
     [(True, False, True)]),
]


@pytest.mark.parametrize(("sql", "expected"), ANSWERS, ids=[" ".join(sql.split())[:60] for sql, _ in ANSWERS])
def test_what_a_tool_asks_is_answered_truly(pg, goods, sql, expected):
    assert pg.execute(sql).fetchall() == expected


def test_a_relation_that_is_cast_has_to_be_there(pg):
    with pytest.raises(psycopg.errors.UndefinedTable):
        pg.execute("SELECT 'main.nothing'::regclass")


def test_the_catalog_tells_of_tables_columns_and_keys(pg, table):
    pg.execute(f"CREATE TABLE {table} (id BIGINT, price DECIMAL(10, 2), tags VARCHAR, PRIMARY KEY (id))")
    columns = pg.execute(
        """SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a
           WHERE a.attrelid = %s::regclass AND a.attnum > 0 ORDER BY a.attnum""",
        (table,),
    ).fetchall()
    assert columns == [("id", "bigint"), ("price", "numeric(10,2)"), ("tags", "text")]
    key = pg.execute(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'p'",
        (table,),
    ).fetchone()
    assert key == ("PRIMARY KEY (id)",)
    kind = pg.execute("SELECT relkind FROM pg_class WHERE relname = %s", (table,)).fetchone()
    assert kind == ("r",)
    who = pg.execute("SELECT current_database(), current_schema(), pg_backend_pid()").fetchone()
    assert who == ("whimbrel", "main", pg.info.backend_pid)


def test_flight_sees_nothing_of_it(shared):
    with shared.connect() as connection, connection.cursor() as cursor:
        with pytest.raises(Exception, match="pg_class"):
            cursor.execute("SELECT * FROM pg_catalog.pg_class")
        with pytest.raises(Exception, match="pg_backend_pid"):
            cursor.execute("SELECT pg_backend_pid()")


def test_sqlalchemy_looks_around_and_writes(shared, table):
    place = "{host}:{port}".format(**shared.postgres)
    engine = sqlalchemy.create_engine(
        f"postgresql+psycopg://ada@{place}/whimbrel", isolation_level="AUTOCOMMIT"
    )
    metadata = sqlalchemy.MetaData()
    orders = sqlalchemy.Table(
        table,
        metadata,
        sqlalchemy.Column("id", sqlalchemy.BigInteger, autoincrement=False),
        sqlalchemy.Column("note", sqlalchemy.Text),
        sqlalchemy.Column("price", sqlalchemy.Numeric(10, 2)),
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE TABLE {table} (id BIGINT, note VARCHAR, price DECIMAL(10, 2), PRIMARY KEY (id))"))
        rows = [{"id": 1, "note": "x", "price": decimal.Decimal("1.50")}, {"id": 2, "note": None, "price": None}]
        connection.execute(orders.insert(), rows)
        found = connection.execute(orders.select().order_by(orders.c.id)).mappings().all()
        assert [dict(row) for row in found] == rows
    inspector = sqlalchemy.inspect(engine)
    assert table in inspector.get_table_names()
    assert inspector.has_table(table)
    assert "main" in inspector.get_schema_names()
    columns = inspector.get_columns(table)
    assert [(column["name"], str(column["type"])) for column in columns] == [
        ("id", "BIGINT"),
        ("note", "TEXT"),
        ("price", "NUMERIC(10, 2)"),
    ]
    assert inspector.get_pk_constraint(table)["constrained_columns"] == ["id"]
    assert inspector.get_foreign_keys(table) == []
    with pytest.raises(ZeroDivisionError), engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(orders.insert(), [{"id": 3}])
        raise ZeroDivisionError
    with engine.execution_options(isolation_level="READ COMMITTED").begin() as connection:
        connection.execute(orders.insert(), [{"id": 4}])
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.select(orders.c.id).order_by(orders.c.id)).scalars().all() == [1, 2, 4]
    engine.dispose()


def test_sqlalchemy_sees_comments_and_checks(shared, goods):
    engine = sqlalchemy.create_engine("postgresql+psycopg://ada@{host}:{port}/whimbrel".format(**shared.postgres))
    inspector = sqlalchemy.inspect(engine)
    assert inspector.get_table_comment("goods") == {"text": "what is sold"}
    assert inspector.get_columns("goods")[0]["comment"] == "the number"
    assert [(check["name"], check["sqltext"]) for check in inspector.get_check_constraints("goods")] == [("priced", "price > 0")]
    engine.dispose()


PSQL_COMMANDS = """
    d d+ da dA dA+ dAc dAf dAo dAp db db+ dc dC dconfig dd dD ddp dE di di+ dm ds dt dt+ dv dv+ des det deu dew df df+
    dF dFd dFp dFt dg dg+ dl dL dn dn+ do dO dp dP drds dRp dRs dT dT+ du dx dX dy l l+ z conninfo
"""
PSQL = os.environ.get("WHIMBREL_TEST_PSQL") or shutil.which("psql") or "psql"


def test_psql_shows_tables_and_their_columns(shared, pg, table):
    pg.execute(f"CREATE TABLE {table} (id BIGINT, price DECIMAL(10, 2), PRIMARY KEY (id))")

    def psql(command):
        place = ["-h", shared.postgres["host"], "-p", str(shared.postgres["port"])]
        done = subprocess.run(
            [PSQL, "-X", *place, "-d", "whimbrel", "-U", "ada", "-c", command],
            capture_output=True,
            text=True,
            timeout=60,
            env={k: v for k, v in os.environ.items() if not k.startswith("PG")},
        )
        assert done.returncode == 0 and "ERROR" not in done.stderr, done.stderr
        return done.stdout

    assert table in psql("\\dt")
    described = psql(f"\\d {table}")
    assert "numeric(10,2)" in described and f'"{table}_pkey" PRIMARY KEY' in described
    for command in PSQL_COMMANDS.split():
        psql(f"\\{command}")


def test_psql_goes_on_after_an_error_in_a_block(shared):
    script = """\\set FETCH_COUNT 2
\\set ON_ERROR_ROLLBACK on
begin;
select 1/0;
select 7 as found;
commit;
"""
    done = subprocess.run(
        [PSQL, "-X", "-h", shared.postgres["host"], "-p", str(shared.postgres["port"]), "-d", "whimbrel", "-U", "ada"],
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("PG")},
    )
    assert "7" in done.stdout and "cursor" not in done.stderr, done


# --- who may come in ------------------------------------------------------------------------------


def test_a_password_is_asked_for_when_there_are_users(stopped):
    stopped.add_user("ann", "pä55")
    stopped.start("--pg-addr", "127.0.0.1:0")
    with connect(stopped, user="ann", password="pä55") as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("ann",)
    texts = set()
    for user, password in [("ann", "wrong"), ("nobody", "pä55"), ("ann", "")]:
        with pytest.raises(psycopg.OperationalError) as raised:
            connect(stopped, user=user, password=password)
        if password:
            texts.add(str(raised.value).split("FATAL:")[-1])
    assert len(texts) == 1 and "wrong user name or password" in texts.pop()


def test_what_is_not_granted_is_not_there(stopped):
    stopped.add_user("root", "pw")
    stopped.add_user("bob", "pw")
    stopped.start("--pg-addr", "127.0.0.1:0")
    named = "SELECT count(*) FROM pg_catalog.pg_class WHERE relname = 'kept'"
    with connect(stopped, user="root", password="pw") as root, connect(stopped, user="bob", password="pw") as bob:
        root.execute("CREATE TABLE kept AS SELECT 1 AS a, 2 AS b")
        assert bob.execute(named).fetchone() == (0,)
        with pytest.raises(psycopg.Error) as raised:
            bob.execute("SELECT * FROM kept")
        assert sqlstate(raised) == "42P01"
        with pytest.raises(psycopg.Error) as raised, bob.cursor().copy("COPY kept FROM STDIN") as copy:
            copy.write_row((3, 4))
        assert sqlstate(raised) == "42P01"
        root.execute("GRANT SELECT (a) ON kept TO bob")
        asked = "SELECT has_table_privilege('kept', 'SELECT'), has_any_column_privilege('kept', 'SELECT'), has_table_privilege('kept', 'INSERT')"
        assert root.execute(asked).fetchone() == (True, True, True)
        assert bob.execute(asked).fetchone() == (False, True, False)
        columns = "SELECT has_column_privilege('kept', 'a', 'SELECT'), has_column_privilege('bob', 'kept', 'b', 'SELECT')"
        assert bob.execute(columns).fetchone() == (True, False)
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'kept'"
        assert bob.execute(owner).fetchone() == root.execute(owner).fetchone() == ("root",)
        assert bob.execute("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'kept'").fetchone() == ("root",)
        is_super = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"
        assert (root.execute(is_super).fetchone(), bob.execute(is_super).fetchone()) == ((True,), (False,))
        assert bob.execute(named).fetchone() == (1,)
        assert bob.execute("SELECT * FROM kept").fetchall() == [(1,)]
        with pytest.raises(psycopg.Error) as raised:
            bob.execute("INSERT INTO kept VALUES (3, 4)")
        assert sqlstate(raised) == "42501"
        with pytest.raises(psycopg.Error) as raised, bob.cursor().copy("COPY kept FROM STDIN") as copy:
            copy.write_row((3,))
        assert sqlstate(raised) == "42501"


def test_tls_is_taken_and_nothing_else_when_it_is_on(stopped, tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    key, cert, root = tmp_path / "key.pem", tmp_path / "cert.pem", tmp_path / "root.pem"
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(cert)
    authority.cert_pem.write_to_path(root)
    stopped.environment |= {"WHIMBREL__SERVER__TLS_CERT": str(cert), "WHIMBREL__SERVER__TLS_KEY": str(key)}
    stopped.add_user("ann", "pw")
    stopped.start("--pg-addr", "127.0.0.1:0")
    for mode in ["require", "verify-full"]:
        with connect(stopped, user="ann", password="pw", sslmode=mode, sslrootcert=root) as connection:
            assert connection.pgconn.ssl_in_use
            assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="encrypted"):
        connect(stopped, user="ann", password="pw", sslmode="disable")


def test_another_database_is_refused(shared):
    with pytest.raises(psycopg.OperationalError, match="there is no database 'nowhere'"):
        connect(shared, dbname="nowhere")


def test_one_connection_too_many_is_told_so(stopped):
    stopped.environment["WHIMBREL__SERVER__PG_CONNECTIONS_MAX"] = "2"
    stopped.start("--pg-addr", "127.0.0.1:0")
    with connect(stopped), connect(stopped) as second:
        with pytest.raises(psycopg.OperationalError, match="too many connections"):
            connect(stopped)
        assert second.execute("SELECT 1").fetchone() == (1,)


def test_no_user_takes_the_places_of_all_others(stopped):
    stopped.environment["WHIMBREL__SERVER__PG_CONNECTIONS_PER_USER_MAX"] = "2"
    stopped.add_user("ann", "pw")
    stopped.add_user("bob", "pw")
    stopped.start("--pg-addr", "127.0.0.1:0")
    ann, bob = {"user": "ann", "password": "pw"}, {"user": "bob", "password": "pw"}
    with connect(stopped, **ann) as first, connect(stopped, **ann):
        with pytest.raises(psycopg.OperationalError, match="you have 2 connections already"):
            connect(stopped, **ann)
        with connect(stopped, **bob) as other:
            assert other.execute("SELECT current_user").fetchone() == ("bob",)
        first.close()
        # What is closed is free again as soon as the server has seen it.
        eventually(lambda: opens(stopped, **ann))


def opens(server, **options):
    try:
        connect(server, **options).close()
        return True
    except psycopg.OperationalError:
        return False


def test_members_of_a_role_have_so_many_sessions_and_may_idle_so_long(stopped):
    stopped.add_user("root", "pw")
    stopped.add_user("bob", "pw")
    stopped.add_user("cid", "pw")
    stopped.start("--pg-addr", "127.0.0.1:0")
    bob, cid = {"user": "bob", "password": "pw"}, {"user": "cid", "password": "pw"}
    with connect(stopped, user="root", password="pw") as root:
        for statement in [
            "CREATE ROLE few",
            "GRANT few TO bob, cid",
            "ALTER ROLE few SET LIMITS (sessions = 1)",
        ]:
            root.execute(statement)
        with connect(stopped, **bob):
            with pytest.raises(psycopg.OperationalError, match="'few' have 1 sessions already"):
                connect(stopped, **cid)
            # Admins have no limits.
            with connect(stopped, user="root", password="pw"):
                pass
        eventually(lambda: opens(stopped, **cid))
        root.execute("ALTER ROLE few RESET LIMITS")
        root.execute("ALTER ROLE few SET LIMITS (session_idle = '300ms')")
        with connect(stopped, **bob) as idle:
            eventually(lambda: ended(idle) == "57P05")
        root.execute("ALTER ROLE few RESET LIMITS")
        root.execute("ALTER ROLE few SET LIMITS (transaction_idle = '300ms')")
        with connect(stopped, **bob) as idle, connect(stopped, **cid) as outside:
            idle.execute("BEGIN")
            eventually(lambda: ended(idle) == "25P03")
            assert outside.execute("SELECT 1").fetchone() == (1,)


def ended(connection):
    """Why the server has ended the session; None while it has not, without a word to it."""
    ready, _, _ = select.select([connection.fileno()], [], [], 0)
    if not ready:
        return None
    with pytest.raises(psycopg.Error) as raised:
        connection.execute("SELECT 1")
    return sqlstate(raised)


def test_a_token_opens_the_server_where_the_client_says_that_it_is_one(stopped):
    stopped.add_user("root", "pw")
    stopped.add_user("bob", "pw")
    stopped.start("--pg-addr", "127.0.0.1:0")
    with connect(stopped, user="root", password="pw") as root:
        (token, *_) = root.execute("CREATE TOKEN t FOR USER bob").fetchone()
        says = {"options": "-c whimbrel.login=token"}
        with connect(stopped, user="bob", password=token, **says) as bob:
            assert bob.execute("SELECT current_user").fetchone() == ("bob",)
        for user, password in [("root", token), ("bob", token + "x"), ("bob", "pw"), ("nobody", token)]:
            with pytest.raises(psycopg.OperationalError, match="wrong user name or password"):
                connect(stopped, user=user, password=password, **says)
        root.execute("DROP TOKEN t FOR USER bob")
        with pytest.raises(psycopg.OperationalError, match="wrong user name or password"):
            connect(stopped, user="bob", password=token, **says)


def test_prepare_and_execute_are_statements(pg, table):
    pg.execute(f"CREATE TABLE {table} (a BIGINT, b VARCHAR, c DATE)")
    pg.execute(f"PREPARE put (bigint, text, date) AS INSERT INTO {table} VALUES ($1, $2, $3)")
    assert pg.execute("EXECUTE put(1, 'x, (y)', '2024-02-29')").statusmessage == "INSERT 0 1"
    pg.execute("EXECUTE put (1 + 1, NULL, DATE '2024-03-01')")
    pg.execute(f"PREPARE q AS SELECT a, b, c FROM {table} WHERE a >= $1 ORDER BY a")
    rows = [(1, "x, (y)", datetime.date(2024, 2, 29)), (2, None, datetime.date(2024, 3, 1))]
    assert pg.execute("EXECUTE q(1)").fetchall() == rows
    assert pg.execute("EXECUTE q('2')").fetchall() == rows[1:]
    with pg.cursor() as cursor:
        # By the simple protocol, which psql sends.
        result = cursor.connection.pgconn.exec_(b"EXECUTE q(2)")
        assert (result.ntuples, result.get_value(0, 0)) == (1, b"2")
    for wrong, code in [
        ("EXECUTE q", "42601"),
        ("EXECUTE q(1, 2)", "42601"),
        ("EXECUTE q(1), (2)", "42601"),
        ("EXECUTE nothing(1)", "26000"),
        ("PREPARE q AS SELECT 1", "42P05"),
        ("PREPARE b AS BEGIN", "42601"),
        ("PREPARE TRANSACTION 'x'", "0A000"),
    ]:
        with pytest.raises(psycopg.Error) as raised:
            pg.execute(wrong)
        assert sqlstate(raised) == code, wrong
    assert pg.execute("DEALLOCATE q").statusmessage == "DEALLOCATE"
    with pytest.raises(psycopg.Error) as raised:
        pg.execute("EXECUTE q(1)")
    assert sqlstate(raised) == "26000"


def test_parameters_mean_what_they_say(pg, table):
    pg.execute(f"CREATE TABLE {table} (id INT, d DECIMAL(10, 2), l BIGINT[])")
    pg.execute(f"INSERT INTO {table} VALUES (1, 2.00, NULL), (2, 99999.99, NULL)")
    for condition, value, expected in [
        ("id = %s", 1.5, []),
        ("id < %s", 2.5, [1, 2]),
        ("id < %s", 2**40, [1, 2]),
        ("d = %s", decimal.Decimal("2.004"), []),
        ("d = %s", decimal.Decimal("99999.99"), [2]),
        ("d = %s", 99999.99, [2]),
    ]:
        rows = pg.execute(f"SELECT id FROM {table} WHERE {condition} ORDER BY id", [value]).fetchall()
        assert [id for (id,) in rows] == expected, (condition, value)
    assert pg.execute("SELECT %s * 2", [1.5]).fetchone() == (3.0,)
    pg.execute(f"INSERT INTO {table} VALUES (3, NULL, %s)", [None])
    assert pg.execute(f"SELECT l IS NULL FROM {table} WHERE id = 3").fetchone() == (True,)
    # What PREPARE declares is what a parameter is.
    for types, body, argument, expected in [
        ("numeric(10, 2)", "$1 * 2", "1.5", decimal.Decimal("3.00")),
        ("double precision", "$1 * 2", "1.5", 3.0),
        ("numeric(10, 2)", "$1", "12.34", decimal.Decimal("12.34")),
        ("text", "$1", "'x'", "x"),
    ]:
        pg.execute(f"PREPARE typed ({types}) AS SELECT {body}")
        assert pg.execute(f"EXECUTE typed({argument})").fetchone() == (expected,), types
        pg.execute("DEALLOCATE typed")


def test_types_and_clocks_that_only_postgres_names(pg):
    known = uuid.uuid4()
    assert pg.execute("SELECT %s::uuid::text", [known]).fetchone() == (str(known),)
    assert pg.execute("SELECT '{\"a\": 1}'::json, CAST('[1]' AS jsonb)").fetchone() == ('{"a": 1}', "[1]")
    stamp, clock = pg.execute("SELECT localtimestamp AS stamp, localtime AS clock").fetchone()
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    assert isinstance(clock, datetime.time) and abs(now - stamp) < datetime.timedelta(minutes=5)


def test_a_sleeping_session_is_ended(stopped):
    stopped.environment["WHIMBREL__SERVER__PG_IDLE_TIMEOUT"] = "300ms"
    stopped.start("--pg-addr", "127.0.0.1:0")
    with connect(stopped) as connection:
        time.sleep(1)
        with pytest.raises(psycopg.Error) as raised:
            connection.execute("SELECT 1")
        assert sqlstate(raised) == "57P05"


def test_at_shutdown_what_runs_ends_and_what_sleeps_is_told(stopped):
    stopped.start("--pg-addr", "127.0.0.1:0")
    with connect(stopped) as idle, connect(stopped) as busy:
        answers = []
        slow = "SELECT count(*) AS at_shutdown FROM generate_series(1, 6000) a, generate_series(1, 6000) b WHERE a.value % 7 = b.value % 11"
        worker = threading.Thread(target=lambda: answers.append(busy.execute(slow).fetchone()))
        worker.start()
        eventually(lambda: running(idle, "at_shutdown") == 1 or answers)
        stopped.stop()
        worker.join(30)
        assert answers and answers[0][0] > 0
        with pytest.raises(psycopg.Error) as raised:
            idle.execute("SELECT 1")
        assert sqlstate(raised) == "57P01"
