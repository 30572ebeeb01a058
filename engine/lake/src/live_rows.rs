//! Leaves out rows that are marked as deleted beside their file.

use std::{fmt, sync::Arc};

use arrow::{
    array::{AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::{Int32Type, Int64Type},
};
use datafusion::{
    common::{Statistics, config::ConfigOptions, tree_node::TreeNodeRecursion},
    error::{DataFusionError, Result},
    execution::TaskContext,
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
        SendableRecordBatchStream,
        execution_plan::CardinalityEffect,
        filter_pushdown::{
            ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
        },
        statistics::{ChildStats, StatisticsArgs},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::TryStreamExt;

use crate::{
    deletion_vector::DeletionVectors,
    rows::{FILE_COLUMN, ROW_COLUMN, external},
};

/// The rows of a plan that are not marked, and of its columns the first ones.
#[derive(Debug)]
pub(crate) struct LiveRows {
    rows: Arc<dyn ExecutionPlan>,
    vectors: Arc<DeletionVectors>,
    columns: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl LiveRows {
    /// `rows` has the columns [`FILE_COLUMN`] and [`ROW_COLUMN`] among others, in any order of rows;
    /// the first `columns` are let through.
    pub(crate) fn new(
        rows: Arc<dyn ExecutionPlan>,
        vectors: Arc<DeletionVectors>,
        columns: usize,
    ) -> Result<Self> {
        let columns: Vec<usize> = (0..columns).collect();
        let schema = Arc::new(rows.schema().project(&columns)?);
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            rows.output_partitioning().clone(),
            rows.pipeline_behavior(),
            rows.boundedness(),
        );
        Ok(Self { rows, vectors, columns, properties: Arc::new(properties) })
    }

    fn around(&self, rows: Arc<dyn ExecutionPlan>) -> Result<Self> {
        Self::new(rows, Arc::clone(&self.vectors), self.columns.len())
    }
}

impl DisplayAs for LiveRows {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveRows")
    }
}

impl ExecutionPlan for LiveRows {
    fn name(&self) -> &'static str {
        "LiveRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.rows]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(rows), true) => Ok(Arc::new(self.around(rows)?)),
            _ => Err(DataFusionError::Internal("LiveRows has one input".to_owned())),
        }
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        config: &ConfigOptions,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let rows = self.rows.repartitioned(target_partitions, config)?;
        rows.map(|rows| Ok(Arc::new(self.around(rows)?) as _)).transpose()
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.rows.execute(partition, task)?;
        let (vectors, columns) = (Arc::clone(&self.vectors), self.columns.clone());
        let live = rows.and_then(move |batch| {
            let (vectors, columns) = (Arc::clone(&vectors), columns.clone());
            async move { live(&batch, &vectors).await?.project(&columns).map_err(Into::into) }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), live)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema());
        if let Some(rows) = inputs.first() {
            statistics.num_rows = rows.num_rows.to_inexact();
        }
        Ok(Arc::new(statistics))
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::LowerEqual
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(filters, &self.children())
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

async fn live(batch: &RecordBatch, vectors: &DeletionVectors) -> Result<RecordBatch> {
    let internal = || DataFusionError::Internal("a scan does not say where its rows are".into());
    let files = batch.column_by_name(FILE_COLUMN).ok_or_else(internal)?;
    let files = files.as_primitive_opt::<Int32Type>().ok_or_else(internal)?.values();
    let rows = batch.column_by_name(ROW_COLUMN).ok_or_else(internal)?;
    let rows = rows.as_primitive_opt::<Int64Type>().ok_or_else(internal)?.values();
    let mut lives = Vec::with_capacity(batch.num_rows());
    while lives.len() < batch.num_rows() {
        let from = lives.len();
        let file = files[from];
        let to = files[from..].iter().position(|other| *other != file);
        let to = to.map_or(batch.num_rows(), |count| from + count);
        let index = usize::try_from(file).map_err(|_| internal())?;
        match vectors.of(index).await.map_err(external)? {
            None => lives.resize(to, true),
            Some(marked) => lives.extend(
                rows[from..to]
                    .iter()
                    .map(|row| u32::try_from(*row).is_ok_and(|row| !marked.contains(row))),
            ),
        }
    }
    if lives.iter().all(|lives| *lives) {
        return Ok(batch.clone());
    }
    Ok(filter_record_batch(batch, &BooleanArray::from(lives))?)
}
