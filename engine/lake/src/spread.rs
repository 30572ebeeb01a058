//! One stream of rows for several writers.
//!
//! Rows that a client sends come one after the other, and encoding them costs far more than reading
//! them. What is small stays with the first writer, so that it becomes one file in its order; beyond
//! that the writers get runs of rows in turns. It never holds more than a few runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    vec,
};

use arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::{
    common::tree_node::TreeNode,
    error::{DataFusionError, Result},
    execution::SendableRecordBatchStream,
    physical_plan::{ExecutionPlan, ExecutionPlanProperties, stream::RecordBatchStreamAdapter},
};
use futures::{StreamExt, stream};
use tokio::{sync::mpsc, task::JoinSet};

/// Bytes that all go to the first writer.
const ALONE_BYTES: usize = 64 << 20;
/// Bytes of one run.
const RUN_BYTES: usize = 8 << 20;

type Run = Result<Vec<RecordBatch>>;

/// Whether the plan has one stream, and nobody has put its rows into an order.
pub(crate) fn may_be_spread(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let ordered = plan.exists(|node| Ok(node.output_ordering().is_some()));
    plan.output_partitioning().partition_count() == 1 && !ordered.unwrap_or(true)
}

/// The rows as `writers` streams that together have each row once. Has to be called in a Tokio
/// runtime. Dropping all of them ends the reading.
pub(crate) fn spread(
    rows: SendableRecordBatchStream,
    writers: usize,
) -> Vec<SendableRecordBatchStream> {
    let schema = rows.schema();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..writers.max(1)).map(|_| mpsc::channel::<Run>(1)).unzip();
    let ended = Arc::new(AtomicBool::new(false));
    let mut reading = JoinSet::new();
    reading.spawn(read(rows, senders, Arc::clone(&ended)));
    let reading = Arc::new(reading);
    let streams = receivers.into_iter().map(|runs| {
        let part = Part {
            runs,
            current: Vec::new().into_iter(),
            ended: Arc::clone(&ended),
            over: false,
            _reading: Arc::clone(&reading),
        };
        let rows = stream::unfold(part, |mut part| async move {
            let batch = part.next().await?;
            Some((batch, part))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), rows)) as _
    });
    streams.collect()
}

async fn read(
    mut rows: SendableRecordBatchStream,
    writers: Vec<mpsc::Sender<Run>>,
    ended: Arc<AtomicBool>,
) {
    let (mut read, mut next) = (0_usize, 0);
    let (mut run, mut run_bytes) = (Vec::new(), 0);
    while let Some(batch) = rows.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                // Whoever gets it ends the others; should the writer have gone, so have they.
                let _ = writers[next].send(Err(error)).await;
                return;
            }
        };
        let bytes = bytes_used(&batch);
        read = read.saturating_add(bytes);
        run_bytes += bytes;
        run.push(batch);
        let alone = read <= ALONE_BYTES;
        if !alone && run_bytes < RUN_BYTES {
            continue;
        }
        run_bytes = 0;
        if writers[next].send(Ok(std::mem::take(&mut run))).await.is_err() {
            return;
        }
        if !alone {
            next = (next + 1) % writers.len();
        }
    }
    if !run.is_empty() && writers[next].send(Ok(run)).await.is_err() {
        return;
    }
    ended.store(true, Ordering::Release);
}

/// Bytes of the rows alone: columns that came in one message share a buffer, which each would count.
fn bytes_used(batch: &RecordBatch) -> usize {
    let used = |column: &ArrayRef| {
        let exact = column.to_data().get_slice_memory_size();
        exact.unwrap_or_else(|_| column.get_buffer_memory_size())
    };
    batch.columns().iter().map(used).sum()
}

/// The rows of one writer.
struct Part {
    runs: mpsc::Receiver<Run>,
    current: vec::IntoIter<RecordBatch>,
    /// Whether all rows were read: a reader that died has closed its channels too.
    ended: Arc<AtomicBool>,
    over: bool,
    _reading: Arc<JoinSet<()>>,
}

impl Part {
    async fn next(&mut self) -> Option<Result<RecordBatch>> {
        loop {
            if self.over {
                return None;
            }
            if let Some(batch) = self.current.next() {
                return Some(Ok(batch));
            }
            match self.runs.recv().await {
                Some(Ok(run)) => self.current = run.into_iter(),
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Err(error));
                }
                None => {
                    self.over = true;
                    let all = self.ended.load(Ordering::Acquire);
                    return (!all).then(|| Err(broken_off()));
                }
            }
        }
    }
}

fn broken_off() -> DataFusionError {
    DataFusionError::Execution("the rows broke off before their end".to_owned())
}

#[cfg(test)]
mod tests;
