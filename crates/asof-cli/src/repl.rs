//! The interactive loop: read a statement, run it, go on whatever happens.

use std::io::{self, Write};
use std::path::Path;

use rustyline::config::Configurer;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{CompletionType, Config, Editor};

use crate::args::VERSION;
use crate::interrupt::Signal;
use crate::prompt::Prompt;
use crate::run::{Flow, Shell, Stop, fail};

/// The file in the user's home that remembers what was typed.
const HISTORY: &str = ".asof_history";

/// Tables whose columns are completed; more would make every prompt wait.
const MAX_COMPLETED_TABLES: usize = 100;

/// Reads and runs statements until the user leaves.
pub(crate) async fn run(shell: &mut Shell, color: bool, quiet: bool) -> Flow {
    let mut editor = editor(shell, color)
        .map_err(|error| fail(format_args!("cannot use the terminal: {error}")))?;
    let history = std::env::home_dir().map(|home| home.join(HISTORY));
    if let Some(history) = &history {
        // There is none the first time.
        let _ = editor.load_history(history);
    }
    if !quiet {
        say(&format!("asof {}", *VERSION))?;
    }
    read_and_run(shell, &mut editor, history.as_deref()).await
}

fn editor(shell: &Shell, color: bool) -> rustyline::Result<Editor<Prompt, DefaultHistory>> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_max_history_size(10_000)?;
    editor.set_helper(Some(Prompt::new(shell.dialect(), color)));
    Ok(editor)
}

async fn read_and_run(
    shell: &mut Shell,
    editor: &mut Editor<Prompt, DefaultHistory>,
    history: Option<&Path>,
) -> Flow {
    loop {
        shell.check()?;
        if let Some(prompt) = editor.helper_mut() {
            prompt.reset_hint();
            prompt.refresh(shell.dialect(), names(shell).await);
        }
        let text = match editor.readline("asof> ") {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Err(Stop::Quit),
            Err(error) => {
                return Err(fail(format_args!("cannot read the terminal: {error}")));
            }
        };
        if text.trim().is_empty() {
            continue;
        }
        // What cannot be remembered can still be run.
        let _ = editor.add_history_entry(text.trim_end());
        if let Some(history) = history {
            let _ = editor.append_history(history);
        }
        match shell.run_text(&text, 1).await {
            Ok(()) | Err(Stop::Failed) => {}
            Err(Stop::Signal(Signal::Interrupt)) => say("\nCancelled.")?,
            Err(stop) => return Err(stop),
        }
    }
}

/// The names that SQL may use now: tables and their columns, and functions.
async fn names(shell: &Shell) -> Vec<String> {
    let state = shell.session.ctx.state();
    let mut names: Vec<String> = state
        .scalar_functions()
        .keys()
        .chain(state.aggregate_functions().keys())
        .chain(state.window_functions().keys())
        .cloned()
        .collect();
    let defaults = &state.config_options().catalog;
    let schema = state
        .catalog_list()
        .catalog(&defaults.default_catalog)
        .and_then(|catalog| catalog.schema(&defaults.default_schema));
    if let Some(schema) = schema {
        let tables = schema.table_names();
        for table in tables.iter().take(MAX_COMPLETED_TABLES) {
            if let Ok(Some(table)) = schema.table(table).await {
                let fields = table.schema();
                names.extend(fields.fields().iter().map(|field| field.name().clone()));
            }
        }
        names.extend(tables);
    }
    names
}

fn say(text: &str) -> Flow {
    writeln!(io::stdout(), "{text}").map_err(|_| Stop::Closed)
}
