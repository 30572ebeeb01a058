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
use tokio::task::futures::TaskLocalFuture;

use crate::{
    audit::{self, AuditTrail},
    error::QueryError,
    reins::{Ended, GoesOn, Progress, Reins, Work},
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
    /// Its client went away, or closed the result before its end; or somebody ended it.
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
    /// What it has read and written so far.
    pub progress: Progress,
    /// Why it failed.
    pub error: Option<String>,
}

tokio::task_local! {
    /// The statement that this task does the work of.
    static CURRENT: Arc<Entry>;
}

/// One statement: what is told of it, and what lets others end it.
#[derive(Debug)]
pub(crate) struct Entry {
    record: Mutex<QueryRecord>,
    reins: Reins,
    clock: Arc<dyn Clock>,
    audit: Option<Arc<AuditTrail>>,
    client: Option<Arc<str>>,
    caller: Principal,
    kind: Kind,
}

impl Entry {
    /// The record as it is now.
    fn shown(&self) -> QueryRecord {
        let progress = self.reins.progress();
        QueryRecord { progress, ..self.record.lock().clone() }
    }

    /// Ends the statement from outside; its record tells it at once.
    pub(crate) fn end(&self, why: Ended) -> Result<(), GoesOn> {
        let state = match why {
            Ended::Cancelled { .. } => QueryState::Cancelled,
            Ended::Late { .. } => QueryState::Failed,
        };
        let error = QueryError::from(why.clone());
        self.reins.end(why, || self.close(state, Some(&error)))
    }

    fn close(&self, state: QueryState, error: Option<&QueryError>) {
        {
            let mut record = self.record.lock();
            if record.finished_at.is_some() {
                return;
            }
            record.state = state;
            record.error = error.map(ToString::to_string);
            record.finished_at = Some(self.clock.now());
            self.audit(&record, error);
        }
        self.reins.over();
    }

    fn audit(&self, record: &QueryRecord, error: Option<&QueryError>) {
        let Some(audit) = &self.audit else { return };
        let result = match (record.state, error) {
            (QueryState::Cancelled, _) => audit::Result::Cancelled,
            (_, Some(error)) => audit::Result::Failed(error),
            (_, None) => audit::Result::Succeeded,
        };
        audit.statement(audit::Ended {
            principal: &self.caller,
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

/// Lets nobody end the statement of this task any more: what comes now takes effect. An error when
/// somebody has ended it.
pub(crate) fn may_commit() -> Result<(), QueryError> {
    CURRENT.try_with(|entry| entry.reins.may_commit()).unwrap_or(Ok(()))
}

/// Shows the progress of a plan as that of the statement of this task.
pub(crate) fn watch(work: impl FnOnce() -> Work) {
    // What is run for no statement, such as a refresh, shows its progress elsewhere.
    let _ = CURRENT.try_with(|entry| entry.reins.watch(work()));
}

/// A bounded list of statements, newest last.
#[derive(Debug)]
pub(crate) struct QueryLog {
    entries: Mutex<VecDeque<Arc<Entry>>>,
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
        Self { entries: Mutex::new(VecDeque::new()), clock, audit }
    }

    /// Opens the record of a statement. The token closes it, also when it is merely dropped.
    pub(crate) fn open(&self, session: &Session, kind: Kind, sql: &str) -> QueryToken {
        let audit = self.audit.clone();
        self.enter(session, kind, sql, audit)
    }

    /// Opens the record of what the server does by itself: it is no statement, and in no trail.
    pub(crate) fn open_upkeep(&self, what: &str) -> QueryToken {
        self.enter(&Session::new(Principal::folder()), Kind::Command, what, None)
    }

    fn enter(
        &self,
        session: &Session,
        kind: Kind,
        sql: &str,
        audit: Option<Arc<AuditTrail>>,
    ) -> QueryToken {
        let shown = dialect::without_secrets(&sql[..sql.floor_char_boundary(SQL_SHOWN_MAX)]);
        let id = session.query_id();
        let record = Mutex::new(QueryRecord {
            id,
            principal: session.principal().name().to_owned(),
            sql: shown.into_owned(),
            state: QueryState::Planned,
            received_at: self.clock.now(),
            started_at: None,
            finished_at: None,
            rows: 0,
            progress: Progress::default(),
            error: None,
        });
        let entry = Arc::new(Entry {
            record,
            reins: Reins::default(),
            clock: Arc::clone(&self.clock),
            audit,
            client: session.client().cloned(),
            caller: session.principal().clone(),
            kind,
        });
        let mut entries = self.entries.lock();
        if entries.len() >= ENTRIES_MAX {
            entries.pop_front();
        }
        entries.push_back(Arc::clone(&entry));
        QueryToken { id, entry, rows: AtomicU64::new(0) }
    }

    /// Records a statement that could not even be prepared: it has no place in the log.
    pub(crate) fn refused(&self, session: &Session, kind: Kind, sql: &str, error: &QueryError) {
        if let Some(audit) = &self.audit {
            audit.statement(audit::Ended {
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
        self.all().iter().rev().map(|entry| entry.shown()).collect()
    }

    /// The record of one statement, if it is still there.
    pub(crate) fn record(&self, id: QueryId) -> Option<QueryRecord> {
        self.find(id).map(|entry| entry.shown())
    }

    /// One statement, if it is still there.
    pub(crate) fn find(&self, id: QueryId) -> Option<Arc<Entry>> {
        self.all().into_iter().rfind(|entry| entry.record.lock().id == id)
    }

    fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().iter().cloned().collect()
    }
}

/// Follows one statement to its end.
#[derive(Debug)]
pub(crate) struct QueryToken {
    id: QueryId,
    entry: Arc<Entry>,
    rows: AtomicU64,
}

impl QueryToken {
    pub(crate) fn id(&self) -> QueryId {
        self.id
    }

    /// What lets others end it.
    pub(crate) fn reins(&self) -> &Reins {
        &self.entry.reins
    }

    /// For whoever is to end it later.
    pub(crate) fn entry(&self) -> Arc<Entry> {
        Arc::clone(&self.entry)
    }

    /// Does work of this statement: [`may_commit`] and [`watch`] are then about it.
    pub(crate) fn scope<F: Future>(&self, work: F) -> TaskLocalFuture<Arc<Entry>, F> {
        CURRENT.scope(self.entry(), work)
    }

    pub(crate) fn started(&self) {
        let mut record = self.entry.record.lock();
        if record.finished_at.is_none() {
            record.state = QueryState::Running;
            record.started_at = Some(self.entry.clock.now());
        }
    }

    pub(crate) fn add_rows(&self, rows: usize) {
        let total = self.rows.fetch_add(rows as u64, Ordering::Relaxed) + rows as u64;
        self.entry.record.lock().rows = total;
    }

    pub(crate) fn succeeded(&self) {
        self.end(QueryState::Succeeded, None);
    }

    pub(crate) fn failed(&self, error: &QueryError) {
        self.end(QueryState::Failed, Some(error));
    }

    fn end(&self, state: QueryState, error: Option<&QueryError>) {
        self.entry.close(state, error);
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

    fn ann() -> Session {
        Session::new(Principal::verified("ann"))
    }

    fn open(log: &QueryLog, sql: &str) -> QueryToken {
        log.open(&ann(), Kind::Query, sql)
    }

    #[test]
    fn who_ends_a_statement_is_told_and_nothing_comes_after_it() {
        let log = QueryLog::new(Arc::new(SystemClock), None);
        let token = open(&log, "SELECT 1");
        let ended = Ended::Cancelled { by: "bob".to_owned(), reason: Some("slow".to_owned()) };
        log.find(token.id()).unwrap().end(ended.clone()).unwrap();
        token.started();
        token.succeeded();
        let record = log.record(token.id()).unwrap();
        assert_eq!(record.state, QueryState::Cancelled);
        let error = record.error.unwrap();
        assert!(error.contains("bob") && error.contains("slow"), "{error}");
        let over = open(&log, "SELECT 2");
        over.succeeded();
        assert_eq!(log.find(over.id()).unwrap().end(ended), Err(GoesOn::Over));
        assert!(log.find(QueryId::generate()).is_none());
    }

    #[test]
    fn who_ends_a_statement_is_told_also_when_its_work_notices_first() {
        let log = QueryLog::new(Arc::new(SystemClock), None);
        let token = Arc::new(open(&log, "SELECT 1"));
        token.reins().when_ended({
            let token = Arc::clone(&token);
            move || token.failed(&QueryError::Unsupported("work that was dropped".to_owned()))
        });
        let ended = Ended::Cancelled { by: "bob".to_owned(), reason: None };
        token.entry().end(ended).unwrap();
        assert_eq!(log.record(token.id()).unwrap().state, QueryState::Cancelled);
    }

    #[tokio::test]
    async fn only_the_statement_of_this_task_is_told_to_commit() {
        let log = QueryLog::new(Arc::new(SystemClock), None);
        let (first, other) = (open(&log, "INSERT 1"), open(&log, "INSERT 2"));
        let ended = Ended::Late { limit: std::time::Duration::from_secs(1), bound: None };
        first.scope(async { may_commit() }).await.unwrap();
        assert_eq!(first.entry().end(ended.clone()), Err(GoesOn::Commits));
        other.entry().end(ended).unwrap();
        assert!(other.scope(async { may_commit() }).await.is_err());
        assert!(may_commit().is_ok(), "who does no statement's work asks nobody");
    }

    #[test]
    fn a_dropped_statement_is_cancelled_and_an_ended_one_stays_ended() {
        let log = QueryLog::new(Arc::new(SystemClock), None);
        let dropped = open(&log, "SELECT 1");
        dropped.started();
        drop(dropped);
        let ended = open(&log, "SELECT 2");
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
            drop(open(&log, &format!("SELECT {n}")));
        }
        assert_eq!(log.records().len(), ENTRIES_MAX);
    }
}
