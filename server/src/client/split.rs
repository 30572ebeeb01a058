//! Where one statement ends and the next begins.
//!
//! It only knows quotes and comments, never what SQL allows: the server may speak another dialect.

/// One statement of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The statement, without the semicolon and without white space around it.
    pub sql: String,
    /// The line on which it starts, counted from 1.
    pub line: usize,
    /// Whether a semicolon ended it.
    pub ended: bool,
}

/// What a statement does, as far as its first word tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatementKind {
    /// It reads.
    Query,
    /// It changes something and answers with a count.
    Change,
    /// A word that not every dialect has.
    Other,
}

/// Cuts a script at its semicolons. Pieces that hold nothing but comments are left out.
#[must_use]
pub fn split(script: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut has_content = false;
    for token in tokens(script) {
        match token.kind {
            TokenKind::Semicolon => {
                push(&mut pieces, script, start..token.start, has_content, true);
                start = token.end;
                has_content = false;
            }
            TokenKind::Space | TokenKind::Comment => {}
            TokenKind::Quoted | TokenKind::Open | TokenKind::Word | TokenKind::Sign => {
                has_content = true;
            }
        }
    }
    push(&mut pieces, script, start..script.len(), has_content, false);
    pieces
}

/// Whether the text can be sent: it holds a statement, and its last one is ended.
#[must_use]
pub(super) fn is_complete(text: &str) -> bool {
    let open = tokens(text).last().is_some_and(|last| last.kind == TokenKind::Open);
    let pieces = split(text);
    !open && pieces.last().is_none_or(|last| last.ended)
}

/// Reads the first word.
#[must_use]
pub(super) fn statement_kind(sql: &str) -> StatementKind {
    const QUERIES: [&str; 10] = [
        "SELECT", "WITH", "VALUES", "TABLE", "FROM", "SHOW", "DESCRIBE", "DESC", "EXPLAIN", "LIST",
    ];
    const CHANGES: [&str; 15] = [
        "INSERT", "UPDATE", "DELETE", "MERGE", "CREATE", "DROP", "ALTER", "TRUNCATE", "SET",
        "RESET", "COPY", "GRANT", "REVOKE", "USE", "COMMENT",
    ];
    let word = first_word(sql);
    if word.starts_with('(') || QUERIES.contains(&word.as_str()) {
        StatementKind::Query
    } else if CHANGES.contains(&word.as_str()) {
        StatementKind::Change
    } else {
        StatementKind::Other
    }
}

/// Whether the first word is one that changes rows, so that counting them makes sense.
#[must_use]
pub(super) fn changes_rows(sql: &str) -> bool {
    const WORDS: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "MERGE", "COPY", "TRUNCATE"];
    WORDS.contains(&first_word(sql).as_str())
}

fn first_word(sql: &str) -> String {
    tokens(sql)
        .find(|token| !matches!(token.kind, TokenKind::Space | TokenKind::Comment))
        .map(|token| sql[token.start..token.end].to_ascii_uppercase())
        .unwrap_or_default()
}

fn push(
    pieces: &mut Vec<Piece>,
    script: &str,
    range: std::ops::Range<usize>,
    has_content: bool,
    ended: bool,
) {
    if !has_content {
        return;
    }
    let text = &script[range.clone()];
    let sql = text.trim();
    let begin = range.start + (text.len() - text.trim_start().len());
    let line = script[..begin].bytes().filter(|byte| *byte == b'\n').count() + 1;
    pieces.push(Piece { sql: sql.to_owned(), line, ended });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenKind {
    Space,
    Comment,
    Quoted,
    /// A quote or comment that the text does not close.
    Open,
    Word,
    Semicolon,
    Sign,
}

#[derive(Debug, Clone, Copy)]
struct Token {
    kind: TokenKind,
    start: usize,
    end: usize,
}

fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = &text[start..];
        let first = rest.chars().next()?;
        let (kind, length) = token(rest, first);
        let token = Token { kind, start, end: start + length };
        start = token.end;
        Some(token)
    })
}

fn token(rest: &str, first: char) -> (TokenKind, usize) {
    if first.is_whitespace() {
        return (TokenKind::Space, run(rest, char::is_whitespace));
    }
    if rest.starts_with("--") {
        return (TokenKind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    match first {
        ';' => (TokenKind::Semicolon, 1),
        '\'' | '"' | '`' => quoted(rest, first),
        '$' => dollar_quoted(rest),
        // A dollar inside a word does not begin a quote.
        c if is_word(c) => (TokenKind::Word, run(rest, |c| is_word(c) || c == '$')),
        c => (TokenKind::Sign, c.len_utf8()),
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn run(rest: &str, belongs: impl Fn(char) -> bool) -> usize {
    rest.find(|c| !belongs(c)).unwrap_or(rest.len())
}

/// Comments nest, as the standard has it.
fn block_comment(rest: &str) -> (TokenKind, usize) {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => {
                depth += 1;
                at += 2;
            }
            b"*/" => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return (TokenKind::Comment, at);
                }
            }
            _ => at += 1,
        }
    }
    (TokenKind::Open, rest.len())
}

/// A doubled quote is part of the text, and reads here as two texts side by side.
fn quoted(rest: &str, quote: char) -> (TokenKind, usize) {
    match rest[1..].find(quote) {
        Some(at) => (TokenKind::Quoted, at + 2),
        None => (TokenKind::Open, rest.len()),
    }
}

/// `$$ … $$` and `$tag$ … $tag$`; `$1` is a parameter.
fn dollar_quoted(rest: &str) -> (TokenKind, usize) {
    let tag_end = rest[1..].find(|c| !is_word(c)).map(|at| at + 1);
    let Some(tag_end) = tag_end.filter(|end| rest[*end..].starts_with('$')) else {
        return (TokenKind::Sign, 1);
    };
    let tag = &rest[..=tag_end];
    if tag[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return (TokenKind::Sign, 1);
    }
    match rest[tag.len()..].find(tag) {
        Some(at) => (TokenKind::Quoted, at + 2 * tag.len()),
        None => (TokenKind::Open, rest.len()),
    }
}

#[cfg(test)]
mod tests;
