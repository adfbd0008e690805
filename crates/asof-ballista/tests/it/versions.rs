//! Clients, schedulers and executors that were not built together.

use std::time::{Duration, Instant};

use asof_ballista::Cluster;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use crate::data::{Data, join, shown};
use crate::process::{LocalCluster, state};
use crate::through::{Change, through};

/// How long it may take to find that out.
const SOON: Duration = Duration::from_secs(60);

/// Why a join fails that is sent to a scheduler at a port.
async fn failure(port: u16, data: &Data) -> Result<String> {
    let since = Instant::now();
    let cluster = loop {
        // What changes things on the way may not listen yet.
        match Cluster::connect(&format!("df://127.0.0.1:{port}")).await {
            Ok(cluster) => break cluster,
            Err(error) if since.elapsed() > SOON => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let ctx = SessionContext::new_with_state(cluster.session(state()));
    data.register(&ctx).await?;
    let started = Instant::now();
    let rows = shown(&ctx, &join("LEFT", "TIES BY q.id")).await;
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    Ok(rows.expect_err("they do not go together").to_string())
}

/// Whoever does not say otherwise is on loopback, misses a dead executor within seconds, and has tasks pulled.
#[test]
fn what_flags_are_by_default() {
    let help = |program: &str| {
        let output = std::process::Command::new(program).arg("--help").output();
        let text = output.expect("a program").stdout;
        String::from_utf8(text).expect("text")
    };
    let scheduler = help(env!("CARGO_BIN_EXE_asof-scheduler"));
    let executor = help(env!("CARGO_BIN_EXE_asof-executor"));
    for (help, flag, default) in [
        (&scheduler, "--bind-host", "127.0.0.1"),
        (&scheduler, "--scheduler-policy", "pull-staged"),
        (&scheduler, "--executor-timeout-seconds", "20"),
        (&scheduler, "--expire-dead-executor-interval-seconds", "5"),
        (&executor, "--bind-host", "127.0.0.1"),
        (&executor, "--task-scheduling-policy", "pull-staged"),
        (&executor, "--executor-heartbeat-interval-seconds", "5"),
    ] {
        let of_flag = help.split_once(&format!("{flag} <")).expect(flag).1;
        let shown = of_flag.split_once("[default: ").expect(flag).1;
        assert!(shown.starts_with(&format!("{default}]")), "{flag}: {shown}");
    }
}

#[test]
fn an_executor_whose_port_is_taken_says_which_flag_gives_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    for (flag, policy) in [
        ("--bind-port", "pull-staged"),
        ("--bind-health-port", "pull-staged"),
        ("--bind-grpc-port", "push-staged"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_asof-executor"));
        for other in ["--bind-port", "--bind-grpc-port", "--bind-health-port"] {
            command.args([other, if other == flag { &port } else { "0" }]);
        }
        let policy = format!("--task-scheduling-policy={policy}");
        // Of a scheduler that is not there: the port is what it fails of.
        let output = command.args([&policy, "--scheduler-port=1"]).output();
        let output = output.expect("an executor");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{flag}: {said}");
        assert!(
            said.contains(&format!("cannot listen on 127.0.0.1:{port} ({flag})")),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_do_not_go_together() -> Result<()> {
    let mut cluster = LocalCluster::start(0).await;
    // Plans reach the executor in a format that it does not know.
    let (port, _executors_way) = through(cluster.port(), Change::Format(99));
    cluster.start_executor_behind(port);
    cluster.wait_for(1).await;
    let data = Data::write().await?;
    let error = failure(cluster.port(), &data).await?;
    assert!(
        error.contains("start all with asof-executor of the version of this client"),
        "{error}"
    );

    let same = "The client and the scheduler must have the same major version";
    for (change, expected) in [
        (Change::Client("54.1.0"), ["client 54.1.0", same]),
        (Change::Scheduler("54.1.0"), ["scheduler 54.1.0", same]),
        (
            Change::Format(99),
            [
                "in format 99, this process reads format",
                "run the same version of datafusion-asof in client, scheduler and executors",
            ],
        ),
    ] {
        let (port, _way) = through(cluster.port(), change);
        let error = failure(port, &data).await?;
        for part in expected {
            assert!(error.contains(part), "{change:?}: {error}");
        }
    }
    Ok(())
}
