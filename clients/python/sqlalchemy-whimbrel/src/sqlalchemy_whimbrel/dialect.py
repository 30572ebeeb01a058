"""The dialect: how to connect, what there is, and what a transaction is."""

from __future__ import annotations

import contextlib
import re
import warnings

import sqlalchemy
from adbc_driver_manager import AdbcStatusCode
from sqlalchemy import exc, pool, schema, text, types
from sqlalchemy.engine import default, reflection

from . import dbapi
from .compiler import (
    NO_INDEXES,
    WhimbrelCompiler,
    WhimbrelDDLCompiler,
    WhimbrelIdentifierPreparer,
    WhimbrelTypeCompiler,
)
from .types import ARRAY, Float, Numeric, of_arrow

DEFAULT_PORT = 32010
DEFAULT_SCHEMA = "main"
AUTOCOMMIT = "AUTOCOMMIT"
# Each table is read at one version, and what is written is one commit of one table, or nothing.
TRANSACTIONS = "REPEATABLE READ"
RESERVED = ("system", "information_schema")
# Lines of `SHOW CREATE TABLE`.
PRIMARY_KEY = re.compile(r"^  PRIMARY KEY \((?P<columns>.*)\),?$", re.MULTILINE)
CHECK = re.compile(r"^  CONSTRAINT (?P<name>\S+|\"(?:[^\"]|\"\")*\") CHECK \((?P<condition>.*)\),?$", re.MULTILINE)
IDENTIFIER = re.compile(r'"((?:[^"]|"")*)"|([^",\s]+)')


class WhimbrelWarning(UserWarning):
    """Something that was asked for has no meaning here."""


class WhimbrelDialect(default.DefaultDialect):
    name = "whimbrel"
    driver = "adbc"
    default_paramstyle = "qmark"
    poolclass = pool.QueuePool

    statement_compiler = WhimbrelCompiler
    ddl_compiler = WhimbrelDDLCompiler
    type_compiler_cls = type_compiler = WhimbrelTypeCompiler
    preparer = WhimbrelIdentifierPreparer
    colspecs = {types.ARRAY: ARRAY, types.Numeric: Numeric, types.Float: Float}

    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_native_enum = False
    supports_native_uuid = False
    supports_alter = False
    supports_sequences = False
    supports_default_values = False
    supports_default_metavalue = False
    supports_empty_insert = False
    supports_multivalues_insert = True
    supports_comments = True
    inline_comments = True
    supports_sane_rowcount = True
    supports_sane_multi_rowcount = True
    supports_schemas = True
    supports_views = True
    postfetch_lastrowid = False
    cte_follows_insert = True
    requires_name_normalize = False
    max_identifier_length = 255
    default_schema_name = DEFAULT_SCHEMA

    construct_arguments = [
        (schema.Table, {"partitioned_by": None, "location": None, "tblproperties": None}),
    ]

    @classmethod
    def import_dbapi(cls):
        return dbapi

    dbapi = import_dbapi  # what SQLAlchemy 1.4 calls it

    #: The level that SQLAlchemy 1.4 leaves to the dialect; later ones keep it themselves.
    isolation_level = None

    def __init__(self, isolation_level=None, **options) -> None:
        if sqlalchemy.__version__.startswith("1."):
            super().__init__(**options)
            self.isolation_level = isolation_level
        else:
            super().__init__(isolation_level=isolation_level, **options)

    def on_connect(self):
        if self.isolation_level is None:
            return super().on_connect()
        return lambda dbapi_connection: self.set_isolation_level(dbapi_connection, self.isolation_level)

    # --- connecting -----------------------------------------------------------------------------

    def create_connect_args(self, url):
        """`whimbrel://user:password@host:port/schema?tls=true&tls_ca=FILE`, and options of the driver."""
        query = {key: value if isinstance(value, str) else value[-1] for key, value in url.query.items()}
        tls = _flag(query.pop("tls", "false"), "tls")
        ca = query.pop("tls_ca", None)
        verify = _flag(query.pop("tls_verify", "true"), "tls_verify")
        options = {}
        if url.username is not None:
            options |= {"username": url.username, "password": url.password or ""}
        if not tls and (ca is not None or not verify):
            raise exc.ArgumentError("tls_ca and tls_verify are about TLS: add tls=true")
        if ca is not None:
            with open(ca, encoding="ascii") as certificates:
                options["adbc.flight.sql.client_option.tls_root_certs"] = certificates.read()
        if not verify:
            options["adbc.flight.sql.client_option.tls_skip_verify"] = "true"
        for key in query:
            if not key.startswith("adbc."):
                raise exc.ArgumentError(
                    f"the URL has no parameter {key!r}; there are tls, tls_ca, tls_verify and options of the "
                    "driver, which begin with 'adbc.'"
                )
        scheme = "grpc+tls" if tls else "grpc+tcp"
        host = f"[{url.host}]" if ":" in (url.host or "") else url.host or "127.0.0.1"
        uri = f"{scheme}://{host}:{url.port or DEFAULT_PORT}"
        session = {}
        if url.database:
            session["adbc.connection.db_schema"] = url.database
            # The server tells sessions by a cookie.
            options["adbc.flight.sql.rpc.with_cookie_middleware"] = "true"
        return [uri], {"db_kwargs": options | query, "conn_kwargs": session}

    def initialize(self, connection) -> None:
        super().initialize(connection)
        self.default_schema_name = connection.engine.url.database or DEFAULT_SCHEMA

    def _get_server_version_info(self, connection):
        version = _driver_connection(connection).adbc_get_info().get("vendor_version") or ""
        return tuple(int(part) for part in re.findall(r"\d+", version.split("-")[0]))

    def _get_default_schema_name(self, connection):
        return connection.engine.url.database or DEFAULT_SCHEMA

    def is_disconnect(self, e, connection, cursor) -> bool:
        return isinstance(e, dbapi.Error) and (dbapi.status(e) == "Unavailable" or dbapi.lost_its_transaction(e))

    def do_ping(self, dbapi_connection) -> bool:
        with dbapi_connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchall()
        return True

    # --- transactions ---------------------------------------------------------------------------

    def get_isolation_level_values(self, dbapi_connection):
        return [AUTOCOMMIT, TRANSACTIONS]

    def get_default_isolation_level(self, dbapi_connection):
        return AUTOCOMMIT

    def get_isolation_level(self, dbapi_connection):
        return TRANSACTIONS if dbapi_connection.transactions else AUTOCOMMIT

    def set_isolation_level(self, dbapi_connection, level) -> None:
        if level not in (AUTOCOMMIT, TRANSACTIONS):
            raise exc.ArgumentError(f"isolation level {level!r}: there are {AUTOCOMMIT!r} and {TRANSACTIONS!r}")
        dbapi_connection.use_transactions(level == TRANSACTIONS)
        dbapi_connection.expects_rollback = False

    def reset_isolation_level(self, dbapi_connection) -> None:
        asked = getattr(self, "_on_connect_isolation_level", None) or self.isolation_level
        self.set_isolation_level(dbapi_connection, asked or AUTOCOMMIT)
        dbapi_connection.expects_rollback = asked is None

    def do_rollback(self, dbapi_connection) -> None:
        if dbapi_connection.changed and dbapi_connection.expects_rollback:
            warnings.warn(
                "what was rolled back had taken effect: each statement does so by itself. Create the engine with "
                f"isolation_level={AUTOCOMMIT!r}, or {TRANSACTIONS!r} for transactions",
                WhimbrelWarning,
                stacklevel=2,
            )
        dbapi_connection.rollback()

    def do_savepoint(self, connection, name) -> None:
        raise NotImplementedError("Whimbrel has no savepoints")

    # --- executing --------------------------------------------------------------------------------

    def do_execute(self, cursor, statement, parameters, context=None) -> None:
        if statement != NO_INDEXES:
            cursor.execute(statement, parameters)
        else:
            warnings.warn("an index was left out: Whimbrel has none", WhimbrelWarning, stacklevel=2)

    def do_execute_no_params(self, cursor, statement, context=None) -> None:
        self.do_execute(cursor, statement, None, context)

    # --- what there is --------------------------------------------------------------------------

    def _names(self, connection, sql: str, **parameters) -> list[str]:
        return [row[0] for row in connection.execute(text(sql), parameters)]

    def _schema(self, schema: str | None) -> str:
        return schema or self.default_schema_name

    def _relation(self, table_name: str, schema: str | None) -> str:
        quote = self.identifier_preparer.quote_identifier
        return f"{quote(self._schema(schema))}.{quote(table_name)}"

    # `reflection.cache` of SQLAlchemy 1.4 takes no annotations.

    @reflection.cache
    def get_schema_names(self, connection, **kw):
        return self._names(connection, "SELECT schema_name FROM information_schema.schemata ORDER BY 1")

    def has_schema(self, connection, schema_name, **kw) -> bool:
        return schema_name in self.get_schema_names(connection, **kw)

    @reflection.cache
    def _shown(self, connection, schema=None, **kw):
        """What `SHOW TABLES` shows: a type and a comment for each name."""
        quoted = self.identifier_preparer.quote_identifier(self._schema(schema))
        with _missing_is(exc.NoSuchTableError, self._schema(schema)):
            rows = connection.execute(text(f"SHOW TABLES IN {quoted}"))
            return {row.name: (row.type, row.comment) for row in rows}

    def _named(self, connection, kind: str, schema, kw) -> list[str]:
        try:
            shown = self._shown(connection, schema, **kw)
        except exc.NoSuchTableError:
            return []
        return [name for name, (is_a, _) in shown.items() if is_a == kind]

    def get_table_names(self, connection, schema=None, **kw):
        return self._named(connection, "TABLE", schema, kw)

    def get_view_names(self, connection, schema=None, **kw):
        return self._named(connection, "VIEW", schema, kw)

    def get_materialized_view_names(self, connection, schema=None, **kw):
        return self._named(connection, "MATERIALIZED VIEW", schema, kw)

    def get_temp_table_names(self, connection, **kw):
        return []

    get_temp_view_names = get_temp_table_names

    @reflection.cache
    def has_table(self, connection, table_name, schema=None, **kw):
        found = self._names(
            connection,
            "SELECT table_name FROM information_schema.tables WHERE table_schema = :schema AND table_name = :name",
            schema=self._schema(schema),
            name=table_name,
        )
        return bool(found)

    @reflection.cache
    def _definition(self, connection, table_name, schema=None, **kw):
        """The statement that would create it."""
        kind, _ = self._known(connection, table_name, schema, kw)
        with _missing_is(exc.NoSuchTableError, self._full(table_name, schema)):
            return connection.execute(text(f"SHOW CREATE {kind} {self._relation(table_name, schema)}")).one()[1]

    def _known(self, connection, table_name, schema, kw) -> tuple[str, str | None]:
        """Its type and its comment."""
        shown = self._shown(connection, schema, **kw)
        if table_name in shown:
            return shown[table_name]
        if self.has_table(connection, table_name, schema, **kw):  # of `system` and `information_schema`
            return "TABLE", None
        raise exc.NoSuchTableError(self._full(table_name, schema))

    def get_view_definition(self, connection, view_name, schema=None, **kw):
        if self._known(connection, view_name, schema, kw)[0] == "TABLE":
            raise exc.NoSuchTableError(self._full(view_name, schema))
        return self._definition(connection, view_name, schema, **kw)

    @reflection.cache
    def get_columns(self, connection, table_name, schema=None, **kw):
        with _missing_is(exc.NoSuchTableError, self._full(table_name, schema)):
            described = connection.execute(text(f"DESCRIBE {self._relation(table_name, schema)}")).all()
        # The driver asks by pattern, and takes the one whose name is equal to it.
        driver = _driver_connection(connection)
        kinds = driver.adbc_get_table_schema(table_name, db_schema_filter=self._schema(schema))
        columns = []
        for row in described:
            column = {
                "name": row.column,
                "type": of_arrow(kinds.field(row.column).type),
                "nullable": row.nullable,
                "default": None,
                "autoincrement": False,
                "comment": row.comment,
            }
            if row.generated is not None:
                column["computed"] = {"sqltext": row.generated, "persisted": True}
            columns.append(column)
        return columns

    def _is_table(self, connection, table_name, schema, kw) -> bool:
        return self._known(connection, table_name, schema, kw)[0] == "TABLE" and self._schema(schema) not in RESERVED

    def get_pk_constraint(self, connection, table_name, schema=None, **kw):
        columns: list[str] = []
        if self._is_table(connection, table_name, schema, kw):
            found = PRIMARY_KEY.search(self._definition(connection, table_name, schema, **kw))
            columns = _identifiers(found["columns"]) if found else []
        return {"constrained_columns": columns, "name": None}

    def get_check_constraints(self, connection, table_name, schema=None, **kw):
        if not self._is_table(connection, table_name, schema, kw):
            return []
        found = CHECK.finditer(self._definition(connection, table_name, schema, **kw))
        return [{"name": _identifiers(check["name"])[0], "sqltext": check["condition"]} for check in found]

    def get_foreign_keys(self, connection, table_name, schema=None, **kw):
        self._known(connection, table_name, schema, kw)
        return []

    get_indexes = get_unique_constraints = get_foreign_keys

    def get_table_comment(self, connection, table_name, schema=None, **kw):
        return {"text": self._known(connection, table_name, schema, kw)[1]}

    def _full(self, table_name: str, schema: str | None) -> str:
        return f"{self._schema(schema)}.{table_name}"


@contextlib.contextmanager
def _missing_is(error: type[Exception], name: str):
    try:
        yield
    except exc.DBAPIError as refused:
        if getattr(refused.orig, "status_code", None) != AdbcStatusCode.NOT_FOUND:
            raise
        raise error(name) from refused


def _driver_connection(connection):
    proxied = connection.connection
    # SQLAlchemy 1.4 hands out the connection itself while it connects.
    return getattr(proxied, "driver_connection", None) or getattr(proxied, "connection", proxied)


def _identifiers(text: str) -> list[str]:
    """Names as statements have them, with and without quotes."""
    return [quoted.replace('""', '"') or plain for quoted, plain in IDENTIFIER.findall(text)]


def _flag(value: str, name: str) -> bool:
    if value not in ("true", "false"):
        raise exc.ArgumentError(f"{name} is 'true' or 'false', not {value!r}")
    return value == "true"
