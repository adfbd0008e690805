//! Ctrl-C and SIGTERM: they cancel what is running, so that nothing of it is left behind.

use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::signal;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

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
}

/// Those that come, of which none is lost while another is heard.
struct Signals {
    #[cfg(unix)]
    interrupts: signal::unix::Signal,
    #[cfg(unix)]
    terminations: signal::unix::Signal,
    #[cfg(windows)]
    interrupts: signal::windows::CtrlC,
}

impl Signals {
    /// From now on.
    fn listen() -> io::Result<Self> {
        Ok(Self {
            #[cfg(unix)]
            interrupts: signal::unix::signal(signal::unix::SignalKind::interrupt())?,
            #[cfg(unix)]
            terminations: signal::unix::signal(signal::unix::SignalKind::terminate())?,
            #[cfg(windows)]
            interrupts: signal::windows::ctrl_c()?,
        })
    }

    async fn next(&mut self) -> Signal {
        #[cfg(unix)]
        tokio::select! {
            Some(()) = self.interrupts.recv() => Signal::Interrupt,
            Some(()) = self.terminations.recv() => Signal::Terminate,
            else => std::future::pending().await,
        }
        #[cfg(windows)]
        match self.interrupts.recv().await {
            Some(()) => Signal::Interrupt,
            None => std::future::pending().await,
        }
    }
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
        let (ready, listening) = mpsc::channel::<()>();
        let terminal = interactive.then(Terminal::now);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            if let Ok(runtime) = runtime {
                runtime.block_on(async {
                    // Where signals cannot be heard, they do what the system has them do.
                    if let Ok(signals) = Signals::listen() {
                        drop(ready);
                        state.hear(signals, terminal).await;
                    }
                });
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

    /// An error after a signal that has put an end to everything.
    pub(crate) fn check(&self) -> Result<(), Stop> {
        match self.0.is_over() {
            true => Err(Stop::Signal(self.0.signal())),
            false => Ok(()),
        }
    }

    /// Runs the work, or says what to do about a signal that is heard meanwhile, or that has put an end to everything.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let state = &self.0;
        let mut heard = pin!(state.heard.notified());
        // Before it is asked whether all is over: a signal is seen there, or told here.
        heard.as_mut().enable();
        self.check()?;
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
    async fn hear(&self, mut signals: Signals, terminal: Option<Terminal>) -> ! {
        loop {
            let first = signals.next().await;
            let turn = *self.turns.borrow();
            let running = turn % 2 == 1;
            self.tell(first);
            let mut turns = self.turns.subscribe();
            let mut ended = pin!(turns.wait_for(|now| *now != turn));
            let (mut heard, mut since, mut stopped) = (vec![first], Instant::now(), !running);
            while !stopped || self.is_over() {
                let patience = match (running, stopped) {
                    (true, false) => PATIENCE,
                    // It waits for a line to be typed, which no signal ends.
                    (false, _) if self.interactive => TIDYING,
                    _ => ENDING,
                };
                tokio::select! {
                    _ = ended.as_mut(), if !stopped => (stopped, since) = (true, Instant::now()),
                    () = tokio::time::sleep_until(since + patience), if self.is_over() => {
                        if stopped {
                            tokio::select! {
                                () = crate::settle() => {}
                                _ = signals.next() => {}
                            }
                        }
                        self.exit(terminal)
                    }
                    again = signals.next() => {
                        // One of the other kind asks for no more haste.
                        if heard.contains(&again) {
                            self.exit(terminal);
                        }
                        self.tell(again);
                        heard.push(again);
                        since = Instant::now();
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

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// At once, whatever runs.
    fn exit(&self, terminal: Option<Terminal>) -> ! {
        if let Some(terminal) = terminal {
            terminal.restore();
        }
        crate::tell_of_lost_jobs();
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
