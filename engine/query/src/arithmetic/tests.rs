use datafusion::{execution::SessionStateBuilder, prelude::SessionContext};

use super::*;
use crate::fault::{Fault, of_engine};

async fn context() -> SessionContext {
    let state =
        SessionStateBuilder::new_with_default_features().with_analyzer_rule(Arc::new(Arithmetic));
    let context = SessionContext::new_with_state(state.build());
    let table = "CREATE TABLE t (i INT, big BIGINT, price DECIMAL(15, 2), part DECIMAL(15, 2), \
                 far DECIMAL(38, 2), f DOUBLE, at TIMESTAMP) AS VALUES \
                 (1, 9223372036854775807, 1, 1, 1, 1, '2026-01-01')";
    context.sql(table).await.unwrap().collect().await.unwrap();
    context
}

/// How many operations of the plan look.
async fn looking_in(context: &SessionContext, sql: &str) -> usize {
    let plan = context.sql(sql).await.unwrap().into_optimized_plan().unwrap();
    let mut count = 0;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let Expr::ScalarFunction(call) = expr else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                count += usize::from(call.func.inner().is::<Looking>());
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })
    .unwrap();
    count
}

#[tokio::test]
async fn only_what_could_overflow_looks() {
    let context = context().await;
    for (sql, expected) in [
        ("SELECT i + 1, i * 1000, i - 1 FROM t", 0),
        ("SELECT big + 1, big * big, -big FROM t", 3),
        ("SELECT i + i, -i FROM t", 2),
        ("SELECT f + 1, f * f, -f FROM t", 0),
        ("SELECT at + INTERVAL '1' DAY, CAST(at AS DATE) - DATE '2026-01-01' FROM t", 0),
        ("SELECT price + part, price * part, -price FROM t", 0),
        ("SELECT far + 1, far * 2 FROM t", 2),
        ("SELECT price * (1 - part) FROM t", 0),
        ("SELECT price * (1 - part) * (1 + part) FROM t", 1),
        ("SELECT i FROM t WHERE big + 1 > 3 AND i + 1 > 3", 1),
        ("SELECT count(*) + 1 FROM t", 1),
    ] {
        assert_eq!(looking_in(&context, sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn names_and_types_of_columns_are_those_of_the_plain_expression() {
    let context = context().await;
    let plain = SessionContext::new();
    plain.register_table("t", context.table_provider("t").await.unwrap()).unwrap();
    for sql in [
        "SELECT big - 1, -big, big * i, far + price FROM t",
        "SELECT big - 1, sum(big - 1) FROM t GROUP BY big - 1",
        "SELECT sum(big - 1) OVER (ORDER BY big - 2) FROM t",
        "SELECT big - 1 AS x FROM t UNION ALL SELECT big - 2 FROM t",
    ] {
        let of = async |context: &SessionContext| {
            let plan = context.sql(sql).await.unwrap().into_optimized_plan().unwrap();
            let fields = plan.schema().iter().map(|(table, field)| {
                (
                    table.cloned(),
                    field.name().clone(),
                    field.data_type().clone(),
                    field.is_nullable(),
                )
            });
            fields.collect::<Vec<_>>()
        };
        assert_eq!(of(&context).await, of(&plain).await, "{sql}");
    }
}

#[tokio::test]
async fn overflow_is_a_number_out_of_range() {
    let context = context().await;
    for (sql, says) in [
        ("SELECT 9223372036854775807 + 1", "9223372036854775807 + 1 is out of the range of BIGINT"),
        ("SELECT -(-9223372036854775808)", "out of the range of BIGINT"),
        (
            "SELECT big + i FROM t",
            "t.big + t.i is out of the range of BIGINT: 9223372036854775807 + 1",
        ),
        ("SELECT big * 3 FROM t", "out of the range of BIGINT: 9223372036854775807 * 3"),
        ("SELECT -big - 2 FROM t", "out of the range of BIGINT"),
        (
            "SELECT far * CAST('99999999999999999999999999999999999999' AS DECIMAL(38, 0)) FROM t",
            "out of the range of DECIMAL(38, 2)",
        ),
    ] {
        let frame = context.sql(sql).await.unwrap();
        let error = frame.collect().await.expect_err(sql);
        assert!(error.to_string().contains(says), "{sql}: {error}");
        assert_eq!(of_engine(&error), Some(Fault::OutOfRange), "{sql}: {error}");
    }
}
