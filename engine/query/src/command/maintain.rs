//! OPTIMIZE, VACUUM and RESTORE.

use std::{sync::Arc, time::Duration};

use catalog::{jobs::JobFilter, objects::OnConflict};
use datafusion::common::ToDFSchema;
use dialect::statement::{Maintain, NameParts, Query, TimeTravel};
use lake::{At, CONSTRAINT_PREFIX, Optimize, StageProgress, Vacuum};
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

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    maintain: Maintain,
) -> Result<CommandResult, QueryError> {
    match maintain {
        Maintain::Optimize { zorder_by, .. } if !zorder_by.is_empty() => {
            Err(QueryError::Unsupported(
                "OPTIMIZE … ZORDER BY is not supported in this version; \
                 write CREATE OR REPLACE TABLE t AS SELECT * FROM t ORDER BY …"
                    .to_owned(),
            ))
        }
        Maintain::Optimize { target, partitions, .. } => {
            optimize(queries, session, &target, partitions.as_ref()).await
        }
        Maintain::Vacuum { target, full, retain_ms, dry_run } => {
            let retain = retain_ms.map(Duration::from_millis);
            let vacuum = Vacuum { full, retain, dry_run, keep: Vec::new() };
            self::vacuum(queries, session, &target, vacuum).await
        }
        Maintain::Restore { target, to } => restore(queries, session, &target, &to).await,
        Maintain::Validate { .. } => Err(QueryError::Unsupported(
            "VALIDATE TABLE is not supported in this version".to_owned(),
        )),
    }
}

async fn optimize(
    queries: &Queries,
    session: &Session,
    target: &NameParts,
    partitions: Option<&Query>,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let location = located(inner, session, target).await?.1;
    let done = until_undisturbed(|| async {
        let base = inner.options.lake.snapshot(&location, At::Latest).await?;
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
            task,
            progress: Arc::new(StageProgress::default()),
        };
        let work = inner.options.cpu.spawn(async move { lake.optimize(optimize).await });
        Ok(work.await??)
    })
    .await?;
    Ok(CommandResult::rows(
        Answer::new()
            .number("files_removed", [count(done.removed_files)])
            .number("files_added", [count(done.added_files)])
            .number("bytes_removed", [count(done.removed_bytes)])
            .number("bytes_added", [count(done.added_bytes)])
            .number("commits", [count(done.commits)])
            .finish(),
    ))
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
    if vacuum.dry_run {
        return Ok(CommandResult::rows(Answer::new().text("path", &done.files).finish()));
    }
    Ok(CommandResult::rows(
        Answer::new()
            .number("files_deleted", [count(done.files.len() as u64)])
            .number("bytes_deleted", [count(done.bytes)])
            .finish(),
    ))
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
    let mut object = inner.object_named(&name).await?;
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
    Ok(CommandResult::rows(
        Answer::new()
            .number("version", [version])
            .number("files_restored", [count(restored_files as u64)])
            .number("files_removed", [count(removed_files as u64)])
            .finish(),
    ))
}

/// A table, or the result of a materialized view: its files may be looked after as well.
async fn located(
    inner: &Inner,
    session: &Session,
    target: &NameParts,
) -> Result<(Object, String), QueryError> {
    let name = ObjectName::from_parts(target, session.schema())?;
    let object = inner.object_named(&name).await?;
    let location = super::show::delta_location_of(&object)?;
    Ok((object, location))
}
