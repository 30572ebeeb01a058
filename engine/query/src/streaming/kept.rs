//! AUTO CDC as a query over all events: the rows that they have made.
//!
//! The events themselves are the state. A key's row is found among all of its events, in the order of
//! their sequence, so events may come late, twice and in any order: the answer is the same. Nothing
//! is kept beside the table that could disagree with it; in return the source has to keep its events.

use model::{
    name::quote,
    transform::{ChangeSpec, ColumnChoice, END_AT, History, START_AT},
};

use super::unordered::NAME as FAIL;
use crate::error::QueryError;

const SEQUENCE: &str = "\"__cdc_sequence\"";
const LAST: &str = "\"__cdc_last\"";
const DELETED: &str = "\"__cdc_deleted\"";
const NUMBER: &str = "\"__cdc_number\"";
const TIE: &str = "\"__cdc_tie\"";
const SAME: &str = "\"__cdc_same\"";
const WAS_DELETED: &str = "\"__cdc_was_deleted\"";
const END: &str = "\"__cdc_end\"";

/// The query that gives the rows which the events of `source`, a name as SQL, have made. `columns`
/// are those of the source.
pub(crate) fn query(
    spec: &ChangeSpec,
    source: &str,
    columns: &[String],
) -> Result<String, QueryError> {
    let shown = shown(spec, columns)?;
    match &spec.history {
        History::Newest => newest(spec, source, columns, &shown),
        History::Every { track } => {
            if *track != ColumnChoice::All {
                return refused("TRACK HISTORY ON", "leave it out: each change makes a new state");
            }
            if spec.truncate_when.is_some() {
                return refused("APPLY AS TRUNCATE WHEN with SCD TYPE 2", "delete the rows");
            }
            Ok(every(spec, source, columns, &shown))
        }
    }
}

fn refused<T>(what: &str, instead: &str) -> Result<T, QueryError> {
    Err(QueryError::Unsupported(format!("{what} is not supported in this version; {instead}")))
}

/// The columns that the table gets.
fn shown(spec: &ChangeSpec, columns: &[String]) -> Result<Vec<String>, QueryError> {
    if spec.ignore_null_updates != ColumnChoice::None {
        return refused(
            "IGNORE NULL UPDATES",
            "let the events carry whole rows, or fill them in where they are made",
        );
    }
    let named = match &spec.columns {
        ColumnChoice::Only(columns) | ColumnChoice::Except(columns) => columns.as_slice(),
        ColumnChoice::None | ColumnChoice::All => &[],
    };
    for column in named.iter().chain(&spec.keys) {
        if !columns.contains(column) {
            let known = columns.join(", ");
            return Err(QueryError::Invalid(format!(
                "the events have no column '{column}': they have {known}"
            )));
        }
    }
    let shown: Vec<String> = match &spec.columns {
        ColumnChoice::Only(only) => only.clone(),
        choice => columns.iter().filter(|column| choice.has(column)).cloned().collect(),
    };
    if let Some(key) = spec.keys.iter().find(|key| !shown.contains(key)) {
        return Err(QueryError::Invalid(format!(
            "COLUMNS leaves the key '{key}' out: the table has to show what its rows are known by"
        )));
    }
    let history = matches!(spec.history, History::Every { .. });
    if let Some(taken) = shown.iter().find(|name| history && (*name == START_AT || *name == END_AT))
    {
        return Err(QueryError::Invalid(format!(
            "the events have a column '{taken}', which a history makes itself: leave it out with \
             COLUMNS * EXCEPT ({})",
            quote(taken)
        )));
    }
    Ok(shown)
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

/// Every event that is about a row, with its place in the order and whether it deletes.
fn events(spec: &ChangeSpec, source: &str, columns: &[String]) -> String {
    let last = spec.last_by.as_ref().map(|last| format!(", ({last}) AS {LAST}"));
    let deleted = spec.delete_when.as_deref().unwrap_or("false");
    let truncates = spec.truncate_when.as_ref();
    let only_rows = truncates.map(|t| format!(" WHERE NOT coalesce(({t}), false)"));
    format!(
        "SELECT {}, ({}) AS {SEQUENCE}{}, coalesce(({deleted}), false) AS {DELETED} FROM {source}{}",
        list(columns),
        spec.sequence_by,
        last.unwrap_or_default(),
        only_rows.unwrap_or_default(),
    )
}

/// `OVER (…)`: the events of one key in their order.
fn over(spec: &ChangeSpec, direction: &str) -> String {
    let last = spec.last_by.as_ref().map(|_| format!(", {LAST} {direction} NULLS LAST"));
    format!(
        "OVER (PARTITION BY {} ORDER BY {SEQUENCE} {direction} NULLS LAST{})",
        list(&spec.keys),
        last.unwrap_or_default(),
    )
}

/// Whether an event says the same as its neighbour, `lag` or `lead`.
fn same(neighbour: &str, over: &str, shown: &[String]) -> String {
    let other = |column: &str| format!("{neighbour}({column}) {over}");
    let equal = shown.iter().map(|name| {
        let column = quote(name);
        format!(" AND ({column} IS NOT DISTINCT FROM {})", other(&column))
    });
    let equal: String = equal.collect();
    let was_deleted = other(DELETED);
    format!("(({DELETED} AND {was_deleted}) OR (NOT {DELETED} AND NOT {was_deleted}{equal}))")
}

/// Whether nothing says which of an event and its neighbour comes first, and they differ.
fn tie(spec: &ChangeSpec, neighbour: &str, over: &str, shown: &[String]) -> String {
    let last = spec
        .last_by
        .as_ref()
        .map(|_| format!(" AND ({LAST} IS NOT DISTINCT FROM {neighbour}({LAST}) {over})"));
    format!(
        "(({SEQUENCE} = {neighbour}({SEQUENCE}) {over}){} AND NOT {})",
        last.unwrap_or_default(),
        same(neighbour, over, shown),
    )
}

/// A condition that fails the query where events have no order.
fn ordered(condition: &str) -> String {
    let fail = |text: &str| format!("{FAIL}('AUTO CDC: {text}', {NUMBER})");
    let (no_sequence, no_order) = (
        fail("the SEQUENCE BY of an event is NULL"),
        fail("two events of one key have the same sequence and differ; ON TIE LAST BY orders them"),
    );
    format!(
        "CASE WHEN {SEQUENCE} IS NULL THEN {no_sequence} WHEN {TIE} THEN {no_order} \
         ELSE {condition} END"
    )
}

/// The newest state of each key.
fn newest(
    spec: &ChangeSpec,
    source: &str,
    columns: &[String],
    shown: &[String],
) -> Result<String, QueryError> {
    let over = over(spec, "DESC");
    let is_row = ordered(&format!("{NUMBER} = 1 AND NOT {DELETED}"));
    let after = match &spec.truncate_when {
        None => String::new(),
        Some(truncates) => {
            let last = format!(
                "(SELECT max({}) FROM {source} WHERE coalesce(({truncates}), false))",
                spec.sequence_by
            );
            format!(" AND ({last} IS NULL OR {SEQUENCE} > {last})")
        }
    };
    Ok(format!(
        "SELECT {} FROM (SELECT *, row_number() {over} AS {NUMBER}, {} AS {TIE} FROM ({}) AS events) \
         AS ordered WHERE ({is_row}){after}",
        list(shown),
        tie(spec, "lead", &over, shown),
        events(spec, source, columns),
    ))
}

/// Every state of each key, with when it began and ended.
fn every(spec: &ChangeSpec, source: &str, columns: &[String], shown: &[String]) -> String {
    let over = over(spec, "ASC");
    let begins = ordered(&format!(
        "{WAS_DELETED} IS NULL OR {WAS_DELETED} <> {DELETED} OR (NOT {DELETED} AND NOT {SAME})"
    ));
    let compared = format!(
        "SELECT *, row_number() {over} AS {NUMBER}, lag({DELETED}) {over} AS {WAS_DELETED}, \
         {} AS {SAME}, {} AS {TIE} FROM ({}) AS events",
        same("lag", &over, shown),
        tie(spec, "lag", &over, shown),
        events(spec, source, columns),
    );
    format!(
        "SELECT {}, {SEQUENCE} AS \"{START_AT}\", {END} AS \"{END_AT}\" FROM \
         (SELECT *, lead({SEQUENCE}) {over} AS {END} FROM ({compared}) AS compared WHERE {begins}) \
         AS states WHERE NOT {DELETED} AND ({END} IS NULL OR {SEQUENCE} < {END})",
        list(shown),
    )
}

#[cfg(test)]
mod tests;
