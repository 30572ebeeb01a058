//! Arrow values as cells: the text that Postgres prints, or its binary form.
//!
//! Nothing is collected: each cell goes from its column into the client's buffer.

mod binary;
mod digits;
mod json;
mod temporal;
mod text;

use arrow::{
    array::{Array, ArrayRef},
    datatypes::DataType,
};
use bytes::{BufMut, BytesMut};

use query::postgres::types::ColumnType;

use super::error::PgError;

pub(super) use temporal::POSTGRES_EPOCH_DAYS;

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Binary,
}

impl Format {
    /// By the code of the protocol.
    pub(super) fn of(code: i16) -> Result<Self, PgError> {
        match code {
            0 => Ok(Self::Text),
            1 => Ok(Self::Binary),
            other => Err(PgError::protocol(format!("there is no format {other}"))),
        }
    }

    /// The code of the protocol.
    pub(super) fn code(self) -> i16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// One cell of a row, with its length before it.
pub(super) fn cell(
    column: &ArrayRef,
    row: usize,
    format: Format,
    out: &mut BytesMut,
) -> Result<(), PgError> {
    if is_null(column.as_ref(), row) {
        out.put_i32(-1);
        return Ok(());
    }
    sized(out, |out| match format {
        Format::Text => text::value(column.as_ref(), row, out),
        Format::Binary => {
            binary::value(column.as_ref(), row, ColumnType::of(column.data_type()), out)
        }
    })
}

/// Whether there is no value. An array of nothing but NULLs says so by its type alone.
pub(super) fn is_null(array: &dyn Array, row: usize) -> bool {
    *array.data_type() == DataType::Null || array.is_null(row)
}

/// A value as text, as a cell has it and without a length: for COPY.
pub(super) fn plain(column: &ArrayRef, row: usize, out: &mut BytesMut) -> Result<(), PgError> {
    text::value(column.as_ref(), row, out)
}

/// Writes with the number of bytes before it.
fn sized(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), PgError>,
) -> Result<(), PgError> {
    let start = out.len();
    out.put_i32(0);
    write(out)?;
    let length = out.len() - start - 4;
    let length = i32::try_from(length).map_err(|_| PgError::too_long(length, i32::MAX as usize))?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// A column whose type says another thing than its values: a defect.
fn defect(data_type: &DataType) -> PgError {
    PgError::new("XX000", format!("a value of type {data_type} cannot be sent"))
}

#[cfg(test)]
mod tests;
