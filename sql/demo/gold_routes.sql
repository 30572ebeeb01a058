CREATE OR REFRESH MATERIALIZED VIEW gold.routes
COMMENT 'Every route with both its airports, how often it is flown and how punctually'
AS SELECT
  f.origin,
  o.city                          AS origin_city,
  o.state                         AS origin_state,
  f.destination,
  d.city                          AS destination_city,
  d.state                         AS destination_state,
  f.distance_miles,
  f.flights,
  f.late_flights,
  round(1.0 - CAST(f.late_flights AS DOUBLE) / f.flights, 4) AS on_time_share,
  f.delay_avg,
  f.first_day,
  f.last_day
FROM (
  SELECT
    origin,
    destination,
    max(distance_miles)                      AS distance_miles,
    count(*)                                 AS flights,
    sum(CASE WHEN on_time THEN 0 ELSE 1 END) AS late_flights,
    round(avg(delay_minutes), 2)             AS delay_avg,
    min(day)                                 AS first_day,
    max(day)                                 AS last_day
  FROM silver.flights
  GROUP BY origin, destination
) AS f
JOIN silver.airports AS o ON o.airport = f.origin
JOIN silver.airports AS d ON d.airport = f.destination;
