//! Makes a Delta table of a folder of Parquet files, without moving any.
//!
//! One commit, version 0, names every file, with statistics from its footer. From then on the folder
//! is the table's: files that somebody puts there later are not part of it.

use std::sync::Arc;

use arrow::{
    array::{Array, StringArray},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit},
};
use deltalake_core::kernel::Add;
use futures::{StreamExt, TryStreamExt, stream};
use model::object::{Properties, TableFormat};
use object_store::{Error as StoreError, ObjectMeta};
use parquet::{
    arrow::parquet_to_arrow_schema, basic::Type as PhysicalType, file::metadata::ParquetMetaData,
};

use crate::{
    commit::CommitInfo,
    error::LakeError,
    footer_statistics::footer_statistics,
    hive::folder_values,
    lake::Lake,
    location::Place,
    log,
    parquet_object::ParquetObject,
    schema::delta_schema_at,
    stage::{Effect, StageProgress, Staged, WriteMode},
    vacuum::is_hidden,
};

const FOOTERS_AT_ONCE: usize = 16;

/// A folder of Parquet files that is to be a table.
#[derive(Debug, Clone)]
pub struct Convert {
    /// The folder; an absolute URL.
    pub location: String,
    /// The columns that folders named `column=value` say, with their types, in the folders' order.
    pub partitioned_by: SchemaRef,
}

/// A folder that has become a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Converted {
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
}

/// A file with what it says of itself.
struct Found {
    path: String,
    meta: ObjectMeta,
    footer: Arc<ParquetMetaData>,
    schema: Schema,
    values: Vec<Option<String>>,
}

impl Lake {
    /// Writes the log of a table that has all Parquet files of a folder. Reads their footers only.
    ///
    /// [`LakeError::AlreadyExists`] when the folder is a Delta table, [`LakeError::FilesNotFound`]
    /// when it has no file, and [`LakeError::Foreign`] for a file that cannot be part of the table:
    /// one of another format, with other types, or in a folder that does not fit the partitioning.
    pub async fn convert(&self, convert: Convert) -> Result<Converted, LakeError> {
        let Convert { location, partitioned_by } = convert;
        let place = self.place(&location)?;
        if log::exists(&place).await? {
            return Err(LakeError::AlreadyExists { location: place.text() });
        }
        self.not_inside_a_table(&place).await?;
        let metas = parquet_files(&place).await?;
        let columns = partitioned_by.fields();
        let files: Vec<Found> = stream::iter(metas)
            .map(|meta| found(&place, meta, &partitioned_by))
            .buffered(FOOTERS_AT_ONCE)
            .try_collect()
            .await?;
        let mut fields = merged(&place, &files, &partitioned_by)?;
        fields.extend(columns.iter().map(|field| nullable(field)));
        let schema = delta_schema_at(&place.text(), &Schema::new(fields))?;
        let partitioned_by: Vec<String> =
            columns.iter().map(|field| field.name().clone()).collect();
        let rows = files.iter().map(|file| file.footer.file_metadata().num_rows());
        let rows = rows.map(|rows| u64::try_from(rows).unwrap_or(0)).sum();
        let adds: Vec<Add> = files.iter().map(|file| file.add(&schema, &partitioned_by)).collect();
        let mode = WriteMode::Create {
            partitioned_by,
            comment: None,
            properties: Properties::new(),
            schema: Some(Arc::clone(&schema)),
        };
        if let Some(declaration) = mode.declaration(place.url.as_str(), &schema) {
            declaration.check()?;
        }
        let area = self.staging_area(&place, Arc::new(StageProgress::default()));
        let staged =
            Staged { place, effect: Effect::Write(mode), base: None, schema, adds, rows, area };
        let committed = self.commit(staged, CommitInfo::default()).await?;
        Ok(Converted { files: committed.files, bytes: committed.bytes, rows })
    }

    /// Files of one table must not be those of another, whose VACUUM would delete them.
    pub(crate) async fn not_inside_a_table(&self, place: &Place) -> Result<(), LakeError> {
        let mut folder = place.url.clone();
        loop {
            let Ok(parent) = folder.join("..") else { return Ok(()) };
            if parent == folder {
                return Ok(());
            }
            let Ok(above) = self.place(parent.as_str()) else { return Ok(()) };
            if log::exists(&above).await? {
                return Err(LakeError::Location {
                    text: place.text(),
                    why: format!("it is a part of the Delta table at '{}'", above.text()),
                });
            }
            folder = parent;
        }
    }
}

/// All files of a folder, by their path; an error for one that is not Parquet.
async fn parquet_files(place: &Place) -> Result<Vec<ObjectMeta>, LakeError> {
    let mut metas = Vec::new();
    let mut listed = place.store.list(None);
    loop {
        let meta = match listed.try_next().await {
            Ok(Some(meta)) => meta,
            Ok(None) | Err(StoreError::NotFound { .. }) => break,
            Err(source) => return Err(LakeError::store("list the files", place.text(), source)),
        };
        if meta.location.parts().any(|part| part.as_ref() == "_delta_log") {
            return Err(LakeError::Location {
                text: place.text(),
                why: format!("there is a Delta table inside it, see '{}'", meta.location),
            });
        }
        if is_hidden(&meta.location) {
            continue;
        }
        let name = meta.location.as_ref();
        if ![".parquet", ".parq", ".pq"].iter().any(|ending| name.ends_with(ending)) {
            let why = "its name does not end in .parquet; VACUUM would delete it, so move it away";
            return Err(foreign(place, name, why));
        }
        metas.push(meta);
    }
    if metas.is_empty() {
        let (location, format) = (place.text(), TableFormat::Parquet);
        return Err(LakeError::FilesNotFound { location, format });
    }
    metas.sort_by(|a, b| a.location.cmp(&b.location));
    Ok(metas)
}

async fn found(
    place: &Place,
    meta: ObjectMeta,
    partitioned_by: &Schema,
) -> Result<Found, LakeError> {
    let path = meta.location.to_string();
    let values = partition_values(place, &path, partitioned_by)?;
    let object = ParquetObject {
        store: Arc::clone(&place.store),
        path: meta.location.clone(),
        size: meta.size,
    };
    let unreadable = |error: parquet::errors::ParquetError| {
        foreign(place, &path, &format!("it cannot be read as Parquet: {error}"))
    };
    let footer = object.footer().await.map_err(unreadable)?;
    let file = footer.file_metadata();
    let schema = parquet_to_arrow_schema(file.schema_descr(), file.key_value_metadata());
    let schema = with_int96(schema.map_err(unreadable)?, &footer);
    Ok(Found { path, values, schema, meta, footer })
}

/// The oldest form of a time in Parquet is one in UTC, by the custom of its writers.
fn with_int96(schema: Schema, footer: &ParquetMetaData) -> Schema {
    let columns = footer.file_metadata().schema_descr();
    let is_int96 = |name: &str| {
        columns.columns().iter().any(|column| {
            column.path().parts() == [name] && column.physical_type() == PhysicalType::INT96
        })
    };
    let fields = schema.fields().iter().map(|field| match is_int96(field.name()) {
        true => {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Arc::new(Field::new(field.name(), utc, true))
        }
        false => Arc::clone(field),
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// What the folders say of the columns; every folder has to be one of them, and the other way round.
fn partition_values(
    place: &Place,
    path: &str,
    columns: &Schema,
) -> Result<Vec<Option<String>>, LakeError> {
    let said = folder_values(path);
    let names: Vec<&str> = said.iter().map(|(name, _)| name.as_str()).collect();
    let wanted: Vec<&str> = columns.fields().iter().map(|field| field.name().as_str()).collect();
    if names != wanted {
        let folders = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let clause = if wanted.is_empty() { "nothing".to_owned() } else { wanted.join(", ") };
        return Err(foreign(
            place,
            path,
            &format!(
                "its folders say the columns {folders}, but PARTITIONED BY names {clause}; \
                 name each of them with its type, in their order"
            ),
        ));
    }
    for ((name, value), field) in said.iter().zip(columns.fields()) {
        let Some(text) = value else { continue };
        let parsed = cast(&StringArray::from(vec![text.as_str()]), field.data_type());
        if !parsed.is_ok_and(|parsed| parsed.null_count() == 0) {
            let why =
                format!("'{text}' in its folder's name is no {} for '{name}'", field.data_type());
            return Err(foreign(place, path, &why));
        }
    }
    Ok(said.into_iter().map(|(_, value)| value).collect())
}

/// The columns of all files, in the order in which they are first seen.
fn merged(
    place: &Place,
    files: &[Found],
    partitioned_by: &Schema,
) -> Result<Vec<FieldRef>, LakeError> {
    let mut fields: Vec<(FieldRef, &str)> = Vec::new();
    for file in files {
        for field in file.schema.fields() {
            if partitioned_by.field_with_name(field.name()).is_ok() {
                continue;
            }
            if let Some(why) = unstorable(field.data_type()) {
                let why = format!("its column '{}' is {}, {why}", field.name(), field.data_type());
                return Err(foreign(place, &file.path, &why));
            }
            // Through the table's own types, so that two forms of one type are one.
            let delta = delta_schema_at(&place.text(), &Schema::new(vec![Arc::clone(field)]))?;
            let new = nullable(delta.field(0));
            match fields.iter().find(|(known, _)| known.name() == new.name()) {
                None => fields.push((new, &file.path)),
                Some((known, _)) if known.data_type() == new.data_type() => {}
                Some((known, first)) => {
                    let why = format!(
                        "its column '{}' is {}, but it is {} in '{first}'; write it anew with a CAST",
                        new.name(),
                        new.data_type(),
                        known.data_type()
                    );
                    return Err(foreign(place, &file.path, &why));
                }
            }
        }
    }
    Ok(fields.into_iter().map(|(field, _)| field).collect())
}

/// Why values of a type, as files have them, cannot be those of a Delta table.
fn unstorable(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            Some("and Delta has no unsigned integers; write the file anew with a CAST")
        }
        DataType::Float16 => Some("which Delta does not have; write the file anew with a CAST"),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Some("and Delta has times in microseconds; write the file anew with a CAST")
        }
        DataType::FixedSizeBinary(_) => {
            Some("which other readers of Delta refuse; write the file anew with a CAST")
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
            unstorable(item.data_type())
        }
        DataType::Struct(fields) => fields.iter().find_map(|field| unstorable(field.data_type())),
        _ => None,
    }
}

/// The column with NULLs allowed at every depth: files that come later may have them.
fn nullable(field: &Field) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| nullable(field)).collect())
        }
        DataType::List(item) => DataType::List(nullable(item)),
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, true))
}

impl Found {
    fn add(&self, schema: &Schema, partitioned_by: &[String]) -> Add {
        let values = partitioned_by.iter().cloned().zip(self.values.iter().cloned());
        let stats = footer_statistics(&self.footer, &self.schema, schema, partitioned_by);
        Add {
            path: self.path.clone(),
            partition_values: values.collect(),
            size: i64::try_from(self.meta.size).unwrap_or(i64::MAX),
            modification_time: self.meta.last_modified.timestamp_millis(),
            data_change: true,
            stats: Some(stats.to_string()),
            ..Add::default()
        }
    }
}

fn foreign(place: &Place, file: &str, why: &str) -> LakeError {
    LakeError::Foreign { location: place.text(), file: file.to_owned(), why: why.to_owned() }
}
