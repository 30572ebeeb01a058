-- Flights arrive month by month, and each is read once. A flight that leaves more than an hour early
-- has a mistyped time: such rows are put aside with the reason. The six flights of 1 July make up no
-- day and are left out. On time means at most 15 minutes late.
CREATE OR REFRESH STREAMING TABLE silver.flights (
  CONSTRAINT at_most_an_hour_early EXPECT (delay_minutes >= -60) ON VIOLATION QUARANTINE ROW,
  CONSTRAINT of_a_whole_day EXPECT (day < DATE '2001-07-01') ON VIOLATION DROP ROW
)
COMMENT 'Plausible flights with their day and whether they were on time'
AS SELECT
  date                              AS departed_at,
  CAST(date AS DATE)                AS day,
  CAST(date_part('hour', date) AS INT) AS hour,
  origin,
  destination,
  CAST(distance AS INT)             AS distance_miles,
  CAST(delay AS INT)                AS delay_minutes,
  delay <= 15                       AS on_time
FROM STREAM raw.flights;
