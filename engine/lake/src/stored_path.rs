//! Paths of data files as the log spells them.
//!
//! A log writes paths as URLs, and engines encode different characters: what one writes as `s=ä`
//! another writes as `s=%C3%A4`. A file is gone only when it is removed by the spelling that added
//! it (Delta protocol, "Add File and Remove File"); the library decodes paths when it reads and
//! encodes them its own way when it writes.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arrow::{array::AsArray, compute::cast, datatypes::DataType};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{error::LakeError, snapshot::Snapshot};

/// Names of folders that are longer are shortened: six of them fit into a key.
const FOLDER_MAX: usize = 160;

/// The path that a spelling means.
pub(crate) fn decoded(spelling: &str) -> Cow<'_, str> {
    percent_decode_str(spelling).decode_utf8_lossy()
}

/// Spellings of a version's files by the paths that they mean.
#[derive(Debug, Default)]
pub(crate) struct Spellings(HashMap<String, String>);

impl Spellings {
    /// Those of `base`; none are looked up when all of `removed` can be spelled in only one way.
    pub(crate) fn of<'a>(
        base: &Snapshot,
        mut removed: impl Iterator<Item = &'a str>,
    ) -> Result<Self, LakeError> {
        if removed.all(has_one_spelling) {
            return Ok(Self::default());
        }
        let broken = |source: crate::error::Cause| LakeError::BrokenLog {
            location: base.location().to_owned(),
            source,
        };
        let files = base.state().add_actions_table(true).map_err(|e| broken(Arc::new(e)))?;
        let Some(paths) = files.column_by_name("path") else { return Ok(Self::default()) };
        let paths = cast(paths, &DataType::Utf8).map_err(|e| broken(Arc::new(e)))?;
        let paths = paths.as_string::<i32>().iter().flatten();
        let odd = paths.filter(|spelling| !has_one_spelling(&decoded(spelling)));
        Ok(Self(odd.map(|path| (decoded(path).into_owned(), path.to_owned())).collect()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Spells the path of a `remove` action as the action that added the file did.
    pub(crate) fn correct(&self, remove: &mut Value) {
        let Some(Value::String(path)) = remove.get_mut("path") else { return };
        if let Some(spelling) = self.0.get(decoded(path).as_ref()) {
            path.clone_from(spelling);
        }
    }
}

/// The path with folders that stores take: a folder system refuses names of more than 255 bytes, and
/// an object store keys of more than 1,024. What a partition's folder is called is free, the log says
/// its values (Delta protocol, "Partition Value Serialization"). A name that was shortened says no
/// value, so that nobody takes a part of one for all of it; two that come to be equal are one folder.
pub(crate) fn shortened(path: &Path) -> Path {
    let is_long = |part: &str| part.len() > FOLDER_MAX;
    let Some((folders, file)) = path.as_ref().rsplit_once('/') else { return path.clone() };
    if !folders.split('/').any(is_long) {
        return path.clone();
    }
    let folders = folders.split('/').map(|part| match is_long(part) {
        true => {
            let column = part.split_once('=').map_or(part, |(column, _)| column);
            let end = (0..=FOLDER_MAX / 2).rev().find(|end| column.is_char_boundary(*end));
            let column = &column[..end.unwrap_or(0).min(column.len())];
            format!("{column}~{:08x}", crc32fast::hash(part.as_bytes()))
        }
        false => part.to_owned(),
    });
    let text = folders.chain([file.to_owned()]).collect::<Vec<_>>().join("/");
    Path::parse(text).unwrap_or_else(|_| path.clone())
}

/// Whether every engine encodes the path in the same way.
fn has_one_spelling(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=% ".contains(&byte);
    path.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_folders_that_are_too_long_are_shortened() {
        let of = |text: &str| shortened(&Path::parse(text).unwrap()).to_string();
        for kept in ["a.parquet", "k=1/a.parquet", "_change_data/k=1/l=2/a.parquet"] {
            assert_eq!(of(kept), kept);
        }
        let long = "1".repeat(FOLDER_MAX);
        let file = format!("{}.parquet", "f".repeat(200));
        assert_eq!(of(&format!("k=1/{file}")), format!("k=1/{file}"));
        let short = of(&format!("_change_data/k=1/l={long}/m=3/{file}"));
        assert!(
            short.starts_with("_change_data/k=1/l~") && short.ends_with(&format!("/m=3/{file}"))
        );
        assert_eq!(short.split('/').nth(2).unwrap().len(), "l~".len() + 8);
        assert_ne!(short, of(&format!("_change_data/k=1/l={long}0/m=3/{file}")));
        assert_eq!(of(&short), short);
        let named = format!("{long}ä{long}=1/a");
        assert!(of(&named).split('/').all(|part| part.len() <= FOLDER_MAX));
        assert!(of(&format!("ä{}=1/a", "ä".repeat(150))).starts_with("ää"));
    }
}
