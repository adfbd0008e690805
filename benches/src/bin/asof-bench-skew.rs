//! Time-salted joins beside others: hot keys of several shares, several numbers of partitions.
//!
//! `asof-bench-skew DIR [--scale F] [--repetitions N] [--workload NAME]` writes the tables to DIR if they
//! are not there and prints a table in Markdown, of all workloads or of one. Times are medians
//! of N runs (3), one more before them not counted.

use std::error::Error;
use std::fs;
use std::path::Path;

use benches::parquet;
use benches::skew::{Measured, PARTITIONS, STRATEGIES, Setting, WORKLOADS, agree, measure};
use benches::workload::Workload;
use mimalloc::MiMalloc;

// As the shell has it.
#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

const USAGE: &str = "usage: asof-bench-skew DIR [--scale F] [--repetitions N] [--workload NAME]";

struct Options {
    directory: String,
    scale: f64,
    repetitions: usize,
    workloads: Vec<String>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let Some(options) = options(std::env::args().skip(1))? else {
        println!("{USAGE}");
        return Ok(());
    };
    println!(
        "| workload | partitions | strategy | largest / mean | carried, % | matched by carried | seconds |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut wrong = 0;
    for name in options.workloads {
        let workload = Workload::named(&name, options.scale)?;
        let directory = format!("{}/{name}-{}", options.directory, options.scale);
        let directory = Path::new(&directory);
        write(directory, &workload)?;
        for partitions in PARTITIONS {
            let mut answer: Option<Vec<f64>> = None;
            for strategy in STRATEGIES {
                let setting = Setting {
                    strategy,
                    partitions,
                };
                let mut runs = vec![];
                for _ in 0..=options.repetitions {
                    runs.push(measure(directory, &workload, setting).await?);
                }
                let mut seconds: Vec<f64> = runs.iter().skip(1).map(|run| run.seconds).collect();
                seconds.sort_by(f64::total_cmp);
                let median = seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN);
                let expected = answer.get_or_insert_with(|| runs[0].answer.clone());
                let is_wrong = runs.iter().any(|run| !agree(&run.answer, expected));
                wrong += usize::from(is_wrong);
                let mark = if is_wrong { " **WRONG**" } else { "" };
                println!(
                    "| {name} | {partitions} | {}{mark} | {median:.3} |",
                    shown(strategy, &runs[0])
                );
            }
        }
    }
    match wrong {
        0 => Ok(()),
        _ => Err(format!("{wrong} answers differ from those of {}", STRATEGIES[0]).into()),
    }
}

fn shown(asked: &str, run: &Measured) -> String {
    let strategy = match asked {
        "auto" => format!("auto: {}", run.strategy),
        _ => run.strategy.to_string(),
    };
    let balance = run
        .balance
        .map_or_else(|| "-".to_owned(), |of| format!("{of:.2}"));
    let carried = 100.0 * run.carried;
    format!(
        "{strategy} | {balance} | {carried:.4} | {}",
        run.matched_by_carried
    )
}

/// Writes the tables, unless all of them were written before.
fn write(directory: &Path, workload: &Workload) -> Result<(), Box<dyn Error>> {
    let written = directory.join("written");
    if written.exists() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    for table in workload.tables() {
        parquet::write(&directory.join(format!("{}.parquet", table.name)), table)?;
    }
    Ok(fs::write(written, "")?)
}

/// `None` if only the usage is asked for.
fn options(mut args: impl Iterator<Item = String>) -> Result<Option<Options>, Box<dyn Error>> {
    let mut directory = None;
    let mut options = Options {
        directory: String::new(),
        scale: 1.0,
        repetitions: 3,
        workloads: WORKLOADS.map(str::to_owned).to_vec(),
    };
    while let Some(arg) = args.next() {
        let mut value = || {
            let value = args.next();
            value.ok_or_else(|| format!("{arg} takes a value; {USAGE}"))
        };
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--scale" => options.scale = value()?.parse()?,
            "--workload" => options.workloads = vec![value()?],
            "--repetitions" => options.repetitions = value()?.parse::<usize>()?.max(1),
            _ if arg.starts_with('-') || directory.is_some() => {
                return Err(format!("{arg} is not understood; {USAGE}").into());
            }
            _ => directory = Some(arg),
        }
    }
    options.directory = directory.ok_or(USAGE)?;
    Ok(Some(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &str) -> Result<Option<Options>, String> {
        let read = options(args.split_whitespace().map(str::to_owned));
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_understood_or_refused() {
        let options = read("--workload no_key dir --scale 0.5").expect("options");
        let options = options.expect("more than help");
        assert_eq!(
            (options.directory.as_str(), options.workloads),
            ("dir", vec!["no_key".to_owned()])
        );
        assert_eq!((options.scale, options.repetitions), (0.5, 3));
        for help in ["--help", "-h", "dir --help"] {
            assert!(read(help).is_ok_and(|options| options.is_none()), "{help}");
        }
        let refused = |args: &str| read(args).err().unwrap_or_default();
        assert_eq!(refused(""), USAGE);
        assert!(refused("--nosuch").starts_with("--nosuch is not understood"));
        assert!(refused("dir --nosuch 3").starts_with("--nosuch is not understood"));
        assert!(refused("dir more").starts_with("more is not understood"));
        assert!(refused("dir --scale").starts_with("--scale takes a value"));
    }
}
