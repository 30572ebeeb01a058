-- One folder a month: a reader that asks for a month opens only that month's files.
CREATE OR REFRESH MATERIALIZED VIEW gold.flights_by_month
PARTITIONED BY (month)
COMMENT 'Every flight with the cities it joins, in one partition a month'
AS SELECT
  CAST(date_trunc('month', f.departed_at) AS DATE) AS month,
  f.day,
  f.departed_at,
  f.origin,
  o.city   AS origin_city,
  o.state  AS origin_state,
  f.destination,
  d.city   AS destination_city,
  d.state  AS destination_state,
  f.distance_miles,
  f.delay_minutes,
  f.on_time
FROM silver.flights AS f
JOIN silver.airports AS o ON o.airport = f.origin
JOIN silver.airports AS d ON d.airport = f.destination;
