//! Several servers on one Postgres and one lake, as behind a load balancer: whichever gets a call
//! answers it.

use arrow_flight::{FlightDescriptor, Ticket};
use tonic::Code;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server, postgres_url},
};

use crate::users::login;

/// Two servers that share everything but their folders.
struct Two {
    options: Options,
    here: Server,
    there: Server,
}

fn shared(database: &str) -> Options {
    let options = Options::new().arg("--catalog").arg(postgres_url(database));
    let lake = options.folder().join("shared-lake");
    options.arg("--lake").arg(lake)
}

impl Two {
    fn start(database: &str) -> Self {
        let options = shared(database);
        let (here, there) = (options.start(), options.clone().data_dir("there").start());
        Self { options, here, there }
    }

    async fn clients(&self) -> (Client, Client) {
        (Client::connect(&self.here).await, Client::connect(&self.there).await)
    }
}

#[tokio::test]
async fn whatever_one_server_gave_another_one_takes() {
    let two = Two::start("e2e_replicas");
    let (mut here, mut there) = two.clients().await;
    here.script(
        "CREATE TABLE t (a BIGINT, b VARCHAR);
         INSERT INTO t VALUES (1, 'one'), (2, 'two');
         CREATE VIEW v AS SELECT a, b, now() AS seen_at FROM t",
    )
    .await;

    // Planned here, fetched there, at the versions and the time that it was planned with.
    for sql in ["SELECT a, b FROM t ORDER BY a", "SELECT now(), a FROM v ORDER BY a"] {
        let info = here.flight_info(sql).await.unwrap();
        there.update("INSERT INTO t VALUES (3, 'later')").await;
        let elsewhere = there.fetch(info.clone()).await.unwrap().lines();
        assert_eq!(there.fetch(info.clone()).await.unwrap().lines(), elsewhere, "{sql}");
        assert_eq!(here.fetch(info.clone()).await.unwrap().lines(), elsewhere, "{sql}");
        let again = here.fetch(info).await.unwrap_err();
        again.expect(Code::NotFound, &["run the statement again"]);
        assert!(!elsewhere.is_empty() && elsewhere.len() < there.count("t").await as usize);
    }
    let count = here.count("t").await;

    // As ADBC does it: prepared, executed, fetched and closed, each call on another server.
    let mut prepared = here.prepare("SELECT count(*) FROM t WHERE a < ?").await;
    prepared.set_parameters(row(3)).unwrap();
    let descriptor = prepared.execute().await.unwrap().flight_descriptor.unwrap();
    let info = there.flight_info_of(descriptor.clone()).await.unwrap();
    assert_eq!(here.fetch(info).await.unwrap().cell(), "2");
    let schema = there.flight().inner_mut().get_schema(descriptor.clone()).await;
    assert!(!schema.unwrap().into_inner().schema.is_empty());

    // What takes effect does so once, and is answered anywhere.
    let info = here.flight_info("INSERT INTO t VALUES (4, 'four')").await.unwrap();
    assert_eq!(there.fetch(info.clone()).await.unwrap().cell(), "1");
    assert_eq!(there.fetch(info).await.unwrap().cell(), "1");
    assert_eq!(there.count("t").await, count + 1);

    // A transaction stays where it began, and says so.
    let id = here.flight().begin_transaction().await.unwrap();
    let elsewhere = there.flight().execute_update("DELETE FROM t".to_owned(), Some(id)).await;
    let elsewhere = whimbrel_tests::client::Failure::from(elsewhere.unwrap_err());
    elsewhere.expect(Code::FailedPrecondition, &["where it began", two.here.address()]);
    assert_eq!(there.count("t").await, count + 1);

    // A server that is gone takes with it nothing that another one can do.
    let info = here.flight_info("SELECT count(*) FROM t").await.unwrap();
    let Two { options, here: gone, there: _rest } = two;
    gone.kill();
    assert_eq!(there.fetch(info).await.unwrap().cell(), (count + 1).to_string());
    let info = there.flight_info_of(descriptor).await.unwrap();
    assert_eq!(there.fetch(info).await.unwrap().cell(), "2");

    // A ticket is good for as long as the server that made it says.
    let hasty = options.data_dir("hasty").env("WHIMBREL__SERVER__HANDLE_TTL", "1ms").start();
    let mut hasty = Client::connect(&hasty).await;
    let expired = eventually("a ticket is too old", || {
        let (mut hasty, mut there) = (hasty.clone(), there.clone());
        async move {
            let info = hasty.flight_info("SELECT 1").await.unwrap();
            there.fetch(info).await.err()
        }
    });
    expired.await.expect(Code::NotFound, &["expired", "run the statement again"]);
    hasty.update("DROP VIEW v").await;
}

#[tokio::test]
async fn rights_are_those_of_the_caller_at_the_moment_it_fetches() {
    let options = shared("e2e_replica_rights");
    {
        let server = options.start();
        let mut nobody = Client::connect(&server).await;
        nobody.update("CREATE USER root PASSWORD 'secret-1'").await;
        let mut root = login(&server, "root", "secret-1").await;
        root.script(
            "CREATE USER ann PASSWORD 'secret-2';
             CREATE USER bob PASSWORD 'secret-3';
             CREATE TABLE t AS SELECT 1 AS a;
             GRANT SELECT ON t TO ann, bob",
        )
        .await;
        server.stop();
    }
    let (here, there) = (options.start(), options.clone().data_dir("there").start());
    let mut root = login(&here, "root", "secret-1").await;
    let (mut ann, mut ann_there) =
        (login(&here, "ann", "secret-2").await, login(&there, "ann", "secret-2").await);
    // A login is known to both, too.
    let token = ann.flight().token().unwrap().clone();
    let mut known = Client::connect(&there).await.with_token(&token);
    assert_eq!(known.query("SELECT current_user()").await.cell(), "ann");
    let mut bob_there = login(&there, "bob", "secret-3").await;
    let info = ann.flight_info("SELECT a FROM t").await.unwrap();
    let mut prepared = ann.prepare("SELECT a FROM t").await;
    let descriptor: FlightDescriptor = prepared.execute().await.unwrap().flight_descriptor.unwrap();

    // Of somebody else, whatever their rights are.
    bob_there.fetch(info.clone()).await.unwrap_err().expect(Code::NotFound, &[]);
    bob_there.flight_info_of(descriptor.clone()).await.unwrap_err().expect(Code::NotFound, &[]);
    let mut nobody = Client::connect(&there).await;
    nobody.fetch(info.clone()).await.unwrap_err().expect(Code::Unauthenticated, &[]);

    assert_eq!(ann_there.fetch(info.clone()).await.unwrap().cell(), "1");
    root.update("REVOKE SELECT ON t FROM ann").await;
    let refused = ann_there.fetch(info.clone()).await.unwrap_err();
    refused.expect(Code::NotFound, &["'main.t' does not exist"]);
    let refused = ann_there.flight_info_of(descriptor.clone()).await.unwrap_err();
    refused.expect(Code::NotFound, &["'main.t' does not exist"]);
    root.update("GRANT SELECT ON t TO ann").await;
    assert_eq!(ann_there.fetch(info.clone()).await.unwrap().cell(), "1");

    // Changed by a bit it is nobody's.
    let Some(Ticket { ticket }) = info.endpoint[0].ticket.clone() else { panic!("no ticket") };
    for at in [ticket.len() / 2, ticket.len() - 1] {
        let mut changed = ticket.to_vec();
        changed[at] ^= 1;
        let refused = ann_there.fetch_ticket(Ticket::new(changed)).await.unwrap_err();
        refused.expect(Code::InvalidArgument, &[]);
    }
}

fn row(n: i64) -> arrow::array::RecordBatch {
    let column: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int64Array::from(vec![n]));
    arrow::array::RecordBatch::try_from_iter([("1", column)]).unwrap()
}
