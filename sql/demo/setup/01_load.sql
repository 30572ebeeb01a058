-- Tables for what arrives, and the airports, which are all there. {data} stands for the folder with
-- the files.
CREATE SCHEMA IF NOT EXISTS raw COMMENT 'As it arrived';
CREATE SCHEMA IF NOT EXISTS silver COMMENT 'Cleaned, one row per real thing';
CREATE SCHEMA IF NOT EXISTS gold COMMENT 'Answers';

CREATE EXTERNAL TABLE IF NOT EXISTS raw.flights_file
USING PARQUET LOCATION '{data}/flights.parquet';

CREATE EXTERNAL TABLE IF NOT EXISTS raw.airports_file
USING CSV LOCATION '{data}/airports.csv' OPTIONS ('header' 'true');

CREATE TABLE IF NOT EXISTS raw.airports
COMMENT 'Airports by IATA code'
AS SELECT iata, name, city, state, country, latitude, longitude
FROM raw.airports_file;

CREATE TABLE IF NOT EXISTS raw.flights (
  date        TIMESTAMP,
  delay       SMALLINT,
  distance    SMALLINT,
  origin      STRING,
  destination STRING
)
COMMENT 'US domestic flights, January to June 2001: departure, minutes late, miles, from, to';

CREATE TABLE IF NOT EXISTS raw.airport_months (
  month      DATE,
  airport    STRING,
  departures BIGINT,
  size       STRING
)
COMMENT 'One event for each airport and month, made from the flights: departures and size';
