//! What statements ran: the newest ones, in memory, as `system.queries` shows them.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use model::{id::QueryId, time::Timestamp};
use parking_lot::Mutex;
use rt::clock::Clock;

use crate::error::QueryError;

const ENTRIES_MAX: usize = 1_000;
const SQL_SHOWN_MAX: usize = 4_096;

/// Where a statement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueryState {
    /// Planned, or being planned; not running yet.
    Planned,
    /// Runs.
    Running,
    /// Every row was handed out.
    Succeeded,
    /// Ended with an error.
    Failed,
    /// Its client went away, or closed the result before its end.
    Cancelled,
}

impl QueryState {
    /// The word that is shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::Running => "RUNNING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// One statement as the log knows it.
#[derive(Debug, Clone)]
pub struct QueryRecord {
    /// Its id.
    pub id: QueryId,
    /// Who sent it.
    pub principal: String,
    /// Its text, cut at 4,096 bytes.
    pub sql: String,
    /// Where it stands.
    pub state: QueryState,
    /// When it arrived.
    pub received_at: Timestamp,
    /// When it began to run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Rows handed out so far.
    pub rows: u64,
    /// Why it failed.
    pub error: Option<String>,
}

/// A bounded list of statements, newest last.
#[derive(Debug)]
pub(crate) struct QueryLog {
    records: Mutex<VecDeque<Arc<Mutex<QueryRecord>>>>,
    clock: Arc<dyn Clock>,
}

impl QueryLog {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { records: Mutex::new(VecDeque::new()), clock }
    }

    /// Opens the record of a statement. The token closes it, also when it is merely dropped.
    pub(crate) fn open(&self, principal: &str, sql: &str) -> QueryToken {
        let shown = sql.floor_char_boundary(SQL_SHOWN_MAX);
        let record = Arc::new(Mutex::new(QueryRecord {
            id: QueryId::generate(),
            principal: principal.to_owned(),
            sql: sql[..shown].to_owned(),
            state: QueryState::Planned,
            received_at: self.clock.now(),
            started_at: None,
            finished_at: None,
            rows: 0,
            error: None,
        }));
        let mut records = self.records.lock();
        if records.len() >= ENTRIES_MAX {
            records.pop_front();
        }
        records.push_back(Arc::clone(&record));
        QueryToken { record, rows: AtomicU64::new(0), clock: Arc::clone(&self.clock) }
    }

    /// Newest first.
    pub(crate) fn records(&self) -> Vec<QueryRecord> {
        self.records.lock().iter().rev().map(|record| record.lock().clone()).collect()
    }
}

/// Follows one statement to its end.
#[derive(Debug)]
pub(crate) struct QueryToken {
    record: Arc<Mutex<QueryRecord>>,
    rows: AtomicU64,
    clock: Arc<dyn Clock>,
}

impl QueryToken {
    pub(crate) fn id(&self) -> QueryId {
        self.record.lock().id
    }

    pub(crate) fn started(&self) {
        let mut record = self.record.lock();
        record.state = QueryState::Running;
        record.started_at = Some(self.clock.now());
    }

    pub(crate) fn add_rows(&self, rows: usize) {
        let total = self.rows.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        self.record.lock().rows = total;
    }

    pub(crate) fn succeeded(&self) {
        self.end(QueryState::Succeeded, None);
    }

    pub(crate) fn failed(&self, error: &QueryError) {
        self.end(QueryState::Failed, Some(error.to_string()));
    }

    fn end(&self, state: QueryState, error: Option<String>) {
        let mut record = self.record.lock();
        if record.finished_at.is_some() {
            return;
        }
        record.state = state;
        record.error = error;
        record.finished_at = Some(self.clock.now());
    }
}

impl Drop for QueryToken {
    fn drop(&mut self) {
        self.end(QueryState::Cancelled, None);
    }
}

#[cfg(test)]
mod tests {
    use rt::clock::SystemClock;

    use super::*;

    #[test]
    fn a_dropped_statement_is_cancelled_and_an_ended_one_stays_ended() {
        let log = QueryLog::new(Arc::new(SystemClock));
        let dropped = log.open("ann", "SELECT 1");
        dropped.started();
        drop(dropped);
        let ended = log.open("ann", "SELECT 2");
        ended.add_rows(3);
        ended.succeeded();
        drop(ended);
        let states: Vec<_> =
            log.records().iter().map(|r| (r.sql.clone(), r.state, r.rows)).collect();
        assert_eq!(
            states,
            [
                ("SELECT 2".to_owned(), QueryState::Succeeded, 3),
                ("SELECT 1".to_owned(), QueryState::Cancelled, 0)
            ]
        );
    }

    #[test]
    fn the_log_is_bounded() {
        let log = QueryLog::new(Arc::new(SystemClock));
        for n in 0..ENTRIES_MAX + 10 {
            drop(log.open("ann", &format!("SELECT {n}")));
        }
        assert_eq!(log.records().len(), ENTRIES_MAX);
    }
}
