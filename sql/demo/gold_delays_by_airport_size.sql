-- A flight counts for the size that its airport had on that day.
CREATE OR REFRESH MATERIALIZED VIEW gold.delays_by_airport_size
COMMENT 'Departures and lateness by month and by the size that airports had then'
AS SELECT
  CAST(date_trunc('month', d.day) AS DATE) AS month,
  s.size,
  count(DISTINCT d.airport)                AS airports,
  sum(d.flights)                           AS flights,
  sum(d.late_flights)                      AS late_flights,
  sum(d.minutes_late)                      AS minutes_late
FROM gold.delays_by_airport_day AS d
JOIN silver.airport_sizes AS s
  ON s.airport = d.airport
 AND s."__START_AT" <= d.day
 AND (s."__END_AT" IS NULL OR d.day < s."__END_AT")
GROUP BY CAST(date_trunc('month', d.day) AS DATE), s.size;
