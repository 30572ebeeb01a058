//! CLUSTER BY: which columns files are put in order by, and whether they can be.
//!
//! The clause is a property of the object. Nothing is written in order: OPTIMIZE puts files in order that
//! are there, as ZORDER BY of the statement does.

use arrow::datatypes::Schema;
use lake::{Snapshot, ZORDER_COLUMNS_MAX};
use model::{
    clustering,
    object::{Object, Properties},
};

use crate::error::QueryError;

/// The columns that OPTIMIZE orders by where the statement says none. Of a table its log tells, which
/// RESTORE takes back and other engines read; of a transform what is declared, which reaches the log with
/// a later refresh.
pub(crate) fn columns(object: &Object, table: &Snapshot) -> Result<Vec<String>, QueryError> {
    let properties = match object.transform() {
        Some(_) => &object.properties,
        None => table.properties(),
    };
    clustering::columns(properties).map_err(|error| QueryError::Invalid(error.to_string()))
}

/// Refuses columns of CLUSTER BY that a table with this schema cannot be ordered by.
pub(crate) fn check(
    properties: &Properties,
    schema: &Schema,
    partitioned_by: &[String],
) -> Result<(), QueryError> {
    let columns = clustering::columns(properties);
    let columns = columns.map_err(|error| QueryError::Invalid(error.to_string()))?;
    check_order("CLUSTER BY", &columns, schema, partitioned_by)
}

/// Rows can be put in order by plain columns of the table that differ within a partition. `clause` is
/// what names them.
pub(crate) fn check_order(
    clause: &str,
    columns: &[String],
    schema: &Schema,
    partitioned_by: &[String],
) -> Result<(), QueryError> {
    if columns.len() > ZORDER_COLUMNS_MAX {
        return Err(QueryError::Invalid(format!(
            "{clause} takes at most {ZORDER_COLUMNS_MAX} columns, and few order better than many; \
             here are {}",
            columns.len()
        )));
    }
    for column in columns {
        let refused = |why: &str| Err(QueryError::Invalid(format!("{clause} '{column}': {why}")));
        let Ok(field) = schema.field_with_name(column) else {
            let known = schema.fields().iter().map(|field| field.name().as_str());
            let known = known.collect::<Vec<_>>().join(", ");
            return refused(&format!("the table has no such column; it has {known}"));
        };
        if partitioned_by.contains(column) {
            return refused(
                "the table is partitioned by it, so all rows of a file have the same value; \
                 leave it out",
            );
        }
        if field.data_type().is_nested() {
            return refused(
                "lists, structs and maps have no order that files could be left out by",
            );
        }
    }
    Ok(())
}
