"""A small shop, built twice, and what is Whimbrel's own: one commit each, materialized views, grants, comments."""

import json
import pathlib
from decimal import Decimal

import pytest
from dbt.tests.util import run_dbt, write_file

RAW = """id,customer,amount,ordered_at,note
1,Ada,12.50,2026-11-01 10:00:00,it's
2,Grace,99.00,2026-11-01 11:00:00,
3,Ada,7.25,2026-11-02 12:00:00,"a, b"
"""
MODELS = {
    "staged.sql": """{{ config(materialized='view') }}
        select id, customer, cast(amount as decimal(10, 2)) as amount, ordered_at, cast(ordered_at as date) as day
        from {{ ref('raw_orders') }}""",
    "daily.sql": """{{ config(materialized='table', partitioned_by='day', tblproperties={'owner.team': 'sales'}) }}
        select day, count(*) as orders, sum(amount) as revenue from {{ ref('staged') }} group by day""",
    "merged.sql": """{{ config(materialized='incremental', unique_key='id') }}
        select id, customer, amount, ordered_at from {{ ref('staged') }}
        {% if is_incremental() %} where ordered_at >= (select max(ordered_at) from {{ this }}) {% endif %}""",
    "appended.sql": """{{ config(materialized='incremental', incremental_strategy='append') }}
        select id from {{ ref('staged') }}""",
    "replaced.sql": """{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='customer') }}
        select id, customer, amount from {{ ref('staged') }}""",
    "spent.sql": """{{ config(materialized='materialized_view', schedule='every 1 day') }}
        select customer, sum(amount) as spent from {{ ref('raw_orders') }} group by customer""",
    "schema.yml": """
models:
  - name: staged
    description: "It's staged"
    columns: [{name: id, data_tests: [unique, not_null]}]
  - name: daily
    description: By day
    config: {grants: {select: [readers]}}
    columns:
      - {name: day, description: The day, data_tests: [unique, not_null]}
      - {name: orders, data_tests: [{accepted_values: {arguments: {values: [99], quote: false}}}]}
""",
}


class TestShop:
    @pytest.fixture(scope="class")
    def models(self):
        return MODELS

    @pytest.fixture(scope="class")
    def seeds(self):
        return {"raw_orders.csv": RAW}

    @pytest.fixture(scope="class")
    def project_config_update(self):
        return {"models": {"+persist_docs": {"relation": True, "columns": True}}}

    def rows(self, project, sql):
        return project.run_sql(sql.replace("{}", project.test_schema), fetch="all")

    def commits(self, project, name):
        return len(self.rows(project, f'describe history "{{}}".{name}'))

    def test_it_is_built_twice(self, project):
        project.run_sql("create role if not exists readers; create role if not exists others")
        results = {result.node.name: result.status for result in run_dbt(["build"], expect_pass=False)}
        failed = {name for name, status in results.items() if status not in ("success", "pass")}
        assert failed == {"accepted_values_daily_orders__False__99"}
        assert self.rows(project, "select id, note from {}.raw_orders order by id") == [(1, "it's"), (2, None), (3, "a, b")]
        before = {name: self.commits(project, name) for name in ("merged", "appended", "replaced")}
        assert before == {"merged": 1, "appended": 1, "replaced": 1}

        write_file(RAW.replace("Grace,99.00", "Grace,98.00") + "4,Ada,30.00,2026-11-03 09:00:00,new\n", project.project_root, "seeds", "raw_orders.csv")
        run_dbt(["build", "--exclude", "test_type:generic"])
        assert self.rows(project, "select id, amount from {}.merged order by id") == [
            (1, Decimal("12.50")), (2, Decimal("99.00")), (3, Decimal("7.25")), (4, Decimal("30.00"))
        ]
        assert [row[0] for row in self.rows(project, "select id from {}.appended order by id")] == [1, 1, 2, 2, 3, 3, 4]
        assert self.rows(project, "select id, amount from {}.replaced order by id") == [
            (1, Decimal("12.50")), (2, Decimal("98.00")), (3, Decimal("7.25")), (4, Decimal("30.00"))
        ]
        assert {name: self.commits(project, name) for name in before} == {"merged": 2, "appended": 2, "replaced": 2}
        assert self.rows(project, "select spent from {}.spent where customer = 'Ada'") == [(49.75,)]
        shown = {row[1]: row[2:] for row in self.rows(project, 'show tables in "{}"')}
        assert shown["daily"] == ("TABLE", "By day") and shown["staged"] == ("VIEW", "It's staged")
        assert shown["spent"][0] == "MATERIALIZED VIEW" and not [name for name in shown if "__dbt_tmp" in name]
        assert self.rows(project, 'describe "{}".daily')[0][0:5:4] == ("day", "The day")

    def test_grants_follow_the_config(self, project):
        sql = "select grantee, privilege from system.grants where on_name = '{}.daily'"
        assert ("readers", "SELECT") in self.rows(project, sql)
        write_file(MODELS["schema.yml"].replace("[readers]", "[others]"), project.project_root, "models", "schema.yml")
        run_dbt(["run", "--select", "daily"])
        assert self.rows(project, sql) == [("others", "SELECT")]

    def test_docs_have_columns_and_comments(self, project):
        run_dbt(["docs", "generate"])
        catalog = json.loads((pathlib.Path(project.project_root) / "target" / "catalog.json").read_text())
        daily = catalog["nodes"]["model.test.daily"]
        assert daily["metadata"]["comment"] == "By day"
        assert [(c["name"], c["type"], c["comment"]) for c in daily["columns"].values()] == [
            ("day", "DATE", "The day"), ("orders", "BIGINT", None), ("revenue", "DECIMAL(20, 2)", None)
        ]
        assert catalog["nodes"]["model.test.spent"]["metadata"]["type"] == "MATERIALIZED VIEW"

    def test_a_materialized_view_is_computed_only_when_its_inputs_changed(self, project):
        states = "select state from system.runs where object = '{}.spent' order by started_at desc limit 1"
        run_dbt(["run", "--select", "spent"])
        assert self.rows(project, states) == [("SKIPPED_NO_CHANGE",)]
        run_dbt(["run", "--select", "spent", "--full-refresh"])
        assert self.rows(project, states) == [("SUCCEEDED",)]

    def test_a_column_that_would_have_to_go_is_told(self, project):
        model = "{{ config(materialized='incremental', on_schema_change='sync_all_columns') }} select 1 as a"
        write_file(model + ", 2 as b", project.project_root, "models", "narrower.sql")
        run_dbt(["run", "--select", "narrower"])
        write_file(model, project.project_root, "models", "narrower.sql")
        (result,) = run_dbt(["run", "--select", "narrower"], expect_pass=False)
        assert "--full-refresh" in result.message
        run_dbt(["run", "--select", "narrower", "--full-refresh"])

    def test_what_changes_its_kind_is_built_anew(self, project):
        for kind in ("view", "table", "materialized_view", "incremental", "view"):
            source = "select customer from {{ ref('raw_orders') }}"
            write_file(f"{{{{ config(materialized='{kind}') }}}} {source}", project.project_root, "models", "changing.sql")
            run_dbt(["run", "--select", "changing"])
            assert len(self.rows(project, "select * from {}.changing")) == 4

    def test_a_contract_is_checked_and_enforced(self, project):
        model = "{{ config(materialized='table', contract={'enforced': true}) }} select %s as id, 'x' as name"
        contract = """
models:
  - name: contracted
    constraints: [{type: check, expression: "id > 0", name: positive}]
    columns:
      - {name: id, data_type: bigint, constraints: [{type: not_null}, {type: primary_key}]}
      - {name: name, data_type: string}
"""
        write_file(contract, project.project_root, "models", "contracted.yml")
        write_file(model % "1", project.project_root, "models", "contracted.sql")
        run_dbt(["run", "--select", "contracted"])
        assert self.rows(project, "select id, name from {}.contracted") == [(1, "x")]
        write_file(model % "-1", project.project_root, "models", "contracted.sql")
        (result,) = run_dbt(["run", "--select", "contracted"], expect_pass=False)
        assert "violates CHECK 'positive'" in result.message
