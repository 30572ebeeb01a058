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
use futures::{Stream, StreamExt, TryStreamExt, stream};
use query::error::QueryError;
use tonic::Status;

use super::message::{Encoder, Message};
use crate::error;

/// Bytes of one message. Well below the 16 MiB that ADBC takes and large enough for full speed.
const MESSAGE_TARGET: usize = 2 << 20;
/// Rows that small batches are put together to.
const ROWS_TARGET: usize = 8192;

/// The messages of a DoGet.
pub(super) type Messages = Pin<Box<dyn Stream<Item = Result<Message, Status>> + Send + 'static>>;

/// Encodes rows as they come. Every batch has to have `schema`. A message of more than `size_max`
/// bytes, which only a single large row can make, ends the stream with an error.
pub(super) fn rows<S>(schema: SchemaRef, rows: S, size_max: usize) -> Messages
where
    S: Stream<Item = Result<RecordBatch, QueryError>> + Send + Unpin + 'static,
{
    let (mut encoder, first) = match Encoder::new(&schema) {
        Ok(begun) => begun,
        Err(error) => return Box::pin(stream::iter([Err(not_encoded(&error))])),
    };
    // gRPC writes the length of a message in 32 bits.
    let size_max = size_max.min(u32::MAX as usize);
    let target = MESSAGE_TARGET.min(size_max / 2);
    let messages = Shaped::new(schema, rows, target).map(move |batch| {
        let batch = batch.map_err(|error| error::status(&error))?;
        let messages = encoder.encode(&batch).map_err(|error| not_encoded(&error))?;
        let sized = messages.into_iter().map(move |message| match message.len() {
            length if length > size_max => Err(too_large(length, size_max)),
            _ => Ok(message),
        });
        Ok::<_, Status>(stream::iter(sized))
    });
    Box::pin(stream::iter([Ok(first)]).chain(messages.try_flatten()))
}

/// Encodes rows that are there already.
pub(super) fn batches(schema: SchemaRef, batches: Vec<RecordBatch>, size_max: usize) -> Messages {
    rows(schema, stream::iter(batches.into_iter().map(Ok)), size_max)
}

fn not_encoded(error: &ArrowError) -> Status {
    error::internal("encode rows", error)
}

fn too_large(length: usize, size_max: usize) -> Status {
    Status::out_of_range(format!(
        "one row takes {length} bytes, and a message may have {size_max}\n\
         hint: raise server.message_size_max, or ask for fewer columns"
    ))
}

/// A stream of batches, put together and cut.
struct Shaped<S> {
    rows: S,
    /// Bytes of one message.
    target: usize,
    /// A small batch that may be the only one: then it is sent as it is.
    first: Option<RecordBatch>,
    coalescer: BatchCoalescer,
    ready: VecDeque<RecordBatch>,
    /// Comes after the rows that were read before it.
    failure: Option<QueryError>,
    ended: bool,
}

impl<S> Shaped<S> {
    fn new(schema: SchemaRef, rows: S, target: usize) -> Self {
        // A batch of half the target or more is passed on as it is, without a copy.
        let coalescer = BatchCoalescer::new(schema, ROWS_TARGET)
            .with_biggest_coalesce_batch_size(Some(ROWS_TARGET / 2));
        let (first, ready) = (None, VecDeque::new());
        Self { rows, target, first, coalescer, ready, failure: None, ended: false }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.coalescer.is_empty()
    }

    fn flush(&mut self) -> Result<(), ArrowError> {
        if let Some(only) = self.first.take() {
            cut(only, self.target, &mut self.ready);
            return Ok(());
        }
        self.coalescer.finish_buffered_batch()?;
        self.collect();
        Ok(())
    }

    fn push(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        let alone = batch.num_columns() == 0 || batch.num_rows() > ROWS_TARGET;
        if alone {
            // Not for the coalescer: it needs columns, and would cut and copy what is large.
            self.flush()?;
            cut(batch, self.target, &mut self.ready);
        } else if self.is_empty() {
            self.first = Some(batch);
        } else {
            if let Some(first) = self.first.take() {
                self.coalescer.push_batch(first)?;
            }
            self.coalescer.push_batch(batch)?;
            self.collect();
        }
        Ok(())
    }

    fn collect(&mut self) {
        while let Some(batch) = self.coalescer.next_completed_batch() {
            cut(batch, self.target, &mut self.ready);
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
                Poll::Pending if this.is_empty() => return Poll::Pending,
                Poll::Pending => this.flush(),
            };
            if let Err(error) = shaped {
                this.ended = true;
                this.failure.get_or_insert_with(|| QueryError::from(error));
            }
        }
    }
}

/// Cuts a batch into slices of at most `target` bytes; a single row is never cut.
fn cut(batch: RecordBatch, target: usize, into: &mut VecDeque<RecordBatch>) {
    let rows = batch.num_rows();
    if rows <= 1 || bytes_used(&batch) <= target {
        into.push_back(batch);
        return;
    }
    let pieces = bytes_used(&batch).div_ceil(target.max(1)).clamp(2, rows);
    let length = rows.div_ceil(pieces);
    let mut offset = 0;
    while offset < rows {
        let slice = batch.slice(offset, length.min(rows - offset));
        offset += slice.num_rows();
        // Rows differ in size: a slice may still be too large.
        cut(slice, target, into);
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
