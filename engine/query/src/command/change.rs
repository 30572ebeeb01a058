//! DELETE, UPDATE, MERGE and TRUNCATE.
//!
//! Each becomes a query over the target's rows with their places, joined to the source where there
//! is one. DataFusion plans it as it would plan a SELECT, so names, types, subqueries and NULLs mean
//! the same in both. Its own plans for these statements are not used: they lose conditions.

use std::sync::Arc;

use arrow::{
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
use datafusion::{
    common::DFSchema,
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder},
    sql::sqlparser::ast::{
        self, Expr as AstExpr, Ident, JoinConstraint, JoinOperator, ObjectNamePart, SelectItem,
        SetExpr, TableAlias, TableFactor, Value,
    },
};
use dialect::statement::{
    Change, ChangeAction, ChangeClause, ChangeKind, Query, Statement, TableUse, When,
};
use lake::{
    ChangeOperation, CommitInfo, LakeError, Repeats, Snapshot, StageChange, StageProgress, Touches,
};
use model::name::{CATALOG, ObjectName};

use super::{
    clauses::{Changes, Places, SOURCE_COLUMN},
    struct_values,
    target::{checks, named_target, snapshot_of, until_undisturbed},
};
use crate::{
    error::QueryError,
    plan,
    queries::{Checked, CommandResult, Inner, Queries, may_explain},
    resolve::{Purpose, Reads, Resolved, stored_schema, target_name},
    session::Session,
    transaction::Write,
};

/// A change that is planned; parameters are still open.
pub(super) struct PlannedChange {
    pub(super) resolved: Resolved,
    pub(super) plan: LogicalPlan,
    pub(super) target: Arc<Snapshot>,
    pub(super) repeats: Repeats,
    pub(super) touches: Touches,
    pub(super) patched: Option<Vec<usize>>,
    /// Columns that the table gets.
    pub(super) added: Option<SchemaRef>,
}

/// What the plan of a change says of rows that it updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Updated {
    /// Every column.
    Whole,
    /// Only the columns that change, where the lake can put them into the files that are there.
    Patched,
}

pub(super) async fn check(
    inner: &Inner,
    session: &Session,
    change: &Change,
) -> Result<Checked, QueryError> {
    let change_plan = planned(inner, session, change, Updated::Whole).await?;
    let PlannedChange { resolved, plan, .. } = change_plan;
    Ok(Checked { resolved, plan, parameters: change.rows.parameters, guessed: false })
}

/// Shows the plan that finds the rows and makes the new ones.
pub(super) async fn explain(
    inner: &Inner,
    session: &Session,
    change: &Change,
    verbose: bool,
) -> Result<Checked, QueryError> {
    let change_plan = planned(inner, session, change, Updated::Patched).await?;
    let PlannedChange { resolved, plan, .. } = change_plan;
    may_explain(inner, session, &resolved).await?;
    let plan = LogicalPlanBuilder::from(plan).explain(verbose, false)?.build()?;
    Ok(Checked { resolved, plan, parameters: change.rows.parameters, guessed: false })
}

/// Runs the statement once, or once for each row of parameters.
pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    change: &Change,
    parameters: Option<&RecordBatch>,
) -> Result<CommandResult, QueryError> {
    let rows: Vec<Option<(&RecordBatch, usize)>> = match parameters {
        Some(batch) if change.rows.parameters > 0 => {
            (0..batch.num_rows()).map(|row| Some((batch, row))).collect()
        }
        _ => vec![parameters.map(|batch| (batch, 0))],
    };
    let mut affected = 0;
    for row in rows {
        affected += run_once(queries, session, change, row).await?;
    }
    Ok(CommandResult::affected(affected))
}

/// TRUNCATE: every row goes.
pub(super) fn truncate(target: &[String]) -> Result<Change, QueryError> {
    let name: Vec<String> =
        target.iter().map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    match dialect::parse(&format!("DELETE FROM {}", name.join(".")))? {
        Statement::Change(change) => Ok(change),
        _ => Err(QueryError::Unsupported("TRUNCATE".to_owned())),
    }
}

async fn run_once(
    queries: &Queries,
    session: &Session,
    change: &Change,
    row: Option<(&RecordBatch, usize)>,
) -> Result<u64, QueryError> {
    let inner = &queries.inner;
    let name = ObjectName::from_parts(&change.target, session.schema())?;
    let location = named_target(inner, session, &name).await?.location;
    // Two changes of one table would only make each other start again.
    let _turn = inner.options.lake.turn(&location).await?;
    until_undisturbed(|| async {
        match attempt(queries, session, change, row, Updated::Patched).await {
            Err(QueryError::Lake(LakeError::NotPatchable { .. })) => {
                attempt(queries, session, change, row, Updated::Whole).await
            }
            outcome => outcome,
        }
    })
    .await
}

async fn attempt(
    queries: &Queries,
    session: &Session,
    change: &Change,
    row: Option<(&RecordBatch, usize)>,
    updated: Updated,
) -> Result<u64, QueryError> {
    let name = ObjectName::from_parts(&change.target, session.schema())?;
    if let Some(transaction) = session.transaction() {
        transaction.may_write(&name, Write::Change)?;
    }
    let change_plan = planned(&queries.inner, session, change, updated).await?;
    let plan = plan::bind(change_plan.plan, change.rows.parameters, row)?;
    let planned = PlannedChange { plan, ..change_plan };
    let into = Target { session, name: &name };
    commit(queries, into, planned, operation(change.kind), condition(change)).await
}

/// Whose statement changes which table.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) session: &'a Session,
    pub(super) name: &'a ObjectName,
}

/// Stages and commits a planned change. Returns the number of rows that it changed.
async fn commit(
    queries: &Queries,
    into: Target<'_>,
    planned: PlannedChange,
    operation: ChangeOperation,
    condition: Option<String>,
) -> Result<u64, QueryError> {
    let PlannedChange { resolved, plan: logical, target, repeats, touches, patched, added } =
        planned;
    let checks = checks(&resolved.state, &target)?;
    stage_and_commit(
        queries,
        into,
        &resolved,
        &logical,
        StagedAs { target, repeats, touches, operation, condition, checks, patched, added },
    )
    .await
}

/// How a plan of changes is staged.
pub(super) struct StagedAs {
    pub(super) target: Arc<Snapshot>,
    pub(super) repeats: Repeats,
    pub(super) touches: Touches,
    pub(super) operation: ChangeOperation,
    pub(super) condition: Option<String>,
    pub(super) checks: Vec<lake::Check>,
    pub(super) patched: Option<Vec<usize>>,
    pub(super) added: Option<SchemaRef>,
}

/// Stages a change, and commits it or leaves that to the transaction. Returns the number of rows
/// that it changed.
pub(super) async fn stage_and_commit(
    queries: &Queries,
    into: Target<'_>,
    resolved: &Resolved,
    logical: &LogicalPlan,
    staged_as: StagedAs,
) -> Result<u64, QueryError> {
    let StagedAs { target, repeats, touches, operation, condition, checks, patched, added } =
        staged_as;
    let plan = plan::physical(&resolved.state, logical).await?;
    let change = StageChange {
        base: target,
        plan,
        task: resolved.state.task_ctx(),
        operation,
        condition,
        repeats,
        touches,
        checks,
        patched,
        added,
        progress: Arc::new(StageProgress::default()),
    };
    let (staged, changed) = queries.stage_change(change).await?;
    let Some(staged) = staged else { return Ok(0) };
    if let Some(transaction) = into.session.transaction() {
        transaction.keep(into.name, Write::Change, staged)?;
        return Ok(changed.rows());
    }
    let lake = Arc::clone(&queries.inner.options.lake);
    super::finished(queries, async move { Ok(lake.commit(staged, CommitInfo::default()).await?) })
        .await?;
    Ok(changed.rows())
}

fn operation(kind: ChangeKind) -> ChangeOperation {
    match kind {
        ChangeKind::Delete => ChangeOperation::Delete,
        ChangeKind::Update => ChangeOperation::Update,
        ChangeKind::Merge => ChangeOperation::Merge,
    }
}

/// The condition of the statement, for the table's history.
fn condition(change: &Change) -> Option<String> {
    let SetExpr::Select(select) = change.rows.ast.body.as_ref() else { return None };
    if change.kind != ChangeKind::Merge {
        return select.selection.as_ref().map(ToString::to_string);
    }
    let join = select.from.first()?.joins.first()?;
    match &join.join_operator {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on)) => Some(on.to_string()),
        _ => None,
    }
}

async fn planned(
    inner: &Inner,
    session: &Session,
    change: &Change,
    updated: Updated,
) -> Result<PlannedChange, QueryError> {
    let name = ObjectName::from_parts(&change.target, session.schema())?;
    named_target(inner, session, &name).await?;
    let mut rows = change.rows.clone();
    let tables = with_target(&rows.tables, &name);
    let reads = Reads { tables: &tables, files: &rows.files };
    let resolved = inner.resolve(session, reads, Purpose::Read).await?;
    let shape = Shape::new(&change.clauses);
    let select = select_of(&mut rows)?;
    name_fields(change, select, &snapshot_of(&resolved, &name)?.schema())?;
    let expressions = expressions(select);
    if change.kind == ChangeKind::Merge {
        pair(select, shape)?;
    }
    let (target, source) = rows_of(&resolved, &name, &rows).await?;
    let LogicalPlan::Projection(projection) = source else {
        return Err(not_single_rows(change.kind));
    };
    let input = Arc::unwrap_or_clone(projection.input);
    let places = Places::find(input.schema()).ok_or_else(|| not_single_rows(change.kind))?;
    if matches!(input, LogicalPlan::Window(_)) {
        return Err(not_single_rows(change.kind));
    }
    let values: Vec<Expr> =
        projection.expr.into_iter().take(expressions).map(Expr::unalias).collect();
    let patched = match updated {
        Updated::Whole => None,
        Updated::Patched if change.schema_evolution => None,
        Updated::Patched => patched_columns(change, &target),
    };
    let added = match change.schema_evolution {
        true => added_columns(change, &target, &places, input.schema())?,
        false => None,
    };
    let table = match &added {
        None => target.schema(),
        Some(added) => {
            let (old, new) = (target.schema(), added.fields().iter());
            Arc::new(Schema::new(old.fields().iter().chain(new).cloned().collect::<Vec<_>>()))
        }
    };
    let state = &resolved.state;
    let changes =
        Changes { change, target: &target, table, values: &values, places, patched, state };
    let repeats = changes.repeats(&input);
    let plan = changes.plan(input)?;
    let Changes { patched, .. } = changes;
    let only_inserts = change.clauses.iter().all(|clause| {
        matches!(clause.action, ChangeAction::Insert { .. } | ChangeAction::InsertAll)
    });
    let touches = if only_inserts { Touches::NewRows } else { Touches::AnyRow };
    Ok(PlannedChange { resolved, plan, target, repeats, touches, patched, added })
}

/// Columns of the source that clauses write and the table does not have, with the types of Delta.
fn added_columns(
    change: &Change,
    target: &Snapshot,
    places: &Places,
    input: &DFSchema,
) -> Result<Option<SchemaRef>, QueryError> {
    let is_written = |column: &str| {
        change.clauses.iter().any(|clause| match &clause.action {
            ChangeAction::UpdateAll | ChangeAction::InsertAll => true,
            ChangeAction::Update(assignments) => assignments.iter().any(|(name, _)| name == column),
            ChangeAction::Insert { columns, .. } => columns.iter().any(|name| name == column),
            ChangeAction::Delete => false,
        })
    };
    let table = target.schema();
    let is_known =
        |column: &str| table.fields().iter().any(|field| field.name().eq_ignore_ascii_case(column));
    let added: Vec<_> = input
        .iter()
        .filter(|(from, field)| {
            let column = field.name().as_str();
            *from == places.source.as_ref()
                && column != SOURCE_COLUMN
                && !is_known(column)
                && is_written(column)
        })
        .map(|(_, field)| Arc::new(field.as_ref().clone().with_nullable(true)))
        .collect();
    if added.is_empty() {
        return Ok(None);
    }
    Ok(Some(stored_schema(&Schema::new(added))?))
}

/// Every table that a statement names, its target once more under a name of its own.
pub(super) fn with_target(tables: &[TableUse], name: &ObjectName) -> Vec<TableUse> {
    let mut tables = tables.to_vec();
    tables.push(TableUse {
        name: vec![name.schema().to_owned(), name.name().to_owned()],
        at: None,
        planned_name: vec![name.schema().to_owned(), target_name(name)],
    });
    tables
}

/// Plans a query whose first relation is the target, so that its rows say where they are.
pub(super) async fn rows_of(
    resolved: &Resolved,
    name: &ObjectName,
    rows: &Query,
) -> Result<(Arc<Snapshot>, LogicalPlan), QueryError> {
    let target = snapshot_of(resolved, name)?;
    let planned_name = format!("{}@rows", name.name());
    let missing =
        || QueryError::TableNotFound { name: name.clone(), nearest: None, is_hidden: false };
    let catalog = resolved.state.catalog_list().catalog(CATALOG);
    let schema = catalog.and_then(|catalog| catalog.schema(name.schema())).ok_or_else(missing)?;
    schema.register_table(planned_name.clone(), target.rows_provider()?)?;
    let mut rows = rows.clone();
    let relation = &mut select_of(&mut rows)?.from;
    let Some(TableFactor::Table { name: planned, .. }) =
        relation.first_mut().map(|first| &mut first.relation)
    else {
        return Err(missing());
    };
    let parts = [name.schema().to_owned(), planned_name]
        .map(|part| ObjectNamePart::Identifier(Ident::with_quote('"', part)));
    *planned = ast::ObjectName(parts.to_vec());
    let plan = plan::logical(&resolved.state, &rows).await?;
    Ok((target, plan))
}

fn not_single_rows(kind: ChangeKind) -> QueryError {
    let word = match kind {
        ChangeKind::Delete => "DELETE",
        ChangeKind::Update => "UPDATE",
        ChangeKind::Merge => "MERGE",
    };
    QueryError::Invalid(format!(
        "{word} is about single rows: aggregates and window functions belong into a subquery"
    ))
}

/// The condition of a query over one table.
pub(super) fn filter_of(rows: &Query) -> Option<&AstExpr> {
    match rows.ast.body.as_ref() {
        SetExpr::Select(select) => select.selection.as_ref(),
        _ => None,
    }
}

/// Whether a condition looks at nothing but the row: no subquery.
pub(super) fn is_about_rows(condition: &AstExpr) -> bool {
    use std::ops::ControlFlow;
    let found = ast::visit_expressions(condition, |expr| match expr {
        AstExpr::Subquery(_) | AstExpr::InSubquery { .. } | AstExpr::Exists { .. } => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_continue()
}

fn select_of(rows: &mut Query) -> Result<&mut ast::Select, QueryError> {
    match rows.ast.body.as_mut() {
        SetExpr::Select(select) => Ok(select),
        _ => Err(QueryError::Unsupported("this form of a change".to_owned())),
    }
}

/// Names the fields of struct values for the columns that clauses give them to.
fn name_fields(
    change: &Change,
    select: &mut ast::Select,
    table: &SchemaRef,
) -> Result<(), QueryError> {
    let mut name = |column: &str, n: usize| match (
        table.field_with_name(column),
        select.projection.get_mut(n),
    ) {
        (Ok(field), Some(SelectItem::UnnamedExpr(value))) => {
            struct_values::name_fields_of(value, field)
        }
        _ => Ok(()),
    };
    for clause in &change.clauses {
        match &clause.action {
            ChangeAction::Update(assignments) => {
                assignments.iter().try_for_each(|(column, n)| name(column, *n))?;
            }
            ChangeAction::Insert { columns, values } if columns.is_empty() => {
                let columns = table.fields().iter().map(|field| field.name());
                columns.zip(values).try_for_each(|(column, n)| name(column, *n))?;
            }
            ChangeAction::Insert { columns, values } => {
                columns.iter().zip(values).try_for_each(|(column, n)| name(column, *n))?;
            }
            ChangeAction::Delete | ChangeAction::UpdateAll | ChangeAction::InsertAll => {}
        }
    }
    Ok(())
}

/// Names the expressions, so that none is taken for another. Returns how many there are.
fn expressions(select: &mut ast::Select) -> usize {
    let count = select.projection.len();
    for (n, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item {
            let alias = Ident::with_quote('"', format!("@e{n}"));
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
    if count == 0 {
        let one = AstExpr::value(Value::Boolean(true));
        let alias = Ident::with_quote('"', "@e0");
        select.projection.push(SelectItem::ExprWithAlias { expr: one, alias });
    }
    count
}

/// Which pairs of rows the clauses of a MERGE are about.
#[derive(Debug, Clone, Copy)]
struct Shape {
    sources_alone: bool,
    targets_alone: bool,
}

impl Shape {
    fn new(clauses: &[ChangeClause]) -> Self {
        let about = |when| clauses.iter().any(|clause| clause.when == when);
        Self {
            sources_alone: about(When::NotMatchedByTarget),
            targets_alone: about(When::NotMatchedBySource),
        }
    }
}

/// Makes the join of a MERGE keep the rows without a partner that its clauses are about, and the
/// source say that it is there.
fn pair(select: &mut ast::Select, shape: Shape) -> Result<(), QueryError> {
    let odd = || QueryError::Unsupported("this form of MERGE".to_owned());
    let join = select.from.first_mut().and_then(|first| first.joins.first_mut()).ok_or_else(odd)?;
    let (JoinOperator::Join(on) | JoinOperator::Inner(on)) = &join.join_operator else {
        return Err(odd());
    };
    let on = on.clone();
    join.join_operator = match (shape.sources_alone, shape.targets_alone) {
        (false, false) => JoinOperator::Inner(on),
        (true, false) => JoinOperator::RightOuter(on),
        (false, true) => JoinOperator::LeftOuter(on),
        (true, true) => JoinOperator::FullOuter(on),
    };
    let alias = match &join.relation {
        TableFactor::Table { alias, .. } | TableFactor::Derived { alias, .. } => alias.clone(),
        _ => None,
    };
    // Names of columns are given inside, where there is no mark yet.
    let alias = TableAlias { columns: Vec::new(), ..alias.ok_or_else(odd)? };
    let template = crate::resolve::parse_stored("SELECT *, true AS mark FROM source")?;
    let mut subquery = template.ast;
    let SetExpr::Select(marked) = subquery.body.as_mut() else { return Err(odd()) };
    if let Some(SelectItem::ExprWithAlias { alias, .. }) = marked.projection.last_mut() {
        *alias = Ident::with_quote('"', SOURCE_COLUMN);
    }
    if let Some(first) = marked.from.first_mut() {
        first.relation = join.relation.clone();
    }
    join.relation =
        TableFactor::Derived { lateral: false, subquery, alias: Some(alias), sample: None };
    Ok(())
}

/// The only columns that a change gives other values, when all others can be copied as they are
/// stored: no row goes or moves to another partition, and nothing has to look at whole rows.
fn patched_columns(change: &Change, target: &Snapshot) -> Option<Vec<usize>> {
    let table = target.schema();
    let mut columns: Vec<usize> = Vec::new();
    for clause in &change.clauses {
        match &clause.action {
            ChangeAction::Delete | ChangeAction::UpdateAll => return None,
            ChangeAction::Insert { .. } | ChangeAction::InsertAll => {}
            ChangeAction::Update(assignments) => {
                for (column, _) in assignments {
                    let n = table.index_of(column).ok()?;
                    let stays_in_place = !target.partitioned_by().contains(column)
                        && !table.field(n).data_type().is_nested();
                    if !stays_in_place {
                        return None;
                    }
                    columns.push(n);
                }
            }
        }
    }
    columns.sort_unstable();
    columns.dedup();
    let stored = table.fields().len() - target.partitioned_by().len();
    let worthwhile = !columns.is_empty() && columns.len() < stored;
    let has_rules = target.constraints().next().is_some() || target.has_generated_columns();
    (worthwhile && !has_rules).then_some(columns)
}
