//! Rows on their way out: run on the second runtime, cast for the wire, counted, bounded in time.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use futures::{Stream, StreamExt, stream::BoxStream};
use rt::shutdown::ShutdownGuard;

use crate::{admit::Permit, bounds::Counter, error::QueryError, log::QueryToken};

/// The rows of a running query. Dropping it cancels the query and frees what it holds.
pub struct QueryStream {
    schema: SchemaRef,
    rows: BoxStream<'static, Result<RecordBatch, QueryError>>,
    token: QueryToken,
    counter: Counter,
    held: Option<Held>,
}

/// What a running query holds until its last row.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) _permit: Option<Permit>,
    pub(crate) _guard: ShutdownGuard,
}

impl std::fmt::Debug for QueryStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueryStream").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl QueryStream {
    pub(crate) fn new(
        schema: SchemaRef,
        rows: BoxStream<'static, Result<RecordBatch, QueryError>>,
        token: QueryToken,
        counter: Counter,
        held: Held,
    ) -> Self {
        token.started();
        Self { schema, rows, token, counter, held: Some(held) }
    }

    /// The schema of every batch: the one that was advertised when the query was planned.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}

impl Stream for QueryStream {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.held.is_none() {
            return Poll::Ready(None);
        }
        let mut item = std::task::ready!(self.rows.poll_next_unpin(cx));
        if let Some(Ok(batch)) = &item
            && let Err(error) = self.counter.count(batch)
        {
            item = Some(Err(error));
        }
        match &item {
            Some(Ok(batch)) => self.token.add_rows(batch.num_rows()),
            Some(Err(error)) => {
                self.token.failed(error);
                self.held = None;
            }
            None => {
                self.token.succeeded();
                self.held = None;
            }
        }
        Poll::Ready(item)
    }
}
