-- Which of the busy airports lets the most people down?
SELECT
  d.airport,
  a.city,
  a.state,
  sum(d.flights) AS departures,
  round(100.0 * sum(d.late_flights) / sum(d.flights), 1) AS late_percent,
  round(CAST(sum(d.minutes_late) AS DOUBLE) / sum(d.late_flights), 1) AS minutes_per_late_flight
FROM gold.delays_by_airport_day AS d
JOIN silver.airports AS a ON a.airport = d.airport
GROUP BY d.airport, a.city, a.state
HAVING sum(d.flights) >= 40000
ORDER BY late_percent DESC, d.airport
LIMIT 10;
