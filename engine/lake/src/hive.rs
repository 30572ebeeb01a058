//! Folders that say the value of a column, named `column=value`.

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
