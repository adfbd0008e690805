//! The terminal of an interactive shell, as it was when the shell began.
//!
//! While a line is edited, the terminal gives keys as they are pressed and does not show them. The editor puts it
//! back when the line is there: not when a signal ends the process before.

#[cfg(unix)]
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// How standard input's terminal was.
#[derive(Debug)]
pub(crate) struct Terminal {
    #[cfg(unix)]
    was: Option<Termios>,
}

impl Terminal {
    /// As it is now. Nothing where standard input is none.
    pub(crate) fn now() -> Self {
        Self {
            #[cfg(unix)]
            was: tcgetattr(std::io::stdin()).ok(),
        }
    }

    /// Puts it back.
    pub(crate) fn restore(&self) {
        #[cfg(unix)]
        if let Some(was) = &self.was {
            // It may be another's by now, and who changes that is stopped.
            let others = nix::unistd::tcgetpgrp(std::io::stdin())
                .is_ok_and(|group| group != nix::unistd::getpgrp());
            if !others {
                // Of a terminal that has gone there is nothing to put back.
                let _ = tcsetattr(std::io::stdin(), SetArg::TCSANOW, was);
            }
        }
    }
}
