//! Files as tables, and files that statements write.

use crate::Place;

/// Fails after many rows have been written.
const FAILS_LATE: &str = "SELECT value, 1 / (value - 900000) AS x FROM generate_series(1, 1000000)";

#[test]
fn every_format_is_a_table() {
    let place = Place::new();
    for format in ["csv", "json", "parquet", "arrow"] {
        let sql = format!(
            "COPY (SELECT 1 AS a UNION ALL SELECT 2) TO 't.{format}'; SELECT sum(a) AS s FROM 't.{format}'"
        );
        assert_eq!(place.csv(&sql).ok(), "count\n2\ns\n3\n", "{format}");
    }
    assert_eq!(place.files(), ["t.arrow", "t.csv", "t.json", "t.parquet"]);
}

#[test]
fn a_failed_copy_leaves_what_was_there() {
    let place = Place::new();
    for file in ["t.csv", "t.json", "t.parquet", "t.arrow"] {
        let sql = format!("COPY ({FAILS_LATE}) TO '{file}'");
        let error = place.csv(&sql).error();
        assert!(error.contains("Divide by zero"), "{error}");
        assert_eq!(place.files(), Vec::<String>::new(), "{file}");
        place.write(file, "before");
        place.csv(&sql).error();
        assert_eq!(place.read(file), "before");
        std::fs::remove_file(place.path(file)).unwrap();
    }
}

#[test]
fn a_failed_copy_leaves_nothing_in_a_folder() {
    let place = Place::new();
    for options in ["", "PARTITIONED BY (p)"] {
        let sql = format!(
            "COPY (SELECT value % 3 AS p, x FROM ({FAILS_LATE})) TO 'out/' STORED AS PARQUET {options}"
        );
        place.csv(&sql).error();
        assert_eq!(place.files(), Vec::<String>::new(), "{options}");
    }
}

#[test]
fn a_folder_is_written_whole() {
    let place = Place::new();
    let sql = "COPY (SELECT value % 3 AS p, value FROM generate_series(1, 30000)) \
               TO 'out/' STORED AS PARQUET PARTITIONED BY (p); \
               SELECT count(*) AS n FROM 'out'";
    assert_eq!(place.csv(sql).ok(), "count\n30000\nn\n30000\n");
    assert_eq!(place.files().len(), 3);
}

#[test]
fn insert_appends_files() {
    let place = Place::new();
    let sql = "CREATE EXTERNAL TABLE t (a BIGINT) STORED AS CSV LOCATION 'folder/'; \
               INSERT INTO t VALUES (1), (2); \
               INSERT INTO t SELECT a + 10 FROM t; \
               SELECT sum(a) AS s FROM t";
    assert_eq!(place.csv(sql).ok(), "count\n2\ncount\n2\ns\n26\n");
    let failing = format!(
        "CREATE EXTERNAL TABLE t (a BIGINT) STORED AS CSV LOCATION 'folder/'; \
         INSERT INTO t SELECT x FROM ({FAILS_LATE})"
    );
    place.csv(&failing).error();
    assert_eq!(place.files().len(), 2);
}

#[test]
fn tables_may_come_through_standard_input() {
    let place = Place::new();
    let sql = "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/dev/stdin' OPTIONS ('format.has_header' 'true'); \
               SELECT sum(a) AS s FROM t";
    let out = place
        .pipe(&["-q", "--format", "csv", "-c", sql], "a\n1\n2\n")
        .ok();
    assert_eq!(out, "s\n3\n");
}
