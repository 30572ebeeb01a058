use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, Int64Array, StringArray},
    datatypes::{DataType, Field, Schema},
    record_batch::RecordBatch,
    util::pretty::pretty_format_batches,
};
use datafusion::prelude::SessionContext;

use model::name::ObjectName;

use super::*;
use crate::streaming::clauses;

/// `(id, value, op, seq)`.
type Event = (i64, Option<&'static str>, &'static str, Option<i64>);

fn spec(history: History) -> ChangeSpec {
    ChangeSpec {
        keys: vec!["id".to_owned()],
        ignore_null_updates: ColumnChoice::None,
        delete_when: Some("op = 'D'".to_owned()),
        truncate_when: None,
        sequence_by: "seq".to_owned(),
        last_by: None,
        columns: ColumnChoice::Except(vec!["op".to_owned(), "seq".to_owned()]),
        history,
    }
}

fn every_state() -> History {
    History::Every { track: ColumnChoice::All }
}

fn source_name() -> ObjectName {
    ObjectName::new("public", "s").expect("a name")
}

/// The rows that events have made, one line each.
async fn made(spec: &ChangeSpec, events: &[Event]) -> Result<Vec<String>, String> {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let schema = Arc::new(Schema::new(vec![
        field("id", DataType::Int64),
        field("value", DataType::Utf8),
        field("op", DataType::Utf8),
        field("seq", DataType::Int64),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(Int64Array::from_iter_values(events.iter().map(|event| event.0))),
            Arc::new(StringArray::from_iter(events.iter().map(|event| event.1))),
            Arc::new(StringArray::from_iter_values(events.iter().map(|event| event.2))),
            Arc::new(Int64Array::from_iter(events.iter().map(|event| event.3))),
        ],
    );
    let context = SessionContext::new();
    context.register_udf(super::super::unordered::function().as_ref().clone());
    context.register_batch("s", batch.expect("columns of one length")).expect("a free name");
    let sequence = clauses::check(&context.state(), &source_name(), &schema, spec);
    let sequence = sequence.map_err(|error| error.to_string())?;
    let source = Source { name: "s", events: &schema, sequence: &sequence };
    let sql = query(spec, source).map_err(|error| error.to_string())?;
    let sql = format!("SELECT * FROM ({sql}) AS made ORDER BY 1, 2");
    let rows = context.sql(&sql).await.map_err(|error| format!("{error}\n{sql}"))?;
    let batches = rows.collect().await.map_err(|error| error.to_string())?;
    let table = pretty_format_batches(&batches).expect("rows").to_string();
    let lines = table.lines().skip(3).filter(|line| line.starts_with('|'));
    let cells = |line: &str| {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join(" ").trim_end().to_owned()
    };
    Ok(lines.map(cells).collect())
}

const EVENTS: [Event; 6] = [
    (1, Some("a"), "I", Some(1)),
    (1, Some("b"), "U", Some(3)),
    (2, Some("x"), "I", Some(2)),
    (2, None, "D", Some(5)),
    (3, Some("z"), "I", Some(4)),
    (1, Some("b"), "U", Some(6)),
];

#[tokio::test]
async fn the_newest_state_of_each_key_is_kept_whatever_the_order_of_the_events() {
    let mut events = EVENTS.to_vec();
    for turn in 0..events.len() {
        events.rotate_left(turn);
        // Events come twice, and late.
        events.push((1, Some("b"), "U", Some(3)));
        let rows = made(&spec(History::Newest), &events).await;
        assert_eq!(rows.as_deref(), Ok(&["1 b".to_owned(), "3 z".to_owned()][..]), "{turn}");
    }
    events.push((2, Some("back"), "I", Some(7)));
    let rows = made(&spec(History::Newest), &events).await.expect("rows");
    assert_eq!(rows, ["1 b", "2 back", "3 z"]);
}

#[tokio::test]
async fn every_state_of_each_key_has_its_time() {
    let mut events = EVENTS.to_vec();
    events.push((2, Some("x"), "I", Some(8)));
    for turn in 0..events.len() {
        events.rotate_left(turn);
        let mut rows = made(&spec(every_state()), &events).await.expect("rows");
        rows.sort();
        // The repeated state of 1 is no new one; 2 was deleted and came back.
        assert_eq!(rows, ["1 a 1 3", "1 b 3", "2 x 2 5", "2 x 8", "3 z 4"], "{turn}");
    }
}

#[tokio::test]
async fn events_without_an_order_fail() {
    for history in [History::Newest, every_state()] {
        let mut spec = spec(history);
        let tied = [(1, Some("a"), "I", Some(1)), (1, Some("b"), "U", Some(1))];
        let error = made(&spec, &tied).await.expect_err("two answers");
        assert!(error.contains("the same sequence and differ"), "{error}");
        let error = made(&spec, &[(1, Some("a"), "I", None)]).await.expect_err("no answer");
        assert!(error.contains("is NULL"), "{error}");
        let twice = [(1, Some("a"), "I", Some(1)), (1, Some("a"), "U", Some(1))];
        assert_eq!(made(&spec, &twice).await.expect("one answer").len(), 1);
        spec.last_by = Some("value".to_owned());
        let rows = made(&spec, &tied).await.expect("the last by value");
        assert!(rows.len() == 1 && rows[0].starts_with("1 b"), "{rows:?}");
    }
}

#[tokio::test]
async fn truncating_deletes_what_came_before() {
    let mut spec = spec(History::Newest);
    spec.truncate_when = Some("op = 'T'".to_owned());
    let mut events = EVENTS.to_vec();
    events.push((0, None, "T", Some(5)));
    assert_eq!(made(&spec, &events).await.expect("rows"), ["1 b"]);
    spec.history = every_state();
    let error = made(&spec, &events).await.expect_err("a history is not emptied");
    assert!(error.contains("belongs to SCD TYPE 1"), "{error}");
}

#[tokio::test]
async fn what_was_truncated_fills_nothing_and_is_asked_for_no_order() {
    let mut spec = spec(History::Newest);
    spec.truncate_when = Some("op = 'T'".to_owned());
    spec.ignore_null_updates = ColumnChoice::All;
    let mut events = vec![
        (1, Some("a"), "I", Some(1)),
        (1, Some("b"), "I", Some(1)),
        (0, None, "T", Some(2)),
        (2, Some("at the same time"), "I", Some(2)),
        (1, None, "U", Some(3)),
    ];
    assert_eq!(made(&spec, &events).await.expect("rows"), ["1"]);
    events[2].3 = None;
    let error = made(&spec, &events[2..]).await.expect_err("when was it emptied?");
    assert!(error.contains("is NULL"), "{error}");
    // One without a sequence is not lost behind a truncation.
    let error = made(&spec, &[(0, None, "T", Some(2)), (1, Some("a"), "I", None)]).await;
    assert!(error.expect_err("no order").contains("is NULL"));
}

#[tokio::test]
async fn a_null_leaves_a_value_as_it_is_until_the_row_is_deleted() {
    let events = [
        (1, None, "I", Some(1)),
        (1, Some("a"), "U", Some(2)),
        (1, None, "U", Some(3)),
        (1, None, "D", Some(5)),
        (1, None, "I", Some(6)),
        (1, Some("b"), "U", Some(7)),
        (1, None, "U", Some(8)),
    ];
    let with = |history: History, ignore: ColumnChoice| ChangeSpec {
        ignore_null_updates: ignore,
        ..spec(history)
    };
    let value = || ColumnChoice::Only(vec!["value".to_owned()]);
    for turn in 0..events.len() {
        let mut events = events.to_vec();
        events.rotate_left(turn);
        let newest = made(&with(History::Newest, value()), &events).await;
        assert_eq!(newest.expect("rows"), ["1 b"]);
        let mut rows = made(&with(every_state(), ColumnChoice::All), &events).await.expect("rows");
        rows.sort();
        // From 3 on nothing is another one, nor from 8 on.
        assert_eq!(rows, ["1  1 2", "1  6 7", "1 a 2 5", "1 b 7"]);
        let except = ColumnChoice::Except(vec!["value".to_owned(), "seq".to_owned()]);
        assert_eq!(made(&with(History::Newest, except), &events).await.expect("rows"), ["1"]);
    }
}

#[tokio::test]
async fn what_is_not_tracked_changes_in_place() {
    let events = [
        (1, Some("a"), "x", Some(1)),
        (1, Some("b"), "x", Some(2)),
        (1, Some("c"), "y", Some(3)),
        (1, Some("d"), "D", Some(4)),
        (1, Some("d"), "y", Some(5)),
        (1, Some("e"), "y", Some(9)),
    ];
    let track = ColumnChoice::Only(vec!["op".to_owned()]);
    let mut spec = spec(History::Every { track });
    spec.columns = ColumnChoice::Except(vec!["seq".to_owned()]);
    for turn in 0..events.len() {
        let mut events = events.to_vec();
        events.rotate_left(turn);
        events.push(events[0]);
        let rows = made(&spec, &events).await.expect("rows");
        assert_eq!(rows, ["1 b x 1 3", "1 c y 3 4", "1 e y 5"], "{turn}");
    }
    spec.history = History::Every { track: ColumnChoice::Except(vec!["value".to_owned()]) };
    assert_eq!(made(&spec, &events).await.expect("rows").len(), 3);
    spec.history = History::Every { track: ColumnChoice::Only(vec!["seq".to_owned()]) };
    let error = made(&spec, &events).await.expect_err("not shown");
    assert!(error.contains("TRACK HISTORY ON names the column 'seq'"), "{error}");
}

#[tokio::test]
async fn of_events_at_one_time_the_last_makes_the_state() {
    let mut spec = spec(every_state());
    spec.last_by = Some("value".to_owned());
    // In between it was another value, and for no time.
    let events = [
        (1, Some("x"), "I", Some(0)),
        (1, Some("a"), "U", Some(1)),
        (1, Some("x"), "U", Some(1)),
        (1, Some("y"), "U", Some(2)),
    ];
    for turn in 0..events.len() {
        let mut events = events.to_vec();
        events.rotate_left(turn);
        assert_eq!(made(&spec, &events).await.expect("rows"), ["1 x 0 2", "1 y 2"], "{turn}");
    }
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let with = |change: &dyn Fn(&mut ChangeSpec)| {
        let mut spec = spec(History::Newest);
        change(&mut spec);
        spec
    };
    for (spec, what) in [
        (with(&|spec| spec.keys = vec!["nr".to_owned()]), "no column 'nr'"),
        (
            with(&|spec| spec.columns = ColumnChoice::Only(vec!["value".to_owned()])),
            "leaves the key",
        ),
        (
            with(&|spec| spec.ignore_null_updates = ColumnChoice::Only(vec!["seq".to_owned()])),
            "IGNORE NULL UPDATES ON names the column 'seq'",
        ),
    ] {
        let error = made(&spec, &EVENTS).await.expect_err(what);
        assert!(error.contains(what), "{error}");
    }
}

#[tokio::test]
async fn a_sequence_of_several_parts_orders_by_one_after_the_other() {
    for sequence in ["STRUCT(seq, value)", "(seq, value)", "STRUCT(seq, STRUCT(value, op))"] {
        let with = |history| ChangeSpec { sequence_by: sequence.to_owned(), ..spec(history) };
        let mut events = vec![
            (1, Some("a"), "I", Some(1)),
            (1, Some("c"), "U", Some(1)),
            (1, Some("b"), "U", Some(1)),
            (1, Some("a"), "U", Some(2)),
            (2, Some("x"), "I", Some(2)),
            (2, Some("y"), "D", Some(2)),
        ];
        for turn in 0..events.len() {
            events.rotate_left(turn);
            events.push(events[0]);
            let newest = made(&with(History::Newest), &events).await;
            assert_eq!(newest.as_deref(), Ok(&["1 a".to_owned()][..]), "{sequence}, {turn}");
            let rows = made(&with(every_state()), &events).await.expect("rows");
            assert_eq!(rows.len(), 5, "{sequence}, {turn}: {rows:?}");
        }
        for history in [History::Newest, every_state()] {
            let mut spec = with(history);
            // A part of it that is NULL leaves the event without an order.
            let error = made(&spec, &[(1, None, "I", Some(1))]).await.expect_err("no order");
            assert!(error.contains("is NULL"), "{error}");
            spec.columns = ColumnChoice::All;
            spec.sequence_by = "STRUCT(seq)".to_owned();
            let tied = [(1, Some("a"), "I", Some(1)), (1, Some("b"), "U", Some(1))];
            let error = made(&spec, &tied).await.expect_err("two answers");
            assert!(error.contains("the same sequence and differ"), "{error}");
            spec.last_by = Some("STRUCT(op, value)".to_owned());
            assert_eq!(made(&spec, &tied).await.expect("the last").len(), 1);
        }
    }
}

#[tokio::test]
async fn an_expression_that_has_no_one_answer_for_an_event_is_refused() {
    let with = |change: &dyn Fn(&mut ChangeSpec)| {
        let mut spec = spec(History::Newest);
        change(&mut spec);
        spec
    };
    let text = |text: &str| Some(text.to_owned());
    for (spec, what) in [
        (with(&|spec| spec.sequence_by = "random()".to_owned()), "SEQUENCE BY (random()) calls"),
        (with(&|spec| spec.sequence_by = "max(seq)".to_owned()), "has an aggregate"),
        (with(&|spec| spec.delete_when = text("now() > now()")), "APPLY AS DELETE WHEN (now()"),
        (with(&|spec| spec.delete_when = text("(SELECT true)")), "has a subquery"),
        (with(&|spec| spec.delete_when = text("seq + 1")), "is no condition: it is Int64"),
        (with(&|spec| spec.delete_when = text("opp = 'D'")), "evaluated: No field named opp"),
        (with(&|spec| spec.truncate_when = text("uuid() = op")), "APPLY AS TRUNCATE WHEN (uuid()"),
        (with(&|spec| spec.last_by = text("random()")), "ON TIE LAST BY (random()) calls"),
    ] {
        let error = made(&spec, &EVENTS).await.expect_err(what);
        assert!(error.contains(what), "{error}");
    }
    // Names may say whose they are.
    let spec = with(&|spec| spec.sequence_by = "s.seq".to_owned());
    assert_eq!(made(&spec, &EVENTS).await.expect("rows").len(), 2);
}

#[tokio::test]
async fn a_key_of_numbers_has_one_zero_and_one_value_that_is_none() {
    let number = DataType::Float64;
    let fields = [("k", &number), ("v", &DataType::Int64), ("n", &DataType::Int64)];
    let fields = fields.map(|(name, data_type)| Field::new(name, data_type.clone(), true));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let (nan, other_nan) = (f64::NAN, f64::from_bits(f64::NAN.to_bits() ^ (1 << 63) ^ 1));
    let keys: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, nan, other_nan, 1.5]));
    let numbers = || -> ArrayRef { Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5])) };
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![keys, numbers(), numbers()]);
    let context = SessionContext::new();
    context.register_udf(super::super::unordered::function().as_ref().clone());
    context.register_batch("s", batch.expect("columns of one length")).expect("a free name");
    for (history, rows) in [(History::Newest, 3), (every_state(), 5)] {
        let spec = ChangeSpec {
            keys: vec!["k".to_owned()],
            delete_when: None,
            sequence_by: "n".to_owned(),
            columns: ColumnChoice::All,
            ..spec(history)
        };
        let source = Source { name: "s", events: &schema, sequence: &DataType::Int64 };
        let sql = query(&spec, source).expect("a query");
        let found = context.sql(&sql).await.expect("a plan").count().await;
        assert_eq!(found.expect("rows"), rows);
        let of_zero = format!("SELECT * FROM ({sql}) AS made WHERE k = 0 AND v = 2 AND 1 / k > 0");
        let found = context.sql(&of_zero).await.expect("a plan").count().await;
        assert_eq!(found.expect("rows"), 1, "a zero without a sign");
    }
}
