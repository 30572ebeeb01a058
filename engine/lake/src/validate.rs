//! Looks a table over: does its log hold together, is everything there that it names, and does it
//! say the truth about the data?
//!
//! It exists because a table on a store can be damaged from outside (a file deleted, a log restored
//! by halves, statistics of a careless writer), and readers notice late or not at all. It reads the
//! log by itself, from the oldest version that can still be told, and so also finds what the library
//! overlooks. It never changes anything.

mod checkpoint;
mod folder;
mod replay;
mod statistics;

use std::{error::Error, sync::Arc};

use datafusion::execution::TaskContext;

use crate::{error::LakeError, lake::Lake};

/// Findings of one check that are told one by one; of the others there is only the number.
const FINDINGS_MAX: usize = 100;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing was found.
    Ok,
    /// Costs space or time, or was not looked at; answers are right.
    Notice,
    /// Answers are right today; older versions, other readers or later changes may suffer.
    Warning,
    /// Queries fail, or answer what is not so.
    Error,
}

impl Severity {
    /// As users read it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found, or that a check found nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which check found it: `log`, `checkpoints`, `files`, `orphans`, `partitions` or `statistics`.
    pub check: &'static str,
    /// The version, file or column that it is about; for [`Severity::Ok`] what was looked at.
    pub object: String,
    /// What is wrong; empty for [`Severity::Ok`].
    pub problem: String,
    /// What to do; empty for [`Severity::Ok`].
    pub advice: String,
}

/// A table to be looked over.
#[derive(Debug, Clone)]
pub struct Validate {
    /// The table.
    pub location: String,
    /// What the reading of data runs in.
    pub task: Arc<TaskContext>,
    /// Bytes of data files that are read to be compared with their statistics. The sizes and row
    /// counts of all files are compared in any case.
    pub data_bytes_max: u64,
}

impl Lake {
    /// Compares log, checkpoints, files and statistics of a table with each other, as of its newest
    /// version. The findings come check by check; a check that finds nothing says what it looked at.
    ///
    /// Call it on the runtime that queries run on. An error only where nothing can be said:
    /// [`LakeError::NotFound`], or a store that does not answer.
    pub async fn validate(&self, validate: Validate) -> Result<Vec<Finding>, LakeError> {
        let Validate { location, task, data_bytes_max } = validate;
        let place = self.place(&location)?;
        // Files that become part of the table, or go, while this runs are no orphans.
        let staged = self.staged_files(&place);
        let (mut log, mut checkpoints) = (Report::new("log"), Report::new("checkpoints"));
        let replay = replay::replay(&place, &mut log, &mut checkpoints).await?;
        let snapshot = match replay.newest {
            Some(newest) => match self.cache().version(&place, newest).await {
                Ok(snapshot) => Some(snapshot),
                // What the library says of a checkpoint that is cut off looks the same.
                Err(error @ LakeError::Store { .. })
                    if log.worst.max(checkpoints.worst) < Severity::Error =>
                {
                    return Err(error);
                }
                Err(error) => {
                    log.error(
                        format!("version {newest}"),
                        format!("the table cannot be loaded: {}", with_causes(&error)),
                        replay::LOG_ADVICE,
                    );
                    None
                }
            },
            None => None,
        };
        if let Some(snapshot) = &snapshot {
            replay.compare(snapshot, &mut log)?;
        }
        let mut findings = log.finish(&replay.looked_at());
        findings.extend(checkpoints.finish(&replay.checkpoints_looked_at()));
        let schema = snapshot.as_ref().map(|snapshot| snapshot.schema());
        findings.extend(folder::files(self, &place, &replay, staged).await?);
        findings.extend(folder::partitions(&replay, schema.as_ref()));
        let mut statistics = Report::new("statistics");
        let looked_at = match snapshot {
            Some(snapshot) => {
                let comparing = statistics::Comparing { snapshot, task, data_bytes_max };
                comparing.run(&place, &replay, &mut statistics).await?
            }
            None => {
                let advice = "repair the log first";
                statistics.notice("", "not looked at: the table cannot be loaded", advice);
                String::new()
            }
        };
        findings.extend(statistics.finish(&looked_at));
        Ok(findings)
    }
}

/// What one check found.
struct Report {
    check: &'static str,
    findings: Vec<Finding>,
    left_out: usize,
    worst: Severity,
}

impl Report {
    fn new(check: &'static str) -> Self {
        Self { check, findings: Vec::new(), left_out: 0, worst: Severity::Ok }
    }

    fn error(
        &mut self,
        object: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Severity::Error, object.into(), problem.into(), advice.into());
    }

    fn warning(
        &mut self,
        object: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Severity::Warning, object.into(), problem.into(), advice.into());
    }

    fn notice(
        &mut self,
        object: impl Into<String>,
        problem: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.add(Severity::Notice, object.into(), problem.into(), advice.into());
    }

    fn add(&mut self, severity: Severity, object: String, problem: String, advice: String) {
        self.worst = self.worst.max(severity);
        if self.findings.len() >= FINDINGS_MAX {
            self.left_out += 1;
            return;
        }
        self.findings.push(Finding { severity, check: self.check, object, problem, advice });
    }

    /// All findings; where nothing is amiss, what was looked at.
    fn finish(mut self, looked_at: &str) -> Vec<Finding> {
        if self.left_out > 0 {
            let (severity, check) = (self.worst, self.check);
            self.findings.push(Finding {
                severity,
                check,
                object: String::new(),
                problem: format!("{} more findings of this check are not shown", self.left_out),
                advice: "repair these first and run it again".to_owned(),
            });
        }
        if self.worst < Severity::Warning && !looked_at.is_empty() {
            let ok = Finding {
                severity: Severity::Ok,
                check: self.check,
                object: looked_at.to_owned(),
                problem: String::new(),
                advice: String::new(),
            };
            self.findings.insert(0, ok);
        }
        self.findings
    }
}

/// An error with what caused it, in one line: what follows in others is a backtrace of the library.
fn with_causes(error: &dyn Error) -> String {
    let first_line = |text: String| text.lines().next().unwrap_or_default().trim_end().to_owned();
    let mut text = first_line(error.to_string());
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = first_line(source.to_string());
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = source.source();
    }
    text
}

/// `1 file`, `2 files`.
fn counted(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
