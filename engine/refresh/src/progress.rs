//! What a run has done so far, shared between the run and its heartbeat.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use lake::StageProgress;
use model::job::{JobState, RunProgress};
use query::transform::PlannedTransform;

/// Written by the run, read by its heartbeat.
#[derive(Default)]
pub(crate) struct Progress {
    planned: OnceLock<Arc<PlannedTransform>>,
    staged: Arc<StageProgress>,
    running: AtomicBool,
}

impl Progress {
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
        }
    }
}
