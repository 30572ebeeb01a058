//! The joins of buckets.
//!
//! No hash table is shared: each join of a bucket belongs to one partition, which drops it before the
//! next. So a partition that is faster than another one does not keep more of them in memory.

use std::{collections::VecDeque, fmt, sync::Arc};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use datafusion::{
    common::{JoinType, tree_node::TreeNodeRecursion},
    error::Result,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr, expressions::is_not_null},
    physical_plan::{
        DisplayAs, DisplayFormatType, EmptyRecordBatchStream, ExecutionPlan,
        ExecutionPlanProperties, Partitioning, PlanProperties, SpillManager,
        execution_plan::{Boundedness, EmissionType},
        filter::FilterExec,
        joins::PartitionMode,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::{
    DEPTH_MAX, Plan, SpillingJoin,
    build::Layout,
    split::{BUCKETS, File, Splits},
};

/// The smaller side on disk.
pub(super) struct Smaller {
    files: Vec<File>,
    rows: [usize; BUCKETS],
    larger: Mutex<Larger>,
}

/// The larger side of a join that also tells of rows of the smaller one: whether a row of that found
/// another is known when all partitions were asked, so the one that is split last joins for all.
struct Larger {
    awaited: usize,
    /// Of each bucket.
    files: Vec<Vec<File>>,
    has_rows: bool,
    has_nulls: bool,
}

impl Larger {
    fn new(awaited: usize) -> Self {
        let files = vec![Vec::new(); BUCKETS];
        Self { awaited, files, has_rows: false, has_nulls: false }
    }

    fn add(&mut self, split: Splits) {
        self.has_rows |= split.rows.iter().any(|rows| *rows > 0);
        self.has_nulls |= split.has_nulls;
        self.files.iter_mut().zip(split.files).for_each(|(of, file)| of.push(file));
    }
}

impl Smaller {
    pub(super) fn new(layout: &Layout<'_>, split: Splits) -> Self {
        let join = layout.join;
        let tells_of_smaller = match join.join_type() {
            JoinType::Left
            | JoinType::Full
            | JoinType::LeftSemi
            | JoinType::LeftAnti
            | JoinType::LeftMark => true,
            JoinType::Inner
            | JoinType::Right
            | JoinType::RightSemi
            | JoinType::RightAnti
            | JoinType::RightMark => false,
        };
        let awaited = match join.mode {
            PartitionMode::CollectLeft if tells_of_smaller => {
                join.right().output_partitioning().partition_count()
            }
            _ => 1,
        };
        let larger = Mutex::new(Larger::new(awaited));
        Self { files: split.files, rows: split.rows, larger }
    }

    /// The joins of a partition whose larger side is `split`: none when another one does them.
    pub(super) fn joins(&self, layout: &Layout<'_>, split: Splits) -> Result<BucketJoins> {
        let larger = {
            let mut larger = self.larger.lock();
            larger.add(split);
            if larger.awaited > 1 {
                larger.awaited -= 1;
                return Ok(BucketJoins::default());
            }
            // Each partition of a join that tells of its larger side only has buckets of its own.
            std::mem::replace(&mut *larger, Larger::new(1))
        };
        let is_not_in = layout.join.null_aware;
        // Nothing is known to be missing in a list with a NULL, and all is in one without rows.
        if is_not_in && larger.has_nulls {
            return Ok(BucketJoins::default());
        }
        let has_no_nulls = is_not_in && larger.has_rows;
        let all: usize = self.rows.iter().sum();
        let buckets = self.files.iter().zip(self.rows).zip(larger.files);
        let joins = buckets.map(|((file, rows), larger)| {
            let (left, right) = (layout.join.left().schema(), layout.join.right().schema());
            let left = SpilledRows::new(layout.manager(left), vec![file.clone()]) as Plan;
            let left = match has_no_nulls {
                true => with_keys(left, &layout.left_keys())?,
                false => left,
            };
            let right = SpilledRows::new(layout.manager(right), larger);
            let join = layout
                .join
                .builder()
                .reset_state()
                .with_new_children(vec![left, right])?
                .with_partition_mode(PartitionMode::CollectLeft)
                .with_null_aware(false)
                .recompute_properties()
                .build_exec()?;
            // Rows that are all in one bucket have one key: no hash will tell them apart.
            Ok(match layout.depth < DEPTH_MAX && rows < all {
                true => {
                    let metrics = layout.metrics.clone();
                    Arc::new(SpillingJoin::over(join, layout.depth + 1, metrics)?) as Plan
                }
                false => join,
            })
        });
        Ok(BucketJoins { joins: joins.collect::<Result<_>>()?, rows: None })
    }
}

/// The rows none of whose keys is NULL.
fn with_keys(rows: Plan, keys: &[Arc<dyn PhysicalExpr>]) -> Result<Plan> {
    keys.iter().try_fold(rows, |rows, key| {
        Ok(Arc::new(FilterExec::try_new(is_not_null(Arc::clone(key))?, rows)?) as Plan)
    })
}

/// One join for each bucket.
#[derive(Default)]
pub(super) struct BucketJoins {
    joins: VecDeque<Plan>,
    /// What is left of the one before them.
    rows: Option<SendableRecordBatchStream>,
}

impl BucketJoins {
    /// The next rows.
    pub(super) async fn next(&mut self, task: &Arc<TaskContext>) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(rows) = &mut self.rows {
                if let Some(batch) = rows.try_next().await? {
                    return Ok(Some(batch));
                }
                self.rows = None;
            }
            let Some(join) = self.joins.pop_front() else { return Ok(None) };
            self.rows = Some(join.execute(0, Arc::clone(task))?);
        }
    }
}

/// Rows on disk: those of one file after the other.
struct SpilledRows {
    manager: SpillManager,
    files: Vec<File>,
    properties: Arc<PlanProperties>,
}

impl SpilledRows {
    fn new(manager: SpillManager, files: Vec<File>) -> Arc<Self> {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(manager.schema())),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Arc::new(Self { manager, files, properties: Arc::new(properties) })
    }
}

impl fmt::Debug for SpilledRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpilledRows").finish_non_exhaustive()
    }
}

impl DisplayAs for SpilledRows {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpilledRows")
    }
}

impl ExecutionPlan for SpilledRows {
    fn name(&self) -> &'static str {
        "SpilledRows"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Plan> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Plan>) -> Result<Plan> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema: SchemaRef = Arc::clone(self.manager.schema());
        let files: Vec<_> = self.files.iter().flatten().map(Arc::clone).collect();
        let manager = self.manager.clone();
        Ok(match files.is_empty() {
            true => Box::pin(EmptyRecordBatchStream::new(schema)),
            false => {
                let rows = stream::iter(files)
                    .map(move |file| manager.read_spill_as_stream(file, None))
                    .try_flatten();
                Box::pin(RecordBatchStreamAdapter::new(schema, rows))
            }
        })
    }
}
