use std::{sync::Arc, time::Duration};

use arrow::{
    array::{ArrayRef, Int64Array, StringArray},
    record_batch::RecordBatch,
    util::pretty::pretty_format_batches,
};
use datafusion::{
    datasource::MemTable,
    physical_plan::collect,
    prelude::{SessionConfig, SessionContext, col},
};

use super::*;
use crate::{options::QueryLimits, plan};

const MB: u64 = 1 << 20;
/// Rows of a table whose texts alone take 15 MB.
const ROWS: i64 = 60_000;

/// Keys come twice, in no order, and some are NULL.
fn table(skipped: i64) -> Arc<MemTable> {
    let batches = (0..ROWS / 1_000).map(|batch| {
        let numbers = || (batch * 1_000..(batch + 1) * 1_000).map(|n| n * 7_919 % ROWS);
        let key = |n: i64| (n % 50 != 7).then_some((n + skipped) / 2);
        let keys: ArrayRef = Arc::new(Int64Array::from_iter(numbers().map(key)));
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(numbers()));
        let texts = numbers().map(|n| format!("{n:0>250}"));
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        RecordBatch::try_from_iter([("k", keys), ("id", ids), ("t", texts)]).unwrap()
    });
    let mut partitions = [Vec::new(), Vec::new(), Vec::new()];
    batches.enumerate().for_each(|(n, batch)| partitions[n % 3].push(batch));
    let schema = partitions[0][0].schema();
    Arc::new(MemTable::try_new(schema, partitions.into()).unwrap())
}

/// A session of a server with so much memory.
pub(crate) fn context(folder: &tempfile::TempDir, memory: u64, collects: bool) -> SessionContext {
    let limits = QueryLimits {
        memory_max: memory,
        spill_dir: folder.path().join("spill"),
        spill_max: 1 << 30,
        concurrency: 1,
        queue_max: 1,
        queue_wait: Duration::ZERO,
        statement_timeout: Duration::ZERO,
        target_partitions: 3,
        sql_length_max: 1 << 20,
        attempts_max: 1,
        profiles: model::profile::Profiles::default(),
    };
    std::fs::create_dir_all(&limits.spill_dir).unwrap();
    let env = plan::runtime_env(&limits, &limits.spill_dir).unwrap();
    let mut state = plan::base_state(&limits, env);
    let options = state.config_mut().options_mut();
    let threshold = if collects { usize::MAX } else { 0 };
    options.optimizer.hash_join_single_partition_threshold = threshold;
    options.optimizer.hash_join_single_partition_threshold_rows = threshold;
    options.catalog.create_default_catalog_and_schema = true;
    options.execution.target_partitions = 3;
    let config: SessionConfig = state.config().clone();
    let state = datafusion::execution::SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_catalog_list(Arc::new(datafusion::catalog::MemoryCatalogProviderList::new()))
        .build();
    let context = SessionContext::new_with_state(state);
    context.register_table("a", table(0)).unwrap();
    context.register_table("b", table(ROWS / 2)).unwrap();
    context
}

/// The answer, and how many rows its joins wrote to disk.
async fn run(context: &SessionContext, sql: &str) -> (Result<String>, usize) {
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let rows = collect(Arc::clone(&plan), context.task_ctx()).await;
    let mut spilled = 0;
    plan.apply(|node| {
        if node.is::<SpillingJoin>() {
            let metrics = node.metrics().unwrap_or_default();
            spilled += metrics.spilled_rows().unwrap_or_default();
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .unwrap();
    (rows.map(|rows| pretty_format_batches(&rows).unwrap().to_string()), spilled)
}

/// Each row of a join counts: a sum over pairs tells which were made.
const SUMS: &str = "SELECT count(*), sum(a.id), sum(b.id), sum(a.id * 31 + b.id * b.id), \
                    sum(length(a.t)), sum(length(b.t)) FROM";
const LEFT_SUMS: &str = "SELECT count(*), sum(a.id), sum(length(a.t)) FROM";

fn statements() -> Vec<String> {
    let mut statements: Vec<String> = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
        .into_iter()
        .flat_map(|join| {
            [
                format!("{SUMS} a {join} b ON a.k = b.k"),
                // With a condition beside the key.
                format!("{SUMS} a {join} b ON a.k = b.k AND a.id < b.id + 20000"),
            ]
        })
        .collect();
    statements.extend(
        [
            "a LEFT SEMI JOIN b ON a.k = b.k AND a.t <= b.t",
            "a LEFT ANTI JOIN b ON a.k = b.k AND a.t <> b.t",
            "a WHERE EXISTS (SELECT 1 FROM b WHERE a.k = b.k AND a.t < b.t)",
            "a WHERE NOT EXISTS (SELECT 1 FROM b WHERE a.k = b.k AND b.t < a.t)",
            "a WHERE a.id % 3 = 0 OR EXISTS (SELECT 1 FROM b WHERE a.k = b.k AND a.t < b.t)",
        ]
        .map(|from| format!("{LEFT_SUMS} {from}")),
    );
    // Its list has a NULL, none, and no row at all; what is asked may be NULL.
    statements.extend(
        ["b", "b WHERE k IS NOT NULL", "b WHERE length(t) < 0", "b WHERE k IS NULL"]
            .map(|list| format!("{LEFT_SUMS} a WHERE a.k NOT IN (SELECT k FROM {list})")),
    );
    statements.push(format!("{LEFT_SUMS} a WHERE a.t NOT IN (SELECT nullif(t, 'x') FROM b)"));
    // NULL equals NULL.
    statements.push(format!(
        "{SUMS} a JOIN b ON (a.k IS NOT DISTINCT FROM b.k) AND a.id % 50 = b.id % 50"
    ));
    // A join of joins, whose outer key is another one.
    statements.push(format!("{SUMS} a JOIN b ON a.k = b.k JOIN a AS c ON c.id = b.id"));
    statements
}

/// Tasks that were stopped give back what they hold when they notice.
pub(crate) async fn all_is_given_back(context: &SessionContext, sql: &str) {
    let given_back = async {
        let env = context.runtime_env();
        while env.memory_pool.reserved() > 0 || env.disk_manager.used_disk_space() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), given_back).await;
    assert!(waited.is_ok(), "memory or disk is held after {sql}");
}

async fn joins_answer_as_with_plenty(memory: u64, collects: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (plenty, short) = (context(&folder, 1 << 30, collects), context(&folder, memory, collects));
    for sql in statements() {
        let (expected, spilled) = run(&plenty, &sql).await;
        assert_eq!(spilled, 0, "{sql}");
        let (found, spilled) = run(&short, &sql).await;
        let found = found.unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert_eq!(found, expected.unwrap(), "{sql}");
        assert!(spilled > 0, "no join was too large: {sql}");
        all_is_given_back(&short, &sql).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_whose_parts_do_not_fit_answer_as_with_plenty() {
    joins_answer_as_with_plenty(12 * MB, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_whose_smaller_side_does_not_fit_as_a_whole_answer_as_with_plenty() {
    joins_answer_as_with_plenty(12 * MB, true).await;
}

/// Buckets do not fit either, and are split again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_of_many_times_the_memory_answer_as_with_plenty() {
    let folder = tempfile::tempdir().unwrap();
    for collects in [false, true] {
        let (plenty, short) =
            (context(&folder, 1 << 30, collects), context(&folder, MB / 2, collects));
        // All NULL are one key, which has to fit.
        let splits = |sql: &String| !sql.contains("IS NOT DISTINCT");
        for sql in statements().into_iter().filter(splits) {
            let (expected, _) = run(&plenty, &sql).await;
            let (found, spilled) = run(&short, &sql).await;
            assert_eq!(found.unwrap(), expected.unwrap(), "{sql}");
            // A list that has a NULL is not split to its end.
            let twice = if sql.contains("NOT IN") { 0 } else { 3 * ROWS as usize };
            assert!(spilled > twice, "nothing was split twice, {spilled}: {sql}");
        }
    }
}

/// One task polls all partitions in turn, so each of them waits for the others there.
#[tokio::test]
async fn one_thread_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let short = context(&folder, 12 * MB, false);
    let sql =
        "SELECT count(*) FROM (SELECT DISTINCT a.id FROM a JOIN b ON a.k = b.k AND a.t <> b.t)";
    let (rows, spilled) = run(&short, sql).await;
    rows.unwrap();
    assert!(spilled > 0);
}

/// A join that is not wanted any more leaves nothing behind, wherever it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_can_be_dropped_at_any_time() {
    let folder = tempfile::tempdir().unwrap();
    let sql = "SELECT a.t, b.t FROM a JOIN b ON a.k = b.k";
    for collects in [false, true] {
        let short = context(&folder, 4 * MB, collects);
        for polls in [0, 1, 2, 5, 10, 50, 200] {
            let plan = short.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
            let mut rows =
                datafusion::physical_plan::execute_stream(plan, short.task_ctx()).unwrap();
            for _ in 0..polls {
                let _ = futures::poll!(rows.next());
                tokio::task::yield_now().await;
            }
            drop(rows);
            all_is_given_back(&short, sql).await;
        }
    }
}

/// What the plan promises of the order of rows, and of their number, is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_and_limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (plenty, short) = (context(&folder, 1 << 30, true), context(&folder, 16 * MB, true));
    // A window over rows that are in its order already.
    let ordered = "SELECT sum(id * r), max(r), sum(abs(r - id)) FROM (
            SELECT o.id, row_number() OVER (ORDER BY o.id) AS r FROM a RIGHT JOIN o
            ON a.k = o.id AND a.t < o.t)";
    let limited = "SELECT count(length(x) + length(y)) FROM
                   (SELECT a.t AS x, b.t AS y FROM a JOIN b ON a.k = b.k LIMIT 777)";
    // The larger side is the one that is in order.
    let long = "z".repeat(100);
    for context in [&plenty, &short] {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4 * ROWS));
        let texts: ArrayRef =
            Arc::new(StringArray::from_iter_values((0..4 * ROWS).map(|_| long.as_str())));
        let rows = RecordBatch::try_from_iter([("id", ids), ("t", texts)]).unwrap();
        let rows = MemTable::try_new(rows.schema(), vec![vec![rows]]).unwrap();
        let rows = rows.with_sort_order(vec![vec![col("id").sort(true, true)]]);
        context.register_table("o", Arc::new(rows)).unwrap();
    }
    let plan = short.sql(ordered).await.unwrap().create_physical_plan().await.unwrap();
    let sorts = plan.exists(|node| Ok(node.is::<SortExec>())).unwrap();
    assert!(!sorts, "the order was to come from below");
    for sql in [ordered, limited] {
        let (expected, _) = run(&plenty, sql).await;
        let (found, spilled) = run(&short, sql).await;
        assert_eq!(found.unwrap(), expected.unwrap(), "{sql}");
        assert!(spilled > 0, "{sql}");
    }
}

/// No hash tells rows of one key apart: they have to fit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_rows_of_one_key_tell_that_memory_is_short() {
    let folder = tempfile::tempdir().unwrap();
    let short = context(&folder, 4 * MB, true);
    let sql = "SELECT count(*), sum(length(a.t) + length(b.t)) FROM a JOIN
               (SELECT * FROM b WHERE id < 10) AS b ON a.k * 0 = b.k * 0";
    let (rows, _) = run(&short, &sql.replace("a JOIN", "a LEFT JOIN")).await;
    assert!(is_short(&rows.unwrap_err()));
    all_is_given_back(&short, sql).await;
}
