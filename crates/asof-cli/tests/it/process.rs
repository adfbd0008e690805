//! The shell among other processes: interrupts, and readers that go away.

#![cfg(unix)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Place;

pub(crate) fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
}

#[test]
fn a_signal_ends_a_script() {
    let (count, copy) = (
        "SELECT count(*) FROM generate_series(1, 100000000000)",
        "COPY (SELECT value FROM generate_series(1, 100000000000)) TO 'endless.csv'",
    );
    for (sql, name, code) in [
        (count, "-INT", 130),
        (copy, "-INT", 130),
        (copy, "-TERM", 143),
    ] {
        let place = Place::new();
        let mut child = place
            .command([
                "-q",
                "--format",
                "csv",
                "-c",
                "SELECT 'started' AS a",
                "-c",
                sql,
            ])
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..2 {
            output.read_line(&mut String::new()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{sql}");
        assert!(start.elapsed() < Duration::from_secs(10), "{sql}");
        assert_eq!(place.files(), Vec::<String>::new());
    }
}

/// Statements that never wait for anything leave it no moment but that between them.
#[test]
fn a_signal_ends_a_script_of_short_statements() {
    let place = Place::new();
    let many = "SET datafusion.execution.batch_size = 100;\n".repeat(3000);
    let script = format!("SELECT 'started' AS a;\n{many}COPY (SELECT 1) TO 'end.csv';\n");
    std::fs::write(place.path("script.sql"), script).unwrap();
    let mut child = place
        .command(["-q", "--format", "csv", "-f", "script.sql"])
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        output.read_line(&mut String::new()).unwrap();
    }
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(place.files(), ["script.sql"]);
}

#[test]
fn a_signal_ends_the_wait_for_input() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let place = Place::new();
        let mut child = place
            .command(["-q", "--format", "csv"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut &input, b"SELECT 1 AS a;\n").unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..2 {
            output.read_line(&mut String::new()).unwrap();
        }
        std::thread::sleep(Duration::from_millis(200));
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        drop(input);
    }
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    for args in [
        ["-q", "-c", "SELECT value FROM generate_series(1, 1000000)"],
        ["-q", "-c", "\\h"],
    ] {
        let place = Place::new();
        let mut child = place
            .command(["--format", "csv"].into_iter().chain(args))
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut complaints = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut complaints)
            .unwrap();
        assert_eq!(complaints, "");
        assert_eq!(child.wait().unwrap().code(), Some(141));
    }
}
