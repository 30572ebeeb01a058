//! A query that is run once for each row of its parameters: its answers, one after the other.

use std::{fmt, sync::Arc};

use arrow::record_batch::RecordBatch;
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
        PlanProperties,
        coalesce_partitions::CoalescePartitionsExec,
        execution_plan::{Boundedness, EmissionType},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{TryStreamExt, stream};

use crate::error::QueryError;

/// Rows of parameters of one query: each is planned.
const ROWS_MAX: usize = 1_000;

/// The rows that a query is run for; without parameters it is run once.
pub(super) fn rows(
    parameters: Option<&RecordBatch>,
) -> Result<Vec<Option<(&RecordBatch, usize)>>, QueryError> {
    let Some(batch) = parameters else { return Ok(vec![None]) };
    match batch.num_rows() {
        0 => Err(QueryError::Invalid("no row of parameters was bound".to_owned())),
        count if count > ROWS_MAX => Err(QueryError::Invalid(format!(
            "a query takes at most {ROWS_MAX} rows of parameters and {count} were bound: \
             join with a table of them instead"
        ))),
        count => Ok((0..count).map(|row| Some((batch, row))).collect()),
    }
}

/// One plan of those for each row.
pub(super) fn one_after_another(
    mut plans: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
    let Some(first) = plans.pop() else {
        return Err(QueryError::Invalid("no row of parameters was bound".to_owned()));
    };
    if plans.is_empty() {
        return Ok(first);
    }
    plans.push(first);
    Ok(Arc::new(OneAfterAnother::new(plans)))
}

#[derive(Debug)]
struct OneAfterAnother {
    plans: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl OneAfterAnother {
    /// Of one plan at least.
    fn new(plans: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let whole = |plan: Arc<dyn ExecutionPlan>| -> Arc<dyn ExecutionPlan> {
            match plan.output_partitioning().partition_count() {
                1 => plan,
                _ => Arc::new(CoalescePartitionsExec::new(plan)),
            }
        };
        let plans: Vec<_> = plans.into_iter().map(whole).collect();
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(plans[0].schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Self { plans, properties }
    }
}

impl DisplayAs for OneAfterAnother {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ExecutionPlan for OneAfterAnother {
    fn name(&self) -> &'static str {
        "OneAfterAnother"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.plans.iter().collect()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(children)))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    /// None begins before the one before it has ended.
    fn execute(&self, _: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let plans = self.plans.clone().into_iter().map(Ok);
        let rows = stream::iter(plans)
            .and_then(move |plan| std::future::ready(plan.execute(0, Arc::clone(&task))))
            .try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
