"""What dbt asks of a warehouse, answered by Whimbrel."""

from __future__ import annotations

import datetime
import decimal
from typing import TYPE_CHECKING

import adbc_driver_manager
import pyarrow as pa
from adbc_driver_manager import AdbcStatusCode
from dbt.adapters.base.impl import ConstraintSupport
from dbt.adapters.base.meta import available
from dbt.adapters.capability import Capability, CapabilityDict, CapabilitySupport, Support
from dbt.adapters.sql import SQLAdapter
from dbt_common.contracts.constraints import ConstraintType
from dbt_common.exceptions import DbtDatabaseError, DbtRuntimeError

from dbt.adapters.whimbrel.column import WhimbrelColumn
from dbt.adapters.whimbrel.connections import CATALOG, WhimbrelConnectionManager
from dbt.adapters.whimbrel.relation import WhimbrelRelation
from dbt.adapters.whimbrel.types import sql_type

if TYPE_CHECKING:
    import agate

CATALOG_COLUMNS = [
    "table_database",
    "table_schema",
    "table_name",
    "table_type",
    "table_comment",
    "table_owner",
    "column_name",
    "column_index",
    "column_type",
    "column_comment",
]
KINDS = {"TABLE": "table", "VIEW": "view", "MATERIALIZED VIEW": "materialized_view"}


class WhimbrelAdapter(SQLAdapter):
    Relation = WhimbrelRelation
    Column = WhimbrelColumn
    ConnectionManager = WhimbrelConnectionManager

    CONSTRAINT_SUPPORT = {
        ConstraintType.check: ConstraintSupport.ENFORCED,
        ConstraintType.not_null: ConstraintSupport.ENFORCED,
        ConstraintType.unique: ConstraintSupport.NOT_SUPPORTED,
        ConstraintType.primary_key: ConstraintSupport.NOT_ENFORCED,
        ConstraintType.foreign_key: ConstraintSupport.NOT_SUPPORTED,
    }

    _capabilities = CapabilityDict({Capability.SchemaMetadataByRelations: CapabilitySupport(support=Support.Full)})

    @classmethod
    def date_function(cls) -> str:
        return "now()"

    # --- what there is --------------------------------------------------------------------------

    def list_relations_without_caching(self, schema_relation) -> list[WhimbrelRelation]:
        schema = schema_relation.schema
        return [
            self.Relation.create(database=CATALOG, schema=schema, identifier=name, type=KINDS[kind])
            for schema, name, kind, _ in self._shown(schema)
        ]

    def get_columns_in_relation(self, relation) -> list[WhimbrelColumn]:
        try:
            with self.connections.exception_handler(relation.render()):
                # The driver asks by pattern, and takes the one whose name is equal to it.
                schema = self._handle().adbc_get_table_schema(relation.identifier, db_schema_filter=relation.schema)
        except DbtDatabaseError as error:
            if _is_missing(error):
                return []
            raise
        return [self.Column.create(field.name, sql_type(field.type)) for field in schema]

    def _get_one_catalog(self, information_schema, schemas, used_schemas) -> "agate.Table":
        return self._catalog(relation for schema in sorted(schemas) for relation in self._shown(schema))

    def _get_one_catalog_by_relations(self, information_schema, relations, used_schemas) -> "agate.Table":
        wanted = {(relation.schema, relation.identifier) for relation in relations}
        schemas = sorted({schema for schema, _ in wanted})
        shown = (relation for schema in schemas for relation in self._shown(schema))
        return self._catalog(relation for relation in shown if (relation[0], relation[1]) in wanted)

    def _shown(self, schema: str) -> list[tuple[str, str, str, str | None]]:
        """Schema, name, type and comment of all that is in a schema."""
        try:
            _, rows = self.execute(f"SHOW TABLES IN {self.quote(schema)}", fetch=True)
        except DbtDatabaseError as error:
            if _is_missing(error):
                return []
            raise
        return [(row["schema"], row["name"], row["type"], row["comment"]) for row in rows]

    def _catalog(self, shown) -> "agate.Table":
        from dbt_common.clients.agate_helper import table_from_data_flat

        rows = []
        for schema, name, kind, comment in shown:
            relation = self.Relation.create(database=CATALOG, schema=schema, identifier=name)
            _, described = self.execute(f"DESCRIBE {relation}", fetch=True)
            comments = {row["column"]: row["comment"] for row in described}
            for index, column in enumerate(self.get_columns_in_relation(relation), start=1):
                facts = (CATALOG, schema, name, kind, comment, None)
                rows.append(facts + (column.name, index, column.dtype, comments.get(column.name)))
        return table_from_data_flat([dict(zip(CATALOG_COLUMNS, row)) for row in rows], CATALOG_COLUMNS)

    def _handle(self):
        return self.connections.get_thread_connection().handle

    def standardize_grants_dict(self, grants_table: "agate.Table") -> dict[str, list[str]]:
        grants: dict[str, list[str]] = {}
        for row in grants_table:
            grants.setdefault(row["privilege"].lower(), []).append(row["grantee"])
        return grants

    # --- seeds ----------------------------------------------------------------------------------

    @available
    def ingest_seed(self, agate_table: "agate.Table", relation, quote_columns: bool | None) -> None:
        """Sends the rows as one stream: one commit, or nothing. The server casts them to the table's types."""
        columns = [_arrow(column.values()) for column in agate_table.columns]
        # Unquoted names of columns were turned into lower case when the table was created.
        names = [name.lower() if quote_columns is False else name for name in agate_table.column_names]
        with self.connections.exception_handler(f"-- seed {relation}"), self._handle().cursor() as cursor:
            cursor.adbc_ingest(
                relation.identifier, pa.table(columns, names=names), mode="append", db_schema_name=relation.schema
            )

    @classmethod
    def convert_text_type(cls, agate_table, col_idx) -> str:
        return "STRING"

    @classmethod
    def convert_number_type(cls, agate_table, col_idx) -> str:
        import agate

        return "DOUBLE" if agate_table.aggregate(agate.MaxPrecision(col_idx)) else "BIGINT"

    @classmethod
    def convert_integer_type(cls, agate_table, col_idx) -> str:
        return "BIGINT"

    @classmethod
    def convert_datetime_type(cls, agate_table, col_idx) -> str:
        return "TIMESTAMP"

    @classmethod
    def convert_time_type(cls, agate_table, col_idx) -> str:
        raise DbtRuntimeError("a Delta table holds no times of day: give the column a type in column_types, STRING")

    # --- strategies -----------------------------------------------------------------------------

    def valid_incremental_strategies(self) -> list[str]:
        return ["append", "merge", "delete+insert", "microbatch"]


def _is_missing(error: DbtDatabaseError) -> bool:
    cause = error.__cause__
    return isinstance(cause, adbc_driver_manager.Error) and cause.status_code == AdbcStatusCode.NOT_FOUND


def _arrow(values) -> pa.Array:
    values = list(values)
    if any(isinstance(value, decimal.Decimal) for value in values):
        # dbt reads numbers as decimals; as texts they lose no digit on their way to the column's type.
        return pa.array([None if value is None else format(value, "f") for value in values], pa.string())
    if any(isinstance(value, datetime.datetime) for value in values):
        return pa.array(values, pa.timestamp("us"))
    kind = pa.string() if all(value is None or isinstance(value, str) for value in values) else None
    return pa.array(values, kind)
