//! Columns of files: those that files have, found by looking, and where a file has those that are wanted.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use datafusion::{
    catalog::Session,
    common::DataFusionError,
    datasource::file_format::{FileFormat, file_compression_type::FileCompressionType},
};
use futures::{StreamExt, TryStreamExt, stream};
use model::object::{Properties, TableFormat};
use object_store::ObjectStore;

use super::{
    Reading, compressed_by_ending,
    listed::{ListedFile, ListedFiles},
    parquet_columns,
};
use crate::{error::LakeError, footers::Footers, lake::Lake, schema::delta_schema};

/// How many files columns are looked for in, and how many bytes of them.
const SAMPLE_FILES: usize = 1_000;
const SAMPLE_BYTES: u64 = 16 << 20;
pub(super) const FILES_AT_ONCE: usize = 16;
/// An option of [`Lake::files`]: all records are looked at.
const INFER_ALL: (&str, &str) = ("schema_infer_max_records", "1000000000000");
const INFER_ONE: (&str, &str) = ("schema_infer_max_records", "1");

/// A column that files are to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileColumn {
    /// Its name.
    pub name: String,
    /// Its name in the files.
    pub in_file: String,
    /// Its type.
    pub data_type: DataType,
}

/// What a column means that a file has and nobody has asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewColumns {
    /// It is left out.
    Ignore,
    /// The file cannot be read.
    Fail,
}

/// How the files of a place are read.
#[derive(Debug, Clone)]
pub struct FilesReading {
    /// What they are; never Delta.
    pub format: TableFormat,
    /// Options of the format, as [`Lake::files`] takes them.
    pub options: Properties,
}

/// One file, and how it is to be read.
#[derive(Debug, Clone)]
pub(super) struct ReadableFile {
    pub(super) file: ListedFile,
    pub(super) format: Arc<dyn FileFormat>,
    pub(super) compression: FileCompressionType,
    /// Its columns as its reader is to make them.
    pub(super) schema: SchemaRef,
    /// Where the wanted columns come from.
    pub(super) from: Arc<[Origin]>,
}

/// Where a column of a file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// A column of the file, by number.
    File(usize),
    /// The name of a folder; NULL where that says so.
    Folder(Option<String>),
    /// Nowhere: it is NULL.
    Nowhere,
}

impl FilesReading {
    fn of(
        &self,
        file: &ListedFile,
        state: &dyn Session,
        more: Option<(&str, &str)>,
    ) -> Result<(Arc<dyn FileFormat>, FileCompressionType), LakeError> {
        let url = file.url();
        let mut options = compressed_by_ending(url, self.format, &self.options);
        if let Some((option, value)) = more.filter(|_| self.format != TableFormat::Parquet) {
            options.insert(option.to_owned(), value.to_owned());
        }
        Reading { location: url, format: self.format }.file_format(&options, state)
    }

    fn has_header(&self) -> bool {
        let option = self.options.iter().find(|(key, _)| key.eq_ignore_ascii_case("header"));
        option.is_none_or(|(_, value)| value.eq_ignore_ascii_case("true"))
    }

    fn failed(&self, file: &ListedFile, source: DataFusionError) -> LakeError {
        let (file, format) = (file.url().to_owned(), self.format);
        LakeError::File { file, format, source: Arc::new(source) }
    }

    /// The columns that a file has, with the types that its values look like.
    async fn found(
        &self,
        files: &ListedFiles,
        file: &ListedFile,
        state: &dyn Session,
        more: (&str, &str),
    ) -> Result<SchemaRef, LakeError> {
        let (format, _) = self.of(file, state, Some(more))?;
        let metas = std::slice::from_ref(&file.meta);
        let found = if self.format == TableFormat::Parquet {
            let store: Arc<dyn ObjectStore> = Arc::new(Footers(Arc::clone(&files.store)));
            parquet_columns(&format, state, &store, metas).await
        } else {
            format.infer_schema(state, &files.store, metas).await
        };
        found.map_err(|source| self.failed(file, source))
    }

    /// How a file is read so that it has the wanted columns.
    pub(super) async fn readable(
        &self,
        files: &ListedFiles,
        file: ListedFile,
        columns: &[FileColumn],
        new: NewColumns,
        state: &dyn Session,
    ) -> Result<ReadableFile, LakeError> {
        let (format, compression) = self.of(&file, state, None)?;
        let folders = files.folder_values(&file);
        let (schema, from) = match self.format {
            TableFormat::Json => {
                let schema = in_json(&wanted_schema(columns, &folders));
                if new == NewColumns::Fail {
                    let found = self.found(files, &file, state, INFER_ALL).await?;
                    refuse_new(&file, &schema, &found)?;
                }
                let from = by_name(&file, &schema, columns, &folders)?;
                (schema, from)
            }
            TableFormat::Csv => {
                let found = self.found(files, &file, state, INFER_ONE).await?;
                let in_files = wanted_schema(columns, &folders);
                let named = found.fields().iter().enumerate().map(|(n, field)| {
                    let by_place = in_files.fields().get(n).filter(|_| !self.has_header());
                    let name = by_place.unwrap_or(field).name();
                    Field::new(name, DataType::Utf8, true)
                });
                let schema: SchemaRef = Arc::new(Schema::new(named.collect::<Vec<_>>()));
                let from = by_name(&file, &schema, columns, &folders)?;
                if new == NewColumns::Fail {
                    refuse_untaken(&file, &schema, &from)?;
                }
                (schema, from)
            }
            TableFormat::Parquet | TableFormat::Delta => {
                let schema = self.found(files, &file, state, INFER_ALL).await?;
                let from = by_name(&file, &schema, columns, &folders)?;
                if new == NewColumns::Fail {
                    refuse_untaken(&file, &schema, &from)?;
                }
                for (from, column) in from.iter().zip(columns) {
                    let Origin::File(n) = from else { continue };
                    let found = schema.field(*n).data_type();
                    if !loses_nothing(found, &column.data_type) {
                        let (column, wanted) = (column.in_file.clone(), &column.data_type);
                        let why = format!("is {found} there, and {wanted} is wanted");
                        return Err(LakeError::FileColumn {
                            file: file.url().to_owned(),
                            column,
                            why,
                        });
                    }
                }
                (schema, from)
            }
        };
        Ok(ReadableFile { file, format, compression, schema, from: from.into() })
    }
}

impl Lake {
    /// The columns of files, with the types that all their values have together: those of the first of
    /// them, up to a bound, so that a later file may have others. Folders that are named
    /// `column=value` are columns of type text.
    ///
    /// [`LakeError::FilesNotFound`] when there is no file.
    pub async fn columns_of_files(
        &self,
        files: &ListedFiles,
        reading: &FilesReading,
        state: &dyn Session,
    ) -> Result<SchemaRef, LakeError> {
        let mut bytes = 0;
        let is_parquet = reading.format == TableFormat::Parquet;
        let sample = files.files().iter().take(SAMPLE_FILES).take_while(|file| {
            let is_enough = bytes > SAMPLE_BYTES;
            bytes += if is_parquet { 0 } else { file.size() };
            !is_enough
        });
        let sample: Vec<_> = sample.collect();
        if sample.is_empty() {
            let (location, format) = (files.location.clone(), reading.format);
            return Err(LakeError::FilesNotFound { location, format });
        }
        let found: Vec<_> =
            sample.iter().map(|file| reading.found(files, file, state, INFER_ALL)).collect();
        let found: Vec<SchemaRef> =
            stream::iter(found).buffered(FILES_AT_ONCE).try_collect().await?;
        let mut fields: Vec<Field> = Vec::new();
        for schema in found {
            for field in schema.fields() {
                add(&mut fields, field.name(), field.data_type());
            }
        }
        for (name, _) in sample.iter().flat_map(|file| files.folder_values(file)) {
            add(&mut fields, &name, &DataType::Utf8);
        }
        let fields = fields.into_iter().map(|field| {
            let known = known(field.data_type());
            field.with_data_type(known)
        });
        delta_schema(&Schema::new(fields.collect::<Vec<_>>()))
    }
}

/// A column that was found, beside those that were found before.
fn add(fields: &mut Vec<Field>, name: &str, data_type: &DataType) {
    match fields.iter_mut().find(|field| field.name() == name) {
        Some(field) => {
            let widest = widest(field.data_type(), data_type);
            *field = field.clone().with_data_type(widest);
        }
        None => fields.push(Field::new(name, data_type.clone(), true)),
    }
}

/// The type that values of both have: text where there is no other.
fn widest(a: &DataType, b: &DataType) -> DataType {
    use DataType::{Date32, Float64, Int64, List, Null, Struct, Timestamp, Utf8};
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Int64, Float64) | (Float64, Int64) => Float64,
        (Date32, Timestamp(unit, zone)) | (Timestamp(unit, zone), Date32) => {
            Timestamp(*unit, zone.clone())
        }
        (Timestamp(_, None), Timestamp(_, None)) => Timestamp(TimeUnit::Microsecond, None),
        (Struct(a), Struct(b)) => {
            let mut fields: Vec<Field> = a.iter().map(|field| field.as_ref().clone()).collect();
            for field in b {
                add(&mut fields, field.name(), field.data_type());
            }
            Struct(Fields::from(fields))
        }
        (List(a), List(b)) => {
            let item = widest(a.data_type(), b.data_type());
            List(Arc::new(Field::new_list_field(item, true)))
        }
        (a, b) if loses_nothing(a, b) => b.clone(),
        (a, b) if loses_nothing(b, a) => a.clone(),
        _ => Utf8,
    }
}

/// A type for what has only NULLs.
fn known(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::List(item) => {
            DataType::List(Arc::new(Field::new_list_field(known(item.data_type()), true)))
        }
        DataType::Struct(fields) => {
            let fields = fields
                .iter()
                .map(|field| field.as_ref().clone().with_data_type(known(field.data_type())));
            DataType::Struct(fields.collect())
        }
        other => other.clone(),
    }
}

/// Whether every value of one type is one of the other, or an error.
fn loses_nothing(from: &DataType, to: &DataType) -> bool {
    let bits = |data_type: &DataType| match data_type {
        DataType::Int8 => Some(8),
        DataType::UInt8 | DataType::Int16 => Some(16),
        DataType::UInt16 | DataType::Int32 => Some(32),
        DataType::UInt32 | DataType::Int64 => Some(64),
        DataType::UInt64 => Some(65),
        _ => None,
    };
    let is_decimal = |data_type: &DataType| {
        matches!(data_type, DataType::Decimal128(..) | DataType::Decimal256(..))
    };
    let scale = |data_type: &DataType| match data_type {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    let is_binary = |data_type: &DataType| {
        data_type.is_binary() || matches!(data_type, DataType::FixedSizeBinary(_))
    };
    match (from, to) {
        (from, to) if from == to || from.is_null() => true,
        (from, to) if from.is_string() && to.is_string() => true,
        (from, to) if is_binary(from) && is_binary(to) => true,
        // A number that does not fit is an error when it comes.
        (from, to) if bits(from).is_some() && bits(to).is_some() => true,
        (from, to) if bits(from).is_some() => is_decimal(to),
        (from, to) if is_decimal(from) && is_decimal(to) => scale(from) <= scale(to),
        (DataType::Float16 | DataType::Float32, DataType::Float64) => true,
        (DataType::Float16, DataType::Float32) => true,
        (DataType::Date32 | DataType::Date64, DataType::Timestamp(..) | DataType::Date32) => true,
        // An instant is its time in UTC.
        (DataType::Timestamp(..), DataType::Timestamp(..)) => true,
        (DataType::Struct(from), DataType::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(from, to)| {
                    from.name() == to.name() && loses_nothing(from.data_type(), to.data_type())
                })
        }
        (
            DataType::List(from) | DataType::LargeList(from) | DataType::ListView(from),
            DataType::List(to),
        ) => loses_nothing(from.data_type(), to.data_type()),
        (DataType::Map(from, _), DataType::Map(to, _)) => {
            loses_nothing(from.data_type(), to.data_type())
        }
        (DataType::Dictionary(_, from), to) => loses_nothing(from, to),
        _ => false,
    }
}

/// The columns that a reader which looks for names is to look for.
fn wanted_schema(columns: &[FileColumn], folders: &[(String, Option<String>)]) -> SchemaRef {
    let in_files =
        columns.iter().filter(|column| !folders.iter().any(|(name, _)| *name == column.in_file));
    let fields = in_files.map(|column| Field::new(&column.in_file, column.data_type.clone(), true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Columns as they are read from JSON. Its reader cuts off the fraction of a number where it is to make a
/// whole one, so it makes decimals, and whoever makes whole numbers of these can look.
fn in_json(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| decimal(field));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn decimal(field: &Field) -> Field {
    let data_type = match field.data_type() {
        whole if whole.is_integer() => DataType::Decimal128(38, 18),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| decimal(field)).collect())
        }
        DataType::List(item) => DataType::List(Arc::new(decimal(item))),
        DataType::Map(entries, sorted) => DataType::Map(Arc::new(decimal(entries)), *sorted),
        other => other.clone(),
    };
    field.clone().with_data_type(data_type)
}

/// Where each wanted column is. A name in another case will do where it is the only one.
///
/// [`LakeError::FileColumn`] for a file that has none of them.
fn by_name(
    file: &ListedFile,
    schema: &Schema,
    columns: &[FileColumn],
    folders: &[(String, Option<String>)],
) -> Result<Vec<Origin>, LakeError> {
    let mut from = Vec::with_capacity(columns.len());
    for column in columns {
        if let Some((_, value)) = folders.iter().find(|(name, _)| *name == column.in_file) {
            from.push(Origin::Folder(value.clone()));
            continue;
        }
        let exact = schema.fields().iter().position(|field| *field.name() == column.in_file);
        if let Some(exact) = exact {
            from.push(Origin::File(exact));
            continue;
        }
        let named = schema.fields().iter().enumerate();
        let mut alike =
            named.filter(|(_, field)| field.name().eq_ignore_ascii_case(&column.in_file));
        from.push(match (alike.next(), alike.next()) {
            (None, _) => Origin::Nowhere,
            (Some((n, _)), None) => Origin::File(n),
            (Some((_, one)), Some((_, other))) => {
                let why = format!("could be '{}' or '{}' there", one.name(), other.name());
                let (file, column) = (file.url().to_owned(), column.in_file.clone());
                return Err(LakeError::FileColumn { file, column, why });
            }
        });
    }
    let has_one = from.iter().any(|from| matches!(from, Origin::File(_)));
    if !has_one && !schema.fields().is_empty() && !columns.is_empty() {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let names = names.collect::<Vec<_>>().join("', '");
        let why = format!(
            "is not there, nor is any other: it has '{names}'; look at the options for header and delimiter"
        );
        let (file, column) = (file.url().to_owned(), columns[0].in_file.clone());
        return Err(LakeError::FileColumn { file, column, why });
    }
    Ok(from)
}

fn is_new(file: &ListedFile, column: &str) -> LakeError {
    LakeError::FileColumn {
        file: file.url().to_owned(),
        column: column.to_owned(),
        why: "is new: nobody has declared it".to_owned(),
    }
}

/// Refuses a column of a file that is none of those that are wanted.
fn refuse_untaken(file: &ListedFile, schema: &Schema, from: &[Origin]) -> Result<(), LakeError> {
    let is_taken = |n: &usize| from.contains(&Origin::File(*n));
    match (0..schema.fields().len()).find(|n| !is_taken(n)) {
        Some(n) => Err(is_new(file, schema.field(n).name())),
        None => Ok(()),
    }
}

/// The same for columns within columns too.
fn refuse_new(file: &ListedFile, wanted: &Schema, found: &Schema) -> Result<(), LakeError> {
    match new_field(wanted.fields(), found.fields(), "") {
        Some(name) => Err(is_new(file, &name)),
        None => Ok(()),
    }
}

fn new_field(wanted: &Fields, found: &Fields, within: &str) -> Option<String> {
    found.iter().find_map(|field| {
        let name = format!("{within}{}", field.name());
        match wanted.iter().find(|wanted| wanted.name() == field.name()) {
            None => Some(name),
            Some(wanted) => new_within(wanted.data_type(), field.data_type(), &format!("{name}.")),
        }
    })
}

fn new_within(wanted: &DataType, found: &DataType, within: &str) -> Option<String> {
    match (wanted, found) {
        (DataType::Struct(wanted), DataType::Struct(found)) => new_field(wanted, found, within),
        (DataType::List(wanted), DataType::List(found)) => {
            new_within(wanted.data_type(), found.data_type(), within)
        }
        _ => None,
    }
}
