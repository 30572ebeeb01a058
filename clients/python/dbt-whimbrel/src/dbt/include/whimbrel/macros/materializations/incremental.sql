{% materialization incremental, adapter='whimbrel' %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='table') -%}
  {%- set on_schema_change = incremental_validate_on_schema_change(config.get('on_schema_change'), default='ignore') -%}
  {%- set strategy = adapter.get_incremental_strategy_macro(context, config.get('incremental_strategy') or 'default') -%}
  {{ run_hooks(pre_hooks) }}
  {%- if existing is not none and not existing.is_table -%}
    {%- do adapter.drop_relation(existing) -%}
  {%- endif -%}
  {%- if existing is none or not existing.is_table or should_full_refresh() -%}
    {%- do whimbrel__build_table(target, sql) -%}
    {%- set replaced = True -%}
  {%- else -%}
    {#- The new rows have a name for as long as it takes: a view, so that they are computed once and kept nowhere. -#}
    {%- set rows = make_temp_relation(target).incorporate(type='view') -%}
    {%- call statement('new_rows') -%}
      create or replace view {{ rows }} as
      {{ sql }}
    {%- endcall -%}
    {%- set columns = process_schema_changes(on_schema_change, rows, existing) -%}
    {%- if not columns -%}
      {%- set columns = adapter.get_columns_in_relation(existing) -%}
    {%- endif -%}
    {%- set change = strategy({
          'target_relation': target, 'temp_relation': rows, 'unique_key': config.get('unique_key'), 'dest_columns': columns,
          'incremental_predicates': config.get('predicates') or config.get('incremental_predicates')}) -%}
    {%- call statement('main') -%}{{ change }}{%- endcall -%}
    {%- do adapter.drop_relation(rows) -%}
  {%- endif -%}
  {%- do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, replaced)) -%}
  {%- do persist_docs(target, model) -%}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% macro whimbrel__get_incremental_default_sql(arg_dict) %}
  {{ return(get_incremental_merge_sql(arg_dict) if arg_dict['unique_key'] else get_incremental_append_sql(arg_dict)) }}
{% endmacro %}

{#- dbt's own, with the source's columns called so. -#}
{% macro whimbrel__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates=none) -%}
  {%- set keys = [] if not unique_key else [unique_key] if unique_key is string else unique_key -%}
  {%- set update_columns = get_merge_update_columns(config.get('merge_update_columns'), config.get('merge_exclude_columns'), dest_columns) -%}
  {%- set conditions = [] -%}
  {%- for key in keys -%}
    {%- do conditions.append("dbt_internal_source." ~ key ~ " = dbt_internal_dest." ~ key) -%}
  {%- endfor -%}
  merge into {{ target }} as dbt_internal_dest
  using {{ source }} as dbt_internal_source
  on ({{ (conditions + (incremental_predicates or [])) | join(') and (') if keys else 'false' }})
  {%- if keys and update_columns %}
  when matched then update set
  {%- for column in update_columns %} {{ column }} = dbt_internal_source.{{ column }}{{ ',' if not loop.last }}{% endfor %}
  {%- endif %}
  when not matched then insert ({{ get_quoted_csv(dest_columns | map(attribute="name")) }})
  values ({{ whimbrel__source_columns(dest_columns | map(attribute="quoted")) }})
{%- endmacro %}

{% macro whimbrel__source_columns(quoted) -%}
  {%- for column in quoted -%}dbt_internal_source.{{ column }}{{ ', ' if not loop.last }}{%- endfor -%}
{%- endmacro %}

{#- Old rows go and new ones come in one commit: each new row is in the source twice, once to find what it replaces, once to come. -#}
{% macro whimbrel__get_delete_insert_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) -%}
  {%- set keys = [] if not unique_key else [unique_key] if unique_key is string else unique_key -%}
  {%- set columns = get_quoted_csv(dest_columns | map(attribute="name")) -%}
  merge into {{ target }} as dbt_internal_dest
  using (select * from {{ source }} cross join (values {{ '(true), (false)' if keys else '(true)' }}) as dbt_internal_rows (dbt_internal_comes)) as dbt_internal_source
  on not dbt_internal_source.dbt_internal_comes
  {%- for key in keys %} and dbt_internal_source.{{ key }} = dbt_internal_dest.{{ key }}{% endfor %}
  {%- for predicate in incremental_predicates or [] %} and ({{ predicate }}){% endfor %}
  {%- if keys %}
  when matched then delete
  {%- endif %}
  when not matched and dbt_internal_source.dbt_internal_comes then insert ({{ columns }})
  values ({{ whimbrel__source_columns(dest_columns | map(attribute="quoted")) }})
{%- endmacro %}

{#- A batch replaces the rows of its span of time in one commit; a row outside of it is an error and nothing happens. -#}
{% macro whimbrel__get_incremental_microbatch_sql(arg_dict) -%}
  {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute="name")) -%}
  {%- set event_time = model.config.event_time -%}
  {%- set span = [] -%}
  {%- if model.batch and model.batch.event_time_start -%}
    {%- do span.append(event_time ~ " >= cast('" ~ model.batch.event_time_start ~ "' as timestamp)") -%}
  {%- endif -%}
  {%- if model.batch and model.batch.event_time_end -%}
    {%- do span.append(event_time ~ " < cast('" ~ model.batch.event_time_end ~ "' as timestamp)") -%}
  {%- endif -%}
  {%- for predicate in arg_dict['incremental_predicates'] or [] -%}
    {%- do span.append("(" ~ predicate ~ ")") -%}
  {%- endfor -%}
  insert into {{ arg_dict['target_relation'] }} ({{ columns }})
  replace where {{ span | join(' and ') }}
  select {{ columns }} from {{ arg_dict['temp_relation'] }}
{%- endmacro %}
