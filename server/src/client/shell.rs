//! `whimbrel sql` on a terminal: line editing, history, `\` commands.

use std::{
    borrow::Cow,
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use reedline::{
    FileBackedHistory, Prompt, PromptEditMode, PromptHistorySearch, Reedline, Signal,
    ValidationResult, Validator,
};

use super::{
    ClientError, Connection, Format, Output,
    listing::{self, OnlyViews},
    script::{show, time},
    split::{is_complete, split},
};

const HISTORY_MAX: usize = 10_000;
const HELP: &str = r"Statements end with a semicolon and may take several lines.

  \d           tables, views and materialized views
  \d NAME      columns of a table
  \dv          views and materialized views
  \dn          schemas
  \timing      say how long each statement takes, or stop saying it
  \format F    table, csv, json or arrow
  \?           this help
  \q           quit

Ctrl-C cancels what is running or what is being typed, Ctrl-D quits.
";

/// How the shell starts.
#[derive(Debug, Clone)]
pub struct ShellOptions {
    /// How results are written at first.
    pub output: Output,
    /// Whether times are shown at first.
    pub timing: bool,
    /// Where typed statements are kept between sessions; nowhere without it.
    pub history: Option<PathBuf>,
    /// Whether colours are welcome.
    pub color: bool,
}

/// Reads and runs statements until the user leaves.
pub async fn run_shell(
    connection: &mut Connection,
    options: ShellOptions,
) -> Result<(), ClientError> {
    let mut editor = editor(&options)?;
    let prompt = ShellPrompt { server: connection.url().to_string() };
    let mut state = State { output: options.output, timing: options.timing };
    println!("Connected to {}. \\? for help, \\q to leave.", connection.url());
    loop {
        // The editor blocks its thread while the user thinks; the connection stays alive beside it.
        let reading = tokio::task::spawn_blocking({
            let prompt = prompt.clone();
            move || {
                let signal = editor.read_line(&prompt);
                (editor, signal)
            }
        });
        let (back, signal) =
            reading.await.map_err(|error| ClientError::Terminal(io::Error::other(error)))?;
        editor = back;
        match signal.map_err(ClientError::Terminal)? {
            Signal::Success(text) => match answer(connection, &mut state, &text).await {
                Flow::Leave => return Ok(()),
                Flow::Stay => {}
            },
            Signal::CtrlD => return Ok(()),
            // What was typed is gone; that is what was asked for.
            _ => {}
        }
    }
}

struct State {
    output: Output,
    timing: bool,
}

#[derive(PartialEq, Eq)]
enum Flow {
    Stay,
    Leave,
}

async fn answer(connection: &mut Connection, state: &mut State, text: &str) -> Flow {
    let text = text.trim();
    if matches!(text.trim_end_matches(';').to_ascii_lowercase().as_str(), "quit" | "exit" | "\\q") {
        return Flow::Leave;
    }
    let result = match text.strip_prefix('\\') {
        Some(command) => run_command(connection, state, command).await,
        None => run_statements(connection, state, text).await,
    };
    if let Err(error) = result {
        eprintln!("error: {error}");
        if let Some(hint) = error.hint() {
            eprintln!("hint: {hint}");
        }
    }
    Flow::Stay
}

async fn run_statements(
    connection: &mut Connection,
    state: &State,
    text: &str,
) -> Result<(), ClientError> {
    for piece in split(text) {
        let began = Instant::now();
        let mut out = io::stdout();
        let note = cancellable(show(connection, &piece.sql, state.output, &mut out)).await?;
        if let Some(note) = note {
            println!("{note}");
        }
        if state.timing {
            println!("{}", time(began.elapsed()));
        }
    }
    Ok(())
}

async fn run_command(
    connection: &mut Connection,
    state: &mut State,
    command: &str,
) -> Result<(), ClientError> {
    let command = command.trim().trim_end_matches(';');
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let text = match (word, rest.trim()) {
        ("?" | "h" | "help", _) => HELP.to_owned(),
        ("d" | "dt", "") => cancellable(listing::tables(connection, None)).await?,
        ("d", name) => cancellable(listing::columns(connection, name)).await?,
        ("dv", _) => cancellable(listing::tables(connection, Some(OnlyViews))).await?,
        ("dn", _) => cancellable(listing::schemas(connection)).await?,
        ("timing", _) => {
            state.timing = !state.timing;
            format!("Timing is {}.\n", if state.timing { "on" } else { "off" })
        }
        ("format", "") => format!("The format is {}.\n", state.output.format),
        ("format", format) => {
            state.output.format = format.parse::<Format>()?;
            format!("The format is {}.\n", state.output.format)
        }
        (word, _) => {
            return Err(ClientError::Command(format!(
                "there is no \\{word}; \\? lists the commands"
            )));
        }
    };
    let mut out = io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(ClientError::Write)
}

/// The work, unless Ctrl-C comes first; then it is dropped, and with it the call to the server.
async fn cancellable<T>(
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(ClientError::Cancelled),
    }
}

fn editor(options: &ShellOptions) -> Result<Reedline, ClientError> {
    let editor =
        Reedline::create().with_validator(Box::new(UntilSemicolon)).with_ansi_colors(options.color);
    let Some(file) = &options.history else { return Ok(editor) };
    match FileBackedHistory::with_file(HISTORY_MAX, file.clone()) {
        Ok(history) => Ok(editor.with_history(Box::new(history))),
        Err(error) => {
            eprintln!("The history in '{}' cannot be used: {error}", file.display());
            Ok(editor)
        }
    }
}

/// Enter sends what is complete, and begins a new line otherwise.
struct UntilSemicolon;

impl Validator for UntilSemicolon {
    fn validate(&self, text: &str) -> ValidationResult {
        let word = text.trim().to_ascii_lowercase();
        if word.starts_with('\\') || matches!(word.as_str(), "quit" | "exit") || is_complete(text) {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

#[derive(Clone)]
struct ShellPrompt {
    server: String,
}

impl Prompt for ShellPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Borrowed("whimbrel")
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.server)
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("       -> ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}
