//! Conditions stay above plans that have several columns of one name.
//!
//! DataFusion 55 moves conditions down a physical plan, towards the files, and finds their columns
//! again by name. Of two columns `m` that a join has put side by side it takes the first: the
//! condition then decides by the wrong column, and rows come or go that should not
//! (apache/datafusion#25244, #25296; mended after 55.2 by #25259). The logical plan has moved what
//! it can by then, with names that are qualified; so what is lost here are conditions that only come
//! about while a plan runs, above joins whose columns nobody renamed.

use std::{fmt, sync::Arc};

use datafusion::{
    common::tree_node::{Transformed, TreeNode, TreeNodeRecursion},
    config::ConfigOptions,
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::PhysicalExpr,
    physical_optimizer::{
        PhysicalOptimizerRule, filter_pushdown::FilterPushdown, optimizer::PhysicalOptimizer,
    },
    physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties},
};

/// DataFusion's rules, with those that move conditions kept from plans with equal names.
pub(crate) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let moves = [FilterPushdown::new(), FilterPushdown::new_post_optimization()];
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let kept = rules.map(|rule| match moves.iter().any(|moving| moving.name() == rule.name()) {
        true => Arc::new(KeptAbove(rule)) as _,
        false => rule,
    });
    kept.collect()
}

#[derive(Debug)]
struct KeptAbove(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for KeptAbove {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let fenced = plan.transform_up(|node| {
            Ok(if has_equal_names(node.as_ref()) {
                Transformed::yes(Arc::new(Fence(node)) as _)
            } else {
                Transformed::no(node)
            })
        })?;
        let moved = self.0.optimize(fenced.data, config)?;
        if !fenced.transformed {
            return Ok(moved);
        }
        let bare = moved.transform_up(|node| {
            Ok(match node.downcast_ref::<Fence>() {
                Some(Fence(inner)) => Transformed::yes(Arc::clone(inner)),
                None => Transformed::no(node),
            })
        });
        bare.map(|bare| bare.data)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn has_equal_names(node: &dyn ExecutionPlan) -> bool {
    let schema = node.schema();
    let mut names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

/// Lets no condition through, as every plan that does not say otherwise. It is gone before a plan
/// runs.
#[derive(Debug)]
struct Fence(Arc<dyn ExecutionPlan>);

impl DisplayAs for Fence {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for Fence {
    fn name(&self) -> &'static str {
        "Fence"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.0.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.0]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let [child] = <[_; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a fence is around one plan".to_owned()))?;
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
        self.0.execute(partition, task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_rules_that_move_conditions_are_among_those_of_this_version() {
        let names: Vec<_> = physical_rules().iter().map(|rule| format!("{rule:?}")).collect();
        let kept = names.iter().filter(|name| name.starts_with("KeptAbove")).count();
        assert_eq!(kept, 2, "{names:?}");
    }
}
