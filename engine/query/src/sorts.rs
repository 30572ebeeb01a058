//! Texts that are sorted take the memory of what is sorted.
//!
//! A text of DataFusion is a view into a buffer: of the page that it was read from, or, of rows that
//! were merged, into the buffers of all rows that they were merged from. A batch holds its buffers
//! whole and counts them whole. So a sort writes to disk after few rows, and what merges its
//! partitions asks for many times of what their rows take, which it cannot write to disk. Here the
//! texts of a batch get a buffer of their own before and after a sort, where they use less than half
//! of what they hold.

use std::{fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, GenericByteViewArray},
    datatypes::{BinaryViewType, ByteViewType, DataType, StringViewType},
    record_batch::RecordBatch,
};
use datafusion::{
    common::{
        Statistics,
        tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        ReplaceChildrenOptions, StatisticsArgs, execution_plan::ChildrenPropertiesMode,
        sorts::sort::SortExec, stream::RecordBatchStreamAdapter,
    },
};
use futures::StreamExt;

/// What a batch may hold beside what it uses without being copied.
const WASTE_MAX: usize = 64 << 10;

/// Gives texts their own buffers before and after each sort.
#[derive(Debug)]
pub(crate) struct CompactSorts;

impl PhysicalOptimizerRule for CompactSorts {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let compact = plan.transform_up(|node| match node.downcast_ref::<SortExec>() {
            // One that keeps the first rows only copies them as it goes.
            Some(sort) if sort.fetch().is_none() && has_views(sort.input()) => {
                let input = Arc::new(CompactTexts(Arc::clone(sort.input())));
                let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
                let sort = node.replace_children(vec![input], same)?;
                Ok(Transformed::yes(Arc::new(CompactTexts(sort)) as Arc<dyn ExecutionPlan>))
            }
            _ => Ok(Transformed::no(node)),
        });
        compact.map(|compact| compact.data)
    }

    fn name(&self) -> &'static str {
        "compact_sorts"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn has_views(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let is_view =
        |data_type: &DataType| matches!(data_type, DataType::Utf8View | DataType::BinaryView);
    schema.fields().iter().any(|field| is_view(field.data_type()))
}

/// The same rows, whose texts hold little that they do not use.
#[derive(Debug)]
struct CompactTexts(Arc<dyn ExecutionPlan>);

impl DisplayAs for CompactTexts {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for CompactTexts {
    fn name(&self) -> &'static str {
        "CompactTexts"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [child] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("texts are of one plan".to_owned()))?;
        Ok(Arc::new(Self(child)))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let rows = self.0.execute(partition, task)?.map(|batch| compact(batch?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }
}

fn compact(batch: RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => own::<StringViewType>(column),
        DataType::BinaryView => own::<BinaryViewType>(column),
        _ => Arc::clone(column),
    });
    Ok(RecordBatch::try_new(batch.schema(), columns.collect())?)
}

fn own<T: ByteViewType>(column: &ArrayRef) -> ArrayRef {
    let views: &GenericByteViewArray<T> = column.as_byte_view();
    let held: usize = views.data_buffers().iter().map(arrow::buffer::Buffer::capacity).sum();
    if held <= WASTE_MAX || held / 2 <= views.total_buffer_bytes_used() {
        return Arc::clone(column);
    }
    Arc::new(views.gc())
}

#[cfg(test)]
mod tests;
