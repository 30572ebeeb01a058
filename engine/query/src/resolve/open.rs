//! Opens the tables that a statement reads, each at one version.

use std::sync::Arc;

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::Utc;
use datafusion::{catalog::TableProvider, execution::SessionState};
use dialect::statement::{FilesUse, TimeTravel};
use futures::{StreamExt, TryStreamExt, stream};
use lake::{At, Snapshot};
use model::{
    object::{Object, ObjectBody, Table, TableFormat},
    time::Timestamp,
    transform::Transform,
};

use super::{
    Described, Pins, Purpose, Wanted,
    find::{Found, ObjectUse},
};
use crate::{
    command::quarantine::none_of,
    error::QueryError,
    expect::{quarantine_app_id, quarantine_location},
    folders,
    queries::Inner,
    read_files,
    streaming::with_changes,
};

const SNAPSHOTS_AT_ONCE: usize = 16;

pub(super) enum OpenTable {
    Delta(Arc<Snapshot>),
    Changes(Arc<dyn TableProvider>),
    Files { table: Table },
}

impl OpenTable {
    /// The version of a Delta table.
    pub(super) fn snapshot(&self) -> Option<&Arc<Snapshot>> {
        match self {
            Self::Delta(snapshot) => Some(snapshot),
            Self::Changes(_) | Self::Files { .. } => None,
        }
    }

    pub(super) async fn provider(
        &self,
        state: &SessionState,
        queries: &Inner,
    ) -> Result<Arc<dyn TableProvider>, QueryError> {
        match self {
            Self::Delta(snapshot) => Ok(snapshot.provider()?),
            Self::Changes(changes) => Ok(Arc::clone(changes)),
            Self::Files { table } => folders::files_of(queries, table, state).await,
        }
    }
}

pub(super) async fn open(
    queries: &Inner,
    found: &Found,
    wanted: &Wanted<'_>,
) -> Result<Vec<(ObjectUse, OpenTable)>, QueryError> {
    let Wanted { purpose, pins, .. } = *wanted;
    let uses: Vec<_> = found.uses.iter().cloned().collect();
    stream::iter(uses.into_iter().map(|object_use| async move {
        let object = &found.objects[&object_use.name];
        let table = match &object.body {
            body if object_use.reads_changes() => changes(queries, &object_use, body).await?,
            _ if object_use.reads_quarantine() => quarantine_of(queries, object).await?,
            _ if object_use.stream().is_some() => {
                stream_of(queries, &object_use, object, wanted).await?
            }
            ObjectBody::Table(table) if table.format != TableFormat::Delta => {
                refuse_time_travel(&object_use, "no Delta table")?;
                OpenTable::Files { table: table.clone() }
            }
            ObjectBody::Table(table) => {
                let at = version_wanted(&object_use, object, pins)?;
                OpenTable::Delta(queries.options.lake.snapshot(&table.location, at).await?)
            }
            ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
                let at = version_wanted(&object_use, object, pins)?;
                OpenTable::Delta(open_view(queries, object, view, at, purpose).await?)
            }
            ObjectBody::View(_) => unreachable_view(object)?,
        };
        Ok((object_use, table))
    }))
    .buffer_unordered(SNAPSHOTS_AT_ONCE)
    .try_collect()
    .await
}

/// The rows that changed in a table.
async fn changes(
    queries: &Inner,
    object_use: &ObjectUse,
    body: &ObjectBody,
) -> Result<OpenTable, QueryError> {
    let location = match body {
        ObjectBody::Table(table) if table.format == TableFormat::Delta => &table.location,
        ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => &view.location,
        ObjectBody::Table(_) | ObjectBody::View(_) => {
            return Err(QueryError::Invalid(format!(
                "'{}' is no Delta table: only those record what changed",
                object_use.name
            )));
        }
    };
    let Some(TimeTravel::Changes { from, to }) = &object_use.at else {
        return Err(QueryError::Invalid("no changes are read".to_owned()));
    };
    let (from, to) = (at(from)?, to.as_ref().map_or(Ok(At::Latest), |to| at(to))?);
    if let (At::Version(from), At::Version(to)) = (from, to)
        && from > to
    {
        return Err(QueryError::Invalid(format!(
            "the changes of '{}' from version {from} to version {to}: the first version comes first",
            object_use.name
        )));
    }
    Ok(OpenTable::Changes(queries.options.lake.table_changes(location, from, to).await?))
}

/// The rows in quarantine that belong to the newest version of a transform's table.
async fn quarantine_of(queries: &Inner, object: &Object) -> Result<OpenTable, QueryError> {
    let lake = &queries.options.lake;
    let Some(location) = object.location() else { return Err(none_of(object)) };
    let noted = lake.txn_version(location, &quarantine_app_id(object.id)).await?;
    let Some(noted) = noted else { return Err(QueryError::NotRefreshed(object.name.clone())) };
    let quarantine = lake.snapshot(&quarantine_location(location), At::Version(noted)).await?;
    Ok(OpenTable::Changes(quarantine.provider()?))
}

/// The rows of a STREAM, as the run of a flow has found them; where only columns are wanted, these.
async fn stream_of(
    queries: &Inner,
    object_use: &ObjectUse,
    object: &Object,
    wanted: &Wanted<'_>,
) -> Result<OpenTable, QueryError> {
    let name = &object_use.name;
    let location = match &object.body {
        ObjectBody::Table(table) if table.format != TableFormat::Delta => None,
        _ => object.location(),
    };
    let (Some(location), Some(stream)) = (location, object_use.stream()) else {
        return Err(QueryError::Invalid(format!(
            "'{name}' is no Delta table: only those can be read as a STREAM"
        )));
    };
    let found = wanted.streams.and_then(|streams| streams.tables.get(&(object.id, stream.clone())));
    if let Some(rows) = found {
        return Ok(OpenTable::Changes(Arc::clone(rows)));
    }
    if wanted.purpose == Purpose::Read {
        return Err(QueryError::Invalid(format!(
            "'{name}' is read as a STREAM, which only the flow of a streaming table can"
        )));
    }
    let table = queries.options.lake.snapshot(location, At::Latest).await?;
    let columns = with_changes(&table.provider()?.schema(), stream);
    Ok(OpenTable::Changes(Arc::new(Described::new(columns, None))))
}

/// Files that a query names, by the rules of a LOCATION; of a STREAM of them those that the run of a
/// flow has found, and where only columns are wanted, these.
pub(super) async fn open_files(
    queries: &Inner,
    files: &FilesUse,
    state: &SessionState,
    wanted: &Wanted<'_>,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    if files.is_stream {
        let found = wanted.streams.and_then(|streams| streams.files.get(files));
        if let Some(rows) = found {
            return Ok(Arc::clone(rows));
        }
        if wanted.purpose == Purpose::Read {
            return Err(QueryError::Invalid(format!(
                "{files} is read as a STREAM, which only the flow of a streaming table can"
            )));
        }
    }
    read_files::open(queries, files, state).await
}

pub(super) fn refuse_time_travel(
    object_use: &ObjectUse,
    kind: &'static str,
) -> Result<(), QueryError> {
    if object_use.at.is_none() {
        return Ok(());
    }
    Err(QueryError::Invalid(format!(
        "'{}' is {kind}: only Delta tables and materialized views have versions to travel to",
        object_use.name
    )))
}

fn unreachable_view(object: &Object) -> Result<OpenTable, QueryError> {
    Err(QueryError::Invalid(format!("'{}' is a view and has no table of its own", object.name)))
}

async fn open_view(
    queries: &Inner,
    object: &Object,
    view: &Transform,
    at: At,
    purpose: Purpose,
) -> Result<Arc<Snapshot>, QueryError> {
    let lake = &queries.options.lake;
    match lake.snapshot(&view.location, at).await {
        Err(error) if purpose == Purpose::Read && error.code() == model::code::Code::NotFound => {
            match lake.exists(&view.location).await? {
                true => Err(error.into()),
                false => Err(QueryError::NotRefreshed(object.name.clone())),
            }
        }
        other => Ok(other?),
    }
}

fn version_wanted(object_use: &ObjectUse, object: &Object, pins: &Pins) -> Result<At, QueryError> {
    match &object_use.at {
        None => Ok(pins.get(&object.id).map_or(At::Latest, |pin| At::Version(pin.version))),
        Some(travel) => at(travel),
    }
}

/// The version that a time travel clause asks for.
pub(crate) fn at(travel: &TimeTravel) -> Result<At, QueryError> {
    match travel {
        TimeTravel::Version(version) => Ok(At::Version(*version)),
        TimeTravel::Timestamp(text) => Ok(At::Timestamp(parse_time(text)?)),
        TimeTravel::Changes { .. } | TimeTravel::Stream(_) => {
            Err(QueryError::Invalid("a range of versions is no version".to_owned()))
        }
        TimeTravel::Quarantine => {
            Err(QueryError::Invalid("a quarantine is no version of its table".to_owned()))
        }
    }
}

/// A time as people write it: RFC 3339, or a date with or without a time of day, in UTC.
fn parse_time(text: &str) -> Result<Timestamp, QueryError> {
    match string_to_datetime(&Utc, text.trim()) {
        Ok(time) => Ok(Timestamp::from_micros(time.timestamp_micros())),
        Err(_) => Err(QueryError::Invalid(format!(
            "'{text}' is not a point in time of the years 0000 to 9999; write for example \
             '2026-01-31 12:00:00'"
        ))),
    }
}
