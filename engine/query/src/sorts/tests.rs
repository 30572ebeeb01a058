use arrow::{
    array::{Int64Array, StringViewBuilder},
    util::pretty::pretty_format_batches,
};
use datafusion::{datasource::MemTable, physical_plan::collect, prelude::SessionContext};

use super::*;
use crate::joins::tests::{all_is_given_back, context};

const MB: u64 = 1 << 20;
/// Rows of a table whose texts take 60 MB.
const ROWS: i64 = 300_000;

/// Texts of 200 bytes, those of one partition in one buffer, as when they come from a page.
fn table() -> Arc<MemTable> {
    let partitions = (0..3).map(|partition| {
        let numbers = (0..ROWS / 3).map(|row| (row * 3 + partition) * 7_919 % ROWS);
        let mut texts = StringViewBuilder::new().with_fixed_block_size(16 << 20);
        numbers.clone().for_each(|n| texts.append_value(format!("{:0>200}", n / 2)));
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers));
        let texts: ArrayRef = Arc::new(texts.finish());
        let rows = RecordBatch::try_from_iter([("id", ids), ("t", texts)]).unwrap();
        // Slices share the buffer of all.
        (0..rows.num_rows()).step_by(1_000).map(|at| rows.slice(at, 1_000)).collect()
    });
    let partitions: Vec<Vec<RecordBatch>> = partitions.collect();
    Arc::new(MemTable::try_new(partitions[0][0].schema(), partitions).unwrap())
}

async fn run(context: &SessionContext, sql: &str) -> (Result<String>, usize) {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let rows = collect(Arc::clone(&plan), context.task_ctx()).await;
    let mut spilled = 0;
    plan.apply(|node| {
        if node.is::<SortExec>() {
            let metrics = node.metrics().unwrap_or_default();
            spilled += metrics.spilled_rows().unwrap_or_default();
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    (rows.map(|rows| pretty_format_batches(&rows).unwrap().to_string()), spilled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sorts_of_many_times_the_memory_answer_as_with_plenty() {
    let folder = tempfile::tempdir().unwrap();
    let plenty = context(&folder, 1 << 30, false);
    plenty.register_table("v", table()).unwrap();
    let statements = [
        "SELECT sum(id * r), max(t) FROM
         (SELECT id, t, row_number() OVER (ORDER BY t, id DESC) AS r FROM v)",
        "SELECT sum(id * r), max(t) FROM
         (SELECT id, t, rank() OVER (PARTITION BY id % 7 ORDER BY t) AS r FROM v)",
    ];
    let short = context(&folder, 48 * MB, false);
    short.register_table("v", table()).unwrap();
    for sql in statements {
        let (expected, spilled) = run(&plenty, sql).await;
        assert_eq!(spilled, 0, "{sql}");
        let (found, spilled) = run(&short, sql).await;
        let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(found, expected.unwrap(), "{sql}");
        assert!(spilled > 0, "no sort was too large: {sql}");
        all_is_given_back(&short, sql).await;
    }
}

/// What is compact is passed on as it is.
#[test]
fn only_waste_is_copied() {
    let mut texts = StringViewBuilder::new().with_fixed_block_size(1 << 20);
    (0..10_000).for_each(|n| texts.append_value(format!("{n:0>60}")));
    let texts: ArrayRef = Arc::new(texts.finish());
    let batch = RecordBatch::try_from_iter([("t", texts)]).unwrap();
    let whole = compact(batch.clone()).unwrap();
    assert!(Arc::ptr_eq(whole.column(0), batch.column(0)));

    let few = batch.slice(4_000, 100);
    let own = compact(few.clone()).unwrap();
    assert_eq!(own, few);
    let held = |batch: &RecordBatch| batch.column(0).get_buffer_memory_size();
    assert!(held(&own) < 10_000, "{}", held(&own));
    assert!(held(&few) > 500_000, "{}", held(&few));
}
