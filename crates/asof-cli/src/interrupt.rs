//! Ctrl-C and SIGTERM: they cancel what is running, so that nothing of it is left behind.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use futures::poll;
use tokio::signal;
use tokio::sync::{Notify, watch};

use crate::run::Stop;
use crate::terminal::Terminal;

/// How long what was running may take to stop by itself.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long what was cancelled a moment ago may take to remove its files.
const TIDYING: Duration = Duration::from_millis(500);
/// How long the process may take to end when nothing runs any more: more than it waits for anything.
const ENDING: Duration = Duration::from_secs(10);

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
pub(crate) struct Interrupt(Arc<State>);

#[derive(Debug)]
struct State {
    interactive: bool,
    heard: Notify,
    terminated: AtomicBool,
    /// Whether nothing more is to run.
    over: AtomicBool,
    /// How often work has begun or ended: odd while some runs.
    turns: watch::Sender<u64>,
}

impl Interrupt {
    /// Starts to listen. After a signal to a script nothing more of it runs, and the process ends when what runs
    /// does not stop in time; in the interactive shell, when Ctrl-C is pressed again before it has stopped.
    pub(crate) fn listen(interactive: bool) -> Self {
        let this = Self::new(interactive);
        let state = Arc::clone(&this.0);
        let (ready, listening) = mpsc::channel();
        let terminal = Terminal::now();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(state.hear(ready, &terminal));
            }
        });
        // The line editor puts back the handler that it found: ours must be the older one.
        let _ = listening.recv();
        this
    }

    fn new(interactive: bool) -> Self {
        Self(Arc::new(State {
            interactive,
            heard: Notify::new(),
            terminated: AtomicBool::new(false),
            over: AtomicBool::new(false),
            turns: watch::Sender::new(0),
        }))
    }

    /// Runs the work, or says what to do about a signal that is heard meanwhile, or that has put an end to everything.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let state = &self.0;
        let mut heard = pin!(state.heard.notified());
        // Before it is asked whether all is over: a signal is seen there, or told here.
        heard.as_mut().enable();
        if state.over.load(Ordering::SeqCst) {
            return Err(Stop::Signal(state.signal()));
        }
        state.turns.send_modify(|turn| *turn += 1);
        let result = tokio::select! {
            biased;
            () = heard => Err(Stop::Signal(state.signal())),
            result = work => Ok(result),
        };
        state.turns.send_modify(|turn| *turn += 1);
        result
    }
}

impl State {
    async fn hear(&self, ready: mpsc::Sender<()>, terminal: &Terminal) {
        let mut next = Box::pin(Signal::heard());
        // The first poll installs the handlers; it is ready at once only when it cannot.
        let early = poll!(next.as_mut());
        drop(ready);
        if early.is_ready() {
            return;
        }
        while let Some(mut last) = next.as_mut().await {
            next.set(Signal::heard());
            let turn = *self.turns.borrow();
            let running = turn % 2 == 1;
            self.tell(last);
            let mut turns = self.turns.subscribe();
            let mut ended = pin!(turns.wait_for(|now| *now != turn));
            let mut stopped = !running;
            loop {
                let over = self.over.load(Ordering::SeqCst);
                if stopped && !over {
                    break;
                }
                let patience = match (running, stopped) {
                    (true, false) => PATIENCE,
                    // It waits for a line to be typed, which no signal ends.
                    (false, _) if self.interactive => TIDYING,
                    _ => ENDING,
                };
                tokio::select! {
                    _ = ended.as_mut(), if !stopped => stopped = true,
                    () = tokio::time::sleep(patience), if over => self.exit(terminal),
                    again = next.as_mut() => {
                        next.set(Signal::heard());
                        match again {
                            // One of the other kind asks for no more haste.
                            Some(again) if again != last => {
                                self.tell(again);
                                last = again;
                            }
                            _ => self.exit(terminal),
                        }
                    }
                }
            }
        }
    }

    /// Tells what runs of a signal.
    fn tell(&self, signal: Signal) {
        if signal == Signal::Terminate {
            self.terminated.store(true, Ordering::Relaxed);
        }
        if signal == Signal::Terminate || !self.interactive {
            self.over.store(true, Ordering::SeqCst);
        }
        self.heard.notify_waiters();
    }

    fn signal(&self) -> Signal {
        match self.terminated.load(Ordering::Relaxed) {
            true => Signal::Terminate,
            false => Signal::Interrupt,
        }
    }

    fn exit(&self, terminal: &Terminal) -> ! {
        terminal.restore();
        std::process::exit(i32::from(self.signal().exit_code()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn after_a_signal_nothing_more_of_a_script_runs() {
        for signal in [Signal::Interrupt, Signal::Terminate] {
            let script = Interrupt::new(false);
            assert_eq!(script.guard(ready(1)).await, Ok(1));
            script.0.tell(signal);
            for _ in 0..2 {
                assert_eq!(script.guard(ready(1)).await, Err(Stop::Signal(signal)));
            }
        }
    }

    #[tokio::test]
    async fn a_prompt_goes_on_after_ctrl_c_and_ends_by_sigterm() {
        let prompt = Interrupt::new(true);
        prompt.0.tell(Signal::Interrupt);
        assert_eq!(prompt.guard(ready(1)).await, Ok(1));
        let pressed = async {
            tokio::task::yield_now().await;
            prompt.0.tell(Signal::Interrupt);
        };
        let (cancelled, ()) = tokio::join!(prompt.guard(pending::<()>()), pressed);
        assert_eq!(cancelled, Err(Stop::Signal(Signal::Interrupt)));
        assert_eq!(prompt.guard(ready(1)).await, Ok(1));
        prompt.0.tell(Signal::Terminate);
        let ended = prompt.guard(ready(1)).await;
        assert_eq!(ended, Err(Stop::Signal(Signal::Terminate)));
    }
}
