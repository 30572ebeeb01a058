//! Jobs while they run: bars on a terminal, lines where the output is piped.

use std::{
    collections::BTreeMap,
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use proto::v1::{Job, JobState, WatchRequest};

use super::{ClientError, Connection, TextTable};

/// How often a running job gets a line where there are no bars.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// Follows jobs until all of them have ended or wait for a person, shows how they get on, and answers
/// where they stand then, in the order of `jobs`.
pub async fn watch_jobs(connection: &Connection, jobs: &[Job]) -> Result<Vec<Job>, ClientError> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let mut progress = Progress::start(jobs);
    let request = WatchRequest { job_ids: jobs.iter().map(|job| job.id.clone()).collect() };
    let mut updates = connection.jobs().watch(request).await?.into_inner();
    let mut newest: BTreeMap<String, Job> =
        jobs.iter().map(|job| (job.id.clone(), job.clone())).collect();
    while let Some(update) = updates.message().await? {
        for job in update.jobs {
            progress.update(&job);
            newest.insert(job.id.clone(), job);
        }
    }
    progress.end();
    let ended: Vec<Job> = jobs.iter().filter_map(|job| newest.remove(&job.id)).collect();
    match ended.iter().find(|job| is_under_way(job.state())) {
        Some(job) => Err(ClientError::Answer(format!(
            "the server stopped reporting job {} before its end",
            job.id
        ))),
        None => Ok(ended),
    }
}

/// The jobs as one table: what each read and wrote, how long it took, what came of it.
#[must_use]
pub fn job_table(jobs: &[Job]) -> String {
    let mut table = TextTable::new(&[
        "transform",
        ">rows read",
        ">rows written",
        ">seconds",
        ">rows/s",
        ">version",
        "state",
    ]);
    for job in jobs {
        let computed = job.state() == JobState::Succeeded;
        let figure = |n: u64| if computed { grouped(n) } else { "–".to_owned() };
        let seconds = job_seconds(job).filter(|_| computed);
        let speed =
            seconds.filter(|seconds| *seconds > 0.0).map(|s| (job.rows_read as f64 / s) as u64);
        table.push(vec![
            job.object.clone(),
            figure(job.rows_read),
            figure(job.rows_written),
            seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.2}")),
            speed.map_or_else(|| "–".to_owned(), grouped),
            job.output_version.map_or_else(|| "–".to_owned(), |version| version.to_string()),
            state_word(job.state()).to_owned(),
        ]);
    }
    table.render()
}

/// What went wrong, one paragraph for each job that did not succeed.
#[must_use]
pub fn job_failures(jobs: &[Job]) -> Vec<String> {
    jobs.iter()
        .filter(|job| !is_success(job.state()))
        .map(|job| {
            let why = match job.state() {
                JobState::AwaitingApproval => asks(job),
                JobState::Queued => "it waits for a job that waits for approval".to_owned(),
                _ => job.error.clone().unwrap_or_else(|| "no reason was given".to_owned()),
            };
            format!("{} is {}: {why}", job.object, state_word(job.state()))
        })
        .collect()
}

/// Whether the result is there.
#[must_use]
pub fn is_success(state: JobState) -> bool {
    matches!(state, JobState::Succeeded | JobState::SkippedNoChange)
}

/// What somebody can do about a job that waits for approval.
fn asks(job: &Job) -> String {
    let (reason, id) = (job.reason.as_deref().unwrap_or("only a full refresh is left"), &job.id);
    format!("{reason}; APPROVE JOB '{id}' lets it go on, CANCEL JOB '{id}' ends it")
}

fn is_under_way(state: JobState) -> bool {
    matches!(state, JobState::Planning | JobState::Running | JobState::Committing)
}

fn is_final(state: JobState) -> bool {
    is_success(state)
        || matches!(state, JobState::Failed | JobState::Cancelled | JobState::UpstreamFailed)
}

/// The state as SQL shows it.
#[must_use]
pub fn state_word(state: JobState) -> &'static str {
    state.as_str_name().trim_start_matches("JOB_STATE_")
}

/// Seconds between the first attempt and the end.
#[must_use]
pub fn job_seconds(job: &Job) -> Option<f64> {
    let micros = job.finished_at_us?.checked_sub(job.started_at_us?)?;
    Some(micros.max(0) as f64 / 1e6)
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

enum Progress {
    Bars(BTreeMap<String, ProgressBar>),
    Lines(BTreeMap<String, Line>),
}

struct Line {
    state: Option<JobState>,
    shown_at: Instant,
}

impl Progress {
    fn start(jobs: &[Job]) -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::Lines(BTreeMap::new());
        }
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
        let width = jobs.iter().map(|job| job.object.len()).max().unwrap_or(0);
        let bars = jobs
            .iter()
            .map(|job| {
                let bar = bars.add(ProgressBar::new(0));
                bar.set_style(style());
                bar.set_prefix(format!("{:width$}", job.object));
                bar.enable_steady_tick(Duration::from_millis(120));
                (job.id.clone(), bar)
            })
            .collect();
        Self::Bars(bars)
    }

    fn update(&mut self, job: &Job) {
        match self {
            Self::Bars(bars) => {
                let Some(bar) = bars.get(&job.id) else { return };
                bar.set_length(job.rows_read_expected.max(job.rows_read).max(1));
                bar.set_position(job.rows_read);
                if !is_final(job.state()) {
                    bar.set_message(describe(job));
                } else if !bar.is_finished() {
                    if is_success(job.state()) {
                        bar.set_length(job.rows_read.max(1));
                        bar.set_position(job.rows_read.max(1));
                    }
                    bar.finish_with_message(describe(job));
                }
            }
            Self::Lines(lines) => {
                let state = Some(job.state());
                let due = match lines.get(&job.id) {
                    None => true,
                    Some(line) => line.state != state || line.shown_at.elapsed() >= LINE_EVERY,
                };
                if due {
                    lines.insert(job.id.clone(), Line { state, shown_at: Instant::now() });
                    // The one who reads our lines may have gone; the jobs go on.
                    let _ = writeln!(std::io::stdout(), "  {}  {}", job.object, describe(job));
                }
            }
        }
    }

    fn end(&self) {
        if let Self::Bars(bars) = self {
            for bar in bars.values().filter(|bar| !bar.is_finished()) {
                bar.abandon();
            }
        }
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("  {prefix}  {bar:28.cyan/dim}  {msg}")
        .map(|style| style.progress_chars("━━─"))
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn describe(job: &Job) -> String {
    let word = state_word(job.state());
    match job.state() {
        JobState::Running | JobState::Committing => {
            let read = match job.rows_read_expected {
                0 => format!("{} rows read", grouped(job.rows_read)),
                all => format!(
                    "{} of {} rows read",
                    grouped(job.rows_read),
                    grouped(all.max(job.rows_read))
                ),
            };
            format!("{word}  {read}, {} written", grouped(job.rows_written))
        }
        JobState::Succeeded => {
            let version = job.output_version.map(|v| format!(", version {v}")).unwrap_or_default();
            let took = job_seconds(job).map(|s| format!(" in {s:.2} s")).unwrap_or_default();
            format!("{word}  {} rows written{took}{version}", grouped(job.rows_written))
        }
        JobState::AwaitingApproval => format!("{word}  {}", asks(job)),
        JobState::SkippedNoChange => format!("{word}  nothing new to compute"),
        JobState::Queued if job.attempt > 0 => {
            format!("{word}  again after attempt {} of {}", job.attempt, job.attempts_max)
        }
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests;
