-- Loads the two files into Delta tables. {data} stands for the folder that holds them.
CREATE SCHEMA IF NOT EXISTS raw COMMENT 'As it arrived';
CREATE SCHEMA IF NOT EXISTS silver COMMENT 'Cleaned, one row per real thing';
CREATE SCHEMA IF NOT EXISTS gold COMMENT 'Answers';

CREATE EXTERNAL TABLE IF NOT EXISTS raw.flights_file
USING PARQUET LOCATION '{data}/flights.parquet';

CREATE EXTERNAL TABLE IF NOT EXISTS raw.airports_file
USING CSV LOCATION '{data}/airports.csv' OPTIONS ('header' 'true');

CREATE TABLE IF NOT EXISTS raw.flights
COMMENT 'US domestic flights, January to June 2001: departure, minutes late, miles, from, to'
AS SELECT date, delay, distance, origin, destination
FROM raw.flights_file;

CREATE TABLE IF NOT EXISTS raw.airports
COMMENT 'Airports by IATA code'
AS SELECT iata, name, city, state, country, latitude, longitude
FROM raw.airports_file;
