//! Window functions that need all rows of a partition at once count what they hold.
//!
//! DataFusion's operator keeps such rows in memory, cannot spill, and asks nobody. What is below it
//! here asks for it, so that a statement with too many of them ends with an error instead of the
//! process. Window functions whose frames move along need some rows only.

use std::{fmt, sync::Arc};

use arrow::record_batch::RecordBatch;
use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    config::ConfigOptions,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryConsumer},
    physical_expr::PhysicalExpr,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
        execution_plan::ChildrenPropertiesMode, spill::get_record_batch_memory_size,
        stream::RecordBatchStreamAdapter, windows::WindowAggExec,
    },
};
use futures::StreamExt;

/// Puts the count below each operator that keeps rows.
#[derive(Debug)]
pub(crate) struct Windows;

impl PhysicalOptimizerRule for Windows {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let counted = plan.transform_up(|node| {
            let Some(window) = node.downcast_ref::<WindowAggExec>() else {
                return Ok(Transformed::no(node));
            };
            let rows = Arc::new(HeldRows(Arc::clone(window.input())));
            let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
            Ok(Transformed::yes(node.replace_children(vec![rows], same)?))
        });
        counted.map(|counted| counted.data)
    }

    fn name(&self) -> &'static str {
        "windows"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Rows that are all held by what is above.
#[derive(Debug)]
struct HeldRows(Arc<dyn ExecutionPlan>);

impl DisplayAs for HeldRows {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for HeldRows {
    fn name(&self) -> &'static str {
        "HeldRows"
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
            .map_err(|_| DataFusionError::Internal("held rows are of one plan".to_owned()))?;
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
        let held = MemoryConsumer::new(format!("a window over all rows [{partition}]"))
            .register(task.memory_pool());
        let rows = self.0.execute(partition, task)?.map(move |batch| {
            let batch: RecordBatch = batch?;
            // The operator keeps the batches and then puts them into one.
            held.try_grow(2 * get_record_batch_memory_size(&batch))?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
