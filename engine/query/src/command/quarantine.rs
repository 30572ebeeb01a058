//! PURGE QUARANTINE: rows that were kept out of a transform go for good. (RELEASE, which lets them in, is
//! a job: `release.rs`.)
//!
//! The commit of the quarantine comes first, then one of the transform's table that says which
//! version of the quarantine belongs to it now. One that dies in between has purged nothing: the
//! next run undoes what is not noted.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::{
    catalog::default_table_source::DefaultTableSource,
    common::{Column, ScalarValue, ToDFSchema},
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, lit},
};
use dialect::statement::{Quarantine, QuarantineAction};
use lake::{
    At, CHANGE_COLUMN, ChangeOperation, CommitInfo, FILE_COLUMN, ROW_COLUMN, Repeats, RowChange,
    Snapshot, Stage, StageChange, StageProgress, Touches, Txn, WriteMode,
};
use model::{name::ObjectName, object::Object};

use super::{finished, release};
use crate::{
    error::QueryError,
    expect::{has_quarantine, has_query, quarantine_app_id, quarantine_location},
    numbers, plan,
    queries::{CommandResult, Queries},
    session::Session,
};

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    statement: Quarantine,
) -> Result<CommandResult, QueryError> {
    if statement.action == QuarantineAction::Release {
        return release::run(queries, session, statement).await;
    }
    let Quarantine { name, condition, .. } = statement;
    if session.transaction().is_some() {
        return Err(QueryError::Unsupported(
            "PURGE QUARANTINE is not supported in a transaction: it is two commits".to_owned(),
        ));
    }
    let name = ObjectName::from_parts(&name, session.schema())?;
    let object = queries.inner.object_named(session, &name).await?;
    purge(queries, session, &object, condition).await.map(CommandResult::affected)
}

/// The columns of the answer of RELEASE; PURGE has none.
pub(crate) fn answer_schema(statement: &Quarantine) -> Option<SchemaRef> {
    let is_release = statement.action == QuarantineAction::Release;
    is_release.then(|| release::answer(statement.wait).schema())
}

/// What a quarantine and the table that it belongs to are just now.
struct Both {
    table: Arc<Snapshot>,
    quarantine: Arc<Snapshot>,
}

async fn purge(
    queries: &Queries,
    session: &Session,
    object: &Object,
    condition: Option<String>,
) -> Result<u64, QueryError> {
    let Some(Both { table, quarantine }) = both(queries, object).await? else { return Ok(0) };
    let state = queries.inner.state(session.schema());
    let logical = going(&state, &quarantine, condition.as_deref())?;
    let change = StageChange {
        base: Arc::clone(&quarantine),
        plan: plan::physical(&state, &logical).await?,
        task: state.task_ctx(),
        operation: ChangeOperation::Delete,
        condition,
        repeats: Repeats::Refused { keys: Vec::new() },
        touches: Touches::AnyRow,
        checks: Vec::new(),
        patched: None,
        added: None,
        progress: Arc::new(StageProgress::default()),
    };
    let (staged, changed) = queries.stage_change(change).await?;
    let Some(staged) = staged else { return Ok(0) };
    // Nobody may have committed since: a run would have noted another version.
    let nothing = crate::incremental::nothing_for(&state, &table).await?;
    let note = Stage {
        location: table.location().to_owned(),
        plan: nothing,
        task: state.task_ctx(),
        mode: WriteMode::Grow,
        base: Some(table),
        checks: Vec::new(),
        progress: Arc::new(StageProgress::default()),
    };
    let note = queries.stage(note).await?;
    let (lake, app_id) = (Arc::clone(&queries.inner.options.lake), quarantine_app_id(object.id));
    finished(queries, async move {
        let committed = lake.commit(staged, CommitInfo::default()).await?;
        let sources = vec![Txn { app_id, version: committed.version }];
        lake.commit(note, CommitInfo { sources, ..CommitInfo::default() }).await?;
        Ok(())
    })
    .await?;
    Ok(changed.rows())
}

/// `None` where no run has quarantined anything yet.
async fn both(queries: &Queries, object: &Object) -> Result<Option<Both>, QueryError> {
    let transform = object.transform().filter(|view| has_quarantine(&view.expectations));
    let Some(transform) = transform else { return Err(none_of(object)) };
    let lake = &queries.inner.options.lake;
    if !lake.exists(&transform.location).await? {
        return Ok(None);
    }
    let table = lake.snapshot(&transform.location, At::Latest).await?;
    let noted = table.txn_version(&quarantine_app_id(object.id)).await?;
    let Some(noted) = noted else { return Ok(None) };
    let location = quarantine_location(&transform.location);
    let quarantine = lake.snapshot(&location, At::Latest).await?;
    if quarantine.version() != noted {
        return Err(QueryError::Transaction {
            problem: format!("a run of '{}' is committing, or died while it was", object.name),
            hint: "try again when its next refresh has ended",
        });
    }
    Ok(Some(Both { table, quarantine }))
}

/// The error for what has no quarantine.
pub(crate) fn none_of(object: &Object) -> QueryError {
    QueryError::Invalid(format!(
        "'{}' has no quarantine: only an expectation with ON VIOLATION QUARANTINE ROW, of a \
         materialized view or a streaming table, gives it one",
        object.name
    ))
}

/// The rows that go, by their places.
fn going(
    state: &SessionState,
    quarantine: &Arc<Snapshot>,
    condition: Option<&str>,
) -> Result<LogicalPlan, QueryError> {
    const ROWS: &str = "@quarantine";
    let source = Arc::new(DefaultTableSource::new(quarantine.rows_provider()?));
    let mut rows = LogicalPlanBuilder::scan(ROWS, source, None)?;
    if let Some(text) = condition {
        if has_query(text) {
            return Err(QueryError::Unsupported(
                "the condition of PURGE QUARANTINE has a subquery: it may only name columns"
                    .to_owned(),
            ));
        }
        let columns = quarantine.schema().to_dfschema()?;
        rows = rows.filter(numbers::expression(state, text, &columns)?)?;
    }
    let place = |name: &str| Expr::Column(Column::new(Some(ROWS), name)).alias(name);
    let mut items = vec![
        place(FILE_COLUMN),
        place(ROW_COLUMN),
        lit(RowChange::Delete as i8).alias(CHANGE_COLUMN),
    ];
    for field in quarantine.schema().fields() {
        items.push(lit(ScalarValue::try_from(field.data_type())?).alias(field.name()));
    }
    Ok(rows.project(items)?.build()?)
}
