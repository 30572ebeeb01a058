//! What is wrong with a text, and where.

use std::fmt;

use model::code::Code;
use sqlparser::{
    parser::ParserError,
    tokenizer::{Location, TokenizerError},
};

/// What kind of mistake a [`SyntaxError`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SyntaxErrorKind {
    /// The text is not SQL as Whimbrel reads it.
    Syntax,
    /// SQL that has a meaning, but not in this version.
    Unsupported,
    /// There is no statement in the text.
    Empty,
    /// There is more than one statement where one is expected.
    Many,
}

/// A text that cannot be read as a statement. Always says where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The kind of mistake.
    pub kind: SyntaxErrorKind,
    /// What is wrong, for people.
    pub message: String,
    /// Line of the offending word, from 1.
    pub line: u64,
    /// Column of the offending word in characters, from 1.
    pub column: u64,
    /// What to do about it, when something can be said.
    pub hint: Option<String>,
}

impl SyntaxError {
    pub(crate) fn new(at: Location, message: impl Into<String>) -> Self {
        Self {
            kind: SyntaxErrorKind::Syntax,
            message: message.into(),
            line: at.line.max(1),
            column: at.column.max(1),
            hint: None,
        }
    }

    pub(crate) fn unsupported(at: Location, message: impl Into<String>) -> Self {
        Self { kind: SyntaxErrorKind::Unsupported, ..Self::new(at, message) }
    }

    pub(crate) fn of_kind(self, kind: SyntaxErrorKind) -> Self {
        Self { kind, ..self }
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Takes the position out of the parser's text; `fallback` where it names none.
    pub(crate) fn from_parser(error: ParserError, fallback: Location) -> Self {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => {
                return Self::new(fallback, "the statement is nested too deeply")
                    .with_hint("move inner queries into WITH or into views");
            }
        };
        match split_position(&text) {
            Some((message, at)) => Self::new(at, message),
            None => Self::new(fallback, text),
        }
    }

    pub(crate) fn from_tokenizer(error: TokenizerError) -> Self {
        Self::new(error.location, error.message)
    }

    /// The class of the error: the statement is wrong, or this version cannot do it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.kind {
            SyntaxErrorKind::Unsupported => Code::Unimplemented,
            SyntaxErrorKind::Syntax | SyntaxErrorKind::Empty | SyntaxErrorKind::Many => {
                Code::InvalidArgument
            }
        }
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = (self.line, self.column);
        match self.kind {
            SyntaxErrorKind::Unsupported => {
                write!(f, "line {line}, column {column}: {}", self.message)
            }
            _ => write!(f, "syntax error at line {line}, column {column}: {}", self.message),
        }
    }
}

impl std::error::Error for SyntaxError {}

/// `"… at Line: 1, Column: 7"` as text and position.
fn split_position(text: &str) -> Option<(String, Location)> {
    let (message, position) = text.rsplit_once(" at Line: ")?;
    let (line, column) = position.split_once(", Column: ")?;
    Some((message.to_owned(), Location { line: line.parse().ok()?, column: column.parse().ok()? }))
}

/// The candidate that was most likely meant by `word`, if one is close enough to be worth saying.
pub(crate) fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = word.to_ascii_uppercase();
    let distance_max = if word.chars().count() <= 4 { 1 } else { 2 };
    candidates
        .iter()
        .map(|candidate| {
            (strsim::damerau_levenshtein(&word, &candidate.to_ascii_uppercase()), *candidate)
        })
        .filter(|(distance, _)| (1..=distance_max).contains(distance))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
