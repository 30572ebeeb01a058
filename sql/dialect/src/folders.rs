//! A LOCATION with placeholders, PATH COLUMNS and COMPLETE WHEN: whether they fit each other.
//!
//! It exists because clauses come in any order, so that only the whole statement tells what is wrong.

use model::{
    folders::{Placeholder, placeholders},
    object::{PathColumn, TableFormat},
};
use sqlparser::tokenizer::{Location, Token};

use crate::{clauses::Clauses, cursor::Cursor, error::SyntaxError};

/// A path column and where it stands.
pub(crate) type Declared = (PathColumn, Location);

/// What makes a pattern of a location.
const WILD: [char; 4] = ['*', '?', '[', ']'];
/// Endings of names that are those of files.
const FILES: [&str; 10] =
    [".parquet", ".parq", ".pq", ".csv", ".tsv", ".txt", ".json", ".ndjson", ".jsonl", ".gz"];

/// `PATH COLUMNS (a STRING, b BIGINT)`.
pub(crate) fn path_columns(cursor: &mut Cursor<'_>) -> Result<Vec<Declared>, SyntaxError> {
    cursor.expect("PATH COLUMNS")?;
    cursor.expect_token(&Token::LParen)?;
    let mut columns: Vec<Declared> = Vec::new();
    loop {
        let at = cursor.here();
        let name = cursor.ident("the name of a path column")?;
        if columns.iter().any(|(column, _)| column.name == name) {
            return Err(SyntaxError::new(at, format!("path column '{name}' is declared twice")));
        }
        if matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF) {
            let expected = cursor.expected(&format!("the type of path column '{name}'"));
            return Err(expected.with_hint("STRING takes every name of a folder"));
        }
        let data_type = cursor.data_type()?.to_string();
        columns.push((PathColumn { name, data_type }, at));
        if !matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF) {
            let error = cursor.error(format!(
                "a path column has a name and a type, and nothing else; found: {}",
                cursor.found()
            ));
            return Err(error.with_hint("write PATH COLUMNS (entity_id STRING, version BIGINT)"));
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    match cursor.take_token(&Token::RParen) {
        true => Ok(columns),
        false => Err(cursor.expected(", or )")),
    }
}

/// `COMPLETE WHEN 'name'`.
pub(crate) fn complete_when(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    cursor.expect("COMPLETE WHEN")?;
    let at = cursor.here();
    let marker = cursor.text("the name of an object in single quotes, such as '_SUCCESS'")?;
    let is_name = !marker.trim().is_empty()
        && marker.trim() == marker
        && !matches!(marker.as_str(), "." | "..")
        && !marker.contains(['/', '*', '?', '[', ']', '{', '}', '\0']);
    match is_name {
        true => Ok(marker),
        false => Err(SyntaxError::new(at, format!("'{marker}' is not the name of an object"))
            .with_hint(
                "write a name without folders and without a pattern: COMPLETE WHEN '_SUCCESS'",
            )),
    }
}

/// Holds the clauses of a table to each other, once all of them are read.
pub(crate) fn check(clauses: &Clauses) -> Result<(), SyntaxError> {
    let path_at = clauses.path_columns_at;
    let complete_at = clauses.complete_when.as_ref().map(|(_, at)| *at);
    let Some((location, location_at)) = clauses.location.as_deref().zip(clauses.location_at) else {
        return match (path_at, complete_at) {
            (None, None) => Ok(()),
            (Some(at), _) => Err(SyntaxError::new(at, "PATH COLUMNS are about a LOCATION")
                .with_hint("write LOCATION 'folder/{column}/'")),
            (None, Some(at)) => Err(SyntaxError::new(at, "COMPLETE WHEN is about a LOCATION")
                .with_hint("write LOCATION 'folder/'")),
        };
    };
    let is_delta = matches!(clauses.format, None | Some(TableFormat::Delta));
    let of_delta = |at: Location, what: &str| {
        SyntaxError::unsupported(
            at,
            format!("{what} of a Delta table: its log says which rows it has, and its partitions"),
        )
        .with_hint("they are for files: USING PARQUET, CSV or JSON")
    };
    if let Some(at) = path_at.filter(|_| is_delta) {
        return Err(of_delta(at, "PATH COLUMNS"));
    }
    if let Some(at) = complete_at.filter(|_| is_delta) {
        return Err(of_delta(at, "COMPLETE WHEN"));
    }
    let within = |at: usize| in_text(location_at, location, at);
    let found = match placeholders(location) {
        Ok(found) => found,
        // Without PATH COLUMNS braces are characters as others.
        Err(_) if path_at.is_none() => Vec::new(),
        Err(error) => {
            return Err(SyntaxError::new(within(error.at), error.why)
                .with_hint("a placeholder is {column}, within the name of one folder"));
        }
    };
    if let Some(first) = found.first().filter(|_| is_delta) {
        return Err(of_delta(within(first.at), &format!("the placeholder '{{{}}}'", first.column)));
    }
    if let (Some(first), None) = (found.first(), path_at) {
        let columns: Vec<String> =
            found.iter().map(|one| format!("{} STRING", model::name::quote(&one.column))).collect();
        return Err(SyntaxError::new(
            within(first.at),
            format!(
                "the location has the placeholder '{{{}}}', and there are no PATH COLUMNS",
                first.column
            ),
        )
        .with_hint(format!("write PATH COLUMNS ({}) after it", columns.join(", "))));
    }
    each_bound_once(&found, &clauses.path_columns, within)?;
    let says_folders = path_at.or(complete_at).is_some();
    if let Some(wild) = location.chars().position(|c| WILD.contains(&c)).filter(|_| says_folders) {
        let error = SyntaxError::new(
            within(wild),
            "a pattern of files goes together neither with placeholders nor with COMPLETE WHEN",
        );
        return Err(error.with_hint(
            "name the folder; a placeholder stands for any name: write {column} in the place of *",
        ));
    }
    match path_at {
        Some(_) => in_folders(location, &found, within),
        None => Ok(()),
    }
}

fn each_bound_once(
    found: &[Placeholder],
    columns: &[Declared],
    within: impl Fn(usize) -> Location,
) -> Result<(), SyntaxError> {
    for (n, one) in found.iter().enumerate() {
        let name = &one.column;
        if found[..n].iter().any(|other| other.column == *name) {
            let text = format!("the placeholder '{{{name}}}' stands twice in the location");
            return Err(SyntaxError::new(within(one.at), text)
                .with_hint("give each of them a name, and a column, of its own"));
        }
        if columns.iter().any(|(column, _)| column.name == *name) {
            continue;
        }
        let alike = columns.iter().find(|(column, _)| column.name.eq_ignore_ascii_case(name));
        let hint = match alike {
            Some((column, _)) => {
                format!("the column is called {}: write {{{}}}", column.name, column.name)
            }
            None => format!("add it there: {} STRING, or another type", model::name::quote(name)),
        };
        let text = format!("the placeholder '{{{name}}}' is none of the PATH COLUMNS");
        return Err(SyntaxError::new(within(one.at), text).with_hint(hint));
    }
    let unbound =
        columns.iter().find(|(column, _)| !found.iter().any(|one| one.column == column.name));
    match unbound {
        None => Ok(()),
        Some((PathColumn { name, .. }, at)) => {
            let text = format!("the location has no placeholder for the path column '{name}'");
            Err(SyntaxError::new(*at, text).with_hint(format!(
                "write {{{name}}} in it, in the place of a folder's name or of a part of one"
            )))
        }
    }
}

/// Refuses placeholders where no folder is.
fn in_folders(
    location: &str,
    found: &[Placeholder],
    within: impl Fn(usize) -> Location,
) -> Result<(), SyntaxError> {
    let before = |needle: usize| location[..needle].chars().count();
    let host_ends = location.find("://").map(|scheme| {
        let host = scheme + "://".len();
        before(location[host..].find('/').map_or(location.len(), |slash| host + slash))
    });
    if let Some(one) = found.iter().find(|one| host_ends.is_some_and(|end| one.at < end)) {
        let text = "a placeholder stands for the name of a folder, not of a bucket";
        return Err(SyntaxError::new(within(one.at), text)
            .with_hint("declare a table for each bucket, and a view over them"));
    }
    let last = location.rfind('/').map_or(0, |slash| slash + 1);
    let (last, name) = (before(last), location[last..].to_ascii_lowercase());
    let is_file = FILES.iter().any(|ending| name.ends_with(ending));
    match found.iter().find(|one| is_file && one.at >= last) {
        Some(one) => Err(SyntaxError::new(
            within(one.at),
            "a placeholder stands for the name of a folder, not of a file",
        )
        .with_hint("name the folder, with a slash at its end: all files below it are read")),
        None => Ok(()),
    }
}

/// Where a character of a quoted text is.
fn in_text(text_at: Location, text: &str, at: usize) -> Location {
    // A quote within the text is written twice.
    let quotes = text.chars().take(at).filter(|c| *c == '\'').count();
    let before = u64::try_from(1 + at + quotes).unwrap_or(0);
    Location { column: text_at.column + before, ..text_at }
}

#[cfg(test)]
mod tests;
