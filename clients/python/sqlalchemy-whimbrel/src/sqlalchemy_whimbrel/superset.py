"""What Apache Superset has to know of Whimbrel; it finds this by the entry point `superset.db_engine_specs`."""

from __future__ import annotations

import contextlib
import re
import uuid
from datetime import datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import types
from sqlalchemy.engine.url import URL
from sqlglot.dialects.dialect import Dialects
from superset.constants import TimeGrain
from superset.db_engine_specs.base import BaseEngineSpec, BasicParametersMixin
from superset.sql.parse import SQLGLOT_DIALECTS
from superset.utils.core import GenericDataType

from . import dbapi
from .dialect import DEFAULT_SCHEMA, WhimbrelDialect
from .types import of_arrow

# How Superset reads SQL to find its tables and to put a limit to it.
SQLGLOT_DIALECTS.setdefault("whimbrel", Dialects.POSTGRES)

GRAINS = {
    TimeGrain.SECOND: "second",
    TimeGrain.MINUTE: "minute",
    TimeGrain.HOUR: "hour",
    TimeGrain.DAY: "day",
    TimeGrain.WEEK: "week",
    TimeGrain.MONTH: "month",
    TimeGrain.QUARTER: "quarter",
    TimeGrain.YEAR: "year",
}
BINS = {
    TimeGrain.FIVE_SECONDS: "5 seconds",
    TimeGrain.THIRTY_SECONDS: "30 seconds",
    TimeGrain.FIVE_MINUTES: "5 minutes",
    TimeGrain.TEN_MINUTES: "10 minutes",
    TimeGrain.FIFTEEN_MINUTES: "15 minutes",
    TimeGrain.THIRTY_MINUTES: "30 minutes",
    TimeGrain.SIX_HOURS: "6 hours",
}


class WhimbrelEngineSpec(BasicParametersMixin, BaseEngineSpec):
    engine = "whimbrel"
    engine_name = "Whimbrel"
    default_driver = WhimbrelDialect.driver
    sqlalchemy_uri_placeholder = "whimbrel://user:password@host:port/schema[?tls=true]"
    encryption_parameters = {"tls": "true"}
    supports_dynamic_schema = True
    supports_multivalues_insert = True
    max_column_name_length = WhimbrelDialect.max_identifier_length

    column_type_mappings = (
        (re.compile(r"^tinyint", re.IGNORECASE), types.SmallInteger(), GenericDataType.NUMERIC),
        (re.compile(r"^bytea", re.IGNORECASE), types.LargeBinary(), GenericDataType.STRING),
    )

    _time_grain_expressions = {
        None: "{col}",
        **{grain: f"DATE_TRUNC('{unit}', {{col}})" for grain, unit in GRAINS.items()},
        **{grain: f"DATE_BIN(INTERVAL '{bin}', {{col}})" for grain, bin in BINS.items()},
    }

    @classmethod
    def epoch_to_dttm(cls) -> str:
        return "TO_TIMESTAMP_SECONDS({col})"

    @classmethod
    def epoch_ms_to_dttm(cls) -> str:
        return "TO_TIMESTAMP_MILLIS({col})"

    @classmethod
    def convert_dttm(cls, target_type: str, dttm: datetime, db_extra: dict[str, Any] | None = None) -> str | None:
        kind = cls.get_sqla_column_type(target_type)
        if isinstance(kind, types.Date):
            return f"DATE '{dttm.date().isoformat()}'"
        if isinstance(kind, types.DateTime):
            return f"TIMESTAMP '{dttm.isoformat(sep=' ', timespec='microseconds')}'"
        return None

    @classmethod
    def get_datatype(cls, type_code: Any) -> str | None:
        if isinstance(type_code, pa.DataType):
            return str(of_arrow(type_code).compile(dialect=WhimbrelDialect()))
        return super().get_datatype(type_code)

    @classmethod
    def fetch_data(cls, cursor: Any, limit: int | None = None) -> list[tuple[Any, ...]]:
        return super().fetch_data(cursor, limit) if cursor.description else []

    # --- schemas ----------------------------------------------------------------------------------

    @classmethod
    def adjust_engine_params(
        cls, uri: URL, connect_args: dict[str, Any], catalog: str | None = None, schema: str | None = None
    ) -> tuple[URL, dict[str, Any]]:
        return (uri.set(database=schema) if schema else uri), connect_args

    @classmethod
    def get_schema_from_engine_params(cls, sqlalchemy_uri: URL, connect_args: dict[str, Any]) -> str | None:
        return sqlalchemy_uri.database or DEFAULT_SCHEMA

    # --- cancelling -------------------------------------------------------------------------------

    @classmethod
    def get_cancel_query_id(cls, cursor: Any, query: Any) -> str | None:
        # The server numbers a statement when it runs. A remark finds it among those that run.
        cursor.remark = f"superset {uuid.uuid4().hex}"
        return cursor.remark

    @classmethod
    def cancel_query(cls, cursor: Any, query: Any, cancel_query_id: str) -> bool:
        with contextlib.suppress(dbapi.Error):
            cursor.execute(
                "SELECT query_id FROM system.queries WHERE finished_at IS NULL AND sql LIKE ?",
                (f"/* {cancel_query_id} */%",),
            )
            for (query_id,) in cursor.fetchall():
                cursor.execute(f"CANCEL QUERY '{query_id}'")
            return True
        return False
