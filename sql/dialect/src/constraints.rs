//! The list in parentheses after the name of a transform: columns, keys and expectations.

use model::transform::{DeclaredColumn, Expectation, KeyMode, OnViolation};
use sqlparser::tokenizer::{Location, Token};

use crate::{
    checks, clauses,
    cursor::Cursor,
    define::{column_option_error, constraint_ahead, is_column_option},
    error::{SyntaxError, nearest},
    statement::{AddedConstraint, DeclaredKey, DeclaredKeyKind},
};

const KINDS: [&str; 4] = ["EXPECT", "PRIMARY KEY", "UNIQUE", "FOREIGN KEY"];

/// What such a list holds.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    pub(crate) columns: Vec<DeclaredColumn>,
    pub(crate) expectations: Vec<Expectation>,
    pub(crate) keys: Vec<DeclaredKey>,
}

/// A key whose name may have to be made, and where its columns stand.
struct ReadKey {
    name: Option<String>,
    columns: Vec<(String, Location)>,
    kind: DeclaredKeyKind,
    mode: KeyMode,
}

/// Reads such a list, if there is one. Keys without a name get one that begins with `object`.
pub(crate) fn declared(cursor: &mut Cursor<'_>, object: &str) -> Result<Declared, SyntaxError> {
    if !matches!(cursor.peek(), Token::LParen) {
        return Ok(Declared::default());
    }
    let mut list = List::default();
    cursor.expect_token(&Token::LParen)?;
    loop {
        if constraint_ahead(cursor).is_some() {
            list.constraint(cursor)?;
        } else {
            list.column(cursor)?;
        }
        if !cursor.take_token(&Token::Comma) {
            break;
        }
    }
    if !cursor.take_token(&Token::RParen) {
        return Err(cursor.expected(", or )"));
    }
    list.finish(object)
}

/// `CONSTRAINT name …`, of a transform that is there.
pub(crate) fn added(cursor: &mut Cursor<'_>, object: &str) -> Result<AddedConstraint, SyntaxError> {
    let mut list = List::default();
    list.constraint(cursor)?;
    let Declared { expectations, keys, .. } = list.finish(object)?;
    let expectation = expectations.into_iter().next().map(AddedConstraint::Expectation);
    let key = keys.into_iter().next().map(AddedConstraint::Key);
    expectation.or(key).ok_or_else(|| cursor.expected_one_of(&KINDS))
}

#[derive(Default)]
struct List {
    columns: Vec<DeclaredColumn>,
    expectations: Vec<Expectation>,
    keys: Vec<ReadKey>,
}

impl List {
    /// `[CONSTRAINT name] …`.
    fn constraint(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let name = self.name(cursor)?;
        match cursor.word().as_str() {
            "EXPECT" => {
                let Some(name) = name else {
                    return Err(cursor
                        .error("an expectation needs a name")
                        .with_hint("write CONSTRAINT name EXPECT (…)"));
                };
                self.expectations.push(expectation(cursor, name)?);
            }
            "CHECK" => {
                return Err(cursor
                    .unsupported("CHECK of a transform")
                    .with_hint("write CONSTRAINT name EXPECT (…) ON VIOLATION FAIL UPDATE"));
            }
            "PRIMARY" | "UNIQUE" | "FOREIGN" => {
                let at = cursor.here();
                let key = key(cursor, name)?;
                self.push_key(key, at)?;
            }
            _ => return Err(cursor.expected_one_of(&KINDS)),
        }
        Ok(())
    }

    /// `CONSTRAINT name`, if it comes next; each name once.
    fn name(&self, cursor: &mut Cursor<'_>) -> Result<Option<String>, SyntaxError> {
        if !cursor.take("CONSTRAINT") {
            return Ok(None);
        }
        let at = cursor.here();
        let name = cursor.ident("the name of a constraint")?;
        if self.has(&name) {
            return Err(SyntaxError::new(at, format!("constraint '{name}' is given twice")));
        }
        Ok(Some(name))
    }

    /// Names are shown in tables and kept as properties, where case makes no difference.
    fn has(&self, name: &str) -> bool {
        let keys = self.keys.iter().filter_map(|key| key.name.as_deref());
        let expectations = self.expectations.iter().map(|expectation| expectation.name.as_str());
        keys.chain(expectations).any(|other| other.eq_ignore_ascii_case(name))
    }

    fn push_key(&mut self, key: ReadKey, at: Location) -> Result<(), SyntaxError> {
        let is_primary = |key: &ReadKey| key.kind == DeclaredKeyKind::Primary;
        if is_primary(&key) && self.keys.iter().any(is_primary) {
            return Err(SyntaxError::new(at, "there is one primary key").with_hint(
                "write PRIMARY KEY (a, b) for a key of several columns, or UNIQUE (…)",
            ));
        }
        self.keys.push(key);
        Ok(())
    }

    /// `name [type] [NOT NULL] [COMMENT text] [PRIMARY KEY [mode]]`.
    fn column(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let at = cursor.here();
        let name = cursor.ident("the name of a column")?;
        if self.columns.iter().any(|column| column.name == name) {
            return Err(SyntaxError::new(at, format!("column '{name}' is declared twice")));
        }
        let no_type = matches!(cursor.peek(), Token::Comma | Token::RParen)
            || is_column_option(&cursor.word());
        let data_type = if no_type { None } else { Some(data_type_text(cursor)?) };
        let mut column = DeclaredColumn { name, data_type, not_null: false, comment: None };
        let mut key_said = false;
        while !matches!(cursor.peek(), Token::Comma | Token::RParen | Token::EOF) {
            match cursor.word().as_str() {
                "NOT" if !column.not_null => {
                    cursor.expect("NOT NULL")?;
                    column.not_null = true;
                }
                "COMMENT" if column.comment.is_none() => {
                    column.comment = Some(clauses::comment(cursor)?)
                }
                "PRIMARY" | "CONSTRAINT" if !key_said => {
                    key_said = true;
                    let name = self.name(cursor)?;
                    let key_at = cursor.here();
                    cursor.expect("PRIMARY KEY")?;
                    let key = ReadKey {
                        name,
                        columns: vec![(column.name.clone(), at)],
                        kind: DeclaredKeyKind::Primary,
                        mode: key_mode(cursor)?,
                    };
                    self.push_key(key, key_at)?;
                }
                word => {
                    let options = ["NOT NULL", "COMMENT", "PRIMARY KEY"];
                    return Err(column_option_error(cursor, word, &options));
                }
            }
        }
        self.columns.push(column);
        Ok(())
    }

    fn finish(mut self, object: &str) -> Result<Declared, SyntaxError> {
        let known: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        for (name, at) in self.keys.iter().flat_map(|key| &key.columns) {
            if known.is_empty() || known.contains(&name.as_str()) {
                continue;
            }
            let error = SyntaxError::new(*at, format!("there is no column '{name}'"));
            return Err(match nearest(name, &known) {
                Some(meant) => error.with_hint(format!("did you mean {meant}?")),
                None => error.with_hint(format!("columns are {}", known.join(", "))),
            });
        }
        for n in 0..self.keys.len() {
            if self.keys[n].name.is_none() {
                let made = self.free_name(object, &self.keys[n]);
                self.keys[n].name = Some(made);
            }
        }
        let keys = self.keys.into_iter().map(|key| DeclaredKey {
            name: key.name.unwrap_or_default(),
            columns: key.columns.into_iter().map(|(column, _)| column).collect(),
            kind: key.kind,
            mode: key.mode,
        });
        Ok(Declared {
            columns: self.columns,
            expectations: self.expectations,
            keys: keys.collect(),
        })
    }

    /// `orders_pkey`, `orders_a_b_key`, `orders_a_fkey`, with a number when it is taken.
    fn free_name(&self, object: &str, key: &ReadKey) -> String {
        let columns: Vec<&str> = key.columns.iter().map(|(column, _)| column.as_str()).collect();
        let columns = columns.join("_");
        let name = match key.kind {
            DeclaredKeyKind::Primary => format!("{object}_pkey"),
            DeclaredKeyKind::Unique { .. } => format!("{object}_{columns}_key"),
            DeclaredKeyKind::Foreign { .. } => format!("{object}_{columns}_fkey"),
        };
        let numbered = (1..).map(|n| format!("{name}{n}"));
        let mut names = [name.clone()].into_iter().chain(numbered);
        names.find(|name| !self.has(name)).unwrap_or(name)
    }
}

fn data_type_text(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    let from = cursor.here();
    cursor.data_type()?;
    Ok(cursor.text_until_here(from))
}

/// `EXPECT (condition) [ON VIOLATION …]`.
fn expectation(cursor: &mut Cursor<'_>, name: String) -> Result<Expectation, SyntaxError> {
    cursor.expect("EXPECT")?;
    for what in ["TABLE", "FRESH WITHIN", "ROW COUNT"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("EXPECT {what}"))
                .with_hint("write a condition over the columns of one row: EXPECT (a > 0)"));
        }
    }
    if !matches!(cursor.peek(), Token::LParen) {
        return Err(cursor
            .expected("a condition in parentheses")
            .with_hint("write CONSTRAINT name EXPECT (a > 0)"));
    }
    let condition = checks::normal_expression(cursor, "an expectation")?;
    let mut on_violation = OnViolation::Keep;
    if cursor.take("ON VIOLATION") {
        let known = OnViolation::ALL.into_iter().find(|known| cursor.take(known.as_sql()));
        on_violation = known.ok_or_else(|| {
            cursor.expected_one_of(&["FAIL UPDATE", "DROP ROW", "QUARANTINE ROW", "KEEP ROW"])
        })?;
    }
    Ok(Expectation { name, condition, on_violation })
}

/// `PRIMARY KEY (…)`, `UNIQUE (…)` or `FOREIGN KEY (…) REFERENCES …`, and who keeps it.
fn key(cursor: &mut Cursor<'_>, name: Option<String>) -> Result<ReadKey, SyntaxError> {
    if cursor.take("UNIQUE") {
        let mut nulls_equal = nulls(cursor)?;
        let columns = cursor.columns()?;
        if nulls_equal.is_none() {
            nulls_equal = nulls(cursor)?;
        }
        let kind = DeclaredKeyKind::Unique { nulls_equal: nulls_equal.unwrap_or(false) };
        return Ok(ReadKey { name, columns, kind, mode: key_mode(cursor)? });
    }
    if cursor.sees("PRIMARY") {
        cursor.expect("PRIMARY KEY")?;
        let columns = cursor.columns()?;
        let kind = DeclaredKeyKind::Primary;
        return Ok(ReadKey { name, columns, kind, mode: key_mode(cursor)? });
    }
    cursor.expect("FOREIGN KEY")?;
    let columns = cursor.columns()?;
    cursor.expect("REFERENCES")?;
    let references = cursor.name("the name of the other table")?;
    let at = cursor.here();
    let mut others: Vec<String> = Vec::new();
    if matches!(cursor.peek(), Token::LParen) {
        others = cursor.columns()?.into_iter().map(|(column, _)| column).collect();
    }
    if !others.is_empty() && others.len() != columns.len() {
        let (ours, theirs) = (columns.len(), others.len());
        let text = format!("the key has {ours} columns, but {theirs} of the other table are named");
        return Err(SyntaxError::new(at, text));
    }
    // This is what the others do anyway: nothing.
    while cursor.take("ON UPDATE NO ACTION") || cursor.take("ON DELETE NO ACTION") {}
    for what in ["MATCH", "ON UPDATE", "ON DELETE"] {
        if cursor.sees(what) {
            return Err(cursor
                .unsupported(&format!("FOREIGN KEY … {what}"))
                .with_hint("leave it out: a foreign key is checked, and changes no rows"));
        }
    }
    let kind = DeclaredKeyKind::Foreign { references, columns: others };
    Ok(ReadKey { name, columns, kind, mode: key_mode(cursor)? })
}

/// `NULLS [NOT] DISTINCT`: whether two NULLs are equal.
fn nulls(cursor: &mut Cursor<'_>) -> Result<Option<bool>, SyntaxError> {
    if cursor.take("NULLS DISTINCT") {
        Ok(Some(false))
    } else if cursor.take("NULLS NOT DISTINCT") {
        Ok(Some(true))
    } else if cursor.take("NULLS") {
        Err(cursor.expected_one_of(&["DISTINCT", "NOT DISTINCT"]))
    } else {
        Ok(None)
    }
}

/// Who keeps a key: each run when nothing is said. DEFERRABLE and INITIALLY DEFERRED is every key: it
/// is checked once, before the commit.
fn key_mode(cursor: &mut Cursor<'_>) -> Result<KeyMode, SyntaxError> {
    const WORDS: [(&str, &[&str]); 6] = [
        ("VERIFIED", &["RELY", "NORELY", "NOT ENFORCED"]),
        ("RELY", &["VERIFIED", "NORELY"]),
        ("NORELY", &["VERIFIED", "RELY"]),
        ("NOT ENFORCED", &["VERIFIED"]),
        ("DEFERRABLE", &[]),
        ("INITIALLY DEFERRED", &[]),
    ];
    let mut said: Vec<&str> = Vec::new();
    while let Some((word, excluded)) = WORDS.into_iter().find(|(word, _)| cursor.sees(word)) {
        if said.contains(&word) || excluded.iter().any(|other| said.contains(other)) {
            return Err(cursor.error(format!("{word} does not fit with what was said before")));
        }
        said.push(word);
        cursor.take(word);
    }
    if cursor.sees("ENFORCED") {
        return Err(cursor.expected_one_of(&["VERIFIED"]).with_hint("did you mean VERIFIED?"));
    }
    for what in ["NOT DEFERRABLE", "INITIALLY IMMEDIATE"] {
        if cursor.sees(what) {
            return Err(cursor.unsupported(&format!("a key that is {what}")).with_hint(
                "leave it out, or write INITIALLY DEFERRED: keys are checked before the commit",
            ));
        }
    }
    Ok(if said.contains(&"RELY") {
        KeyMode::Rely
    } else if said.contains(&"NORELY") || said.contains(&"NOT ENFORCED") {
        KeyMode::NotEnforced
    } else {
        KeyMode::Verified
    })
}

#[cfg(test)]
mod tests;
