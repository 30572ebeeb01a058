"""Connections over the ADBC driver of Flight SQL. Each statement takes effect by itself."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import adbc_driver_manager
from dbt.adapters.contracts.connection import AdapterResponse, Connection, ConnectionState, Credentials
from dbt.adapters.events.logging import AdapterLogger
from dbt.adapters.exceptions.connection import FailedToConnectError
from dbt.adapters.sql import SQLConnectionManager
from dbt_common.exceptions import DbtConfigError, DbtDatabaseError, DbtRuntimeError

from dbt.adapters.whimbrel.handle import Handle
from dbt.adapters.whimbrel.types import sql_type

logger = AdapterLogger("Whimbrel")

CATALOG = "whimbrel"
# The number of the gRPC status, as the driver tells it.
UNAVAILABLE = 14


@dataclass
class WhimbrelCredentials(Credentials):
    database: str = CATALOG
    schema: str = "main"
    host: str = "127.0.0.1"
    port: int = 32010
    user: str = ""
    password: str = ""
    tls: bool = False
    #: File with the authority that signed the server's certificate; the system's where there is none.
    tls_ca: str | None = None
    tls_verify: bool = True
    #: Further options of the ADBC driver, by their names.
    options: dict[str, str] = field(default_factory=dict)

    _ALIASES = {"username": "user", "pass": "password", "catalog": "database"}

    def __post_init__(self) -> None:
        if self.database != CATALOG:
            raise DbtConfigError(f"the only database is '{CATALOG}': leave '{self.database}' out of the profile")
        if not self.tls and (self.tls_ca is not None or not self.tls_verify):
            raise DbtConfigError("tls_ca and tls_verify are about TLS: add 'tls: true' to the profile")

    @property
    def type(self) -> str:
        return "whimbrel"

    @property
    def unique_field(self) -> str:
        return self.host

    def _connection_keys(self) -> tuple[str, ...]:
        return ("host", "port", "user", "database", "schema", "tls", "tls_ca", "tls_verify")

    def uri(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'grpc+tls' if self.tls else 'grpc+tcp'}://{host}:{self.port}"

    def driver_options(self) -> dict[str, str]:
        options = {}
        if self.user:
            options |= {"username": self.user, "password": self.password}
        if self.tls_ca is not None:
            with open(self.tls_ca, encoding="ascii") as certificates:
                options["adbc.flight.sql.client_option.tls_root_certs"] = certificates.read()
        if not self.tls_verify:
            options["adbc.flight.sql.client_option.tls_skip_verify"] = "true"
        return options | self.options


class WhimbrelConnectionManager(SQLConnectionManager):
    TYPE = "whimbrel"

    @classmethod
    def open(cls, connection: Connection) -> Connection:
        if connection.state == ConnectionState.OPEN:
            return connection
        credentials = connection.credentials

        def connect():
            handle = Handle.connect(credentials.uri(), credentials.driver_options())
            try:
                # The driver logs in with the first call, and not before.
                handle.adbc_get_info()
            except adbc_driver_manager.Error as error:
                handle.close()
                if error.vendor_code == UNAVAILABLE:
                    raise
                raise FailedToConnectError(str(error)) from error
            return handle

        return cls.retry_connection(
            connection,
            connect=connect,
            logger=logger,
            retryable_exceptions=[adbc_driver_manager.Error],
            retry_limit=1,
        )

    def cancel(self, connection: Connection) -> None:
        connection.handle.adbc_cancel()

    @contextlib.contextmanager
    def exception_handler(self, sql: str):
        try:
            yield
        except adbc_driver_manager.Error as error:
            raise DbtDatabaseError(str(error)) from error
        except DbtRuntimeError:
            raise
        except Exception as error:
            raise DbtRuntimeError(str(error)) from error

    # There are no transactions to begin or to end.

    def add_begin_query(self):
        return None

    def add_commit_query(self):
        return None

    @classmethod
    def get_response(cls, cursor: Any) -> AdapterResponse:
        rows = cursor.rowcount
        return AdapterResponse(_message="OK" if rows < 0 else f"OK {rows}", rows_affected=rows)

    @classmethod
    def data_type_code_to_name(cls, type_code: Any) -> str:
        return sql_type(type_code)
