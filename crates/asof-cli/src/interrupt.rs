//! Ctrl-C and SIGTERM: they cancel what is running, so that nothing of it is left behind.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::poll;
use tokio::signal;
use tokio::sync::Notify;

use crate::run::Stop;

/// How long what was running may take to stop by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// What asks for an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C: of the statement that runs, or of a script.
    Interrupt,
    /// SIGTERM: of the process.
    Terminate,
}

impl Signal {
    /// The exit code of a process that it ended, as shells count it.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// The next one, or `None` where signals cannot be heard.
    async fn heard() -> Option<Self> {
        tokio::select! {
            pressed = signal::ctrl_c() => pressed.ok().map(|()| Self::Interrupt),
            () = terminated() => Some(Self::Terminate),
        }
    }
}

#[cfg(unix)]
async fn terminated() {
    use signal::unix::{SignalKind, signal};
    if let Ok(mut signals) = signal(SignalKind::terminate())
        && signals.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}

#[cfg(not(unix))]
async fn terminated() {
    std::future::pending().await
}

/// Hears signals, on a thread of its own: a busy query cannot keep them from being heard.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt {
    heard: Arc<Notify>,
    running: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to listen. In a script the process ends when what runs does not stop in time;
    /// in the interactive shell, when Ctrl-C is pressed again before it has stopped.
    pub(crate) fn listen(interactive: bool) -> Self {
        let this = Self {
            heard: Arc::new(Notify::new()),
            running: Arc::new(AtomicBool::new(false)),
            terminated: Arc::new(AtomicBool::new(false)),
        };
        let shared = this.clone();
        let (ready, listening) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(shared.hear(interactive, ready));
            }
        });
        // The line editor puts back the handler that it found: ours must be the older one.
        let _ = listening.recv();
        this
    }

    async fn hear(self, interactive: bool, ready: mpsc::Sender<()>) {
        let mut next = Box::pin(Signal::heard());
        // The first poll installs the handlers; it is ready at once only when it cannot.
        let early = poll!(next.as_mut());
        drop(ready);
        if early.is_ready() {
            return;
        }
        while let Some(signal) = next.as_mut().await {
            next.set(Signal::heard());
            self.note(signal);
            if self.running.load(Ordering::Acquire) {
                self.heard.notify_waiters();
                let mut last = signal;
                let stops = loop {
                    let patient = !interactive || self.signal() == Signal::Terminate;
                    tokio::select! {
                        again = next.as_mut() => {
                            next.set(Signal::heard());
                            match again {
                                // One of the other kind asks for no more haste.
                                Some(again) if again != last => {
                                    self.note(again);
                                    last = again;
                                }
                                _ => break false,
                            }
                        }
                        () = tokio::time::sleep(PATIENCE), if patient => break false,
                        () = stopped(&self.running) => break true,
                    }
                };
                if stops && self.signal() == Signal::Interrupt {
                    continue;
                }
                if stops {
                    // The process ends by itself, unless it was told of Ctrl-C alone.
                    tokio::time::sleep(PATIENCE).await;
                }
            } else if signal == Signal::Terminate {
                // What was cancelled a moment ago may be about to remove its files.
                tokio::time::sleep(PATIENCE / 4).await;
            } else {
                continue;
            }
            std::process::exit(i32::from(self.signal().exit_code()));
        }
    }

    fn note(&self, signal: Signal) {
        if signal == Signal::Terminate {
            self.terminated.store(true, Ordering::Relaxed);
        }
    }

    /// Runs the work, or says what to do about a signal that is heard meanwhile.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let mut heard = pin!(self.heard.notified());
        // Before a signal is taken for one of this work: what is not waited for is not told.
        heard.as_mut().enable();
        self.running.store(true, Ordering::Release);
        let result = tokio::select! {
            biased;
            () = heard => Err(self.signal()),
            result = work => Ok(result),
        };
        self.running.store(false, Ordering::Relaxed);
        result.map_err(Stop::Signal)
    }

    fn signal(&self) -> Signal {
        match self.terminated.load(Ordering::Relaxed) {
            true => Signal::Terminate,
            false => Signal::Interrupt,
        }
    }
}

async fn stopped(running: &AtomicBool) {
    while running.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
