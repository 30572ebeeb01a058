//! Rows on their way out: run on the second runtime, cast for the wire, counted, bounded in time.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use futures::{Stream, StreamExt, stream::BoxStream, task::AtomicWaker};
use model::id::QueryId;
use parking_lot::Mutex;
use rt::{cpu::CpuTask, shutdown::ShutdownGuard};

use crate::{admit::Permit, bounds::Counter, error::QueryError, log::QueryToken};

/// The rows of a running query. Dropping it cancels the query and frees what it holds; so does
/// whoever ends the query, also while nobody asks for rows.
pub struct QueryStream {
    schema: SchemaRef,
    source: Arc<Source>,
    token: QueryToken,
    counter: Counter,
    over: bool,
}

/// What runs, until it ends or is ended.
struct Source {
    running: Mutex<Option<Running>>,
    /// Who waits for rows.
    reader: AtomicWaker,
}

struct Running {
    rows: BoxStream<'static, Result<RecordBatch, QueryError>>,
    _held: Held,
}

/// What a running query holds until its last row.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) _permit: Option<Permit>,
    pub(crate) _guard: ShutdownGuard,
    /// Ends the query when its time is over.
    pub(crate) _time: Option<CpuTask<()>>,
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
        let running = Mutex::new(Some(Running { rows, _held: held }));
        let source = Arc::new(Source { running, reader: AtomicWaker::new() });
        token.reins().when_ended({
            let source = Arc::clone(&source);
            move || {
                drop(source.take());
                source.reader.wake();
            }
        });
        Self { schema, source, token, counter, over: false }
    }

    /// Its id in `system.queries`.
    #[must_use]
    pub fn query_id(&self) -> QueryId {
        self.token.id()
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
        if self.over {
            return Poll::Ready(None);
        }
        self.source.reader.register(cx.waker());
        let mut item = match &mut *self.source.running.lock() {
            Some(running) => std::task::ready!(running.rows.poll_next_unpin(cx)),
            None => match self.token.reins().goes_on() {
                Ok(()) => None,
                Err(ended) => Some(Err(ended)),
            },
        };
        if let Some(Ok(batch)) = &item
            && let Err(error) = self.counter.count(batch)
        {
            item = Some(Err(error));
        }
        match &item {
            Some(Ok(batch)) => self.token.add_rows(batch.num_rows()),
            Some(Err(error)) => {
                self.token.failed(error);
                self.end();
            }
            None => {
                self.token.succeeded();
                self.end();
            }
        }
        Poll::Ready(item)
    }
}

impl QueryStream {
    fn end(&mut self) {
        self.over = true;
        drop(self.source.take());
    }
}

impl Source {
    fn take(&self) -> Option<Running> {
        self.running.lock().take()
    }
}

impl Drop for QueryStream {
    fn drop(&mut self) {
        self.end();
    }
}
