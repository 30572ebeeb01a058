use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, StringArray},
    datatypes::{DataType, Field, Int64Type, Schema},
};
use datafusion::{
    logical_expr::Operator,
    physical_expr::PhysicalExpr,
    physical_plan::expressions::{binary, col, lit},
    prelude::SessionContext,
};
use model::object::Properties;

use super::{TestLake, create_by, labelled, latest, read_sql, write};
use crate::{Lake, Optimize, Optimized, Snapshot, StageProgress, WriteMode};

async fn zorder(lake: &Lake, base: &Arc<Snapshot>, by: &[&str]) -> Optimized {
    lake.optimize(by_columns(base, by)).await.unwrap()
}

fn by_columns(base: &Arc<Snapshot>, by: &[&str]) -> Optimize {
    Optimize {
        base: Arc::clone(base),
        partitions: None,
        condition: None,
        zorder_by: by.iter().map(|name| (*name).to_owned()).collect(),
        automatic: false,
        task: SessionContext::new().task_ctx(),
        progress: Arc::new(StageProgress::default()),
    }
}

/// A table in small files.
fn in_small_files(partitioned_by: &[&str]) -> WriteMode {
    WriteMode::Create {
        partitioned_by: partitioned_by.iter().map(|name| (*name).to_owned()).collect(),
        comment: None,
        properties: Properties::from([("delta.targetFileSize".to_owned(), "100000".to_owned())]),
        schema: None,
    }
}

/// 200,000 rows; `wide` and `narrow` tell nothing of each other, nor of the order of the rows.
fn points() -> RecordBatch {
    let scattered = |n: i64| n.wrapping_mul(7_919).rem_euclid(200_000);
    let rows = (0..200_000_i64).map(scattered);
    let wide: ArrayRef =
        Arc::new(Int64Array::from_iter_values(rows.clone().map(|n| (n % 400) << 40)));
    let narrow: ArrayRef =
        Arc::new(Int64Array::from_iter(rows.clone().map(|n| (n % 401 != 7).then_some(n / 400))));
    let text: ArrayRef =
        Arc::new(StringArray::from_iter_values(rows.clone().map(|n| format!("row {n}"))));
    let float: ArrayRef = Arc::new(Float64Array::from_iter_values(rows.map(|n| match n {
        0 => f64::NAN,
        n => n as f64,
    })));
    RecordBatch::try_from_iter([("wide", wide), ("narrow", narrow), ("text", text), ("f", float)])
        .unwrap()
}

/// Files that a query for one value would have to read.
fn files_for(table: &Arc<Snapshot>, column: &str, value: i64) -> usize {
    let schema = Schema::new(vec![
        Field::new("wide", DataType::Int64, true),
        Field::new("narrow", DataType::Int64, true),
    ]);
    let column = col(column, &table.schema()).unwrap();
    let predicate: Arc<dyn PhysicalExpr> =
        binary(column, Operator::Eq, lit(value), &schema).unwrap();
    table.data_files().unwrap().that_may_hold(&predicate).unwrap().len()
}

async fn checksum(table: &Arc<Snapshot>) -> String {
    let sql = "SELECT count(*), count(DISTINCT text), sum(narrow), sum(wide / 1024), min(text), \
               count(narrow), sum(CASE WHEN f = 'NaN'::double THEN 1.5 ELSE f END) FROM t";
    format!("{:?}", read_sql(table, sql).await.columns())
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_in_order_are_found_in_fewer_files() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, in_small_files(&[]), points()).await.unwrap();
    let before = latest(&test.lake, &table).await;
    assert!(before.files() >= 8, "{}", before.files());
    let done = zorder(&test.lake, &before, &["wide", "narrow"]).await;
    assert_eq!((done.commits, done.removed_files), (1, before.files() as u64));
    let after = latest(&test.other(), &table).await;
    assert!(after.files() >= 8, "{}", after.files());
    assert_eq!(checksum(&before).await, checksum(&after).await);
    for (column, values) in [("wide", [0, 100 << 40, 399 << 40]), ("narrow", [3, 250, 499])] {
        for value in values {
            let (was, is) = (files_for(&before, column, value), files_for(&after, column, value));
            assert_eq!(was, before.files(), "scattered rows are in all files");
            assert!(is * 2 <= after.files(), "{column} = {value}: {is} of {}", after.files());
        }
    }

    // Nothing is left to do, until rows come, or others columns are asked for.
    assert_eq!(zorder(&test.other(), &after, &["wide", "narrow"]).await, Optimized::default());
    assert_eq!(zorder(&test.lake, &after, &["narrow", "wide"]).await.commits, 1);
    let other = latest(&test.lake, &table).await;
    assert_eq!(zorder(&test.lake, &other, &["narrow", "wide"]).await, Optimized::default());
    write(&test.lake, &table, WriteMode::Append, points().slice(0, 1)).await.unwrap();
    let grown = latest(&test.lake, &table).await;
    assert_eq!(zorder(&test.lake, &grown, &["narrow", "wide"]).await.commits, 1);
    assert_eq!(latest(&test.lake, &table).await.rows(), Some(200_001));
    let history = test.lake.history(&table, Some(1)).await.unwrap();
    let parameters = history[0].parameters.clone().unwrap();
    assert!(parameters.contains(r#""zOrderBy":"[\"narrow\",\"wide\"]""#), "{parameters}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_partitions_with_new_rows_are_put_in_order_again() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a")), (2, Some("b/ c")), (3, None)]);
    write(&test.lake, &table, create_by("label"), rows).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, labelled(&[(4, Some("b/ c"))])).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let done = zorder(&test.lake, &base, &["n"]).await;
    assert_eq!((done.commits, done.removed_files, done.added_files), (1, 4, 3));
    write(&test.lake, &table, WriteMode::Append, labelled(&[(5, None)])).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let done = zorder(&test.lake, &base, &["n"]).await;
    assert_eq!((done.commits, done.removed_files, done.added_files), (1, 2, 1));
    let now = latest(&test.other(), &table).await;
    assert_eq!((now.files(), now.rows()), (3, Some(5)));
    let rows = read_sql(&now, "SELECT label, sum(n) FROM t GROUP BY label ORDER BY label").await;
    assert_eq!(rows.num_rows(), 3);
    assert_eq!(zorder(&test.lake, &now, &["n"]).await, Optimized::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_asked_for_orders_only_what_it_puts_together() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create_by("label"), labelled(&[(4, None), (1, None)])).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, labelled(&[(3, None), (2, None)])).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, labelled(&[(9, Some("a"))])).await.unwrap();
    let base = latest(&test.lake, &table).await;
    let optimize = Optimize { automatic: true, ..by_columns(&base, &["n"]) };
    let done = test.lake.optimize(optimize).await.unwrap();
    assert_eq!((done.commits, done.removed_files, done.added_files), (1, 2, 1));
    let after = latest(&test.other(), &table).await;
    let rows = read_sql(&after, "SELECT n FROM t WHERE label IS NULL").await;
    assert_eq!(rows.columns()[0].as_primitive::<Int64Type>().values(), &[1, 2, 3, 4]);
    // It does not say that the table is in order now: nobody has looked at all of it.
    let history = test.lake.history(&table, Some(1)).await.unwrap();
    let parameters = history[0].parameters.clone().unwrap();
    assert!(parameters.contains("auto") && !parameters.contains("zOrderBy"), "{parameters}");
    assert_eq!(zorder(&test.lake, &after, &["n"]).await.commits, 1);
}
