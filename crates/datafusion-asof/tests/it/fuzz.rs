//! Differential fuzz: random cases, every strategy, the definition as the judge.
//!
//! Two tests: [`fuzz`] plans the operator directly, [`sql_fuzz`] goes from statements (or a `DataFrame`) to rows. `ASOF_FUZZ_CASES` and
//! `ASOF_SQL_FUZZ_CASES` set how many cases are tried and `ASOF_FUZZ_SEED` the seed of the first; case `i` has the seed `first + i`, so
//! a failure is rerun alone by its own seed and a count of one.

use datafusion::common::runtime::SpawnedTask;
use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use datafusion_asof::AsOfStrategy;
use futures::FutureExt;
use futures::future::join_all;

use crate::case::Case;
use crate::engine::{BATCH_SIZES, STRATEGIES, Seen, Setup, TARGET_PARTITIONS, check};
use crate::generate::generate;
use crate::oracle::Op;
use crate::shrink::{Problem, shrink};
use crate::types::Dice;
use crate::whole_path::{check_whole, generate_whole};

/// A case that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Failures after which it is enough.
const ENOUGH: usize = 5;

pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match env::var(name) {
        Ok(value) => value
            .parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {value}")),
        Err(_) => default,
    }
}

/// What a case goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// The operator, planned as it is.
    Operator,
    /// Statements, planned by DataFusion.
    Sql,
}

impl Path {
    fn case(self, seed: u64) -> Case {
        match self {
            Path::Operator => generate(seed),
            Path::Sql => generate_whole(seed),
        }
    }

    fn test(self) -> (&'static str, &'static str) {
        match self {
            Path::Operator => ("fuzz::fuzz", "ASOF_FUZZ_CASES"),
            Path::Sql => ("fuzz::sql_fuzz", "ASOF_SQL_FUZZ_CASES"),
        }
    }
}

/// Every strategy, each under its own random setup.
fn setups(seed: u64) -> [Setup; 4] {
    let dice = &mut Dice::new(seed ^ 0x5e7);
    STRATEGIES.map(|strategy| Setup {
        strategy,
        target_partitions: *dice.pick(&TARGET_PARTITIONS),
        batch_size: *dice.pick(&BATCH_SIZES),
        keep_order: dice.percent(30),
        twice: dice.percent(5),
        sent: dice.percent(20),
    })
}

/// Runs a case; a panic is a failure like any other.
async fn attempt(path: Path, case: Case, setup: Setup) -> Result<Seen, String> {
    let run = async {
        let expected = case.expected();
        match path {
            Path::Operator => check(&case, &expected, setup).await,
            Path::Sql => check_whole(&case, &expected, setup).await,
        }
    };
    AssertUnwindSafe(run)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            Err(format!(
                "panic: {}",
                text.or_else(|| panic.downcast_ref().copied())
                    .unwrap_or("?")
            ))
        })
}

/// The tally of a run.
#[derive(Default)]
struct Tally {
    answer_rows: AtomicUsize,
    /// Sort-merge joins of two tables with rows in which no sort was needed.
    merged_unsorted: AtomicUsize,
    /// Time-salted joins of two tables with rows whose sides were sorted to be merged.
    salted_merges: AtomicUsize,
}

impl Tally {
    fn add(&self, case: &Case, setup: Setup, seen: Seen) {
        self.answer_rows.fetch_add(seen.rows, Ordering::Relaxed);
        let merges = case.op != Op::Nearest
            && case.filter.is_none()
            && case.left.rows() > 1
            && case.right.rows() > 1;
        let counter = match (setup.strategy, seen.sorts) {
            (AsOfStrategy::SortMerge, 0) => &self.merged_unsorted,
            (AsOfStrategy::TimeSalted, 1..) => &self.salted_merges,
            _ => return,
        };
        counter.fetch_add(usize::from(merges), Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fuzz() {
    let cases = setting("ASOF_FUZZ_CASES", 1_200);
    let tally = run(Path::Operator, cases).await;
    let met = |counter: &AtomicUsize| counter.load(Ordering::Relaxed) > 0 || cases < 500;
    assert!(
        met(&tally.merged_unsorted),
        "no case took declared order as it is: the generator misses that path"
    );
    assert!(
        met(&tally.salted_merges),
        "no case merged the sides of a time-salted join: the generator misses that path"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_fuzz() {
    run(Path::Sql, setting("ASOF_SQL_FUZZ_CASES", 1_000)).await;
}

/// Tries cases and counts what they met.
async fn run(path: Path, cases: u64) -> Arc<Tally> {
    let first = setting("ASOF_FUZZ_SEED", 1);
    let started = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let tally = Arc::new(Tally::default());
    let failures = Arc::new(Mutex::new(vec![]));
    let workers = thread::available_parallelism().map_or(2, usize::from);
    let busy = Arc::new((0..workers).map(|_| Mutex::new(None)).collect::<Vec<_>>());
    let watching = watch(Arc::clone(&busy));
    let worker = |worker: usize| {
        let (next, tally, failures, busy) = (
            Arc::clone(&next),
            Arc::clone(&tally),
            Arc::clone(&failures),
            Arc::clone(&busy),
        );
        SpawnedTask::spawn(async move {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                let enough = failures.lock().expect("no panic while held").len() >= ENOUGH;
                if i >= cases || enough {
                    break;
                }
                let seed = first + i;
                *busy[worker].lock().expect("no panic while held") = Some((seed, Instant::now()));
                let case = path.case(seed);
                for setup in setups(seed) {
                    match attempt(path, case.clone(), setup).await {
                        Ok(seen) => tally.add(&case, setup, seen),
                        Err(_) => {
                            failures
                                .lock()
                                .expect("no panic while held")
                                .push((case.clone(), setup));
                            break;
                        }
                    }
                }
                *busy[worker].lock().expect("no panic while held") = None;
            }
        })
    };
    for end in join_all((0..workers).map(worker)).await {
        end.expect("a worker runs to its end");
    }
    watching.store(false, Ordering::Relaxed);
    let failures = std::mem::take(&mut *failures.lock().expect("no panic while held"));
    report(path, &failures).await;
    assert!(
        failures.is_empty(),
        "{} failing cases, shown above",
        failures.len()
    );

    let seconds = started.elapsed().as_secs_f64();
    let merged = tally.merged_unsorted.load(Ordering::Relaxed);
    let salted = tally.salted_merges.load(Ordering::Relaxed);
    println!(
        "{path:?}: {cases} cases from seed {first} in {seconds:.1} s ({:.0} per second): {} rows, {merged} merges without a sort, {salted} of salted rows",
        cases as f64 / seconds,
        tally.answer_rows.load(Ordering::Relaxed),
    );
    tally
}

/// Shows each failure as small as it can be made.
async fn report(path: Path, failures: &[(Case, Setup)]) {
    // The panics of a case that is being shrunk have been seen.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let problem: Problem =
        Box::new(move |case, setup| attempt(path, case, setup).map(Result::err).boxed());
    let (test, count) = path.test();
    for (case, setup) in failures {
        let seed = case.seed;
        let (case, setup, message) = shrink(case.clone(), *setup, &problem).await;
        eprintln!(
            "\n=== seed {seed} fails, shrunk, under {setup:?}\n{case}\n{message}\n\
             rerun: ASOF_FUZZ_SEED={seed} {count}=1 cargo test --test it -- --exact {test}"
        );
    }
    panic::set_hook(hook);
}

/// The case a worker is at, and since when.
pub(crate) type Busy = Mutex<Option<(u64, Instant)>>;

/// Ends the process, with the seed, when a case never ends.
pub(crate) fn watch(busy: Arc<Vec<Busy>>) -> Arc<AtomicBool> {
    let watching = Arc::new(AtomicBool::new(true));
    let until = Arc::clone(&watching);
    thread::spawn(move || {
        while until.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(500));
            for worker in busy.iter() {
                if let Some((seed, since)) = *worker.lock().expect("no panic while held")
                    && since.elapsed() > PATIENCE
                {
                    eprintln!("\n=== the case of seed {seed} does not end");
                    process::exit(101);
                }
            }
        }
    });
    watching
}

#[test]
fn a_seed_gives_one_case() {
    for path in [Path::Operator, Path::Sql] {
        for seed in [0, 1, 7, 50] {
            assert_eq!(
                format!("{:?}", path.case(seed)),
                format!("{:?}", path.case(seed))
            );
        }
    }
}
