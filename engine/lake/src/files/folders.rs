//! Files in folders whose names say values of columns, or that count only once they are complete.
//!
//! It exists because of such files it has to be known before a plan is made which folders they are in:
//! a folder that somebody still writes into is not read, and one whose name says no value is told of.
//! Everything else is read as any other files are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, StringArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, ScalarValue, cast::as_boolean_array, project_schema},
    datasource::{
        TableType,
        file_format::FileFormat,
        listing::{PartitionedFile, helpers::expr_applicable_for_cols},
        object_store::ObjectStoreUrl,
        physical_plan::{FileGroup, FileScanConfigBuilder},
        table_schema::TableSchema,
    },
    error::Result as DataFusionResult,
    logical_expr::{Expr, TableProviderFilterPushDown, utils::conjunction},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use futures::TryStreamExt;
use model::{
    folders::FolderName,
    object::{PathColumn, Table, TableFormat},
};
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, path::Path};
use url::{Position, Url};

use super::{Reading, all_text, hashed, parquet_columns, url_of, with_null_value};
use crate::{
    error::LakeError,
    floats::Doubted,
    footers::Footers,
    hive::{NULL_FOLDER, folder_values},
    lake::Lake,
    location::path_of,
    stored_path::decoded,
};

impl Lake {
    /// The location of files whose folders have placeholders in their names, `{column}`, as a table keeps
    /// it: as [`Lake::parse_location`] has it, with the braces that were written.
    pub fn parse_folders(&self, text: &str) -> Result<String, LakeError> {
        let location = self.parse_location(text)?.replace("%7B", "{").replace("%7D", "}");
        Ok(if location.ends_with('/') { location } else { format!("{location}/") })
    }

    /// The files of a table that has folders of which something is asked, as one table: see
    /// [`Lake::files`]. `types` are those of its path columns, which come after all others. Lists the
    /// folders each time.
    ///
    /// [`LakeError::NotComplete`] where there are files and no complete folder, and
    /// [`LakeError::PathColumn`] for a folder whose name does not read as its column's type.
    pub async fn files_in_folders(
        &self,
        table: &Table,
        types: &[DataType],
        state: &dyn Session,
    ) -> Result<Arc<dyn TableProvider>, LakeError> {
        let Table { location, format, options, .. } = table;
        let reading = Reading { location, format: *format };
        let (file_format, compression) = reading.file_format(options, state)?;
        let InFolders { url, store, mut files } = self.in_folders(table).await?;
        let metas: Vec<ObjectMeta> = files.iter().map(|file| file.meta.clone()).collect();
        let extension = reading.extension(&metas, compression)?;
        // A file without a byte has no columns.
        files
            .retain(|file| file.meta.size > 0 && file.meta.location.as_ref().ends_with(&extension));
        if files.is_empty() {
            let (location, format) = (location.clone(), *format);
            return Err(LakeError::FilesNotFound { location, format });
        }
        let failed = |source| LakeError::Files {
            location: location.clone(),
            format: *format,
            source: Arc::new(source),
        };
        let of_folders = FolderColumns::of(table, types, &files)?;
        let metas: Vec<ObjectMeta> = files.iter().map(|file| file.meta.clone()).collect();
        self.register_stores(state.runtime_env());
        let types = if *format == TableFormat::Parquet {
            let store: Arc<dyn ObjectStore> = Arc::new(Footers(store));
            parquet_columns(&file_format, state, &store, &metas).await
        } else {
            file_format.infer_schema(state, &store, &metas).await
        };
        let types = types.map_err(failed)?;
        of_folders.are_new(table, &types)?;
        let null_value = options.iter().find(|(key, _)| key.eq_ignore_ascii_case("null_value"));
        let in_files = if null_value.is_some() { all_text(&types) } else { Arc::clone(&types) };
        let store = ObjectStoreUrl::parse(&url[..Position::BeforePath]).map_err(failed)?;
        let columns = TableSchema::builder(in_files)
            .with_table_partition_cols(of_folders.fields.clone())
            .build();
        let files = metas.into_iter().zip(of_folders.values).map(|(meta, values)| {
            PartitionedFile::new_from_meta(meta).with_partition_values(values)
        });
        let files = files.collect();
        let of_folders = Arc::new(Schema::new(of_folders.fields));
        let provider: Arc<dyn TableProvider> =
            Arc::new(FolderFiles { format: file_format, store, files, columns, of_folders });
        match null_value {
            _ if *format == TableFormat::Parquet => Ok(Arc::new(Doubted(provider))),
            Some((_, word)) => with_null_value(provider, &types, word).map_err(failed),
            None => Ok(provider),
        }
    }

    /// As [`Lake::files_fingerprint`], of whatever files a table reads. Those of a folder that is not
    /// complete do not count; other columns, and another marker, are another number.
    pub async fn table_fingerprint(&self, table: &Table) -> Result<i64, LakeError> {
        if !table.has_folders() {
            return self.files_fingerprint(&table.location).await;
        }
        let files = match self.in_folders(table).await {
            Err(LakeError::NotComplete { .. }) => Vec::new(),
            found => found?.files,
        };
        let columns = table.path_columns.iter();
        let columns = columns.flat_map(|column| [column.name.as_str(), column.data_type.as_str()]);
        let asked = [table.location.as_str()].into_iter().chain(columns);
        let asked: Vec<&str> = asked.chain(table.complete_when.as_deref()).collect();
        Ok(hashed(files.into_iter().map(|file| file.meta).collect(), &asked))
    }

    /// The data files of a table's folders, in order of their paths. One listing.
    async fn in_folders(&self, table: &Table) -> Result<InFolders, LakeError> {
        let location = &table.location;
        let refused = |why: String| LakeError::Location { text: location.clone(), why };
        let place = self.place(location)?;
        let has_columns = !table.path_columns.is_empty();
        if !has_columns && !location.ends_with('/') {
            let url = Url::parse(location).map_err(|error| refused(error.to_string()))?;
            if place.root_store.head(&path_of(&url)?).await.is_ok() {
                return Err(refused(
                    "it is a file, and COMPLETE WHEN is about a folder".to_owned(),
                ));
            }
        }
        let layout = match has_columns {
            true => Layout::of(table, &place.path)?,
            false => Layout { base: place.path.clone(), names: Vec::new(), columns: Vec::new() },
        };
        let url = url_of(&place.url, &layout.base);
        // The folders before the first placeholder are those that are listed.
        self.check_within(&url)?;
        let listed = place.root_store.list(Some(&layout.base)).try_collect::<Vec<_>>().await;
        let listed = match listed {
            Err(object_store::Error::NotFound { .. }) => Vec::new(),
            listed => listed
                .map_err(|source| LakeError::store("list the files", location.clone(), source))?,
        };
        let (mut files, mut complete) = (Vec::new(), BTreeSet::new());
        for meta in listed {
            let Some(found) = layout.find(meta) else { continue };
            let is_marker =
                found.within.len() == 1 && table.complete_when == found.within.first().cloned();
            if is_marker {
                complete.insert(found.folder);
            } else if !found.is_hidden {
                files.push(found);
            }
        }
        let had_files = !files.is_empty();
        if let Some(marker) = &table.complete_when {
            files.retain(|file| complete.contains(&file.folder));
            if had_files && files.is_empty() {
                let (location, marker) = (location.clone(), marker.clone());
                return Err(LakeError::NotComplete { location, marker });
            }
        }
        files.sort_by(|a, b| a.meta.location.cmp(&b.meta.location));
        Ok(InFolders { url, store: place.root_store, files })
    }
}

struct InFolders {
    /// The folder that was listed.
    url: Url,
    store: Arc<dyn ObjectStore>,
    files: Vec<FileInFolder>,
}

/// How the folders of a location are named.
struct Layout {
    /// The folders before the first placeholder.
    base: Path,
    /// The others, from the outermost on.
    names: Vec<FolderName>,
    /// For each placeholder, in their order, which path column it is.
    columns: Vec<usize>,
}

impl Layout {
    fn of(table: &Table, path: &Path) -> Result<Self, LakeError> {
        let refused = |why: String| LakeError::Location { text: table.location.clone(), why };
        let is_plain = |folder: &str| !folder.contains(['{', '}']);
        let parts = || path.parts();
        let base: Path = parts().take_while(|part| is_plain(part.as_ref())).collect();
        let names: Vec<FolderName> = parts()
            .skip_while(|part| is_plain(part.as_ref()))
            .map(|part| FolderName::parse(part.as_ref()))
            .collect::<Result<_, _>>()
            .map_err(|error| refused(error.to_string()))?;
        let mut columns = Vec::new();
        for name in names.iter().flat_map(FolderName::columns) {
            let column = table.path_columns.iter().position(|column| column.name == name);
            columns.push(column.ok_or_else(|| {
                refused(format!("the placeholder '{{{name}}}' is none of the path columns"))
            })?);
        }
        match columns.len() == table.path_columns.len() {
            true => Ok(Self { base, names, columns }),
            // A symbolic link that is named like a placeholder has become the folder that it leads to.
            false => Err(refused("a path column has no placeholder there".to_owned())),
        }
    }

    /// Where an object is; nothing for one that is in no folder of these names.
    fn find(&self, meta: ObjectMeta) -> Option<FileInFolder> {
        let mut parts = meta.location.prefix_match(&self.base)?;
        let mut folder: Vec<String> = Vec::with_capacity(self.names.len());
        let mut texts: Vec<(usize, Option<String>)> = Vec::with_capacity(self.columns.len());
        let (mut columns, mut is_hidden) = (self.columns.iter(), false);
        for name in &self.names {
            let part = parts.next()?;
            let part = part.as_ref();
            for (value, column) in name.values(part)?.into_iter().zip(columns.by_ref()) {
                let value = (value != NULL_FOLDER).then(|| decoded(value).into_owned());
                texts.push((*column, value));
            }
            is_hidden |= name.begins_with_placeholder() && hides(part);
            folder.push(part.to_owned());
        }
        let within: Vec<String> = parts.map(|part| part.as_ref().to_owned()).collect();
        if within.is_empty() || is_hidden {
            return None;
        }
        texts.sort_by_key(|(column, _)| *column);
        let values = texts.into_iter().map(|(_, value)| value).collect();
        let is_hidden = within.iter().any(|part| hides(part));
        Some(FileInFolder { meta, folder, within, values, is_hidden })
    }
}

/// By the custom of all engines; what an absent value is called is none of it.
fn hides(name: &str) -> bool {
    name.starts_with(['_', '.']) && !name.contains('=') && name != NULL_FOLDER
}

struct FileInFolder {
    meta: ObjectMeta,
    /// The folders that the location names, after those before its first placeholder.
    folder: Vec<String>,
    /// Where it is in there.
    within: Vec<String>,
    /// What the folders say of each path column.
    values: Vec<Option<String>>,
    is_hidden: bool,
}

/// The columns that folders say values of, and those of each file.
struct FolderColumns {
    fields: Vec<FieldRef>,
    /// How many of them are named by the folders themselves, `column=value`. They come first.
    named: usize,
    values: Vec<Vec<ScalarValue>>,
}

impl FolderColumns {
    fn of(table: &Table, types: &[DataType], files: &[FileInFolder]) -> Result<Self, LakeError> {
        let names_of = |file: &FileInFolder| -> Vec<String> {
            folder_values(&file.within.join("/")).into_iter().map(|(name, _)| name).collect()
        };
        let named = files.first().map(names_of).unwrap_or_default();
        if let Some(other) = files.iter().find(|file| names_of(file) != named) {
            let why = format!(
                "the folders of its files are not all named by the same columns: '{}' is not in folders '{}'",
                other.meta.location,
                named.iter().map(|name| format!("{name}=…")).collect::<Vec<_>>().join("/")
            );
            return Err(LakeError::Location { text: table.location.clone(), why });
        }
        let text = |name: &String| Arc::new(Field::new(name, DataType::Utf8, true));
        let mut fields: Vec<FieldRef> = named.iter().map(text).collect();
        for (column, data_type) in table.path_columns.iter().zip(types) {
            fields.push(Arc::new(Field::new(&column.name, data_type.clone(), true)));
        }
        let mut known: BTreeMap<&[String], Vec<ScalarValue>> = BTreeMap::new();
        let mut values = Vec::with_capacity(files.len());
        for file in files {
            let of_path = match known.get(file.folder.as_slice()) {
                Some(of_path) => of_path.clone(),
                None => {
                    let of_path = path_values(table, types, file)?;
                    known.insert(&file.folder, of_path.clone());
                    of_path
                }
            };
            let of_file = folder_values(&file.within.join("/")).into_iter();
            let of_file = of_file.map(|(_, value)| ScalarValue::Utf8(value));
            values.push(of_file.chain(of_path).collect());
        }
        Ok(Self { fields, named: named.len(), values })
    }

    /// Refuses a path column whose name another column has.
    fn are_new(&self, table: &Table, in_files: &Schema) -> Result<(), LakeError> {
        let (named, of_path) = self.fields.split_at(self.named);
        let is_taken = |field: &&FieldRef| {
            in_files.field_with_name(field.name()).is_ok()
                || named.iter().any(|other| other.name() == field.name())
        };
        match of_path.iter().find(is_taken) {
            None => Ok(()),
            Some(field) => Err(LakeError::PathColumn {
                location: table.location.clone(),
                column: field.name().clone(),
                why: "the files have a column of this name themselves; give the path column, and its \
                      placeholder, another name"
                    .to_owned(),
            }),
        }
    }
}

/// What the folders of a file say, as values of the path columns.
fn path_values(
    table: &Table,
    types: &[DataType],
    file: &FileInFolder,
) -> Result<Vec<ScalarValue>, LakeError> {
    let columns = table.path_columns.iter().zip(types).zip(&file.values);
    let value = |((column, data_type), text): ((&PathColumn, &DataType), &Option<String>)| {
        let read = match text {
            None => ScalarValue::try_from(data_type).ok(),
            Some(text) => exactly(text, data_type),
        };
        read.ok_or_else(|| LakeError::PathColumn {
            location: table.location.clone(),
            column: column.name.clone(),
            why: format!(
                "the folder '{}' says '{}', which does not read as {}; rename the folder, move it away, \
                 or declare the column with another type: STRING takes every name",
                file.folder.join("/"),
                text.as_deref().unwrap_or_default(),
                column.data_type
            ),
        })
    };
    columns.map(value).collect()
}

/// A text as a value of a type; nothing where it reads as none, or as another one only.
fn exactly(text: &str, data_type: &DataType) -> Option<ScalarValue> {
    if data_type.is_string() {
        return ScalarValue::from(text).cast_to(data_type).ok();
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let one: ArrayRef = Arc::new(StringArray::from(vec![text]));
    let cast = |data_type: &DataType| cast_with_options(&one, data_type, &options).ok();
    let read = cast(data_type)?;
    if let DataType::Decimal128(..) = data_type {
        // Digits that have no place would be rounded away.
        let wide = DataType::Decimal256(76, 37);
        let kept = cast_with_options(&read, &wide, &options).ok()?;
        if cast(&wide)?.as_ref() != kept.as_ref() {
            return None;
        }
    }
    ScalarValue::try_from_array(&read, 0).ok().filter(|value| !value.is_null())
}

/// A table of files in folders.
#[derive(Debug)]
struct FolderFiles {
    format: Arc<dyn FileFormat>,
    store: ObjectStoreUrl,
    files: Vec<PartitionedFile>,
    columns: TableSchema,
    /// The columns that folders say values of.
    of_folders: SchemaRef,
}

impl FolderFiles {
    /// The files that may have a row of these conditions.
    fn left(
        &self,
        session: &dyn Session,
        filters: &[Expr],
    ) -> DataFusionResult<Vec<PartitionedFile>> {
        let names: Vec<&str> =
            self.of_folders.fields().iter().map(|field| field.name().as_str()).collect();
        let about = filters.iter().filter(|filter| expr_applicable_for_cols(&names, filter));
        let condition = conjunction(about.cloned()).filter(|_| !names.is_empty());
        let Some(condition) = condition else { return Ok(self.files.clone()) };
        let values = (0..names.len()).map(|column| {
            let of_column = self.files.iter().map(|file| file.partition_values[column].clone());
            ScalarValue::iter_to_array(of_column)
        });
        let values = values.collect::<DataFusionResult<Vec<_>>>()?;
        let rows = RecordBatch::try_new(Arc::clone(&self.of_folders), values)?;
        let columns = DFSchema::try_from(Arc::clone(&self.of_folders))?;
        // What fails here may be about a folder that another condition leaves out: the rows tell.
        let kept = session
            .create_physical_expr(condition, &columns)
            .and_then(|condition| condition.evaluate(&rows))
            .and_then(|kept| kept.into_array(rows.num_rows()));
        let Ok(kept) = kept else { return Ok(self.files.clone()) };
        let kept = as_boolean_array(&kept)?;
        let is_kept = |(n, _): &(usize, &PartitionedFile)| kept.is_valid(*n) && kept.value(*n);
        Ok(self.files.iter().enumerate().filter(is_kept).map(|(_, file)| file.clone()).collect())
    }
}

#[async_trait]
impl TableProvider for FolderFiles {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.columns.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let files = self.left(session, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema(), projection)?)));
        }
        let groups = FileGroup::new(files).split_files(session.config().target_partitions());
        let source = self.format.file_source(self.columns.clone());
        let config = FileScanConfigBuilder::new(self.store.clone(), source)
            .with_file_groups(groups)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.format.create_physical_plan(session, config).await
    }
}
