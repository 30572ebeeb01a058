//! Files as a table whose columns are known: each file is read by itself.
//!
//! It exists because files of one place need not agree: in each of them columns are found by their
//! names, and what cannot be read is told with the file that it is in.

use std::{fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, StringArray, StructArray, new_null_array},
    compute::{CastOptions, can_cast_types, cast_with_options, nullif},
    datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit},
    record_batch::{RecordBatch, RecordBatchOptions},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DataFusionError, ScalarValue, tree_node::TreeNodeRecursion},
    datasource::{
        TableType, listing::PartitionedFile, object_store::ObjectStoreUrl,
        physical_plan::FileScanConfigBuilder, source::DataSourceExec, table_schema::TableSchema,
    },
    error::Result as DataFusionResult,
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::Expr,
    physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        execution_plan::{Boundedness, EmissionType},
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use model::object::TableFormat;
use url::Position;

use super::{
    columns::{FILES_AT_ONCE, FileColumn, FilesReading, NewColumns, Origin, ReadableFile},
    listed::{ListedFile, ListedFiles},
};
use crate::{error::LakeError, lake::Lake, rows::external};

/// What a table of files has.
#[derive(Debug, Clone)]
pub struct FilesTable {
    /// The files.
    pub files: ListedFiles,
    /// How they are read.
    pub reading: FilesReading,
    /// Their columns.
    pub columns: Vec<FileColumn>,
    /// What other columns of theirs mean.
    pub new: NewColumns,
    /// The name of one more column, which says of which file a row is.
    pub metadata: Option<String>,
}

/// The fields of what is said about a file.
#[must_use]
pub fn metadata_type() -> DataType {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    DataType::Struct(Fields::from(vec![
        field("file_path", DataType::Utf8),
        field("file_name", DataType::Utf8),
        field("file_size", DataType::Int64),
        field(
            "file_modification_time",
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        ),
    ]))
}

fn metadata_of(file: &ListedFile) -> [ScalarValue; 4] {
    let name = file.meta.location.filename().unwrap_or_default();
    let modified = file.modified().as_micros();
    [
        ScalarValue::from(file.url()),
        ScalarValue::from(name),
        ScalarValue::Int64(i64::try_from(file.size()).ok()),
        ScalarValue::TimestampMicrosecond(Some(modified), Some("UTC".into())),
    ]
}

impl Lake {
    /// Files as a table. Nothing of them is read before it is scanned.
    pub fn files_table(&self, table: FilesTable) -> Arc<dyn TableProvider> {
        let FilesTable { files, reading, columns, new, metadata } = table;
        let mut fields: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.data_type.clone(), true))
            .collect();
        fields.extend(metadata.map(|name| Field::new(name, metadata_type(), true)));
        let schema = Arc::new(Schema::new(fields));
        Arc::new(OneByOne { lake: self.clone(), files, reading, columns, new, schema })
    }
}

/// A table of files.
struct OneByOne {
    lake: Lake,
    files: ListedFiles,
    reading: FilesReading,
    columns: Vec<FileColumn>,
    new: NewColumns,
    schema: SchemaRef,
}

impl fmt::Debug for OneByOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneByOne").field("files", &self.files).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for OneByOne {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.lake.register_stores(session.runtime_env());
        let files = self.files.files().iter().cloned();
        let readable: Vec<_> = files
            .map(|file| self.reading.readable(&self.files, file, &self.columns, self.new, session))
            .collect();
        let readable = stream::iter(readable).buffered(FILES_AT_ONCE).try_collect().await;
        let readable: Vec<ReadableFile> = readable.map_err(external)?;
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let picked = projection.unwrap_or(&all).clone();
        let schema = Arc::new(self.schema.project(&picked)?);
        let null_value = self.reading.options.iter();
        let mut null_value = null_value.filter(|(key, _)| key.eq_ignore_ascii_case("null_value"));
        let picking = Picking {
            format: self.reading.format,
            picked,
            schema: Arc::clone(&schema),
            null_value: null_value.next().map(|(_, value)| value.clone()),
        };
        let partitions = session.config().target_partitions();
        Ok(Arc::new(FilesScan::new(in_groups(readable, partitions), Arc::new(picking))))
    }
}

/// Files in groups that have about the same number of bytes, in their order.
fn in_groups(files: Vec<ReadableFile>, groups_max: usize) -> Vec<Arc<[ReadableFile]>> {
    let count = groups_max.min(files.len()).max(1);
    let mut groups: Vec<(u64, Vec<ReadableFile>)> = vec![(0, Vec::new()); count];
    for file in files {
        let smallest = groups.iter_mut().min_by_key(|(bytes, _)| *bytes);
        if let Some((bytes, group)) = smallest {
            *bytes += file.file.size();
            group.push(file);
        }
    }
    groups.into_iter().map(|(_, group)| group.into()).collect()
}

/// What is taken of each file.
#[derive(Debug)]
struct Picking {
    format: TableFormat,
    /// Which of the wanted columns, by number; the one after the last is what is said of the file.
    picked: Vec<usize>,
    schema: SchemaRef,
    /// A text that means NULL.
    null_value: Option<String>,
}

impl Picking {
    /// The columns of a file that have to be read, at least one of them: rows are counted by it.
    fn to_read(&self, file: &ReadableFile) -> Vec<usize> {
        let mut read: Vec<usize> = Vec::new();
        for column in &self.picked {
            if let Some(Origin::File(n)) = file.from.get(*column)
                && !read.contains(n)
            {
                read.push(*n);
            }
        }
        if read.is_empty() && !file.schema.fields().is_empty() {
            read.push(0);
        }
        read
    }

    fn rows(
        &self,
        file: &ReadableFile,
        read: &[usize],
        batch: &RecordBatch,
    ) -> DataFusionResult<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.picked.len());
        for (column, field) in self.picked.iter().zip(self.schema.fields()) {
            columns.push(match file.from.get(*column) {
                Some(Origin::File(n)) => match read.iter().position(|read| read == n) {
                    Some(at) => self.cast(batch.column(at), field)?,
                    None => new_null_array(field.data_type(), rows),
                },
                Some(Origin::Folder(Some(text))) => {
                    let one: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
                    let one = self.cast(&one, field)?;
                    ScalarValue::try_from_array(&one, 0)?.to_array_of_size(rows)?
                }
                Some(Origin::Folder(None) | Origin::Nowhere) => {
                    new_null_array(field.data_type(), rows)
                }
                None => metadata_column(&file.file, field, rows)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)?)
    }

    fn cast(&self, values: &ArrayRef, field: &Field) -> DataFusionResult<ArrayRef> {
        let mut values = Arc::clone(values);
        if let (Some(word), Some(texts)) = (&self.null_value, values.as_string_opt::<i32>()) {
            let is_null = texts.iter().map(|text| Some(text == Some(word.as_str()))).collect();
            values = nullif(&values, &is_null)?;
        }
        if values.data_type() == field.data_type() {
            return Ok(values);
        }
        if !can_cast_types(values.data_type(), field.data_type()) {
            let (found, wanted) = (values.data_type(), field.data_type());
            let what = if self.format == TableFormat::Csv {
                "a text".to_owned()
            } else {
                found.to_string()
            };
            return Err(DataFusionError::Execution(format!(
                "column '{}' is {what} there, which is not read as {wanted}",
                field.name()
            )));
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        let failed =
            |error| DataFusionError::Execution(format!("column '{}': {error}", field.name()));
        let cast = cast_with_options(&values, field.data_type(), &options).map_err(failed)?;
        if self.format == TableFormat::Json && !values.data_type().is_string() {
            // Its whole numbers come as decimals: a fraction would be cut off.
            let back = cast_with_options(&cast, values.data_type(), &options).map_err(failed)?;
            if back.as_ref() != values.as_ref() {
                return Err(DataFusionError::Execution(format!(
                    "column '{}' has a number with a fraction there, and {} is wanted",
                    field.name(),
                    field.data_type()
                )));
            }
        }
        Ok(cast)
    }
}

fn metadata_column(file: &ListedFile, field: &Field, rows: usize) -> DataFusionResult<ArrayRef> {
    let DataType::Struct(fields) = field.data_type() else {
        return Ok(new_null_array(field.data_type(), rows));
    };
    let values = metadata_of(file).into_iter().map(|value| value.to_array_of_size(rows));
    let values = values.collect::<DataFusionResult<Vec<_>>>()?;
    Ok(Arc::new(StructArray::try_new(fields.clone(), values, None)?))
}

/// Reads files, each partition some of them one after the other.
#[derive(Debug)]
pub struct FilesScan {
    groups: Vec<Arc<[ReadableFile]>>,
    picking: Arc<Picking>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FilesScan {
    fn new(groups: Vec<Arc<[ReadableFile]>>, picking: Arc<Picking>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&picking.schema)),
            Partitioning::UnknownPartitioning(groups.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { groups, picking, properties: Arc::new(properties), metrics }
    }

    /// Bytes of all its files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files().map(|file| file.file.size()).sum()
    }

    fn files(&self) -> impl Iterator<Item = &ReadableFile> {
        self.groups.iter().flat_map(|group| group.iter())
    }
}

impl DisplayAs for FilesScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = self.picking.format.as_sql();
        write!(f, "FilesScan: format={format}, files={}", self.files().count())
    }
}

impl ExecutionPlan for FilesScan {
    fn name(&self) -> &'static str {
        "FilesScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => Err(DataFusionError::Internal("a FilesScan has no input".to_owned())),
        }
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let Some(files) = self.groups.get(partition) else {
            return Err(DataFusionError::Internal(format!("no partition {partition}")));
        };
        let (files, picking) = (Arc::clone(files), Arc::clone(&self.picking));
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let schema = Arc::clone(&picking.schema);
        let rows = stream::iter(0..files.len())
            .map(move |n| opened(files[n].clone(), &picking, &task))
            .try_flatten()
            .inspect_ok(move |batch| metrics.record_output(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}

/// The rows of one file. Errors say which it is.
fn opened(
    file: ReadableFile,
    picking: &Arc<Picking>,
    task: &Arc<TaskContext>,
) -> DataFusionResult<SendableRecordBatchStream> {
    let (url, format) = (file.file.url().to_owned(), picking.format);
    let failed = move |error: DataFusionError| {
        external(LakeError::File { file: url.clone(), format, source: Arc::new(error) })
    };
    let (picking, schema) = (Arc::clone(picking), Arc::clone(&picking.schema));
    let read = picking.to_read(&file);
    let rows = scanned(&file, &read, task).map_err(&failed)?;
    let rows = rows.map(move |batch| picking.rows(&file, &read, &batch?)).map_err(failed);
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

fn scanned(
    file: &ReadableFile,
    read: &[usize],
    task: &Arc<TaskContext>,
) -> DataFusionResult<SendableRecordBatchStream> {
    let store = ObjectStoreUrl::parse(&file.file.parsed_url()[..Position::BeforePath])?;
    let columns = TableSchema::from(Arc::clone(&file.schema));
    let config = FileScanConfigBuilder::new(store, file.format.file_source(columns))
        .with_file(PartitionedFile::from(file.file.meta.clone()))
        .with_file_compression_type(file.compression)
        .with_projection_indices(Some(read.to_vec()))?
        .build();
    DataSourceExec::from_data_source(config).execute(0, Arc::clone(task))
}
