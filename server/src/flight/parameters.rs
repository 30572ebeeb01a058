//! Bound parameters, as a DoPut carries them.

use std::panic::AssertUnwindSafe;

use arrow::{compute::concat_batches, record_batch::RecordBatch};
use arrow_flight::{FlightData, decode::FlightRecordBatchStream, error::FlightError};
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use tonic::Status;

use crate::error::invalid;

/// Rows of parameters that one statement takes.
const ROWS_MAX: usize = 1_000_000;
/// Bytes of them. They are held in memory until the statement has run or its handle is closed.
const BYTES_MAX: usize = 64 << 20;

/// Reads every row of parameters. `None` when the client sent none at all, which some do as a batch
/// without columns.
pub(super) async fn read<S>(messages: S) -> Result<Option<RecordBatch>, Status>
where
    S: Stream<Item = Result<FlightData, Status>> + Send + 'static,
{
    // A message that only carries the command has no header.
    let messages = messages
        .try_filter(|message| std::future::ready(!message.data_header.is_empty()))
        .map_err(FlightError::from);
    let decode = collect(FlightRecordBatchStream::new_from_flight_data(messages));
    // The decoder checks what it reads; should a message get past its checks, the client gets to
    // know it and not only this thread.
    AssertUnwindSafe(decode)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err(invalid("the parameters are no readable Arrow data")))
}

async fn collect(mut rows: FlightRecordBatchStream) -> Result<Option<RecordBatch>, Status> {
    let mut batches = Vec::new();
    let (mut count, mut bytes) = (0, 0);
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(read_error)?;
        count += batch.num_rows();
        bytes += batch.get_array_memory_size();
        if count > ROWS_MAX || bytes > BYTES_MAX {
            return Err(invalid(format!(
                "too many parameters: one statement takes {ROWS_MAX} rows and {} MiB of them\n\
                 hint: send them in several calls",
                BYTES_MAX >> 20
            )));
        }
        batches.push(batch);
    }
    let Some(schema) = rows.schema().cloned() else { return Ok(None) };
    if schema.fields().is_empty() {
        return Ok(None);
    }
    let all = concat_batches(&schema, &batches);
    all.map(Some).map_err(|error| invalid(format!("the parameters do not fit together: {error}")))
}

fn read_error(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => invalid(format!("the parameters are no readable Arrow data: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Int64Array},
        datatypes::Schema,
    };
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use futures::stream;
    use proptest::prelude::*;

    use super::*;

    fn row(n: i64) -> RecordBatch {
        RecordBatch::try_from_iter([("$1", Arc::new(Int64Array::from(vec![n])) as ArrayRef)])
            .unwrap()
    }

    async fn encoded(batches: Vec<RecordBatch>) -> Vec<Result<FlightData, Status>> {
        let items = stream::iter(batches.into_iter().map(Ok));
        let messages: Vec<_> =
            FlightDataEncoderBuilder::new().build(items).try_collect().await.unwrap();
        messages.into_iter().map(Ok).collect()
    }

    #[tokio::test]
    async fn all_rows_of_all_batches_are_read() {
        let messages = encoded(vec![row(1), row(2), row(3)]).await;
        let read = read(stream::iter(messages)).await.unwrap().unwrap();
        assert_eq!(read.num_rows(), 3);
    }

    #[tokio::test]
    async fn a_command_alone_and_a_batch_without_columns_bind_nothing() {
        let command = vec![Ok(FlightData::default())];
        assert!(read(stream::iter(command)).await.unwrap().is_none());
        let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let messages = encoded(vec![empty]).await;
        assert!(read(stream::iter(messages)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_schema_without_rows_binds_no_rows() {
        let messages = encoded(vec![row(1).slice(0, 0)]).await;
        assert_eq!(read(stream::iter(messages)).await.unwrap().unwrap().num_rows(), 0);
    }

    #[tokio::test]
    async fn too_many_rows_are_refused() {
        let half: ArrayRef = Arc::new(Int64Array::from_iter_values(0..600_000));
        let half = RecordBatch::try_from_iter([("$1", half)]).unwrap();
        let messages = encoded(vec![half.clone(), half]).await;
        let error = read(stream::iter(messages)).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::InvalidArgument);
    }

    proptest! {
        #[test]
        fn garbage_is_the_senders_mistake(
            header in proptest::collection::vec(any::<u8>(), 1..64),
            body in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let message = FlightData::new().with_data_header(header).with_data_body(body);
            let read = futures::executor::block_on(read(stream::iter(vec![Ok(message)])));
            if let Err(status) = read {
                prop_assert_eq!(status.code(), tonic::Code::InvalidArgument);
            }
        }
    }
}
