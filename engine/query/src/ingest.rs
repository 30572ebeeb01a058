//! Rows that a client sends while they are written.
//!
//! It exists so that a client's stream takes the path that an INSERT or a CREATE TABLE AS takes: the
//! rows are one more relation of the statement, read once and as fast as they are written. Nothing
//! is collected, and a stream that breaks off ends the statement.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use arrow::{
    datatypes::{Field, Schema, SchemaRef},
    record_batch::{RecordBatch, RecordBatchOptions},
};
use datafusion::{
    catalog::streaming::StreamingTable,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use dialect::statement::NameParts;
use futures::{StreamExt, stream, stream::BoxStream};
use model::code::Code;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    command,
    error::QueryError,
    queries::{CommandResult, Queries},
    session::Session,
};

/// Rows on their way into a table.
#[derive(Debug)]
pub struct Ingest {
    /// The table as [`model::name::ObjectName::from_parts`] takes it.
    pub table: NameParts,
    /// What happens when there is no such table.
    pub if_missing: IfMissing,
    /// What happens when there is one.
    pub if_exists: IfExists,
    /// The rows.
    pub rows: Incoming,
}

/// What an ingest does when there is no such table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// The table is created as `CREATE TABLE … AS` would.
    Create,
    /// It is an error.
    Fail,
}

/// What an ingest does when there is such a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfExists {
    /// It is an error.
    Fail,
    /// The rows come as with `INSERT INTO … BY NAME`.
    Append,
    /// The table becomes what `CREATE OR REPLACE TABLE … AS` would make of it.
    Replace,
}

/// Why the rows of a client ended before their end.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct Broken {
    /// Who is at fault.
    pub code: Code,
    /// What was wrong.
    pub text: String,
}

type Rows = BoxStream<'static, Result<RecordBatch, Broken>>;

/// Rows that only one task reads: a small table has them in the order in which they came.
const READ_IN_ORDER: usize = 100_000;

/// The rows of a client. They can be read once.
#[derive(Clone)]
pub struct Incoming {
    inner: Arc<Inner>,
}

struct Inner {
    schema: SchemaRef,
    /// Whoever asks next gets the next batch. `None` when they are over.
    rows: tokio::sync::Mutex<Option<Rows>>,
    /// Rows that were read.
    count: AtomicUsize,
    /// Whether there are so many rows, or no more, that all may read.
    many: watch::Sender<bool>,
    broken: Mutex<Option<Broken>>,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("schema", &self.inner.schema).finish_non_exhaustive()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

impl Incoming {
    /// Rows with the columns of `schema`. What a client says beyond names and types is dropped: that
    /// a column has no NULL is for the table to say, and to check.
    ///
    /// [`QueryError::Invalid`] for no columns, and for two of one name.
    pub fn new(
        schema: &Schema,
        rows: impl futures::Stream<Item = Result<RecordBatch, Broken>> + Send + 'static,
    ) -> Result<Self, QueryError> {
        if schema.fields().is_empty() {
            return Err(QueryError::Invalid("the rows have no columns".to_owned()));
        }
        let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            if fields.iter().any(|known| known.name() == field.name()) {
                return Err(QueryError::Invalid(format!(
                    "the rows have two columns '{}'",
                    field.name()
                )));
            }
            fields.push(Field::new(field.name(), field.data_type().clone(), true));
        }
        let inner = Inner {
            schema: Arc::new(Schema::new(fields)),
            rows: tokio::sync::Mutex::new(Some(rows.boxed())),
            count: AtomicUsize::new(0),
            many: watch::Sender::new(false),
            broken: Mutex::new(None),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The rows as a relation of one statement, which so many tasks read: encoding them takes longer
    /// than receiving them.
    pub(crate) fn table(&self, tasks: usize) -> Result<Arc<StreamingTable>, QueryError> {
        let schema = Arc::clone(&self.inner.schema);
        let share = |number| -> Arc<dyn PartitionStream> {
            let (inner, begun) = (Arc::clone(&self.inner), AtomicBool::new(false));
            Arc::new(Share { inner, number, begun })
        };
        let shares = (0..tasks.max(1)).map(share).collect();
        Ok(Arc::new(StreamingTable::try_new(schema, shares)?))
    }

    /// Why they ended too early, if they did.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.inner.broken.lock().clone()
    }
}

impl Inner {
    /// The next batch, for whoever asks first. After an error there is none.
    async fn next(&self) -> Option<Result<RecordBatch, DataFusionError>> {
        let mut rows = self.rows.lock().await;
        let batch = match rows.as_mut() {
            Some(rows) => rows.next().await,
            None => None,
        };
        let batch = batch.map(|batch| self.batch(batch));
        let Some(Ok(some)) = &batch else {
            *rows = None;
            self.many.send_replace(true);
            return batch;
        };
        let came = some.num_rows();
        if self.count.fetch_add(came, Ordering::Relaxed) + came > READ_IN_ORDER {
            self.many.send_replace(true);
        }
        batch
    }

    /// A batch under the relation's schema, or what ends the statement.
    fn batch(&self, batch: Result<RecordBatch, Broken>) -> Result<RecordBatch, DataFusionError> {
        let batch = batch.map_err(|broken| {
            // What wraps the error on its way up need not be looked through.
            *self.broken.lock() = Some(broken.clone());
            DataFusionError::External(Box::new(broken))
        })?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let columns = batch.columns().to_vec();
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &rows)?)
    }
}

/// What one task reads of the client's rows. It reads where the plan runs, so that the next batch is
/// asked for when the last one is written.
#[derive(Debug)]
struct Share {
    inner: Arc<Inner>,
    /// The first one begins alone.
    number: usize,
    begun: AtomicBool,
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.inner.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.inner.schema);
        if self.begun.swap(true, Ordering::Relaxed) {
            let twice = DataFusionError::Internal("the rows of a client are read once".to_owned());
            let rows = stream::iter([Err(twice)]);
            return Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        }
        let (inner, alone) = (Arc::clone(&self.inner), self.number == 0);
        let rows = stream::unfold((inner, alone), |(inner, may_read)| async move {
            if !may_read {
                // The sender is in `inner`: it cannot be gone.
                let _ = inner.many.subscribe().wait_for(|many| *many).await;
            }
            let batch = inner.next().await?;
            Some((batch, (inner, true)))
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, rows))
    }
}

impl Queries {
    /// Writes a client's rows into a table: one commit, or none when the rows break off, do not
    /// fit, or this returns an error.
    ///
    /// Dropping the future cancels what has not begun to commit; a commit that began is finished.
    pub async fn ingest(
        &self,
        session: &Session,
        ingest: Ingest,
    ) -> Result<CommandResult, QueryError> {
        command::ingest::run(self, session, ingest).await
    }
}
