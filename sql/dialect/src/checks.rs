//! CHECK constraints.
//!
//! Their conditions are kept as text; they are read here only to find what is wrong with them.

use sqlparser::tokenizer::Token;

use crate::{cursor::Cursor, error::SyntaxError, rows, statement::Check};

/// The constraints of a new table, in the order in which they were written.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    all: Vec<(Option<String>, String)>,
}

impl Checks {
    /// `[CONSTRAINT name] CHECK (condition)`, each name once.
    pub(crate) fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let mut name = None;
        if cursor.take("CONSTRAINT") {
            let at = cursor.here();
            let said = cursor.ident("the name of a constraint")?;
            if self.has(&said) {
                return Err(SyntaxError::new(at, format!("constraint '{said}' is given twice")));
            }
            name = Some(said);
        }
        self.all.push((name, condition(cursor)?));
        Ok(())
    }

    /// All of them with a name: `table_check`, `table_check1` and so on where none was said.
    pub(crate) fn named(mut self, table: &str) -> Vec<Check> {
        for n in 0..self.all.len() {
            if self.all[n].0.is_none() {
                let free = (0..)
                    .map(|n| match n {
                        0 => format!("{table}_check"),
                        n => format!("{table}_check{n}"),
                    })
                    .find(|name| !self.has(name));
                self.all[n].0 = free;
            }
        }
        let named = self.all.into_iter();
        named.map(|(name, condition)| Check { name: name.unwrap_or_default(), condition }).collect()
    }

    /// Names of constraints are keys of properties, where case makes no difference.
    fn has(&self, name: &str) -> bool {
        self.all
            .iter()
            .any(|(other, _)| other.as_ref().is_some_and(|other| other.eq_ignore_ascii_case(name)))
    }
}

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
