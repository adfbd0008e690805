//! Panics: a bug, ours or a library's, fails its statement like any other error.
//!
//! The Parquet reader of a corrupt file may panic where it should complain, and a shell must
//! outlive that.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use datafusion::common::exec_datafusion_err;
use datafusion::error::Result;
use futures::FutureExt;

/// The exit code of a process whose reader has gone, as shells count it.
pub(crate) const CLOSED: u8 = 141;

/// How many statements run (more than one for `\i`), whose errors will tell of a panic.
static GUARDED: AtomicUsize = AtomicUsize::new(0);

/// What the first panic of the running statement said, and where.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics from being printed where they become errors.
pub(crate) fn install_hook() {
    let inherited = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or("a panic");
        // `println!` panics when nobody reads any more, and `datafusion-cli` uses it.
        if message.starts_with("failed printing to stdout") {
            std::process::exit(i32::from(CLOSED));
        }
        let guarded = GUARDED.load(Ordering::Relaxed) > 0;
        if guarded {
            first().get_or_insert_with(|| format!("{message}{}", place(info)));
        }
        let wanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "full");
        if wanted || !guarded {
            inherited(info);
        }
    }));
}

/// Runs a statement; a panic becomes its error.
pub(crate) async fn guard<T>(statement: impl Future<Output = Result<T>>) -> Result<T> {
    let running = Running::new();
    let result = AssertUnwindSafe(statement).catch_unwind().await;
    drop(running);
    result.unwrap_or_else(|panic| {
        let message = first().take().unwrap_or_else(|| text_of(panic.as_ref()));
        Err(exec_datafusion_err!(
            "a bug stopped the statement: {message}"
        ))
    })
}

/// Counts a statement, until it has ended or was cancelled.
struct Running;

impl Running {
    fn new() -> Self {
        if GUARDED.fetch_add(1, Ordering::Relaxed) == 0 {
            first().take();
        }
        Self
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        GUARDED.fetch_sub(1, Ordering::Relaxed);
    }
}

fn first() -> std::sync::MutexGuard<'static, Option<String>> {
    FIRST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(String::new, |location| {
        let file = Path::new(location.file()).file_name().unwrap_or_default();
        format!(" ({}:{})", file.display(), location.line())
    })
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic")
        .to_owned()
}
