//! Tables of plain files: those of one place, or of folders that say values of columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::{catalog::TableProvider, execution::SessionState};
use model::object::Table;

use crate::{command, error::QueryError, queries::Inner, resolve::stored_schema};

/// The files of a table, as they are now.
pub(crate) async fn files_of(
    inner: &Inner,
    table: &Table,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let lake = &inner.options.lake;
    if !table.has_folders() {
        return Ok(lake.files(&table.location, table.format, &table.options, state).await?);
    }
    let types = types(table, state).await?;
    Ok(lake.files_in_folders(table, &types, state).await?)
}

/// The types of path columns, as tables store them: the planner's own are others.
async fn types(table: &Table, state: &SessionState) -> Result<Vec<DataType>, QueryError> {
    let mut fields = Vec::with_capacity(table.path_columns.len());
    for column in &table.path_columns {
        let refused =
            |why: String| QueryError::Invalid(format!("path column '{}': {why}", column.name));
        let found = command::arrow_type(state, &column.data_type).await;
        let found = found.map_err(|error| refused(error.to_string()))?;
        if found.is_nested() || found.is_binary() || found.is_null() {
            return Err(refused(format!(
                "the name of a folder is no {}; a path column is a text, a number, a boolean, a date or a \
                 time",
                column.data_type
            )));
        }
        fields.push(Field::new(&column.name, found, true));
    }
    // Of no columns there is no schema.
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let stored = stored_schema(&Schema::new(fields))?;
    Ok(stored.fields().iter().map(|field| field.data_type().clone()).collect())
}
