//! How joins on equal keys are planned, and the second try of a statement whose join did not fit
//! into memory.
//!
//! A hash join keeps one side in memory and cannot spill; a sort-merge join sorts both sides, which
//! can, and is slower. So a statement runs with hash joins first, and when the memory does not
//! suffice, and nothing of it is seen yet, once more with sort-merge joins.

use datafusion::execution::SessionState;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};

use crate::{error::QueryError, queries::Rows};

/// Rows of a batch where joins are sorted: each of several sorts has to hold two batches at least,
/// and rows may be wide.
const BATCH_ROWS: usize = 1_024;

/// How joins on equal keys are planned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Joins {
    /// One side in memory, as a hash table.
    #[default]
    Hashed,
    /// Both sides sorted, and spilled when they have to be.
    Sorted,
}

impl Joins {
    /// Tells the planner.
    pub(crate) fn apply(self, state: &mut SessionState) {
        if self == Self::Hashed {
            return;
        }
        let config = state.config_mut();
        *config = config.clone().with_batch_size(BATCH_ROWS);
        let options = config.options_mut();
        options.optimizer.prefer_hash_join = false;
        // The planner takes no sort-merge join for a plan of one part.
        let parts = &mut options.execution.target_partitions;
        *parts = (*parts).max(2);
    }
}

/// Whether a statement that ended so may fit when its joins are sorted: it needed more memory than
/// there was, and not more disk.
#[must_use]
pub fn may_fit_when_sorted(error: &QueryError) -> bool {
    error.is_out_of_memory()
}

/// The rows of `first`; those of `second` instead when the memory does not suffice before there is a
/// row.
pub(crate) fn with_second_try(
    first: Rows,
    second: impl FnOnce() -> BoxFuture<'static, Result<Rows, QueryError>> + Send + 'static,
) -> Rows {
    let tried = async move {
        let mut first = first;
        match first.next().await {
            Some(Err(error)) if may_fit_when_sorted(&error) => {
                // Whatever it holds is needed now.
                drop(first);
                match second().await {
                    Ok(rows) => rows,
                    // The first error says more about the statement than about the second try.
                    Err(_) => stream::iter([Err(error)]).boxed(),
                }
            }
            Some(item) => stream::iter([item]).chain(first).boxed(),
            None => stream::empty().boxed(),
        }
    };
    tried.into_stream().flatten().boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::record_batch::RecordBatch;
    use datafusion::error::DataFusionError;
    use futures::TryStreamExt;

    use super::*;

    fn rows(items: Vec<Result<RecordBatch, QueryError>>) -> Rows {
        stream::iter(items).boxed()
    }

    fn batch(rows: i64) -> RecordBatch {
        let column = arrow::array::Int64Array::from_iter_values(0..rows);
        RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap()
    }

    fn exhausted() -> QueryError {
        DataFusionError::ResourcesExhausted("no memory".to_owned()).into()
    }

    async fn counts(first: Rows) -> Result<Vec<usize>, QueryError> {
        let second = || async { Ok(rows(vec![Ok(batch(7))])) }.boxed();
        with_second_try(first, second).map_ok(|batch| batch.num_rows()).try_collect().await
    }

    #[tokio::test]
    async fn only_what_gave_no_row_is_tried_again() {
        assert_eq!(counts(rows(vec![Err(exhausted())])).await.unwrap(), [7]);
        assert_eq!(counts(rows(vec![Ok(batch(1)), Ok(batch(2))])).await.unwrap(), [1, 2]);
        assert!(counts(rows(vec![])).await.unwrap().is_empty());
        let late = counts(rows(vec![Ok(batch(1)), Err(exhausted())])).await.unwrap_err();
        assert!(may_fit_when_sorted(&late));
        let other = QueryError::Invalid("no".to_owned());
        assert!(matches!(counts(rows(vec![Err(other)])).await, Err(QueryError::Invalid(_))));
    }

    #[tokio::test]
    async fn the_first_error_is_told_when_there_is_no_second_try() {
        let second = || async { Err(QueryError::Invalid("planned badly".to_owned())) }.boxed();
        let tried = with_second_try(rows(vec![Err(exhausted())]), second);
        let error = tried.try_collect::<Vec<_>>().await.unwrap_err();
        assert!(may_fit_when_sorted(&error), "{error}");
    }
}
