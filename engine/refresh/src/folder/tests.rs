use model::{
    code::Code,
    object::{Properties, Table, TableFormat, View},
    schedule::Schedule,
    time::Timestamp,
    transform::Transform,
};

use super::*;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

fn files(texts: &[(&str, &str)]) -> Vec<SourceFile> {
    texts.iter().map(|(path, text)| file(path, text)).collect()
}

fn named(name: &str) -> ObjectName {
    let (schema, name) = name.split_once('.').unwrap_or(("main", name));
    ObjectName::new(schema, name).unwrap()
}

fn object(name: &str, body: ObjectBody) -> Object {
    Object {
        id: ObjectId::generate(),
        name: named(name),
        body,
        comment: None,
        properties: Properties::new(),
        owner: "ada".to_owned(),
        policy: model::object::Policy::default(),
        created_at: Timestamp::from_micros(0),
        definition_version: 1,
    }
}

fn table(name: &str) -> Object {
    object(
        name,
        ObjectBody::Table(Table {
            location: format!("file:///lake/{name}/"),
            format: TableFormat::Delta,
            external: false,
            options: Properties::new(),
            primary_key: Vec::new(),
            path_columns: Vec::new(),
            complete_when: None,
        }),
    )
}

fn view(name: &str, query: &str, reads: &[&str]) -> Object {
    object(
        name,
        ObjectBody::View(View {
            query: query.to_owned(),
            definition: format!("CREATE VIEW {name} AS {query}"),
            reads: reads.iter().map(|read| named(read)).collect(),
        }),
    )
}

fn transform(
    name: &str,
    query: &str,
    reads: &[&str],
    change: impl FnOnce(&mut Transform),
) -> Object {
    let mut body = Transform {
        query: query.to_owned(),
        definition: format!("CREATE OR REFRESH MATERIALIZED VIEW {name} AS {query}"),
        definition_hash: "h".to_owned(),
        reads: reads.iter().map(|read| named(read)).collect(),
        location: format!("file:///lake/{name}/"),
        partitioned_by: Vec::new(),
        schedule: None,
        columns: Vec::new(),
        source_file: Some(format!("{name}.sql")),
        suspended: false,
        ..Transform::default()
    };
    change(&mut body);
    object(name, ObjectBody::MaterializedView(body))
}

fn schemas() -> Vec<Schema> {
    vec![Schema { name: "main".to_owned(), comment: None }]
}

fn drafted(texts: &[(&str, &str)], existing: &[Object]) -> FolderPlan {
    draft("main", &files(texts), &schemas(), existing).unwrap()
}

fn refused(texts: &[(&str, &str)], existing: &[Object]) -> FolderError {
    draft("main", &files(texts), &schemas(), existing).unwrap_err()
}

/// `KIND object: detail`, in order.
fn changes(plan: &FolderPlan) -> Vec<String> {
    plan.changes
        .iter()
        .map(|change| {
            let detail = if change.detail.is_empty() { "" } else { ": " };
            format!("{} {}{detail}{}", change.kind.as_str(), change.object, change.detail)
        })
        .collect()
}

fn refreshed(plan: &FolderPlan) -> Vec<String> {
    plan.refreshed.iter().map(ToString::to_string).collect()
}

#[test]
fn declarations_are_applied_in_the_order_of_what_they_read() {
    let plan = drafted(
        &[
            ("1_top.sql", "CREATE MATERIALIZED VIEW top AS SELECT * FROM mid JOIN side USING (k)"),
            ("2_mid.sql", "CREATE VIEW mid AS SELECT k FROM low"),
            (
                "3_low.sql",
                "-- the lowest\nCREATE MATERIALIZED VIEW low AS SELECT k FROM base;\nCREATE MATERIALIZED VIEW side AS SELECT k FROM base",
            ),
        ],
        &[table("base")],
    );
    assert_eq!(
        changes(&plan),
        ["ADDED main.low", "ADDED main.mid", "ADDED main.side", "ADDED main.top"]
    );
    assert_eq!(refreshed(&plan), ["main.low", "main.side", "main.top"]);
    let sent: Vec<_> =
        plan.steps.iter().map(|step| (step.sql.as_str(), step.at.line, step.checkable)).collect();
    assert_eq!(sent[0], ("CREATE OR REFRESH MATERIALIZED VIEW low AS SELECT k FROM base", 2, true));
    assert_eq!(sent[1], ("CREATE OR REPLACE VIEW mid AS SELECT k FROM low", 1, false));
    assert_eq!(sent[2].1, 3);
    assert!(!sent[3].2, "what it reads is not there yet");
}

#[test]
fn every_kind_of_change_is_told_apart() {
    let every_hour = Schedule::every(3600).unwrap();
    let cases: [(&str, Object, &str); 9] = [
        (
            "create or refresh materialized view T as /* same */ select K\n from BASE",
            transform("t", "SELECT k FROM main.base", &["base"], |_| {}),
            "UNCHANGED main.t",
        ),
        (
            "CREATE MATERIALIZED VIEW t AS SELECT k, 1 AS one FROM base",
            transform("t", "SELECT k FROM main.base", &["base"], |_| {}),
            "CHANGED main.t: query",
        ),
        (
            "CREATE MATERIALIZED VIEW t PARTITIONED BY (k) AS SELECT k FROM base",
            transform("t", "SELECT k FROM main.base", &["base"], |_| {}),
            "CHANGED main.t: partitioning",
        ),
        (
            "CREATE MATERIALIZED VIEW t SCHEDULE EVERY 1 HOUR COMMENT 'new' AS SELECT k FROM base",
            transform("t", "SELECT k FROM main.base", &["base"], |_| {}),
            "METADATA main.t: schedule, comment",
        ),
        (
            "CREATE MATERIALIZED VIEW t SCHEDULE EVERY 60 MINUTES AS SELECT k FROM base",
            transform("t", "SELECT k FROM main.base", &["base"], |view| {
                view.schedule = Some(every_hour)
            }),
            "UNCHANGED main.t",
        ),
        (
            "CREATE MATERIALIZED VIEW t AS SELECT k FROM base",
            transform("t", "SELECT k FROM main.base", &["base"], |view| view.source_file = None),
            "METADATA main.t: file",
        ),
        (
            "CREATE MATERIALIZED VIEW t AS SELECT k FROM base",
            transform("t", "SELECT k FROM main.base", &["base"], |view| view.suspended = true),
            "METADATA main.t: was suspended",
        ),
        (
            "CREATE VIEW t AS SELECT k FROM base",
            view("t", "SELECT k FROM main.base", &["base"]),
            "UNCHANGED main.t",
        ),
        (
            "CREATE VIEW t AS SELECT k + 1 AS k FROM base",
            view("t", "SELECT k FROM main.base", &["base"]),
            "CHANGED main.t: query",
        ),
    ];
    for (text, existing, expected) in cases {
        let plan = drafted(&[("t.sql", text)], &[table("base"), existing]);
        assert_eq!(changes(&plan), [expected], "{text}");
        let unchanged = expected.starts_with("UNCHANGED");
        assert_eq!(plan.steps.is_empty(), unchanged, "{text}");
    }
}

#[test]
fn only_new_and_changed_transforms_are_refreshed() {
    let existing = [
        table("base"),
        transform("a", "SELECT k FROM main.base", &["base"], |_| {}),
        transform("b", "SELECT k FROM main.base", &["base"], |_| {}),
        transform("c", "SELECT k FROM main.b", &["b"], |_| {}),
    ];
    let plan = drafted(
        &[
            ("a.sql", "CREATE MATERIALIZED VIEW a COMMENT 'x' AS SELECT k FROM base"),
            ("b.sql", "CREATE MATERIALIZED VIEW b AS SELECT k FROM base WHERE k > 0"),
            ("c.sql", "CREATE MATERIALIZED VIEW c AS SELECT k FROM b"),
        ],
        &existing,
    );
    assert_eq!(
        changes(&plan),
        ["METADATA main.a: comment", "CHANGED main.b: query", "UNCHANGED main.c"]
    );
    assert_eq!(refreshed(&plan), ["main.b"]);
}

#[test]
fn a_changed_view_refreshes_the_transforms_above_it() {
    let existing = [
        table("base"),
        view("v", "SELECT k FROM main.base", &["base"]),
        view("w", "SELECT k FROM main.v", &["v"]),
        transform("t", "SELECT k FROM main.w", &["w"], |_| {}),
    ];
    let plan = drafted(
        &[
            ("t.sql", "CREATE MATERIALIZED VIEW t AS SELECT k FROM w"),
            ("v.sql", "CREATE VIEW v AS SELECT k FROM base WHERE k > 0"),
            ("w.sql", "CREATE VIEW w AS SELECT k FROM v"),
        ],
        &existing,
    );
    assert_eq!(
        changes(&plan),
        [
            "CHANGED main.v: query",
            "UNCHANGED main.w: reads a changed view",
            "UNCHANGED main.t: reads a changed view",
        ]
    );
    assert_eq!(refreshed(&plan), ["main.t"]);
    assert_eq!(plan.steps.len(), 1);
}

#[test]
fn what_is_no_longer_declared_is_suspended_once_and_never_dropped() {
    let existing = [
        table("base"),
        transform("gone", "SELECT k FROM main.base", &["base"], |_| {}),
        transform("gone_before", "SELECT k FROM main.base", &["base"], |view| {
            view.suspended = true
        }),
        transform("by_hand", "SELECT k FROM main.base", &["base"], |view| view.source_file = None),
        view("v", "SELECT k FROM main.base", &["base"]),
    ];
    let plan = drafted(&[], &existing);
    assert_eq!(changes(&plan), ["REMOVED main.gone: suspended; its data stays"]);
    assert_eq!(plan.changes[0].path, "gone.sql");
    assert!(plan.steps.is_empty());
    assert_eq!(plan.removed.len(), 1);
}

#[test]
fn schemas_come_first_and_existing_ones_are_left_alone() {
    let plan = drafted(
        &[
            ("a.sql", "CREATE MATERIALIZED VIEW gold.a AS SELECT k FROM base"),
            ("z.sql", "CREATE SCHEMA gold; CREATE SCHEMA IF NOT EXISTS main"),
        ],
        &[table("base")],
    );
    assert_eq!(changes(&plan), ["ADDED gold", "UNCHANGED main", "ADDED gold.a"]);
    assert_eq!(plan.steps[0].sql, "CREATE SCHEMA gold");
    assert!(!plan.steps[1].checkable, "its schema is not there yet");
}

#[test]
fn mistakes_are_refused_with_file_and_line() {
    let base = || table("base");
    type Case<'a> = (&'a [(&'a str, &'a str)], Vec<Object>, Code, &'a str, Option<&'a str>);
    let cases: [Case<'_>; 11] = [
        (
            &[("a.sql", "CREATE MATERIALIZED VIEW a AS\nSELEC 1")],
            vec![],
            Code::InvalidArgument,
            "a.sql: syntax error at line 2",
            None,
        ),
        (
            &[("a.sql", "CREATE VIEW a AS SELECT 1 AS x;\n\nDROP TABLE base")],
            vec![base()],
            Code::InvalidArgument,
            "a.sql:3: DROP does not belong into a folder of transforms",
            Some("a folder holds CREATE MATERIALIZED VIEW"),
        ),
        (
            &[
                ("b.sql", "CREATE VIEW a AS SELECT 2 AS x"),
                ("a.sql", "\nCREATE MATERIALIZED VIEW main.a AS SELECT 1 AS x"),
            ],
            vec![],
            Code::InvalidArgument,
            "'main.a' is declared twice: at a.sql:2 and at b.sql:1",
            Some("remove or rename"),
        ),
        (
            &[("a.sql", "CREATE SCHEMA s"), ("b.sql", "CREATE SCHEMA s")],
            vec![],
            Code::InvalidArgument,
            "'s' is declared twice: at a.sql:1 and at b.sql:1",
            None,
        ),
        (
            &[("a.sql", "CREATE MATERIALIZED VIEW gold.a AS SELECT 1 AS x")],
            vec![],
            Code::NotFound,
            "a.sql:1: schema 'gold' of 'gold.a' does not exist",
            Some("CREATE SCHEMA gold"),
        ),
        (
            &[(
                "a.sql",
                "CREATE MATERIALIZED VIEW a AS SELECT 1 AS x;\nCREATE MATERIALIZED VIEW b AS SELECT x FROM flihgts",
            )],
            vec![table("flights")],
            Code::NotFound,
            "a.sql:2: 'main.b' reads 'main.flihgts', which neither exists nor is declared",
            Some("did you mean 'main.flights'?"),
        ),
        (
            &[("a.sql", "CREATE MATERIALIZED VIEW a AS SELECT x FROM nowhere")],
            vec![base()],
            Code::NotFound,
            "a.sql:1: 'main.a' reads 'main.nowhere'",
            Some("SHOW TABLES"),
        ),
        (
            &[
                ("a.sql", "CREATE MATERIALIZED VIEW a AS SELECT x FROM c"),
                ("b.sql", "CREATE VIEW b AS SELECT x FROM a"),
                ("c.sql", "CREATE MATERIALIZED VIEW c AS SELECT x FROM b, base"),
            ],
            vec![base()],
            Code::InvalidArgument,
            "a.sql:1: 'main.a' would read itself: main.a -> main.c -> main.b -> main.a",
            Some("take one of these reads out"),
        ),
        (
            &[("a.sql", "CREATE MATERIALIZED VIEW a AS SELECT x FROM a")],
            vec![],
            Code::InvalidArgument,
            "a.sql:1: 'main.a' would read itself: main.a -> main.a",
            None,
        ),
        (
            &[("base.sql", "CREATE MATERIALIZED VIEW base AS SELECT x FROM v")],
            vec![view("v", "SELECT x FROM main.base", &["base"])],
            Code::InvalidArgument,
            "base.sql:1: 'main.base' would read itself: main.base -> main.v -> main.base",
            None,
        ),
        (
            &[("a.sql", "CREATE MATERIALIZED VIEW base AS SELECT 1 AS x")],
            vec![base()],
            Code::InvalidArgument,
            "a.sql:1: 'main.base' exists already and is a TABLE",
            Some("another name"),
        ),
    ];
    for (texts, existing, code, text, hint) in cases {
        let error = refused(texts, &existing);
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().starts_with(text), "{error}\nis not\n{text}");
        if let Some(hint) = hint {
            let given = error.hint().unwrap_or_default();
            assert!(given.contains(hint), "{given}\nis not\n{hint}");
        }
    }
}

#[test]
fn a_declaration_replaces_the_existing_reads_when_circles_are_looked_for() {
    // a read b before; now b reads a, and that is fine.
    let plan = drafted(
        &[
            ("a.sql", "CREATE MATERIALIZED VIEW a AS SELECT k FROM base"),
            ("b.sql", "CREATE MATERIALIZED VIEW b AS SELECT k FROM a"),
        ],
        &[
            table("base"),
            transform("a", "SELECT k FROM main.b", &["b"], |_| {}),
            transform("b", "SELECT k FROM main.base", &["base"], |_| {}),
        ],
    );
    assert_eq!(changes(&plan), ["CHANGED main.a: query", "CHANGED main.b: query"]);
}

#[test]
fn heads_become_desired_state_and_the_rest_stays() {
    let transform = "CREATE OR REFRESH MATERIALIZED VIEW";
    let cases = [
        (
            "CREATE MATERIALIZED VIEW a AS SELECT 1",
            transform,
            "CREATE OR REFRESH MATERIALIZED VIEW a AS SELECT 1",
        ),
        (
            "create or replace materialized view\n a AS SELECT 1",
            transform,
            "CREATE OR REFRESH MATERIALIZED VIEW a AS SELECT 1",
        ),
        (
            "CREATE /* a VIEW /* in */ here */ MATERIALIZED -- view\n VIEW IF  NOT\nEXISTS \"View\" AS SELECT 1 -- end",
            transform,
            "CREATE OR REFRESH MATERIALIZED VIEW \"View\" AS SELECT 1 -- end",
        ),
        (
            "CREATE VIEW if_only AS SELECT 1",
            "CREATE OR REPLACE VIEW",
            "CREATE OR REPLACE VIEW if_only AS SELECT 1",
        ),
        (
            "CREATE VIEW IF NOT EXISTS v AS SELECT 1",
            "CREATE OR REPLACE VIEW",
            "CREATE OR REPLACE VIEW v AS SELECT 1",
        ),
    ];
    for (text, head, expected) in cases {
        assert_eq!(rewrite::desired_state(text, head), expected);
    }
}

fn stream(name: &str, query: &str, more: &[(&str, &str)]) -> Object {
    let mut made = transform(name, "", &[], |table| {
        table.definition = format!("CREATE STREAMING TABLE {name} AS {query}");
        let flow = |name: ObjectName, query: &str| model::transform::Flow {
            name,
            query: query.to_owned(),
            definition_hash: String::new(),
            reads: Vec::new(),
            once: false,
            kind: model::transform::FlowKind::Append,
            columns: Vec::new(),
            comment: None,
            files: None,
        };
        table.flows.push(flow(named(name), query));
        table.flows.extend(more.iter().map(|(name, query)| flow(named(name), query)));
    });
    if let ObjectBody::MaterializedView(table) = made.body {
        made.body = ObjectBody::StreamingTable(table);
    }
    made
}

#[test]
fn streaming_tables_and_their_flows_are_declared() {
    let text = "create streaming table if not exists s as select a from stream t;
                CREATE FLOW more AS INSERT INTO s BY NAME SELECT a FROM STREAM u";
    let plan = drafted(&[("s.sql", text)], &[table("t"), table("u")]);
    assert_eq!(changes(&plan), ["ADDED main.s", "ADDED main.more"]);
    assert_eq!(refreshed(&plan), ["main.s"]);
    assert!(plan.steps[0].sql.starts_with("CREATE OR REFRESH STREAMING TABLE s as select"));

    let query = "SELECT a FROM STREAM main.t AS t";
    let known = stream("s", query, &[("more", "SELECT a FROM STREAM main.u AS u")]);
    let existing = [table("t"), table("u"), known];
    let plan = drafted(&[("s.sql", text)], &existing);
    assert_eq!(changes(&plan), ["UNCHANGED main.s", "UNCHANGED main.more"]);

    let known = stream("s", query, &[("more", "SELECT a FROM STREAM main.t AS t")]);
    let existing = [table("t"), table("u"), known];
    let plan = drafted(&[("s.sql", text)], &existing);
    assert_eq!(changes(&plan), ["UNCHANGED main.s", "CHANGED main.more: query"]);
    assert_eq!(refreshed(&plan), ["main.s"]);

    let alone = "CREATE STREAMING TABLE s AS SELECT a FROM STREAM(t, ON_CHANGE => 'skip')";
    let plan = drafted(&[("s.sql", alone)], &existing);
    let expected = ["CHANGED main.s: query", "REMOVED main.more: dropped; its rows stay"];
    assert_eq!(changes(&plan), expected);
}

#[test]
fn a_flow_feeds_a_streaming_table() {
    let text = "CREATE FLOW f AS INSERT INTO s BY NAME SELECT a FROM STREAM t";
    let error = refused(&[("f.sql", text)], &[table("t")]);
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.to_string().contains("feeds 'main.s'"), "{error}");
    let error = refused(&[("f.sql", text)], &[table("t"), table("s")]);
    assert!(matches!(error, FolderError::WrongKind { .. }), "{error}");
}

const FED: &str = "CREATE STREAMING TABLE s;
CREATE FLOW f AS INSERT INTO s BY NAME SELECT a FROM STREAM t;
CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM v";

#[test]
fn what_reads_a_table_comes_after_the_flows_into_it() {
    let files = [("1.sql", FED), ("2.sql", "CREATE VIEW v AS SELECT a FROM s")];
    let plan = drafted(&files, &[table("t")]);
    assert_eq!(changes(&plan), ["ADDED main.s", "ADDED main.f", "ADDED main.v", "ADDED main.m"]);
    assert_eq!(refreshed(&plan), ["main.s", "main.m"]);
    let checkable: Vec<_> = plan.steps.iter().map(|step| step.checkable).collect();
    assert_eq!(checkable, [true, false, false, false]);

    // A flow into a table that is there can be checked; what reads the table only if it has columns.
    let with_flows = |flows: &[(&str, &str)]| {
        let mut known = stream("s", "", flows);
        if let ObjectBody::StreamingTable(table) = &mut known.body {
            table.flows.remove(0);
        }
        known
    };
    let fed = with_flows(&[("g", "SELECT a FROM STREAM main.t AS t")]);
    for (known, reader) in [(fed, true), (with_flows(&[]), false)] {
        let plan = drafted(&files, &[table("t"), known]);
        let checkable =
            |text: &str| plan.steps.iter().find(|step| step.sql.contains(text)).unwrap().checkable;
        assert_eq!((checkable("FLOW f"), checkable("VIEW v")), (true, reader));
    }
}

#[test]
fn flows_that_nobody_reads_come_last_and_those_of_one_another_in_order() {
    let text = "CREATE FLOW g AS INSERT INTO u BY NAME SELECT a FROM STREAM s;
                CREATE FLOW f AS AUTO CDC INTO s FROM STREAM t KEYS (a) SEQUENCE BY b;
                CREATE STREAMING TABLE u; CREATE STREAMING TABLE s;
                CREATE MATERIALIZED VIEW m AS SELECT a FROM t";
    let plan = drafted(&[("1.sql", text)], &[table("t")]);
    let expected = ["ADDED main.u", "ADDED main.s", "ADDED main.m", "ADDED main.f", "ADDED main.g"];
    assert_eq!(changes(&plan), expected);
}

#[test]
fn what_a_flow_reads_is_looked_for_and_may_not_come_out_of_its_table() {
    let error = refused(
        &[(
            "f.sql",
            "CREATE STREAMING TABLE s;\nCREATE FLOW f AS INSERT INTO s BY NAME SELECT a FROM STREAM tt",
        )],
        &[table("t")],
    );
    let text =
        "f.sql:2: 'main.f' reads 'main.tt', which neither exists nor is declared in the folder";
    assert_eq!(error.to_string(), text);
    let round = "CREATE MATERIALIZED VIEW m AS SELECT a FROM s;
                 CREATE STREAMING TABLE s;
                 CREATE FLOW f AS INSERT INTO ONCE s BY NAME SELECT a FROM m";
    let error = refused(&[("f.sql", round)], &[]);
    let text = "f.sql:1: 'main.m' would read itself: main.m -> main.f -> main.m";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_table_that_nothing_feeds_cannot_be_read() {
    let text =
        "CREATE STREAMING TABLE s;\nCREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM s";
    let error = refused(&[("m.sql", text)], &[table("t")]);
    let said = "m.sql:2: 'main.m' reads the streaming table 'main.s', which no flow feeds";
    assert_eq!((error.code(), error.to_string().as_str()), (Code::InvalidArgument, said));
    assert!(error.hint().unwrap_or_default().contains("CREATE FLOW"));
    // One that is there may have rows of flows that are gone.
    drafted(&[("m.sql", text)], &[table("t"), stream("s", "", &[])]);
}

#[test]
fn a_comment_of_a_flow_is_no_reason_to_refresh() {
    let known = stream("s", "", &[("f", "SELECT a FROM STREAM main.t AS t")]);
    let text = "CREATE STREAMING TABLE s AS SELECT 1 AS a FROM STREAM t;
                CREATE FLOW f COMMENT 'why' AS INSERT INTO s BY NAME SELECT a FROM STREAM t";
    let plan = drafted(&[("s.sql", text)], &[table("t"), known]);
    assert_eq!(changes(&plan)[1], "METADATA main.f: comment");
    let sent: Vec<_> = plan.steps.iter().map(|step| step.sql.as_str()).collect();
    assert!(sent[1].starts_with("CREATE FLOW f COMMENT 'why'"), "{sent:?}");
}
