//! `MAP<K, V>`, the type as Spark and Databricks write it; the SQL parser reads `MAP(K, V)`.

use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use crate::tokens::{is_unquoted, is_word};

/// Whether the type that these tokens begin with is a map, or has one inside.
pub(crate) fn begin_with_one<'a>(tokens: impl Iterator<Item = &'a Token>) -> bool {
    let (mut depth, mut after_map) = (0_usize, false);
    for (n, token) in tokens.enumerate() {
        match token {
            Token::Lt if after_map => return true,
            Token::Lt => depth += 1,
            Token::Gt => depth = depth.saturating_sub(1),
            Token::ShiftRight => depth = depth.saturating_sub(2),
            _ => {}
        }
        after_map = is_unquoted(token, "MAP");
        if n > 0 && depth == 0 {
            return false;
        }
    }
    false
}

/// The tokens with other brackets for the maps of the type that they begin with. Brackets that were
/// written together are taken apart, each with its own place.
pub(crate) fn spelled_out(tokens: &[TokenWithSpan]) -> Vec<TokenWithSpan> {
    let mut changed = Vec::with_capacity(tokens.len() + 1);
    // For each bracket that is open, whether it is one of a map.
    let mut open: Vec<bool> = Vec::new();
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        if next > 1 && open.is_empty() {
            break;
        }
        next += 1;
        match token.token {
            Token::Lt => {
                let is_map = is_word(tokens, next.saturating_sub(2), "MAP");
                open.push(is_map);
                let bracket = if is_map { Token::LParen } else { Token::Lt };
                changed.push(TokenWithSpan { token: bracket, span: token.span });
            }
            Token::Gt => changed.push(closed(open.pop(), token.span)),
            Token::ShiftRight => {
                let Span { start, end } = token.span;
                let middle = Location { line: start.line, column: start.column + 1 };
                changed.push(closed(open.pop(), Span { start, end: middle }));
                changed.push(closed(open.pop(), Span { start: middle, end }));
            }
            _ => changed.push(token.clone()),
        }
    }
    changed.extend_from_slice(tokens.get(next..).unwrap_or_default());
    changed
}

fn closed(bracket: Option<bool>, span: Span) -> TokenWithSpan {
    let token = if bracket == Some(true) { Token::RParen } else { Token::Gt };
    TokenWithSpan { token, span }
}
