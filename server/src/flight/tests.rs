//! The service in a real gRPC server, with an empty catalog and a lake in a temporary folder.

mod elsewhere;

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicI64, Ordering},
};

use arrow::{
    array::{ArrayRef, AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use arrow_flight::{FlightInfo, Ticket, sql::client::FlightSqlServiceClient};
use catalog::{Catalog, principals::User};
use catalog_sqlite::SqliteCatalog;
use futures::{TryStreamExt, future::BoxFuture};
use lake::{Lake, LakeOptions};
use model::time::Timestamp;
use query::options::{QueriesOptions, QueryLimits};
use rt::{clock::SystemClock, cpu::CpuRuntime, shutdown::Shutdown};
use tokio::{net::TcpListener, runtime::Handle};
use tonic::{
    Code,
    transport::{Channel, server::TcpIncoming},
};

use super::*;
use crate::auth::{AuthOptions, hash_password};

type Client = FlightSqlServiceClient<Channel>;

const HANDLE_TTL: Duration = Duration::from_secs(600);

/// The clock of the machine, and how much later it is.
#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl TestClock {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let passed = u64::try_from(self.0.load(Ordering::SeqCst)).unwrap();
        SystemClock.now().plus(Duration::from_micros(passed))
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        SystemClock.sleep(wait)
    }
}

/// What servers share.
struct World {
    clock: Arc<TestClock>,
    catalog: Arc<dyn Catalog>,
    folder: Arc<tempfile::TempDir>,
}

struct TestServer {
    url: String,
    address: String,
    _folder: Arc<tempfile::TempDir>,
}

impl World {
    async fn new(users: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::in_memory().await.unwrap());
        for name in users {
            let password_hash = Some(hash_password("pw").unwrap());
            let name = (*name).to_owned();
            let user = User { name, password_hash, scram_verifier: None };
            catalog.add_user(&user).await.unwrap();
        }
        Self { clock: Arc::default(), catalog, folder }
    }

    async fn serve(&self, handles_max: usize, is_shared: bool) -> TestServer {
        let Self { catalog, folder, .. } = self;
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let lake = Lake::open(LakeOptions {
            root: folder.path().join("lake").to_str().unwrap().to_owned(),
            storage: BTreeMap::new(),
            locations: Vec::new(),
            io: Handle::current(),
            stale_max: Duration::ZERO,
            snapshots_max: 10,
            target_file_size: 1 << 20,
        })
        .unwrap();
        let keys = Arc::clone(catalog) as _;
        let seals = Arc::new(Seals::new(keys, Arc::clone(&clock), STATEMENT_TTL));
        let options = AuthOptions {
            token_ttl: Duration::from_secs(600),
            tokens_max: 10,
            seals: is_shared.then(|| Arc::clone(&seals)),
        };
        let auth = Authenticator::new(Arc::clone(catalog), Arc::clone(&clock), None, options);
        let queries = Queries::new(QueriesOptions {
            catalog: Arc::clone(catalog),
            lake: Arc::new(lake),
            cpu: CpuRuntime::new(1).unwrap(),
            clock: Arc::clone(&clock),
            wake: Arc::default(),
            credentials: Arc::clone(&auth) as _,
            receivers: None,
            audit: None,
            shutdown: Shutdown::new(),
            limits: QueryLimits {
                memory_max: 1 << 28,
                spill_dir: folder.path().join("spill"),
                spill_max: 1 << 28,
                concurrency: 4,
                queue_max: 16,
                queue_wait: Duration::from_secs(60),
                statement_timeout: Duration::ZERO,
                target_partitions: 2,
                sql_length_max: 1 << 16,
                attempts_max: 1,
                profiles: model::profile::Profiles::default(),
            },
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = service(FlightOptions {
            queries,
            seals,
            is_shared,
            server: ServerName { worker: WorkerId::generate(), address },
            auth,
            clock,
            handle_ttl: HANDLE_TTL,
            handles_max,
            message_size_max: 16 << 20,
            version: "0".to_owned(),
        })
        .unwrap();
        let mut server = tonic::transport::Server::builder()
            .layer(tower::util::MapResponseLayer::new(send_rows));
        let server = server.add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        let (url, address) = (format!("http://{address}"), address.to_string());
        TestServer { url, address, _folder: Arc::clone(folder) }
    }
}

impl TestServer {
    async fn start(handles_max: usize, users: &[&str]) -> Self {
        World::new(users).await.serve(handles_max, false).await
    }

    async fn client(&self) -> Client {
        let channel = Channel::from_shared(self.url.clone()).unwrap().connect().await.unwrap();
        FlightSqlServiceClient::new(channel)
    }

    async fn client_of(&self, user: &str) -> Client {
        let mut client = self.client().await;
        client.handshake(user, "pw").await.unwrap();
        client
    }
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

async fn fetch(client: &mut Client, info: &FlightInfo) -> Vec<RecordBatch> {
    let rows = client.do_get(ticket(info)).await.unwrap();
    rows.try_collect().await.unwrap()
}

async fn number(client: &mut Client, sql: &str) -> i64 {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    fetch(client, &info).await[0].column(0).as_primitive::<Int64Type>().value(0)
}

/// The code of an error, which the client wraps in one of Arrow.
fn code<T>(result: Result<T, arrow_flight::error::FlightError>) -> Code {
    match result.err().expect("an error") {
        arrow_flight::error::FlightError::Tonic(status) => status.code(),
        other => panic!("not a status: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_takes_effect_once_fetched_or_not() {
    let server = TestServer::start(10, &[]).await;
    let mut client = server.client().await;
    client.execute("CREATE TABLE t (n BIGINT)".to_owned(), None).await.unwrap();
    client.execute("INSERT INTO t VALUES (1)".to_owned(), None).await.unwrap();
    assert_eq!(number(&mut client, "SELECT count(*) FROM t").await, 1);
    let info = client.execute("INSERT INTO t VALUES (2), (3)".to_owned(), None).await.unwrap();
    let answer = fetch(&mut client, &info).await;
    assert_eq!(answer[0].column(0).as_primitive::<Int64Type>().value(0), 2);
    assert_eq!(number(&mut client, "SELECT count(*) FROM t").await, 3);
    let affected = client.execute_update("INSERT INTO t VALUES (4)".to_owned(), None).await;
    assert_eq!(affected.unwrap(), 1);
    assert_eq!(number(&mut client, "SELECT count(*) FROM t").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn preparing_has_no_effect_and_each_run_has_one() {
    let server = TestServer::start(10, &[]).await;
    let mut client = server.client().await;
    client.execute_update("CREATE TABLE t (n BIGINT)".to_owned(), None).await.unwrap();
    let mut insert = client.prepare("INSERT INTO t VALUES (?)".to_owned(), None).await.unwrap();
    assert!(insert.dataset_schema().unwrap().fields().is_empty());
    assert_eq!(insert.parameter_schema().unwrap().fields().len(), 1);
    assert_eq!(number(&mut client, "SELECT count(*) FROM t").await, 0);
    let rows: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    insert.set_parameters(RecordBatch::try_from_iter([("$1", rows)]).unwrap()).unwrap();
    assert_eq!(insert.execute_update().await.unwrap(), 3);
    assert_eq!(insert.execute_update().await.unwrap(), 3);
    assert_eq!(number(&mut client, "SELECT count(*) FROM t").await, 6);

    let mut select = client.prepare("SELECT $1 + 1".to_owned(), None).await.unwrap();
    for n in [41, 42] {
        let row: ArrayRef = Arc::new(Int64Array::from(vec![n]));
        select.set_parameters(RecordBatch::try_from_iter([("$1", row)]).unwrap()).unwrap();
        let info = select.execute().await.unwrap();
        let schema = info.clone().try_decode_schema().unwrap();
        let rows = fetch(&mut client, &info).await;
        assert_eq!(*rows[0].schema(), schema);
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), n + 1);
    }
    select.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_refuses_before_anything_takes_effect() {
    let server = TestServer::start(1, &[]).await;
    let mut client = server.client().await;
    let waiting = client.execute("SELECT 1".to_owned(), None).await.unwrap();
    let refused = client.execute("CREATE TABLE t (n BIGINT)".to_owned(), None).await;
    assert_eq!(code(refused), Code::ResourceExhausted);
    fetch(&mut client, &waiting).await;
    let missing = client.execute("SELECT * FROM t".to_owned(), None).await;
    assert_eq!(code(missing), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_command_gives_its_place_back() {
    let server = TestServer::start(1, &[]).await;
    let mut client = server.client().await;
    for _ in 0..3 {
        let failed = client.execute("DROP TABLE nothing".to_owned(), None).await;
        assert_eq!(code(failed), Code::NotFound);
    }
    assert_eq!(number(&mut client, "SELECT 7").await, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_for_its_owner_and_for_one_fetch() {
    let server = TestServer::start(10, &["ann", "bob"]).await;
    assert_eq!(code(server.client().await.get_catalogs().await), Code::Unauthenticated);
    let (mut ann, mut bob) = (server.client_of("ann").await, server.client_of("bob").await);
    let info = ann.execute("SELECT 1".to_owned(), None).await.unwrap();
    assert_eq!(code(bob.do_get(ticket(&info)).await.map(drop)), Code::NotFound);
    assert_eq!(fetch(&mut ann, &info).await.len(), 1);
    assert_eq!(code(ann.do_get(ticket(&info)).await.map(drop)), Code::NotFound);
    let garbage = ann.do_get(Ticket::new("garbage")).await.map(drop);
    assert_eq!(code(garbage), Code::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_in_statements_are_the_senders() {
    let server = TestServer::start(10, &[]).await;
    let mut client = server.client().await;
    for (sql, expected) in [
        ("SELEC 1", Code::InvalidArgument),
        ("SELECT * FROM nothing", Code::NotFound),
        ("SELECT nothing", Code::InvalidArgument),
        ("SELECT $1", Code::InvalidArgument),
        ("", Code::InvalidArgument),
    ] {
        assert_eq!(code(client.execute(sql.to_owned(), None).await), expected, "{sql}");
    }
    for (id, expected) in [(&b"t1"[..], Code::InvalidArgument), (&[7; 16], Code::NotFound)] {
        let transaction = Some(bytes::Bytes::from_static(id));
        let refused = client.execute("SELECT 1".to_owned(), transaction).await;
        assert_eq!(code(refused), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metadata_answer_has_the_schema_that_was_announced() {
    let server = TestServer::start(10, &[]).await;
    let mut client = server.client().await;
    let create = "CREATE TABLE t (id BIGINT PRIMARY KEY, name VARCHAR)";
    client.execute_update(create.to_owned(), None).await.unwrap();
    let tables = |include_schema| arrow_flight::sql::CommandGetTables {
        include_schema,
        ..Default::default()
    };
    let key =
        arrow_flight::sql::CommandGetPrimaryKeys { table: "t".to_owned(), ..Default::default() };
    let infos = [
        (client.get_catalogs().await.unwrap(), 1),
        (client.get_db_schemas(Default::default()).await.unwrap(), 3),
        (client.get_tables(tables(true)).await.unwrap(), 1),
        (client.get_tables(tables(false)).await.unwrap(), 1),
        (client.get_table_types().await.unwrap(), 4),
        (client.get_sql_info(Vec::new()).await.unwrap(), 50),
        (client.get_xdbc_type_info(Default::default()).await.unwrap(), 12),
        (client.get_primary_keys(key).await.unwrap(), 1),
        (client.get_exported_keys(Default::default()).await.unwrap(), 0),
        (client.get_imported_keys(Default::default()).await.unwrap(), 0),
        (client.get_cross_reference(Default::default()).await.unwrap(), 0),
    ];
    for (n, (info, rows_min)) in infos.into_iter().enumerate() {
        let announced = info.clone().try_decode_schema().unwrap();
        let mut stream = client.do_get(ticket(&info)).await.unwrap();
        let mut rows = 0;
        while let Some(batch) = stream.try_next().await.unwrap() {
            rows += batch.num_rows();
        }
        assert_eq!(**stream.schema().unwrap(), announced, "answer {n}");
        assert!(rows >= rows_min, "answer {n} has {rows} rows");
    }
}
