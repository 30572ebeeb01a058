"""Tables that Spark wrote, kept in fixtures/spark with their rows as Spark reads them."""

import datetime
import decimal
import itertools
import json
import pathlib
import shutil

import adbc_driver_manager
import pyarrow as pa
import pytest
from server import Server

SPARK = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "spark"
TABLES = sorted(path.parent.name for path in SPARK.glob("*/expected.json"))
# Tables that refuse every write, with the feature that they name.
REFUSED = {
    "mapped_by_id": "columnMapping",
    "mapped_by_name": "columnMapping",
    "binary_partitions": "partitioning by 'x', a column of",
}
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all tests, each of which has a table of its own."""
    server = Server(tmp_path_factory.mktemp("spark"))
    yield server.start()
    server.stop()


class Table:
    """A copy of a table that Spark wrote."""

    def __init__(self, server, cursor, kept, until=None):
        self.cursor = cursor
        self.name = f"{kept}_{next(NUMBERS)}"
        self.location = server.data_dir / "lake" / self.name
        # Files with the time of now, so that nothing of them has expired.
        shutil.copytree(SPARK / kept / "table", self.location, copy_function=shutil.copyfile)
        if until is not None:
            self.hide(until)
        expected = json.loads((SPARK / kept / "expected.json").read_text())
        self.expected = expected["rows"]
        self.columns = [tuple(column) for column in expected["columns"]]
        self.newest = expected["version"]
        cursor.execute(f"CREATE EXTERNAL TABLE {self.name} USING DELTA LOCATION '{self.name}'")

    def run(self, sql):
        self.cursor.execute(sql.replace("{t}", self.name))

    def hide(self, until):
        """Puts the commits after a version aside, as if Spark had not made them yet."""
        log = self.location / "_delta_log"
        late = [path for path in log.iterdir() if path.is_file() and path.name[:20].isdigit() and int(path.name[:20]) > until]
        pointer = log / "_last_checkpoint"
        if pointer.exists() and json.loads(pointer.read_text())["version"] > until:
            late.append(pointer)
        self.hidden = [(path, path.read_bytes()) for path in late]
        for path in late:
            path.unlink()

    def reveal(self):
        for path, content in sorted(self.hidden):
            path.write_bytes(content)

    def answer(self, sql="SELECT * FROM {t} ORDER BY id"):
        self.run(sql)
        return self.cursor.fetch_arrow_table()

    def rows(self, sql="SELECT * FROM {t} ORDER BY id"):
        answer = self.answer(sql)
        return plain(answer.to_pylist(), pa.list_(pa.struct(answer.schema)))

    def ids(self, condition):
        return [row["id"] for row in self.rows(f"SELECT id FROM {{t}} WHERE {condition} ORDER BY id")]

    def version(self):
        return self.rows("DESCRIBE HISTORY {t} LIMIT 1")[0]["version"]

    def files(self):
        return sorted(path for path in self.location.rglob("*") if path.is_file())

    def broken(self):
        """What VALIDATE finds amiss: how bad it is, and by which check."""
        findings = [(row["severity"], row["check"]) for row in self.rows("VALIDATE TABLE {t}")]
        return {(severity, check) for severity, check in findings if severity not in ("ok", "notice")}


@pytest.fixture
def copy(server, cursor):
    return lambda kept, **more: Table(server, cursor, kept, **more)


def plain(value, of):
    """A value as expected.json has it."""
    if value is None:
        return None
    if pa.types.is_struct(of):
        return {field.name: plain(value[field.name], field.type) for field in of}
    if pa.types.is_map(of):
        return sorted([plain(key, of.key_type), plain(part, of.item_type)] for key, part in value)
    if pa.types.is_list(of):
        return [plain(part, of.value_type) for part in value]
    match value:
        case datetime.datetime():
            zone = "" if value.tzinfo is None else "Z"
            return value.replace(tzinfo=None).isoformat(timespec="microseconds") + zone
        case datetime.date() | decimal.Decimal():
            return str(value)
        case bytes():
            return value.hex()
        case float() if not abs(value) < float("inf"):
            return str(value)
    return value


def spark_type(of):
    """A type as Spark calls it."""
    if pa.types.is_struct(of):
        return "struct<" + ",".join(f"{field.name}:{spark_type(field.type)}" for field in of) + ">"
    if pa.types.is_map(of):
        return f"map<{spark_type(of.key_type)},{spark_type(of.item_type)}>"
    if pa.types.is_list(of):
        return f"array<{spark_type(of.value_type)}>"
    if pa.types.is_decimal(of):
        return f"decimal({of.precision},{of.scale})"
    names = {
        pa.int64(): "bigint",
        pa.int32(): "int",
        pa.float64(): "double",
        pa.string(): "string",
        pa.binary(): "binary",
        pa.bool_(): "boolean",
        pa.date32(): "date",
        pa.timestamp("us"): "timestamp_ntz",
        pa.timestamp("us", "UTC"): "timestamp",
    }
    return names[of]


@pytest.mark.parametrize("kept", TABLES)
def test_the_rows_are_those_that_spark_reads(copy, kept):
    table = copy(kept)
    answer = table.answer()
    assert [(field.name, spark_type(field.type)) for field in answer.schema] == table.columns
    assert table.rows() == table.expected
    assert [row["column"] for row in table.rows("DESCRIBE {t}")] == [name for name, _ in table.columns]
    assert table.version() == table.newest


@pytest.mark.parametrize("kept", TABLES)
def test_what_the_log_tells_of_files_misleads_no_aggregate(copy, kept):
    table = copy(kept)
    (all_rows,) = table.rows("SELECT count(*) AS n, min(id) AS first, max(id) AS last FROM {t}")
    ids = [row["id"] for row in table.expected]
    assert all_rows == {"n": len(ids), "first": min(ids), "last": max(ids)}
    for name, type_of_spark in table.columns:
        values = [row[name] for row in table.expected if row[name] is not None]
        assert table.rows(f'SELECT count("{name}") AS n FROM {{t}}') == [{"n": len(values)}]
        if type_of_spark.startswith("timestamp"):
            (ends,) = table.rows(f'SELECT min("{name}") AS first, max("{name}") AS last FROM {{t}}')
            assert ends == {"first": min(values), "last": max(values)}


def utc(text):
    return f"CAST('{text}' AS TIMESTAMP WITH TIME ZONE)"


def late(row, column, text):
    return row[column] is not None and row[column] > text


LONG = "long " * 12
FILTERS = [
    ("v2_checkpoint", "day = DATE '2026-11-02'", lambda row: row["day"] == "2026-11-02"),
    ("v2_checkpoint", "note = 'one'", lambda row: row["note"] == "one"),
    ("v2_checkpoint_json", "day IS NULL", lambda row: row["day"] is None),
    ("v2_checkpoint_json", "id > 6", lambda row: row["id"] > 6),
    # The log tells ends of ranges in milliseconds, and beginnings of texts.
    ("multipart", f"at = {utc('2026-11-04 12:30:00.123456Z')}", lambda row: row["id"] == 4),
    ("multipart", f"at > {utc('2026-11-04 12:30:00.1234Z')}", lambda row: row["id"] == 4),
    ("multipart", f"note = '{LONG}4'", lambda row: row["id"] == 4),
    ("multipart", f"note > '{LONG}2'", lambda row: row["id"] in (3, 4)),
    ("multipart", "amount BETWEEN 3.5 AND 4", lambda row: row["amount"] == "3.50"),
    ("mapped_by_name", "a = 'was b'", lambda row: row["a"] == "was b"),
    ("mapped_by_name", "c = 'was a'", lambda row: row["c"] == "was a"),
    ("mapped_by_name", "\"the part\" = 'y/z'", lambda row: row["the part"] == "y/z"),
    ("mapped_by_name", "\"the part\" IS NULL", lambda row: row["the part"] is None),
    ("mapped_by_name", "n >= 7", lambda row: row["n"] == 8),
    ("mapped_by_name", "n IS NULL", lambda row: row["n"] is None),
    ("mapped_by_name", "place['latitude'] > 2", lambda row: row["id"] == 2),
    ("mapped_by_name", "\"odd, name\" = 'odd'", lambda row: row["odd, name"] == "odd"),
    ("mapped_by_id", "text = 'two'", lambda row: row["text"] == "two"),
    ("mapped_by_id", "pairs[1]['value'] = 'y'", lambda row: row["id"] == 2),
    ("int96", f"at = {utc('2026-11-01 12:30:00.123456Z')}", lambda row: row["id"] == 1),
    ("int96", "at < CAST('1600-01-01 00:00:00Z' AS TIMESTAMP(6) WITH TIME ZONE)", lambda row: row["id"] == 3),
    ("int96", f"at > {utc('2026-11-01 12:30:00.1234Z')}", lambda row: late(row, "at", "2026-11-01T12:30:00.1234")),
    ("int96", "at IS NULL", lambda row: row["at"] is None),
    ("ntz", "at = TIMESTAMP '2026-11-01 12:30:00.123456'", lambda row: row["id"] == 1),
    ("ntz", f"utc = {utc('2026-11-01 12:30:00.123456+02:00')}", lambda row: row["id"] == 1),
    ("ntz", "at > TIMESTAMP '2026-11-01 12:30:00.1234'", lambda row: late(row, "at", "2026-11-01T12:30:00.1234")),
    ("ntz", "at < TIMESTAMP '1969-12-31 23:59:59.999999'", lambda row: row["id"] == 4),
    ("ntz", "at IS NULL", lambda row: row["at"] is None),
    ("odd_partitions", "s IS NULL", lambda row: row["s"] is None),
    ("odd_partitions", "s LIKE 'a_b'", lambda row: row["s"] in ("a b", "a/b", "a\\b")),
    ("typed_partitions", f"utc = {utc('2026-11-01 10:30:00.5Z')}", lambda row: row["id"] == 1),
    ("typed_partitions", "at > TIMESTAMP '2026-11-01 12:30:00.000001'", lambda row: row["id"] == 3),
    ("typed_partitions", "day < DATE '1970-01-01'", lambda row: row["id"] == 2),
    ("typed_partitions", "NOT yes", lambda row: row["yes"] is False),
    ("typed_partitions", "amount = 1.5", lambda row: row["amount"] == "1.50"),
    ("typed_partitions", "f = 0.1", lambda row: row["f"] == 0.1),
    ("typed_partitions", "f < 0", lambda row: row["f"] == "-inf"),
    ("typed_partitions", "f > 1", lambda row: row["f"] == "nan"),
    ("binary_partitions", "x = X'2f'", lambda row: row["x"] == "2f"),
    ("marked", "id < 100", lambda row: row["id"] < 100),
    ("marked", "id BETWEEN 1000 AND 9999 AND n = 3", lambda row: 1000 <= row["id"] < 10000 and row["n"] == 3),
    ("marked", "id > 165536", lambda row: row["id"] > 165536),
    ("nested", "place['at']['lat'] > 1", lambda row: row["id"] == 1),
    ("nested", "tags[3] = ''", lambda row: row["id"] == 1),
    ("nested", "prices['eur'] = 1.5", lambda row: row["id"] == 1),
    ("nested", "place IS NULL", lambda row: row["id"] == 3),
]


@pytest.mark.parametrize("kept, condition, holds", FILTERS, ids=[f"{kept}-{condition}" for kept, condition, _ in FILTERS])
def test_a_filter_finds_what_it_is_about(copy, kept, condition, holds):
    table = copy(kept)
    expected = [row["id"] for row in table.expected if holds(row)]
    assert 0 < len(expected) < len(table.expected)
    assert table.ids(condition) == expected
    assert table.rows(f"SELECT count(*) AS n FROM {{t}} WHERE {condition}") == [{"n": len(expected)}]


def test_every_table_is_filtered():
    assert {kept for kept, _, _ in FILTERS} == set(TABLES)


def test_each_odd_partition_is_found_by_its_value(copy):
    table = copy("odd_partitions")
    for row in table.expected:
        if row["s"] is not None:
            table.cursor.execute(f"SELECT id FROM {table.name} WHERE s = ?", (row["s"],))
            assert (row, table.cursor.fetchall()) == (row, [(row["id"],)])


def test_marks_come_and_go_with_versions(copy):
    table = copy("marked")
    counts = {version: table.rows(f"SELECT count(*) AS n FROM {{t}} VERSION AS OF {version}")[0]["n"] for version in range(8)}
    assert counts == {0: 0, 1: 100, 2: 6_700, 3: 76_700, 4: 76_689, 5: 72_289, 6: 2_307, 7: 2_305}


@pytest.mark.parametrize("kept, first", [("v2_checkpoint", 4), ("v2_checkpoint_json", 4), ("multipart", 5)])
def test_versions_before_the_checkpoint_are_gone_and_said_so(copy, kept, first):
    table = copy(kept)
    assert [row["id"] for row in table.rows(f"SELECT id FROM {{t}} VERSION AS OF {first} ORDER BY id")]
    with pytest.raises(adbc_driver_manager.Error, match=f"begins with version {first}"):
        table.rows(f"SELECT id FROM {{t}} VERSION AS OF {first - 1}")


@pytest.mark.parametrize("kept", TABLES)
def test_validate_finds_nothing_broken(copy, kept):
    assert copy(kept).broken() == set()


@pytest.mark.parametrize("kept", ["v2_checkpoint", "v2_checkpoint_json"])
def test_validate_looks_into_v2_checkpoints(copy, kept):
    findings = copy(kept).rows("VALIDATE TABLE {t}")
    looked_at = {row["check"]: row["object"] for row in findings if row["severity"] == "ok"}
    assert set(looked_at) == {"log", "checkpoints", "files", "orphans", "partitions", "statistics"}
    assert looked_at["log"] == "3 commits, versions 4 to 6"
    assert looked_at["checkpoints"] == "1 checkpoint"


def test_validate_compares_the_rows_that_marks_leave(copy):
    findings = copy("marked").rows("VALIDATE TABLE {t}")
    looked_at = [row["object"] for row in findings if row["check"] == "statistics"]
    assert looked_at == ["row counts of 3 files, values of 3 of 3 files"]


def test_validate_misses_a_sidecar_and_a_deletion_vector(copy):
    table = copy("v2_checkpoint")
    for sidecar in (table.location / "_delta_log" / "_sidecars").iterdir():
        sidecar.unlink()
    problems = [row["problem"] for row in table.rows("VALIDATE TABLE {t}") if row["check"] == "checkpoints"]
    assert len(problems) == 2 and all("is not there" in problem for problem in problems)
    table = copy("marked")
    for vector in table.location.glob("deletion_vector_*.bin"):
        vector.unlink()
    missing = {row["object"] for row in table.rows("VALIDATE TABLE {t}") if row["severity"] == "error"}
    assert len(missing) == 2 and all(name.startswith("deletion_vector_") for name in missing)


# Versions at which a view begins, before Spark adds, marks, renames, drops and brings back.
UNTIL = {
    "binary_partitions": 0,
    "int96": 1,
    "mapped_by_id": 4,
    "mapped_by_name": 8,
    "marked": 3,
    "multipart": 5,
    "nested": 1,
    "ntz": 1,
    "odd_partitions": 0,
    "typed_partitions": 0,
    "v2_checkpoint": 4,
    "v2_checkpoint_json": 4,
}


@pytest.mark.parametrize("kept", TABLES)
def test_a_view_follows_what_spark_goes_on_writing(copy, kept):
    table = copy(kept, until=UNTIL[kept])
    # A view cannot store what no table of ours may have as a name.
    names = [name for name, _ in table.columns if not set(name) & set(" ,")]
    columns = ", ".join(names)
    table.run(f"CREATE MATERIALIZED VIEW {{t}}_seen AS SELECT {columns} FROM {{t}}")
    table.run("REFRESH MATERIALIZED VIEW {t}_seen SYNC TIMEOUT 2 MINUTES")
    before = table.rows(f"SELECT {columns} FROM {{t}} ORDER BY id")
    assert table.rows("SELECT * FROM {t}_seen ORDER BY id") == before
    table.reveal()
    expected = [{name: row[name] for name in names} for row in table.expected]
    assert table.rows(f"SELECT {columns} FROM {{t}} ORDER BY id") == expected != before
    table.run("REFRESH MATERIALIZED VIEW {t}_seen SYNC TIMEOUT 2 MINUTES")
    assert table.rows("SELECT * FROM {t}_seen ORDER BY id") == expected


def doubled(table):
    """Writes each row once more; what is odd about it has to be written anew."""
    others = ", ".join(f'"{name}"' for name, _ in table.columns[1:])
    return f"INSERT INTO {{t}} SELECT id + 1000000, {others} FROM {{t}}"


@pytest.mark.parametrize("kept", [kept for kept in TABLES if kept not in REFUSED])
def test_what_we_write_is_read_beside_what_spark_wrote(copy, kept):
    table = copy(kept)
    rows = table.expected + [row | {"id": row["id"] + 1_000_000} for row in table.expected]
    table.run(doubled(table))
    assert table.rows() == rows
    table.run("DELETE FROM {t} WHERE id % 3 = 1")
    rows = [row for row in rows if row["id"] % 3 != 1]
    assert table.rows() == rows
    table.run("UPDATE {t} SET id = id + 7000000 WHERE id % 2 = 0")
    rows = [row if row["id"] % 2 else row | {"id": row["id"] + 7_000_000} for row in rows]
    assert table.rows() == sorted(rows, key=lambda row: row["id"])
    assert table.version() == table.newest + 3
    assert table.broken() == set()


@pytest.mark.parametrize("kept", sorted(REFUSED))
def test_writes_that_cannot_be_done_are_refused_by_name_and_do_nothing(copy, kept):
    table = copy(kept)
    files = table.files()
    for sql in (doubled(table), "DELETE FROM {t} WHERE id = 1", "UPDATE {t} SET id = 7 WHERE id = 1", "OPTIMIZE {t}"):
        with pytest.raises(adbc_driver_manager.Error, match=REFUSED[kept]):
            table.run(sql)
    assert table.version() == table.newest
    assert table.files() == files
    assert table.rows() == table.expected
