//! The audit trail: what is recorded, and how it gets to the catalog without anybody waiting for it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use catalog::Catalog;
use model::{
    audit::{AuditEvent, AuditOutcome, AuditRecord},
    code::Code,
    principal::Principal,
    time::Timestamp,
};
use rt::clock::Clock;
use tokio::sync::{mpsc, oneshot};

use crate::error::QueryError;

/// Records that wait to be written. More are lost, and that is recorded.
const WAITING_MAX: usize = 10_000;
/// Records of one transaction.
const WRITTEN_AT_ONCE: usize = 500;
/// After a transaction, how long others gather for the next one.
const GATHER_FOR: Duration = Duration::from_millis(50);
/// After the catalog failed, how long until it is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How often old records are removed.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// How long a reader of the trail waits for what was recorded before.
const FLUSH_MAX: Duration = Duration::from_secs(5);
/// Longer texts are cut.
const TEXT_MAX: usize = 4_096;

/// Which statements are recorded. Logins, and what was denied, always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audited {
    /// Every statement.
    All,
    /// Statements that take effect.
    Commands,
    /// No statement that was allowed.
    Denied,
}

/// What the trail keeps.
#[derive(Debug, Clone)]
pub struct AuditOptions {
    /// Which statements are recorded.
    pub statements: Audited,
    /// How long a record stays.
    pub keep_for: Duration,
    /// How many records stay.
    pub keep_max: u64,
}

/// Takes records and has them written, in their order.
#[derive(Debug)]
pub struct AuditTrail {
    sender: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
    statements: Audited,
    clock: Arc<dyn Clock>,
}

enum Message {
    Record(Box<AuditRecord>),
    /// Answered when everything from before is written.
    Flush(oneshot::Sender<()>),
}

impl AuditTrail {
    /// Begins a trail. Its records are written by a task of the current runtime, which ends with
    /// the last holder of the trail.
    #[must_use]
    pub fn start(
        catalog: Arc<dyn Catalog>,
        clock: Arc<dyn Clock>,
        options: AuditOptions,
    ) -> Arc<Self> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let statements = options.statements;
        let writer =
            Writer { catalog, clock: Arc::clone(&clock), options, lost: Arc::clone(&lost) };
        tokio::spawn(writer.run(receiver));
        Arc::new(Self { sender, lost, statements, clock })
    }

    /// Records a login. Never waits.
    pub fn login(&self, principal: &str, client: Option<&str>, refused: Option<(Code, String)>) {
        let outcome = match &refused {
            None => AuditOutcome::Succeeded,
            Some((Code::Unauthenticated | Code::PermissionDenied, _)) => AuditOutcome::Denied,
            Some(_) => AuditOutcome::Failed,
        };
        self.send(AuditRecord {
            at: self.clock.now(),
            principal: cut(principal).to_owned(),
            client: client.map(str::to_owned),
            event: AuditEvent::Login,
            outcome,
            query_id: None,
            statement: None,
            rows: 0,
            duration: Duration::ZERO,
            error: refused.map(|(_, text)| text),
        });
    }

    /// Records what became of a statement, as far as such statements are recorded. Never waits.
    pub(crate) fn statement(&self, ended: Ended<'_>) {
        let Ended { principal, client, is_command, query_id, sql, rows, began, result } = ended;
        let outcome = match result {
            Result::Succeeded => AuditOutcome::Succeeded,
            Result::Cancelled => AuditOutcome::Cancelled,
            Result::Failed(QueryError::TableNotFound { is_hidden: true, .. }) => {
                AuditOutcome::Denied
            }
            Result::Failed(error) => match error.code() {
                Code::PermissionDenied => AuditOutcome::Denied,
                Code::Cancelled => AuditOutcome::Cancelled,
                _ => AuditOutcome::Failed,
            },
        };
        let recorded = match self.statements {
            _ if outcome == AuditOutcome::Denied => true,
            Audited::All => true,
            Audited::Commands => is_command,
            Audited::Denied => false,
        };
        if !recorded {
            return;
        }
        let error = match result {
            // What the parser found may be a secret that stands where it does not belong.
            Result::Failed(QueryError::Syntax(error)) => {
                Some(format!("no statement: line {}, column {}", error.line, error.column))
            }
            Result::Failed(error) => Some(cut(&error.to_string()).to_owned()),
            Result::Succeeded | Result::Cancelled => None,
        };
        let now = self.clock.now();
        self.send(AuditRecord {
            at: now,
            principal: principal.name().to_owned(),
            client: client.map(str::to_owned),
            event: if is_command { AuditEvent::Command } else { AuditEvent::Query },
            outcome,
            query_id: query_id.map(|id| id.to_string()),
            statement: Some(dialect::without_secrets(cut(sql)).into_owned()),
            rows,
            duration: now.since(began),
            error,
        });
    }

    /// Waits until what was recorded before is written; no longer than some seconds.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flushed = async {
            if self.sender.send(Message::Flush(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        tokio::select! {
            () = flushed => {}
            () = self.clock.sleep(FLUSH_MAX) => {}
        }
    }

    fn send(&self, record: AuditRecord) {
        if self.sender.try_send(Message::Record(Box::new(record))).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A statement that ended.
#[derive(Debug)]
pub(crate) struct Ended<'e> {
    pub(crate) principal: &'e Principal,
    pub(crate) client: Option<&'e str>,
    pub(crate) is_command: bool,
    pub(crate) query_id: Option<model::id::QueryId>,
    pub(crate) sql: &'e str,
    pub(crate) rows: u64,
    pub(crate) began: Timestamp,
    pub(crate) result: Result<'e>,
}

/// What became of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Result<'e> {
    Succeeded,
    Cancelled,
    Failed(&'e QueryError),
}

struct Writer {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    options: AuditOptions,
    lost: Arc<AtomicU64>,
}

impl Writer {
    async fn run(self, mut receiver: mpsc::Receiver<Message>) {
        let mut messages = Vec::with_capacity(WRITTEN_AT_ONCE);
        let mut pruned_at = None;
        loop {
            if receiver.recv_many(&mut messages, WRITTEN_AT_ONCE).await == 0 {
                return;
            }
            let mut records = Vec::with_capacity(messages.len());
            let mut flushes = Vec::new();
            for message in messages.drain(..) {
                match message {
                    Message::Record(record) => records.push(*record),
                    Message::Flush(done) => flushes.push(done),
                }
            }
            records.extend(self.gap());
            self.write(&records).await;
            let waited_for = !flushes.is_empty();
            for done in flushes {
                let _ = done.send(());
            }
            let now = self.clock.now();
            if pruned_at.is_none_or(|at| now.since(at) >= PRUNE_EVERY) {
                self.prune(now).await;
                pruned_at = Some(now);
            }
            // Somebody who reads the trail may read it again.
            if !waited_for && receiver.len() < WRITTEN_AT_ONCE {
                self.clock.sleep(GATHER_FOR).await;
            }
        }
    }

    /// The record of what was lost since the last one.
    fn gap(&self) -> Option<AuditRecord> {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        (lost > 0).then(|| AuditRecord {
            at: self.clock.now(),
            principal: Principal::folder().name().to_owned(),
            client: None,
            event: AuditEvent::Gap,
            outcome: AuditOutcome::Failed,
            query_id: None,
            statement: None,
            rows: lost,
            duration: Duration::ZERO,
            error: Some(format!("{lost} records came faster than the catalog took them")),
        })
    }

    /// Goes on until the catalog has them: what comes meanwhile waits, up to [`WAITING_MAX`].
    async fn write(&self, records: &[AuditRecord]) {
        while let Err(error) = self.catalog.append_audit(records).await {
            tracing::warn!(error = %error, "the audit trail cannot be written; trying again");
            self.clock.sleep(RETRY_AFTER).await;
        }
    }

    async fn prune(&self, now: Timestamp) {
        let keep_for = i64::try_from(self.options.keep_for.as_micros()).unwrap_or(i64::MAX);
        let until = Timestamp::from_micros(now.as_micros().saturating_sub(keep_for));
        if let Err(error) = self.catalog.prune_audit(until, self.options.keep_max).await {
            tracing::warn!(error = %error, "old records of the audit trail cannot be removed");
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}
