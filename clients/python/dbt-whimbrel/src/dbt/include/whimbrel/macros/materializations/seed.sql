{% macro whimbrel__create_csv_table(model, agate_table) %}
  {%- set types = model['config'].get('column_types', {}) -%}
  {%- set quote_columns = model['config'].get('quote_columns', none) -%}
  {%- set sql -%}
    create or replace table {{ this }} (
      {%- for name in agate_table.column_names -%}
        {{ adapter.quote_seed_column(name, quote_columns) }} {{ types.get(name, adapter.convert_type(agate_table, loop.index0)) }}{{ ', ' if not loop.last }}
      {%- endfor -%}
    )
    {{- whimbrel__table_clauses() }}
  {%- endset -%}
  {%- call statement('create_seed') -%}{{ sql }}{%- endcall -%}
  {{ return(sql) }}
{% endmacro %}

{% macro whimbrel__reset_csv_table(model, full_refresh, old_relation, agate_table) %}
  {%- if full_refresh -%}
    {{ return(create_csv_table(model, agate_table)) }}
  {%- endif -%}
  {%- do adapter.truncate_relation(old_relation) -%}
  {{ return("truncate table " ~ old_relation) }}
{% endmacro %}

{#- As one stream and one commit, and not as text. -#}
{% macro whimbrel__load_csv_rows(model, agate_table) %}
  {%- do adapter.ingest_seed(agate_table, this, model['config'].get('quote_columns', none)) -%}
  {{ return("-- " ~ agate_table.rows | length ~ " rows are sent as Arrow") }}
{% endmacro %}
