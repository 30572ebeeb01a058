"""The ADBC driver for Flight SQL from Python. It is the one in Go, as a shared library."""

from __future__ import annotations

import threading

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight_sql
import adbc_driver_manager
import pyarrow as pa
from adbc_driver_manager import AdbcStatusCode
from cases import NOTHING_STAYED, NoSuchCall, Place, Runner, driver_does, eventually, joined
from substrait import PLAN

# What ADBC calls the number of rows among its statistics.
ROW_COUNT = 6


class Adbc(Runner):
    driver = "ADBC, Python"
    version = adbc_driver_flightsql.__version__

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.connection = self.connect()

    def connect(self, **options):
        return flight_sql.connect(f"grpc+tcp://{self.place.flight}", **{"autocommit": True, **options})

    def rows(self, sql, parameters=()):
        with self.connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall()

    def effect(self, sql, rows=None):
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, rows)
            return cursor.rowcount

    @driver_does("query without rows has its columns")
    def empty(self):
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT 1 AS a, 'x' AS b WHERE false")
            return joined((",".join(column[0] for column in cursor.description), len(cursor.fetchall())))

    @driver_does("prepared query, run again")
    def again(self):
        table, found = self.table("a BIGINT"), []
        with self.connection.cursor() as cursor:
            for n in (1, 2):
                self.effect(f"INSERT INTO {table} VALUES ({n})")
                cursor.execute(f"SELECT count(*) FROM {table} WHERE a > ?", (0,))
                found.append(cursor.fetchone()[0])
        return joined(found)

    @driver_does("columns before execution")
    def before(self):
        with self.connection.cursor() as cursor:
            return ",".join(cursor.adbc_execute_schema("SELECT 1 AS a, 'x' AS b").names)

    def is_told(self, error):
        return error.status_code == AdbcStatusCode.NOT_FOUND

    def cancelled(self, sql, runs):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            reading = threading.Thread(target=_ignoring_errors, args=(cursor.fetchall,))
            reading.start()
            eventually(runs)
            cursor.adbc_cancel()
            reading.join(20)

    @driver_does("bulk ingest: create, append, replace")
    def ingest(self):
        name, told = next(self.names), []
        for mode, ids in [("create", [1, 2]), ("append", [3, 4]), ("replace", [5])]:
            with self.connection.cursor() as cursor:
                cursor.adbc_ingest(name, pa.table({"id": ids}), mode=mode)
            told.append(self.rows(f"SELECT count(*) FROM {name}")[0][0])
        return joined(told)

    @driver_does("rollback of a write")
    def rollback(self):
        table = self.table("a BIGINT")
        with self.connect() as other:
            try:
                other.adbc_connection.set_autocommit(False)
            except adbc_driver_manager.NotSupportedError:
                return NOTHING_STAYED
            with other.cursor() as cursor:
                cursor.executemany(f"INSERT INTO {table} VALUES (1)", None)
            other.adbc_connection.rollback()
        return self.stayed(table)

    @driver_does("Substrait plan")
    def substrait(self):
        return str(self.rows(PLAN)[0][0])

    def objects(self, **options):
        (catalog,) = self.connection.adbc_get_objects(**options).read_all().to_pylist()
        return catalog

    @driver_does("catalogs")
    def catalogs(self):
        return self.objects(depth="catalogs")["catalog_name"]

    @driver_does("schemas")
    def schemas(self):
        found = self.objects(depth="db_schemas", db_schema_filter="compat\\_%")
        return ",".join(schema["db_schema_name"] for schema in found["catalog_db_schemas"])

    @driver_does("tables, by pattern and type")
    def tables(self):
        found = self.objects(depth="tables", db_schema_filter="compat\\_schema", table_types_filter=["TABLE", "VIEW"])
        (schema,) = found["catalog_db_schemas"]
        tables = (f"{table['table_name']}:{table['table_type']}" for table in schema["db_schema_tables"])
        return ",".join(sorted(tables))

    @driver_does("table types")
    def table_types(self):
        return ",".join(sorted(self.connection.adbc_get_table_types()))

    def orders(self):
        found = self.objects(depth="all", db_schema_filter="compat\\_schema", table_name_filter="orders")
        (schema,) = found["catalog_db_schemas"]
        (table,) = schema["db_schema_tables"]
        return table

    @driver_does("columns of a table")
    def columns(self):
        return ",".join(column["column_name"] for column in self.orders()["table_columns"])

    @driver_does("primary key")
    def primary_key(self):
        keys = [key for key in self.orders()["table_constraints"] or [] if key["constraint_type"] == "PRIMARY KEY"]
        if not keys:
            raise NoSuchCall  # the driver asks for no keys
        return ",".join(keys[0]["constraint_column_names"])

    @driver_does("name of the server")
    def server(self):
        return self.connection.adbc_get_info()["vendor_name"]

    @driver_does("statistics")
    def statistics(self):
        found = self.connection.adbc_get_statistics(db_schema_filter="compat_schema", table_name_filter="orders")
        (catalog,) = found.read_all().to_pylist()
        (schema,) = catalog["catalog_db_schemas"]
        values = [s["statistic_value"] for s in schema["db_schema_statistics"] if s["statistic_key"] == ROW_COUNT]
        return f"{int(values[0])} rows"

    @driver_does("schema of the session")
    def schema(self):
        # The server tells sessions by a cookie, which the driver keeps when it is told to.
        options = {
            "db_kwargs": {"adbc.flight.sql.rpc.with_cookie_middleware": "true"},
            "conn_kwargs": {"adbc.connection.db_schema": "compat_schema"},
        }
        with self.connect(**options) as other, other.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM orders")
            return str(cursor.fetchone()[0])

    def login(self, password):
        with open(self.place.authority, encoding="ascii") as authority:
            options = {
                "username": self.place.user,
                "password": password,
                "adbc.flight.sql.client_option.tls_root_certs": authority.read(),
            }
        with flight_sql.connect(f"grpc+tls://{self.place.tls_flight}", options, autocommit=True) as other:
            with other.cursor() as cursor:
                cursor.execute("SELECT current_user")
                return cursor.fetchone()[0]

    def is_refused(self, error):
        return error.status_code == AdbcStatusCode.UNAUTHENTICATED

    @driver_does("progress of a long statement (PollFlightInfo)")
    def poll(self):
        with self.connection.cursor(adbc_stmt_kwargs={"adbc.statement.exec.incremental": "true"}) as cursor:
            found = 0
            while True:
                partitions, _ = cursor.adbc_execute_partitions("SELECT 1 AS a")
                if not partitions:
                    return "done" if found == 1 else f"{found} rows"
                for partition in partitions:
                    with self.connection.cursor() as reader:
                        reader.adbc_read_partition(partition)
                        found += len(reader.fetchall())


def _ignoring_errors(call) -> None:
    try:
        call()
    except adbc_driver_manager.Error:
        pass


RUNNERS = [Adbc]
