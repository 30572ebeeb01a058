{% materialization table, adapter='whimbrel' %}
  {%- set existing = load_cached_relation(this) -%}
  {%- set target = this.incorporate(type='table') -%}
  {{ run_hooks(pre_hooks) }}
  {%- if existing is not none and not existing.is_table -%}
    {%- do adapter.drop_relation(existing) -%}
  {%- endif -%}
  {%- do whimbrel__build_table(target, sql) -%}
  {%- do apply_grants(target, config.get('grants'), should_revoke=should_revoke(existing, True)) -%}
  {%- do persist_docs(target, model) -%}
  {{ run_hooks(post_hooks) }}
  {{ return({'relations': [target]}) }}
{% endmaterialization %}

{#- Columns of a contract cannot be declared along with a query, so such a table takes two commits. -#}
{% macro whimbrel__build_table(target, sql) %}
  {%- set contract = config.get('contract') -%}
  {%- if contract and contract.enforced -%}
    {%- call statement('create') -%}{{ whimbrel__create_contracted_table(target, sql) }}{%- endcall -%}
    {%- call statement('main') -%}
      insert into {{ target }} by name
      {{ sql }}
    {%- endcall -%}
  {%- else -%}
    {%- call statement('main') -%}{{ create_table_as(False, target, sql) }}{%- endcall -%}
  {%- endif -%}
{% endmacro %}
