//! A hash of rows that does not depend on their order: the sum of the hashes of the single rows.
//!
//! Equal multisets of rows have equal hashes, however they are cut into batches and files; the hash
//! of two sets together is the sum of theirs. It tells accidents apart, not attackers.

use std::{fmt, sync::Arc};

use arrow::{
    array::{
        Array, ArrayData, ArrayRef, AsArray, RecordBatch, downcast_primitive_array, make_array,
    },
    compute::cast,
    datatypes::{
        ArrowPrimitiveType, DataType, Float32Type, Float64Type, Schema, SchemaRef, ToByteSlice,
    },
    error::ArrowError,
    row::{RowConverter, SortField},
};
use twox_hash::XxHash64;

use crate::floats::has_floats;

/// The hash of some rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsHash {
    sum: u128,
    rows: u64,
}

impl RowsHash {
    /// How many rows it is of.
    #[must_use]
    pub fn rows(self) -> u64 {
        self.rows
    }

    /// The hash of the rows of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { sum: self.sum.wrapping_add(other.sum), rows: self.rows + other.rows }
    }
}

/// 32 hexadecimal digits, without the number of rows.
impl fmt::Display for RowsHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.sum)
    }
}

/// Hashes rows of one schema.
///
/// Values count by what they are: every NaN is the same one, zero has no sign, and a text is the
/// same as a view, in a dictionary or alone. Names of columns do not count, their order does.
#[derive(Debug)]
pub struct RowHasher {
    columns: Vec<ColumnHasher>,
}

/// How the values of a column are hashed.
#[derive(Debug)]
enum ColumnHasher {
    /// Numbers, points in time, texts and bytes: as they lie in memory.
    Flat,
    /// The same with floating point numbers.
    Floats,
    /// As these values.
    Dictionary(DataType, Box<Self>),
    /// Whatever else can be compared: by the bytes of its order.
    Ordered { converter: RowConverter, floats: bool },
}

impl RowHasher {
    /// Fails on types that cannot be compared.
    pub fn new(schema: &Schema) -> Result<Self, ArrowError> {
        let columns = schema.fields().iter().map(|field| ColumnHasher::new(field.data_type()));
        Ok(Self { columns: columns.collect::<Result<_, _>>()? })
    }

    /// The hash of the rows of a batch.
    pub fn hash(&self, batch: &RecordBatch) -> Result<RowsHash, ArrowError> {
        let each = self.each(batch.columns(), batch.num_rows())?;
        let sum = each.iter().map(|row| widened(*row)).fold(0_u128, u128::wrapping_add);
        Ok(RowsHash { sum, rows: batch.num_rows() as u64 })
    }

    /// The hash of each of so many rows. Equal rows have equal hashes.
    pub(crate) fn each(&self, columns: &[ArrayRef], rows: usize) -> Result<Vec<u64>, ArrowError> {
        let mut hashes = vec![SEED; rows];
        for (column, hasher) in columns.iter().zip(&self.columns) {
            hasher.add(column, &mut hashes)?;
        }
        Ok(hashes)
    }
}

impl ColumnHasher {
    fn new(data_type: &DataType) -> Result<Self, ArrowError> {
        Ok(match data_type {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Self::Floats,
            DataType::Boolean
            | DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView => Self::Flat,
            primitive if primitive.is_primitive() => Self::Flat,
            DataType::Dictionary(_, values) => {
                Self::Dictionary(values.as_ref().clone(), Box::new(Self::new(values)?))
            }
            other => Self::Ordered {
                converter: RowConverter::new(vec![SortField::new(other.clone())])?,
                floats: has_floats(other),
            },
        })
    }

    fn add(&self, column: &ArrayRef, hashes: &mut [u64]) -> Result<(), ArrowError> {
        match self {
            Self::Flat => flat(column.as_ref(), hashes)?,
            Self::Floats => flat(plain(column)?.as_ref(), hashes)?,
            Self::Dictionary(values, hasher) => hasher.add(&cast(column, values)?, hashes)?,
            Self::Ordered { converter, floats } => {
                let column = if *floats { plain(column)? } else { Arc::clone(column) };
                let rows = converter.convert_columns(&[column])?;
                for (hash, row) in hashes.iter_mut().zip(rows.iter()) {
                    *hash = bytes(*hash, row.data());
                }
            }
        }
        Ok(())
    }
}

/// Digits of the golden ratio and of the square roots of 2, 3 and 5: odd, and without a pattern.
const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0x6a09_e667_f3bc_c909;
const NULL: u64 = 0xbb67_ae85_84ca_a73b;
const SECOND: u64 = 0x3c6e_f372_fe94_f82b;

/// One more word of a row: the two halves of a product, as in wyhash.
fn word(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    #[allow(clippy::cast_possible_truncation, reason = "both halves are meant")]
    let (high, low) = ((product >> 64) as u64, product as u64);
    // With its own sum a word that is equal to the hash does not lose what came before.
    (high ^ low).wrapping_add(hash.rotate_left(29))
}

/// The library is there already, for Parquet.
fn bytes(hash: u64, data: &[u8]) -> u64 {
    word(hash, XxHash64::oneshot(0, data))
}

/// 128 bits for one row, so that sums of many use all digits.
fn widened(hash: u64) -> u128 {
    (u128::from(word(SECOND, hash)) << 64) | u128::from(word(SEED, hash))
}

/// A value of fixed size, in words.
fn fixed(hash: u64, value: &[u8]) -> u64 {
    value.chunks(8).fold(hash, |hash, part| {
        let mut eight = [0; 8];
        eight[..part.len()].copy_from_slice(part);
        word(hash, u64::from_le_bytes(eight))
    })
}

fn flat(column: &dyn Array, hashes: &mut [u64]) -> Result<(), ArrowError> {
    downcast_primitive_array!(
        column => {
            match column.nulls() {
                None => for (hash, value) in hashes.iter_mut().zip(column.values()) {
                    *hash = fixed(*hash, value.to_byte_slice());
                },
                Some(_) => each(hashes, column.iter(), |hash, value| {
                    fixed(hash, value.to_byte_slice())
                }),
            }
        }
        DataType::Boolean => {
            each(hashes, column.as_boolean().iter(), |hash, value| word(hash, value.into()));
        }
        DataType::Utf8 => {
            each(hashes, column.as_string::<i32>().iter(), |hash, value| bytes(hash, value.as_bytes()));
        }
        DataType::LargeUtf8 => {
            each(hashes, column.as_string::<i64>().iter(), |hash, value| bytes(hash, value.as_bytes()));
        }
        DataType::Utf8View => {
            each(hashes, column.as_string_view().iter(), |hash, value| bytes(hash, value.as_bytes()));
        }
        DataType::Binary => each(hashes, column.as_binary::<i32>().iter(), bytes),
        DataType::LargeBinary => each(hashes, column.as_binary::<i64>().iter(), bytes),
        DataType::BinaryView => each(hashes, column.as_binary_view().iter(), bytes),
        other => {
            return Err(ArrowError::NotYetImplemented(format!("the hash of values of {other}")));
        }
    );
    Ok(())
}

fn each<V>(
    hashes: &mut [u64],
    values: impl Iterator<Item = Option<V>>,
    add: impl Fn(u64, V) -> u64,
) {
    for (hash, value) in hashes.iter_mut().zip(values) {
        *hash = value.map_or_else(|| word(*hash, NULL), |value| add(*hash, value));
    }
}

/// The same values with one NaN and one zero.
fn plain(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Float32 => Ok(floats::<Float32Type>(array)),
        DataType::Float64 => Ok(floats::<Float64Type>(array)),
        nested if has_floats(nested) => {
            let data: ArrayData = array.to_data();
            let below = data.child_data().iter().map(|child| {
                let child = make_array(child.clone());
                plain(&child).map(|child| child.to_data())
            });
            let below = below.collect::<Result<Vec<_>, _>>()?;
            Ok(make_array(data.into_builder().child_data(below).build()?))
        }
        _ => Ok(Arc::clone(array)),
    }
}

/// Numbers that know what a NaN is.
trait Float: Copy {
    fn plain(self) -> Self;
}

impl Float for f32 {
    fn plain(self) -> Self {
        // Both zeros are equal.
        if self.is_nan() {
            Self::NAN
        } else if self == 0.0 {
            0.0
        } else {
            self
        }
    }
}

impl Float for f64 {
    fn plain(self) -> Self {
        if self.is_nan() {
            Self::NAN
        } else if self == 0.0 {
            0.0
        } else {
            self
        }
    }
}

fn floats<T: ArrowPrimitiveType>(array: &ArrayRef) -> ArrayRef
where
    T::Native: Float,
{
    Arc::new(array.as_primitive::<T>().unary::<_, T>(Float::plain))
}

/// What a running statement has hashed so far.
#[derive(Debug)]
pub(crate) struct Hashing {
    hasher: RowHasher,
    sum: parking_lot::Mutex<RowsHash>,
}

impl Hashing {
    pub(crate) fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(Self { hasher: RowHasher::new(schema)?, sum: parking_lot::Mutex::default() })
    }

    pub(crate) fn add(&self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let hash = self.hasher.hash(batch)?;
        let mut sum = self.sum.lock();
        *sum = sum.and(hash);
        Ok(())
    }

    pub(crate) fn sum(&self) -> RowsHash {
        *self.sum.lock()
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            DictionaryArray, Float64Array, Int64Array, ListArray, StringArray, StringViewArray,
            StructArray,
        },
        compute::concat_batches,
        datatypes::{Field, Float64Type, Int32Type},
    };

    use super::*;

    fn hash(columns: Vec<ArrayRef>) -> RowsHash {
        let names = (0..columns.len()).map(|n| n.to_string());
        let batch = RecordBatch::try_from_iter(names.zip(columns)).unwrap();
        RowHasher::new(&batch.schema()).unwrap().hash(&batch).unwrap()
    }

    fn ints(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    #[test]
    fn rows_count_in_any_order_and_as_often_as_they_are_there() {
        let of = |values: &[Option<i64>]| hash(vec![ints(values)]);
        assert_eq!(of(&[Some(1), None, Some(2)]), of(&[Some(2), Some(1), None]));
        assert_ne!(of(&[Some(1), Some(1)]), of(&[Some(1)]));
        assert_ne!(of(&[Some(1), Some(1)]), of(&[Some(2), Some(2)]));
        assert_ne!(of(&[None]), of(&[Some(0)]));
        assert_eq!(of(&[Some(1)]).and(of(&[None, Some(2)])), of(&[Some(1), None, Some(2)]));
        assert_eq!(of(&[]), RowsHash::default());
        // Which values stand beside each other counts.
        let (a, b) = (ints(&[Some(1), Some(2)]), ints(&[Some(2), Some(1)]));
        assert_ne!(hash(vec![Arc::clone(&a), Arc::clone(&a)]), hash(vec![a, b]));
    }

    #[test]
    fn equal_values_are_equal_however_they_are_stored() {
        let texts = ["", "a", "longer than a view keeps", "a"];
        let plain: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let views: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
        let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
        let expected = hash(vec![plain]);
        assert_eq!(hash(vec![views]), expected);
        assert_eq!(hash(vec![Arc::new(dictionary)]), expected);

        let odd = f64::from_bits(f64::NAN.to_bits() | 1);
        let floats =
            |values: [f64; 3]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        let (one, other) = (floats([0.0, f64::NAN, 1.5]), floats([-0.0, -odd, 1.5]));
        assert_eq!(hash(vec![Arc::clone(&one)]), hash(vec![Arc::clone(&other)]));
        let nested = |values: ArrayRef| -> ArrayRef {
            let field = Arc::new(Field::new("f", DataType::Float64, true));
            Arc::new(StructArray::from(vec![(field, values)]))
        };
        assert_eq!(hash(vec![nested(one)]), hash(vec![nested(other)]));
        let list = |value: f64| -> ArrayRef {
            let lists = vec![Some(vec![Some(value), None]), None];
            Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))
        };
        assert_eq!(hash(vec![list(0.0)]), hash(vec![list(-0.0)]));
        assert_ne!(hash(vec![list(0.0)]), hash(vec![list(1.0)]));
    }

    #[test]
    fn cutting_rows_into_batches_changes_nothing() {
        let column = ints(&(0..1000).map(Some).collect::<Vec<_>>());
        let batch = RecordBatch::try_from_iter([("n", column)]).unwrap();
        let hasher = RowHasher::new(&batch.schema()).unwrap();
        let whole = hasher.hash(&batch).unwrap();
        let parts = [batch.slice(600, 400), batch.slice(0, 600)];
        let sum = parts.iter().map(|part| hasher.hash(part).unwrap());
        assert_eq!(sum.fold(RowsHash::default(), RowsHash::and), whole);
        let again = concat_batches(&batch.schema(), &parts).unwrap();
        assert_eq!(hasher.hash(&again).unwrap(), whole);
        assert_eq!(whole.rows(), 1000);
        assert_eq!(whole.to_string().len(), 32);
    }
}
