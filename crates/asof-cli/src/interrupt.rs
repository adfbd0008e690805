//! Ctrl-C: cancels what is running.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::poll;
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
        let (ready, listening) = mpsc::channel::<()>();
        std::thread::spawn(move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
            else {
                return;
            };
            runtime.block_on(async {
                let mut press = Box::pin(signal::ctrl_c());
                // The first poll installs the handler; it is ready at once only when it cannot.
                let early = poll!(press.as_mut());
                drop(ready);
                if early.is_ready() {
                    return;
                }
                while press.as_mut().await.is_ok() {
                    press.set(signal::ctrl_c());
                    if !running.load(Ordering::Relaxed) {
                        continue;
                    }
                    pressed.notify_waiters();
                    tokio::select! {
                        _ = press.as_mut() => {}
                        () = tokio::time::sleep(PATIENCE), if !interactive => {}
                        () = stopped(&running) => continue,
                    }
                    std::process::exit(i32::from(EXIT_CODE));
                }
            });
        });
        // The line editor puts back the handler that it found: ours must be the older one.
        let _ = listening.recv();
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
