//! Prepared statements and their parameters.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch,
        StringArray, TimestampMicrosecondArray, new_null_array,
    },
    datatypes::DataType,
};
use tonic::Code;
use whimbrel_tests::{
    client::{Client, Failure, Prepared},
    process::Server,
};

fn row(columns: Vec<ArrayRef>) -> RecordBatch {
    let named =
        columns.into_iter().enumerate().map(|(n, column)| (format!("{}", n + 1), column, true));
    RecordBatch::try_from_iter_with_nullable(named).unwrap()
}

fn numbers<const N: usize>(values: [Option<i64>; N]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn texts<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

async fn fetch(client: &mut Client, prepared: &mut Prepared, row: RecordBatch) -> Vec<String> {
    prepared.set_parameters(row).unwrap();
    let info = prepared.execute().await.unwrap();
    client.fetch(info).await.unwrap().lines()
}

async fn client(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client.script("CREATE TABLE t (a BIGINT, b VARCHAR); INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)").await;
    client
}

#[tokio::test]
async fn question_marks_are_bound_in_their_order() {
    let server = Server::start();
    let mut client = client(&server).await;
    let mut prepared = client.prepare("SELECT a FROM t WHERE a > ? AND b = ?").await;
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 2);
    let rows =
        fetch(&mut client, &mut prepared, row(vec![numbers([Some(1)]), texts([Some("two")])]))
            .await;
    assert_eq!(rows, ["2"]);
    let rows =
        fetch(&mut client, &mut prepared, row(vec![numbers([Some(2)]), texts([Some("two")])]))
            .await;
    assert!(rows.is_empty());
}

#[tokio::test]
async fn numbered_parameters_may_be_used_twice_and_out_of_order() {
    let server = Server::start();
    let mut client = client(&server).await;
    let mut prepared =
        client.prepare("SELECT $2, a + $1 FROM t WHERE a = $1 OR b = $2 ORDER BY a").await;
    let rows =
        fetch(&mut client, &mut prepared, row(vec![numbers([Some(1)]), texts([Some("two")])]))
            .await;
    assert_eq!(rows, ["two|2", "two|3"]);
}

#[tokio::test]
async fn null_can_be_bound() {
    let server = Server::start();
    let mut client = client(&server).await;
    let mut prepared = client
        .prepare("SELECT count(*) FROM t WHERE b = ? OR (CAST(? AS VARCHAR) IS NULL AND b IS NULL)")
        .await;
    let null = || texts([None]);
    assert_eq!(fetch(&mut client, &mut prepared, row(vec![null(), null()])).await, ["1"]);
    // A NULL without a type, as some drivers send it.
    let untyped = || new_null_array(&DataType::Null, 1);
    assert_eq!(fetch(&mut client, &mut prepared, row(vec![untyped(), untyped()])).await, ["1"]);
}

#[tokio::test]
async fn values_take_the_type_that_the_statement_needs() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .update("CREATE TABLE t (i INT, d DOUBLE, m DECIMAL(10, 2), day DATE, at TIMESTAMP, yes BOOLEAN)")
        .await;
    let mut prepared = client.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)").await;
    prepared
        .set_parameters(row(vec![
            numbers([Some(7)]),
            Arc::new(Float64Array::from(vec![1.5])),
            Arc::new(Decimal128Array::from(vec![1234]).with_precision_and_scale(10, 2).unwrap()),
            texts([Some("2024-02-29")]),
            texts([Some("2024-02-29 12:30:00")]),
            Arc::new(BooleanArray::from(vec![true])),
        ]))
        .unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 1);
    assert_eq!(
        client.query("SELECT * FROM t").await.text(),
        "7|1.5|12.34|2024-02-29|2024-02-29T12:30:00|true"
    );
}

#[tokio::test]
async fn many_rows_are_inserted_as_one_commit() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t (a BIGINT, b VARCHAR)").await;
    let mut prepared = client.prepare("INSERT INTO t VALUES (?, ?)").await;
    let rows: Vec<i64> = (0..1_000).collect();
    let texts: Vec<Option<String>> =
        rows.iter().map(|n| (n % 10 != 0).then(|| format!("row {n}"))).collect();
    prepared
        .set_parameters(row(vec![
            Arc::new(Int64Array::from(rows)),
            Arc::new(StringArray::from(texts)),
        ]))
        .unwrap();
    assert_eq!(prepared.execute_update().await.unwrap(), 1_000);
    let answer = client.query("SELECT count(*), count(b), sum(a) FROM t").await;
    assert_eq!(answer.text(), "1000|900|499500");
    // The table's creation is version 0.
    let before = client.query("SELECT count(*) FROM t VERSION AS OF 0").await.cell();
    let after = client.query("SELECT count(*) FROM t VERSION AS OF 1").await.cell();
    assert_eq!((before.as_str(), after.as_str()), ("0", "1000"));
}

#[tokio::test]
async fn a_query_answers_each_row_of_its_parameters_in_their_order() {
    let server = Server::start();
    let mut client = client(&server).await;
    let mut prepared = client.prepare("SELECT a FROM t WHERE a >= ? ORDER BY a DESC").await;
    let rows = row(vec![numbers([Some(2), Some(9), Some(3), None, Some(2)])]);
    assert_eq!(fetch(&mut client, &mut prepared, rows).await, ["3", "2", "3", "3", "2"]);
    // What is bound once more takes the place of all of them.
    assert_eq!(fetch(&mut client, &mut prepared, row(vec![numbers([Some(3)])])).await, ["3"]);
    for count in [0, 1_001] {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1; count]));
        prepared.set_parameters(row(vec![column])).unwrap();
        let failure: Failure = prepared.execute().await.unwrap_err().into();
        failure.expect(Code::InvalidArgument, &["row"]);
    }
}

#[tokio::test]
async fn missing_and_wrong_parameters_are_refused() {
    let server = Server::start();
    let mut client = client(&server).await;
    let mut prepared = client.prepare("SELECT a FROM t WHERE a = ?").await;
    let failure: Failure = prepared.execute().await.unwrap_err().into();
    failure.expect(Code::InvalidArgument, &["parameter"]);
    prepared.set_parameters(row(vec![texts([Some("many")])])).unwrap();
    let failure: Failure = prepared.execute().await.unwrap_err().into();
    failure.expect(Code::InvalidArgument, &["many"]);
    client
        .query_failure("SELECT a FROM t WHERE a = ?")
        .await
        .expect(Code::InvalidArgument, &["parameter"]);
    // Nothing was left behind: the right value still works.
    assert_eq!(fetch(&mut client, &mut prepared, row(vec![numbers([Some(3)])])).await, ["3"]);
}

#[tokio::test]
async fn a_prepared_query_sees_later_commits_and_definitions() {
    let server = Server::start();
    let mut client = client(&server).await;
    let mut prepared = client.prepare("SELECT count(*) FROM t").await;
    client.update("INSERT INTO t VALUES (4, 'four')").await;
    let info = prepared.execute().await.unwrap();
    assert_eq!(client.fetch(info).await.unwrap().cell(), "4");
}

#[tokio::test]
async fn an_unknown_table_is_refused_when_preparing() {
    let server = Server::start();
    let mut client = client(&server).await;
    let failure = client.try_prepare("SELECT * FROM tt WHERE a = ?").await.unwrap_err();
    failure.expect(Code::NotFound, &["main.tt"]);
}

/// Drivers read no rows of a statement whose columns they were not told.
#[tokio::test]
async fn statements_that_care_for_tables_tell_their_columns_when_they_are_prepared() {
    let server = Server::start();
    let mut client = client(&server).await;
    for sql in [
        "OPTIMIZE t",
        "OPTIMIZE t ASYNC",
        "VACUUM t",
        "VACUUM t ASYNC",
        "VACUUM t DRY RUN",
        "RESTORE t TO VERSION AS OF 1",
    ] {
        let mut prepared = client.prepare(sql).await;
        let told = prepared.dataset_schema().unwrap().clone();
        assert!(!told.fields().is_empty(), "{sql}");
        let info = prepared.execute().await.unwrap();
        let answered = client.fetch(info).await.unwrap();
        let names: Vec<_> = told.fields().iter().map(|field| field.name().as_str()).collect();
        assert_eq!(answered.columns(), names, "{sql}");
    }
}

#[tokio::test]
async fn parameters_of_which_nothing_is_said_have_the_types_that_are_bound() {
    let server = Server::start();
    let mut client = client(&server).await;
    let mut joined = client.prepare("SELECT ? || ? AS c").await;
    let bound = row(vec![texts([Some("a")]), texts([Some("b")])]);
    assert_eq!(fetch(&mut client, &mut joined, bound).await, ["ab"]);
    let mut quotient = client.prepare("SELECT ? / ? AS q").await;
    let bound = row(vec![numbers([Some(7)]), numbers([Some(2)])]);
    assert_eq!(fetch(&mut client, &mut quotient, bound).await, ["3"]);
    let halves: ArrayRef = Arc::new(Float64Array::from(vec![7.0]));
    let bound = row(vec![halves, numbers([Some(2)])]);
    assert_eq!(fetch(&mut client, &mut quotient, bound).await, ["3.5"]);
    let mut same = client.prepare("SELECT count(*) AS n FROM t WHERE ? = ? AND a > ?").await;
    for (left, right, count) in [(1, 1, "2"), (1, 2, "0")] {
        let bound = row(vec![numbers([Some(left)]), numbers([Some(right)]), numbers([Some(1)])]);
        assert_eq!(fetch(&mut client, &mut same, bound).await, [count]);
    }
    let mut nothing = client.prepare("SELECT coalesce(?, ?) AS c").await;
    let null = new_null_array(&DataType::Null, 1);
    let bound = row(vec![null, texts([Some("b")])]);
    assert_eq!(fetch(&mut client, &mut nothing, bound).await, ["b"]);
}

#[tokio::test]
async fn a_statement_about_jobs_tells_its_columns() {
    let server = Server::start();
    let mut client = client(&server).await;
    client.update("CREATE MATERIALIZED VIEW m AS SELECT a FROM t").await;
    let expected = client.query("SELECT * FROM system.jobs").await.schema;
    for sql in ["REFRESH MATERIALIZED VIEW m SYNC", "REFRESH MATERIALIZED VIEW m"] {
        let prepared = client.prepare(sql).await;
        assert_eq!(prepared.dataset_schema().unwrap().fields(), expected.fields(), "{sql}");
        assert_eq!(client.query(sql).await.schema.fields(), expected.fields(), "{sql}");
    }
    let id = client.newest_job("main.m").await.id;
    let prepared = client.prepare(&format!("WAIT FOR JOB '{id}'")).await;
    assert_eq!(prepared.dataset_schema().unwrap().fields(), expected.fields());
}

#[tokio::test]
async fn a_value_means_what_it_says_whatever_it_is_compared_with() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE m (id INT, d DECIMAL(10, 2), da DATE); \
             INSERT INTO m VALUES (1, 2.00, DATE '2026-01-01'), (2, 99999.99, DATE '2026-01-02')",
        )
        .await;
    let decimal = |value: i128, scale: i8| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![value]).with_precision_and_scale(20, scale).unwrap())
    };
    let double = |value: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![value])) };
    let noon: ArrayRef =
        Arc::new(TimestampMicrosecondArray::from(vec![1_767_225_600_000_000 + 36_000_000_000]));
    let nothing: [&str; 0] = [];
    for (sql, value, expected) in [
        ("SELECT id FROM m WHERE id = ?", double(1.5), &nothing[..]),
        ("SELECT id FROM m WHERE id < ? ORDER BY id", double(2.5), &["1", "2"]),
        ("SELECT id FROM m WHERE id = ?", double(2.0), &["2"]),
        ("SELECT id FROM m WHERE id < ? ORDER BY id", numbers([Some(1 << 40)]), &["1", "2"]),
        ("SELECT id FROM m WHERE d = ?", decimal(2004, 3), &nothing),
        ("SELECT id FROM m WHERE d = ?", decimal(2000, 3), &["1"]),
        ("SELECT id FROM m WHERE d = ?", double(99999.99), &["2"]),
        ("SELECT id FROM m WHERE d > ? AND id = 1", double(1.999), &["1"]),
        ("SELECT id FROM m WHERE da = ?", Arc::clone(&noon), &nothing),
        ("SELECT id FROM m WHERE da < ?", noon, &["1"]),
        ("SELECT ? * 2", double(1.5), &["3.0"]),
        ("SELECT 10 / ?", double(0.5), &["20.0"]),
    ] {
        let mut prepared = client.prepare(sql).await;
        let shown = format!("{sql}: {value:?}");
        assert_eq!(fetch(&mut client, &mut prepared, row(vec![value])).await, expected, "{shown}");
    }
    let mut delete = client.prepare("DELETE FROM m WHERE id = ?").await;
    delete.set_parameters(row(vec![double(1.5)])).unwrap();
    assert_eq!(delete.execute_update().await.unwrap(), 0);
}

#[tokio::test]
async fn a_null_for_a_list_is_no_list() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.script("CREATE TABLE l (a BIGINT[])").await;
    let mut insert = client.prepare("INSERT INTO l VALUES (?)").await;
    for null in [numbers([None]), texts([None]), new_null_array(&DataType::Null, 1)] {
        insert.set_parameters(row(vec![null])).unwrap();
        assert_eq!(insert.execute_update().await.unwrap(), 1);
    }
    let answer = client.query("SELECT count(*), count(a) FROM l").await;
    assert_eq!(answer.lines(), ["3|0"]);
}
