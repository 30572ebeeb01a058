"""flightsql-dbapi, over the Flight client of pyarrow. Its metadata calls have no other client in Python."""

from __future__ import annotations

import importlib.metadata

import pyarrow as pa
from cases import Place, Runner, driver_does, joined
from flightsql import FlightSQLClient, connect
from flightsql.client import TableRef
from pyarrow import flight


class FlightSqlDbapi(Runner):
    driver = "flightsql-dbapi"
    version = importlib.metadata.version("flightsql-dbapi")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        host, port = place.host_port("flight")
        self.client = FlightSQLClient(host=host, port=port, insecure=True)
        self.connection = connect(self.client)

    def rows(self, sql, parameters=()):
        rows = self.connection.cursor().execute(sql, parameters).fetchall()
        # Lists come as arrays of numpy.
        return [tuple(value.tolist() if hasattr(value, "tolist") else value for value in row) for row in rows]

    def effect(self, sql, rows=None):
        if rows is None:
            return self.client.execute_update(sql)
        self.connection.cursor().executemany(sql, rows)
        return len(rows)  # it is not told

    def answer(self, info: flight.FlightInfo) -> list[dict]:
        return self.client.do_get(info.endpoints[0].ticket).read_all().to_pylist()

    @driver_does("query without rows has its columns")
    def empty(self):
        cursor = self.connection.cursor().execute("SELECT 1 AS a, 'x' AS b WHERE false")
        return joined((",".join(column[0] for column in cursor.description), len(cursor.fetchall())))

    @driver_does("prepared query, run again")
    def again(self):
        table, found = self.table("a BIGINT"), []
        with self.client.prepare(f"SELECT count(*) AS n FROM {table} WHERE a > ?") as statement:
            for n in (1, 2):
                self.effect(f"INSERT INTO {table} VALUES ({n})")
                info = statement.execute(pa.record_batch({"1": [0]}))
                found.append(self.answer(info)[0]["n"])
        return joined(found)

    def is_told(self, error):
        return "table" in str(error)

    @driver_does("catalogs")
    def catalogs(self):
        return ",".join(row["catalog_name"] for row in self.answer(self.client.get_catalogs()))

    @driver_does("schemas")
    def schemas(self):
        info = self.client.get_db_schemas(db_schema_filter_pattern="compat\\_%")
        return ",".join(row["db_schema_name"] for row in self.answer(info))

    @driver_does("tables, by pattern and type")
    def tables(self):
        info = self.client.get_tables(table_types=["TABLE", "VIEW"], db_schema_filter_pattern="compat\\_schema")
        return ",".join(sorted(f"{row['table_name']}:{row['table_type']}" for row in self.answer(info)))

    @driver_does("table types")
    def table_types(self):
        return ",".join(sorted(row["table_type"] for row in self.answer(self.client.get_table_types())))

    @driver_does("columns of a table")
    def columns(self):
        found = self.connection.flightsql_get_columns("orders", "compat_schema")
        return ",".join(column["name"] for column in found)

    @driver_does("primary key")
    def primary_key(self):
        info = self.client.get_primary_keys(TableRef(db_schema="compat_schema", table="orders"))
        return ",".join(row["column_name"] for row in self.answer(info))

    @driver_does("foreign keys")
    def foreign_keys(self):
        orders = TableRef(db_schema="compat_schema", table="orders")
        infos = [
            self.client.get_imported_keys(orders),
            self.client.get_exported_keys(orders),
            self.client.get_cross_reference(orders, orders),
        ]
        return joined(len(self.answer(info)) for info in infos)

    @driver_does("types of the server")
    def types(self):
        names = {row["type_name"] for row in self.answer(self.client.get_xdbc_type_info(None))}
        return "has BIGINT" if "BIGINT" in names else str(names)

    @driver_does("name of the server")
    def server(self):
        return self.connection.flightsql_get_sql_info([0])[0]

    def login(self, password):
        host, port = self.place.host_port("tls_flight")
        with open(self.place.authority, "rb") as authority:
            client = FlightSQLClient(
                host=host, port=port, user=self.place.user, password=password, tls_root_certs=authority.read()
            )
        return connect(client).cursor().execute("SELECT current_user").fetchall()[0][0]

    def is_refused(self, error):
        return isinstance(error, flight.FlightUnauthenticatedError)


RUNNERS = [FlightSqlDbapi]
