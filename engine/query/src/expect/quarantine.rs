//! The way of rows to the quarantine: out of the plan of the result, into a plan of their own.
//!
//! Both plans run side by side. What lies between them holds few batches, so a writer that is slow
//! slows the result down, and one that fails, fails it.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
        TimestampMicrosecondArray,
    },
    buffer::BooleanBuffer,
    compute::{cast, filter_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{
        ExecutionPlan,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::stream;
use parking_lot::Mutex;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::Quarantining;
use crate::error::QueryError;

/// Column of a quarantine: the names of the expectations that the row does not meet.
pub const EXPECTATIONS: &str = "_expectations";
/// Column of a quarantine: the run that put the row there.
pub const RUN_ID: &str = "_run_id";
/// Column of a quarantine: when it did.
pub const QUARANTINED_AT: &str = "_quarantined_at";

/// Batches between the two plans, for each thread.
const BATCHES_MAX: usize = 2;

/// Refuses a result whose own columns have names that a quarantine needs.
pub(super) fn check(columns: &SchemaRef) -> Result<(), QueryError> {
    let names = [EXPECTATIONS, RUN_ID, QUARANTINED_AT];
    let taken = columns
        .fields()
        .iter()
        .find(|field| names.iter().any(|name| field.name().eq_ignore_ascii_case(name)));
    match taken {
        None => Ok(()),
        Some(field) => Err(QueryError::Invalid(format!(
            "the query has a column '{}', and QUARANTINE ROW adds one of that name to the rows \
             that it takes: give the column another name",
            field.name()
        ))),
    }
}

/// What lies between the plan of the result and that of the quarantine.
#[derive(Debug)]
pub(super) struct Quarantine {
    schema: SchemaRef,
    by: Quarantining,
    /// Empty once no more rows come.
    senders: Mutex<Vec<Sender<RecordBatch>>>,
    /// Taken by the plan.
    receivers: Mutex<Vec<Receiver<RecordBatch>>>,
}

impl Quarantine {
    pub(super) fn new(columns: &SchemaRef, by: Quarantining, streams: usize) -> Self {
        let own = columns.fields().iter().map(|field| {
            // A row may well be here because it has a NULL where there must be none.
            Arc::new(Field::new(field.name(), field.data_type().clone(), true))
        });
        let names = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let added = [
            Field::new(EXPECTATIONS, names, true),
            Field::new(RUN_ID, DataType::Utf8, true),
            Field::new(QUARANTINED_AT, time, true),
        ];
        let fields: Vec<_> = own.chain(added.map(Arc::new)).collect();
        let (senders, receivers) = (0..streams.max(1)).map(|_| channel(BATCHES_MAX)).unzip();
        Self {
            schema: Arc::new(Schema::new(fields)),
            by,
            senders: Mutex::new(senders),
            receivers: Mutex::new(receivers),
        }
    }

    pub(super) fn plan(&self) -> Option<Arc<dyn ExecutionPlan>> {
        let receivers = std::mem::take(&mut *self.receivers.lock());
        let streams = receivers.into_iter().map(|receiver| {
            let schema = Arc::clone(&self.schema);
            Arc::new(Coming { schema, receiver: Mutex::new(Some(receiver)) }) as _
        });
        let streams: Vec<Arc<dyn PartitionStream>> = streams.collect();
        if streams.is_empty() {
            return None;
        }
        let schema = Arc::clone(&self.schema);
        let plan = StreamingTableExec::try_new(schema, streams, None, [], false, None).ok()?;
        Some(Arc::new(plan))
    }

    pub(super) fn columns(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    pub(super) fn close(&self) {
        self.senders.lock().clear();
    }

    pub(super) fn entrance(&self, partition: usize) -> Option<Entrance> {
        let senders = self.senders.lock();
        let sender = senders.get(partition % senders.len().max(1))?.clone();
        Some(Entrance { schema: Arc::clone(&self.schema), by: self.by, sender })
    }
}

/// The way into the quarantine of one partition of the result.
#[derive(Debug)]
pub(super) struct Entrance {
    schema: SchemaRef,
    by: Quarantining,
    sender: Sender<RecordBatch>,
}

impl Entrance {
    /// Sends those of the rows that are `which`; `violated` has the names of expectations, each with
    /// the rows that do not meet it. Waits while the writer does not keep up.
    pub(super) async fn send(
        &self,
        rows: &RecordBatch,
        which: BooleanBuffer,
        violated: &[(&str, &BooleanBuffer)],
    ) -> Result<(), DataFusionError> {
        let mut names = ListBuilder::new(StringBuilder::new());
        for row in which.set_indices() {
            for (name, fails) in violated {
                if fails.value(row) {
                    names.values().append_value(name);
                }
            }
            names.append(true);
        }
        let rows = filter_record_batch(rows, &BooleanArray::new(which, None))?;
        let count = rows.num_rows();
        let at = TimestampMicrosecondArray::from(vec![self.by.at.as_micros(); count]);
        let run = self.by.run.to_string();
        let added: [ArrayRef; 3] = [
            Arc::new(names.finish()),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(run, count))),
            Arc::new(at.with_timezone("UTC")),
        ];
        // Whatever computes the rows, they are stored in one form.
        let own = rows.columns().iter().zip(self.schema.fields());
        let own = own.map(|(column, field)| cast(column, field.data_type()));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        let columns = own.into_iter().chain(added).collect();
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        self.sender.send(rows).await.map_err(|_| {
            DataFusionError::Execution("the rows of the quarantine cannot be written".to_owned())
        })
    }
}

/// The rows that come, once.
#[derive(Debug)]
struct Coming {
    schema: SchemaRef,
    receiver: Mutex<Option<Receiver<RecordBatch>>>,
}

impl PartitionStream for Coming {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = stream::unfold(self.receiver.lock().take(), |receiver| async move {
            let mut receiver = receiver?;
            let rows = receiver.recv().await?;
            Some((Ok(rows), Some(receiver)))
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows))
    }
}
