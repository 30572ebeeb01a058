//! What a run's commit carries, and how the commit is found again.

use std::collections::BTreeMap;

use lake::{At, CommitInfo, Lake, LakeError, Staged, Txn};
use model::{
    id::{ObjectId, RunId},
    job::{ClaimedRun, PinnedInput},
    name::ObjectName,
    report::{PartResult, RunReport},
};
use query::incremental::{Strategy, app_id, is_mixed, source_app_id};
use serde_json::{Map, Value, json};

/// Under what a commit keeps the report of its run.
const REPORT: &str = "report";
/// Under what it keeps how much its run has written.
const ROWS_WRITTEN: &str = "rows_written";
const BYTES_WRITTEN: &str = "bytes_written";
/// How many commits back that of a run is looked for.
const COMMITS_MAX: usize = 32;

/// What a run computes, how and why.
pub(crate) struct Computation {
    pub(crate) definition_hash: String,
    pub(crate) strategy: Strategy,
    pub(crate) reason: String,
    pub(crate) inputs: Vec<PinnedInput>,
    /// More that the commit says about itself: see [`CommitInfo::sources`].
    pub(crate) notes: Vec<Txn>,
    /// What the run says of itself.
    pub(crate) report: RunReport,
}

/// The application under which a transform's commits say what definition they computed.
///
/// The rest of what a commit says about its run is lost once the log is cleaned; this is needed to
/// do the books of a commit whose run died, however late.
fn definition_app_id(object: ObjectId) -> String {
    format!("{}:definition", app_id(object))
}

/// The application under which a transform's commits say how they were computed.
fn strategy_app_id(object: ObjectId) -> String {
    format!("{}:strategy", app_id(object))
}

/// How far a flow of a streaming table has read a Delta table.
pub(crate) fn flow_app_id(object: ObjectId, flow: &ObjectName, delta_table_id: &str) -> String {
    format!("{}:flow:{flow}:src:{delta_table_id}", app_id(object))
}

/// That a flow which runs once has run.
pub(crate) fn once_app_id(object: ObjectId, flow: &ObjectName) -> String {
    format!("{}:flow:{flow}:once", app_id(object))
}

/// Which files the flows of a streaming table have taken: the number of what says so.
pub(crate) fn files_app_id(object: ObjectId) -> String {
    format!("{}:files", app_id(object))
}

/// A definition's hash as the number of a transaction: its first 63 bits.
fn definition_number(definition_hash: &str) -> i64 {
    let digits = definition_hash.get(..16).unwrap_or(definition_hash);
    let bits = u64::from_str_radix(digits, 16).unwrap_or_default();
    i64::try_from(bits >> 1).unwrap_or_default()
}

/// How much a run has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Written {
    pub(crate) fn of(staged: &Staged) -> Self {
        Self { rows: staged.rows(), bytes: staged.bytes() }
    }
}

/// Everything that one commit says about the run that made it.
pub(crate) fn info(
    claimed: &ClaimedRun,
    computation: &Computation,
    written: Written,
) -> CommitInfo {
    CommitInfo {
        txn: Some(Txn { app_id: app_id(claimed.job.object), version: claimed.run_seq }),
        sources: sources(claimed.job.object, computation),
        operation_metadata: metadata(claimed, computation, written),
    }
}

/// How far each Delta table was read, and by which definition.
fn sources(object: ObjectId, computation: &Computation) -> Vec<Txn> {
    let mut versions: BTreeMap<&str, i64> = BTreeMap::new();
    for input in computation.inputs.iter().filter(|input| !input.delta_table_id.is_empty()) {
        let version = versions.entry(&input.delta_table_id).or_insert(input.version);
        *version = input.version.max(*version);
    }
    let definition = Txn {
        app_id: definition_app_id(object),
        version: definition_number(&computation.definition_hash),
    };
    let strategy = Txn { app_id: strategy_app_id(object), version: computation.strategy.number() };
    versions
        .into_iter()
        .map(|(table, version)| Txn { app_id: source_app_id(object, table), version })
        .chain([definition, strategy])
        .chain(computation.notes.iter().cloned())
        .collect()
}

fn metadata(
    claimed: &ClaimedRun,
    computation: &Computation,
    written: Written,
) -> Map<String, Value> {
    let inputs: Vec<Value> = computation
        .inputs
        .iter()
        .map(|input| {
            json!({
                "object": input.object.to_string(),
                "name": input.name.to_string(),
                "delta_table_id": input.delta_table_id,
                "version": input.version,
            })
        })
        .collect();
    [
        ("run_id", json!(claimed.lease.run.to_string())),
        ("job_id", json!(claimed.job.id.to_string())),
        ("attempt", json!(claimed.lease.attempt)),
        ("definition_hash", json!(computation.definition_hash)),
        ("strategy", json!(computation.strategy.as_str())),
        ("reason", json!(computation.reason)),
        ("inputs", Value::Array(inputs)),
        (REPORT, json!(computation.report)),
        (ROWS_WRITTEN, json!(written.rows)),
        (BYTES_WRITTEN, json!(written.bytes)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// What the log says of a commit that nobody booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unbooked {
    /// A version that holds the result.
    pub(crate) output_version: i64,
    /// Whether the definition with this hash made it.
    pub(crate) is_of_definition: bool,
    /// How it was computed.
    pub(crate) strategy: Strategy,
    /// What it has written, where the log still tells.
    pub(crate) written: Option<Written>,
    /// What the run says of itself; nothing once the log was cleaned.
    pub(crate) report: RunReport,
}

/// Finds the commit of a run in the log of its table; `None` when there is none. Asks the log.
pub(crate) async fn find(
    lake: &Lake,
    location: &str,
    claimed: &ClaimedRun,
    definition_hash: &str,
) -> Result<Option<Unbooked>, LakeError> {
    let object = claimed.job.object;
    let committed = lake.txn_version(location, &app_id(object)).await?;
    if committed.is_none_or(|committed| committed < claimed.run_seq) {
        return Ok(None);
    }
    let definition = lake.txn_version(location, &definition_app_id(object)).await?;
    let strategy = lake.txn_version(location, &strategy_app_id(object)).await?;
    // What came after it did not change the rows: they are replaced by runs of this object alone,
    // and while this one is not booked no other one begins.
    let result = lake.snapshot(location, At::Latest).await?;
    let said = said_by(lake, location, claimed.lease.run).await?;
    let said = |name: &str| said.as_ref().and_then(|said| said.get(name));
    let report = said(REPORT).and_then(|report| serde_json::from_value(report.clone()).ok());
    let mut report: RunReport = report.unwrap_or_default();
    if report.part.is_none() && is_mixed(&result, object).await? {
        // What the commit said of itself is gone from the log; that stays.
        let condition = claimed.job.work.part().unwrap_or_default().to_owned();
        report.part = Some(PartResult { condition, is_mixed: true });
    }
    let strategy = strategy.map_or(Strategy::Full, Strategy::of_number);
    let counted = said(ROWS_WRITTEN).and_then(Value::as_u64);
    let counted = counted.zip(said(BYTES_WRITTEN).and_then(Value::as_u64));
    // A run that has written everything has written what is there.
    let all = result.rows().filter(|_| strategy == Strategy::Full);
    let written = counted.or_else(|| all.map(|rows| (rows, result.bytes())));
    Ok(Some(Unbooked {
        output_version: result.version(),
        strategy,
        is_of_definition: definition == Some(definition_number(definition_hash)),
        written: written.map(|(rows, bytes)| Written { rows, bytes }),
        report,
    }))
}

/// What the commit of a run keeps under a name; nothing once the log was cleaned.
pub(crate) async fn said(
    lake: &Lake,
    location: &str,
    run: RunId,
    name: &str,
) -> Result<Option<Value>, LakeError> {
    let said = said_by(lake, location, run).await?;
    Ok(said.and_then(|said| said.get(name).cloned()))
}

/// Everything that the commit of a run says of it; nothing once the log was cleaned.
async fn said_by(lake: &Lake, location: &str, run: RunId) -> Result<Option<Value>, LakeError> {
    let run = json!(run.to_string());
    let commits = lake.history(location, Some(COMMITS_MAX)).await?;
    let mut said = commits.into_iter().filter_map(|commit| commit.application);
    Ok(said.find(|said| said.get("run_id") == Some(&run)))
}

#[cfg(test)]
mod tests;
