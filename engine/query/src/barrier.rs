//! What stays between a table's policy and the rest of a statement.
//!
//! A row filter only hides rows if nothing of the statement is evaluated below it: a condition such
//! as `1 / (salary - 5) = 0` would tell by its error what a hidden row holds. DataFusion moves
//! conditions towards the files wherever it can, in the logical plan and again in the physical one;
//! this node, which changes no row, lets none through. Columns that nobody needs are left out, and
//! limits go through.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{DFSchemaRef, tree_node::TreeNodeRecursion},
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext, context::QueryPlanner},
    logical_expr::{
        Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
        physical_planning_context::PhysicalPlanningContext,
    },
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        stream::RecordBatchStreamAdapter,
    },
    physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner},
};

use futures::TryStreamExt;

use crate::expect::Gates;

/// The plan with a barrier on top.
pub(crate) fn above(plan: LogicalPlan) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(Barrier(plan)) })
}

/// Whether a node is such a barrier.
pub(crate) fn is_one(node: &Extension) -> bool {
    node.node.as_any().is::<Barrier>()
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
struct Barrier(LogicalPlan);

impl UserDefinedLogicalNodeCore for Barrier {
    fn name(&self) -> &'static str {
        "Barrier"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.0]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.0.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Barrier")
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        match (inputs.pop(), inputs.is_empty()) {
            (Some(input), true) => Ok(Self(input)),
            _ => Err(DataFusionError::Internal("a barrier is above one plan".to_owned())),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// Whether a plan is a barrier over another one.
pub(crate) fn is_barrier(plan: &dyn ExecutionPlan) -> bool {
    plan.is::<BarrierExec>()
}

/// DataFusion's planner, which knows barriers, and the gates of transforms.
#[derive(Debug)]
pub(crate) struct Planner;

#[async_trait]
impl QueryPlanner for Planner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![
            Arc::new(Barriers),
            Arc::new(Gates),
        ]);
        planner.create_physical_plan(plan, session).await
    }
}

struct Barriers;

#[async_trait]
impl ExtensionPlanner for Barriers {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(match (node.as_any().is::<Barrier>(), inputs) {
            (true, [input]) => Some(Arc::new(BarrierExec::above(Arc::clone(input)))),
            _ => None,
        })
    }
}

/// Says of itself what its input says, and lets no condition through, as every plan that does not
/// say otherwise. It counts the rows that it lets through: how many there are below it is nobody's
/// business above it.
#[derive(Debug)]
struct BarrierExec {
    input: Arc<dyn ExecutionPlan>,
    metrics: ExecutionPlanMetricsSet,
}

impl BarrierExec {
    fn above(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl DisplayAs for BarrierExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for BarrierExec {
    fn name(&self) -> &'static str {
        "Barrier"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
            .map_err(|_| DataFusionError::Internal("a barrier is above one plan".to_owned()))?;
        Ok(Arc::new(Self::above(child)))
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
        let rows = MetricBuilder::new(&self.metrics).output_rows(partition);
        let shown = self.input.execute(partition, task)?;
        let schema = shown.schema();
        let shown = shown.inspect_ok(move |batch| rows.add(batch.num_rows()));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, shown)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
