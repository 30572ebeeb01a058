//! What the optimizer is told of a table.

use std::sync::Arc;

use arrow::array::{ArrayRef, Date32Array, Decimal128Array, RecordBatch, StringArray};
use datafusion::{
    common::{ColumnStatistics, ScalarValue, Statistics, stats::Precision},
    physical_plan::{
        ExecutionPlan,
        statistics::{StatisticsArgs, StatisticsContext},
    },
    prelude::{SessionConfig, SessionContext},
};

use super::{TestLake, create, create_by, labelled, latest, numbers, write};
use crate::{Snapshot, WriteMode};

async fn plan(tables: &[(&str, &Arc<Snapshot>)], sql: &str) -> Arc<dyn ExecutionPlan> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
    for (name, snapshot) in tables {
        context.register_table(*name, snapshot.provider().unwrap()).unwrap();
    }
    context.sql(sql).await.unwrap().create_physical_plan().await.unwrap()
}

async fn statistics(snapshot: &Arc<Snapshot>, sql: &str) -> Statistics {
    let plan = plan(&[("t", snapshot)], sql).await;
    let found = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).unwrap();
    Statistics::clone(&found)
}

fn range(column: &ColumnStatistics) -> (Option<ScalarValue>, Option<ScalarValue>) {
    (column.min_value.get_value().cloned(), column.max_value.get_value().cloned())
}

fn bigint(value: i64) -> Option<ScalarValue> {
    Some(ScalarValue::Int64(Some(value)))
}

#[tokio::test(flavor = "multi_thread")]
async fn range_of_a_column_is_that_of_all_files_and_an_estimate() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([5, 9])).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers([-3, 4])).await.unwrap();
    let found = statistics(&latest(&test.lake, &table).await, "SELECT n FROM t").await;
    let n = &found.column_statistics[0];
    assert_eq!(range(n), (bigint(-3), bigint(9)));
    assert_eq!(n.min_value.is_exact(), Some(false), "nothing may be left out because of it");
    assert_eq!(found.num_rows, Precision::Exact(4));
    assert_eq!(found.total_byte_size, Precision::Inexact(4 * 8), "of what is read, not of files");
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_told_of_numbers_and_times_and_not_of_texts() {
    let test = TestLake::new();
    let table = test.table("t");
    let days: ArrayRef = Arc::new(Date32Array::from(vec![7, 3]));
    let amounts = Decimal128Array::from(vec![250, 125]).with_precision_and_scale(10, 2).unwrap();
    let labels: ArrayRef = Arc::new(StringArray::from(vec!["b", "a"]));
    let rows = [("day", days), ("amount", Arc::new(amounts) as ArrayRef), ("label", labels)];
    write(&test.lake, &table, create(), RecordBatch::try_from_iter(rows).unwrap()).await.unwrap();
    let found = statistics(&latest(&test.lake, &table).await, "SELECT * FROM t").await;
    let day = |day| Some(ScalarValue::Date32(Some(day)));
    assert_eq!(range(&found.column_statistics[0]), (day(3), day(7)));
    let amount = |cents| Some(ScalarValue::Decimal128(Some(cents), 10, 2));
    assert_eq!(range(&found.column_statistics[1]), (amount(125), amount(250)));
    assert_eq!(range(&found.column_statistics[2]), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_has_statistics_of_its_own() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let first = latest(&test.lake, &table).await;
    write(&test.lake, &table, WriteMode::Append, numbers([7])).await.unwrap();
    let second = latest(&test.lake, &table).await;
    let of_second = statistics(&second, "SELECT n FROM t").await;
    let of_first = statistics(&first, "SELECT n FROM t").await;
    assert_eq!(range(&of_first.column_statistics[0]), (bigint(1), bigint(1)));
    assert_eq!(range(&of_second.column_statistics[0]), (bigint(1), bigint(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn partitioned_table_has_statistics_of_its_other_columns() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a")), (8, Some("b")), (3, None)]);
    write(&test.lake, &table, create_by("label"), rows).await.unwrap();
    let found = statistics(&latest(&test.lake, &table).await, "SELECT n FROM t").await;
    assert_eq!(range(&found.column_statistics[0]), (bigint(1), bigint(8)));
}

/// Both tables have 200,000 rows with a key of 2,000 values: without its range the key would be
/// taken for a unique one, and the join for a hundredth of what it is.
#[tokio::test(flavor = "multi_thread")]
async fn join_over_a_key_that_repeats_is_not_taken_for_a_small_one() {
    let test = TestLake::new();
    let (left, right) = (test.table("l"), test.table("r"));
    for table in [&left, &right] {
        let keys = numbers((0..200_000).map(|n| n % 2_000));
        write(&test.lake, table, create(), keys).await.unwrap();
    }
    let left = latest(&test.lake, &left).await;
    let right = latest(&test.lake, &right).await;
    let sql = "SELECT l.n FROM l JOIN r ON l.n = r.n";
    let plan = plan(&[("l", &left), ("r", &right)], sql).await;
    let found = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()).unwrap();
    assert_eq!(found.num_rows, Precision::Inexact(200_000 * 100));
}
