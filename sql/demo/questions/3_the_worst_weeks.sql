-- When was the worst week of each of the ten busiest airports?
WITH busiest AS (
  SELECT airport FROM gold.delays_by_airport_day
  GROUP BY airport ORDER BY sum(flights) DESC, airport LIMIT 10
),
weeks AS (
  SELECT
    w.airport, w.day, w.flights_7d, w.late_share_7d, w.minutes_late_7d,
    row_number() OVER (PARTITION BY w.airport ORDER BY w.late_share_7d DESC, w.day) AS n
  FROM gold.airport_delay_7d AS w
  JOIN busiest AS b ON b.airport = w.airport
  WHERE w.day >= DATE '2001-01-07'
)
SELECT
  airport,
  day                                AS week_ending,
  flights_7d                         AS flights,
  round(100.0 * late_share_7d, 1)    AS late_percent,
  minutes_late_7d                    AS minutes_late_per_flight
FROM weeks
WHERE n = 1
ORDER BY late_percent DESC, airport;
