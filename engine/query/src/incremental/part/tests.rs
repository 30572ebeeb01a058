use arrow::datatypes::{Field, Schema};
use datafusion::execution::context::SessionContext;

use super::*;

fn columns() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("day", DataType::Date32, true),
        Field::new("g", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, true),
    ]))
}

fn check(condition: &str) -> Result<Expr, QueryError> {
    let by = ["day".to_owned(), "g".to_owned()];
    checked(&SessionContext::new().state(), &columns(), &by, condition)
}

#[test]
fn conditions_over_partitions_are_taken() {
    for condition in [
        "day = DATE '2026-01-01'",
        "day >= '2026-01-01' AND day < '2026-02-01'",
        "g IS NULL",
        "g IN ('a', 'b') OR upper(g) LIKE 'C%'",
        "date_trunc('month', day) = DATE '2026-01-01'",
    ] {
        check(condition).unwrap();
    }
}

#[test]
fn what_does_not_choose_partitions_is_refused_and_says_what_to_do() {
    for (condition, expected) in [
        ("n = 1", "not partitioned by 'n'"),
        ("day = DATE '2026-01-01' AND n > 2", "name day, g instead"),
        ("day = current_date()", "changes with time"),
        ("day IN (SELECT day FROM t)", "subquery"),
        ("max(day) = DATE '2026-01-01'", "aggregate"),
        ("g", "not true or false"),
        ("nothing = 1", "cannot be evaluated"),
    ] {
        let error = check(condition).unwrap_err();
        assert_eq!(error.code(), model::code::Code::InvalidArgument, "{condition}");
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains("REFRESH … WHERE"), "{error}");
    }
    let none = checked(&SessionContext::new().state(), &columns(), &[], "day IS NULL");
    assert!(none.unwrap_err().to_string().contains("PARTITIONED BY"));
}
