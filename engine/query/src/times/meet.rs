//! Times that meet dates and texts.
//!
//! Where a timestamp stands beside a date or a text, DataFusion 55 makes nanoseconds of both, of which 64
//! bits end in 2262: a table that keeps history, with its 9999-12-31, could not be asked. And `coalesce`
//! takes no text beside a date at all. Here what stands beside a time becomes one of its own type.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::{
    common::DFSchema,
    logical_expr::{Expr, ExprSchemable, cast},
};

/// How values come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// They are compared: a text beside a time is read as one.
    Compared,
    /// A function answers one of them: a literal beside a time, a date or a truth is read as one.
    Chosen,
    /// CASE answers one of them. Beside a date its text stays one: `ELSE 'none'`.
    Answered,
}

/// What meets, as values of one type; `None` where that is so already, or none of these.
pub(crate) fn of_one_type(
    exprs: &[Expr],
    meeting: Meeting,
    columns: &DFSchema,
) -> Option<Vec<Expr>> {
    // Of a parameter the type is not known yet.
    let types: Vec<Option<DataType>> =
        exprs.iter().map(|expr| expr.get_type(columns).ok()).collect();
    let wanted = wanted(&types, meeting)?;
    let mut changed = false;
    let mut together = Vec::with_capacity(exprs.len());
    for (expr, own) in exprs.iter().zip(&types) {
        let becomes = match own {
            None | Some(DataType::Null) => false,
            Some(own) if *own == wanted => false,
            Some(own) if own.is_string() => {
                let is_literal = matches!(expr, Expr::Literal(..));
                if meeting != Meeting::Compared && !is_literal {
                    return None;
                }
                true
            }
            Some(DataType::Date32 | DataType::Date64) if is_time(&wanted) => true,
            Some(_) => return None,
        };
        changed |= becomes;
        let expr = expr.clone();
        together.push(if becomes { cast(expr, wanted.clone()) } else { expr });
    }
    changed.then_some(together)
}

/// The type that all of them are to have.
fn wanted(types: &[Option<DataType>], meeting: Meeting) -> Option<DataType> {
    let known = || types.iter().flatten();
    if let Some(time) = known().find(|of| is_time(of)) {
        return Some(time.clone());
    }
    // Beside these DataFusion reads a text that is compared; one that is chosen it does not.
    let reads_texts = |of: &&DataType| {
        matches!(of, DataType::Date32 | DataType::Boolean | DataType::Timestamp(..))
    };
    if meeting == Meeting::Chosen { known().find(reads_texts).cloned() } else { None }
}

fn is_time(of: &DataType) -> bool {
    matches!(of, DataType::Timestamp(TimeUnit::Microsecond, _))
}
