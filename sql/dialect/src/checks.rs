//! CHECK constraints.
//!
//! Their conditions are kept as text; they are read here only to find what is wrong with them.

use sqlparser::tokenizer::Token;

use crate::{cursor::Cursor, error::SyntaxError, rows};

/// `CHECK (condition)`: the text between the parentheses.
pub(crate) fn condition(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    cursor.expect("CHECK")?;
    cursor.expect_token(&Token::LParen)?;
    let from = cursor.here();
    let expression = cursor.expression()?;
    let text = cursor.text_until_here(from);
    if !cursor.take_token(&Token::RParen) {
        return Err(cursor.expected(")"));
    }
    cursor.refuse_parameters("a CHECK")?;
    let read = cursor.finish(rows::select(vec![expression], Vec::new(), None))?;
    if !read.tables.is_empty() {
        return Err(SyntaxError::new(from, "a CHECK cannot read other tables")
            .with_hint("name columns of the row only"));
    }
    if cursor.sees("NOT ENFORCED") || cursor.sees("NOT VALID") {
        let what =
            if cursor.sees("NOT VALID") { "CHECK … NOT VALID" } else { "CHECK … NOT ENFORCED" };
        return Err(cursor
            .unsupported(what)
            .with_hint("leave it out: every row has to fulfil the condition"));
    }
    let _said = cursor.take("ENFORCED");
    Ok(text)
}
