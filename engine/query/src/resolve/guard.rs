//! The query that stands for an object of which somebody sees a part only.

use dialect::statement::{OnChange, Query, StreamRead, TimeTravel};
use model::{
    name::quote,
    object::Object,
    rights::{Columns, Rights},
};

use super::{find::StoredKind, parse_stored};
use crate::error::QueryError;

/// Columns that reading changes adds to those of the table.
const OF_CHANGES: [&str; 3] = ["_change_type", "_commit_version", "_commit_timestamp"];

/// A query over an object, for one who may not read it as it is.
pub(super) struct Guard {
    pub(super) text: String,
    pub(super) query: Query,
    pub(super) kind: StoredKind,
}

/// What stands between an object and whoever has these rights; `None` when nothing does.
///
/// The query names the object without a version, which the caller puts in.
pub(super) fn of(
    object: &Object,
    rights: &Rights,
    at: Option<&TimeTravel>,
) -> Result<Option<Guard>, QueryError> {
    let columns = rights.columns(object).unwrap_or(Columns::All);
    let guarded = !rights.owns(object) && !object.policy.is_empty();
    if columns == Columns::All && !guarded {
        return Ok(None);
    }
    let shown = |column: &String| match object.policy.masks.get(column) {
        Some(mask) if guarded => format!("({mask}) AS {}", quote(column)),
        _ => quote(column),
    };
    let items = match &columns {
        Columns::Some(columns) => {
            let mut items: Vec<_> = columns.iter().map(shown).collect();
            match at {
                Some(TimeTravel::Changes { .. }) => items.extend(OF_CHANGES.map(str::to_owned)),
                Some(TimeTravel::Stream(StreamRead { on_change: OnChange::Changes, .. })) => {
                    items.extend(OF_CHANGES[..2].iter().map(|column| (*column).to_owned()));
                }
                _ => {}
            }
            items.join(", ")
        }
        Columns::All if object.policy.masks.is_empty() => "*".to_owned(),
        Columns::All => {
            let masks: Vec<_> = object.policy.masks.keys().map(shown).collect();
            format!("* REPLACE ({})", masks.join(", "))
        }
    };
    let filter = match &object.policy.row_filter {
        Some(filter) if guarded => format!(" WHERE ({filter})"),
        _ => String::new(),
    };
    let written = format!("SELECT {items} FROM {}{filter}", object.name.to_sql());
    // Names without a schema are those of the object's own.
    let text = dialect::qualify(&parse_stored(&written)?, object.name.schema());
    let kind = if guarded { StoredKind::Policy } else { StoredKind::Columns };
    Ok(Some(Guard { query: parse_stored(&text)?, text, kind }))
}
