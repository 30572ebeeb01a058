{#- dbt's functions of dates and texts, in Whimbrel's words. -#}

{% macro whimbrel__dateadd(datepart, interval, from_date_or_timestamp) -%}
  {%- set amount, unit = ("(" ~ interval ~ ") * 3", "month") if datepart | lower == 'quarter' else ("(" ~ interval ~ ")", datepart) -%}
  cast({{ from_date_or_timestamp }} as timestamp) + cast(cast({{ amount }} as bigint) || ' {{ unit }}' as interval)
{%- endmacro %}

{#- How many limits of a part lie between two points in time. -#}
{% macro whimbrel__datediff(first_date, second_date, datepart) -%}
  {%- set part = datepart | lower -%}
  {%- set first, second = "cast(" ~ first_date ~ " as timestamp)", "cast(" ~ second_date ~ " as timestamp)" -%}
  {%- set years = "(date_part('year', " ~ second ~ ") - date_part('year', " ~ first ~ "))" -%}
  {%- set days = "(cast(date_trunc('" ~ part ~ "', " ~ second ~ ") as date) - cast(date_trunc('" ~ part ~ "', " ~ first ~ ") as date))" -%}
  {%- if part == 'year' -%}
    cast({{ years }} as bigint)
  {%- elif part in ('quarter', 'month') -%}
    {%- set each = 4 if part == 'quarter' else 12 -%}
    cast({{ years }} * {{ each }} + date_part('{{ part }}', {{ second }}) - date_part('{{ part }}', {{ first }}) as bigint)
  {%- elif part == 'week' -%}
    ({{ days }} / 7)
  {%- elif part == 'day' -%}
    {{ days }}
  {%- else -%}
    {%- set each = {'hour': 3600, 'minute': 60, 'second': 1, 'millisecond': 0.001, 'microsecond': 0.000001}[part] -%}
    cast(round((date_part('epoch', date_trunc('{{ part }}', {{ second }})) - date_part('epoch', date_trunc('{{ part }}', {{ first }}))) / {{ each }}) as bigint)
  {%- endif -%}
{%- endmacro %}

{% macro whimbrel__date(year, month, day) -%}
  date '{{ modules.datetime.date(year, month, day).isoformat() }}'
{%- endmacro %}

{% macro whimbrel__listagg(measure, delimiter_text, order_by_clause, limit_num) -%}
  {%- if limit_num -%}
    array_to_string(array_slice(array_agg({{ measure }} {{ order_by_clause or '' }}), 1, {{ limit_num }}), {{ delimiter_text }})
  {%- else -%}
    string_agg({{ measure }}, {{ delimiter_text }} {{ order_by_clause or '' }})
  {%- endif -%}
{%- endmacro %}
