"""dbt's own suites, with types and statements as Whimbrel has them."""

import pytest
from dbt.tests.adapter.constraints import test_constraints as constraints
from dbt.tests.adapter.dbt_show.test_dbt_show import BaseShowDoesNotHandleDoubleLimit
from dbt.tests.adapter.incremental import test_incremental_microbatch as microbatch
from dbt.tests.adapter.incremental.test_incremental_on_schema_change import BaseIncrementalOnSchemaChange
from dbt.tests.adapter.incremental.test_incremental_predicates import BaseIncrementalPredicates
from dbt.tests.adapter.simple_snapshot.test_snapshot import BaseSimpleSnapshot
from dbt.tests.adapter.unit_testing.test_types import BaseUnitTestingTypes


class Types:
    @pytest.fixture
    def string_type(self):
        return "STRING"

    @pytest.fixture
    def int_type(self):
        return "BIGINT"

    @pytest.fixture
    def data_types(self):
        return [
            ["1", "BIGINT", "BIGINT"],
            ["'1'", "STRING", "STRING"],
            ["true", "BOOLEAN", "BOOLEAN"],
            ["DATE '2013-11-03'", "DATE", "DATE"],
            ["TIMESTAMP '2013-11-03 00:00:00'", "TIMESTAMP", "TIMESTAMP"],
            ["['a', 'b']", "ARRAY<STRING>", "ARRAY<STRING>"],
            ["CAST(1 AS DECIMAL(10, 2))", "DECIMAL(10, 2)", "DECIMAL(10, 2)"],
            ["CAST(1 AS DOUBLE)", "DOUBLE", "DOUBLE"],
        ]


class TestTableColumnsEqual(Types, constraints.BaseTableConstraintsColumnsEqual):
    pass


class TestViewColumnsEqual(Types, constraints.BaseViewConstraintsColumnsEqual):
    pass


class TestIncrementalColumnsEqual(Types, constraints.BaseIncrementalConstraintsColumnsEqual):
    pass


class TestUnitTestingTypes(BaseUnitTestingTypes):
    @pytest.fixture
    def data_types(self):
        return [
            ["1", "1"],
            ["'1'", "1"],
            ["true", "true"],
            ["DATE '2020-01-02'", "2020-01-02"],
            ["TIMESTAMP '2013-11-03 00:00:00'", "2013-11-03 00:00:00"],
            ["CAST('1.50' AS DECIMAL(10, 2))", "1.50"],
        ]


class TestShowDoubleLimit(BaseShowDoesNotHandleDoubleLimit):
    DATABASE_ERROR_MESSAGE = "Expected: end of statement, found: limit"


class TestMicrobatch(microbatch.BaseMicrobatch):
    @pytest.fixture(scope="class")
    def input_model_sql(self):
        return microbatch._input_model_sql.replace("00:00:00-0", "00:00:00")

    @pytest.fixture(scope="class")
    def insert_two_rows_sql(self, project):
        return (
            f'insert into "{project.test_schema}".input_model (id, event_time) '
            "values (4, TIMESTAMP '2020-01-04 00:00:00'), (5, TIMESTAMP '2020-01-05 00:00:00')"
        )


class TestOnSchemaChange(BaseIncrementalOnSchemaChange):
    # Columns cannot be dropped; test_whimbrel.py shows what is answered.
    test_run_incremental_sync_all_columns = None


class TestPredicates(BaseIncrementalPredicates):
    @pytest.fixture(scope="class")
    def project_config_update(self):
        predicates = ["dbt_internal_dest.id != 2"]
        return {"models": {"+incremental_predicates": predicates, "+incremental_strategy": "delete+insert"}}


class TestSnapshot(BaseSimpleSnapshot):
    # Adds a column with a default.
    test_new_column_captured_by_snapshot = None
