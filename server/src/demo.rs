//! `whimbrel demo`: three million real flights become Delta tables, transforms and answers.
//!
//! It exists to show the main job to a newcomer in a minute or two. It is a client of its own
//! server and never does what a user could not do: every step is a statement or a call on the port.

mod files;
mod months;
mod recipes;
mod table;

use std::{
    fmt,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use arrow::{array::AsArray, datatypes::Int64Type};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::v1::{Along, ApplyRequest, ChangeKind, Job, JobState, SourceFile, SubmitRequest};

use self::files::{LOOKS, QUESTIONS, SETUP, TRANSFORMS};
use crate::{
    client::{
        ClientError, ConnectOptions, Connection, Outcome, TransportSecurity, grouped, is_success,
        job_failures, render_batches, split, watch_jobs,
    },
    config::Environment,
};

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The flights cannot be put where the server reads them.
    #[error("write '{path}'")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server did not answer as it should.
    #[error("{doing}")]
    Server {
        /// What was asked of it.
        doing: String,
        /// Why.
        #[source]
        source: ClientError,
    },
    /// A transform did not succeed.
    #[error("{}", .0.join("\n"))]
    Failed(Vec<String>),
}

impl DemoError {
    /// What the user can do next.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Server { source, .. } => source.hint(),
            Self::Write { .. } => Some("choose another folder with --data-dir".to_owned()),
            Self::Failed(_) => None,
        }
    }
}

/// Puts the flights and airports where the server may read them; files that are there already stay.
/// Answers the folder.
pub fn write_data(data_dir: &Path) -> Result<PathBuf, DemoError> {
    files::write_data(&data_dir.join("demo"))
}

/// Loads, transforms, lets a month arrive, asks and explains, as a client of the server at `url`.
pub async fn tell(url: &str, data: &Path, environment: &Environment) -> Result<(), DemoError> {
    let began = Instant::now();
    say("");
    let mut connection = connect(url, environment).await?;
    heading("Loading the flights of 2001, month by month");
    load(&mut connection, data).await?;
    for month in &months::AT_FIRST {
        months::load(&mut connection, month).await?;
    }
    heading("Transforming them");
    let (declared, jobs) = transform(&connection).await?;
    let rows_first = show(&mut connection, &jobs).await?;
    let last = &months::AT_LAST;
    heading(&format!("{} arrives", last.name));
    if months::load(&mut connection, last).await? {
        let jobs = refresh(&connection, declared).await?;
        let rows = show(&mut connection, &jobs).await?;
        if rows_first > 0 {
            let (rows, first) = (grouped(rows), grouped(rows_first));
            say(format!("They have read {rows} rows, and the first refreshes {first}."));
        }
    }
    heading("Looking at what came of it");
    ask(&mut connection, &LOOKS).await?;
    heading("Asking questions");
    ask(&mut connection, &QUESTIONS).await?;
    say(format!("All of it took {:.1} s.", began.elapsed().as_secs_f64()));
    heading("Now you");
    say(recipes::recipes(url, environment.program()));
    Ok(())
}

/// The last words before the server just serves.
pub fn say_goodbye(url: &str) {
    say(format!("The server goes on at {url}. Ctrl-C ends it."));
}

async fn connect(url: &str, environment: &Environment) -> Result<Connection, DemoError> {
    let failed = |source| DemoError::Server { doing: format!("connect to {url}"), source };
    let options = ConnectOptions {
        url: url.parse().map_err(failed)?,
        user: None,
        password: environment.password().map(str::to_owned),
        token: None,
        trust: TransportSecurity::System,
        certificate: None,
    };
    Connection::open(options).await.map_err(failed)
}

async fn load(connection: &mut Connection, data: &Path) -> Result<(), DemoError> {
    // Inside a quoted text a quote is doubled, and paths use forward slashes everywhere.
    let folder = data.display().to_string().replace('\\', "/").replace('\'', "''");
    for (_, script) in SETUP {
        let script = script.replace("{data}", &folder);
        for piece in split(&script) {
            let label = label(&piece.sql);
            let step = Step::begin(&label);
            let rows = run(connection, &piece.sql).await;
            step.end(rows.map_err(|source| DemoError::Server { doing: label, source })?);
        }
    }
    Ok(())
}

/// Runs a statement whose rows nobody needs, and answers how many it changed.
async fn run(connection: &mut Connection, sql: &str) -> Result<Option<u64>, ClientError> {
    match connection.run(sql).await? {
        Outcome::Done(count) => Ok(count.and_then(|count| u64::try_from(count).ok())),
        Outcome::Rows(mut rows) => {
            while rows.next().await?.is_some() {}
            Ok(None)
        }
    }
}

/// The number that a query answers.
async fn count(connection: &mut Connection, sql: &str) -> Result<i64, ClientError> {
    let Outcome::Rows(rows) = connection.run(sql).await? else { return Ok(0) };
    let batches = rows.collect().await?;
    let numbers = batches.iter().find(|batch| batch.num_rows() == 1);
    Ok(numbers.map_or(0, |batch| batch.column(0).as_primitive::<Int64Type>().value(0)))
}

/// What could go wrong with a call.
fn failed(doing: &str) -> impl Fn(tonic::Status) -> DemoError {
    let doing = doing.to_owned();
    move |status| DemoError::Server { doing: doing.clone(), source: status.into() }
}

/// Applies the transforms and refreshes all of them, as one graph. Answers their names, and one job
/// for each.
async fn transform(connection: &Connection) -> Result<(Vec<String>, Vec<Job>), DemoError> {
    let files = TRANSFORMS
        .iter()
        .map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() })
        .collect();
    let applied = connection.transforms().apply(ApplyRequest { files }).await;
    let applied = applied.map_err(failed("apply the transforms"))?.into_inner();
    let declared: Vec<String> = applied
        .changes
        .iter()
        .filter(|change| change.kind() != ChangeKind::Removed)
        .map(|change| change.object.clone())
        .collect();
    let changed =
        applied.changes.iter().filter(|change| change.kind() != ChangeKind::Unchanged).count();
    say(format!("  {} transforms declared, {changed} new or changed", declared.len()));

    let mut jobs = applied.jobs;
    let is_queued = |name: &String| jobs.iter().any(|job| job.object == *name);
    if !declared.iter().all(is_queued) {
        for job in submit(connection, declared.clone()).await? {
            if jobs.iter().all(|known| known.id != job.id) {
                jobs.push(job);
            }
        }
    }
    Ok((declared, ended(connection, &jobs).await?))
}

/// Refreshes transforms, as one graph. Answers one job for each.
async fn refresh(connection: &Connection, names: Vec<String>) -> Result<Vec<Job>, DemoError> {
    let jobs = submit(connection, names).await?;
    ended(connection, &jobs).await
}

async fn submit(connection: &Connection, objects: Vec<String>) -> Result<Vec<Job>, DemoError> {
    let request =
        SubmitRequest { objects, along: Along::Upstream.into(), ..SubmitRequest::default() };
    let submitted = connection.jobs().submit(request).await;
    Ok(submitted.map_err(failed("refresh the transforms"))?.into_inner().jobs)
}

/// Follows jobs to their end.
async fn ended(connection: &Connection, jobs: &[Job]) -> Result<Vec<Job>, DemoError> {
    let ended = watch_jobs(connection, jobs).await;
    let failed = |source| DemoError::Server { doing: "follow the refreshes".to_owned(), source };
    Ok(one_per_object(ended.map_err(failed)?))
}

/// Shows what jobs did, and answers how many rows they have read; one that failed ends the demo.
async fn show(connection: &mut Connection, jobs: &[Job]) -> Result<u64, DemoError> {
    let failed = |source| DemoError::Server { doing: "read system.runs".to_owned(), source };
    let how = table::how(connection, jobs).await.map_err(failed)?;
    say(table::rendered(jobs, &how).trim_end());
    summarize(jobs);
    if let Some(told) = table::told_of_strategies(jobs, &how) {
        say(told);
    }
    match job_failures(jobs) {
        failures if failures.is_empty() => Ok(jobs.iter().map(|job| job.rows_read).sum()),
        failures => Err(DemoError::Failed(failures)),
    }
}

/// An object whose definition changed has two jobs: one that computed, and one that found nothing
/// more to do. The first tells the story.
fn one_per_object(jobs: Vec<Job>) -> Vec<Job> {
    let mut kept: Vec<Job> = Vec::new();
    for job in jobs {
        match kept.iter_mut().find(|known| known.object == job.object) {
            None => kept.push(job),
            Some(known)
                if known.state() == JobState::SkippedNoChange || !is_success(job.state()) =>
            {
                *known = job;
            }
            Some(_) => {}
        }
    }
    kept
}

fn summarize(jobs: &[Job]) {
    let skipped = jobs.iter().filter(|job| job.state() == JobState::SkippedNoChange).count();
    if skipped == jobs.len() && skipped > 0 {
        say("Nothing was recomputed: no input has changed since the last run (SKIPPED_NO_CHANGE).");
    } else if skipped > 0 {
        say(format!("{skipped} of {} were up to date and not recomputed.", jobs.len()));
    }
}

async fn ask(connection: &mut Connection, questions: &[(&str, &str)]) -> Result<(), DemoError> {
    for &(name, text) in questions {
        let (question, sql) = question(text);
        let began = Instant::now();
        let failed =
            |source| DemoError::Server { doing: format!("ask the question '{name}'"), source };
        let answer = answer(connection, &sql).await.map_err(failed)?;
        say(format!("{question}\n{}  {} ms\n", answer, began.elapsed().as_millis()));
    }
    Ok(())
}

async fn answer(connection: &mut Connection, sql: &str) -> Result<String, ClientError> {
    match connection.run(sql).await? {
        Outcome::Done(_) => Ok(String::new()),
        Outcome::Rows(rows) => {
            let schema = rows.schema();
            let batches = rows.collect().await?;
            render_batches(&schema, &batches).map_err(ClientError::Format)
        }
    }
}

/// The comment at the top, for people, and the statement.
fn question(text: &str) -> (String, String) {
    let comment: Vec<&str> =
        text.lines().map_while(|line| line.strip_prefix("--")).map(str::trim).collect();
    let sql = split(text).into_iter().next().map(|piece| piece.sql).unwrap_or_default();
    (comment.join(" "), sql)
}

/// The first words of a statement.
fn label(sql: &str) -> String {
    let words = sql
        .lines()
        .filter(|line| !line.trim_start().starts_with("--"))
        .flat_map(str::split_whitespace)
        .filter(|word| !matches!(word.to_ascii_uppercase().as_str(), "IF" | "NOT" | "EXISTS"))
        .take_while(|word| {
            let word = word.to_ascii_uppercase();
            let ends = word.starts_with('(');
            !ends
                && !matches!(
                    word.as_str(),
                    "COMMENT" | "USING" | "AS" | "STORED" | "LOCATION" | "OPTIONS" | "SELECT"
                )
        });
    words.take(6).collect::<Vec<_>>().join(" ")
}

/// One statement that takes a while: a spinner on a terminal, one line when it is done.
struct Step {
    label: String,
    began: Instant,
    spinner: ProgressBar,
}

impl Step {
    fn begin(label: &str) -> Self {
        let target = if io::stdout().is_terminal() {
            ProgressDrawTarget::stdout()
        } else {
            ProgressDrawTarget::hidden()
        };
        let spinner = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg}  {elapsed}") {
            spinner.set_style(style);
        }
        spinner.set_message(label.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        Self { label: label.to_owned(), began: Instant::now(), spinner }
    }

    /// Says that it is done, and how many rows it changed.
    fn end(self, rows: Option<u64>) {
        let result = match rows {
            Some(rows) if rows > 0 => format!("{} rows", grouped(rows)),
            _ => "ok".to_owned(),
        };
        self.spinner.finish_and_clear();
        say(format!(
            "  {:42}  {:>14}  {:6.2} s",
            self.label,
            result,
            self.began.elapsed().as_secs_f64()
        ));
    }
}

fn heading(text: &str) {
    say(format!("\n{text}\n"));
}

/// The one who reads may have gone; the demo goes on.
fn say(text: impl fmt::Display) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
