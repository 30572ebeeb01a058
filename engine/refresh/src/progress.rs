//! What a run has done so far, shared between the run and its heartbeat.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use lake::{StageProgress, VacuumProgress};
use model::job::{JobState, RunProgress};
use query::{
    incremental::{Choice, Strategy},
    transform::PlannedTransform,
};

/// How a run computes its result, and why.
#[derive(Debug, Clone)]
pub(crate) struct Decided {
    pub(crate) strategy: Strategy,
    pub(crate) reason: String,
    /// Strategies that it does not take, each with the reason.
    pub(crate) alternatives: Vec<String>,
}

impl From<Choice> for Decided {
    fn from(choice: Choice) -> Self {
        let Choice { strategy, reason, alternatives } = choice;
        let alternatives = alternatives.iter().map(|(strategy, why)| format!("{strategy}: {why}"));
        Self { strategy, reason: reason.to_string(), alternatives: alternatives.collect() }
    }
}

/// Written by the run, read by its heartbeat, and by its books where it fails.
#[derive(Default)]
pub(crate) struct Progress {
    decided: OnceLock<Decided>,
    planned: OnceLock<Arc<PlannedTransform>>,
    staged: Arc<StageProgress>,
    running: AtomicBool,
    /// Files that are to be put together, in all tries so far.
    files_expected: AtomicU64,
    vacuumed: Arc<VacuumProgress>,
}

impl Progress {
    /// It is known how the result is computed.
    pub(crate) fn decide(&self, decided: Decided) {
        // A run decides once.
        let _ = self.decided.set(decided);
    }

    /// How the result is computed; `None` before that is known.
    pub(crate) fn decided(&self) -> Option<&Decided> {
        self.decided.get()
    }

    /// The plan is made and begins to run: rows are counted from here on.
    pub(crate) fn planned(&self, planned: Arc<PlannedTransform>) {
        // A run is planned once; a second plan would only keep the first one's figures.
        let _ = self.planned.set(planned);
        self.running.store(true, Ordering::Release);
    }

    /// What the writers count into.
    pub(crate) fn staged(&self) -> Arc<StageProgress> {
        Arc::clone(&self.staged)
    }

    /// Looking after a table begins; so many more files are to be put together.
    pub(crate) fn working(&self, files: u64) {
        self.files_expected.fetch_add(files, Ordering::Relaxed);
        self.running.store(true, Ordering::Release);
    }

    /// What a vacuum counts into.
    pub(crate) fn vacuumed(&self) -> Arc<VacuumProgress> {
        Arc::clone(&self.vacuumed)
    }

    /// PLANNING or RUNNING.
    pub(crate) fn state(&self) -> JobState {
        if self.running.load(Ordering::Acquire) { JobState::Running } else { JobState::Planning }
    }

    /// The figures of this moment.
    pub(crate) fn figures(&self) -> RunProgress {
        let planned = self.planned.get();
        RunProgress {
            rows_read: planned.map_or(0, |planned| planned.rows_read()),
            rows_read_expected: planned.map_or(0, |planned| planned.rows_expected),
            rows_written: self.staged.rows.load(Ordering::Relaxed),
            bytes_written: self.staged.bytes.load(Ordering::Relaxed),
            files: self.staged.files.load(Ordering::Relaxed)
                + self.vacuumed.deleted.load(Ordering::Relaxed),
            files_expected: self.files_expected.load(Ordering::Relaxed)
                + self.vacuumed.expected.load(Ordering::Relaxed),
        }
    }
}
