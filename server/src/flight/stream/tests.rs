use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, ListArray, NullArray, StringArray},
    compute::concat_batches,
    datatypes::{DataType, Field, Int64Type, Schema},
    record_batch::RecordBatchOptions,
};
use arrow_flight::{FlightData, decode::FlightRecordBatchStream};
use futures::FutureExt;
use prost::Message as _;

use super::*;

const SIZE_MAX: usize = 16 << 20;

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    let field = Field::new("n", DataType::Int64, true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap()
}

fn texts(lengths: &[usize]) -> RecordBatch {
    let values = lengths.iter().map(|length| "x".repeat(*length));
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(values));
    let field = Field::new("t", DataType::Utf8, true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![column]).unwrap()
}

async fn messages(parts: Vec<RecordBatch>) -> Vec<FlightData> {
    let schema = parts[0].schema();
    let messages: Vec<_> = batches(schema, parts, SIZE_MAX).try_collect().await.unwrap();
    messages.into_iter().map(received).collect()
}

/// What a client makes of a message, by the generated code of the protocol.
fn received(message: Message) -> FlightData {
    let length = message.len();
    let bytes = message.into_pieces().collect::<Vec<_>>().concat();
    let (prefix, bytes) = bytes.split_at(5);
    assert_eq!(prefix[0], 0, "not compressed");
    assert_eq!(prefix[1..], u32::try_from(length).unwrap().to_be_bytes());
    assert_eq!(bytes.len(), length);
    FlightData::decode(bytes).unwrap()
}

async fn decoded(messages: Vec<FlightData>) -> Vec<RecordBatch> {
    let messages = stream::iter(messages.into_iter().map(Ok));
    FlightRecordBatchStream::new_from_flight_data(messages).try_collect().await.unwrap()
}

#[tokio::test]
async fn rows_come_out_as_they_went_in() {
    let parts: Vec<_> = (0..100).map(|n| numbers(n * 37..(n + 1) * 37)).collect();
    let expected = concat_batches(&parts[0].schema(), &parts).unwrap();
    let out = decoded(messages(parts).await).await;
    assert_eq!(out.len(), 1, "small batches travel together");
    assert_eq!(concat_batches(&expected.schema(), &out).unwrap(), expected);
}

#[tokio::test]
async fn one_small_batch_is_not_copied_and_several_keep_their_order() {
    let only = numbers(0..3);
    let mut shaped = Shaped::new(only.schema(), stream::iter([Ok(only.clone())]), MESSAGE_TARGET);
    let sent = shaped.next().await.unwrap().unwrap();
    assert!(sent.column(0).to_data().ptr_eq(&only.column(0).to_data()));
    assert!(shaped.next().await.is_none());
    // Small, none, small, large, small.
    let cuts = [0, 5, 5, 7, 20_007, 20_010];
    let parts: Vec<_> = cuts.windows(2).map(|at| numbers(at[0]..at[1])).collect();
    let out = decoded(messages(parts).await).await;
    assert_eq!(concat_batches(&only.schema(), &out).unwrap(), numbers(0..20_010));
}

#[tokio::test]
async fn no_message_is_much_larger_than_the_target() {
    let mut lengths = vec![10; 50_000];
    lengths.extend([1 << 20; 9]);
    let batch = texts(&lengths);
    let sent = messages(vec![batch.clone()]).await;
    let largest = sent.iter().map(|message| message.data_body.len()).max().unwrap();
    assert!(largest <= MESSAGE_TARGET + 4096, "{largest}");
    assert_eq!(concat_batches(&batch.schema(), &decoded(sent).await).unwrap(), batch);
}

#[tokio::test]
async fn a_slice_is_cut_by_its_own_size_and_not_by_that_of_its_buffers() {
    let large = numbers(0..4_000_000);
    let parts = (0..10).map(|n| large.slice(n * 8192, 8192)).collect();
    // One message for the schema and one for each slice of 64 KiB of a buffer of 32 MB.
    assert_eq!(messages(parts).await.len(), 11);
}

#[tokio::test]
async fn no_rows_are_still_a_schema() {
    let out = messages(vec![numbers(0..0)]).await;
    assert_eq!(out.len(), 1);
    let empty = Arc::new(Schema::empty());
    let out: Vec<_> = batches(empty, Vec::new(), SIZE_MAX).try_collect().await.unwrap();
    assert_eq!(out.len(), 1);
}

#[tokio::test]
async fn rows_without_columns_keep_their_count() {
    let options = RecordBatchOptions::new().with_row_count(Some(3));
    let batch =
        RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
    let out = decoded(messages(vec![batch.clone(), batch]).await).await;
    assert_eq!(out.iter().map(RecordBatch::num_rows).sum::<usize>(), 6);
}

#[tokio::test]
async fn an_error_comes_after_the_rows_before_it_and_keeps_its_status() {
    let items = vec![Ok(numbers(0..5)), Err(QueryError::Invalid("division by zero".to_owned()))];
    let mut out = rows(numbers(0..0).schema(), stream::iter(items), SIZE_MAX);
    assert!(out.next().await.unwrap().is_ok(), "schema");
    assert!(out.next().await.unwrap().is_ok(), "five rows");
    let status = out.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(status.message(), "division by zero");
    assert!(out.next().await.is_none());
}

#[tokio::test]
async fn rows_do_not_wait_for_rows_that_are_not_there() {
    let (sender, receiver) = futures::channel::mpsc::channel(4);
    let mut sender = sender;
    let mut out = rows(numbers(0..0).schema(), receiver, SIZE_MAX);
    assert!(out.next().await.unwrap().is_ok(), "schema");
    sender.try_send(Ok(numbers(0..3))).unwrap();
    let first = out.next().now_or_never().expect("the three rows are sent at once");
    assert!(first.unwrap().is_ok());
    assert!(out.next().now_or_never().is_none());
}

#[tokio::test]
async fn every_type_and_every_shape_of_buffers_arrives_as_it_was_sent() {
    let nulls = Int64Array::from_iter((0..5000).map(|n| (n % 3 > 0).then_some(n)));
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(
        (0..5000).map(|n| (n % 7 > 0).then(|| (0..n % 5).map(Some))),
    );
    let texts = StringArray::from_iter((0..5000).map(|n| (n % 2 > 0).then(|| "é".repeat(n % 40))));
    let flags = BooleanArray::from_iter((0..5000).map(|n| (n % 11 > 0).then_some(n % 2 == 0)));
    let batch = RecordBatch::try_from_iter([
        ("numbers", Arc::new(nulls) as ArrayRef),
        ("lists", Arc::new(lists)),
        ("texts", Arc::new(texts)),
        ("flags", Arc::new(flags)),
        ("nothing", Arc::new(NullArray::new(5000))),
    ])
    .unwrap();
    // A slice that begins inside bytes of bitmaps and has no row of its own first offset.
    for part in [batch.clone(), batch.slice(4097, 803), batch.slice(13, 1)] {
        let out = decoded(messages(vec![part.clone()]).await).await;
        assert_eq!(concat_batches(&part.schema(), &out).unwrap(), part);
    }
}

#[tokio::test]
async fn a_row_that_does_not_fit_in_a_message_ends_the_rows_and_says_what_to_do() {
    let batch = texts(&[10, 5000, 10]);
    let mut out = batches(batch.schema(), vec![batch], 4096);
    assert!(out.next().await.unwrap().is_ok(), "schema");
    assert!(out.next().await.unwrap().is_ok(), "the row before it");
    let status = out.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), tonic::Code::OutOfRange);
    assert!(status.message().contains("server.message_size_max"), "{}", status.message());
}
