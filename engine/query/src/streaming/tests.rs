use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use datafusion::{datasource::empty::EmptyTable, prelude::SessionContext};

use super::*;

async fn checked(sql: &str) -> Result<(), QueryError> {
    let context = SessionContext::new();
    let fields = ["a", "b"].map(|name| Field::new(name, DataType::Int64, true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    for name in ["s@sfail", "r@sfail", "t"] {
        let table = Arc::new(EmptyTable::new(Arc::clone(&schema)));
        context.register_table(format!("\"{name}\""), table).expect("a free name");
    }
    let query = dialect::parse_flow_query(sql).expect("a query");
    let plan = plan::logical(&context.state(), &query).await.expect("a plan");
    check_linear(&plan, &query)
}

#[tokio::test]
async fn each_row_that_comes_out_comes_from_one_row_of_a_stream() {
    for sql in [
        "SELECT a + 1 AS a, upper('x') AS u FROM STREAM s WHERE b > 3",
        "SELECT * FROM STREAM s UNION ALL SELECT * FROM STREAM r",
        "SELECT s.a, t.b FROM STREAM s JOIN t ON s.a = t.a",
        "SELECT s.a, t.b FROM STREAM s LEFT JOIN t ON s.a = t.a",
        "SELECT s.a FROM t RIGHT JOIN STREAM s ON s.a = t.a",
        "SELECT a FROM STREAM s WHERE a IN (SELECT a FROM t)",
        "SELECT s.a, n FROM STREAM s JOIN (SELECT a, count(*) AS n FROM t GROUP BY a) AS t ON s.a = t.a",
        "WITH c AS (SELECT a FROM STREAM s) SELECT * FROM c ORDER BY a",
        "SELECT DISTINCT a FROM t",
    ] {
        if let Err(error) = checked(sql).await {
            panic!("{sql}: {error}");
        }
    }
}

#[tokio::test]
async fn what_depends_on_how_a_stream_is_cut_is_refused() {
    for (sql, what) in [
        ("SELECT count(*) AS n FROM STREAM s", "an aggregate"),
        ("SELECT a, sum(b) AS b FROM STREAM s GROUP BY a", "an aggregate"),
        ("SELECT DISTINCT a FROM STREAM s", "DISTINCT"),
        ("SELECT a FROM STREAM s UNION SELECT a FROM STREAM r", "DISTINCT"),
        (
            "SELECT a FROM STREAM s UNION ALL SELECT a FROM t",
            "a UNION of a STREAM with 't' would add",
        ),
        ("SELECT a FROM t UNION ALL SELECT a FROM STREAM s", "a UNION of a STREAM with 't'"),
        ("SELECT a FROM STREAM s UNION ALL SELECT 1", "a UNION of a STREAM with rows of no table"),
        (
            "SELECT a FROM (SELECT a FROM STREAM s UNION ALL SELECT a FROM STREAM r \
             UNION ALL SELECT t.a FROM t JOIN t AS u ON t.a = u.a) AS x WHERE a > 1",
            "a UNION of a STREAM with 't' would add",
        ),
        ("SELECT a FROM STREAM s LIMIT 3", "LIMIT"),
        ("SELECT a, row_number() OVER (ORDER BY b) AS n FROM STREAM s", "a window function"),
        ("SELECT s.a FROM STREAM s JOIN STREAM r ON s.a = r.a", "a join of two streams"),
        ("SELECT t.a FROM t LEFT JOIN STREAM s ON s.a = t.a", "an outer join"),
        ("SELECT t.a FROM t FULL JOIN STREAM s ON s.a = t.a", "an outer join"),
        ("SELECT a FROM t WHERE a IN (SELECT a FROM STREAM s)", "within an expression"),
        ("SELECT (SELECT max(a) FROM STREAM s) AS m FROM t", "an aggregate"),
    ] {
        let error = checked(sql).await.expect_err(sql).to_string();
        assert!(error.contains(what), "{sql}: {error}");
    }
}
