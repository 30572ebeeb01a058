//! The binary form of a COPY, in pieces as they come, to rows.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, new_null_array},
    compute::{CastOptions, cast_with_options, concat},
    datatypes::SchemaRef,
    record_batch::RecordBatch,
};
use bytes::{Buf, Bytes, BytesMut};
use query::postgres::types::ColumnType;

use super::BROKEN;
use crate::pg::{encode::Format, error::PgError, parameters};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// The signature, the flags, and the length of what else may come before the rows.
const HEAD: usize = 19;
/// Rows of one batch.
const ROWS_MAX: usize = 8192;
/// Bytes of one batch, and of one row.
const BYTES_MAX: usize = 8 << 20;

/// Reads what a client sends, row by row.
pub(super) struct Decoder {
    schema: SchemaRef,
    oids: Vec<u32>,
    buffer: BytesMut,
    /// Bytes of the head that are passed over; none before the head was read.
    skip: Option<usize>,
    columns: Vec<Vec<ArrayRef>>,
    rows: usize,
    bytes: usize,
    row: u64,
    ended: bool,
}

impl Decoder {
    pub(super) fn new(schema: SchemaRef) -> Self {
        let fields = schema.fields().iter();
        Self {
            oids: fields.map(|field| ColumnType::of(field.data_type()).oid()).collect(),
            columns: vec![Vec::new(); schema.fields().len()],
            schema,
            buffer: BytesMut::new(),
            skip: None,
            rows: 0,
            bytes: 0,
            row: 0,
            ended: false,
        }
    }

    /// Reads a piece; rows that are enough for a batch.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<Vec<RecordBatch>, PgError> {
        self.buffer.extend_from_slice(piece);
        let mut batches = Vec::new();
        while !self.ended && self.step()? {
            if self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX {
                batches.push(self.batch()?);
            }
        }
        Ok(batches)
    }

    /// The rows that are left when everything was sent.
    pub(super) fn finish(&mut self) -> Result<Option<RecordBatch>, PgError> {
        // Whatever cut it off, the client may not know of it: the mark is what says that it is whole.
        if !self.ended {
            return Err(self.broken("it ends before its mark of the end"));
        }
        if !self.buffer.is_empty() {
            return Err(self.broken("something follows its mark of the end"));
        }
        if self.rows == 0 { Ok(None) } else { self.batch().map(Some) }
    }

    /// Goes past the head or one row; `false` when it is not there yet.
    fn step(&mut self) -> Result<bool, PgError> {
        let Some(skip) = self.skip else {
            if self.buffer.len() < HEAD {
                return Ok(false);
            }
            let mut head = self.buffer.split_to(HEAD);
            if !head.starts_with(SIGNATURE) {
                return Err(self.broken("this is no binary COPY"));
            }
            head.advance(SIGNATURE.len());
            if head.get_u32() != 0 {
                return Err(self.broken("its flags are not known"));
            }
            self.skip = Some(usize::try_from(head.get_u32()).unwrap_or(usize::MAX));
            return Ok(true);
        };
        if skip > 0 {
            let skipped = skip.min(self.buffer.len());
            self.buffer.advance(skipped);
            self.skip = Some(skip - skipped);
            return Ok(skipped > 0);
        }
        let Some(length) = self.row_length()? else { return Ok(false) };
        let mut row = self.buffer.split_to(length).freeze();
        if row.get_i16() < 0 {
            self.ended = true;
            return Ok(true);
        }
        self.row += 1;
        for at in 0..self.oids.len() {
            let value = match usize::try_from(row.get_i32()) {
                Err(_) => None,
                Ok(length) => Some(row.split_to(length)),
            };
            let value = self.value(at, value)?;
            self.columns[at].push(value);
        }
        self.rows += 1;
        self.bytes += length;
        Ok(true)
    }

    /// Bytes of the next row when all of it is there.
    fn row_length(&self) -> Result<Option<usize>, PgError> {
        let mut rest: &[u8] = &self.buffer;
        if rest.len() < 2 {
            return Ok(None);
        }
        let count = rest.get_i16();
        if count < 0 {
            return Ok(Some(2));
        }
        let wanted = self.oids.len();
        if usize::try_from(count).unwrap_or_default() != wanted {
            return Err(self.broken(&format!("there are {count} fields instead of {wanted}")));
        }
        for _ in 0..wanted {
            if rest.len() < 4 {
                return Ok(None);
            }
            let length = usize::try_from(rest.get_i32()).unwrap_or_default();
            if length > BYTES_MAX {
                let what = format!("a field of more than {} MiB", BYTES_MAX >> 20);
                return Err(self.broken(&what));
            }
            if rest.len() < length {
                return Ok(None);
            }
            rest = &rest[length..];
        }
        Ok(Some(self.buffer.len() - rest.len()))
    }

    fn value(&self, at: usize, bytes: Option<Bytes>) -> Result<ArrayRef, PgError> {
        let field = self.schema.field(at);
        let Some(bytes) = bytes else { return Ok(new_null_array(field.data_type(), 1)) };
        let refused = |why: String| self.broken(&format!("column '{}': {why}", field.name()));
        let value = parameters::value(&bytes, self.oids[at], Format::Binary).map_err(refused)?;
        if value.data_type() == field.data_type() {
            return Ok(value);
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(&value, field.data_type(), &options)
            .map_err(|error| refused(error.to_string()))
    }

    fn batch(&mut self) -> Result<RecordBatch, PgError> {
        self.rows = 0;
        self.bytes = 0;
        let mut columns = Vec::with_capacity(self.columns.len());
        for column in &mut self.columns {
            let values = std::mem::take(column);
            let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
            columns.push(concat(&values));
        }
        let columns = columns.into_iter().collect::<Result<Vec<_>, _>>();
        columns
            .and_then(|columns| RecordBatch::try_new(Arc::clone(&self.schema), columns))
            .map_err(|error| self.broken(&error.to_string()))
    }

    fn broken(&self, what: &str) -> PgError {
        PgError::new(BROKEN, format!("COPY, row {}: {what}", self.row))
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    fn decoder() -> Decoder {
        let fields =
            vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Utf8, true)];
        Decoder::new(Arc::new(Schema::new(fields)))
    }

    fn sent() -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_slice(SIGNATURE);
        out.put_u32(0);
        out.put_u32(3);
        out.put_slice(b"ext");
        for (number, text) in [(7, Some("x")), (8, None)] {
            out.put_i16(2);
            out.put_i32(8);
            out.put_i64(number);
            match text {
                Some(text) => {
                    out.put_i32(1);
                    out.put_slice(text.as_bytes());
                }
                None => out.put_i32(-1),
            }
        }
        out.put_i16(-1);
        out.to_vec()
    }

    #[test]
    fn rows_are_whole_when_they_end_with_their_mark() {
        let sent = sent();
        let mut whole = decoder();
        whole.push(&sent).unwrap();
        let batch = whole.finish().unwrap().unwrap();
        assert_eq!((batch.num_rows(), batch.column(1).null_count()), (2, 1));
        // Without the mark, and within a row.
        for cut in [2, 4] {
            let mut broken = decoder();
            broken.push(&sent[..sent.len() - cut]).unwrap();
            assert!(broken.finish().is_err());
        }
        let mut longer = decoder();
        longer.push(&sent).unwrap();
        longer.push(b"x").unwrap();
        assert!(longer.finish().is_err());
        assert!(decoder().finish().is_err());
        assert!(decoder().push(b"this is a text and nothing else").is_err());
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(cut in 0_usize..80) {
            let sent = sent();
            let (left, right) = sent.split_at(cut.min(sent.len()));
            let mut decoder = decoder();
            decoder.push(left).unwrap();
            decoder.push(right).unwrap();
            prop_assert_eq!(decoder.finish().unwrap().unwrap().num_rows(), 2);
        }

        #[test]
        fn garbage_is_refused_and_not_more(rest in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut decoder = decoder();
            let mut head = SIGNATURE.to_vec();
            head.extend([0; 8]);
            let _ = decoder.push(&head);
            let _ = decoder.push(&rest);
            let _ = decoder.finish();
        }
    }
}
