//! A part of all keys, chosen by their hashes: the same ones always, and a larger part has those of a
//! smaller one.

use arrow::{
    array::{ArrayRef, BooleanArray},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};

use crate::{floats::has_floats, row_hash::RowHasher};

/// All keys.
const MILLION: u32 = 1_000_000;

/// Picks rows by the hash of their key, the values of some columns.
#[derive(Debug)]
pub struct KeySample {
    hasher: RowHasher,
    per_million: u32,
}

impl KeySample {
    /// Of keys of these types so many of a million. Fails on types that cannot be compared.
    pub fn new(types: &[DataType], per_million: u32) -> Result<Self, ArrowError> {
        let fields = types.iter().map(|data_type| Field::new("", data_type.clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        Ok(Self { hasher: RowHasher::new(&schema)?, per_million })
    }

    /// Whether each of so many rows is in the sample. Rows of equal keys are in it together or not at
    /// all, whatever else they have and however the values are stored.
    pub fn picks(&self, keys: &[ArrayRef], rows: usize) -> Result<BooleanArray, ArrowError> {
        let hashes = self.hasher.each(keys, rows)?;
        let picked = |hash: u64| place(hash) < u64::from(self.per_million);
        Ok(hashes.into_iter().map(picked).collect::<Vec<bool>>().into())
    }
}

/// Where a key stands among a million equal parts of all hashes.
fn place(hash: u64) -> u64 {
    let scaled = u128::from(hash) * u128::from(MILLION);
    u64::try_from(scaled >> 64).expect("it is below a million")
}

/// Whether values of a type can choose a sample: those that are computed twice have to be the same to
/// the last bit, which floating point numbers are not, and have one order of their parts, which maps
/// have not.
#[must_use]
pub fn can_choose(data_type: &DataType) -> bool {
    !has_floats(data_type) && !has_map(data_type)
}

fn has_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => has_map(field.data_type()),
        DataType::Dictionary(_, values) => has_map(values),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, DictionaryArray, Int64Array, LargeStringArray, StringArray, StringViewArray,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn picked(keys: &[ArrayRef], per_million: u32) -> Vec<bool> {
        let types: Vec<_> = keys.iter().map(|key| key.data_type().clone()).collect();
        let sample = KeySample::new(&types, per_million).unwrap();
        let picked = sample.picks(keys, keys[0].len()).unwrap();
        assert_eq!(picked.null_count(), 0);
        picked.iter().flatten().collect()
    }

    fn count(picked: &[bool]) -> usize {
        picked.iter().filter(|is_in| **is_in).count()
    }

    #[test]
    fn a_sample_has_about_its_part_and_a_larger_one_has_it_too() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100_000));
        let mut before = vec![false; ids.len()];
        for (per_million, least, most) in [
            (1, 0, 4),
            (1_000, 60, 140),
            (50_000, 4_700, 5_300),
            (500_000, 49_000, 51_000),
            (1_000_000, 100_000, 100_000),
        ] {
            let now = picked(&[Arc::clone(&ids)], per_million);
            assert!((least..=most).contains(&count(&now)), "{per_million}: {}", count(&now));
            assert!(before.iter().zip(&now).all(|(before, now)| *now || !before));
            before = now;
        }
    }

    #[test]
    fn equal_keys_are_picked_together_however_they_are_stored() {
        let texts: Vec<_> = (0..1_000).map(|n| format!("a key of some length {n}")).collect();
        let plain: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let expected = picked(&[plain], 200_000);
        let some = |array: ArrayRef| assert_eq!(picked(&[array], 200_000), expected);
        some(Arc::new(StringViewArray::from_iter_values(&texts)));
        some(Arc::new(LargeStringArray::from(texts.clone())));
        let dictionary: DictionaryArray<Int32Type> = texts.iter().map(String::as_str).collect();
        some(Arc::new(dictionary));
        // No value is a value too.
        let nothing: ArrayRef = Arc::new(Int64Array::from(vec![None, None, None]));
        let nothing = picked(&[nothing], 500_000);
        assert!(count(&nothing) == 0 || count(&nothing) == 3);
    }

    #[test]
    fn what_is_not_the_same_to_the_last_bit_chooses_nothing() {
        let list = |of| DataType::new_list(of, true);
        for exact in [DataType::Int64, DataType::Utf8View, list(DataType::Date32), DataType::Null] {
            assert!(can_choose(&exact), "{exact}");
        }
        let entries = Field::new_struct(
            "entries",
            vec![
                Field::new("key", DataType::Utf8, false),
                Field::new("value", DataType::Utf8, true),
            ],
            false,
        );
        let map = DataType::Map(Arc::new(entries), false);
        for other in [DataType::Float64, list(DataType::Float32), map.clone(), list(map)] {
            assert!(!can_choose(&other), "{other}");
        }
    }
}
