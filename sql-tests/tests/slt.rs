//! One trial per file and profile, named `slt::<profile>::<path>`, and one for what the
//! README names.
//! Where `ASOF_CLUSTER` names a cluster, the trials are those of the cluster alone: `slt::cluster_…`.
//! `-- --complete <filter>` rewrites the expected output of the files whose path has `<filter>`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Where runs write: below cargo's target folder.
const SCRATCH: &str = env!("CARGO_TARGET_TMPDIR");

fn main() -> ExitCode {
    let mut args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--complete") {
        args.remove(at);
        let filter = args.get(at).map_or("", String::as_str);
        return complete(filter);
    }

    let files = match sql_tests::test_files() {
        Ok(files) => files,
        Err(error) => return fail(&format!("cannot list the corpus: {error}")),
    };
    let has_cluster = std::env::var_os(sql_tests::CLUSTER).is_some();
    let mut trials: Vec<Trial> = files
        .iter()
        .flat_map(|file| {
            let profiles = match has_cluster {
                true => sql_tests::cluster_profiles_of(file),
                false => sql_tests::profiles_of(file),
            };
            profiles.iter().map(move |&profile| {
                let name = format!("slt::{profile}::{}", file.display());
                let file = file.clone();
                Trial::test(name, move || {
                    sql_tests::run(&file, profile, Path::new(SCRATCH)).map_err(Into::into)
                })
            })
        })
        .collect();
    trials.push(Trial::test("readme", move || proofs_exist(&files)));
    libtest_mimic::run(&Arguments::from_iter(args), trials).exit_code()
}

/// What the README promises, it promises by the name of a file.
fn proofs_exist(files: &[PathBuf]) -> Result<(), Failed> {
    let named = sql_tests::files_named_in_readme()?;
    if named.is_empty() {
        return Err("README.md names no file of the corpus".into());
    }
    match named.iter().find(|named| !files.contains(named)) {
        Some(missing) => Err(format!("README.md names {}", missing.display()).into()),
        None => Ok(()),
    }
}

fn complete(filter: &str) -> ExitCode {
    let files = match sql_tests::test_files() {
        Ok(files) => files,
        Err(error) => return fail(&format!("cannot list the corpus: {error}")),
    };
    for file in files
        .iter()
        .filter(|f| f.to_string_lossy().contains(filter))
    {
        if let Err(error) = sql_tests::complete(file, Path::new(SCRATCH)) {
            return fail(&format!("{}: {error}", file.display()));
        }
        println!("completed {}", file.display());
    }
    ExitCode::SUCCESS
}

fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
