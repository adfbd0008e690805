//! The one form that every spelling comes to, and text that is left alone.

use super::*;

fn rewritten(sql: &str) -> String {
    rewrite_sql(sql, Dialect::Generic).expect(sql).into_owned()
}

#[test]
fn every_spelling_has_one_form() {
    let table = [
        (
            "SELECT * FROM t ASOF JOIN q MATCH_CONDITION (t.ts >= q.ts) ON t.k = q.k",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (t.ts >= q.ts) ON t.k = q.k)",
        ),
        (
            "SELECT * FROM t LEFT ASOF JOIN q ON t.k = q.k AND t.ts >= q.ts TOLERANCE 5s",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('left', NULL, '5 seconds')) ON t.k = q.k AND t.ts >= q.ts)",
        ),
        (
            "SELECT * FROM t ASOF INNER JOIN q USING (k, ts), u",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('inner', NULL)) USING(k, ts)), u",
        ),
        (
            "SELECT * FROM a JOIN b ON a.x = b.x ASOF JOIN c ON a.t >= c.t JOIN d ON d.x = a.x",
            "SELECT * FROM (a JOIN b ON a.x = b.x ASOF JOIN c MATCH_CONDITION (asof__('', NULL)) ON a.t >= c.t) JOIN d ON d.x = a.x",
        ),
        (
            "SELECT * FROM t ASOF JOIN (SELECT * FROM u ASOF JOIN v ON u.t > v.t) q ON t.t >= q.t",
            "SELECT * FROM (t ASOF JOIN (SELECT * FROM (u ASOF JOIN v MATCH_CONDITION (asof__('', NULL)) ON u.t > v.t)) q MATCH_CONDITION (asof__('', NULL)) ON t.t >= q.t)",
        ),
        (
            "SELECT * FROM t ASOF ANTI JOIN q MATCH_CONDITION (nearest(t.ts, q.ts)) USING (k) TOLERANCE 1h",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('anti', nearest(t.ts, q.ts), '1 hours')) USING(k))",
        ),
        (
            "SELECT * FROM t RIGHT OUTER LT JOIN q ON (k) TIES BY q.seq DESC NULLS LAST, q.id IGNORE NULLS TOLERANCE 5",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('right lt ignore', NULL, 5 ORDER BY q.seq DESC NULLS LAST, q.id)) ON (k))",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON t.a > q.a RESPECT NULLS ASOF LEFT JOIN w ON t.a > w.a IGNORE NULLS ORDER BY w.a",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('', NULL)) ON t.a > q.a ASOF JOIN w MATCH_CONDITION (asof__('left ignore', NULL)) ON t.a > w.a) ORDER BY w.a",
        ),
        (
            "SELECT * FROM t FULL ASOF JOIN q ON t.k IS NOT DISTINCT FROM q.k AND t.a > q.a",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('full', NULL)) ON t.k IS NOT DISTINCT FROM q.k AND t.a > q.a)",
        ),
        (
            "SELECT * FROM t lt JOIN q ON (k) TOLERANCE 5s",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('lt', NULL, '5 seconds')) ON (k))",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON (k) LT JOIN w ON (t.k = w.k) LT JOIN v ON t.k = v.k",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('', NULL)) ON (k) ASOF JOIN w MATCH_CONDITION (asof__('lt', NULL)) ON (t.k = w.k) ASOF JOIN v MATCH_CONDITION (asof__('lt', NULL)) ON t.k = v.k)",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON t.k = q.k AND t.a > q.a LT JOIN w ON t.k = w.k AND t.a > w.a",
            "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('', NULL)) ON t.k = q.k AND t.a > q.a ASOF JOIN w MATCH_CONDITION (asof__('lt', NULL)) ON t.k = w.k AND t.a > w.a)",
        ),
        (
            "SELECT * FROM t AS x LT JOIN q",
            "SELECT * FROM (t AS x ASOF JOIN q MATCH_CONDITION (asof__('lt', NULL)))",
        ),
    ];
    for (sql, expected) in table {
        assert_eq!(rewritten(sql), expected);
        // The form is its own form.
        assert_eq!(rewritten(expected), expected);
    }
}

#[test]
fn every_dialect_reads_the_form() {
    use Dialect::*;
    let dialects = [
        Generic, MySQL, PostgreSQL, Hive, SQLite, Snowflake, Redshift, MsSQL, ClickHouse, BigQuery,
        Ansi, DuckDB, Databricks,
    ];
    for dialect in dialects {
        for (sql, expected) in [
            (
                "SELECT * FROM t ASOF LEFT JOIN q ON t.k = q.k AND t.ts >= q.ts TOLERANCE 5s IGNORE NULLS TIES BY q.x DESC",
                "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('left ignore', NULL, '5 seconds' ORDER BY q.x DESC)) ON t.k = q.k AND t.ts >= q.ts)",
            ),
            (
                "SELECT * FROM t FULL LT JOIN q ON (k) TOLERANCE 250ms",
                "SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('full lt', NULL, '250 milliseconds')) ON (k))",
            ),
        ] {
            let once = rewrite_sql(sql, dialect).expect("in the dialect");
            assert_eq!(once, expected, "{dialect}");
            assert_eq!(
                rewrite_sql(&once, dialect).expect("again"),
                expected,
                "{dialect}"
            );
        }
    }
}

#[test]
fn names_stay_names() {
    for sql in [
        "SELECT asof FROM asof JOIN x ON asof.a = x.a",
        "SELECT a asof, b AS tolerance FROM t AS asof JOIN u ON true",
        "SELECT * FROM t, asof JOIN x ON true",
        "SELECT * FROM s.asof LEFT JOIN x ON true",
        "SELECT \"asof\" FROM \"asof\" JOIN t ON true",
        "SELECT 'ASOF JOIN' -- ASOF JOIN",
        "SELECT * FROM t LT JOIN u ON lt.a = u.a",
        "SELECT * FROM t lt JOIN u USING (a)",
        "SELECT * FROM lt JOIN u ON true",
        "SELECT lt, ties, nearest(a, b) FROM t lt LEFT JOIN u ON true",
    ] {
        assert!(
            matches!(rewrite_sql(sql, Dialect::Generic), Ok(Cow::Borrowed(_))),
            "{sql}"
        );
    }
    assert_eq!(
        rewritten("SELECT * FROM t ASOF JOIN tolerance ON t.a > tolerance.a TOLERANCE 3"),
        "SELECT * FROM (t ASOF JOIN tolerance MATCH_CONDITION (asof__('', NULL, 3)) ON t.a > tolerance.a)",
    );
    assert_eq!(
        rewritten("SELECT * FROM t ASOF JOIN q tolerance ON t.a > tolerance.a"),
        "SELECT * FROM (t ASOF JOIN q tolerance MATCH_CONDITION (asof__('', NULL)) ON t.a > tolerance.a)",
    );
}

#[test]
fn other_statements_keep_their_text() {
    let sql = "CREATE EXTERNAL TABLE é STORED AS CSV LOCATION 'x' OPTIONS ('a' 'b');\n  \
               SELECT * FROM t ASOF JOIN q ON t.a > q.a; -- end";
    assert_eq!(
        rewritten(sql),
        "CREATE EXTERNAL TABLE é STORED AS CSV LOCATION 'x' OPTIONS ('a' 'b');\
         SELECT * FROM (t ASOF JOIN q MATCH_CONDITION (asof__('', NULL)) ON t.a > q.a); -- end",
    );
}

#[test]
fn refusals_say_where() {
    for (sql, message) in [
        (
            "SELECT *\nFROM t LEFT ASOF LEFT JOIN q ON t.a > q.a",
            "written once, before or after ASOF at Line: 2, Column: 18",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON t.a > q.a TOLERANCE 1 TOLERANCE 2",
            "TOLERANCE is written twice for one ASOF JOIN at Line: 1, Column: 54",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON t.a > q.a TOLERANCE 3M",
            "fixed length",
        ),
        (
            "SELECT * FROM t ASOF LEFT RIGHT JOIN q ON t.a > q.a",
            "not LEFT RIGHT at Line: 1, Column: 22",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON t.a > q.a IGNORE NULLS RESPECT NULLS",
            "written twice for one ASOF JOIN at Line: 1, Column: 55",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON t.a > q.a TIES BY q.x TIES BY q.y",
            "TIES BY is written twice for one ASOF JOIN at Line: 1, Column: 54",
        ),
        (
            "SELECT * FROM t ASOF JOIN q ON t.a > > q.a",
            "Line: 1, Column: 38",
        ),
    ] {
        let error = rewrite_sql(sql, Dialect::Generic)
            .expect_err(sql)
            .to_string();
        assert!(error.contains(message), "{sql}: {error}");
    }
}
