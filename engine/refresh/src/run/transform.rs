//! The one path of a refresh: inputs, plan, files, one commit, the books.
//!
//! It exists so that every step can die: before the commit nothing is visible, after it the next
//! attempt finds the run's transaction in the log and only does the books. It never computes on
//! the runtime it is called on.

use std::{collections::BTreeSet, sync::Arc};

use catalog::{error::CatalogError, objects::Lookup};
use lake::{At, LakeError, Staged, TakenParts};
use model::{
    job::{ClaimedRun, PinnedInput, RunOutcome, RunProgress},
    name::ObjectName,
    object::{Object, ObjectBody},
    principal::Principal,
    report::RunReport,
    transform::{OnFullRefresh, Transform},
    work::Work,
};
use query::{
    definition,
    error::QueryError,
    incremental::{self, ApprovalNeeded, Strategy},
    known::Known,
};

use super::{Ended, part::PartRun, stream::Reading};
use crate::{
    commit::{self, Computation, Unbooked, Written},
    error::RefreshError,
    heartbeat::Beating,
    options::RefreshOptions,
    progress::Progress,
    quarantine::{self, StagedQuarantine},
    stop::{Stop, StopSignal},
};

/// What the part before the commit came to.
pub(super) enum Computed {
    /// There is nothing to commit.
    Done(Box<RunOutcome>),
    /// Files that wait for their commit.
    Staged(Box<StagedRun>),
}

/// Files, and what their commit says.
pub(super) struct StagedRun {
    pub(super) location: String,
    pub(super) staged: Staged,
    /// Rows that were kept out, for a table of their own.
    pub(super) quarantine: Option<StagedQuarantine>,
    pub(super) computation: Computation,
    /// What says which files were taken, where some were.
    pub(super) files: Option<TakenParts>,
}

/// One attempt of a run of a transform.
pub(super) struct Run<'a> {
    pub(super) options: &'a Arc<RefreshOptions>,
    pub(super) claimed: &'a ClaimedRun,
    pub(super) progress: &'a Arc<Progress>,
    pub(super) stop: StopSignal,
    pub(super) heartbeat: &'a Beating,
    /// The objects as they are when the run was claimed, or later.
    pub(super) known: Known,
}

/// Why a run was computed that an earlier attempt had committed: that attempt's reason is in the
/// table's history.
const BOOKED_LATER: &str = "COMMITTED_BEFORE";

impl Run<'_> {
    /// Computes, commits, and answers what goes into the books.
    pub(super) async fn execute(&self) -> Result<RunOutcome, Ended> {
        let computed = tokio::select! {
            biased;
            why = self.stop.given() => return Err(Ended::Stopped(why)),
            // What it has staged goes with the future, as when it is stopped.
            error = self.takes_too_much() => return Err(error.into()),
            computed = self.compute() => computed?,
        };
        let computed = self.wrote_few_enough(computed).await?;
        let StagedRun { location, staged, quarantine, mut computation, files } = match computed {
            Computed::Done(outcome) => return Ok(*outcome),
            Computed::Staged(work) => *work,
        };
        if let Err(why) = self.heartbeat.committing().await {
            self.options.lake.discard(staged).await;
            if let Some(quarantine) = quarantine {
                self.options.lake.discard(quarantine.staged).await;
            }
            return Err(Ended::Stopped(why));
        }
        // From here on nothing stops the run: a commit that is on its way is waited for.
        let lake = &self.options.lake;
        if let Some(quarantine) = quarantine {
            match quarantine::commit(lake, self.claimed, quarantine).await {
                Ok(note) => computation.notes.extend(note),
                Err(source) => {
                    lake.discard(staged).await;
                    return Err(self.lake("commit the quarantine of", source).into());
                }
            }
        }
        let info = commit::info(self.claimed, &computation, Written::of(&staged));
        let committed = lake.commit(staged, info).await;
        if let (Ok(_), Some(files)) = (&committed, &files) {
            self.forget_files(&location, files).await;
        }
        match committed {
            Ok(committed) => Ok(RunOutcome::Succeeded {
                output_version: committed.version,
                progress: RunProgress {
                    rows_written: committed.rows,
                    bytes_written: committed.bytes,
                    ..self.progress.figures()
                },
                strategy: computation.strategy.to_string(),
                reason: computation.reason,
                definition_hash: computation.definition_hash,
                report: computation.report,
            }),
            // It is committed; only its new snapshot could not be read.
            Err(LakeError::ReadBack { version, .. }) => Ok(RunOutcome::Succeeded {
                output_version: version,
                progress: self.progress.figures(),
                strategy: computation.strategy.to_string(),
                reason: computation.reason,
                definition_hash: computation.definition_hash,
                report: computation.report,
            }),
            // Another attempt of this run was faster, or our own first try arrived after all.
            Err(LakeError::AlreadyApplied { .. }) => {
                let Computation { definition_hash, reason, .. } = computation;
                let booked = self.committed_before(&location, definition_hash, reason).await?;
                booked.ok_or(Ended::Stopped(Stop::Lost))
            }
            Err(source) => Err(self.lake("commit", source).into()),
        }
    }

    /// Deletes what said which files were taken and says it no longer. The run is done without it.
    async fn forget_files(&self, location: &str, files: &TakenParts) {
        let (object, now) = (self.claimed.job.object, self.options.clock.now());
        if let Err(error) = self.options.lake.forget_taken(location, object, files, now).await {
            tracing::warn!(object = %self.name(), %error, "older lists of files taken stay");
        }
    }

    /// The end of a run that was asked to stop: what an earlier attempt committed before it died
    /// cannot be cancelled any more, only booked.
    pub(super) async fn cancelled(&self) -> Result<RunOutcome, Ended> {
        if self.claimed.lease.attempt > 1
            && let Some(booked) = self.landed().await?
        {
            return Ok(booked);
        }
        Err(Ended::Stopped(Stop::Asked))
    }

    /// The end of a run whose attempts are used up and whose last one died while it committed.
    pub(super) async fn looked(&self) -> Result<RunOutcome, Ended> {
        let landed = self.landed().await?;
        landed.ok_or_else(|| RefreshError::StoppedAnswering(self.name()).into())
    }

    /// The books of what an earlier attempt has committed.
    async fn landed(&self) -> Result<Option<RunOutcome>, RefreshError> {
        let object = self.object().await?;
        let Some(view) = object.transform() else { return Ok(None) };
        let hash = self.definition_hash(&object, view).await?;
        self.committed_before(&view.location, hash, BOOKED_LATER.to_owned()).await
    }

    async fn definition_hash(
        &self,
        object: &Object,
        view: &Transform,
    ) -> Result<String, RefreshError> {
        let catalog = self.options.catalog.as_ref();
        let hash = definition::hash(&self.known, catalog, &object.owner, view).await;
        hash.map_err(|source| self.catalog("read the definition of", source))
    }

    /// Everything before the commit. Nothing of it is visible, so it may be dropped at any point.
    async fn compute(&self) -> Result<Computed, RefreshError> {
        let object = self.object().await?;
        let view = self.view(&object)?;
        match self.computed(&object, view).await {
            Err(RefreshError::NeedsApproval { needed, .. }) => {
                Ok(Computed::Done(Box::new(question(*needed))))
            }
            computed => computed,
        }
    }

    async fn computed(&self, object: &Object, view: &Transform) -> Result<Computed, RefreshError> {
        let owner = Principal::verified(&object.owner);
        let pinned = self.pinned().await?;
        let definition_hash = self.definition_hash(object, view).await?;
        if pinned.is_some() {
            // Only an attempt that pinned its inputs can have committed.
            let (hash, reason) = (definition_hash.clone(), BOOKED_LATER.to_owned());
            if let Some(outcome) = self.committed_before(&view.location, hash, reason).await? {
                return Ok(Computed::Done(Box::new(outcome)));
            }
        }
        self.refuse_suspended(view)?;
        self.profile()?;
        let newest = self.newest_inputs(&owner, view).await?;
        let part = match &self.claimed.job.work {
            Work::Part(part) => Some(part),
            _ => None,
        };
        let reading = self.reading(&definition_hash);
        let newest = match &self.claimed.job.work {
            Work::At(asked) => self.inputs_at(object, asked, newest, reading).await?,
            _ => self.inputs_of(object, part, newest)?,
        };
        let streams = matches!(object.body, ObjectBody::StreamingTable(_)) && view.query.is_empty();
        if streams {
            let renewed = self.renew_description(object, view, reading).await;
            self.or_ask(view, renewed).await?;
        }
        let mut found = None;
        let inputs = match pinned {
            Some(pinned) if same_tables(&pinned, &newest) => pinned,
            Some(_) => {
                return Err(RefreshError::Redefined {
                    object: self.name(),
                    job: self.claimed.job.id,
                });
            }
            None => {
                let inputs = self.at_graph_versions(newest).await?;
                if self.claimed.job.graph.is_some() {
                    // Also what is skipped stands for versions that its graph run has to keep.
                    self.pin(&inputs).await?;
                }
                let unchanged = match part {
                    Some(part) => self.done_before(object, view, &definition_hash, part).await?,
                    None if streams => {
                        let new = self.find_new_rows(&owner, view, &inputs, reading).await;
                        let new = self.or_ask(view, new).await?;
                        let unchanged = new.unchanged();
                        found = Some(new);
                        unchanged
                    }
                    None => self.unchanged(view, &definition_hash, &inputs).await?,
                };
                if let Some(output_version) = unchanged {
                    let outcome = RunOutcome::SkippedNoChange { output_version };
                    return Ok(Computed::Done(Box::new(outcome)));
                }
                self.refuse_older_catalog(view).await?;
                self.pin(&inputs).await?
            }
        };
        let appended = self.refuse_changed_events(&owner, view, &inputs, reading).await;
        self.or_ask(view, appended).await?;
        let staged = if let Some(part) = part {
            let computing = PartRun { object, owner, view, definition_hash, inputs };
            self.stage_part(computing, part).await?
        } else if streams {
            // What was found is still right: files are listed once.
            let found = match found.filter(|found| found.is_up_to(&inputs)) {
                Some(found) => found,
                None => {
                    let found = self.find_new_rows(&owner, view, &inputs, reading).await;
                    self.or_ask(view, found).await?
                }
            };
            self.stage_flows(object, &owner, view, definition_hash, found).await?
        } else {
            self.stage_view(object, owner, view, definition_hash, inputs).await?
        };
        Ok(Computed::Staged(Box::new(staged)))
    }

    /// What an earlier attempt of the run has pinned; there is none before the first.
    async fn pinned(&self) -> Result<Option<Vec<PinnedInput>>, RefreshError> {
        if self.claimed.lease.attempt <= 1 {
            return Ok(None);
        }
        let pinned = self.options.catalog.pinned(self.claimed.lease.run).await;
        pinned.map_err(|source| self.catalog("read the pinned inputs of", source))
    }

    /// What the flows of a streaming table are to read.
    fn reading(&self, definition_hash: &str) -> Reading {
        match self.claimed.job.force || self.is_approved(definition_hash) {
            true => Reading::Everything,
            false => Reading::New,
        }
    }

    /// Whether somebody has approved a full refresh of this very definition: of another one it is asked
    /// again.
    pub(super) fn is_approved(&self, definition_hash: &str) -> bool {
        let approval = self.claimed.job.approval.as_ref();
        approval.is_some_and(|said| said.definition_hash == definition_hash)
    }

    /// Of a streaming table whose flows can only begin anew: a question instead of the error, where its
    /// declaration wants one.
    async fn or_ask<T>(
        &self,
        view: &Transform,
        result: Result<T, RefreshError>,
    ) -> Result<T, RefreshError> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let (OnFullRefresh::Approve, Some(reason)) = (view.on_full_refresh, error.begins_anew())
        else {
            return Err(error);
        };
        let bytes = self.bytes_of_sources(view).await?;
        let needed = Box::new(ApprovalNeeded { reason, alternatives: Vec::new(), bytes });
        Err(RefreshError::NeedsApproval { object: self.name(), needed })
    }

    /// Bytes of the tables that a transform reads, as they are now; `None` when one of them may hide
    /// rows, which the number would tell of.
    async fn bytes_of_sources(&self, view: &Transform) -> Result<Option<u64>, RefreshError> {
        let objects = self.options.catalog.objects_named(&view.reads).await;
        let objects = objects.map_err(|source| self.catalog("read the inputs of", source))?;
        if objects.iter().any(|object| !object.policy.is_empty()) {
            return Ok(None);
        }
        let mut bytes = 0;
        for location in objects.iter().filter_map(Object::location) {
            let table = self.options.lake.snapshot(location, At::Latest).await;
            bytes += table.map_err(|source| self.lake("open an input of", source))?.bytes();
        }
        Ok(Some(bytes))
    }

    /// Pins the inputs of the run; answers those that an earlier attempt has pinned.
    async fn pin(&self, inputs: &[PinnedInput]) -> Result<Vec<PinnedInput>, RefreshError> {
        let pinned = self.options.catalog.pin(&self.claimed.lease, inputs).await;
        pinned.map_err(|source| self.catalog("pin the inputs of", source))
    }

    /// The definition as it is now: a job refreshes what the object means when it runs.
    pub(super) async fn object(&self) -> Result<Object, RefreshError> {
        self.known
            .with_id(self.claimed.job.object)
            .await
            .map_err(|source| self.catalog("read the definition of", source))?
            .ok_or_else(|| RefreshError::Dropped(self.name()))
    }

    pub(super) fn view<'o>(&self, object: &'o Object) -> Result<&'o Transform, RefreshError> {
        object.transform().ok_or_else(|| RefreshError::NotATransform(object.name.clone()))
    }

    pub(super) fn refuse_suspended(&self, view: &Transform) -> Result<(), RefreshError> {
        if !view.suspended {
            return Ok(());
        }
        Err(RefreshError::Suspended { object: self.name() })
    }

    async fn newest_inputs(
        &self,
        owner: &Principal,
        view: &Transform,
    ) -> Result<Vec<PinnedInput>, RefreshError> {
        self.options
            .queries
            .transform_inputs(owner, view, Some(&self.known))
            .await
            .map_err(|source| self.query("resolve the inputs of", source))
    }

    /// A new run must be newer than everything in the log, or its commit would be taken for done.
    pub(super) async fn refuse_older_catalog(&self, view: &Transform) -> Result<(), RefreshError> {
        match self.txn_version(&view.location).await? {
            Some(committed) if committed >= self.claimed.run_seq => {
                Err(RefreshError::CatalogBehind {
                    object: self.name(),
                    committed,
                    run_seq: self.claimed.run_seq,
                })
            }
            _ => Ok(()),
        }
    }

    /// The books of a commit that an earlier attempt of this run made before it died.
    async fn committed_before(
        &self,
        location: &str,
        definition_hash: String,
        reason: String,
    ) -> Result<Option<RunOutcome>, RefreshError> {
        let found = commit::find(&self.options.lake, location, self.claimed, &definition_hash)
            .await
            .map_err(|source| self.lake("read the log of", source))?;
        let Some(found) = found else { return Ok(None) };
        let Unbooked { output_version, is_of_definition, strategy, written, report } = found;
        let before = self.claimed.job.progress;
        let Written { rows, bytes } =
            written.unwrap_or(Written { rows: before.rows_written, bytes: before.bytes_written });
        Ok(Some(RunOutcome::Succeeded {
            output_version,
            progress: RunProgress { rows_written: rows, bytes_written: bytes, ..before },
            strategy: strategy.to_string(),
            reason,
            // An unknown definition equals none: the next refresh computes anew.
            definition_hash: if is_of_definition { definition_hash } else { String::new() },
            report,
        }))
    }

    pub(super) async fn txn_version(&self, location: &str) -> Result<Option<i64>, RefreshError> {
        let app_id = incremental::app_id(self.claimed.job.object);
        match self.options.lake.txn_version(location, &app_id).await {
            Err(LakeError::NotFound { .. }) => Ok(None),
            read => read.map_err(|source| self.lake("read the log of", source)),
        }
    }

    pub(super) fn name(&self) -> ObjectName {
        self.claimed.job.object_name.clone()
    }

    pub(super) fn catalog(&self, step: &'static str, source: CatalogError) -> RefreshError {
        RefreshError::Catalog { step, object: self.name(), source }
    }

    pub(super) fn lake(&self, step: &'static str, source: LakeError) -> RefreshError {
        RefreshError::Lake { step, object: self.name(), source }
    }

    pub(super) fn query(&self, step: &'static str, source: QueryError) -> RefreshError {
        match source {
            QueryError::NotRefreshed(input) => {
                RefreshError::InputNotRefreshed { object: self.name(), input }
            }
            QueryError::ApprovalNeeded(needed) => {
                RefreshError::NeedsApproval { object: self.name(), needed }
            }
            source => RefreshError::Query { step, object: self.name(), source },
        }
    }
}

/// How a run ends that may not go on by itself.
fn question(needed: ApprovalNeeded) -> RunOutcome {
    let ApprovalNeeded { reason, alternatives, bytes } = needed;
    let alternatives = alternatives.iter().map(|(strategy, why)| format!("{strategy}: {why}"));
    RunOutcome::NeedsApproval {
        strategy: Strategy::Full.to_string(),
        reason: reason.to_string(),
        report: RunReport {
            alternatives: alternatives.collect(),
            bytes_estimated: bytes,
            ..RunReport::default()
        },
    }
}

/// Whether two lists name the same tables, at whatever versions.
pub(super) fn same_tables(pinned: &[PinnedInput], now: &[PinnedInput]) -> bool {
    let tables = |inputs: &[PinnedInput]| -> BTreeSet<_> {
        inputs.iter().map(|input| (input.object, input.delta_table_id.clone())).collect()
    };
    tables(pinned) == tables(now)
}

#[cfg(test)]
mod tests;
