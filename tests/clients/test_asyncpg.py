"""What the real asyncpg sees: it looks types up in `pg_catalog` that it does not know by their numbers."""

import asyncio
import datetime
import decimal

import asyncpg
import pytest
from server import Server


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("asyncpg")).start("--pg-addr", "127.0.0.1:0")
    yield server
    server.stop()


def run(server, work):
    """Does `work` with a connection that knows no type yet."""

    async def connected():
        connection = await asyncpg.connect(user="ada", database="whimbrel", ssl=False, **server.postgres)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(connected())


UTC = datetime.timezone.utc

LISTS = [
    ("int[]", "[arrow_cast(1, 'Int32'), NULL, arrow_cast(-3, 'Int32')]", [1, None, -3]),
    ("smallint[]", "[arrow_cast(1, 'Int16'), arrow_cast(-3, 'Int16')]", [1, -3]),
    ("bigint[]", "[1, NULL, 9223372036854775807]", [1, None, 9223372036854775807]),
    ("real[]", "[arrow_cast(1.5, 'Float32')]", [1.5]),
    ("float8[]", "[1.5, NULL, 1e300]", [1.5, None, 1e300]),
    ("boolean[]", "[true, false, NULL]", [True, False, None]),
    ("numeric[]", "[CAST(1.25 AS DECIMAL(10, 2)), NULL]", [decimal.Decimal("1.25"), None]),
    ("date[]", "[DATE '2024-02-29', NULL]", [datetime.date(2024, 2, 29), None]),
    ("time[]", "[TIME '12:30:00']", [datetime.time(12, 30)]),
    (
        "timestamp[]",
        "[TIMESTAMP '2024-02-29 12:30:00.5', NULL]",
        [datetime.datetime(2024, 2, 29, 12, 30, 0, 500_000), None],
    ),
    (
        "timestamptz[]",
        "[arrow_cast('2024-02-29T12:30:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))')]",
        [datetime.datetime(2024, 2, 29, 12, 30, tzinfo=UTC)],
    ),
    ("text[]", "['a', NULL]", ["a", None]),
    ("bytea[]", "[X'00ff']", [b"\x00\xff"]),
]


@pytest.mark.parametrize("name, sql, value", LISTS, ids=[name for name, _, _ in LISTS])
def test_a_list_of_each_type_is_read(shared, name, sql, value):
    async def work(connection):
        return await connection.fetchval(f"SELECT {sql} AS a")

    assert run(shared, work) == value


WRITTEN = [
    ("INT[]", [1, None, -3]),
    ("BIGINT[]", [1, 9223372036854775807]),
    ("DOUBLE[]", [1.5, None]),
    ("BOOLEAN[]", [True, False]),
    ("DATE[]", [datetime.date(2024, 2, 29)]),
    ("TIMESTAMP[]", [datetime.datetime(2024, 2, 29, 12, 30)]),
    ("VARCHAR[]", ["a", None, "b c"]),
]


@pytest.mark.parametrize("name, value", WRITTEN, ids=[name for name, _ in WRITTEN])
def test_a_list_of_each_type_is_taken(shared, name, value):
    async def work(connection):
        return await connection.fetchval(f"SELECT $1::{name} AS a", value)

    assert run(shared, work) == value


def test_a_list_in_a_table_and_its_items_as_a_parameter(shared):
    async def work(connection):
        await connection.execute("CREATE TABLE lists (id BIGINT, a BIGINT[])")
        await connection.execute("INSERT INTO lists VALUES (1, [1, 2]), (2, [3])")
        found = "SELECT id, a FROM lists WHERE id = ANY($1::BIGINT[]) ORDER BY id"
        return [tuple(row) for row in await connection.fetch(found, [1, 2, 7])]

    assert run(shared, work) == [(1, [1, 2]), (2, [3])]


def test_a_struct_and_a_list_of_them_are_json(shared):
    async def work(connection):
        sql = "SELECT named_struct('a', 1) AS s, [named_struct('a', 1)] AS l"
        return tuple(await connection.fetchrow(sql))

    assert run(shared, work) == ('{"a":1}', '[{"a":1}]')


def test_what_is_told_of_types_is_what_postgres_tells(shared):
    """The lookup itself, as asyncpg sends it for servers of any age."""

    async def work(connection):
        from asyncpg import introspection

        texts = [introspection.INTRO_LOOKUP_TYPES, introspection.INTRO_LOOKUP_TYPES_13]
        return [[dict(row) for row in await connection.fetch(text, [1016, 1700])] for text in texts]

    for rows in run(shared, work):
        told = {row["oid"]: (row["name"], row["elemtype"], row["elemtype_name"], row["depth"]) for row in rows}
        assert told == {
            20: ("int8", 0, "-", 1),
            1016: ("_int8", 20, "bigint", 0),
            1700: ("numeric", 0, "-", 0),
        }
        unset = ("basetype", "range_subtype", "attrtypoids", "attrnames", "basetype_name")
        assert all(row[name] is None for row in rows for name in unset)
        assert {row["ns"] for row in rows} == {"pg_catalog"}
