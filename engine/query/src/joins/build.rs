//! The smaller side of a join: collected in memory, or split when it does not fit.

use std::{fmt, sync::Arc};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use datafusion::{
    common::{
        NullEquality,
        utils::memory::{RecordBatchMemoryCounter, estimate_memory_size},
    },
    error::{DataFusionError, Result},
    execution::{
        SendableRecordBatchStream, TaskContext,
        memory_pool::{MemoryConsumer, MemoryReservation},
    },
    physical_expr::PhysicalExpr,
    physical_plan::{
        SpillManager,
        joins::HashJoinExec,
        metrics::{ExecutionPlanMetricsSet, SpillMetrics},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream};
use parking_lot::Mutex;

use super::{bucket::Smaller, split::Split};

/// How both sides of one join are split.
pub(super) struct Layout<'a> {
    pub(super) join: &'a HashJoinExec,
    /// How often the rows were split before.
    pub(super) depth: u32,
    pub(super) task: &'a TaskContext,
    pub(super) written: SpillMetrics,
    pub(super) metrics: &'a ExecutionPlanMetricsSet,
}

impl Layout<'_> {
    pub(super) fn manager(&self, schema: SchemaRef) -> SpillManager {
        SpillManager::new(self.task.runtime_env(), self.written.clone(), schema)
            .with_compression_type(self.task.session_config().spill_compression())
    }

    pub(super) fn spreads_nulls(&self) -> bool {
        self.join.null_equality == NullEquality::NullEqualsNothing
    }

    pub(super) fn left_keys(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.join.on().iter().map(|(left, _)| Arc::clone(left)).collect()
    }

    pub(super) fn right_keys(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.join.on().iter().map(|(_, right)| Arc::clone(right)).collect()
    }
}

/// The rows of the smaller side. Several partitions of a join may share them: whoever comes first
/// reads, and another one goes on where it stopped when it is no longer wanted.
#[derive(Default)]
pub(super) struct Build {
    input: tokio::sync::Mutex<Input>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Input {
    rows: Option<SendableRecordBatchStream>,
    count: usize,
    counter: RecordBatchMemoryCounter,
    split: Option<Split>,
    phase: Phase,
}

#[derive(Default, Clone)]
enum Phase {
    #[default]
    Reading,
    Fits,
    Short,
    Split(Arc<Smaller>),
    Failed(Arc<DataFusionError>),
}

/// What is in memory.
#[derive(Default)]
struct Kept {
    has_begun: bool,
    /// With the bytes that they count.
    batches: Vec<(RecordBatch, usize)>,
    /// Gone with the rows: who holds nothing is not to count among those who share the memory.
    held: Option<MemoryReservation>,
}

impl fmt::Debug for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Build").finish_non_exhaustive()
    }
}

impl Build {
    /// Where the rows come from. What is given first counts.
    pub(super) fn begin(
        &self,
        rows: impl FnOnce() -> Result<SendableRecordBatchStream>,
        task: &TaskContext,
    ) -> Result<()> {
        let mut kept = self.kept.lock();
        if !kept.has_begun {
            // Nobody reads before there is something to read.
            let mut input = self.input.try_lock().map_err(|_| {
                DataFusionError::Internal("a join is read before it began".to_owned())
            })?;
            input.rows = Some(rows()?);
            let consumer = MemoryConsumer::new("smaller side of a join").with_can_spill(true);
            kept.held = Some(consumer.register(task.memory_pool()));
            kept.has_begun = true;
        }
        Ok(())
    }

    /// Collects the rows, with what a hash table of them needs. False when they do not fit.
    pub(super) async fn collect(&self) -> Result<bool> {
        let mut input = self.input.lock().await;
        while matches!(input.phase, Phase::Reading) {
            let fits = match input.next().await? {
                Some(batch) => {
                    input.count += batch.num_rows();
                    let bytes = input.counter.count_batch(&batch);
                    let mut kept = self.kept.lock();
                    let fits = kept.grow(bytes);
                    kept.batches.push((batch, bytes));
                    fits.then_some(Phase::Reading)
                }
                None => self.kept.lock().grow(table_bytes(input.count)?).then_some(Phase::Fits),
            };
            input.phase = fits.unwrap_or(Phase::Short);
        }
        match &input.phase {
            Phase::Failed(error) => Err(DataFusionError::Shared(Arc::clone(error))),
            phase => Ok(matches!(phase, Phase::Fits)),
        }
    }

    /// The rows that were collected, which stay here too until [`Build::forget`]: who takes them
    /// finds the memory for them free, and may still come too late for it.
    pub(super) fn rows(self: &Arc<Self>, schema: SchemaRef) -> SendableRecordBatchStream {
        let (build, mut next) = (Arc::clone(self), 0);
        let rows = std::iter::from_fn(move || {
            let kept = build.kept.lock();
            let Some((batch, bytes)) = kept.batches.get(next) else {
                kept.free();
                return None;
            };
            next += 1;
            kept.shrink(*bytes);
            Some(Ok(batch.clone()))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, stream::iter(rows)))
    }

    /// The hash join has what it needs.
    pub(super) fn forget(&self) {
        let mut kept = self.kept.lock();
        (kept.batches, kept.held) = (Vec::new(), None);
    }

    /// Splits what was collected and what is still to come. Who begins may be dropped, then another
    /// one goes on.
    pub(super) async fn split(&self, layout: &Layout<'_>) -> Result<Arc<Smaller>> {
        let mut input = self.input.lock().await;
        loop {
            match &input.phase {
                Phase::Split(smaller) => return Ok(Arc::clone(smaller)),
                Phase::Failed(error) => return Err(DataFusionError::Shared(Arc::clone(error))),
                Phase::Reading | Phase::Fits | Phase::Short => {}
            }
            let kept = self.kept.lock().batches.pop();
            let batch = match kept {
                Some((batch, bytes)) => {
                    self.kept.lock().shrink(bytes);
                    Some(batch)
                }
                None => {
                    self.forget();
                    input.next().await?
                }
            };
            let split = input.split.take().unwrap_or_else(|| {
                Split::new(layout.left_keys(), layout.join.left().schema(), layout)
            });
            match batch {
                Some(batch) => {
                    let written = split.write(batch);
                    input.split = Some(written.map_err(|error| input.fail(error))?);
                    tokio::task::consume_budget().await;
                }
                None => {
                    let split = split.finish().map_err(|error| input.fail(error))?;
                    input.phase = Phase::Split(Arc::new(Smaller::new(layout, split)));
                }
            }
        }
    }
}

impl Input {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        let Some(rows) = &mut self.rows else { return Ok(None) };
        match rows.next().await {
            Some(Ok(batch)) => Ok(Some(batch)),
            Some(Err(error)) => Err(self.fail(error)),
            None => {
                self.rows = None;
                Ok(None)
            }
        }
    }

    /// All partitions end with the same error.
    fn fail(&mut self, error: DataFusionError) -> DataFusionError {
        let error = Arc::new(error);
        (self.rows, self.split) = (None, None);
        self.phase = Phase::Failed(Arc::clone(&error));
        DataFusionError::Shared(error)
    }
}

impl Kept {
    fn grow(&self, bytes: usize) -> bool {
        self.held.as_ref().is_some_and(|held| held.try_grow(bytes).is_ok())
    }

    fn shrink(&self, bytes: usize) {
        if let Some(held) = &self.held {
            held.shrink(bytes.min(held.size()));
        }
    }

    fn free(&self) {
        if let Some(held) = &self.held {
            held.free();
        }
    }
}

/// What the hash join takes for a table of so many rows, and for marking those that found another.
fn table_bytes(rows: usize) -> Result<usize> {
    /// Of the table without its rows, rounded up.
    const TABLE: usize = 128;
    let table = match u32::try_from(rows) {
        Ok(_) => estimate_memory_size::<(u32, u64)>(rows, TABLE)?,
        Err(_) => estimate_memory_size::<(u64, u64)>(rows, TABLE)?,
    };
    Ok(table + rows.div_ceil(8))
}
