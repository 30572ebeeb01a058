//! Numbers of two kinds in one place.
//!
//! DataFusion 55 makes DECIMAL(30, 15) of a DOUBLE that stands beside a DECIMAL: the noise behind a
//! DOUBLE's fifteen digits becomes a part of what is compared, and large, small and infinite ones have
//! no place there at all. Here a number that the statement has written becomes what it is written as,
//! in the kind of what it stands beside, and a DECIMAL beside a DOUBLE that was computed becomes a DOUBLE.
//! On the same walk times that meet dates and texts become times ([`meet`]), and functions what they
//! stand for ([`stand_ins`]).

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        Column, DFSchema, Result, ScalarValue,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    logical_expr::{
        Expr, ExprSchemable, LogicalPlan, Operator, Projection, Union, cast,
        expr::{Case, Cast, InList, InSubquery, TryCast},
        expr_rewriter::NamePreserver,
        utils::merge_schema,
    },
};

use super::DECIMAL_DIGITS;
use crate::{
    stand_ins,
    times::meet::{self, Meeting},
};

/// Functions whose arguments, from this one on, are of one type.
const OF_ONE_TYPE: [(&str, usize); 8] = [
    ("coalesce", 0),
    ("nvl", 0),
    ("ifnull", 0),
    ("nvl2", 1),
    ("nullif", 0),
    ("greatest", 0),
    ("least", 0),
    ("make_array", 0),
];

/// The plan with numbers of one kind wherever they meet. It has to come before types are coerced.
pub(crate) fn in_plan(plan: LogicalPlan) -> Result<LogicalPlan> {
    let plan = plan.transform_up_with_subqueries(|node| {
        let node = match node {
            LogicalPlan::Union(union) => of_union(union)?,
            node => Transformed::no(node),
        };
        node.transform_data(of_node)
    })?;
    if !plan.transformed {
        return Ok(plan.data);
    }
    // What is above has the types of what is below.
    let above = |node: LogicalPlan| match node {
        LogicalPlan::Union(Union { inputs, .. }) => {
            Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
        }
        node => node.recompute_schema().map(Transformed::yes),
    };
    Ok(plan.data.transform_up_with_subqueries(above)?.data)
}

/// The same for an expression that is in no plan.
pub(crate) fn in_expression(expr: Expr, columns: &DFSchema) -> Result<Expr> {
    Ok(expr.transform_up(|expr| together(expr, columns, &|_| None))?.data)
}

fn of_node(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !has_meetings(&node)? {
        return Ok(Transformed::no(node));
    }
    let mut columns = merge_schema(&node.inputs());
    if let LogicalPlan::TableScan(scan) = &node {
        let name = scan.table_name.clone();
        columns.merge(&DFSchema::try_from_qualified_schema(name, &scan.source.schema())?);
    }
    let below = literals_below(&node);
    let literal_of = |column: &Column| {
        below.iter().find(|(known, _)| known == column).map(|(_, literal)| literal.clone())
    };
    let names = NamePreserver::new(&node);
    let node = node.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| together(expr, &columns, &literal_of))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })?;
    node.transform_data(|node| match node {
        LogicalPlan::Join(mut join) => {
            let mut changed = false;
            for (left, right) in &mut join.on {
                let pair = vec![left.clone(), right.clone()];
                if let Some(pair) = of_one_kind(&pair, Meeting::Compared, &columns) {
                    changed = true;
                    if let Ok([new_left, new_right]) = <[Expr; 2]>::try_from(pair) {
                        (*left, *right) = (new_left, new_right);
                    }
                }
            }
            let join = LogicalPlan::Join(join);
            Ok(if changed { Transformed::yes(join) } else { Transformed::no(join) })
        }
        node => Ok(Transformed::no(node)),
    })
}

/// Whether a node has an expression in which numbers could meet at all.
fn has_meetings(node: &LogicalPlan) -> Result<bool> {
    let mut found = matches!(node, LogicalPlan::Join(join) if !join.on.is_empty());
    node.apply_expressions(|expr| {
        found |= expr.exists(|expr| {
            Ok(match expr {
                Expr::BinaryExpr(binary) => compares(binary.op),
                Expr::Between(_)
                | Expr::InList(_)
                | Expr::Case(_)
                | Expr::InSubquery(_)
                | Expr::Cast(_)
                | Expr::TryCast(_) => true,
                Expr::ScalarFunction(function) => {
                    takes_one_type(function.func.name()).is_some()
                        || stand_ins::could_mean_another(function)
                }
                _ => false,
            })
        })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// From which of its arguments on a function takes one type.
fn takes_one_type(function: &str) -> Option<usize> {
    OF_ONE_TYPE.iter().find(|(known, _)| *known == function).map(|(_, from)| *from)
}

/// Columns of a node's input that are numbers which the statement has written: an INSERT casts them to
/// the types of its table one step later.
fn literals_below(node: &LogicalPlan) -> Vec<(Column, Expr)> {
    let inputs = node.inputs();
    let [input] = inputs.as_slice() else { return Vec::new() };
    let projection = match input {
        LogicalPlan::Projection(projection) => projection,
        LogicalPlan::SubqueryAlias(alias) => match alias.input.as_ref() {
            LogicalPlan::Projection(projection) => projection,
            _ => return Vec::new(),
        },
        _ => return Vec::new(),
    };
    let columns = input.schema().columns();
    let items = projection.expr.iter().map(|expr| expr.clone().unalias());
    columns.into_iter().zip(items).filter(|(_, item)| Written::of(item).is_some()).collect()
}

/// Inputs of a UNION whose columns meet.
fn of_union(union: Union) -> Result<Transformed<LogicalPlan>> {
    let mut inputs: Vec<LogicalPlan> =
        union.inputs.iter().map(|input| input.as_ref().clone()).collect();
    let width = union.schema.fields().len();
    if inputs.iter().any(|input| input.schema().fields().len() != width) {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let mut changed = false;
    for n in 0..width {
        let kinds = inputs.iter().map(|input| input.schema().field(n).data_type());
        let (mut doubles, mut decimals) = (false, false);
        for kind in kinds {
            doubles |= kind.is_floating();
            decimals |= is_decimal(kind);
        }
        if !(doubles && decimals) {
            continue;
        }
        // Each of them as an expression over its own input, which may be a number as it is written.
        let columns: Vec<Expr> = inputs.iter().map(|input| column_of(input, n)).collect();
        let schemas = inputs.iter().map(|input| match input {
            LogicalPlan::Projection(projection) => projection.input.schema().as_ref(),
            input => input.schema().as_ref(),
        });
        let kinds: Vec<Kind> =
            columns.iter().zip(schemas).map(|(column, schema)| Kind::of(column, schema)).collect();
        let Some(columns) = of_kinds(columns, &kinds) else { continue };
        changed = true;
        inputs = inputs
            .into_iter()
            .zip(columns)
            .map(|(input, column)| with_column(input, n, column))
            .collect::<Result<_>>()?;
    }
    if !changed {
        return Ok(Transformed::no(LogicalPlan::Union(union)));
    }
    let inputs = inputs.into_iter().map(Arc::new).collect();
    Ok(Transformed::yes(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?)))
}

fn column_of(input: &LogicalPlan, n: usize) -> Expr {
    match input {
        LogicalPlan::Projection(projection) => projection.expr[n].clone().unalias(),
        input => Expr::Column(input.schema().columns().swap_remove(n)),
    }
}

/// The input with another expression for one of its columns, by the name that it had.
fn with_column(input: LogicalPlan, n: usize, column: Expr) -> Result<LogicalPlan> {
    let (qualifier, field) = input.schema().qualified_field(n);
    let column = column.alias_qualified(qualifier.cloned(), field.name());
    let (mut items, input) = match input {
        LogicalPlan::Projection(projection) => (projection.expr, projection.input),
        input => {
            let columns = input.schema().columns().into_iter().map(Expr::Column);
            (columns.collect(), Arc::new(input))
        }
    };
    items[n] = column;
    Ok(LogicalPlan::Projection(Projection::try_new(items, input)?))
}

/// The expression with its own operands of one kind.
fn together(
    expr: Expr,
    columns: &DFSchema,
    literal_of: &dyn Fn(&Column) -> Option<Expr>,
) -> Result<Transformed<Expr>> {
    Ok(match expr {
        Expr::BinaryExpr(mut binary) if compares(binary.op) => {
            let pair = vec![*binary.left, *binary.right];
            let (mut pair, changed) = one_kind_or_same(pair, Meeting::Compared, columns);
            binary.right = Box::new(pair.swap_remove(1));
            binary.left = Box::new(pair.swap_remove(0));
            transformed(Expr::BinaryExpr(binary), changed)
        }
        Expr::Between(mut between) => {
            let three = vec![*between.expr, *between.low, *between.high];
            let (mut three, changed) = one_kind_or_same(three, Meeting::Compared, columns);
            between.high = Box::new(three.swap_remove(2));
            between.low = Box::new(three.swap_remove(1));
            between.expr = Box::new(three.swap_remove(0));
            transformed(Expr::Between(between), changed)
        }
        Expr::InList(InList { expr, list, negated }) => {
            let mut all = vec![*expr];
            all.extend(list);
            let (mut all, changed) = one_kind_or_same(all, Meeting::Compared, columns);
            let expr = Box::new(all.remove(0));
            transformed(Expr::InList(InList { expr, list: all, negated }), changed)
        }
        Expr::Case(case) => {
            let (case, changed) = of_case(case, columns);
            transformed(Expr::Case(case), changed)
        }
        Expr::ScalarFunction(mut function) => {
            if let Some(meant) = stand_ins::meant(&function, columns)? {
                return Ok(Transformed::yes(meant));
            }
            let Some(from) = takes_one_type(function.func.name()) else {
                return Ok(Transformed::no(Expr::ScalarFunction(function)));
            };
            let rest = function.args.split_off(from.min(function.args.len()));
            let (rest, changed) = one_kind_or_same(rest, Meeting::Chosen, columns);
            function.args.extend(rest);
            transformed(Expr::ScalarFunction(function), changed)
        }
        Expr::InSubquery(InSubquery { expr, mut subquery, negated }) => {
            let (expr, plan, changed) = of_subquery(*expr, &subquery.subquery, columns)?;
            subquery.subquery = plan;
            let expr = Box::new(expr);
            transformed(Expr::InSubquery(InSubquery { expr, subquery, negated }), changed)
        }
        Expr::Cast(Cast { expr, field }) => {
            let exact = as_cast(&expr, field.data_type(), literal_of);
            let (expr, changed) = exact.map_or((*expr, false), |exact| (exact, true));
            transformed(Expr::Cast(Cast { expr: Box::new(expr), field }), changed)
        }
        Expr::TryCast(TryCast { expr, field }) => {
            let exact = as_cast(&expr, field.data_type(), literal_of);
            let (expr, changed) = exact.map_or((*expr, false), |exact| (exact, true));
            transformed(Expr::TryCast(TryCast { expr: Box::new(expr), field }), changed)
        }
        other => Transformed::no(other),
    })
}

fn transformed(expr: Expr, changed: bool) -> Transformed<Expr> {
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// What is compared with what `CASE` is about, and what it answers.
fn of_case(case: Case, columns: &DFSchema) -> (Case, bool) {
    let Case { expr, when_then_expr, else_expr } = case;
    let (mut whens, thens): (Vec<Expr>, Vec<Expr>) =
        when_then_expr.into_iter().map(|(when, then)| (*when, *then)).unzip();
    let (mut base, mut whens_changed) = (None, false);
    if let Some(expr) = expr {
        whens.insert(0, *expr);
        (whens, whens_changed) = one_kind_or_same(whens, Meeting::Compared, columns);
        base = Some(Box::new(whens.remove(0)));
    }
    let mut answers = thens;
    let has_else = else_expr.is_some();
    answers.extend(else_expr.map(|expr| *expr));
    let (mut answers, answers_changed) = one_kind_or_same(answers, Meeting::Answered, columns);
    let else_expr = if has_else { answers.pop().map(Box::new) } else { None };
    let pairs = whens.into_iter().zip(answers);
    let when_then_expr = pairs.map(|(when, then)| (Box::new(when), Box::new(then))).collect();
    (Case { expr: base, when_then_expr, else_expr }, whens_changed || answers_changed)
}

/// `expr IN (subquery)`.
fn of_subquery(
    expr: Expr,
    subquery: &Arc<LogicalPlan>,
    columns: &DFSchema,
) -> Result<(Expr, Arc<LogicalPlan>, bool)> {
    let same = |expr| Ok((expr, Arc::clone(subquery), false));
    if subquery.schema().fields().len() != 1 {
        return same(expr);
    }
    let column = Expr::Column(subquery.schema().columns().swap_remove(0));
    let kinds = [Kind::of(&expr, columns), Kind::of(&column, subquery.schema())];
    let pair = of_kinds(vec![expr.clone(), column.clone()], &kinds);
    let Some(Ok([new_expr, new_column])) = pair.map(<[Expr; 2]>::try_from) else {
        return same(expr);
    };
    let plan = match new_column == column {
        true => Arc::clone(subquery),
        false => Arc::new(with_column(subquery.as_ref().clone(), 0, new_column)?),
    };
    Ok((new_expr, plan, true))
}

fn compares(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// What a cast to DECIMAL or DOUBLE is to begin with, so that it is about the number as it is written.
fn as_cast(
    inner: &Expr,
    to: &DataType,
    literal_of: &dyn Fn(&Column) -> Option<Expr>,
) -> Option<Expr> {
    let below = match inner {
        Expr::Column(column) => literal_of(column),
        _ => None,
    };
    match Written::of(below.as_ref().unwrap_or(inner))? {
        (Short, written) if is_decimal(to) => written.as_decimal(),
        (Long, written) if to.is_floating() => written.as_double(),
        _ => None,
    }
}

fn is_decimal(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
    )
}

fn one_kind_or_same(exprs: Vec<Expr>, meeting: Meeting, columns: &DFSchema) -> (Vec<Expr>, bool) {
    // Types are asked for only where there can be two of them.
    if exprs.len() < 2 {
        return (exprs, false);
    }
    match of_one_kind(&exprs, meeting, columns) {
        Some(changed) => (changed, true),
        None => (exprs, false),
    }
}

fn of_one_kind(exprs: &[Expr], meeting: Meeting, columns: &DFSchema) -> Option<Vec<Expr>> {
    let kinds: Vec<Kind> = exprs.iter().map(|expr| Kind::of(expr, columns)).collect();
    if kinds.iter().all(|kind| matches!(kind, Kind::Other)) {
        return meet::of_one_type(exprs, meeting, columns);
    }
    of_kinds(exprs.to_vec(), &kinds)
}

/// What meets, as numbers of one kind; `None` where that is so already.
fn of_kinds(exprs: Vec<Expr>, kinds: &[Kind]) -> Option<Vec<Expr>> {
    let is = |wanted: fn(&Kind) -> bool| kinds.iter().any(wanted);
    let (double, decimal) =
        (is(|kind| matches!(kind, Kind::Double)), is(|kind| matches!(kind, Kind::Decimal)));
    let (short, long) = (
        is(|kind| matches!(kind, Kind::Written(Short, _))),
        is(|kind| matches!(kind, Kind::Written(Long, _))),
    );
    let meet = (double || short) && (decimal || long);
    if !meet {
        return None;
    }
    let fits = |kind: &Kind| match kind {
        Kind::Written(Short, written) => written.as_decimal().is_some(),
        _ => true,
    };
    let to_decimal = !double && kinds.iter().all(fits);
    let of_kind = |(expr, kind): (Expr, &Kind)| match kind {
        Kind::Written(Short, written) if to_decimal => written.as_decimal().unwrap_or(expr),
        Kind::Written(Long, written) if !to_decimal => written.as_double().unwrap_or(expr),
        Kind::Decimal if !to_decimal => cast(expr, DataType::Float64),
        _ => expr,
    };
    Some(exprs.into_iter().zip(kinds).map(of_kind).collect())
}

/// How a number was written: as what the planner makes a DOUBLE of, or with more digits than those have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Short,
    Long,
}
use Length::{Long, Short};

#[derive(Debug)]
enum Kind {
    Written(Length, Written),
    Double,
    Decimal,
    Other,
}

impl Kind {
    fn of(expr: &Expr, columns: &DFSchema) -> Self {
        if let Some((length, written)) = Written::of(expr) {
            return Self::Written(length, written);
        }
        match expr.get_type(columns) {
            Ok(data_type) if data_type.is_floating() => Self::Double,
            Ok(data_type) if is_decimal(&data_type) => Self::Decimal,
            _ => Self::Other,
        }
    }
}

/// A number as a statement has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Written {
    negative: bool,
    /// Digits with at most one point.
    digits: String,
}

impl Written {
    fn of(expr: &Expr) -> Option<(Length, Self)> {
        match expr {
            Expr::Literal(ScalarValue::Float64(Some(number)), _) if number.is_finite() => {
                // The shortest text of a number with fifteen digits has those digits.
                let text = number.abs().to_string();
                Some((Short, Self { negative: number.is_sign_negative(), digits: text }))
            }
            Expr::Cast(Cast { expr, field }) if is_decimal(field.data_type()) => {
                let Expr::Literal(ScalarValue::Utf8(Some(text)), _) = expr.as_ref() else {
                    return None;
                };
                let is_plain = |byte: u8| byte.is_ascii_digit() || byte == b'.';
                let is_number = !text.is_empty() && text.bytes().all(is_plain);
                is_number.then(|| (Long, Self { negative: false, digits: text.clone() }))
            }
            Expr::Negative(inner) => {
                let (length, Self { negative, digits }) = Self::of(inner)?;
                Some((length, Self { negative: !negative, digits }))
            }
            _ => None,
        }
    }

    /// The DECIMAL with just its digits, if one can hold them.
    fn as_decimal(&self) -> Option<Expr> {
        let (whole, fraction) = self.digits.split_once('.').unwrap_or((&self.digits, ""));
        let whole = whole.trim_start_matches('0');
        let digits = format!("{whole}{fraction}");
        if digits.len() > DECIMAL_DIGITS {
            return None;
        }
        let number: i128 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
        let number = if self.negative { -number } else { number };
        let precision = u8::try_from(digits.len().max(1)).ok()?;
        let scale = i8::try_from(fraction.len()).ok()?;
        Some(Expr::Literal(ScalarValue::Decimal128(Some(number), precision, scale), None))
    }

    /// The DOUBLE that is nearest to it.
    fn as_double(&self) -> Option<Expr> {
        let number: f64 = self.digits.parse().ok()?;
        let number = if self.negative { -number } else { number };
        Some(Expr::Literal(ScalarValue::Float64(Some(number)), None))
    }
}
