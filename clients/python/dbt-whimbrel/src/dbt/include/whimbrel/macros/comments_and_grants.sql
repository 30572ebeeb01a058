{% macro whimbrel__text(text) -%}
  '{{ text | replace("'", "''") }}'
{%- endmacro %}

{#- The comments of a view belong to its definition: create_view_as has them. -#}
{% macro whimbrel__persist_docs(relation, model, for_relation, for_columns) -%}
  {%- if relation.type == 'table' -%}
    {%- if for_relation and config.persist_relation_docs() and model.description -%}
      {%- do run_query("comment on table " ~ relation ~ " is " ~ whimbrel__text(model.description)) -%}
    {%- endif -%}
    {%- if for_columns and config.persist_column_docs() and model.columns -%}
      {%- set there = adapter.get_columns_in_relation(relation) | map(attribute="name") | list -%}
      {%- set documented = validate_doc_columns(relation, model.columns, there) -%}
      {%- for name in documented if documented[name].description -%}
        {%- set column = name if documented[name].quote else name | lower -%}
        {%- do run_query("comment on column " ~ relation ~ "." ~ adapter.quote(column) ~ " is " ~ whimbrel__text(documented[name].description)) -%}
      {%- endfor -%}
    {%- endif -%}
  {%- elif for_columns and config.persist_column_docs() and model.columns and relation.type == 'view' -%}
    {{ exceptions.warn("columns of a view have no comments: those of " ~ relation ~ " are in dbt's own documentation only") }}
  {%- endif -%}
{%- endmacro %}

{% macro whimbrel__get_show_grant_sql(relation) -%}
  select grantee, privilege from system.grants
  where on_name = {{ whimbrel__text(relation.schema ~ '.' ~ relation.identifier) }} and "column" is null and privilege <> 'OWN'
{%- endmacro %}

{%- macro whimbrel__get_grant_sql(relation, privilege, grantees) -%}
  grant {{ privilege }} on {{ relation }} to {{ whimbrel__quoted(grantees) }}
{%- endmacro -%}

{%- macro whimbrel__get_revoke_sql(relation, privilege, grantees) -%}
  revoke {{ privilege }} on {{ relation }} from {{ whimbrel__quoted(grantees) }}
{%- endmacro -%}

{% macro whimbrel__quoted(names) -%}
  {%- for name in names -%}{{ adapter.quote(name) }}{{ ', ' if not loop.last }}{%- endfor -%}
{%- endmacro %}

{% macro whimbrel__call_dcl_statements(dcl_statement_list) %}
  {%- for dcl_statement in dcl_statement_list -%}
    {%- call statement('grants') -%}{{ dcl_statement }}{%- endcall -%}
  {%- endfor -%}
{% endmacro %}
