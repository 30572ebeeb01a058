//! The quarantine of a transform: a Delta table beside its own, with the rows that were kept out.
//!
//! It is committed first, and the commit of the transform says which of its versions belongs to it.
//! Readers read that one; what a run has left there that died in between is undone by the next. So
//! the two never disagree, whenever a run dies.

use std::sync::Arc;

use lake::{
    At, CommitInfo, Lake, LakeError, Stage, StageProgress, Staged, Txn, WriteMode,
    faults::crash_point,
};
use model::{job::ClaimedRun, object::Properties};
use query::{
    expect::{Gate, quarantine_app_id, quarantine_location},
    transform::PlannedTransform,
};
use serde_json::json;

use query::incremental::app_id;

/// What becomes of the rows that are in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Before {
    /// They stay: the run only adds rows.
    Stay,
    /// They go: the run computes everything anew.
    Go,
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
    of: &str,
    gate: &Gate,
    planned: &PlannedTransform,
    before: Before,
) -> Result<Option<Prepared>, LakeError> {
    let Some(plan) = gate.quarantine_plan() else { return Ok(None) };
    let location = quarantine_location(of);
    let recorded = match lake.txn_version(of, &quarantine_app_id(claimed.job.object)).await {
        Err(LakeError::NotFound { .. }) => None,
        read => read?,
    };
    let (mode, base, stands) = match (before, recorded) {
        (Before::Stay, Some(version)) => {
            lake.restore(&location, At::Version(version)).await?;
            let base = lake.snapshot(&location, At::Latest).await?;
            let stands = base.version();
            (WriteMode::Grow, Some(base), Some(stands))
        }
        (Before::Stay, None) | (Before::Go, _) => {
            let mode = WriteMode::Replace {
                partitioned_by: Vec::new(),
                comment: Some(format!("quarantine of {}", claimed.job.object_name)),
                properties: Properties::new(),
                schema: None,
            };
            (mode, None, None)
        }
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
    Ok(Some(note(version)))
}
