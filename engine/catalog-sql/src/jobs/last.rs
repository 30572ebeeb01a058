//! What the last refresh of an object that succeeded has left.

use catalog::error::CatalogError;
use model::{
    id::ObjectId,
    job::{LastRun, PinnedInput},
    name::ObjectName,
    report::RunReport,
};
use serde::Deserialize;

use crate::{
    database::Database,
    sql::sql,
    value::{Row, corrupt, values},
};

/// The last refresh of the object of the row of `jobs`, as [`read`] takes it: a JSON object, so that it is
/// one value beside others, or NULL. `since` is the number of a run that is too old.
macro_rules! last_refresh {
    ($object:literal, $list:literal, $since:literal) => {
        concat!(
            "(SELECT CAST(",
            $object,
            "('definition_hash', l.definition_hash, 'output_version', l.output_version, \
             'report', l.report, 'inputs', (SELECT ",
            $list,
            "(",
            $object,
            "('position', i.position, 'object', i.object_id, 'schema', i.object_schema, \
             'name', i.object_name, 'table', i.delta_table_id, 'version', i.version)) \
             FROM run_inputs i WHERE i.run_id = l.id)) AS TEXT) \
             FROM runs l WHERE l.object_id = jobs.object_id AND l.state = 'SUCCEEDED' AND l.run_seq > ",
            $since,
            " AND (SELECT k.kind FROM jobs k WHERE k.id = l.job_id) = 'REFRESH' \
             ORDER BY l.run_seq DESC LIMIT 1)"
        )
    };
}

/// Of how many runs [`newest_refresh`] is; it says so in its own text.
pub(super) const NEWEST: i64 = 8;

/// As [`last_refresh`], of the newest runs: nearly always it is one of these, and of all that there ever
/// were Postgres may look at each.
macro_rules! newest_refresh {
    ($object:literal, $list:literal) => {
        $crate::jobs::last::last_refresh!(
            $object,
            $list,
            "(SELECT n.last_run_seq - 8 FROM object_runs n WHERE n.object_id = jobs.object_id)"
        )
    };
}

pub(crate) use {last_refresh, newest_refresh};

/// A refresh as the database puts it together.
#[derive(Deserialize)]
struct Stored {
    definition_hash: String,
    output_version: i64,
    /// As it is stored: a text.
    report: Option<String>,
    /// In any order; none where there are none, in one of the databases.
    inputs: Option<Vec<Input>>,
}

#[derive(Deserialize)]
struct Input {
    position: i64,
    object: String,
    schema: String,
    name: String,
    table: String,
    version: i64,
}

const OPERATION: &str = "read the last refresh";

/// See [`catalog::jobs::Jobs::last_run`].
pub(super) async fn last_run(
    db: &impl Database,
    object: ObjectId,
) -> Result<Option<LastRun>, CatalogError> {
    let newest = db
        .rows(
            OPERATION,
            sql!("SELECT " NEWEST_REFRESH " FROM object_runs jobs WHERE jobs.object_id = $1"),
            values![object],
        )
        .await?;
    match newest.into_iter().next().map(|mut row| read(&mut row)).transpose()?.flatten() {
        None => older(db, object).await,
        last => Ok(last),
    }
}

/// As [`last_run`], of all runs.
pub(super) async fn older(
    db: &impl Database,
    object: ObjectId,
) -> Result<Option<LastRun>, CatalogError> {
    let found = db
        .rows(
            OPERATION,
            sql!("SELECT " LAST_REFRESH " FROM object_runs jobs WHERE jobs.object_id = $1"),
            values![object],
        )
        .await?;
    Ok(found.into_iter().next().map(|mut row| read(&mut row)).transpose()?.flatten())
}

/// Takes what [`newest_refresh`] or [`last_refresh`] has answered; none when there is no such run.
pub(super) fn read(row: &mut Row) -> Result<Option<LastRun>, CatalogError> {
    const WHAT: &str = "last refresh";
    let Some(text) = row.text_opt(WHAT)? else { return Ok(None) };
    let wrong = |error: &dyn std::fmt::Display| corrupt(WHAT, error);
    let stored: Stored = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    let report = stored.report.as_deref().map(serde_json::from_str::<RunReport>).transpose();
    let part = report.map_err(|error| wrong(&error))?.and_then(|report| report.part);
    let mut inputs = stored.inputs.unwrap_or_default();
    inputs.sort_by_key(|input| input.position);
    let inputs = inputs.into_iter().map(|input| {
        Ok(PinnedInput {
            object: input.object.parse().map_err(|error| wrong(&error))?,
            name: ObjectName::new(input.schema, input.name).map_err(|error| wrong(&error))?,
            delta_table_id: input.table,
            version: input.version,
        })
    });
    Ok(Some(LastRun {
        definition_hash: stored.definition_hash,
        inputs: inputs.collect::<Result<_, CatalogError>>()?,
        output_version: stored.output_version,
        is_mixed: part.is_some_and(|part| part.is_mixed),
    }))
}
