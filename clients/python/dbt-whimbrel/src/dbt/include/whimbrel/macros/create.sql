{#- Everything is created with OR REPLACE: one commit, and readers see the old rows until then. -#}

{% macro whimbrel__table_clauses() -%}
  {%- set partitioned_by = config.get('partitioned_by') -%}
  {%- set properties = config.get('tblproperties') -%}
  {%- if partitioned_by %}
  partitioned by ({{ whimbrel__quoted([partitioned_by] if partitioned_by is string else partitioned_by) }})
  {%- endif -%}
  {%- if config.get('location') %}
  location {{ whimbrel__text(config.get('location')) }}
  {%- endif -%}
  {%- if properties %}
  tblproperties ({% for key, value in properties.items() %}{{ whimbrel__text(key) }} = {{ whimbrel__text(value | string) }}{{ ', ' if not loop.last }}{% endfor %})
  {%- endif -%}
{%- endmacro %}

{% macro whimbrel__create_table_as(temporary, relation, compiled_code, language='sql') -%}
  create or replace table {{ relation }}
  {%- if not temporary %}{{ whimbrel__table_clauses() }}{% endif %}
  as
  {{ config.get('sql_header') or '' }}
  {{ compiled_code }}
{%- endmacro %}

{#- The table of a contract, still without rows. -#}
{% macro whimbrel__create_contracted_table(relation, compiled_code) -%}
  {{ get_assert_columns_equivalent(compiled_code) }}
  create or replace table {{ relation }} {{ get_table_columns_and_constraints() }}
  {{- whimbrel__table_clauses() }}
{%- endmacro %}

{% macro whimbrel__create_view_as(relation, sql) -%}
  {%- set contract = config.get('contract') -%}
  {%- if contract and contract.enforced -%}
    {{ get_assert_columns_equivalent(sql) }}
  {%- endif %}
  create or replace view {{ relation }}
  {%- if config.persist_relation_docs() and model.description %}
  comment {{ whimbrel__text(model.description) }}
  {%- endif %}
  as
  {{ sql }}
{%- endmacro %}
