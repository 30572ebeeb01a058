//! REFRESH and the statements about jobs.

use model::{profile::Resources, quantity::parse_size};
use sqlparser::tokenizer::{Location, Token};

use crate::{
    checks,
    cursor::Cursor,
    error::{SyntaxError, nearest},
    statement::{
        Along, DropKind, InputVersion, JobStatement, Refresh, RefreshOptions, Statement, Wait,
    },
};

/// The longest time that a TIMEOUT can say: a hundred years.
const TIMEOUT_MS_MAX: u64 = 100 * 366 * 24 * 3_600_000;

/// Units of time with their length in milliseconds.
const UNITS: [(&[&str], u64); 6] = [
    (&["MILLISECOND", "MILLISECONDS", "MS"], 1),
    (&["SECOND", "SECONDS", "SEC", "SECS", "S"], 1_000),
    (&["MINUTE", "MINUTES", "MIN", "MINS", "M"], 60_000),
    (&["HOUR", "HOURS", "H"], 3_600_000),
    (&["DAY", "DAYS", "D"], 86_400_000),
    (&["WEEK", "WEEKS", "W"], 604_800_000),
];

pub(crate) fn refresh(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    const WHAT: &str = "the name of a materialized view or streaming table";
    const CLAUSES: [&str; 8] =
        ["FULL", "WHERE", "USING INPUTS", "WITH", "ASYNC", "SYNC", "NOTIFY", "OPTIONS"];
    cursor.expect("REFRESH")?;
    let is_name = matches!(cursor.peek_at(1), Token::EOF | Token::Period | Token::Comma);
    if !is_name && cursor.sees("FOLDER") {
        return Err(cursor.unsupported("REFRESH FOLDER"));
    }
    let mut kind = None;
    for said in [DropKind::MaterializedView, DropKind::StreamingTable, DropKind::Table] {
        if !is_name && kind.is_none() && cursor.take(said.as_sql()) {
            kind = Some(said);
        }
    }
    let mut names = vec![cursor.name(WHAT)?];
    while cursor.take_token(&Token::Comma) {
        names.push(cursor.name(WHAT)?);
    }
    let mut refresh = Refresh {
        kind,
        names,
        full: false,
        condition: None,
        inputs: Vec::new(),
        along: Along::Nothing,
        sync: false,
        timeout_ms: None,
        notify: None,
        options: RefreshOptions::default(),
    };
    let mut said: Vec<String> = Vec::new();
    while !cursor.at_end() {
        let word = cursor.word();
        let clause = if word == "ASYNC" { "SYNC".to_owned() } else { word.clone() };
        if said.contains(&clause) {
            return Err(cursor.error(format!("{word} does not fit with what was said before")));
        }
        match word.as_str() {
            "FULL" => refresh.full = cursor.take("FULL"),
            "WITH" => refresh.along = along(cursor)?,
            "ASYNC" => cursor.skip(1),
            "SYNC" => {
                refresh.sync = cursor.take("SYNC");
                refresh.timeout_ms = timeout(cursor)?;
            }
            "WHERE" => {
                let at = cursor.here();
                cursor.skip(1);
                if refresh.names.len() > 1 {
                    return Err(SyntaxError::new(at, "WHERE is about one transform")
                        .with_hint("write one REFRESH for each"));
                }
                refresh.condition = Some(checks::normal_expression(cursor, "the condition")?);
            }
            "NOTIFY" => {
                cursor.skip(1);
                refresh.notify = Some(cursor.string("a URL in single quotes")?);
            }
            "OPTIONS" => {
                cursor.skip(1);
                refresh.options = options(cursor)?;
            }
            "USING" => {
                if refresh.names.len() > 1 {
                    return Err(cursor
                        .error("USING INPUTS is about one transform")
                        .with_hint("write one REFRESH for each"));
                }
                refresh.inputs = inputs(cursor)?;
            }
            "FOR" => {
                return Err(cursor
                    .unsupported("REFRESH … FOR")
                    .with_hint("leave it out: transforms have no parameters"));
            }
            "TIMEOUT" => {
                return Err(cursor
                    .error("TIMEOUT belongs to SYNC")
                    .with_hint("write SYNC TIMEOUT 30 SECONDS"));
            }
            _ => return Err(cursor.expected_one_of(&CLAUSES)),
        }
        said.push(clause);
    }
    Ok(Statement::Refresh(refresh))
}

/// `USING INPUTS (name VERSION n, …)`.
pub(crate) fn inputs(cursor: &mut Cursor<'_>) -> Result<Vec<InputVersion>, SyntaxError> {
    cursor.expect("USING INPUTS")?;
    cursor.expect_token(&Token::LParen)?;
    let mut inputs: Vec<InputVersion> = Vec::new();
    loop {
        let at = cursor.here();
        let name = cursor.name("the name of a table that is read")?;
        if inputs.iter().any(|other| other.name == name) {
            let name = name.join(".");
            return Err(SyntaxError::new(at, format!("input '{name}' is named twice")));
        }
        cursor.expect("VERSION")?;
        let at = cursor.here();
        let number = cursor.whole_number("the number of a version")?;
        let version = i64::try_from(number)
            .map_err(|_| SyntaxError::new(at, format!("no table has a version {number}")))?;
        inputs.push(InputVersion { name, version });
        if !cursor.take_token(&Token::Comma) {
            cursor.expect_token(&Token::RParen)?;
            return Ok(inputs);
        }
    }
}

/// `WITH {UPSTREAM | DOWNSTREAM}`.
fn along(cursor: &mut Cursor<'_>) -> Result<Along, SyntaxError> {
    cursor.expect("WITH")?;
    let along = match cursor.word().as_str() {
        "UPSTREAM" => Along::Upstream,
        "DOWNSTREAM" => Along::Downstream,
        _ => return Err(cursor.expected_one_of(&["UPSTREAM", "DOWNSTREAM"])),
    };
    cursor.skip(1);
    Ok(along)
}

/// `(profile = 'name', max_bytes = n)` of a transform.
pub(crate) fn resources(cursor: &mut Cursor<'_>) -> Result<Resources, SyntaxError> {
    const KEYS: [&str; 2] = ["profile", "max_bytes"];
    let at = cursor.here();
    let mut resources = Resources::default();
    for (key, value) in cursor.properties()? {
        match key.to_ascii_lowercase().as_str() {
            "profile" => resources.profile = profile(at, &value)?,
            "max_bytes" => resources.bytes_max = Some(max_bytes(at, &value)?),
            "idempotency_key" | "priority" | "max_attempts" => {
                return Err(SyntaxError::new(at, format!("{key} belongs to one REFRESH"))
                    .with_hint("write it after REFRESH …"));
            }
            _ => return Err(no_option(at, &key, "a transform", &KEYS)),
        }
    }
    Ok(resources)
}

fn profile(at: Location, value: &str) -> Result<String, SyntaxError> {
    match value.trim() {
        "" => Err(SyntaxError::new(at, "profile is the name of a profile, not an empty text")),
        name => Ok(name.to_owned()),
    }
}

fn max_bytes(at: Location, value: &str) -> Result<u64, SyntaxError> {
    match parse_size(value) {
        Ok(bytes) if bytes > 0 => Ok(bytes),
        Ok(_) => Err(SyntaxError::new(at, "max_bytes is at least 1")),
        Err(why) => Err(SyntaxError::new(at, format!("max_bytes: {why}"))),
    }
}

fn no_option(at: Location, key: &str, whose: &str, known: &[&str]) -> SyntaxError {
    let error = SyntaxError::new(at, format!("'{key}' is no option of {whose}"));
    match nearest(key, known) {
        Some(meant) => error.with_hint(format!("did you mean {meant}?")),
        None => error.with_hint(format!("options are {}", known.join(", "))),
    }
}

/// `(idempotency_key = 'text', priority = n, max_attempts = n, profile = 'name', max_bytes = n)`.
fn options(cursor: &mut Cursor<'_>) -> Result<RefreshOptions, SyntaxError> {
    const KEYS: [&str; 5] = ["idempotency_key", "priority", "max_attempts", "profile", "max_bytes"];
    let at = cursor.here();
    let mut options = RefreshOptions::default();
    for (key, value) in cursor.properties()? {
        let wrong = |what: &str| SyntaxError::new(at, format!("{key} is {what}, not '{value}'"));
        match key.to_ascii_lowercase().as_str() {
            "idempotency_key" if value.trim().is_empty() => {
                return Err(wrong("a text that is not empty"));
            }
            "idempotency_key" => options.idempotency_key = Some(value),
            "priority" => {
                options.priority = Some(value.parse().map_err(|_| wrong("a whole number"))?);
            }
            "max_attempts" => {
                let attempts = value.parse().ok().filter(|attempts| *attempts > 0);
                options.max_attempts = Some(attempts.ok_or_else(|| wrong("at least 1"))?);
            }
            "profile" => options.profile = Some(profile(at, &value)?),
            "max_bytes" => options.max_bytes = Some(max_bytes(at, &value)?),
            _ => return Err(no_option(at, &key, "REFRESH", &KEYS)),
        }
    }
    Ok(options)
}

/// `ASYNC` or `SYNC [TIMEOUT interval]`, if it comes next.
pub(crate) fn wait_clause(cursor: &mut Cursor<'_>) -> Result<Option<Wait>, SyntaxError> {
    if cursor.take("ASYNC") {
        return Ok(Some(Wait::Not));
    }
    if !cursor.take("SYNC") {
        return Ok(None);
    }
    Ok(Some(Wait::ForTheEnd { timeout_ms: timeout(cursor)? }))
}

pub(crate) fn wait(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("WAIT FOR JOB")?;
    let job = job_id(cursor)?;
    let timeout_ms = timeout(cursor)?;
    Ok(Statement::Job(JobStatement::Wait { job, timeout_ms }))
}

pub(crate) fn cancel(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    if cursor.take("CANCEL QUERY") {
        let query = id_of(cursor, "a statement, as system.queries shows it")?;
        return Ok(Statement::CancelQuery { query, reason: reason(cursor)? });
    }
    cursor.expect("CANCEL JOB")?;
    let job = job_id(cursor)?;
    Ok(Statement::Job(JobStatement::Cancel { job, reason: reason(cursor)? }))
}

fn reason(cursor: &mut Cursor<'_>) -> Result<Option<String>, SyntaxError> {
    if !cursor.take("REASON") {
        return Ok(None);
    }
    cursor.string("a reason in single quotes").map(Some)
}

pub(crate) fn approve(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("APPROVE JOB")?;
    Ok(Statement::Job(JobStatement::Approve { job: job_id(cursor)? }))
}

pub(crate) fn retry(cursor: &mut Cursor<'_>) -> Result<Statement, SyntaxError> {
    cursor.expect("RETRY JOB")?;
    let job = job_id(cursor)?;
    if cursor.at_end() {
        return Ok(Statement::Job(JobStatement::Retry { job }));
    }
    cursor.expect("FROM FAILED")?;
    Ok(Statement::Job(JobStatement::RetryFailed { job }))
}

pub(crate) fn job_id(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    id_of(cursor, "a job")
}

/// An id in quotes or as it is. The tokens of a bare one cut it into numbers and words, so it is
/// taken from the text.
fn id_of(cursor: &mut Cursor<'_>, whose: &str) -> Result<String, SyntaxError> {
    let at = cursor.here();
    let expected = cursor.expected(&format!("the id of {whose}, such as '0198f2c4-…'"));
    let is_text = matches!(cursor.peek(), Token::SingleQuotedString(_));
    let id =
        if is_text { cursor.string(&format!("the id of {whose}"))? } else { cursor.bare_text() };
    if matches!(id.as_str(), "?") || id.starts_with('$') {
        return Err(SyntaxError::unsupported(
            at,
            format!("the id of {whose} cannot be a parameter in this version"),
        )
        .with_hint("write it in single quotes"));
    }
    let plausible = !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if plausible { Ok(id) } else { Err(expected) }
}

/// `TIMEOUT interval`, if it comes next, in milliseconds.
fn timeout(cursor: &mut Cursor<'_>) -> Result<Option<u64>, SyntaxError> {
    if cursor.take("TIMEOUT") { Ok(Some(interval_ms(cursor)?)) } else { Ok(None) }
}

/// A length of time: `30 SECONDS`, `INTERVAL '30' SECOND`, `'30s'`, or a number of seconds.
pub(crate) fn interval_ms(cursor: &mut Cursor<'_>) -> Result<u64, SyntaxError> {
    const WHAT: &str = "a length of time such as 30 SECONDS";
    cursor.take("INTERVAL");
    let at = cursor.here();
    let text = match cursor.peek() {
        Token::Number(digits, _) => digits.clone(),
        Token::SingleQuotedString(text) => text.clone(),
        _ => return Err(cursor.expected(WHAT)),
    };
    cursor.skip(1);
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, inner_unit) = (text[..digits].trim(), text[digits..].trim());
    let unit_at = cursor.here();
    let outer_unit = if inner_unit.is_empty() { unit_word(cursor) } else { None };
    let unit = outer_unit.as_deref().unwrap_or(inner_unit);
    let unit_at = if outer_unit.is_some() { unit_at } else { at };
    let unit_ms = if unit.is_empty() {
        1_000
    } else {
        unit_ms(unit).ok_or_else(|| no_unit(unit_at, unit))?
    };
    let number: f64 = number
        .parse()
        .map_err(|_| SyntaxError::new(at, format!("Expected: {WHAT}, found: {text}")))?;
    let ms = number * unit_ms as f64;
    if !ms.is_finite() || ms > TIMEOUT_MS_MAX as f64 {
        return Err(SyntaxError::new(at, "the time is longer than 100 years"));
    }
    Ok(ms as u64)
}

fn unit_word(cursor: &mut Cursor<'_>) -> Option<String> {
    let word = cursor.word();
    if word.is_empty() {
        return None;
    }
    cursor.skip(1);
    Some(word)
}

/// Milliseconds of a unit.
pub(crate) fn unit_ms(word: &str) -> Option<u64> {
    let word = word.to_ascii_uppercase();
    UNITS.into_iter().find(|(words, _)| words.contains(&word.as_str())).map(|(_, ms)| ms)
}

/// The error for a word that is no unit of time.
pub(crate) fn no_unit(at: Location, word: &str) -> SyntaxError {
    SyntaxError::new(at, format!("'{word}' is not a unit of time"))
        .with_hint("units are SECONDS, MINUTES, HOURS, DAYS and WEEKS")
}

#[cfg(test)]
mod tests;
