use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StructArray},
    datatypes::{DataType, Field, Schema},
};
use datafusion::{catalog::MemTable, execution::SessionStateBuilder};

use super::*;

/// `(key, start, end)`.
type Row = (Option<i64>, Option<i64>, Option<i64>);

fn table(rows: &[Row]) -> Arc<dyn TableProvider> {
    let fields = ["id", START_AT, END_AT].map(|name| Field::new(name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let column = |of: fn(&Row) -> Option<i64>| -> Arc<Int64Array> {
        Arc::new(rows.iter().map(of).collect())
    };
    let columns = [column(|row| row.0), column(|row| row.1), column(|row| row.2)];
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        columns.into_iter().map(|column| column as _).collect(),
    );
    Arc::new(MemTable::try_new(schema, vec![vec![batch.unwrap()]]).unwrap())
}

async fn violated(every_state: bool, rows: &[Row], coming: Option<&[Row]>) -> Option<String> {
    let check = HistoryCheck {
        object: ObjectName::new("main", "t").unwrap(),
        keys: vec!["id".to_owned()],
        every_state,
        rows: RunRows { table: table(rows), coming: coming.map(table) },
    };
    let state = SessionStateBuilder::new().with_default_features().build();
    let plan = state.create_physical_plan(&check.plan().unwrap()).await.unwrap();
    let (rows, examples) = found(plan, state.task_ctx()).await.unwrap();
    (rows > 0).then(|| check.violation(rows, examples).to_string())
}

const A: Option<i64> = Some(1);

#[tokio::test]
async fn intervals_of_a_key_follow_each_other() {
    let right = [
        (A, Some(1), Some(3)),
        (A, Some(3), Some(4)),
        (A, Some(7), None),
        (Some(2), Some(1), None),
        (None, Some(2), Some(5)),
    ];
    assert_eq!(violated(true, &right, None).await, None);
    assert_eq!(violated(true, &[], None).await, None);
    let wrong: [(&str, [Row; 2]); 6] = [
        ("two are open", [(A, Some(1), None), (A, Some(4), None)]),
        ("an open one is not the newest", [(A, Some(1), None), (A, Some(4), Some(5))]),
        ("they overlap", [(A, Some(1), Some(5)), (A, Some(4), None)]),
        ("it ends when it begins", [(A, Some(1), Some(1)), (A, Some(4), None)]),
        ("it ends before it begins", [(A, Some(3), Some(2)), (A, Some(4), None)]),
        ("they begin together", [(None, Some(3), Some(4)), (None, Some(3), None)]),
    ];
    for (what, rows) in wrong {
        let text = violated(true, &rows, None).await.expect(what);
        assert!(text.contains("is no history by (id)"), "{what}: {text}");
    }
    let text = violated(true, &[(A, None, None)], None).await.unwrap();
    assert!(text.ends_with("at 1 rows, for example: id = 1"), "{text}");
}

#[tokio::test]
async fn a_key_has_one_row_where_only_the_newest_state_is_kept() {
    assert_eq!(violated(false, &[(A, A, A), (None, A, A)], None).await, None);
    let text = violated(false, &[(None, A, A), (None, A, A), (A, A, A)], None).await.unwrap();
    assert!(text.contains("one key has several rows, at 1 rows"), "{text}");
}

#[tokio::test]
async fn keys_of_which_no_row_comes_are_left_alone() {
    let rows =
        [(A, Some(1), None), (A, Some(2), None), (None, Some(1), None), (None, Some(1), None)];
    assert_eq!(violated(true, &rows, Some(&[(Some(2), None, None)])).await, None);
    for coming in [A, None] {
        let text = violated(true, &rows, Some(&[(coming, None, None)])).await.unwrap();
        assert!(text.contains("at 1 rows"), "{text}");
    }
}

#[tokio::test]
async fn a_zero_has_no_sign_and_a_time_may_have_several_parts() {
    let part = Field::new("c0", DataType::Int64, true);
    let time = DataType::Struct(vec![part.clone()].into());
    let schema = Arc::new(Schema::new(vec![
        Field::new("id", DataType::Float64, true),
        Field::new(START_AT, time.clone(), true),
        Field::new(END_AT, time, true),
    ]));
    let times = |times: [i64; 2]| -> ArrayRef {
        let values: ArrayRef = Arc::new(Int64Array::from(times.to_vec()));
        Arc::new(StructArray::from(vec![(Arc::new(part.clone()), values)]))
    };
    for (keys, wrong) in [([0.0, -0.0], 1), ([0.0, 1.0], 0)] {
        let keys: ArrayRef = Arc::new(Float64Array::from(keys.to_vec()));
        let columns = vec![keys, times([1, 2]), times([3, 4])];
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let table = MemTable::try_new(Arc::clone(&schema), vec![vec![batch]]).unwrap();
        let check = HistoryCheck {
            object: ObjectName::new("main", "t").unwrap(),
            keys: vec!["id".to_owned()],
            every_state: true,
            rows: RunRows { table: Arc::new(table), coming: None },
        };
        let state = SessionStateBuilder::new().with_default_features().build();
        let plan = state.create_physical_plan(&check.plan().unwrap()).await.unwrap();
        assert_eq!(found(plan, state.task_ctx()).await.unwrap().0, wrong);
    }
}
