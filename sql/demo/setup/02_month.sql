-- What one month brings. {month} and {next} stand for its first day and that of the next month, {days}
-- for how many days it has. A month that is there already brings nothing.
INSERT INTO raw.flights
SELECT date, delay, distance, origin, destination
FROM raw.flights_file
WHERE date >= TIMESTAMP '{month} 00:00:00'
  AND date < TIMESTAMP '{next} 00:00:00'
  AND 0 = (
    SELECT count(*) FROM raw.flights
    WHERE date >= TIMESTAMP '{month} 00:00:00' AND date < TIMESTAMP '{next} 00:00:00'
  );

-- Airports that no flight leaves any more get an event too.
INSERT INTO raw.airport_months
SELECT
  DATE '{month}' AS month,
  airport,
  departures,
  CASE
    WHEN departures >= 200 * {days} THEN 'large'
    WHEN departures >= 50 * {days} THEN 'medium'
    ELSE 'small'
  END AS size
FROM (
  SELECT
    origin AS airport,
    sum(CASE WHEN date >= TIMESTAMP '{month} 00:00:00' THEN 1 ELSE 0 END) AS departures
  FROM raw.flights
  WHERE date < TIMESTAMP '{next} 00:00:00'
  GROUP BY origin
) AS months
WHERE 0 = (SELECT count(*) FROM raw.airport_months WHERE month = DATE '{month}');
