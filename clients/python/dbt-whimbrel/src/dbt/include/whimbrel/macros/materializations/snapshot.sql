{#- What a snapshot compares with is a table of its own for as long as it takes. -#}
{% macro whimbrel__post_snapshot(staging_relation) %}
  {%- call statement('drop_staging') -%}drop table if exists {{ staging_relation }} purge{%- endcall -%}
{% endmacro %}

{#- dbt's own, with the source's columns called so. -#}
{% macro whimbrel__snapshot_merge_sql(target, source, insert_cols) -%}
  {%- set columns = config.get("snapshot_table_column_names") or get_snapshot_table_column_names() -%}
  {%- set ends = "dbt_internal_dest." ~ columns.dbt_valid_to -%}
  merge into {{ target }} as dbt_internal_dest
  using {{ source }} as dbt_internal_source
  on dbt_internal_source.{{ columns.dbt_scd_id }} = dbt_internal_dest.{{ columns.dbt_scd_id }}
  when matched
    {%- if config.get("dbt_valid_to_current") %}
    and ({{ equals(ends, config.get("dbt_valid_to_current")) }} or {{ ends }} is null)
    {%- else %}
    and {{ ends }} is null
    {%- endif %}
    and dbt_internal_source.dbt_change_type in ('update', 'delete')
    then update set {{ columns.dbt_valid_to }} = dbt_internal_source.{{ columns.dbt_valid_to }}
  when not matched and dbt_internal_source.dbt_change_type = 'insert'
    then insert ({{ insert_cols | join(', ') }}) values ({{ whimbrel__source_columns(insert_cols) }})
{%- endmacro %}
