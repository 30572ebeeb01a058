use datafusion::prelude::{SessionConfig, SessionContext};

use super::*;

/// What the real library says of a query.
async fn said(sql: &str) -> DataFusionError {
    let config = SessionConfig::new().with_target_partitions(1);
    let context = SessionContext::new_with_config(config);
    context.sql("CREATE TABLE t (a INT, n VARCHAR) AS VALUES (1, 'x'), (2, 'y')").await.unwrap();
    match context.sql(sql).await {
        Err(error) => error,
        Ok(frame) => frame.collect().await.expect_err(sql),
    }
}

#[tokio::test]
async fn words_of_the_library_are_recognized() {
    for (sql, expected) in [
        ("SELECT 1 / 0", Fault::DivisionByZero),
        ("SELECT 'abc'::INT", Fault::InvalidText),
        ("SELECT 'x'::BOOLEAN", Fault::InvalidText),
        ("SELECT '99999999999'::INT", Fault::OutOfRange),
        ("SELECT 99999999999::INT", Fault::OutOfRange),
        ("SELECT 123456.78::DECIMAL(5, 2)", Fault::OutOfRange),
        ("SELECT abs(x) FROM (VALUES (-9223372036854775808)) AS v (x)", Fault::OutOfRange),
        ("SELECT ceil(x) FROM (SELECT 99.5::DECIMAL(3, 1) AS x) AS v", Fault::OutOfRange),
        ("SELECT factorial(x) FROM (VALUES (30)) AS v (x)", Fault::OutOfRange),
        ("SELECT DATE '9999-12-31' + INTERVAL '300000 years'", Fault::TimeOutOfRange),
        ("SELECT '2024-99-99'::DATE", Fault::TimeOutOfRange),
        ("SELECT 'abc'::DATE", Fault::InvalidTime),
        ("SELECT 'abc'::TIMESTAMP", Fault::InvalidTime),
        ("SELECT '2024-02-31 25:00:00'::TIMESTAMP", Fault::TimeOutOfRange),
        ("SELECT nope FROM t", Fault::UndefinedColumn),
        ("SELECT t.nope FROM t", Fault::UndefinedColumn),
        ("SELECT u.a FROM t", Fault::UndefinedTable),
        ("SELECT a FROM t x, t y", Fault::AmbiguousColumn),
        ("SELECT nope(1)", Fault::UndefinedFunction),
        ("SELECT * FROM nope(1)", Fault::UndefinedFunction),
        ("SELECT abs('a')", Fault::UndefinedFunction),
        ("SELECT sum(n) FROM t", Fault::UndefinedFunction),
        ("SELECT 1 + true", Fault::UndefinedFunction),
        ("SELECT a, count(*) FROM t", Fault::Grouping),
        ("SELECT a FROM t WHERE count(*) > 1", Fault::Grouping),
        ("SELECT a FROM t HAVING a > 1", Fault::Grouping),
        ("SELECT a FROM t ORDER BY 7", Fault::InvalidReference),
        ("SELECT 1 UNION SELECT 1, 2", Fault::ColumnCount),
        ("VALUES (1), (1, 2)", Fault::ColumnCount),
        ("SELECT (SELECT a FROM t)", Fault::ManyRows),
        ("SELECT n FROM t WHERE n", Fault::Mismatch),
        ("SELECT 1::NOPE", Fault::UndefinedType),
        ("SELECT * FROM t x JOIN t x ON true", Fault::DuplicateAlias),
        ("SELECT a AS x, n AS x FROM t", Fault::DuplicateColumn),
        ("SELECT 'a' ~ '('", Fault::InvalidRegex),
        ("SELECT regexp_replace('a', '(', 'b')", Fault::InvalidRegex),
        ("SELECT sqrt(-1)", Fault::InvalidArgument),
    ] {
        let error = said(sql).await;
        assert_eq!(of_engine(&error), Some(expected), "{sql}: {error:?}");
    }
}

#[test]
fn what_is_not_recognized_is_no_fault() {
    assert_eq!(of_text("something else"), None);
    assert_eq!(of_engine(&DataFusionError::Plan("something else".to_owned())), None);
    assert_eq!(
        of_text("column 'a': Can't cast value 300000 to type Int16"),
        Some(Fault::OutOfRange)
    );
}
