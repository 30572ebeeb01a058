//! Whole and decimal numbers and days as digits, without what formatting does for all other texts:
//! most cells of most results are these. It writes what formatting would write, or nothing.

use bytes::{BufMut, BytesMut};

/// Digits of the largest `u64`.
const LENGTH_MAX: usize = 20;

/// `00` to `99`, one after the other.
const PAIRS: [u8; 200] = {
    let mut pairs = [0; 200];
    let mut n = 0;
    while n < 100 {
        pairs[2 * n] = b'0' + (n / 10) as u8;
        pairs[2 * n + 1] = b'0' + (n % 10) as u8;
        n += 1;
    }
    pairs
};

/// A whole number.
pub(super) fn integer(value: i64, out: &mut BytesMut) {
    if value < 0 {
        out.put_u8(b'-');
    }
    unsigned(value.unsigned_abs(), out);
}

/// A whole number that is not negative.
pub(super) fn unsigned(value: u64, out: &mut BytesMut) {
    let mut buffer = [0; LENGTH_MAX];
    out.put_slice(digits(value, &mut buffer));
}

/// A number of `scale` digits behind the point, none of more than `precision` digits. `false`, and
/// nothing is written, when it is too large to be done quickly.
pub(super) fn decimal(value: i128, precision: u8, scale: i8, out: &mut BytesMut) -> bool {
    let (Ok(small), Ok(scale)) = (i64::try_from(value), usize::try_from(scale)) else {
        return false;
    };
    let mut buffer = [0; LENGTH_MAX];
    let digits = digits(small.unsigned_abs(), &mut buffer);
    if digits.len() > usize::from(precision) || scale >= LENGTH_MAX {
        return false;
    }
    if small < 0 {
        out.put_u8(b'-');
    }
    if scale == 0 {
        out.put_slice(digits);
    } else if let Some(whole @ 1..) = digits.len().checked_sub(scale) {
        out.put_slice(&digits[..whole]);
        out.put_u8(b'.');
        out.put_slice(&digits[whole..]);
    } else {
        out.put_slice(b"0.");
        out.put_bytes(b'0', scale - digits.len());
        out.put_slice(digits);
    }
    true
}

/// `2024-02-29`, for years of four digits.
pub(super) fn date(year: u16, month: u32, day: u32, out: &mut BytesMut) {
    let [century, year, month, day] =
        [u32::from(year) / 100, u32::from(year) % 100, month, day].map(pair);
    let text =
        [century[0], century[1], year[0], year[1], b'-', month[0], month[1], b'-', day[0], day[1]];
    out.put_slice(&text);
}

fn pair(value: u32) -> [u8; 2] {
    let at = 2 * (value as usize % 100);
    [PAIRS[at], PAIRS[at + 1]]
}

fn digits(mut value: u64, buffer: &mut [u8; LENGTH_MAX]) -> &[u8] {
    let mut start = LENGTH_MAX;
    while value >= 100 {
        start -= 2;
        let at = 2 * (value % 100) as usize;
        buffer[start..start + 2].copy_from_slice(&PAIRS[at..at + 2]);
        value /= 100;
    }
    if value >= 10 {
        start -= 2;
        let at = 2 * value as usize;
        buffer[start..start + 2].copy_from_slice(&PAIRS[at..at + 2]);
    } else {
        start -= 1;
        buffer[start] = b'0' + value as u8;
    }
    &buffer[start..]
}

#[cfg(test)]
mod tests {
    use arrow::{array::Decimal128Array, datatypes::DataType};
    use proptest::prelude::*;

    use super::*;

    fn written(write: impl FnOnce(&mut BytesMut)) -> String {
        let mut out = BytesMut::new();
        write(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn the_ends_of_what_there_is() {
        for value in [0, 9, 10, 99, 100, i64::MAX, i64::MIN, -1, -10] {
            assert_eq!(written(|out| integer(value, out)), value.to_string());
        }
        assert_eq!(written(|out| unsigned(u64::MAX, out)), u64::MAX.to_string());
        assert_eq!(written(|out| date(0, 1, 2, out)), "0000-01-02");
        assert_eq!(written(|out| date(9999, 12, 31, out)), "9999-12-31");
        let mut out = BytesMut::new();
        assert!(!decimal(i128::MAX, 38, 2, &mut out) && !decimal(1, 38, -1, &mut out));
        assert!(!decimal(100, 2, 1, &mut out) && out.is_empty());
    }

    proptest! {
        #[test]
        fn whole_numbers_are_what_formatting_makes_of_them(value: i64) {
            prop_assert_eq!(written(|out| integer(value, out)), value.to_string());
        }

        #[test]
        fn decimals_are_what_arrow_makes_of_them(
            value: i64, cut in 0_u32..19, precision in 19_u8..39, scale in 0_i8..19,
        ) {
            let value = i128::from(value / 10_i64.pow(cut.min(18)));
            let kind = DataType::Decimal128(precision, scale);
            let array = Decimal128Array::from(vec![value]).with_data_type(kind);
            let text = written(|out| assert!(decimal(value, precision, scale, out)));
            prop_assert_eq!(text, array.value_as_string(0));
        }
    }
}
