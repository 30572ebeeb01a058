-- Sums and counts only: those of new flights are added to what is there.
CREATE OR REFRESH MATERIALIZED VIEW gold.delays_by_airport_day
SCHEDULE EVERY 1 DAY
COMMENT 'Departures of each airport on each day, and how late they were'
AS SELECT
  origin                                              AS airport,
  day,
  count(*)                                            AS flights,
  sum(CASE WHEN on_time THEN 0 ELSE 1 END)            AS late_flights,
  sum(CASE WHEN delay_minutes > 0 THEN delay_minutes ELSE 0 END) AS minutes_late,
  sum(delay_minutes)                                  AS delay_sum,
  max(delay_minutes)                                  AS delay_max
FROM silver.flights
GROUP BY origin, day;
