//! OPTIMIZE, VACUUM, RESTORE, VALIDATE and CONVERT.

use sqlparser::tokenizer::Token;

use crate::{
    cursor::Cursor,
    error::SyntaxError,
    jobs,
    rows::Target,
    statement::{Column, Maintain, NameParts, Statement, TimeTravel, Wait},
};

const HOUR_MS: f64 = 3_600_000.0;
/// The longest time that RETAIN can say: a hundred years.
const RETAIN_HOURS_MAX: f64 = 100.0 * 366.0 * 24.0;

/// The answer comes when the job has ended.
const WAIT: Wait = Wait::ForTheEnd { timeout_ms: None };

/// `OPTIMIZE t [WHERE condition] [ZORDER BY (columns)] [ASYNC | SYNC [TIMEOUT interval]]`.
pub(crate) fn optimize(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.spell_out_table_queries();
    cursor.expect("OPTIMIZE")?;
    take_table(cursor);
    let target = Target::read(cursor)?;
    if cursor.sees("FULL") {
        return Err(cursor.unsupported("OPTIMIZE … FULL").with_hint("leave FULL out"));
    }
    let partitions = if cursor.take("WHERE") {
        let condition = cursor.expression()?;
        Some(cursor.finish(target.fulfilling(condition))?)
    } else {
        None
    };
    let mut zorder_by = Vec::new();
    if cursor.sees("ZORDER") {
        cursor.expect("ZORDER BY")?;
        zorder_by = zorder_columns(cursor)?;
    }
    let said = jobs::wait_clause(cursor)?;
    if said.is_none() && !cursor.at_end() {
        return Err(cursor.expected_one_of(&["WHERE", "ZORDER BY", "ASYNC", "SYNC"]));
    }
    let (target, wait) = (target.name, said.unwrap_or(WAIT));
    Ok(Statement::Maintain(Maintain::Optimize { target, partitions, zorder_by, wait }))
}

/// `(a, b)` or `a, b`, each name once.
fn zorder_columns(cursor: &mut Cursor<'_>) -> Result<Vec<String>, SyntaxError> {
    if matches!(cursor.peek(), Token::LParen) {
        return Ok(cursor.columns()?.into_iter().map(|(column, _)| column).collect());
    }
    let mut columns: Vec<String> = Vec::new();
    loop {
        let at = cursor.here();
        let column = cursor.ident("the name of a column")?;
        if matches!(cursor.peek(), Token::Period) {
            return Err(SyntaxError::unsupported(
                at,
                "ZORDER BY a part of a column is not supported in this version",
            )
            .with_hint("name whole columns of the table"));
        }
        if columns.contains(&column) {
            return Err(SyntaxError::new(at, format!("column '{column}' is named twice")));
        }
        columns.push(column);
        if !cursor.take_token(&Token::Comma) {
            return Ok(columns);
        }
    }
}

/// `VACUUM t [LITE | FULL] [RETAIN n HOURS] [DRY RUN] [ASYNC | SYNC [TIMEOUT interval]]`, the clauses
/// in any order.
pub(crate) fn vacuum(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    const CLAUSES: [&str; 6] = ["LITE", "FULL", "RETAIN", "DRY RUN", "ASYNC", "SYNC"];
    cursor.expect("VACUUM")?;
    take_table(cursor);
    let mode_first = cursor.sees("FULL") || cursor.sees("LITE");
    if mode_first && matches!(cursor.peek_at(1), Token::Word(_)) {
        let hint = format!("write VACUUM t {}", cursor.word());
        return Err(cursor.expected("the name of a table").with_hint(hint));
    }
    let target = Target::read(cursor)?;
    let (mut mode, mut retain_ms, mut dry_run, mut wait) = (None, None, false, None);
    while !cursor.at_end() {
        match cursor.word().as_str() {
            word @ ("LITE" | "FULL") if mode.is_none() => {
                mode = Some(word == "FULL");
                cursor.skip(1);
            }
            "RETAIN" if retain_ms.is_none() => {
                cursor.skip(1);
                retain_ms = Some(retain(cursor)?);
            }
            "DRY" if !dry_run && wait.is_none() => {
                cursor.expect("DRY RUN")?;
                dry_run = true;
            }
            "ASYNC" | "SYNC" if wait.is_none() && !dry_run => wait = jobs::wait_clause(cursor)?,
            word @ ("LITE" | "FULL" | "RETAIN" | "DRY" | "ASYNC" | "SYNC") => {
                return Err(cursor.error(format!("{word} does not fit with what was said before")));
            }
            "USING" => {
                return Err(cursor
                    .unsupported("VACUUM … USING INVENTORY")
                    .with_hint("leave it out: the files are listed"));
            }
            _ => return Err(cursor.expected_one_of(&CLAUSES)),
        }
    }
    let full = mode.unwrap_or(false);
    let (target, wait) = (target.name, wait.unwrap_or(WAIT));
    Ok(Statement::Maintain(Maintain::Vacuum { target, full, retain_ms, dry_run, wait }))
}

/// `n HOURS` in milliseconds.
fn retain(cursor: &mut Cursor<'_>) -> Result<u64, SyntaxError> {
    let at = cursor.here();
    let hours: Option<f64> = match cursor.peek() {
        Token::Number(digits, _) => digits.parse().ok(),
        _ => None,
    };
    let Some(hours) = hours else {
        return Err(cursor.expected("a number of hours").with_hint("for example RETAIN 168 HOURS"));
    };
    cursor.skip(1);
    let unit = cursor.take("HOURS") || cursor.take("HOUR");
    if !unit {
        return Err(cursor.expected_one_of(&["HOURS"]));
    }
    if hours > RETAIN_HOURS_MAX {
        return Err(SyntaxError::new(at, "the time is longer than 100 years"));
    }
    Ok((hours * HOUR_MS) as u64)
}

/// `RESTORE [TABLE] t [TO] VERSION AS OF n`, or `TIMESTAMP AS OF text`.
pub(crate) fn restore(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("RESTORE")?;
    take_table(cursor);
    let (target, to) = target_and_version(cursor)?;
    Ok(Statement::Maintain(Maintain::Restore { target, to }))
}

/// The time travel clause has gone into the word before it: that is TO, or the end of the name.
fn target_and_version(cursor: &mut Cursor<'_>) -> Result<(NameParts, TimeTravel), SyntaxError> {
    const WHAT: &str = "the name of a table";
    let mut target = Vec::new();
    while matches!(cursor.peek_at(1), Token::Period) {
        target.push(cursor.part(WHAT)?);
        cursor.skip(1);
    }
    let names_nothing = ["TABLE", "TO"].into_iter().find(|word| cursor.is_travel_of(word));
    if let Some(word) = names_nothing.filter(|_| target.is_empty()) {
        return Err(cursor.error(format!("Expected: {WHAT}, found: {word}")));
    }
    if let Some((last, to)) = cursor.take_travel()? {
        target.push(last);
        return Ok((target, to));
    }
    target.push(cursor.part(WHAT)?);
    if cursor.is_travel_of("TO")
        && let Some((_, to)) = cursor.take_travel()?
    {
        return Ok((target, to));
    }
    cursor.take("TO");
    Err(cursor
        .expected_one_of(&["VERSION AS OF", "TIMESTAMP AS OF"])
        .with_hint("for example RESTORE TABLE t TO VERSION AS OF 3"))
}

/// `VALIDATE [TABLE] t`.
pub(crate) fn validate(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("VALIDATE")?;
    take_table(cursor);
    let target = cursor.name("the name of a table")?;
    Ok(Statement::Maintain(Maintain::Validate { target }))
}

/// `CONVERT TO DELTA parquet.'place' [PARTITIONED BY (column type, …)]`.
pub(crate) fn convert(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    const WHAT: &str = "the folder of the files, for example parquet.'in/orders'";
    cursor.expect("CONVERT TO DELTA")?;
    if !cursor.sees("PARQUET") || !matches!(cursor.peek_at(1), Token::Period) {
        let other = matches!(cursor.peek_at(1), Token::Period) && !cursor.word().is_empty();
        if other && !cursor.sees("DELTA") {
            let what = format!("CONVERT TO DELTA of {} files", cursor.word());
            return Err(cursor
                .unsupported(&what)
                .with_hint("only Parquet files can stay as they are"));
        }
        return Err(cursor.expected(WHAT));
    }
    cursor.skip(2);
    // In quotes of any kind, as other engines write it.
    let location = match cursor.peek() {
        Token::Word(word) if word.quote_style.is_some() => {
            let location = word.value.clone();
            cursor.skip(1);
            location
        }
        _ => cursor.string(WHAT)?,
    };
    if cursor.sees("NO STATISTICS") {
        return Err(cursor
            .unsupported("NO STATISTICS")
            .with_hint("leave it out: they come from the footers, which are read anyway"));
    }
    let mut partitioned_by: Vec<Column> = Vec::new();
    if cursor.take("PARTITIONED BY") {
        cursor.expect_token(&Token::LParen)?;
        loop {
            let at = cursor.here();
            let name = cursor.ident("the name of a column")?;
            if partitioned_by.iter().any(|column| column.name == name) {
                return Err(SyntaxError::new(at, format!("column '{name}' is named twice")));
            }
            if matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF) {
                return Err(cursor.expected(&format!("the type of column '{name}'")));
            }
            let data_type = cursor.data_type()?;
            partitioned_by.push(Column {
                name,
                data_type,
                nullable: true,
                comment: None,
                generated: None,
            });
            if !cursor.take_token(&Token::Comma) {
                break;
            }
        }
        cursor.expect_token(&Token::RParen)?;
    }
    if !cursor.at_end() {
        return Err(cursor.expected_one_of(&["PARTITIONED BY"]));
    }
    Ok(Statement::Maintain(Maintain::Convert { location, partitioned_by }))
}

/// TABLE, which adds nothing, unless it is itself the name.
fn take_table(cursor: &mut Cursor<'_>) {
    if matches!(cursor.peek_at(1), Token::Word(_)) {
        cursor.take("TABLE");
    }
}

#[cfg(test)]
mod tests;
