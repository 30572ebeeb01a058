//! Reads a table's rows together with where each of them is stored.
//!
//! It exists for statements that change rows: they say which rows they mean by file and position,
//! so that a condition is evaluated once, by the same plan that a SELECT would have, and the rest of
//! a file is copied without evaluating anything. Only tables whose files are all that counts can be
//! read this way: no mapped column names. Rows that are marked as deleted are left out.

use std::{fmt, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Statistics, ToDFSchema, config::TableParquetOptions, stats::Precision},
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
    error::{DataFusionError, Result as DataFusionResult},
    execution::runtime_env::RuntimeEnv,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_plan::{ExecutionPlan, empty::EmptyExec},
};
use parquet::arrow::RowNumber;
use url::Position;

use crate::{
    data_files::DataFiles,
    deletion_vector::DeletionVectors,
    error::LakeError,
    live_rows::LiveRows,
    parquet_scan::{nullable, options_of, stored_file},
    scan::TableScan,
    snapshot::Snapshot,
};

/// Number of the file that a row is in, `Int32`.
pub const FILE_COLUMN: &str = "@file";
/// Position of a row in its file, from 0, `Int64`.
pub const ROW_COLUMN: &str = "@row";

/// One version of a table for plans that say which rows they mean.
#[derive(Clone)]
pub(crate) struct TableRows {
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
}

impl fmt::Debug for TableRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableRows").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

impl TableRows {
    /// Refuses tables that cannot be read this way, naming the feature.
    pub(crate) fn new(snapshot: Arc<Snapshot>) -> Result<Self, LakeError> {
        let unsupported = |feature: &str| LakeError::Unsupported {
            location: snapshot.location().to_owned(),
            feature: feature.to_owned(),
            access: "change rows of",
        };
        snapshot.check_files()?;
        let mapped = snapshot.properties().get("delta.columnMapping.mode");
        if mapped.is_some_and(|mode| mode != "none") {
            return Err(unsupported("columnMapping"));
        }
        for name in [FILE_COLUMN, ROW_COLUMN] {
            if snapshot.schema().field_with_name(name).is_ok() {
                return Err(unsupported(&format!("a column named '{name}'")));
            }
        }
        let mut fields = nullable(snapshot.schema().fields());
        fields.push(Arc::new(Field::new(FILE_COLUMN, DataType::Int32, true)));
        fields.push(Arc::new(Field::new(ROW_COLUMN, DataType::Int64, true)));
        let schema = Arc::new(Schema::new(fields));
        Ok(Self { snapshot, schema })
    }

    /// The same with more columns at the end, which are NULL in all rows.
    pub(crate) fn widened(&self, schema: &SchemaRef) -> Self {
        let places = self.schema.fields().len() - 2;
        let mut fields = self.schema.fields().to_vec();
        let new = schema.fields().iter().skip(places).cloned();
        fields.splice(places..places, new);
        Self { snapshot: Arc::clone(&self.snapshot), schema: Arc::new(Schema::new(fields)) }
    }

    pub(crate) fn data_files(&self) -> Result<Arc<DataFiles>, LakeError> {
        self.snapshot.data_files()
    }

    pub(crate) fn deletion_vectors(&self) -> Result<Arc<DeletionVectors>, LakeError> {
        self.snapshot.deletion_vectors()
    }

    /// A plan that reads these files; `projection` counts the columns of the table, then
    /// [`FILE_COLUMN`] and [`ROW_COLUMN`].
    pub(crate) fn scan_files(
        &self,
        files: &[usize],
        projection: Option<&Vec<usize>>,
        env: &RuntimeEnv,
        options: TableParquetOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(projection)?))));
        }
        self.snapshot.register_stores(env);
        let vectors = self.snapshot.deletion_vectors().map_err(external)?;
        let some_marked = files.iter().any(|file| vectors.has(*file));
        let mut read = projection.clone();
        if some_marked {
            let ours = [all.len() - 2, all.len() - 1];
            read.extend(ours.into_iter().filter(|column| !projection.contains(column)));
        }
        let (table_schema, places) = self.file_schema();
        let mut group = Vec::with_capacity(files.len());
        let data = self.snapshot.data_files().map_err(external)?;
        let mut rows = Some(0);
        for file in files {
            group.push(self.partitioned_file(*file)?);
            rows = rows.zip(data.rows(*file)).map(|(sum, rows)| sum + rows);
        }
        let mut statistics = Statistics::new_unknown(table_schema.table_schema());
        if let Some(rows) = rows.and_then(|rows| usize::try_from(rows).ok()) {
            statistics.num_rows = Precision::Inexact(rows);
        }
        let url = self.snapshot.url();
        let store_url = ObjectStoreUrl::parse(&url[..Position::BeforePath])?;
        let store = env.object_store(&store_url)?;
        let cache = env.cache_manager.get_file_metadata_cache();
        let source = ParquetSource::new(table_schema)
            .with_table_parquet_options(options)
            .with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(
                store, cache,
            )));
        let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
            .with_file_groups(vec![FileGroup::new(group)])
            .with_statistics(statistics)
            .with_projection_indices(Some(read.iter().map(|n| places[*n]).collect()))?
            .build();
        let mut plan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        if some_marked {
            plan = Arc::new(LiveRows::new(plan, vectors, projection.len())?);
        }
        Ok(Arc::new(TableScan::of_files(plan, &self.snapshot)))
    }

    /// The columns in the order of the reader: stored ones, partition values, the file, the
    /// position; and for each of ours its place among them.
    fn file_schema(&self) -> (TableSchema, Vec<usize>) {
        let partitioned_by = self.snapshot.partitioned_by();
        let columns = self.schema.fields().len() - 2;
        let (mut stored, mut partitions) = (Vec::new(), Vec::new());
        for name in partitioned_by {
            if let Ok(field) = self.schema.field_with_name(name) {
                partitions.push(Arc::new(field.clone()));
            }
        }
        let mut places = Vec::with_capacity(columns + 2);
        for field in &self.schema.fields()[..columns] {
            match partitioned_by.iter().position(|name| name == field.name()) {
                Some(partition) => places.push(Err(partition)),
                None => {
                    places.push(Ok(stored.len()));
                    stored.push(Arc::clone(field));
                }
            }
        }
        let stored_count = stored.len();
        let mut places: Vec<usize> = places
            .into_iter()
            .map(|place| place.unwrap_or_else(|partition| stored_count + partition))
            .collect();
        partitions.push(Arc::clone(&self.schema.fields()[columns]));
        places.extend([stored_count + partitions.len() - 1, stored_count + partitions.len()]);
        let position = Field::new(ROW_COLUMN, DataType::Int64, true).with_extension_type(RowNumber);
        let table_schema = TableSchema::builder(Arc::new(Schema::new(stored)))
            .with_table_partition_cols(partitions)
            .with_virtual_columns(vec![Arc::new(position)])
            .build();
        (table_schema, places)
    }

    fn partitioned_file(&self, file: usize) -> DataFusionResult<PartitionedFile> {
        let data = self.snapshot.data_files().map_err(external)?;
        let within = data.path(file).map_err(external)?;
        let mut partitioned = stored_file(&self.snapshot, &within, data.size(file));
        partitioned.partition_values = data.partition_values(file)?;
        let number = i32::try_from(file).map_err(|error| external_error(Box::new(error)))?;
        partitioned.partition_values.push(number.into());
        Ok(partitioned)
    }
}

/// What a query's error shows as its cause.
pub(crate) fn external(error: LakeError) -> DataFusionError {
    external_error(Box::new(error))
}

fn external_error(error: Box<dyn std::error::Error + Send + Sync>) -> DataFusionError {
    DataFusionError::External(error)
}

#[async_trait]
impl TableProvider for TableRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        let of_rows = |filter: &Expr| {
            let columns = filter.column_refs();
            !columns.iter().any(|column| column.name == FILE_COLUMN || column.name == ROW_COLUMN)
        };
        let filters = filters.iter().map(|filter| match of_rows(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        });
        Ok(filters.collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let data = self.snapshot.data_files().map_err(external)?;
        let files = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let schema = self.snapshot.schema().to_dfschema()?;
                let predicate = session.create_physical_expr(filter, &schema)?;
                data.that_may_hold(&predicate)?
            }
            None => (0..data.len()).collect(),
        };
        self.scan_files(&files, projection, session.runtime_env(), options_of(session))
    }
}
