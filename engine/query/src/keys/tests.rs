use arrow::{
    array::{Int64Array, StringArray},
    datatypes::{Field, Schema},
};
use datafusion::{catalog::MemTable, execution::SessionStateBuilder};

use super::*;

type Row = (Option<i64>, Option<&'static str>);

fn table(rows: &[Row]) -> Arc<dyn TableProvider> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, true),
        Field::new("of", DataType::Utf8, true),
    ]));
    let ids: Int64Array = rows.iter().map(|row| row.0).collect();
    let of: StringArray = rows.iter().map(|row| row.1).collect();
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(ids), Arc::new(of)]);
    Arc::new(MemTable::try_new(schema, vec![vec![batch.unwrap()]]).unwrap())
}

fn key(kind: KeyKind, columns: &[&str]) -> Key {
    let columns = columns.iter().map(|column| (*column).to_owned()).collect();
    Key { name: "k".to_owned(), columns, kind, mode: KeyMode::Verified }
}

fn name(name: &str) -> ObjectName {
    ObjectName::new("main", name).unwrap()
}

async fn found(logical: LogicalPlan, width: usize) -> Found {
    let state = SessionStateBuilder::new().with_default_features().build();
    let plan = state.create_physical_plan(&logical).await.unwrap();
    violating(plan, state.task_ctx(), width).await.unwrap()
}

async fn of_rows(rows: &RunRows, key: &Key) -> Option<String> {
    let logical = match &key.kind {
        KeyKind::Foreign { columns, .. } => {
            let there = scan(REFERENCED, &rows.table).unwrap().build().unwrap();
            orphans(rows, key, there, columns).unwrap()
        }
        _ => repeated(rows, key).unwrap(),
    };
    let found = found(logical, key.columns.len()).await;
    let is_violated = found.values + found.null_rows > 0;
    is_violated.then(|| found.violation(&name("t"), key).to_string())
}

async fn of_table(rows: &[Row], key: &Key) -> Option<String> {
    of_rows(&RunRows { table: table(rows), coming: None }, key).await
}

const A: Option<&str> = Some("a");

#[tokio::test]
async fn a_primary_key_is_there_once_and_has_no_null() {
    let primary = key(KeyKind::Primary, &["id"]);
    assert_eq!(of_table(&[(Some(1), A), (Some(2), None)], &primary).await, None);
    assert_eq!(
        of_table(&[(Some(1), A), (Some(1), None), (Some(2), A)], &primary).await.unwrap(),
        "the PRIMARY KEY 'k' (id) of 'main.t' does not hold: 1 value comes more than once, \
         for example: id = 1 (2 rows)"
    );
    let mixed = [(Some(1), A), (Some(1), A), (Some(2), A), (Some(2), A), (Some(2), A), (None, A)];
    assert_eq!(
        of_table(&mixed, &primary).await.unwrap(),
        "the PRIMARY KEY 'k' (id) of 'main.t' does not hold: 2 values come more than once, \
         and 1 row has NULL in it, for example: id = 2 (3 rows); id = 1 (2 rows); id = NULL (1 row)"
    );
    let both = key(KeyKind::Primary, &["id", "of"]);
    assert_eq!(of_table(&[(Some(1), A), (Some(1), Some("b"))], &both).await, None);
    let text = of_table(&[(Some(1), A), (Some(1), A)], &both).await.unwrap();
    assert!(text.ends_with("for example: id = 1, of = 'a' (2 rows)"), "{text}");
}

#[tokio::test]
async fn a_unique_key_says_what_nulls_are() {
    let rows = [(None, A), (None, A), (Some(1), A)];
    let distinct = key(KeyKind::Unique { nulls_equal: false }, &["id"]);
    assert_eq!(of_table(&rows, &distinct).await, None);
    let equal = key(KeyKind::Unique { nulls_equal: true }, &["id"]);
    let text = of_table(&rows, &equal).await.unwrap();
    assert!(text.contains("2 rows have the same values with NULL in it"), "{text}");
    assert_eq!(of_table(&[(None, A), (Some(1), A)], &equal).await, None);
    assert!(of_table(&[(Some(1), A), (Some(1), None)], &distinct).await.is_some());
}

#[tokio::test]
async fn only_keys_of_rows_that_come_are_looked_up_among_those_that_stay() {
    // The rows that stay were checked when they came: what is wrong with them is not found again.
    let stays = [(Some(1), A), (Some(1), A), (Some(2), A)];
    let primary = key(KeyKind::Primary, &["id"]);
    let check = async |coming: &[Row]| {
        let all: Vec<Row> = stays.iter().chain(coming).copied().collect();
        of_rows(&RunRows { table: table(&all), coming: Some(table(coming)) }, &primary).await
    };
    assert_eq!(check(&[(Some(3), A)]).await, None);
    assert!(check(&[(Some(2), A)]).await.unwrap().contains("id = 2 (2 rows)"));
    assert!(check(&[(Some(4), A), (Some(4), A)]).await.unwrap().contains("id = 4 (2 rows)"));
    assert!(check(&[(None, A)]).await.unwrap().contains("1 row has NULL in it"));
}

#[tokio::test]
async fn a_foreign_key_without_null_is_among_the_referenced_ones() {
    let kind = KeyKind::Foreign { references: name("t"), columns: vec!["of".to_owned()] };
    let foreign = key(kind, &["of"]);
    let there = table(&[(Some(1), A)]);
    let rows = RunRows {
        table: table(&[(Some(1), A), (Some(2), None), (Some(3), Some("b")), (Some(4), Some("b"))]),
        coming: None,
    };
    let referenced = scan(REFERENCED, &there).unwrap().build().unwrap();
    let logical = orphans(&rows, &foreign, referenced, &["of".to_owned()]).unwrap();
    let violation = found(logical, 1).await.violation(&name("t"), &foreign);
    assert_eq!(violation.kind, ViolationKind::Foreign);
    assert_eq!(
        violation.to_string(),
        "the FOREIGN KEY 'k' (of) of 'main.t' does not hold: 1 value is not in main.t (of), \
         for example: of = 'b' (2 rows)"
    );
    assert_eq!(of_rows(&rows, &foreign).await, None);
}

#[tokio::test]
async fn an_error_shows_few_values_and_counts_all() {
    let rows: Vec<Row> = (0..40).map(|n| (Some(n / 2), A)).collect();
    let text = of_table(&rows, &key(KeyKind::Primary, &["id"])).await.unwrap();
    assert!(text.contains("20 values come more than once"), "{text}");
    assert_eq!(text.matches("(2 rows)").count(), EXAMPLES_MAX);
}

#[test]
fn columns_of_a_key_are_columns_of_the_result() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]));
    let refused = |columns: &[&str]| {
        own_columns(&key(KeyKind::Primary, columns), &schema).unwrap_err().to_string()
    };
    own_columns(&key(KeyKind::Primary, &["id"]), &schema).unwrap();
    assert_eq!(
        refused(&["no"]),
        "the PRIMARY KEY 'k' names the column 'no', which the result does not have; it has id"
    );
    assert_eq!(refused(&["id", "id"]), "the PRIMARY KEY 'k' names the column 'id' twice");
    assert_eq!(refused(&[]), "the PRIMARY KEY 'k' names no column");
}
