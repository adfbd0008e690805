//! Failed statements: a message with its position, exit code 1, and nothing after them.

use crate::{Place, demo};

/// The message of a statement that stands in line 3, after one that works.
fn error_of(statement: &str) -> String {
    let place = Place::new();
    place.write("q.csv", "sym,ts,price\na,1,1.5\n");
    let sql = format!("SELECT 1 AS a;\n\n{statement};\nSELECT 2 AS b;");
    let out = place.csv(&sql);
    assert_eq!(out.stdout, "a\n1\n", "only what came before: {statement}");
    out.error()
}

#[test]
fn positions_point_into_the_whole_text() {
    for (statement, column) in [
        ("SELECT nope FROM 'q.csv'", 8),
        ("SELECT 1 FROM 'q.csv' WHERE nope > 1", 29),
        ("SELECT FROM WHERE", 13),
        (
            "SELECT 1 FROM 'q.csv' a ASOF JOIN 'q.csv' b ON a.sym = b.nope AND a.ts >= b.ts",
            56,
        ),
        ("SELECT 'open", 8),
    ] {
        let error = error_of(statement);
        assert!(
            error.contains(&format!("Line: 3, Column: {column}")),
            "{statement}\n{error}"
        );
    }
}

#[test]
fn wrong_joins_are_refused_where_they_stand() {
    let join = "SELECT 1 FROM 'q.csv' a ASOF JOIN 'q.csv' b";
    for rest in [
        "ON a.sym = b.sym",
        "ON a.sym = b.sym AND a.ts >= b.ts AND a.price >= b.price",
        "MATCH_CONDITION (a.ts >= a.price) ON a.sym = b.sym",
        "MATCH_CONDITION (a.ts >= 5) ON a.sym = b.sym",
        "ON a.sym = b.sym OR a.price = b.price",
        "MATCH_CONDITION (a.ts >= b.ts) ON EXISTS (SELECT 1)",
        "MATCH_CONDITION (a.ts >= b.ts + random()) ON a.sym = b.sym",
        "MATCH_CONDITION (a.ts >= b.ts) ON a.sym = b.sym TOLERANCE -1",
        "MATCH_CONDITION (a.ts >= b.ts) ON a.sym = b.sym TOLERANCE NULL",
        "MATCH_CONDITION (a.ts >= b.ts) ON a.sym = b.sym TOLERANCE INTERVAL '1 month'",
        "MATCH_CONDITION (a.ts >= b.sym) ON a.sym = b.sym TOLERANCE INTERVAL '1 second'",
    ] {
        let error = error_of(&format!("{join} {rest}"));
        assert!(error.contains("Line: 3, Column: "), "{rest}\n{error}");
    }
}

#[test]
fn unknown_and_ambiguous_names() {
    let error =
        error_of("SELECT ts FROM 'q.csv' a ASOF JOIN 'q.csv' b ON a.sym = b.sym AND a.ts >= b.ts");
    assert!(error.to_lowercase().contains("ambiguous"), "{error}");
    let error = error_of("SELECT 1 FROM nowhere");
    assert!(
        error.contains("'datafusion.public.nowhere' not found"),
        "{error}"
    );
}

#[test]
fn missing_and_corrupt_files() {
    let place = Place::new();
    let error = place.csv("SELECT * FROM 'missing.parquet'").error();
    assert!(error.contains("missing.parquet"), "{error}");
    let whole = std::fs::read(demo("weather.parquet").trim_matches('\'')).unwrap();
    place.write("cut.parquet", &whole[..3000]);
    place.write("noise.parquet", b"PAR1 this is no such file PAR1");
    for file in ["cut.parquet", "noise.parquet"] {
        place.csv(&format!("SELECT * FROM '{file}'")).error();
    }
    // The footer is right, the data is not.
    let mut damaged = whole;
    damaged[4..12_000].fill(0x5a);
    place.write("damaged.parquet", damaged);
    let join = "SELECT count(w.temp) FROM (VALUES ('EWR')) f(origin) ASOF JOIN 'damaged.parquet' w \
                ON f.origin = w.origin AND TIMESTAMP '2013-01-09T00:00:00Z' >= w.ts";
    place.csv("SELECT * FROM 'damaged.parquet'").error();
    place.csv(join).error();
}

#[test]
fn the_memory_limit_is_an_error_not_an_abort() {
    let sql = "SELECT value, count(*) FROM generate_series(1, 3000000) GROUP BY value ORDER BY 2";
    for pool in ["greedy", "fair"] {
        let error = Place::new()
            .run([
                "-q",
                "-m",
                "1m",
                "-d",
                "1k",
                "--mem-pool-type",
                pool,
                "-c",
                sql,
            ])
            .error();
        let reasons = ["Resources exhausted", "used disk space"];
        assert!(
            reasons.iter().any(|reason| error.contains(reason)),
            "{error}"
        );
    }
}

#[test]
fn scripts_name_their_file() {
    let place = Place::new();
    place.write("bad.sql", "\n  SELECT nope;");
    let error = place.run(["-f", "bad.sql"]).error();
    assert!(error.contains("Line: 2, Column: 10"), "{error}");
    assert!(error.contains("in 'bad.sql'"), "{error}");
}
