//! Publishes staged files: one statement, one Delta commit, one known outcome.
//!
//! The library's own retries are not used. A commit is one put-if-absent of the next log entry.
//! Whatever the store answers, the entry that is there afterwards is read and compared with ours,
//! so a lost answer is never taken for a lost commit.

use std::{sync::Arc, time::Duration};

use deltalake_core::checkpoints::create_checkpoint;
use object_store::{ObjectStoreExt, PutMode, PutOptions, path::Path};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    entry::{check_base, entry},
    error::LakeError,
    faults::{CommitFault, commit_fault, crash_point, pause_point},
    group::is_plain_append,
    lake::Lake,
    local_files::is_unconfirmed,
    location::Place,
    log,
    snapshot::Snapshot,
    stage::{Effect, Staged, WriteMode},
};

/// How often an append moves on to the next version before it gives up.
pub(crate) const REBASES_MAX: u32 = 60;
/// Waits before the tries of one put whose outcome is not known.
const PUT_TRIES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(3)];
/// A checkpoint follows each version that is a multiple of this, or of the table's own number.
const CHECKPOINT_EVERY: i64 = 20;
const CHECKPOINT_INTERVAL: &str = "delta.checkpointInterval";

/// A number that an application commits together with its rows, so that it can tell afterwards
/// what it has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Txn {
    /// Names the application for ever.
    pub app_id: String,
    /// Grows from commit to commit of the application.
    pub version: i64,
}

/// What is committed besides the rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CommitInfo {
    /// The commit happens only if the table has no transaction of this application with this
    /// number or a higher one.
    pub txn: Option<Txn>,
    /// Recorded in the same commit; not compared with anything.
    pub sources: Vec<Txn>,
    /// Shown in the table's history under `whimbrel`.
    pub operation_metadata: Map<String, Value>,
}

/// A commit that is durable and visible to everybody.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The version it made.
    pub version: i64,
    /// Rows it added.
    pub rows: u64,
    /// Files it added.
    pub files: u64,
    /// Bytes of the files it added.
    pub bytes: u64,
    /// The table at this version.
    pub snapshot: Arc<Snapshot>,
}

/// Who wrote the log entry of a version.
pub(crate) enum Put {
    Ours,
    Others,
}

impl Lake {
    /// Publishes the staged files in one commit.
    ///
    /// Once called it runs to its end, also when the future is dropped. An append moves on when
    /// others commit at the same time, as long as columns, partitioning and features stay the same.
    /// Any other mode is [`LakeError::Conflict`] if somebody committed since staging began. On
    /// [`LakeError::AlreadyApplied`] and every other error nothing was committed and the files are
    /// deleted, except for [`LakeError::OutcomeUnknown`] and [`LakeError::ReadBack`].
    pub async fn commit(&self, staged: Staged, info: CommitInfo) -> Result<Committed, LakeError> {
        crash_point("staged");
        let location = staged.place.text();
        let lake = self.clone();
        // In a task of its own, because half a commit must not stop when a client goes away.
        let task = tokio::spawn(async move { lake.commit_staged(staged, info).await });
        task.await.unwrap_or_else(|e| Err(LakeError::internal("commit", location, e)))
    }

    async fn commit_staged(
        &self,
        staged: Staged,
        info: CommitInfo,
    ) -> Result<Committed, LakeError> {
        let writers = self.writers(&staged.place);
        if is_plain_append(&staged, &info) {
            return self.commit_together(&writers, staged).await;
        }
        let committed = {
            let _turn = writers.turn.lock().await;
            self.commit_locked(&staged, &info).await
        };
        if matches!(&committed, Err(e) if !matches!(e, LakeError::OutcomeUnknown { .. } | LakeError::ReadBack { .. }))
        {
            staged.area.delete().await;
        }
        if let Ok(committed) = &committed {
            self.checkpoint_if_due(&committed.snapshot);
        }
        committed
    }

    /// Makes later loads of the table short, now and then.
    pub(crate) fn checkpoint_if_due(&self, snapshot: &Arc<Snapshot>) {
        let own = snapshot.properties().get(CHECKPOINT_INTERVAL).and_then(|n| n.parse().ok());
        let every = own.filter(|n| *n > 0).unwrap_or(CHECKPOINT_EVERY);
        if snapshot.version() > 0 && snapshot.version() % every == 0 {
            let what = format!(
                "checkpoint of '{}' at version {}",
                snapshot.location(),
                snapshot.version()
            );
            let (lake, snapshot) = (self.clone(), Arc::clone(snapshot));
            self.beside_commits(what, async move {
                pause_point("checkpoint").await;
                checkpoint(&snapshot).await?;
                crash_point("checkpointed");
                lake.clean_log_now_and_then(&snapshot).await;
                Ok(())
            });
        }
    }

    async fn commit_locked(
        &self,
        staged: &Staged,
        info: &CommitInfo,
    ) -> Result<Committed, LakeError> {
        let place = &staged.place;
        let commit_id = Uuid::now_v7();
        let mut rebases = 0;
        loop {
            let base = match self.cache().fresh(place).await {
                Ok(snapshot) => Some(snapshot),
                Err(LakeError::NotFound { .. }) => None,
                Err(error) => return Err(error),
            };
            if let (Some(txn), Some(base)) = (&info.txn, &base) {
                check_txn(base, txn).await?;
            }
            check_base(staged, base.as_ref()).await?;
            let entry = entry(staged, info, base.as_ref(), commit_id)?;
            let version = base.as_ref().map_or(0, |base| base.version() + 1);
            staged.area.keep();
            let put = put(place, version, entry, commit_id).await;
            if !matches!(put, Ok(Put::Ours) | Err(LakeError::OutcomeUnknown { .. })) {
                staged.area.unkeep();
            }
            match put? {
                Put::Ours => {
                    crash_point("committed");
                    let snapshot = self.read_back(place, base.as_ref(), version).await?;
                    return Ok(Committed {
                        version,
                        rows: staged.rows,
                        files: staged.adds.len() as u64,
                        bytes: staged.bytes(),
                        snapshot,
                    });
                }
                Put::Others => {}
            }
            match &staged.effect {
                Effect::Write(WriteMode::Append) | Effect::Edit(_) if rebases < REBASES_MAX => {
                    rebases += 1;
                    tokio::time::sleep(pause(rebases)).await;
                }
                Effect::Write(WriteMode::Create { .. }) => {
                    return Err(LakeError::AlreadyExists { location: place.text() });
                }
                _ => {
                    let why = "it came in between";
                    return Err(LakeError::Conflict { location: place.text(), version, why });
                }
            }
        }
    }

    pub(crate) async fn read_back(
        &self,
        place: &Place,
        base: Option<&Arc<Snapshot>>,
        version: i64,
    ) -> Result<Arc<Snapshot>, LakeError> {
        let mut result = self.cache().advance(place, base, version).await;
        for wait in [Duration::from_millis(200), Duration::from_secs(2)] {
            if result.is_ok() {
                break;
            }
            tokio::time::sleep(wait).await;
            result = self.cache().advance(place, None, version).await;
        }
        result.map_err(|source| LakeError::ReadBack {
            location: place.text(),
            version,
            source: Box::new(source),
        })
    }
}

/// Refuses a number that was committed before: by an earlier try of ours whose answer got lost, or
/// by the worker that took over while this one was thought dead.
async fn check_txn(base: &Snapshot, txn: &Txn) -> Result<(), LakeError> {
    match base.txn_version(&txn.app_id).await? {
        Some(version) if version >= txn.version => Err(LakeError::AlreadyApplied {
            location: base.location().to_owned(),
            app_id: txn.app_id.clone(),
            version,
        }),
        _ => Ok(()),
    }
}

/// Writes the log entry of a version if it is absent, and finds out who wrote it.
///
/// Trying again is safe: the same entry goes to the same version, and whichever try arrives first,
/// all later ones are refused.
pub(crate) async fn put(
    place: &Place,
    version: i64,
    entry: bytes::Bytes,
    commit_id: Uuid,
) -> Result<Put, LakeError> {
    let path = log::commit_path(version);
    let mut unknown = None;
    let fault = commit_fault(&place.text());
    let failed = || object_store::Error::Generic { store: "test", source: "it is to fail".into() };
    if fault == Some(CommitFault::Before) {
        return Err(LakeError::store("write the log entry", place.text(), failed()));
    }
    for wait in PUT_TRIES {
        tokio::time::sleep(wait).await;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let error = match place.store.put_opts(&path, entry.clone().into(), options).await {
            Ok(_) if fault == Some(CommitFault::After) => {
                unknown = Some(failed());
                break;
            }
            Ok(_) => return Ok(Put::Ours),
            Err(error) => error,
        };
        let refused = matches!(
            error,
            object_store::Error::PermissionDenied { .. }
                | object_store::Error::Unauthenticated { .. }
                | object_store::Error::NotSupported { .. }
                | object_store::Error::NotImplemented { .. }
        );
        if refused && unknown.is_none() {
            return Err(LakeError::store("write the log entry", place.text(), error));
        }
        // Others see the entry, but it may be gone after a power cut.
        if is_unconfirmed(&error) {
            unknown = Some(error);
            break;
        }
        // The store may say that the entry exists because an earlier try of ours arrived.
        match log::is_ours(place, version, commit_id).await {
            Ok(Some(true)) => return Ok(Put::Ours),
            Ok(Some(false)) => return Ok(Put::Others),
            // On a local disk nothing is under way once the call has returned.
            Ok(None) if place.local().is_some() => {
                return Err(LakeError::store("write the log entry", place.text(), error));
            }
            Ok(None) => unknown = Some(error),
            Err(read) => unknown = Some(read),
        }
    }
    let source = unknown.map_or_else(
        || Arc::new(std::io::Error::other("no try was made")) as crate::error::Cause,
        |error| Arc::new(error) as crate::error::Cause,
    );
    Err(LakeError::OutcomeUnknown { location: place.text(), version, source })
}

/// Grows from a millisecond to at most 64, slowly, and differs between writers: who waits for long has
/// more to catch up with, and loses again to those who come fresh.
pub(crate) fn pause(rebases: u32) -> Duration {
    let most = 1_000_u64 << (rebases / 4).min(6);
    let random = u64::from(Uuid::new_v4().as_bytes()[0]);
    Duration::from_micros(most * random / 255)
}

/// As [`checkpoint`], unless the version has one. That it fails is logged.
pub(crate) async fn checkpoint_if_missing(place: &Place, snapshot: &Snapshot) {
    let path = Path::from(format!("_delta_log/{:020}.checkpoint.parquet", snapshot.version()));
    if snapshot.version() > 0
        && place.store.head(&path).await.is_err()
        && let Err(error) = checkpoint(snapshot).await
    {
        tracing::warn!(%error, "the table is complete without it");
    }
}

/// Makes later loads of the table short. Does nothing to its content.
async fn checkpoint(snapshot: &Snapshot) -> Result<(), LakeError> {
    let (location, version) = (snapshot.location(), snapshot.version());
    create_checkpoint(snapshot.table(), None)
        .await
        .map_err(|source| LakeError::failed("write a checkpoint of", location, source))?;
    tracing::debug!(location, version, "checkpoint written");
    Ok(())
}
