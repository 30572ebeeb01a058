//! Rows as Flight messages.
//!
//! The schema goes first, exactly the one that was advertised. Small batches are put together while
//! more rows are ready anyway, large ones are cut by the bytes that their rows really use, so that
//! a message stays near [`MESSAGE_TARGET`] whatever the plan hands out. Nothing is read ahead: the
//! next batch is asked for when the transport has taken the last message.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use arrow::{
    array::Array, compute::BatchCoalescer, datatypes::SchemaRef, error::ArrowError,
    record_batch::RecordBatch,
};
use arrow_flight::{FlightData, encode::FlightDataEncoderBuilder, error::FlightError};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use query::error::QueryError;
use tonic::Status;

use crate::error;

/// Bytes of one message. Well below the 16 MiB that ADBC takes and large enough for full speed.
const MESSAGE_TARGET: usize = 2 << 20;
/// Rows that small batches are put together to.
const ROWS_TARGET: usize = 8192;

/// The messages of a DoGet.
pub(super) type FlightStream =
    Pin<Box<dyn Stream<Item = Result<FlightData, Status>> + Send + 'static>>;

/// Encodes rows as they come. Every batch has to have `schema`.
pub(super) fn rows<S>(schema: SchemaRef, rows: S) -> FlightStream
where
    S: Stream<Item = Result<RecordBatch, QueryError>> + Send + Unpin + 'static,
{
    let shaped = Shaped::new(SchemaRef::clone(&schema), rows);
    // Batches arrive cut, so the encoder, which would count whole buffers for a slice, cuts nothing.
    let messages = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(usize::MAX)
        .build(shaped.map_err(|error| FlightError::from(error::status(&error))));
    Box::pin(messages.map_err(|error| match error {
        FlightError::Tonic(status) => *status,
        other => error::internal("encode rows", &other),
    }))
}

/// Encodes rows that are there already.
pub(super) fn batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> FlightStream {
    rows(schema, stream::iter(batches.into_iter().map(Ok)))
}

/// A stream of batches, put together and cut.
struct Shaped<S> {
    rows: S,
    coalescer: BatchCoalescer,
    ready: VecDeque<RecordBatch>,
    /// Comes after the rows that were read before it.
    failure: Option<QueryError>,
    ended: bool,
}

impl<S> Shaped<S> {
    fn new(schema: SchemaRef, rows: S) -> Self {
        // A batch of half the target or more is passed on as it is, without a copy.
        let coalescer = BatchCoalescer::new(schema, ROWS_TARGET)
            .with_biggest_coalesce_batch_size(Some(ROWS_TARGET / 2));
        Self { rows, coalescer, ready: VecDeque::new(), failure: None, ended: false }
    }

    fn flush(&mut self) -> Result<(), ArrowError> {
        self.coalescer.finish_buffered_batch()?;
        self.collect();
        Ok(())
    }

    fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        let alone = batch.num_columns() == 0 || batch.num_rows() > ROWS_TARGET;
        if alone {
            // Not for the coalescer: it needs columns, and would cut and copy what is large.
            self.flush()?;
            cut(batch, &mut self.ready);
        } else {
            self.coalescer.push_batch(batch)?;
            self.collect();
        }
        Ok(())
    }

    fn collect(&mut self) {
        while let Some(batch) = self.coalescer.next_completed_batch() {
            cut(batch, &mut self.ready);
        }
    }
}

impl<S> Stream for Shaped<S>
where
    S: Stream<Item = Result<RecordBatch, QueryError>> + Unpin,
{
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Some(batch) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(batch)));
            }
            if this.ended {
                return Poll::Ready(this.failure.take().map(Err));
            }
            let shaped = match this.rows.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) if batch.num_rows() == 0 => continue,
                Poll::Ready(Some(Ok(batch))) => this.push(batch),
                Poll::Ready(Some(Err(error))) => {
                    this.ended = true;
                    this.failure = Some(error);
                    this.flush()
                }
                Poll::Ready(None) => {
                    this.ended = true;
                    this.flush()
                }
                // Rows that are here do not wait for rows that are not.
                Poll::Pending if this.coalescer.is_empty() => return Poll::Pending,
                Poll::Pending => this.flush(),
            };
            if let Err(error) = shaped {
                this.ended = true;
                this.failure.get_or_insert_with(|| QueryError::from(error));
            }
        }
    }
}

/// Cuts a batch into slices of at most [`MESSAGE_TARGET`] bytes; a single row is never cut.
fn cut(batch: RecordBatch, into: &mut VecDeque<RecordBatch>) {
    let rows = batch.num_rows();
    if rows <= 1 || bytes_used(&batch) <= MESSAGE_TARGET {
        into.push_back(batch);
        return;
    }
    let pieces = bytes_used(&batch).div_ceil(MESSAGE_TARGET).clamp(2, rows);
    let length = rows.div_ceil(pieces);
    let mut offset = 0;
    while offset < rows {
        let slice = batch.slice(offset, length.min(rows - offset));
        offset += slice.num_rows();
        // Rows differ in size: a slice may still be too large.
        cut(slice, into);
    }
}

/// Bytes of the rows of a batch, without the rest of the buffers that it may be a slice of.
fn bytes_used(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    columns
        .map(|column| {
            let exact = column.to_data().get_slice_memory_size();
            exact.unwrap_or_else(|_| column.get_buffer_memory_size())
        })
        .sum()
}

#[cfg(test)]
mod tests;
