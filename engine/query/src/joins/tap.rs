//! Plans whose rows somebody hands over, and the larger side of a join, which is read once.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use datafusion::{
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result},
    execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
        PlanProperties,
        execution_plan::{Boundedness, EmissionType},
    },
};
use futures::Stream;
use parking_lot::Mutex;

use super::{Plan, build::Build};

/// Stands for a plan: says of itself what that says, and has the rows that it is given.
pub(super) struct Tap {
    input: Plan,
    properties: Arc<PlanProperties>,
    rows: Mutex<HashMap<usize, SendableRecordBatchStream>>,
}

impl Tap {
    pub(super) fn new(input: Plan) -> Arc<Self> {
        let properties = Arc::clone(input.properties());
        Arc::new(Self { input, properties, rows: Mutex::default() })
    }

    /// With the columns and the partitions of a plan, and rows in no order.
    pub(super) fn unordered(input: Plan) -> Arc<Self> {
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        Arc::new(Self { input, properties, rows: Mutex::default() })
    }

    pub(super) fn input(&self) -> &Plan {
        &self.input
    }

    /// Gives the rows of a partition, for whoever executes it.
    pub(super) fn hand(&self, partition: usize, rows: SendableRecordBatchStream) {
        self.rows.lock().insert(partition, rows);
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("input", &self.input).finish_non_exhaustive()
    }
}

impl DisplayAs for Tap {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

impl ExecutionPlan for Tap {
    fn name(&self) -> &'static str {
        "Tap"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    /// The hash join looks for its filter in what is below.
    fn children(&self) -> Vec<&Plan> {
        vec![&self.input]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let [input] = <[Plan; 1]>::try_from(children)
            .map_err(|_| DataFusionError::Internal("a tap has one input".to_owned()))?;
        Ok(Self::new(input))
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.rows.lock().remove(&partition);
        rows.ok_or_else(|| DataFusionError::Internal("rows of a join are read once".to_owned()))
    }
}

/// A partition of the larger side, which the hash join reads, or its owner when that gave up.
pub(super) struct Probe {
    rows: Arc<Mutex<SendableRecordBatchStream>>,
    is_read: Arc<AtomicBool>,
}

impl Probe {
    pub(super) fn new(rows: SendableRecordBatchStream) -> Self {
        Self { rows: Arc::new(Mutex::new(rows)), is_read: Arc::default() }
    }

    /// Whether the hash join has begun to read it.
    pub(super) fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Relaxed)
    }

    /// For the hash join. Once it reads here, it holds the smaller side itself.
    pub(super) fn rows(&self, build: Arc<Build>) -> SendableRecordBatchStream {
        let schema = self.rows.lock().schema();
        let (rows, is_read) = (Arc::clone(&self.rows), Arc::clone(&self.is_read));
        Box::pin(ProbeRows { rows, is_read, build: Some(build), schema })
    }

    /// For its owner.
    pub(super) fn into_rows(self) -> impl Stream<Item = Result<RecordBatch>> + Unpin {
        let rows = self.rows;
        futures::stream::poll_fn(move |context| rows.lock().as_mut().poll_next(context))
    }
}

struct ProbeRows {
    rows: Arc<Mutex<SendableRecordBatchStream>>,
    is_read: Arc<AtomicBool>,
    build: Option<Arc<Build>>,
    schema: SchemaRef,
}

impl Stream for ProbeRows {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(build) = self.build.take() {
            self.is_read.store(true, Ordering::Relaxed);
            build.forget();
        }
        self.rows.lock().as_mut().poll_next(context)
    }
}

impl RecordBatchStream for ProbeRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
