//! Reading jobs and runs.

use std::collections::{BTreeMap, HashMap};

use catalog::{
    error::CatalogError,
    jobs::{JobFilter, Reading},
};
use model::{
    approval::{Approval, Chosen},
    id::{JobId, RunId},
    job::{Job, JobCause, JobState, PinnedInput, Ranges, Run, RunProgress},
    profile::Resources,
    report::RunReport,
    work::{JobKind, Maintained},
};

use super::graph::graph_has_begun;
use crate::{
    body::read_work,
    database::{Database, Transaction},
    sql::{Sql, sql},
    value::{Row, Value, corrupt, list, values},
};

macro_rules! select_jobs {
    () => {
        "SELECT j.id, j.kind, j.arguments, j.object_id, j.object_schema, j.object_name, j.state, j.cause, \
         j.requested_by, j.forced, j.queued_at, r.started_at, j.finished_at, j.run_id, j.attempt, \
         j.attempts_max, r.rows_read, r.rows_read_expected, r.rows_written, r.bytes_written, r.files, \
         r.files_expected, r.output_version, r.result, j.error, j.priority, \
         j.idempotency_key, j.parent_id, r.strategy, r.reason, r.report, \
         j.approved_by, j.approved_at, j.approved_definition, j.graph_id, j.profile, j.bytes_max \
         FROM jobs j LEFT JOIN runs r ON r.id = j.run_id WHERE "
    };
}

/// The columns of [`select_jobs`] for a job that a run, which began at time `$5`, has just begun for.
macro_rules! columns_of_a_new_run {
    () => {
        "id, kind, arguments, object_id, object_schema, object_name, state, cause, \
         requested_by, forced, queued_at, CAST($5 AS BIGINT), finished_at, run_id, attempt, \
         attempts_max, CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(0 AS BIGINT), \
         CAST(0 AS BIGINT), CAST(0 AS BIGINT), CAST(NULL AS BIGINT), NULL, error, priority, \
         idempotency_key, parent_id, NULL, NULL, NULL, \
         approved_by, approved_at, approved_definition, graph_id, profile, bytes_max"
    };
}
pub(super) use columns_of_a_new_run;

macro_rules! select_runs {
    () => {
        "SELECT r.id, r.job_id, j.kind, r.object_id, j.object_schema, j.object_name, r.run_seq, r.state, \
         r.attempt, r.worker_id, r.started_at, r.finished_at, r.strategy, r.reason, r.rows_read, \
         r.rows_read_expected, r.rows_written, r.bytes_written, r.files, r.files_expected, \
         r.output_version, r.result, r.error, r.report, j.graph_id, r.definition_hash \
         FROM runs r JOIN jobs j ON j.id = r.job_id "
    };
}

// The most selective condition stands alone, so that its index is used.
const BY_ID: Sql = sql!(select_jobs "j.id " [among 1]
    " AND ($2 IS NULL OR j.object_id = $2) AND ($3 IS NULL OR j.state IN " [list 3] ")"
    " AND ($5 IS NULL OR j.kind = $5) AND ($6 IS NULL OR j.graph_id = $6) ORDER BY j.queued_at DESC, j.queue_seq DESC LIMIT $4");
const BY_OBJECT: Sql = sql!(select_jobs "j.object_id = $2"
    " AND ($1 IS NULL OR j.id IN " [list 1] ") AND ($3 IS NULL OR j.state IN " [list 3] ")"
    " AND ($5 IS NULL OR j.kind = $5) AND ($6 IS NULL OR j.graph_id = $6) ORDER BY j.queued_at DESC, j.queue_seq DESC LIMIT $4");
const BY_GRAPH: Sql = sql!(select_jobs "j.graph_id = $6"
    " AND ($1 IS NULL OR j.id IN " [list 1] ") AND ($2 IS NULL OR j.object_id = $2)"
    " AND ($3 IS NULL OR j.state IN " [list 3] ") AND ($5 IS NULL OR j.kind = $5)"
    " ORDER BY j.queued_at DESC, j.queue_seq DESC LIMIT $4");
const BY_TIME: Sql = sql!(select_jobs "($1 IS NULL OR j.id IN " [list 1] ")"
    " AND ($2 IS NULL OR j.object_id = $2) AND ($3 IS NULL OR j.state IN " [list 3] ")"
    " AND ($5 IS NULL OR j.kind = $5) AND ($6 IS NULL OR j.graph_id = $6) ORDER BY j.queued_at DESC, j.queue_seq DESC LIMIT $4");

/// The jobs that match, newest first.
pub(super) async fn jobs(
    tx: &mut impl Transaction,
    filter: &JobFilter,
) -> Result<Vec<Job>, CatalogError> {
    let JobFilter { ids, object, kind, graph, states, limit } = filter;
    let none = Value::Text(None);
    let sql = match (ids, graph, object) {
        (Some(_), ..) => BY_ID,
        (None, Some(_), _) => BY_GRAPH,
        (None, None, Some(_)) => BY_OBJECT,
        (None, None, None) => BY_TIME,
    };
    let values = vec![
        ids.as_ref().map_or_else(|| none.clone(), list),
        object.map_or_else(|| none.clone(), Value::from),
        states.as_ref().map_or_else(|| none.clone(), list),
        limit.map_or(Value::from(i64::MAX), Value::from),
        kind.map_or_else(|| none.clone(), |kind| Value::from(kind.as_str())),
        graph.map_or_else(|| none.clone(), Value::from),
    ];
    let mut jobs = Vec::new();
    for row in tx.rows(sql, values).await? {
        jobs.push(read_job(row)?);
    }
    let mut after = after(tx, jobs.iter().map(|job| job.id)).await?;
    for job in &mut jobs {
        job.after = after.remove(&job.id).unwrap_or_default();
    }
    ranges(tx, &mut jobs).await?;
    Ok(jobs)
}

/// See [`catalog::jobs::Jobs::reading`].
pub(super) async fn reading(
    db: &impl Database,
    jobs: &[JobId],
) -> Result<Vec<(JobId, Reading)>, CatalogError> {
    let rows = db
        .rows(
            "look what jobs read",
            sql!("SELECT j.id, j.state, r.pinned,"
                 " CAST(CASE WHEN r.pinned = 1 THEN 0 WHEN " graph_has_begun " THEN 1 ELSE 0 END"
                 " AS BIGINT),"
                 " i.object_id, i.version"
                 " FROM jobs j LEFT JOIN runs r ON r.id = j.run_id"
                 " LEFT JOIN run_inputs i ON i.run_id = r.id WHERE j.id " [among 1]),
            vec![list(jobs)],
        )
        .await?;
    let mut reading = BTreeMap::new();
    for mut row in rows {
        let job: JobId = row.parsed("job id")?;
        let state: JobState = row.parsed("job state")?;
        let is_pinned = row.int_opt("pin of a run")? == Some(1);
        let chosen_for_it = row.truth("whether a graph run has begun")?;
        if is_pinned {
            let known = reading.entry(job).or_insert_with(|| Reading::At(BTreeMap::new()));
            if let (Reading::At(versions), Some(object)) = (known, row.parsed_opt("object id")?) {
                versions.insert(object, row.int("pinned version")?);
            }
            continue;
        }
        let chooses = match state {
            JobState::Queued if !chosen_for_it => Reading::Newest,
            JobState::Planning | JobState::Running | JobState::Committing => Reading::Choosing,
            _ => continue,
        };
        reading.insert(job, chooses);
    }
    Ok(reading.into_iter().collect())
}

/// What the ranges of the BACKFILLs among these jobs have come to.
async fn ranges(tx: &mut impl Transaction, jobs: &mut [Job]) -> Result<(), CatalogError> {
    let backfills = jobs.iter().filter(|job| job.work.kind() == JobKind::Backfill);
    let parents: Vec<_> = backfills.map(|job| job.id).collect();
    if parents.is_empty() {
        return Ok(());
    }
    let rows = tx
        .rows(
            sql!("SELECT c.parent_id, count(*),"
                 " CAST(sum(CASE WHEN c.state IN ('SUCCEEDED', 'SKIPPED_NO_CHANGE')"
                 " THEN 1 ELSE 0 END) AS BIGINT),"
                 " CAST(sum(CASE WHEN c.state IN ('FAILED', 'CANCELLED', 'UPSTREAM_FAILED')"
                 " THEN 1 ELSE 0 END) AS BIGINT),"
                 " min(r.started_at), max(r.output_version),"
                 " CAST(sum(r.rows_read) AS BIGINT), CAST(sum(r.rows_read_expected) AS BIGINT),"
                 " CAST(sum(r.rows_written) AS BIGINT), CAST(sum(r.bytes_written) AS BIGINT),"
                 " CAST(sum(r.files) AS BIGINT), CAST(sum(r.files_expected) AS BIGINT)"
                 " FROM jobs c LEFT JOIN runs r ON r.id = c.run_id"
                 " WHERE c.parent_id IN " [list 1] " GROUP BY c.parent_id"),
            vec![list(parents)],
        )
        .await?;
    for mut row in rows {
        let parent: JobId = row.parsed("job id")?;
        let ranges = Ranges {
            all: row.small("number of jobs")?,
            succeeded: row.small("number of jobs")?,
            unsuccessful: row.small("number of jobs")?,
        };
        let started_at = row.time_opt("time of the start")?;
        let output_version = row.int_opt("output version")?;
        let progress = read_progress(&mut row)?;
        for job in jobs.iter_mut().filter(|job| job.id == parent) {
            job.ranges = Some(ranges);
            (job.started_at, job.output_version) = (started_at, output_version);
            job.progress = progress;
        }
    }
    Ok(())
}

/// One job that is there.
pub(super) async fn job(tx: &mut impl Transaction, id: JobId) -> Result<Job, CatalogError> {
    let filter = JobFilter { ids: Some(vec![id]), ..JobFilter::default() };
    let found = jobs(tx, &filter).await?.pop();
    found.ok_or_else(|| CatalogError::JobNotFound(id.to_string()))
}

/// The jobs that each of these waits for; a job that waits for none has no entry.
pub(super) async fn after(
    tx: &mut impl Transaction,
    jobs: impl IntoIterator<Item = JobId>,
) -> Result<HashMap<JobId, Vec<JobId>>, CatalogError> {
    let rows = tx
        .rows(
            sql!("SELECT job_id, upstream_id FROM job_after WHERE job_id " [among 1]
                 " ORDER BY job_id, position"),
            vec![list(jobs)],
        )
        .await?;
    let mut after: HashMap<JobId, Vec<JobId>> = HashMap::new();
    for mut row in rows {
        let (job, upstream) = (row.parsed("job id")?, row.parsed("job id")?);
        after.entry(job).or_default().push(upstream);
    }
    Ok(after)
}

/// Runs of the given jobs or of all, newest first.
pub(super) async fn runs(
    tx: &mut impl Transaction,
    jobs: Option<&[JobId]>,
    limit: u32,
) -> Result<Vec<Run>, CatalogError> {
    let rows = match jobs {
        Some(jobs) => {
            tx.rows(
                sql!(select_runs "WHERE r.job_id " [among 1]
                     " ORDER BY r.started_at DESC, r.id DESC LIMIT $2"),
                vec![list(jobs), Value::from(limit)],
            )
            .await?
        }
        None => {
            tx.rows(
                sql!(select_runs "ORDER BY r.started_at DESC, r.id DESC LIMIT $1"),
                values![limit],
            )
            .await?
        }
    };
    rows.into_iter().map(read_run).collect()
}

/// One run, if it is there.
pub(super) async fn run(
    tx: &mut impl Transaction,
    run: RunId,
) -> Result<Option<Run>, CatalogError> {
    let found = tx.rows(sql!(select_runs "WHERE r.id = $1"), values![run]).await?;
    found.into_iter().next().map(read_run).transpose()
}

/// Pinned inputs, in the order of `runs` and within a run in the order in which they were pinned.
pub(super) async fn run_inputs(
    tx: &mut impl Transaction,
    runs: &[RunId],
) -> Result<Vec<(RunId, PinnedInput)>, CatalogError> {
    if runs.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx
        .rows(
            sql!("SELECT run_id, object_id, object_schema, object_name, delta_table_id, version"
                 " FROM run_inputs WHERE run_id " [among 1] " ORDER BY run_id, position"),
            vec![list(runs)],
        )
        .await?;
    let mut by_run: HashMap<RunId, Vec<PinnedInput>> = HashMap::new();
    for mut row in rows {
        by_run.entry(row.parsed("run id")?).or_default().push(PinnedInput {
            object: row.parsed("object id")?,
            name: row.name("object name")?,
            delta_table_id: row.text("id of a Delta table")?,
            version: row.int("pinned version")?,
        });
    }
    let mut inputs = Vec::new();
    for run in runs {
        // Removed, so that a run that is named twice is answered once.
        inputs.extend(by_run.remove(run).into_iter().flatten().map(|input| (*run, input)));
    }
    Ok(inputs)
}

pub(super) fn read_job(mut row: Row) -> Result<Job, CatalogError> {
    let job = Job {
        id: row.parsed("job id")?,
        work: read_work(row.parsed("kind of a job")?, &row.text("arguments of a job")?)?,
        object: row.parsed("object id")?,
        object_name: row.name("object name")?,
        state: row.parsed("job state")?,
        cause: read_cause(&row.text("cause of a job")?)?,
        requested_by: row.text("name of a principal")?,
        after: Vec::new(),
        force: row.truth("force")?,
        queued_at: row.time("time of queueing")?,
        started_at: row.time_opt("time of the start")?,
        finished_at: row.time_opt("time of the end")?,
        run: row.parsed_opt("run id")?,
        attempt: row.small("attempt")?,
        attempts_max: row.small("number of attempts")?,
        progress: read_progress(&mut row)?,
        output_version: row.int_opt("output version")?,
        result: read_result(&mut row)?,
        error: row.text_opt("error of a job")?,
        priority: read_priority(&mut row)?,
        idempotency_key: row.text_opt("key of a request")?,
        parent: row.parsed_opt("job id")?,
        ranges: None,
        chosen: Chosen::default(),
        approval: None,
        graph: None,
        resources: Resources::default(),
    };
    let (strategy, reason) = (row.text_opt("strategy of a run")?, row.text_opt("reason of a run")?);
    let RunReport { alternatives, bytes_estimated, .. } = read_report(&mut row)?;
    let chosen = Chosen { strategy, reason, alternatives, bytes_estimated };
    let approval = read_approval(&mut row)?;
    let graph = row.parsed_opt("graph run of a job")?;
    Ok(Job { chosen, approval, graph, resources: read_resources(&mut row)?, ..job })
}

fn read_resources(row: &mut Row) -> Result<Resources, CatalogError> {
    let profile = row.text("profile of a job")?;
    let bytes_max = row.int_opt("bytes of a job")?.map(u64::try_from).transpose();
    let bytes_max = bytes_max.map_err(|error| corrupt("bytes of a job", error))?;
    Ok(Resources { profile, bytes_max })
}

fn read_approval(row: &mut Row) -> Result<Option<Approval>, CatalogError> {
    let by = row.text_opt("who approved a job")?;
    let at = row.time_opt("time of an approval")?;
    let definition_hash = row.text_opt("definition hash")?;
    let (Some(by), Some(at), Some(definition_hash)) = (by, at, definition_hash) else {
        return Ok(None);
    };
    Ok(Some(Approval { by, at, definition_hash }))
}

fn read_priority(row: &mut Row) -> Result<i32, CatalogError> {
    let number = row.int("priority of a job")?;
    i32::try_from(number).map_err(|error| corrupt("priority of a job", error))
}

fn read_run(mut row: Row) -> Result<Run, CatalogError> {
    Ok(Run {
        id: row.parsed("run id")?,
        job: row.parsed("job id")?,
        kind: row.parsed::<JobKind>("kind of a job")?,
        object: row.parsed("object id")?,
        object_name: row.name("object name")?,
        run_seq: row.int("number of a run")?,
        state: row.parsed("run state")?,
        attempt: row.small("attempt")?,
        worker: row.parsed_opt("worker id")?,
        started_at: row.time("time of the start")?,
        finished_at: row.time_opt("time of the end")?,
        strategy: row.text_opt("strategy of a run")?,
        reason: row.text_opt("reason of a run")?,
        progress: read_progress(&mut row)?,
        output_version: row.int_opt("output version")?,
        result: read_result(&mut row)?,
        error: row.text_opt("error of a run")?,
        report: read_report(&mut row)?,
        graph: row.parsed_opt("graph run of a job")?,
        definition_hash: row.text_opt("definition hash")?,
    })
}

fn read_progress(row: &mut Row) -> Result<RunProgress, CatalogError> {
    Ok(RunProgress {
        rows_read: row.count("rows read")?,
        rows_read_expected: row.count("rows to read")?,
        rows_written: row.count("rows written")?,
        bytes_written: row.count("bytes written")?,
        files: row.count("files")?,
        files_expected: row.count("files expected")?,
    })
}

fn read_result(row: &mut Row) -> Result<Option<Maintained>, CatalogError> {
    let text = row.text_opt("result of a run")?;
    let result = text.map(|text| serde_json::from_str(&text)).transpose();
    result.map_err(|error| corrupt("result of a run", error))
}

pub(super) fn read_report(row: &mut Row) -> Result<RunReport, CatalogError> {
    let text = row.text_opt("report of a run")?;
    let report = text.map(|text| serde_json::from_str(&text)).transpose();
    report.map(Option::unwrap_or_default).map_err(|error| corrupt("report of a run", error))
}

fn read_cause(text: &str) -> Result<JobCause, CatalogError> {
    JobCause::ALL
        .into_iter()
        .find(|cause| cause.as_str() == text)
        .ok_or_else(|| corrupt("cause of a job", format!("'{text}' is no cause")))
}
