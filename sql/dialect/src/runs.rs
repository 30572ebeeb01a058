//! What is done with transforms that are there: SUSPEND, RESUME, VERIFY, BACKFILL, quarantine and
//! EXPLAIN REFRESH.

use sqlparser::{
    ast::{Expr, UnaryOperator, Value},
    tokenizer::Token,
};

use crate::{
    checks,
    cursor::Cursor,
    error::SyntaxError,
    jobs,
    statement::{
        Backfill, FolderAction, NameParts, Percent, Quarantine, QuarantineAction, Statement, Step,
        StepUnit, Wait,
    },
};

const TRANSFORM: &str = "the name of a materialized view or streaming table";
/// Parts of one BACKFILL that may run at a time.
const PARALLEL_MAX: u64 = 1_000;
/// Digits of a percentage behind the point.
const PERCENT_DIGITS: usize = 4;

/// `SUSPEND name`, `RESUME name`, and both of `FOLDER 'path'`.
pub(crate) fn suspend(
    cursor: &mut Cursor<'_>,
    action: FolderAction,
) -> Result<Statement, SyntaxError> {
    cursor.expect(action.as_sql())?;
    // A transform may have this name.
    let is_name = matches!(cursor.peek_at(1), Token::EOF | Token::Period);
    if !is_name && cursor.take("FOLDER") {
        let folder = cursor.text("the path of a folder in single quotes, such as 'silver'")?;
        return Ok(Statement::Folder { action, folder });
    }
    let name = name(cursor)?;
    Ok(match action {
        FolderAction::Suspend => Statement::Suspend { name },
        FolderAction::Resume => Statement::Resume { name },
    })
}

/// A name, with or without the words for what it is.
fn name(cursor: &mut Cursor<'_>) -> Result<NameParts, SyntaxError> {
    let _said = cursor.take("MATERIALIZED VIEW") || cursor.take("STREAMING TABLE");
    cursor.name(TRANSFORM)
}

/// `EXPLAIN REFRESH name [FULL] [USING INPUTS (…)]`, after EXPLAIN.
pub(crate) fn explain_refresh(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("REFRESH")?;
    let name = name(cursor)?;
    let (mut full, mut inputs) = (false, Vec::new());
    while !cursor.at_end() {
        if !full && cursor.take("FULL") {
            full = true;
        } else if inputs.is_empty() && cursor.sees("USING") {
            inputs = jobs::inputs(cursor)?;
        } else {
            let left = [(full, "FULL"), (!inputs.is_empty(), "USING INPUTS")];
            let left: Vec<_> =
                left.into_iter().filter(|(said, _)| !said).map(|(_, clause)| clause).collect();
            let error = match left.as_slice() {
                [] => cursor.expected("end of statement"),
                left => cursor.expected_one_of(left),
            };
            return Err(error.with_hint("EXPLAIN REFRESH takes one name, FULL and USING INPUTS"));
        }
    }
    Ok(Statement::ExplainRefresh { name, full, inputs })
}

/// `VERIFY name [AT RUN 'id'] [SAMPLE n PERCENT OF KEYS] [ASYNC | SYNC [TIMEOUT interval]]`.
pub(crate) fn verify(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("VERIFY")?;
    let name = name(cursor)?;
    let mut run = None;
    if cursor.take("AT") {
        cursor.expect("RUN")?;
        run = Some(cursor.text("the id of a run in single quotes, as system.runs has it")?);
    }
    let mut sample = None;
    if cursor.take("SAMPLE") {
        sample = Some(percent(cursor)?);
        cursor.expect("PERCENT OF KEYS")?;
    }
    let said = jobs::wait_clause(cursor)?;
    if !cursor.at_end() {
        return Err(match (sample, said) {
            (None, None) if run.is_none() => {
                cursor.expected_one_of(&["AT RUN", "SAMPLE", "ASYNC", "SYNC"])
            }
            (None, None) => cursor.expected_one_of(&["SAMPLE", "ASYNC", "SYNC"]),
            (Some(_), None) => cursor.expected_one_of(&["ASYNC", "SYNC"]),
            _ => cursor.expected("end of statement"),
        });
    }
    let wait = said.unwrap_or(Wait::ForTheEnd { timeout_ms: None });
    Ok(Statement::Verify { name, run, sample, wait })
}

/// A number of percent, read digit by digit: no floating point number comes between.
fn percent(cursor: &mut Cursor<'_>) -> Result<Percent, SyntaxError> {
    let at = cursor.here();
    let expected = cursor.expected("a number of percent, such as 5 or 0.1");
    let Token::Number(digits, _) = cursor.peek() else { return Err(expected) };
    let (whole, rest) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |part: &str| part.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(rest) {
        return Err(expected);
    }
    let rest = rest.trim_end_matches('0');
    if rest.len() > PERCENT_DIGITS {
        return Err(SyntaxError::new(at, "the number has more than four digits behind the point")
            .with_hint("the smallest sample is 0.0001 percent"));
    }
    let sample = format!("{whole}{rest:0<PERCENT_DIGITS$}").parse().ok();
    let sample = sample.and_then(Percent::of_a_million).ok_or_else(|| {
        SyntaxError::new(at, "the number is above 0 and at most 100")
            .with_hint("leave SAMPLE out: all rows are compared then")
    })?;
    cursor.skip(1);
    Ok(sample)
}

/// `BACKFILL name FROM literal TO literal [BY n unit] [PARALLEL n] [ORDER ASC | DESC] [ASYNC | SYNC]`.
pub(crate) fn backfill(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("BACKFILL")?;
    let name = name(cursor)?;
    cursor.expect("FROM")?;
    let from = literal(cursor)?;
    cursor.expect("TO")?;
    let to = literal(cursor)?;
    let mut backfill = Backfill {
        name,
        from,
        to,
        by: None,
        parallel: None,
        descending: false,
        wait: Wait::ForTheEnd { timeout_ms: None },
    };
    let (mut order_said, mut wait_said) = (false, false);
    while !cursor.at_end() {
        if backfill.by.is_none() && cursor.take("BY") {
            backfill.by = Some(step(cursor)?);
        } else if backfill.parallel.is_none() && cursor.take("PARALLEL") {
            backfill.parallel = Some(count(cursor, PARALLEL_MAX)?);
        } else if !order_said && cursor.take("ORDER") {
            order_said = true;
            backfill.descending = cursor.sees("DESC");
            if !(cursor.take("ASC") || cursor.take("DESC")) {
                return Err(cursor.expected_one_of(&["ASC", "DESC"]));
            }
        } else if !wait_said && let Some(wait) = jobs::wait_clause(cursor)? {
            (backfill.wait, wait_said) = (wait, true);
        } else {
            let clauses = ["BY", "PARALLEL", "ORDER", "ASYNC", "SYNC"];
            return Err(cursor.expected_one_of(&clauses));
        }
    }
    Ok(Statement::Backfill(backfill))
}

/// A number, a text, `DATE '…'` or `TIMESTAMP '…'` as SQL.
fn literal(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let at = cursor.here();
    let expression = cursor.expression()?;
    let is_number = |expr: &Expr| match expr {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        _ => false,
    };
    let is_literal = match &expression {
        Expr::Value(value) => {
            matches!(value.value, Value::Number(..) | Value::SingleQuotedString(_))
        }
        Expr::TypedString(_) => true,
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => is_number(expr),
        _ => false,
    };
    if !is_literal {
        return Err(SyntaxError::new(at, "a border of BACKFILL is a number, a text or a time")
            .with_hint("for example FROM '2026-01-01' TO '2026-06-30'"));
    }
    checks::normal(cursor, expression, at, "BACKFILL")
}

/// `n [unit]`.
fn step(cursor: &mut Cursor<'_>) -> Result<Step, SyntaxError> {
    cursor.take("INTERVAL");
    let count = count(cursor, u64::from(u32::MAX))?;
    let word = cursor.word();
    let named = |unit: &StepUnit| {
        let unit = unit.as_sql();
        word == unit || word.strip_suffix('S') == Some(unit)
    };
    let unit = StepUnit::ALL.into_iter().find(named);
    if unit.is_some() {
        cursor.skip(1);
    } else if !word.is_empty() && !["PARALLEL", "ORDER", "ASYNC", "SYNC"].contains(&word.as_str()) {
        let units: Vec<&str> = StepUnit::ALL.into_iter().map(StepUnit::as_sql).collect();
        return Err(cursor.expected_one_of(&units));
    }
    Ok(Step { count, unit })
}

fn count(cursor: &mut Cursor<'_>, max: u64) -> Result<u32, SyntaxError> {
    let at = cursor.here();
    let number = cursor.whole_number("a whole number")?;
    match u32::try_from(number) {
        Ok(count) if count > 0 && number <= max => Ok(count),
        _ => Err(SyntaxError::new(at, format!("the number is between 1 and {max}"))),
    }
}

/// `PURGE QUARANTINE name [WHERE condition]` or
/// `RELEASE QUARANTINE name [WHERE condition] [ASYNC | SYNC [TIMEOUT interval]]`.
pub(crate) fn quarantine(
    cursor: &mut Cursor<'_>,
    action: QuarantineAction,
) -> Result<Statement, SyntaxError> {
    cursor.expect(action.as_sql())?;
    cursor.expect("QUARANTINE")?;
    let name = name(cursor)?;
    let condition = if cursor.take("WHERE") {
        Some(checks::normal_expression(cursor, "the condition")?)
    } else {
        None
    };
    let is_job = action == QuarantineAction::Release;
    let said = if is_job { jobs::wait_clause(cursor)? } else { None };
    if !cursor.at_end() {
        return Err(match (&condition, is_job && said.is_none()) {
            (None, true) => cursor.expected_one_of(&["WHERE", "ASYNC", "SYNC"]),
            (Some(_), true) => cursor.expected_one_of(&["ASYNC", "SYNC"]),
            (None, false) if !is_job => cursor.expected_one_of(&["WHERE"]),
            _ => cursor.expected("end of statement"),
        });
    }
    let wait = said.unwrap_or(Wait::ForTheEnd { timeout_ms: None });
    Ok(Statement::Quarantine(Quarantine { action, name, condition, wait }))
}

#[cfg(test)]
mod tests;
