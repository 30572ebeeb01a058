//! Transactions: repeatable reads, one commit for all that was written, or nothing.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::{
    Action,
    sql::{
        ActionBeginSavepointRequest, ActionEndTransactionRequest, CommandStatementIngest,
        EndTransaction, ProstMessageExt, TableDefinitionOptions, TableExistsOption,
        TableNotExistOption,
    },
};
use bytes::Bytes;
use futures::stream;
use prost::Message;
use tonic::Code;
use whimbrel_tests::{
    client::{Client, Failure},
    eventually::eventually,
    process::{Options, Server},
};

use crate::{
    lake::Log,
    users::{login, with_users},
};

/// A client inside a transaction.
struct Inside {
    client: Client,
    id: Bytes,
}

impl Inside {
    async fn begin(client: &Client) -> Self {
        let mut client = client.clone();
        let id = client.flight().begin_transaction().await.unwrap();
        Self { client, id }
    }

    async fn update(&mut self, sql: &str) -> Result<i64, Failure> {
        Ok(self.client.flight().execute_update(sql.to_owned(), Some(self.id.clone())).await?)
    }

    async fn query(&mut self, sql: &str) -> Result<String, Failure> {
        let info = self.client.flight().execute(sql.to_owned(), Some(self.id.clone())).await?;
        Ok(self.client.fetch(info).await?.text())
    }

    async fn end(&mut self, action: EndTransaction) -> Result<(), Failure> {
        let request =
            ActionEndTransactionRequest { transaction_id: self.id.clone(), action: action as i32 };
        let body = request.as_any().encode_to_vec().into();
        let action = Action { r#type: "EndTransaction".to_owned(), body };
        let mut answer = self.client.flight().do_action(action).await?;
        answer.message().await?;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        self.end(EndTransaction::Commit).await
    }

    async fn rollback(&mut self) -> Result<(), Failure> {
        self.end(EndTransaction::Rollback).await
    }
}

async fn ready(server: &Server) -> Client {
    let mut client = Client::connect(server).await;
    client
        .script(
            "CREATE TABLE t AS SELECT 1 AS a;
             CREATE TABLE u AS SELECT 10 AS a;
             CREATE VIEW v AS SELECT t.a + u.a AS s FROM t, u",
        )
        .await;
    client
}

async fn log_of(client: &mut Client, table: &str) -> Log {
    Log::at(&client.query(&format!("DESCRIBE DETAIL {table}")).await.only("location"))
}

#[tokio::test]
async fn reads_are_repeatable_whatever_others_commit() {
    let server = Server::start();
    let mut client = ready(&server).await;
    let mut inside = Inside::begin(&client).await;
    assert_eq!(inside.query("SELECT sum(a) FROM t").await.unwrap(), "1");
    client.update("INSERT INTO t VALUES (2)").await;
    client.update("DELETE FROM t WHERE a = 1").await;
    client.update("INSERT INTO u VALUES (20)").await;
    assert_eq!(inside.query("SELECT sum(a) FROM t").await.unwrap(), "1");
    // A table is seen as it was when it was first read, and a view reads what its reader sees.
    assert_eq!(inside.query("SELECT sum(a) FROM u").await.unwrap(), "30");
    client.update("INSERT INTO u VALUES (30)").await;
    assert_eq!(inside.query("SELECT sum(s) FROM v").await.unwrap(), "32");
    assert_eq!(inside.query("SELECT sum(a) FROM t VERSION AS OF 1").await.unwrap(), "3");
    assert_eq!(client.query("SELECT sum(a) FROM t").await.cell(), "2");
    inside.commit().await.unwrap();
    let mut next = Inside::begin(&client).await;
    assert_eq!(next.query("SELECT sum(a) FROM t").await.unwrap(), "2");
    next.rollback().await.unwrap();
}

#[tokio::test]
async fn inserts_become_one_commit_or_nothing() {
    let server = Server::start();
    let mut client = ready(&server).await;
    let log = log_of(&mut client, "t").await;
    for commits in [true, false] {
        let (before, rows) = (log.newest(), client.count("t").await);
        let mut inside = Inside::begin(&client).await;
        assert_eq!(inside.update("INSERT INTO t VALUES (2), (3)").await.unwrap(), 2);
        assert_eq!(inside.update("INSERT INTO t SELECT a FROM u").await.unwrap(), 1);
        let mut prepared = inside
            .client
            .flight()
            .prepare("INSERT INTO t VALUES (?)".into(), Some(inside.id.clone()))
            .await
            .unwrap();
        let bound: ArrayRef = Arc::new(Int64Array::from(vec![5, 6, 7]));
        prepared.set_parameters(RecordBatch::try_from_iter([("$1", bound)]).unwrap()).unwrap();
        assert_eq!(prepared.execute_update().await.unwrap(), 3);
        let rows_sent: ArrayRef = Arc::new(Int64Array::from(vec![8]));
        let ingest = CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: TableNotExistOption::Fail as i32,
                if_exists: TableExistsOption::Append as i32,
            }),
            table: "t".to_owned(),
            transaction_id: Some(inside.id.clone()),
            ..CommandStatementIngest::default()
        };
        let batch = RecordBatch::try_from_iter([("a", rows_sent)]).unwrap();
        let sent = stream::iter([Ok(batch)]);
        assert_eq!(inside.client.flight().execute_ingest(ingest, sent).await.unwrap(), 1);
        // Nobody sees anything of it.
        assert_eq!((client.count("t").await, log.newest()), (rows, before));
        // Others write meanwhile, and what they write is not in the way.
        client.update("INSERT INTO t VALUES (100)").await;
        if commits {
            inside.commit().await.unwrap();
            assert_eq!(client.count("t").await, rows + 1 + 7);
            assert_eq!(log.newest(), before + 2, "one commit for all of them");
        } else {
            inside.rollback().await.unwrap();
            assert_eq!((client.count("t").await, log.newest()), (rows + 1, before + 1));
        }
        assert!(log.orphans().is_empty(), "{:?}", log.orphans());
        let ended = prepared.execute_update().await.unwrap_err();
        Failure::from(ended).expect(Code::NotFound, &["has ended", "prepare the statement in it"]);
        for end in [EndTransaction::Commit, EndTransaction::Rollback] {
            inside.end(end).await.unwrap_err().expect(Code::NotFound, &["has ended"]);
        }
    }
    let statements = client
        .query("SELECT sql, state, rows FROM system.queries WHERE sql IN ('COMMIT', 'ROLLBACK') ORDER BY sql")
        .await
        .lines();
    assert_eq!(statements, ["COMMIT|SUCCEEDED|7", "ROLLBACK|SUCCEEDED|0"]);
}

#[tokio::test]
async fn a_change_waits_for_its_commit_and_loses_against_others() {
    let server = Server::start();
    let mut client = ready(&server).await;
    client.update("INSERT INTO t VALUES (2), (3)").await;
    let log = log_of(&mut client, "t").await;
    for (sql, left) in [
        ("UPDATE t SET a = a + 10 WHERE a = 1", "2,3,11"),
        ("DELETE FROM t WHERE a = 2", "3,11"),
        (
            "MERGE INTO t USING u ON t.a = u.a WHEN NOT MATCHED THEN INSERT (a) VALUES (u.a)",
            "3,10,11",
        ),
        ("INSERT OVERWRITE t SELECT 7", "7"),
        ("INSERT INTO t REPLACE WHERE a = 7 SELECT 7", "7"),
        ("TRUNCATE TABLE t", "NULL"),
    ] {
        let seen = client.query("SELECT string_agg(a::text, ',' ORDER BY a) FROM t").await.cell();
        let before = log.newest();
        let mut inside = Inside::begin(&client).await;
        assert!(inside.update(sql).await.unwrap() > 0, "{sql}");
        let now = client.query("SELECT string_agg(a::text, ',' ORDER BY a) FROM t").await.cell();
        assert_eq!((now, log.newest()), (seen, before), "{sql}");
        inside.commit().await.unwrap();
        let now = client.query("SELECT string_agg(a::text, ',' ORDER BY a) FROM t").await.cell();
        assert_eq!((now.as_str(), log.newest()), (left, before + 1), "{sql}");
    }
    // Somebody else changes the same rows first.
    client.update("INSERT INTO t VALUES (1)").await;
    let mut inside = Inside::begin(&client).await;
    inside.update("UPDATE t SET a = 100").await.unwrap();
    client.update("UPDATE t SET a = 200").await;
    inside.commit().await.unwrap_err().expect(Code::Aborted, &[]);
    assert_eq!(client.query("SELECT a FROM t").await.cell(), "200");
    assert!(log.orphans().is_empty(), "{:?}", log.orphans());
    // A definition that others changed meanwhile.
    let mut inside = Inside::begin(&client).await;
    inside.update("INSERT INTO t VALUES (1)").await.unwrap();
    inside.update("INSERT INTO t VALUES (2)").await.unwrap();
    client.update("ALTER TABLE t ADD COLUMN b INT").await;
    inside.commit().await.unwrap_err().expect(Code::Aborted, &["definition"]);
    assert_eq!(client.count("t").await, 1);
    eventually("files are gone", || async { log.orphans().is_empty().then_some(()) }).await;
}

#[tokio::test]
async fn what_cannot_be_kept_together_is_refused_and_the_transaction_goes_on() {
    let server = Server::start();
    let mut client = ready(&server).await;
    let mut inside = Inside::begin(&client).await;
    inside.update("INSERT INTO t VALUES (2)").await.unwrap();
    for (sql, texts) in [
        ("INSERT INTO u VALUES (1)", ["main.t", "writes one table"]),
        ("UPDATE t SET a = 0", ["main.t", "holds one UPDATE"]),
        ("INSERT OVERWRITE t SELECT 1", ["main.t", "plain INSERTs"]),
        ("INSERT INTO t SELECT a FROM t", ["main.t", "cannot be read"]),
        ("CREATE TABLE w (a INT)", ["main.t", "by itself"]),
        ("DROP TABLE t", ["main.t", "by itself"]),
        ("OPTIMIZE t", ["main.t", "by itself"]),
    ] {
        let refused = inside.update(sql).await.unwrap_err();
        refused.expect(Code::FailedPrecondition, &texts);
        refused.expect(Code::FailedPrecondition, &["commit first", "autocommit"]);
    }
    for sql in ["SELECT a FROM t", "SELECT s FROM v", "EXPLAIN SELECT a FROM t"] {
        inside.query(sql).await.unwrap_err().expect(Code::FailedPrecondition, &["main.t"]);
    }
    assert_eq!(inside.query("SELECT a FROM u").await.unwrap(), "10", "others can be read");
    assert_eq!(inside.query("SELECT a FROM t VERSION AS OF 0").await.unwrap(), "1");
    inside.commit().await.unwrap();
    assert_eq!(client.count("t").await, 2);
    // One change, and nothing on top of it.
    let mut inside = Inside::begin(&client).await;
    inside.update("DELETE FROM t WHERE a = 2").await.unwrap();
    for (sql, text) in [
        ("DELETE FROM t", "one UPDATE"),
        ("INSERT INTO t VALUES (1)", "one UPDATE"),
        ("TRUNCATE TABLE t", "one UPDATE"),
    ] {
        inside.update(sql).await.unwrap_err().expect(Code::FailedPrecondition, &["main.t", text]);
    }
    inside.rollback().await.unwrap();
    assert_eq!(client.count("t").await, 2);
}

#[tokio::test]
async fn what_takes_effect_by_itself_is_not_undone() {
    let server = Server::start();
    let mut client = ready(&server).await;
    let mut inside = Inside::begin(&client).await;
    assert_eq!(inside.query("SELECT count(*) FROM t").await.unwrap(), "1");
    client.update("INSERT INTO t VALUES (2)").await;
    inside.update("CREATE TABLE w AS SELECT a FROM u").await.unwrap();
    assert_eq!(client.count("w").await, 1, "everybody sees it at once");
    assert_eq!(inside.query("SELECT count(*) FROM t").await.unwrap(), "2", "and it looks anew");
    inside.update("INSERT INTO w VALUES (11)").await.unwrap();
    inside.rollback().await.unwrap();
    assert_eq!(client.count("w").await, 1);
}

#[tokio::test]
async fn a_transaction_belongs_to_its_principal_and_has_an_end() {
    let options = Options::new().env("WHIMBREL__SERVER__HANDLES_MAX", "2");
    let server = with_users(&options, &[("ann", "one"), ("bob", "two")]);
    let (ann, bob) = (login(&server, "ann", "one").await, login(&server, "bob", "two").await);
    let mut inside = Inside::begin(&ann).await;
    let mut foreign = Inside { client: bob.clone(), id: inside.id.clone() };
    foreign.query("SELECT 1").await.unwrap_err().expect(Code::NotFound, &["transaction"]);
    foreign.commit().await.unwrap_err().expect(Code::NotFound, &["transaction"]);
    assert_eq!(inside.query("SELECT 1").await.unwrap(), "1");
    let mut second = Inside::begin(&bob).await;
    let full: Failure = bob.clone().flight().begin_transaction().await.unwrap_err().into();
    full.expect(Code::ResourceExhausted, &["server.handles_max"]);
    second.rollback().await.unwrap();
    Inside::begin(&bob).await;
    for id in [vec![7; 16], vec![7; 3]] {
        let code = if id.len() == 16 { Code::NotFound } else { Code::InvalidArgument };
        let mut unknown = Inside { client: ann.clone(), id: id.into() };
        assert_eq!(unknown.query("SELECT 1").await.unwrap_err().code, code);
        assert_eq!(unknown.update("DELETE FROM t").await.unwrap_err().code, code);
        assert_eq!(unknown.rollback().await.unwrap_err().code, code);
    }
    let unsaid = inside.end(EndTransaction::Unspecified).await.unwrap_err();
    unsaid.expect(Code::InvalidArgument, &["COMMIT or ROLLBACK"]);
    assert_eq!(inside.query("SELECT 1").await.unwrap(), "1", "it goes on");
    let savepoint =
        ActionBeginSavepointRequest { transaction_id: inside.id.clone(), name: "s".to_owned() };
    let body = savepoint.as_any().encode_to_vec().into();
    let action = Action { r#type: "BeginSavepoint".to_owned(), body };
    let refused: Failure = inside.client.flight().do_action(action).await.unwrap_err().into();
    refused.expect(Code::Unimplemented, &["savepoints"]);
}

#[tokio::test]
async fn a_transaction_that_does_nothing_for_too_long_leaves_nothing() {
    // What has expired is dropped when the next one needs its place.
    let server = Options::new()
        .env("WHIMBREL__SERVER__HANDLE_TTL", "1s")
        .env("WHIMBREL__SERVER__HANDLES_MAX", "1")
        .start();
    let mut client = ready(&server).await;
    let log = log_of(&mut client, "t").await;
    let mut inside = Inside::begin(&client).await;
    inside.update("INSERT INTO t VALUES (2)").await.unwrap();
    assert_eq!(log.orphans().len(), 1, "a file that waits");
    eventually("another one can begin", || {
        let mut client = client.clone();
        async move { client.flight().begin_transaction().await.ok() }
    })
    .await;
    inside.commit().await.unwrap_err().expect(Code::NotFound, &["for too long"]);
    eventually("its file is gone", || async { log.orphans().is_empty().then_some(()) }).await;
    assert_eq!(client.count("t").await, 1);
}

#[tokio::test]
async fn a_server_that_dies_in_a_transaction_leaves_nothing_visible() {
    let server = Server::start();
    let client = ready(&server).await;
    let mut inside = Inside::begin(&client).await;
    inside.update("INSERT INTO t VALUES (2)").await.unwrap();
    let server = server.kill().start();
    let mut client = Client::connect(&server).await;
    assert_eq!(client.count("t").await, 1);
    let mut late = Inside { client: client.clone(), id: inside.id };
    late.commit().await.unwrap_err().expect(Code::NotFound, &["transaction"]);
}
