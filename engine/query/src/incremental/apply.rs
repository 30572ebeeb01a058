//! Plans of changes: what a strategy makes of the table that is there.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch, UInt32Array},
    compute::{filter_record_batch, take_record_batch},
    datatypes::{DataType, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    catalog::{MemTable, default_table_source::DefaultTableSource},
    common::{Column, JoinType, ScalarValue},
    execution::SessionState,
    functions_aggregate::expr_fn::sum,
    functions_window::expr_fn::row_number,
    logical_expr::{Expr, ExprFunctionExt, LogicalPlan, LogicalPlanBuilder, cast, lit, when},
    physical_plan::execute_stream,
};
use futures::StreamExt;
use lake::{CHANGE_COLUMN, FILE_COLUMN, ROW_COLUMN, RowChange, Snapshot};

use super::{
    Why,
    choose::Top,
    delta::{Changes, Deltas, matched, union},
    keys::Keyed,
};
use crate::{
    error::QueryError,
    expect::{Gate, watched},
    plan,
    queries::Inner,
};

/// What the rows of the table that is refreshed are called.
pub(super) const TARGET: &str = "@target";
const WEIGHT: &str = "@weight";
const NUMBER: &str = "@number";
const FOUND: &str = "@found";

/// The rows of a table with their places.
pub(super) fn places(base: &Arc<Snapshot>) -> Result<LogicalPlan, QueryError> {
    let source = Arc::new(DefaultTableSource::new(base.rows_provider()?));
    Ok(LogicalPlanBuilder::scan(TARGET, source, None)?.build()?)
}

/// Puts place, change and row into the order that the lake wants.
pub(super) fn plan_of_changes(
    input: LogicalPlan,
    change: Expr,
    values: Vec<Expr>,
) -> Result<LogicalPlan, QueryError> {
    let place = |name: &str| Expr::Column(Column::new(Some(TARGET), name)).alias(name);
    let mut items = vec![place(FILE_COLUMN), place(ROW_COLUMN), change.alias(CHANGE_COLUMN)];
    items.extend(values);
    Ok(LogicalPlanBuilder::from(input).project(items)?.build()?)
}

/// No rows at all, for a run whose inputs changed in nothing that its result shows.
pub(super) fn nothing(base: &Snapshot) -> Result<LogicalPlan, QueryError> {
    let schema = datafusion::common::DFSchema::try_from(base.schema().as_ref().clone())?;
    Ok(LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
        produce_one_row: false,
        schema: Arc::new(schema),
    }))
}

/// Rows that come: those of a plan whose columns are the table's.
pub(super) fn coming(
    state: &SessionState,
    rows: LogicalPlan,
    stored: &SchemaRef,
    gate: Option<&Arc<Gate>>,
) -> Result<LogicalPlan, QueryError> {
    let rows = watched(state, rows, gate)?;
    let mut items = vec![
        lit(ScalarValue::Int32(None)).alias(FILE_COLUMN),
        lit(ScalarValue::Int64(None)).alias(ROW_COLUMN),
        lit(RowChange::Insert as i8).alias(CHANGE_COLUMN),
    ];
    for (column, field) in rows.schema().columns().into_iter().zip(stored.fields()) {
        items.push(cast(Expr::Column(column), field.data_type().clone()).alias(field.name()));
    }
    Ok(LogicalPlanBuilder::from(rows).project(items)?.build()?)
}

/// Rows that go, by their places.
pub(super) fn going(rows: LogicalPlan, stored: &SchemaRef) -> Result<LogicalPlan, QueryError> {
    let values = stored.fields().iter().map(|field| {
        let null = ScalarValue::try_from(field.data_type())?;
        Ok(lit(null).alias(field.name()))
    });
    let values = values.collect::<Result<Vec<_>, QueryError>>()?;
    plan_of_changes(rows, lit(RowChange::Delete as i8), values)
}

pub(super) fn both(going: LogicalPlan, coming: LogicalPlan) -> Result<LogicalPlan, QueryError> {
    Ok(LogicalPlanBuilder::from(going).union(coming)?.build()?)
}

/// Rows of the keys that changed go, and what the query gives for these keys comes.
#[expect(clippy::too_many_arguments, reason = "what is known of one operator and its table")]
pub(super) async fn keys(
    inner: &Inner,
    state: &SessionState,
    deltas: &Deltas<'_>,
    top: &Top<'_>,
    keyed: &Keyed,
    keys: LogicalPlan,
    shown: &[(usize, usize)],
    base: &Arc<Snapshot>,
    gate: Option<&Arc<Gate>>,
) -> Result<Result<LogicalPlan, Why>, QueryError> {
    let columns = keys.schema().columns();
    let parts = shown.iter().filter_map(|(part, _)| columns.get(*part));
    let parts: Vec<_> = parts.cloned().map(Expr::Column).collect();
    let keys = LogicalPlanBuilder::from(keys).project(parts)?.distinct()?.build()?;
    let keys = match collected(inner, state, &keys).await? {
        Ok(batches) => deltas.list(table(keys.schema().as_arrow().clone().into(), batches)?)?,
        Err(why) => return Ok(Err(why)),
    };
    // Only the parts that the table shows.
    let by = keyed.by.iter().map(|by| shown.iter().map(|(part, _)| by[*part].clone()).collect());
    let coarser = Keyed { by: by.collect(), held_by: Vec::new(), inexact: None };
    let computed = top.over(coarser.restricted(top.operator, &keys, |input| Ok(input.clone()))?)?;
    let stored = base.schema();
    let held = shown.iter().zip(keys.schema().fields()).map(|((_, column), key)| {
        let name = stored.field(*column).name();
        let held = Expr::Column(Column::new(Some(TARGET), name));
        match stored.field(*column).data_type() == key.data_type() {
            true => held,
            false => cast(held, key.data_type().clone()),
        }
    });
    let held: Vec<_> = held.collect();
    let gone = matched(places(base)?, &held, &keys, JoinType::LeftSemi)?;
    both(going(gone, &stored)?, coming(state, computed, &stored, gate)?).map(Ok)
}

/// Single rows go and come: as many of each as its count changed.
pub(super) async fn rows(
    inner: &Inner,
    state: &SessionState,
    changes: Changes,
    base: &Arc<Snapshot>,
    gate: Option<&Arc<Gate>>,
) -> Result<Result<LogicalPlan, Why>, QueryError> {
    let stored = base.schema();
    let weighted = |rows: LogicalPlan, weight: i64| -> Result<LogicalPlan, QueryError> {
        let columns = rows.schema().columns().into_iter().zip(stored.fields());
        let mut items: Vec<_> = columns
            .map(|(column, field)| {
                cast(Expr::Column(column), field.data_type().clone()).alias(field.name())
            })
            .collect();
        items.push(lit(weight).alias(WEIGHT));
        Ok(LogicalPlanBuilder::from(rows).project(items)?.build()?)
    };
    let came = changes.came.map(|rows| weighted(rows, 1)).transpose()?;
    let went = changes.went.map(|rows| weighted(rows, -1)).transpose()?;
    let Some(all) = union(came, went)? else { return Ok(Ok(going(places(base)?, &stored)?)) };
    let name = |name: &str| Expr::Column(Column::from_name(name));
    let groups: Vec<_> = stored.fields().iter().map(|field| name(field.name())).collect();
    let net = LogicalPlanBuilder::from(all)
        .aggregate(groups, vec![sum(name(WEIGHT)).alias(WEIGHT)])?
        .filter(name(WEIGHT).not_eq(lit(0_i64)))?
        .build()?;
    let batches = match collected(inner, state, &net).await? {
        Ok(batches) => batches,
        Err(why) => return Ok(Err(why)),
    };
    let (fewer, more) = split(&batches)?;
    let schema: SchemaRef = net.schema().as_arrow().clone().into();
    let comes = coming(
        state,
        LogicalPlanBuilder::from(table(Arc::clone(&schema), more)?)
            .project(stored.fields().iter().map(|field| name(field.name())))?
            .build()?,
        &stored,
        gate,
    )?;
    if fewer.is_empty() {
        return both(going(none(places(base)?)?, &stored)?, comes).map(Ok);
    }
    let fewer = LogicalPlanBuilder::from(table(schema, fewer)?).alias("@fewer")?.build()?;
    let of = |relation: &str, name: &str| Expr::Column(Column::new(Some(relation), name));
    let by: Vec<_> = stored.fields().iter().map(|field| of("@fewer", field.name())).collect();
    let there = LogicalPlanBuilder::from(places(base)?).build()?;
    let held: Vec<_> = stored.fields().iter().map(|field| of(TARGET, field.name())).collect();
    // Each row that goes with all its equals; one whose equals are too few keeps no place, and a
    // change without a place is refused: then the table is not what the last run has left.
    let found = left_join(fewer, &by, there, &held)?;
    let number = row_number().partition_by(by.clone()).build()?.alias(NUMBER);
    let count = datafusion::functions_aggregate::count::count_udaf();
    let found_of = Expr::from(datafusion::logical_expr::expr::WindowFunction::new(
        datafusion::logical_expr::WindowFunctionDefinition::AggregateUDF(count),
        vec![of(TARGET, FILE_COLUMN)],
    ));
    let found_of = found_of.partition_by(by).build()?.alias(FOUND);
    let wanted = Expr::Negative(Box::new(of("@fewer", WEIGHT)));
    let numbered = LogicalPlanBuilder::from(found)
        .window(vec![number, found_of])?
        .filter(cast(name(NUMBER), DataType::Int64).lt_eq(wanted.clone()))?
        .build()?;
    let place = |column: &str, data_type: &DataType| {
        let none = lit(ScalarValue::try_from(data_type)?);
        let place = when(name(FOUND).lt(wanted.clone()), none).otherwise(of(TARGET, column))?;
        Ok::<_, QueryError>(place.alias(column))
    };
    let mut items = vec![
        place(FILE_COLUMN, &DataType::Int32)?,
        place(ROW_COLUMN, &DataType::Int64)?,
        lit(RowChange::Delete as i8).alias(CHANGE_COLUMN),
    ];
    for field in stored.fields() {
        items.push(lit(ScalarValue::try_from(field.data_type())?).alias(field.name()));
    }
    let goes = LogicalPlanBuilder::from(numbered).project(items)?.build()?;
    both(goes, comes).map(Ok)
}

fn left_join(
    left: LogicalPlan,
    by: &[Expr],
    right: LogicalPlan,
    held: &[Expr],
) -> Result<LogicalPlan, QueryError> {
    use datafusion::{
        common::{JoinConstraint, NullEquality},
        logical_expr::Join,
    };
    let on = by.iter().cloned().zip(held.iter().cloned()).collect();
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        JoinType::Left,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?))
}

fn none(plan: LogicalPlan) -> Result<LogicalPlan, QueryError> {
    Ok(LogicalPlanBuilder::from(plan).filter(lit(false))?.build()?)
}

/// Rows of which there are fewer now, with how many fewer; and rows of which there are more, as
/// often as there are more.
fn split(batches: &[RecordBatch]) -> Result<(Vec<RecordBatch>, Vec<RecordBatch>), QueryError> {
    let (mut fewer, mut more) = (Vec::new(), Vec::new());
    for batch in batches {
        let weights = batch.column(batch.num_columns() - 1).as_primitive::<Int64Type>();
        let gone: arrow::array::BooleanArray =
            weights.iter().map(|weight| Some(weight.is_some_and(|weight| weight < 0))).collect();
        if gone.true_count() > 0 {
            fewer.push(filter_record_batch(batch, &gone)?);
        }
        let mut rows = Vec::new();
        for (row, weight) in weights.values().iter().enumerate() {
            let times = usize::try_from(*weight).unwrap_or(0);
            rows.extend(std::iter::repeat_n(u32::try_from(row).unwrap_or(u32::MAX), times));
        }
        if !rows.is_empty() {
            more.push(take_record_batch(batch, &UInt32Array::from(rows))?);
        }
    }
    Ok((fewer, more))
}

/// A table of rows in memory.
fn table(schema: SchemaRef, batches: Vec<RecordBatch>) -> Result<LogicalPlan, QueryError> {
    // Two columns of one name could not be told apart; keys and rows have names of their own. Any of
    // them may be NULL: a plan that says otherwise need not be right, as of a count() over no rows.
    let fields = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
    let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let batches = batches
        .into_iter()
        .map(|batch| Ok(batch.with_schema(Arc::clone(&schema))?))
        .collect::<Result<Vec<_>, QueryError>>()?;
    let source =
        Arc::new(DefaultTableSource::new(Arc::new(MemTable::try_new(schema, vec![batches])?)));
    Ok(LogicalPlanBuilder::scan("@rows", source, None)?.build()?)
}

/// Runs a plan and keeps its rows, if they are few enough.
async fn collected(
    inner: &Inner,
    state: &SessionState,
    logical: &LogicalPlan,
) -> Result<Result<Vec<RecordBatch>, Why>, QueryError> {
    let most = inner.options.limits.memory_max / 16;
    let plan = plan::physical(state, logical).await?;
    let mut rows = execute_stream(Arc::clone(&plan), state.task_ctx())?;
    let work = async move {
        let (mut batches, mut bytes) = (Vec::new(), 0_u64);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            bytes += batch.get_array_memory_size() as u64;
            if bytes > most {
                return Ok(Err(bytes));
            }
            if batch.num_rows() > 0 {
                batches.push(batch);
            }
        }
        Ok::<_, QueryError>(Ok(batches))
    };
    let kept = inner.runtime_of(&plan).spawn(work).await??;
    Ok(kept.map_err(|bytes| {
        let why = format!("what changed does not fit into memory: more than {bytes} bytes");
        Why::new("CHANGESET_TOO_LARGE", why)
    }))
}
