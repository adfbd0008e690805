//! As-of joins over files, from the command line.

use crate::{Place, demo};

/// Flights, those with a temperature, and its mean.
fn weather_of_flights(before: &str, join: &str) -> String {
    let (flights, weather) = (demo("flights.parquet"), demo("weather.parquet"));
    let sql = format!(
        "{before} SELECT count(*), count(w.temp), round(avg(w.temp), 5) \
         FROM {flights} f {}",
        join.replace("weather", &format!("{weather} w"))
    );
    let out = Place::new().csv(&sql).ok();
    out.lines().last().unwrap_or_default().to_owned()
}

const WITHIN_TWO_HOURS: &str = "ASOF LEFT JOIN weather MATCH_CONDITION (f.dep >= w.ts) \
                                ON f.origin = w.origin TOLERANCE INTERVAL '2 hours'";

#[test]
fn the_demo_runs() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let out = Place::new()
        .run(["-q", "-p", root, "-f", "crates/asof-cli/demo/demo.sql"])
        .ok();
    assert!(
        out.contains("| 336776  | 328521   | 327506       |"),
        "{out}"
    );
    let table = out.rsplit("| left_at").next().unwrap_or_default();
    assert_eq!(
        table.lines().filter(|line| line.starts_with('|')).count(),
        10,
        "{out}"
    );
}

#[test]
fn every_strategy_gives_the_same_rows() {
    let expected = weather_of_flights("", WITHIN_TWO_HOURS);
    assert!(expected.starts_with("336776,327493,"), "{expected}");
    for strategy in ["broadcast", "sort_merge"] {
        for partitions in [1, 8] {
            let before = format!(
                "SET asof.strategy = '{strategy}'; \
                 SET datafusion.execution.target_partitions = {partitions};"
            );
            let got = weather_of_flights(&before, WITHIN_TWO_HOURS);
            assert_eq!(got, expected, "{strategy}, {partitions} partitions");
        }
    }
}

#[test]
fn bare_joins_keep_the_rows_of_their_style() {
    let snowflake = "ASOF JOIN weather MATCH_CONDITION (f.dep >= w.ts) ON f.origin = w.origin";
    let duckdb = "ASOF JOIN weather ON f.origin = w.origin AND f.dep >= w.ts";
    assert!(weather_of_flights("", snowflake).starts_with("336776,328508,"));
    assert!(weather_of_flights("", duckdb).starts_with("328521,328508,"));
    let inner = weather_of_flights("SET asof.bare_join = 'inner';", snowflake);
    assert!(inner.starts_with("328521,328508,"));
}

#[test]
fn every_place_a_query_can_stand() {
    let place = Place::new();
    place.write("trades.csv", "sym,ts\na,10\na,20\nb,5\n");
    place.write("quotes.csv", "sym,ts,price\na,9,1.5\na,19,2.5\n");
    let join = "SELECT t.sym, t.ts, q.price FROM 'trades.csv' t ASOF JOIN 'quotes.csv' q \
                MATCH_CONDITION (t.ts >= q.ts) ON t.sym = q.sym TOLERANCE 5";
    let sql = format!(
        "CREATE VIEW v AS {join};
         CREATE TABLE c AS {join};
         INSERT INTO c {join};
         PREPARE p AS {join};
         COPY ({join}) TO 'out.csv';
         SELECT (SELECT count(*) FROM v) AS v, (SELECT sum(price) FROM c) AS c;
         EXECUTE p;"
    );
    let out = place.csv(&sql).ok();
    assert!(
        out.ends_with("v,c\n3,8.0\nsym,ts,price\na,10,1.5\na,20,2.5\nb,5,\n"),
        "{out}"
    );
    assert_eq!(
        place.read("out.csv"),
        "sym,ts,price\na,10,1.5\na,20,2.5\nb,5,\n"
    );
    let plan = place.csv(&format!("EXPLAIN {join}")).ok();
    assert!(plan.contains("AsOfJoin"), "{plan}");
}
