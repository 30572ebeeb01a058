//! RELEASE QUARANTINE: checked here, done by a job.

use std::time::Duration;

use arrow::record_batch::RecordBatch;
use dialect::statement::{Quarantine, Wait};
use lake::At;
use model::{
    id::JobId,
    job::{JobCause, NewJob},
    name::{DEFAULT_SCHEMA, ObjectName},
    object::{Object, ObjectBody},
    transform::Transform,
    work::{Maintained, ReleaseWork, Released, Work},
};

use super::{jobs, quarantine::none_of};
use crate::{
    answer::{Answer, count},
    error::QueryError,
    expect::{has_quarantine, quarantine_app_id, quarantine_location},
    queries::{CommandResult, Inner, Queries},
    release::check_condition,
    session::Session,
    system::job_rows,
};

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    statement: Quarantine,
) -> Result<CommandResult, QueryError> {
    let Quarantine { name, condition, wait, .. } = statement;
    let inner = &queries.inner;
    let name = ObjectName::from_parts(&name, session.schema())?;
    let object = inner.object_named(session, &name).await?;
    let work = checked(inner, &object, condition).await?;
    let job = NewJob {
        id: JobId::generate(),
        work: Work::Release(work),
        object: object.id,
        cause: JobCause::Request,
        requested_by: session.principal().name().to_owned(),
        after: Vec::new(),
        due_at: None,
        force: false,
        attempts_max: inner.options.limits.attempts_max,
        priority: 0,
        parent: None,
        graph: None,
        resources: object.transform().map(|t| t.resources.clone()).unwrap_or_default(),
    };
    let queued = inner.options.catalog.submit(&[job], inner.options.clock.now()).await?;
    inner.options.wake.notify_one();
    let Wait::ForTheEnd { timeout_ms } = wait else {
        return Ok(CommandResult::rows(job_rows(&queued)));
    };
    let ids: Vec<_> = queued.iter().map(|job| job.id).collect();
    let ended = jobs::wait(inner, &ids, timeout_ms.map(Duration::from_millis)).await?;
    match ended.first() {
        Some(job) => match job.result {
            Some(Maintained::Released(done)) => Ok(CommandResult::rows(released(&[done]))),
            _ => Err(QueryError::JobEnded(format!(
                "RELEASE QUARANTINE of '{}' ended {}: {}",
                job.object_name,
                job.state,
                job.error.as_deref().unwrap_or("see system.runs")
            ))),
        },
        None => Err(QueryError::JobEnded("the job is gone from the catalog".to_owned())),
    }
}

/// The work, when nothing speaks against it.
async fn checked(
    inner: &Inner,
    object: &Object,
    condition: Option<String>,
) -> Result<ReleaseWork, QueryError> {
    let view = releasable(object)?;
    let lake = &inner.options.lake;
    let noted = lake.txn_version(&view.location, &quarantine_app_id(object.id)).await?;
    let Some(noted) = noted else {
        return match has_quarantine(&view.expectations) {
            true => Ok(ReleaseWork::default()),
            false => Err(none_of(object)),
        };
    };
    let Some(condition) = condition else { return Ok(ReleaseWork::default()) };
    let location = quarantine_location(&view.location);
    let quarantine = lake.snapshot(&location, At::Version(noted)).await?;
    let state = inner.state(DEFAULT_SCHEMA);
    let asked_at = check_condition(&state, &quarantine, &condition, inner.options.clock.now())?;
    Ok(ReleaseWork { condition: Some(condition), asked_at })
}

/// What rows may come back to: a table that keeps what it has. The rows of a query's result would be
/// taken away again by its next refresh.
fn releasable(object: &Object) -> Result<&Transform, QueryError> {
    let refused = |why: String| {
        Err(QueryError::WrongKind {
            name: object.name.clone(),
            kind: object.kind().as_sql(),
            problem: why,
        })
    };
    match &object.body {
        ObjectBody::StreamingTable(view) if view.query.is_empty() => Ok(view),
        ObjectBody::StreamingTable(_) => refused(format!(
            "whose rows AUTO CDC makes of all events: released ones would go with its next refresh. \
             Correct the events or the expectation, and REFRESH STREAMING TABLE {} FULL",
            object.name.to_sql()
        )),
        ObjectBody::MaterializedView(_) => refused(format!(
            "whose rows are those of its query: released ones would go with its next refresh. \
             Correct what the query reads or the expectation, and REFRESH MATERIALIZED VIEW {} FULL \
             asks all rows again",
            object.name.to_sql()
        )),
        _ => Err(none_of(object)),
    }
}

fn released(done: &[Released]) -> RecordBatch {
    Answer::new()
        .number("rows_released", done.iter().map(|done| count(done.rows_released)))
        .number("rows_kept", done.iter().map(|done| count(done.rows_kept)))
        .finish()
}

/// The columns of the answer, before there is one.
pub(super) fn answer(wait: Wait) -> RecordBatch {
    match wait {
        Wait::Not => job_rows(&[]),
        Wait::ForTheEnd { .. } => released(&[]),
    }
}
