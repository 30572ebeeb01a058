//! One attempt of a run. Of a refresh: inputs, plan, files, one commit, the books; what looks after
//! tables is in `maintain.rs`.
//!
//! It exists so that every step can die: before the commit nothing is visible, after it the next
//! attempt finds the run's transaction in the log and only does the books. It never computes on
//! the runtime it is called on.

use std::{collections::BTreeSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use catalog::error::CatalogError;
use futures::FutureExt;
use lake::{LakeError, Stage, Staged, WriteMode, faults::crash_point};
use model::{
    code::Code,
    job::{ClaimedRun, Lease, PinnedInput, RunOutcome, RunProgress},
    name::ObjectName,
    object::{Object, ObjectBody},
    principal::Principal,
    time::Timestamp,
    transform::Transform,
    work::Work,
};
use query::{Schema, SchemaRef, error::QueryError, transform::declared_fields};
use tokio_util::sync::CancellationToken;

use crate::{
    commit::{self, Strategy, Unbooked},
    definition,
    error::RefreshError,
    heartbeat::{Beating, Heartbeat},
    maintain::Maintenance,
    options::RefreshOptions,
    progress::Progress,
    stop::{Stop, StopSignal},
};

/// How soon the books are tried again while the catalog does not answer.
const FINISH_RETRY_AFTER: Duration = Duration::from_millis(200);

/// Works on a claimed run until it has ended, and records how. Answers how long to wait before
/// the next attempt when the failure was transient.
///
/// Dropping the future is like the death of the worker: nothing is recorded, and the lease runs
/// out. `give_up` stops it in order, so that the job is queued again at once.
pub(crate) async fn attempt(
    options: &Arc<RefreshOptions>,
    claimed: ClaimedRun,
    leased_at: Timestamp,
    give_up: CancellationToken,
) -> Option<Duration> {
    crash_point("claimed");
    let progress = Arc::new(Progress::default());
    let stop = StopSignal::new(give_up);
    let heartbeat = Heartbeat {
        jobs: Arc::clone(&options.catalog),
        clock: Arc::clone(&options.clock),
        lease: claimed.lease.clone(),
        leased_at,
        lease_for: options.lease_for,
        progress_every: options.progress_every,
        progress: Arc::clone(&progress),
        stop: stop.clone(),
    }
    .start();
    let care = Maintenance { options, claimed: &claimed, progress: &progress, stop: stop.clone() };
    let run = Run { options, claimed: &claimed, progress: &progress, stop, heartbeat: &heartbeat };
    let work = async {
        match &claimed.job.work {
            Work::Refresh => match run.execute().await {
                Err(Ended::Stopped(Stop::Asked)) => run.cancelled().await,
                ended => ended,
            },
            Work::Optimize(work) => care.optimize(work).await,
            Work::Vacuum(work) => care.vacuum(work).await,
        }
    };
    let ended = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(ended) => ended,
        Err(panic) => Err(Ended::Failed(RefreshError::Panicked {
            object: claimed.job.object_name.clone(),
            panic: panic_text(panic.as_ref()),
        })),
    };
    let held_until = heartbeat.end().await.unwrap_or(leased_at);
    let outcome = outcome(options, &claimed, ended)?;
    crash_point("before_finish");
    finish(options, &claimed, &outcome, held_until).await;
    match outcome {
        RunOutcome::Failed { code, retry_after, .. } if code.is_transient() => Some(retry_after),
        _ => None,
    }
}

/// Why an attempt has no result.
pub(crate) enum Ended {
    Failed(RefreshError),
    Stopped(Stop),
}

impl From<RefreshError> for Ended {
    fn from(error: RefreshError) -> Self {
        Self::Failed(error)
    }
}

/// What the part before the commit came to.
enum Computed {
    /// There is nothing to commit.
    Done(RunOutcome),
    /// Files that wait for their commit.
    Staged(Box<StagedRun>),
}

struct StagedRun {
    staged: Staged,
    strategy: Strategy,
}

struct Run<'a> {
    options: &'a Arc<RefreshOptions>,
    claimed: &'a ClaimedRun,
    progress: &'a Arc<Progress>,
    stop: StopSignal,
    heartbeat: &'a Beating,
}

impl Run<'_> {
    async fn execute(&self) -> Result<RunOutcome, Ended> {
        let computed = tokio::select! {
            biased;
            why = self.stop.given() => return Err(Ended::Stopped(why)),
            computed = self.compute() => computed?,
        };
        let StagedRun { staged, strategy } = match computed {
            Computed::Done(outcome) => return Ok(outcome),
            Computed::Staged(work) => *work,
        };
        if let Err(why) = self.heartbeat.committing().await {
            self.options.lake.discard(staged).await;
            return Err(Ended::Stopped(why));
        }
        // From here on nothing stops the run: a commit that is on its way is waited for.
        let lake = &self.options.lake;
        let info = commit::info(self.claimed, &strategy);
        match lake.commit(staged, info).await {
            Ok(committed) => Ok(RunOutcome::Succeeded {
                output_version: committed.version,
                progress: RunProgress {
                    rows_written: committed.rows,
                    bytes_written: committed.bytes,
                    ..self.progress.figures()
                },
                strategy: commit::FULL.to_owned(),
                reason: strategy.reason.to_owned(),
                definition_hash: strategy.definition_hash,
            }),
            // It is committed; only its new snapshot could not be read.
            Err(LakeError::ReadBack { version, .. }) => Ok(RunOutcome::Succeeded {
                output_version: version,
                progress: self.progress.figures(),
                strategy: commit::FULL.to_owned(),
                reason: strategy.reason.to_owned(),
                definition_hash: strategy.definition_hash,
            }),
            // Another attempt of this run was faster, or our own first try arrived after all.
            Err(LakeError::AlreadyApplied { .. }) => {
                let Strategy { location, definition_hash, reason, .. } = strategy;
                let booked = self.committed_before(&location, definition_hash, reason).await?;
                booked.ok_or(Ended::Stopped(Stop::Lost))
            }
            Err(source) => Err(self.lake("commit", source).into()),
        }
    }

    /// The end of a run that was asked to stop: what an earlier attempt committed before it died
    /// cannot be cancelled any more, only booked.
    async fn cancelled(&self) -> Result<RunOutcome, Ended> {
        if self.claimed.lease.attempt > 1 {
            let object = self.object().await?;
            if let Some(view) = object.transform() {
                let hash = definition::hash(self.options.catalog.as_ref(), view)
                    .await
                    .map_err(|source| self.catalog("read the definition of", source))?;
                let reason = self.reason(view, &hash).await?;
                if let Some(booked) = self.committed_before(&view.location, hash, reason).await? {
                    return Ok(booked);
                }
            }
        }
        Err(Ended::Stopped(Stop::Asked))
    }

    /// Everything before the commit. Nothing of it is visible, so it may be dropped at any point.
    async fn compute(&self) -> Result<Computed, RefreshError> {
        let object = self.object().await?;
        let view = self.view(&object)?;
        let owner = Principal::verified(&object.owner);
        let catalog = &self.options.catalog;
        let pinned = catalog
            .pinned(self.claimed.lease.run)
            .await
            .map_err(|source| self.catalog("read the pinned inputs of", source))?;
        let definition_hash = definition::hash(catalog.as_ref(), view)
            .await
            .map_err(|source| self.catalog("read the definition of", source))?;
        let reason = self.reason(view, &definition_hash).await?;
        if pinned.is_some() {
            // Only an attempt that pinned its inputs can have committed.
            let hash = definition_hash.clone();
            if let Some(outcome) = self.committed_before(&view.location, hash, reason).await? {
                return Ok(Computed::Done(outcome));
            }
        }
        self.refuse_suspended(view)?;
        let newest = self.newest_inputs(&owner, view).await?;
        let inputs = match pinned {
            Some(pinned) if same_tables(&pinned, &newest) => pinned,
            Some(_) => {
                return Err(RefreshError::Redefined {
                    object: self.name(),
                    job: self.claimed.job.id,
                });
            }
            None => {
                if let Some(output_version) =
                    self.unchanged(view, &definition_hash, &newest).await?
                {
                    return Ok(Computed::Done(RunOutcome::SkippedNoChange { output_version }));
                }
                self.refuse_older_catalog(view).await?;
                catalog
                    .pin(&self.claimed.lease, &newest)
                    .await
                    .map_err(|source| self.catalog("pin the inputs of", source))?
            }
        };
        let strategy =
            Strategy { definition_hash, reason, location: view.location.clone(), inputs };
        let staged = self.stage(&object, owner, view, &strategy.inputs).await?;
        Ok(Computed::Staged(Box::new(StagedRun { staged, strategy })))
    }

    /// The definition as it is now: a job refreshes what the object means when it runs.
    async fn object(&self) -> Result<Object, RefreshError> {
        self.options
            .catalog
            .object(self.claimed.job.object)
            .await
            .map_err(|source| self.catalog("read the definition of", source))?
            .ok_or_else(|| RefreshError::Dropped(self.name()))
    }

    fn view<'o>(&self, object: &'o Object) -> Result<&'o Transform, RefreshError> {
        object.transform().ok_or_else(|| RefreshError::NotATransform(object.name.clone()))
    }

    fn refuse_suspended(&self, view: &Transform) -> Result<(), RefreshError> {
        if !view.suspended {
            return Ok(());
        }
        let file = view.source_file.clone().unwrap_or_default();
        Err(RefreshError::Suspended { object: self.name(), file })
    }

    async fn newest_inputs(
        &self,
        owner: &Principal,
        view: &Transform,
    ) -> Result<Vec<PinnedInput>, RefreshError> {
        self.options
            .queries
            .transform_inputs(owner, view)
            .await
            .map_err(|source| self.query("resolve the inputs of", source))
    }

    /// The version that is still right, when nothing changed since the last run and its result is
    /// still there.
    async fn unchanged(
        &self,
        view: &Transform,
        definition_hash: &str,
        inputs: &[PinnedInput],
    ) -> Result<Option<i64>, RefreshError> {
        let Some(last) = &self.claimed.last else { return Ok(None) };
        let same = last.definition_hash == definition_hash && same_tables(&last.inputs, inputs);
        if self.claimed.job.force || !same || !self.same_rows(&last.inputs, inputs).await? {
            return Ok(None);
        }
        let lake = &self.options.lake;
        let target = match lake.snapshot(&view.location, lake::At::Latest).await {
            Ok(target) => target,
            Err(LakeError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.lake("open the table of", source)),
        };
        let laid_out_as_declared = target.partitioned_by() == view.partitioned_by.as_slice();
        if target.version() < last.output_version || !laid_out_as_declared {
            return Ok(None);
        }
        // A table that somebody else made at the same place does not carry our transaction.
        let ours = self.txn_version(&view.location).await?.is_some();
        Ok(ours.then_some(last.output_version))
    }

    /// Whether the same tables have the same rows: at the same versions, or at later ones that only put
    /// files together.
    async fn same_rows(
        &self,
        last: &[PinnedInput],
        now: &[PinnedInput],
    ) -> Result<bool, RefreshError> {
        for input in now {
            let before = last.iter().find(|before| before.object == input.object);
            let Some(before) = before else { return Ok(false) };
            if before.version == input.version {
                continue;
            }
            if input.delta_table_id.is_empty() || before.version > input.version {
                return Ok(false);
            }
            let object = self
                .options
                .catalog
                .object(input.object)
                .await
                .map_err(|source| self.catalog("read an input of", source))?;
            let location = match object.as_ref().map(|object| &object.body) {
                Some(ObjectBody::Table(table)) => &table.location,
                Some(ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)) => {
                    &view.location
                }
                Some(ObjectBody::View(_)) | None => return Ok(false),
            };
            let moved = self.options.lake.moved_only(location, before.version, input.version);
            if !moved.await.map_err(|source| self.lake("look at an input of", source))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A new run must be newer than everything in the log, or its commit would be taken for done.
    async fn refuse_older_catalog(&self, view: &Transform) -> Result<(), RefreshError> {
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

    async fn reason(
        &self,
        view: &Transform,
        definition_hash: &str,
    ) -> Result<&'static str, RefreshError> {
        let Some(last) = &self.claimed.last else { return Ok("FIRST_RUN") };
        if self.claimed.job.force {
            return Ok("REQUESTED_FULL");
        }
        if last.definition_hash != definition_hash {
            return Ok("DEFINITION_CHANGED");
        }
        let exists = self
            .options
            .lake
            .exists(&view.location)
            .await
            .map_err(|source| self.lake("open the table of", source))?;
        Ok(if exists { "INPUT_CHANGED" } else { "FIRST_RUN" })
    }

    /// Plans the query at the pinned versions and writes its rows to files that nobody sees yet.
    async fn stage(
        &self,
        object: &Object,
        owner: Principal,
        view: &Transform,
        inputs: &[PinnedInput],
    ) -> Result<Staged, RefreshError> {
        let (queries, lake) = (self.options.queries.clone(), Arc::clone(&self.options.lake));
        let (view, inputs, name) = (view.clone(), inputs.to_vec(), object.name.clone());
        let (comment, properties) = (object.comment.clone(), object.properties.clone());
        let progress = Arc::clone(self.progress);
        let work = async move {
            let planned =
                queries.plan_transform(&owner, &view, &inputs).await.map_err(|source| {
                    RefreshError::Query { step: "plan the query of", object: name.clone(), source }
                })?;
            let planned = Arc::new(planned);
            progress.planned(Arc::clone(&planned));
            let schema = declared_schema(&planned.plan.schema(), &view);
            let stage = Stage {
                location: view.location,
                plan: Arc::clone(&planned.plan),
                task: Arc::clone(&planned.task),
                mode: WriteMode::Replace {
                    schema,
                    partitioned_by: view.partitioned_by,
                    comment,
                    properties,
                },
                base: None,
                checks: Vec::new(),
                progress: progress.staged(),
            };
            // The inner task ends with the outer one, whichever runtime it is on.
            let staging =
                queries.runtime(&planned.plan).spawn(async move { lake.stage(stage).await });
            let staged = staging
                .await
                .map_err(|source| RefreshError::Task { object: name.clone(), source })?;
            staged.map_err(|source| match source {
                LakeError::Query { source, .. } => RefreshError::Query {
                    step: "compute",
                    object: name.clone(),
                    source: QueryError::Engine(source),
                },
                source => {
                    RefreshError::Lake { step: "write the files of", object: name.clone(), source }
                }
            })
        };
        self.options
            .cpu
            .spawn(work)
            .await
            .map_err(|source| RefreshError::Task { object: self.name(), source })?
    }

    /// The books of a commit that an earlier attempt of this run made before it died.
    async fn committed_before(
        &self,
        location: &str,
        definition_hash: String,
        reason: &str,
    ) -> Result<Option<RunOutcome>, RefreshError> {
        let found = commit::find(&self.options.lake, location, self.claimed, &definition_hash)
            .await
            .map_err(|source| self.lake("read the log of", source))?;
        let Some(Unbooked { output_version, is_of_definition, rows, bytes }) = found else {
            return Ok(None);
        };
        let before = self.claimed.job.progress;
        Ok(Some(RunOutcome::Succeeded {
            output_version,
            progress: RunProgress {
                rows_written: rows.unwrap_or(before.rows_written),
                bytes_written: bytes,
                ..before
            },
            strategy: commit::FULL.to_owned(),
            reason: reason.to_owned(),
            // An unknown definition equals none: the next refresh computes anew.
            definition_hash: if is_of_definition { definition_hash } else { String::new() },
        }))
    }

    async fn txn_version(&self, location: &str) -> Result<Option<i64>, RefreshError> {
        let app_id = commit::app_id(self.claimed.job.object);
        match self.options.lake.txn_version(location, &app_id).await {
            Err(LakeError::NotFound { .. }) => Ok(None),
            read => read.map_err(|source| self.lake("read the log of", source)),
        }
    }

    fn name(&self) -> ObjectName {
        self.claimed.job.object_name.clone()
    }

    fn catalog(&self, step: &'static str, source: CatalogError) -> RefreshError {
        RefreshError::Catalog { step, object: self.name(), source }
    }

    fn lake(&self, step: &'static str, source: LakeError) -> RefreshError {
        RefreshError::Lake { step, object: self.name(), source }
    }

    fn query(&self, step: &'static str, source: QueryError) -> RefreshError {
        match source {
            QueryError::NotRefreshed(input) => {
                RefreshError::InputNotRefreshed { object: self.name(), input }
            }
            source => RefreshError::Query { step, object: self.name(), source },
        }
    }
}

/// The columns of the table, where a column list declares what the query does not say.
fn declared_schema(result: &Schema, view: &Transform) -> Option<SchemaRef> {
    if view.columns.is_empty() {
        return None;
    }
    // What a planner finds to be NOT NULL today it may not find tomorrow: only the list counts.
    let fields: Vec<_> = result
        .fields()
        .iter()
        .map(|field| Arc::new(field.as_ref().clone().with_nullable(true)))
        .collect();
    Some(Arc::new(Schema::new(declared_fields(&fields, &view.columns))))
}

/// Whether two lists name the same tables, at whatever versions.
fn same_tables(pinned: &[PinnedInput], now: &[PinnedInput]) -> bool {
    let tables = |inputs: &[PinnedInput]| -> BTreeSet<_> {
        inputs.iter().map(|input| (input.object, input.delta_table_id.clone())).collect()
    };
    tables(pinned) == tables(now)
}

/// How the attempt goes into the books; `None` when the run is no longer ours to book.
fn outcome(
    options: &RefreshOptions,
    claimed: &ClaimedRun,
    ended: Result<RunOutcome, Ended>,
) -> Option<RunOutcome> {
    let ClaimedRun { lease: Lease { run, attempt, .. }, job, .. } = claimed;
    let (object, kind, attempt) = (&job.object_name, job.work.kind(), *attempt);
    let error = match ended {
        Ok(outcome) => {
            tracing::info!(%run, %object, %kind, attempt, outcome = word(&outcome), "job ended");
            return Some(outcome);
        }
        Err(Ended::Stopped(Stop::Asked)) => {
            tracing::info!(%run, %object, %kind, attempt, "job cancelled");
            return Some(RunOutcome::Cancelled);
        }
        Err(Ended::Stopped(why @ (Stop::Lost | Stop::Expired))) => {
            tracing::warn!(%run, %object, %kind, attempt, ?why, "job given up: its lease is gone");
            return None;
        }
        Err(Ended::Stopped(Stop::ShutDown)) => RefreshError::ShutDown(object.clone()),
        // The lease tells more than the error that its loss caused.
        Err(Ended::Failed(RefreshError::Catalog {
            source: CatalogError::LeaseLost(_), ..
        })) => {
            tracing::warn!(%run, %object, %kind, attempt, "job given up: its lease is gone");
            return None;
        }
        Err(Ended::Failed(error)) => error,
    };
    let (code, message) = (error.code(), error.text());
    let retry_after = match &error {
        RefreshError::ShutDown(_) => Duration::ZERO,
        _ => options.backoff.after(attempt, *run),
    };
    match code {
        Code::Internal => {
            tracing::error!(%run, %object, %kind, attempt, error = message, "job failed")
        }
        _ => tracing::warn!(%run, %object, %kind, attempt, %code, error = message, "job failed"),
    }
    Some(RunOutcome::Failed { code, message, retry_after })
}

/// Records the outcome; while the catalog does not answer, again and again until the lease ends.
/// What could not be recorded is found by the next attempt: in the log of the table.
async fn finish(
    options: &RefreshOptions,
    claimed: &ClaimedRun,
    outcome: &RunOutcome,
    held_until: Timestamp,
) {
    let run = claimed.lease.run;
    loop {
        let now = options.clock.now();
        let error = match options.catalog.finish(&claimed.lease, outcome, now).await {
            Ok(()) => return,
            Err(error) => error,
        };
        let again = error.code().is_transient()
            && !matches!(error, CatalogError::LeaseLost(_))
            && options.clock.now().plus(FINISH_RETRY_AFTER) < held_until;
        if !again {
            tracing::warn!(%run, object = %claimed.job.object_name, error = crate::error::chain(&error),
                "the end of a run was not recorded; another worker will find it");
            return;
        }
        options.clock.sleep(FINISH_RETRY_AFTER).await;
    }
}

fn word(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Succeeded { .. } | RunOutcome::Maintained { .. } => "SUCCEEDED",
        RunOutcome::SkippedNoChange { .. } => "SKIPPED_NO_CHANGE",
        RunOutcome::Cancelled => "CANCELLED",
        RunOutcome::Failed { .. } => "FAILED",
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests;
