//! How far a query is: one line on a terminal, gone before there is anything else to see.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Goes to the beginning of the line and clears it.
const CLEAR: &str = "\r\x1b[K";

/// Whether anybody would see it.
pub(crate) fn is_seen() -> bool {
    io::stderr().is_terminal()
}

/// A line of standard error that is written over and over.
#[derive(Debug, Default)]
pub(crate) struct ProgressLine {
    shown: AtomicBool,
}

impl ProgressLine {
    /// Shows how far the query is, or nothing any more.
    pub(crate) fn show(&self, progress: Option<impl Display>) {
        let was_shown = self.shown.swap(progress.is_some(), Ordering::Relaxed);
        let mut terminal = io::stderr();
        // A terminal that has gone has nobody before it.
        let _ = match progress {
            Some(progress) => write!(terminal, "{CLEAR}{progress}"),
            None if was_shown => write!(terminal, "{CLEAR}"),
            None => Ok(()),
        };
    }
}
