//! The text as tokens, and what is settled on tokens before any parsing: the borders of
//! statements, the numbers of placeholders, time travel, and how long a chain may get.
//!
//! It exists because these rules hold in every statement alike. It never knows a statement.

use std::collections::BTreeMap;

use sqlparser::{
    dialect::GenericDialect,
    keywords::Keyword,
    tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word},
};

use crate::{
    error::SyntaxError,
    live, maps,
    statement::{StreamRead, StreamStart, TimeTravel},
    streams::{self, Places},
};

pub(crate) static DIALECT: GenericDialect = GenericDialect {};

/// Placeholders that one statement may count.
const PARAMETERS_MAX: usize = 65_535;
/// Tokens between two commas of one pair of parentheses. Operators of one level make a tree that
/// is as deep as the chain is long, and a tree must not be deeper than a stack can take.
const CHAIN_MAX: usize = 3_000;
/// UNION, EXCEPT and INTERSECT in one statement, for the same reason.
const SET_OPERATORS_MAX: usize = 500;

/// The function that reads the rows that changed.
pub(crate) const CHANGES: &str = "table_changes";

/// One statement's tokens, without whitespace and comments.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) tokens: Vec<TokenWithSpan>,
    pub(crate) travels: Travels,
    pub(crate) parameters: usize,
    /// Where the last token ends.
    pub(crate) end: Location,
}

/// Time travel clauses and their like, by where the last part of the table's name stands.
pub(crate) type Travels = BTreeMap<Location, Travel>;

/// One time travel clause.
#[derive(Debug, Clone)]
pub(crate) struct Travel {
    /// The last part of the table's name as it was written.
    pub(crate) word: Word,
    pub(crate) at: TimeTravel,
    /// Where the clause begins.
    pub(crate) clause: Location,
    /// Whether a table took it.
    pub(crate) used: bool,
}

/// The statement with its first parameters, `$1` and so on, cast to these types, each as SQL writes it.
/// `None` for a text that is no SQL.
#[must_use]
pub fn with_typed_parameters(sql: &str, types: &[String]) -> Option<String> {
    let tokens = Tokenizer::new(&DIALECT, sql).tokenize().ok()?;
    let typed = |token: Token| match &token {
        Token::Placeholder(id) => {
            let number = id.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            match number.and_then(|number| types.get(number.checked_sub(1)?)) {
                Some(given) => format!("CAST({id} AS {given})"),
                None => token.to_string(),
            }
        }
        _ => token.to_string(),
    };
    Some(tokens.into_iter().map(typed).collect())
}

/// The tokens of each statement of a text; empty statements are left out.
pub(crate) fn statements(text: &str) -> Result<Vec<Vec<TokenWithSpan>>, SyntaxError> {
    let tokens = Tokenizer::new(&DIALECT, text)
        .tokenize_with_location()
        .map_err(SyntaxError::from_tokenizer)?;
    let mut all = vec![Vec::new()];
    for token in tokens {
        match token.token {
            Token::Whitespace(_) | Token::EOF => {}
            Token::SemiColon => all.push(Vec::new()),
            _ => {
                if let Some(last) = all.last_mut() {
                    last.push(token);
                }
            }
        }
    }
    all.retain(|statement| !statement.is_empty());
    Ok(all)
}

/// Settles placeholders, time travel and limits of one statement.
pub(crate) fn settle(mut tokens: Vec<TokenWithSpan>) -> Result<Tokens, SyntaxError> {
    check_chains(&tokens)?;
    check_quoted_names(&tokens)?;
    let parameters = number_placeholders(&mut tokens)?;
    call_without_parentheses(&mut tokens);
    leave_out_materialized(&mut tokens);
    check_casts(&tokens)?;
    let end = tokens.last().map_or(Location { line: 1, column: 1 }, |token| token.span.end);
    let (tokens, travels) = take_travels(tokens)?;
    Ok(Tokens { tokens, travels, parameters, end })
}

fn check_chains(tokens: &[TokenWithSpan]) -> Result<(), SyntaxError> {
    let mut open = vec![Chain { closed_by_end: false, length: 0 }];
    let mut set_operators = 0;
    for token in tokens {
        let at = token.span.start;
        let length = open.last_mut().map_or(0, |chain| {
            chain.length += 1;
            chain.length
        });
        if length > CHAIN_MAX {
            let message =
                format!("more than {CHAIN_MAX} words without a comma: the expression is too long");
            return Err(SyntaxError::new(at, message)
                .with_hint("write IN (…) instead of a chain of OR, or join a table of values"));
        }
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                open.push(Chain { closed_by_end: false, length: 0 });
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                while open.len() > 1 && open.pop().is_some_and(|chain| chain.closed_by_end) {}
            }
            Token::Comma => restart(&mut open),
            Token::Word(word) => match word.keyword {
                Keyword::CASE => open.push(Chain { closed_by_end: true, length: 0 }),
                Keyword::WHEN | Keyword::THEN | Keyword::ELSE
                    if open.last().is_some_and(|chain| chain.closed_by_end) =>
                {
                    restart(&mut open);
                }
                Keyword::END if open.last().is_some_and(|chain| chain.closed_by_end) => {
                    open.pop();
                }
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => {
                    set_operators += 1;
                }
                _ => {}
            },
            _ => {}
        }
        if set_operators > SET_OPERATORS_MAX {
            let message = format!("more than {SET_OPERATORS_MAX} set operations in one statement");
            return Err(
                SyntaxError::new(at, message).with_hint("insert the parts one after the other")
            );
        }
    }
    Ok(())
}

/// Some write `current_user()`. In standard SQL these names stand alone, and the SQL parser knows no
/// other form.
fn call_without_parentheses(tokens: &mut Vec<TokenWithSpan>) {
    let mut n = 0;
    while n + 2 < tokens.len() {
        let stands_alone =
            ["CURRENT_USER", "SESSION_USER"].iter().any(|name| is_unquoted(&tokens[n].token, name));
        let called = tokens[n + 1].token == Token::LParen && tokens[n + 2].token == Token::RParen;
        if stands_alone && called {
            tokens.drain(n + 1..n + 3);
        }
        n += 1;
    }
}

/// `WITH q AS MATERIALIZED (SELECT …)`, and NOT: a word on how a query is run, which the planner decides.
fn leave_out_materialized(tokens: &mut Vec<TokenWithSpan>) {
    let mut n = 0;
    while n + 3 < tokens.len() {
        let said = n + 1 + usize::from(is_word(tokens, n + 1, "NOT"));
        let is_query =
            ["SELECT", "WITH", "VALUES", "FROM"].iter().any(|head| is_word(tokens, said + 2, head));
        let is_hint = is_word(tokens, n, "AS")
            && is_word(tokens, said, "MATERIALIZED")
            && tokens.get(said + 1).is_some_and(|token| token.token == Token::LParen)
            && is_query;
        if is_hint {
            tokens.drain(n + 1..=said);
        }
        n += 1;
    }
}

/// Refuses `CAST(x AS MAP<K, V>)` and `x::MAP<K, V>`.
fn check_casts(tokens: &[TokenWithSpan]) -> Result<(), SyntaxError> {
    for (n, token) in tokens.iter().enumerate() {
        let is_cast = token.token == Token::DoubleColon || is_unquoted(&token.token, "AS");
        let ahead = tokens.get(n + 1..).unwrap_or_default();
        if is_cast && maps::begin_with_one(ahead.iter().map(|token| &token.token)) {
            let at = ahead.first().map_or(token.span.end, |token| token.span.start);
            let text = "a CAST to a MAP is not supported in this version";
            return Err(SyntaxError::unsupported(at, text)
                .with_hint("write map(map_keys(m), map_values(m)), and CAST the lists in it"));
        }
    }
    Ok(())
}

/// Refuses names that the SQL parser cannot print back as they are.
fn check_quoted_names(tokens: &[TokenWithSpan]) -> Result<(), SyntaxError> {
    for token in tokens {
        let Token::Word(Word { value, quote_style: Some(quote), .. }) = &token.token else {
            continue;
        };
        let ambiguous =
            value.contains(&format!("{quote}{quote}")) || value.contains(&format!("\\{quote}"));
        if ambiguous {
            let message = "a name cannot hold two quotes in a row or a quote after a backslash";
            return Err(SyntaxError::new(token.span.start, message));
        }
    }
    Ok(())
}

/// Tokens so far since a comma inside one pair of brackets or one CASE.
struct Chain {
    closed_by_end: bool,
    length: usize,
}

fn restart(open: &mut [Chain]) {
    if let Some(chain) = open.last_mut() {
        chain.length = 0;
    }
}

/// Turns `?` into `$1`, `$2` … and answers the highest number.
fn number_placeholders(tokens: &mut [TokenWithSpan]) -> Result<usize, SyntaxError> {
    let (mut counted, mut highest) = (0, 0);
    for token in tokens {
        let at = token.span.start;
        let Token::Placeholder(name) = &token.token else { continue };
        if name == "?" {
            counted += 1;
            if counted > PARAMETERS_MAX {
                return Err(SyntaxError::new(at, format!("more than {PARAMETERS_MAX} parameters")));
            }
            token.token = Token::Placeholder(format!("${counted}"));
        } else {
            let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
            match number {
                Some(number) if (1..=PARAMETERS_MAX).contains(&number) => {
                    highest = highest.max(number)
                }
                _ => {
                    return Err(SyntaxError::new(at, format!("'{name}' is not a parameter"))
                        .with_hint(format!("write ? or $1 to ${PARAMETERS_MAX}")));
                }
            }
        }
        if counted > 0 && highest > 0 {
            return Err(SyntaxError::new(
                at,
                "parameters are written either as ? or as $1, not both",
            ));
        }
    }
    Ok(counted.max(highest))
}

/// Takes `VERSION AS OF …` and its like out, and renames the tables before them.
fn take_travels(tokens: Vec<TokenWithSpan>) -> Result<(Vec<TokenWithSpan>, Travels), SyntaxError> {
    let mut travels = Travels::new();
    let mut kept: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut places = Places::new();
    let declares = live::declares(&tokens);
    let mut next = 0;
    while let Some(token) = tokens.get(next) {
        let prefix = live::prefix(&tokens[next..]);
        if places.is_place() && declares && prefix > 0 {
            next += prefix;
            continue;
        }
        if places.is_place()
            && let Some((mut name, travel, length)) = streams::relation_at(&tokens[next..])?
        {
            if declares {
                name.drain(..live::prefix(&name));
            }
            // Of a name the last part, of a call its name.
            let is_call = name.get(1).is_some_and(|second| second.token == Token::LParen);
            let last = if is_call { name.first() } else { name.last() };
            let at = last.map_or(token.span.start, |last| last.span.start);
            travels.insert(at, travel);
            places.pass(&Token::Period);
            kept.extend(name);
            next += length;
            continue;
        }
        places.pass(&token.token);
        if let Some((name, travel, length)) = changes_at(kept.last(), &tokens[next..])? {
            travels.insert(token.span.start, travel);
            kept.extend(name);
            next += length;
            continue;
        }
        let clause = match kept.last() {
            Some(before) => travel_at(before, &tokens[next..])?,
            None => None,
        };
        let (Some((at, length)), Some(before)) = (clause, kept.last_mut()) else {
            kept.push(token.clone());
            next += 1;
            continue;
        };
        let Token::Word(word) = &mut before.token else {
            return Err(misplaced_travel(token.span.start));
        };
        let travel = Travel { word: word.clone(), at, clause: token.span.start, used: false };
        if travels.contains_key(&before.span.start) {
            return Err(SyntaxError::new(
                token.span.start,
                "a table is read at one version: there are two clauses",
            ));
        }
        *word = Word {
            value: planned_name(&normal(word), &travel.at),
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        };
        travels.insert(before.span.start, travel);
        next += length;
    }
    Ok((kept, travels))
}

/// `table_changes('name', from [, to])` at the head of `rest`, where a table may stand: the name of
/// the table in its place, and the number of tokens that it was.
fn changes_at(
    before: Option<&TokenWithSpan>,
    rest: &[TokenWithSpan],
) -> Result<Option<(Vec<TokenWithSpan>, Travel, usize)>, SyntaxError> {
    let is_place = before.is_some_and(|before| match &before.token {
        Token::Word(word) => matches!(word.keyword, Keyword::FROM | Keyword::JOIN | Keyword::USING),
        token => matches!(token, Token::Comma | Token::LParen),
    });
    let is_call =
        is_word(rest, 0, CHANGES) && rest.get(1).is_some_and(|token| token.token == Token::LParen);
    if !is_place || !is_call {
        return Ok(None);
    }
    let call = rest[0].span.start;
    let wrong = |at: Location| {
        SyntaxError::new(at, format!("{CHANGES} takes a table and one or two versions or times"))
            .with_hint(format!(
                "for example {CHANGES}('shop.orders', 3) or {CHANGES}('shop.orders', 3, 7)"
            ))
    };
    let token = |index: usize| rest.get(index).map(|token| &token.token);
    let at = |index: usize| rest.get(index).map_or(call, |token| token.span.start);
    let Some(Token::SingleQuotedString(name)) = token(2) else { return Err(wrong(at(2))) };
    let bound = |index: usize| match token(index) {
        Some(Token::Number(digits, _)) => {
            digits.parse().map(TimeTravel::Version).map_err(|_| wrong(at(index)))
        }
        Some(Token::SingleQuotedString(text)) => Ok(TimeTravel::Timestamp(text.clone())),
        _ => Err(wrong(at(index))),
    };
    if token(3) != Some(&Token::Comma) {
        return Err(wrong(at(3)));
    }
    let from = Box::new(bound(4)?);
    let (to, close) = match token(5) {
        Some(Token::Comma) => (Some(Box::new(bound(6)?)), 7),
        _ => (None, 5),
    };
    if token(close) != Some(&Token::RParen) {
        return Err(wrong(at(close)));
    }
    // The name is SQL in a text.
    let mut words = Tokenizer::new(&DIALECT, name).tokenize().map_err(|_| wrong(at(2)))?;
    let is_name = words.iter().enumerate().all(|(n, token)| match token {
        Token::Word(_) => n % 2 == 0,
        token => n % 2 == 1 && *token == Token::Period,
    });
    let travel_at = TimeTravel::Changes { from, to };
    let Some(Token::Word(last)) = words.last_mut().filter(|_| is_name) else {
        return Err(wrong(at(2)));
    };
    let word = last.clone();
    *last = Word {
        value: planned_name(&normal(last), &travel_at),
        quote_style: Some('"'),
        keyword: Keyword::NoKeyword,
    };
    let span = rest[0].span;
    let name = words.into_iter().map(|token| TokenWithSpan { token, span }).collect();
    Ok(Some((name, Travel { word, at: travel_at, clause: call, used: false }, close + 1)))
}

/// The error for a way to read a table where there is no table to read.
pub(crate) fn misplaced(travel: &Travel) -> SyntaxError {
    match travel.at {
        TimeTravel::Stream(_) => SyntaxError::new(
            travel.clause,
            "STREAM belongs before the name of a table that is read",
        )
        .with_hint("write FROM STREAM t in the query of a streaming table or a flow"),
        TimeTravel::Quarantine => SyntaxError::new(
            travel.clause,
            "QUARANTINE(…) can only be read, in the place of a table",
        )
        .with_hint("write SELECT * FROM QUARANTINE(t), or PURGE QUARANTINE t"),
        _ => misplaced_travel(travel.clause),
    }
}

/// The error for a time travel clause that follows anything but a table's name.
pub(crate) fn misplaced_travel(clause: Location) -> SyntaxError {
    SyntaxError::new(
        clause,
        "a time travel clause belongs directly after the name of a table that is read",
    )
    .with_hint("write FROM t VERSION AS OF 3 AS x: the alias comes last")
}

/// A time travel clause at the head of `rest`, with the number of its tokens.
fn travel_at(
    before: &TokenWithSpan,
    rest: &[TokenWithSpan],
) -> Result<Option<(TimeTravel, usize)>, SyntaxError> {
    let skipped = usize::from(is_word(rest, 0, "FOR"));
    let by_version = is_word(rest, skipped, "VERSION") || is_word(rest, skipped, "SYSTEM_VERSION");
    let by_time = is_word(rest, skipped, "TIMESTAMP") || is_word(rest, skipped, "SYSTEM_TIME");
    let is_clause = (by_version || by_time)
        && is_word(rest, skipped + 1, "AS")
        && is_word(rest, skipped + 2, "OF");
    if !is_clause {
        return Ok(None);
    }
    let mut value_at = skipped + 3;
    if by_time && (is_word(rest, value_at, "TIMESTAMP") || is_word(rest, value_at, "DATE")) {
        value_at += 1;
    }
    let value = rest.get(value_at);
    let travel = match value.map(|value| &value.token) {
        Some(Token::Number(digits, _)) if by_version => {
            digits.parse().ok().map(TimeTravel::Version)
        }
        Some(Token::SingleQuotedString(text)) if by_time => {
            Some(TimeTravel::Timestamp(text.clone()))
        }
        _ => None,
    };
    if let Some(travel) = travel {
        return Ok(Some((travel, value_at + 1)));
    }
    // `SELECT version AS of FROM t` is a column with an alias; no name can stand before that one.
    let follows_name = match &before.token {
        Token::Word(word) => word.quote_style.is_some() || !starts_expression(word.keyword),
        _ => false,
    };
    if !follows_name {
        return Ok(None);
    }
    let at = value.or(rest.last()).map_or(before.span.start, |token| token.span.start);
    Err(if by_version {
        SyntaxError::new(at, "VERSION AS OF takes the number of a version")
            .with_hint("for example t VERSION AS OF 3")
    } else {
        SyntaxError::new(at, "TIMESTAMP AS OF takes a time as text")
            .with_hint("for example t TIMESTAMP AS OF '2026-01-31 12:00:00'")
    })
}

/// Whether a column name may stand directly after this keyword.
fn starts_expression(keyword: Keyword) -> bool {
    use Keyword::{
        ALL, AND, BETWEEN, BY, CASE, DISTINCT, ELSE, HAVING, IN, LIKE, NOT, ON, OR, RETURNING,
        SELECT, THEN, WHEN, WHERE,
    };
    matches!(
        keyword,
        ALL | AND
            | BETWEEN
            | BY
            | CASE
            | DISTINCT
            | ELSE
            | HAVING
            | IN
            | LIKE
            | NOT
            | ON
            | OR
            | RETURNING
            | SELECT
            | THEN
            | WHEN
            | WHERE
    )
}

/// Whether the token at `index` is this unquoted word, in any case.
pub(crate) fn is_word(tokens: &[TokenWithSpan], index: usize, expected: &str) -> bool {
    tokens.get(index).is_some_and(|token| is_unquoted(&token.token, expected))
}

/// Whether a token is this unquoted word, in any case.
pub(crate) fn is_unquoted(token: &Token, expected: &str) -> bool {
    match token {
        Token::Word(word) => {
            word.quote_style.is_none() && word.value.eq_ignore_ascii_case(expected)
        }
        _ => false,
    }
}

/// The name that a word stands for: in lower case unless it is quoted, as the planner reads it.
pub(crate) fn normal(word: &Word) -> String {
    if word.quote_style.is_some() { word.value.clone() } else { word.value.to_ascii_lowercase() }
}

/// The last part of a table's name as the planner sees it.
pub(crate) fn planned_name(name: &str, at: &TimeTravel) -> String {
    match at {
        TimeTravel::Version(version) => format!("{name}@v{version}"),
        TimeTravel::Timestamp(text) => format!("{name}@t{text}"),
        TimeTravel::Changes { from, to } => {
            let from = planned_name(&format!("{name}@c"), from);
            to.as_ref().map_or(from.clone(), |to| planned_name(&from, to))
        }
        TimeTravel::Stream(StreamRead { start, on_change }) => {
            let name = format!("{name}@s{}", on_change.as_sql());
            match start {
                StreamStart::Earliest => name,
                StreamStart::Latest => format!("{name}@l"),
                StreamStart::Version(version) => format!("{name}@v{version}"),
                StreamStart::Timestamp(text) => format!("{name}@t{text}"),
            }
        }
        TimeTravel::Quarantine => format!("{name}@q"),
    }
}
