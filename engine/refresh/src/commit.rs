//! What a run's commit carries, and how the commit is found again.

use std::collections::BTreeMap;

use lake::{At, CommitInfo, Lake, LakeError, Txn};
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

/// A definition's hash as the number of a transaction: its first 63 bits.
fn definition_number(definition_hash: &str) -> i64 {
    let digits = definition_hash.get(..16).unwrap_or(definition_hash);
    let bits = u64::from_str_radix(digits, 16).unwrap_or_default();
    i64::try_from(bits >> 1).unwrap_or_default()
}

/// Everything that one commit says about the run that made it.
pub(crate) fn info(claimed: &ClaimedRun, computation: &Computation) -> CommitInfo {
    CommitInfo {
        txn: Some(Txn { app_id: app_id(claimed.job.object), version: claimed.run_seq }),
        sources: sources(claimed.job.object, computation),
        operation_metadata: metadata(claimed, computation),
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

fn metadata(claimed: &ClaimedRun, computation: &Computation) -> Map<String, Value> {
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
    /// Rows of the result, where the log tells.
    pub(crate) rows: Option<u64>,
    /// Bytes of its files.
    pub(crate) bytes: u64,
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
    let mut report = report(lake, location, claimed.lease.run).await?;
    if report.part.is_none() && is_mixed(&result, object).await? {
        // What the commit said of itself is gone from the log; that stays.
        let condition = claimed.job.work.part().unwrap_or_default().to_owned();
        report.part = Some(PartResult { condition, is_mixed: true });
    }
    Ok(Some(Unbooked {
        output_version: result.version(),
        strategy: strategy.map_or(Strategy::Full, Strategy::of_number),
        is_of_definition: definition == Some(definition_number(definition_hash)),
        rows: result.rows(),
        bytes: result.bytes(),
        report,
    }))
}

/// What a run has said of itself in its commit.
async fn report(lake: &Lake, location: &str, run: RunId) -> Result<RunReport, LakeError> {
    let report = said(lake, location, run, REPORT).await?;
    Ok(report.and_then(|report| serde_json::from_value(report).ok()).unwrap_or_default())
}

/// What the commit of a run keeps under a name; nothing once the log was cleaned.
pub(crate) async fn said(
    lake: &Lake,
    location: &str,
    run: RunId,
    name: &str,
) -> Result<Option<Value>, LakeError> {
    let run = json!(run.to_string());
    let commits = lake.history(location, Some(COMMITS_MAX)).await?;
    let said = commits.iter().filter_map(|commit| commit.application.as_ref());
    let of_run = said.into_iter().find(|said| said.get("run_id") == Some(&run));
    Ok(of_run.and_then(|said| said.get(name).cloned()))
}

#[cfg(test)]
mod tests;
