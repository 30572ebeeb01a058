use datafusion::{
    arrow::{
        datatypes::{DataType, Field, Schema},
        util::pretty::pretty_format_batches,
    },
    datasource::empty::EmptyTable,
    prelude::SessionContext,
};
use datafusion_substrait::{
    serializer::serialize_bytes,
    substrait::{
        proto::{
            Expression, FilterRel, PlanRel, ReadRel, Rel, RelCommon, RelRoot, SetRel, WriteRel,
            expression::{
                FieldReference, MaskExpression, RexType,
                field_reference::ReferenceType,
                mask_expression::{StructItem, StructSelect},
                reference_segment::{self, StructField},
            },
            extensions::{
                SimpleExtensionDeclaration,
                simple_extension_declaration::{ExtensionFunction, MappingType},
            },
            read_rel::{LocalFiles, NamedTable, ReadType},
            rel,
            rel_common::{Emit, EmitKind},
            set_rel::SetOp,
        },
        version,
    },
};
use futures::TryStreamExt;
use prost::Message;

use super::*;
use crate::kept::tests::{World, anybody};

/// What a client knows of the tables: their columns.
fn client() -> SessionContext {
    let context = SessionContext::new();
    let columns =
        vec![Field::new("n", DataType::Int32, true), Field::new("s", DataType::Utf8, true)];
    for table in ["t", "v"] {
        let empty = EmptyTable::new(std::sync::Arc::new(Schema::new(columns.clone())));
        context.register_table(table, std::sync::Arc::new(empty)).unwrap();
    }
    context
}

/// The plan that a client makes of SQL.
async fn planned(sql: &str) -> Plan {
    let bytes = serialize_bytes(sql, &client()).await.unwrap();
    Plan::decode(bytes.as_slice()).unwrap()
}

fn sent(plan: &Plan) -> String {
    text(&plan.encode_to_vec())
}

async fn try_rows(world: &World, session: &Session, sql: &str) -> Result<Vec<String>, QueryError> {
    let prepared = world.queries.prepare_now(session, sql).await?;
    let planned = world.queries.plan(session, &prepared, None).await?;
    let batches: Vec<_> = world.queries.execute(planned).await?.try_collect().await?;
    let shown = pretty_format_batches(&batches).unwrap().to_string();
    let mut rows: Vec<_> = shown.lines().filter(|line| line.starts_with('|')).collect();
    if !rows.is_empty() {
        rows.remove(0);
    }
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ");
    let mut rows: Vec<_> = rows.into_iter().map(cells).collect();
    rows.sort();
    Ok(rows)
}

async fn rows(world: &World, session: &Session, sql: &str) -> Vec<String> {
    try_rows(world, session, sql).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}"))
}

async fn refused(world: &World, plan: &Plan, code: Code, text: &str) {
    let error = try_rows(world, &anybody(), &sent(plan)).await.expect_err(text);
    assert!(error.to_string().contains(text), "{error}, not: {text}");
    assert_eq!(error.code(), code, "{error}");
}

/// The outermost relation of a plan.
fn top(plan: &mut Plan) -> &mut Rel {
    let Some(RelType::Root(RelRoot { input: Some(rel), .. })) = &mut plan.relations[0].rel_type
    else {
        panic!("a plan without a root")
    };
    rel
}

/// A plan of one relation, with the functions that another one names.
fn with_top(of: &Plan, kind: rel::RelType, columns: &[&str]) -> Plan {
    let mut plan = of.clone();
    let names = columns.iter().map(|name| (*name).to_owned()).collect();
    let root = RelRoot { input: Some(Rel { rel_type: Some(kind) }), names };
    plan.relations = vec![PlanRel { rel_type: Some(RelType::Root(root)) }];
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_answers_what_its_sql_answers() {
    let world = World::new().await;
    world.run("CREATE VIEW v AS SELECT n * 2 AS n, s FROM t WHERE n > 3").await;
    for sql in [
        "SELECT 1 AS a, 'x' AS b",
        "SELECT * FROM t",
        "SELECT s FROM t WHERE n > 4 AND s LIKE 'row %'",
        "SELECT n, n AS m FROM (SELECT n + 1 AS n FROM t) AS u",
        "SELECT s, n + 1 AS m FROM v WHERE n < 12",
        "SELECT count(*), sum(n), max(s) FROM t WHERE n % 2 = 0",
        "SELECT n % 3 AS k, count(*) AS c FROM t GROUP BY n % 3 HAVING count(*) > 2",
        "SELECT a.n, b.s FROM t AS a JOIN t AS b ON a.n = b.n + 1 WHERE b.n > 2",
        "SELECT a.n, v.n FROM t AS a LEFT JOIN v ON a.n = v.n",
        "SELECT n FROM t UNION ALL SELECT n FROM v",
        "SELECT n FROM t EXCEPT SELECT n FROM v",
        "SELECT n FROM t ORDER BY n DESC LIMIT 3 OFFSET 1",
        "SELECT n FROM t WHERE n IN (SELECT n FROM v)",
        "SELECT n FROM t WHERE EXISTS (SELECT 1 FROM v WHERE v.n = t.n)",
        "SELECT n FROM t WHERE n = (SELECT max(n) FROM t)",
        "SELECT n, row_number() OVER (ORDER BY n DESC) AS k FROM t",
        "SELECT CASE WHEN n > 5 THEN 'many' ELSE s END AS c, CAST(n AS VARCHAR) AS d FROM t",
        "SELECT * FROM (VALUES (1, 'a'), (2, NULL)) AS w (x, y)",
        "SELECT upper(s) AS u, abs(n - 7) AS a FROM t WHERE n BETWEEN 3 AND 6",
    ] {
        let plan = planned(sql).await;
        let expected = rows(&world, &anybody(), sql).await;
        assert_eq!(rows(&world, &anybody(), &sent(&plan)).await, expected, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_reads_what_its_sender_may_read() {
    let world = World::new().await;
    // The first one is an admin.
    world.user("root").await;
    let bob = world.user("bob").await;
    let plan = sent(&planned("SELECT n, s FROM t").await);
    let error = try_rows(&world, &bob, &plan).await.unwrap_err();
    assert_eq!(error.to_string(), "table 'main.t' does not exist");
    world.run("GRANT SELECT (n) ON t TO bob").await;
    let error = try_rows(&world, &bob, &plan).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    let granted = sent(&planned("SELECT n FROM t WHERE n > 8").await);
    // The producer names all columns that it knows of, whether they are used or not.
    let error = try_rows(&world, &bob, &granted).await.unwrap_err();
    assert!(error.to_string().contains('s'), "{error}");
    world.run("GRANT SELECT ON t TO bob").await;
    assert_eq!(rows(&world, &bob, &granted).await, ["10", "9"]);
    world.run("ALTER TABLE t SET ROW FILTER (n > 8)").await;
    world.run("ALTER TABLE t ALTER COLUMN s SET MASK ('***')").await;
    assert_eq!(rows(&world, &bob, &plan).await, ["10 ***", "9 ***"]);
    let hidden = sent(&planned("SELECT n FROM t WHERE s = 'row 9'").await);
    assert!(rows(&world, &bob, &hidden).await.is_empty());
    assert_eq!(rows(&world, &anybody(), &plan).await.len(), 10);
    world.run("REVOKE SELECT ON t FROM bob").await;
    world.run("REVOKE SELECT (n) ON t FROM bob").await;
    assert_eq!(try_rows(&world, &bob, &plan).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_found_as_in_sql() {
    let world = World::new().await;
    world.run("CREATE SCHEMA other").await;
    world.run("CREATE TABLE other.t AS SELECT CAST(77 AS INT) AS n, 'else' AS s").await;
    let mut plan = planned("SELECT n, s FROM t WHERE n = 77").await;
    let other = anybody().with_schema("other");
    assert_eq!(rows(&world, &other, &sent(&plan)).await, ["77 else"]);
    assert!(rows(&world, &anybody(), &sent(&plan)).await.is_empty());
    let mut named = |name: &[&str]| {
        let mut rel = top(&mut plan);
        loop {
            rel = match rel.rel_type.as_mut().unwrap() {
                rel::RelType::Filter(filter) => filter.input.as_mut().unwrap(),
                rel::RelType::Project(project) => project.input.as_mut().unwrap(),
                rel::RelType::Read(read) => {
                    let names = name.iter().map(|part| (*part).to_owned()).collect();
                    let table = NamedTable { names, advanced_extension: None };
                    read.read_type = Some(ReadType::NamedTable(table));
                    break;
                }
                _ => panic!("another relation"),
            };
        }
        sent(&plan)
    };
    assert_eq!(rows(&world, &anybody(), &named(&["other", "t"])).await, ["77 else"]);
    assert_eq!(rows(&world, &anybody(), &named(&["whimbrel", "other", "t"])).await, ["77 else"]);
    for (name, expected) in [
        (&["nothing"][..], "'main.nothing' does not exist"),
        (&["system", "nothing"], "'system.nothing' does not exist"),
        (&["elsewhere", "other", "t"], "elsewhere"),
        (&["a", "b", "c", "d"], "one to three parts"),
        (&[], "one to three parts"),
        (&["t@target"], ""),
        (&["incoming_rows"], "does not exist"),
        (&["system", "queries"], "n"),
    ] {
        let error = try_rows(&world, &anybody(), &named(name)).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{name:?}: {error}");
        assert_ne!(error.code(), Code::Internal, "{name:?}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_query_over_tables_is_refused() {
    let world = World::new().await;
    let plan = planned("SELECT n, s FROM t WHERE n > 4").await;
    for bytes in [&b"garbage"[..], &[0xff; 40], &[]] {
        let error = try_rows(&world, &anybody(), &text(bytes)).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    }
    let no_base64 = try_rows(&world, &anybody(), "SUBSTRAIT '§'").await.unwrap_err();
    assert_eq!(no_base64.code(), Code::InvalidArgument);
    let files = ReadRel {
        read_type: Some(ReadType::LocalFiles(LocalFiles::default())),
        ..ReadRel::default()
    };
    let files = with_top(&plan, rel::RelType::Read(Box::new(files)), &["n"]);
    refused(&world, &files, Code::Unimplemented, "files in a Substrait plan").await;
    let write = with_top(&plan, rel::RelType::Write(Box::<WriteRel>::default()), &["n"]);
    refused(&world, &write, Code::Unimplemented, "changes something").await;
    let mut several = plan.clone();
    several.relations.push(plan.relations[0].clone());
    refused(&world, &several, Code::Unimplemented, "several trees").await;
    let mut none = plan.clone();
    none.relations.clear();
    refused(&world, &none, Code::InvalidArgument, "no relation").await;
    let no_input = with_top(&plan, rel::RelType::Filter(Box::<FilterRel>::default()), &["n"]);
    refused(&world, &no_input, Code::InvalidArgument, "lacks its input").await;
    let mut foreign = plan.clone();
    for extension in &mut foreign.extensions {
        *extension = function(0, "read_text:str");
    }
    refused(&world, &foreign, Code::Unimplemented, "read_text").await;
    let mut without = plan.clone();
    without.extensions.clear();
    refused(&world, &without, Code::InvalidArgument, "").await;
}

fn function(anchor: u32, name: &str) -> SimpleExtensionDeclaration {
    let function = ExtensionFunction {
        function_anchor: anchor,
        name: name.to_owned(),
        ..ExtensionFunction::default()
    };
    SimpleExtensionDeclaration { mapping_type: Some(MappingType::ExtensionFunction(function)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_not_there_are_the_senders_mistake() {
    let world = World::new().await;
    let plan = planned("SELECT n, s FROM t").await;
    let read = || {
        let mut plan = plan.clone();
        let mut rel = top(&mut plan).clone();
        loop {
            rel = match rel.rel_type.unwrap() {
                rel::RelType::Project(project) => *project.input.unwrap(),
                rel::RelType::Read(read) => return *read,
                _ => panic!("another relation"),
            };
        }
    };
    let mut emits = read();
    for column in [2, 7_000, -1, i32::MIN] {
        let kind = Some(EmitKind::Emit(Emit { output_mapping: vec![0, column] }));
        emits.common = Some(RelCommon { emit_kind: kind, ..RelCommon::default() });
        let plan = with_top(&plan, rel::RelType::Read(Box::new(emits.clone())), &["n", "x"]);
        refused(&world, &plan, Code::InvalidArgument, "there is no column").await;
        let mut masked = read();
        let struct_items = vec![StructItem { field: column, child: None }];
        let select = Some(StructSelect { struct_items });
        masked.projection = Some(MaskExpression { select, maintain_singular_struct: false });
        let plan = with_top(&plan, rel::RelType::Read(Box::new(masked)), &["n"]);
        refused(&world, &plan, Code::InvalidArgument, "there is no column").await;
        let segment = StructField { field: column, child: None };
        let segment = reference_segment::ReferenceType::StructField(Box::new(segment));
        let field = ReferenceType::DirectReference(
            datafusion_substrait::substrait::proto::expression::ReferenceSegment {
                reference_type: Some(segment),
            },
        );
        let field = FieldReference { reference_type: Some(field), root_type: None };
        let condition = Expression { rex_type: Some(RexType::Selection(Box::new(field))) };
        let input = Rel { rel_type: Some(rel::RelType::Read(Box::new(read()))) };
        let filter = FilterRel {
            input: Some(Box::new(input)),
            condition: Some(Box::new(condition)),
            ..FilterRel::default()
        };
        let plan = with_top(&plan, rel::RelType::Filter(Box::new(filter)), &["n", "s"]);
        refused(&world, &plan, Code::InvalidArgument, "there is no column").await;
    }
    let mut claims = read();
    claims.base_schema.as_mut().unwrap().names[0] = "m".to_owned();
    let plan2 = with_top(&plan, rel::RelType::Read(Box::new(claims)), &["m", "s"]);
    refused(&world, &plan2, Code::InvalidArgument, "m").await;
    let mut claims = read();
    claims.base_schema.as_mut().unwrap().names.reverse();
    let plan3 = with_top(&plan, rel::RelType::Read(Box::new(claims)), &["s", "n"]);
    refused(&world, &plan3, Code::InvalidArgument, "takes column").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_plan_makes_no_large_one() {
    let world = World::new().await;
    let plan = planned("SELECT n, s FROM t").await;
    let read = top(&mut plan.clone()).clone();
    let mut deep = read.clone();
    for _ in 0..200 {
        let filter = FilterRel { input: Some(Box::new(deep)), ..FilterRel::default() };
        deep = Rel { rel_type: Some(rel::RelType::Filter(Box::new(filter))) };
    }
    let deep = with_top(&plan, deep.rel_type.unwrap(), &["n", "s"]);
    refused(&world, &deep, Code::InvalidArgument, "recursion limit").await;
    let op = SetOp::UnionAll as i32;
    let wide = SetRel { inputs: vec![read.clone(); 1_001], op, ..SetRel::default() };
    let wide = with_top(&plan, rel::RelType::Set(wide), &["n", "s"]);
    refused(&world, &wide, Code::InvalidArgument, "at most 1000 inputs").await;
    let mut copied = planned("SELECT concat(s, s, s, s, s, s, s, s) || 'x' AS c FROM t").await;
    if let Some(rel::RelType::Project(project)) = &mut top(&mut copied).rel_type {
        let kind = Some(EmitKind::Emit(Emit { output_mapping: vec![2; 5_001] }));
        project.common = Some(RelCommon { emit_kind: kind, ..RelCommon::default() });
    }
    refused(&world, &copied, Code::InvalidArgument, "at most 5000 columns").await;
    // Each view reads the one before twice: its plan is as large as 2 to their number.
    world.run("CREATE VIEW v0 AS SELECT n, s FROM t").await;
    for n in 1..=8 {
        let below = n - 1;
        let sql =
            format!("CREATE VIEW v{n} AS SELECT * FROM v{below} UNION ALL SELECT * FROM v{below}");
        world.run(&sql).await;
    }
    world.run("CREATE VIEW v AS SELECT * FROM v8").await;
    let one = planned("SELECT n FROM v").await;
    assert_eq!(rows(&world, &anybody(), &sent(&one)).await.len(), 10 << 8);
    let inputs = vec![top(&mut one.clone()).clone(); 200];
    let many =
        with_top(&one, rel::RelType::Set(SetRel { inputs, op, ..SetRel::default() }), &["n"]);
    refused(&world, &many, Code::InvalidArgument, "written out").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_takes_parameters() {
    let world = World::new().await;
    let context = client();
    let plan = context.state().create_logical_plan("SELECT s FROM t WHERE n = $1").await.unwrap();
    let plan =
        datafusion_substrait::logical_plan::producer::to_substrait_plan(&plan, &context.state());
    let sql = sent(&plan.unwrap());
    let prepared = world.queries.prepare(&anybody(), &sql).await.unwrap();
    assert_eq!(prepared.parameters().fields().len(), 1);
    let value: arrow::array::ArrayRef =
        std::sync::Arc::new(arrow::array::Int32Array::from(vec![3]));
    let row = arrow::record_batch::RecordBatch::try_from_iter([("1", value)]).unwrap();
    let planned = world.queries.plan(&anybody(), &prepared, Some(&row)).await.unwrap();
    let batches: Vec<_> =
        world.queries.execute(planned).await.unwrap().try_collect().await.unwrap();
    assert!(pretty_format_batches(&batches).unwrap().to_string().contains("row 3"));
    let error = world.queries.plan(&anybody(), &prepared, None).await.unwrap_err();
    assert!(matches!(error, QueryError::Parameters { wanted: 1, given: 0 }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_that_are_not_known_are_refused() {
    let world = World::new().await;
    assert_eq!(VERSION_MAX, format!("0.{}.{}", MINORS.end(), version::SUBSTRAIT_PATCH_VERSION));
    assert_eq!(*MINORS.end(), version::SUBSTRAIT_MINOR_VERSION);
    assert_eq!(VERSION_MIN, format!("0.{}.0", MINORS.start()));
    let mut plan = planned("SELECT n FROM t").await;
    let asked = plan.version.as_mut().unwrap();
    asked.minor_number += 1;
    refused(&world, &plan, Code::Unimplemented, "0.86.0 of Substrait").await;
    let asked = plan.version.as_mut().unwrap();
    (asked.major_number, asked.minor_number) = (1, 40);
    refused(&world, &plan, Code::Unimplemented, "1.40.0 of Substrait").await;
    // Some producers do not tell.
    plan.version = None;
    assert_eq!(rows(&world, &anybody(), &sent(&plan)).await.len(), 10);
    for (version, known) in [
        ("", true),
        ("0.57.1", true),
        ("v0.57", true),
        ("0.86.0", false),
        ("1", false),
        ("x", false),
    ] {
        assert_eq!(check_version(version).is_ok(), known, "{version}");
    }
}
