//! A place in one statement's tokens, with the words that Whimbrel's own statements are made of.
//!
//! It exists so that a statement reads like its grammar. It never knows a statement.

use model::object::Properties;
use sqlparser::{
    ast,
    parser::{Parser, ParserError},
    tokenizer::{Location, Token, TokenWithSpan, Word},
};

use crate::{
    bounded::Bounded,
    error::{SyntaxError, nearest},
    maps,
    query::{self, at_sign},
    scope::ident_name,
    statement::{NameParts, Query, StreamRead, TimeTravel},
    tokens::{Tokens, Travel, Travels, is_unquoted, is_word, misplaced, normal, planned_name},
};

/// Words that end or begin a clause and so are never meant as a name without quotes.
pub(crate) const NO_NAMES: [&str; 20] = [
    "SELECT", "FROM", "WHERE", "WITH", "AS", "AND", "OR", "NOT", "ON", "JOIN", "UNION", "GROUP",
    "ORDER", "HAVING", "VALUES", "INTO", "SET", "IF", "EXISTS", "LIMIT",
];
/// Words of a query that a misspelled word may have meant.
const QUERY_WORDS: [&str; 22] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "VALUES",
    "DISTINCT",
    "BETWEEN",
    "USING",
    "WINDOW",
];

/// Reads one statement from left to right.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    parser: Parser<'a>,
    dialect: &'a Bounded,
    travels: Travels,
    parameters: usize,
    end: Location,
    streams: bool,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, tokens: Tokens, dialect: &'a Bounded) -> Self {
        let Tokens { tokens, travels, parameters, end } = tokens;
        Self {
            text,
            parser: Parser::new(dialect).with_tokens_with_locations(tokens),
            travels,
            parameters,
            end,
            dialect,
            streams: false,
        }
    }

    /// Where the next token stands; the end of the statement when there is none.
    pub(crate) fn here(&self) -> Location {
        self.place(self.parser.peek_token_ref())
    }

    fn place(&self, token: &TokenWithSpan) -> Location {
        if token.token == Token::EOF { self.end } else { token.span.start }
    }

    pub(crate) fn peek(&self) -> &Token {
        &self.parser.peek_token_ref().token
    }

    pub(crate) fn peek_at(&self, n: usize) -> &Token {
        &self.parser.peek_nth_token_ref(n).token
    }

    pub(crate) fn at_end(&self) -> bool {
        *self.peek() == Token::EOF
    }

    /// The next token as an unquoted word in upper case, or an empty text.
    pub(crate) fn word(&self) -> String {
        match self.peek() {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    /// The next tokens as users wrote them, for messages.
    pub(crate) fn found(&self) -> String {
        match self.peek() {
            Token::EOF => "the end of the statement".to_owned(),
            token => token.to_string(),
        }
    }

    /// Whether these words come next.
    pub(crate) fn sees(&self, words: &str) -> bool {
        words.split(' ').enumerate().all(|(n, word)| is_unquoted(self.peek_at(n), word))
    }

    /// Takes these words if they come next.
    pub(crate) fn take(&mut self, words: &str) -> bool {
        let seen = self.sees(words);
        if seen {
            self.skip(words.split(' ').count());
        }
        seen
    }

    pub(crate) fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.parser.advance_token();
        }
    }

    pub(crate) fn expect(&mut self, words: &str) -> Result<(), SyntaxError> {
        for word in words.split(' ') {
            if !self.take(word) {
                let hint =
                    nearest(&self.word(), &[word]).map(|word| format!("did you mean {word}?"));
                return Err(SyntaxError { hint, ..self.expected(words) });
            }
        }
        Ok(())
    }

    pub(crate) fn take_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(crate) fn expect_token(&mut self, token: &Token) -> Result<(), SyntaxError> {
        if self.take_token(token) { Ok(()) } else { Err(self.expected(&token.to_string())) }
    }

    /// An error at the next token.
    pub(crate) fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.here(), message)
    }

    /// An error about the next token, in the words of the SQL parser.
    pub(crate) fn expected(&self, what: &str) -> SyntaxError {
        self.error(format!("Expected: {what}, found: {}", self.found()))
    }

    /// As [`Self::expected`], with the nearest of the words that would be right.
    pub(crate) fn expected_one_of(&self, words: &[&str]) -> SyntaxError {
        let firsts: Vec<&str> =
            words.iter().map(|words| words.split(' ').next().unwrap_or(words)).collect();
        let error = self.expected(&join_or(words));
        let meant = nearest(&self.word(), &firsts)
            .and_then(|meant| words.iter().find(|words| words.starts_with(meant)));
        match meant {
            Some(meant) => error.with_hint(format!("did you mean {meant}?")),
            None => error,
        }
    }

    pub(crate) fn unsupported(&self, what: &str) -> SyntaxError {
        SyntaxError::unsupported(self.here(), format!("{what} is not supported in this version"))
    }

    /// Lets the SQL parser read a part.
    pub(crate) fn run<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>,
    ) -> Result<T, SyntaxError> {
        read(&mut self.parser).map_err(|error| self.parser_error(error))
    }

    /// A type.
    pub(crate) fn data_type(&mut self) -> Result<ast::DataType, SyntaxError> {
        let next = self.parser.index();
        let ahead = (next..).map(|n| &self.parser.token_at(n).token);
        if maps::begin_with_one(ahead.take_while(|token| **token != Token::EOF)) {
            let rest = std::mem::replace(&mut self.parser, Parser::new(self.dialect));
            let rest: Vec<TokenWithSpan> = rest.into_tokens().into_iter().skip(next).collect();
            self.dialect.rewind();
            let tokens = maps::spelled_out(&rest);
            self.parser = Parser::new(self.dialect).with_tokens_with_locations(tokens);
        }
        self.run(Parser::parse_data_type)
    }

    /// An expression up to where the SQL parser ends it.
    pub(crate) fn expression(&mut self) -> Result<ast::Expr, SyntaxError> {
        self.run_in_query(Parser::parse_expr)
    }

    /// Lets the SQL parser read a part of a query.
    pub(crate) fn run_in_query<T>(
        &mut self,
        read: impl FnOnce(&mut Parser<'a>) -> Result<T, ParserError>,
    ) -> Result<T, SyntaxError> {
        read(&mut self.parser).map_err(|error| self.query_error(error))
    }

    /// The time travel clause of the table whose name ends in the word at a place.
    pub(crate) fn travel(&self, at: Location) -> Option<&Travel> {
        self.travels.get(&at)
    }

    /// Whether this word comes next, without quotes and with a time travel clause after it.
    pub(crate) fn is_travel_of(&self, word: &str) -> bool {
        self.travels.get(&self.here()).is_some_and(|travel| {
            travel.word.quote_style.is_none() && travel.word.value.eq_ignore_ascii_case(word)
        })
    }

    /// The next word and the time travel clause after it, if there is one.
    pub(crate) fn take_travel(&mut self) -> Result<Option<(String, TimeTravel)>, SyntaxError> {
        let at = self.here();
        let Some(travel) = self.travels.get_mut(&at) else { return Ok(None) };
        let name = normal(&travel.word);
        if name.contains('@') {
            return Err(at_sign(at));
        }
        travel.used = true;
        let version = travel.at.clone();
        self.parser.advance_token();
        Ok(Some((name, version)))
    }

    /// A part of a name that is made of names.
    pub(crate) fn part(&mut self, what: &str) -> Result<String, SyntaxError> {
        let at = self.here();
        let part = self.ident(what)?;
        if part.contains('@') { Err(at_sign(at)) } else { Ok(part) }
    }

    /// A name of one part.
    pub(crate) fn ident(&mut self, what: &str) -> Result<String, SyntaxError> {
        self.written_ident(what).map(|ident| ident_name(&ident))
    }

    /// A name of one part as it was written.
    pub(crate) fn written_ident(&mut self, what: &str) -> Result<ast::Ident, SyntaxError> {
        let TokenWithSpan { token: Token::Word(word), span } = self.parser.peek_token_ref() else {
            return Err(self.expected(what));
        };
        if let Some(travel) = self.travels.get(&span.start) {
            return Err(misplaced(travel));
        }
        let ident = word.to_ident(*span);
        self.parser.advance_token();
        Ok(ident)
    }

    /// A name of one or more parts.
    pub(crate) fn name(&mut self, what: &str) -> Result<NameParts, SyntaxError> {
        Ok(self.idents(what)?.iter().map(ident_name).collect())
    }

    /// A name of one or more parts as they were written.
    pub(crate) fn idents(&mut self, what: &str) -> Result<Vec<ast::Ident>, SyntaxError> {
        if NO_NAMES.contains(&self.word().as_str()) {
            let hint = format!(
                "write \"{}\" in double quotes to use it as a name",
                self.word().to_ascii_lowercase()
            );
            return Err(self.expected(what).with_hint(hint));
        }
        let mut parts = Vec::new();
        loop {
            let at = self.here();
            let part = self.written_ident(what)?;
            if part.value.contains('@') {
                return Err(at_sign(at));
            }
            parts.push(part);
            if !self.take_token(&Token::Period) {
                return Ok(parts);
            }
        }
    }

    pub(crate) fn if_not_exists(&mut self) -> bool {
        self.take("IF NOT EXISTS")
    }

    /// A text in quotes.
    pub(crate) fn string(&mut self, what: &str) -> Result<String, SyntaxError> {
        let text = match self.peek() {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            Token::Word(word) if word.quote_style == Some('"') => {
                let hint = "double quotes make a name; write the text in single quotes";
                return Err(self.expected(what).with_hint(hint));
            }
            _ => return Err(self.expected(what)),
        };
        self.parser.advance_token();
        Ok(text)
    }

    /// A text in single or, as Databricks has it, in double quotes: for places where no name can stand.
    /// Not for secrets, which whoever logs a statement finds by their single quotes.
    pub(crate) fn text(&mut self, what: &str) -> Result<String, SyntaxError> {
        let text = match self.peek() {
            Token::Word(word) if word.quote_style == Some('"') => word.value.clone(),
            _ => return self.string(what),
        };
        self.parser.advance_token();
        Ok(text)
    }

    /// A whole number without a sign.
    pub(crate) fn whole_number(&mut self, what: &str) -> Result<u64, SyntaxError> {
        let number = match self.peek() {
            Token::Number(digits, _) => digits.parse().ok(),
            _ => None,
        };
        let number = number.ok_or_else(|| self.expected(what))?;
        self.parser.advance_token();
        Ok(number)
    }

    /// `(a, b)`, each name once, with where each stands.
    pub(crate) fn columns(&mut self) -> Result<Vec<(String, Location)>, SyntaxError> {
        self.expect_token(&Token::LParen)?;
        let mut columns: Vec<(String, Location)> = Vec::new();
        loop {
            let at = self.here();
            let column = self.ident("the name of a column")?;
            if columns.iter().any(|(other, _)| *other == column) {
                return Err(SyntaxError::new(at, format!("column '{column}' is named twice")));
            }
            columns.push((column, at));
            if !self.take_token(&Token::Comma) {
                break;
            }
        }
        if !matches!(self.peek(), Token::RParen) {
            return Err(self.expected(", or )"));
        }
        self.parser.advance_token();
        Ok(columns)
    }

    /// `('k' = 'v', k.l 'v', …)`, each key once.
    pub(crate) fn properties(&mut self) -> Result<Properties, SyntaxError> {
        self.expect_token(&Token::LParen)?;
        let mut properties = Properties::new();
        if self.take_token(&Token::RParen) {
            return Ok(properties);
        }
        loop {
            let at = self.here();
            let key = self.key()?;
            self.take_token(&Token::Eq);
            let value = self.property_value()?;
            if properties.insert(key.clone(), value).is_some() {
                return Err(SyntaxError::new(at, format!("'{key}' is given twice")));
            }
            if !self.take_token(&Token::Comma) {
                break;
            }
        }
        if !self.take_token(&Token::RParen) {
            return Err(self.expected(", or )"));
        }
        Ok(properties)
    }

    /// The key of a property, as text or as a name.
    pub(crate) fn key(&mut self) -> Result<String, SyntaxError> {
        match self.peek() {
            Token::SingleQuotedString(_) => self.string("a key"),
            _ => Ok(self.name("a key")?.join(".")),
        }
    }

    fn property_value(&mut self) -> Result<String, SyntaxError> {
        let minus = self.take_token(&Token::Minus);
        let value = match self.peek() {
            Token::Number(digits, _) => format!("{}{digits}", if minus { "-" } else { "" }),
            Token::Word(word)
                if !minus
                    && word.quote_style.is_none()
                    && matches!(self.word().as_str(), "TRUE" | "FALSE") =>
            {
                word.value.to_ascii_lowercase()
            }
            _ if minus => return Err(self.expected("a number")),
            _ => return self.text("a text in single quotes, a number, true or false"),
        };
        self.parser.advance_token();
        Ok(value)
    }

    /// A query up to where the SQL parser ends it.
    pub(crate) fn query(&mut self) -> Result<Query, SyntaxError> {
        self.spell_out_table_queries();
        let ast = match self.parser.parse_query() {
            Ok(ast) => ast,
            Err(error) => return Err(self.query_error(error)),
        };
        self.finish(ast)
    }

    /// Makes a parsed query ready for the planner.
    pub(crate) fn finish(&mut self, ast: Box<ast::Query>) -> Result<Query, SyntaxError> {
        let Self { parser, travels, parameters, streams, .. } = self;
        let find = |word: &str, after: Location| {
            (0..)
                .map(|n| parser.token_at(n))
                .take_while(|token| token.token != Token::EOF)
                .find(|token| token.span.start >= after && is_unquoted(&token.token, word))
                .map_or(after, |token| token.span.start)
        };
        query::finish(ast, travels, *parameters, *streams, &find)
    }

    /// Queries that are finished from here on may read a STREAM.
    pub(crate) fn allow_streams(&mut self) {
        self.streams = true;
    }

    /// Lets a name that was read mean the STREAM of the table, as if that had been written.
    pub(crate) fn make_stream(&mut self, last: &mut ast::Ident) {
        let Some(word) = self.word_at(last.span.start) else { return };
        let at = TimeTravel::Stream(StreamRead::default());
        last.value = planned_name(&normal(&word), &at);
        last.quote_style = Some('"');
        let clause = last.span.start;
        self.travels.insert(clause, Travel { word, at, clause, used: false });
    }

    fn word_at(&self, at: Location) -> Option<Word> {
        (0..)
            .map(|n| self.parser.token_at(n))
            .take_while(|token| token.token != Token::EOF)
            .find_map(|token| match &token.token {
                Token::Word(word) if token.span.start == at => Some(word.clone()),
                _ => None,
            })
    }

    /// A query that is stored, and so can have no parameters.
    pub(crate) fn stored_query(&mut self, object: &str) -> Result<Query, SyntaxError> {
        let query = self.query()?;
        self.refuse_parameters(&format!("the query of a {object}"))?;
        Ok(query)
    }

    /// An error at the first parameter of the statement, if it has one.
    pub(crate) fn refuse_parameters(&self, what: &str) -> Result<(), SyntaxError> {
        if self.parameters == 0 {
            return Ok(());
        }
        let parameter = (0..)
            .map(|n| self.parser.token_at(n))
            .take_while(|token| token.token != Token::EOF)
            .find(|token| matches!(token.token, Token::Placeholder(_)));
        let at = parameter.map_or(self.end, |token| token.span.start);
        Err(SyntaxError::new(at, format!("{what} cannot have parameters")))
    }

    /// An error of the SQL parser, with its place.
    fn parser_error(&self, error: ParserError) -> SyntaxError {
        let furthest = self.place(self.parser.token_at(self.dialect.furthest()));
        if self.dialect.is_exhausted() {
            return SyntaxError::new(furthest, "the expression cannot be read")
                .with_hint("look for a missing bracket or END near this place");
        }
        let too_deep = matches!(error, ParserError::RecursionLimitExceeded);
        let error = SyntaxError::from_parser(error, if too_deep { furthest } else { self.here() });
        if error.message.ends_with("found: EOF") {
            return SyntaxError { line: self.end.line, column: self.end.column, ..error };
        }
        error
    }

    /// An error of the SQL parser inside a query, with the word that was probably meant.
    fn query_error(&self, error: ParserError) -> SyntaxError {
        let error = self.parser_error(error);
        let at = Location { line: error.line, column: error.column };
        SyntaxError { hint: error.hint.clone().or_else(|| self.misspelled(at)), ..error }
    }

    /// A hint for a misspelled word at a place or directly before it.
    fn misspelled(&self, at: Location) -> Option<String> {
        let tokens =
            (0..).map(|n| self.parser.token_at(n)).take_while(|token| token.token != Token::EOF);
        let until: Vec<_> = tokens.take_while(|token| token.span.start <= at).collect();
        until.iter().rev().take(2).find_map(|token| match &token.token {
            Token::Word(word)
                if word.quote_style.is_none()
                    && !QUERY_WORDS.contains(&word.value.to_ascii_uppercase().as_str()) =>
            {
                nearest(&word.value, &QUERY_WORDS)
                    .map(|meant| format!("did you mean {meant} instead of {}?", word.value))
            }
            _ => None,
        })
    }

    /// The end of the statement has to be here, and every time travel clause has to have a table.
    pub(crate) fn end(&mut self) -> Result<(), SyntaxError> {
        if let Some(travel) = self.travels.values().find(|travel| !travel.used) {
            return Err(misplaced(travel));
        }
        if self.at_end() {
            return Ok(());
        }
        let error = self.expected("end of statement");
        Err(SyntaxError { hint: self.misspelled(self.here()), ..error })
    }

    /// The text from a place to the end of the statement.
    pub(crate) fn text_from(&self, from: Location) -> String {
        slice(self.text, from, self.end).to_owned()
    }

    /// The text from a place to the end of the last token that was taken.
    pub(crate) fn text_until_here(&self, from: Location) -> String {
        slice(self.text, from, self.parser.get_current_token().span.end).to_owned()
    }

    /// The text from here to the next space or the end; takes the tokens that it covers.
    pub(crate) fn bare_text(&mut self) -> String {
        let here = self.here();
        let rest = slice(self.text, here, self.end);
        let length = rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len());
        let text = rest[..length].to_owned();
        let end_column = here.column + text.chars().count() as u64;
        while !self.at_end() && self.here().line == here.line && self.here().column < end_column {
            self.parser.advance_token();
        }
        text
    }

    /// `TABLE t` is a query. The SQL parser loses the words after it, so it is spelled out.
    pub(crate) fn spell_out_table_queries(&mut self) {
        let mut tokens = Vec::new();
        let mut changed = false;
        let rest = std::mem::replace(&mut self.parser, Parser::new(self.dialect));
        let start = rest.index();
        let rest: Vec<TokenWithSpan> = rest.into_tokens().into_iter().skip(start).collect();
        for (n, token) in rest.iter().enumerate() {
            let set_operator = |n: usize| {
                ["UNION", "EXCEPT", "INTERSECT", "MINUS"].iter().any(|word| is_word(&rest, n, word))
            };
            let starts_query = n == 0
                || rest[n - 1].token == Token::LParen
                || set_operator(n - 1)
                || (n >= 2 && is_word(&rest, n - 1, "ALL") && set_operator(n - 2));
            let is_query = starts_query
                && is_word(&rest, n, "TABLE")
                && matches!(rest.get(n + 1).map(|t| &t.token), Some(Token::Word(_)));
            if !is_query {
                tokens.push(token.clone());
                continue;
            }
            changed = true;
            let words = [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
            tokens.extend(
                words.into_iter().map(|word| TokenWithSpan { token: word, span: token.span }),
            );
        }
        let tokens = if changed { tokens } else { rest };
        self.dialect.rewind();
        self.parser = Parser::new(self.dialect).with_tokens_with_locations(tokens);
    }
}

/// The text between two places.
pub(crate) fn slice(text: &str, from: Location, until: Location) -> &str {
    let (from, until) = (offset(text, from), offset(text, until));
    text.get(from..until).unwrap_or_default()
}

/// The byte at which a place is; the end of the text for a place behind it.
fn offset(text: &str, at: Location) -> usize {
    let line_start = match at.line.saturating_sub(1) {
        0 => 0,
        lines => {
            match text.match_indices('\n').nth(usize::try_from(lines - 1).unwrap_or(usize::MAX)) {
                Some((newline, _)) => newline + 1,
                None => return text.len(),
            }
        }
    };
    let characters = usize::try_from(at.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let rest = &text[line_start..];
    line_start + rest.char_indices().nth(characters).map_or(rest.len(), |(offset, _)| offset)
}

/// `A, B or C`.
pub(crate) fn join_or(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [word] => (*word).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
