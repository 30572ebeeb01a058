//! AUTO CDC as a query over all events: the rows that they have made.
//!
//! The events themselves are the state. A key's row is found among all of its events, in the order of
//! their sequence, so events may come late, twice and in any order: the answer is the same. Nothing
//! is kept beside the table that could disagree with it; in return the source has to keep its events.
//!
//! Step by step, each over the one before, and all of them key by key:
//!
//! - `events`: those about a row, with their place in the order and whether they delete;
//! - `placed`: each numbered within its key, and whether nothing says which of it and the next comes first;
//! - `filled`: columns of IGNORE NULL UPDATES have the value that they had before;
//! - `settled`: of events with one sequence the last;
//! - `compared`: whether an event begins a state, which a change of a tracked column or a deletion does.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
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
const IS_LAST: &str = "\"__cdc_is_last\"";
const IS_SETTLED: &str = "\"__cdc_is_settled\"";
const BEGINS: &str = "\"__cdc_begins\"";
const NEXT_BEGINS: &str = "\"__cdc_next_begins\"";
const START: &str = "\"__cdc_start\"";
const END: &str = "\"__cdc_end\"";

/// What AUTO CDC reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Its name as SQL.
    pub(crate) name: &'a str,
    /// The columns of its events.
    pub(crate) events: &'a Schema,
    /// The type of their sequence.
    pub(crate) sequence: &'a DataType,
}

/// The query that gives the rows which the events of a source have made.
pub(crate) fn query(spec: &ChangeSpec, source: Source<'_>) -> Result<String, QueryError> {
    let columns: Vec<String> =
        source.events.fields().iter().map(|field| field.name().clone()).collect();
    let columns = columns.as_slice();
    let shown = shown(spec, columns)?;
    let filled = chosen("IGNORE NULL UPDATES ON", &spec.ignore_null_updates, &shown, columns)?;
    // What a key is known by is the same in all of its events.
    let filled = filled.into_iter().filter(|column| !spec.keys.contains(column)).collect();
    let events = Events { spec, source, shown: &shown, filled };
    match &spec.history {
        History::Newest => Ok(events.newest()),
        History::Every { track } => {
            if spec.truncate_when.is_some() {
                return Err(QueryError::Unsupported(
                    "APPLY AS TRUNCATE WHEN belongs to SCD TYPE 1: in a history it would have to end the \
                     rows of all keys, whatever the time of their events; write SCD TYPE 1, or let the \
                     source send a deletion of each key and say APPLY AS DELETE WHEN"
                        .to_owned(),
                ));
            }
            Ok(events.every(&chosen("TRACK HISTORY ON", track, &shown, columns)?))
        }
    }
}

/// The columns of the table that a clause means. Left out may be what the table does not show either.
fn chosen(
    clause: &str,
    choice: &ColumnChoice,
    shown: &[String],
    columns: &[String],
) -> Result<Vec<String>, QueryError> {
    let (named, known) = match choice {
        ColumnChoice::Only(named) => (named.as_slice(), shown),
        ColumnChoice::Except(named) => (named.as_slice(), columns),
        ColumnChoice::None | ColumnChoice::All => (&[][..], shown),
    };
    if let Some(column) = named.iter().find(|column| !known.contains(column)) {
        let known = known.join(", ");
        return Err(QueryError::Invalid(format!(
            "{clause} names the column '{column}', which there is not: there are {known}"
        )));
    }
    Ok(shown.iter().filter(|column| choice.has(column)).cloned().collect())
}

/// The columns that the table gets.
fn shown(spec: &ChangeSpec, columns: &[String]) -> Result<Vec<String>, QueryError> {
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

/// The values that a struct is made of, those of structs within it too; none of what is no struct.
fn parts(value: &str, data_type: &DataType) -> Vec<String> {
    let DataType::Struct(fields) = data_type else { return Vec::new() };
    let mut all = Vec::new();
    for field in fields {
        let part = format!("get_field({value}, '{}')", field.name().replace('\'', "''"));
        let below = parts(&part, field.data_type());
        if below.is_empty() { all.push(part) } else { all.extend(below) }
    }
    all
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

/// Whether an event says the same as its neighbour, `lag` or `lead`, in these columns.
fn same(neighbour: &str, over: &str, columns: &[String]) -> String {
    let other = |column: &str| format!("{neighbour}({column}) {over}");
    let equal: String = columns
        .iter()
        .map(|name| {
            let column = quote(name);
            format!(" AND ({column} IS NOT DISTINCT FROM {})", other(&column))
        })
        .collect();
    let was_deleted = other(DELETED);
    format!("(({DELETED} AND {was_deleted}) OR (NOT {DELETED} AND NOT {was_deleted}{equal}))")
}

/// An expression that fails the query where it is evaluated. `column` is one of the row.
fn fail(text: &str, column: &str) -> String {
    format!("{FAIL}('AUTO CDC: {text}', {column})")
}

const NO_SEQUENCE: &str = "the SEQUENCE BY of an event is NULL";

/// A condition over `placed` that fails the query where events have no order.
fn ordered(condition: &str) -> String {
    let no_order =
        "two events of one key have the same sequence and differ; ON TIE LAST BY orders them";
    format!(
        "CASE WHEN {SEQUENCE} IS NULL THEN {} WHEN {TIE} THEN {} ELSE {condition} END",
        fail(NO_SEQUENCE, NUMBER),
        fail(no_order, NUMBER),
    )
}

/// The events of a source, and what is made of them.
struct Events<'a> {
    spec: &'a ChangeSpec,
    source: Source<'a>,
    /// Of the table.
    shown: &'a [String],
    /// Columns of the table that keep their value where an event has NULL.
    filled: Vec<String>,
}

impl Events<'_> {
    /// `OVER (…)`: the events of one key, in an order. Functions that look at one neighbour do not ask
    /// for the frame, but the one that goes without saying is a range, and structs have none.
    fn over(&self, order: &str) -> String {
        let keys = list(&self.spec.keys);
        format!(
            "OVER (PARTITION BY {keys} ORDER BY {order} \
             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
        )
    }

    /// The sequence of an event. It is NULL also where a part of it is: what has no place in one of the
    /// orders that it is made of has none.
    fn sequence(&self) -> String {
        let sequence = &self.spec.sequence_by;
        let parts = parts(&format!("({sequence})"), self.source.sequence);
        if parts.is_empty() {
            return format!("({sequence})");
        }
        let unknown: Vec<_> = parts.iter().map(|part| format!("{part} IS NULL")).collect();
        format!("(CASE WHEN {} THEN NULL ELSE ({sequence}) END)", unknown.join(" OR "))
    }

    /// The columns of the events. Keys that are equal are the same: a zero has no sign, and there is
    /// one value that is not a number.
    fn columns(&self) -> String {
        let column = |field: &Arc<Field>| {
            let name = quote(field.name());
            let number = match field.data_type() {
                DataType::Float32 => "REAL",
                DataType::Float64 => "DOUBLE",
                _ => return name,
            };
            if !self.spec.keys.contains(field.name()) {
                return name;
            }
            format!(
                "CASE WHEN {name} = 0 THEN CAST(0 AS {number}) \
                 WHEN isnan({name}) THEN CAST('NaN' AS {number}) ELSE {name} END AS {name}"
            )
        };
        self.source.events.fields().iter().map(column).collect::<Vec<_>>().join(", ")
    }

    /// Every event that is about a row, with its place in the order and whether it deletes.
    fn events(&self) -> String {
        let spec = self.spec;
        let last = spec.last_by.as_ref().map(|last| format!(", ({last}) AS {LAST}"));
        let deleted = spec.delete_when.as_deref().unwrap_or("false");
        format!(
            "SELECT {}, {} AS {SEQUENCE}{}, coalesce(({deleted}), false) AS {DELETED} FROM {}{}",
            self.columns(),
            self.sequence(),
            last.unwrap_or_default(),
            self.source.name,
            self.after_truncation(),
        )
    }

    /// Leaves out events that empty the table, and those that the last of these has taken away.
    fn after_truncation(&self) -> String {
        let Some(truncates) = &self.spec.truncate_when else { return String::new() };
        let (source, sequence) = (self.source.name, self.sequence());
        let no_sequence = fail(NO_SEQUENCE, &list(&self.spec.keys[..1]));
        let last = format!(
            "(SELECT max({sequence}) FROM {source} WHERE coalesce(({truncates}), false) \
             AND CASE WHEN {sequence} IS NULL THEN {no_sequence} ELSE true END)"
        );
        // An event without a sequence stays, so that it fails the query.
        format!(
            " WHERE NOT coalesce(({truncates}), false) \
             AND ({sequence} IS NULL OR {last} IS NULL OR {sequence} > {last})"
        )
    }

    /// Events with their number within their key.
    fn placed(&self) -> String {
        let by_last = self.spec.last_by.as_ref().map(|_| format!(", {LAST} ASC NULLS LAST"));
        let order = format!("{SEQUENCE} ASC NULLS LAST{}", by_last.unwrap_or_default());
        let over = self.over(&order);
        let next = |column: &str| format!("lead({column}) {over}");
        let last_alike = self.spec.last_by.as_ref();
        let last_alike =
            last_alike.map(|_| format!(" AND ({LAST} IS NOT DISTINCT FROM {})", next(LAST)));
        format!(
            "SELECT *, row_number() {over} AS {NUMBER}, ({} IS NULL) AS {IS_LAST}, \
             coalesce({SEQUENCE} <> {}, true) AS {IS_SETTLED}, \
             (({SEQUENCE} = {}){} AND NOT {}) AS {TIE} FROM ({}) AS events",
            next(DELETED),
            next(SEQUENCE),
            next(SEQUENCE),
            last_alike.unwrap_or_default(),
            same("lead", &over, self.shown),
            self.events(),
        )
    }

    /// Placed events whose columns of IGNORE NULL UPDATES have the value that they had before. A
    /// deletion ends all values.
    fn filled(&self) -> String {
        if self.filled.is_empty() {
            return self.placed();
        }
        let over = self.over(NUMBER);
        let columns = self.shown.iter().map(|name| {
            let column = quote(name);
            if !self.filled.contains(name) {
                return column;
            }
            format!(
                "CASE WHEN max(CASE WHEN NOT {DELETED} AND {column} IS NOT NULL THEN {NUMBER} END) {over} \
                 > coalesce(max(CASE WHEN {DELETED} THEN {NUMBER} END) {over}, 0) \
                 THEN last_value(CASE WHEN NOT {DELETED} THEN {column} END) IGNORE NULLS {over} END \
                 AS {column}"
            )
        });
        format!(
            "SELECT {}, {SEQUENCE}, {DELETED}, {NUMBER}, {IS_LAST}, {IS_SETTLED}, {TIE} \
             FROM ({}) AS placed",
            columns.collect::<Vec<_>>().join(", "),
            self.placed(),
        )
    }

    /// The newest state of each key.
    fn newest(&self) -> String {
        format!(
            "SELECT {} FROM ({}) AS filled WHERE {}",
            list(self.shown),
            self.filled(),
            ordered(&format!("{IS_LAST} AND NOT {DELETED}")),
        )
    }

    /// Every state of each key, with when it began and ended. A state has the values of its last
    /// event, which differ from those of its first only in columns that are not tracked.
    fn every(&self, tracked: &[String]) -> String {
        let settled = format!(
            "SELECT {}, {SEQUENCE}, {DELETED} FROM ({}) AS filled WHERE {}",
            list(self.shown),
            self.filled(),
            ordered(IS_SETTLED),
        );
        let order = format!("{SEQUENCE} ASC");
        let over = self.over(&order);
        let compared = format!(
            "SELECT *, coalesce(NOT {}, true) AS {BEGINS} FROM ({settled}) AS settled",
            same("lag", &over, tracked),
        );
        let states = format!(
            "SELECT *, lead({SEQUENCE}) {over} AS {END}, \
             coalesce(lead({BEGINS}) {over}, true) AS {NEXT_BEGINS}, \
             last_value(CASE WHEN {BEGINS} THEN {SEQUENCE} END) IGNORE NULLS {over} AS {START} \
             FROM ({compared}) AS compared",
        );
        format!(
            "SELECT {}, {START} AS \"{START_AT}\", {END} AS \"{END_AT}\" \
             FROM ({states}) AS states WHERE {NEXT_BEGINS} AND NOT {DELETED}",
            list(self.shown),
        )
    }
}

#[cfg(test)]
mod tests;
