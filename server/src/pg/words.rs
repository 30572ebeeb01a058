//! A statement word by word, as far as it takes to see whether it is about the session itself.

/// A word, a text or a sign of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A plain word in lower case.
    Word(String),
    /// A name in double quotes, without them.
    Name(String),
    /// A text in single quotes, without them.
    Text(String),
    /// A number with its sign.
    Number(String),
    /// Anything else.
    Sign(char),
}

/// Reads a statement from its first to its last word.
#[derive(Debug, Clone)]
pub(super) struct Words<'a> {
    sql: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    pub(super) fn new(sql: &'a str) -> Self {
        Self { sql, at: 0 }
    }

    /// The statement from the next word on.
    pub(super) fn rest(&self) -> &'a str {
        let rest = &self.sql[self.at..];
        &rest[skipped(rest)..]
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        self.at = self.sql.len() - self.rest().len();
        let rest = &self.sql[self.at..];
        let first = rest.chars().next()?;
        let (token, length) = token(rest, first);
        self.at += length;
        Some(token)
    }

    pub(super) fn peek(&self) -> Option<Token> {
        self.clone().next()
    }

    /// Goes past these words when they come next.
    pub(super) fn take(&mut self, words: &str) -> bool {
        let mut ahead = self.clone();
        for word in words.split(' ') {
            if ahead.next() != Some(Token::Word(word.to_owned())) {
                return false;
            }
        }
        *self = ahead;
        true
    }

    pub(super) fn take_sign(&mut self, sign: char) -> bool {
        let mut ahead = self.clone();
        let found = ahead.next() == Some(Token::Sign(sign));
        if found {
            *self = ahead;
        }
        found
    }

    /// A name, in quotes or not.
    pub(super) fn name(&mut self) -> Option<String> {
        let mut ahead = self.clone();
        let (Token::Word(name) | Token::Name(name)) = ahead.next()? else { return None };
        *self = ahead;
        Some(name)
    }

    /// A name with its parts.
    pub(super) fn parts(&mut self) -> Option<Vec<String>> {
        let mut parts = vec![self.name()?];
        while self.take_sign('.') {
            parts.push(self.name()?);
        }
        Some(parts)
    }

    /// What stands in brackets that open here, by its commas; `None` when they do not close.
    pub(super) fn list(&mut self) -> Option<Vec<String>> {
        if !self.take_sign('(') {
            return None;
        }
        let (mut items, mut depth, mut start) = (Vec::new(), 0_usize, self.at);
        loop {
            let end = match self.next()? {
                Token::Sign(')') if depth == 0 => true,
                Token::Sign(',') if depth == 0 => false,
                Token::Sign('(' | '[' | '{') => {
                    depth += 1;
                    continue;
                }
                Token::Sign(')' | ']' | '}') => {
                    depth = depth.saturating_sub(1);
                    continue;
                }
                _ => continue,
            };
            items.push(self.sql[start..self.at - 1].trim().to_owned());
            start = self.at;
            if end {
                return Some(items);
            }
        }
    }

    /// Whether nothing follows.
    pub(super) fn at_end(&self) -> bool {
        matches!(self.peek(), None | Some(Token::Sign(';')))
    }
}

/// White space and comments at the beginning.
fn skipped(text: &str) -> usize {
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let spaces = rest.len() - rest.trim_start().len();
        let comment = if rest[spaces..].starts_with("--") {
            rest[spaces..].find('\n').unwrap_or(rest.len() - spaces)
        } else if rest[spaces..].starts_with("/*") {
            block_comment(&rest[spaces..])
        } else {
            0
        };
        if spaces + comment == 0 {
            return at;
        }
        at += spaces + comment;
    }
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

fn token(rest: &str, first: char) -> (Token, usize) {
    if first == '\'' {
        let (text, length) = quoted(rest, '\'');
        return (Token::Text(text), length);
    }
    if first == '"' {
        let (name, length) = quoted(rest, '"');
        return (Token::Name(name), length);
    }
    if matches!(first, 'e' | 'E') && rest[1..].starts_with('\'') {
        let (text, length) = escaped(&rest[1..]);
        return (Token::Text(text), length + 1);
    }
    let digits = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    if digits.starts_with(|c: char| c.is_ascii_digit()) {
        let end = digits.find(|c: char| !c.is_ascii_alphanumeric() && c != '.');
        let length = rest.len() - digits.len() + end.unwrap_or(digits.len());
        return (Token::Number(rest[..length].to_owned()), length);
    }
    if first.is_alphabetic() || first == '_' {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
        let word = &rest[..end.unwrap_or(rest.len())];
        return (Token::Word(word.to_lowercase()), word.len());
    }
    (Token::Sign(first), first.len_utf8())
}

fn quoted(rest: &str, quote: char) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            text.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return (text, at + 1);
        }
    }
    (text, rest.len())
}

/// `'a\n'` of `E'a\n'`.
fn escaped(rest: &str) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, 'b')) => text.push('\u{8}'),
                Some((_, 'f')) => text.push('\u{c}'),
                Some((_, 'x')) => {
                    let mut code = 0;
                    for _ in 0..2 {
                        if let Some((_, digit)) = chars.next_if(|(_, c)| c.is_ascii_hexdigit()) {
                            code = code * 16 + digit.to_digit(16).unwrap_or(0);
                        }
                    }
                    text.extend(char::from_u32(code));
                }
                Some((_, other)) => text.push(other),
                None => break,
            },
            '\'' => {
                if chars.next_if(|(_, next)| *next == '\'').is_none() {
                    return (text, at + 1);
                }
                text.push('\'');
            }
            other => text.push(other),
        }
    }
    (text, rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_texts_and_signs_are_told_apart() {
        let mut words =
            Words::new("/* a /* b */ */ SET -- x\n \"A\"\"b\" = E'\\x41\\'' , 'it''s' -1.5e3;");
        assert!(words.take("set"));
        assert_eq!(words.name().unwrap(), "A\"b");
        assert!(words.take_sign('='));
        assert_eq!(words.next(), Some(Token::Text("A'".to_owned())));
        assert!(words.take_sign(','));
        assert_eq!(words.next(), Some(Token::Text("it's".to_owned())));
        assert_eq!(words.next(), Some(Token::Number("-1.5e3".to_owned())));
        assert!(words.at_end());
        assert!(!Words::new("BEGINNING").take("begin"));
        assert_eq!(Words::new("  x y").rest(), "x y");
    }
}
