//! A folder of SQL files as the desired state.

use std::{fs, path::PathBuf, process::Output};

use proto::v1::{ApplyRequest, SourceFile, transforms_client::TransformsClient};
use tonic::Request;
use whimbrel_tests::{
    client::Client,
    eventually::eventually,
    process::{Options, Server},
};

use crate::users::{basic, login, with_users};

struct Folder {
    options: Options,
    path: PathBuf,
}

impl Folder {
    fn new(options: &Options) -> Self {
        let path = options.folder().join("transforms");
        fs::create_dir_all(&path).unwrap();
        Self { options: options.clone(), path }
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.path.join(file), text).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.path.join(file)).unwrap();
    }

    fn run(&self, command: &str, server: &Server) -> Output {
        let folder = self.path.to_str().unwrap();
        self.options.run(&[command, folder, "--url", &server.url()], "")
    }

    /// What `plan` says; its exit code tells whether there is anything to do.
    fn plan(&self, server: &Server) -> String {
        let output = self.run("plan", server);
        let text = text(&output);
        let rows = text.lines().filter(|line| line.contains(".sql"));
        let all_unchanged =
            rows.clone().count() > 0 && rows.clone().all(|row| row.contains("UNCHANGED"));
        let expected = if all_unchanged { 0 } else { 1 };
        assert_eq!(output.status.code(), Some(expected), "{text}");
        text
    }

    fn apply(&self, server: &Server) -> String {
        let output = self.run("apply", server);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    /// What both `plan` and `apply` say against the folder.
    fn refused(&self, server: &Server, told: &[&str]) {
        for command in ["plan", "apply"] {
            let output = self.run(command, server);
            let text = text(&output);
            let expected = if command == "plan" { 2 } else { 1 };
            assert_eq!(output.status.code(), Some(expected), "{command} accepted it: {text}");
            for part in told {
                assert!(text.contains(part), "{command} does not say '{part}': {text}");
            }
        }
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn start() -> (Server, Client, Folder) {
    let options = Options::new();
    let server = options.start();
    let mut client = Client::connect(&server).await;
    client.script("CREATE TABLE t (a BIGINT); INSERT INTO t VALUES (1), (2)").await;
    let folder = Folder::new(&options);
    (server, client, folder)
}

const B: &str = "CREATE OR REFRESH MATERIALIZED VIEW b AS SELECT sum(n) AS n FROM a;\n";
const A: &str = "-- first\nCREATE OR REFRESH MATERIALIZED VIEW a AS SELECT a + 1 AS n FROM t;\n";

#[tokio::test]
async fn plan_says_what_apply_then_does() {
    let (server, mut client, folder) = start().await;
    // In the order of names the reader comes first.
    folder.write("0_b.sql", B);
    folder.write("1_a.sql", A);
    let plan = folder.plan(&server);
    assert!(plan.contains("ADDED") && plan.contains("main.a") && plan.contains("main.b"), "{plan}");
    assert_eq!(client.count("system.transforms").await, 0, "planning takes no effect");

    folder.apply(&server);
    for view in ["main.a", "main.b"] {
        client.newest_job(view).await.expect("SUCCEEDED");
    }
    assert_eq!(client.query("SELECT n FROM b").await.cell(), "5");
    assert!(folder.plan(&server).contains("UNCHANGED"));
    folder.apply(&server);
    assert_eq!(client.count("system.jobs").await, 2, "nothing changed, nothing is queued");

    folder.write("1_a.sql", &A.replace("a + 1", "a + 10"));
    assert!(folder.plan(&server).replace("UNCHANGED", "").contains("CHANGED"));
    folder.apply(&server);
    eventually("the change has come through", || {
        let mut client = client.clone();
        async move {
            (client.query("SELECT n FROM a ORDER BY n LIMIT 1").await.cell() == "11").then_some(())
        }
    })
    .await;

    folder.write(
        "1_a.sql",
        &A.replace("VIEW a AS", "VIEW a COMMENT 'first' AS").replace("a + 1", "a + 10"),
    );
    assert!(folder.plan(&server).contains("METADATA"));
}

#[tokio::test]
async fn a_removed_file_suspends_and_keeps_the_data() {
    let (server, mut client, folder) = start().await;
    folder.write("a.sql", A);
    folder.write("b.sql", B);
    folder.apply(&server);
    client.newest_job("main.b").await.expect("SUCCEEDED");
    folder.remove("b.sql");
    assert!(folder.plan(&server).contains("REMOVED"));
    folder.apply(&server);
    let state = client.query("SELECT name, suspended FROM system.transforms ORDER BY name").await;
    assert_eq!(state.lines(), ["main.a|false", "main.b|true"]);
    let reason = "SELECT suspended_reason FROM system.transforms WHERE suspended";
    assert_eq!(client.query(reason).await.cell(), "no longer declared by its folder");
    assert_eq!(client.query("SELECT n FROM b").await.cell(), "5");
    // It comes back.
    folder.write("b.sql", B);
    folder.apply(&server);
    let suspended = "SELECT count(*) FROM system.transforms WHERE suspended";
    assert_eq!(client.query(suspended).await.cell(), "0");
}

#[tokio::test]
async fn a_folder_is_suspended_and_resumed_as_a_whole() {
    let (server, mut client, folder) = start().await;
    folder.write("a.sql", A);
    folder.write("b.sql", B);
    folder.write("c.sql", "CREATE OR REFRESH MATERIALIZED VIEW c AS SELECT a FROM t");
    folder.write("s.sql", "CREATE OR REFRESH STREAMING TABLE s AS SELECT a FROM STREAM t");
    folder.apply(&server);
    folder.remove("c.sql");
    folder.apply(&server);
    client.update("CREATE MATERIALIZED VIEW by_hand AS SELECT a FROM t").await;
    for view in ["main.b", "main.s", "main.by_hand"] {
        client.newest_job(view).await.expect("SUCCEEDED");
    }
    client.update("SUSPEND b").await;
    // b is so already, and c is the folder's no longer.
    let done = client.query("SUSPEND FOLDER '.'").await;
    assert_eq!(done.text(), ".|3|2");
    let suspended =
        "SELECT name, suspended_reason FROM system.transforms WHERE suspended ORDER BY name";
    let gone = "main.c|no longer declared by its folder";
    let all = ["main.a|SUSPEND", "main.b|SUSPEND", gone, "main.s|SUSPEND"];
    assert_eq!(client.query(suspended).await.lines(), all);
    let refused = client.query_failure("REFRESH a SYNC").await;
    refused.expect(tonic::Code::FailedPrecondition, &["suspended"]);
    assert_eq!(client.query("SUSPEND FOLDER './'").await.text(), "./|3|0");
    assert_eq!(client.query("RESUME FOLDER '.'").await.text(), ".|3|3");
    assert_eq!(client.query(suspended).await.lines(), [gone]);
    client.query("REFRESH a, b, s SYNC").await;

    let failure = client.failure("SUSPEND FOLDER 'silver'").await;
    failure.expect(
        tonic::Code::FailedPrecondition,
        &["'silver'", "'.' is the folder that was applied"],
    );
    let failure = client.failure("SUSPEND FOLDER 'a.sql'").await;
    failure.expect(tonic::Code::FailedPrecondition, &["that is a file"]);
}

#[tokio::test]
async fn a_folder_is_suspended_by_who_owns_all_of_it() {
    let options = Options::new();
    let server = with_users(&options, &[("root", "secret-1"), ("bob", "secret-2")]);
    let mut root = login(&server, "root", "secret-1").await;
    let mut bob = login(&server, "bob", "secret-2").await;
    let files =
        [("x/a.sql", "a"), ("x/b.sql", "b"), ("y/c.sql", "c")].map(|(path, name)| SourceFile {
            path: path.to_owned(),
            text: format!("CREATE OR REFRESH MATERIALIZED VIEW {name} AS SELECT 1 AS n"),
        });
    let mut apply = Request::new(ApplyRequest { files: files.into() });
    let token = basic("root", "secret-1").parse().unwrap();
    apply.metadata_mut().insert("authorization", token);
    TransformsClient::new(root.channel()).apply(apply).await.unwrap();

    let sql = "SUSPEND FOLDER 'x'";
    let suspended = "SELECT count(*) FROM system.transforms WHERE suspended";
    let failure = bob.failure(sql).await;
    failure.expect(tonic::Code::FailedPrecondition, &["no file of a folder 'x'"]);
    assert!(!failure.message.contains("'y'"), "{failure}");
    root.script("ALTER MATERIALIZED VIEW a OWNER TO bob").await;
    bob.failure(sql).await.expect(tonic::Code::PermissionDenied, &["may not know all of it"]);
    root.script("GRANT SELECT ON b TO bob").await;
    bob.failure(sql).await.expect(tonic::Code::PermissionDenied, &["main.b"]);
    assert_eq!(root.query(suspended).await.cell(), "0", "none of it");
    root.script("ALTER MATERIALIZED VIEW b OWNER TO bob").await;
    assert_eq!(bob.query(sql).await.text(), "x|2|2");
    assert_eq!(root.query(suspended).await.cell(), "2");
    let failure = bob.failure("SUSPEND FOLDER 'z'").await;
    failure.expect(tonic::Code::FailedPrecondition, &["there is 'x'"]);
    assert_eq!(root.query("SUSPEND FOLDER '.'").await.text(), ".|3|1");
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_nothing_is_half_applied() {
    let (server, mut client, folder) = start().await;
    folder.write("good.sql", A);

    folder.write("x.sql", "CREATE MATERIALIZED VIEW x AS SELECT * FROM y");
    folder.write("y.sql", "\nCREATE MATERIALIZED VIEW y AS SELECT * FROM x");
    folder.refused(&server, &["main.x", "main.y", "read itself"]);
    folder.remove("x.sql");

    folder.write("y.sql", "\n\nCREATE MATERIALIZED VIEW a AS SELECT 1 AS n");
    folder.refused(&server, &["main.a", "twice", "good.sql", "y.sql"]);

    folder.write("y.sql", "CREATE MATERIALIZED VIEW y AS SELECT * FROM nowhere");
    folder.refused(&server, &["y.sql", "main.nowhere"]);

    folder.write("y.sql", "CREATE MATERIALIZED VIEW y AS SELECT b FROM t");
    folder.refused(&server, &["y.sql", "b"]);

    folder.write("y.sql", "CREATE MATERIALIZED VIEW y AS\nSELECT a FRM t");
    folder.refused(&server, &["y.sql"]);

    folder.write("y.sql", "CREATE MATERIALIZED VIEW y SCHEDULE CRON 'whenever' AS SELECT a FROM t");
    folder.refused(&server, &["y.sql", "whenever"]);

    folder.write("y.sql", "DROP TABLE t");
    folder.refused(&server, &["y.sql", "DROP"]);

    folder.write("y.sql", "CREATE MATERIALIZED VIEW nowhere.y AS SELECT a FROM t");
    folder.refused(&server, &["y.sql", "nowhere"]);

    folder.write("y.sql", "CREATE MATERIALIZED VIEW t AS SELECT a FROM t");
    folder.refused(&server, &["y.sql", "main.t"]);

    assert_eq!(client.count("system.transforms").await, 0);
    assert_eq!(client.count("system.jobs").await, 0);
}

#[tokio::test]
async fn tables_flows_and_what_reads_them_are_declared_apart() {
    let (server, mut client, folder) = start().await;
    folder.write(
        "a.sql",
        "CREATE SCHEMA IF NOT EXISTS b;
         CREATE OR REFRESH MATERIALIZED VIEW b.m AS SELECT count(*) AS n FROM b.o;
         CREATE OR REFRESH STREAMING TABLE b.o;
         CREATE FLOW b.f AS INSERT INTO b.o BY NAME SELECT * FROM STREAM t;
         CREATE OR REFRESH STREAMING TABLE b.newest;
         APPLY CHANGES INTO b.newest FROM stream(b.o) KEYS (a) SEQUENCE BY a;
         CREATE OR REFRESH MATERIALIZED VIEW b.top AS SELECT max(a) AS a FROM b.newest;",
    );
    folder.plan(&server);
    folder.apply(&server);
    for view in ["b.m", "b.top"] {
        client.newest_job(view).await.expect("SUCCEEDED");
        assert_eq!(client.query(&format!("SELECT * FROM {view}")).await.cell(), "2");
    }
    assert!(!folder.plan(&server).replace("UNCHANGED", "").contains("CHANGED"));

    folder.write("a.sql", "CREATE STREAMING TABLE lone;\nCREATE VIEW v AS SELECT * FROM lone");
    folder.refused(&server, &["a.sql:2", "main.lone", "no flow feeds"]);
}

#[tokio::test]
async fn temporary_views_are_a_part_of_what_reads_them() {
    let (server, mut client, folder) = start().await;
    // Its name hides that of a table, here and nowhere else.
    client.script("CREATE TABLE small (a BIGINT); INSERT INTO small VALUES (700)").await;
    let views =
        "CREATE TEMPORARY VIEW big (n COMMENT 'more') COMMENT 'c' AS SELECT a + 10 FROM LIVE.small;
         CREATE TEMPORARY LIVE VIEW small AS SELECT a FROM t WHERE a < 5;
         CREATE TEMPORARY VIEW fresh AS SELECT a FROM STREAM(t);";
    folder.write("views.sql", views);
    folder.write(
        "a.sql",
        "CREATE OR REFRESH LIVE TABLE m AS WITH t AS (SELECT 1 AS one) SELECT sum(x.n) AS n FROM LIVE.big AS x, t;
         CREATE OR REFRESH STREAMING LIVE TABLE s AS SELECT fresh.a FROM STREAM(LIVE.fresh);
         CREATE STREAMING TABLE f;
         CREATE FLOW ff AS INSERT INTO f BY NAME SELECT a FROM STREAM fresh;
         CREATE VIEW v AS SELECT n FROM big;",
    );
    folder.plan(&server);
    folder.apply(&server);
    for view in ["main.m", "main.s", "main.f"] {
        client.newest_job(view).await.expect("SUCCEEDED");
    }
    assert_eq!(client.query("SELECT n FROM m").await.cell(), "23");
    assert_eq!(client.query("SELECT n FROM v ORDER BY n").await.lines(), ["11", "12"]);
    assert_eq!((client.count("s").await, client.count("f").await), (2, 2));
    assert_eq!(client.query("SELECT a FROM small").await.cell(), "700");
    client.query_failure("SELECT * FROM big").await.expect(tonic::Code::NotFound, &["main.big"]);
    let reads = "SELECT name, reads FROM system.transforms ORDER BY name";
    let expected = ["main.f|main.t", "main.m|main.t", "main.s|main.t"];
    assert_eq!(client.query(reads).await.lines(), expected);
    assert!(!folder.plan(&server).replace("UNCHANGED", "").contains("CHANGED"));

    folder.write("views.sql", &views.replace("a < 5", "a < 2"));
    let plan = folder.plan(&server);
    let changed: Vec<_> = plan.lines().filter(|line| line.contains(" CHANGED ")).collect();
    assert!(changed.len() == 2 && changed.iter().any(|line| line.contains("main.m")), "{plan}");
    folder.apply(&server);
    client.newest_job("main.m").await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT n FROM m").await.cell(), "11");
}

#[tokio::test]
async fn a_temporary_view_of_files_is_read_as_a_stream() {
    let (server, mut client, folder) = start().await;
    client.script("COPY (SELECT 1 AS a) TO 'in/1.csv'").await;
    folder.write(
        "a.sql",
        "CREATE TEMPORARY VIEW landed AS SELECT *, _metadata.file_name FROM STREAM read_files(\"in/*.csv\");
         CREATE OR REFRESH STREAMING TABLE r AS SELECT a, file_name FROM STREAM(LIVE.landed);",
    );
    folder.plan(&server);
    folder.apply(&server);
    client.newest_job("main.r").await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT a, file_name FROM r").await.lines(), ["1|1.csv"]);
    assert!(folder.plan(&server).contains("UNCHANGED"));
}

#[tokio::test]
async fn temporary_views_that_cannot_be_read_are_refused() {
    let (server, mut client, folder) = start().await;
    for (text, told) in [
        (
            "CREATE TEMP VIEW x AS SELECT * FROM y;\nCREATE TEMP VIEW y AS SELECT * FROM x;",
            &["a.sql", "main.x", "read itself"][..],
        ),
        (
            "CREATE TEMP VIEW x AS SELECT a FROM t;\nCREATE MATERIALIZED VIEW x AS SELECT a FROM t",
            &["main.x", "twice"],
        ),
        (
            "CREATE TEMP VIEW x AS SELECT a FROM t;\nCREATE STREAMING TABLE s AS SELECT a FROM STREAM x",
            &["a.sql:2", "'x'", "reads no STREAM"],
        ),
        (
            "CREATE TEMP VIEW x AS SELECT a FROM STREAM t;
             CREATE STREAMING TABLE s FLOW AUTO CDC FROM STREAM x KEYS (a) SEQUENCE BY a",
            &["a.sql:2", "'x'", "AUTO CDC reads the events of a table"],
        ),
        (
            "CREATE TEMP VIEW x AS SELECT a FROM t;\nCREATE VIEW v AS SELECT a FROM x VERSION AS OF 1",
            &["a.sql:2", "'x'", "only a table has versions"],
        ),
        (
            "CREATE TEMP VIEW x AS SELECT nope FROM t;\n\nCREATE MATERIALIZED VIEW m AS SELECT 1 AS a\nFROM x",
            &["a.sql:3", "nope"],
        ),
        (
            "CREATE TEMP VIEW x AS SELECT a FROM STREAM t;\nCREATE MATERIALIZED VIEW m AS SELECT a FROM x",
            &["a.sql", "STREAM"],
        ),
    ] {
        folder.write("a.sql", text);
        folder.refused(&server, told);
    }
    assert_eq!(client.count("system.transforms").await, 0);
}

#[tokio::test]
async fn another_expectation_of_a_streaming_table_is_a_change() {
    let (server, mut client, folder) = start().await;
    let text = "CREATE STREAMING TABLE s (CONSTRAINT c EXPECT (a < 5) ON VIOLATION DROP ROW) AS SELECT a FROM STREAM t";
    folder.write("a.sql", text);
    folder.apply(&server);
    client.newest_job("main.s").await.expect("SUCCEEDED");
    folder.write("a.sql", &text.replace("a < 5", "a < 50"));
    assert!(folder.plan(&server).contains("expectations"));
    folder.apply(&server);
    client.newest_job("main.s").await.expect("SKIPPED_NO_CHANGE");
    client.update("INSERT INTO t VALUES (7)").await;
    client.refresh("s").await.expect("SUCCEEDED");
    assert_eq!(client.query("SELECT a FROM s ORDER BY a").await.lines(), ["1", "2", "7"]);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let (server, _, folder) = start().await;
    let output = folder.options.run(&["plan", "/no/such/folder", "--url", &server.url()], "");
    assert!(!output.status.success());
    assert!(text(&output).contains("/no/such/folder"), "{}", text(&output));
}

#[tokio::test]
async fn serve_keeps_a_folder_applied() {
    let options = Options::new();
    let folder = Folder::new(&options);
    folder.write("a.sql", "CREATE MATERIALIZED VIEW a AS SELECT 1 AS n");
    let options = options.arg("--transforms").arg(&folder.path);
    let options = options.env("WHIMBREL__REFRESH__TRANSFORMS_POLL", "100ms");
    let server = options.start();
    let client = Client::connect(&server).await;
    for (text, n) in [(None, "1"), (Some("CREATE MATERIALIZED VIEW a AS SELECT 2 AS n"), "2")] {
        if let Some(text) = text {
            folder.write("a.sql", text);
        }
        eventually("the folder is applied", || {
            let mut client = client.clone();
            async move {
                let answer = client.try_query("SELECT n FROM a").await;
                answer.is_ok_and(|answer| answer.cell() == n).then_some(())
            }
        })
        .await;
    }
    // A mistake changes nothing and is said in the log; the server lives on.
    folder.write("a.sql", "CREATE MATERIALIZED VIEW a AS SELECT FROM WHERE");
    eventually("the mistake is told", || {
        let log = server.log();
        async move { log.contains("a.sql").then_some(()) }
    })
    .await;
    let mut client = client;
    assert_eq!(client.query("SELECT n FROM a").await.cell(), "2");
}
