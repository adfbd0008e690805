-- Flights out of New York in 2013, each with the weather in force when it left:
-- the latest observation at its airport, no older than two hours.
-- Run from the root of the repository: the paths start there.

CREATE VIEW departures AS
SELECT f.dep, f.carrier, f.flight, f.origin, f.dest,
       w.ts AS observed, w.temp, w.wind_speed, w.visib
FROM 'crates/asof-cli/demo/flights.parquet' f
ASOF LEFT JOIN 'crates/asof-cli/demo/weather.parquet' w
    MATCH_CONDITION (f.dep >= w.ts)
    ON f.origin = w.origin
    TOLERANCE INTERVAL '2 hours';

-- LEFT keeps every flight: those without weather were cancelled, or the station was silent.
SELECT count(*) AS flights, count(dep) AS departed, count(observed) AS with_weather
FROM departures;

-- Who left in the strongest wind?
SELECT to_char(dep, '%d %b %H:%M') AS left_at, carrier, flight, origin, dest,
       to_char(observed, '%H:%M') AS observed, temp, round(wind_speed, 1) AS wind, visib
FROM departures
ORDER BY wind_speed DESC NULLS LAST, dep, carrier, flight
LIMIT 10;
