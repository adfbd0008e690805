//! The shell on a cluster of two processes: what a terminal shows of a query, and what nobody is told.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::pty::openpty;

use crate::Place;
use crate::process::signal;
use crate::terminal::Terminal;

/// How long a cluster may take to be there on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);
const SECRET: &str = "wJalrXUtnFEMI-a-secret-of-the-client";

/// A process that ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One that is given out once, below those that systems give to connections.
fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        // Test processes that run at a time begin at different ones.
        let place = std::process::id() % 100;
        AtomicU16::new(30_000 + 25 * u16::try_from(place).expect("a small number"))
    });
    let mut ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Relaxed)).take(1000);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(free).expect("a free port")
}

/// A scheduler and an executor, whose logs are in a place.
struct Cluster {
    url: String,
    scheduler: Process,
    _executor: Process,
}

impl Cluster {
    /// With these variables of the executor.
    fn start(place: &Place, env: &[(&str, &str)]) -> Self {
        let [scheduler, flight, grpc, health] = [(); 4].map(|()| free_port());
        let start = |name: &str, env: &[(&str, &str)], args: &[String]| {
            // Beside the shell, where cargo has put all that it builds for tests.
            let program = Path::new(env!("CARGO_BIN_EXE_asof")).with_file_name(name);
            let log = File::create(place.path(name)).expect("a log");
            let child = Command::new(&program)
                .args(["--bind-host=127.0.0.1", "--external-host=127.0.0.1"])
                .args(args)
                .env("RUST_LOG", "debug")
                .envs(env.iter().copied())
                .stdin(Stdio::null())
                .stdout(log)
                .spawn();
            Process(child.expect("a program that cargo has built too"))
        };
        let args = [format!("--bind-port={scheduler}")];
        let first = start("asof-scheduler", &[], &args);
        let args = [
            format!("--bind-port={flight}"),
            format!("--bind-grpc-port={grpc}"),
            format!("--bind-health-port={health}"),
            "--scheduler-host=127.0.0.1".to_owned(),
            format!("--scheduler-port={scheduler}"),
            "--scheduler-connect-timeout-seconds=60".to_owned(),
            format!("--work-dir={}", place.path("").display()),
        ];
        let second = start("asof-executor", env, &args);
        let cluster = Self {
            url: format!("df://127.0.0.1:{scheduler}"),
            scheduler: first,
            _executor: second,
        };
        let since = Instant::now();
        while place
            .run(["--cluster", &cluster.url, "-q", "-c", "SELECT 1"])
            .code
            != Some(0)
        {
            assert!(
                since.elapsed() < PATIENCE,
                "{}",
                place.read("asof-scheduler")
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        cluster
    }
}

/// The jobs that the scheduler has given up, and not only said so: of one that it is planning it says
/// so before it has any tasks, and begins them all the same.
fn given_up(log: &str) -> BTreeSet<&str> {
    log.lines()
        .filter_map(|line| Some(line.split_once(" running tasks for job ")?.1.trim_end()))
        .collect()
}

#[test]
fn a_terminal_shows_how_far_a_query_is_and_a_signal_cancels_it() {
    let place = Place::new();
    let cluster = Cluster::start(&place, &[]);
    let many = "CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 100000)";
    let long = "SELECT count(*) FROM t a JOIN t b ON a.x < b.x + 1";
    let copy = &format!("COPY ({long}) TO 'counted.csv'");
    for (number, (sql, name, code)) in [
        (long, "-INT", 130),
        (copy, "-INT", 130),
        (copy, "-TERM", 143),
    ]
    .into_iter()
    .enumerate()
    {
        let command = place.command(["--cluster", &cluster.url, "-c", many, "-c", sql]);
        let (mut shell, terminal) = Terminal::of(command);
        terminal.wait_for("stages: ");
        signal(&shell, name);
        assert_eq!(shell.wait().expect("an end").code(), Some(code), "{sql}");
        let log = place.read("asof-scheduler");
        assert_eq!(given_up(&log).len(), number + 1, "{sql}: {log}");
        let said = terminal.end();
        assert!(said.contains(" running"), "{said:?}");
        assert!(said.ends_with("\r\x1b[K"), "the line is gone: {said:?}");
    }
}

#[test]
fn a_signal_while_the_scheduler_plans_cancels_the_query() {
    let place = Place::new();
    let cluster = Cluster::start(&place, &[]);
    let many = "CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 10000)";
    let long = "SELECT count(*) FROM t a JOIN t b ON a.x < b.x + 1 JOIN t c ON b.x < c.x + 1";
    let long = vec![long; 20].join(" UNION ALL ");
    for number in 1..=5 {
        let queued = || place.read("asof-scheduler").matches("Job queued").count();
        let before = queued();
        let mut shell = place
            .command(["--cluster", &cluster.url, "-c", many, "-c", &long])
            .spawn()
            .expect("the shell starts");
        let since = Instant::now();
        while queued() == before {
            assert!(since.elapsed() < PATIENCE, "it is not sent");
            std::thread::sleep(Duration::from_millis(1));
        }
        signal(&shell, "-INT");
        assert_eq!(shell.wait().expect("an end").code(), Some(130));
        let log = place.read("asof-scheduler");
        assert_eq!(given_up(&log).len(), number, "{log}");
    }
}

/// A scheduler that does nothing while a query is cancelled.
#[test]
fn a_shell_says_that_a_query_may_still_run() {
    let place = Place::new();
    let cluster = Cluster::start(&place, &[]);
    let many = "CREATE TABLE t AS SELECT value AS x FROM generate_series(1, 100000);";
    let long = "SELECT count(*) FROM t a JOIN t b ON a.x < b.x + 1;";
    let submitted = || {
        place
            .read("asof-scheduler")
            .matches("Job submitted")
            .count()
    };
    let wait_for = |what: &dyn Fn() -> bool| {
        let since = Instant::now();
        while !what() {
            assert!(since.elapsed() < PATIENCE, "it does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // A script that is told twice, and a prompt that has gone on.
    for (interactive, code) in [(false, 130), (true, 143)] {
        let before = submitted();
        let ends = openpty(None, None).expect("a terminal");
        let mut keyboard = File::from(ends.master);
        let mut screen = keyboard.try_clone().expect("the same terminal");
        let mut said = File::create(place.path("said")).expect("a file");
        // Until nobody has the other end.
        std::thread::spawn(move || std::io::copy(&mut screen, &mut said));
        let mut command = place.command(["--cluster", &cluster.url, "-q"]);
        match interactive {
            true => {
                let input = ends.slave.try_clone().expect("the same terminal");
                command.env("TERM", "xterm").stdin(Stdio::from(input));
                command.stdout(Stdio::from(ends.slave))
            }
            false => command.args(["-c", many, "-c", long]),
        };
        let shell = command.spawn().expect("the shell starts");
        // It holds the other end of the terminal.
        drop(command);
        if interactive {
            write!(keyboard, "{many} {long}\r").expect("what is typed");
        }
        wait_for(&|| submitted() > before);
        signal(&cluster.scheduler.0, "-STOP");
        signal(&shell, "-INT");
        match interactive {
            true => {
                wait_for(&|| place.read("said").contains("Cancelled."));
                signal(&shell, "-TERM");
            }
            false => {
                std::thread::sleep(Duration::from_millis(500));
                signal(&shell, "-INT");
            }
        }
        let outcome = shell.wait_with_output().expect("an end");
        signal(&cluster.scheduler.0, "-CONT");
        assert_eq!(outcome.status.code(), Some(code), "{outcome:?}");
        let error = String::from_utf8_lossy(&outcome.stderr);
        assert!(error.contains("may still run on the cluster"), "{error}");
    }
}

/// The count of rows that a statement gives is no query of its own.
#[test]
fn a_statement_that_writes_is_one_job() {
    let place = Place::new();
    let cluster = Cluster::start(&place, &[]);
    let copy = "COPY (VALUES (1), (2)) TO 'two.csv'; COPY (SELECT * FROM 'two.csv') TO 'again.csv'";
    let outcome = place.run([
        "--cluster",
        &cluster.url,
        "--format",
        "csv",
        "-q",
        "-c",
        copy,
    ]);
    assert_eq!(outcome.stdout, "count\n2\ncount\n2\n", "{outcome:?}");
    let explain = "EXPLAIN COPY (SELECT * FROM 'two.csv') TO 'not.csv'";
    let outcome = place.run(["--cluster", &cluster.url, "-q", "-c", explain]);
    assert!(outcome.stdout.contains("DataSinkExec"), "{outcome:?}");
    let log = place.read("asof-scheduler");
    let jobs = log.matches("execution query job received");
    assert_eq!(jobs.count(), 2, "of two statements: {log}");
}

/// The address of a server of S3 that says of each file how long it is, and gives none.
fn forbidding_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = BufReader::new(connection.expect("a connection"));
            let mut request = String::new();
            let mut lines = 0;
            while connection.read_line(&mut request).unwrap_or(0) > 2 {
                lines += 1;
            }
            let answer = match request.starts_with("HEAD") && lines > 0 {
                true => {
                    "200 OK\r\nlast-modified: Wed, 21 Oct 2026 07:28:00 GMT\r\netag: \"1\"\r\n\
                     content-length: 1000"
                }
                false => "403 Forbidden\r\ncontent-length: 0",
            };
            let answer = format!("HTTP/1.1 {answer}\r\nconnection: close\r\n\r\n");
            // Whoever asked may have gone.
            let _ = connection.get_mut().write_all(answer.as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn nobody_is_told_a_secret() {
    let place = Place::new();
    let server = forbidding_server();
    let executor = [
        ("AWS_ENDPOINT", server.as_str()),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_SKIP_SIGNATURE", "true"),
    ];
    let cluster = Cluster::start(&place, &executor);
    let table = format!(
        "CREATE EXTERNAL TABLE t (id BIGINT) STORED AS PARQUET LOCATION 's3://bucket/t.parquet'
         OPTIONS (aws.access_key_id 'AKIDEXAMPLE', aws.secret_access_key '{SECRET}', aws.region 'r',
                  aws.endpoint '{server}', aws.allow_http 'true')"
    );
    let settings = "SET datafusion.execution.collect_statistics = false";
    let plan = "EXPLAIN VERBOSE SELECT sum(id) FROM t WHERE id > 3";
    let rest = [
        "-c",
        settings,
        "-c",
        &table,
        "-c",
        plan,
        "-c",
        "SELECT sum(id) FROM t",
    ];
    let outcome = place.run(["--cluster", &cluster.url].into_iter().chain(rest));
    assert!(outcome.stdout.contains("t.parquet"), "{outcome:?}");
    assert!(
        outcome.stderr.contains("may not read a file"),
        "{outcome:?}"
    );
    let logs = place.read("asof-scheduler") + &place.read("asof-executor");
    assert!(
        logs.contains(" DEBUG ") && logs.contains("t.parquet"),
        "{logs}"
    );
    for told in [&outcome.stdout, &outcome.stderr, &logs] {
        assert!(!told.contains(SECRET), "{told}");
    }
}
