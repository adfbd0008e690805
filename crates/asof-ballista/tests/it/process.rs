//! A scheduler and executors, as processes that end with the test.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use asof_ballista::Cluster;
use ballista_executor::config::Config;
use ballista_executor::executor_process::start_executor_process;
use clap::Parser;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_asof::WithAsOf;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const VCORES: usize = 2;
/// How long a cluster may take to be there on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A process that ends with this.
#[derive(Debug)]
struct Process(Mutex<Child>);

impl Process {
    /// How it ended, if it has.
    fn ended(&self) -> Option<String> {
        let ended = self.0.lock().expect("no panic").try_wait();
        let ended = ended.expect("the state of a child");
        ended.map(|status| status.to_string())
    }

    /// `STOP`, which no process can refuse, and `CONT`.
    fn signal(&self, signal: &str) {
        let id = self.0.lock().expect("no panic").id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(status.expect("kill").success(), "{signal} of process {id}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let child = self.0.get_mut().expect("no panic");
        // It may have ended already.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// A cluster on loopback.
#[derive(Debug)]
pub(crate) struct LocalCluster {
    executors: Vec<Option<Process>>,
    scheduler: Option<Process>,
    port: u16,
    /// Seconds without a sign of life after which an executor is lost.
    silence: u64,
    place: TempDir,
}

/// Ports of this test process alone, of which each is given out once. A port that is merely free may be
/// given to the cluster of another test process before ours listens on it, and then both talk to one scheduler.
/// They are below those that systems give to connections.
struct Ports {
    next: AtomicU16,
    /// Locked as long as the process lives.
    _lock: File,
}

impl Ports {
    const EACH: u16 = 1_000;

    fn take() -> Self {
        let folder = std::env::temp_dir().join("asof-ballista-test-ports");
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut starts = (10_000..30_000).step_by(usize::from(Self::EACH));
        let ports = starts.find_map(|start| {
            let mut options = OpenOptions::new();
            let lock = options.create(true).truncate(false).write(true);
            let lock = lock.open(folder.join(start.to_string())).ok()?;
            lock.try_lock().ok()?;
            Some(Self {
                next: AtomicU16::new(start),
                _lock: lock,
            })
        });
        ports.expect("ports that no other test process has")
    }

    fn free(&self) -> u16 {
        let mut ports = std::iter::repeat_with(|| self.next.fetch_add(1, Relaxed));
        let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
        let mut ports = ports.by_ref().take(usize::from(Self::EACH));
        ports.find(free).expect("a free port")
    }
}

pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static PORTS: LazyLock<Ports> = LazyLock::new(Ports::take);
    [(); N].map(|()| PORTS.free())
}

fn start(program: &str, args: &[String], log: &Path) -> Process {
    start_with(program, args, &[], log)
}

/// With these variables, and nothing that says how to reach object stores but they.
fn start_with(program: &str, args: &[String], env: &[(&str, &str)], log: &Path) -> Process {
    let log = File::create(log).expect("a log");
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    let child = command
        .args(args)
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn();
    let child = child.unwrap_or_else(|error| panic!("{program}: {error}"));
    Process(Mutex::new(child))
}

impl LocalCluster {
    /// With so many executors, for which it waits.
    pub(crate) async fn start(executors: usize) -> Self {
        Self::start_with(executors, 120).await
    }

    /// One that takes executors for lost after seconds of silence. A busy machine can be as silent.
    pub(crate) async fn start_watchful(executors: usize) -> Self {
        Self::start_with(executors, 10).await
    }

    async fn start_with(executors: usize, silence: u64) -> Self {
        let [port] = free_ports();
        let mut cluster = Self {
            executors: vec![],
            scheduler: None,
            port,
            silence,
            place: TempDir::new().expect("a temporary directory"),
        };
        cluster.start_scheduler();
        for _ in 0..executors {
            cluster.executors.push(None);
            cluster.start_executor(cluster.executors.len() - 1);
        }
        if executors > 0 {
            cluster.wait_for(executors).await;
        }
        cluster
    }

    pub(crate) fn start_scheduler(&mut self) {
        let args = [
            "--bind-host=127.0.0.1",
            "--external-host=127.0.0.1",
            &format!("--bind-port={}", self.port),
            &format!("--executor-timeout-seconds={}", self.silence),
            "--expire-dead-executor-interval-seconds=1",
            "--no-executors-grace-period-seconds=10",
        ];
        let log = self.place.path().join("scheduler.log");
        let args = args.map(str::to_owned);
        self.scheduler = Some(start(env!("CARGO_BIN_EXE_asof-scheduler"), &args, &log));
    }

    pub(crate) fn stop_scheduler(&mut self) {
        self.scheduler = None;
    }

    pub(crate) fn start_executor(&mut self, number: usize) {
        let (args, log) = self.executor_args();
        let process = start(env!("CARGO_BIN_EXE_asof-executor"), &args, &log);
        self.executors[number] = Some(process);
    }

    /// One with these variables.
    pub(crate) fn start_executor_with(&mut self, env: &[(&str, &str)]) {
        let (args, log) = self.executor_args();
        let program = env!("CARGO_BIN_EXE_asof-executor");
        let process = start_with(program, &args, env, &log);
        self.executors.push(Some(process));
    }

    /// One that reaches the scheduler at another port.
    pub(crate) fn start_executor_behind(&mut self, port: u16) {
        let (mut args, log) = self.executor_args();
        args.retain(|arg| !arg.starts_with("--scheduler-port="));
        args.push(format!("--scheduler-port={port}"));
        let process = start(env!("CARGO_BIN_EXE_asof-executor"), &args, &log);
        self.executors.push(Some(process));
    }

    /// One whose files cannot be larger than 64 KB.
    pub(crate) fn start_executor_that_writes_little(&mut self) {
        let (args, log) = self.executor_args();
        // What is too large is an error of the write instead of a signal that ends the process.
        let script = r#"trap '' XFSZ; ulimit -f 128; exec "$0" "$@""#;
        let program = env!("CARGO_BIN_EXE_asof-executor");
        let shell = ["-c", script, program].map(str::to_owned);
        let args: Vec<String> = shell.into_iter().chain(args).collect();
        self.executors.push(Some(start("sh", &args, &log)));
    }

    /// One with a disk of 64 KB.
    ///
    /// # Errors
    /// Where disks may not be mounted.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_executor_on_a_small_disk(&mut self) -> Result<(), String> {
        let (args, log) = self.executor_args();
        let work = args.iter().find_map(|arg| arg.strip_prefix("--work-dir="));
        let work = work.expect("a work directory").to_owned();
        // A mount that nobody else sees, gone with the process.
        let script = r#"mount -t tmpfs -o size=64k none "$1" && shift && exec "$0" "$@""#;
        let namespace = ["--mount", "sh", "-c", script].map(str::to_owned);
        let mut trial = namespace.to_vec();
        trial.extend(["true".to_owned(), work.clone()]);
        let trial = Command::new("unshare").args(trial).output();
        let trial = trial.map_err(|error| format!("unshare: {error}"))?;
        if !trial.status.success() {
            return Err(String::from_utf8_lossy(&trial.stderr).into_owned());
        }
        let program = env!("CARGO_BIN_EXE_asof-executor").to_owned();
        let args: Vec<String> = namespace
            .into_iter()
            .chain([program, work])
            .chain(args)
            .collect();
        self.executors.push(Some(start("unshare", &args, &log)));
        Ok(())
    }

    /// One in a folder of its own.
    #[cfg(target_os = "linux")]
    pub(crate) fn start_executor_elsewhere(&mut self) {
        let (args, log) = self.executor_args();
        let script = r#"cd "$1" && shift && exec "$0" "$@""#;
        let place = self.place.path().to_string_lossy().into_owned();
        let program = env!("CARGO_BIN_EXE_asof-executor").to_owned();
        let shell = ["-c".to_owned(), script.to_owned(), program, place];
        let args: Vec<String> = shell.into_iter().chain(args).collect();
        self.executors.push(Some(start("sh", &args, &log)));
    }

    /// Ballista's own, in this process.
    pub(crate) fn start_stock_executor(&self) -> SpawnedTask<()> {
        let (args, _) = self.executor_args();
        let args = ["executor", "--bind-host=127.0.0.1"]
            .map(str::to_owned)
            .into_iter()
            .chain(args);
        let config = Config::try_parse_from(args).expect("flags of an executor");
        let config = config.try_into().expect("a configuration");
        SpawnedTask::spawn(async move {
            let ended = start_executor_process(Arc::new(config)).await;
            ended.expect("an executor that ends in order");
        })
    }

    fn executor_args(&self) -> (Vec<String>, PathBuf) {
        let [flight, grpc, health] = free_ports();
        let work = self.place.path().join(format!("work-{flight}"));
        std::fs::create_dir(&work).expect("a work directory");
        let args = vec![
            "--external-host=127.0.0.1".to_owned(),
            format!("--bind-port={flight}"),
            format!("--bind-grpc-port={grpc}"),
            format!("--bind-health-port={health}"),
            "--scheduler-host=127.0.0.1".to_owned(),
            format!("--scheduler-port={}", self.port),
            "--scheduler-connect-timeout-seconds=30".to_owned(),
            // Those of someone else have another default.
            "--task-scheduling-policy=pull-staged".to_owned(),
            "--executor-heartbeat-interval-seconds=1".to_owned(),
            format!("--vcores={VCORES}"),
            format!("--work-dir={}", work.display()),
        ];
        let log = self.place.path().join(format!("executor-{flight}.log"));
        (args, log)
    }

    /// SIGKILL.
    pub(crate) fn kill_executor(&mut self, number: usize) {
        self.executors[number] = None;
    }

    /// Has the scheduler do nothing (`STOP`), or go on (`CONT`).
    pub(crate) fn signal_scheduler(&self, signal: &str) {
        self.scheduler.as_ref().expect("a scheduler").signal(signal);
    }

    pub(crate) fn signal_executors(&self, signal: &str) {
        for executor in self.executors.iter().flatten() {
            executor.signal(signal);
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A document of the scheduler's REST API.
    pub(crate) fn rest(&self, path: &str) -> Value {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("a scheduler");
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        connection.write_all(request.as_bytes()).expect("a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        let (_, document) = answer.split_once("\r\n\r\n").expect("a document");
        serde_json::from_str(document).unwrap_or_else(|error| panic!("{path}: {error}: {answer}"))
    }

    pub(crate) fn url(&self) -> String {
        format!("df://127.0.0.1:{}", self.port)
    }

    /// Waits until so many executors are there.
    pub(crate) async fn wait_for(&self, executors: usize) -> Cluster {
        let since = Instant::now();
        loop {
            let ended = self.scheduler.as_ref().and_then(Process::ended);
            if let Some(status) = ended {
                panic!("the scheduler has ended with {status}\n{}", self.logs());
            }
            let cluster = Cluster::connect(&self.url()).await;
            match cluster {
                Ok(cluster) if cluster.vcores() >= executors * VCORES => return cluster,
                cluster if since.elapsed() > PATIENCE => {
                    panic!("the cluster is not there: {cluster:?}\n{}", self.logs())
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The ends of what the processes said, and whether they have ended.
    pub(crate) fn logs(&self) -> String {
        let processes = self.scheduler.iter().chain(self.executors.iter().flatten());
        let ended: Vec<_> = processes.map(Process::ended).collect();
        let ends = self.log_files().into_iter().map(|(path, text)| {
            let from = text.len().saturating_sub(3000);
            let end = text.get(from..).unwrap_or(&text);
            format!("== {}\n{end}", path.display())
        });
        let ends = ends.collect::<Vec<_>>().join("\n");
        format!("scheduler and executors ended: {ended:?}\n{ends}")
    }

    /// All that the processes said.
    pub(crate) fn whole_logs(&self) -> String {
        let texts = self.log_files().into_iter().map(|(_, text)| text);
        texts.collect::<Vec<_>>().join("\n")
    }

    fn log_files(&self) -> Vec<(PathBuf, String)> {
        let files = std::fs::read_dir(self.place.path()).into_iter().flatten();
        let texts = files.flatten().filter_map(|file| {
            let text = std::fs::read_to_string(file.path()).ok()?;
            Some((file.path(), text))
        });
        texts.collect()
    }

    /// A session whose queries run here.
    pub(crate) async fn session(&self) -> SessionContext {
        let cluster = self.wait_for(1).await;
        SessionContext::new_with_state(cluster.session(state()))
    }
}

pub(crate) fn state() -> datafusion::execution::SessionState {
    SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_information_schema(true))
        .with_default_features()
        .with_asof()
        .build()
}

/// A session whose queries run in the test.
pub(crate) fn local_session() -> SessionContext {
    SessionContext::new_with_state(state())
}
