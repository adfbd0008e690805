//! Finds the files of the corpus, runs one under one profile, or rewrites what it expects.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sqllogictest::{Runner, default_normalizer, default_validator, strict_column_validator};

use crate::engine::Engine;
use crate::profile::{Profile, profiles_of};

/// The corpus, relative to this package, where cargo starts the tests.
const ROOT: &str = "slt";

/// Every `.slt` file, relative to the corpus, in a stable order.
pub fn test_files() -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(ROOT)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "slt") {
                let relative = path.strip_prefix(ROOT).map_err(io::Error::other)?;
                files.push(relative.to_path_buf());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The files that the project's README names as proof of what it says, relative to the corpus.
pub fn files_named_in_readme() -> io::Result<Vec<PathBuf>> {
    let readme = fs::read_to_string("../README.md")?;
    let code = readme.split('`').skip(1).step_by(2);
    Ok(code
        .filter(|code| code.ends_with(".slt"))
        .map(PathBuf::from)
        .collect())
}

/// Runs `file` under `profile` in a session and a scratch folder (below `scratch`) of its own.
pub fn run(file: &Path, profile: Profile, scratch: &Path) -> Result<(), Box<dyn Error>> {
    let scratch = Scratch::create(file, profile, scratch)?;
    runtime()?.block_on(async {
        let mut runner = Runner::new(|| Engine::connect(profile, scratch.path()));
        for label in profile.labels() {
            runner.add_label(&label);
        }
        runner.with_column_validator(strict_column_validator);
        let result = runner.run_file_async(Path::new(ROOT).join(file)).await;
        runner.shutdown_async().await;
        result.map_err(|e| e.display(false).to_string().into())
    })
}

/// Rewrites the expected output of `file` with what its first profile answers today.
pub fn complete(file: &Path, scratch: &Path) -> Result<(), Box<dyn Error>> {
    let profile = profiles_of(file)[0];
    let scratch = Scratch::create(file, profile, scratch)?;
    runtime()?.block_on(async {
        let mut runner = Runner::new(|| Engine::connect(profile, scratch.path()));
        for label in profile.labels() {
            runner.add_label(&label);
        }
        runner
            .update_test_file(
                Path::new(ROOT).join(file),
                " ",
                default_validator,
                default_normalizer,
                strict_column_validator,
            )
            .await
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
}

/// A folder of one run, empty at its start and gone at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn create(file: &Path, profile: Profile, below: &Path) -> io::Result<Self> {
        let path = below
            .join("slt")
            .join(profile.to_string())
            .join(file.with_extension(""));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A leftover does no harm: the next run empties the folder first.
        let _ = fs::remove_dir_all(&self.0);
    }
}
