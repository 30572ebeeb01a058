//! Questions about kinds of types that there are none of: domains, composites, enumerations, ranges.
//!
//! What a CASE says of them is never asked, and may be more than the planner can do: drivers follow
//! domains to their base with a recursive query inside of one.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};

use super::type_rows;

/// Takes away the branches that no type gets to; what is left when none remains.
pub(super) fn asked(expr: &mut Expr) {
    let Expr::Case { operand: None, conditions, else_result, .. } = expr else { return };
    conditions.retain(|branch| !is_never(&branch.condition));
    if conditions.is_empty() {
        let rest = else_result.take().map(|rest| *rest);
        *expr = rest.unwrap_or_else(|| super::rewrite::value(Value::Null));
    }
}

/// Whether it asks for a kind that no type is of.
fn is_never(condition: &Expr) -> bool {
    let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = condition else { return false };
    let column = match left.as_ref() {
        Expr::Identifier(column) => column,
        Expr::CompoundIdentifier(parts) => match parts.last() {
            Some(column) => column,
            None => return false,
        },
        _ => return false,
    };
    let Expr::Value(kind) = right.as_ref() else { return false };
    let Value::SingleQuotedString(kind) = &kind.value else { return false };
    column.value.eq_ignore_ascii_case("typtype") && !type_rows::KINDS.contains(&kind.as_str())
}
