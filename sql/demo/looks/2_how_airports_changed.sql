-- Which airports became larger or smaller, or were closed for a while?
SELECT s.airport, a.city, s.size, s."__START_AT" AS since, s."__END_AT" AS until
FROM silver.airport_sizes AS s
JOIN silver.airports AS a ON a.airport = s.airport
WHERE s.airport IN (SELECT airport FROM silver.airport_sizes GROUP BY airport HAVING count(*) > 1)
ORDER BY s.airport, s."__START_AT";
