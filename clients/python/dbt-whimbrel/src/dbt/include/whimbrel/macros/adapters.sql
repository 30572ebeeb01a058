{#- Names, schemas and what dbt looks up. Types and relations are looked up in Python: impl.py. -#}

{% macro whimbrel__list_schemas(database) -%}
  {{ return(run_query("select schema_name from information_schema.schemata")) }}
{%- endmacro %}

{% macro whimbrel__check_schema_exists(information_schema, schema) -%}
  {{ return(run_query("select count(*) from information_schema.schemata where schema_name = '" ~ schema | replace("'", "''") ~ "'")) }}
{%- endmacro %}

{% macro whimbrel__create_schema(relation) -%}
  {%- call statement('create_schema') -%}
    create schema if not exists {{ adapter.quote(relation.schema) }}
  {%- endcall -%}
{%- endmacro %}

{% macro whimbrel__drop_schema(relation) -%}
  {%- call statement('drop_schema') -%}
    drop schema if exists {{ adapter.quote(relation.schema) }} cascade
  {%- endcall -%}
{%- endmacro %}

{#- The data of a table that is dropped stays where it is. -#}
{% macro whimbrel__drop_relation(relation) -%}
  {%- call statement('drop_relation', auto_begin=False) -%}
    drop {{ relation.kind }} if exists {{ relation }}
  {%- endcall -%}
{%- endmacro %}

{% macro whimbrel__get_drop_sql(relation) -%}
  drop {{ relation.kind }} if exists {{ relation }}
{%- endmacro %}

{% macro whimbrel__rename_relation(from_relation, to_relation) -%}
  {{ exceptions.raise_compiler_error("Whimbrel renames nothing: " ~ from_relation ~ " cannot become " ~ to_relation ~ ". Create it under its new name and drop the old one") }}
{%- endmacro %}

{#- Only where a table that another engine wrote is a target; models are replaced in one commit. -#}
{% macro whimbrel__alter_column_type(relation, column_name, new_column_type) -%}
  {{ exceptions.raise_compiler_error("column " ~ column_name ~ " of " ~ relation ~ " cannot become " ~ new_column_type ~ ": run the model with --full-refresh") }}
{%- endmacro %}

{% macro whimbrel__alter_relation_add_remove_columns(relation, add_columns, remove_columns) -%}
  {%- if remove_columns -%}
    {{ exceptions.raise_compiler_error("columns of " ~ relation ~ " cannot be dropped (" ~ remove_columns | map(attribute='name') | join(', ') ~ "): run the model with --full-refresh, or say on_schema_change: append_new_columns") }}
  {%- endif -%}
  {%- if add_columns -%}
    {%- call statement('add_columns') -%}
      alter table {{ relation }} add columns (
      {%- for column in add_columns %}{{ column.quoted }} {{ column.data_type }}{{ ', ' if not loop.last }}{% endfor %})
    {%- endcall -%}
  {%- endif -%}
{%- endmacro %}

{% macro whimbrel__create_columns(relation, columns) -%}
  {%- do whimbrel__alter_relation_add_remove_columns(relation, columns, []) -%}
{%- endmacro %}

{#- In microseconds, as tables have it. -#}
{% macro whimbrel__current_timestamp() -%}
  arrow_cast(now(), 'Timestamp(Microsecond, Some("UTC"))')
{%- endmacro %}

{% macro whimbrel__snapshot_get_time() -%}
  arrow_cast(now(), 'Timestamp(Microsecond, None)')
{%- endmacro %}

{% macro whimbrel__snapshot_string_as_time(timestamp) -%}
  {{ return("cast('" ~ timestamp ~ "' as timestamp)") }}
{%- endmacro %}

{% macro whimbrel__validate_sql(sql) -%}
  {%- call statement('validate_sql', fetch_result=True) -%}
    explain {{ sql }}
  {%- endcall -%}
  {{ return(load_result('validate_sql')) }}
{%- endmacro %}

{% macro whimbrel__get_columns_in_relation(relation) -%}
  {{ return(adapter.get_columns_in_relation(relation)) }}
{%- endmacro %}
