use std::sync::Arc;

use datafusion::{
    arrow::datatypes::{DataType, Field, Schema},
    datasource::{MemTable, ViewTable},
    prelude::SessionContext,
};

use super::*;

/// A table with two columns, and a view over it.
async fn context() -> SessionContext {
    let context = SessionContext::new();
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, true),
        Field::new("b", DataType::Int64, true),
    ]);
    let table = MemTable::try_new(Arc::new(schema), vec![vec![]]).unwrap();
    context.register_table("t", Arc::new(table)).unwrap();
    let plan = context.state().create_logical_plan("SELECT a + b AS c FROM t").await.unwrap();
    context.register_table("v", Arc::new(ViewTable::new(plan, None))).unwrap();
    context
}

async fn checked(sql: &str) -> Result<(), QueryError> {
    let state = context().await.state();
    let dialect = datafusion::config::Dialect::Generic;
    check(&state, &state.sql_to_statement(sql, &dialect).unwrap()).await
}

/// `levels` CTEs, each of which names the one before `times` times.
fn ctes(levels: usize, times: usize, rest: &str) -> String {
    let mut text = "WITH c0 AS (SELECT 1 AS a)".to_owned();
    for n in 1..=levels {
        let before: Vec<_> = (0..times).map(|k| format!("c{} x{k}", n - 1)).collect();
        text.push_str(&format!(", c{n} AS (SELECT x0.a FROM {})", before.join(" CROSS JOIN ")));
    }
    format!("{text} {rest}")
}

#[tokio::test]
async fn what_names_multiply_is_refused_before_it_is_planned() {
    for sql in [
        ctes(24, 2, "SELECT count(*) FROM c24"),
        // Whether or not somebody reads it, and from wherever.
        ctes(63, 2, "SELECT 1 AS a"),
        ctes(3, 60, "SELECT count(*) FROM c3"),
        format!("SELECT ({}) AS n", ctes(24, 2, "SELECT count(*) FROM c24")),
        format!("EXPLAIN {}", ctes(24, 2, "SELECT count(*) FROM C24")),
        format!("INSERT INTO t {}", ctes(24, 2, "SELECT a, a FROM c24")),
        format!("WITH x AS ({}) SELECT * FROM x, x AS y", ctes(24, 2, "SELECT a FROM c24")),
    ] {
        let error = checked(&sql).await.unwrap_err().to_string();
        assert!(error.contains("100000 parts more than its text"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn what_is_only_long_is_planned() {
    let list = (0..50_000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let columns = (0..1_000).map(|n| format!("a AS a{n}")).collect::<Vec<_>>().join(", ");
    for sql in [
        format!("SELECT a FROM t WHERE a IN ({list})"),
        format!("WITH x AS (SELECT {columns} FROM t) SELECT * FROM x JOIN x AS y ON x.a1 = y.a1"),
        ctes(30, 1, "SELECT count(*) FROM c30"),
        ctes(8, 2, "SELECT count(*) FROM c8"),
        // A name of its own hides that of outside.
        "WITH t AS (SELECT 1 AS a) SELECT * FROM t WHERE a IN (WITH t AS (SELECT 2 AS a) SELECT a FROM t)"
            .to_owned(),
        "WITH RECURSIVE r AS (SELECT 1 AS a UNION ALL SELECT a + 1 FROM r WHERE a < 5) SELECT * FROM r"
            .to_owned(),
        "SELECT * FROM nowhere".to_owned(),
    ] {
        let done = checked(&sql).await;
        assert!(done.is_ok(), "{}: {done:?}", &sql[..sql.len().min(100)]);
    }
}

#[tokio::test]
async fn a_view_counts_for_its_plan() {
    let mut state = context().await;
    for n in 1..=20 {
        let before = if n == 1 { "v".to_owned() } else { format!("v{}", n - 1) };
        let sql = format!("SELECT x.c FROM {before} x CROSS JOIN {before} y");
        let session = state.state();
        let dialect = datafusion::config::Dialect::Generic;
        let statement = session.sql_to_statement(&sql, &dialect).unwrap();
        match check(&session, &statement).await {
            Ok(()) => assert!(n < 16, "level {n} was let pass"),
            Err(error) => {
                assert!(n > 10, "level {n}: {error}");
                return;
            }
        }
        let plan = session.create_logical_plan(&sql).await.unwrap();
        state.register_table(format!("v{n}"), Arc::new(ViewTable::new(plan, None))).unwrap();
        state = SessionContext::new_with_state(state.state());
    }
    panic!("twenty levels were let pass");
}

#[tokio::test]
async fn grouping_sets_are_counted() {
    let columns = |n: usize| (0..n).map(|n| format!("a + {n}")).collect::<Vec<_>>().join(", ");
    for (by, fits) in [
        (format!("CUBE ({})", columns(12)), true),
        (format!("CUBE ({})", columns(13)), false),
        (format!("CUBE ({})", columns(100)), false),
        (format!("CUBE ({}), CUBE ({})", columns(8), columns(8)), false),
        (format!("ROLLUP ({})", columns(100)), true),
        (format!("ROLLUP ({})", columns(400)), false),
        (format!("GROUPING SETS ({})", columns(300)), false),
        (format!("GROUPING SETS ({})", columns(200)), true),
        (columns(1_000), true),
    ] {
        let done = checked(&format!("SELECT count(*) FROM t GROUP BY {by}")).await;
        assert_eq!(done.is_ok(), fits, "{}: {done:?}", &by[..by.len().min(40)]);
    }
}
