//! The rows of one source between what a flow has read and what it reads now.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::{
    catalog::{TableProvider, default_table_source::provider_as_source},
    datasource::{ViewTable, empty::EmptyTable},
    logical_expr::{Expr, LogicalPlanBuilder, cast, col, lit},
};
use dialect::statement::{OnChange, Query, StreamRead, StreamStart, TimeTravel};
use lake::{At, LakeError, Snapshot};
use model::{job::PinnedInput, name::ObjectName, report::SkippedRows};

use crate::{error::QueryError, queries::Inner, resolve, session::Session, transform};

const CHANGE_TYPE: &str = "_change_type";
const COMMIT_VERSION: &str = "_commit_version";

/// What came.
pub(super) struct Window {
    pub(super) rows: Arc<dyn TableProvider>,
    /// Whether a run has to record anything of it.
    pub(super) is_news: bool,
    /// What was read, and what was left out, for people.
    pub(super) told: Option<String>,
    /// What was left out.
    pub(super) skipped: Option<SkippedRows>,
}

/// Where a window begins.
enum Begin {
    /// With every row that is there.
    AtAll,
    /// Behind the last row that is there.
    AtEnd,
    After(i64),
}

impl Window {
    /// Looks at a source. `until` is how far it was read; nothing when it never was.
    pub(super) async fn open(
        inner: &Inner,
        input: &PinnedInput,
        location: &str,
        stream: &StreamRead,
        until: Option<i64>,
    ) -> Result<Self, QueryError> {
        let lake = &inner.options.lake;
        let now = lake.snapshot(location, At::Version(input.version)).await?;
        let (name, is_first) = (&input.name, until.is_none());
        let begin = match until {
            Some(version) => Begin::After(version),
            None => begin(inner, input, location, &stream.start).await?,
        };
        let none = |is_news: bool, told: Option<String>| -> Result<Self, QueryError> {
            let columns = columns(&now, stream)?;
            Ok(Self { rows: Arc::new(EmptyTable::new(columns)), is_news, told, skipped: None })
        };
        let from = match begin {
            Begin::AtEnd => return none(true, Some(format!("{name} from {} on", input.version))),
            Begin::AtAll => {
                let all = now.provider()?;
                let rows = match stream.on_change {
                    OnChange::Changes => as_inserts(all, input.version)?,
                    OnChange::Fail | OnChange::Skip => all,
                };
                let told = Some(format!("{name} up to {}", input.version));
                return Ok(Self { rows, is_news: true, told, skipped: None });
            }
            Begin::After(from) if from == input.version => return none(is_first, None),
            Begin::After(from) if from > input.version => {
                let why = format!(
                    "'{name}' is at version {}, and its rows were read up to version {from}: \
                     an older copy of the table has taken its place",
                    input.version
                );
                return Err(QueryError::StreamLost { code: "INPUT_CHANGES_UNKNOWN", why });
            }
            Begin::After(from) => from,
        };
        let range = format!("{name} after {from} up to {}", input.version);
        let delta = lake.delta(location, from, input.version).await;
        // The first rows that were asked for may be gone as well, and then nothing was read yet.
        let unread = |error: LakeError| match is_first || error.code().is_transient() {
            true => QueryError::from(error),
            false => QueryError::StreamLost {
                code: "INPUT_CHANGES_UNKNOWN",
                why: format!("'{name}': {error}"),
            },
        };
        let delta = delta.map_err(unread)?;
        if !delta.same_table {
            let why = format!("'{name}' was dropped and created anew after it was read");
            return Err(QueryError::StreamLost { code: "INPUT_CREATED_ANEW", why });
        }
        if stream.on_change == OnChange::Changes {
            if delta.unchanged {
                return none(is_first, None);
            }
            let (first, last) = (At::Version(from + 1), At::Version(input.version));
            let rows = without_time(lake.table_changes(location, first, last).await?)?;
            return Ok(Self { rows, is_news: true, told: Some(range), skipped: None });
        }
        let (mut told, mut skipped) = (range, None);
        if let Some(other) = &delta.first_other {
            if stream.on_change == OnChange::Fail {
                return Err(QueryError::SourceChanged {
                    name: name.clone(),
                    version: other.version,
                    operation: other.operation.clone(),
                    rows: other.rows,
                });
            }
            let (commits, rows) = delta.others();
            skipped = Some(SkippedRows { input: input.object, commits: commits as u64, rows });
            let rows = rows.map(|rows| format!(" with {rows} rows")).unwrap_or_default();
            told.push_str(&format!(
                ", without {commits} commits{rows} that did more than add rows, the first at version {}",
                other.version
            ));
        }
        if delta.unchanged {
            return none(is_first, None);
        }
        let rows = delta.appended().map_err(unread)?;
        Ok(Self { rows, is_news: true, told: Some(told), skipped })
    }
}

/// Refuses streams of a query that begin where their tables have not come to yet.
pub(crate) async fn check_starts(
    inner: &Inner,
    session: &Session,
    query: &Query,
) -> Result<(), QueryError> {
    for used in &query.tables {
        let Some(TimeTravel::Stream(stream)) = &used.at else { continue };
        if matches!(stream.start, StreamStart::Version(_) | StreamStart::Timestamp(_)) {
            let name = ObjectName::from_parts(&used.name, session.schema())?;
            let source = inner.object_named(session, &name).await?;
            let newest = transform::pin(inner, &source).await?.version;
            refuse_to_wait(inner, &name, newest, &stream.start)?;
        }
    }
    Ok(())
}

/// Refuses to begin with what is yet to come: what comes until then would be read too.
fn refuse_to_wait(
    inner: &Inner,
    name: &ObjectName,
    newest: i64,
    start: &StreamStart,
) -> Result<(), QueryError> {
    let why = match start {
        StreamStart::Version(version) if version - 1 > newest => {
            format!("version {version}, and the newest one is {newest}")
        }
        StreamStart::Timestamp(text) => match resolve::at(&TimeTravel::Timestamp(text.clone()))? {
            At::Timestamp(time) if time > inner.options.clock.now() => {
                format!("'{text}', which has not come yet")
            }
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    Err(QueryError::Invalid(format!(
        "STREAM of '{name}' begins with {why}: START => 'latest' begins with what comes next"
    )))
}

/// Where a stream begins that was never read.
async fn begin(
    inner: &Inner,
    input: &PinnedInput,
    location: &str,
    start: &StreamStart,
) -> Result<Begin, QueryError> {
    let PinnedInput { name, version: newest, .. } = input;
    refuse_to_wait(inner, name, *newest, start)?;
    match start {
        StreamStart::Earliest | StreamStart::Version(0) => Ok(Begin::AtAll),
        StreamStart::Latest => Ok(Begin::AtEnd),
        StreamStart::Version(version) => Ok(Begin::After(version - 1)),
        StreamStart::Timestamp(text) => {
            let at = resolve::at(&TimeTravel::Timestamp(text.clone()))?;
            let then = inner.options.lake.snapshot(location, at).await?;
            Ok(Begin::After(then.version().min(*newest)))
        }
    }
}

/// The columns that a stream of a table has.
fn columns(table: &Arc<Snapshot>, stream: &StreamRead) -> Result<SchemaRef, QueryError> {
    Ok(with_changes(&table.provider()?.schema(), stream))
}

/// The columns of a table, with those that say what happened where these are asked for.
pub(crate) fn with_changes(schema: &SchemaRef, stream: &StreamRead) -> SchemaRef {
    if stream.on_change != OnChange::Changes {
        return Arc::clone(schema);
    }
    let more = [
        Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true)),
        Arc::new(Field::new(COMMIT_VERSION, DataType::Int64, true)),
    ];
    Arc::new(Schema::new(schema.fields().iter().cloned().chain(more).collect::<Vec<_>>()))
}

/// All rows of a table as if its newest version had brought them.
fn as_inserts(
    all: Arc<dyn TableProvider>,
    version: i64,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let scan = LogicalPlanBuilder::scan("rows", provider_as_source(all), None)?;
    let mut columns: Vec<Expr> = scan.schema().columns().into_iter().map(Expr::Column).collect();
    columns.push(lit("insert").alias(CHANGE_TYPE));
    columns.push(lit(version).alias(COMMIT_VERSION));
    Ok(Arc::new(ViewTable::new(scan.project(columns)?.build()?, None)))
}

/// Changes without the time of their commit.
fn without_time(changes: Arc<dyn TableProvider>) -> Result<Arc<dyn TableProvider>, QueryError> {
    let scan = LogicalPlanBuilder::scan("rows", provider_as_source(changes), None)?;
    let columns = scan.schema().columns().into_iter().filter(|c| c.name != "_commit_timestamp");
    let columns: Vec<Expr> = columns
        .map(|column| match column.name.as_str() {
            CHANGE_TYPE => cast(col(column), DataType::Utf8).alias(CHANGE_TYPE),
            _ => Expr::Column(column),
        })
        .collect();
    Ok(Arc::new(ViewTable::new(scan.project(columns)?.build()?, None)))
}
