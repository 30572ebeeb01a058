//! The operator that lets rows through a [`Gate`].

use std::{
    cmp, fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use async_trait::async_trait;
use datafusion::{
    catalog::Session,
    common::{DFSchemaRef, tree_node::TreeNodeRecursion},
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{
        Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore,
        physical_planning_context::PhysicalPlanningContext,
    },
    physical_expr::PhysicalExpr,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        stream::RecordBatchStreamAdapter,
    },
    physical_planner::{ExtensionPlanner, PhysicalPlanner},
};
use futures::{StreamExt, TryStreamExt, future::ready};

use super::{Condition, Gate};

/// The plan with a gate on top.
pub(super) fn above(
    input: LogicalPlan,
    gate: Arc<Gate>,
    conditions: Arc<[Condition]>,
) -> LogicalPlan {
    LogicalPlan::Extension(Extension { node: Arc::new(GateNode { input, gate, conditions }) })
}

/// No condition and no limit goes through it, and it needs every column: the conditions are planned
/// by the positions of all of them.
#[derive(Debug, Clone)]
struct GateNode {
    input: LogicalPlan,
    gate: Arc<Gate>,
    conditions: Arc<[Condition]>,
}

impl PartialEq for GateNode {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.gate, &other.gate) && self.input == other.input
    }
}

impl Eq for GateNode {}

impl PartialOrd for GateNode {
    fn partial_cmp(&self, other: &Self) -> Option<cmp::Ordering> {
        self.input.partial_cmp(&other.input)
    }
}

impl Hash for GateNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.input.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for GateNode {
    fn name(&self) -> &'static str {
        "Gate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.gate)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, inputs: Vec<LogicalPlan>) -> Result<Self> {
        let [input] = <[_; 1]>::try_from(inputs).map_err(|_| one_plan())?;
        Ok(Self { input, ..self.clone() })
    }
}

fn one_plan() -> DataFusionError {
    DataFusionError::Internal("a gate is above one plan".to_owned())
}

/// Makes the operator of a gate.
pub(crate) struct Gates;

#[async_trait]
impl ExtensionPlanner for Gates {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        Ok(match (node.as_any().downcast_ref::<GateNode>(), inputs) {
            (Some(GateNode { gate, conditions, .. }), [input]) => Some(Arc::new(GateExec {
                input: Arc::clone(input),
                gate: Arc::clone(gate),
                conditions: Arc::clone(conditions),
            })),
            _ => None,
        })
    }
}

#[derive(Debug)]
struct GateExec {
    input: Arc<dyn ExecutionPlan>,
    gate: Arc<Gate>,
    conditions: Arc<[Condition]>,
}

impl DisplayAs for GateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.gate)
    }
}

impl ExecutionPlan for GateExec {
    fn name(&self) -> &'static str {
        "Gate"
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
        let [input] = <[_; 1]>::try_from(children).map_err(|_| one_plan())?;
        let (gate, conditions) = (Arc::clone(&self.gate), Arc::clone(&self.conditions));
        Ok(Arc::new(Self { input, gate, conditions }))
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
        let entrance = self.gate.entrance(partition).map(Arc::new);
        let (gate, conditions) = (Arc::clone(&self.gate), Arc::clone(&self.conditions));
        let rows = self.input.execute(partition, task)?.then(move |rows| {
            let (gate, entrance) = (Arc::clone(&gate), entrance.clone());
            let conditions = Arc::clone(&conditions);
            async move { gate.pass(rows?, &conditions, entrance.as_deref()).await }
        });
        let rows = rows.try_filter(|rows| ready(rows.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
