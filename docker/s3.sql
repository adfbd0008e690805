-- The demo's join over files in an object store: read, joined and written there, and read back.
-- S3=1 docker/local-cluster.sh 'asof --cluster $ASOF_CLUSTER -f docker/s3.sql'

COPY (SELECT * FROM 'crates/asof-cli/demo/flights.parquet') TO 's3://asof/flights/1.parquet';
COPY (SELECT * FROM 'crates/asof-cli/demo/weather.parquet') TO 's3://asof/weather/1.parquet';

CREATE EXTERNAL TABLE flights STORED AS PARQUET LOCATION 's3://asof/flights/';
CREATE EXTERNAL TABLE weather STORED AS PARQUET LOCATION 's3://asof/weather/';

COPY (
    SELECT f.*, w.ts AS observed, w.temp
    FROM flights f
    ASOF LEFT JOIN weather w
        MATCH_CONDITION (f.dep >= w.ts)
        ON f.origin = w.origin
        TOLERANCE INTERVAL '2 hours'
) TO 's3://asof/departures/' STORED AS PARQUET;

CREATE EXTERNAL TABLE departures STORED AS PARQUET LOCATION 's3://asof/departures/';

SELECT count(*) AS flights, count(dep) AS departed, count(observed) AS with_weather
FROM departures;
