//! What lets somebody else end a statement, and see how far it is.
//!
//! Whoever asks for the end ends the work himself: nothing waits for the client of the statement,
//! who may have stopped reading long ago. What has begun to commit is not ended.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use datafusion::{
    common::stats::Precision,
    physical_plan::{
        ExecutionPlan,
        statistics::{StatisticsArgs, StatisticsContext},
    },
};
use lake::StageProgress;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::{barrier::is_barrier, bounds::Bound, error::QueryError, plan};

/// How far a statement is. The numbers only grow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows that its plan has read from tables and files.
    pub rows_read: u64,
    /// Rows that there are to be read, as far as the tables say. Filters that leave out rows early
    /// can let it end with fewer. `None` when it has ended, or nothing says.
    pub rows_expected: Option<u64>,
    /// Bytes that its plan has read from files.
    pub bytes_read: u64,
    /// Rows that it has written, committed or not.
    pub rows_written: u64,
    /// Bytes that it has handed to the store.
    pub bytes_written: u64,
}

impl Progress {
    /// The part of the rows that was read, from 0 to 1, when it is known.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        match self.rows_expected {
            Some(expected) if expected > 0 => {
                Some((self.rows_read as f64 / expected as f64).min(1.0))
            }
            _ => None,
        }
    }

    fn add(&mut self, more: Self) {
        self.rows_read += more.rows_read;
        self.bytes_read += more.bytes_read;
        self.rows_written += more.rows_written;
        self.bytes_written += more.bytes_written;
    }
}

/// Why a statement was ended from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Somebody wished so.
    Cancelled {
        /// Who.
        by: String,
        /// Why, for people.
        reason: Option<String>,
    },
    /// Its time was over.
    Late {
        /// How much it had.
        limit: Duration,
        /// Whose limit it is, when not the server's.
        bound: Option<Bound>,
    },
}

impl From<Ended> for QueryError {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Cancelled { by, reason } => Self::Cancelled { by, reason },
            Ended::Late { bound: Some(bound), .. } => bound.exceeded(),
            Ended::Late { limit, bound: None } => Self::Timeout(limit),
        }
    }
}

/// Why a statement goes on although somebody wanted its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GoesOn {
    /// It commits already.
    Commits,
    /// It has ended by itself.
    Over,
}

/// A plan that runs for a statement.
pub(crate) struct Work {
    /// The plan.
    pub(crate) plan: Arc<dyn ExecutionPlan>,
    /// What its rows are written by, when they are written.
    pub(crate) staged: Option<Arc<StageProgress>>,
}

impl Work {
    fn progress(&self) -> Progress {
        let rows_read = plan::rows_read(self.plan.as_ref());
        let bytes_read = bytes_read(&self.plan);
        let mut progress = Progress { rows_read, bytes_read, ..Progress::default() };
        if let Some(staged) = &self.staged {
            progress.rows_written = staged.rows.load(Ordering::Relaxed);
            progress.bytes_written = staged.bytes.load(Ordering::Relaxed);
        }
        progress
    }
}

/// The reins of one statement.
#[derive(Default)]
pub(crate) struct Reins {
    state: Mutex<State>,
    ended: CancellationToken,
}

#[derive(Default)]
struct State {
    ended: Option<Ended>,
    commits: bool,
    over: bool,
    stop: Option<Box<dyn FnOnce() + Send>>,
    work: Option<Work>,
    /// Of work that is over.
    progress: Progress,
}

impl fmt::Debug for Reins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reins").field("ended", &self.why()).finish_non_exhaustive()
    }
}

impl Reins {
    /// Ends the statement: when this returns, its work was told to stop and what it held is free.
    /// Ending it twice is the same as once. `book` is called before anybody else can notice.
    pub(crate) fn end(&self, why: Ended, book: impl FnOnce()) -> Result<(), GoesOn> {
        let stop = {
            let mut state = self.state.lock();
            if state.ended.is_some() {
                return Ok(());
            }
            if state.over {
                return Err(GoesOn::Over);
            }
            if state.commits {
                return Err(GoesOn::Commits);
            }
            state.ended = Some(why);
            state.stop.take()
        };
        book();
        if let Some(stop) = stop {
            stop();
        }
        self.ended.cancel();
        Ok(())
    }

    /// Why it was ended from outside, if it was.
    pub(crate) fn why(&self) -> Option<Ended> {
        self.state.lock().ended.clone()
    }

    /// [`QueryError::Cancelled`] or [`QueryError::Timeout`] when it was ended from outside.
    pub(crate) fn goes_on(&self) -> Result<(), QueryError> {
        self.why().map_or(Ok(()), |why| Err(why.into()))
    }

    /// Does `work` unless the statement is ended before; what is dropped then is cancelled.
    pub(crate) async fn unless_ended<T>(
        &self,
        work: impl Future<Output = Result<T, QueryError>>,
    ) -> Result<T, QueryError> {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => {
                Err(self.why().expect("why comes before the end is told").into())
            }
            done = work => done,
        }
    }

    /// From now on nobody ends it any more, unless somebody has.
    pub(crate) fn may_commit(&self) -> Result<(), QueryError> {
        let mut state = self.state.lock();
        if let Some(why) = state.ended.clone() {
            return Err(why.into());
        }
        state.commits = true;
        Ok(())
    }

    /// What is to be done when it is ended from outside; at once when it is already.
    pub(crate) fn when_ended(&self, stop: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        if state.ended.is_none() {
            state.stop = Some(Box::new(stop));
            return;
        }
        drop(state);
        stop();
    }

    /// Looks at a plan for the progress from now on.
    pub(crate) fn watch(&self, work: Work) {
        let mut state = self.state.lock();
        if state.over {
            return;
        }
        if let Some(before) = state.work.replace(work) {
            let before = before.progress();
            state.progress.add(before);
        }
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        let state = self.state.lock();
        let mut progress = state.progress;
        if let Some(work) = &state.work {
            progress.add(work.progress());
            progress.rows_expected = rows_expected(&work.plan);
        }
        progress
    }

    /// It has ended: nothing of it is held any more.
    pub(crate) fn over(&self) {
        let (stop, work) = {
            let mut state = self.state.lock();
            state.over = true;
            (state.stop.take(), state.work.take())
        };
        if let Some(work) = &work {
            let last = work.progress();
            self.state.lock().progress.add(last);
        }
        // Outside the lock: what a plan holds may be a lot.
        drop((stop, work));
    }
}

/// Bytes that the leaves of a plan have read from files. Those of a table with a policy would tell how
/// much it hides, and are not counted.
fn bytes_read(plan: &Arc<dyn ExecutionPlan>) -> u64 {
    if is_barrier(plan.as_ref()) {
        return 0;
    }
    let inputs = plan.children();
    if !inputs.is_empty() {
        return inputs.into_iter().map(bytes_read).sum();
    }
    let bytes = plan.metrics().and_then(|metrics| metrics.sum_by_name("bytes_scanned"));
    bytes.map_or(0, |bytes| bytes.as_usize() as u64)
}

/// Rows of the tables and files that a plan reads; `None` when one of them does not tell, and when one
/// hides some.
fn rows_expected(plan: &Arc<dyn ExecutionPlan>) -> Option<u64> {
    if is_barrier(plan.as_ref()) {
        return None;
    }
    let inputs = plan.children();
    if inputs.is_empty() || plan.name() == lake::TABLE_SCAN {
        let statistics =
            StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).ok()?;
        return match statistics.num_rows {
            Precision::Exact(rows) | Precision::Inexact(rows) => Some(rows as u64),
            Precision::Absent => None,
        };
    }
    inputs.into_iter().map(rows_expected).try_fold(0_u64, |all, rows| Some(all + rows?))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    fn cancelled() -> Ended {
        Ended::Cancelled { by: "ann".to_owned(), reason: None }
    }

    #[tokio::test]
    async fn who_ends_a_statement_stops_its_work() {
        let reins = Reins::default();
        let stopped = Arc::new(AtomicBool::new(false));
        reins.when_ended({
            let stopped = Arc::clone(&stopped);
            move || stopped.store(true, Ordering::Relaxed)
        });
        assert!(reins.goes_on().is_ok());
        assert_eq!(reins.end(cancelled(), || {}), Ok(()));
        assert!(stopped.load(Ordering::Relaxed));
        let never = reins.unless_ended(std::future::pending::<Result<(), QueryError>>()).await;
        assert!(matches!(never, Err(QueryError::Cancelled { .. })));
        assert!(reins.may_commit().is_err(), "nothing takes effect afterwards");
        // The first wish counts.
        assert_eq!(
            reins.end(Ended::Late { limit: Duration::from_secs(1), bound: None }, || {}),
            Ok(())
        );
        assert_eq!(reins.why(), Some(cancelled()));
    }

    #[test]
    fn what_comes_too_late_stops_at_once() {
        let reins = Reins::default();
        reins.end(cancelled(), || {}).unwrap();
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        reins.when_ended(move || told.store(true, Ordering::Relaxed));
        assert!(stopped.load(Ordering::Relaxed));
    }

    #[test]
    fn what_commits_or_has_ended_is_left_alone() {
        let committing = Reins::default();
        committing.may_commit().unwrap();
        assert_eq!(committing.end(cancelled(), || {}), Err(GoesOn::Commits));
        assert!(committing.goes_on().is_ok());
        let ended = Reins::default();
        ended.over();
        assert_eq!(ended.end(cancelled(), || {}), Err(GoesOn::Over));
    }

    #[test]
    fn a_share_is_known_where_the_rows_are() {
        let of =
            |rows_read, rows_expected| Progress { rows_read, rows_expected, ..Progress::default() };
        assert_eq!(of(5, Some(20)).fraction(), Some(0.25));
        assert_eq!(of(50, Some(20)).fraction(), Some(1.0), "never more than all");
        assert_eq!(of(0, Some(0)).fraction(), None);
        assert_eq!(of(5, None).fraction(), None);
    }
}
