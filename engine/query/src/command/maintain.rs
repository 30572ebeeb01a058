//! OPTIMIZE, VACUUM, RESTORE, VALIDATE and CONVERT.

use std::{fmt, sync::Arc, time::Duration};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use catalog::{jobs::JobFilter, objects::OnConflict};
use datafusion::{
    common::ToDFSchema,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use dialect::statement::{Column, Maintain, NameParts, Query, TimeTravel};
use futures::stream;
use lake::{
    At, CONSTRAINT_PREFIX, Convert, Converted, Finding, Lake, Optimize, Optimized, Snapshot,
    StageProgress, Vacuum, Vacuumed, Validate, ZORDER_COLUMNS_MAX,
};
use model::{job::JobState, name::ObjectName, object::Object};

use super::{
    change::filter_of,
    target::{target_table, until_undisturbed},
};
use crate::{
    answer::{Answer, count},
    error::QueryError,
    queries::{CommandResult, Inner, Queries},
    resolve,
    session::Session,
};

/// Bytes of data that VALIDATE compares with their statistics; of larger tables the first files.
const VALIDATED_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    maintain: Maintain,
) -> Result<CommandResult, QueryError> {
    match maintain {
        Maintain::Optimize { target, partitions, zorder_by } => {
            optimize(queries, session, &target, partitions.as_ref(), &zorder_by).await
        }
        Maintain::Vacuum { target, full, retain_ms, dry_run } => {
            let retain = retain_ms.map(Duration::from_millis);
            let vacuum = Vacuum { full, retain, dry_run, keep: Vec::new() };
            self::vacuum(queries, session, &target, vacuum).await
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

async fn optimize(
    queries: &Queries,
    session: &Session,
    target: &NameParts,
    partitions: Option<&Query>,
    zorder_by: &[String],
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let location = located(inner, session, target).await?.1;
    let done = until_undisturbed(|| async {
        let base = inner.options.lake.snapshot(&location, At::Latest).await?;
        check_zorder(&base, zorder_by)?;
        let state = inner.state(session.schema());
        let (mut predicate, mut condition) = (None, None);
        if let Some(filter) = partitions.and_then(filter_of) {
            let schema = base.schema().to_dfschema()?;
            let text = filter.to_string();
            let expr = state.create_logical_expr(&text, &schema)?;
            let other = expr
                .column_refs()
                .into_iter()
                .find(|column| !base.partitioned_by().contains(&column.name));
            if let Some(column) = other {
                return Err(QueryError::Invalid(format!(
                    "OPTIMIZE … WHERE chooses partitions, and the table is not partitioned by '{}'",
                    column.name
                )));
            }
            predicate = Some(state.create_physical_expr(expr, &schema)?);
            condition = Some(text);
        }
        let (lake, task) = (Arc::clone(&inner.options.lake), state.task_ctx());
        let optimize = Optimize {
            base,
            partitions: predicate,
            condition,
            zorder_by: zorder_by.to_vec(),
            automatic: false,
            task,
            progress: Arc::new(StageProgress::default()),
        };
        let work = inner.options.cpu.spawn(async move { lake.optimize(optimize).await });
        Ok(work.await??)
    })
    .await?;
    Ok(CommandResult::rows(optimized(&[done])))
}

fn optimized(done: &[Optimized]) -> RecordBatch {
    let each = |number: fn(&Optimized) -> u64| done.iter().map(move |done| count(number(done)));
    Answer::new()
        .number("files_removed", each(|done| done.removed_files))
        .number("files_added", each(|done| done.added_files))
        .number("bytes_removed", each(|done| done.removed_bytes))
        .number("bytes_added", each(|done| done.added_bytes))
        .number("commits", each(|done| done.commits))
        .finish()
}

/// Rows can be put in order by plain columns of the table that differ within a partition.
fn check_zorder(base: &Snapshot, columns: &[String]) -> Result<(), QueryError> {
    if columns.len() > ZORDER_COLUMNS_MAX {
        return Err(QueryError::Invalid(format!(
            "ZORDER BY takes at most {ZORDER_COLUMNS_MAX} columns, and few order better than many; \
             here are {}",
            columns.len()
        )));
    }
    let schema = base.schema();
    for column in columns {
        let refused = |why: &str| Err(QueryError::Invalid(format!("ZORDER BY '{column}': {why}")));
        let Ok(field) = schema.field_with_name(column) else {
            let known = schema.fields().iter().map(|field| field.name().as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return refused(&format!("the table has no such column; it has {known}"));
        };
        if base.partitioned_by().contains(column) {
            return refused(
                "the table is partitioned by it, so all rows of a file have the same value; \
                 leave it out",
            );
        }
        if field.data_type().is_nested() {
            return refused(
                "lists, structs and maps have no order that files could be left out by",
            );
        }
    }
    Ok(())
}

async fn vacuum(
    queries: &Queries,
    session: &Session,
    target: &NameParts,
    vacuum: Vacuum,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let (object, location) = located(inner, session, target).await?;
    let keep = pinned_versions(inner, &object).await?;
    let vacuum = Vacuum { keep, ..vacuum };
    let done = inner.options.lake.vacuum(&location, &vacuum).await?;
    Ok(CommandResult::rows(match vacuum.dry_run {
        true => would_go(&done.files),
        false => vacuumed(&[done]),
    }))
}

fn would_go(files: &[String]) -> RecordBatch {
    Answer::new().text("path", files).finish()
}

fn vacuumed(done: &[Vacuumed]) -> RecordBatch {
    Answer::new()
        .number("files_deleted", done.iter().map(|done| count(done.files.len() as u64)))
        .number("bytes_deleted", done.iter().map(|done| count(done.bytes)))
        .finish()
}

/// Versions that runs which have not ended were pinned to.
async fn pinned_versions(inner: &Inner, object: &Object) -> Result<Vec<i64>, QueryError> {
    let catalog = &inner.options.catalog;
    let open = [JobState::Queued, JobState::Planning, JobState::Running, JobState::Committing];
    let filter = JobFilter { states: Some(open.to_vec()), ..JobFilter::default() };
    let jobs: Vec<_> = catalog.jobs(&filter).await?.into_iter().map(|job| job.id).collect();
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let runs = catalog.runs(Some(&jobs), u32::MAX).await?;
    let runs: Vec<_> = runs.into_iter().map(|run| run.id).collect();
    let inputs = catalog.run_inputs(&runs).await?;
    let pinned = inputs.into_iter().filter(|(_, input)| input.object == object.id);
    Ok(pinned.map(|(_, input)| input.version).collect())
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
