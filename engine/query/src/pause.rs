//! Operators that make more rows than they read let others go on in between.
//!
//! DataFusion counts what a task does where rows are read, and lets the task pause when it was
//! enough. One batch that is read can become millions of rows in a join, though, and all the while
//! the thread would belong to that one statement: others would wait, and cancelling it would too.
//! Each batch that such an operator makes is counted as well.

use std::sync::Arc;

use datafusion::{
    common::tree_node::{Transformed, TreeNode},
    config::ConfigOptions,
    error::Result,
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        joins::{CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec},
        unnest::UnnestExec,
    },
};

use crate::joins::SpillingJoin;

/// Puts a pause behind each join and each UNNEST.
#[derive(Debug)]
pub(crate) struct Pauses;

impl PhysicalOptimizerRule for Pauses {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let paused = plan.transform_up(|node| {
            Ok(if multiplies(node.as_ref()) {
                Transformed::yes(Arc::new(CooperativeExec::new(node)) as _)
            } else {
                Transformed::no(node)
            })
        });
        paused.map(|paused| paused.data)
    }

    fn name(&self) -> &'static str {
        "pauses"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a plan compares rows pair by pair. Such a join can look at millions of pairs between two
/// batches that it makes, and nothing from outside makes it pause there.
pub(crate) fn may_not_pause(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let pairs = |node: &Arc<dyn ExecutionPlan>| {
        Ok(node.is::<NestedLoopJoinExec>() || node.is::<CrossJoinExec>())
    };
    plan.exists(pairs).unwrap_or(true)
}

fn multiplies(node: &dyn ExecutionPlan) -> bool {
    node.is::<HashJoinExec>()
        || node.is::<SpillingJoin>()
        || node.is::<NestedLoopJoinExec>()
        || node.is::<CrossJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<UnnestExec>()
}

#[cfg(test)]
mod tests;
