//! Columns whose values follow from others: how they are declared, and that every writer keeps them.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use datafusion::{
    common::ToDFSchema,
    prelude::{SessionContext, col, lit},
};

use super::{TestLake, create, latest, plan_of, write};
use crate::{
    Check, CommitInfo, CreateTable, GENERATED, Lake, LakeError, Rule, Snapshot, Stage,
    StageProgress, WriteMode,
};

const TWICE: &str = "n * 2";

fn generated(name: &str, expression: &str) -> Field {
    let metadata = [(GENERATED.to_owned(), expression.to_owned())];
    Field::new(name, DataType::Int64, true).with_metadata(metadata.into())
}

fn table(location: String, more: Vec<Field>) -> CreateTable {
    let fields = vec![Field::new("n", DataType::Int64, true), generated("twice", TWICE)];
    CreateTable {
        location,
        schema: Arc::new(Schema::new([fields, more].concat())),
        partitioned_by: Vec::new(),
        comment: None,
        properties: BTreeMap::new(),
    }
}

fn rows(values: &[(i64, Option<i64>)]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("n", DataType::Int64, true),
        Field::new("twice", DataType::Int64, true),
    ]);
    let n = Int64Array::from_iter_values(values.iter().map(|(n, _)| *n));
    let twice = Int64Array::from_iter(values.iter().map(|(_, twice)| *twice));
    RecordBatch::try_new(Arc::new(schema), vec![Arc::new(n), Arc::new(twice)]).unwrap()
}

fn check(snapshot: &Snapshot) -> Check {
    let schema = snapshot.schema().to_dfschema().unwrap();
    let same = datafusion::logical_expr::binary_expr(
        col("twice"),
        datafusion::logical_expr::Operator::IsNotDistinctFrom,
        col("n") * lit(2_i64),
    );
    let expr = SessionContext::new().create_physical_expr(same, &schema).unwrap();
    Check { rule: Rule::Generated, name: "twice".to_owned(), condition: TWICE.to_owned(), expr }
}

async fn append(
    lake: &Lake,
    location: &str,
    rows: RecordBatch,
    checks: Vec<Check>,
) -> Result<(), LakeError> {
    let stage = Stage {
        location: location.to_owned(),
        plan: plan_of(&[vec![rows.clone()]], rows.schema()),
        task: SessionContext::new().task_ctx(),
        mode: WriteMode::Append,
        base: None,
        checks,
        progress: Arc::new(StageProgress::default()),
    };
    let staged = lake.stage(stage).await?;
    lake.commit(staged, CommitInfo::default()).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_says_in_its_log_that_a_column_is_generated() {
    let test = TestLake::new();
    let at = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true);
    for (name, more, protocol) in [
        ("old", Vec::new(), (1, 4, Vec::new())),
        (
            "listed",
            vec![at],
            (3, 7, vec!["appendOnly", "generatedColumns", "invariants", "timestampNtz"]),
        ),
    ] {
        let location = test.table(name);
        test.lake.create(table(location.clone(), more)).await.unwrap();
        let snapshot = latest(&test.other(), &location).await;
        assert!(snapshot.has_generated_columns());
        assert_eq!(snapshot.schema().field(1).metadata().get(GENERATED).unwrap(), TWICE);
        let (reader, writer, features) = snapshot.protocol();
        let features: Vec<&str> = features.iter().map(String::as_str).collect();
        assert_eq!((reader, writer, features), protocol, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_query_reads_makes_no_generated_column() {
    let test = TestLake::new();
    let location = test.table("t");
    let rows = rows(&[(1, Some(3))]);
    let fields = vec![Field::new("n", DataType::Int64, true), generated("twice", TWICE)];
    let rows =
        RecordBatch::try_new(Arc::new(Schema::new(fields)), rows.columns().to_vec()).unwrap();
    let committed = write(&test.lake, &location, create(), rows).await.unwrap();
    assert!(!committed.snapshot.has_generated_columns());
    assert_eq!(committed.snapshot.protocol().1, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_has_to_know_the_expression() {
    let test = TestLake::new();
    let location = test.table("t");
    let snapshot = test.lake.create(table(location.clone(), Vec::new())).await.unwrap();
    let planned = check(&snapshot);
    let of_another = Check { condition: "n * 3".to_owned(), ..planned.clone() };
    let a_constraint = Check { rule: Rule::Constraint, ..planned.clone() };
    for checks in [Vec::new(), vec![of_another], vec![a_constraint]] {
        let error = append(&test.lake, &location, rows(&[(1, Some(2))]), checks).await.unwrap_err();
        assert!(error.to_string().contains("generatedColumns ('twice')"), "{error}");
    }
    append(&test.lake, &location, rows(&[(1, Some(2))]), vec![planned.clone()]).await.unwrap();
    for twice in [Some(3), None] {
        let rows = rows(&[(1, Some(2)), (7, twice)]);
        let error = append(&test.lake, &location, rows, vec![planned.clone()]).await.unwrap_err();
        assert!(matches!(error, LakeError::Generated { .. }), "{error}");
        assert!(error.to_string().contains("n = 7"), "{error}");
    }
    assert_eq!(latest(&test.lake, &location).await.rows(), Some(1));
}
