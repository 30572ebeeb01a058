//! INSERT.

use sqlparser::tokenizer::Token;

use crate::{
    cursor::Cursor,
    error::SyntaxError,
    rows::Target,
    statement::{Insert, OldRows, Partition, Replaced, Statement},
    tokens::is_unquoted,
};

/// What other databases write between the table and the query.
const BEFORE_QUERY: [&str; 3] = ["DEFAULT VALUES", "REPLACE USING", "REPLACE ON"];
/// What other databases write after the query.
const AFTER_QUERY: [&str; 3] = ["ON CONFLICT", "ON DUPLICATE", "RETURNING"];

/// `INSERT INTO [TABLE] t [partition] [(columns) | BY NAME] [REPLACE WHERE condition] query`, or `INSERT
/// OVERWRITE [TABLE] t [partition] [(columns) | BY NAME] query`, where a partition is
/// `PARTITION (column [= value], …)`.
pub(crate) fn insert(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("INSERT")?;
    let overwrite = cursor.take("OVERWRITE");
    let into = cursor.take("INTO");
    if !overwrite && !into {
        return Err(cursor.expected_one_of(&["INTO", "OVERWRITE"]));
    }
    if overwrite && cursor.sees("DIRECTORY") {
        return Err(cursor.unsupported("INSERT OVERWRITE DIRECTORY"));
    }
    cursor.take("TABLE");
    let target = Target::read(cursor)?;
    let partition = partition::read(cursor)?;
    let mut columns = Vec::new();
    if lists_columns(cursor) {
        let listed = cursor.columns()?;
        partition.iter().try_for_each(|partition| partition.check_list(&listed))?;
        columns = listed.into_iter().map(|(column, _)| column).collect();
    }
    let by_name = by_name(cursor, &columns)?;
    for what in BEFORE_QUERY {
        if cursor.sees(what) {
            return Err(cursor.unsupported(&format!("INSERT … {what}")));
        }
    }
    let old_rows = if cursor.sees("REPLACE WHERE") {
        if overwrite {
            return Err(cursor
                .error("OVERWRITE replaces all rows, REPLACE WHERE some: they exclude each other")
                .with_hint("write INSERT INTO t REPLACE WHERE …"));
        }
        OldRows::GoWhere(Box::new(replaced(cursor, &target)?))
    } else if let (true, Some(partition)) = (overwrite, &partition) {
        let condition = partition.condition()?;
        let text = condition.to_string();
        let rows = cursor.finish(target.fulfilling(condition))?;
        OldRows::GoWhere(Box::new(Replaced { rows, text }))
    } else if overwrite {
        OldRows::Go
    } else {
        OldRows::Stay
    };
    let mut source = cursor.query()?;
    let partition = partition.map_or_else(Partition::default, |partition| {
        partition.append_to(&mut source.ast, by_name);
        partition.named()
    });
    for what in AFTER_QUERY {
        if cursor.sees(what) {
            let error = cursor.unsupported(&format!("INSERT … {what}"));
            return Err(match what {
                "RETURNING" => error,
                _ => error.with_hint("write MERGE INTO t USING … ON … WHEN NOT MATCHED THEN …"),
            });
        }
    }
    let target = target.name;
    Ok(Statement::Insert(Insert { target, columns, by_name, partition, source, old_rows }))
}

/// BY NAME, which leaves nothing to say for a list of columns.
fn by_name(cursor: &mut Cursor<'_>, columns: &[String]) -> Result<bool, SyntaxError> {
    let at = cursor.here();
    if !cursor.take("BY NAME") {
        return Ok(false);
    }
    if columns.is_empty() && !lists_columns(cursor) {
        return Ok(true);
    }
    Err(SyntaxError::new(at, "BY NAME and a list of columns exclude each other")
        .with_hint("leave out one of them: BY NAME takes the names of the query's columns"))
}

/// `REPLACE WHERE condition`.
fn replaced(cursor: &mut Cursor<'_>, target: &Target) -> Result<Replaced, SyntaxError> {
    cursor.expect("REPLACE WHERE")?;
    cursor.spell_out_table_queries();
    if starts_query(cursor.peek()) && !matches!(cursor.peek(), Token::LParen) {
        return Err(cursor.expected("a condition"));
    }
    let from = cursor.here();
    let condition = cursor.expression()?;
    let text = cursor.text_until_here(from);
    let rows = cursor.finish(target.fulfilling(condition))?;
    Ok(Replaced { rows, text })
}

/// Whether a list of columns comes next, rather than a query in parentheses.
fn lists_columns(cursor: &Cursor<'_>) -> bool {
    matches!(cursor.peek(), Token::LParen) && !starts_query(cursor.peek_at(1))
}

/// Whether a token after `(` begins a query rather than a list of columns.
fn starts_query(token: &Token) -> bool {
    let words = ["SELECT", "WITH", "VALUES", "FROM", "TABLE"];
    *token == Token::LParen || words.iter().any(|word| is_unquoted(token, word))
}

mod partition;
#[cfg(test)]
mod tests;
