//! `IS NOT DISTINCT FROM` and `=` never become the keys of one join.
//!
//! DataFusion 55 makes a join whose keys take NULL for equal to NULL out of `a IS NOT DISTINCT FROM b`, and
//! then forgets it: an equality that comes to the join later, from WHERE, becomes a key of the same kind;
//! and where it puts several inner joins together anew, all of them get the kind of one. Rows with NULL
//! then come that should not, or are missing. Here such a join keeps its keys, and what is beside them
//! stays a condition.

use std::sync::Arc;

use datafusion::{
    common::{
        JoinType, NullEquality,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    logical_expr::{LogicalPlan, logical_plan::Join},
    optimizer::{ApplyOrder, Optimizer, OptimizerConfig, OptimizerRule},
};

/// DataFusion's rules in their order.
pub(crate) fn logical_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let rules = Optimizer::new().rules.into_iter();
    let kept = rules.map(|rule| match rule.name() {
        "extract_equijoin_predicate" => Arc::new(Keeping { rule, at: Keeps::Node }) as _,
        "eliminate_cross_join" => Arc::new(Keeping { rule, at: Keeps::Plan }) as _,
        _ => rule,
    });
    kept.collect()
}

#[derive(Debug)]
struct Keeping {
    rule: Arc<dyn OptimizerRule + Send + Sync>,
    at: Keeps,
}

/// What the rule looks at in one go.
#[derive(Debug, Clone, Copy)]
enum Keeps {
    Node,
    Plan,
}

impl OptimizerRule for Keeping {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let keeps = match self.at {
            Keeps::Node => takes_null_for_equal(&plan),
            // Other kinds of joins are not put together anew.
            Keeps::Plan => plan.exists(|node| {
                let is_inner =
                    matches!(node, LogicalPlan::Join(join) if join.join_type == JoinType::Inner);
                Ok(is_inner && takes_null_for_equal(node))
            })?,
        };
        if keeps { Ok(Transformed::no(plan)) } else { self.rule.rewrite(plan, config) }
    }
}

fn takes_null_for_equal(plan: &LogicalPlan) -> bool {
    matches!(
        plan,
        LogicalPlan::Join(Join { on, null_equality: NullEquality::NullEqualsNull, .. })
            if !on.is_empty()
    )
}
