-- Which flights were put aside, and why?
SELECT departed_at, origin, destination, delay_minutes, array_to_string(_expectations, ', ') AS violates, count(*) OVER () AS of_rows
FROM QUARANTINE(silver.flights)
ORDER BY delay_minutes, departed_at
LIMIT 5;
