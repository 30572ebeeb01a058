-- The frame counts days, not rows: a day without flights still takes its place in the week.
CREATE OR REFRESH MATERIALIZED VIEW gold.airport_delay_7d
COMMENT 'Flights and lateness of each airport over the seven days that end with each day'
AS SELECT
  airport,
  day,
  flights,
  round(CAST(delay_sum AS DOUBLE) / flights, 2) AS delay_avg,
  sum(flights)      OVER week AS flights_7d,
  sum(late_flights) OVER week AS late_flights_7d,
  round(CAST(sum(late_flights) OVER week AS DOUBLE) / sum(flights) OVER week, 4) AS late_share_7d,
  round(CAST(sum(minutes_late) OVER week AS DOUBLE) / sum(flights) OVER week, 2) AS minutes_late_7d
FROM gold.delays_by_airport_day
WINDOW week AS (
  PARTITION BY airport
  ORDER BY day
  RANGE BETWEEN INTERVAL '6' DAY PRECEDING AND CURRENT ROW
);
