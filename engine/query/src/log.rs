//! What statements ran: the newest ones, in memory, as `system.queries` shows them.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use model::{id::QueryId, principal::Principal, time::Timestamp};
use parking_lot::Mutex;
use rt::clock::Clock;

use crate::{
    audit::{self, AuditTrail, Ended},
    error::QueryError,
    session::Session,
};

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
    audit: Option<Arc<AuditTrail>>,
}

/// Whether a statement reads or takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Query,
    Command,
}

impl QueryLog {
    pub(crate) fn new(clock: Arc<dyn Clock>, audit: Option<Arc<AuditTrail>>) -> Self {
        Self { records: Mutex::new(VecDeque::new()), clock, audit }
    }

    /// Opens the record of a statement. The token closes it, also when it is merely dropped.
    pub(crate) fn open(&self, session: &Session, kind: Kind, sql: &str) -> QueryToken {
        let shown = dialect::without_secrets(&sql[..sql.floor_char_boundary(SQL_SHOWN_MAX)]);
        let record = Arc::new(Mutex::new(QueryRecord {
            id: QueryId::generate(),
            principal: session.principal().name().to_owned(),
            sql: shown.into_owned(),
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
        QueryToken {
            record,
            rows: AtomicU64::new(0),
            clock: Arc::clone(&self.clock),
            audit: self.audit.clone(),
            client: session.client().cloned(),
            principal: session.principal().clone(),
            kind,
        }
    }

    /// Records a statement that could not even be prepared: it has no place in the log.
    pub(crate) fn refused(&self, session: &Session, kind: Kind, sql: &str, error: &QueryError) {
        if let Some(audit) = &self.audit {
            audit.statement(Ended {
                principal: session.principal(),
                client: session.client().map(|client| &**client),
                is_command: kind == Kind::Command,
                query_id: None,
                sql,
                rows: 0,
                began: self.clock.now(),
                result: audit::Result::Failed(error),
            });
        }
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
    audit: Option<Arc<AuditTrail>>,
    client: Option<Arc<str>>,
    principal: Principal,
    kind: Kind,
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
        self.end(QueryState::Succeeded, audit::Result::Succeeded);
    }

    pub(crate) fn failed(&self, error: &QueryError) {
        self.end(QueryState::Failed, audit::Result::Failed(error));
    }

    fn end(&self, state: QueryState, result: audit::Result<'_>) {
        let mut record = self.record.lock();
        if record.finished_at.is_some() {
            return;
        }
        record.state = state;
        record.error = match result {
            audit::Result::Failed(error) => Some(error.to_string()),
            audit::Result::Succeeded | audit::Result::Cancelled => None,
        };
        record.finished_at = Some(self.clock.now());
        let Some(audit) = &self.audit else { return };
        audit.statement(Ended {
            principal: &self.principal,
            client: self.client.as_deref(),
            is_command: self.kind == Kind::Command,
            query_id: Some(record.id),
            sql: &record.sql,
            rows: record.rows,
            began: record.received_at,
            result,
        });
    }
}

impl Drop for QueryToken {
    fn drop(&mut self) {
        self.end(QueryState::Cancelled, audit::Result::Cancelled);
    }
}

#[cfg(test)]
mod tests {
    use rt::clock::SystemClock;

    use super::*;

    fn ann() -> Session {
        Session::new(Principal::verified("ann"))
    }

    #[test]
    fn a_dropped_statement_is_cancelled_and_an_ended_one_stays_ended() {
        let log = QueryLog::new(Arc::new(SystemClock), None);
        let dropped = log.open(&ann(), Kind::Query, "SELECT 1");
        dropped.started();
        drop(dropped);
        let ended = log.open(&ann(), Kind::Query, "SELECT 2");
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
        let log = QueryLog::new(Arc::new(SystemClock), None);
        for n in 0..ENTRIES_MAX + 10 {
            drop(log.open(&ann(), Kind::Query, &format!("SELECT {n}")));
        }
        assert_eq!(log.records().len(), ENTRIES_MAX);
    }
}
