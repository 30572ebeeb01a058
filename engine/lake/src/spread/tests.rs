use std::sync::atomic::AtomicUsize;

use arrow::{
    array::{ArrayRef, AsArray, Int64Array},
    datatypes::Int64Type,
};
use futures::{TryStreamExt, future::join_all};

use super::*;

/// Numbers from `from`, a mebibyte of them.
fn batch(from: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + (1 << 17)));
    RecordBatch::try_from_iter([("n", numbers)]).unwrap()
}

fn source(
    rows: impl futures::Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(batch(0).schema(), rows))
}

fn batches(count: i64) -> SendableRecordBatchStream {
    source(stream::iter((0..count).map(|n| Ok(batch(n << 17)))))
}

fn first_of(batch: &RecordBatch) -> i64 {
    batch.column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn small_results_stay_together_and_in_order() {
    let streams = spread(batches(60), 3);
    let parts = join_all(streams.into_iter().map(|rows| rows.try_collect::<Vec<_>>())).await;
    let parts: Vec<_> = parts.into_iter().map(|part| part.unwrap()).collect();
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [60, 0, 0]);
    assert!(parts[0].iter().map(first_of).eq((0..60).map(|n| n << 17)));
}

#[tokio::test]
async fn large_results_are_shared_and_no_row_is_lost() {
    let streams = spread(batches(200), 3);
    let parts = join_all(streams.into_iter().map(|rows| rows.try_collect::<Vec<_>>())).await;
    let parts: Vec<_> = parts.into_iter().map(|part| part.unwrap()).collect();
    assert!(parts.iter().all(|part| part.len() > 30), "each has a share");
    let mut all: Vec<_> = parts.iter().flatten().map(first_of).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq((0..200).map(|n| n << 17)));
}

#[tokio::test]
async fn an_error_and_a_reader_that_dies_are_told() {
    let failing = stream::iter([Ok(batch(0)), Err(DataFusionError::Internal("no".to_owned()))]);
    let dying = stream::iter([batch(0)]).map(|_| -> Result<RecordBatch> { panic!("dead") });
    for rows in [source(failing), source(dying)] {
        let streams = spread(rows, 2);
        let parts = join_all(streams.into_iter().map(|rows| rows.try_collect::<Vec<_>>())).await;
        assert!(parts.iter().any(Result::is_err));
    }
}

#[tokio::test]
async fn nothing_is_read_far_ahead_or_after_everybody_has_gone() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = {
        let read = Arc::clone(&read);
        stream::iter(0..1000).map(move |n| {
            read.fetch_add(1, Ordering::Relaxed);
            Ok(batch(n << 17))
        })
    };
    let mut streams = spread(source(counted), 2);
    assert!(streams[0].next().await.is_some());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let ahead = read.load(Ordering::Relaxed);
    assert!(ahead < 5, "{ahead} batches were read for one");
    drop(streams);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(read.load(Ordering::Relaxed), ahead);
}
