//! What the checks are made of.

use std::{sync::Arc, time::Duration};

use model::{
    code::Code,
    id::{JobId, ObjectId, WorkerId},
    job::{ClaimedRun, Job, JobCause, JobState, NewJob, PinnedInput, RunOutcome, RunProgress},
    name::ObjectName,
    object::{Object, ObjectBody, Table, TableFormat},
    profile::Resources,
    report::{ExpectationResult, KeyResult, Promise, RunReport, SkippedRows},
    time::Timestamp,
    transform::{OnViolation, Transform},
    work::Work,
};

use crate::{
    Catalog,
    jobs::{JobFilter, Takes},
    objects::OnConflict,
};

pub(super) type C = Arc<dyn Catalog>;

/// How long leases are in the checks.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// So many seconds after the beginning of a check.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

pub(super) fn name(name: &str) -> ObjectName {
    ObjectName::new("main", name).unwrap()
}

pub(super) fn table(of: &str) -> Object {
    object(
        name(of),
        ObjectBody::Table(Table {
            location: format!("file:///lake/{of}/"),
            format: TableFormat::Delta,
            external: false,
            options: [("a".to_owned(), "1".to_owned())].into(),
            primary_key: vec!["id".to_owned()],
            path_columns: Vec::new(),
            complete_when: None,
        }),
    )
}

pub(super) fn transform(of: &str) -> Object {
    object(
        name(of),
        ObjectBody::MaterializedView(Transform {
            query: "SELECT 1".to_owned(),
            definition: format!("CREATE MATERIALIZED VIEW {of} AS SELECT 1"),
            schema: "main".to_owned(),
            definition_hash: "hash".to_owned(),
            reads: vec![name("input")],
            location: format!("file:///lake/{of}/"),
            partitioned_by: vec![],
            schedule: None,
            schedule_since: Some(at(1)),
            columns: vec![],
            source_file: None,
            suspended: false,
            ..Transform::default()
        }),
    )
}

pub(super) fn object(name: ObjectName, body: ObjectBody) -> Object {
    Object {
        id: ObjectId::generate(),
        name,
        body,
        comment: Some("it's a \"comment\"".to_owned()),
        properties: [("k".to_owned(), "v".to_owned())].into(),
        owner: "ada".to_owned(),
        policy: model::object::Policy::default(),
        created_at: at(0),
        definition_version: 1,
    }
}

/// Stores a transform of that name.
pub(super) async fn stored(catalog: &C, of: &str) -> ObjectId {
    let object = transform(of);
    catalog.put_object(&object, OnConflict::Fail).await.unwrap();
    object.id
}

pub(super) fn new_job(object: ObjectId) -> NewJob {
    NewJob {
        id: JobId::generate(),
        work: Work::Refresh,
        object,
        cause: JobCause::Request,
        requested_by: "ada".to_owned(),
        after: vec![],
        due_at: None,
        force: false,
        attempts_max: 3,
        priority: 0,
        parent: None,
        graph: None,
        resources: Resources::default(),
    }
}

/// Stores a transform and queues a job for it.
pub(super) async fn queued(catalog: &C, of: &str, after: &[JobId]) -> Job {
    let object = stored(catalog, of).await;
    submit_one(catalog, NewJob { after: after.to_vec(), ..new_job(object) }).await
}

pub(super) async fn submit_one(catalog: &C, job: NewJob) -> Job {
    let mut answer = catalog.submit(&[job], at(0)).await.unwrap();
    assert_eq!(answer.len(), 1);
    answer.remove(0)
}

pub(super) async fn job(catalog: &C, id: JobId) -> Job {
    let filter = JobFilter { ids: Some(vec![id]), ..JobFilter::default() };
    catalog.jobs(&filter).await.unwrap().pop().unwrap()
}

pub(super) async fn state(catalog: &C, id: JobId) -> JobState {
    job(catalog, id).await.state
}

/// Claims as a worker of its own.
pub(super) async fn try_claim(catalog: &C, now: Timestamp) -> Option<ClaimedRun> {
    claim_of(catalog, &Takes::default(), now).await
}

/// As [`try_claim`], by a worker that takes only some jobs.
pub(super) async fn claim_of(catalog: &C, takes: &Takes, now: Timestamp) -> Option<ClaimedRun> {
    catalog.claim(WorkerId::generate(), takes, now, LEASE).await.unwrap()
}

pub(super) async fn claim(catalog: &C, now: Timestamp) -> ClaimedRun {
    try_claim(catalog, now).await.expect("a job can run")
}

pub(super) fn progress(rows: u64) -> RunProgress {
    RunProgress {
        rows_read: rows,
        rows_read_expected: rows * 2,
        rows_written: rows + 1,
        bytes_written: rows * 100,
        files: rows / 2,
        files_expected: rows,
    }
}

pub(super) fn succeeded(output_version: i64) -> RunOutcome {
    RunOutcome::Succeeded {
        output_version,
        progress: progress(10),
        strategy: "FULL".to_owned(),
        reason: "FIRST_RUN".to_owned(),
        definition_hash: "hash".to_owned(),
        report: report(10),
    }
}

/// What a run of so many rows says of itself.
pub(super) fn report(rows: u64) -> RunReport {
    RunReport {
        rows_in: Some(rows + 3),
        rows_out: Some(rows),
        rows_dropped: Some(2),
        rows_quarantined: Some(1),
        expectations: vec![ExpectationResult {
            name: "it's \"positive\"".to_owned(),
            on_violation: OnViolation::Drop,
            violated: 2,
        }],
        keys: vec![KeyResult { name: "pk".to_owned(), violated: 0 }],
        broken: Some(Promise::Unique),
        skipped: vec![SkippedRows {
            input: "00000000-0000-7000-8000-000000000007".parse().unwrap(),
            commits: 2,
            rows: Some(rows),
        }],
        alternatives: vec!["APPEND: a row went".to_owned()],
        ..RunReport::default()
    }
}

pub(super) fn failed(code: Code) -> RunOutcome {
    RunOutcome::Failed {
        code,
        message: "the disk is full".to_owned(),
        retry_after: Duration::from_secs(60),
        strategy: None,
        reason: None,
        report: RunReport::default(),
    }
}

pub(super) fn input(of: &str, version: i64) -> PinnedInput {
    PinnedInput {
        object: ObjectId::generate(),
        name: name(of),
        delta_table_id: format!("{of}-id"),
        version,
    }
}
