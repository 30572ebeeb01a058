use arrow::datatypes::{Field, Schema};
use datafusion::prelude::SessionContext;
use model::{
    name::ObjectName,
    transform::{ChangeSpec, ColumnChoice, Flow, History, Key, KeyMode},
};

use super::*;

async fn planned(sql: &str) -> (SessionContext, LogicalPlan, SchemaRef) {
    let context = SessionContext::new();
    let table = "CREATE TABLE t AS SELECT CAST(value AS BIGINT) AS id, value % 7 AS k, \
                 CAST(value AS DOUBLE) / 7 AS f FROM generate_series(1, 1000)";
    context.sql(table).await.unwrap().collect().await.unwrap();
    let plan = context.state().create_logical_plan(sql).await.unwrap();
    let columns = Arc::clone(plan.schema().inner());
    (context, plan, columns)
}

fn percent(percent: u32) -> Percent {
    Percent::of_a_million(percent * 10_000).unwrap()
}

fn key(kind: KeyKind, columns: &[&str]) -> Key {
    let columns = columns.iter().map(|&column| column.to_owned()).collect();
    Key { name: "key".to_owned(), columns, kind, mode: KeyMode::Rely }
}

async fn chosen(sql: &str, view: &Transform) -> Option<By> {
    let (_, plan, columns) = planned(sql).await;
    Sample::of(percent(5), view, &plan, &columns).map(|sample| sample.by)
}

#[tokio::test]
async fn the_best_key_that_is_known_chooses() {
    let plain = Transform::default();
    let grouped = "SELECT sum(id) AS s, k FROM t GROUP BY k";
    assert_eq!(chosen(grouped, &plain).await, Some(By::Key(vec![1])));
    let above = "SELECT a.k AS g, n + 1 AS m FROM (SELECT k, count(*) AS n FROM t GROUP BY k) AS a \
                 WHERE n > 1 ORDER BY 1";
    assert_eq!(chosen(above, &plain).await, Some(By::Key(vec![0])));
    // What is computed from the key need not tell keys apart, and several keys are none.
    let odd = "SELECT k + 1 AS g, count(*) AS n FROM t GROUP BY k";
    assert_eq!(chosen(odd, &plain).await, Some(By::Row(vec![0, 1])));
    let several = "SELECT k, count(*) AS n FROM t GROUP BY ROLLUP (k)";
    assert_eq!(chosen(several, &plain).await, Some(By::Row(vec![0, 1])));
    assert_eq!(chosen("SELECT id, f, k FROM t", &plain).await, Some(By::Row(vec![0, 2])));
    assert_eq!(chosen("SELECT f FROM t", &plain).await, None);

    let unique = key(KeyKind::Unique { nulls_equal: false }, &["k"]);
    let mut view = Transform { keys: vec![unique], ..Transform::default() };
    let all = "SELECT id, f, k FROM t";
    assert_eq!(chosen(all, &view).await, Some(By::Key(vec![2])));
    view.keys.push(key(KeyKind::Primary, &["id", "f"]));
    assert_eq!(chosen(all, &view).await, Some(By::Key(vec![0])));
    view.keys = vec![key(KeyKind::Primary, &["f"])];
    assert_eq!(chosen(all, &view).await, Some(By::Row(vec![0, 2])));

    let spec = ChangeSpec {
        keys: vec!["k".to_owned()],
        ignore_null_updates: ColumnChoice::None,
        delete_when: None,
        truncate_when: None,
        sequence_by: "id".to_owned(),
        last_by: None,
        columns: ColumnChoice::All,
        history: History::Newest,
    };
    let flow = Flow {
        name: ObjectName::new("main", "f").unwrap(),
        query: String::new(),
        definition_hash: String::new(),
        reads: Vec::new(),
        once: false,
        kind: FlowKind::Changes(Box::new(spec)),
        comment: None,
        columns: Vec::new(),
        files: None,
    };
    let events = Transform { flows: vec![flow], ..Transform::default() };
    assert_eq!(chosen(all, &events).await, Some(By::Key(vec![2])));
}

#[tokio::test]
async fn rows_are_chosen_before_they_are_aggregated() {
    let sql = "SELECT k, count(*) AS n, sum(f) AS s FROM t GROUP BY k";
    let (context, plan, columns) = planned(sql).await;
    let sample = Sample::of(percent(30), &Transform::default(), &plan, &columns).unwrap();
    let sampled = sample.within(plan, &columns).unwrap();
    let optimized = context.state().optimize(&sampled).unwrap().display_indent().to_string();
    let place = |what: &str| optimized.find(what).unwrap_or_else(|| panic!("{what}\n{optimized}"));
    assert!(place("Aggregate") < place("sampled_key"), "{optimized}");
}

#[tokio::test]
async fn both_sides_choose_the_same_keys() {
    let (context, plan, columns) = planned("SELECT id, k FROM t").await;
    let view = Transform { keys: vec![key(KeyKind::Primary, &["id"])], ..Transform::default() };
    let sample = Sample::of(percent(30), &view, &plan, &columns).unwrap();
    // The other side has another type there, which is judged as what it becomes.
    let other = context
        .state()
        .create_logical_plan("SELECT CAST(id AS INT) AS id, k FROM t WHERE k < 3")
        .await
        .unwrap();
    let mut ids = Vec::new();
    for plan in [plan, other] {
        let sampled = sample.within(plan, &columns).unwrap();
        let sampled = LogicalPlanBuilder::from(sampled).build().unwrap();
        let rows = context.execute_logical_plan(sampled).await.unwrap();
        let rows = rows.filter(datafusion::prelude::col("k").lt(datafusion::prelude::lit(3)));
        let rows = rows.unwrap().sort_by(vec![datafusion::prelude::col("id")]).unwrap();
        let batches = rows.collect().await.unwrap();
        ids.push(arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string());
    }
    assert_eq!(ids[0], ids[1]);
    assert!((100..400).contains(&ids[0].lines().count()), "{}", ids[0]);
}

#[test]
fn the_note_says_what_was_compared() {
    let columns: SchemaRef = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let sample = |by| Sample { percent: percent(5), by };
    let note = sample(By::Key(vec![0])).note(&columns, Some(12));
    assert!(note.contains("5 percent of the keys (id)") && note.contains("12"), "{note}");
    let note = sample(By::Row(vec![0])).note(&columns, None);
    assert!(note.contains("5 percent of the rows"), "{note}");
}
