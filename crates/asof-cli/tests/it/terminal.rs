//! What a terminal shows of a query while it runs.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::openpty;
use nix::sys::termios::tcgetattr;

use crate::Place;
use crate::process::signal;

/// How long a shell may take to say something on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The terminal that a shell has for its standard error.
pub(crate) struct Terminal {
    said: Arc<Mutex<String>>,
    ended: Receiver<()>,
}

impl Terminal {
    pub(crate) fn of(mut command: Command) -> (Child, Self) {
        let ends = openpty(None, None).expect("a terminal");
        let shell = command.stderr(Stdio::from(ends.slave)).spawn();
        let shell = shell.expect("the shell starts");
        // It holds the other end of the terminal.
        drop(command);
        let said = Arc::new(Mutex::new(String::new()));
        let (end, ended) = channel();
        let (mut screen, all) = (File::from(ends.master), Arc::clone(&said));
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            // Where nobody has it any more, reading it is an error.
            while let Ok(read @ 1..) = screen.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..read]);
                all.lock().expect("no panic").push_str(&text);
            }
            drop(end);
        });
        (shell, Self { said, ended })
    }

    fn said(&self) -> String {
        self.said.lock().expect("no panic").clone()
    }

    pub(crate) fn wait_for(&self, text: &str) {
        let since = Instant::now();
        while !self.said().contains(text) {
            assert!(
                since.elapsed() < PATIENCE,
                "no {text:?} in {:?}",
                self.said()
            );
            let ended = self.ended.recv_timeout(Duration::from_millis(20));
            assert_eq!(ended, Err(RecvTimeoutError::Timeout), "{:?}", self.said());
        }
    }

    /// All that was said.
    pub(crate) fn end(self) -> String {
        let ended = self.ended.recv_timeout(PATIENCE);
        assert_eq!(
            ended,
            Err(RecvTimeoutError::Disconnected),
            "the shell has ended"
        );
        self.said()
    }
}

#[test]
fn rows_read_are_told() {
    let place = Place::new();
    let long = "SELECT count(*) FROM generate_series(1, 100000000000)";
    let (mut shell, terminal) = Terminal::of(place.command(["-c", long]));
    terminal.wait_for(" rows read");
    signal(&shell, "-INT");
    assert_eq!(shell.wait().expect("an end").code(), Some(130));
    let said = terminal.end();
    assert!(!said.contains("\r\x1b[K0 rows read"), "{said:?}");
    assert!(said.ends_with("\r\x1b[K"), "the line is gone: {said:?}");
}

#[test]
fn a_quick_query_leaves_a_terminal_alone() {
    let place = Place::new();
    let (mut shell, terminal) = Terminal::of(place.command(["-c", "SELECT 1 AS a"]));
    assert_eq!(shell.wait().expect("an end").code(), Some(0));
    assert_eq!(terminal.end(), "");
}

/// An interactive shell, and the other end of its terminal.
fn interactive(place: &Place) -> (Child, File) {
    let ends = openpty(None, None).expect("a terminal");
    let input = ends.slave.try_clone().expect("the same terminal");
    let mut command = place.command(["-q"]);
    command.stdin(Stdio::from(input)).env("TERM", "xterm");
    command.stdout(Stdio::from(ends.slave));
    let was = tcgetattr(&ends.master).expect("its state");
    let shell = command.spawn().expect("the shell starts");
    let since = Instant::now();
    while tcgetattr(&ends.master).expect("its state") == was {
        assert!(since.elapsed() < PATIENCE, "no line is edited");
        std::thread::sleep(Duration::from_millis(20));
    }
    (shell, File::from(ends.master))
}

#[test]
fn a_terminal_is_left_as_it_was() {
    let place = Place::new();
    let was = openpty(None, None).expect("a terminal");
    let was = tcgetattr(&was.master).expect("its state");
    let (mut shell, terminal) = interactive(&place);
    signal(&shell, "-TERM");
    assert_eq!(shell.wait().expect("an end").code(), Some(143));
    assert_eq!(tcgetattr(&terminal).expect("its state"), was);
}

#[test]
fn of_two_signals_at_once_none_is_lost() {
    let place = Place::new();
    for _ in 0..4 {
        let (mut shell, mut terminal) = interactive(&place);
        let long = "SELECT count(*) FROM generate_series(1, 100000000000);";
        write!(terminal, "{long}\r").expect("what is typed");
        std::thread::sleep(Duration::from_millis(500));
        for name in ["-STOP", "-INT", "-TERM", "-CONT"] {
            signal(&shell, name);
        }
        assert_eq!(shell.wait().expect("an end").code(), Some(143));
    }
}
