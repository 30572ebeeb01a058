//! AUTO CDC: how events become rows.

use model::transform::{ChangeSpec, ColumnChoice, History};
use sqlparser::{
    ast::{SelectItem, SetExpr, TableFactor, TableWithJoins, WildcardAdditionalOptions},
    tokenizer::Token,
};

use crate::{
    checks,
    cursor::Cursor,
    error::SyntaxError,
    rows,
    statement::{FlowBody, Query, TimeTravel},
};

const CLAUSES: [&str; 8] = [
    "KEYS",
    "IGNORE NULL UPDATES",
    "APPLY AS DELETE WHEN",
    "APPLY AS TRUNCATE WHEN",
    "SEQUENCE BY",
    "COLUMNS",
    "STORED AS SCD TYPE",
    "TRACK HISTORY ON",
];

/// `FROM source KEYS (…) … SEQUENCE BY …`: clauses in any order, each once.
pub(crate) fn spec(cursor: &mut Cursor<'_>, once: bool) -> Result<FlowBody, SyntaxError> {
    let query = source(cursor)?;
    let mut said: Vec<&str> = Vec::new();
    let (mut keys, mut sequence_by, mut last_by) = (Vec::new(), None, None);
    let (mut delete_when, mut truncate_when) = (None, None);
    let (mut ignore_null_updates, mut columns) = (ColumnChoice::None, ColumnChoice::All);
    let (mut every, mut track, mut track_at) = (false, None, cursor.here());
    while !cursor.at_end() {
        if cursor.sees("WHERE") {
            return Err(cursor
                .unsupported("WHERE of AUTO CDC")
                .with_hint("let a streaming table select the events, and read that one"));
        }
        let Some(clause) = CLAUSES.into_iter().find(|clause| cursor.sees(clause)) else {
            return Err(cursor.expected_one_of(&CLAUSES));
        };
        if said.contains(&clause) {
            return Err(cursor.error(format!("{clause} is given twice")));
        }
        said.push(clause);
        let at = cursor.here();
        cursor.take(clause);
        match clause {
            "KEYS" => keys = cursor.columns()?.into_iter().map(|(column, _)| column).collect(),
            "IGNORE NULL UPDATES" => {
                ignore_null_updates = ColumnChoice::All;
                if cursor.take("ON") {
                    ignore_null_updates = choice(cursor)?;
                }
            }
            "APPLY AS DELETE WHEN" => delete_when = Some(expression(cursor)?),
            "APPLY AS TRUNCATE WHEN" => truncate_when = Some(expression(cursor)?),
            "SEQUENCE BY" => {
                sequence_by = Some(expression(cursor)?);
                if cursor.take("ON TIE") && !cursor.take("FAIL") {
                    if !cursor.take("LAST BY") {
                        return Err(cursor.expected_one_of(&["FAIL", "LAST BY"]));
                    }
                    last_by = Some(expression(cursor)?);
                }
            }
            "COLUMNS" => columns = choice(cursor)?,
            "STORED AS SCD TYPE" => {
                every = match cursor.peek() {
                    Token::Number(digits, _) if digits == "1" => false,
                    Token::Number(digits, _) if digits == "2" => true,
                    _ => return Err(cursor.expected("1 or 2")),
                };
                cursor.skip(1);
            }
            _ => (track, track_at) = (Some(choice(cursor)?), at),
        }
    }
    if keys.is_empty() {
        return Err(cursor.expected("KEYS (…), the columns that name a row"));
    }
    let Some(sequence_by) = sequence_by else {
        return Err(cursor.expected("SEQUENCE BY, what orders the events of one row"));
    };
    let history = match (every, track) {
        (true, track) => History::Every { track: track.unwrap_or_default() },
        (false, None) => History::Newest,
        (false, Some(_)) => {
            return Err(SyntaxError::new(track_at, "TRACK HISTORY ON belongs to SCD TYPE 2")
                .with_hint("write STORED AS SCD TYPE 2"));
        }
    };
    let changes = ChangeSpec {
        keys,
        ignore_null_updates,
        delete_when,
        truncate_when,
        sequence_by,
        last_by,
        columns,
        history,
    };
    Ok(FlowBody { once, query, changes: Some(changes) })
}

/// `FROM name` or `FROM STREAM name` as a query: each event is read once either way.
fn source(cursor: &mut Cursor<'_>) -> Result<Query, SyntaxError> {
    cursor.expect("FROM")?;
    if cursor.sees("SNAPSHOT") && matches!(cursor.peek_at(1), Token::Word(_)) {
        return Err(cursor
            .unsupported("AUTO CDC FROM SNAPSHOT")
            .with_hint("write FROM STREAM t, where t has the events"));
    }
    let at = cursor.here();
    let name = cursor.run_in_query(|parser| parser.parse_object_name(false))?;
    if matches!(cursor.peek(), Token::LParen) {
        let text = "AUTO CDC from a function is not supported in this version";
        return Err(SyntaxError::unsupported(at, text).with_hint(
            "bring files into a streaming table with STREAM read_files(…), and read that as a STREAM",
        ));
    }
    let mut relation = rows::named(name);
    let TableFactor::Table { name, .. } = &mut relation else {
        return Err(SyntaxError::new(at, "Expected: the name of a table"));
    };
    if let Some(sqlparser::ast::ObjectNamePart::Identifier(last)) = name.0.last_mut()
        && cursor.travel(last.span.start).is_none()
    {
        cursor.make_stream(last);
    }
    let from = vec![TableWithJoins { relation, joins: Vec::new() }];
    let mut query = rows::select(Vec::new(), from, None);
    if let SetExpr::Select(select) = query.body.as_mut() {
        select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
    }
    let query = cursor.finish(query)?;
    let streams = query.tables.iter().all(|table| matches!(table.at, Some(TimeTravel::Stream(_))));
    if streams {
        Ok(query)
    } else {
        Err(SyntaxError::new(at, "AUTO CDC reads the newest events of a table")
            .with_hint("write FROM STREAM t"))
    }
}

fn expression(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    checks::normal_expression(cursor, "AUTO CDC")
}

/// `(a, b)`, `a, b` or `* EXCEPT (a, b)`.
fn choice(cursor: &mut Cursor<'_>) -> Result<ColumnChoice, SyntaxError> {
    let names = |columns: Vec<(String, _)>| columns.into_iter().map(|(column, _)| column).collect();
    if cursor.take_token(&Token::Mul) {
        if cursor.take("EXCEPT") {
            return Ok(ColumnChoice::Except(names(cursor.columns()?)));
        }
        return Ok(ColumnChoice::All);
    }
    if matches!(cursor.peek(), Token::LParen) {
        return Ok(ColumnChoice::Only(names(cursor.columns()?)));
    }
    let mut columns: Vec<String> = Vec::new();
    loop {
        let at = cursor.here();
        let column = cursor.ident("the name of a column, or * EXCEPT (…)")?;
        if columns.contains(&column) {
            return Err(SyntaxError::new(at, format!("column '{column}' is named twice")));
        }
        columns.push(column);
        if !cursor.take_token(&Token::Comma) {
            return Ok(ColumnChoice::Only(columns));
        }
    }
}

#[cfg(test)]
mod tests;
