//! Statements one after the other, from an argument, a file or a pipe.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use super::{
    ClientError, Connection, Outcome, Output,
    split::{changes_rows, split},
};

/// How a script is run.
#[derive(Debug, Clone)]
pub struct ScriptOptions {
    /// How results are written.
    pub output: Output,
    /// Say how long each statement took, on standard error.
    pub timing: bool,
    /// Name of the script for error texts; none for a script that is one argument.
    pub name: Option<String>,
}

/// Runs the statements of a script in turn and stops at the first that fails.
///
/// Rows go to `to`; everything that is not data goes to `notes`.
pub async fn run_script(
    connection: &mut Connection,
    script: &str,
    options: &ScriptOptions,
    to: &mut (dyn Write + Send),
    notes: &mut (dyn Write + Send),
) -> Result<(), ScriptError> {
    for piece in split(script) {
        let began = Instant::now();
        let shown = show(connection, &piece.sql, options.output, to).await;
        let summary = shown.map_err(|source| ScriptError {
            at: options.name.as_ref().map(|name| format!("{name}:{}", piece.line)),
            source,
        })?;
        let timing = options.timing.then(|| time(began.elapsed()));
        for note in summary.into_iter().chain(timing) {
            // A reader who does not want our notes is no reason to stop.
            let _ = writeln!(notes, "{note}");
        }
    }
    Ok(())
}

/// A statement of a script that failed.
#[derive(Debug, thiserror::Error)]
#[error("{}{source}", at.as_ref().map(|at| format!("{at}: ")).unwrap_or_default())]
pub struct ScriptError {
    at: Option<String>,
    /// Why.
    pub source: ClientError,
}

/// Runs one statement and writes what it answers. Gives a note for people, when there is one.
pub(super) async fn show(
    connection: &mut Connection,
    sql: &str,
    output: Output,
    to: &mut (dyn Write + Send),
) -> Result<Option<String>, ClientError> {
    match connection.run(sql).await? {
        Outcome::Done(count) => Ok(Some(done(sql, count))),
        Outcome::Rows(mut rows) => {
            let written = output.write(&mut rows, to).await?;
            to.flush().map_err(ClientError::Write)?;
            if written.cut {
                return Ok(Some(format!(
                    "first {} rows; --limit 0 shows all, --format csv or arrow is made for many",
                    written.rows
                )));
            }
            let for_people = output.format == super::Format::Table;
            Ok(for_people.then(|| rows_text(written.rows)))
        }
    }
}

/// `Time: 12 ms`.
pub(super) fn time(took: Duration) -> String {
    if took < Duration::from_secs(10) {
        format!("Time: {} ms", took.as_millis())
    } else {
        format!("Time: {:.1} s", took.as_secs_f64())
    }
}

/// A change of definitions counts no rows, and `0 rows` would read as if nothing had happened.
fn done(sql: &str, count: Option<i64>) -> String {
    match count {
        None => "OK".to_owned(),
        Some(0) if !changes_rows(sql) => "OK".to_owned(),
        Some(1) => "OK, 1 row".to_owned(),
        Some(count) => format!("OK, {count} rows"),
    }
}

fn rows_text(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}
