use std::sync::atomic::{AtomicBool, Ordering};

use arrow::{
    array::{ArrayRef, Int64Array},
    record_batch::RecordBatch,
};
use datafusion::{
    execution::SessionStateBuilder,
    physical_plan::collect,
    prelude::{SessionConfig, SessionContext},
};

use super::*;

/// One partition, so that nothing but a pause lets another task of the same thread go on.
fn context() -> SessionContext {
    let state = SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(1))
        .with_default_features()
        .with_physical_optimizer_rule(Arc::new(Pauses))
        .build();
    let context = SessionContext::new_with_state(state);
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..2000));
    let rows = RecordBatch::try_from_iter([("n", column)]).unwrap();
    context.register_batch("t", rows).unwrap();
    context
}

#[tokio::test]
async fn a_join_that_makes_many_rows_of_one_batch_lets_another_task_go_on() {
    let context = context();
    let sql = "SELECT sum(a.n + b.n) FROM t AS a JOIN t AS b ON a.n / 2000 = b.n / 2000";
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let other_ran = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&other_ran);
    let join = tokio::spawn(async move {
        collect(plan, context.task_ctx()).await.unwrap();
        seen.load(Ordering::Relaxed)
    });
    let other = tokio::spawn(async move { other_ran.store(true, Ordering::Relaxed) });
    assert!(join.await.unwrap(), "the join was over before the other task could begin");
    other.await.unwrap();
}

#[tokio::test]
async fn only_plans_that_compare_rows_pair_by_pair_may_not_pause() {
    let context = context();
    for (sql, expected) in [
        ("SELECT count(*) FROM t", false),
        ("SELECT sum(a.n) FROM t AS a JOIN t AS b ON a.n = b.n", false),
        ("SELECT sum(a.n + b.n) FROM t AS a, t AS b", true),
        ("SELECT sum(a.n) FROM t AS a JOIN t AS b ON a.n < b.n", true),
    ] {
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        assert_eq!(may_not_pause(&plan), expected, "{sql}");
    }
}
