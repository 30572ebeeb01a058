//! The quarantine of a transform: a Delta table beside its own, with the rows that were kept out.
//!
//! It is committed first, and the commit of the transform says which of its versions belongs to it.
//! Readers read that one; what a run has left there that died in between is undone by the next. So
//! the two never disagree, whenever a run dies.

use std::sync::Arc;

use lake::{
    At, CommitInfo, Lake, LakeError, Snapshot, Stage, StageProgress, Staged, Txn, WriteMode,
    faults::crash_point,
};
use model::{job::ClaimedRun, object::Properties};
use query::{
    error::QueryError,
    expect::{Gate, quarantine_app_id, quarantine_location},
    incremental::PlannedPart,
    queries::Queries,
    transform::PlannedTransform,
};
use serde_json::json;

use query::incremental::app_id;

/// Properties of a transform that its quarantine gets too.
const RETENTIONS: [&str; 2] = ["delta.deletedFileRetentionDuration", "delta.logRetentionDuration"];

/// What becomes of the rows that are in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// They stay: the run only adds rows.
    Stay,
    /// They go: the run computes everything anew.
    Go,
}

/// Whose quarantine it is.
pub(crate) struct Of<'a> {
    /// Where the table of the transform lies.
    pub(crate) location: &'a str,
    /// Its properties.
    pub(crate) properties: &'a Properties,
}

/// A quarantine that is about to be written.
pub(crate) struct Prepared {
    /// Its plan runs beside that of the result.
    pub(crate) stage: Stage,
    /// The version that the transform's commits have recorded.
    recorded: Option<i64>,
    /// The version that has the rows which stay.
    stands: Option<i64>,
}

/// Rows for a quarantine that nobody sees yet.
pub(crate) struct StagedQuarantine {
    pub(crate) staged: Staged,
    recorded: Option<i64>,
    stands: Option<i64>,
}

/// Makes the quarantine ready for a run; `None` where no row can go there.
///
/// What a run that died has committed there is undone first, where rows stay.
pub(crate) async fn prepare(
    lake: &Lake,
    claimed: &ClaimedRun,
    of: Of<'_>,
    gate: &Gate,
    planned: &PlannedTransform,
    before: Before,
) -> Result<Option<Prepared>, LakeError> {
    let Some(plan) = gate.quarantine_plan() else { return Ok(None) };
    let Of { location: of, properties } = of;
    let location = quarantine_location(of);
    let recorded = recorded(lake, claimed, of).await?;
    let (mode, base, stands) = match (before, recorded) {
        (Before::Stay, Some(version)) => {
            let base = restored(lake, &location, version).await?;
            let stands = base.version();
            (WriteMode::Grow, Some(base), Some(stands))
        }
        (Before::Stay, None) | (Before::Go, _) => (replaced(claimed, properties), None, None),
    };
    let stage = Stage {
        location,
        plan,
        task: Arc::clone(&planned.task),
        mode,
        base,
        checks: Vec::new(),
        progress: Arc::new(StageProgress::default()),
    };
    Ok(Some(Prepared { stage, recorded, stands }))
}

/// The quarantine as it was at the version that the transform's commits have recorded: what a run that
/// died has committed there since is undone.
///
/// Never what is newest: a run that has lost its lease and does not know yet may commit at any moment.
/// Then what is built on this version conflicts with it, and on the newest would have its rows too.
pub(crate) async fn restored(
    lake: &Lake,
    location: &str,
    recorded: i64,
) -> Result<Arc<Snapshot>, LakeError> {
    let undone = lake.restore(location, At::Version(recorded)).await?;
    let version = undone.map_or(recorded, |undone| undone.committed.version);
    lake.snapshot(location, At::Version(version)).await
}

/// Makes the quarantine ready for a run that computes a part: it is written anew, with the rows of
/// other partitions that are there. `None` where no row can go there.
pub(crate) async fn prepare_part(
    lake: &Lake,
    claimed: &ClaimedRun,
    of: &str,
    part: &PlannedPart,
    properties: &Properties,
) -> Result<Option<Prepared>, LakeError> {
    let Some(plan) = part.quarantine.clone() else { return Ok(None) };
    let recorded = recorded(lake, claimed, of).await?;
    let stage = Stage {
        location: quarantine_location(of),
        plan,
        task: Arc::clone(&part.refresh.work.planned().task),
        mode: replaced(claimed, properties),
        base: None,
        checks: Vec::new(),
        progress: Arc::new(StageProgress::default()),
    };
    Ok(Some(Prepared { stage, recorded, stands: None }))
}

/// Makes ready that nothing is in quarantine any more, for a run that computes everything anew and can
/// quarantine nothing; `None` where nothing is there. Its rows are in the result now, or went with what
/// the query read, and RELEASE must not find them.
pub(crate) async fn emptied(
    lake: &Lake,
    queries: &Queries,
    claimed: &ClaimedRun,
    of: &str,
    properties: &Properties,
) -> Result<Option<Prepared>, QueryError> {
    let recorded = recorded(lake, claimed, of).await?;
    let Some(version) = recorded else { return Ok(None) };
    let location = quarantine_location(of);
    let there = match lake.snapshot(&location, At::Version(version)).await {
        Err(LakeError::NotFound { .. }) => return Ok(None),
        read => read?,
    };
    if there.rows() == Some(0) {
        return Ok(None);
    }
    let nothing = queries.nothing_for(&there).await?;
    let stage = Stage {
        location,
        plan: nothing.plan,
        task: nothing.task,
        mode: replaced(claimed, properties),
        base: None,
        checks: Vec::new(),
        progress: Arc::new(StageProgress::default()),
    };
    Ok(Some(Prepared { stage, recorded, stands: None }))
}

/// The version of the quarantine that belongs to the newest commit of the transform.
pub(crate) async fn recorded(
    lake: &Lake,
    claimed: &ClaimedRun,
    of: &str,
) -> Result<Option<i64>, LakeError> {
    match lake.txn_version(of, &quarantine_app_id(claimed.job.object)).await {
        Err(LakeError::NotFound { .. }) => Ok(None),
        read => read,
    }
}

/// `properties` are those of the transform.
fn replaced(claimed: &ClaimedRun, properties: &Properties) -> WriteMode {
    // What is purged goes when what is deleted of the table goes.
    let kept = RETENTIONS.iter().filter_map(|key| properties.get_key_value(*key));
    WriteMode::Replace {
        partitioned_by: Vec::new(),
        comment: Some(format!("quarantine of {}", claimed.job.object_name)),
        properties: kept.map(|(key, value)| (key.clone(), value.clone())).collect(),
        schema: None,
    }
}

impl Prepared {
    /// The stage, and what makes its outcome a [`StagedQuarantine`].
    pub(crate) fn split(self) -> (Stage, impl FnOnce(Staged) -> StagedQuarantine) {
        let Self { stage, recorded, stands } = self;
        (stage, move |staged| StagedQuarantine { staged, recorded, stands })
    }
}

/// Commits the rows; answers what the commit of the transform has to note, if anything.
pub(crate) async fn commit(
    lake: &Lake,
    claimed: &ClaimedRun,
    quarantine: StagedQuarantine,
) -> Result<Option<Txn>, LakeError> {
    let StagedQuarantine { staged, recorded, stands } = quarantine;
    let note = |version| Txn { app_id: quarantine_app_id(claimed.job.object), version };
    if let (0, Some(version)) = (staged.rows(), stands) {
        lake.discard(staged).await;
        return Ok((recorded != Some(version)).then(|| note(version)));
    }
    Ok(Some(note(publish(lake, claimed, staged).await?)))
}

/// Commits a quarantine; answers the version that the commit of the transform has to note.
pub(crate) async fn publish(
    lake: &Lake,
    claimed: &ClaimedRun,
    staged: Staged,
) -> Result<i64, LakeError> {
    let info = CommitInfo {
        txn: None,
        sources: vec![Txn { app_id: app_id(claimed.job.object), version: claimed.run_seq }],
        operation_metadata: [
            ("run_id".to_owned(), json!(claimed.lease.run.to_string())),
            ("job_id".to_owned(), json!(claimed.job.id.to_string())),
            ("attempt".to_owned(), json!(claimed.lease.attempt)),
        ]
        .into_iter()
        .collect(),
    };
    let version = match lake.commit(staged, info).await {
        Ok(committed) => committed.version,
        // It is committed; only its new snapshot could not be read.
        Err(LakeError::ReadBack { version, .. }) => version,
        Err(error) => return Err(error),
    };
    crash_point("quarantine_committed");
    Ok(version)
}
