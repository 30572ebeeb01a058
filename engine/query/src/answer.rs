//! Small answers that the server makes itself: lists of what there is, rows of jobs.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, Int64Array, StringArray, TimestampMicrosecondArray},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    record_batch::RecordBatch,
};
use model::time::Timestamp;

/// A table that is filled column by column. The schema is the same for no rows.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Answer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn text<S: AsRef<str>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = S>,
    ) -> Self {
        self.maybe_text(name, values.into_iter().map(Some))
    }

    pub(crate) fn maybe_text<S: AsRef<str>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = Option<S>>,
    ) -> Self {
        let array: StringArray = values.into_iter().collect();
        self.column(name, DataType::Utf8, Arc::new(array))
    }

    pub(crate) fn number<T: Into<Option<i64>>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let array: Int64Array = values.into_iter().map(Into::into).collect();
        self.column(name, DataType::Int64, Arc::new(array))
    }

    pub(crate) fn flag(self, name: &str, values: impl IntoIterator<Item = bool>) -> Self {
        let array: BooleanArray = values.into_iter().map(Some).collect();
        self.column(name, DataType::Boolean, Arc::new(array))
    }

    pub(crate) fn time<T: Into<Option<Timestamp>>>(
        self,
        name: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        let micros = values.into_iter().map(|time| time.into().map(Timestamp::as_micros));
        let array: TimestampMicrosecondArray = micros.collect();
        let array = array.with_timezone("UTC");
        self.column(
            name,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Arc::new(array),
        )
    }

    pub(crate) fn column(mut self, name: &str, data_type: DataType, array: ArrayRef) -> Self {
        self.fields.push(Field::new(name, data_type, true));
        self.columns.push(array);
        self
    }

    pub(crate) fn finish(self) -> RecordBatch {
        let schema: SchemaRef = Arc::new(Schema::new(self.fields));
        RecordBatch::try_new(schema, self.columns)
            .expect("every column was made from the same list of rows")
    }
}

/// A count as SQL shows it.
pub(crate) fn count(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
