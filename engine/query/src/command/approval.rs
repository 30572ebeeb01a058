//! APPROVE JOB, and what jobs that wait for a person mean to those who wait for jobs.

use std::collections::{BTreeMap, BTreeSet};

use catalog::{error::CatalogError, jobs::JobFilter};
use model::{
    approval::Approval,
    id::JobId,
    job::{Job, JobState},
    rights::Privilege,
};

use super::jobs;
use crate::{
    authorize::not_granted,
    definition,
    error::QueryError,
    queries::{Inner, Queries},
    session::Session,
};

/// Lets a job that waits for approval go on: a full refresh of the definition as it is now. Whoever
/// may refresh the object may.
pub(super) async fn approve(
    inner: &Inner,
    session: &Session,
    text: &str,
) -> Result<Job, QueryError> {
    let job = jobs::one(inner, session, text).await?;
    let rights = inner.rights(session.principal()).await?;
    let catalog = &inner.options.catalog;
    let Some(object) = catalog.object(job.object).await? else {
        return Err(CatalogError::ObjectGone(job.object_name.to_string()).into());
    };
    if !rights.allows(Privilege::Refresh, &object) {
        return Err(not_granted(&rights, Privilege::Refresh, &object.name.to_sql()));
    }
    let definition_hash = match object.transform() {
        Some(view) => {
            definition::hash(catalog.as_ref(), catalog.as_ref(), &object.owner, view).await?
        }
        None => String::new(),
    };
    let at = inner.options.clock.now();
    let approval = Approval { by: session.principal().name().to_owned(), at, definition_hash };
    let job = catalog.approve(job.id, &approval, at).await?;
    tracing::info!(job_id = %job.id, object = %job.object_name, by = approval.by, "full refresh approved");
    Ok(job)
}

impl Queries {
    /// Whether nothing happens to any of these jobs by itself: each has ended, or it waits for a
    /// person, or for a job that does.
    pub async fn all_rest(&self, jobs: &[Job]) -> Result<bool, QueryError> {
        all_rest(&self.inner, jobs).await
    }
}

/// See [`Queries::all_rest`].
pub(super) async fn all_rest(inner: &Inner, jobs: &[Job]) -> Result<bool, QueryError> {
    if jobs.iter().all(|job| job.state.rests()) {
        return Ok(true);
    }
    let moves = |job: &Job| job.state.is_under_way() || is_next(job);
    if jobs.iter().any(moves) {
        return Ok(false);
    }
    // What is left waits for others: it rests when one of those asks.
    let known = with_upstream(inner, jobs).await?;
    Ok(jobs.iter().all(|job| job.state.rests() || asks_before(&known, job).is_some()))
}

/// A job that waits in the queue for nobody but a worker.
fn is_next(job: &Job) -> bool {
    job.state == JobState::Queued && job.after.is_empty()
}

/// The error for whoever waits for jobs of which one, or one that they wait for, asks.
pub(super) async fn question(
    inner: &Inner,
    jobs: &[Job],
) -> Result<Option<QueryError>, QueryError> {
    if jobs.iter().all(|job| job.state.is_final()) {
        return Ok(None);
    }
    let known = with_upstream(inner, jobs).await?;
    let asks = jobs.iter().find_map(|job| asks_before(&known, job));
    Ok(asks.map(|job| QueryError::JobAsks {
        object: job.object_name.clone(),
        reason: job.chosen.reason.clone().unwrap_or_default(),
        job: job.id,
    }))
}

/// These jobs and all that they wait for, directly or not.
async fn with_upstream(inner: &Inner, jobs: &[Job]) -> Result<BTreeMap<JobId, Job>, QueryError> {
    let mut known: BTreeMap<JobId, Job> = jobs.iter().map(|job| (job.id, job.clone())).collect();
    loop {
        let unknown: BTreeSet<JobId> = known
            .values()
            .filter(|job| !job.state.is_final())
            .flat_map(|job| &job.after)
            .filter(|id| !known.contains_key(id))
            .copied()
            .collect();
        if unknown.is_empty() {
            return Ok(known);
        }
        let filter = JobFilter { ids: Some(unknown.into_iter().collect()), ..JobFilter::default() };
        let found = inner.options.catalog.jobs(&filter).await?;
        if found.is_empty() {
            return Ok(known);
        }
        known.extend(found.into_iter().map(|job| (job.id, job)));
    }
}

/// The job that asks, of this one and those that it waits for.
fn asks_before<'a>(known: &'a BTreeMap<JobId, Job>, job: &Job) -> Option<&'a Job> {
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![job.id]);
    while let Some(id) = waiting.pop() {
        let Some(job) = known.get(&id).filter(|_| seen.insert(id)) else { continue };
        match job.state {
            JobState::AwaitingApproval => return Some(job),
            state if state.is_final() => {}
            _ => waiting.extend(&job.after),
        }
    }
    None
}
