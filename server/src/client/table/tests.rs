use std::sync::Arc;

use arrow::{
    array::{Float64Array, Int64Array, StringArray},
    datatypes::Field,
};

use super::*;

#[test]
fn tables_align_numbers_and_show_nulls() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("share", DataType::Float64, true),
    ]));
    let batch = RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(StringArray::from(vec![Some("Zürich"), None, Some("東京")])),
            Arc::new(Int64Array::from(vec![Some(7), Some(12345), None])),
            Arc::new(Float64Array::from(vec![Some(0.5), None, Some(12.25)])),
        ],
    )
    .unwrap();
    let expected = "\
┌────────┬───────┬───────┐
│ name   │     n │ share │
├────────┼───────┼───────┤
│ Zürich │     7 │   0.5 │
│ NULL   │ 12345 │  NULL │
│ 東京   │  NULL │ 12.25 │
└────────┴───────┴───────┘
";
    assert_eq!(render_batches(&schema, &[batch]).unwrap(), expected);
}

#[test]
fn long_and_broken_texts_stay_on_one_line() {
    let mut table = TextTable::new(&["text"]);
    table.push(vec!["a\nb\tc\u{7}".to_owned()]);
    table.push(vec!["x".repeat(500)]);
    let rendered = table.render();
    assert!(rendered.contains("a⏎b c�"), "{rendered}");
    assert!(rendered.contains('…'));
    assert_eq!(rendered.lines().count(), 6);
}

#[test]
fn a_result_without_columns_shows_nothing() {
    assert_eq!(render_batches(&Schema::empty(), &[]).unwrap(), "");
}

#[test]
fn a_table_that_is_too_wide_becomes_blocks() {
    let mut table = TextTable::new(&["id", ">figure"]);
    table.push(vec!["a".to_owned(), "12".to_owned()]);
    table.push(vec!["b".to_owned(), "3".to_owned()]);
    let blocks = "\
── row 1 ──
id     │ a
figure │ 12
── row 2 ──
id     │ b
figure │ 3
";
    let width = table.render().lines().map(UnicodeWidthStr::width).max().unwrap();
    assert_eq!(table.render_within(Some(width - 1)), blocks);
    assert_eq!(table.render_within(Some(width)), table.render());
    assert_eq!(table.render_within(None), table.render());
}
