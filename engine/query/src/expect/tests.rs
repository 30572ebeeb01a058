use std::time::Duration;

use arrow::{
    array::{Int64Array, StringArray},
    datatypes::{Field, Schema},
};
use datafusion::{
    catalog::MemTable,
    datasource::provider_as_source,
    execution::SessionStateBuilder,
    logical_expr::LogicalPlanBuilder,
    physical_plan::{ExecutionPlanProperties, collect, execute_stream_partitioned},
    prelude::SessionConfig,
};
use futures::StreamExt;

use super::*;
use crate::{barrier, plan};

const PARTITIONS: usize = 3;

fn state() -> SessionState {
    SessionStateBuilder::new()
        .with_config(SessionConfig::new().with_target_partitions(PARTITIONS))
        .with_default_features()
        .with_query_planner(Arc::new(barrier::Planner))
        .build()
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("name", DataType::Utf8, true),
    ]))
}

fn expectation(name: &str, condition: &str, on_violation: OnViolation) -> Expectation {
    Expectation { name: name.to_owned(), condition: condition.to_owned(), on_violation }
}

fn quarantining() -> Quarantining {
    Quarantining { run: RunId::generate(), at: Timestamp::from_micros(7) }
}

/// Rows `0..rows`, ten to a batch, spread over the partitions; every seventh has no name.
fn numbers(rows: i64) -> LogicalPlan {
    let mut partitions = vec![Vec::new(); PARTITIONS];
    for (n, from) in (0..rows).step_by(10).enumerate() {
        let ids: Vec<i64> = (from..rows.min(from + 10)).collect();
        let names: Vec<_> = ids.iter().map(|id| (id % 7 != 0).then(|| format!("n{id}"))).collect();
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(ids)), Arc::new(StringArray::from(names))];
        partitions[n % PARTITIONS].push(RecordBatch::try_new(schema(), columns).unwrap());
    }
    let table = MemTable::try_new(schema(), partitions).unwrap();
    let source = provider_as_source(Arc::new(table));
    LogicalPlanBuilder::scan("numbers", source, None).unwrap().build().unwrap()
}

async fn watched_plan(state: &SessionState, rows: i64, gate: &Arc<Gate>) -> Arc<dyn ExecutionPlan> {
    let plan = watched(state, numbers(rows), Some(gate)).unwrap();
    plan::physical(state, &plan).await.unwrap()
}

fn gate(state: &SessionState, expectations: &[Expectation]) -> Arc<Gate> {
    Gate::new(state, &schema(), expectations, quarantining()).unwrap().unwrap()
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    let mut ids: Vec<i64> = batches
        .iter()
        .flat_map(|batch| {
            let ids = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
            ids.values().to_vec()
        })
        .collect();
    ids.sort_unstable();
    ids
}

/// The rows of the result, and those of the quarantine.
async fn run(rows: i64, gate: &Arc<Gate>) -> (Vec<i64>, Vec<RecordBatch>) {
    let state = state();
    let plan = watched(&state, numbers(rows), Some(gate)).unwrap();
    let plan = plan::physical(&state, &plan).await.unwrap();
    assert_eq!(plan.output_partitioning().partition_count(), PARTITIONS);
    let out = async {
        let mut batches = Vec::new();
        let mut running = tokio::task::JoinSet::new();
        for stream in execute_stream_partitioned(plan, state.task_ctx()).unwrap() {
            running.spawn(stream.collect::<Vec<_>>());
        }
        while let Some(part) = running.join_next().await {
            batches.extend(part.unwrap().into_iter().map(Result::unwrap));
        }
        gate.close();
        batches
    };
    let aside = async {
        match gate.quarantine_plan() {
            Some(plan) => collect(plan, state.task_ctx()).await.unwrap(),
            None => Vec::new(),
        }
    };
    let both = async { tokio::join!(out, aside) };
    let (out, aside) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
    assert!(out.iter().all(|batch| batch.num_rows() > 0));
    (ids(&out), aside)
}

fn counts(report: &RunReport) -> (u64, u64, u64, u64) {
    (
        report.rows_in.unwrap(),
        report.rows_out.unwrap(),
        report.rows_dropped.unwrap(),
        report.rows_quarantined.unwrap(),
    )
}

fn violated(report: &RunReport) -> Vec<u64> {
    report.expectations.iter().map(|result| result.violated).collect()
}

#[tokio::test]
async fn rows_that_pass_go_through_as_they_are() {
    let gate = gate(&state(), &[expectation("positive", "id >= 0", OnViolation::Drop)]);
    let (out, aside) = run(100, &gate).await;
    assert_eq!(out, (0..100).collect::<Vec<_>>());
    assert!(aside.is_empty());
    assert_eq!(counts(&gate.report()), (100, 100, 0, 0));
    assert_eq!(violated(&gate.report()), [0]);
    assert!(gate.failure().is_none());
}

#[tokio::test]
async fn only_true_passes() {
    let gate = gate(&state(), &[expectation("named", "name <> 'n1'", OnViolation::Drop)]);
    let (out, _) = run(10, &gate).await;
    // Of 0 and 7 the name is NULL, and so is what is asked of it.
    assert_eq!(out, [2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(counts(&gate.report()), (10, 7, 3, 0));
}

#[tokio::test]
async fn the_strictest_expectation_decides_and_all_of_them_count() {
    let expectations = [
        expectation("kept", "id < 90", OnViolation::Keep),
        expectation("dropped", "id % 2 = 0", OnViolation::Drop),
        expectation("aside", "id % 3 = 0", OnViolation::Quarantine),
    ];
    let gate = gate(&state(), &expectations);
    let (out, aside) = run(100, &gate).await;
    assert_eq!(out, (0..100).filter(|id| id % 6 == 0).collect::<Vec<_>>());
    assert_eq!(ids(&aside), (0..100).filter(|id| id % 3 != 0).collect::<Vec<_>>());
    let report = gate.report();
    assert_eq!(counts(&report), (100, 17, 17, 66));
    assert_eq!(violated(&report), [10, 50, 66]);
    assert!(report.balances());
}

#[tokio::test]
async fn quarantined_rows_say_why_and_by_which_run() {
    let by = quarantining();
    let expectations = [
        expectation("a", "id <> 1", OnViolation::Quarantine),
        expectation("b", "id > 1", OnViolation::Keep),
    ];
    let gate = Gate::new(&state(), &schema(), &expectations, by).unwrap().unwrap();
    let (out, aside) = run(3, &gate).await;
    assert_eq!(out, [0, 2]);
    let [row] = aside.as_slice() else { panic!("one row is aside: {aside:?}") };
    assert_eq!(row.num_rows(), 1);
    let shown = lake::shown(row);
    assert_eq!(
        shown,
        format!(
            "id = 1, name = 'n1', _expectations = [a, b], _run_id = '{}', \
             _quarantined_at = 1970-01-01T00:00:00.000007Z",
            by.run
        )
    );
}

#[tokio::test]
async fn a_row_that_fails_the_run_stops_the_rows_and_not_the_counting() {
    let expectations = [
        expectation("few", "id < 60", OnViolation::Fail),
        expectation("aside", "id <> 99", OnViolation::Quarantine),
    ];
    let gate = gate(&state(), &expectations);
    let (out, _) = run(100, &gate).await;
    assert!(out.len() < 100);
    let report = gate.report();
    assert_eq!(report.rows_in, Some(100));
    assert_eq!(violated(&report), [40, 1]);
    let failure = gate.failure().unwrap();
    assert_eq!(failure.kind, ViolationKind::Expectation);
    assert_eq!(failure.examples.len(), EXAMPLES_MAX);
    assert!(failure.examples.iter().all(|row| row.starts_with("id = ")), "{failure}");
    assert_eq!(
        failure.without_rows().to_string(),
        "40 rows do not meet the expectation 'few' (id < 60), \
         which is ON VIOLATION FAIL UPDATE"
    );
}

#[tokio::test]
async fn a_condition_that_cannot_be_evaluated_fails_and_says_which() {
    let gate = gate(&state(), &[expectation("odd", "10 / (id - 5) >= 0", OnViolation::Keep)]);
    let state = state();
    let plan = watched_plan(&state, 10, &gate).await;
    let error = collect(plan, state.task_ctx()).await.unwrap_err();
    let text = QueryError::from(error).to_string();
    assert!(text.starts_with("expectation 'odd' (10 / (id - 5) >= 0) cannot be"), "{text}");
}

#[tokio::test]
async fn many_rows_for_the_quarantine_wait_for_its_writer() {
    let gate = gate(&state(), &[expectation("none", "false", OnViolation::Quarantine)]);
    let (out, aside) = run(20_000, &gate).await;
    assert!(out.is_empty());
    assert_eq!(ids(&aside), (0..20_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_quarantine_that_nobody_writes_any_more_fails_the_result() {
    let gate = gate(&state(), &[expectation("none", "false", OnViolation::Quarantine)]);
    let state = state();
    let plan = watched_plan(&state, 1_000, &gate).await;
    drop(gate.quarantine_plan());
    let error = collect(plan, state.task_ctx()).await.unwrap_err();
    assert!(error.to_string().contains("quarantine cannot be written"), "{error}");
}

#[test]
fn what_cannot_be_asked_of_one_row_is_refused() {
    let refused = |condition: &str| {
        let expectations = [expectation("e", condition, OnViolation::Drop)];
        check(&state(), &schema(), &expectations).unwrap_err().to_string()
    };
    for (condition, why) in [
        ("nope > 0", "cannot be evaluated: No field named nope"),
        ("id + 1", "is no condition: it is Int64"),
        ("id IN (SELECT 1)", "has a subquery"),
        ("exists (select 1)", "has a subquery"),
        ("sum(id) > 0", "has an aggregate"),
        ("row_number() OVER () = 1", "has a window function"),
        ("random() < 1", "whose answer changes with time"),
        ("id > extract(year FROM now())", "whose answer changes with time"),
        ("id >", "cannot be evaluated"),
    ] {
        let text = refused(condition);
        assert!(text.starts_with(&format!("expectation 'e' ({condition})")), "{text}");
        assert!(text.contains(why), "{condition}: {text}");
    }
    let good = ["id > 0", "NULL", "name LIKE 'select%'", "\"name\" IS NOT NULL"];
    for condition in good {
        let expectations = [expectation("e", condition, OnViolation::Drop)];
        check(&state(), &schema(), &expectations).unwrap();
    }
}

#[test]
fn names_are_there_once() {
    let twice = [
        expectation("e", "id > 0", OnViolation::Drop),
        expectation("e", "id > 1", OnViolation::Keep),
    ];
    let text = check(&state(), &schema(), &twice).unwrap_err().to_string();
    assert_eq!(text, "two expectations are named 'e'");
    let columns = Arc::new(Schema::new(vec![Field::new("_Run_ID", DataType::Int64, true)]));
    let aside = [expectation("e", "true", OnViolation::Quarantine)];
    let text = check(&state(), &columns, &aside).unwrap_err().to_string();
    assert!(text.contains("has a column '_Run_ID'"), "{text}");
}
