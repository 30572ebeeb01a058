//! Puts rows near each other that are near each other in several columns at once.
//!
//! Rows are sorted along a Z-order curve (G. M. Morton, "A Computer Oriented Geodetic Data Base and a
//! New Technique in File Sequencing", IBM 1966): the bits of the columns' values are interleaved, so
//! that each file covers a small range of every column, and a condition on any of them leaves out
//! most files. The bits are not those of the values, which would let one wide column decide alone,
//! but those of the number of the range that a value is in; ranges hold about as many rows each, by a
//! sample. Delta Lake's own OPTIMIZE does the same (`RangePartitionId` and `InterleaveBits`).

use std::{cmp::Ordering, collections::HashMap, fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array},
    compute::{SortOptions, take},
    datatypes::{DataType, Field, Schema, SchemaRef},
    row::{OwnedRow, RowConverter, SortField},
};
use datafusion::{
    catalog::TableProvider,
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column},
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use serde_json::{Map, Value, json};

use crate::{
    change::parquet_options, data_files::DataFiles, error::LakeError, location::Place, log,
    rows::TableRows, snapshot::Snapshot,
};

/// Ranges that the values of a column are split into.
const RANGES_MAX: usize = 1024;
/// Rows that are looked at to find the ranges.
const SAMPLE_ROWS: u64 = 32 * 1024;
/// Bits of each column in the key, where there are few columns.
const COLUMN_BITS_MAX: usize = 16;
const KEY_BITS: usize = 64;
/// Commits that are looked through for what an earlier run did.
const COMMITS_MAX: usize = 1_000;
const COMMITS_AT_ONCE: usize = 16;
const KEY_COLUMN: &str = "@zorder";
/// Where a table's history has the columns, as in other Delta writers.
const PARAMETER: &str = "zOrderBy";

/// Columns that one statement can order by; with more, none of them would be ordered any more.
pub const ZORDER_COLUMNS_MAX: usize = 16;

/// The columns that rows are put in order by.
#[derive(Debug)]
pub(crate) struct ZOrder {
    names: Vec<String>,
    columns: Vec<usize>,
}

impl ZOrder {
    /// `None` where no column is named. The columns have to be the table's.
    pub(crate) fn new(base: &Snapshot, names: &[String]) -> Result<Option<Self>, LakeError> {
        if names.is_empty() {
            return Ok(None);
        }
        let schema = base.schema();
        let columns = names.iter().map(|name| schema.index_of(name)).collect::<Result<_, _>>();
        let columns = columns
            .map_err(|error| LakeError::internal("find a column", base.location(), error))?;
        Ok(Some(Self { names: names.to_vec(), columns }))
    }

    /// What the table's history says of it.
    pub(crate) fn parameters(&self) -> Map<String, Value> {
        Map::from_iter([(PARAMETER.to_owned(), json!(json!(self.names).to_string()))])
    }

    /// The files of each partition that is not in order already.
    ///
    /// A partition is in order when all its files came from one commit that ordered by the same
    /// columns: no row has come since. The log's commits tell; when they are no longer there, the
    /// partition is ordered once more.
    pub(crate) async fn partitions(
        &self,
        place: &Place,
        base: &Snapshot,
        files: &DataFiles,
        chosen: &[usize],
    ) -> Result<Vec<Vec<usize>>, LakeError> {
        let failed = |error| LakeError::Query { location: place.text(), source: Arc::new(error) };
        let mut partitions: HashMap<Vec<String>, Vec<usize>> = HashMap::new();
        let mut order = Vec::new();
        for file in chosen {
            let values = files.partition_values(*file).map_err(failed)?;
            let key: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            let files_of = partitions.entry(key.clone()).or_insert_with(|| {
                order.push(key);
                Vec::new()
            });
            files_of.push(*file);
        }
        let mut paths = HashMap::new();
        for file in chosen {
            paths.insert(files.path(*file)?.to_string(), *file);
        }
        let ordered = self.ordered(place, base.version(), paths).await?;
        let partitions = order.into_iter().filter_map(|key| partitions.remove(&key));
        let in_order = |files: &Vec<usize>| {
            let first = files.first().and_then(|file| ordered.get(file));
            first.is_some() && files.iter().all(|file| ordered.get(file) == first)
        };
        Ok(partitions.filter(|files| !in_order(files)).collect())
    }

    /// For each file that a commit brought which ordered by the same columns, its version.
    async fn ordered(
        &self,
        place: &Place,
        newest: i64,
        mut paths: HashMap<String, usize>,
    ) -> Result<HashMap<usize, i64>, LakeError> {
        let mut ordered = HashMap::new();
        let columns = self.parameters().remove(PARAMETER);
        let mut commits = stream::iter((0..=newest).rev().take(COMMITS_MAX))
            .map(|version| async move {
                Ok::<_, LakeError>((version, log::actions(place, version).await?))
            })
            .buffered(COMMITS_AT_ONCE);
        while !paths.is_empty() {
            let Some((version, Some(actions))) = commits.try_next().await? else { break };
            let said = |pointer: &str| actions.iter().find_map(|action| action.pointer(pointer));
            let is_ours = said("/commitInfo/operation").is_some_and(|name| name == "OPTIMIZE")
                && said("/commitInfo/operationParameters/zOrderBy") == columns.as_ref();
            for path in actions.iter().filter_map(|action| action.pointer("/add/path")?.as_str()) {
                let Ok(path) = Path::from_url_path(path) else { continue };
                let Some(file) = paths.remove(path.as_ref()) else { continue };
                if is_ours {
                    ordered.insert(file, version);
                }
            }
        }
        Ok(ordered)
    }

    /// The rows of these files in order. Reads the columns once more to find their ranges; sorting
    /// spills when memory is short.
    pub(crate) async fn sorted(
        &self,
        rows: &TableRows,
        data: &DataFiles,
        files: &[usize],
        task: &Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let schema = rows.schema();
        let columns: Vec<usize> = (0..schema.fields().len() - 2).collect();
        let known = files.iter().map(|file| data.rows(*file)).sum::<Option<u64>>();
        // Where the log does not tell, a row may have ten bytes at least.
        let count = known.unwrap_or_else(|| files.iter().map(|file| data.size(*file) / 10).sum());
        let sample = scan(rows, files, &self.columns, task)?;
        let ranges = Arc::new(Ranges::find(&sample, count, task).await?);

        let scanned = scan(rows, files, &columns, task)?;
        let mut fields: Vec<_> = scanned.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(KEY_COLUMN, DataType::UInt64, false)));
        let keyed_schema = Arc::new(Schema::new(fields));
        let partitions = (0..scanned.output_partitioning().partition_count()).map(|partition| {
            Arc::new(Keyed {
                plan: Arc::clone(&scanned),
                partition,
                columns: self.columns.clone(),
                ranges: Arc::clone(&ranges),
                schema: Arc::clone(&keyed_schema),
            }) as Arc<dyn PartitionStream>
        });
        let keyed = StreamingTableExec::try_new(
            Arc::clone(&keyed_schema),
            partitions.collect(),
            None,
            Vec::new(),
            false,
            None,
        )?;
        // Within a cell of the curve the rows are in the order of the columns.
        let by = std::iter::once(columns.len()).chain(self.columns.iter().copied()).map(|column| {
            let expr = Arc::new(Column::new(keyed_schema.field(column).name(), column));
            PhysicalSortExpr::new(expr, SortOptions::default())
        });
        let by = LexOrdering::new(by).ok_or_else(|| {
            DataFusionError::Internal("rows are put in order by no column".to_owned())
        })?;
        let sorted = SortExec::new(by.clone(), Arc::new(keyed)).with_preserve_partitioning(true);
        let merged = SortPreservingMergeExec::new(by, Arc::new(sorted));
        let merged = merged.execute(0, Arc::clone(task))?;
        let kept = merged.map(move |batch| Ok(batch?.project(&columns)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(scanned.schema(), kept)))
    }
}

/// A plan of these columns of the files, on as many threads as there are.
fn scan(
    rows: &TableRows,
    files: &[usize],
    columns: &[usize],
    task: &Arc<TaskContext>,
) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let (env, options) = (task.runtime_env(), parquet_options(task));
    let plan = rows.scan_files(files, Some(&columns.to_vec()), &env, options)?;
    let config = task.session_config();
    let split = plan.repartitioned(config.target_partitions(), config.options())?;
    Ok(split.unwrap_or(plan))
}

/// For each column, where its ranges begin.
struct Ranges {
    columns: Vec<RangesOf>,
}

struct RangesOf {
    converter: RowConverter,
    bounds: Vec<OwnedRow>,
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ranges").field("columns", &self.columns.len()).finish_non_exhaustive()
    }
}

impl Ranges {
    /// Looks at some of the rows of a plan, which has `count` of them or so. Which ones depends on
    /// their position alone, so that the same table is ordered the same way each time.
    async fn find(
        plan: &Arc<dyn ExecutionPlan>,
        count: u64,
        task: &Arc<TaskContext>,
    ) -> DataFusionResult<Self> {
        let mut columns = Vec::new();
        for field in plan.schema().fields() {
            let converter = RowConverter::new(vec![SortField::new(field.data_type().clone())])?;
            columns.push(RangesOf { converter, bounds: Vec::new() });
        }
        let share = u128::from(u64::MAX) * u128::from(SAMPLE_ROWS) / u128::from(count.max(1));
        let chosen_below = u64::try_from(share).unwrap_or(u64::MAX);
        let mut position = 0_u64;
        for partition in 0..plan.output_partitioning().partition_count() {
            let mut batches = plan.execute(partition, Arc::clone(task))?;
            while let Some(batch) = batches.try_next().await? {
                let mut chosen = Vec::new();
                for row in 0..batch.num_rows() as u32 {
                    position += 1;
                    if scattered(position) <= chosen_below {
                        chosen.push(row);
                    }
                }
                let sampled = columns.first().map_or(0, |column| column.bounds.len()) as u64;
                if chosen.is_empty() || sampled > SAMPLE_ROWS * 4 {
                    continue;
                }
                let chosen = UInt32Array::from(chosen);
                for (column, values) in columns.iter_mut().zip(batch.columns()) {
                    let rows = column.converter.convert_columns(&[take(values, &chosen, None)?])?;
                    column.bounds.extend(rows.iter().map(|row| row.owned()));
                }
            }
        }
        for column in &mut columns {
            column.bounds.sort_unstable_by(|a, b| a.row().cmp(&b.row()));
            let sample = std::mem::take(&mut column.bounds);
            let ranges = RANGES_MAX.min(sample.len());
            let ends = (1..ranges).map(|range| sample[range * sample.len() / ranges].clone());
            column.bounds = ends.collect();
            column.bounds.dedup_by(|a, b| a.row().cmp(&b.row()) == Ordering::Equal);
        }
        Ok(Self { columns })
    }

    /// The key of each row: the number of the range that each value is in, bit by bit in turn.
    fn keys(&self, values: &[ArrayRef]) -> DataFusionResult<UInt64Array> {
        let rows = values.first().map_or(0, |values| values.len());
        let bits = (KEY_BITS / self.columns.len().max(1)).min(COLUMN_BITS_MAX);
        let mut keys = vec![0_u64; rows];
        for (n, (column, values)) in self.columns.iter().zip(values).enumerate() {
            let converted = column.converter.convert_columns(&[Arc::clone(values)])?;
            let ranges = column.bounds.len() as u64 + 1;
            for (key, row) in keys.iter_mut().zip(converted.iter()) {
                let range = column.bounds.partition_point(|bound| bound.row() <= row) as u64;
                // Few ranges take the high bits as well, so that no column decides alone.
                let scaled = (range << bits) / ranges;
                for bit in 0..bits {
                    let is_set = (scaled >> bit) & 1;
                    *key |= is_set << (bit * self.columns.len() + (self.columns.len() - 1 - n));
                }
            }
        }
        Ok(keys.into())
    }
}

/// A number that looks like chance, other for each position: the finalizer of `SplitMix64`.
fn scattered(position: u64) -> u64 {
    let mut mixed = position.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// One partition of a plan, with a column for the key.
struct Keyed {
    plan: Arc<dyn ExecutionPlan>,
    partition: usize,
    columns: Vec<usize>,
    ranges: Arc<Ranges>,
    schema: SchemaRef,
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl PartitionStream for Keyed {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, task: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, columns) = (Arc::clone(&self.schema), self.columns.clone());
        let ranges = Arc::clone(&self.ranges);
        let batches = match self.plan.execute(self.partition, task) {
            Ok(batches) => batches,
            Err(error) => {
                let failed = stream::once(std::future::ready(Err(error)));
                return Box::pin(RecordBatchStreamAdapter::new(schema, failed));
            }
        };
        let keyed_schema = Arc::clone(&schema);
        let keyed = batches.map(move |batch| {
            let batch = batch?;
            let mut values = batch.columns().to_vec();
            let by: Vec<_> = columns.iter().map(|column| Arc::clone(&values[*column])).collect();
            values.push(Arc::new(ranges.keys(&by)?));
            Ok(RecordBatch::try_new(Arc::clone(&keyed_schema), values)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, keyed))
    }
}
