//! Folders that say the value of a column, named `column=value`.

/// What an absent value is called in a folder's name.
pub(crate) const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns that the folders of a file's path say a value of, from the outermost on.
pub(crate) fn folder_values(path: &str) -> Vec<(String, Option<String>)> {
    let Some((folders, _)) = path.rsplit_once('/') else { return Vec::new() };
    let named = folders.split('/').filter_map(|folder| folder.split_once('='));
    let values = named.map(|(name, value)| {
        let value = (value != NULL_FOLDER).then(|| percent_decoded(value));
        (percent_decoded(name), value)
    });
    values.collect()
}

/// The text with `%20` and the like decoded.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
