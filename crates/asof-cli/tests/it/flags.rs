//! What the flags do.

use crate::Place;

#[test]
fn quiet_csv_is_the_result_alone() {
    let out = Place::new()
        .csv("SELECT 1 AS a, 'x' AS b; SELECT 2 AS c")
        .ok();
    assert_eq!(out, "a,b\n1,x\nc\n2\n");
}

#[test]
fn files_run_before_commands_and_both_repeat() {
    let place = Place::new();
    place.write("one.sql", "#!/usr/bin/env -S asof -f\nSELECT 'file' AS a;");
    place.write(
        "two.sql",
        "SELECT 'second' AS a -- the last needs no semicolon",
    );
    let args = [
        "-q",
        "--format",
        "ndjson",
        "-c",
        "SELECT 1 AS a",
        "-c",
        "SELECT 2 AS a",
    ];
    let out = place
        .run(args.into_iter().chain(["-f", "one.sql", "two.sql"]))
        .ok();
    assert_eq!(
        out,
        "{\"a\":\"file\"}\n{\"a\":\"second\"}\n{\"a\":1}\n{\"a\":2}\n"
    );
}

#[test]
fn formats() {
    let place = Place::new();
    let sql = "SELECT 1 AS a, NULL AS b";
    for (format, expected) in [
        ("csv", "a,b\n1,\n"),
        ("tsv", "a\tb\n1\t\n"),
        ("json", "[{\"a\":1}]\n"),
        ("ndjson", "{\"a\":1}\n"),
        ("NDJSON", "{\"a\":1}\n"),
        (
            "table",
            "+---+------+\n| a | b    |\n+---+------+\n| 1 | NULL |\n+---+------+\n",
        ),
        (
            "automatic",
            "+---+------+\n| a | b    |\n+---+------+\n| 1 | NULL |\n+---+------+\n",
        ),
    ] {
        let out = place.run(["-q", "--format", format, "-c", sql]).ok();
        assert_eq!(out, expected, "{format}");
    }
}

#[test]
fn maxrows_shortens_tables_but_never_data() {
    let place = Place::new();
    let sql = "SELECT value FROM generate_series(1, 50000)";
    let lines = |args: &[&str]| place.run(args).ok().lines().count();
    assert_eq!(lines(&["-q", "--maxrows", "3", "-c", sql]), 3 + 4 + 3);
    assert_eq!(lines(&["-q", "--format", "csv", "-c", sql]), 50_001);
    assert_eq!(lines(&["-q", "--format", "ndjson", "-c", sql]), 50_000);
}

#[test]
fn without_quiet_the_rows_are_counted() {
    let out = Place::new().run(["-c", "SELECT 1"]).ok();
    assert!(out.contains("1 row(s) fetched."), "{out}");
    assert!(out.contains("Elapsed "), "{out}");
}

#[test]
fn batch_size_and_data_path() {
    let place = Place::new();
    std::fs::create_dir(place.path("data")).unwrap();
    place.write("data/t.csv", "a\n7\n");
    let args = ["-q", "--format", "csv", "-b", "10", "-p", "data", "-c"];
    let out = place
        .run(
            args.into_iter()
                .chain(["SELECT * FROM 't.csv'; SHOW datafusion.execution.batch_size"]),
        )
        .ok();
    assert_eq!(
        out,
        "a\n7\nname,value\ndatafusion.execution.batch_size,10\n"
    );
}

#[test]
fn wrong_flags_say_so() {
    let place = Place::new();
    for args in [
        &["--no-such-flag"][..],
        &["--format", "xml"],
        &["-b", "0", "-c", "SELECT 1"],
        &["-m", "lots", "-c", "SELECT 1"],
        &["-d", "-1g", "-c", "SELECT 1"],
        &["--mem-pool-type", "generous", "-c", "SELECT 1"],
        &["--maxrows", "some", "-c", "SELECT 1"],
        &["-c", ""],
        &["-c"],
    ] {
        let out = place.run(args);
        assert_eq!(out.code, Some(2), "{out:?}");
        assert!(out.stderr.starts_with("error: "), "{out:?}");
        assert_eq!(out.stdout, "");
    }
    let error = place.run(["-p", "nowhere", "-c", "SELECT 1"]).error();
    assert!(
        error.contains("cannot enter the directory 'nowhere'"),
        "{error}"
    );
}

#[test]
fn a_script_that_cannot_be_read_stops_before_anything_runs() {
    let place = Place::new();
    place.write("good.sql", "SELECT 1;");
    place.write("binary.sql", [0xff, 0xfe, 0x00]);
    for (file, why) in [("missing.sql", "No such file"), ("binary.sql", "not UTF-8")] {
        let out = place.run(["-q", "-f", "good.sql", "-f", file]);
        assert_eq!(out.stdout, "");
        let error = out.error();
        assert!(error.contains(file) && error.contains(why), "{error}");
    }
}

#[test]
fn help_and_version() {
    let place = Place::new();
    let help = place.run(["--help"]).ok();
    let flags = ["--command", "--file", "--memory-limit", "--maxrows", "--rc"];
    for flag in flags.into_iter().chain(["[default: fair]"]) {
        assert!(help.contains(flag), "{help}");
    }
    let version = place.run(["--version"]).ok();
    assert!(
        version.starts_with("asof ") && version.contains("DataFusion"),
        "{version}"
    );
}
