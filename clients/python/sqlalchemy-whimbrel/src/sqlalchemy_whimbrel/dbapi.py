"""PEP 249 over the ADBC driver of Flight SQL, with what SQLAlchemy needs besides.

Two things differ from `adbc_driver_flightsql.dbapi`. Statements without rows tell how many rows they
changed, and have no `description`. Errors have the class that the server's status stands for: the
driver knows no class for some, and takes a lost race for an unknown one.
"""

from __future__ import annotations

import contextlib
import datetime
import re

import adbc_driver_flightsql
import adbc_driver_manager
from adbc_driver_manager import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,
)
from adbc_driver_manager import dbapi as adbc

apilevel = "2.0"
threadsafety = 1
paramstyle = "qmark"

Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
Binary = bytes
STRING, BINARY, NUMBER, DATETIME, ROWID = adbc.STRING, adbc.BINARY, adbc.NUMBER, adbc.DATETIME, adbc.ROWID

# The driver gives these one of its own classes, or the wrong one; its texts end with the name of the gRPC status.
CLASSES = {
    "Aborted": OperationalError,
    "DataLoss": DatabaseError,
    "FailedPrecondition": OperationalError,
    "PermissionDenied": ProgrammingError,
    "ResourceExhausted": OperationalError,
    "Unauthenticated": OperationalError,
    "Unavailable": OperationalError,
}
STATUS = re.compile(r"\(([A-Z]\w+); \w[^()]*\)")


def status(error: Error) -> str | None:
    """The gRPC status as Go writes it, `NotFound` for example."""
    found = STATUS.findall(str(error))
    return found[-1] if found else None


def lost_its_transaction(error: Error) -> bool:
    """Whether the server has ended the transaction by itself; the driver's connection cannot go on then."""
    return "the transaction is unknown" in str(error) or "missing a valid transaction" in str(error)


def sqlstate(error: Error) -> str:
    """The SQLSTATE, which the server sends as a header; empty where it said none."""
    headers = {key.decode() if isinstance(key, bytes) else key: value for key, value in error.details}
    return error.sqlstate or headers.get("sqlstate", b"").decode()


def _class_of(error: Error) -> type[Error]:
    said = sqlstate(error)
    if said.startswith("23"):
        return IntegrityError
    if said.startswith("22"):
        return DataError
    return CLASSES.get(status(error), type(error))


@contextlib.contextmanager
def _translated():
    try:
        yield
    except Error as error:
        proper = _class_of(error)
        if type(error) is proper:
            raise
        facts = {"vendor_code": error.vendor_code, "sqlstate": sqlstate(error), "details": error.details}
        if proper is not NotSupportedError:
            facts["status_code"] = error.status_code
        raise proper(str(error), **facts) from error


def connect(uri: str, *, db_kwargs: dict[str, str] | None = None, conn_kwargs: dict[str, str] | None = None):
    """A connection in which every statement takes effect by itself, until `use_transactions`."""
    with _translated(), contextlib.ExitStack() as opened:
        database = opened.enter_context(adbc_driver_flightsql.connect(uri, db_kwargs=db_kwargs))
        handle = opened.enter_context(adbc_driver_manager.AdbcConnection(database, **(conn_kwargs or {})))
        connection = Connection(database, handle, conn_kwargs, autocommit=True)
        opened.pop_all()
        return connection


class Connection(adbc.Connection):
    #: Whether a statement has taken effect since the last `commit` or `rollback`, and so could not be undone.
    changed = False
    #: Whether its user may take a rollback for one. AUTOCOMMIT says that they do not.
    expects_rollback = True
    #: Whether statements belong to transactions, which `commit` and `rollback` end.
    transactions = False
    _begun = False

    def use_transactions(self, wanted: bool) -> None:
        if self.transactions and not wanted:
            self.rollback()
        self.transactions = wanted

    def begin(self) -> None:
        """Begins a transaction where there is none. Not before a statement: the server ends those that do nothing."""
        if self.transactions and not self._begun:
            with _translated():
                self.adbc_connection.set_autocommit(False)
            self._begun = True

    def _end(self, how) -> None:
        self.changed = False
        if self._begun:
            with _translated():
                how()
                # The driver has begun the next one already.
                self.adbc_connection.set_autocommit(True)
            self._begun = False

    def cursor(self, **kwargs) -> "Cursor":
        cursor = Cursor(self, kwargs.get("adbc_stmt_kwargs"), dbapi_backend=self._backend)
        self._cursors.add(cursor)
        return cursor

    def commit(self) -> None:
        self._end(self.adbc_connection.commit)

    def rollback(self) -> None:
        self._end(self.adbc_connection.rollback)

    def took_effect(self) -> None:
        self.changed = not self.transactions


class Cursor(adbc.Cursor):
    #: Stands before each statement as a comment, so that `system.queries` shows whose it is.
    remark: str | None = None

    def execute(self, operation, parameters=None) -> "Cursor":
        parameters = parameters or None
        if self.remark is not None:
            operation = f"/* {self.remark} */ {operation}"
        self.connection.begin()
        with _translated():
            if self._answers_rows(operation, parameters):
                return super().execute(operation, parameters)
            super().executemany(operation, None if parameters is None else [parameters])
            self.connection.took_effect()
            return self

    def _answers_rows(self, operation, parameters) -> bool:
        """Prepares the statement, which is then not prepared again. The driver has no schema for one without rows."""
        try:
            return len(self.adbc_execute_schema(operation, parameters)) > 0
        except NotSupportedError:
            return False

    def executemany(self, operation, seq_of_parameters) -> None:
        self.connection.begin()
        with _translated():
            super().executemany(operation, seq_of_parameters)
        self.connection.took_effect()

    def fetchone(self):
        with _translated():
            return super().fetchone()

    def fetchmany(self, size=None):
        with _translated():
            return super().fetchmany(size)

    def fetchall(self):
        with _translated():
            return super().fetchall()
