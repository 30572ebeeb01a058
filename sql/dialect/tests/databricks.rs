//! Statements as files for Databricks SQL and Spark Declarative Pipelines have them: they are read
//! unchanged, or refused with what to write.

use dialect::{
    parse,
    statement::{CreateMode, OnChange, Statement, TimeTravel},
    written,
};
use model::transform::{ColumnChoice, History, KeyMode, OnViolation};
use whimbrel_dialect as dialect;

const READ: [&str; 38] = [
    "CREATE OR REFRESH STREAMING TABLE raw_user_table (
       CONSTRAINT valid_data EXPECT (_rescued_data IS NULL) ON VIOLATION FAIL UPDATE
     )
     COMMENT 'raw users'
     TBLPROPERTIES ('quality' = 'bronze', 'pipelines.reset.allowed' = 'false')
     AS SELECT * FROM STREAM landing.users",
    "CREATE OR REFRESH STREAMING TABLE customers_silver (
       CONSTRAINT valid_id EXPECT (customer_id IS NOT NULL) ON VIOLATION DROP ROW,
       CONSTRAINT valid_age EXPECT (age BETWEEN 0 AND 120)
     )
     AS SELECT customer_id, CAST(age AS INT) AS age, upper(name) AS name FROM STREAM(bronze.customers)",
    "CREATE STREAMING TABLE firehose_bronze
     SCHEDULE REFRESH CRON '0 0 * * * ? *' AT TIME ZONE 'America/Los_Angeles'
     AS SELECT * FROM STREAM firehose_raw",
    "CREATE OR REFRESH STREAMING TABLE events SCHEDULE EVERY 1 HOUR AS SELECT * FROM STREAM raw.events",
    "CREATE OR REFRESH MATERIALIZED VIEW sales_by_region
     COMMENT 'sales' CLUSTER BY AUTO AS SELECT region, sum(amount) FROM orders GROUP BY region",
    "CREATE MATERIALIZED VIEW subscribed_users (
       user_id LONG NOT NULL COMMENT 'who',
       email STRING,
       CONSTRAINT users_pk PRIMARY KEY (user_id) NOT ENFORCED RELY,
       CONSTRAINT users_fk FOREIGN KEY (email) REFERENCES main.mails (email) NOT ENFORCED
     ) AS SELECT user_id, email FROM users WHERE subscribed",
    "CREATE OR REPLACE MATERIALIZED VIEW orders_mv
     PARTITIONED BY (day)
     SCHEDULE EVERY 8 HOURS
     AS SELECT day, count(*) AS n FROM orders GROUP BY day",
    "CREATE MATERIALIZED VIEW IF NOT EXISTS mv TRIGGER ON UPDATE AT MOST EVERY INTERVAL 15 MINUTES
     AS SELECT 1 AS a",
    "CREATE OR REFRESH PRIVATE MATERIALIZED VIEW only_inside AS SELECT * FROM t",
    "CREATE OR REFRESH STREAMING TABLE target",
    "CREATE FLOW apply_cdc AS AUTO CDC INTO target
     FROM STREAM(cdc_data.users)
     KEYS (userId)
     APPLY AS DELETE WHEN operation = 'DELETE'
     APPLY AS TRUNCATE WHEN operation = 'TRUNCATE'
     SEQUENCE BY sequenceNum
     COLUMNS * EXCEPT (operation, sequenceNum)
     STORED AS SCD TYPE 1",
    "CREATE FLOW target_flow AS AUTO CDC INTO history
     FROM STREAM cdc_data.users KEYS (user_id, region) IGNORE NULL UPDATES
     APPLY AS DELETE WHEN operation = 'DELETE' SEQUENCE BY struct(ts, id)
     COLUMNS user_id, region, city STORED AS SCD TYPE 2 TRACK HISTORY ON * EXCEPT (city)",
    "CREATE FLOW old_words AS APPLY CHANGES INTO target FROM stream(cdc) KEYS (id) SEQUENCE BY n",
    "CREATE FLOW backfill COMMENT 'once' AS INSERT INTO ONCE target BY NAME SELECT * FROM archive.users",
    "CREATE FLOW append_more AS INSERT INTO target BY NAME SELECT * FROM STREAM(more.users)",
    "CREATE OR REFRESH STREAMING TABLE silver.customers
     FLOW AUTO CDC FROM STREAM raw.customer_events KEYS (id) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY (lsn)
     COLUMNS * EXCEPT (op, lsn) STORED AS SCD TYPE 2",
    "REFRESH STREAMING TABLE silver.customers FULL",
    "ALTER STREAMING TABLE silver.customers ADD SCHEDULE EVERY 1 DAY",
    r#"CREATE OR REFRESH STREAMING TABLE sales_orders_raw
     COMMENT "The raw sales orders, ingested from /databricks-datasets."
     TBLPROPERTIES ("myCompanyPipeline.quality" = "bronze", "pipelines.autoOptimize.managed" = "true")
     AS SELECT * FROM STREAM landing.orders"#,
    r#"CREATE MATERIALIZED VIEW m (a LONG COMMENT "who") LOCATION "s3://lake/m"
     SCHEDULE CRON "0 0/15 * * * ?" AT TIME ZONE "UTC" AS SELECT a FROM t"#,
    "APPLY CHANGES INTO silver.target FROM stream(cdc_data.users)
     KEYS (userId) APPLY AS DELETE WHEN operation = 'DELETE'
     SEQUENCE BY sequenceNum COLUMNS * EXCEPT (operation, sequenceNum) STORED AS SCD TYPE 2",
    "CREATE FLOW f COMMENT \"what comes in\" AS INSERT INTO target BY NAME SELECT * FROM STREAM s",
    "REFRESH TABLE silver.customers",
    "CREATE MATERIALIZED VIEW m (a INT, CONSTRAINT pk PRIMARY KEY (a) NOT ENFORCED DEFERRABLE INITIALLY DEFERRED RELY)
     AS SELECT a FROM t",
    "CREATE MATERIALIZED VIEW m (a INT PRIMARY KEY DEFERRABLE INITIALLY DEFERRED NORELY, b INT,
       CONSTRAINT fk FOREIGN KEY (b) REFERENCES u NOT ENFORCED INITIALLY DEFERRED DEFERRABLE) AS SELECT a, b FROM t",
    "CREATE OR REFRESH MATERIALIZED VIEW m USING DELTA AS SELECT a FROM t",
    "CREATE STREAMING TABLE s USING delta PARTITIONED BY (a) AS SELECT * FROM STREAM(t) WITH (SKIPCHANGECOMMITS)",
    "CREATE STREAMING TABLE s AS SELECT x.a FROM STREAM t WITH (SkipChangeCommits) AS x JOIN u ON x.a = u.a",
    "CREATE OR REFRESH LIVE TABLE daily (
       CONSTRAINT valid_day EXPECT (day IS NOT NULL) ON VIOLATION DROP ROW
     )
     COMMENT \"per day\" CLUSTER BY (day)
     AS SELECT day, count(*) AS n FROM LIVE.events AS e JOIN LIVE.days USING (day) GROUP BY day",
    "CREATE OR REFRESH STREAMING LIVE TABLE events AS SELECT * FROM STREAM(LIVE.raw)",
    "CREATE STREAMING LIVE TABLE target",
    "APPLY CHANGES INTO LIVE.target FROM stream(LIVE.users) KEYS (id) SEQUENCE BY n",
    "CREATE FLOW f AS AUTO CDC INTO LIVE.target FROM LIVE.users KEYS (id) SEQUENCE BY n",
    "CREATE TEMPORARY LIVE VIEW recent (a COMMENT 'what', b) COMMENT 'c' TBLPROPERTIES ('k' = 'v')
     AS SELECT a, b FROM STREAM LIVE.events",
    "CREATE OR REPLACE TEMP VIEW mine AS SELECT a FROM t",
    "CREATE TEMPORARY STREAMING TABLE inside AS SELECT * FROM STREAM t",
    "CREATE STREAMING TABLE s CLUSTER BY NONE AS SELECT * FROM STREAM t",
    "ALTER STREAMING TABLE s CLUSTER BY (a, b)",
];

#[test]
fn files_for_pipelines_are_read_unchanged() {
    for sql in READ {
        let statement = parse(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
        let text = written(&statement).unwrap_or_else(|| panic!("{statement:?}"));
        let again = parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(written(&again), Some(text));
    }
}

#[test]
fn their_words_mean_the_same() {
    let Ok(Statement::CreateStreamingTable(table)) = parse(READ[0]) else { panic!() };
    assert_eq!(table.mode, CreateMode::OrRefresh);
    assert_eq!(table.expectations[0].condition, "_rescued_data IS NULL");
    assert_eq!(table.expectations[0].on_violation, OnViolation::Fail);
    let Ok(Statement::CreateFlow(flow)) = parse(READ[11]) else { panic!() };
    let changes = flow.body.changes.expect("AUTO CDC");
    assert_eq!(changes.keys, ["user_id", "region"]);
    assert_eq!(changes.ignore_null_updates, ColumnChoice::All);
    assert_eq!(changes.sequence_by, "STRUCT(ts, id)");
    let track = ColumnChoice::Except(vec!["city".to_owned()]);
    assert_eq!(changes.history, History::Every { track });
}

#[test]
fn more_of_their_words_mean_the_same() {
    let read = |n: usize| parse(READ[n]).unwrap_or_else(|error| panic!("{error}"));
    let Statement::CreateStreamingTable(table) = read(18) else { panic!() };
    let comment = "The raw sales orders, ingested from /databricks-datasets.";
    assert_eq!(table.comment.as_deref(), Some(comment));
    assert_eq!(table.properties["pipelines.autoOptimize.managed"], "true");
    let Statement::CreateFlow(flow) = read(20) else { panic!() };
    assert_eq!(
        (flow.name.join("."), flow.target.join(".")),
        ("silver.target_changes".into(), "silver.target".into())
    );
    assert!(flow.body.changes.is_some());
    let Statement::CreateFlow(flow) = read(21) else { panic!() };
    assert_eq!(flow.comment.as_deref(), Some("what comes in"));
    let Statement::CreateMaterializedView(view) = read(23) else { panic!() };
    assert_eq!(view.keys[0].mode, KeyMode::Rely);
    let Statement::CreateMaterializedView(view) = read(24) else { panic!() };
    assert_eq!(view.keys[0].mode, KeyMode::NotEnforced);
    assert_eq!(view.keys[1].mode, KeyMode::NotEnforced);
    for n in [26, 27] {
        let Statement::CreateStreamingTable(table) = read(n) else { panic!() };
        let streams: Vec<_> = table.flow.iter().flat_map(|flow| &flow.query.tables).collect();
        let Some(TimeTravel::Stream(stream)) = &streams[0].at else { panic!("{streams:?}") };
        assert_eq!(stream.on_change, OnChange::Skip);
    }
}

/// The tables that a statement reads, and how it is written.
fn reads(sql: &str) -> Option<(Vec<String>, String)> {
    let statement = parse(sql).ok()?;
    let text = written(&statement).unwrap_or_default();
    let query = match statement {
        Statement::CreateMaterializedView(view) => view.query,
        Statement::CreateStreamingTable(table) => table.flow?.query,
        Statement::CreateFlow(flow) => flow.body.query,
        Statement::CreateTemporaryView(view) => view.query,
        Statement::CreateView(view) => view.query,
        _ => return None,
    };
    Some((query.tables.into_iter().map(|table| table.name.join(".")).collect(), text))
}

#[test]
fn what_was_live_is_without_the_word() {
    let (tables, text) = reads(READ[28]).expect("a query");
    assert_eq!(tables, ["events", "days"]);
    assert!(text.starts_with("CREATE OR REFRESH MATERIALIZED VIEW daily ("), "{text}");
    let (tables, text) = reads(READ[29]).expect("a query");
    assert_eq!(tables, ["raw"]);
    assert!(text.starts_with("CREATE OR REFRESH STREAMING TABLE events"), "{text}");
    let Ok(Statement::CreateFlow(flow)) = parse(READ[31]) else { panic!() };
    assert_eq!(
        (flow.name.join("."), flow.target.join(".")),
        ("target_changes".into(), "target".into())
    );
    assert_eq!(reads(READ[31]).expect("a query").0, ["users"]);
    assert_eq!(reads(READ[32]).expect("a query").0, ["users"]);
    let (tables, text) = reads(READ[33]).expect("a query");
    assert_eq!(tables, ["events"]);
    assert!(text.starts_with("CREATE TEMPORARY VIEW recent (a, b)"), "{text}");
}

#[test]
fn live_is_a_name_elsewhere() {
    assert_eq!(
        reads("CREATE MATERIALIZED VIEW m AS SELECT live.a FROM t AS live").expect("a query").0,
        ["t"]
    );
    assert_eq!(
        reads("CREATE MATERIALIZED VIEW m AS SELECT a FROM \"live\".t").expect("a query").0,
        ["live.t"]
    );
    assert_eq!(
        reads("CREATE MATERIALIZED VIEW m AS SELECT a FROM live").expect("a query").0,
        ["live"]
    );
    assert_eq!(reads("CREATE VIEW v AS SELECT a FROM live.t").expect("a query").0, ["live.t"]);
    let (_, text) =
        reads("CREATE MATERIALIZED VIEW m AS SELECT a FROM \"live\".t").expect("a query");
    assert_eq!(reads(&text).expect("a query").0, ["live.t"]);
}

#[test]
fn clustering_is_a_property() {
    let Ok(Statement::CreateMaterializedView(view)) = parse(READ[28]) else { panic!() };
    assert_eq!(model::clustering::columns(&view.properties), Ok(vec!["day".to_owned()]));
    for n in [4, 36] {
        let text = written(&parse(READ[n]).expect("read")).expect("ours");
        assert!(!text.contains("CLUSTER BY"), "{text}");
    }
    let Ok(Statement::CreateTable(table)) = parse("CREATE TABLE t (a INT) CLUSTER BY (a)") else {
        panic!()
    };
    assert_eq!(table.properties[model::clustering::CLUSTER_BY], "[\"a\"]");
}

#[test]
fn what_cannot_mean_the_same_is_refused_with_what_to_write() {
    for (sql, place, hint) in [
        ("CREATE TEMPORARY TABLE t (a INT)", (1, 8), "only views"),
        ("CREATE TEMPORARY VIEW s.v AS SELECT 1 AS a", (1, 23), "write v"),
        (
            "CREATE LIVE VIEW v (CONSTRAINT c EXPECT (a > 0)) AS SELECT 1 AS a",
            (1, 21),
            "in what reads the view",
        ),
        ("DROP TEMPORARY VIEW v", (1, 6), "out of the folder"),
        (
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM cloud_files('/v', 'json')",
            (1, 43),
            "STREAM read_files(",
        ),
        ("CREATE MATERIALIZED VIEW m AS SELECT * FROM STREAM t", (1, 45), "leave STREAM out"),
        ("SELECT * FROM STREAM(t)", (1, 15), "leave STREAM out"),
        (
            "CREATE FLOW f AS AUTO CDC INTO t FROM SNAPSHOT s KEYS (a) SEQUENCE BY b",
            (1, 39),
            "FROM STREAM",
        ),
        (
            "CREATE MATERIALIZED VIEW m USING PARQUET AS SELECT 1 AS a",
            (1, 34),
            "leave the clause out",
        ),
        ("CREATE STREAMING TABLE t USING ICEBERG", (1, 32), "leave the clause out"),
        ("CREATE VIEW v CLUSTER BY (a) AS SELECT 1 AS a", (1, 15), ""),
        ("CREATE MATERIALIZED VIEW m CLUSTER BY a AS SELECT 1 AS a", (1, 39), ""),
        (
            "CREATE MATERIALIZED VIEW m CLUSTER BY (a) TBLPROPERTIES ('whimbrel.clusterBy' = '[]') AS SELECT 1 AS a",
            (1, 43),
            "write one of them",
        ),
        ("CREATE TABLE t LIKE u CLUSTER BY (a)", (1, 23), "leave the clause out"),
        (
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM(s, ON_CHANGE => 'fail') WITH (SKIPCHANGECOMMITS)",
            (1, 74),
            "one of them",
        ),
        (
            "CREATE STREAMING TABLE t AS SELECT * FROM STREAM s WITH (MERGESCHEMA)",
            (1, 58),
            "SKIPCHANGECOMMITS",
        ),
        ("CREATE MATERIALIZED VIEW m (a INT MASK f) AS SELECT 1 AS a", (1, 35), "SET MASK"),
        (
            "CREATE MATERIALIZED VIEW m WITH ROW FILTER f ON (a) AS SELECT 1 AS a",
            (1, 28),
            "SET ROW FILTER",
        ),
        (
            "CREATE MATERIALIZED VIEW m (a INT, PRIMARY KEY (a) INITIALLY IMMEDIATE) AS SELECT 1 AS a",
            (1, 52),
            "INITIALLY DEFERRED",
        ),
        (
            "CREATE MATERIALIZED VIEW m DEFAULT COLLATION UTF8_BINARY AS SELECT 1 AS a",
            (1, 28),
            "leave it out",
        ),
        ("REFRESH MATERIALIZED VIEW m FOR (a => 3)", (1, 29), "leave it out"),
        ("CREATE MATERIALIZED VIEW m JOIN POLICY STRICT AS SELECT 1 AS a", (1, 28), "leave it out"),
        ("ALTER MATERIALIZED VIEW m ALTER COLUMN a COMMENT 'c'", (1, 27), "CREATE OR REFRESH"),
        ("ALTER STREAMING TABLE t ADD CONSTRAINT c CHECK (a > 0)", (1, 42), "EXPECT"),
    ] {
        let error = match parse(sql) {
            Ok(statement) => panic!("{sql} was read as {statement:?}"),
            Err(error) => error,
        };
        assert_eq!((error.line, error.column), place, "{sql}: {error}");
        let said = error.hint.unwrap_or_default();
        assert!(said.contains(hint), "{sql}: {said}");
    }
}
