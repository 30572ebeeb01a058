//! Types of the wire as types of Postgres: what clients are told, and what the catalog says of columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

/// A type that Postgres clients know, with its object identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum PgType {
    /// `bool`.
    Bool = 16,
    /// `bytea`.
    Bytea = 17,
    /// `int8`.
    Int8 = 20,
    /// `int2`.
    Int2 = 21,
    /// `int4`.
    Int4 = 23,
    /// `text`.
    Text = 25,
    /// `json`.
    Json = 114,
    /// `float4`.
    Float4 = 700,
    /// `float8`.
    Float8 = 701,
    /// `date`.
    Date = 1082,
    /// `time`.
    Time = 1083,
    /// `timestamp`.
    Timestamp = 1114,
    /// `timestamptz`.
    Timestamptz = 1184,
    /// `interval`.
    Interval = 1186,
    /// `numeric`.
    Numeric = 1700,
}

impl PgType {
    /// Its object identifier, the same in every Postgres.
    #[must_use]
    pub fn oid(self) -> u32 {
        self as u32
    }

    /// That of its arrays.
    #[must_use]
    pub fn array_oid(self) -> u32 {
        match self {
            Self::Bool => 1000,
            Self::Bytea => 1001,
            Self::Int8 => 1016,
            Self::Int2 => 1005,
            Self::Int4 => 1007,
            Self::Text => 1009,
            Self::Json => 199,
            Self::Float4 => 1021,
            Self::Float8 => 1022,
            Self::Date => 1182,
            Self::Time => 1183,
            Self::Timestamp => 1115,
            Self::Timestamptz => 1185,
            Self::Interval => 1187,
            Self::Numeric => 1231,
        }
    }

    /// Bytes of a value; -1 where they differ.
    #[must_use]
    pub fn size(self) -> i16 {
        match self {
            Self::Bool => 1,
            Self::Int2 => 2,
            Self::Int4 | Self::Float4 | Self::Date => 4,
            Self::Int8 | Self::Float8 | Self::Time | Self::Timestamp | Self::Timestamptz => 8,
            Self::Interval => 16,
            Self::Bytea | Self::Text | Self::Json | Self::Numeric => -1,
        }
    }

    /// The scalar type under which values of an Arrow type travel; what Postgres has no type for is
    /// JSON text. Unsigned numbers go into the next wider type.
    #[must_use]
    pub fn of_scalar(data_type: &DataType) -> Self {
        use DataType as T;
        match data_type {
            T::Boolean => Self::Bool,
            T::Int8 | T::Int16 | T::UInt8 => Self::Int2,
            T::Int32 | T::UInt16 => Self::Int4,
            T::Int64 | T::UInt32 => Self::Int8,
            T::Float16 | T::Float32 => Self::Float4,
            T::Float64 => Self::Float8,
            T::UInt64
            | T::Decimal32(..)
            | T::Decimal64(..)
            | T::Decimal128(..)
            | T::Decimal256(..) => Self::Numeric,
            T::Utf8 | T::LargeUtf8 | T::Utf8View | T::Null => Self::Text,
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Self::Bytea,
            T::Date32 | T::Date64 => Self::Date,
            T::Time32(_) | T::Time64(_) => Self::Time,
            T::Timestamp(_, None) => Self::Timestamp,
            T::Timestamp(_, Some(_)) => Self::Timestamptz,
            T::Interval(_) | T::Duration(_) => Self::Interval,
            _ => Self::Json,
        }
    }
}

/// How a column travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// One value.
    Scalar(PgType),
    /// An array of values.
    Array(PgType),
}

impl ColumnType {
    /// How columns of an Arrow type travel.
    #[must_use]
    pub fn of(data_type: &DataType) -> Self {
        let mut inner = data_type;
        let mut is_array = false;
        while let Some(item) = item_of(inner) {
            inner = item.data_type();
            is_array = true;
        }
        match (is_array, PgType::of_scalar(inner)) {
            // Structs, maps and unions in a list make all of it JSON.
            (true, PgType::Json) => Self::Scalar(PgType::Json),
            (true, item) => Self::Array(item),
            (false, scalar) => Self::Scalar(scalar),
        }
    }

    /// Its object identifier.
    #[must_use]
    pub fn oid(self) -> u32 {
        match self {
            Self::Scalar(scalar) => scalar.oid(),
            Self::Array(item) => item.array_oid(),
        }
    }

    /// Bytes of a value; -1 where they differ.
    #[must_use]
    pub fn size(self) -> i16 {
        match self {
            Self::Scalar(scalar) => scalar.size(),
            Self::Array(_) => -1,
        }
    }
}

/// What a list holds.
#[must_use]
pub fn item_of(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item)
        }
        _ => None,
    }
}

/// Precision and scale of a numeric, or -1.
#[must_use]
pub fn modifier(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale)
            if *scale >= 0 =>
        {
            (i32::from(*precision) << 16 | i32::from(*scale)) + 4
        }
        _ => -1,
    }
}

/// Where a parameter's field holds the type that its statement gives it.
const GIVEN: &str = "postgres.type";

/// Notes of parameters which types of Postgres their statement gives them.
pub(crate) fn with_given(parameters: SchemaRef, given: &[(usize, u32)]) -> SchemaRef {
    if given.is_empty() {
        return parameters;
    }
    let field =
        |(n, field): (usize, &FieldRef)| match given.iter().find(|(number, _)| *number == n + 1) {
            Some((_, oid)) => {
                let noted = [(GIVEN.to_owned(), oid.to_string())].into();
                Arc::new(field.as_ref().clone().with_metadata(noted))
            }
            None => Arc::clone(field),
        };
    Arc::new(Schema::new(parameters.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// The type of Postgres that a parameter has: the one that its statement gives it, else that of its
/// values.
#[must_use]
pub fn of_parameter(field: &Field) -> u32 {
    let given = field.metadata().get(GIVEN).and_then(|oid| oid.parse().ok());
    given.unwrap_or_else(|| ColumnType::of(field.data_type()).oid())
}

/// The Arrow type of a parameter that a client declared by its identifier; text for what we do not
/// know, which the statement then casts.
#[must_use]
pub fn declared(oid: u32) -> Option<DataType> {
    let micros = TimeUnit::Microsecond;
    Some(match oid {
        16 => DataType::Boolean,
        17 => DataType::Binary,
        20 => DataType::Int64,
        21 => DataType::Int16,
        // oid counts as a whole number.
        23 => DataType::Int32,
        26 => DataType::Int64,
        700 => DataType::Float32,
        701 => DataType::Float64,
        1082 => DataType::Date32,
        1083 => DataType::Time64(micros),
        1114 => DataType::Timestamp(micros, None),
        1184 => DataType::Timestamp(micros, Some("UTC".into())),
        // text, char, name, bpchar, varchar, json, jsonb, uuid, unknown
        18 | 19 | 25 | 114 | 705 | 1042 | 1043 | 2950 | 3802 => DataType::Utf8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new("item", item, true)))
    }

    #[test]
    fn unsigned_numbers_fit_and_lists_of_scalars_are_arrays() {
        let of = |data_type: &DataType| ColumnType::of(data_type).oid();
        assert_eq!(of(&DataType::UInt8), 21);
        assert_eq!(of(&DataType::UInt32), 20);
        assert_eq!(of(&DataType::UInt64), 1700);
        assert_eq!(of(&list(DataType::UInt64)), 1231);
        assert_eq!(of(&list(list(DataType::Utf8))), 1009);
        let record = DataType::Struct(vec![Field::new("a", DataType::Int32, true)].into());
        assert_eq!(of(&record), 114);
        assert_eq!(of(&list(record)), 114);
    }

    #[test]
    fn precision_and_scale_are_told_as_postgres_does() {
        assert_eq!(modifier(&DataType::Decimal128(10, 2)), 655_366);
        assert_eq!(modifier(&DataType::Int64), -1);
    }
}
