//! A catalog whose answers get lost now and then.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use catalog::{
    Catalog,
    audit::{Audit, StoredAudit},
    error::CatalogError,
    grants::{GivenGrant, Grants, Member},
    jobs::{JobFilter, Jobs},
    objects::{Objects, OnConflict, Put, Schema},
    principals::{Principals, User},
    tokens::{Token, Tokens},
};
use catalog_sqlite::SqliteCatalog;
use model::{
    audit::AuditRecord,
    id::{JobId, ObjectId, RunId, WorkerId},
    job::{
        ClaimedRun, Job, JobState, LastRun, Lease, LeaseState, NewJob, PinnedInput, Run,
        RunOutcome, RunProgress,
    },
    limits::RoleLimits,
    name::ObjectName,
    object::{Object, Policy},
    rights::{Grant, Rights},
    time::Timestamp,
};
use parking_lot::Mutex;

use super::random::Random;

/// Every call runs in a task of its own: a caller that dies or stands still in the middle of one
/// neither undoes it nor blocks the database.
pub(crate) struct FlakyCatalog {
    inner: Arc<SqliteCatalog>,
    random: Mutex<Random>,
    /// One call in so many fails; 0 for none.
    failing: AtomicU64,
}

impl FlakyCatalog {
    pub(crate) async fn new(seed: u64) -> Self {
        let inner = Arc::new(SqliteCatalog::in_memory().await.unwrap());
        Self { inner, random: Mutex::new(Random::new(seed)), failing: AtomicU64::new(0) }
    }

    pub(super) fn fail_one_in(&self, calls: u64) {
        self.failing.store(calls, Ordering::SeqCst);
    }

    async fn call<T, F>(
        &self,
        work: impl FnOnce(Arc<SqliteCatalog>) -> F,
    ) -> Result<T, CatalogError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, CatalogError>> + Send + 'static,
    {
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
        self.inner.submit(jobs, now).await
    }

    async fn jobs(&self, filter: &JobFilter) -> Result<Vec<Job>, CatalogError> {
        let filter = filter.clone();
        self.call(|inner| async move { inner.jobs(&filter).await }).await
    }

    async fn last_due(&self, object: ObjectId) -> Result<Option<Timestamp>, CatalogError> {
        self.call(|inner| async move { inner.last_due(object).await }).await
    }

    async fn claim(
        &self,
        worker: WorkerId,
        now: Timestamp,
        lease_for: Duration,
    ) -> Result<Option<ClaimedRun>, CatalogError> {
        self.call(move |inner| async move { inner.claim(worker, now, lease_for).await }).await
    }

    async fn pin(
        &self,
        lease: &Lease,
        inputs: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError> {
        let (lease, inputs) = (lease.clone(), inputs.to_vec());
        self.call(|inner| async move { inner.pin(&lease, &inputs).await }).await
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
        self.call(move |inner| async move {
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
        self.call(move |inner| async move { inner.finish(&lease, &outcome, now).await }).await
    }

    async fn cancel(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError> {
        self.inner.cancel(job, now).await
    }

    async fn retry(&self, job: JobId, now: Timestamp) -> Result<Job, CatalogError> {
        self.inner.retry(job, now).await
    }

    async fn last_refresh(&self, object: ObjectId) -> Result<Option<LastRun>, CatalogError> {
        self.inner.last_refresh(object).await
    }

    async fn runs(&self, jobs: Option<&[JobId]>, limit: u32) -> Result<Vec<Run>, CatalogError> {
        self.inner.runs(jobs, limit).await
    }

    async fn run_inputs(&self, runs: &[RunId]) -> Result<Vec<(RunId, PinnedInput)>, CatalogError> {
        self.inner.run_inputs(runs).await
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

impl Catalog for FlakyCatalog {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn is_shared(&self) -> bool {
        false
    }
}
