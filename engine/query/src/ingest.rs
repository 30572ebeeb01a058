//! Rows that a client sends while they are written.
//!
//! It exists so that a client's stream takes the path that an INSERT or a CREATE TABLE AS takes: the
//! rows are one more relation of the statement, read once and as fast as they are written. Nothing
//! is collected, and a stream that breaks off ends the statement.

use std::{fmt, sync::Arc};

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

/// The rows of a client. They can be read once.
#[derive(Clone)]
pub struct Incoming {
    inner: Arc<Inner>,
}

struct Inner {
    schema: SchemaRef,
    rows: Mutex<Option<Rows>>,
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
        let schema = Arc::new(Schema::new(fields));
        let rows = Mutex::new(Some(rows.boxed()));
        Ok(Self { inner: Arc::new(Inner { schema, rows, broken: Mutex::new(None) }) })
    }

    /// The rows as a relation of one statement.
    pub(crate) fn table(&self) -> Result<Arc<StreamingTable>, QueryError> {
        let schema = Arc::clone(&self.inner.schema);
        let partition = Arc::new(OnePartition(Arc::clone(&self.inner)));
        Ok(Arc::new(StreamingTable::try_new(schema, vec![partition])?))
    }

    /// Why they ended too early, if they did.
    pub(crate) fn broken(&self) -> Option<Broken> {
        self.inner.broken.lock().clone()
    }
}

impl Inner {
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

/// Reads the client's rows where the plan runs, so that the next batch is asked for when the last
/// one is written.
#[derive(Debug)]
struct OnePartition(Arc<Inner>);

impl PartitionStream for OnePartition {
    fn schema(&self) -> &SchemaRef {
        &self.0.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let schema = Arc::clone(&self.0.schema);
        let Some(rows) = self.0.rows.lock().take() else {
            let twice = DataFusionError::Internal("the rows of a client are read once".to_owned());
            let rows = stream::iter([Err(twice)]);
            return Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        };
        let inner = Arc::clone(&self.0);
        let rows = rows.map(move |batch| inner.batch(batch));
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
