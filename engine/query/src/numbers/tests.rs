use datafusion::sql::parser::DFParser;

use super::{exact, size};

#[test]
fn numbers_with_more_digits_than_a_double_keeps_are_decimals() {
    for (text, expected) in [
        ("1234567890123456.78", Some((18, 2))),
        ("99999999999999.99", Some((16, 2))),
        ("0.1234567890123456", Some((16, 16))),
        ("00.1234567890123456", Some((16, 16))),
        ("9007199254740992.5", Some((17, 1))),
        ("18446744073709551616", Some((20, 0))),
        ("12345678901234567890123456789012345678", Some((38, 0))),
        // As they are: a DOUBLE keeps them, or a whole number of 64 bits does.
        ("0.1", None),
        ("123456789012.345", None),
        ("100000000000000000000.0", None),
        ("9223372036854775807", None),
        ("18446744073709551615", None),
        // A DOUBLE by what it says, and what no DECIMAL holds.
        ("1.2345678901234567e3", None),
        ("123456789012345678901234567890123456789", None),
    ] {
        assert_eq!(size(text), expected, "{text}");
    }
}

#[test]
fn they_are_found_wherever_they_stand() {
    let text = "EXPLAIN SELECT -1234567890123456.78 AS a FROM t WHERE b IN (SELECT 1.5 FROM u \
                WHERE c > 9007199254740992.5) LIMIT 3";
    let mut statement = DFParser::parse_sql(text).unwrap().pop_front().unwrap();
    exact(&mut statement);
    let printed = statement.to_string();
    assert!(printed.contains("-CAST('1234567890123456.78' AS DECIMAL(18,2))"), "{printed}");
    assert!(printed.contains("c > CAST('9007199254740992.5' AS DECIMAL(17,1))"), "{printed}");
    assert!(printed.contains("SELECT 1.5 FROM"), "{printed}");
}

#[test]
fn whole_numbers_below_64_bits_are_decimals() {
    let text = "SELECT -9223372036854775809, -9223372036854775808, 9223372036854775809";
    let mut statement = DFParser::parse_sql(text).unwrap().pop_front().unwrap();
    exact(&mut statement);
    assert_eq!(
        statement.to_string(),
        "SELECT -CAST('9223372036854775809' AS DECIMAL(19,0)), -9223372036854775808, \
         9223372036854775809"
    );
}
