//! Backslash commands, and SQL that is piped in.

use crate::Place;

const CSV: [&str; 3] = ["-q", "--format", "csv"];

#[test]
fn piped_sql_stops_at_the_first_error() {
    let place = Place::new();
    let out = place.pipe(
        &CSV,
        "SELECT 1 AS a;\n\nSELECT 2\n  AS b; SELECT 3 AS c\n;\nSELECT 4 AS d",
    );
    assert_eq!(out.ok(), "a\n1\nb\n2\nc\n3\nd\n4\n");
    let out = place.pipe(&CSV, "SELECT 1 AS a;\nSELECT\n nope;\nSELECT 3;\n");
    assert_eq!(out.stdout, "a\n1\n");
    let error = out.error();
    assert!(error.contains("Line: 3, Column: 2"), "{error}");
}

#[test]
fn piped_statements_run_as_they_come() {
    use std::io::{BufRead, BufReader, Write};
    let place = Place::new();
    let mut child = place
        .command(CSV)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    for n in 1..=2 {
        writeln!(input, "SELECT {n} AS n;").unwrap();
        assert_eq!(output.next().unwrap().unwrap(), "n");
        assert_eq!(output.next().unwrap().unwrap(), n.to_string());
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn commands_in_scripts() {
    let place = Place::new();
    place.write("inner.sql", "SELECT 'inner' AS a;");
    let out = place.pipe(
        &CSV,
        "\\i inner.sql\n\\pset format tsv\nSELECT 1 AS a, 2 AS b;\n\\q\nSELECT 3;\n",
    );
    assert_eq!(out.ok(), "a\ninner\na\tb\n1\t2\n");
    let out = place.run([
        "-q",
        "--format",
        "csv",
        "-c",
        "CREATE TABLE t AS SELECT 1 AS a; \\d t",
    ]);
    assert!(out.ok().contains("datafusion,public,t,a,Int64,NO"));
}

#[test]
fn timing() {
    let place = Place::new();
    let on = place.pipe(&CSV, "\\timing on\nSELECT 1 AS a;\n").ok();
    assert!(on.starts_with("a\n1\nElapsed "), "{on}");
    let off = place
        .pipe(&["--format", "csv"], "\\timing\nSELECT 1 AS a;\n")
        .ok();
    assert_eq!(off, "Timing is off.\na\n1\n");
}

#[test]
fn help_lists_our_commands() {
    let help = Place::new().pipe(&[], "\\?\n").ok();
    for command in [
        "\\d", "\\h", "\\i FILE", "\\pset", "\\quiet", "\\timing", "\\q",
    ] {
        assert!(help.contains(command), "{help}");
    }
    assert!(
        help.contains("asof") && !help.contains("datafusion-cli"),
        "{help}"
    );
}

#[test]
fn wrong_commands_fail() {
    let place = Place::new();
    place.write("loop.sql", "\\i loop.sql\n");
    for (command, why) in [
        ("\\nonsense", "is not a command"),
        ("\\i", "needs the name of a file"),
        ("\\i missing.sql", "cannot read 'missing.sql'"),
        ("\\i loop.sql", "does a file include itself"),
        ("\\timing maybe", "takes on or off"),
        ("\\pset format xml", "is not an option"),
        ("\\h no_such_function", "not a supported function"),
    ] {
        let out = place.pipe(&CSV, &format!("{command}\nSELECT 1;\n"));
        assert_eq!(out.stdout, "", "{command}");
        let error = out.error();
        assert!(error.contains(why), "{command}: {error}");
    }
}

#[test]
fn startup_files_run_in_the_shell_only() {
    let place = Place::new();
    place.write(".asofrc", "SELECT 'rc' AS a;");
    place.write("mine.sql", "SELECT 'mine' AS a;");
    assert_eq!(place.pipe(&CSV, "SELECT 1 AS a;").ok(), "a\nrc\na\n1\n");
    let args = ["-q", "--format", "csv", "-r", "mine.sql"];
    assert_eq!(place.pipe(&args, "SELECT 1 AS a;").ok(), "a\nmine\na\n1\n");
    assert_eq!(place.csv("SELECT 1 AS a").ok(), "a\n1\n");
}

#[test]
fn skew_of_a_table() {
    let place = Place::new();
    let sql = "CREATE TABLE t AS SELECT CASE WHEN value <= 75 THEN 'hot' ELSE 'cold' END AS k, value AS ts \
               FROM generate_series(1, 100);";
    let out = place.pipe(&CSV, &format!("{sql}\n\\skew t k ts\n"));
    let lines = out.ok();
    assert!(
        lines.contains("hot,75,75.0,") && lines.contains("██████████"),
        "{lines}"
    );
    assert!(
        lines.contains("broadcast,\"right side indexed about"),
        "{lines}"
    );
    let sql = "CREATE TABLE \"T\" AS SELECT 'upper' AS \"K\", 'lower' AS k;";
    let out = place.pipe(
        &CSV,
        &format!("{sql}\n\\skew \"T\" \"K\"\n\\skew \"T\" K\n"),
    );
    let lines = out.ok();
    assert!(
        lines.contains("upper,1,") && lines.contains("lower,1,"),
        "{lines}"
    );
    let out = place.pipe(&CSV, "\\skew t\n");
    assert!(out.error().contains("\\skew takes a table, its key"));
    let out = place.pipe(&CSV, "\\skew it's k\n");
    assert!(out.error().contains("finds no table"));
}
