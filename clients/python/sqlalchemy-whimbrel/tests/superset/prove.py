"""Superset, as its users have it: a database is added, looked around in, asked by SQL Lab and by charts, and stopped.

The environment says where Whimbrel is (WHIMBREL_TEST_PLACE) and where Superset is (SUPERSET_TEST_URL).
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request

import adbc_driver_flightsql.dbapi as flight_sql

PLACE, SUPERSET = os.environ["WHIMBREL_TEST_PLACE"], os.environ["SUPERSET_TEST_URL"]
SHOP = """
CREATE SCHEMA shop;
CREATE TABLE shop.orders (id BIGINT NOT NULL COMMENT 'The key', customer STRING, amount DECIMAL(10, 2), at TIMESTAMP, epoch BIGINT, day DATE);
INSERT INTO shop.orders
  SELECT value, CASE WHEN value % 3 = 0 THEN 'Ada' WHEN value % 3 = 1 THEN 'Grace' ELSE 'Emmy' END, value / 2.0,
    TIMESTAMP '2026-01-01 00:00:00' + CAST(value || ' hours' AS INTERVAL) AS at, 1767225600 + value * 3600,
    CAST(TIMESTAMP '2026-01-01 00:00:00' + CAST(value || ' hours' AS INTERVAL) AS DATE) AS day
  FROM generate_series(0, 9999);
CREATE VIEW shop.spent AS SELECT customer, sum(amount) AS spent FROM shop.orders GROUP BY customer
"""
SLOW = "SELECT count(*) AS n FROM shop.orders AS a, shop.orders AS b, shop.orders AS c WHERE a.id % 7 = b.id % 11 AND b.id % 5 < c.id"
token = ""


def call(method: str, path: str, body=None, expected=(200, 201, 202)):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(f"{SUPERSET}/api/v1/{path}", data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    assert status in expected, f"{method} {path}: {status}: {text.decode()[:2000]}"
    return json.loads(text)


def whimbrel(sql: str) -> list[tuple]:
    with flight_sql.connect(f"grpc://{PLACE}", autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def told(what: str) -> None:
    print(f"ok: {what}", flush=True)


def chart(dataset: int, **query):
    query = {"row_limit": 1000, "filters": [], "extras": {}, "applied_time_extras": {}, "orderby": []} | query
    body = {"datasource": {"id": dataset, "type": "table"}, "queries": [query], "result_format": "json", "result_type": "full", "force": True}
    (result,) = call("POST", "chart/data", body)["result"]
    assert result["status"] == "success", result
    return result


def lab(database: int, sql: str, expected=(200,), **options):
    body = {"database_id": database, "sql": sql, "runAsync": False, "queryLimit": 100, "select_as_cta": False, "expand_data": False}
    return call("POST", "sqllab/execute/", body | options, expected)


def main() -> None:
    global token
    for statement in SHOP.strip().split(";\n"):
        whimbrel(statement)
    token = call("POST", "security/login", {"username": "admin", "password": "admin", "provider": "db", "refresh": True})["access_token"]

    available = {database["name"]: database for database in call("GET", "database/available/")["databases"]}
    assert available["Whimbrel"]["engine"] == "whimbrel" and available["Whimbrel"]["available_drivers"] == ["adbc"]
    told("Superset offers Whimbrel among its databases")

    uri = f"whimbrel://{PLACE}"
    call("POST", "database/test_connection/", {"sqlalchemy_uri": uri, "database_name": "lake"})
    database = call("POST", "database/", {"database_name": "lake", "sqlalchemy_uri": uri, "expose_in_sqllab": True})["id"]
    assert "shop" in call("GET", f"database/{database}/schemas/")["result"]
    tables = call("GET", f"database/{database}/tables/?q=(schema_name:shop)")["result"]
    assert {(table["value"], table["type"]) for table in tables} == {("orders", "table"), ("spent", "view")}
    columns = call("GET", f"database/{database}/table_metadata/?name=orders&schema=shop")["columns"]
    assert {column["name"]: column["longType"] for column in columns} == {
        "id": "BIGINT", "customer": "STRING", "amount": "DECIMAL(10, 2)", "at": "TIMESTAMP", "epoch": "BIGINT", "day": "DATE"
    }, columns
    told("a database is added, and its schemas, tables and columns are shown")

    dataset = call("POST", "dataset/", {"database": database, "schema": "shop", "table_name": "orders"})["id"]
    result = chart(dataset, columns=["customer"], metrics=[SUM], orderby=[[SUM, False]])
    assert {(row["customer"], float(row["spent"])) for row in result["data"]} == set(
        (customer, float(spent)) for customer, spent in whimbrel("SELECT * FROM shop.spent")
    )
    told("a chart by customer has the sums that SQL has")

    axis = {"columnType": "BASE_AXIS", "sqlExpression": "at", "label": "at", "expressionType": "SQL"}
    for grain, expected in GRAINS.items():
        result = chart(dataset, columns=[axis | {"timeGrain": grain}], metrics=[COUNT], extras={"time_grain_sqla": grain}, granularity="at",
                       time_range="2026-01-01 : 2026-03-01")
        assert len(result["data"]) == expected, (grain, len(result["data"]), result["query"])
    told(f"charts over time, by {len(GRAINS)} grains and within a range")
    assert '"at" >= TIMESTAMP' in result["query"] or "at >= " in result["query"], result["query"]

    detail = call("GET", f"dataset/{dataset}")["result"]
    columns = [{key: column[key] for key in ("id", "column_name", "type", "is_dttm")} for column in detail["columns"]]
    for column in columns:
        if column["column_name"] == "epoch":
            column |= {"is_dttm": True, "python_date_format": "epoch_s"}
    call("PUT", f"dataset/{dataset}", {"columns": columns})
    result = chart(dataset, columns=[axis | {"sqlExpression": "epoch", "label": "epoch", "timeGrain": "P1D"}], metrics=[COUNT], granularity="epoch",
                   extras={"time_grain_sqla": "P1D"}, time_range="2026-01-01 : 2026-01-11")
    assert len(result["data"]) == 10, result["query"]
    told("a column of seconds since 1970 is a time")

    filters = [{"col": "customer", "op": "IN", "val": ["Ada", "Emmy"]}, {"col": "id", "op": ">", "val": 100}]
    result = chart(dataset, columns=["customer"], metrics=[COUNT], filters=filters)
    assert {row["customer"] for row in result["data"]} == {"Ada", "Emmy"}
    told("filters are applied")

    answer = lab(database, "SELECT id, amount, at FROM shop.orders WHERE customer = 'Ada' ORDER BY id", schema="shop", queryLimit=5)
    assert len(answer["data"]) == 5 and [column["type"] for column in answer["columns"]] == ["BIGINT", "DECIMAL(10, 2)", "TIMESTAMP"], answer["columns"]
    answer = lab(database, "SELECT no_such_column FROM shop.orders", expected=(400, 500, 422))
    assert "no_such_column" in json.dumps(answer)
    told("SQL Lab limits, types its columns and shows mistakes")

    answer = lab(database, "SELECT count(*) AS n FROM orders", schema="shop")
    assert answer["data"] == [{"n": 10000}]
    told("the schema that is chosen in SQL Lab is that of its names")

    stopped = {}
    client = "stopped1"
    thread = threading.Thread(target=lambda: stopped.update(lab(database, SLOW, expected=(200, 400, 408, 422, 500), client_id=client)))
    thread.start()
    wait(lambda: running() > 0, "the slow statement runs")
    call("POST", "query/stop", {"client_id": client})
    wait(lambda: running() == 0, "the slow statement has ended")
    thread.join(60)
    told("a statement is stopped, and ends on the server")


def running() -> int:
    sql = "SELECT count(*) FROM system.queries WHERE finished_at IS NULL AND sql LIKE '%c.id%' AND sql NOT LIKE '%system.queries%'"
    return whimbrel(sql)[0][0]


def wait(holds, what: str) -> None:
    last = time.monotonic() + 40
    while not holds():
        assert time.monotonic() < last, what
        time.sleep(0.1)


COUNT = {"expressionType": "SQL", "sqlExpression": "count(*)", "label": "n"}
SUM = {"expressionType": "SIMPLE", "column": {"column_name": "amount"}, "aggregate": "SUM", "label": "spent"}
# How many points there are of the first 59 days, in hours.
GRAINS = {"PT1H": 1000, "PT6H": 236, "P1D": 59, "P1W": 9, "P1M": 2, "P3M": 1, "P1Y": 1}

if __name__ == "__main__":
    main()
