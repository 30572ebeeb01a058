//! Logical and physical plans, and the DataFusion session that makes them.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use arrow::{
    array::Array,
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use datafusion::{
    common::{
        ParamValues, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    datasource::{provider_as_source, source_as_provider},
    execution::{
        SessionState, SessionStateBuilder,
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::TrackConsumersPool,
        runtime_env::{RuntimeEnv, RuntimeEnvBuilder},
    },
    logical_expr::{Expr, LogicalPlan, TableScanBuilder},
    optimizer::{
        OptimizerRule, decorrelate_predicate_subquery::DecorrelatePredicateSubquery,
        push_down_filter::PushDownFilter,
    },
    physical_plan::ExecutionPlan,
    prelude::SessionConfig,
    sql::{parser::Statement as DataFusionStatement, sqlparser::ast},
};
use dialect::statement::Query;
use model::name::{CATALOG, DEFAULT_SCHEMA};

use crate::{
    arithmetic::Arithmetic,
    averages, barrier, copies,
    error::QueryError,
    extremes, growing,
    joins::SpillingJoins,
    like,
    memory::{self, StatementMemory},
    null_keys,
    numbers::{self, beside},
    options::QueryLimits,
    parts,
    pause::Pauses,
    planning::{aside, in_turn},
    ranges, rounding, same_names,
    sides::Sides,
    size,
    sorts::CompactSorts,
    stand_ins,
    subqueries::{Marks, Subqueries},
    sums,
    times::{self, Times, coalesce},
    truths::Truths,
    windows::Windows,
};

const FOOTER_CACHE_BYTES: usize = 128 << 20;

/// One memory pool, one spill budget and one footer cache for all statements.
pub(crate) fn runtime_env(
    limits: &QueryLimits,
    spill: &Path,
) -> Result<Arc<RuntimeEnv>, QueryError> {
    let memory = usize::try_from(limits.memory_max).unwrap_or(usize::MAX);
    let consumers_named = std::num::NonZeroUsize::new(3).expect("three is not zero");
    let spill = DiskManagerBuilder::default()
        .with_mode(DiskManagerMode::Directories(vec![spill.to_owned()]))
        .with_max_temp_directory_size(limits.spill_max);
    Ok(RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(TrackConsumersPool::new(
            StatementMemory::new(memory),
            consumers_named,
        )))
        .with_disk_manager_builder(spill)
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
        // A folder of plain files is listed by each statement: new files count at once.
        .with_object_list_cache_limit(0)
        .build_arc()?)
}

/// DataFusion's rules in their order, with ours among them.
fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = null_keys::logical_rules();
    let filters = DecorrelatePredicateSubquery::new();
    let at = rules.iter().position(|rule| rule.name() == filters.name()).unwrap_or(0);
    rules.insert(at, Arc::new(Marks));
    let at = rules.iter().position(|rule| rule.name() == PushDownFilter::new().name()).unwrap_or(0);
    rules.insert(at, Arc::new(Sides));
    rules
}

/// What every statement starts from.
pub(crate) fn base_state(limits: &QueryLimits, env: Arc<RuntimeEnv>) -> SessionState {
    let mut config = SessionConfig::new()
        .with_target_partitions(limits.target_partitions.max(1))
        .with_information_schema(true)
        .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
        .with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.execution.time_zone = Some(times::ZONE.to_owned());
    // Errors can then point into the text.
    options.sql_parser.collect_spans = true;
    // Times of older writers (INT96) span more than nanoseconds can hold.
    options.execution.parquet.coerce_int96 = Some("us".to_owned());
    // What the merge of a sort may always have. The default is more than a small server has.
    options.execution.sort_spill_reservation_bytes = memory::sort_reservation(limits.memory_max);
    // See the lake's notes on joins over partition columns: the in-list form loses NULL matches.
    options.optimizer.hash_join_inlist_pushdown_max_size = 0;
    options.optimizer.hash_join_inlist_pushdown_max_distinct_values = 0;
    // The logical plan knows of `CASE WHEN a > b THEN a ELSE 0 END` that it is never NULL, and the
    // physical one does not. Both are right; only below a group the difference is an error.
    options.execution.skip_physical_aggregate_schema_check = true;
    let mut state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(env)
        .with_default_features()
        .with_type_planner(Arc::new(Times))
        .with_query_planner(Arc::new(barrier::Planner))
        .with_analyzer_rule(Arc::new(Subqueries))
        .with_analyzer_rule(Arc::new(Truths))
        .with_analyzer_rule(Arc::new(Arithmetic))
        .with_optimizer_rules(logical_rules())
        .with_physical_optimizer_rules(same_names::physical_rules())
        // Last: what these add is part of no pattern that another rule looks for.
        .with_physical_optimizer_rule(Arc::new(SpillingJoins))
        .with_physical_optimizer_rule(Arc::new(CompactSorts))
        .with_physical_optimizer_rule(Arc::new(Windows))
        .with_physical_optimizer_rule(Arc::new(Pauses));
    state.expr_planners().get_or_insert_default().insert(0, Arc::new(parts::Extracts));
    growing::bounded(state.scalar_functions().get_or_insert_default());
    state.scalar_functions().get_or_insert_default().extend(parts::functions());
    state.scalar_functions().get_or_insert_default().extend(stand_ins::functions());
    state.scalar_functions().get_or_insert_default().push(rounding::function());
    state.scalar_functions().get_or_insert_default().push(coalesce::function());
    state.scalar_functions().get_or_insert_default().push(like::function());
    // Postgres' names for them.
    let uuid = datafusion::functions::string::uuid().as_ref().clone();
    let uuid = Arc::new(uuid.with_aliases(["gen_random_uuid"]));
    state.scalar_functions().get_or_insert_default().push(uuid);
    let sign = datafusion::functions::math::signum().as_ref().clone();
    let sign = Arc::new(sign.with_aliases(["sign"]));
    state.scalar_functions().get_or_insert_default().push(sign);
    let variance = datafusion::functions_aggregate::variance::var_samp_udaf().as_ref().clone();
    let variance = Arc::new(variance.with_aliases(["variance"]));
    state.aggregate_functions().get_or_insert_default().push(variance);
    state.scalar_functions().get_or_insert_default().push(crate::streaming::unordered());
    state.aggregate_functions().get_or_insert_default().extend(extremes::functions());
    state.aggregate_functions().get_or_insert_default().push(sums::function());
    state.aggregate_functions().get_or_insert_default().push(averages::function());
    state.build()
}

/// Plans a query, unoptimized: parameters are still open.
pub(crate) async fn logical(
    state: &SessionState,
    query: &Query,
) -> Result<LogicalPlan, QueryError> {
    let statement = ast::Statement::Query(query.ast.clone());
    logical_of(state, statement).await
}

pub(crate) async fn logical_of(
    state: &SessionState,
    statement: ast::Statement,
) -> Result<LogicalPlan, QueryError> {
    logical_from(state, DataFusionStatement::Statement(Box::new(statement))).await
}

/// Plans whatever the planner reads. Every text comes through here, so this is where one that would
/// become too large is refused.
pub(crate) async fn logical_from(
    state: &SessionState,
    mut statement: DataFusionStatement,
) -> Result<LogicalPlan, QueryError> {
    numbers::exact(&mut statement);
    size::check(state, &statement).await?;
    let plan = in_turn(state, state.statement_to_plan(statement)).await?;
    ranges::check(&plan)?;
    Ok(beside::in_plan(copies::counted(plan)?)?)
}

/// Optimizes and makes it physical. This is where files are chosen.
pub(crate) async fn physical(
    state: &SessionState,
    plan: &LogicalPlan,
) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
    // What was bound, and what casts values to the types of a table, came later.
    let plan = in_turn(state, async { state.optimize(&beside::in_plan(plan.clone())?) }).await?;
    // Others may have their turn while it waits for a store.
    Ok(aside(state.query_planner().create_physical_plan(&plan, state)).await?)
}

/// A query that only passes rows on reads text as it travels. Views are for those who compute with
/// them, and would only be copied here. The plan has to be one that [`logical`] made.
pub(crate) fn as_it_travels(plan: LogicalPlan) -> Result<LogicalPlan, QueryError> {
    let computes = plan.exists(|node| {
        Ok(match node {
            LogicalPlan::TableScan(scan) => !scan.filters.is_empty(),
            LogicalPlan::Projection(columns) => {
                !columns.expr.iter().all(|expr| matches!(expr.clone().unalias(), Expr::Column(_)))
            }
            LogicalPlan::Limit(_) | LogicalPlan::SubqueryAlias(_) => false,
            _ => true,
        })
    })?;
    if computes {
        return Ok(plan);
    }
    let changed = plan.transform_up(|node| {
        let LogicalPlan::TableScan(scan) = node else {
            return node.recompute_schema().map(Transformed::yes);
        };
        let provider = source_as_provider(&scan.source).ok();
        let plain = provider.and_then(|provider| lake::with_plain_text(provider.as_ref()));
        let Some(plain) = plain else {
            return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
        };
        let source = provider_as_source(plain);
        let scan = TableScanBuilder::new(scan.table_name, source)
            .with_projection(scan.projection)
            .with_filters(scan.filters)
            .with_fetch(scan.fetch)
            .build()?;
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(changed.data)
}

/// The parameters of a plan in their order: `$1`, `$2`, …; text where the plan does not tell.
pub(crate) fn parameters(plan: &LogicalPlan, count: usize) -> Result<SchemaRef, QueryError> {
    let mut types = plan.get_parameter_types()?;
    for (id, data_type) in cast_parameters(plan)? {
        types.entry(id).or_default().get_or_insert(data_type);
    }
    let fields = (1..=count).map(|n| {
        let id = format!("${n}");
        let known = types.get(&id).cloned().flatten();
        let data_type = known.filter(|known| !known.is_null()).unwrap_or(DataType::Utf8);
        Field::new(id, crate::wire::parameter_type(&data_type), true)
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The numbers of the parameters that the planner has taken for NULLs, since nothing tells their
/// types and an operator wants some.
pub(crate) fn untyped(plan: &LogicalPlan) -> Result<BTreeSet<usize>, QueryError> {
    let types = plan.get_parameter_types()?;
    let unknown =
        types.into_iter().filter(|(_, known)| known.as_ref().is_some_and(DataType::is_null));
    Ok(unknown.filter_map(|(id, _)| id.strip_prefix('$')?.parse().ok()).collect())
}

/// The numbers of the parameters with a value that the type which the plan has for them cannot hold:
/// 1.5 where it says BIGINT.
pub(crate) fn inexact(
    plan: &LogicalPlan,
    bound: &RecordBatch,
) -> Result<BTreeSet<usize>, QueryError> {
    let types = plan.get_parameter_types()?;
    let mut inexact = BTreeSet::new();
    for (n, column) in (1..).zip(bound.columns()) {
        let Some(wanted) = types.get(&format!("${n}")).cloned().flatten() else { continue };
        if wanted.is_null() || wanted == *column.data_type() {
            continue;
        }
        for row in 0..bound.num_rows() {
            let value = bound_value(column.as_ref(), row)?;
            // What is no value of the type at all is told when it is bound.
            if let Ok(None) = exactly(&value, &wanted) {
                inexact.insert(n);
                break;
            }
        }
    }
    Ok(inexact)
}

/// The value as one of this type, if it is the same then. Texts are read, and a DOUBLE becomes the
/// nearest REAL; an error is a text that is none.
fn exactly(value: &ScalarValue, wanted: &DataType) -> Result<Option<ScalarValue>, QueryError> {
    if value.is_null() {
        // One of a list would be a list with a NULL.
        return Ok(Some(ScalarValue::try_from(wanted)?));
    }
    let own = value.data_type();
    if own.is_string() || (own.is_floating() && wanted.is_floating()) {
        return Ok(Some(value.cast_to(wanted)?));
    }
    let Ok(cast) = value.cast_to(wanted) else { return Ok(None) };
    let is_same = cast.cast_to(&own).is_ok_and(|back| back == *value);
    Ok(is_same.then_some(cast))
}

/// Parameters that go into a column or a cast, by their names: both make of a value what they can.
fn assigned_parameters(plan: &LogicalPlan) -> Result<BTreeSet<String>, QueryError> {
    let mut assigned = BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        let is_values = matches!(node, LogicalPlan::Values(_));
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Placeholder(placeholder) if is_values => {
                        assigned.insert(placeholder.id.clone());
                    }
                    Expr::Cast(inner) => {
                        if let Expr::Placeholder(placeholder) = inner.expr.as_ref() {
                            assigned.insert(placeholder.id.clone());
                        }
                    }
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(assigned)
}

/// What the statement says of a parameter by a cast: `$1::bigint`.
fn cast_parameters(plan: &LogicalPlan) -> Result<Vec<(String, DataType)>, QueryError> {
    let mut cast = Vec::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Cast(inner) = expr
                    && let Expr::Placeholder(placeholder) = inner.expr.as_ref()
                {
                    let data_type = inner.field.data_type().clone();
                    cast.push((placeholder.id.clone(), data_type));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(cast)
}

/// Binds one row of parameters.
pub(crate) fn bind(
    plan: LogicalPlan,
    count: usize,
    row: Option<(&RecordBatch, usize)>,
) -> Result<LogicalPlan, QueryError> {
    let given = row.map_or(0, |(batch, _)| batch.num_columns());
    if given != count {
        return Err(QueryError::Parameters { wanted: count, given });
    }
    let Some((batch, row)) = row else { return Ok(plan) };
    let types = plan.get_parameter_types()?;
    let assigned = assigned_parameters(&plan)?;
    let bound = |(n, column): (usize, &arrow::array::ArrayRef)| {
        let value = bound_value(column.as_ref(), row)?;
        let id = format!("${}", n + 1);
        // Drivers bind what they have, text for a date for example; the statement says what it is.
        match types.get(&id).cloned().flatten() {
            Some(wanted) if wanted != value.data_type() && !wanted.is_null() => {
                match exactly(&value, &wanted)? {
                    Some(value) => Ok(value),
                    None if assigned.contains(&id) => Ok(value.cast_to(&wanted)?),
                    // As if the value had been written there.
                    None => Ok(value),
                }
            }
            _ => Ok(value),
        }
    };
    let columns = batch.columns().iter().enumerate();
    let values = columns.map(bound).collect::<Result<Vec<_>, QueryError>>()?;
    Ok(plan.with_param_values(ParamValues::from(values))?)
}

/// One bound value. A driver that binds as a union means the value inside.
fn bound_value(column: &dyn Array, row: usize) -> Result<ScalarValue, QueryError> {
    match ScalarValue::try_from_array(column, row)? {
        ScalarValue::Union(Some((_, inner)), _, _) => Ok(*inner),
        ScalarValue::Union(None, _, _) => Ok(ScalarValue::Null),
        other => Ok(other),
    }
}

/// Rows that left the leaves of a plan so far; of a table with a policy those that it shows.
pub(crate) fn rows_read(plan: &dyn ExecutionPlan) -> u64 {
    let children = plan.children();
    if children.is_empty() || barrier::is_barrier(plan) {
        let rows = plan.metrics().and_then(|metrics| metrics.output_rows());
        return rows.map_or(0, |rows| rows as u64);
    }
    children.into_iter().map(|child| rows_read(child.as_ref())).sum()
}

#[cfg(test)]
mod tests;
