//! BACKFILL: ranges of a materialized view are computed anew, each by a job of its own.
//!
//! All ranges are computed from the same versions of the inputs, those of when the statement comes.
//! Nothing is computed here: the jobs are queued together, and their parent is done when they are.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::RecordBatchOptions,
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
use datafusion::{
    common::{DFSchema, ScalarValue},
    execution::SessionState,
    physical_plan::ColumnarValue,
};
use dialect::statement::{Backfill, Wait};
use model::{
    id::JobId,
    job::{Job, JobCause, NewJob},
    name::ObjectName,
    principal::Principal,
    work::{BackfillWork, PartWork, Work},
};

use super::{
    jobs::{first_refresh_under_way, wait},
    ranges::{Ranges, cut},
    requests::{Asked, view_with_parts},
    target::physical_of,
};
use crate::{
    error::QueryError,
    numbers,
    queries::{CommandResult, Queries},
    session::Session,
    system::jobs_answer,
};

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    backfill: &Backfill,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = ObjectName::from_parts(&backfill.name, session.schema())?;
    let object = inner.object_named(session, &name).await?;
    let view = view_with_parts(&object, "BACKFILL")?;
    let Some(column) = view.partitioned_by.first() else {
        return Err(QueryError::Invalid(format!(
            "BACKFILL computes whole partitions one after the other, and '{name}' has none; REFRESH \
             it as a whole, or declare it PARTITIONED BY a column"
        )));
    };
    let columns = inner.stored_columns(&object).await?;
    let Ok(field) = columns.field_with_name(column) else {
        return Err(QueryError::Invalid(format!("'{name}' has no column '{column}' any more")));
    };
    let state = inner.state(session.schema());
    let (from, to) = (literal(&state, &backfill.from)?, literal(&state, &backfill.to)?);
    let Ranges { whole, mut ranges } = cut(column, field.data_type(), &from, &to, backfill.by)?;
    queries.check_part(&object, view, &whole).await?;
    if backfill.descending {
        ranges.reverse();
    }
    let owner = Principal::verified(&object.owner);
    let inputs = queries.transform_inputs(&owner, view, None).await?;
    let Asked { cause, priority, attempts_max, .. } = Asked::plainly(inner, JobCause::Request);
    let after: Vec<JobId> = first_refresh_under_way(inner, object.id).await?.into_iter().collect();
    let job = |work, parent, after| NewJob {
        id: JobId::generate(),
        work,
        object: object.id,
        cause,
        requested_by: session.principal().name().to_owned(),
        after,
        due_at: None,
        force: false,
        attempts_max,
        graph: None,
        priority,
        parent,
        resources: view.resources.clone(),
    };
    let work = BackfillWork { condition: whole, inputs: inputs.clone() };
    let parent = job(Work::Backfill(work), None, Vec::new());
    let id = parent.id;
    let parts = ranges.into_iter().map(|condition| {
        let work = PartWork { condition, inputs: Some(inputs.clone()) };
        job(Work::Part(work), Some(id), after.clone())
    });
    let jobs: Vec<_> = std::iter::once(parent).chain(parts).collect();
    let queued = inner.options.catalog.submit(&jobs, inner.options.clock.now()).await?;
    inner.options.wake.notify_one();
    let queued: Vec<_> = queued.into_iter().filter(|job| job.id == id).collect();
    let Wait::ForTheEnd { timeout_ms } = backfill.wait else {
        return Ok(CommandResult::rows(answer(&queued, note(backfill))));
    };
    let ended = wait(inner, &[id], timeout_ms.map(Duration::from_millis)).await?;
    match ended.iter().find(|job| !job.state.is_success()) {
        None => Ok(CommandResult::rows(answer(&ended, note(backfill)))),
        Some(job) => Err(QueryError::JobEnded(format!(
            "the backfill of '{}' ended {}: {}",
            job.object_name,
            job.state,
            job.error.as_deref().unwrap_or("see system.jobs")
        ))),
    }
}

/// What somebody should know who asked for ranges side by side.
fn note(backfill: &Backfill) -> Option<&'static str> {
    backfill.parallel.is_some_and(|parallel| parallel > 1).then_some(
        "ranges of one view are computed one after the other: each is a commit of the same table, \
         which its log orders; PARALLEL is a limit, and one is within it",
    )
}

/// The columns of the answer.
pub(crate) fn answer_schema() -> SchemaRef {
    answer(&[], None).schema()
}

fn answer(jobs: &[Job], note: Option<&'static str>) -> RecordBatch {
    jobs_answer(jobs).maybe_text("note", jobs.iter().map(|_| note)).finish()
}

/// The value that a literal stands for.
fn literal(state: &SessionState, text: &str) -> Result<ScalarValue, QueryError> {
    let none = DFSchema::empty();
    let expr = physical_of(state, numbers::expression(state, text, &none)?, &none)?;
    let one = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one)?;
    match expr.evaluate(&row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(values) => Ok(ScalarValue::try_from_array(&values, 0)?),
    }
}
