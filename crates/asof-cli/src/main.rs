//! `asof`: a SQL shell for Apache DataFusion that knows `ASOF JOIN`.
//!
//! Printing, object stores and most backslash commands are `datafusion-cli`'s, used as a library.
//! What is here, in reading order:
//!
//! * [`args`] reads the flags.
//! * [`session`] sets up DataFusion, with as-of joins and files as tables.
//! * [`cluster`] has its queries run by others; [`progress`] and [`rows_read`] show how far they are.
//! * [`publish`] lets files appear only when the statement that writes them has succeeded.
//! * [`split`] cuts a script into statements and commands, each with its place in the text.
//! * [`run`] runs them, and tells errors with their place.
//! * [`bug`] turns a panic into an error.
//! * [`command`] knows the backslash commands.
//! * [`interrupt`] hears Ctrl-C and SIGTERM; [`advice`] says what to do about some errors.
//! * [`prompt`] and [`repl`] are the interactive shell, [`terminal`] is how it leaves the terminal.

mod advice;
mod args;
mod bug;
mod cluster;
mod command;
mod interrupt;
mod progress;
mod prompt;
mod publish;
mod repl;
mod rows_read;
mod run;
mod session;
mod split;
mod terminal;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use mimalloc::MiMalloc;

use args::Args;
use interrupt::Signal;
use run::{Flow, Shell, Stop};

#[global_allocator]
static GLOBAL: MiMalloc = MiMalloc;

/// How long stopped queries get to remove their temporary files before the process ends.
const GRACE: Duration = Duration::from_secs(1);

/// How long a scheduler gets to give up queries: it does so when it has planned them.
#[cfg(feature = "cluster")]
const CANCELLED: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    bug::install_hook();
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return run::fail(format_args!("cannot start: {error}")).into(),
    };
    let flow = runtime.block_on(async {
        let flow = dispatch(args).await;
        tokio::select! {
            () = settle() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        tell_of_lost_jobs();
        flow
    });
    runtime.shutdown_timeout(GRACE);
    match flow {
        Ok(()) | Err(Stop::Quit) => ExitCode::SUCCESS,
        Err(stop) => stop.into(),
    }
}

/// Waits until nothing is left of what was stopped, but not for ever.
async fn settle() {
    publish::settled(GRACE).await;
    #[cfg(feature = "cluster")]
    asof_ballista::settled(CANCELLED).await;
}

/// Says what may be left all the same, once.
fn tell_of_lost_jobs() {
    #[cfg(feature = "cluster")]
    if !asof_ballista::is_settled() {
        use std::io::Write;
        static TOLD: std::sync::Once = std::sync::Once::new();
        // With nobody to tell it to, there is nothing more to do.
        TOLD.call_once(|| {
            let _ = writeln!(
                io::stderr(),
                "a query that was stopped may still run on the cluster: its scheduler has not given it up"
            );
        });
    }
}

/// Files first, then commands, as `datafusion-cli` does; the shell, or standard input, without either.
async fn dispatch(args: Args) -> Flow {
    if let Some(directory) = &args.data_path
        && let Err(error) = std::env::set_current_dir(directory)
    {
        return Err(run::fail(format_args!(
            "cannot enter the directory '{directory}': {error}"
        )));
    }
    // Unreadable files are told before anything has run.
    let mut scripts = Vec::with_capacity(args.file.len());
    for file in &args.file {
        scripts.push((file, run::read_script(Path::new(file))?));
    }
    let terminal = io::stdin().is_terminal();
    let interactive = args.is_shell() && terminal;
    let print = args.print_options();
    let session = session::build(&args, Arc::clone(&print.instrumented_registry))
        .await
        .map_err(|error| run::fail(error.strip_backtrace()))?;
    let mut shell = Shell::new(session, print, interactive);
    for (file, text) in scripts {
        shell.run_script(&text, Path::new(file)).await?;
    }
    for text in &args.command {
        shell.run_text(text, 1).await?;
    }
    if !args.is_shell() {
        return Ok(());
    }
    for rc in startup_files(args.rc.as_deref()) {
        let text = run::read_script(&rc)?;
        match shell.run_script(&text, &rc).await {
            Err(Stop::Failed | Stop::Signal(Signal::Interrupt)) if interactive => {}
            flow => flow?,
        }
    }
    if interactive {
        repl::run(&mut shell, args.color, args.quiet).await
    } else {
        shell.run_stdin().await
    }
}

/// The files of `-r`, else `~/.asofrc` when there is one.
fn startup_files(rc: Option<&[String]>) -> Vec<PathBuf> {
    match rc {
        Some(files) => files.iter().map(PathBuf::from).collect(),
        None => std::env::home_dir()
            .map(|home| home.join(".asofrc"))
            .filter(|rc| rc.is_file())
            .into_iter()
            .collect(),
    }
}
