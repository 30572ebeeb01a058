CREATE OR REFRESH MATERIALIZED VIEW gold.state_scorecard
SCHEDULE CRON '0 6 * * *' AT TIME ZONE 'America/New_York'
COMMENT 'States by the punctuality of the flights that leave them'
AS SELECT
  rank() OVER (ORDER BY on_time_share DESC, flights DESC) AS place,
  state,
  airports,
  destinations,
  flights,
  on_time_share,
  round(delay_sum / flights, 2) AS delay_avg
FROM (
  SELECT
    origin_state                AS state,
    count(DISTINCT origin)      AS airports,
    count(DISTINCT destination) AS destinations,
    sum(flights)                AS flights,
    round(1.0 - CAST(sum(late_flights) AS DOUBLE) / sum(flights), 4) AS on_time_share,
    sum(delay_avg * flights)    AS delay_sum
  FROM gold.routes
  WHERE origin_state IS NOT NULL
  GROUP BY origin_state
) AS s;
