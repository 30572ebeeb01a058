//! Parameters of whose type the statement says nothing: `SELECT ? || ?`, `WHERE ? = ?`. They have
//! the types of the values that are bound, and before that they are text.

use std::ops::ControlFlow;

use arrow::{datatypes::DataType, record_batch::RecordBatch};
use datafusion::{
    logical_expr::LogicalPlan,
    sql::sqlparser::ast::{
        self, CastKind, ExactNumberInfo, Expr, TimezoneInfo, Value, ValueWithSpan, VisitMut,
        VisitorMut,
    },
};
use dialect::statement::Query;

use crate::{error::QueryError, plan};

/// The query with every parameter cast to text, where it is not cast to something else.
pub(crate) fn as_text(query: &Query) -> Query {
    with_types(query, &|_| Some(ast::DataType::Varchar(None)))
}

/// The query with the parameters cast to the types of the values in `bound`: those that `plan` knows
/// no type of, or one that cannot hold the value, or all of them. `None` where nothing has to be said.
pub(crate) fn as_bound(
    query: &Query,
    plan: &LogicalPlan,
    all: bool,
    bound: &RecordBatch,
) -> Result<Option<Query>, QueryError> {
    let unknown = if all {
        (1..=query.parameters).collect()
    } else {
        let mut unknown = plan::untyped(plan)?;
        unknown.extend(plan::inexact(plan, bound)?);
        unknown
    };
    if unknown.is_empty() {
        return Ok(None);
    }
    let type_of = |n: usize| {
        let column = unknown.contains(&n).then(|| bound.columns().get(n - 1)).flatten()?;
        sql_type(column.data_type())
    };
    Ok(Some(with_types(query, &type_of)))
}

fn with_types(query: &Query, type_of: &dyn Fn(usize) -> Option<ast::DataType>) -> Query {
    let mut query = query.clone();
    let _ = query.ast.visit(&mut Casts { type_of, is_cast: false });
    query
}

/// The words for a type that a client binds; none for what SQL has no words for.
fn sql_type(bound: &DataType) -> Option<ast::DataType> {
    Some(match bound {
        // What is NULL can be of any type.
        DataType::Null | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            ast::DataType::Varchar(None)
        }
        DataType::Boolean => ast::DataType::Boolean,
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32 => ast::DataType::BigInt(None),
        DataType::UInt64 => ast::DataType::Decimal(ExactNumberInfo::PrecisionAndScale(20, 0)),
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            ast::DataType::Double(ExactNumberInfo::None)
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => ast::DataType::Decimal(
            ExactNumberInfo::PrecisionAndScale(u64::from(*precision), i64::from(*scale)),
        ),
        DataType::Date32 | DataType::Date64 => ast::DataType::Date,
        DataType::Timestamp(_, None) => ast::DataType::Timestamp(None, TimezoneInfo::None),
        DataType::Timestamp(_, Some(_)) => {
            ast::DataType::Timestamp(None, TimezoneInfo::WithTimeZone)
        }
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ast::DataType::Bytea,
        _ => return None,
    })
}

struct Casts<'a> {
    type_of: &'a dyn Fn(usize) -> Option<ast::DataType>,
    /// Whether the next expression is what a cast of the statement's own is about.
    is_cast: bool,
}

impl VisitorMut for Casts<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if number(expr).is_none() {
            self.is_cast =
                matches!(expr, Expr::Cast { expr: inner, .. } if number(inner).is_some());
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let Some(n) = number(expr) else { return ControlFlow::Continue(()) };
        if !std::mem::take(&mut self.is_cast)
            && let Some(data_type) = (self.type_of)(n)
        {
            let inner = std::mem::replace(expr, Expr::value(Value::Null));
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(inner),
                data_type,
                array: false,
                format: None,
            };
        }
        ControlFlow::Continue(())
    }
}

/// The number of a parameter.
fn number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(ValueWithSpan { value: Value::Placeholder(id), .. }) => {
            id.strip_prefix('$')?.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use dialect::statement::Statement;

    use super::*;

    #[test]
    fn what_the_statement_casts_itself_stays() {
        let Ok(Statement::Query(query)) =
            dialect::parse("SELECT ? || ?, CAST(? AS BIGINT), a FROM t WHERE ? = (SELECT ?)")
        else {
            panic!("a query")
        };
        assert_eq!(
            as_text(&query).ast.to_string(),
            "SELECT CAST($1 AS VARCHAR) || CAST($2 AS VARCHAR), CAST($3 AS BIGINT), a FROM t \
             WHERE CAST($4 AS VARCHAR) = (SELECT CAST($5 AS VARCHAR))"
        );
    }
}
