//! Rows of some data files, of whichever versions of a table, for plans.
//!
//! It exists for those who need other rows than those of one version: what came and what went
//! between two versions, and what a statement has staged. It never looks into a log.

use std::{collections::HashSet, fmt, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{ScalarValue, Statistics, ToDFSchema, config::TableParquetOptions, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        object_store::ObjectStoreUrl,
        physical_plan::{
            FileGroup, FileScanConfigBuilder, ParquetSource,
            parquet::CachedParquetFileReaderFactory,
        },
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::Result as DataFusionResult,
    execution::runtime_env::RuntimeEnv,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_expr::expressions::{col, in_list, lit},
    physical_plan::{
        ExecutionPlan, PhysicalExpr, empty::EmptyExec, filter::FilterExecBuilder, union::UnionExec,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, path::Path};
use serde_json::Value;
use url::Position;

use crate::{
    data_files::DataFiles,
    deletion_vector::DeletionVector,
    error::LakeError,
    feed::{CHANGE_TYPE, told::Rows},
    held::HeldFiles,
    hive::partition_value,
    lake::Lake,
    location::Place,
    parquet_scan::{nullable, options_of},
    rows::external,
    scan::TableScan,
    snapshot::Snapshot,
    staging::StagingArea,
};

/// Files that are asked for at the same time.
const FILES_AT_ONCE: usize = 16;

/// Which rows of a file are meant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meant {
    All,
    /// Those that the vector does not mark.
    Unmarked(DeletionVector),
    /// Those that the first vector marks, and the second does not.
    Marked(DeletionVector, Option<DeletionVector>),
}

/// A data file and which of its rows are meant.
#[derive(Debug, Clone)]
pub(crate) struct StoredFile {
    /// Where it is in the table's folder.
    pub(crate) within: Path,
    pub(crate) size: u64,
    /// The version that brought it, or took it away.
    pub(crate) version: i64,
    /// In the order of the partitioning, of the types of the rows.
    partition_values: Vec<ScalarValue>,
    meant: Meant,
    /// Rows in the file; `None` when the log does not tell.
    all: Option<u64>,
}

impl StoredFile {
    /// Rows that are meant; `None` when the log does not tell.
    pub(crate) fn rows(&self) -> Option<u64> {
        match &self.meant {
            Meant::All => self.all,
            Meant::Unmarked(vector) => self.all.map(|rows| rows.saturating_sub(vector.rows())),
            Meant::Marked(vector, but) => {
                let but = but.as_ref().map_or(0, DeletionVector::rows);
                Some(vector.rows().saturating_sub(but))
            }
        }
    }

    /// Bytes of the rows that are meant, about.
    pub(crate) fn bytes(&self) -> u64 {
        match (self.rows(), self.all) {
            (Some(rows), Some(all)) if rows < all => {
                u64::try_from(u128::from(self.size) * u128::from(rows) / u128::from(all))
                    .unwrap_or(self.size)
            }
            _ => self.size,
        }
    }

    /// What marks rows of the file, in a version that it is part of.
    pub(crate) fn vector(&self) -> Option<&DeletionVector> {
        match &self.meant {
            Meant::All => None,
            Meant::Unmarked(vector) | Meant::Marked(vector, _) => Some(vector),
        }
    }

    /// Whether only rows are meant that are marked.
    pub(crate) fn is_part(&self) -> bool {
        matches!(self.meant, Meant::Marked(..))
    }

    /// Whether another one means the same rows, of the same file.
    pub(crate) fn means_the_same(&self, other: &Self) -> bool {
        self.within == other.within && self.meant == other.meant
    }

    pub(crate) fn with(self, meant: Meant) -> Self {
        Self { meant, ..self }
    }
}

/// What the rows of files have in common.
#[derive(Clone)]
pub(crate) struct Folder {
    lake: Lake,
    pub(crate) place: Place,
    pub(crate) schema: SchemaRef,
    partitioned_by: Vec<String>,
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Folder").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Folder {
    pub(crate) fn new(
        lake: &Lake,
        place: &Place,
        schema: SchemaRef,
        partitioned_by: &[String],
    ) -> Self {
        let (lake, place) = (lake.clone(), place.clone());
        Self { lake, place, schema, partitioned_by: partitioned_by.to_vec() }
    }

    /// A file as an action of the log describes it.
    pub(crate) fn of_action(&self, action: &Value, version: i64) -> Result<StoredFile, LakeError> {
        let broken = |why: String| LakeError::BrokenLog {
            location: self.place.text(),
            source: Arc::<dyn std::error::Error + Send + Sync>::from(Box::from(format!(
                "version {version}: {why}"
            ))),
        };
        let path = action.get("path").and_then(Value::as_str).unwrap_or_default();
        if path.is_empty() || path.contains("://") || path.starts_with('/') {
            return Err(self.elsewhere());
        }
        let within = Path::from_url_path(path).map_err(|error| broken(error.to_string()))?;
        let size = action.get("size").and_then(Value::as_u64);
        let size = size.ok_or_else(|| broken(format!("'{path}' has no size")))?;
        let values = action.get("partitionValues").filter(|values| values.is_object());
        if values.is_none() && !self.partitioned_by.is_empty() {
            return Err(broken(format!("'{path}' has no partition values")));
        }
        let mut partition_values = Vec::with_capacity(self.partitioned_by.len());
        for (name, data_type) in self.partitions() {
            let value = values.and_then(|values| values.get(&name)).and_then(Value::as_str);
            let value = partition_value(value, &data_type);
            let value = value.map_err(|error| broken(format!("partition '{name}': {error}")))?;
            partition_values.push(value);
        }
        let meant = match marks(action) {
            Marks::None => Meant::All,
            Marks::Some(vector) => Meant::Unmarked(vector),
            Marks::Odd => {
                return Err(broken(format!(
                    "'{path}' has a deletion vector that is not described"
                )));
            }
        };
        let all = records(action);
        Ok(StoredFile { within, size, version, partition_values, meant, all })
    }

    /// A file of a version.
    pub(crate) fn of_version(
        &self,
        files: &DataFiles,
        file: usize,
        version: i64,
    ) -> Result<StoredFile, LakeError> {
        let failed =
            |error| LakeError::Query { location: self.place.text(), source: Arc::new(error) };
        let within = files.path(file)?;
        let values = files.partition_values(file).map_err(failed)?;
        let values = values.iter().zip(self.partitions());
        let partition_values = values
            .map(|(value, (_, data_type))| value.cast_to(&data_type))
            .collect::<DataFusionResult<_>>()
            .map_err(failed)?;
        let meant = files.deletion_vector(file).map_or(Meant::All, Meant::Unmarked);
        let (size, all) = (files.size(file), files.rows(file));
        Ok(StoredFile { within, size, version, partition_values, meant, all })
    }

    fn elsewhere(&self) -> LakeError {
        LakeError::Unsupported {
            location: self.place.text(),
            feature: "data files outside of the table's folder (shallow clone)".to_owned(),
            access: "read single files of",
        }
    }

    fn partitions(&self) -> impl Iterator<Item = (String, DataType)> {
        self.partitioned_by.iter().filter_map(|name| {
            let field = self.schema.field_with_name(name).ok()?;
            Some((name.clone(), field.data_type().clone()))
        })
    }

    /// The columns as a reader of the files has them: stored ones, then values that all rows of a
    /// file have.
    fn file_schema(&self, more: Option<FieldRef>) -> TableSchema {
        let is_partition = |field: &FieldRef| self.partitioned_by.contains(field.name());
        let (mut constant, mut stored): (Vec<_>, Vec<_>) =
            nullable(self.schema.fields()).into_iter().partition(is_partition);
        let place = |field: &FieldRef| self.partitioned_by.iter().position(|n| n == field.name());
        // In the order of the partitioning, as the values of each file are.
        constant.sort_by_key(place);
        stored.extend(more);
        TableSchema::builder(Arc::new(Schema::new(stored)))
            .with_table_partition_cols(constant)
            .build()
    }

    async fn partitioned(&self, file: &StoredFile) -> Result<PartitionedFile, LakeError> {
        let mut partitioned = PartitionedFile::new_from_meta(ObjectMeta {
            location: Path::from_iter(self.place.path.parts().chain(file.within.parts())),
            // Files of a table never change, so their path is enough for caches to know them by.
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: file.size,
            e_tag: None,
            version: None,
        });
        partitioned.partition_values.clone_from(&file.partition_values);
        let rows = match &file.meant {
            Meant::All => return Ok(partitioned),
            Meant::Unmarked(vector) => Rows::AllBut(vector.read(&self.place).await?),
            Meant::Marked(vector, but) => {
                let mut rows = vector.read(&self.place).await?;
                if let Some(but) = but {
                    rows -= but.read(&self.place).await?;
                }
                Rows::Only(rows)
            }
        };
        Ok(match rows.access(&self.place, &file.within, file.size).await? {
            Some(access) => partitioned.with_extension(access),
            None => partitioned,
        })
    }

    async fn scan(
        &self,
        files: &[&StoredFile],
        projection: &[usize],
        more: Option<FieldRef>,
        env: &RuntimeEnv,
        options: TableParquetOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let table = self.file_schema(more.clone());
        let names = projection.iter().map(|column| self.schema.field(*column).name());
        let names = names.chain(more.iter().map(|field| field.name()));
        let read = names
            .map(|name| table.table_schema().index_of(name))
            .collect::<Result<Vec<usize>, _>>()?;
        let reads: Vec<_> = files.iter().map(|file| self.partitioned(file)).collect();
        let group: Vec<PartitionedFile> =
            stream::iter(reads).buffered(FILES_AT_ONCE).try_collect().await.map_err(external)?;
        let mut statistics = Statistics::new_unknown(table.table_schema());
        let rows = files.iter().try_fold(0, |sum, file| Some(sum + file.rows()?));
        if let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) {
            statistics.num_rows = Precision::Inexact(rows);
        }
        self.lake.register_stores(env);
        let store_url = ObjectStoreUrl::parse(&self.place.url[..Position::BeforePath])?;
        let store = env.object_store(&store_url)?;
        let cache = env.cache_manager.get_file_metadata_cache();
        let source = ParquetSource::new(table)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(
                store, cache,
            )));
        let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
            .with_file_groups(vec![FileGroup::new(group)])
            .with_statistics(statistics)
            .with_projection_indices(Some(read))?
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// What an action says of rows that are marked.
enum Marks {
    None,
    Some(DeletionVector),
    Odd,
}

fn marks(action: &Value) -> Marks {
    if !action.get("deletionVector").is_some_and(Value::is_object) {
        return Marks::None;
    }
    DeletionVector::of_action(action).map_or(Marks::Odd, Marks::Some)
}

/// Rows of a file by the statistics in its action.
fn records(action: &Value) -> Option<u64> {
    let statistics = action.get("stats")?.as_str()?;
    serde_json::from_str::<Value>(statistics).ok()?.get("numRecords")?.as_u64()
}

/// Rows of files for plans.
#[derive(Clone)]
pub(crate) struct StoredRows {
    folder: Folder,
    schema: SchemaRef,
    /// Files whose rows are meant.
    files: Vec<StoredFile>,
    /// Files that say themselves what happened to each row, and what of it is meant.
    recorded: Vec<StoredFile>,
    happened: &'static [&'static str],
    /// Versions that files are of: a vacuum leaves them alone, and they know which of their files
    /// can hold which rows.
    held: Vec<Arc<Snapshot>>,
    /// Files of versions in between.
    held_files: Option<Arc<HeldFiles>>,
    /// Staged files, that are not deleted before they are read.
    _area: Option<Arc<StagingArea>>,
}

impl fmt::Debug for StoredRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRows")
            .field("location", &self.folder.place.url.as_str())
            .field("files", &(self.files.len() + self.recorded.len()))
            .finish_non_exhaustive()
    }
}

impl StoredRows {
    pub(crate) fn new(folder: Folder, files: Vec<StoredFile>) -> Self {
        // The schema promises no more than a reader of several files can keep.
        let schema = Arc::new(Schema::new(nullable(folder.schema.fields())));
        let (recorded, happened, held) = (Vec::new(), &[] as &[_], Vec::new());
        Self { folder, schema, files, recorded, happened, held, held_files: None, _area: None }
    }

    /// With rows to which one of these things happened, from files that say so.
    pub(crate) fn and_recorded(
        self,
        recorded: Vec<StoredFile>,
        happened: &'static [&'static str],
    ) -> Self {
        Self { recorded, happened, ..self }
    }

    /// Also its own files, which may be of other versions.
    pub(crate) fn holding(self, held: Vec<Arc<Snapshot>>) -> Self {
        let files = self.files.iter().chain(&self.recorded);
        let vectors = files.clone().filter_map(|file| file.vector()?.path());
        let files = files.map(|file| file.within.clone()).chain(vectors).collect();
        let held_files = self.folder.lake.held().hold(&self.folder.place, files);
        Self { held, held_files: Some(held_files), ..self }
    }

    pub(crate) fn of_area(self, area: Arc<StagingArea>) -> Self {
        Self { _area: Some(area), ..self }
    }

    /// The files that may hold rows that fulfil the condition.
    fn chosen(
        &self,
        session: &dyn Session,
        filters: &[Expr],
    ) -> DataFusionResult<Vec<&StoredFile>> {
        let mut chosen: Vec<&StoredFile> = self.files.iter().collect();
        let Some(filter) = conjunction(filters.iter().cloned()) else { return Ok(chosen) };
        for version in &self.held {
            let schema = version.schema().to_dfschema()?;
            let data = version.data_files().map_err(external)?;
            let known = |column: &datafusion::common::Column| {
                schema.field_with_unqualified_name(&column.name).is_ok()
            };
            if data.len() == 0 || !filter.column_refs().into_iter().all(known) {
                continue;
            }
            let predicate = session.create_physical_expr(filter.clone(), &schema)?;
            let kept: HashSet<usize> = data.that_may_hold(&predicate)?.into_iter().collect();
            let left_out = (0..data.len()).filter(|file| !kept.contains(file));
            let left_out: HashSet<Path> =
                left_out.filter_map(|file| data.path(file).ok()).collect();
            chosen.retain(|file| !left_out.contains(&file.within));
        }
        Ok(chosen)
    }

    fn named(&self, scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match self.held.split_last() {
            Some((version, others)) => {
                let scan = TableScan::of_files(scan, version).holding(others);
                Arc::new(match &self.held_files {
                    Some(files) => scan.holding_files(files),
                    None => scan,
                })
            }
            None => scan,
        }
    }

    async fn scan_recorded(
        &self,
        projection: &[usize],
        env: &RuntimeEnv,
        options: TableParquetOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let files: Vec<&StoredFile> = self.recorded.iter().collect();
        let happened: FieldRef = Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true));
        let scan = self.folder.scan(&files, projection, Some(happened), env, options).await?;
        let scan = self.named(scan);
        let schema = scan.schema();
        let meant: Vec<Arc<dyn PhysicalExpr>> =
            self.happened.iter().map(|kind| lit(*kind)).collect();
        let is_meant = in_list(col(CHANGE_TYPE, &schema)?, meant, &false, &schema)?;
        let columns = (0..projection.len()).collect();
        let rows =
            FilterExecBuilder::new(is_meant, scan).apply_projection(Some(columns))?.build()?;
        Ok(Arc::new(rows))
    }
}

#[async_trait]
impl TableProvider for StoredRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
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
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        let (env, options) = (session.runtime_env(), options_of(session));
        let mut plans = Vec::new();
        let files = self.chosen(session, filters)?;
        if !files.is_empty() {
            let scan = self.folder.scan(&files, projection, None, env, options.clone()).await?;
            plans.push(self.named(scan));
        }
        if !self.recorded.is_empty() {
            plans.push(self.scan_recorded(projection, env, options).await?);
        }
        together(plans, &self.schema, projection)
    }
}

/// Rows of several providers with the same columns.
#[derive(Debug)]
pub(crate) struct AllRows(pub(crate) Vec<Arc<dyn TableProvider>>, pub(crate) SchemaRef);

#[async_trait]
impl TableProvider for AllRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.1)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
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
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.1.fields().len()).collect();
        let mut plans = Vec::with_capacity(self.0.len());
        for rows in &self.0 {
            let references: Vec<&Expr> = filters.iter().collect();
            let taken = rows.supports_filters_pushdown(&references)?;
            let taken: Vec<Expr> = filters
                .iter()
                .zip(taken)
                .filter(|(_, taken)| *taken != TableProviderFilterPushDown::Unsupported)
                .map(|(filter, _)| filter.clone())
                .collect();
            plans.push(rows.scan(session, projection, &taken, None).await?);
        }
        together(plans, &self.1, projection.unwrap_or(&all))
    }
}

fn together(
    mut plans: Vec<Arc<dyn ExecutionPlan>>,
    schema: &SchemaRef,
    projection: &[usize],
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    match (plans.pop(), plans.is_empty()) {
        (None, _) => Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(projection)?)))),
        (Some(only), true) => Ok(only),
        (Some(last), false) => {
            plans.push(last);
            UnionExec::try_new(plans)
        }
    }
}
