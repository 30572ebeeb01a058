//! INSERT: the source's rows, staged side by side and committed once.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    datatypes::{Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use datafusion::{
    common::{
        Column, ScalarValue,
        tree_node::{Transformed, TreeNode},
    },
    datasource::{MemTable, provider_as_source},
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, expr::Placeholder, lit},
    sql::{
        parser::{DFParser, Statement as DataFusionStatement},
        sqlparser::ast::{self, Ident, ObjectNamePart, TableObject},
    },
};
use dialect::statement::{Insert, TableUse};
use lake::{CommitInfo, Stage, StageProgress, Staged, WriteMode};
use model::{
    code::Code,
    name::{CATALOG, ObjectName},
    object::{Object, ObjectBody, Table, TableFormat},
};

use crate::{
    error::QueryError,
    plan,
    queries::{Checked, CommandResult, Inner, Queries},
    resolve::{Described, Pins, Purpose, Resolved},
    session::Session,
};

/// The relation that stands for the bound rows of an INSERT of VALUES.
const BOUND_ROWS: &str = "bound_rows";

pub(super) async fn check(
    inner: &Inner,
    session: &Session,
    insert: &Insert,
) -> Result<Checked, QueryError> {
    let name = ObjectName::from_parts(&insert.target, session.schema())?;
    let object = inner.object_named(&name).await?;
    target_table(&object)?;
    let target = vec![name.schema().to_owned(), name.name().to_owned()];
    let mut tables = insert.source.tables.clone();
    tables.push(TableUse { name: target.clone(), at: None, planned_name: target.clone() });
    let resolved = inner.resolve(session.schema(), &tables, Purpose::Read, &Pins::new()).await?;
    let planned_target = nullable_target(&resolved, &name)?;
    let planned = plan::logical_of(&resolved.state, statement(insert, &planned_target)?).await?;
    let LogicalPlan::Dml(dml) = planned else {
        return Err(QueryError::Unsupported("this form of INSERT".to_owned()));
    };
    let plan = Arc::unwrap_or_clone(dml.input);
    Ok(Checked { resolved, plan, parameters: insert.source.parameters })
}

/// The target as the planner is to see it: it matches columns and types, and leaves NOT NULL to the
/// writer, who knows the names of the columns.
fn nullable_target(resolved: &Resolved, name: &ObjectName) -> Result<Vec<String>, QueryError> {
    let missing = || QueryError::TableNotFound { name: name.clone(), nearest: None };
    let schema = resolved.snapshots.get(name).ok_or_else(missing)?.schema();
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let nullable = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    // No name of a table holds this character.
    let planned = format!("{}@target", name.name());
    let catalog = resolved.state.catalog_list().catalog(CATALOG);
    let tables = catalog.and_then(|catalog| catalog.schema(name.schema())).ok_or_else(missing)?;
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
        return run_once(queries, session, insert, Bound::Row(row)).await;
    }
    let Some(batch) = parameters else { return Ok(CommandResult::done()) };
    if batch.num_rows() == 0 {
        return Ok(CommandResult::done());
    }
    let checked = check(&queries.inner, session, insert).await?;
    if with_bound_rows(checked.plan, insert.source.parameters, batch)?.is_some() {
        return run_once(queries, session, insert, Bound::Rows(batch)).await;
    }
    let mut affected = 0;
    for n in 0..batch.num_rows() {
        let bound = Bound::Row(Some((batch, n)));
        affected += run_once(queries, session, insert, bound).await?.rows_affected;
    }
    Ok(CommandResult::affected(u64::try_from(affected).unwrap_or(0)))
}

#[derive(Clone, Copy)]
enum Bound<'a> {
    /// One row of parameters, or none.
    Row(Option<(&'a RecordBatch, usize)>),
    /// All rows at once, in the place of VALUES.
    Rows(&'a RecordBatch),
}

async fn run_once(
    queries: &Queries,
    session: &Session,
    insert: &Insert,
    bound: Bound<'_>,
) -> Result<CommandResult, QueryError> {
    let Checked { resolved, plan: logical, parameters } =
        check(&queries.inner, session, insert).await?;
    let logical = match bound {
        Bound::Row(row) => plan::bind(logical, parameters, row)?,
        Bound::Rows(batch) => with_bound_rows(logical, parameters, batch)?
            .ok_or_else(|| QueryError::Unsupported("binding many rows here".to_owned()))?,
    };
    let name = ObjectName::from_parts(&insert.target, session.schema())?;
    let object =
        resolved.objects.get(&name).ok_or(QueryError::TableNotFound { name, nearest: None })?;
    let location = target_table(object)?.location.clone();
    let mode = if insert.overwrite { WriteMode::Overwrite } else { WriteMode::Append };
    let staged = match stage(queries, &resolved, &logical, location, mode).await {
        Ok(staged) => staged,
        Err(error) => return Err(with_column(&resolved, &logical, error).await),
    };
    let lake = Arc::clone(&queries.inner.options.lake);
    let committed =
        super::finished(
            queries,
            async move { Ok(lake.commit(staged, CommitInfo::default()).await?) },
        )
        .await?;
    Ok(CommandResult::affected(committed.rows))
}

async fn stage(
    queries: &Queries,
    resolved: &Resolved,
    logical: &LogicalPlan,
    location: String,
    mode: WriteMode,
) -> Result<Staged, QueryError> {
    let plan = plan::physical(&resolved.state, logical).await?;
    let task = resolved.state.task_ctx();
    let progress = Arc::new(StageProgress::default());
    queries.stage(Stage { location, plan, task, mode, progress }).await
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

/// The Delta table behind the target, or why it cannot be written.
fn target_table(object: &Object) -> Result<&Table, QueryError> {
    let wrong = |kind, problem: &str| QueryError::WrongKind {
        name: object.name.clone(),
        kind,
        problem: problem.to_owned(),
    };
    match &object.body {
        ObjectBody::Table(table) if table.format == TableFormat::Delta => Ok(table),
        ObjectBody::Table(table) => Err(wrong(
            table.format.as_sql(),
            "table, which is read only: only Delta tables are written",
        )),
        ObjectBody::View(_) => Err(wrong("view", "which holds no rows of its own")),
        ObjectBody::MaterializedView(_) => Err(wrong(
            "materialized view",
            "whose rows come from its query: insert into a table that it reads",
        )),
    }
}

/// The INSERT for DataFusion's planner, which knows how columns and types are matched.
fn statement(insert: &Insert, target: &[String]) -> Result<ast::Statement, QueryError> {
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
    statement.columns = insert
        .columns
        .iter()
        .map(|column| ast::ObjectName(vec![ObjectNamePart::Identifier(ident(column))]))
        .collect();
    statement.source = Some(insert.source.ast.clone());
    Ok(ast::Statement::Insert(statement))
}

/// Replaces a single row of VALUES that holds parameters by one row for each bound row.
/// `None` when the plan is of another shape.
fn with_bound_rows(
    plan: LogicalPlan,
    count: usize,
    batch: &RecordBatch,
) -> Result<Option<LogicalPlan>, QueryError> {
    if batch.num_columns() < count {
        return Err(QueryError::Invalid(format!(
            "the statement has {count} parameters and {} were bound",
            batch.num_columns()
        )));
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
