//! `LIVE`, the older word of pipelines for what the pipeline itself makes.
//!
//! `LIVE.t` is `t` in a statement that declares, and nothing else: before any parsing the prefix is
//! taken out where a table may stand. A schema of that name is written in double quotes there. Elsewhere
//! `live` is a name like others.

use sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::{
    cursor::Cursor,
    tokens::{is_unquoted, is_word},
};

/// What pipelines made with this word, and with TEMPORARY before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    MaterializedView,
    StreamingTable,
    /// A view that only the pipeline itself can read.
    TemporaryView,
}

const WORDS: [(&str, Made); 6] = [
    ("STREAMING LIVE TABLE", Made::StreamingTable),
    ("INCREMENTAL LIVE TABLE", Made::StreamingTable),
    ("LIVE TABLE", Made::MaterializedView),
    ("STREAMING LIVE VIEW", Made::TemporaryView),
    ("STREAMING VIEW", Made::TemporaryView),
    ("LIVE VIEW", Made::TemporaryView),
];

/// Takes the older words for an object, if they come next.
pub(crate) fn made(cursor: &mut Cursor<'_>) -> Option<Made> {
    WORDS.into_iter().find(|(words, _)| cursor.take(words)).map(|(_, made)| made)
}

/// Goes past `LIVE.` before a name.
pub(crate) fn skip_prefix(cursor: &mut Cursor<'_>) {
    let of_two_parts = *cursor.peek_at(1) == Token::Period && *cursor.peek_at(3) != Token::Period;
    if cursor.sees("LIVE") && of_two_parts {
        cursor.skip(2);
    }
}

/// Whether a statement declares what a pipeline makes, so that the prefix means nothing in it.
pub(crate) fn declares(tokens: &[TokenWithSpan]) -> bool {
    const KINDS: [&str; 6] =
        ["MATERIALIZED", "STREAMING", "LIVE", "INCREMENTAL", "TEMPORARY", "TEMP"];
    let explained = ["EXPLAIN", "ANALYZE", "VERBOSE"];
    let is = |token: &TokenWithSpan, words: &[&str]| {
        words.iter().any(|word| is_unquoted(&token.token, word))
    };
    let first = tokens.iter().position(|token| !is(token, &explained)).unwrap_or(0);
    let rest = &tokens[first..];
    if is_word(rest, 0, "APPLY") {
        return true;
    }
    // CREATE OR REFRESH PRIVATE … is four words before the kind.
    let mut head = rest.iter().take(6).take_while(|token| !is(token, &["TABLE", "VIEW"]));
    is_word(rest, 0, "CREATE") && head.any(|token| is(token, &KINDS) || is(token, &["FLOW"]))
}

/// How many of the tokens that come next are the prefix of a name.
pub(crate) fn prefix(rest: &[TokenWithSpan]) -> usize {
    let token = |n: usize| rest.get(n).map(|token| &token.token);
    let is_prefix = is_word(rest, 0, "LIVE")
        && token(1) == Some(&Token::Period)
        && matches!(token(2), Some(Token::Word(_)))
        && token(3) != Some(&Token::Period);
    if is_prefix { 2 } else { 0 }
}
