-- Routes flown at least twice a day on average (180 days): rarer ones rank by luck.
CREATE OR REFRESH MATERIALIZED VIEW gold.worst_routes_ranked
COMMENT 'Regular routes by lateness: place in the country and among the routes of their state'
AS SELECT
  rank() OVER (ORDER BY on_time_share, delay_avg DESC)                            AS place,
  rank() OVER (PARTITION BY origin_state ORDER BY on_time_share, delay_avg DESC) AS place_in_state,
  origin,
  origin_city,
  origin_state,
  destination,
  destination_city,
  destination_state,
  flights,
  on_time_share,
  delay_avg
FROM gold.routes
WHERE flights >= 360;
