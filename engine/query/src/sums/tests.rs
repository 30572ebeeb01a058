use arrow::{
    array::{Int64Array, RecordBatch, UInt64Array},
    util::pretty::pretty_format_batches,
};
use datafusion::{
    datasource::MemTable,
    prelude::{SessionConfig, SessionContext},
};

use super::*;
use crate::fault::{Fault, of_engine};

/// A table whose numbers come in so many parts.
fn context(parts: &[&[Option<i64>]]) -> SessionContext {
    let batches = parts.iter().map(|values| {
        let signed: ArrayRef = Arc::new(Int64Array::from(values.to_vec()));
        let unsigned =
            values.iter().map(|value| value.map(|value| value.unsigned_abs().saturating_mul(2)));
        let unsigned: ArrayRef = Arc::new(UInt64Array::from_iter(unsigned));
        let place: ArrayRef = Arc::new(Int64Array::from_iter_values((0..).take(values.len())));
        vec![RecordBatch::try_from_iter([("n", signed), ("u", unsigned), ("at", place)]).unwrap()]
    });
    let batches: Vec<_> = batches.collect();
    let schema = batches[0][0].schema();
    let config = SessionConfig::new().with_target_partitions(parts.len());
    let context = SessionContext::new_with_config(config);
    context.register_udaf(function().as_ref().clone());
    context.register_table("t", Arc::new(MemTable::try_new(schema, batches).unwrap())).unwrap();
    context
}

async fn answer(context: &SessionContext, sql: &str) -> Result<String> {
    let batches = context.sql(sql).await?.collect().await?;
    let text = pretty_format_batches(&batches)?.to_string();
    let rows = text.lines().skip(3).filter(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    Ok(cells.map(|row| row.join(" ")).collect::<Vec<_>>().join(", "))
}

const MAX: i64 = i64::MAX;
const MIN: i64 = i64::MIN;

#[tokio::test]
async fn what_counts_is_the_sum_and_not_the_order() {
    let parts: [&[Option<i64>]; 3] =
        [&[Some(MAX), Some(MAX), None], &[Some(MIN), Some(MIN)], &[Some(3), None]];
    let context = context(&parts);
    for (sql, expected) in [
        ("SELECT sum(n) FROM t", "1"),
        ("SELECT sum(DISTINCT n) FROM t", "2"),
        ("SELECT at > 9, sum(n) FROM t GROUP BY at > 9", "false 1"),
        ("SELECT at > 9, sum(DISTINCT n), count(DISTINCT at) FROM t GROUP BY at > 9", "false 2 3"),
        ("SELECT sum(n) FILTER (WHERE at = 1) FROM t", "-1"),
        ("SELECT sum(n) FROM t WHERE n IS NULL", ""),
    ] {
        assert_eq!(answer(&context, sql).await.unwrap(), expected, "{sql}");
    }
}

#[tokio::test]
async fn a_sum_that_its_type_cannot_hold_is_out_of_range() {
    let parts: [&[Option<i64>]; 2] = [&[Some(MAX), Some(0)], &[Some(1), Some(5)]];
    let context = context(&parts);
    for (sql, says) in [
        ("SELECT sum(n) FROM t", "sum(t.n) is out of the range of BIGINT: 9223372036854775813"),
        ("SELECT at, sum(n) FROM t GROUP BY at", "BIGINT: 9223372036854775808"),
        ("SELECT sum(DISTINCT n) FROM t", "BIGINT: 9223372036854775813"),
        ("SELECT sum(n) OVER (ORDER BY n DESC) FROM t", "BIGINT: 9223372036854775812"),
        (
            "SELECT sum(n) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
            "BIGINT: 9223372036854775812",
        ),
        (
            "SELECT sum(DISTINCT n) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
            "BIGINT: 9223372036854775812",
        ),
        ("SELECT sum(u) FROM t", "18446744073709551626"),
        (
            "SELECT sum(d) FROM (VALUES (CAST('60000000000000000000000000000000000000' AS DECIMAL(38, 0))), \
             (CAST('50000000000000000000000000000000000000' AS DECIMAL(38, 0)))) AS both(d)",
            "sum(both.d) is out of the range of DECIMAL(38, 0): 110000000000000000000000000000000000000",
        ),
    ] {
        let error = answer(&context, sql).await.expect_err(sql);
        assert!(error.to_string().contains(says), "{sql}: {error}");
        assert_eq!(of_engine(&error), Some(Fault::OutOfRange), "{sql}: {error}");
    }
    let fits = "SELECT sum(u) FROM t WHERE n < 9";
    assert_eq!(answer(&context, fits).await.unwrap(), "12");
}

#[tokio::test]
async fn windows_that_move_forget_what_left_them() {
    let parts: [&[Option<i64>]; 1] =
        [&[Some(MAX), Some(-2), None, Some(7), Some(7), Some(MIN), Some(MAX)]];
    let context = context(&parts);
    let window = "OVER (ORDER BY at ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t ORDER BY at";
    for (sum, expected) in [
        ("sum(n)", [MAX, MAX - 2, -2, 7, 14, MIN + 7, -1]),
        ("sum(DISTINCT n)", [MAX, MAX - 2, -2, 7, 7, MIN + 7, -1]),
    ] {
        let got = answer(&context, &format!("SELECT {sum} {window}")).await.unwrap();
        assert_eq!(got, expected.map(|sum| sum.to_string()).join(", "), "{sum}");
    }
}

/// Groups are handed on before all rows have come, also as what they are on the way.
#[test]
fn groups_are_emitted_in_pieces() {
    let of = Total {
        name: "sum(n)".to_owned(),
        of: DataType::Int64,
        state: on_the_way(&DataType::Int64).unwrap(),
        sum: 0,
        count: 0,
    };
    let (mut partial, mut whole) = (GroupTotals::new(of.clone()), GroupTotals::new(of));
    let values: ArrayRef =
        Arc::new(Int64Array::from(vec![Some(MAX), Some(MAX), None, Some(4), Some(5)]));
    let filter = BooleanArray::from(vec![Some(true), Some(true), Some(true), None, Some(false)]);
    partial.update_batch(&[Arc::clone(&values)], &[0, 0, 1, 2, 2], Some(&filter), 3).unwrap();
    partial.update_batch(&[Arc::clone(&values)], &[2, 1, 1, 1, 1], None, 3).unwrap();
    let first = partial.state(EmitTo::First(1)).unwrap();
    let rest = partial.state(EmitTo::All).unwrap();
    whole.merge_batch(&first, &[0], 1).unwrap();
    whole.merge_batch(&rest, &[1, 2], 3).unwrap();
    let minus: ArrayRef = Arc::new(Int64Array::from(vec![-MAX, -9]));
    let converted = whole.convert_to_state(&[minus], None).unwrap();
    whole.merge_batch(&converted, &[0, 1], 3).unwrap();
    let sums = whole.evaluate(EmitTo::All).unwrap();
    let sums: Vec<_> = sums.as_primitive::<Int64Type>().iter().collect();
    assert_eq!(sums, [Some(MAX), Some(MAX), Some(MAX)]);
    assert!(whole.evaluate(EmitTo::All).unwrap().is_empty());
}
