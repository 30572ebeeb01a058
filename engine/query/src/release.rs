//! RELEASE QUARANTINE as its job does it: which rows may leave, as two plans over one version of the
//! quarantine: the rows for the table, and their places for the quarantine.
//!
//! Both plans have to name the same rows, so whatever decides about a row gives the same answer each
//! time that it is asked. It never writes and never commits.

use std::sync::Arc;

use arrow::{
    array::AsArray,
    datatypes::{DataType, Int64Type},
};
use chrono::{DateTime, Utc};
use datafusion::{
    catalog::default_table_source::DefaultTableSource,
    common::{Column, DFSchema, ScalarValue, ToDFSchema},
    execution::{SessionState, TaskContext},
    functions_aggregate::expr_fn::count,
    logical_expr::{Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit},
    optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext},
    physical_plan::{ExecutionPlan, execute_stream},
};
use futures::StreamExt;
use lake::{CHANGE_COLUMN, FILE_COLUMN, ROW_COLUMN, RowChange, Snapshot};
use model::{
    name::DEFAULT_SCHEMA,
    time::Timestamp,
    transform::{OnViolation, Transform},
    work::ReleaseWork,
};

use crate::{
    command::target::changes_with_time,
    error::QueryError,
    expect::{EXPECTATIONS, QUARANTINED_AT, RUN_ID, conditions, has_query},
    numbers, plan,
    queries::{Inner, Queries},
    transform::PlannedTransform,
};

const ROWS: &str = "@quarantine";
const SELECTED: &str = "@selected";

/// What is to be released.
#[derive(Debug, Clone)]
pub struct ReleaseWish {
    /// The streaming table.
    pub view: Transform,
    /// Its table: the rows have to fit its columns.
    pub table: Arc<Snapshot>,
    /// The quarantine that belongs to it.
    pub quarantine: Arc<Snapshot>,
    /// Which rows.
    pub work: ReleaseWork,
}

/// A release that is planned.
#[derive(Debug)]
pub struct PlannedRelease {
    /// Rows that may leave.
    pub released: u64,
    /// Rows that were asked for and still do not meet the expectations.
    pub kept: u64,
    /// Those that may leave, in the columns of the table.
    pub rows: PlannedTransform,
    /// Their places in the quarantine, see [`lake::StageChange`].
    pub going: (Arc<dyn ExecutionPlan>, Arc<TaskContext>),
}

impl Queries {
    /// Counts the rows of the quarantine that meet the expectations as they are now, and plans their
    /// way into the table and out of the quarantine.
    pub async fn plan_release(&self, wish: ReleaseWish) -> Result<PlannedRelease, QueryError> {
        let inner = Arc::clone(&self.inner);
        let planning = async move { inner.plan_release(&wish).await };
        let Plans { selected, passing, rows, going } =
            self.inner.control().spawn(planning).await??;
        let mut counts = [0; 2];
        for (count, (plan, task)) in counts.iter_mut().zip([selected, passing]) {
            let runtime = self.runtime(&plan).clone();
            *count = runtime.spawn(async move { counted(plan, task).await }).await??;
        }
        let [selected, released] = counts;
        let kept = selected.saturating_sub(released);
        Ok(PlannedRelease { released, kept, rows, going })
    }
}

type Plan = (Arc<dyn ExecutionPlan>, Arc<TaskContext>);

struct Plans {
    /// Counts the rows that were asked for.
    selected: Plan,
    /// Counts those of them that may leave.
    passing: Plan,
    rows: PlannedTransform,
    going: Plan,
}

impl Inner {
    async fn plan_release(&self, wish: &ReleaseWish) -> Result<Plans, QueryError> {
        let state = self.state(DEFAULT_SCHEMA);
        let selected = selected(&state, wish)?;
        let passing = selected.clone().filter(passes(&state, &wish.view, &wish.table)?)?;
        let (rows, going) = (rows(passing.clone(), wish)?, going(passing.clone(), wish)?);
        let planned = async |logical: LogicalPlan| -> Result<Plan, QueryError> {
            Ok((plan::physical(&state, &logical).await?, state.task_ctx()))
        };
        let (plan, task) = planned(rows).await?;
        let rows_expected = wish.quarantine.rows().unwrap_or(0);
        Ok(Plans {
            selected: planned(counting(selected)?).await?,
            passing: planned(counting(passing)?).await?,
            rows: PlannedTransform { plan, task, rows_expected },
            going: planned(going).await?,
        })
    }
}

/// Refuses a condition that no release could use. Answers the time that it has to be asked at, if its
/// answer depends on one.
pub(crate) fn check_condition(
    state: &SessionState,
    quarantine: &Snapshot,
    condition: &str,
    now: Timestamp,
) -> Result<Option<Timestamp>, QueryError> {
    if has_query(condition) {
        return Err(QueryError::Unsupported(
            "the condition of RELEASE QUARANTINE has a subquery: it may only name columns"
                .to_owned(),
        ));
    }
    let schema = quarantine.schema().to_dfschema()?;
    let expr = numbers::expression(state, condition, &schema)?;
    let asked_at = changes_with_time(&expr)?.then_some(now);
    let settled = settled(expr, &schema, asked_at)?;
    let data_type = settled.get_type(&schema)?;
    if !matches!(data_type, DataType::Boolean | DataType::Null) {
        return Err(QueryError::Invalid(format!(
            "RELEASE QUARANTINE … WHERE {condition} is no condition: it is {data_type}, not true or \
             false"
        )));
    }
    Ok(asked_at)
}

/// The condition with the time that it names in it: the same answer for a row each time.
fn settled(expr: Expr, schema: &DFSchema, asked_at: Option<Timestamp>) -> Result<Expr, QueryError> {
    let time: Option<DateTime<Utc>> = asked_at.map(Timestamp::to_utc);
    let context = SimplifyContext::builder()
        .with_schema(Arc::new(schema.clone()))
        .with_query_execution_start_time(time)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let expr = simplifier.simplify(simplifier.coerce(expr, schema)?)?;
    if changes_with_time(&expr)? {
        return Err(QueryError::Invalid(
            "the condition of RELEASE QUARANTINE calls a function that answers differently each \
             time: the rows that come into the table have to be those that leave the quarantine"
                .to_owned(),
        ));
    }
    Ok(expr)
}

/// The rows that were asked for: their places, and the columns of the table.
fn selected(state: &SessionState, wish: &ReleaseWish) -> Result<LogicalPlanBuilder, QueryError> {
    let ReleaseWish { table, quarantine, work, .. } = wish;
    let source = Arc::new(DefaultTableSource::new(quarantine.rows_provider()?));
    let mut rows = LogicalPlanBuilder::scan(ROWS, source, None)?;
    if let Some(text) = &work.condition {
        let schema = quarantine.schema().to_dfschema()?;
        let expr = numbers::expression(state, text, &schema)?;
        rows = rows.filter(settled(expr, &schema, work.asked_at)?)?;
    }
    let from = |name: &str| Expr::Column(Column::new(Some(ROWS), name));
    let mut items = vec![from(FILE_COLUMN).alias(FILE_COLUMN), from(ROW_COLUMN).alias(ROW_COLUMN)];
    let stored = quarantine.schema();
    let columns = table.schema();
    let own = [EXPECTATIONS, RUN_ID, QUARANTINED_AT];
    let lost = stored.fields().iter().find(|field| {
        let name = field.name().as_str();
        !own.contains(&name) && columns.field_with_name(name).is_err()
    });
    if let Some(lost) = lost {
        return Err(QueryError::Invalid(format!(
            "rows in quarantine have a column '{}', which the table has no more: REFRESH … FULL \
             reads them anew",
            lost.name()
        )));
    }
    for field in columns.fields() {
        let value = match stored.field_with_name(field.name()) {
            Ok(there) if there.data_type() == field.data_type() => from(field.name()),
            Ok(_) => cast(from(field.name()), field.data_type().clone()),
            Err(_) => lit(ScalarValue::try_from(field.data_type())?),
        };
        items.push(value.alias(field.name()));
    }
    Ok(rows.project(items)?.alias(SELECTED)?)
}

/// Whether a row of the table's columns may be in the table: no expectation keeps it out, and no
/// column of the table.
fn passes(state: &SessionState, view: &Transform, table: &Snapshot) -> Result<Expr, QueryError> {
    let columns = table.schema();
    // Refuses what a run would refuse.
    conditions(state, &columns, &view.expectations)?;
    let schema = Arc::clone(&columns).to_dfschema()?;
    let mut all = lit(true);
    for expectation in &view.expectations {
        if expectation.on_violation == OnViolation::Keep {
            continue;
        }
        let expr = numbers::expression(state, &expectation.condition, &schema)?;
        all = all.and(expr.is_true());
    }
    for field in columns.fields().iter().filter(|field| !field.is_nullable()) {
        all = all.and(Expr::Column(Column::new_unqualified(field.name())).is_not_null());
    }
    Ok(all)
}

fn column(name: &str) -> Expr {
    Expr::Column(Column::new_unqualified(name))
}

/// How many rows there are.
fn counting(rows: LogicalPlanBuilder) -> Result<LogicalPlan, QueryError> {
    let none: Vec<Expr> = Vec::new();
    Ok(rows.aggregate(none, vec![count(lit(1_i64))])?.build()?)
}

/// The rows that may leave, as the table has them.
fn rows(passing: LogicalPlanBuilder, wish: &ReleaseWish) -> Result<LogicalPlan, QueryError> {
    let columns = wish.table.schema();
    let own = columns.fields().iter().map(|field| column(field.name()).alias(field.name()));
    Ok(passing.project(own.collect::<Vec<_>>())?.build()?)
}

/// The places of the rows that may leave.
fn going(passing: LogicalPlanBuilder, wish: &ReleaseWish) -> Result<LogicalPlan, QueryError> {
    let mut items = vec![
        column(FILE_COLUMN).alias(FILE_COLUMN),
        column(ROW_COLUMN).alias(ROW_COLUMN),
        lit(RowChange::Delete as i8).alias(CHANGE_COLUMN),
    ];
    for field in wish.quarantine.schema().fields() {
        items.push(lit(ScalarValue::try_from(field.data_type())?).alias(field.name()));
    }
    Ok(passing.project(items)?.build()?)
}

/// The number that a plan which counts answers.
async fn counted(plan: Arc<dyn ExecutionPlan>, task: Arc<TaskContext>) -> Result<u64, QueryError> {
    let mut count = 0;
    let mut batches = execute_stream(plan, task)?;
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let numbers = batch.column(0).as_primitive::<Int64Type>().values();
        count += numbers.iter().map(|number| u64::try_from(*number).unwrap_or(0)).sum::<u64>();
    }
    Ok(count)
}
