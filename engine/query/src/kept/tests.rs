use std::{collections::BTreeMap, time::Duration};

use catalog::{Catalog, principals::User};
use catalog_sqlite::SqliteCatalog;
use datafusion::physical_plan::empty::EmptyExec;
use futures::TryStreamExt;
use lake::{At, Lake, LakeOptions};
use model::{principal::Principal, profile::Profiles, secret::Secret};
use rt::{clock::SystemClock, shutdown::Shutdown};

use super::*;
use crate::{
    credentials::{Credentials, MadeToken, StoredPassword},
    error::QueryError,
    options::{QueriesOptions, QueryLimits},
    queries::Queries,
};

struct NoCredentials;

#[async_trait::async_trait]
impl Credentials for NoCredentials {
    async fn password(&self, _: &Secret) -> Result<StoredPassword, QueryError> {
        Err(QueryError::Unsupported("passwords".to_owned()))
    }

    fn token(&self) -> Result<MadeToken, QueryError> {
        Err(QueryError::Unsupported("tokens".to_owned()))
    }

    fn changed(&self) {}
}

/// A server's engine over a lake of its own, for other tests too.
pub(crate) struct World {
    pub(crate) queries: Queries,
    lake: Arc<Lake>,
    catalog: Arc<dyn Catalog>,
    _folder: tempfile::TempDir,
}

/// Whether a query was planned for its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Planned {
    /// Yes, and the plan is not kept.
    Once,
    /// Yes, and the plan is kept.
    Anew,
    /// No: a plan of before ran again.
    Before,
}

impl World {
    /// With a table `t` of ten rows, each with a number and a text.
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::in_memory().await.unwrap());
        let lake = Lake::open(LakeOptions {
            root: folder.path().join("lake").display().to_string(),
            storage: BTreeMap::new(),
            locations: Vec::new(),
            io: tokio::runtime::Handle::current(),
            stale_max: Duration::ZERO,
            snapshots_max: 10,
            target_file_size: 1 << 20,
        });
        let lake = Arc::new(lake.unwrap());
        let queries = Queries::new(QueriesOptions {
            catalog: Arc::clone(&catalog),
            lake: Arc::clone(&lake),
            cpu: CpuRuntime::new(2).unwrap(),
            clock: Arc::new(SystemClock),
            wake: Arc::default(),
            credentials: Arc::new(NoCredentials),
            receivers: None,
            audit: None,
            shutdown: Shutdown::new(),
            limits: QueryLimits {
                memory_max: 1 << 28,
                spill_dir: folder.path().join("spill"),
                spill_max: 1 << 28,
                concurrency: 4,
                queue_max: 100,
                queue_wait: Duration::from_secs(60),
                profiles: Profiles::default(),
                statement_timeout: Duration::ZERO,
                target_partitions: 2,
                sql_length_max: 1 << 20,
                attempts_max: 1,
            },
        });
        let world = Self { queries: queries.unwrap(), lake, catalog, _folder: folder };
        for sql in [
            "CREATE TABLE t (n INT, s STRING)",
            "INSERT INTO t SELECT value, 'row ' || value FROM generate_series(1, 10)",
        ] {
            world.run(sql).await;
        }
        world
    }

    pub(crate) async fn user(&self, name: &str) -> Session {
        let user = User { name: name.to_owned(), password_hash: None, scram_verifier: None };
        self.catalog.add_user(&user).await.unwrap();
        Session::new(Principal::verified(name))
    }

    pub(crate) async fn run(&self, sql: &str) {
        let session = anybody();
        let prepared = self.queries.prepare_now(&session, sql).await.unwrap();
        self.queries.command(&session, &prepared, None).await.unwrap();
    }

    /// The rows of a query, each as text, in order; and what it took.
    async fn ask(&self, session: &Session, sql: &str) -> (Vec<String>, Planned) {
        let before = self.queries.inner.kept.find(session, sql);
        let prepared = self.queries.prepare_now(session, sql).await.unwrap();
        let planned = self.queries.plan(session, &prepared, None).await.unwrap();
        let after = self.queries.inner.kept.find(session, sql);
        let how = match (before, after) {
            (_, None) => Planned::Once,
            (Some(before), Some(after)) if Arc::ptr_eq(&before, &after) => Planned::Before,
            (_, Some(_)) => Planned::Anew,
        };
        let rows = self.queries.execute(planned).await.unwrap();
        let batches: Vec<_> = rows.try_collect().await.unwrap();
        let shown = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        let is_row = |line: &&str| line.starts_with('|');
        let mut rows: Vec<_> = shown.lines().filter(is_row).skip(1).map(cells).collect();
        rows.sort();
        (rows, how)
    }

    async fn expect(&self, session: &Session, sql: &str, expected: &[&str], how: Planned) {
        let (rows, was) = self.ask(session, sql).await;
        assert_eq!((rows.as_slice(), was), (owned(expected).as_slice(), how), "{sql}");
    }
}

pub(crate) fn anybody() -> Session {
    Session::new(Principal::anonymous())
}

fn owned(rows: &[&str]) -> Vec<String> {
    rows.iter().map(|row| (*row).to_owned()).collect()
}

fn cells(line: &str) -> String {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    cells.join(" ")
}

const POINT: &str = "SELECT s FROM t WHERE n = 4";

#[tokio::test(flavor = "multi_thread")]
async fn plans_of_small_queries_are_made_once() {
    let world = World::new().await;
    for (sql, expected) in [
        (POINT, ["row 4"].as_slice()),
        ("SELECT n, upper(s) AS u FROM t WHERE n BETWEEN 2 AND 3", &["2 ROW 2", "3 ROW 3"]),
        ("SELECT count(*), sum(n), min(s) FROM t", &["10 55 row 1"]),
        ("SELECT n % 2 AS odd, count(*) AS c FROM t GROUP BY n % 2", &["0 5", "1 5"]),
        ("SELECT n FROM t WHERE s = 'row 45'", &[]),
        ("SELECT a.n FROM (SELECT n FROM t WHERE n < 3) a", &["1", "2"]),
    ] {
        world.expect(&anybody(), sql, expected, Planned::Anew).await;
        for _ in 0..3 {
            world.expect(&anybody(), sql, expected, Planned::Before).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_plan_runs_many_times_at_once() {
    let world = World::new().await;
    let sql = "SELECT n % 3 AS r, sum(n) AS total FROM t WHERE n < 10 GROUP BY n % 3";
    let expected = owned(&["0 18", "1 12", "2 15"]);
    assert_eq!(world.ask(&anybody(), sql).await.0, expected);
    let session = anybody();
    let asked = (0..32).map(|_| world.ask(&session, sql));
    for (rows, how) in futures::future::join_all(asked).await {
        assert_eq!((rows, how), (expected.clone(), Planned::Before));
    }
    // Each counts what it has read, and nothing of what others have.
    let read = world.queries.inner.log.records();
    let read = read.iter().filter(|record| record.sql == sql).map(|r| r.progress.rows_read);
    assert_eq!(read.collect::<Vec<_>>(), [10; 33]);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_changes_the_meaning_is_planned_anew() {
    let world = World::new().await;
    world.run("CREATE VIEW v AS SELECT s FROM t WHERE n = 4").await;
    let view = "SELECT * FROM v";
    let session = anybody();
    for (change, sql, expected) in [
        ("INSERT INTO t VALUES (4, 'more')", POINT, ["more", "row 4"].as_slice()),
        ("DELETE FROM t WHERE s = 'more'", POINT, &["row 4"]),
        ("UPDATE t SET s = 'other' WHERE n = 4", view, &["other"]),
        ("CREATE OR REPLACE VIEW v AS SELECT s FROM t WHERE n = 5", view, &["row 5"]),
        ("ALTER TABLE t ADD COLUMN more INT", POINT, &["other"]),
        ("INSERT OVERWRITE t SELECT * FROM t", POINT, &["other"]),
    ] {
        world.ask(&session, sql).await;
        assert_eq!(world.ask(&session, sql).await.1, Planned::Before, "{sql}");
        world.run(change).await;
        world.expect(&session, sql, expected, Planned::Anew).await;
        world.expect(&session, sql, expected, Planned::Before).await;
    }
    world.run("DROP TABLE t PURGE").await;
    let gone = world.queries.prepare_now(&session, POINT).await.unwrap_err();
    assert!(matches!(gone, QueryError::TableNotFound { .. }), "{gone}");
    world.run("CREATE TABLE t (s STRING, n INT)").await;
    world.run("INSERT INTO t VALUES ('new', 4)").await;
    world.expect(&session, POINT, &["new"], Planned::Anew).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_and_policies_are_looked_up_for_each_statement() {
    let world = World::new().await;
    // The first user is an admin.
    world.user("boss").await;
    let (ann, bob) = (world.user("ann").await, world.user("bob").await);
    let denied = |session: Session| {
        let queries = world.queries.clone();
        async move {
            let denied = queries.prepare_now(&session, POINT).await.unwrap_err();
            let code = denied.code();
            assert!(
                matches!(code, model::code::Code::PermissionDenied | model::code::Code::NotFound),
                "{denied}"
            );
        }
    };
    denied(ann.clone()).await;
    world.run("CREATE ROLE readers").await;
    world.run("GRANT SELECT ON t TO readers").await;
    world.run("GRANT readers TO ann").await;
    world.expect(&ann, POINT, &["row 4"], Planned::Anew).await;
    world.expect(&ann, POINT, &["row 4"], Planned::Before).await;
    denied(bob.clone()).await;
    for (change, expected) in [
        ("ALTER TABLE t ALTER COLUMN s SET MASK ('***')", ["***"].as_slice()),
        ("ALTER TABLE t SET ROW FILTER (n > 4)", &[]),
        ("ALTER TABLE t SET ROW FILTER (n > 3)", &["***"]),
        ("ALTER TABLE t ALTER COLUMN s DROP MASK", &["row 4"]),
    ] {
        world.run(change).await;
        world.expect(&ann, POINT, expected, Planned::Anew).await;
        world.expect(&ann, POINT, expected, Planned::Before).await;
    }
    // Who the caller is, is part of the plan.
    world.run("ALTER TABLE t SET ROW FILTER (has_role('readers'))").await;
    for _ in 0..2 {
        world.expect(&ann, POINT, &["row 4"], Planned::Once).await;
    }
    world.run("ALTER TABLE t DROP ROW FILTER").await;
    world.expect(&ann, POINT, &["row 4"], Planned::Anew).await;
    // With less memory than others a statement runs in a place of its own.
    world.run("ALTER ROLE readers SET LIMITS (memory = '100MiB')").await;
    for _ in 0..2 {
        world.expect(&ann, POINT, &["row 4"], Planned::Once).await;
    }
    world.run("ALTER ROLE readers RESET LIMITS").await;
    world.expect(&ann, POINT, &["row 4"], Planned::Anew).await;
    world.run("REVOKE readers FROM ann").await;
    denied(ann).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_other_defaults_have_other_plans() {
    let world = World::new().await;
    world.run("CREATE SCHEMA other").await;
    world.run("CREATE TABLE other.t (n INT, s STRING)").await;
    world.run("INSERT INTO other.t VALUES (4, 'of the other')").await;
    let other = anybody().with_schema("other");
    for how in [Planned::Anew, Planned::Before] {
        world.expect(&anybody(), POINT, &["row 4"], how).await;
        world.expect(&other, POINT, &["of the other"], how).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_of_the_moment_are_not_kept() {
    let world = World::new().await;
    world.run("CREATE TABLE u (n INT, s STRING)").await;
    world.run("CREATE VIEW old AS SELECT n FROM t WHERE current_date() > DATE '2020-01-01'").await;
    for sql in [
        "SELECT n FROM t WHERE now() > TIMESTAMP '2020-01-01 00:00:00' AND n = 4",
        "SELECT current_user() AS me, n FROM t WHERE n = 4",
        "SELECT n FROM t WHERE random() < 2 AND n = 4",
        "SELECT n FROM t WHERE n = (SELECT max(n) FROM t WHERE has_role('x') OR true)",
        "SELECT * FROM old WHERE n = 4",
        "SELECT n FROM t VERSION AS OF 1 WHERE n = 4",
        "SELECT n FROM t ORDER BY n LIMIT 1",
        "SELECT t.n FROM t JOIN u ON t.n = u.n",
        "SELECT count(*) FROM system.queries WHERE sql = 'nothing'",
        "SELECT count(*) FROM information_schema.tables WHERE table_name = 'nothing'",
        "SELECT 1",
    ] {
        let first = world.ask(&anybody(), sql).await;
        assert_eq!(first.1, Planned::Once, "{sql}");
        assert_eq!(world.ask(&anybody(), sql).await, first, "{sql}");
    }
    assert_eq!(world.queries.inner.kept.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_plan_holds_no_version() {
    let world = World::new().await;
    world.ask(&anybody(), POINT).await;
    let location = world.catalog.objects().await.unwrap().remove(0).location().unwrap().to_owned();
    let read = Arc::downgrade(&world.lake.snapshot(&location, At::Latest).await.unwrap());
    assert!(read.upgrade().is_some());
    world.run("INSERT INTO t VALUES (11, 'newer')").await;
    world.lake.snapshot(&location, At::Latest).await.unwrap();
    assert_eq!(world.queries.inner.kept.len(), 1);
    assert!(read.upgrade().is_none(), "only the plan could hold it");
}

/// A plan that reads nothing.
fn nothing(sql: String) -> KeptPlan {
    let schema: SchemaRef = Arc::new(arrow::datatypes::Schema::empty());
    let node = Arc::new(EmptyExec::new(Arc::clone(&schema)));
    let recipe = Recipe {
        sql,
        schema: "main".to_owned(),
        started_at: 0,
        objects: Vec::new(),
        tables: Vec::new(),
        columns: [0; 32],
    };
    KeptPlan {
        statement: Arc::new(dialect::parse("SELECT 1").unwrap()),
        basis: Basis::of_nothing(),
        schema,
        recipe,
        runtime: CpuRuntime::new(1).unwrap(),
        plan: Tree::Operator { node, inputs: Vec::new() },
    }
}

#[tokio::test]
async fn plans_are_bounded() {
    let (kept, session) = (KeptPlans::default(), anybody());
    let text = |n: usize| format!("SELECT {n}");
    for n in 0..PLANS_MAX + 10 {
        kept.keep(&session, nothing(text(n)));
        assert!(kept.find(&session, &text(0)).is_some(), "what is used stays");
    }
    assert_eq!(kept.len(), PLANS_MAX);
    assert!(kept.find(&session, &text(1)).is_none());
    assert!(kept.find(&session, &text(PLANS_MAX + 9)).is_some());
    // So many that the bytes count, and one that is too large by itself.
    let long = |n: usize| format!("SELECT {n} -- {}", "x".repeat(PLAN_MAX / 17));
    for n in 0..PLANS_MAX {
        kept.keep(&session, nothing(long(n)));
    }
    assert!(kept.kept.lock().bytes <= BYTES_MAX);
    assert!(kept.len() < PLANS_MAX && kept.len() > BYTES_MAX / PLAN_MAX / 2);
    let large = "x".repeat(PLAN_MAX);
    kept.keep(&session, nothing(large.clone()));
    assert!(kept.find(&session, &large).is_none());
    for n in 0..PLANS_MAX + 10 {
        kept.forget(&session, &text(n));
        kept.forget(&session, &long(n));
    }
    assert_eq!((kept.len(), kept.kept.lock().bytes), (0, 0));
}
