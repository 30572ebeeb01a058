//! Rows that are marked as deleted beside their file (Delta protocol, "Deletion Vectors").
//!
//! It only reads vectors that other engines wrote: rows that Whimbrel deletes go from their files.

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::Bytes;
use deltalake_core::kernel::{DeletionVectorDescriptor, StorageType};
use object_store::{ObjectStoreExt, path::Path};
use roaring::{RoaringBitmap, RoaringTreemap};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    data_files::DataFiles, elsewhere::Whereabouts, error::LakeError, location::Place,
    stored_path::decoded,
};

/// What the bytes of a vector begin with, little-endian.
const MAGIC: u32 = 1_681_511_377;
/// Characters that a UUID has in base 85.
const UUID_TEXT: usize = 20;

/// Where the log says that a vector is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeletionVector {
    storage_type: String,
    path_or_inline_dv: String,
    offset: Option<u64>,
    size_in_bytes: u64,
    cardinality: u64,
}

impl DeletionVector {
    /// The vector of an `add` or `remove` action; `None` when it has none, or one that is not told
    /// as the protocol says.
    pub(crate) fn of_action(action: &Value) -> Option<Self> {
        serde_json::from_value(action.get("deletionVector")?.clone()).ok()
    }

    /// Rows that it marks.
    pub(crate) fn rows(&self) -> u64 {
        self.cardinality
    }

    /// Its file in the table's folder; `None` when it is in the log, or elsewhere.
    pub(crate) fn path(&self) -> Option<Path> {
        if self.storage_type != "u" {
            return None;
        }
        let uuid_at = self.path_or_inline_dv.len().checked_sub(UUID_TEXT)?;
        let prefix = self.path_or_inline_dv.get(..uuid_at)?;
        let uuid = z85::decode(self.path_or_inline_dv.get(uuid_at..)?).ok()?;
        let name = format!("deletion_vector_{}.bin", Uuid::from_slice(&uuid).ok()?);
        let folder = (!prefix.is_empty()).then(|| prefix.to_owned());
        Some(folder.into_iter().chain([name]).collect())
    }

    /// Its file, if it is in the table's folder. [`LakeError::FileUnresolved`] where that cannot be
    /// told, for those who must not be wrong about it.
    pub(crate) fn certain_path(&self, place: &Place) -> Result<Option<Path>, LakeError> {
        let text = &self.path_or_inline_dv;
        match (self.storage_type.as_str(), self.path()) {
            ("i", _) => Ok(None),
            ("u", Some(path)) => Ok(Some(path)),
            ("p", _) => match Whereabouts::certain(place, &decoded(text))? {
                Whereabouts::Within(path) => Ok(Some(path)),
                Whereabouts::Elsewhere => Ok(None),
            },
            _ => Err(LakeError::FileUnresolved { location: place.text(), file: text.clone() }),
        }
    }

    /// The path of a vector's file, as the library makes it, unless it surely is in the table's folder.
    pub(crate) fn elsewhere(descriptor: &DeletionVectorDescriptor) -> Option<String> {
        let text = descriptor.path_or_inline_dv.as_str();
        match descriptor.storage_type {
            StorageType::Inline => None,
            StorageType::AbsolutePath => Some(text.to_owned()),
            StorageType::UuidRelativePath => {
                let prefix = text.get(..text.len().checked_sub(UUID_TEXT)?)?;
                let is_plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric());
                (!is_plain).then(|| format!("{prefix}/deletion_vector"))
            }
        }
    }

    /// Reads the positions of the rows.
    pub(crate) async fn read(&self, place: &Place) -> Result<RoaringBitmap, LakeError> {
        let broken = |why: String| LakeError::BrokenLog {
            location: place.text(),
            source: Arc::<dyn std::error::Error + Send + Sync>::from(Box::from(format!(
                "the deletion vector '{}' {why}",
                self.path_or_inline_dv
            ))),
        };
        let vector = match (self.storage_type.as_str(), self.path()) {
            ("i", _) => {
                let bytes = z85::decode(&self.path_or_inline_dv)
                    .map_err(|error| broken(format!("is not in base 85: {error}")))?;
                Bytes::from(bytes)
            }
            (_, Some(path)) => {
                // A length before it and a checksum behind it, both of four bytes.
                let start = self.offset.unwrap_or(1);
                let end = start + 8 + self.size_in_bytes;
                let framed = place.store.get_range(&path, start..end).await.map_err(|source| {
                    LakeError::store("read a deletion vector", place.text(), source)
                })?;
                self.unframed(&framed).map_err(broken)?
            }
            _ => {
                return Err(LakeError::Unsupported {
                    location: place.text(),
                    feature: "deletion vectors outside of the table's folder".to_owned(),
                    access: "read",
                });
            }
        };
        self.positions(&vector).map_err(broken)
    }

    fn unframed(&self, framed: &Bytes) -> Result<Bytes, String> {
        let (length, rest) = framed.split_first_chunk::<4>().ok_or("is cut off")?;
        let (vector, checksum) = rest.split_last_chunk::<4>().ok_or("is cut off")?;
        if u64::from(u32::from_be_bytes(*length)) != self.size_in_bytes {
            return Err("has another size than the log says".to_owned());
        }
        if u32::from_be_bytes(*checksum) != crc32fast::hash(vector) {
            return Err("has another checksum than its file says".to_owned());
        }
        Ok(framed.slice_ref(vector))
    }

    fn positions(&self, vector: &[u8]) -> Result<RoaringBitmap, String> {
        let (magic, bitmaps) = vector.split_first_chunk::<4>().ok_or("is cut off")?;
        if u32::from_le_bytes(*magic) != MAGIC {
            return Err("is in a format that is not supported".to_owned());
        }
        let all = RoaringTreemap::deserialize_from(bitmaps)
            .map_err(|error| format!("cannot be parsed: {error}"))?;
        if all.len() != self.cardinality {
            return Err(format!("marks {} rows, and the log says {}", all.len(), self.cardinality));
        }
        let mut positions = RoaringBitmap::new();
        for (high, bitmap) in all.bitmaps() {
            match high {
                0 => positions |= bitmap,
                _ => return Err("is about a file with more than 2^32 rows".to_owned()),
            }
        }
        Ok(positions)
    }
}

/// The vectors of one version of a table, each read when it is first needed.
pub(crate) struct DeletionVectors {
    place: Place,
    vectors: HashMap<usize, (DeletionVector, OnceCell<Arc<RoaringBitmap>>)>,
}

impl fmt::Debug for DeletionVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeletionVectors")
            .field("files", &self.vectors.len())
            .finish_non_exhaustive()
    }
}

impl DeletionVectors {
    pub(crate) fn new(place: Place, files: &DataFiles) -> Self {
        let vectors = (0..files.len())
            .filter_map(|file| Some((file, (files.deletion_vector(file)?, OnceCell::new()))));
        Self { place, vectors: vectors.collect() }
    }

    /// Whether no row is marked.
    pub(crate) fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// Whether rows of the file are marked.
    pub(crate) fn has(&self, file: usize) -> bool {
        self.vectors.contains_key(&file)
    }

    /// Rows of the file that are marked.
    pub(crate) fn rows(&self, file: usize) -> u64 {
        self.vectors.get(&file).map_or(0, |(vector, _)| vector.rows())
    }

    /// Positions of the rows of a file that are marked; `None` when none are.
    pub(crate) async fn of(&self, file: usize) -> Result<Option<Arc<RoaringBitmap>>, LakeError> {
        let Some((vector, read)) = self.vectors.get(&file) else { return Ok(None) };
        let read = read.get_or_try_init(|| async {
            Ok::<_, LakeError>(Arc::new(vector.read(&self.place).await?))
        });
        Ok(Some(Arc::clone(read.await?)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_vector_in_a_file_is_named_by_the_uuid_in_the_log() {
        let of = |text: &str| {
            let vector = json!({ "storageType": "u", "pathOrInlineDv": text, "offset": 4,
                "sizeInBytes": 40, "cardinality": 6 });
            DeletionVector::of_action(&json!({ "deletionVector": vector })).unwrap().path()
        };
        // The example of the protocol.
        assert_eq!(
            of("ab^-aqEH.-t@S}K{vb[*k^").unwrap().as_ref(),
            "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
        );
        assert_eq!(
            of("^-aqEH.-t@S}K{vb[*k^").unwrap().as_ref(),
            "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
        );
        assert_eq!(of("short"), None);
    }

    #[test]
    fn a_vector_in_the_log_says_which_rows_are_gone() {
        let vector = DeletionVector {
            storage_type: "i".to_owned(),
            path_or_inline_dv: "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L".to_owned(),
            offset: None,
            size_in_bytes: 44,
            cardinality: 6,
        };
        let bytes = z85::decode(&vector.path_or_inline_dv).unwrap();
        let rows: Vec<u32> = vector.positions(&bytes).unwrap().into_iter().collect();
        assert_eq!(rows, [3, 4, 7, 11, 18, 29]);
        let lie = DeletionVector { cardinality: 7, ..vector };
        assert!(lie.positions(&bytes).unwrap_err().contains("marks 6 rows"));
    }
}
