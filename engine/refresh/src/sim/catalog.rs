//! A catalog whose answers get lost now and then.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use catalog::{
    Catalog,
    audit::{Audit, StoredAudit},
    error::CatalogError,
    grants::{GivenGrant, Grants, Member},
    jobs::{JobFilter, Jobs, Reading, Takes},
    leaders::{Bid, Leader, Leaders},
    notifications::{DueNotification, Notifications, Try, TryEnded},
    objects::{Objects, OnConflict, Put, Schema},
    principals::{Principals, User},
    seal_keys::{SealKey, SealKeys},
    tokens::{Token, Tokens},
    verifications::{StoredVerification, Verification, Verifications},
};
use catalog_sqlite::SqliteCatalog;
use model::{
    approval::Approval,
    audit::AuditRecord,
    id::{GraphId, JobId, ObjectId, RunId, WorkerId},
    job::{
        ClaimedRun, Job, JobState, LastRun, Lease, LeaseState, NewJob, PinnedInput, RequestKey,
        Run, RunOutcome, RunProgress,
    },
    limits::RoleLimits,
    name::ObjectName,
    notification::{NewNotification, Notification},
    object::{Object, Policy},
    rights::{Grant, Rights},
    secret::Secret,
    time::Timestamp,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::random::Random;

/// Every call runs in a task of its own: a caller that dies or stands still in the middle of one
/// neither undoes it nor blocks the database.
pub(crate) struct FlakyCatalog {
    inner: Arc<SqliteCatalog>,
    random: Mutex<Random>,
    /// One call in so many fails; 0 for none.
    failing: AtomicU64,
    /// No call is answered.
    gone: AtomicBool,
    /// Calls so far.
    calls: AtomicU64,
    /// The call at which its caller is to stand still for ever, before or after it took effect.
    fatal: Mutex<Option<Fatal>>,
    /// Somebody has come there.
    struck: Notify,
}

/// A place where a worker dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fatal {
    /// What it calls.
    pub(crate) call: &'static str,
    /// Whether the call still takes effect.
    pub(crate) takes_effect: bool,
}

impl FlakyCatalog {
    pub(crate) async fn new(seed: u64) -> Self {
        let inner = Arc::new(SqliteCatalog::in_memory().await.unwrap());
        Self {
            inner,
            random: Mutex::new(Random::new(seed)),
            failing: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            fatal: Mutex::new(None),
            struck: Notify::new(),
        }
    }

    pub(super) fn fail_one_in(&self, calls: u64) {
        self.failing.store(calls, Ordering::SeqCst);
    }

    /// From now on no call is answered, or every one again.
    pub(crate) fn gone(&self, gone: bool) {
        self.gone.store(gone, Ordering::SeqCst);
    }

    /// How many calls of workers and schedulers there were.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The same catalog, which always answers.
    pub(super) fn unfailing(&self) -> &SqliteCatalog {
        &self.inner
    }

    /// The next worker that makes this call never comes back from it.
    pub(crate) fn kill_at(&self, fatal: Option<Fatal>) {
        *self.fatal.lock() = fatal;
    }

    /// Ends when a worker has come to where it dies.
    pub(crate) async fn struck(&self) {
        self.struck.notified().await;
    }

    /// A call that has a name.
    async fn named<T, F>(
        &self,
        name: &'static str,
        work: impl FnOnce(Arc<SqliteCatalog>) -> F,
    ) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CatalogError>> + Send + 'static,
    {
        let fatal = {
            let mut fatal = self.fatal.lock();
            let here = fatal.filter(|fatal| fatal.call == name);
            if here.is_some() {
                *fatal = None;
            }
            here
        };
        let Some(fatal) = fatal else { return self.call(work).await };
        if fatal.takes_effect {
            let _ = self.call(work).await;
        }
        self.struck.notify_one();
        std::future::pending().await
    }

    async fn call<T, F>(
        &self,
        work: impl FnOnce(Arc<SqliteCatalog>) -> F,
    ) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CatalogError>> + Send + 'static,
    {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.gone.load(Ordering::SeqCst) {
            return Err(lost());
        }
        let failing = self.failing.load(Ordering::SeqCst);
        let (fails, before) = {
            let mut random = self.random.lock();
            (failing > 0 && random.one_in(failing), random.one_in(2))
        };
        if fails && before {
            return Err(lost());
        }
        let answer = tokio::spawn(work(Arc::clone(&self.inner))).await.unwrap();
        // It took effect, and the caller does not learn of it.
        if fails { Err(lost()) } else { answer }
    }
}

fn lost() -> CatalogError {
    CatalogError::Database { operation: "do anything", source: "lost".into(), transient: true }
}

#[async_trait]
impl Jobs for FlakyCatalog {
    async fn submit(&self, jobs: &[NewJob], now: Timestamp) -> Result<Vec<Job>, CatalogError> {
        let jobs = jobs.to_vec();
        self.call(move |inner| async move { inner.submit(&jobs, now).await }).await
    }

    async fn submit_once(
        &self,
        key: &RequestKey,
        jobs: &[NewJob],
        now: Timestamp,
    ) -> Result<Vec<Job>, CatalogError> {
        self.inner.submit_once(key, jobs, now).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, CatalogError> {
        let filter = filter.clone();
        self.call(|inner| async move { inner.jobs(&filter).await }).await
    }

    async fn reading(&self, jobs: &[JobId]) -> Result<Vec<(JobId, Reading)>, CatalogError> {
        let jobs = jobs.to_vec();
        self.call(move |inner| async move { inner.reading(&jobs).await }).await
    }

    async fn last_due(
        &self,
        objects: &[ObjectId],
        until: Timestamp,
    ) -> Result<Vec<(ObjectId, Timestamp)>, CatalogError> {
        let objects = objects.to_vec();
        self.call(move |inner| async move { inner.last_due(&objects, until).await }).await
    }

    async fn pin_graph(
        &self,
        lease: &Lease,
        inputs: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError> {
        let (lease, inputs) = (lease.clone(), inputs.to_vec());
        self.named("pin_graph", |inner| async move { inner.pin_graph(&lease, &inputs).await }).await
    }

    async fn put_graph_output(
        &self,
        lease: &Lease,
        output: &PinnedInput,
    ) -> Result<(), CatalogError> {
        let (lease, output) = (lease.clone(), output.clone());
        let work = |inner: Arc<SqliteCatalog>| async move {
            inner.put_graph_output(&lease, &output).await
        };
        self.named("put_graph_output", work).await
    }

    async fn graph_inputs(
        &self,
        graphs: &[GraphId],
    ) -> Result<Vec<(GraphId, PinnedInput)>, CatalogError> {
        self.inner.graph_inputs(graphs).await
    }

    async fn claim(
        &self,
        worker: WorkerId,
        takes: &Takes,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<Option<ClaimedRun>, CatalogError> {
        let takes = takes.clone();
        self.call(move |inner| async move { inner.claim(worker, &takes, now, lease_for).await })
            .await
    }

    async fn pin(
        &self,
        lease: &Lease,
        inputs: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError> {
        let (lease, inputs) = (lease.clone(), inputs.to_vec());
        self.named("pin", |inner| async move { inner.pin(&lease, &inputs).await }).await
    }

    async fn pinned(&self, run: RunId) -> Result<Option<Vec<PinnedInput>>, CatalogError> {
        self.call(move |inner| async move { inner.pinned(run).await }).await
    }

    async fn heartbeat(
        &self,
        lease: &Lease,
        state: JobState,
        progress: &RunProgress,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<LeaseState, CatalogError> {
        let (lease, progress) = (lease.clone(), *progress);
        let name = if state == JobState::Committing { "committing" } else { "heartbeat" };
        self.named(name, move |inner| async move {
            inner.heartbeat(&lease, state, &progress, now, lease_for).await
        })
        .await
    }

    async fn finish(
        &self,
        lease: &Lease,
        outcome: &RunOutcome,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let (lease, outcome) = (lease.clone(), outcome.clone());
        let work = move |inner: Arc<SqliteCatalog>| async move {
            inner.finish(&lease, &outcome, now).await
        };
        self.named("finish", work).await
    }

    async fn cancel(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError> {
        self.inner.cancel(job, now).await
    }

    async fn approve(
        &self,
        job: JobId,
        approval: &Approval,
        now: Timestamp,
    ) -> Result<Job, CatalogError> {
        self.inner.approve(job, approval, now).await
    }

    async fn retry(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError> {
        self.inner.retry(job, now).await
    }

    async fn retry_failed(&self, job: JobId, now: Timestamp) -> Result<Vec<Job>, CatalogError> {
        self.inner.retry_failed(job, now).await
    }

    async fn last_refresh(&self, object: ObjectId) -> Result<Option<LastRun>, CatalogError> {
        self.inner.last_refresh(object).await
    }

    async fn runs(&self, jobs: Option<&[JobId]>, limit: u32) -> Result<Vec<Run>, CatalogError> {
        self.inner.runs(jobs, limit).await
    }

    async fn run(&self, run: RunId) -> Result<Option<Run>, CatalogError> {
        self.inner.run(run).await
    }

    async fn run_inputs(&self, runs: &[RunId]) -> Result<Vec<(RunId, PinnedInput)>, CatalogError> {
        self.inner.run_inputs(runs).await
    }
}

#[async_trait]
impl Notifications for FlakyCatalog {
    async fn notify(
        &self,
        new: &[NewNotification],
        open_max: u64,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        self.inner.notify(new, open_max, now).await
    }

    async fn claim_notifications(
        &self,
        now: Timestamp,
        hold_for: Duration,
        limit: u32,
    ) -> Result<Vec<DueNotification>, CatalogError> {
        self.inner.claim_notifications(now, hold_for, limit).await
    }

    async fn finish_notification(
        &self,
        sent: &Try,
        ended: &TryEnded,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.inner.finish_notification(sent, ended, now).await
    }

    async fn prune_notifications(&self, until: Timestamp) -> Result<(), CatalogError> {
        self.inner.prune_notifications(until).await
    }

    async fn notifications(&self, limit: u32) -> Result<Vec<Notification>, CatalogError> {
        self.inner.notifications(limit).await
    }
}

#[async_trait]
impl Objects for FlakyCatalog {
    async fn schemas(&self) -> Result<Vec<Schema>, CatalogError> {
        self.call(|inner| async move { inner.schemas().await }).await
    }

    async fn create_schema(&self, schema: &Schema) -> Result<(), CatalogError> {
        self.inner.create_schema(schema).await
    }

    async fn drop_schema(&self, name: &str) -> Result<(), CatalogError> {
        self.inner.drop_schema(name).await
    }

    async fn put_object(&self, object: &Object, on: OnConflict) -> Result<Put, CatalogError> {
        self.inner.put_object(object, on).await
    }

    async fn replace_objects(&self, objects: &[Object]) -> Result<(), CatalogError> {
        self.inner.replace_objects(objects).await
    }

    async fn set_owner(&self, id: ObjectId, version: i64, owner: &str) -> Result<(), CatalogError> {
        self.inner.set_owner(id, version, owner).await
    }

    async fn set_policy(
        &self,
        id: ObjectId,
        version: i64,
        policy: &Policy,
    ) -> Result<(), CatalogError> {
        self.inner.set_policy(id, version, policy).await
    }

    async fn drop_object(&self, id: ObjectId, version: i64) -> Result<(), CatalogError> {
        self.inner.drop_object(id, version).await
    }

    async fn objects_named(&self, names: &[ObjectName]) -> Result<Vec<Object>, CatalogError> {
        let names = names.to_vec();
        self.call(|inner| async move { inner.objects_named(&names).await }).await
    }

    async fn object(&self, id: ObjectId) -> Result<Option<Object>, CatalogError> {
        self.call(move |inner| async move { inner.object(id).await }).await
    }

    async fn objects(&self) -> Result<Vec<Object>, CatalogError> {
        self.call(|inner| async move { inner.objects().await }).await
    }

    async fn objects_version(&self) -> Result<i64, CatalogError> {
        self.call(|inner| async move { inner.objects_version().await }).await
    }
}

#[async_trait]
impl Principals for FlakyCatalog {
    async fn add_user(&self, user: &User) -> Result<(), CatalogError> {
        self.inner.add_user(user).await
    }

    async fn set_password_hash(
        &self,
        name: &str,
        hash: &str,
        scram: &str,
    ) -> Result<bool, CatalogError> {
        self.inner.set_password_hash(name, hash, scram).await
    }

    async fn user(&self, name: &str) -> Result<Option<User>, CatalogError> {
        self.inner.user(name).await
    }

    async fn has_users(&self) -> Result<bool, CatalogError> {
        self.inner.has_users().await
    }
}

#[async_trait]
impl Tokens for FlakyCatalog {
    async fn create_token(&self, token: &Token, digest: &str) -> Result<(), CatalogError> {
        self.inner.create_token(token, digest).await
    }

    async fn drop_token(&self, user: &str, name: &str) -> Result<bool, CatalogError> {
        self.inner.drop_token(user, name).await
    }

    async fn tokens(&self) -> Result<Vec<Token>, CatalogError> {
        self.inner.tokens().await
    }

    async fn use_token(&self, digest: &str, now: Timestamp) -> Result<Option<Token>, CatalogError> {
        self.inner.use_token(digest, now).await
    }
}

#[async_trait]
impl Audit for FlakyCatalog {
    async fn append_audit(&self, records: &[AuditRecord]) -> Result<(), CatalogError> {
        self.inner.append_audit(records).await
    }

    async fn audit(
        &self,
        principal: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StoredAudit>, CatalogError> {
        self.inner.audit(principal, before, limit).await
    }

    async fn prune_audit(&self, until: Timestamp, keep: u64) -> Result<(), CatalogError> {
        self.inner.prune_audit(until, keep).await
    }
}

#[async_trait]
impl Grants for FlakyCatalog {
    async fn drop_principal(&self, name: &str) -> Result<bool, CatalogError> {
        self.inner.drop_principal(name).await
    }

    async fn users(&self) -> Result<Vec<String>, CatalogError> {
        self.inner.users().await
    }

    async fn roles(&self) -> Result<Vec<String>, CatalogError> {
        self.inner.roles().await
    }

    async fn members(&self) -> Result<Vec<Member>, CatalogError> {
        self.inner.members().await
    }

    async fn create_role(&self, name: &str) -> Result<(), CatalogError> {
        self.inner.create_role(name).await
    }

    async fn set_limits(&self, role: &str, limits: &RoleLimits) -> Result<(), CatalogError> {
        self.inner.set_limits(role, limits).await
    }

    async fn limits(&self) -> Result<BTreeMap<String, RoleLimits>, CatalogError> {
        self.inner.limits().await
    }

    async fn add_member(&self, member: &Member) -> Result<(), CatalogError> {
        self.inner.add_member(member).await
    }

    async fn remove_member(&self, member: &Member) -> Result<bool, CatalogError> {
        self.inner.remove_member(member).await
    }

    async fn grant(&self, grants: &[Grant], by: &str, now: Timestamp) -> Result<(), CatalogError> {
        self.inner.grant(grants, by, now).await
    }

    async fn revoke(&self, grants: &[Grant]) -> Result<u64, CatalogError> {
        self.inner.revoke(grants).await
    }

    async fn grants(&self) -> Result<Vec<GivenGrant>, CatalogError> {
        self.inner.grants().await
    }

    async fn rights(&self, name: &str) -> Result<Option<Rights>, CatalogError> {
        let name = name.to_owned();
        self.call(|inner| async move { inner.rights(&name).await }).await
    }
}

#[async_trait]
impl Leaders for FlakyCatalog {
    async fn lead(&self, bid: &Bid, now: Timestamp) -> Result<Leader, CatalogError> {
        let bid = bid.clone();
        self.call(move |inner| async move { inner.lead(&bid, now).await }).await
    }

    async fn resign(&self, role: &str, worker: WorkerId) -> Result<(), CatalogError> {
        let role = role.to_owned();
        self.call(move |inner| async move { inner.resign(&role, worker).await }).await
    }

    async fn leaders(&self) -> Result<Vec<Leader>, CatalogError> {
        self.inner.leaders().await
    }
}

#[async_trait]
impl Verifications for FlakyCatalog {
    async fn add_verification(&self, verification: &Verification) -> Result<(), CatalogError> {
        let verification = verification.clone();
        self.call(move |inner| async move { inner.add_verification(&verification).await }).await
    }

    async fn verifications(&self) -> Result<Vec<StoredVerification>, CatalogError> {
        self.call(|inner| async move { inner.verifications().await }).await
    }
}

#[async_trait]
impl SealKeys for FlakyCatalog {
    async fn seal_keys(
        &self,
        fresh: &Secret,
        rotate_after: Duration,
        now: Timestamp,
    ) -> Result<Vec<SealKey>, CatalogError> {
        self.inner.seal_keys(fresh, rotate_after, now).await
    }
}

impl Catalog for FlakyCatalog {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    // Several processes of a simulation do.
    fn is_shared(&self) -> bool {
        true
    }
}
