//! The scan of one version of a Delta table in a plan.
//!
//! It stands around delta-rs' scan and makes up for three things: what that leaves out of a table's
//! statistics, a limit that its scan of the log alone accepts and then forgets, and ranges that say
//! nothing of NaN.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use arrow::datatypes::DataType;
use datafusion::{
    common::{
        ColumnStatistics, ScalarValue, Statistics, config::ConfigOptions, stats::Precision,
        tree_node::TreeNodeRecursion,
    },
    datasource::{
        physical_plan::{
            FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
        },
        source::DataSourceExec,
    },
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_expr::expressions::DynamicFilterTracking,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
        SendableRecordBatchStream,
        execution_plan::CardinalityEffect,
        filter_pushdown::{
            ChildFilterDescription, ChildPushdownResult, FilterDescription, FilterPushdownPhase,
            FilterPushdownPropagation,
        },
        statistics::{ChildStats, StatisticsArgs},
        stream::RecordBatchStreamAdapter,
    },
};
use deltalake_core::kernel::{EagerSnapshot, Version};
use futures::TryStreamExt;

use crate::{
    error::{LakeError, missing_file},
    floats::{estimated, ranged},
    held::HeldFiles,
    location::Place,
    log,
    snapshot::Snapshot,
    statistics::LogStatistics,
};

/// How the scan of a Delta table is called in a plan.
pub const TABLE_SCAN: &str = "TableScan";

/// delta-rs' scan, and what the log says of its columns.
#[derive(Debug, Clone)]
pub(crate) struct TableScan {
    scan: Arc<dyn ExecutionPlan>,
    /// None for files that are of no version.
    version: Option<Version>,
    /// The table; None for files of which it does not matter.
    place: Option<Place>,
    columns: Arc<[ColumnStatistics]>,
    /// A vacuum leaves the files of versions that are held alone.
    held: Arc<[Arc<EagerSnapshot>]>,
    /// And files beside those.
    files: Option<Arc<HeldFiles>>,
}

/// The scan of a plan, kept for the same plan to run again. It has read nothing, and holds no
/// version of a table: what nobody else reads any more may go.
#[derive(Debug)]
pub struct KeptScan {
    scan: TableScan,
    versions: Vec<Weak<EagerSnapshot>>,
    files: usize,
}

impl KeptScan {
    /// Takes a scan out of a plan. `None` for anything but one that reads files of Delta tables and does
    /// nothing else, by conditions that are known before it runs: parts of others would be shared by
    /// all runs.
    #[must_use]
    pub fn of(plan: &dyn ExecutionPlan) -> Option<Self> {
        let scan: &TableScan = plan.downcast_ref()?;
        let (files, source) = files_of(&scan.scan)?;
        // What a sort has asked of it does not come along, see `again`.
        let is_sorted = files.preserve_order || !files.output_ordering.is_empty();
        let waits = source.filter().is_some_and(|condition| {
            DynamicFilterTracking::classify(&condition).contains_dynamic_filter()
        });
        if scan.held.is_empty() || scan.files.is_some() || is_sorted || waits {
            return None;
        }
        let versions = scan.held.iter().map(Arc::downgrade).collect();
        let files = files.file_groups.iter().map(FileGroup::len).sum();
        Some(Self { scan: TableScan { held: Arc::new([]), ..scan.clone() }, versions, files })
    }

    /// Files that it reads.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files
    }

    /// What stands for it in a plan that is kept.
    #[must_use]
    pub fn at_rest(&self) -> Arc<dyn ExecutionPlan> {
        Arc::new(self.scan.clone())
    }

    /// The scan for another run, which counts by itself what it reads. `None` when a version is gone.
    #[must_use]
    pub fn again(&self) -> Option<Arc<dyn ExecutionPlan>> {
        let held = self.versions.iter().map(Weak::upgrade).collect::<Option<Vec<_>>>()?;
        let (files, kept) = files_of(&self.scan.scan)?;
        // A copy would share the counters, which grow with each run.
        let mut source = ParquetSource::new(kept.table_schema().clone())
            .with_table_parquet_options(kept.table_parquet_options().clone());
        if let Some(readers) = kept.parquet_file_reader_factory() {
            source = source.with_parquet_file_reader_factory(Arc::clone(readers));
        }
        if let Some(condition) = kept.filter() {
            source = source.with_predicate(condition);
        }
        let source = source.try_pushdown_projection(kept.projection()?).ok()??;
        let files = FileScanConfigBuilder::from(files.clone()).with_source(source).build();
        let scan = DataSourceExec::from_data_source(files);
        Some(Arc::new(TableScan { scan, held: held.into(), ..self.scan.clone() }))
    }
}

/// The files that a scan reads, and how, when they are Parquet and it does nothing else.
pub(crate) fn files_of(scan: &Arc<dyn ExecutionPlan>) -> Option<(&FileScanConfig, &ParquetSource)> {
    scan.downcast_ref::<DataSourceExec>()?.downcast_to_file_source()
}

impl TableScan {
    pub(crate) fn new(
        scan: Arc<dyn ExecutionPlan>,
        place: &Place,
        held: &Arc<EagerSnapshot>,
        statistics: &LogStatistics,
    ) -> Self {
        let schema = scan.schema();
        let columns = schema.fields().iter().map(|field| statistics.column(field.name())).collect();
        let (version, held) = (Some(held.version()), Arc::new([Arc::clone(held)]));
        Self { scan, version, place: Some(place.clone()), columns, held, files: None }
    }

    /// Around a plan that reads some files of a version.
    pub(crate) fn of_files(scan: Arc<dyn ExecutionPlan>, snapshot: &Snapshot) -> Self {
        Self::new(scan, snapshot.place(), snapshot.held_version(), snapshot.statistics())
    }

    /// Around a plan that reads files of which no version tells anything.
    pub(crate) fn of_other_files(scan: Arc<dyn ExecutionPlan>) -> Self {
        let columns = Statistics::unknown_column(&scan.schema()).into();
        let held = Arc::new([]);
        Self { scan, version: None, place: None, columns, held, files: None }
    }

    /// The same for a plan that reads these files.
    pub(crate) fn holding_files(self, files: &Arc<HeldFiles>) -> Self {
        Self { files: Some(Arc::clone(files)), ..self }
    }

    /// The same for a plan that reads files of other versions as well.
    pub(crate) fn holding(self, others: &[Arc<Snapshot>]) -> Self {
        let others = others.iter().map(|version| Arc::clone(version.held_version()));
        Self { held: self.held.iter().cloned().chain(others).collect(), ..self }
    }

    fn around(&self, scan: Arc<dyn ExecutionPlan>) -> Self {
        Self { scan, ..self.clone() }
    }

    /// delta-rs' scan of a log alone says that it takes a LIMIT and then forgets it: what is above
    /// it must not believe that.
    fn keeps_limits(&self) -> bool {
        self.scan.name() != "DeltaScanMetaExec"
    }
}

impl DisplayAs for TableScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "TableScan: version={version}"),
            None => write!(f, "TableScan"),
        }
    }
}

impl ExecutionPlan for TableScan {
    fn name(&self) -> &'static str {
        TABLE_SCAN
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.scan.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(scan), true) => Ok(Arc::new(self.around(scan))),
            _ => Err(DataFusionError::Internal("a TableScan has one input".to_owned())),
        }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    // The scan splits its own files, see `repartitioned`.
    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        config: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let scan = self.scan.repartitioned(target_partitions, config)?;
        Ok(scan.map(|scan| Arc::new(self.around(scan)) as _))
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.scan.execute(partition, task)?;
        let version = self.version.and_then(|version| i64::try_from(version).ok());
        let (Some(version), Some(place)) = (version, self.place.clone()) else { return Ok(rows) };
        let explained = rows.schema();
        let rows = rows.or_else(move |error| {
            let place = place.clone();
            async move { Err(explanation(&place, version, error).await) }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(explained, rows)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let Some(scan) = inputs.first() else {
            return Ok(Arc::new(Statistics::new_unknown(&self.schema())));
        };
        let mut statistics = Statistics::clone(scan);
        if statistics.column_statistics.len() != self.columns.len() {
            statistics.column_statistics = Statistics::unknown_column(&self.schema());
        }
        // The scan tells the bytes of the files, which are compressed and have all columns in them.
        let row = self.schema().fields().iter().map(|field| width(field.data_type())).sum();
        statistics.total_byte_size =
            statistics.num_rows.multiply(&Precision::Inexact(row)).to_inexact();
        statistics = estimated(&statistics, &self.schema());
        for (column, logged) in statistics.column_statistics.iter_mut().zip(self.columns.iter()) {
            fill(&mut column.min_value, &logged.min_value);
            fill(&mut column.max_value, &logged.max_value);
        }
        Ok(Arc::new(statistics))
    }

    fn supports_limit_pushdown(&self) -> bool {
        self.keeps_limits() && self.scan.supports_limit_pushdown()
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        let scan = self.keeps_limits().then(|| self.scan.with_fetch(limit)).flatten()?;
        Some(Arc::new(self.around(scan)))
    }

    fn fetch(&self) -> Option<usize> {
        self.keeps_limits().then(|| self.scan.fetch()).flatten()
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        // The scan would leave out what ranges exclude; what is not passed on stays above.
        let ranged = ranged(&self.schema());
        let scan =
            ChildFilterDescription::from_child_with_allowed_indices(&filters, ranged, &self.scan)?;
        Ok(FilterDescription::new().with_child(scan))
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(result))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }
}

/// Why rows cannot be read: of a version that is not the newest, a file that is no longer there was
/// vacuumed.
async fn explanation(place: &Place, version: i64, error: DataFusionError) -> DataFusionError {
    let Some(file) = missing_file(&error) else { return error };
    if !log::head(place, version + 1).await.is_ok_and(|later| later.is_some()) {
        return error;
    }
    let folder = format!("{}/", place.path);
    let file = file.find(&folder).map_or(file.as_str(), |at| &file[at + folder.len()..]);
    let (location, file) = (place.text(), file.to_owned());
    DataFusionError::External(Box::new(LakeError::FileGone { location, version, file }))
}

fn fill(known: &mut Precision<ScalarValue>, logged: &Precision<ScalarValue>) {
    if *known == Precision::Absent {
        known.clone_from(logged);
    }
}

/// Bytes that a value takes in memory, about; the log does not tell how long texts are.
fn width(data_type: &DataType) -> usize {
    const TEXT: usize = 32;
    match data_type {
        DataType::Boolean => 1,
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        other => other.primitive_width().unwrap_or(TEXT),
    }
}
