//! Users, their passwords, and tokens.

use model::secret::Secret;
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::{
    cursor::{Cursor, slice},
    error::SyntaxError,
    jobs::interval_ms,
    parse::parse,
    rights::literal,
    statement::{Expiry, RightsStatement, Statement},
    tokens::{DIALECT, is_unquoted},
};

/// What is shown instead of a secret.
const HIDDEN: &str = "'***'";

/// After CREATE USER: `[IF NOT EXISTS] name [WITH] [PASSWORD 'text']`.
pub(crate) fn create(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.ident("the name of a user")?;
    let password = password(cursor)?;
    Ok(Statement::Rights(RightsStatement::CreateUser { name, password, if_not_exists }))
}

/// After ALTER USER: `name [WITH] PASSWORD 'text'`.
pub(crate) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let name = cursor.ident("the name of a user")?;
    let Some(password) = password(cursor)? else {
        return Err(cursor
            .expected("PASSWORD")
            .with_hint("roles come and go with GRANT and REVOKE, everything else is of roles"));
    };
    Ok(Statement::Rights(RightsStatement::SetPassword { name, password }))
}

/// As Postgres and others say it.
fn password(cursor: &mut Cursor<'_>) -> Result<Option<Secret>, SyntaxError> {
    let with = cursor.take("WITH");
    if !(cursor.take("ENCRYPTED PASSWORD")
        || cursor.take("PASSWORD")
        || cursor.take("IDENTIFIED BY"))
    {
        return if with { Err(cursor.expected("PASSWORD")) } else { Ok(None) };
    }
    cursor.take_token(&Token::Eq);
    if cursor.sees("NULL") {
        return Err(cursor
            .unsupported("PASSWORD NULL")
            .with_hint("CREATE USER without PASSWORD makes a user who comes in by other proofs"));
    }
    cursor.string("the password in single quotes").map(Secret::new).map(Some)
}

/// After CREATE TOKEN: `name [FOR USER user] [EXPIRES IN interval | NEVER EXPIRES]`.
pub(crate) fn create_token(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let name = cursor.ident("the name of a token")?;
    let user = of_user(cursor)?;
    let expiry = if cursor.take("EXPIRES IN") {
        let at = cursor.here();
        match interval_ms(cursor)? {
            0 => return Err(SyntaxError::new(at, "a token that has expired opens nothing")),
            ms => Expiry::After { ms },
        }
    } else if cursor.take("NEVER EXPIRES") {
        Expiry::Never
    } else {
        Expiry::Default
    };
    Ok(Statement::Rights(RightsStatement::CreateToken { name, user, expiry }))
}

/// After DROP TOKEN: `[IF EXISTS] name [FOR USER user]`.
pub(crate) fn drop_token(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let if_exists = cursor.take("IF EXISTS");
    let name = cursor.ident("the name of a token")?;
    let user = of_user(cursor)?;
    Ok(Statement::Rights(RightsStatement::DropToken { name, user, if_exists }))
}

fn of_user(cursor: &mut Cursor<'_>) -> Result<Option<String>, SyntaxError> {
    if !cursor.take("FOR") {
        return Ok(None);
    }
    if matches!(cursor.peek_at(1), Token::Word(_)) {
        cursor.take("USER");
    }
    cursor.ident("the name of a user").map(Some)
}

/// After SHOW TOKENS: `[FOR USER user]`, as a query on a system table.
pub(crate) fn show_tokens(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    let filter = match of_user(cursor)? {
        Some(user) => format!(" WHERE user_name = {}", literal(&user)),
        None => String::new(),
    };
    parse(&format!("SELECT * FROM system.tokens{filter} ORDER BY user_name, name"))
}

/// The text of a statement as it may be shown and kept: without the passwords in it.
///
/// Every literal of a statement about a user counts as one, and every literal of a text that says
/// PASSWORD, whatever it begins with: others have other statements for the same, and what is wrong is
/// kept in the trail too.
#[must_use]
pub fn without_secrets(sql: &str) -> std::borrow::Cow<'_, str> {
    // Nearly every text is told apart without reading it as tokens.
    if !says_any(sql, &["user", "password", "identified"]) {
        return sql.into();
    }
    let Ok(tokens) = Tokenizer::new(&DIALECT, sql).tokenize_with_location() else {
        return hidden_as_a_whole(sql);
    };
    let words: Vec<&Token> = tokens
        .iter()
        .map(|token| &token.token)
        .filter(|token| !matches!(token, Token::Whitespace(_)))
        .collect();
    if !has_secrets(&words) {
        return sql.into();
    }
    let mut shown = String::with_capacity(sql.len());
    let mut before: Option<&Token> = None;
    for token in &tokens {
        match &token.token {
            Token::EOF => {}
            hidden if is_text(hidden) || is_quoted_password(before, hidden) => {
                shown.push_str(HIDDEN);
            }
            _ => shown.push_str(slice(sql, token.span.start, token.span.end)),
        }
        if !matches!(token.token, Token::Whitespace(_) | Token::Eq) {
            before = Some(&token.token);
        }
    }
    shown.into()
}

fn has_secrets(words: &[&Token]) -> bool {
    let says = |at: usize, word: &str| words.get(at).is_some_and(|token| is_unquoted(token, word));
    let of_user = (says(0, "CREATE") || says(0, "ALTER")) && says(1, "USER");
    of_user
        || words.iter().any(|token| {
            is_unquoted(token, "PASSWORD")
                || is_unquoted(token, "IDENTIFIED")
                // A statement inside of another one: DO $$ … $$, EXECUTE '…'.
                || (is_text(token) && is_about_secrets(&token.to_string()))
        })
}

/// A password in the quotes of names, as somebody writes it who takes them for those of texts.
fn is_quoted_password(before: Option<&Token>, token: &Token) -> bool {
    let Token::Word(word) = token else { return false };
    let announced =
        before.is_some_and(|word| is_unquoted(word, "PASSWORD") || is_unquoted(word, "BY"));
    word.quote_style.is_some() && announced
}

/// A text that is no SQL, with something like a password in it.
fn hidden_as_a_whole(sql: &str) -> std::borrow::Cow<'_, str> {
    if is_about_secrets(sql) {
        "(a statement about a user that cannot be read)".into()
    } else {
        sql.into()
    }
}

fn is_about_secrets(text: &str) -> bool {
    let is_about_users = says_any(text, &["user"]) && says_any(text, &["create", "alter"]);
    is_about_users || says_any(text, &["password", "identified by"])
}

fn says_any(text: &str, words: &[&str]) -> bool {
    let says = |word: &&str| {
        let mut places = text.as_bytes().windows(word.len());
        places.any(|place| place.eq_ignore_ascii_case(word.as_bytes()))
    };
    words.iter().any(says)
}

fn is_text(token: &Token) -> bool {
    matches!(
        token,
        Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
    )
}

#[cfg(test)]
mod tests;
