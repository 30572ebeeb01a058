CREATE OR REFRESH MATERIALIZED VIEW silver.airports (
  CONSTRAINT one_row_an_airport PRIMARY KEY (airport)
)
COMMENT 'One row per airport; what the source calls NA is NULL'
AS SELECT
  upper(trim(iata))         AS airport,
  trim(name)                AS name,
  nullif(trim(city), 'NA')  AS city,
  nullif(trim(state), 'NA') AS state,
  trim(country)             AS country,
  latitude,
  longitude
FROM raw.airports
WHERE iata IS NOT NULL
  AND latitude BETWEEN -90 AND 90
  AND longitude BETWEEN -180 AND 180;
