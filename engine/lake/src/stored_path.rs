//! Paths of data files as the log spells them.
//!
//! A log writes paths as URLs, and engines encode different characters: what one writes as `s=ä`
//! another writes as `s=%C3%A4`. A file is gone only when it is removed by the spelling that added
//! it (Delta protocol, "Add File and Remove File"); the library decodes paths when it reads and
//! encodes them its own way when it writes.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use arrow::{array::AsArray, compute::cast, datatypes::DataType};
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::{error::LakeError, snapshot::Snapshot};

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

/// Whether every engine encodes the path in the same way.
fn has_one_spelling(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=% ".contains(&byte);
    path.bytes().all(plain)
}
