//! One attempt of a RELEASE QUARANTINE: rows that meet the expectations now leave the quarantine of a
//! streaming table and come into the table, once.
//!
//! The two have no common commit, so the order is that of a refresh (`quarantine.rs`): the quarantine
//! is committed first, and the table's commit says which version of it counts. Whoever dies in between
//! has released nothing, and the next attempt undoes what it left.

use std::sync::Arc;

use lake::{
    At, ChangeOperation, Changed, CommitInfo, LakeError, Repeats, Snapshot, Stage, StageChange,
    StageProgress, Staged, Touches, Txn, WriteMode,
};
use model::{
    job::RunOutcome,
    principal::Principal,
    report::RunReport,
    transform::Transform,
    work::{Maintained, ReleaseWork, Released},
};
use query::{
    expect::{quarantine_app_id, quarantine_location},
    incremental::{Strategy, app_id},
    release::{PlannedRelease, ReleaseWish},
};
use serde_json::json;

use super::{Ended, check::Checking, transform::Run};
use crate::{commit, error::RefreshError, quarantine, stop::Stop};

/// Under what a commit says how many rows it has released.
const RELEASED: &str = "released";

/// What the part before the commits came to.
enum Found {
    /// There is nothing to commit.
    Done(Box<RunOutcome>),
    Staged(Box<Releasing>),
}

/// Files that wait for their commits.
struct Releasing {
    location: String,
    rows: Staged,
    quarantine: Staged,
    done: Released,
}

impl Run<'_> {
    /// Releases what may be released, and answers what goes into the books.
    pub(super) async fn release(&self, work: &ReleaseWork) -> Result<RunOutcome, Ended> {
        let found = tokio::select! {
            biased;
            why = self.stop.given() => Err(Ended::Stopped(why)),
            found = self.stage_release(work) => found.map_err(Ended::from),
        };
        let releasing = match found {
            Ok(Found::Done(outcome)) => return Ok(*outcome),
            Ok(Found::Staged(releasing)) => *releasing,
            Err(Ended::Stopped(Stop::Asked)) => return self.release_cancelled().await,
            Err(ended) => return Err(ended),
        };
        let Releasing { location, rows, quarantine, done } = releasing;
        let lake = &self.options.lake;
        if let Err(why) = self.heartbeat.committing().await {
            lake.discard(rows).await;
            lake.discard(quarantine).await;
            return Err(Ended::Stopped(why));
        }
        // From here on nothing stops the run: a commit that is on its way is waited for.
        let version = match quarantine::publish(lake, self.claimed, quarantine).await {
            Ok(version) => version,
            Err(source) => {
                lake.discard(rows).await;
                return Err(self.lake("commit the quarantine of", source).into());
            }
        };
        match lake.commit(rows, self.release_info(version, done)).await {
            Ok(committed) => Ok(self.has_released(committed.version, done)),
            // It is committed; only its new snapshot could not be read.
            Err(LakeError::ReadBack { version, .. }) => Ok(self.has_released(version, done)),
            // Another attempt of this run was faster, or our own first try arrived after all.
            Err(LakeError::AlreadyApplied { .. }) => {
                let booked = self.released_before(&location).await?;
                booked.ok_or(Ended::Stopped(Stop::Lost))
            }
            Err(source) => Err(self.lake("commit", source).into()),
        }
    }

    /// Everything before the commits. Nothing of it is visible, so it may be dropped at any point.
    async fn stage_release(&self, work: &ReleaseWork) -> Result<Found, RefreshError> {
        let object = self.object().await?;
        let view = self.view(&object)?;
        let catalog = &self.options.catalog;
        let run = self.claimed.lease.run;
        let pinned = catalog.pinned(run).await;
        if pinned.map_err(|source| self.catalog("read the attempts of", source))?.is_some() {
            if let Some(outcome) = self.released_before(&view.location).await? {
                return Ok(Found::Done(Box::new(outcome)));
            }
        } else {
            self.refuse_older_catalog(view).await?;
            // No inputs: it only says that from here on the run may have committed.
            let pinned = catalog.pin(&self.claimed.lease, &[]).await;
            pinned.map_err(|source| self.catalog("begin the attempt of", source))?;
        }
        self.refuse_suspended(view)?;
        let Some((table, quarantine)) = self.both(view).await? else {
            return Ok(Found::Done(Box::new(self.nothing_released(Released::default()))));
        };
        // An attempt that has lost its lease may have committed after the log was asked: then this
        // table has its rows already, and nothing is left to release.
        let applied = table.txn_version(&app_id(self.claimed.job.object)).await;
        let applied = applied.map_err(|source| self.lake("read the log of", source))?;
        if applied.is_some_and(|seq| seq >= self.claimed.run_seq)
            && let Some(outcome) = self.released_before(&view.location).await?
        {
            return Ok(Found::Done(Box::new(outcome)));
        }
        let wish = ReleaseWish {
            view: view.clone(),
            table: Arc::clone(&table),
            quarantine: Arc::clone(&quarantine),
            work: work.clone(),
        };
        let planned = self.options.queries.plan_release(wish).await;
        let planned = planned.map_err(|source| self.query("ask the quarantine of", source))?;
        let done = Released { rows_released: planned.released, rows_kept: planned.kept };
        if done.rows_released == 0 {
            return Ok(Found::Done(Box::new(self.nothing_released(done))));
        }
        let (rows, going) = self.stage_both(view, planned, table, quarantine, work).await?;
        let (quarantine, changed) = going;
        let balances = rows.rows() == done.rows_released && changed.rows() == done.rows_released;
        let checking = Checking {
            object: &object,
            view,
            owner: &Principal::verified(&object.owner),
            inputs: &[],
            strategy: Strategy::Append,
            gate: None,
            staged: &rows,
        };
        let checked = match balances {
            true => self.checked(checking).await.map(|_| ()),
            false => Err(self.unbalanced(done, &rows, changed)),
        };
        if let Err(error) = checked {
            self.options.lake.discard(rows).await;
            self.options.lake.discard(quarantine).await;
            return Err(error);
        }
        let location = view.location.clone();
        Ok(Found::Staged(Box::new(Releasing { location, rows, quarantine, done })))
    }

    /// The table, and the quarantine as the table's log says that it is. What a run that died has
    /// committed there is undone first.
    async fn both(
        &self,
        view: &Transform,
    ) -> Result<Option<(Arc<Snapshot>, Arc<Snapshot>)>, RefreshError> {
        let lake = &self.options.lake;
        let failed = |source| self.lake("open the table of", source);
        let table = match lake.snapshot(&view.location, At::Latest).await {
            Ok(table) => table,
            Err(LakeError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let noted = table.txn_version(&quarantine_app_id(self.claimed.job.object)).await;
        let Some(noted) = noted.map_err(failed)? else { return Ok(None) };
        let failed = |source| self.lake("make ready the quarantine of", source);
        let location = quarantine_location(&view.location);
        let quarantine = quarantine::restored(lake, &location, noted).await.map_err(failed)?;
        Ok(Some((table, quarantine)))
    }

    /// Writes the rows that come to the table, and the quarantine without them.
    async fn stage_both(
        &self,
        view: &Transform,
        planned: PlannedRelease,
        table: Arc<Snapshot>,
        quarantine: Arc<Snapshot>,
        work: &ReleaseWork,
    ) -> Result<(Staged, (Staged, Changed)), RefreshError> {
        let PlannedRelease { rows, going: (going, task), .. } = planned;
        let (lake, queries) = (&self.options.lake, &self.options.queries);
        let rows = Arc::new(rows);
        self.progress.planned(Arc::clone(&rows));
        let stage = Stage {
            location: view.location.clone(),
            plan: Arc::clone(&rows.plan),
            task: Arc::clone(&rows.task),
            mode: WriteMode::Grow,
            base: Some(table),
            checks: Vec::new(),
            progress: self.progress.staged(),
        };
        let change = StageChange {
            base: quarantine,
            plan: Arc::clone(&going),
            task,
            operation: ChangeOperation::Delete,
            condition: work.condition.clone(),
            repeats: Repeats::Refused { keys: Vec::new() },
            touches: Touches::AnyRow,
            checks: Vec::new(),
            patched: None,
            added: None,
            // The job tells of the rows that it releases, not of those that it moves aside for that.
            progress: Arc::new(StageProgress::default()),
        };
        let of = Arc::clone(lake);
        let staging = queries.runtime(&rows.plan).spawn(async move { of.stage(stage).await });
        let task_failed = |source| RefreshError::Task { object: self.name(), source };
        let failed = |source| self.lake("write the files of", source);
        let staged = staging.await.map_err(task_failed)?.map_err(failed)?;
        let of = Arc::clone(lake);
        let changing = queries.runtime(&going).spawn(async move { of.stage_change(change).await });
        match changing.await.map_err(task_failed).and_then(|changed| changed.map_err(failed)) {
            Ok((Some(quarantine), changed)) => Ok((staged, (quarantine, changed))),
            Ok((None, changed)) => {
                let done = Released { rows_released: staged.rows(), rows_kept: 0 };
                let error = self.unbalanced(done, &staged, changed);
                lake.discard(staged).await;
                Err(error)
            }
            Err(error) => {
                lake.discard(staged).await;
                Err(error)
            }
        }
    }

    /// A run that was asked to stop: what an earlier attempt has committed is only booked.
    async fn release_cancelled(&self) -> Result<RunOutcome, Ended> {
        if self.claimed.lease.attempt > 1 {
            let object = self.object().await?;
            if let Some(view) = object.transform()
                && let Some(booked) = self.released_before(&view.location).await?
            {
                return Ok(booked);
            }
        }
        Err(Ended::Stopped(Stop::Asked))
    }

    /// The books of a commit that an earlier attempt of this run made before it died.
    async fn released_before(&self, location: &str) -> Result<Option<RunOutcome>, RefreshError> {
        if self.txn_version(location).await?.is_none_or(|seq| seq < self.claimed.run_seq) {
            return Ok(None);
        }
        let failed = |source| self.lake("read the log of", source);
        let lake = &self.options.lake;
        let said = commit::said(lake, location, self.claimed.lease.run, RELEASED).await;
        // Nothing once the log was cleaned: then only its numbers are lost.
        let done = said.map_err(failed)?.and_then(|said| serde_json::from_value(said).ok());
        let table = lake.snapshot(location, At::Latest).await.map_err(failed)?;
        Ok(Some(self.has_released(table.version(), done.unwrap_or_default())))
    }

    fn release_info(&self, quarantine: i64, done: Released) -> CommitInfo {
        let claimed = self.claimed;
        let object = claimed.job.object;
        CommitInfo {
            txn: Some(Txn { app_id: app_id(object), version: claimed.run_seq }),
            sources: vec![Txn { app_id: quarantine_app_id(object), version: quarantine }],
            operation_metadata: [
                ("run_id".to_owned(), json!(claimed.lease.run.to_string())),
                ("job_id".to_owned(), json!(claimed.job.id.to_string())),
                ("attempt".to_owned(), json!(claimed.lease.attempt)),
                (RELEASED.to_owned(), json!(done)),
            ]
            .into_iter()
            .collect(),
        }
    }

    fn has_released(&self, version: i64, done: Released) -> RunOutcome {
        RunOutcome::Maintained {
            output_version: Some(version),
            progress: self.progress.figures(),
            result: Maintained::Released(done),
        }
    }

    fn nothing_released(&self, done: Released) -> RunOutcome {
        RunOutcome::Maintained {
            output_version: None,
            progress: self.progress.figures(),
            result: Maintained::Released(done),
        }
    }

    fn unbalanced(&self, done: Released, rows: &Staged, changed: Changed) -> RefreshError {
        let report = RunReport {
            rows_in: Some(done.rows_released),
            rows_out: Some(changed.rows()),
            ..RunReport::default()
        };
        RefreshError::Ledger { object: self.name(), report: Arc::new(report), staged: rows.rows() }
    }
}
