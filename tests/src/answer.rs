//! The answer to a statement, as text that tests can compare.

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::cast,
    datatypes::{DataType, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};

/// All rows of one answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Schema that was announced before the rows came.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
}

impl Answer {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the columns.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// Every cell as text; NULL is `NULL`.
    #[must_use]
    pub fn rows(&self) -> Vec<Vec<String>> {
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::with_capacity(self.len());
        for batch in &self.batches {
            let columns: Vec<_> =
                batch.columns().iter().map(|column| with_offset(column)).collect();
            let columns: Vec<_> = columns
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
            }
        }
        rows
    }

    /// One line for each row, cells separated by one `|`.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.rows().into_iter().map(|row| row.join("|")).collect()
    }

    /// All text of the answer.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// The cells of one column. Panics when there is no such column.
    #[must_use]
    pub fn column(&self, name: &str) -> Vec<String> {
        let Ok(index) = self.schema.index_of(name) else {
            panic!("no column '{name}' among {:?}", self.columns());
        };
        self.rows().into_iter().map(|mut row| row.swap_remove(index)).collect()
    }

    /// The only cell of one column. Panics unless there is exactly one row.
    #[must_use]
    pub fn only(&self, name: &str) -> String {
        let mut cells = self.column(name);
        assert_eq!(cells.len(), 1, "one row expected: {:?}", self.lines());
        cells.swap_remove(0)
    }

    /// The only cell of the answer. Panics unless there is exactly one.
    #[must_use]
    pub fn cell(&self) -> String {
        let rows = self.rows();
        assert!(rows.len() == 1 && rows[0].len() == 1, "one cell expected: {:?}", self.lines());
        rows[0][0].clone()
    }
}

/// A column of times in UTC says so by its offset: names of time zones need a table of them.
#[must_use]
pub fn with_offset(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == "UTC" => {
            cast(column, &DataType::Timestamp(*unit, Some("+00:00".into()))).unwrap()
        }
        _ => ArrayRef::clone(column),
    }
}
