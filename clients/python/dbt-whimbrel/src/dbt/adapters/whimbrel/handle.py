"""A connection of the ADBC driver whose cursors know whether a statement answers rows."""

from __future__ import annotations

import contextlib

import adbc_driver_flightsql
import adbc_driver_manager
import sqlparse
from adbc_driver_manager import dbapi


class Handle(dbapi.Connection):
    """A connection in which every statement takes effect by itself."""

    @classmethod
    def connect(cls, uri: str, options: dict[str, str]) -> "Handle":
        with contextlib.ExitStack() as opened:
            database = opened.enter_context(adbc_driver_flightsql.connect(uri, db_kwargs=options))
            connection = opened.enter_context(adbc_driver_manager.AdbcConnection(database))
            handle = cls(database, connection, autocommit=True)
            opened.pop_all()
            return handle

    def cursor(self, **kwargs) -> "Cursor":
        cursor = Cursor(self, kwargs.get("adbc_stmt_kwargs"), dbapi_backend=self._backend)
        self._cursors.add(cursor)
        return cursor


class Cursor(dbapi.Cursor):
    def execute(self, operation, parameters=None) -> "Cursor":
        parameters = parameters or None
        # Hooks may be several statements; the server takes one at a time.
        *others, operation = _statements(operation) if parameters is None else [operation]
        for statement in others:
            self.execute(statement)
        if self._answers_rows(operation, parameters):
            return super().execute(operation, parameters)
        # As an update it tells how many rows it changed.
        super().executemany(operation, None if parameters is None else [parameters])
        return self

    def _answers_rows(self, operation, parameters) -> bool:
        """Prepares the statement, which is then not prepared again. The driver has no schema for one without rows."""
        try:
            return len(self.adbc_execute_schema(operation, parameters)) > 0
        except adbc_driver_manager.NotSupportedError:
            return False


def _statements(text: str) -> list[str]:
    if ";" not in text:
        return [text]
    pieces = (piece.strip().removesuffix(";") for piece in sqlparse.split(text))
    return [piece for piece in pieces if sqlparse.format(piece, strip_comments=True).strip()] or [text]
