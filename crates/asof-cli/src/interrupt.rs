//! Ctrl-C: cancels what is running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal;
use tokio::sync::Notify;

/// The exit code of a process that was interrupted, as shells count it.
pub(crate) const EXIT_CODE: u8 = 130;

/// How long an interrupted script may take to stop by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Hears Ctrl-C, on a thread of its own: a busy query cannot keep it from being heard.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    pressed: Arc<Notify>,
    running: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to listen. In a script the process ends when what runs does not stop in time;
    /// in the interactive shell, when Ctrl-C is pressed again before it has stopped.
    pub(crate) fn listen(interactive: bool) -> Self {
        let this = Self {
            pressed: Arc::new(Notify::new()),
            running: Arc::new(AtomicBool::new(false)),
        };
        let (pressed, running) = (Arc::clone(&this.pressed), Arc::clone(&this.running));
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                while signal::ctrl_c().await.is_ok() {
                    if !running.load(Ordering::Relaxed) {
                        continue;
                    }
                    pressed.notify_waiters();
                    tokio::select! {
                        _ = signal::ctrl_c() => {}
                        () = tokio::time::sleep(PATIENCE), if !interactive => {}
                        () = stopped(&running) => continue,
                    }
                    std::process::exit(i32::from(EXIT_CODE));
                }
            });
        });
        this
    }

    /// Runs the work, or gives `None` once Ctrl-C is pressed.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.running.store(true, Ordering::Relaxed);
        let result = tokio::select! {
            biased;
            () = self.pressed.notified() => None,
            result = work => Some(result),
        };
        self.running.store(false, Ordering::Relaxed);
        result
    }
}

async fn stopped(running: &AtomicBool) {
    while running.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
