//! Numbers in a text that a DOUBLE cannot hold as they are written.
//!
//! The planner makes a DOUBLE of a number with a point, and of a whole one that is too large for 64
//! bits. A DOUBLE keeps fifteen digits: one with more is a DECIMAL here, so that what a statement says
//! is what is stored, and what it compares with. What becomes of both where they meet is told in
//! [`beside`].

pub(crate) mod beside;

use std::ops::ControlFlow;

use datafusion::{
    common::{DFSchema, Result},
    execution::SessionState,
    logical_expr,
    sql::{
        parser::Statement,
        sqlparser::ast::{
            CastKind, DataType, ExactNumberInfo, Expr, ExprWithAlias, UnaryOperator, Value,
            ValueWithSpan, visit_expressions_mut,
        },
    },
};

/// The significant digits that every DOUBLE keeps.
const DOUBLE_DIGITS: usize = 15;
/// The digits of the largest DECIMAL.
const DECIMAL_DIGITS: usize = 38;

/// The statement with a DECIMAL in the place of each number that has too many digits for a DOUBLE.
pub(crate) fn exact(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => {
            let _ = visit_expressions_mut(statement.as_mut(), |expr| {
                make_exact(expr);
                ControlFlow::<()>::Continue(())
            });
        }
        Statement::Explain(explain) => exact(&mut explain.statement),
        _ => {}
    }
}

/// Plans the text of an expression over these columns, with numbers as statements have them.
pub(crate) fn expression(
    state: &SessionState,
    text: &str,
    columns: &DFSchema,
) -> Result<logical_expr::Expr> {
    let dialect = state.config().options().sql_parser.dialect;
    let mut expr = state.sql_to_expr(text, &dialect)?;
    let _ = visit_expressions_mut(&mut expr, |expr| {
        make_exact(expr);
        ControlFlow::<()>::Continue(())
    });
    let expr = ExprWithAlias { expr, alias: None };
    beside::in_expression(state.create_logical_expr_from_sql_expr(expr, columns)?, columns)
}

/// Puts a DECIMAL in the place of a number that needs it.
fn make_exact(expr: &mut Expr) {
    if let Expr::UnaryOp { op: UnaryOperator::Minus, expr: number } = expr
        && let Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) = number.as_ref()
        && text.parse::<u64>().is_ok()
        && format!("-{text}").parse::<i64>().is_err()
        && let Some(decimal) = decimal_of(number, (u64::try_from(text.len()).unwrap_or(20), 0))
    {
        // Below zero 64 bits reach half as far.
        **number = decimal;
        return;
    }
    let Expr::Value(ValueWithSpan { value: Value::Number(text, _), .. }) = expr else { return };
    if let Some(decimal) = size(text).and_then(|size| decimal_of(expr, size)) {
        *expr = decimal;
    }
}

/// `CAST('digits' AS DECIMAL(precision, scale))` for a number.
fn decimal_of(expr: &Expr, (precision, scale): (u64, usize)) -> Option<Expr> {
    let Expr::Value(ValueWithSpan { value: Value::Number(text, _), span }) = expr else {
        return None;
    };
    let text = ValueWithSpan { value: Value::SingleQuotedString(text.clone()), span: *span };
    Some(Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(text)),
        data_type: DataType::Decimal(ExactNumberInfo::PrecisionAndScale(
            precision,
            i64::try_from(scale).ok()?,
        )),
        array: false,
        format: None,
    })
}

/// Precision and scale of a number that a DOUBLE would change and a DECIMAL holds.
fn size(text: &str) -> Option<(u64, usize)> {
    let is_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = match text.split_once('.') {
        Some(parts) => parts,
        None if text.parse::<u64>().is_ok() => return None,
        None => (text, ""),
    };
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_start_matches('0').trim_end_matches('0').len();
    let precision = (whole.len() + fraction.len()).max(1);
    let is_better = significant > DOUBLE_DIGITS && precision <= DECIMAL_DIGITS;
    is_better.then_some((u64::try_from(precision).ok()?, fraction.len()))
}

#[cfg(test)]
mod tests;
