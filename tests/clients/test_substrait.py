"""Plans of a real producer (the Python package of DataFusion), sent by the real ADBC driver."""

import base64

import adbc_driver_manager
import datafusion
import pyarrow as pa
import pytest
from datafusion import substrait

ORDERS = pa.schema([("id", pa.int64()), ("customer", pa.string()), ("amount", pa.decimal128(10, 2)), ("at", pa.date32())])
QUERIES = [
    "SELECT 1 AS one",
    "SELECT * FROM orders",
    "SELECT customer, sum(amount) AS total, count(*) AS n FROM orders GROUP BY customer",
    "SELECT id FROM orders WHERE amount > 10 AND customer LIKE 'a%' ORDER BY id DESC LIMIT 2",
    "SELECT a.id, b.id AS other FROM orders a JOIN orders b ON a.customer = b.customer AND a.id < b.id",
    "SELECT id FROM orders WHERE customer IN (SELECT customer FROM orders WHERE amount > 20)",
    "SELECT id, row_number() OVER (PARTITION BY customer ORDER BY at) AS n FROM orders",
    "SELECT id, CASE WHEN amount > 15 THEN 'much' ELSE 'little' END AS word FROM orders",
    "SELECT customer FROM orders UNION ALL SELECT 'nobody' AS customer",
]


@pytest.fixture
def orders(cursor):
    cursor.execute("CREATE TABLE orders (id BIGINT, customer VARCHAR, amount DECIMAL(10, 2), at DATE)")
    cursor.execute(
        """INSERT INTO orders VALUES (1, 'ann', 10.50, '2024-01-01'), (2, 'ann', 30.00, '2024-01-03'),
           (3, 'bob', 20.25, '2024-01-02'), (4, 'ada', 12.00, NULL)"""
    )


def plan(sql):
    """What a client plans that knows the columns of the table."""
    context = datafusion.SessionContext()
    context.register_record_batches("orders", [[pa.RecordBatch.from_pylist([], schema=ORDERS)]])
    return substrait.Serde.serialize_bytes(sql, context)


def sent(cursor, bytes):
    cursor.execute(bytes)
    return cursor.fetch_arrow_table()


def in_order(table):
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=repr)


@pytest.mark.parametrize("sql", QUERIES)
def test_a_plan_answers_what_its_sql_answers(cursor, orders, sql):
    cursor.execute(sql)
    expected = cursor.fetch_arrow_table()
    found = sent(cursor, plan(sql))
    assert found.column_names == expected.column_names
    assert in_order(found) == in_order(expected)


def test_a_plan_is_prepared_and_its_schema_is_told(cursor, orders):
    bytes = plan("SELECT customer, id FROM orders")
    assert cursor.adbc_execute_schema(bytes).names == ["customer", "id"]
    cursor.adbc_prepare(bytes)
    for _ in range(2):
        assert sent(cursor, bytes).num_rows == 4


def test_garbage_and_unknown_tables_are_refused(cursor):
    with pytest.raises(adbc_driver_manager.Error, match="decode plan"):
        sent(cursor, b"garbage")
    with pytest.raises(adbc_driver_manager.Error, match="'main.orders' does not exist"):
        sent(cursor, plan("SELECT id FROM orders"))


def test_a_plan_sees_what_the_policies_of_its_tables_show(stopped):
    stopped.add_user("root", "secret-1")
    stopped.add_user("bob", "secret-2")
    server = stopped.start()
    with server.connect("root", "secret-1") as root, root.cursor() as cursor:
        orders.__wrapped__(cursor)
        for statement in [
            "GRANT SELECT ON orders TO bob",
            "ALTER TABLE orders SET ROW FILTER (customer <> 'ann')",
            "ALTER TABLE orders ALTER COLUMN amount SET MASK (CAST(0 AS DECIMAL(10, 2)))",
        ]:
            cursor.execute(statement)
    bytes = plan("SELECT id, amount FROM orders WHERE amount >= 0")
    with server.connect("bob", "secret-2") as bob, bob.cursor() as cursor:
        assert [(row["id"], int(row["amount"])) for row in sent(cursor, bytes).to_pylist()] == [(3, 0), (4, 0)]


def test_a_plan_in_text_is_a_statement(cursor, orders):
    text = base64.b64encode(plan("SELECT count(*) AS n FROM orders")).decode()
    cursor.execute(f"SUBSTRAIT '{text}'")
    assert cursor.fetchall() == [(4,)]
    cursor.execute("SELECT count(*) FROM system.queries WHERE sql = ?", (f"SUBSTRAIT '{text}'",))
    assert cursor.fetchone() == (1,)
