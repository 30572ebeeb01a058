//! Text and CSV of a COPY, in pieces as they come, to rows.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, BinaryBuilder, StringArray, StringBuilder, new_null_array},
    compute::{CastOptions, cast_with_options, concat},
    datatypes::{DataType, SchemaRef},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use query::postgres::types::ColumnType;

use super::{BROKEN, Header, Kind, Layout};
use crate::{
    error::sqlstate_of_value,
    pg::{
        encode::Format,
        error::PgError,
        parameters::{self, bytea, characters},
    },
};

/// Rows of one batch.
const ROWS_MAX: usize = 8192;
/// Bytes of one batch, and of one field.
const BYTES_MAX: usize = 8 << 20;

/// Reads what a client sends, byte by byte.
pub(super) struct Decoder {
    layout: Layout,
    schema: SchemaRef,
    columns: Vec<StringBuilder>,
    /// The field that is being read.
    field: Vec<u8>,
    /// Fields of the row that were read.
    filled: usize,
    state: State,
    /// Whether the field had quotes, or a backslash: then it cannot be NULL.
    marked: bool,
    rows: usize,
    bytes: usize,
    line: u64,
    /// Where the row begins that is being read, and where those of the batch did.
    row_line: u64,
    row_lines: Vec<u64>,
    in_header: bool,
    ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Field,
    /// After a backslash in text.
    Backslash,
    /// Inside quotes of CSV.
    Quoted,
    /// After a quote or an escape inside quotes.
    Quote,
    /// After `\r`.
    Return,
}

impl Decoder {
    pub(super) fn new(layout: Layout, schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| StringBuilder::new()).collect();
        Self {
            in_header: layout.header != Header::None,
            layout,
            schema,
            columns,
            field: Vec::new(),
            filled: 0,
            state: State::Field,
            marked: false,
            rows: 0,
            bytes: 0,
            line: 1,
            row_line: 1,
            row_lines: Vec::new(),
            ended: false,
        }
    }

    /// Reads a piece; rows that are enough for a batch.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<RecordBatch>, PgError> {
        let mut batches = Vec::new();
        for byte in piece {
            if self.ended {
                break;
            }
            self.byte(*byte)?;
            if self.filled == 0 && (self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX) {
                batches.push(self.batch()?);
            }
        }
        Ok(batches)
    }

    /// The rows that are left when everything was sent.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>, PgError> {
        if self.state == State::Quoted {
            return Err(self.broken("a quoted field does not end"));
        }
        if self.state == State::Backslash {
            return Err(self.broken("a backslash at the end"));
        }
        let has_row = self.filled > 0 || !self.field.is_empty() || self.marked;
        if has_row && !self.ended {
            self.end_row()?;
        }
        if self.rows == 0 { Ok(None) } else { self.batch().map(Some) }
    }

    fn byte(&mut self, byte: u8) -> Result<(), PgError> {
        let Layout { kind, delimiter, quote, escape, .. } = self.layout;
        if self.state == State::Return {
            self.state = State::Field;
            if byte == b'\n' {
                return Ok(());
            }
        }
        match self.state {
            State::Backslash => {
                self.state = State::Field;
                match byte {
                    b'n' => self.take(b'\n'),
                    b't' => self.take(b'\t'),
                    b'r' => self.take(b'\r'),
                    b'b' => self.take(8),
                    b'f' => self.take(12),
                    b'v' => self.take(11),
                    // Kept as it was written: the NULL of text may be \N.
                    b'N' | b'.' if self.field.is_empty() => {
                        self.field.extend([b'\\', byte]);
                        self.marked = false;
                        Ok(())
                    }
                    other => self.take(other),
                }
            }
            State::Quoted if byte == escape && escape != quote => {
                self.state = State::Quote;
                self.take(byte)
            }
            State::Quoted if byte == quote => {
                self.state = State::Quote;
                Ok(())
            }
            State::Quoted => {
                self.line += u64::from(byte == b'\n');
                self.take(byte)
            }
            State::Quote if escape != quote && self.field.last() == Some(&escape) => {
                // The escape stands before what it means.
                self.state = State::Quoted;
                if byte == quote || byte == escape {
                    self.field.pop();
                }
                self.take(byte)
            }
            State::Quote if byte == quote && escape == quote => {
                self.state = State::Quoted;
                self.take(byte)
            }
            State::Field | State::Quote | State::Return => {
                self.state = State::Field;
                if byte == delimiter {
                    self.end_field()
                } else if byte == b'\n' || byte == b'\r' {
                    if byte == b'\r' {
                        self.state = State::Return;
                    }
                    let state = self.state;
                    self.end_row()?;
                    self.state = state;
                    self.line += 1;
                    self.row_line = self.line;
                    Ok(())
                } else if kind == Kind::Csv && byte == quote {
                    self.marked = true;
                    self.state = State::Quoted;
                    Ok(())
                } else if kind == Kind::Text && byte == b'\\' {
                    self.marked = true;
                    self.state = State::Backslash;
                    Ok(())
                } else {
                    self.take(byte)
                }
            }
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), PgError> {
        if self.field.len() >= BYTES_MAX {
            return Err(self.broken(&format!("a field of more than {} MiB", BYTES_MAX >> 20)));
        }
        self.field.push(byte);
        Ok(())
    }

    fn end_field(&mut self) -> Result<(), PgError> {
        let count = self.columns.len();
        if self.in_header {
            if self.layout.header == Header::Match {
                self.check_name()?;
            }
            self.filled += 1;
            self.field.clear();
            self.marked = false;
            return Ok(());
        }
        let is_null = !self.marked && self.field == self.layout.null.as_bytes();
        let Some(column) = self.columns.get_mut(self.filled) else {
            return Err(self.broken(&format!("there are more than {count} fields")));
        };
        if is_null {
            column.append_null();
        } else {
            match characters(&self.field) {
                Ok(text) => column.append_value(text),
                Err(why) => {
                    return Err(refused("22021", self.line, &format!("a text {why}")));
                }
            }
        }
        self.bytes += self.field.len();
        self.filled += 1;
        self.field.clear();
        self.marked = false;
        Ok(())
    }

    /// A name in the header has to be that of the column that the values below it go to.
    fn check_name(&self) -> Result<(), PgError> {
        let found = String::from_utf8_lossy(&self.field);
        match self.schema.fields().get(self.filled) {
            Some(field) if *field.name() == found => Ok(()),
            Some(field) => {
                Err(self.broken(&format!("the header has '{found}' where '{}' is", field.name())))
            }
            None => Err(self.broken(&format!("the header has '{found}' after the last column"))),
        }
    }

    fn end_row(&mut self) -> Result<(), PgError> {
        // What once ended a COPY, and still may.
        if self.filled == 0 && !self.marked && self.field == b"\\." {
            self.ended = true;
            return Ok(());
        }
        self.end_field()?;
        let (filled, count) = (self.filled, self.columns.len());
        self.filled = 0;
        let is_short = filled != count;
        if std::mem::take(&mut self.in_header) {
            if self.layout.header == Header::Match && is_short {
                return Err(
                    self.broken(&format!("the header has {filled} names instead of {count}"))
                );
            }
            return Ok(());
        }
        if is_short {
            return Err(self.broken(&format!("there are {filled} fields instead of {count}")));
        }
        self.rows += 1;
        self.row_lines.push(self.row_line);
        Ok(())
    }

    fn batch(&mut self) -> Result<RecordBatch, PgError> {
        self.rows = 0;
        self.bytes = 0;
        let lines = std::mem::take(&mut self.row_lines);
        let mut columns = Vec::with_capacity(self.columns.len());
        for (n, field) in self.schema.fields().iter().enumerate() {
            let text = self.columns[n].finish();
            let column = typed(&text, field.data_type()).map_err(|why| {
                let wrong = |row: &usize| typed(&text.slice(*row, 1), field.data_type()).is_err();
                let row = (0..text.len()).find(wrong).and_then(|row| lines.get(row));
                let what = format!("column '{}': {why}", field.name());
                refused(sqlstate_of_value(&why), row.copied().unwrap_or(self.line), &what)
            })?;
            columns.push(column);
        }
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| self.broken(&error.to_string()))
    }

    fn broken(&self, what: &str) -> PgError {
        refused(BROKEN, self.line, what)
    }
}

fn refused(sqlstate: &'static str, line: u64, what: &str) -> PgError {
    PgError::new(sqlstate, format!("COPY, line {line}: {what}"))
}

fn typed(text: &StringArray, data_type: &DataType) -> Result<ArrayRef, String> {
    match data_type {
        DataType::Utf8 => Ok(Arc::new(text.clone())),
        DataType::Binary => {
            let mut bytes = BinaryBuilder::new();
            for value in text {
                match value {
                    Some(value) => bytes.append_value(bytea(value)?),
                    None => bytes.append_null(),
                }
            }
            Ok(Arc::new(bytes.finish()))
        }
        data_type if data_type.is_nested() => match ColumnType::of(data_type) {
            ColumnType::Array(_) => arrays(text, data_type),
            ColumnType::Scalar(_) => {
                Err(format!("COPY cannot read values of type {data_type} in this version"))
            }
        },
        data_type => cast(text, data_type),
    }
}

fn cast(values: &dyn Array, data_type: &DataType) -> Result<ArrayRef, String> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(values, data_type, &options).map_err(|error| error.to_string())
}

/// `{1,2}` as a client writes it.
fn arrays(text: &StringArray, data_type: &DataType) -> Result<ArrayRef, String> {
    let oid = ColumnType::of(data_type).oid();
    let one = |value: Option<&str>| {
        let Some(value) = value else { return Ok(new_null_array(data_type, 1)) };
        let value = Bytes::copy_from_slice(value.as_bytes());
        cast(&parameters::value(&value, oid, Format::Text)?, data_type)
    };
    let values = text.iter().map(one).collect::<Result<Vec<_>, String>>()?;
    let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
    if values.is_empty() {
        return Ok(new_null_array(data_type, 0));
    }
    concat(&values).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use arrow::{
        datatypes::{Field, Schema},
        util::display::array_value_to_string,
    };
    use proptest::prelude::*;

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Utf8, true),
        ]))
    }

    fn layout(kind: Kind) -> Layout {
        Layout::new(kind)
    }

    /// Rows as texts; NULL is a minus.
    fn rows(layout: Layout, pieces: &[&[u8]]) -> Result<Vec<String>, PgError> {
        let mut decoder = Decoder::new(layout, schema());
        let mut batches = Vec::new();
        for piece in pieces {
            batches.extend(decoder.push(piece)?);
        }
        batches.extend(decoder.finish()?);
        let cell = |column: &ArrayRef, row: usize| match column.is_null(row) {
            true => "-".to_owned(),
            false => array_value_to_string(column, row).unwrap(),
        };
        Ok(batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(move |row| (batch, row)))
            .map(|(batch, row)| {
                batch.columns().iter().map(|column| cell(column, row)).collect::<Vec<_>>().join("|")
            })
            .collect())
    }

    #[test]
    fn text_has_backslashes_and_may_end_with_a_dot() {
        let text = b"1\ta\\tb\n\\N\t\\N\n3\t\\\\N\r\n4\t\n\\.\nrest";
        assert_eq!(rows(layout(Kind::Text), &[text]).unwrap(), ["1|a\tb", "-|-", "3|\\N", "4|"]);
    }

    #[test]
    fn csv_has_quotes_and_tells_empty_from_null() {
        let text = b"a,b\n1,\"x,\"\"y\"\"\nz\"\n2,\n3,\"\"\n,4";
        let layout = Layout { header: Header::Names, ..layout(Kind::Csv) };
        assert_eq!(rows(layout, &[text]).unwrap(), ["1|x,\"y\"\nz", "2|-", "3|", "-|4"]);
        let escaped = Layout { escape: b'\\', ..Layout::new(Kind::Csv) };
        assert_eq!(rows(escaped, &[b"1,\"a\\\"b\\c\"\n"]).unwrap(), ["1|a\"b\\c"]);
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, expected) in [
            ("1\ta\n2\n", "line 2: there are 1 fields instead of 2"),
            ("1\ta\tb\n", "line 1: there are more than 2 fields"),
            ("1\ta\nx\ta\n2\tb\n", "line 2: column 'a'"),
        ] {
            let error = rows(layout(Kind::Text), &[text.as_bytes()]).unwrap_err();
            assert!(error.text().contains(expected), "{}", error.text());
        }
        let error = rows(layout(Kind::Csv), &[b"1,\"a"]).unwrap_err();
        assert!(error.text().contains("does not end"), "{}", error.text());
    }

    #[test]
    fn a_header_that_has_to_match_names_the_columns_in_their_order() {
        let matching = || Layout { header: Header::Match, ..layout(Kind::Csv) };
        assert_eq!(rows(matching(), &[b"a,b\n1,x\n"]).unwrap(), ["1|x"]);
        assert_eq!(rows(matching(), &[b"\"a\",b\r\n1,x"]).unwrap(), ["1|x"]);
        for (text, expected) in [
            ("b,a\n7,8\n", "line 1: the header has 'b' where 'a' is"),
            ("a\n7\n", "the header has 1 names instead of 2"),
            ("a,b,c\n7,8,9\n", "'c' after the last column"),
        ] {
            let error = rows(matching(), &[text.as_bytes()]).unwrap_err();
            assert!(error.text().contains(expected), "{}", error.text());
        }
    }

    #[test]
    fn arrays_are_read_as_they_are_written() {
        let item = Arc::new(Field::new("item", DataType::Int32, true));
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::List(item), true)]));
        let mut decoder = Decoder::new(layout(Kind::Text), schema);
        decoder.push(b"{1,NULL,3}\n{}\n\\N\n").unwrap();
        let batch = decoder.finish().unwrap().unwrap();
        let shown = |row| array_value_to_string(batch.column(0), row).unwrap();
        assert_eq!((shown(0), shown(1)), ("[1, , 3]".to_owned(), "[]".to_owned()));
        assert!(batch.column(0).is_null(2));
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cut in 0_usize..40) {
            let text = b"1,\"x,\"\"y\"\"\r\nz\"\r\n2,\n3,\"\"\n,4";
            let (left, right) = text.split_at(cut.min(text.len()));
            let whole = rows(layout(Kind::Csv), &[text]).unwrap();
            prop_assert_eq!(rows(layout(Kind::Csv), &[left, right]).unwrap(), whole);
        }
    }
}
