{#- Whimbrel keeps a materialized view and its rows when its definition did not change, and computes nothing when its inputs did not. -#}
{% materialization materialized_view, adapter='whimbrel' %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='materialized_view') -%}
  {{ run_hooks(pre_hooks) }}
  {%- if existing is not none and not existing.is_materialized_view -%}
    {%- do adapter.drop_relation(existing) -%}
  {%- endif -%}
  {%- call statement('main') -%}{{ get_create_materialized_view_as_sql(target, sql) }}{%- endcall -%}
  {%- set timeout = config.get('refresh_timeout') -%}
  {%- call statement('refresh') -%}
    refresh materialized view {{ target }} {{ 'full' if should_full_refresh() }} sync {{ 'timeout ' ~ timeout if timeout }}
  {%- endcall -%}
  {%- do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, True)) -%}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{% macro whimbrel__get_create_materialized_view_as_sql(relation, sql) -%}
  create or refresh materialized view {{ relation }}
  {{- whimbrel__table_clauses() }}
  {%- if config.get('schedule') %}
  schedule {{ config.get('schedule') }}
  {%- endif -%}
  {%- if config.persist_relation_docs() and model.description %}
  comment {{ whimbrel__text(model.description) }}
  {%- endif %}
  as
  {{ sql }}
{%- endmacro %}
