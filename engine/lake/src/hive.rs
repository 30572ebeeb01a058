//! Values of partition columns: folders named `column=value`, and what a log says of a file.

use arrow::datatypes::DataType;
use datafusion::{common::ScalarValue, error::Result as DataFusionResult};

use crate::stored_path::decoded;

/// What an absent value is called in a folder's name.
pub(crate) const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns that the folders of a file's path say a value of, from the outermost on.
pub(crate) fn folder_values(path: &str) -> Vec<(String, Option<String>)> {
    let Some((folders, _)) = path.rsplit_once('/') else { return Vec::new() };
    let named = folders.split('/').filter_map(|folder| folder.split_once('='));
    let values = named.map(|(name, value)| {
        let value = (value != NULL_FOLDER).then(|| decoded(value).into_owned());
        (decoded(name).into_owned(), value)
    });
    values.collect()
}

/// The value that a log means by a file's `partitionValues` entry.
///
/// An empty entry is a value of a column of text or bytes, and NULL of any other: so the scans of
/// the library read it, as Spark does. The protocol calls it NULL for every type, and Spark writes
/// NULL itself; whoever reads one table in two ways has to read the same.
pub(crate) fn partition_value(
    entry: Option<&str>,
    data_type: &DataType,
) -> DataFusionResult<ScalarValue> {
    match entry {
        None => ScalarValue::try_from(data_type),
        Some("") if !may_be_empty(data_type) => ScalarValue::try_from(data_type),
        Some(text) => ScalarValue::from(text).cast_to(data_type),
    }
}

/// Whether an empty entry is a value of its own.
pub(crate) fn may_be_empty(data_type: &DataType) -> bool {
    data_type.is_string() || data_type.is_binary()
}
