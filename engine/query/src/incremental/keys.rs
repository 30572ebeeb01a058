//! Operators that work key by key.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::JoinType,
    error::DataFusionError,
    logical_expr::{Aggregate, Expr, ExprSchemable, Join, LogicalPlan, Window},
};

use super::{Why, chain};

/// By what an operator works key by key.
#[derive(Debug, Clone)]
pub(super) struct Keyed {
    /// For each input the parts of the key, over its columns.
    pub(super) by: Vec<Vec<Expr>>,
    /// For each part, the columns of the result that hold it; empty where none does.
    pub(super) held_by: Vec<Vec<usize>>,
    /// Why computing it twice over the same rows may give other values.
    pub(super) inexact: Option<Why>,
}

/// The key of an operator, or why it has none.
pub(super) fn keyed(plan: &LogicalPlan) -> Result<Keyed, Why> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => of_aggregate(aggregate),
        LogicalPlan::Window(window) => of_window(window),
        LogicalPlan::Join(join) => of_join(join),
        other => Err(Why::new("OPERATOR", format!("{} has no key", other.display()))),
    }
}

impl Keyed {
    /// The operator over those rows of its inputs whose key is in the list.
    pub(super) fn restricted(
        &self,
        plan: &LogicalPlan,
        keys: &LogicalPlan,
        read: impl Fn(&LogicalPlan) -> Result<LogicalPlan, DataFusionError>,
    ) -> Result<LogicalPlan, DataFusionError> {
        let inputs = plan
            .inputs()
            .into_iter()
            .zip(&self.by)
            .map(|(input, by)| chain::restricted(input, by, keys, &read).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        // Put together by hand: names and types of the result stay as they are.
        let mut inputs = inputs.into_iter();
        let (first, second) = (inputs.next(), inputs.next());
        Ok(match (plan.clone(), first, second) {
            (LogicalPlan::Aggregate(node), Some(input), _) => {
                LogicalPlan::Aggregate(Aggregate::try_new_with_schema(
                    input,
                    node.group_expr,
                    node.aggr_expr,
                    node.schema,
                )?)
            }
            (LogicalPlan::Window(node), Some(input), _) => {
                LogicalPlan::Window(Window { input, ..node })
            }
            (LogicalPlan::Join(node), Some(left), Some(right)) => {
                LogicalPlan::Join(Join { left, right, ..node })
            }
            (other, ..) => other,
        })
    }
}

fn of_aggregate(aggregate: &Aggregate) -> Result<Keyed, Why> {
    if aggregate.group_expr.is_empty() {
        return Err(Why::new("GLOBAL_AGGREGATE", "an aggregate without GROUP BY has one group"));
    }
    if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
        return Err(Why::new("GROUPING_SETS", "ROLLUP, CUBE and GROUPING SETS have several keys"));
    }
    let by: Vec<Expr> = aggregate.group_expr.iter().map(|e| e.clone().unalias()).collect();
    let held_by = (0..by.len()).map(|part| vec![part]).collect();
    let inexact = aggregate.aggr_expr.iter().find_map(|expr| inexact(expr, &aggregate.input));
    Ok(Keyed { by: vec![by], held_by, inexact })
}

/// The parts that the partitions of all window functions share.
fn of_window(window: &Window) -> Result<Keyed, Why> {
    let mut shared: Option<Vec<Expr>> = None;
    for expr in &window.window_expr {
        let Expr::WindowFunction(function) = expr.clone().unalias() else {
            return Err(Why::new("WINDOW", "a window function of a form that is not known"));
        };
        let parts = function.params.partition_by;
        shared = Some(match shared {
            None => parts,
            Some(shared) => shared.into_iter().filter(|part| parts.contains(part)).collect(),
        });
    }
    let by = shared.unwrap_or_default();
    if by.is_empty() {
        return Err(Why::new(
            "GLOBAL_WINDOW",
            "window functions without a PARTITION BY that all of them share look at all rows",
        ));
    }
    let columns = window.input.schema().columns();
    let held_by = by
        .iter()
        .map(|part| match part {
            Expr::Column(part) => (columns.iter().enumerate())
                .filter(|(_, column)| *column == part)
                .map(|(n, _)| n)
                .collect(),
            _ => Vec::new(),
        })
        .collect();
    Ok(Keyed { by: vec![by], held_by, inexact: Some(window_below()) })
}

/// Why what a window gave before cannot be computed again.
pub(super) fn window_below() -> Why {
    let why = "rows that a window orders alike may change places from run to run";
    Why::new("WINDOW_BELOW", why)
}

fn of_join(join: &Join) -> Result<Keyed, Why> {
    if join.null_aware {
        return Err(Why::new(
            "NOT_IN",
            "one NULL in the subquery of NOT IN decides about all rows",
        ));
    }
    if join.on.is_empty() {
        return Err(Why::new(
            "JOIN_WITHOUT_EQUALITY",
            "an outer, semi or anti join compares all rows",
        ));
    }
    let (left, right): (Vec<_>, Vec<_>) = join.on.iter().cloned().unzip();
    let (of_left, of_right) = match join.join_type {
        JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
            (true, false)
        }
        JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
            (false, true)
        }
        JoinType::Inner => (true, true),
        // A row of one side alone has NULL in the other's key.
        JoinType::Full => (false, false),
    };
    let shown = join.schema.columns();
    let find = |expr: &Expr| -> Vec<usize> {
        let Expr::Column(key) = expr else { return Vec::new() };
        (shown.iter().enumerate()).filter(|(_, c)| *c == key).map(|(n, _)| n).collect()
    };
    let held_by = left
        .iter()
        .zip(&right)
        .map(|(left, right)| {
            let mut held = if of_left { find(left) } else { Vec::new() };
            held.extend(if of_right { find(right) } else { Vec::new() });
            held
        })
        .collect();
    Ok(Keyed { by: vec![left, right], held_by, inexact: None })
}

/// Why an aggregate over the same rows may have another value the next time.
fn inexact(expr: &Expr, input: &LogicalPlan) -> Option<Why> {
    let Expr::AggregateFunction(call) = expr.clone().unalias() else {
        return Some(Why::new("AGGREGATE", "an aggregate of a form that is not known"));
    };
    let name = call.func.name().to_ascii_lowercase();
    let floats = call.params.args.iter().any(|arg| {
        matches!(
            arg.get_type(input.schema()),
            Ok(DataType::Float16 | DataType::Float32 | DataType::Float64) | Err(_)
        )
    });
    match name.as_str() {
        "count" | "bool_and" | "bool_or" | "bit_and" | "bit_or" | "bit_xor" | "min" | "max" => None,
        "sum" if !floats => None,
        // Of integers and decimals it is computed by one division of exact sums.
        "avg" if !floats => {
            let decimal = call.params.args.iter().all(|arg| {
                matches!(
                    arg.get_type(input.schema()),
                    Ok(DataType::Decimal128(..) | DataType::Decimal256(..))
                )
            });
            (!decimal).then(|| float_order(&name))
        }
        "array_agg" | "first_value" | "last_value" | "nth_value" | "string_agg"
            if call.params.order_by.is_empty() =>
        {
            Some(Why::new("ORDER_OPEN", format!("{name} without ORDER BY takes rows as they come")))
        }
        "array_agg" | "first_value" | "last_value" | "nth_value" | "string_agg" => Some(Why::new(
            "ORDER_OPEN",
            format!("{name} may order equal rows differently from run to run"),
        )),
        "approx_distinct" => None,
        "median" if !floats => None,
        _ => Some(float_order(&name)),
    }
}

fn float_order(name: &str) -> Why {
    Why::new("FLOAT_ORDER", format!("the last digits of {name} depend on the order of the rows"))
}
