//! INSERT: the source's rows, staged side by side and committed once.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use datafusion::{
    common::{
        Column, DFSchema, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    datasource::{MemTable, provider_as_source},
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, expr::Placeholder, ident, lit,
    },
    physical_expr::{PhysicalExpr, expressions::cast},
    physical_plan::{
        ExecutionPlan,
        projection::{ProjectionExec, ProjectionExpr},
    },
    sql::{
        parser::{DFParser, Statement as DataFusionStatement},
        sqlparser::ast::{self, Ident, ObjectNamePart, TableObject},
    },
};
use dialect::statement::{Insert, OldRows, Partition, Replaced, TimeTravel};
use lake::{
    CHANGE_COLUMN, ChangeOperation, CommitInfo, FILE_COLUMN, ROW_COLUMN, Repeats, RowChange,
    Snapshot, Stage, StageProgress, Staged, Touches, WriteMode,
};
use model::{
    code::Code,
    name::{CATALOG, ObjectName},
};

use super::{
    change::{StagedAs, Target, filter_of, is_about_rows, rows_of, stage_and_commit, with_target},
    generated::{self, Computed, Rows},
    struct_values,
    target::{check_as, checks, named_target, snapshot_of, until_undisturbed},
};

use crate::{
    error::QueryError,
    plan,
    queries::{Checked, CommandResult, Inner, Queries},
    resolve::{Described, Purpose, Reads, Resolved, target_name},
    session::Session,
    transaction::Write,
    wire::wire_type,
};

/// The relation that stands for the bound rows of an INSERT of VALUES.
const BOUND_ROWS: &str = "bound_rows";

pub(super) async fn check(
    inner: &Inner,
    session: &Session,
    insert: &Insert,
) -> Result<Checked, QueryError> {
    Ok(planned(inner, session, insert).await?.checked)
}

/// An INSERT that is planned; parameters are still open.
struct PlannedInsert {
    checked: Checked,
    /// The columns that it names; none when it gives values to all.
    columns: Vec<String>,
}

async fn planned(
    inner: &Inner,
    session: &Session,
    insert: &Insert,
) -> Result<PlannedInsert, QueryError> {
    let name = ObjectName::from_parts(&insert.target, session.schema())?;
    named_target(inner, session, &name).await?;
    let (mut tables, mut files) = (insert.source.tables.clone(), insert.source.files.clone());
    if let OldRows::GoWhere(replaced) = &insert.old_rows {
        tables.extend(replaced.rows.tables.iter().cloned());
        files.extend(replaced.rows.files.iter().cloned());
    }
    let tables = with_target(&tables, &name);
    let reads = Reads { tables: &tables, files: &files };
    let resolved = inner.resolve(session, reads, Purpose::Read).await?;
    let base = snapshot_of(&resolved, &name)?;
    check_partition(&name, base.partitioned_by(), &insert.partition)?;
    let columns = if insert.by_name {
        columns_by_name(&resolved, &name, insert).await?
    } else {
        columns_in_order(&base, insert)
    };
    let planned_target = nullable_target(&resolved, &name)?;
    let table = base.schema();
    let mut source = insert.source.clone();
    let given = |column: &String| table.fields().find(column).map(|(_, field)| Arc::clone(field));
    let fields = match columns.is_empty() {
        true => Some(table.fields().to_vec()),
        // A name that the table does not have is told by the planner.
        false => columns.iter().map(given).collect(),
    };
    struct_values::name_fields(&mut source, &fields.unwrap_or_default())?;
    let statement = statement(source.ast, &columns, &planned_target)?;
    let planned = plan::logical_of(&resolved.state, statement).await?;
    let LogicalPlan::Dml(dml) = planned else {
        return Err(QueryError::Unsupported("this form of INSERT".to_owned()));
    };
    let plan = Arc::unwrap_or_clone(dml.input);
    if let LogicalPlan::Projection(rows) = &plan {
        for (value, field) in rows.expr.iter().zip(table.fields()) {
            keeps_fields(value, field, rows.input.schema())?;
        }
    }
    let checked = Checked { resolved, plan, parameters: insert.source.parameters, guessed: false };
    Ok(PlannedInsert { checked, columns })
}

/// Refuses a value that the planner has cast to a struct without some of its fields.
fn keeps_fields(value: &Expr, field: &Field, rows: &DFSchema) -> Result<(), QueryError> {
    if !field.data_type().is_nested() {
        return Ok(());
    }
    let value = match value.clone().unalias() {
        Expr::Cast(cast) => *cast.expr,
        value => value,
    };
    struct_values::keeps_fields(&value.get_type(rows)?, field.data_type())
        .map_err(|error| QueryError::Invalid(format!("column '{}': {error}", field.name())))
}

/// The rows with values in the generated columns that the statement does not name.
fn with_generated(
    resolved: &Resolved,
    base: &Snapshot,
    rows: LogicalPlan,
    columns: &[String],
) -> Result<LogicalPlan, QueryError> {
    let table = base.schema();
    let is_given = |field: &Field| columns.is_empty() || columns.contains(field.name());
    let is_computed =
        |field: &Arc<Field>| generated::expression_of(field).is_some() && !is_given(field);
    if !table.fields().iter().any(is_computed) {
        return Ok(rows);
    }
    let mut items = Vec::with_capacity(table.fields().len());
    for (field, column) in table.fields().iter().zip(rows.schema().columns()) {
        items.push(of_type(Expr::Column(column), field.data_type(), &rows)?.alias(field.name()));
    }
    let plan = LogicalPlanBuilder::from(rows).project(items)?.build()?;
    generated::filled(&resolved.state, &table, Rows { plan, leading: 0 }, |field| {
        if is_given(field) { Computed::Nowhere } else { Computed::Everywhere }
    })
}

/// A value of the rows as one of a column's type; said even where the types seem to be the same,
/// see `of_types`.
fn of_type(value: Expr, data_type: &DataType, rows: &LogicalPlan) -> Result<Expr, QueryError> {
    Ok(match data_type {
        nested if nested.is_nested() => value.cast_to(nested, rows.schema())?,
        plain => datafusion::logical_expr::cast(value, plain.clone()),
    })
}

/// Refuses a PARTITION clause with columns that the table is not partitioned by.
fn check_partition(
    name: &ObjectName,
    partitioned_by: &[String],
    Partition { fixed, open }: &Partition,
) -> Result<(), QueryError> {
    let Some(other) = fixed.iter().chain(open).find(|column| !partitioned_by.contains(column))
    else {
        return Ok(());
    };
    let by = match partitioned_by.is_empty() {
        true => "is not partitioned".to_owned(),
        false => format!("is partitioned by {}", partitioned_by.join(", ")),
    };
    Err(QueryError::Invalid(format!(
        "PARTITION names '{other}', but table '{name}' {by}\n\
         hint: select the value as one of the columns, or write REPLACE WHERE for what is to go"
    )))
}

/// The columns that the source's go to by their place; none when those are all of the table's.
fn columns_in_order(base: &Snapshot, insert: &Insert) -> Vec<String> {
    let fixed = &insert.partition.fixed;
    if fixed.is_empty() {
        return insert.columns.clone();
    }
    let mut columns = insert.columns.clone();
    if columns.is_empty() {
        let all = base.schema();
        let all = all.fields().iter().map(|field| field.name().clone());
        columns = all.filter(|column| !fixed.contains(column)).collect();
    }
    columns.extend(fixed.iter().cloned());
    columns
}

/// The names of the source's columns, each of which has to be one of the target's.
async fn columns_by_name(
    resolved: &Resolved,
    name: &ObjectName,
    insert: &Insert,
) -> Result<Vec<String>, QueryError> {
    let source = plan::logical(&resolved.state, &insert.source).await?;
    let target = snapshot_of(resolved, name)?.schema();
    let mut columns: Vec<String> = Vec::new();
    for field in source.schema().fields() {
        if target.index_of(field.name()).is_err() {
            let known = target.fields().iter().map(|field| field.name().as_str());
            return Err(QueryError::Invalid(format!(
                "BY NAME: table '{name}' has no column '{}'; it has {}",
                field.name(),
                known.collect::<Vec<_>>().join(", ")
            )));
        }
        if columns.contains(field.name()) {
            return Err(QueryError::Invalid(format!(
                "BY NAME: the query returns two columns '{}'",
                field.name()
            )));
        }
        columns.push(field.name().clone());
    }
    Ok(columns)
}

/// The target as the planner is to see it: it matches columns and types, and leaves NOT NULL to the
/// writer, who knows the names of the columns.
fn nullable_target(resolved: &Resolved, name: &ObjectName) -> Result<Vec<String>, QueryError> {
    let missing =
        || QueryError::TableNotFound { name: name.clone(), nearest: None, is_hidden: false };
    let schema = snapshot_of(resolved, name)?.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let nullable = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let planned = target_name(name);
    let catalog = resolved.state.catalog_list().catalog(CATALOG);
    let tables = catalog.and_then(|catalog| catalog.schema(name.schema())).ok_or_else(missing)?;
    tables.deregister_table(&planned)?;
    tables.register_table(planned.clone(), Arc::new(Described::new(nullable, None)))?;
    Ok(vec![name.schema().to_owned(), planned])
}

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    insert: &Insert,
    parameters: Option<&RecordBatch>,
) -> Result<CommandResult, QueryError> {
    let rows = parameters.map_or(1, RecordBatch::num_rows);
    let many = insert.source.parameters > 0 && rows != 1;
    if !many {
        let row = parameters.map(|batch| (batch, 0));
        return undisturbed(queries, session, insert, Bound::Row(row)).await;
    }
    let Some(batch) = parameters else { return Ok(CommandResult::done()) };
    if batch.num_rows() == 0 {
        return Ok(CommandResult::done());
    }
    let checked = check(&queries.inner, session, insert).await?;
    if with_bound_rows(checked.plan, insert.source.parameters, batch)?.is_some() {
        return undisturbed(queries, session, insert, Bound::Rows(batch)).await;
    }
    let mut affected = 0;
    for n in 0..batch.num_rows() {
        let bound = Bound::Row(Some((batch, n)));
        affected += undisturbed(queries, session, insert, bound).await?.rows_affected;
    }
    Ok(CommandResult::affected(u64::try_from(affected).unwrap_or(0)))
}

/// Runs it once, whatever others do meanwhile: for rows that can be read only once.
pub(super) async fn once(
    queries: &Queries,
    session: &Session,
    insert: &Insert,
) -> Result<CommandResult, QueryError> {
    run_once(queries, session, insert, Bound::Row(None)).await
}

#[derive(Clone, Copy)]
enum Bound<'a> {
    /// One row of parameters, or none.
    Row(Option<(&'a RecordBatch, usize)>),
    /// All rows at once, in the place of VALUES.
    Rows(&'a RecordBatch),
}

/// Runs it until nobody else changed meanwhile what it had read.
async fn undisturbed(
    queries: &Queries,
    session: &Session,
    insert: &Insert,
    bound: Bound<'_>,
) -> Result<CommandResult, QueryError> {
    let _turn = match &insert.old_rows {
        OldRows::Stay if !reads_itself(session, insert)? => None,
        OldRows::Stay | OldRows::Go | OldRows::GoWhere(_) => {
            let name = ObjectName::from_parts(&insert.target, session.schema())?;
            let location = named_target(&queries.inner, session, &name).await?.location;
            Some(queries.inner.options.lake.turn(&location).await?)
        }
    };
    until_undisturbed(|| run_once(queries, session, insert, bound)).await
}

/// Whether the source names the target itself; a view that does is seen later.
fn reads_itself(session: &Session, insert: &Insert) -> Result<bool, QueryError> {
    let target = ObjectName::from_parts(&insert.target, session.schema())?;
    for used in &insert.source.tables {
        let is_target = ObjectName::from_parts(&used.name, session.schema())? == target;
        if is_target && used.at.as_ref().is_none_or(TimeTravel::reads_newest) {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn run_once(
    queries: &Queries,
    session: &Session,
    insert: &Insert,
    bound: Bound<'_>,
) -> Result<CommandResult, QueryError> {
    let name = ObjectName::from_parts(&insert.target, session.schema())?;
    let write = match insert.old_rows {
        OldRows::Stay => Write::Append,
        OldRows::Go | OldRows::GoWhere(_) => Write::Change,
    };
    if let Some(transaction) = session.transaction() {
        transaction.may_write(&name, write)?;
    }
    let PlannedInsert { checked, columns } = planned(&queries.inner, session, insert).await?;
    let Checked { resolved, plan: logical, parameters, .. } = checked;
    let logical = match bound {
        Bound::Row(row) => plan::bind(logical, parameters, row)?,
        Bound::Rows(batch) => with_bound_rows(logical, parameters, batch)?
            .ok_or_else(|| QueryError::Unsupported("binding many rows here".to_owned()))?,
    };
    let base = snapshot_of(&resolved, &name)?;
    let rows = with_generated(&resolved, &base, logical.clone(), &columns)?;
    let mode = match &insert.old_rows {
        OldRows::GoWhere(replaced) => {
            let into = Target { session, name: &name };
            let changed = replace_where(queries, &resolved, into, rows, replaced).await?;
            return Ok(CommandResult::affected(changed));
        }
        OldRows::Go => WriteMode::Overwrite,
        OldRows::Stay if resolved.reads(&name, &target_name(&name)) => WriteMode::Grow,
        OldRows::Stay => WriteMode::Append,
    };
    let write = if mode == WriteMode::Append { Write::Append } else { Write::Change };
    let staged = match stage(queries, &resolved, &rows, &base, mode).await {
        Ok(staged) => staged,
        Err(error) => return Err(with_column(&resolved, &logical, error).await),
    };
    if let Some(transaction) = session.transaction() {
        let rows = staged.rows();
        transaction.keep(&name, write, staged)?;
        return Ok(CommandResult::affected(rows));
    }
    let lake = Arc::clone(&queries.inner.options.lake);
    let committed =
        super::finished(
            queries,
            async move { Ok(lake.commit(staged, CommitInfo::default()).await?) },
        )
        .await?;
    queries.care_for(session, &name, &committed.snapshot);
    Ok(CommandResult::affected(committed.rows))
}

async fn stage(
    queries: &Queries,
    resolved: &Resolved,
    logical: &LogicalPlan,
    base: &Arc<Snapshot>,
    mode: WriteMode,
) -> Result<Staged, QueryError> {
    let stage = Stage {
        location: base.location().to_owned(),
        plan: of_types(plan::physical(&resolved.state, logical).await?, &base.schema())?,
        task: resolved.state.task_ctx(),
        mode,
        base: Some(Arc::clone(base)),
        checks: checks(&resolved.state, base)?,
        progress: Arc::new(StageProgress::default()),
    };
    queries.stage(stage).await
}

/// The plan with its columns cast to the table's types. The planner has done that already, but it
/// tells the type of a CASE before its branches are brought to one type.
fn of_types(
    plan: Arc<dyn ExecutionPlan>,
    table: &SchemaRef,
) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
    let schema = plan.schema();
    let other = |(from, to): (&Arc<Field>, &Arc<Field>)| {
        let (from, to) = (from.data_type(), to.data_type());
        wire_type(from) != wire_type(to) && !to.is_nested() && !from.is_null()
    };
    let pairs = || schema.fields().iter().zip(table.fields());
    if !pairs().any(other) {
        return Ok(plan);
    }
    let mut items: Vec<ProjectionExpr> = Vec::new();
    for (n, (from, to)) in pairs().enumerate() {
        let column: Arc<dyn PhysicalExpr> =
            Arc::new(datafusion::physical_expr::expressions::Column::new(from.name(), n));
        let expr =
            if other((from, to)) { cast(column, &schema, to.data_type().clone())? } else { column };
        items.push(ProjectionExpr { expr, alias: from.name().clone() });
    }
    Ok(Arc::new(ProjectionExec::try_new(items, plan)?))
}

/// Rows that fulfil the condition go, and the new ones, which have to fulfil it, come: one commit.
/// Returns how many rows went or came.
async fn replace_where(
    queries: &Queries,
    resolved: &Resolved,
    into: Target<'_>,
    new_rows: LogicalPlan,
    replaced: &Replaced,
) -> Result<u64, QueryError> {
    let name = into.name;
    let (target, old_rows) = rows_of(resolved, name, &replaced.rows).await?;
    let LogicalPlan::Projection(projection) = old_rows else {
        return Err(QueryError::Unsupported("this form of REPLACE WHERE".to_owned()));
    };
    let old_rows = Arc::unwrap_or_clone(projection.input);
    let schema = target.schema();
    let mut gone = vec![
        ident(FILE_COLUMN).alias(FILE_COLUMN),
        ident(ROW_COLUMN).alias(ROW_COLUMN),
        lit(RowChange::Delete as i8).alias(CHANGE_COLUMN),
    ];
    let mut come = vec![
        lit(ScalarValue::Int32(None)).alias(FILE_COLUMN),
        lit(ScalarValue::Int64(None)).alias(ROW_COLUMN),
        lit(RowChange::Insert as i8).alias(CHANGE_COLUMN),
    ];
    for (field, column) in schema.fields().iter().zip(new_rows.schema().columns()) {
        gone.push(lit(ScalarValue::try_from(field.data_type())?).alias(field.name()));
        let value = of_type(Expr::Column(column), field.data_type(), &new_rows)?;
        come.push(value.alias(field.name()));
    }
    let come = LogicalPlanBuilder::from(new_rows).project(come)?.build()?;
    let plan = LogicalPlanBuilder::from(old_rows).project(gone)?.union(come)?.build()?;
    let odd = replaced.rows.parameters > 0 && replaced.text.contains(['?', '$']);
    if odd || !filter_of(&replaced.rows).is_some_and(is_about_rows) {
        return Err(QueryError::Unsupported(
            "REPLACE WHERE takes no parameters and no subqueries in this version: \
             write the values, or use MERGE"
                .to_owned(),
        ));
    }
    let mut checks = checks(&resolved.state, &target)?;
    let fulfilled = format!("({}) IS TRUE", replaced.text);
    let alias = name.name();
    let mut fulfilled =
        check_as(&resolved.state, &schema, Some(alias), "REPLACE WHERE", &fulfilled)?;
    fulfilled.condition.clone_from(&replaced.text);
    checks.push(fulfilled);
    let staged_as = StagedAs {
        target,
        repeats: Repeats::Once,
        touches: Touches::AnyRow,
        operation: ChangeOperation::Replace,
        condition: Some(replaced.text.clone()),
        checks,
        patched: None,
        added: None,
    };
    stage_and_commit(queries, into, resolved, &plan, staged_as).await
}

/// Adds the column to an error about a value. Values are cheap to compute once more, one column at
/// a time; a source that reads tables is not, and its error stays as it is.
async fn with_column(resolved: &Resolved, logical: &LogicalPlan, error: QueryError) -> QueryError {
    let about_a_value =
        matches!(error, QueryError::Engine(_)) && error.code() == Code::InvalidArgument;
    let reads = logical.exists(|node| Ok(matches!(node, LogicalPlan::TableScan(_))));
    if !about_a_value || reads.unwrap_or(true) {
        return error;
    }
    for n in 0..logical.schema().fields().len() {
        let alone = with_only(logical, n);
        let computed = match alone {
            Ok(plan) => computed(resolved, &plan).await,
            Err(error) => Err(error),
        };
        if computed.is_err() {
            let column = logical.schema().field(n).name();
            return QueryError::Invalid(format!("column '{column}': {error}"));
        }
    }
    error
}

async fn computed(resolved: &Resolved, plan: &LogicalPlan) -> Result<(), QueryError> {
    let plan = plan::physical(&resolved.state, plan).await?;
    datafusion::physical_plan::collect(plan, resolved.state.task_ctx()).await?;
    Ok(())
}

/// The plan with NULL in the place of every value that its `n`th column does not need.
fn with_only(plan: &LogicalPlan, n: usize) -> Result<LogicalPlan, QueryError> {
    let needed = match plan {
        LogicalPlan::Projection(projection) => projection.expr[n].column_refs(),
        _ => return Ok(plan.clone()),
    };
    let needed: HashSet<String> = needed.into_iter().map(|column| column.name.clone()).collect();
    let transformed = plan.clone().transform_up(|node| {
        let LogicalPlan::Values(mut values) = node else { return Ok(Transformed::no(node)) };
        for row in &mut values.values {
            for (value, field) in row.iter_mut().zip(values.schema.fields()) {
                if !needed.contains(field.name()) {
                    *value = lit(ScalarValue::try_from(field.data_type())?);
                }
            }
        }
        Ok(Transformed::yes(LogicalPlan::Values(values)))
    })?;
    Ok(transformed.data)
}

/// The INSERT for DataFusion's planner, which knows how columns and types are matched.
fn statement(
    source: Box<ast::Query>,
    columns: &[String],
    target: &[String],
) -> Result<ast::Statement, QueryError> {
    let ident = |text: &String| Ident::with_quote('"', text.clone());
    let template = DFParser::parse_sql("INSERT INTO t VALUES (1)")?.pop_front();
    let Some(DataFusionStatement::Statement(template)) = template else {
        return Err(QueryError::Unsupported("INSERT".to_owned()));
    };
    let ast::Statement::Insert(mut statement) = *template else {
        return Err(QueryError::Unsupported("INSERT".to_owned()));
    };
    let parts = target.iter().map(|part| ObjectNamePart::Identifier(ident(part))).collect();
    statement.table = TableObject::TableName(ast::ObjectName(parts));
    statement.columns = columns
        .iter()
        .map(|column| ast::ObjectName(vec![ObjectNamePart::Identifier(ident(column))]))
        .collect();
    statement.source = Some(source);
    Ok(ast::Statement::Insert(statement))
}

/// Replaces a single row of VALUES that holds parameters by one row for each bound row.
/// `None` when the plan is of another shape.
fn with_bound_rows(
    plan: LogicalPlan,
    count: usize,
    batch: &RecordBatch,
) -> Result<Option<LogicalPlan>, QueryError> {
    let given = batch.num_columns();
    if given != count {
        return Err(QueryError::Parameters { wanted: count, given });
    }
    let mut replaced = 0;
    let source = bound_source(batch)?;
    let transformed = plan.transform_up(|node| match node {
        LogicalPlan::Values(values) if values.values.len() == 1 => {
            replaced += 1;
            let row = values.values.into_iter().next().unwrap_or_default();
            let mut expressions = Vec::with_capacity(row.len());
            for (n, expression) in row.into_iter().enumerate() {
                let (_, field) = values.schema.qualified_field(n);
                let bound = expression.transform_up(|e| Ok(column_of_placeholder(e)))?.data;
                // The same types as VALUES had, so that nothing above has to change.
                let typed = datafusion::logical_expr::cast(bound, field.data_type().clone());
                expressions.push(typed.alias(field.name()));
            }
            let scan = LogicalPlanBuilder::scan(
                BOUND_ROWS,
                provider_as_source(Arc::clone(&source) as _),
                None,
            )?;
            Ok(Transformed::yes(scan.project(expressions)?.build()?))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let left = transformed.data.get_parameter_types()?;
    Ok((replaced == 1 && left.is_empty()).then_some(transformed.data))
}

fn bound_source(batch: &RecordBatch) -> Result<Arc<MemTable>, QueryError> {
    let fields = batch.schema();
    let fields = fields
        .fields()
        .iter()
        .enumerate()
        .map(|(n, field)| Field::new(format!("${}", n + 1), field.data_type().clone(), true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(Arc::clone(&schema), batch.columns().to_vec())?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}

fn column_of_placeholder(expression: Expr) -> Transformed<Expr> {
    match expression {
        Expr::Placeholder(Placeholder { id, .. }) => {
            Transformed::yes(Expr::Column(Column::new(Some(BOUND_ROWS), id)))
        }
        other => Transformed::no(other),
    }
}
