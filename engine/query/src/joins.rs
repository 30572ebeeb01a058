//! Hash joins that write to disk what does not fit into memory.
//!
//! DataFusion's hash join keeps its smaller side in memory and ends its statement when there is not
//! enough. Here the rows of that side are collected first, with the memory for their hash table.
//! When they fit they are handed to the hash join, which does as ever. When they do not, both sides
//! are split by another hash of their keys into buckets on disk, and the buckets are joined one after
//! the other, each by such a join again (a Grace hash join: Kitsuregawa, Tanaka and Moto-oka, 1983).
//!
//! Rows with equal keys are in one bucket, so each kind of join does with its bucket what it would do
//! with all rows. A bucket of one key is not split again: many rows of one key have to fit.
//!
//! `NOT IN` asks two things of its list as a whole, whether it has a NULL and whether it is empty, and
//! both are known once that is split.

mod bucket;
mod build;
mod split;
mod tap;

use std::{fmt, sync::Arc};

use arrow::record_batch::RecordBatch;
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
        ChildStats, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties,
        InputDistributionRequirements, PlanProperties, ReplaceChildrenOptions, StatisticsArgs,
        execution_plan::ChildrenPropertiesMode,
        joins::{HashJoinExec, PartitionMode},
        limit::LocalLimitExec,
        metrics::{ExecutionPlanMetricsSet, MetricsSet, SpillMetrics},
        sorts::sort::SortExec,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{
    StreamExt,
    future::{Either, select},
    stream,
};
use tokio_util::sync::CancellationToken;

use self::{
    build::{Build, Layout},
    split::Split,
    tap::{Probe, Tap},
};

type Plan = Arc<dyn ExecutionPlan>;

/// How often rows are split. Each time makes them [`split::BUCKETS`] times fewer.
const DEPTH_MAX: u32 = 6;

/// Lets hash joins write to disk what does not fit into memory.
#[derive(Debug)]
pub(crate) struct SpillingJoins;

impl PhysicalOptimizerRule for SpillingJoins {
    fn optimize(&self, plan: Plan, _: &ConfigOptions) -> Result<Plan> {
        let joins = plan.transform_up(|node| match node.downcast_ref::<HashJoinExec>() {
            Some(join) if is_split(join) => Ok(Transformed::yes(Arc::new(SpillingJoin::over(
                node,
                0,
                ExecutionPlanMetricsSet::new(),
            )?) as Plan)),
            _ => Ok(Transformed::no(node)),
        });
        joins.map(|joins| joins.data)
    }

    fn name(&self) -> &'static str {
        "spilling_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The library plans `NOT IN` with no condition beside it, and says nothing of one that would have it.
fn is_split(join: &HashJoinExec) -> bool {
    let is_plain = !join.null_aware || (join.filter.is_none() && join.on.len() == 1);
    is_plain && join.mode != PartitionMode::Auto
}

/// A hash join that splits its sides when the smaller one does not fit into memory. It is shown as
/// the hash join that it is.
#[derive(Debug)]
pub(crate) struct SpillingJoin {
    /// The [`HashJoinExec`], above a [`Tap`] for each side.
    hash: Plan,
    left: Arc<Tap>,
    right: Arc<Tap>,
    /// How often the rows were split already.
    depth: u32,
    /// One for all partitions, or one for each.
    builds: Vec<Arc<Build>>,
    /// Whether a partition had to write to disk. Those that only wait for it do too then, since the
    /// hash join may wait for all of its partitions before it reads the larger side.
    spills: CancellationToken,
    /// What was written to disk, by the joins of buckets too.
    metrics: ExecutionPlanMetricsSet,
}

impl SpillingJoin {
    /// Over a [`HashJoinExec`].
    fn over(hash: Plan, depth: u32, metrics: ExecutionPlanMetricsSet) -> Result<Self> {
        let (left, right) = {
            let join = hash_join(&hash)?;
            (Tap::new(Arc::clone(join.left())), Tap::new(Arc::clone(join.right())))
        };
        let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        let taps = vec![Arc::clone(&left) as Plan, Arc::clone(&right) as Plan];
        let hash = hash.replace_children(taps, same)?;
        let builds = match hash_join(&hash)?.mode {
            PartitionMode::CollectLeft => 1,
            _ => left.input().output_partitioning().partition_count(),
        };
        Ok(Self {
            hash,
            left,
            right,
            depth,
            builds: (0..builds).map(|_| Arc::default()).collect(),
            spills: CancellationToken::new(),
            metrics,
        })
    }

    fn join(&self) -> Result<&HashJoinExec> {
        hash_join(&self.hash)
    }
}

fn hash_join(plan: &Plan) -> Result<&HashJoinExec> {
    let join = plan.downcast_ref::<HashJoinExec>();
    join.ok_or_else(|| DataFusionError::Internal("a spilling join is a hash join".to_owned()))
}

impl DisplayAs for SpillingJoin {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.hash.fmt_as(form, f)
    }
}

impl ExecutionPlan for SpillingJoin {
    fn name(&self) -> &'static str {
        "HashJoinExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.hash.properties()
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        self.hash.input_distribution_requirements()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        self.hash.maintains_input_order()
    }

    fn children(&self) -> Vec<&Plan> {
        vec![self.left.input(), self.right.input()]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Plan>) -> Result<Plan> {
        let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, anew)
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Plan>,
        options: ReplaceChildrenOptions,
    ) -> Result<Plan> {
        let hash = Arc::clone(&self.hash).replace_children(children, options)?;
        Ok(Arc::new(Self::over(hash, self.depth, ExecutionPlanMetricsSet::new())?))
    }

    fn reset_state(self: Arc<Self>) -> Result<Plan> {
        let same = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
        let inputs = vec![Arc::clone(self.left.input()), Arc::clone(self.right.input())];
        let hash = Arc::clone(&self.hash).reset_state()?.replace_children(inputs, same)?;
        Ok(Arc::new(Self::over(hash, self.depth, ExecutionPlanMetricsSet::new())?))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.hash.apply_expressions(f)
    }

    fn dynamic_expressions_produced(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.hash.dynamic_expressions_produced()
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let join = self.join()?;
        let (of_build, of_left) = match join.mode {
            PartitionMode::CollectLeft => (0, 0),
            _ => (partition, partition),
        };
        let build = Arc::clone(&self.builds[of_build]);
        build.begin(|| self.left.input().execute(of_left, Arc::clone(&task)), &task)?;
        let probe = Probe::new(self.right.input().execute(partition, Arc::clone(&task))?);
        let part = Part {
            hash: Arc::clone(&self.hash),
            left: Arc::clone(&self.left),
            right: Arc::clone(&self.right),
            of_left,
            depth: self.depth,
            build,
            spills: self.spills.clone(),
            metrics: self.metrics.clone(),
            partition,
            task,
        };
        let rows = stream::once(part.rows(probe)).flat_map(|rows| match rows {
            Ok(rows) => rows.left_stream(),
            Err(error) => stream::iter([Err(error)]).right_stream(),
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.hash.metrics().unwrap_or_default();
        self.metrics.clone_inner().iter().for_each(|metric| metrics.push(Arc::clone(metric)));
        Some(metrics)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        self.hash.child_stats_requests(partition)
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        self.hash.statistics_from_inputs(inputs, args)
    }
}

/// One partition of a join.
struct Part {
    hash: Plan,
    left: Arc<Tap>,
    right: Arc<Tap>,
    /// Which partition of the smaller side.
    of_left: usize,
    depth: u32,
    build: Arc<Build>,
    spills: CancellationToken,
    metrics: ExecutionPlanMetricsSet,
    partition: usize,
    task: Arc<TaskContext>,
}

impl Part {
    async fn rows(self, probe: Probe) -> Result<SendableRecordBatchStream> {
        if let Some(rows) = self.by_hash(&probe).await? {
            return Ok(rows);
        }
        self.spills.cancel();
        self.by_buckets(probe).await
    }

    /// The rows of the hash join; none when the smaller side does not fit, and then nothing of the
    /// larger one was read.
    async fn by_hash(&self, probe: &Probe) -> Result<Option<SendableRecordBatchStream>> {
        if !self.build.collect().await? || self.spills.is_cancelled() {
            return Ok(None);
        }
        self.left.hand(self.of_left, self.build.rows(self.left.schema()));
        self.right.hand(self.partition, probe.rows(Arc::clone(&self.build)));
        let mut rows = self.hash.execute(self.partition, Arc::clone(&self.task))?;
        let first = {
            let another_spills = std::pin::pin!(self.spills.cancelled());
            match select(rows.next(), another_spills).await {
                Either::Left((first, _)) => first,
                // The others do not wait for one that reads its larger side.
                Either::Right((_, first)) if probe.is_read() => first.await,
                Either::Right(_) => return Ok(None),
            }
        };
        match first {
            // What there was when the rows were collected others have taken since.
            Some(Err(error)) if is_short(&error) && !probe.is_read() => Ok(None),
            first => Ok(Some(self.stream(stream::iter(first).chain(rows)))),
        }
    }

    /// Splits both sides, and joins one bucket after the other.
    async fn by_buckets(self, probe: Probe) -> Result<SendableRecordBatchStream> {
        let join = hash_join(&self.hash)?;
        let layout = Layout {
            join,
            depth: self.depth,
            task: &self.task,
            written: SpillMetrics::new(&self.metrics, self.partition),
            metrics: &self.metrics,
        };
        let smaller = self.build.split(&layout).await?;
        let mut split = Split::new(layout.right_keys(), self.right.schema(), &layout);
        let mut larger = probe.into_rows();
        while let Some(batch) = larger.next().await {
            split = split.write(batch?)?;
            if join.null_aware && split.has_nulls() {
                break;
            }
            tokio::task::consume_budget().await;
        }
        drop(larger);
        let joins = smaller.joins(&layout, split.finish()?)?;
        let rows = stream::try_unfold((joins, Arc::clone(&self.task)), |(mut joins, task)| async {
            Ok(joins.next(&task).await?.map(|batch| (batch, (joins, task))))
        });
        self.in_order(self.stream(rows))
    }

    /// Buckets come in no order; what the plan promises is made anew.
    fn in_order(&self, mut rows: SendableRecordBatchStream) -> Result<SendableRecordBatchStream> {
        let join = hash_join(&self.hash)?;
        if let Some(order) = join.properties().output_ordering() {
            let tap = Tap::unordered(Arc::clone(&self.hash));
            tap.hand(self.partition, rows);
            let sort = SortExec::new(order.clone(), tap).with_preserve_partitioning(true);
            rows = sort.execute(self.partition, Arc::clone(&self.task))?;
        }
        if let Some(most) = join.fetch() {
            let tap = Tap::unordered(Arc::clone(&self.hash));
            tap.hand(self.partition, rows);
            rows =
                LocalLimitExec::new(tap, most).execute(self.partition, Arc::clone(&self.task))?;
        }
        Ok(rows)
    }

    fn stream(
        &self,
        rows: impl stream::Stream<Item = Result<RecordBatch>> + Send + 'static,
    ) -> SendableRecordBatchStream {
        Box::pin(RecordBatchStreamAdapter::new(self.hash.schema(), rows))
    }
}

fn is_short(error: &DataFusionError) -> bool {
    matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
}

#[cfg(test)]
pub(crate) mod tests;
