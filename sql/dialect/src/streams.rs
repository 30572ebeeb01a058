//! Relations that are read in a way of their own: `STREAM t`, `STREAM(t, …)` and `QUARANTINE(t)`.
//!
//! They are found among the tokens, before any parsing, and become names that the planner can tell
//! apart, as time travel does. This module never knows which statement they stand in.

use sqlparser::{
    keywords::{Keyword, RESERVED_FOR_TABLE_ALIAS},
    tokenizer::{Location, Token, TokenWithSpan, Word},
};

use crate::{
    error::{SyntaxError, nearest},
    files::READ_FILES,
    statement::{OnChange, StreamRead, StreamStart, TimeTravel},
    tokens::{Travel, is_word, normal, planned_name},
};

/// Follows the clauses of a statement, to know where a relation may stand.
#[derive(Debug)]
pub(crate) struct Places {
    open: Vec<Level>,
    after_distinct: bool,
}

/// What is known of one pair of parentheses.
#[derive(Debug, Default)]
struct Level {
    /// It holds a query.
    is_query: bool,
    /// Nothing was read of it yet.
    at_start: bool,
    in_from: bool,
    is_place: bool,
}

impl Places {
    pub(crate) fn new() -> Self {
        let outer = Level { is_query: true, ..Level::default() };
        Self { open: vec![outer], after_distinct: false }
    }

    /// Whether a relation may come next.
    pub(crate) fn is_place(&self) -> bool {
        self.open.last().is_some_and(|level| level.is_place)
    }

    /// Goes past a token.
    pub(crate) fn pass(&mut self, token: &Token) {
        let after_distinct = std::mem::take(&mut self.after_distinct);
        let is_nested = self.open.len() > 1;
        let Some(level) = self.open.last_mut() else { return };
        let was_place = std::mem::take(&mut level.is_place);
        let at_start = std::mem::take(&mut level.at_start);
        match token {
            Token::LParen => {
                let in_from = was_place;
                let inner = Level { is_query: false, at_start: true, in_from, is_place: was_place };
                self.open.push(inner);
            }
            Token::RParen if is_nested => {
                self.open.pop();
            }
            Token::Comma => level.is_place = level.in_from,
            Token::Word(word) if word.quote_style.is_none() => match word.keyword {
                // EXTRACT(YEAR FROM t) and IS DISTINCT FROM are no clauses.
                Keyword::FROM => {
                    let is_clause = (level.is_query || at_start) && !after_distinct;
                    level.in_from |= is_clause;
                    level.is_place = is_clause;
                }
                Keyword::JOIN => (level.in_from, level.is_place) = (true, true),
                Keyword::SELECT | Keyword::WITH => (level.is_query, level.in_from) = (true, false),
                Keyword::WHERE
                | Keyword::GROUP
                | Keyword::ORDER
                | Keyword::HAVING
                | Keyword::LIMIT
                | Keyword::QUALIFY
                | Keyword::WINDOW
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::SET => level.in_from = false,
                Keyword::LATERAL => level.is_place = was_place,
                Keyword::DISTINCT => self.after_distinct = true,
                _ => {}
            },
            _ => {}
        }
    }
}

/// The name of a table in the place of a relation, how it is read, and how many tokens it was.
pub(crate) type Relation = (Vec<TokenWithSpan>, Travel, usize);

/// What is read in a way of its own at the head of `rest`, which is where a relation may stand.
pub(crate) fn relation_at(rest: &[TokenWithSpan]) -> Result<Option<Relation>, SyntaxError> {
    let in_parentheses = rest.get(1).is_some_and(|token| token.token == Token::LParen);
    if is_word(rest, 0, "QUARANTINE") && in_parentheses {
        return quarantine(rest).map(Some);
    }
    if !is_word(rest, 0, "STREAM") {
        return Ok(None);
    }
    if in_parentheses {
        return in_call(rest).map(Some);
    }
    let names_a_table = match rest.get(1).map(|token| &token.token) {
        Some(Token::Word(word)) => {
            let travels = ["VERSION", "TIMESTAMP"].iter().any(|what| is_word(rest, 1, what))
                && is_word(rest, 2, "AS")
                && is_word(rest, 3, "OF");
            word.quote_style.is_some()
                || !(RESERVED_FOR_TABLE_ALIAS.contains(&word.keyword)
                    || word.keyword == Keyword::AS
                    || travels)
        }
        _ => false,
    };
    if !names_a_table {
        // A table that is called `stream`.
        return Ok(None);
    }
    let name = name_at(rest, 1)?;
    let length = 1 + name.len();
    if rest.get(length).is_some_and(|token| token.token == Token::LParen) {
        // Its arguments follow as those of any function do.
        return of_files(rest, name, 2).map(Some);
    }
    let mut read = StreamRead::default();
    let length = length + options_after(&rest[length..], &mut read, None)?;
    Ok(Some(relation(rest[0].span.start, name, TimeTravel::Stream(read), length)))
}

/// `WITH (SKIPCHANGECOMMITS)`, if it comes next, which is Databricks' word for
/// `ON_CHANGE => 'skip'`. Answers how many tokens it was.
fn options_after(
    rest: &[TokenWithSpan],
    read: &mut StreamRead,
    on_change_said: Option<OnChange>,
) -> Result<usize, SyntaxError> {
    let is_list = rest.get(1).is_some_and(|token| token.token == Token::LParen);
    if !(is_word(rest, 0, "WITH") && is_list) {
        return Ok(0);
    }
    let is_closed = rest.get(3).is_some_and(|token| token.token == Token::RParen);
    if !(is_word(rest, 2, "SKIPCHANGECOMMITS") && is_closed) {
        let text = "after a STREAM only WITH (SKIPCHANGECOMMITS) is read";
        return Err(SyntaxError::unsupported(place(rest, 2), text)
            .with_hint("options of a STREAM are SKIPCHANGECOMMITS, START and ON_CHANGE"));
    }
    if on_change_said.is_some_and(|said| said != OnChange::Skip) {
        let text = "ON_CHANGE and SKIPCHANGECOMMITS exclude each other";
        return Err(SyntaxError::new(place(rest, 0), text).with_hint("write one of them"));
    }
    read.on_change = OnChange::Skip;
    Ok(4)
}

/// `STREAM(name [, START => …] [, ON_CHANGE => …])`.
fn in_call(rest: &[TokenWithSpan]) -> Result<Relation, SyntaxError> {
    let name = name_at(rest, 2)?;
    let mut next = 2 + name.len();
    let token = |index: usize| rest.get(index).map(|token| &token.token);
    if token(next) == Some(&Token::LParen) {
        let end = call_end(rest, next);
        if token(end) != Some(&Token::RParen) {
            return Err(call(rest, end));
        }
        let mut call = name;
        call.extend_from_slice(&rest[next..end]);
        return of_files(rest, call, end + 1);
    }
    let mut read = StreamRead::default();
    let (mut start_said, mut on_change_said) = (false, false);
    while token(next) == Some(&Token::Comma) {
        let option_at = place(rest, next + 1);
        let Some(Token::Word(option)) = token(next + 1) else { return Err(call(rest, next + 1)) };
        if !matches!(token(next + 2), Some(Token::RArrow | Token::Eq)) {
            return Err(call(rest, next + 2));
        }
        let value_at = place(rest, next + 3);
        let said = match option.value.to_ascii_uppercase().as_str() {
            "START" => {
                read.start = match token(next + 3) {
                    Some(Token::Number(digits, _)) => {
                        let version = digits.parse().map_err(|_| call(rest, next + 3))?;
                        StreamStart::Version(version)
                    }
                    Some(Token::SingleQuotedString(text)) => {
                        match text.to_ascii_lowercase().as_str() {
                            "earliest" => StreamStart::Earliest,
                            "latest" => StreamStart::Latest,
                            _ => StreamStart::Timestamp(text.clone()),
                        }
                    }
                    _ => {
                        return Err(SyntaxError::new(
                            value_at,
                            "START of a STREAM is 'earliest', 'latest', a version or a time as text",
                        ));
                    }
                };
                &mut start_said
            }
            "ON_CHANGE" => {
                let word = match token(next + 3) {
                    Some(Token::SingleQuotedString(text)) => text.to_ascii_lowercase(),
                    _ => String::new(),
                };
                let known = OnChange::ALL.into_iter().find(|known| known.as_sql() == word);
                read.on_change = known.ok_or_else(|| {
                    SyntaxError::new(
                        value_at,
                        "ON_CHANGE of a STREAM is 'fail', 'skip' or 'changes'",
                    )
                })?;
                &mut on_change_said
            }
            other => {
                let error = SyntaxError::new(
                    option_at,
                    format!("'{}' is no option of STREAM", option.value),
                );
                let hint = match nearest(other, &["START", "ON_CHANGE"]) {
                    Some(meant) => format!("did you mean {meant}?"),
                    None => "options are START and ON_CHANGE".to_owned(),
                };
                return Err(error.with_hint(hint));
            }
        };
        if std::mem::replace(said, true) {
            return Err(SyntaxError::new(option_at, format!("{} is given twice", option.value)));
        }
        next += 4;
    }
    if token(next) != Some(&Token::RParen) {
        return Err(call(rest, next));
    }
    next += 1;
    let said = on_change_said.then_some(read.on_change);
    next += options_after(rest.get(next..).unwrap_or_default(), &mut read, said)?;
    Ok(relation(rest[0].span.start, name, TimeTravel::Stream(read), next))
}

/// `QUARANTINE(name)`.
fn quarantine(rest: &[TokenWithSpan]) -> Result<Relation, SyntaxError> {
    let name = name_at(rest, 2)?;
    let length = 2 + name.len();
    if rest.get(length).is_none_or(|token| token.token != Token::RParen) {
        let error =
            SyntaxError::new(place(rest, length), "QUARANTINE takes the name of a transform");
        return Err(error.with_hint("for example QUARANTINE(shop.orders)"));
    }
    Ok(relation(rest[0].span.start, name, TimeTravel::Quarantine, length + 1))
}

/// The tokens of a name of one or more parts that begins at `index`.
fn name_at(rest: &[TokenWithSpan], index: usize) -> Result<Vec<TokenWithSpan>, SyntaxError> {
    let mut name = Vec::new();
    let mut next = index;
    loop {
        match rest.get(next) {
            Some(token @ TokenWithSpan { token: Token::Word(word), .. })
                if word.keyword != Keyword::SELECT =>
            {
                name.push(token.clone());
            }
            _ => {
                let error = SyntaxError::new(place(rest, next), "Expected: the name of a table");
                return Err(error.with_hint("for example STREAM shop.orders"));
            }
        }
        match rest.get(next + 1) {
            Some(period) if period.token == Token::Period => name.push(period.clone()),
            _ => return Ok(name),
        }
        next += 2;
    }
}

/// The name with its last part as the planner sees it.
fn relation(
    clause: Location,
    mut name: Vec<TokenWithSpan>,
    at: TimeTravel,
    length: usize,
) -> Relation {
    let mut word = Word { value: String::new(), quote_style: None, keyword: Keyword::NoKeyword };
    if let Some(TokenWithSpan { token: Token::Word(last), .. }) = name.last_mut() {
        word = last.clone();
        *last = Word {
            value: planned_name(&normal(last), &at),
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        };
    }
    (name, Travel { word, at, clause, used: false }, length)
}

/// `STREAM read_files(…)`: the function stays in its place, and is told that it is a STREAM. `call` is
/// its name, with or without its arguments.
fn of_files(
    rest: &[TokenWithSpan],
    call: Vec<TokenWithSpan>,
    length: usize,
) -> Result<Relation, SyntaxError> {
    let is_name = is_word(&call, 0, READ_FILES);
    let is_alone = call.get(1).is_none_or(|token| token.token == Token::LParen);
    let (true, true, Some(Token::Word(word))) =
        (is_name, is_alone, call.first().map(|token| &token.token))
    else {
        let error = SyntaxError::unsupported(
            place(rest, 0),
            "STREAM of a function other than read_files is not supported in this version",
        );
        return Err(error.with_hint(
            "STREAM reads a Delta table by its name, or files: STREAM read_files('folder', format => 'csv')",
        ));
    };
    let travel = Travel {
        word: word.clone(),
        at: TimeTravel::Stream(StreamRead::default()),
        clause: rest[0].span.start,
        used: false,
    };
    Ok((call, travel, length))
}

/// Where the parenthesis that opens at `open` has been closed; behind it.
fn call_end(rest: &[TokenWithSpan], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in rest.iter().enumerate().skip(open) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    rest.len()
}

fn call(rest: &[TokenWithSpan], index: usize) -> SyntaxError {
    SyntaxError::new(place(rest, index), "STREAM takes the name of a table and options")
        .with_hint("for example STREAM(shop.orders, START => 'latest', ON_CHANGE => 'skip')")
}

/// Where the token at `index` stands; the last one when there are not so many.
fn place(rest: &[TokenWithSpan], index: usize) -> Location {
    rest.get(index).or(rest.last()).map_or(Location { line: 1, column: 1 }, |t| t.span.start)
}

#[cfg(test)]
mod tests;
