//! Running scripts: statements one by one, errors with their place, stopping at the first.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use datafusion::config::Dialect;
use datafusion::error::{DataFusionError, Result};
use datafusion_asof::{AsOfSql, rewrite_sql};
use datafusion_cli::exec::exec_from_commands;
use datafusion_cli::print_format::PrintFormat;
use datafusion_cli::print_options::{MaxRows, PrintOptions};

use crate::advice;
use crate::bug;
use crate::command;
use crate::interrupt::{Interrupt, Signal};
use crate::session::Session;
use crate::split::{self, Item, Script, Statement};

/// Why nothing more is run. What there was to say has been said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// A statement failed.
    Failed,
    /// Ctrl-C, or SIGTERM.
    Signal(Signal),
    /// Whoever read our output has gone.
    Closed,
    /// `\q`.
    Quit,
}

/// Go on, or stop.
pub(crate) type Flow = Result<(), Stop>;

impl From<Stop> for ExitCode {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Failed => Self::FAILURE,
            Stop::Signal(signal) => Self::from(signal.exit_code()),
            Stop::Closed => Self::from(bug::CLOSED),
            Stop::Quit => Self::SUCCESS,
        }
    }
}

/// A session and how its results are shown.
pub(crate) struct Shell {
    /// Where statements run.
    pub(crate) session: Session,
    /// The flags about printing, as commands may have changed them.
    pub(crate) print: PrintOptions,
    /// `\timing`: whether to print what a statement took; unset, it is printed unless quiet.
    pub(crate) timing: Option<bool>,
    /// How many `\i` deep we are.
    pub(crate) depth: usize,
    interrupt: Interrupt,
}

impl Shell {
    pub(crate) fn new(session: Session, print: PrintOptions, interactive: bool) -> Self {
        Self {
            session,
            print,
            timing: None,
            depth: 0,
            interrupt: Interrupt::listen(interactive),
        }
    }

    /// Nothing more is to run after a signal that has put an end to everything.
    pub(crate) fn check(&self) -> Flow {
        self.interrupt.check()
    }

    /// The dialect that SQL is read in.
    pub(crate) fn dialect(&self) -> Dialect {
        let state = self.session.ctx.state_ref();
        let state = state.read();
        state.config_options().sql_parser.dialect
    }

    /// Runs a script; Ctrl-C stops it. `first_line` is the number of its first line.
    pub(crate) async fn run_text(&mut self, text: &str, first_line: usize) -> Flow {
        self.guarded(text, first_line, None).await
    }

    /// Runs a script that was read from a file, which errors name.
    pub(crate) async fn run_script(&mut self, text: &str, file: &Path) -> Flow {
        self.guarded(text, 1, Some(file)).await
    }

    /// Runs what is piped in, each statement as soon as it is there.
    pub(crate) async fn run_stdin(&mut self) -> Flow {
        let (mut text, mut first_line, mut line) = (String::new(), 1, 1);
        loop {
            // Reading blocks, so it is done where Ctrl-C need not wait for it.
            let reading = tokio::task::spawn_blocking(|| {
                let mut line = String::new();
                io::stdin().read_line(&mut line).map(|_| line)
            });
            let read = match self.interrupt.guard(reading).await? {
                Ok(Ok(read)) => read,
                Ok(Err(error)) => {
                    return Err(fail(format_args!("cannot read standard input: {error}")));
                }
                Err(error) => return Err(fail(error)),
            };
            line += 1;
            text.push_str(&read);
            let at_end = read.is_empty();
            // Only such a line can end a statement: most need no second look.
            let may_end = read.trim_end().ends_with(';') || text.trim_start().starts_with('\\');
            if at_end || may_end && split::is_complete(&text, self.dialect()) {
                self.run_text(&text, first_line).await?;
                text.clear();
                first_line = line;
            }
            if at_end {
                return Ok(());
            }
        }
    }

    async fn guarded(&mut self, text: &str, first_line: usize, file: Option<&Path>) -> Flow {
        // A copy: the work borrows the shell.
        let interrupt = self.interrupt.clone();
        self.depth = 0;
        // On the heap: everything that a statement needs hangs on this future.
        interrupt
            .guard(Box::pin(self.run_items(text, first_line, file)))
            .await?
    }

    /// Runs a script that is part of something that Ctrl-C stops already.
    pub(crate) async fn run_items(
        &mut self,
        text: &str,
        first_line: usize,
        file: Option<&Path>,
    ) -> Flow {
        let mut script = Script::new(text, first_line);
        while let Some(item) = script.next(self.dialect()) {
            // Statements that never wait for anything leave no other moment for a signal.
            tokio::task::yield_now().await;
            self.check()?;
            match bug::guard(self.run_item(&item)).await {
                Ok(flow) => flow?,
                Err(error) => return Err(report(&error, file)),
            }
        }
        Ok(())
    }

    async fn run_item(&mut self, item: &Item<'_>) -> Result<Flow> {
        match item {
            Item::Statement(statement) => self.run_statement(statement).await.map(Ok),
            Item::Command(text) => command::run(self, text).await,
        }
    }

    async fn run_statement(&mut self, statement: &Statement<'_>) -> Result<()> {
        let start = Instant::now();
        let result = match rewrite_sql(statement.text, self.dialect()) {
            Ok(sql) => self.execute(sql.into_owned()).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            return Err(self.with_place(statement, error).await);
        }
        if self.print.quiet && self.timing == Some(true) {
            let seconds = start.elapsed().as_secs_f64();
            writeln!(io::stdout(), "Elapsed {seconds:.3} seconds.\n")?;
        }
        Ok(())
    }

    /// Executes and prints one statement that DataFusion's own parser understands.
    pub(crate) async fn execute(&self, sql: String) -> Result<()> {
        exec_from_commands(&self.session, vec![sql], &self.print_options()).await
    }

    /// The same error with its position in the script, when it has one.
    ///
    /// The statement is planned once more, as the user wrote it and where it stands. That way
    /// statements that succeed are planned once, and what is executed has nothing to do with places.
    async fn with_place(
        &self,
        statement: &Statement<'_>,
        error: DataFusionError,
    ) -> DataFusionError {
        if !is_planning_error(&error) {
            return error;
        }
        match self.session.ctx.asof_plan(&statement.in_place()).await {
            Err(placed) => placed,
            Ok(_) => error,
        }
    }

    fn print_options(&self) -> PrintOptions {
        let mut print = self.print.clone();
        print.quiet |= self.timing == Some(false);
        // `maxrows` is for people: as data, a result is whole.
        if !matches!(print.format, PrintFormat::Table | PrintFormat::Automatic) {
            print.maxrows = MaxRows::Unlimited;
        }
        print
    }
}

/// Whether planning the statement again would fail in the same way, without waiting for a network.
fn is_planning_error(error: &DataFusionError) -> bool {
    matches!(
        error.find_root(),
        DataFusionError::SQL(..)
            | DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::Diagnostic(..)
            | DataFusionError::Collection(_)
    )
}

/// Whether the error is that nobody reads our output any more.
fn is_closed_stdout(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::IoError(error) => error.kind() == io::ErrorKind::BrokenPipe,
        DataFusionError::ArrowError(error, _) => error.to_string().contains("Broken pipe"),
        _ => false,
    }
}

/// The script in a file.
pub(crate) fn read_script(file: &Path) -> Result<String, Stop> {
    let path = file.display();
    let bytes =
        std::fs::read(file).map_err(|error| fail(format_args!("cannot read '{path}': {error}")))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| fail(format_args!("cannot read '{path}': it is not UTF-8 text")))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    // A first line for the operating system (`#!`) is not SQL; its end keeps the line count.
    Ok(match text.strip_prefix("#!") {
        Some(rest) => rest[rest.find('\n').unwrap_or(rest.len())..].to_owned(),
        None => text.to_owned(),
    })
}

/// Tells an error of a statement, and what to do about it: stop.
fn report(error: &DataFusionError, file: Option<&Path>) -> Stop {
    if is_closed_stdout(error) {
        return Stop::Closed;
    }
    let mut message = error.strip_backtrace();
    if let Some(advice) = advice::on(&message) {
        message = format!("{message}\n  {advice}");
    }
    match file {
        Some(file) => fail(format_args!("{message}\n  in '{}'", file.display())),
        None => fail(message),
    }
}

/// Tells an error.
pub(crate) fn fail(message: impl Display) -> Stop {
    // With nobody to tell it to, the exit code still says it.
    let _ = writeln!(io::stderr(), "Error: {message}");
    Stop::Failed
}
