//! COPY.

use model::object::TableFormat;
use sqlparser::{
    ast::{SelectItem, SetExpr, WildcardAdditionalOptions},
    tokenizer::Token,
};

use crate::{
    clauses,
    cursor::Cursor,
    error::SyntaxError,
    rows::{Target, select},
    statement::{Copy, Query, Statement},
};

/// `COPY { (query) | t } TO 'place' [STORED AS format] [OPTIONS ('key' 'value', …)]`.
pub(crate) fn copy(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    const READ: &str =
        "declare the files with CREATE EXTERNAL TABLE and read them with INSERT INTO … SELECT";
    let at = cursor.here();
    cursor.expect("COPY")?;
    if cursor.sees("INTO") {
        return Err(SyntaxError::unsupported(at, "COPY INTO is not supported in this version")
            .with_hint(READ));
    }
    let source = source(cursor)?;
    if cursor.sees("FROM") {
        return Err(SyntaxError::unsupported(at, "COPY … FROM is not supported in this version")
            .with_hint(READ));
    }
    if !cursor.take("TO") {
        return Err(cursor.expected_one_of(&["TO"]));
    }
    let place_at = cursor.here();
    let location = cursor.string("a location in single quotes")?;
    if location.trim().is_empty() {
        return Err(SyntaxError::new(place_at, "the location is empty"));
    }
    let (mut format, mut options) = (None, None);
    while !cursor.at_end() {
        if cursor.sees("STORED AS") && format.is_none() {
            let format_at = cursor.here();
            let stored = clauses::format(cursor)?;
            if stored == TableFormat::Delta {
                return Err(SyntaxError::new(
                    format_at,
                    "COPY writes plain files, not Delta tables",
                )
                .with_hint("write CREATE TABLE t LOCATION '…' AS SELECT …"));
            }
            format = Some(stored);
        } else if cursor.sees("OPTIONS") && options.is_none() {
            cursor.skip(1);
            options = Some(cursor.properties()?);
        } else if cursor.sees("PARTITIONED BY") {
            return Err(cursor.unsupported("COPY … PARTITIONED BY"));
        } else {
            return Err(cursor.expected_one_of(&["STORED AS", "OPTIONS"]));
        }
    }
    cursor.refuse_parameters("COPY")?;
    let options = options.unwrap_or_default();
    Ok(Statement::Copy(Box::new(Copy { source, location, format, options })))
}

/// A query in parentheses, or all rows of a table.
fn source(cursor: &mut Cursor<'_>) -> Result<Query, SyntaxError> {
    if matches!(cursor.peek(), Token::LParen) {
        return cursor.query();
    }
    let travels = cursor.travel(cursor.here()).is_some();
    let target = Target::read(cursor).map_err(|error| match travels {
        true => error.with_hint("write COPY (SELECT * FROM t VERSION AS OF n) TO …"),
        false => error,
    })?;
    let from =
        vec![sqlparser::ast::TableWithJoins { relation: target.relation(), joins: Vec::new() }];
    let mut query = select(Vec::new(), from, None);
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    }
    cursor.finish(query)
}

#[cfg(test)]
mod tests;
