//! What a run has done so far, shared between the run and its heartbeat.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use lake::{StageProgress, VacuumProgress};
use model::job::{JobState, RunProgress};
use parking_lot::Mutex;
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
    way: Mutex<Way>,
    running: AtomicBool,
    /// Files that are to be put together, in all tries so far.
    files_expected: AtomicU64,
    vacuumed: Arc<VacuumProgress>,
}

/// How the result is computed, once that is known.
#[derive(Default)]
struct Way {
    decided: Option<Decided>,
    planned: Option<Arc<PlannedTransform>>,
    staged: Arc<StageProgress>,
}

impl Progress {
    /// It is known how the result is computed.
    pub(crate) fn decide(&self, decided: Decided) {
        self.way.lock().decided = Some(decided);
    }

    /// The way that was taken leads nowhere, and another one is looked for: what was counted on it counts no
    /// more.
    pub(crate) fn begin_anew(&self) {
        *self.way.lock() = Way::default();
        self.running.store(false, Ordering::Release);
    }

    /// How the result is computed; `None` before that is known.
    pub(crate) fn decided(&self) -> Option<Decided> {
        self.way.lock().decided.clone()
    }

    /// The plan is made and begins to run: rows are counted from here on.
    pub(crate) fn planned(&self, planned: Arc<PlannedTransform>) {
        // One way is planned once; a second plan would only keep the first one's figures.
        self.way.lock().planned.get_or_insert(planned);
        self.running.store(true, Ordering::Release);
    }

    /// What the writers count into.
    pub(crate) fn staged(&self) -> Arc<StageProgress> {
        Arc::clone(&self.way.lock().staged)
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
        let (planned, staged) = {
            let way = self.way.lock();
            (way.planned.clone(), Arc::clone(&way.staged))
        };
        let planned = planned.as_deref();
        RunProgress {
            rows_read: planned.map_or(0, PlannedTransform::rows_read),
            rows_read_expected: planned.map_or(0, |planned| planned.rows_expected),
            rows_written: staged.rows.load(Ordering::Relaxed),
            bytes_written: staged.bytes.load(Ordering::Relaxed),
            files: staged.files.load(Ordering::Relaxed)
                + self.vacuumed.deleted.load(Ordering::Relaxed),
            files_expected: self.files_expected.load(Ordering::Relaxed)
                + self.vacuumed.expected.load(Ordering::Relaxed),
        }
    }
}
