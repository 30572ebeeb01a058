//! OPTIMIZE and VACUUM, which are jobs; RESTORE, VALIDATE and CONVERT, which are not.

use std::{fmt, sync::Arc, time::Duration};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use catalog::objects::OnConflict;
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use dialect::statement::{Column, Maintain, NameParts, TimeTravel, Wait};
use futures::stream;
use lake::{
    At, CONSTRAINT_PREFIX, Convert, Converted, Finding, Lake, StageProgress, Vacuum,
    VacuumProgress, Validate,
};
use model::{
    id::JobId,
    job::{JobCause, NewJob},
    name::ObjectName,
    object::Object,
    profile::Resources,
    work::{Maintained, OptimizeWork, Optimized, VacuumWork, Vacuumed, Work},
};

use super::{
    change::filter_of,
    jobs,
    target::{target_table, until_undisturbed},
};
use crate::{
    answer::{Answer, count},
    error::QueryError,
    maintenance,
    queries::{CommandResult, Inner, Queries},
    resolve,
    session::Session,
    system::job_rows,
};

/// Bytes of data that VALIDATE compares with their statistics; of larger tables the first files.
const VALIDATED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    maintain: Maintain,
) -> Result<CommandResult, QueryError> {
    match maintain {
        Maintain::Optimize { target, partitions, zorder_by, wait } => {
            let condition = partitions.as_ref().and_then(filter_of).map(ToString::to_string);
            let work = OptimizeWork { condition, zorder_by, automatic: false };
            queue(queries, optimize(queries, session, &target, work).await?, wait).await
        }
        Maintain::Vacuum { target, full, retain_ms, dry_run, wait } => {
            let work = VacuumWork { full, retain_ms };
            if dry_run {
                return dry_vacuum(queries, session, &target, &work).await;
            }
            queue(queries, vacuum(queries, session, &target, work).await?, wait).await
        }
        Maintain::Restore { target, to } => restore(queries, session, &target, &to).await,
        Maintain::Convert { location, partitioned_by } => {
            convert(queries, &location, &partitioned_by).await
        }
        Maintain::Validate { .. } => {
            Err(QueryError::Invalid("the statement is a query: fetch its rows".to_owned()))
        }
    }
}

/// The job of an OPTIMIZE, when nothing speaks against it.
async fn optimize(
    queries: &Queries,
    session: &Session,
    target: &NameParts,
    work: OptimizeWork,
) -> Result<NewJob, QueryError> {
    let inner = &queries.inner;
    let (object, location) = located(inner, session, target).await?;
    let base = inner.options.lake.snapshot(&location, At::Latest).await?;
    maintenance::optimize(inner, &object, base, &work, Arc::new(StageProgress::default()))?;
    Ok(asked(inner, session, &object, Work::Optimize(work)))
}

/// The job of a VACUUM, when nothing speaks against it.
async fn vacuum(
    queries: &Queries,
    session: &Session,
    target: &NameParts,
    work: VacuumWork,
) -> Result<NewJob, QueryError> {
    let inner = &queries.inner;
    let (object, location) = located(inner, session, target).await?;
    let table = inner.options.lake.snapshot(&location, At::Latest).await?;
    maintenance::vacuum(&work).check(&table)?;
    Ok(asked(inner, session, &object, Work::Vacuum(work)))
}

async fn dry_vacuum(
    queries: &Queries,
    session: &Session,
    target: &NameParts,
    work: &VacuumWork,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let (object, location) = located(inner, session, target).await?;
    let vacuum = Vacuum { dry_run: true, ..maintenance::vacuum(work) };
    let progress = VacuumProgress::default();
    let done = maintenance::vacuumed(inner, &object, &location, vacuum, &progress).await?;
    Ok(CommandResult::rows(would_go(&done.files)))
}

fn asked(inner: &Inner, session: &Session, object: &Object, work: Work) -> NewJob {
    NewJob {
        id: JobId::generate(),
        work,
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
        resources: Resources::default(),
    }
}

/// Queues a job, and waits for its end where that was asked for. Whoever stops waiting leaves the
/// job alone.
async fn queue(queries: &Queries, job: NewJob, wait: Wait) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let queued = inner.options.catalog.submit(&[job], inner.options.clock.now()).await?;
    inner.options.wake.notify_one();
    let Wait::ForTheEnd { timeout_ms } = wait else {
        return Ok(CommandResult::rows(job_rows(&queued)));
    };
    let ids: Vec<_> = queued.iter().map(|job| job.id).collect();
    let ended = jobs::wait(inner, &ids, timeout_ms.map(Duration::from_millis)).await?;
    let Some(job) = ended.first() else {
        return Err(QueryError::JobEnded("the job is gone from the catalog".to_owned()));
    };
    match job.result {
        Some(Maintained::Optimized(done)) => Ok(CommandResult::rows(optimized(&[done]))),
        Some(Maintained::Vacuumed(done)) => Ok(CommandResult::rows(vacuumed(&[done]))),
        Some(Maintained::Released(_)) | None => Err(QueryError::JobEnded(format!(
            "{} of '{}' ended {}: {}",
            job.work.kind(),
            job.object_name,
            job.state,
            job.error.as_deref().unwrap_or("see system.runs")
        ))),
    }
}

fn optimized(done: &[Optimized]) -> RecordBatch {
    let each = |number: fn(&Optimized) -> u64| done.iter().map(move |done| count(number(done)));
    Answer::new()
        .number("files_removed", each(|done| done.files_removed))
        .number("files_added", each(|done| done.files_added))
        .number("bytes_removed", each(|done| done.bytes_removed))
        .number("bytes_added", each(|done| done.bytes_added))
        .number("commits", each(|done| done.commits))
        .finish()
}

fn would_go(files: &[String]) -> RecordBatch {
    Answer::new().text("path", files).finish()
}

fn vacuumed(done: &[Vacuumed]) -> RecordBatch {
    Answer::new()
        .number("files_deleted", done.iter().map(|done| count(done.files_deleted)))
        .number("bytes_deleted", done.iter().map(|done| count(done.bytes_deleted)))
        .finish()
}

async fn restore(
    queries: &Queries,
    session: &Session,
    target: &NameParts,
    to: &TimeTravel,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let name = ObjectName::from_parts(target, session.schema())?;
    let mut object = inner.object_named(session, &name).await?;
    let location = target_table(&object)?.location.clone();
    let at = resolve::at(to)?;
    let lake = Arc::clone(&inner.options.lake);
    let _turn = lake.turn(&location).await?;
    let restored = until_undisturbed(|| {
        let (lake, location) = (Arc::clone(&lake), location.clone());
        super::finished(queries, async move { Ok(lake.restore(&location, at).await?) })
    })
    .await?;
    // The catalog shows comment and properties as well.
    let now = lake.snapshot(&location, At::Latest).await?;
    let comment = now.comment().map(str::to_owned);
    let own = |key: &&String| !key.starts_with(CONSTRAINT_PREFIX);
    let properties = now.properties().iter().filter(|(key, _)| own(key));
    let properties = properties.map(|(key, value)| (key.clone(), value.clone())).collect();
    if object.comment != comment || object.properties != properties {
        let (id, definition_version) = (object.id, object.definition_version);
        object.comment = comment;
        object.properties = properties;
        let on = OnConflict::Replace { id, definition_version };
        inner.options.catalog.put_object(&object, on).await?;
    }
    let (restored_files, removed_files, version) = match &restored {
        Some(done) => (done.restored_files, done.removed_files, done.committed.version),
        None => (0, 0, now.version()),
    };
    Ok(CommandResult::rows(restored_rows(&[(version, restored_files, removed_files)])))
}

fn restored_rows(done: &[(i64, usize, usize)]) -> RecordBatch {
    Answer::new()
        .number("version", done.iter().map(|(version, ..)| *version))
        .number("files_restored", done.iter().map(|(_, restored, _)| count(*restored as u64)))
        .number("files_removed", done.iter().map(|(.., removed)| count(*removed as u64)))
        .finish()
}

/// The columns of a statement's answer, before it has one. VALIDATE is planned like a query.
pub(crate) fn answer_schema(maintain: &Maintain) -> Option<SchemaRef> {
    let none = match maintain {
        Maintain::Optimize { wait: Wait::Not, .. } | Maintain::Vacuum { wait: Wait::Not, .. } => {
            job_rows(&[])
        }
        Maintain::Optimize { .. } => optimized(&[]),
        Maintain::Vacuum { dry_run: true, .. } => would_go(&[]),
        Maintain::Vacuum { .. } => vacuumed(&[]),
        Maintain::Restore { .. } => restored_rows(&[]),
        Maintain::Convert { .. } => converted(&[]),
        Maintain::Validate { .. } => return None,
    };
    Some(none.schema())
}

/// The table has no name yet; CREATE EXTERNAL TABLE gives it one.
async fn convert(
    queries: &Queries,
    location: &str,
    partitioned_by: &[Column],
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let location = inner.options.lake.parse_location(location)?;
    let partitioned_by = super::tables::column_schema(inner, partitioned_by).await?;
    let partitioned_by = match partitioned_by.fields().is_empty() {
        true => partitioned_by,
        false => lake::delta_schema(&partitioned_by)?,
    };
    let lake = Arc::clone(&inner.options.lake);
    let convert = Convert { location: location.clone(), partitioned_by };
    let work = inner.options.cpu.spawn(async move { lake.convert(convert).await });
    let done = work.await??;
    Ok(CommandResult::rows(converted(&[(location, done)])))
}

fn converted(done: &[(String, Converted)]) -> RecordBatch {
    let each = |number: fn(&Converted) -> u64| done.iter().map(move |done| count(number(&done.1)));
    Answer::new()
        .text("location", done.iter().map(|(location, _)| location))
        .number("files", each(|done| done.files))
        .number("rows", each(|done| done.rows))
        .number("bytes", each(|done| done.bytes))
        .finish()
}

/// VALIDATE as a plan: it only reads, so it waits for its turn and can be cancelled like a query.
pub(crate) async fn validation(
    inner: &Inner,
    session: &Session,
    target: &NameParts,
) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
    let location = located(inner, session, target).await?.1;
    let lake = Arc::clone(&inner.options.lake);
    let partition = Arc::new(Validation { lake, location, schema: findings(&[]).schema() });
    let schema = Arc::clone(&partition.schema);
    let plan = StreamingTableExec::try_new(schema, vec![partition], None, Vec::new(), false, None);
    Ok(Arc::new(plan?))
}

struct Validation {
    lake: Arc<Lake>,
    location: String,
    schema: SchemaRef,
}

impl fmt::Debug for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validation").field("location", &self.location).finish_non_exhaustive()
    }
}

impl PartitionStream for Validation {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (lake, location) = (Arc::clone(&self.lake), self.location.clone());
        let found = stream::once(async move {
            let validate = Validate { location, task, data_bytes_max: VALIDATED_BYTES_MAX };
            let found = lake.validate(validate).await;
            found.map(|found| findings(&found)).map_err(|e| DataFusionError::External(Box::new(e)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), found))
    }
}

fn findings(findings: &[Finding]) -> RecordBatch {
    let each = || findings.iter();
    Answer::new()
        .text("severity", each().map(|finding| finding.severity.as_str()))
        .text("check", each().map(|finding| finding.check))
        .text("object", each().map(|finding| finding.object.as_str()))
        .maybe_text("problem", each().map(|finding| said(&finding.problem)))
        .maybe_text("advice", each().map(|finding| said(&finding.advice)))
        .finish()
}

/// A text unless it is empty.
fn said(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// A table, or the result of a materialized view: its files may be looked after as well.
async fn located(
    inner: &Inner,
    session: &Session,
    target: &NameParts,
) -> Result<(Object, String), QueryError> {
    let name = ObjectName::from_parts(target, session.schema())?;
    let object = inner.object_named(session, &name).await?;
    let location = super::show::delta_location_of(&object)?;
    Ok((object, location))
}
