//! The shell as a user meets it: the built program, its output, its exit codes.

#[cfg(all(unix, feature = "cluster"))]
mod cluster;
mod commands;
mod errors;
mod files;
mod flags;
mod joins;
mod process;
#[cfg(unix)]
mod terminal;

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// What a run of the shell left behind.
#[derive(Debug)]
struct Outcome {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

impl Outcome {
    /// The output of a run that succeeded without a word of complaint.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        assert_eq!(self.stderr, "");
        self.stdout
    }

    /// The message of a run that failed cleanly.
    #[track_caller]
    fn error(self) -> String {
        assert_eq!(self.code, Some(1), "{self:?}");
        assert!(self.stderr.starts_with("Error: "), "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self.stderr
    }
}

/// A directory of its own for one test, which is home and working directory of its shells.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).expect("a writable file");
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a readable file")
    }

    /// The names of all files, those in folders too.
    fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, into: &mut Vec<String>) {
            for entry in fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    walk(&path, into);
                } else {
                    into.push(
                        path.file_name()
                            .expect("a name")
                            .to_string_lossy()
                            .into_owned(),
                    );
                }
            }
        }
        let mut files = Vec::new();
        walk(self.0.path(), &mut files);
        files.sort();
        files
    }

    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_asof"));
        command
            .args(args)
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("DATAFUSION_") {
                command.env_remove(name);
            }
        }
        command
    }

    fn run(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Outcome {
        outcome(self.command(args))
    }

    /// Runs SQL and gives the result alone, as CSV.
    fn csv(&self, sql: &str) -> Outcome {
        self.run(["-q", "--format", "csv", "-c", sql])
    }

    /// Runs what is piped into the shell.
    fn pipe(&self, args: &[&str], input: &str) -> Outcome {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .spawn()
            .expect("the shell starts");
        // The shell may stop before it has read everything.
        let _ = child
            .stdin
            .take()
            .expect("a pipe")
            .write_all(input.as_bytes());
        let output = child.wait_with_output().expect("the shell ends");
        read(output)
    }
}

fn outcome(mut command: Command) -> Outcome {
    read(command.output().expect("the shell runs"))
}

fn read(output: std::process::Output) -> Outcome {
    Outcome {
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
        code: output.status.code(),
    }
}

/// A file of the demo, in quotes.
fn demo(file: &str) -> String {
    format!("'{}/demo/{file}'", env!("CARGO_MANIFEST_DIR"))
}
