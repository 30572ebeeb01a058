//! Which files the flows of a streaming table have taken, beside the table's own files.
//!
//! It exists because a file is known by its name alone: how far a flow has read a folder is no number, so
//! all names have to be kept. They are in parts, small Parquet files in a folder of the table that no
//! engine takes for data. Each commit that takes files writes one part, with the names that are new in
//! it, and notes the part's number as a transaction; the part says which earlier ones belong to it. Parts that have
//! become small beside those after them are written into the new one, so there are few of them however many
//! commits there were, and each name is written a few times at most. A part is never written to again:
//! one whose commit never came is nobody's.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use model::{id::ObjectId, time::Timestamp};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, path::Path};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{metadata::KeyValue, properties::WriterProperties},
    schema::types::ColumnPath,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{error::LakeError, faults::crash_point, lake::Lake, location::Place};

/// Its name keeps every engine from reading or vacuuming it.
const FOLDER: &str = "_whimbrel_files";
/// Under what a part has the list of earlier ones.
const EARLIER: &str = "whimbrel.earlier";
const PARTS_AT_ONCE: usize = 8;
/// A part that nobody needs stays as long: a run that has lost its lease may still read it.
const STAYS: Duration = Duration::from_secs(24 * 60 * 60);

/// A file that a flow has taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenFile {
    /// The flow.
    pub flow: String,
    /// The file, as an absolute URL.
    pub path: String,
    /// Its bytes then.
    pub size: u64,
    /// When it had been written last.
    pub modified: Timestamp,
    /// What its store called its content.
    pub e_tag: Option<String>,
}

/// Files that flows have taken.
#[derive(Debug, Clone, Default)]
pub struct TakenFiles {
    parts: Vec<Part>,
    /// Part and place in it, by flow and path.
    places: HashMap<String, HashMap<String, (usize, usize)>>,
}

#[derive(Debug, Clone)]
struct Part {
    id: i64,
    files: Arc<Vec<TakenFile>>,
}

/// The parts that a commit and the one before it need.
#[derive(Debug, Clone, Default)]
pub struct TakenParts {
    /// The number that the commit notes.
    pub id: i64,
    needed: BTreeSet<i64>,
    /// Whether parts of the one before became others.
    leaves_some: bool,
}

/// The files of a part, and the earlier ones that belong to it.
type PartContent = (Vec<TakenFile>, Vec<Earlier>);

/// An earlier part, as a later one names it.
#[derive(Debug, Serialize, Deserialize)]
struct Earlier {
    id: i64,
    files: usize,
}

impl TakenFiles {
    /// What is known of a file that a flow has taken.
    #[must_use]
    pub fn get(&self, flow: &str, path: &str) -> Option<&TakenFile> {
        let (part, place) = self.places.get(flow)?.get(path)?;
        self.parts.get(*part)?.files.get(*place)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.files.len()).sum()
    }

    /// Whether nothing was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn of(parts: Vec<Part>) -> Self {
        let mut places: HashMap<String, HashMap<String, (usize, usize)>> = HashMap::new();
        for (number, part) in parts.iter().enumerate() {
            for (place, file) in part.files.iter().enumerate() {
                let of_flow = places.entry(file.flow.clone()).or_default();
                of_flow.insert(file.path.clone(), (number, place));
            }
        }
        Self { parts, places }
    }

    /// The parts that stay, and the files of the one that comes: those of the last parts with it, as
    /// long as these are not much larger.
    fn with(&self, new: Vec<TakenFile>) -> (Vec<Part>, Vec<TakenFile>) {
        let mut stay = self.parts.clone();
        let mut files = new;
        while let Some(last) = stay.pop() {
            if last.files.len() > 2 * files.len() {
                stay.push(last);
                break;
            }
            files.extend(last.files.iter().cloned());
        }
        (stay, files)
    }
}

impl Lake {
    /// The files that were taken up to the commit which noted `id`.
    ///
    /// [`LakeError::TakenFilesGone`] when somebody has deleted what says so.
    pub async fn taken_files(
        &self,
        location: &str,
        object: ObjectId,
        id: i64,
    ) -> Result<TakenFiles, LakeError> {
        let place = self.place(location)?;
        let (last, earlier) = read(&place, object, id).await?;
        let parts: Vec<_> = earlier.iter().map(|earlier| part(&place, object, earlier)).collect();
        let mut parts: Vec<Part> =
            stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await?;
        parts.push(Part { id, files: Arc::new(last) });
        Ok(TakenFiles::of(parts))
    }

    /// Writes down that more files are taken, for the commit that will note the number of what this
    /// answers. Until then nobody knows of it. Nothing of `before` is changed.
    pub async fn note_taken(
        &self,
        location: &str,
        object: ObjectId,
        before: &TakenFiles,
        new: Vec<TakenFile>,
    ) -> Result<TakenParts, LakeError> {
        let place = self.place(location)?;
        let (stay, mut files) = before.with(new);
        // Names that are alike stand together, where they take little room.
        files.sort_by(|a, b| (&a.flow, &a.path).cmp(&(&b.flow, &b.path)));
        let earlier = stay.iter().map(|part| Earlier { id: part.id, files: part.files.len() });
        let bytes = written(&files, &earlier.collect::<Vec<_>>());
        let broken = |error| LakeError::internal("write down the files taken", place.text(), error);
        let bytes = bytes.map_err(broken)?;
        // The last digits of such an id are chance.
        let (_, chance) = Uuid::now_v7().as_u64_pair();
        let id = i64::try_from(chance & (u64::MAX >> 2)).unwrap_or(i64::MAX);
        let create = PutOptions::from(PutMode::Create);
        let put = place.store.put_opts(&path(object, id), Bytes::from(bytes).into(), create).await;
        put.map_err(|e| LakeError::store("write down the files taken", place.text(), e))?;
        crash_point("files_noted");
        let leaves_some = stay.len() < before.parts.len();
        let needed = before.parts.iter().chain(&stay).map(|part| part.id).chain([id]);
        Ok(TakenParts { id, needed: needed.collect(), leaves_some })
    }

    /// Deletes parts that neither the commit of `parts`, which has to be there, nor the one before it
    /// needs, once they are a day old. Only now and then: where nothing was left behind, not at all.
    pub async fn forget_taken(
        &self,
        location: &str,
        object: ObjectId,
        parts: &TakenParts,
        now: Timestamp,
    ) -> Result<(), LakeError> {
        if !parts.leaves_some {
            return Ok(());
        }
        let place = self.place(location)?;
        let failed = |source| LakeError::store("tidy up the files taken", place.text(), source);
        let before = now.as_micros() - i64::try_from(STAYS.as_micros()).unwrap_or(i64::MAX);
        let is_left = |meta: &ObjectMeta| {
            let is_old = Timestamp::from(meta.last_modified).as_micros() < before;
            is_old && id_of(&meta.location).is_some_and(|id| !parts.needed.contains(&id))
        };
        let found = place.store.list(Some(&folder(object)));
        let found: Vec<ObjectMeta> = found.try_collect().await.map_err(failed)?;
        for left in found.iter().filter(|meta| is_left(meta)) {
            match place.store.delete(&left.location).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(source) => return Err(failed(source)),
            }
        }
        Ok(())
    }
}

fn folder(object: ObjectId) -> Path {
    Path::from_iter([FOLDER, &object.to_string()])
}

fn path(object: ObjectId, id: i64) -> Path {
    folder(object).join(format!("{id:016x}.parquet").as_str())
}

fn id_of(path: &Path) -> Option<i64> {
    i64::from_str_radix(path.filename()?.strip_suffix(".parquet")?, 16).ok()
}

fn gone(place: &Place) -> LakeError {
    LakeError::TakenFilesGone { location: place.text() }
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("flow", DataType::Utf8, false),
        Field::new("path", DataType::Utf8, false),
        Field::new("size", DataType::Int64, false),
        Field::new("modified", DataType::Int64, false),
        Field::new("e_tag", DataType::Utf8, true),
    ]))
}

fn written(files: &[TakenFile], earlier: &[Earlier]) -> Result<Vec<u8>, ParquetError> {
    let size = |file: &TakenFile| i64::try_from(file.size).unwrap_or(i64::MAX);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(files.iter().map(|file| &file.flow))),
        Arc::new(StringArray::from_iter_values(files.iter().map(|file| &file.path))),
        Arc::new(Int64Array::from_iter_values(files.iter().map(size))),
        Arc::new(Int64Array::from_iter_values(files.iter().map(|f| f.modified.as_micros()))),
        Arc::new(files.iter().map(|file| file.e_tag.as_deref()).collect::<StringArray>()),
    ];
    let batch = RecordBatch::try_new(schema(), columns)?;
    let earlier = serde_json::to_string(earlier).expect("numbers under names are JSON");
    let path = ColumnPath::from("path");
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_dictionary_enabled(path.clone(), false)
        .set_column_encoding(path, Encoding::DELTA_BYTE_ARRAY)
        .set_key_value_metadata(Some(vec![KeyValue::new(EARLIER.to_owned(), earlier)]))
        .build();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.into_inner()
}

async fn part(place: &Place, object: ObjectId, earlier: &Earlier) -> Result<Part, LakeError> {
    let (files, _) = read(place, object, earlier.id).await?;
    if files.len() != earlier.files {
        return Err(gone(place));
    }
    Ok(Part { id: earlier.id, files: Arc::new(files) })
}

async fn read(place: &Place, object: ObjectId, id: i64) -> Result<PartContent, LakeError> {
    let failed = |source| LakeError::store("read the files taken", place.text(), source);
    let bytes = match place.store.get(&path(object, id)).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Err(gone(place)),
        Err(source) => return Err(failed(source)),
    };
    let broken = |error| LakeError::internal("read the files taken", place.text(), error);
    parsed(bytes).map_err(broken)?.ok_or_else(|| gone(place))
}

/// `None` for a file that is no part.
fn parsed(bytes: Bytes) -> Result<Option<PartContent>, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let said = reader.metadata().file_metadata().key_value_metadata();
    let earlier = said.and_then(|said| said.iter().find(|said| said.key == EARLIER));
    let earlier = earlier.and_then(|said| serde_json::from_str(said.value.as_deref()?).ok());
    let Some(earlier) = earlier else { return Ok(None) };
    let mut files = Vec::new();
    for batch in reader.build()? {
        let batch = batch?;
        let text = |name: &str| batch.column_by_name(name)?.as_string_opt::<i32>();
        let number = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>();
        let columns =
            (text("flow"), text("path"), number("size"), number("modified"), text("e_tag"));
        let (Some(flows), Some(paths), Some(sizes), Some(modified), Some(e_tags)) = columns else {
            return Ok(None);
        };
        files.extend((0..batch.num_rows()).map(|row| TakenFile {
            flow: flows.value(row).to_owned(),
            path: paths.value(row).to_owned(),
            size: u64::try_from(sizes.value(row)).unwrap_or_default(),
            modified: Timestamp::from_micros(modified.value(row)),
            e_tag: e_tags.is_valid(row).then(|| e_tags.value(row).to_owned()),
        }));
    }
    Ok(Some((files, earlier)))
}

#[cfg(test)]
mod tests;
