//! What stands between the name of a new object and its `AS`: clauses in any order, each once.
//!
//! It exists because tables and materialized views share most of them.

use model::{
    clustering::{self, CLUSTER_BY},
    object::{Properties, TableFormat},
    profile::Resources,
    schedule::{Schedule, ScheduleError},
    transform::{Misfire, OnFullRefresh, RefreshPolicy, Trigger},
};
use sqlparser::tokenizer::{Location, Token};

use crate::{
    cursor::Cursor,
    error::{SyntaxError, nearest},
    folders,
    jobs::{interval_ms, no_unit, resources, unit_ms},
    statement::Column,
};

/// The object that the clauses belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    Table,
    /// CREATE TABLE … LIKE, which takes most of it from another table.
    TableLike,
    View,
    /// A view of a folder of definitions, of which nothing is kept.
    TemporaryView,
    MaterializedView,
    StreamingTable,
}

impl Of {
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Table => &[
                "AS",
                "PARTITIONED BY",
                "CLUSTER BY",
                "LOCATION",
                "TBLPROPERTIES",
                "OPTIONS",
                "COMMENT",
                "USING",
                "STORED AS",
                "PATH COLUMNS",
                "COMPLETE WHEN",
            ],
            Self::TableLike => &["LOCATION", "TBLPROPERTIES", "COMMENT"],
            Self::View => &["AS", "COMMENT"],
            Self::TemporaryView => &["AS", "COMMENT", "TBLPROPERTIES"],
            Self::MaterializedView => &[
                "AS",
                "PARTITIONED BY",
                "CLUSTER BY",
                "COMMENT",
                "TBLPROPERTIES",
                "LOCATION",
                "SCHEDULE",
                "TRIGGER ON UPDATE",
                "REFRESH POLICY",
                "OPTIONS",
                "USING",
            ],
            Self::StreamingTable => &[
                "AS",
                "PARTITIONED BY",
                "CLUSTER BY",
                "COMMENT",
                "TBLPROPERTIES",
                "LOCATION",
                "SCHEDULE",
                "TRIGGER ON UPDATE",
                "REFRESH POLICY",
                "OPTIONS",
                "USING",
                "FLOW",
            ],
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::TableLike => "table LIKE another",
            Self::View => "view",
            Self::TemporaryView => "temporary view",
            Self::MaterializedView => "materialized view",
            Self::StreamingTable => "streaming table",
        }
    }
}

/// Clauses that were given.
#[derive(Debug, Default)]
pub(crate) struct Clauses {
    pub(crate) partitioned_by: Vec<(String, Location)>,
    pub(crate) format: Option<TableFormat>,
    pub(crate) location: Option<String>,
    pub(crate) location_at: Option<Location>,
    pub(crate) path_columns: Vec<folders::Declared>,
    pub(crate) path_columns_at: Option<Location>,
    pub(crate) complete_when: Option<(String, Location)>,
    pub(crate) options: Properties,
    pub(crate) properties: Properties,
    pub(crate) comment: Option<String>,
    pub(crate) schedule: Option<(Schedule, Misfire)>,
    pub(crate) trigger: Option<Trigger>,
    pub(crate) policy: Option<(RefreshPolicy, OnFullRefresh)>,
    pub(crate) resources: Resources,
}

/// Clauses of the design that no object has yet, or only another kind of object.
const UNSUPPORTED: [&str; 38] = [
    "CLUSTERED BY",
    "TRIGGER",
    "REFRESH POLICY",
    "FROZEN WHERE",
    "JOIN POLICY",
    "ON SCHEMA DRIFT",
    "CONTRACT VERSION",
    "REQUIRES CONTRACT",
    "PARAMETERS",
    "MISFIRE",
    "PATH COLUMNS",
    "COMPLETE WHEN",
    "WITH ORDER",
    "WITH HEADER ROW",
    "WITH ROW FILTER",
    "WITH NO DATA",
    "WITH DATA",
    "WITH SCHEMA",
    "ROW FORMAT",
    "SORTED BY",
    "DISTRIBUTED BY",
    "LIKE",
    "CLONE",
    "SHALLOW CLONE",
    "DEEP CLONE",
    "DEFAULT COLLATION",
    "COLLATE",
    "ENGINE",
    "ORDER BY",
    "PRIMARY KEY",
    "INHERITS",
    "TABLESPACE",
    "ON COMMIT",
    "FLOW",
    "EVERY",
    "REFRESH",
    "SECURITY",
    "ON FULL REFRESH",
];

const ALWAYS_DELTA: &str = "the result is always a Delta table; leave the clause out";

/// Reads clauses up to `AS` or the end of the statement.
pub(crate) fn read(cursor: &mut Cursor<'_>, of: Of) -> Result<Clauses, SyntaxError> {
    let mut clauses = Clauses::default();
    let mut said: Vec<&str> = Vec::new();
    while !cursor.at_end() && !cursor.sees("AS") {
        let at = cursor.here();
        if of == Of::StreamingTable && cursor.sees("FLOW") {
            break;
        }
        let is_own = |words: &str| {
            of.words().iter().any(|own| own.split(' ').next() == words.split(' ').next())
        };
        let unsupported = UNSUPPORTED.iter().find(|words| cursor.sees(words) && !is_own(words));
        if let Some(what) = unsupported {
            return Err(refused(cursor, of, what));
        }
        let clause = clause(cursor, of)?;
        if said.contains(&clause) {
            return Err(cursor.error(format!("{clause} is given twice")));
        }
        said.push(clause);
        read_one(cursor, of, clause, &mut clauses)?;
        if clauses.schedule.is_some() && clauses.trigger.is_some() {
            let text = "SCHEDULE and TRIGGER ON UPDATE exclude each other";
            return Err(SyntaxError::new(at, text).with_hint(
                "leave one of them out; AT MOST EVERY 1 HOUR of the trigger bounds how often it comes",
            ));
        }
    }
    Ok(clauses)
}

fn refused(cursor: &Cursor<'_>, of: Of, what: &str) -> SyntaxError {
    let error = cursor.unsupported(&format!("{what} of a {}", of.name()));
    match what {
        "WITH HEADER ROW" => error.with_hint("write OPTIONS ('format.has_header' 'true')"),
        "CLUSTERED BY" => {
            error.with_hint("there are no buckets: write CLUSTER BY (…), which orders files")
        }
        "WITH ROW FILTER" if matches!(of, Of::MaterializedView | Of::StreamingTable) => {
            let kind = of.name().to_ascii_uppercase();
            error.with_hint(format!("write ALTER {kind} … SET ROW FILTER (condition) afterwards"))
        }
        "DEFAULT COLLATION" | "COLLATE" => {
            error.with_hint("leave it out: texts are compared by their bytes, as UTF8_BINARY is")
        }
        "TRIGGER" if !matches!(of, Of::MaterializedView | Of::StreamingTable) => {
            error.with_hint("only a materialized view or a streaming table refreshes by itself")
        }
        "MISFIRE" => error.with_hint("write it after SCHEDULE …"),
        "ON FULL REFRESH" => error.with_hint("write it after REFRESH POLICY …"),
        "TRIGGER" | "EVERY" | "REFRESH" => error.with_hint("write SCHEDULE EVERY 1 HOUR"),
        "LIKE" => error.with_hint("write CREATE TABLE new LIKE other, without columns"),
        "CLONE" | "SHALLOW CLONE" | "DEEP CLONE" => error.with_hint("write AS SELECT * FROM …"),
        "FROZEN WHERE" | "JOIN POLICY" | "ON SCHEMA DRIFT" | "CONTRACT VERSION"
        | "REQUIRES CONTRACT" | "PARAMETERS" => {
            error.with_hint("leave it out: nothing here would hold to it")
        }
        "PRIMARY KEY" => error.with_hint("write the key inside the parentheses of the columns"),
        _ => error,
    }
}

/// Which clause comes next; nothing is taken.
fn clause(cursor: &Cursor<'_>, of: Of) -> Result<&'static str, SyntaxError> {
    let word = cursor.word();
    if word == "PARTITION" {
        return Err(cursor.expected("PARTITIONED BY").with_hint("did you mean PARTITIONED BY?"));
    }
    if word == "WITH" && of == Of::Table && *cursor.peek_at(1) == Token::LParen {
        return Ok("OPTIONS");
    }
    let all = [
        "PARTITIONED BY",
        "CLUSTER BY",
        "LOCATION",
        "COMMENT",
        "TBLPROPERTIES",
        "OPTIONS",
        "USING",
        "STORED AS",
        "SCHEDULE",
        "TRIGGER ON UPDATE",
        "REFRESH POLICY",
        "PATH COLUMNS",
        "COMPLETE WHEN",
    ];
    let Some(clause) =
        all.into_iter().find(|clause| clause.split(' ').next() == Some(word.as_str()))
    else {
        return Err(cursor.expected_one_of(of.words()));
    };
    if of.words().contains(&clause) {
        // Both say how the data is stored.
        return Ok(if clause == "STORED AS" { "USING" } else { clause });
    }
    let error = cursor.unsupported(&format!("{clause} of a {}", of.name()));
    Err(match (of, clause) {
        (Of::MaterializedView | Of::StreamingTable, "STORED AS") => error.with_hint(ALWAYS_DELTA),
        (Of::TableLike, "PARTITIONED BY" | "CLUSTER BY" | "USING" | "STORED AS") => error
            .with_hint(
                "the new table is partitioned and stored as the other; leave the clause out",
            ),
        (_, "SCHEDULE" | "TRIGGER ON UPDATE" | "REFRESH POLICY") => {
            error.with_hint("only a materialized view or a streaming table refreshes by itself")
        }
        _ => error,
    })
}

fn read_one(
    cursor: &mut Cursor<'_>,
    of: Of,
    clause: &str,
    clauses: &mut Clauses,
) -> Result<(), SyntaxError> {
    match clause {
        "PARTITIONED BY" => {
            cursor.expect("PARTITIONED BY")?;
            clauses.partitioned_by = partitions(cursor)?;
        }
        "LOCATION" => {
            cursor.skip(1);
            let at = cursor.here();
            let location = cursor.text("a location in single quotes")?;
            if location.trim().is_empty() {
                return Err(SyntaxError::new(at, "the location is empty"));
            }
            (clauses.location, clauses.location_at) = (Some(location), Some(at));
        }
        "COMMENT" => clauses.comment = Some(comment(cursor)?),
        "TBLPROPERTIES" => {
            let at = cursor.here();
            cursor.skip(1);
            let more = cursor.properties()?;
            add_properties(&mut clauses.properties, more, at)?;
        }
        "CLUSTER BY" => {
            let at = cursor.here();
            let more = cluster_by(cursor)?;
            add_properties(&mut clauses.properties, more, at)?;
        }
        "OPTIONS" if matches!(of, Of::MaterializedView | Of::StreamingTable) => {
            cursor.skip(1);
            clauses.resources = resources(cursor)?;
        }
        "OPTIONS" => {
            cursor.skip(1);
            clauses.options = cursor.properties()?;
        }
        "USING" if matches!(of, Of::MaterializedView | Of::StreamingTable) => {
            if !cursor.take("USING DELTA") {
                cursor.skip(1);
                let what = format!("USING {} of a {}", cursor.word(), of.name());
                return Err(cursor.unsupported(&what).with_hint(ALWAYS_DELTA));
            }
        }
        "USING" => clauses.format = Some(format(cursor)?),
        "PATH COLUMNS" => {
            clauses.path_columns_at = Some(cursor.here());
            clauses.path_columns = folders::path_columns(cursor)?;
        }
        "COMPLETE WHEN" => {
            let at = cursor.here();
            clauses.complete_when = Some((folders::complete_when(cursor)?, at));
        }
        "TRIGGER ON UPDATE" => clauses.trigger = Some(trigger(cursor)?),
        "REFRESH POLICY" => {
            let at = cursor.here();
            let policy = policy(cursor)?;
            if of == Of::StreamingTable {
                only_incremental(at, policy)?;
            }
            clauses.policy = Some(policy);
        }
        _ => clauses.schedule = Some(schedule(cursor)?),
    }
    Ok(())
}

/// `COMMENT 'text'`, with an optional `=`.
pub(crate) fn comment(cursor: &mut Cursor<'_>) -> Result<String, SyntaxError> {
    cursor.expect("COMMENT")?;
    cursor.take_token(&Token::Eq);
    cursor.text("a comment in single quotes")
}

/// `CLUSTER BY (a, b)`, as the property that it is; `AUTO` and `NONE` are no columns.
pub(crate) fn cluster_by(cursor: &mut Cursor<'_>) -> Result<Properties, SyntaxError> {
    cursor.expect("CLUSTER BY")?;
    if cursor.take("AUTO") || cursor.take("NONE") {
        return Ok(Properties::new());
    }
    if !matches!(cursor.peek(), Token::LParen) {
        return Err(cursor.expected("columns in parentheses, AUTO or NONE"));
    }
    let columns: Vec<String> = cursor.columns()?.into_iter().map(|(column, _)| column).collect();
    Ok(clustering::property(&columns))
}

/// Both clauses say properties, so they may say the same one.
fn add_properties(
    properties: &mut Properties,
    more: Properties,
    at: Location,
) -> Result<(), SyntaxError> {
    if properties.contains_key(CLUSTER_BY) && more.contains_key(CLUSTER_BY) {
        let text = format!("CLUSTER BY and the property '{CLUSTER_BY}' are one thing");
        return Err(SyntaxError::new(at, text).with_hint("write one of them"));
    }
    properties.extend(more);
    Ok(())
}

fn partitions(cursor: &mut Cursor<'_>) -> Result<Vec<(String, Location)>, SyntaxError> {
    let has_type = matches!(cursor.peek(), Token::LParen)
        && matches!((cursor.peek_at(1), cursor.peek_at(2)), (Token::Word(_), Token::Word(_)));
    if has_type {
        cursor.skip(2);
        return Err(cursor.unsupported("a type in PARTITIONED BY").with_hint(
            "declare the column with the other columns; PARTITIONED BY takes names only",
        ));
    }
    if matches!((cursor.peek(), cursor.peek_at(2)), (Token::LParen, Token::LParen)) {
        cursor.skip(1);
        return Err(cursor
            .unsupported("an expression in PARTITIONED BY")
            .with_hint("add a column that holds the expression and name it"));
    }
    cursor.columns()
}

pub(crate) fn format(cursor: &mut Cursor<'_>) -> Result<TableFormat, SyntaxError> {
    const FORMATS: [&str; 4] = ["DELTA", "PARQUET", "CSV", "JSON"];
    if !cursor.take("USING") {
        cursor.expect("STORED AS")?;
    }
    let format = match cursor.word().as_str() {
        "DELTA" | "DELTATABLE" => TableFormat::Delta,
        "PARQUET" => TableFormat::Parquet,
        "CSV" => TableFormat::Csv,
        "JSON" | "NDJSON" => TableFormat::Json,
        word @ ("ICEBERG" | "HUDI" | "AVRO" | "ORC" | "ARROW" | "TEXT" | "TEXTFILE") => {
            return Err(cursor
                .unsupported(&format!("the format {word}"))
                .with_hint("formats are DELTA, PARQUET, CSV and JSON"));
        }
        _ => return Err(cursor.expected_one_of(&FORMATS)),
    };
    cursor.skip(1);
    Ok(format)
}

/// `SCHEDULE [REFRESH] EVERY n unit` or `SCHEDULE [REFRESH] CRON 'text' [AT TIME ZONE 'zone']`, and
/// `[MISFIRE {SKIP | ONCE}]`.
pub(crate) fn schedule(cursor: &mut Cursor<'_>) -> Result<(Schedule, Misfire), SyntaxError> {
    cursor.expect("SCHEDULE")?;
    cursor.take("REFRESH");
    let schedule = due_times(cursor)?;
    let mut misfire = Misfire::default();
    if cursor.take("MISFIRE") {
        misfire = match cursor.word().as_str() {
            "SKIP" => Misfire::Skip,
            "ONCE" => Misfire::Once,
            _ => return Err(cursor.expected_one_of(&["SKIP", "ONCE"])),
        };
        cursor.skip(1);
    }
    Ok((schedule, misfire))
}

/// `TRIGGER ON UPDATE [AT MOST EVERY interval]`.
pub(crate) fn trigger(cursor: &mut Cursor<'_>) -> Result<Trigger, SyntaxError> {
    cursor.expect("TRIGGER ON UPDATE")?;
    if !cursor.take("AT MOST EVERY") {
        return Ok(Trigger { at_most_every_s: None });
    }
    let at = cursor.here();
    let ms = interval_ms(cursor)?;
    if ms == 0 || !ms.is_multiple_of(1_000) {
        return Err(SyntaxError::new(at, "the time is a whole number of seconds, at least one"));
    }
    Ok(Trigger { at_most_every_s: Some(ms / 1_000) })
}

/// `REFRESH POLICY … [ON FULL REFRESH …]`.
fn policy(cursor: &mut Cursor<'_>) -> Result<(RefreshPolicy, OnFullRefresh), SyntaxError> {
    cursor.expect("REFRESH POLICY")?;
    let policy = if cursor.take("AUTO") {
        RefreshPolicy::Auto
    } else if cursor.take("INCREMENTAL STRICT") {
        RefreshPolicy::IncrementalStrict
    } else if cursor.take("INCREMENTAL") {
        RefreshPolicy::Incremental
    } else if cursor.take("FULL") {
        RefreshPolicy::Full
    } else {
        let policies = ["AUTO", "INCREMENTAL", "INCREMENTAL STRICT", "FULL"];
        return Err(cursor.expected_one_of(&policies));
    };
    if !cursor.take("ON FULL REFRESH") {
        return Ok((policy, OnFullRefresh::default()));
    }
    let on_full_refresh = match cursor.word().as_str() {
        "ALLOW" => OnFullRefresh::Allow,
        "APPROVE" => OnFullRefresh::Approve,
        "FAIL" => OnFullRefresh::Fail,
        _ => return Err(cursor.expected_one_of(&["ALLOW", "APPROVE", "FAIL"])),
    };
    cursor.skip(1);
    Ok((policy, on_full_refresh))
}

/// A streaming table only reads what is new; what can be said is what becomes of a run that cannot.
fn only_incremental(
    at: Location,
    (policy, on_full_refresh): (RefreshPolicy, OnFullRefresh),
) -> Result<(), SyntaxError> {
    const INSTEAD: &str = "write REFRESH POLICY INCREMENTAL ON FULL REFRESH {APPROVE | FAIL}";
    if policy != RefreshPolicy::Incremental {
        let what = format!("REFRESH POLICY {} of a streaming table", policy.as_sql());
        return Err(SyntaxError::unsupported(
            at,
            format!("{what} is not supported: it only reads what is new"),
        )
        .with_hint(INSTEAD));
    }
    if on_full_refresh == OnFullRefresh::Allow {
        return Err(SyntaxError::unsupported(
            at,
            "a streaming table is not read anew by itself: rows that its sources have no longer would \
             be lost",
        )
        .with_hint(INSTEAD));
    }
    Ok(())
}

fn due_times(cursor: &mut Cursor<'_>) -> Result<Schedule, SyntaxError> {
    if cursor.take("EVERY") {
        return every(cursor);
    }
    if !cursor.take("CRON") {
        return Err(cursor.expected_one_of(&["EVERY", "CRON"]));
    }
    let cron_at = cursor.here();
    let cron = cursor.text("a cron text in single quotes")?;
    let mut zone = "UTC".to_owned();
    let mut zone_at = cron_at;
    if cursor.take("AT TIME ZONE") {
        zone_at = cursor.here();
        zone = cursor.text("a time zone in single quotes")?;
    }
    Schedule::cron(&cron, &zone).map_err(|error| {
        let at = if matches!(error, ScheduleError::TimeZone(_)) { zone_at } else { cron_at };
        SyntaxError::new(at, error.to_string())
    })
}

fn every(cursor: &mut Cursor<'_>) -> Result<Schedule, SyntaxError> {
    let at = cursor.here();
    let count = if matches!(cursor.peek(), Token::Word(_)) {
        1
    } else {
        cursor.whole_number("a whole number")?
    };
    let unit_at = cursor.here();
    let unit = cursor.word();
    if unit.is_empty() || unit == "AS" {
        return Err(cursor.expected("SECONDS, MINUTES, HOURS, DAYS or WEEKS"));
    }
    let seconds =
        unit_ms(&unit).filter(|ms| *ms >= 1_000).ok_or_else(|| no_unit(unit_at, &unit))? / 1_000;
    cursor.skip(1);
    Schedule::every(count.saturating_mul(seconds))
        .map_err(|error| SyntaxError::new(at, error.to_string()))
}

/// Checks that names in PARTITIONED BY or a key are declared columns.
pub(crate) fn check_declared(
    names: &[(String, Location)],
    columns: &[Column],
) -> Result<(), SyntaxError> {
    for (name, at) in names {
        if columns.iter().any(|column| column.name == *name) {
            continue;
        }
        let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let error = SyntaxError::new(*at, format!("there is no column '{name}'"));
        return Err(match nearest(name, &known) {
            Some(meant) => error.with_hint(format!("did you mean {meant}?")),
            None => error.with_hint(format!("columns are {}", known.join(", "))),
        });
    }
    Ok(())
}
