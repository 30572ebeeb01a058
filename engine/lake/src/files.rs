//! Plain Parquet, CSV and JSON files as tables that can be read.

mod columns;
mod folders;
mod listed;
mod one_by_one;

use std::{collections::BTreeSet, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    catalog::{Session, TableProvider},
    common::{
        DataFusionError, GetExt,
        config::{CsvOptions, JsonOptions, TableParquetOptions},
    },
    datasource::{
        ViewTable,
        file_format::{
            FileFormat, csv::CsvFormat, file_compression_type::FileCompressionType,
            json::JsonFormat, parquet::ParquetFormat,
        },
        listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl},
        provider_as_source,
    },
    functions::expr_fn::nullif,
    logical_expr::LogicalPlanBuilder,
    prelude::{cast, ident, lit},
};
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use model::object::{Properties, TableFormat};
use object_store::{
    ObjectMeta, ObjectStore, ObjectStoreExt,
    path::{Path, PathPart},
};
use url::Url;

pub use self::{
    columns::{FileColumn, FilesReading, NewColumns},
    listed::{ListedFile, ListedFiles},
    one_by_one::{FilesScan, FilesTable, metadata_type},
};
use crate::{
    error::LakeError,
    floats::Doubted,
    footers::Footers,
    lake::Lake,
    location::{Place, path_of},
};

const CSV_OPTIONS: &str = "header, delimiter, quote, escape, comment, null_value, \
                           newlines_in_values, compression, schema_infer_max_records";
const JSON_OPTIONS: &str = "compression, schema_infer_max_records";

impl Lake {
    /// Files as one table: a single file, all files of a folder and its subfolders, or those that a
    /// pattern matches. Folders of a folder that are named `column=value` become columns of type
    /// text. Columns are inferred from the files. Options that the format does not have are
    /// refused. Lists the folder each time.
    pub async fn files(
        &self,
        location: &str,
        format: TableFormat,
        options: &Properties,
        state: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>, LakeError> {
        let reading = Reading { location, format };
        let (file_format, compression) = reading.file_format(options, state)?;
        let files = self.list_files(location).await?;
        if files.metas.is_empty() {
            return Err(LakeError::FilesNotFound { location: location.to_owned(), format });
        }
        let extension = match &files.named {
            Named::File(_) | Named::Matching(_) => String::new(),
            Named::Folder(_) => reading.extension(&files.metas, compression)?,
        };
        self.register_stores(state.runtime_env());
        let failed = |source| LakeError::Files {
            location: location.to_owned(),
            format,
            source: Arc::new(source),
        };
        let mut listing =
            ListingOptions::new(Arc::clone(&file_format)).with_file_extension(extension.clone());
        let is_parquet = format == TableFormat::Parquet;
        let store: Arc<dyn ObjectStore> =
            if is_parquet { Arc::new(Footers(files.store)) } else { files.store };
        // A file without a byte has no columns.
        let mut metas = files.metas;
        metas.retain(|meta| meta.size > 0 && meta.location.as_ref().ends_with(&extension));
        let read_by = |url| ListingTableUrl::try_new(url, None).map_err(failed);
        let (urls, types) = match files.named {
            Named::File(url) => {
                let url = read_by(url)?;
                let types = match is_parquet {
                    true => parquet_columns(&file_format, state, &store, &metas).await,
                    false => listing.infer_schema(state, &url).await,
                };
                (vec![url], types)
            }
            Named::Folder(url) => {
                let url = read_by(url)?;
                let columns = listing.infer_partitions(state, &url).await.map_err(failed)?;
                let columns = columns.into_iter().map(|name| (name, DataType::Utf8)).collect();
                listing = listing.with_table_partition_cols(columns);
                let types = match is_parquet {
                    true => parquet_columns(&file_format, state, &store, &metas).await,
                    false => listing.infer_schema(state, &url).await,
                };
                (vec![url], types)
            }
            Named::Matching(urls) => {
                let urls = urls.into_iter().map(read_by).collect::<Result<Vec<_>, _>>()?;
                let types = match is_parquet {
                    true => parquet_columns(&file_format, state, &store, &metas).await,
                    false => file_format.infer_schema(state, &store, &metas).await,
                };
                (urls, types)
            }
        };
        let types = types.map_err(failed)?;
        let null_value = options.iter().find(|(key, _)| key.eq_ignore_ascii_case("null_value"));
        let schema = if null_value.is_some() { all_text(&types) } else { Arc::clone(&types) };
        let config = ListingTableConfig::new_with_multi_paths(urls)
            .with_listing_options(listing)
            .with_schema(schema);
        let table = ListingTable::try_new(config).map_err(failed)?;
        let cache = state.runtime_env().cache_manager.get_file_statistic_cache();
        let mut table: Arc<dyn TableProvider> = Arc::new(table.with_cache(cache));
        if format == TableFormat::Parquet {
            table = Arc::new(Doubted(table));
        }
        match null_value {
            Some((_, word)) => with_null_value(table, &types, word).map_err(failed),
            None => Ok(table),
        }
    }

    /// A number that changes when a file is added, removed or written again. Never negative, the
    /// same in every process. Lists the folder each time.
    pub async fn files_fingerprint(&self, location: &str) -> Result<i64, LakeError> {
        Ok(hashed(self.list_files(location).await?.metas, &[]))
    }

    /// All data files at a location; none when there is nothing.
    async fn list_files(&self, location: &str) -> Result<Files, LakeError> {
        let folder = self.place(location)?;
        let failed = |source| LakeError::store("list the files", location.to_owned(), source);
        if !location.ends_with('/') {
            let url = Url::parse(location).map_err(|e| LakeError::Location {
                text: location.to_owned(),
                why: e.to_string(),
            })?;
            match folder.root_store.head(&path_of(&url)?).await {
                Ok(meta) => {
                    let store = folder.root_store;
                    return Ok(Files { named: Named::File(url), metas: vec![meta], store });
                }
                Err(object_store::Error::NotFound { .. }) => {}
                // A local folder is no file; it may still be listed.
                Err(_) if folder.local().is_some_and(|path| path.is_dir()) => {}
                Err(source) => return Err(failed(source)),
            }
            // After the file: a name may hold such characters itself.
            if let Some(pattern) = Wildcards::of(location, &folder.path)? {
                let mut metas = listed(&folder, &pattern.folder).await.map_err(failed)?;
                metas.retain(|meta| pattern.matches(&meta.location));
                // So that columns have the same order each time.
                metas.sort_by(|a, b| a.location.cmp(&b.location));
                let urls = metas.iter().map(|meta| url_of(&folder.url, &meta.location));
                let named = Named::Matching(urls.collect());
                return Ok(Files { named, metas, store: folder.root_store });
            }
        }
        let metas = listed(&folder, &folder.path).await.map_err(failed)?;
        Ok(Files { named: Named::Folder(folder.url), metas, store: folder.root_store })
    }
}

struct Files {
    named: Named,
    metas: Vec<ObjectMeta>,
    store: Arc<dyn ObjectStore>,
}

/// What a location names.
enum Named {
    File(Url),
    Folder(Url),
    /// The files that a pattern matches.
    Matching(Vec<Url>),
}

/// All data files under a folder; none when there is no folder.
async fn listed(place: &Place, folder: &Path) -> Result<Vec<ObjectMeta>, object_store::Error> {
    let metas = place
        .root_store
        .list(Some(folder))
        .try_filter(|meta| std::future::ready(is_data(folder, meta)))
        .try_collect()
        .await;
    match metas {
        Err(object_store::Error::NotFound { .. }) => Ok(Vec::new()),
        metas => metas,
    }
}

/// The URL of a path in the store of another one.
fn url_of(other: &Url, path: &Path) -> Url {
    let mut url = other.clone();
    // Fails only for URLs that can have no path, and the other one has one.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.clear().extend(path.parts().map(|part| part.as_ref().to_owned()));
    }
    url
}

/// A location with `*`, `?` or `[…]` in it. The folders before the first of them are those that it was
/// checked to be inside of the lake by: a pattern never leads out of them.
struct Wildcards {
    folder: Path,
    pattern: Pattern,
}

impl Wildcards {
    fn of(location: &str, path: &Path) -> Result<Option<Self>, LakeError> {
        let is_wild = |part: &PathPart<'_>| part.as_ref().contains(['*', '?', '[']);
        if !path.parts().any(|part| is_wild(&part)) {
            return Ok(None);
        }
        let pattern = Pattern::new(path.as_ref()).map_err(|error| LakeError::Location {
            text: location.to_owned(),
            why: format!("it is no pattern of files: {}", error.msg),
        })?;
        let folder = path.parts().take_while(|part| !is_wild(part)).collect();
        Ok(Some(Self { folder, pattern }))
    }

    fn matches(&self, path: &Path) -> bool {
        let options = MatchOptions {
            case_sensitive: true,
            // Only `**` goes into folders.
            require_literal_separator: true,
            require_literal_leading_dot: true,
        };
        self.pattern.matches_with(path.as_ref(), options)
    }
}

/// The same columns as the files have them before anything is parsed.
fn all_text(types: &SchemaRef) -> SchemaRef {
    let fields = types.fields().iter().map(|field| Field::new(field.name(), DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Reads text, takes one word for NULL, and then the types. The CSV reader itself knows the word
/// only while it infers the types.
fn with_null_value(
    table: Arc<dyn TableProvider>,
    types: &SchemaRef,
    word: &str,
) -> datafusion::error::Result<Arc<dyn TableProvider>> {
    let columns = table.schema();
    let columns = columns.fields().iter().map(|column| {
        let name = column.name();
        match types.field_with_name(name) {
            Ok(field) => {
                // A column of nothing but the word has no type of its own.
                let data_type = match field.data_type() {
                    DataType::Null => DataType::Utf8,
                    known => known.clone(),
                };
                cast(nullif(ident(name), lit(word)), data_type).alias(name)
            }
            Err(_) => ident(name),
        }
    });
    let columns: Vec<_> = columns.collect();
    let plan = LogicalPlanBuilder::scan("files", provider_as_source(table), None)?
        .project(columns)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}

/// Files and folders that begin with `_` or `.` hold no rows, by the custom of all engines.
fn is_data(folder: &Path, meta: &ObjectMeta) -> bool {
    let Some(mut parts) = meta.location.prefix_match(folder) else { return false };
    let hidden = |name: &str| name.starts_with(['_', '.']) && !name.contains('=');
    !parts.any(|part| hidden(part.as_ref()))
}

/// What is read, for errors.
#[derive(Clone, Copy)]
struct Reading<'a> {
    location: &'a str,
    format: TableFormat,
}

impl Reading<'_> {
    fn refused(&self, option: &str, why: impl Into<String>) -> LakeError {
        LakeError::FileOption {
            location: self.location.to_owned(),
            format: self.format,
            option: option.to_owned(),
            why: why.into(),
        }
    }

    fn file_format(
        &self,
        options: &Properties,
        state: &dyn Session,
    ) -> Result<(Arc<dyn FileFormat>, FileCompressionType), LakeError> {
        match self.format {
            TableFormat::Parquet => {
                if let Some(option) = options.keys().next() {
                    return Err(self.refused(option, "is not known; Parquet files have no options"));
                }
                let options = state.table_options().parquet.clone();
                let format = ParquetFormat::default().with_options(options);
                Ok((Arc::new(format), FileCompressionType::UNCOMPRESSED))
            }
            TableFormat::Csv => self.csv(options),
            TableFormat::Json => self.json(options),
            TableFormat::Delta => {
                Err(self.refused("format", "a Delta table is not read as plain files"))
            }
        }
    }

    fn csv(
        &self,
        options: &Properties,
    ) -> Result<(Arc<dyn FileFormat>, FileCompressionType), LakeError> {
        let mut csv = CsvOptions { has_header: Some(true), ..CsvOptions::default() };
        let mut compression = FileCompressionType::UNCOMPRESSED;
        for (option, value) in options {
            match option.to_ascii_lowercase().as_str() {
                "header" | "has_header" => csv.has_header = Some(self.flag(option, value)?),
                "delimiter" | "sep" => csv.delimiter = self.byte(option, value)?,
                "quote" => csv.quote = self.byte(option, value)?,
                "escape" => csv.escape = Some(self.byte(option, value)?),
                "comment" => csv.comment = Some(self.byte(option, value)?),
                "null_value" => csv.null_regex = Some(exactly(value)),
                "newlines_in_values" => {
                    csv.newlines_in_values = Some(self.flag(option, value)?);
                }
                "compression" => compression = self.compression(option, value)?,
                "schema_infer_max_records" => {
                    csv.schema_infer_max_rec = Some(self.count(option, value)?);
                }
                _ => {
                    return Err(
                        self.refused(option, format!("is not known; known are {CSV_OPTIONS}"))
                    );
                }
            }
        }
        csv.compression = compression.get_variant().to_owned();
        Ok((Arc::new(CsvFormat::default().with_options(csv)), compression))
    }

    fn json(
        &self,
        options: &Properties,
    ) -> Result<(Arc<dyn FileFormat>, FileCompressionType), LakeError> {
        let mut json = JsonOptions::default();
        let mut compression = FileCompressionType::UNCOMPRESSED;
        for (option, value) in options {
            match option.to_ascii_lowercase().as_str() {
                "compression" => compression = self.compression(option, value)?,
                "schema_infer_max_records" => {
                    json.schema_infer_max_rec = Some(self.count(option, value)?);
                }
                _ => {
                    return Err(
                        self.refused(option, format!("is not known; known are {JSON_OPTIONS}"))
                    );
                }
            }
        }
        json.compression = compression.get_variant().to_owned();
        Ok((Arc::new(JsonFormat::default().with_options(json)), compression))
    }

    /// The one ending that the folder's files have, out of those that the format has.
    fn extension(
        &self,
        metas: &[ObjectMeta],
        compression: FileCompressionType,
    ) -> Result<String, LakeError> {
        let endings: &[&str] = match self.format {
            TableFormat::Parquet => &[".parquet", ".parq", ".pq"],
            TableFormat::Csv => &[".csv", ".tsv", ".txt"],
            TableFormat::Json => &[".json", ".ndjson", ".jsonl"],
            TableFormat::Delta => &[],
        };
        let compressed = compression.get_ext();
        let found: BTreeSet<String> = endings
            .iter()
            .map(|ending| format!("{ending}{compressed}"))
            .filter(|ending| metas.iter().any(|meta| meta.location.as_ref().ends_with(ending)))
            .collect();
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Err(LakeError::FilesNotFound {
                location: self.location.to_owned(),
                format: self.format,
            }),
            (Some(one), None) => Ok(one),
            (Some(one), Some(other)) => Err(self.refused(
                "location",
                format!(
                    "the folder has files ending in {one} and in {other}; keep them in two folders"
                ),
            )),
        }
    }

    fn flag(&self, option: &str, value: &str) -> Result<bool, LakeError> {
        match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(self.refused(option, format!("must be 'true' or 'false', not '{value}'"))),
        }
    }

    fn byte(&self, option: &str, value: &str) -> Result<u8, LakeError> {
        match value.as_bytes() {
            [byte] => Ok(*byte),
            b"\\t" => Ok(b'\t'),
            _ => Err(self.refused(option, format!("must be one plain character, not '{value}'"))),
        }
    }

    fn count(&self, option: &str, value: &str) -> Result<usize, LakeError> {
        value.parse().map_err(|_| self.refused(option, format!("must be a number, not '{value}'")))
    }

    fn compression(&self, option: &str, value: &str) -> Result<FileCompressionType, LakeError> {
        match value.to_ascii_lowercase().as_str() {
            "none" | "uncompressed" => Ok(FileCompressionType::UNCOMPRESSED),
            "gzip" | "gz" => Ok(FileCompressionType::GZIP),
            "zstd" | "zst" => Ok(FileCompressionType::ZSTD),
            "bzip2" | "bz2" => Ok(FileCompressionType::BZIP2),
            "xz" => Ok(FileCompressionType::XZ),
            _ => Err(self
                .refused(option, format!("must be none, gzip, zstd, bzip2 or xz, not '{value}'"))),
        }
    }
}

/// The options with the compression that a name such as `a.csv.gz` asks for, unless they have one.
fn compressed_by_ending(location: &str, format: TableFormat, options: &Properties) -> Properties {
    let mut options = options.clone();
    let has_one = options.keys().any(|option| option.eq_ignore_ascii_case("compression"));
    let ending = location.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    if let Some(ending) = ending.filter(|_| format != TableFormat::Parquet && !has_one)
        && matches!(ending.as_str(), "gz" | "zst" | "bz2" | "xz")
    {
        options.insert("compression".to_owned(), ending);
    }
    options
}

/// The format of files that are to be written, and the ending of their names.
pub(crate) fn written_format(
    location: &str,
    format: TableFormat,
    options: &Properties,
) -> Result<(Arc<dyn FileFormat>, String), LakeError> {
    let writing = Reading { location, format };
    let options = &compressed_by_ending(location, format, options);
    let (file_format, compression) = match format {
        TableFormat::Parquet => {
            (writing.written_parquet(options)?, FileCompressionType::UNCOMPRESSED)
        }
        TableFormat::Csv => writing.written_csv(options)?,
        TableFormat::Json => writing.written_json(options)?,
        TableFormat::Delta => return Err(writing.refused("format", "COPY writes plain files")),
    };
    let ending = format.as_sql().to_lowercase();
    Ok((file_format, format!("{ending}{}", compression.get_ext())))
}

impl Reading<'_> {
    fn written_parquet(&self, options: &Properties) -> Result<Arc<dyn FileFormat>, LakeError> {
        let mut parquet = TableParquetOptions::default();
        // How texts lie in memory here is nothing that a reader should be told.
        parquet.global.skip_arrow_metadata = true;
        for (option, value) in options {
            if !option.eq_ignore_ascii_case("compression") {
                return Err(self.refused(option, "is not known; known is compression"));
            }
            let codec = match value.to_ascii_lowercase().as_str() {
                "none" | "uncompressed" => "uncompressed",
                "snappy" => "snappy",
                "zstd" => "zstd(3)",
                "gzip" => "gzip(6)",
                "lz4" => "lz4_raw",
                _ => {
                    let why = format!("must be zstd, snappy, gzip, lz4 or none, not '{value}'");
                    return Err(self.refused(option, why));
                }
            };
            parquet.global.compression = Some(codec.to_owned());
        }
        Ok(Arc::new(ParquetFormat::default().with_options(parquet)))
    }

    fn written_csv(
        &self,
        options: &Properties,
    ) -> Result<(Arc<dyn FileFormat>, FileCompressionType), LakeError> {
        const KNOWN: &str = "header, delimiter, quote, null_value, compression";
        let mut csv = CsvOptions { has_header: Some(true), ..CsvOptions::default() };
        let mut compression = FileCompressionType::UNCOMPRESSED;
        for (option, value) in options {
            match option.to_ascii_lowercase().as_str() {
                "header" | "has_header" => csv.has_header = Some(self.flag(option, value)?),
                "delimiter" | "sep" => csv.delimiter = self.byte(option, value)?,
                "quote" => csv.quote = self.byte(option, value)?,
                // The writer leaves an escape within a text as it is, so nobody could read it back.
                "escape" => {
                    let why = "is for reading: a quote within a text is written twice";
                    return Err(self.refused(option, why));
                }
                "null_value" => csv.null_value = Some(value.clone()),
                "compression" => compression = self.compression(option, value)?,
                _ => return Err(self.refused(option, format!("is not known; known are {KNOWN}"))),
            }
        }
        csv.compression = compression.get_variant().to_owned();
        Ok((Arc::new(CsvFormat::default().with_options(csv)), compression))
    }

    fn written_json(
        &self,
        options: &Properties,
    ) -> Result<(Arc<dyn FileFormat>, FileCompressionType), LakeError> {
        let mut json = JsonOptions::default();
        let mut compression = FileCompressionType::UNCOMPRESSED;
        for (option, value) in options {
            if !option.eq_ignore_ascii_case("compression") {
                return Err(self.refused(option, "is not known; known is compression"));
            }
            compression = self.compression(option, value)?;
        }
        json.compression = compression.get_variant().to_owned();
        Ok((Arc::new(JsonFormat::default().with_options(json)), compression))
    }
}

/// The columns of Parquet files, all of which have some bytes.
async fn parquet_columns(
    format: &Arc<dyn FileFormat>,
    state: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
) -> Result<SchemaRef, DataFusionError> {
    match format.infer_schema(state, store, files).await {
        Err(_) => merged(format, state, store, files).await,
        columns => columns,
    }
}

/// The columns of files that do not agree about how texts and bytes lie in memory, which each tells of
/// who wrote it: as plain ones.
async fn merged(
    format: &Arc<dyn FileFormat>,
    state: &dyn Session,
    store: &Arc<dyn ObjectStore>,
    files: &[ObjectMeta],
) -> Result<SchemaRef, DataFusionError> {
    let mut schemas = Vec::new();
    for file in files {
        let schema = format.infer_schema(state, store, std::slice::from_ref(file)).await?;
        let fields = schema.fields().iter().map(|field| {
            let plain = match field.data_type() {
                DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
                DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
                other => other.clone(),
            };
            field.as_ref().clone().with_data_type(plain)
        });
        schemas.push(Schema::new(fields.collect::<Vec<_>>()));
    }
    Ok(Arc::new(Schema::try_merge(schemas)?))
}

/// A regular expression that matches this text and no other.
fn exactly(text: &str) -> String {
    let mut pattern = String::from("^");
    for c in text.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('$');
    pattern
}

/// The fingerprint of files, and of texts that say how they are read.
fn hashed(mut metas: Vec<ObjectMeta>, texts: &[&str]) -> i64 {
    metas.sort_by(|a, b| a.location.cmp(&b.location));
    let mut hash = Fnv::new();
    for meta in metas {
        hash.add(meta.location.as_ref().as_bytes());
        hash.add(&meta.size.to_le_bytes());
        hash.add(&meta.last_modified.timestamp_micros().to_le_bytes());
        hash.add(meta.e_tag.unwrap_or_default().as_bytes());
    }
    texts.iter().for_each(|text| hash.add(text.as_bytes()));
    hash.positive()
}

/// FNV-1a, written out because a stored fingerprint must mean the same in every later version.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn positive(&self) -> i64 {
        i64::try_from(self.0 >> 1).unwrap_or(i64::MAX)
    }
}
