//! What a run of a materialized view stages: all rows anew, or what changed.

use std::{error::Error, sync::Arc};

use lake::{
    At, ChangeOperation, LakeError, Repeats, Snapshot, Stage, StageChange, Staged, Touches,
    WriteMode,
};
use model::{job::PinnedInput, object::Object, principal::Principal, transform::Transform};
use query::{
    Schema, SchemaRef,
    error::QueryError,
    expect::{Gate, Quarantining},
    incremental::{
        Choice, PlannedRefresh, RefreshWish, RefreshWork, Strategy, changes_failed, is_mixed,
    },
    keys::distinct_columns,
    transform::{PlannedTransform, declared_fields},
};

use rt::cpu::CpuTaskError;

use super::{
    check::Checking,
    transform::{Run, StagedRun, same_tables},
};
use crate::{
    commit::Computation,
    error::RefreshError,
    progress::Decided,
    quarantine::{self, Before, StagedQuarantine},
};

impl Run<'_> {
    /// The version that is right now, when nothing changed since the last run and its result is still
    /// there. Others may only have put its files together.
    pub(super) async fn unchanged(
        &self,
        view: &Transform,
        definition_hash: &str,
        inputs: &[PinnedInput],
    ) -> Result<Option<i64>, RefreshError> {
        let Some(last) = self.claimed.last.as_ref().filter(|last| !last.is_mixed) else {
            return Ok(None);
        };
        let same = last.definition_hash == definition_hash && same_tables(&last.inputs, inputs);
        if self.claimed.job.force || !same || !self.same_rows(&last.inputs, inputs).await? {
            return Ok(None);
        }
        let lake = &self.options.lake;
        let target = match lake.snapshot(&view.location, At::Latest).await {
            Ok(target) => target,
            Err(LakeError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.lake("open the table of", source)),
        };
        let laid_out_as_declared = target.partitioned_by() == view.partitioned_by.as_slice();
        if target.version() < last.output_version || !laid_out_as_declared {
            return Ok(None);
        }
        if target.version() > last.output_version {
            let moved = lake.moved_only(&view.location, last.output_version, target.version());
            let moved = moved.await.map_err(|source| self.lake("read the log of", source))?;
            if !moved {
                return Ok(None);
            }
        }
        let mixed = is_mixed(&target, self.claimed.job.object).await;
        if mixed.map_err(|source| self.lake("read the log of", source))? {
            return Ok(None);
        }
        // A table that somebody else made at the same place does not carry our transaction.
        let ours = self.txn_version(&view.location).await?.is_some();
        Ok(ours.then_some(target.version()))
    }

    /// See [`query::queries::Queries::same_rows`].
    pub(super) async fn same_rows(
        &self,
        last: &[PinnedInput],
        now: &[PinnedInput],
    ) -> Result<bool, RefreshError> {
        let same = self.options.queries.same_rows(&self.known, last, now).await;
        same.map_err(|source| self.query("look at the inputs of", source))
    }

    /// Plans the refresh at the pinned versions and writes its rows to files that nobody sees yet.
    pub(super) async fn stage_view(
        &self,
        object: &Object,
        owner: Principal,
        view: &Transform,
        definition_hash: String,
        inputs: Vec<PinnedInput>,
    ) -> Result<StagedRun, RefreshError> {
        let (last, force) = (self.claimed.last.as_ref(), self.claimed.job.force);
        let since = self.options.queries.since(object, view, &definition_hash, last, force).await;
        let mut since = since.map_err(|source| self.query("look at the table of", source))?;
        let full_is_meant = force || last.is_none() || self.is_approved(&definition_hash);
        let (choice, gate, (staged, quarantine)) = loop {
            let wish = RefreshWish {
                owner: owner.clone(),
                view: view.clone(),
                inputs: inputs.clone(),
                since,
                full_is_meant,
                quarantining: self.quarantining(),
                profile: self.profile()?,
                known: Some(self.known.clone()),
            };
            let planned = self.options.queries.plan_refresh(wish).await;
            let PlannedRefresh { choice, work, gate } =
                planned.map_err(|source| self.query("plan the refresh of", source))?;
            let Choice { strategy, reason, .. } = &choice;
            tracing::debug!(object = %object.name, %strategy, %reason, "refresh planned");
            self.decide(work.planned(), choice.clone().into())?;
            match self.stage(object, view, work, gate.clone()).await {
                // Once: a full refresh has no other way left.
                Err(error) if choice.strategy != Strategy::Full && error.is_of_a_value() => {
                    let error = &error as &dyn Error;
                    tracing::info!(object = %object.name, error, "computing only what changed failed");
                    since = Err(changes_failed(error.source().unwrap_or(error)));
                    self.progress.begin_anew();
                }
                staged => break (choice, gate, staged?),
            }
        };
        let (owner, inputs_of, gate) = (&owner, &inputs, gate.as_deref());
        let checking = Checking {
            object,
            view,
            owner,
            inputs: inputs_of,
            strategy: choice.strategy,
            gate,
            staged: &staged,
        };
        let mut report = self.checked(checking).await?;
        let Decided { strategy, reason, alternatives } = choice.into();
        report.alternatives = alternatives;
        let notes = Vec::new();
        let computation = Computation { definition_hash, strategy, reason, inputs, notes, report };
        let location = view.location.clone();
        Ok(StagedRun { location, staged, quarantine, computation, files: None })
    }

    /// What is noted with rows that this run keeps out.
    pub(super) fn quarantining(&self) -> Quarantining {
        Quarantining { run: self.claimed.lease.run, at: self.options.clock.now() }
    }

    pub(super) async fn stage(
        &self,
        object: &Object,
        view: &Transform,
        work: RefreshWork,
        gate: Option<Arc<Gate>>,
    ) -> Result<(Staged, Option<StagedQuarantine>), RefreshError> {
        let claimed = self.claimed.clone();
        let (queries, lake) = (self.options.queries.clone(), Arc::clone(&self.options.lake));
        let (view, name) = (view.clone(), object.name.clone());
        let (comment, properties) = (object.comment.clone(), object.properties.clone());
        let progress = Arc::clone(self.progress);
        let work = async move {
            let failed = |source| match source {
                LakeError::Query { source, .. } => RefreshError::Query {
                    step: "compute",
                    object: name.clone(),
                    source: QueryError::Engine(source),
                },
                source => {
                    RefreshError::Lake { step: "write the files of", object: name.clone(), source }
                }
            };
            let shared = |planned: PlannedTransform| {
                let planned = Arc::new(planned);
                progress.planned(Arc::clone(&planned));
                planned
            };
            let appended = |planned: &PlannedTransform, base: Arc<Snapshot>| Stage {
                location: view.location.clone(),
                plan: Arc::clone(&planned.plan),
                task: Arc::clone(&planned.task),
                mode: WriteMode::Grow,
                base: Some(base),
                checks: Vec::new(),
                progress: progress.staged(),
            };
            let (mut quarantine, before) = (
                None,
                match &work {
                    RefreshWork::Replace(_) => Before::Go,
                    RefreshWork::Append(..) | RefreshWork::Change(..) => Before::Stay,
                },
            );
            if let (Some(gate), RefreshWork::Replace(planned) | RefreshWork::Append(planned, _)) =
                (&gate, &work)
            {
                let of = quarantine::Of { location: &view.location, properties: &properties };
                let prepared =
                    quarantine::prepare(&lake, &claimed, of, gate, planned, before).await;
                quarantine = prepared.map_err(|source| RefreshError::Lake {
                    step: "make ready the quarantine of",
                    object: name.clone(),
                    source,
                })?;
            }
            if let (None, RefreshWork::Replace(_)) = (&quarantine, &work) {
                let of = &view.location;
                let emptied = quarantine::emptied(&lake, &queries, &claimed, of, &properties).await;
                quarantine = emptied.map_err(|source| RefreshError::Query {
                    step: "empty the quarantine of",
                    object: name.clone(),
                    source,
                })?;
            }
            let stage = match work {
                RefreshWork::Replace(planned) => {
                    let planned = shared(planned);
                    let staged = progress.staged();
                    staged.hash_rows();
                    let keys = view.keys.iter().filter_map(distinct_columns).collect();
                    staged.watch_distinct(keys, Arc::clone(planned.task.memory_pool()));
                    let schema = declared_schema(&planned.plan.schema(), &view);
                    let partitioned_by = view.partitioned_by.clone();
                    Stage {
                        location: view.location.clone(),
                        plan: Arc::clone(&planned.plan),
                        task: Arc::clone(&planned.task),
                        mode: WriteMode::Replace { schema, partitioned_by, comment, properties },
                        base: None,
                        checks: Vec::new(),
                        progress: progress.staged(),
                    }
                }
                RefreshWork::Append(planned, base) => appended(&shared(planned), base),
                RefreshWork::Change(planned, base) => {
                    let planned = shared(planned);
                    let change = StageChange {
                        base: Arc::clone(&base),
                        plan: Arc::clone(&planned.plan),
                        task: Arc::clone(&planned.task),
                        operation: ChangeOperation::Refresh,
                        condition: None,
                        repeats: Repeats::Refused { keys: Vec::new() },
                        touches: Touches::AnyRow,
                        checks: Vec::new(),
                        patched: None,
                        added: None,
                        progress: progress.staged(),
                    };
                    let lake = Arc::clone(&lake);
                    let staging = queries
                        .runtime(&planned.plan)
                        .spawn(async move { lake.stage_change(change).await });
                    let staged = staging
                        .await
                        .map_err(|source| RefreshError::Task { object: name.clone(), source })?;
                    if let (Some(staged), _) = staged.map_err(failed)? {
                        return Ok((staged, None));
                    }
                    // No row is another one: the commit says only how far the inputs were read.
                    let nothing = queries.nothing_for(&base);
                    let planned = nothing.await.map_err(|source| RefreshError::Query {
                        step: "plan the refresh of",
                        object: name.clone(),
                        source,
                    })?;
                    appended(&planned, base)
                }
            };
            // The inner tasks end with the outer one, whichever runtime they are on.
            let run = |stage: Stage| {
                let lake = Arc::clone(&lake);
                queries.runtime(&stage.plan).spawn(async move { lake.stage(stage).await })
            };
            let ended = |ended: Result<Result<Staged, LakeError>, CpuTaskError>| {
                ended
                    .map_err(|source| RefreshError::Task { object: name.clone(), source })?
                    .map_err(failed)
            };
            let result = async {
                let staged = ended(run(stage).await);
                if let Some(gate) = &gate {
                    gate.close();
                }
                staged
            };
            let aside = async {
                let Some(prepared) = quarantine else { return Ok(None) };
                let (stage, staged_as) = prepared.split();
                ended(run(stage).await).map(|staged| Some(staged_as(staged)))
            };
            tokio::try_join!(result, aside)
        };
        self.options
            .cpu
            .spawn(work)
            .await
            .map_err(|source| RefreshError::Task { object: self.name(), source })?
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
