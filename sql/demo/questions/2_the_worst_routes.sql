-- Which regular routes are late most often?
SELECT place, origin_city, destination_city, flights, on_time_share, delay_avg
FROM gold.worst_routes_ranked
WHERE place <= 10
ORDER BY place, origin, destination;
