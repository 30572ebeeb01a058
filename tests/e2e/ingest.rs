//! Bulk ingest: a client's rows become rows of a table by the rules of INSERT and CREATE TABLE AS,
//! whole or not at all.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, DictionaryArray, Int32Array, Int64Array, LargeStringArray, RecordBatch,
        StringArray, StringViewArray, Time64MicrosecondArray, UInt32Array,
    },
    datatypes::{Int8Type, Schema},
};
use arrow_flight::{
    error::FlightError,
    sql::{CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption},
};
use futures::{StreamExt, stream};
use tonic::Code;
use whimbrel_tests::{
    client::{Client, Failure},
    eventually::eventually,
    process::{Options, Server},
};

use crate::lake::Log;

use TableExistsOption::{Append, Fail as FailIfExists, Replace};
use TableNotExistOption::{Create, Fail as FailIfMissing};

fn ingest(
    table: &str,
    if_not_exist: TableNotExistOption,
    if_exists: TableExistsOption,
) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist: if_not_exist as i32,
            if_exists: if_exists as i32,
        }),
        table: table.to_owned(),
        ..CommandStatementIngest::default()
    }
}

fn append(table: &str) -> CommandStatementIngest {
    ingest(table, FailIfMissing, Append)
}

fn create(table: &str) -> CommandStatementIngest {
    ingest(table, Create, FailIfExists)
}

fn batch<const N: usize>(columns: [(&str, ArrayRef); N]) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn numbers(column: &str, numbers: impl IntoIterator<Item = i64>) -> RecordBatch {
    batch([(column, Arc::new(Int64Array::from_iter_values(numbers)))])
}

/// The failure of an ingest.
async fn refused(
    client: &mut Client,
    command: CommandStatementIngest,
    rows: RecordBatch,
) -> Failure {
    match client.try_ingest(command.clone(), vec![rows]).await {
        Ok(count) => panic!("wrote {count} rows instead of failing: {command:?}"),
        Err(failure) => failure,
    }
}

async fn log_of(client: &mut Client, table: &str) -> Log {
    Log::at(&client.query(&format!("DESCRIBE DETAIL {table}")).await.only("location"))
}

#[tokio::test]
async fn every_mode_does_what_it_says_in_one_commit() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    for if_not_exist in [Create, FailIfMissing] {
        for if_exists in [FailIfExists, Append, Replace] {
            let command = ingest("t", if_not_exist, if_exists);
            let case = format!("{if_not_exist:?}, {if_exists:?}");
            let missing = client.try_ingest(command.clone(), vec![numbers("a", [1, 2])]).await;
            match if_not_exist {
                Create => {
                    assert_eq!(missing.unwrap(), 2, "{case}");
                    assert_eq!(log_of(&mut client, "t").await.newest(), 0, "{case}");
                }
                _ => {
                    missing.unwrap_err().expect(Code::NotFound, &["main.t", "does not exist"]);
                    client.update("CREATE TABLE t AS VALUES (1), (2)").await;
                    client.update("ALTER TABLE t ADD COLUMN a BIGINT").await;
                }
            }
            let log = log_of(&mut client, "t").await;
            let before = log.newest();
            let rows = vec![numbers("a", [3]), numbers("a", [4, 5])];
            let there = client.try_ingest(command, rows).await;
            let count = client.count("t").await;
            match if_exists {
                Append => assert_eq!((there.unwrap(), count), (3, 5), "{case}"),
                Replace => {
                    assert_eq!((there.unwrap(), count), (3, 3), "{case}");
                    assert_eq!(client.query("SELECT * FROM t").await.columns(), ["a"], "{case}");
                    // The same table, so that its older versions are still there.
                    let old = format!("t VERSION AS OF {before}");
                    assert_eq!(client.count(&old).await, 2, "{case}");
                }
                _ => {
                    there.unwrap_err().expect(Code::AlreadyExists, &["main.t"]);
                    assert_eq!(count, 2, "{case}");
                }
            }
            let commits = i64::from(if_exists != FailIfExists);
            assert_eq!(log.newest(), before + commits, "{case}");
            assert!(log.orphans().is_empty(), "{case}: {:?}", log.orphans());
            client.update("DROP TABLE t PURGE").await;
        }
    }
    let texts = client
        .query("SELECT sql, rows FROM system.queries WHERE sql LIKE '%incoming_rows'")
        .await
        .lines();
    assert!(
        texts.contains(&"INSERT INTO main.t BY NAME SELECT * FROM incoming_rows|3".to_owned()),
        "{texts:?}"
    );
}

#[tokio::test]
async fn columns_are_matched_by_name_and_cast_to_the_tables_types() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (id BIGINT NOT NULL, name VARCHAR, price DECIMAL(8, 2), day DATE,
                             CONSTRAINT positive CHECK (id > 0))",
        )
        .await;
    let text = |texts: [&str; 2]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
    let ids = |ids: [i32; 2]| Arc::new(Int32Array::from(ids.to_vec())) as ArrayRef;
    let keys: DictionaryArray<Int8Type> = ["x", "y"].into_iter().collect();
    for rows in [
        // In another order, of other types, and what is missing is NULL.
        batch([("day", text(["2024-02-29", "2024-03-01"])), ("id", ids([1, 2]))]),
        batch([("price", text(["1.5", "2"])), ("id", ids([3, 4])), ("name", Arc::new(keys))]),
        batch([
            ("name", Arc::new(StringViewArray::from(vec!["v", "w"]))),
            ("id", Arc::new(UInt32Array::from(vec![5, 6]))),
        ]),
        batch([("id", ids([7, 8])), ("name", Arc::new(LargeStringArray::from(vec!["l", "m"])))]),
    ] {
        assert_eq!(client.try_ingest(append("t"), vec![rows]).await.unwrap(), 2);
    }
    let all = client.query("SELECT * FROM t ORDER BY id").await;
    assert_eq!(
        all.lines(),
        [
            "1|NULL|NULL|2024-02-29",
            "2|NULL|NULL|2024-03-01",
            "3|x|1.50|NULL",
            "4|y|2.00|NULL",
            "5|v|NULL|NULL",
            "6|w|NULL|NULL",
            "7|l|NULL|NULL",
            "8|m|NULL|NULL",
        ]
    );

    let before = log_of(&mut client, "t").await.newest();
    let mut fields: Vec<_> = numbers("id", [1]).schema().fields().iter().cloned().collect();
    fields.push(Arc::clone(&fields[0]));
    let twice = RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        vec![Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![1]))],
    )
    .unwrap();
    let cases: Vec<(RecordBatch, &[&str])> = vec![
        (numbers("ID", [1]), &["no column 'ID'", "id, name, price, day"]),
        (twice, &["two columns 'id'"]),
        (batch([("name", text(["a", "b"]))]), &["column 'id'", "NOT NULL"]),
        (batch([("id", ids([9, 0]))]), &["positive", "id > 0"]),
        (batch([("id", ids([9, 10])), ("day", text(["2024-01-01", "soon"]))]), &["soon"]),
        (batch([("id", ids([9, 10])), ("price", text(["1", "1234567.00"]))]), &["1234567"]),
        (RecordBatch::new_empty(Arc::new(Schema::empty())), &["no columns"]),
    ];
    for (rows, texts) in cases {
        refused(&mut client, append("t"), rows).await.expect(Code::InvalidArgument, texts);
    }
    // The first batch fits and the last one does not: none of it is there.
    let mixed = vec![batch([("id", ids([9, 10]))]), batch([("id", ids([11, 0]))])];
    client
        .try_ingest(append("t"), mixed)
        .await
        .unwrap_err()
        .expect(Code::InvalidArgument, &["positive"]);
    let log = log_of(&mut client, "t").await;
    assert_eq!((client.count("t").await, log.newest()), (8, before));
    let clean = || std::future::ready(log.orphans().is_empty().then_some(()));
    eventually("what was staged is deleted", clean).await;
}

#[tokio::test]
async fn a_created_table_has_the_types_of_create_table_as() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let keys: DictionaryArray<Int8Type> = ["x"].into_iter().collect();
    let rows = batch([
        ("d", Arc::new(keys)),
        ("v", Arc::new(StringViewArray::from(vec!["v"]))),
        ("l", Arc::new(LargeStringArray::from(vec!["l"]))),
        ("u", Arc::new(UInt32Array::from(vec![4_000_000_000]))),
        ("i", Arc::new(Int32Array::from(vec![-1]))),
    ]);
    assert_eq!(client.try_ingest(create("t"), vec![rows]).await.unwrap(), 1);
    client
        .update(
            "CREATE TABLE u AS SELECT arrow_cast('x', 'Dictionary(Int8, Utf8)') AS d,
             arrow_cast('v', 'Utf8View') AS v, arrow_cast('l', 'LargeUtf8') AS l,
             arrow_cast(4000000000, 'UInt32') AS u, arrow_cast(-1, 'Int32') AS i",
        )
        .await;
    assert_eq!(client.query("SELECT * FROM t").await.lines(), ["x|v|l|4000000000|-1"]);
    let types = client.query("DESCRIBE t").await.lines();
    assert_eq!(types, client.query("DESCRIBE u").await.lines());
    // Names are kept as they are, and a schema alone makes an empty table.
    assert_eq!(client.try_ingest(create("Big"), vec![numbers("A", [])]).await.unwrap(), 0);
    assert_eq!(client.query("SELECT \"A\" FROM \"Big\"").await.lines(), [""; 0]);
}

#[tokio::test]
async fn what_an_ingest_cannot_do_is_refused_by_name() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client
        .script(
            "CREATE TABLE t (a BIGINT);
             CREATE VIEW v AS SELECT a FROM t;
             CREATE MATERIALIZED VIEW m AS SELECT a FROM t",
        )
        .await;
    client.newest_job("main.m").await.expect("SUCCEEDED");
    let plain = || create("new");
    let with = |change: &dyn Fn(&mut CommandStatementIngest)| {
        let mut command = plain();
        change(&mut command);
        command
    };
    let cases: Vec<(CommandStatementIngest, Code, &[&str])> = vec![
        (with(&|c| c.temporary = true), Code::Unimplemented, &["temporary", "hint"]),
        (
            with(&|c| c.transaction_id = Some(vec![1; 16].into())),
            Code::NotFound,
            &["transaction", "hint"],
        ),
        (
            with(&|c| c.options = [("fast".to_owned(), "yes".to_owned())].into()),
            Code::InvalidArgument,
            &["'fast'"],
        ),
        (with(&|c| c.table_definition_options = None), Code::InvalidArgument, &["if_not_exist"]),
        (
            ingest("t", Create, TableExistsOption::Unspecified),
            Code::InvalidArgument,
            &["if_exists"],
        ),
        (with(&|c| c.catalog = Some("other".into())), Code::InvalidArgument, &["'other'"]),
        (with(&|c| c.schema = Some("nowhere".into())), Code::NotFound, &["nowhere"]),
        (with(&|c| c.schema = Some("system".into())), Code::InvalidArgument, &["system"]),
        (with(&|c| c.table = String::new()), Code::InvalidArgument, &["name"]),
        (append("v"), Code::InvalidArgument, &["main.v", "view"]),
        (append("m"), Code::InvalidArgument, &["main.m", "materialized view"]),
        (ingest("v", Create, Replace), Code::InvalidArgument, &["main.v", "view"]),
    ];
    for (command, code, texts) in cases {
        refused(&mut client, command, numbers("a", [1])).await.expect(code, texts);
    }
    let time = batch([("at", Arc::new(Time64MicrosecondArray::from(vec![1])) as ArrayRef)]);
    refused(&mut client, create("new"), time).await.expect(Code::InvalidArgument, &["at", "time"]);
    client.query_failure("SELECT * FROM new").await.expect(Code::NotFound, &["main.new"]);
    assert_eq!((client.count("t").await, client.count("m").await), (0, 0));
    // Our catalog and a schema may be said.
    let said = with(&|c| (c.catalog, c.schema) = (Some("whimbrel".into()), Some("main".into())));
    assert_eq!(client.try_ingest(said, vec![numbers("a", [1])]).await.unwrap(), 1);
    assert_eq!(client.count("main.new").await, 1);
}

#[tokio::test]
async fn a_stream_may_be_larger_than_a_message_and_a_message_may_not() {
    let options = Options::new().env("WHIMBREL__SERVER__MESSAGE_SIZE_MAX", "256KiB");
    let server = options.start();
    let mut client = Client::connect(&server).await;
    let rows = |from: i64, count: i64| {
        let texts = (from..from + count).map(|n| format!("{n:0100}"));
        batch([("s", Arc::new(StringArray::from_iter_values(texts)) as ArrayRef)])
    };
    let many = (0..100).map(|n| rows(n * 1_000, 1_000)).collect();
    assert_eq!(client.try_ingest(create("t"), many).await.unwrap(), 100_000);
    let sum = client.query("SELECT count(DISTINCT s), max(CAST(s AS BIGINT)) FROM t").await;
    assert_eq!(sum.lines(), ["100000|99999"]);
    let large = client.try_ingest(append("t"), vec![rows(0, 10), rows(0, 10_000)]).await;
    large
        .unwrap_err()
        .expect(Code::InvalidArgument, &["too large", "server.message_size_max", "smaller"]);
    assert_eq!(client.count("t").await, 100_000);
}

/// Begins an ingest that never ends. Aborting it breaks off the call and not the connection.
fn endless(
    client: &Client,
    table: &str,
    rows: Vec<RecordBatch>,
) -> tokio::task::JoinHandle<Result<i64, FlightError>> {
    let (mut client, command) = (client.clone(), append(table));
    tokio::spawn(async move {
        let rows = stream::iter(rows.into_iter().map(Ok)).chain(stream::pending());
        client.flight().execute_ingest(command, rows).await
    })
}

async fn in_state(client: &mut Client, state: &str) -> u64 {
    let of = "system.queries WHERE sql LIKE 'INSERT%incoming_rows'";
    client.count(&format!("{of} AND state = '{state}'")).await
}

async fn nothing_runs(client: &Client) {
    eventually("no ingest runs", || async {
        (in_state(&mut client.clone(), "RUNNING").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn rows_are_written_while_they_come_and_a_stream_that_breaks_off_leaves_none() {
    let options = Options::new().env("WHIMBREL__LAKE__TARGET_FILE_SIZE", "64KiB");
    let server = options.start();
    let mut client = Client::connect(&server).await;
    client.script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1)").await;
    let log = log_of(&mut client, "t").await;
    let before = log.newest();
    let rows = (0..40).map(|n| numbers("a", n * 10_000..(n + 1) * 10_000)).collect();
    let ingest = endless(&client, "t", rows);
    let staged = || std::future::ready((!log.orphans().is_empty()).then_some(()));
    eventually("a file is written before the stream has ended", staged).await;
    assert_eq!((client.count("t").await, log.newest()), (1, before));
    ingest.abort();
    let clean = || std::future::ready(log.orphans().is_empty().then_some(()));
    eventually("the files of a stream that broke off are gone", clean).await;
    nothing_runs(&client).await;
    assert_eq!((client.count("t").await, log.newest()), (1, before));
    assert!(log.orphans().is_empty());
}

#[tokio::test]
async fn a_client_that_goes_away_at_any_moment_is_not_one_that_has_ended() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t (a BIGINT)").await;
    for round in 0..60 {
        let ingest = endless(&client, "t", vec![numbers("a", [round])]);
        // Sooner or later in its life.
        for _ in 0..round % 6 {
            client.query("SELECT 1").await;
        }
        ingest.abort();
    }
    nothing_runs(&client).await;
    assert!(in_state(&mut client, "CANCELLED").await > 0, "none was broken off while it ran");
    assert_eq!(log_of(&mut client, "t").await.newest(), 0, "nothing was committed");
    assert_eq!(client.count("t").await, 0);
    assert_eq!(client.try_ingest(append("t"), vec![numbers("a", [1])]).await.unwrap(), 1);
}
