//! What a run of some partitions stages, and when a range of a BACKFILL is right already.
//!
//! Afterwards partitions of the table may stand for different versions of the inputs. The commit of
//! such a run says so in the log, and its report in the catalog, so that nothing takes the table for
//! the answer of one version until a run has computed everything.

use std::sync::Arc;

use catalog::jobs::JobFilter;
use lake::{At, ChangeOperation, LakeError, Repeats, StageChange, Staged, Touches, Txn};
use model::{
    job::{JobState, PinnedInput},
    object::{Object, ObjectBody},
    principal::Principal,
    report::PartResult,
    transform::Transform,
    work::{JobKind, PartWork},
};
use query::{
    error::QueryError,
    incremental::{PartWish, PlannedPart, RefreshWork, Strategy, mixed_app_id},
};
use serde_json::Value;

use super::{
    check::Checking,
    transform::{Run, StagedRun, same_tables},
};
use crate::{
    commit::Computation,
    error::RefreshError,
    quarantine::{self, StagedQuarantine},
};

/// How many commits back a run is looked for that has computed a range.
const COMMITS_MAX: usize = 2_000;

/// A run of some partitions.
pub(super) struct PartRun<'a> {
    pub(super) object: &'a Object,
    pub(super) owner: Principal,
    pub(super) view: &'a Transform,
    pub(super) definition_hash: String,
    pub(super) inputs: Vec<PinnedInput>,
}

impl Run<'_> {
    /// The versions that a new run reads: those of its BACKFILL, or the newest.
    pub(super) fn inputs_of(
        &self,
        object: &Object,
        part: Option<&PartWork>,
        newest: Vec<PinnedInput>,
    ) -> Result<Vec<PinnedInput>, RefreshError> {
        let Some(part) = part else { return Ok(newest) };
        if !matches!(object.body, ObjectBody::MaterializedView(_)) {
            return Err(RefreshError::NoParts(self.name()));
        }
        match &part.inputs {
            None => Ok(newest),
            Some(inputs) if same_tables(inputs, &newest) => Ok(inputs.clone()),
            Some(_) => Err(RefreshError::BackfillOutdated(self.name())),
        }
    }

    /// The version in which a range of a BACKFILL is right already: the whole table stands for its
    /// versions of the inputs or for later ones, or the log has a run of just this range from just
    /// these versions, and nothing that came after it can have touched the range.
    ///
    /// A REFRESH … WHERE that somebody asked for always computes.
    pub(super) async fn done_before(
        &self,
        object: &Object,
        view: &Transform,
        definition_hash: &str,
        part: &PartWork,
    ) -> Result<Option<i64>, RefreshError> {
        let Some(inputs) = &part.inputs else { return Ok(None) };
        let last = self.claimed.last.as_ref();
        let since = self.options.queries.since(object, view, definition_hash, last, false).await;
        match since.map_err(|source| self.query("look at the table of", source))? {
            Ok((stands_for, table)) if not_later(inputs, &stands_for) => {
                return Ok(Some(table.version()));
            }
            Ok(_) => return Ok(None),
            Err(_) => {}
        }
        // The catalog is the index of the log: without such a run there nothing is looked for.
        let filter = JobFilter {
            object: Some(object.id),
            kind: Some(JobKind::Refresh),
            states: Some(vec![JobState::Succeeded]),
            ..JobFilter::default()
        };
        let jobs = self.options.catalog.jobs(&filter).await;
        let jobs = jobs.map_err(|source| self.catalog("read the jobs of", source))?;
        let condition = part.condition.as_str();
        if !jobs.iter().any(|job| job.work.part() == Some(condition)) {
            return Ok(None);
        }
        self.range_in_log(view, definition_hash, condition, inputs)
            .await
            .map_err(|source| self.lake("read the log of", source))
    }

    async fn range_in_log(
        &self,
        view: &Transform,
        definition_hash: &str,
        condition: &str,
        inputs: &[PinnedInput],
    ) -> Result<Option<i64>, LakeError> {
        let lake = &self.options.lake;
        let commits = match lake.history(&view.location, Some(COMMITS_MAX)).await {
            Err(LakeError::NotFound { .. }) => return Ok(None),
            commits => commits?,
        };
        let newest = commits.first().map(|commit| commit.version);
        for commit in &commits {
            let run = commit.application.as_ref().filter(|said| said.get("run_id").is_some());
            let Some(run) = run else {
                // Somebody else's commit counts unless it only put files together.
                if lake.moved_only(&view.location, commit.version - 1, commit.version).await? {
                    continue;
                }
                return Ok(None);
            };
            let computed = run.pointer("/report/part/condition").and_then(Value::as_str);
            let same = run.get("definition_hash").and_then(Value::as_str) == Some(definition_hash)
                && read_same(run, inputs);
            match computed {
                Some(other) if other != condition && same => {}
                // It may have touched the range, or it is the one that decides.
                None if run.get("strategy").and_then(Value::as_str)
                    == Some(Strategy::Part.as_str()) =>
                {
                    return Ok(None);
                }
                Some(other) if other != condition => return Ok(None),
                _ => return Ok(newest.filter(|_| same)),
            }
        }
        Ok(None)
    }

    /// Plans the partitions at the pinned versions and writes their rows to files that nobody sees
    /// yet.
    pub(super) async fn stage_part(
        &self,
        run: PartRun<'_>,
        part: &PartWork,
    ) -> Result<StagedRun, RefreshError> {
        let PartRun { object, owner, view, definition_hash, inputs } = run;
        let queries = &self.options.queries;
        let last = self.claimed.last.as_ref();
        let since = queries.since(object, view, &definition_hash, last, false).await;
        let since = since.map_err(|source| self.query("look at the table of", source))?;
        let same_inputs = match &since {
            Ok((last, _)) => same_tables(last, &inputs) && self.same_rows(last, &inputs).await?,
            Err(_) => false,
        };
        let wish = PartWish {
            object: object.clone(),
            view: view.clone(),
            condition: part.condition.clone(),
            inputs: inputs.clone(),
            since,
            same_inputs,
            quarantining: self.quarantining(),
            profile: self.profile()?,
            known: Some(self.known.clone()),
        };
        let lake = &self.options.lake;
        let quarantined = async {
            let recorded = quarantine::recorded(lake, self.claimed, &view.location).await?;
            let Some(version) = recorded else { return Ok(None) };
            let location = query::expect::quarantine_location(&view.location);
            lake.snapshot(&location, At::Version(version)).await.map(Some)
        };
        let quarantined = match query::expect::has_quarantine(&view.expectations) {
            true => {
                quarantined.await.map_err(|source| self.lake("read the quarantine of", source))?
            }
            false => None,
        };
        let planned = queries.plan_part(wish, quarantined).await;
        let planned = planned.map_err(|source| self.query("plan the refresh of", source))?;
        let (is_mixed, gate) = (planned.is_mixed, planned.refresh.gate.clone());
        let choice = planned.refresh.choice.clone();
        let reason = choice.reason.clone();
        self.decide(planned.refresh.work.planned(), choice.into())?;
        let (staged, quarantine, rows) = self.stage_partitions(object, view, planned).await?;
        let checking = Checking {
            object,
            view,
            owner: &owner,
            inputs: &inputs,
            strategy: Strategy::Part,
            gate: gate.as_deref(),
            staged: &staged,
        };
        let mut report = self.checked(checking).await?;
        // Whole partitions come and go, so the rows that come are the rows that went on.
        report.rows_in.get_or_insert(rows);
        if *report.rows_out.get_or_insert(rows) != rows || !report.balances() {
            return Err(self.lost(&report, rows));
        }
        let condition = part.condition.clone();
        report.part = Some(PartResult { condition, is_mixed });
        let mixed =
            Txn { app_id: mixed_app_id(self.claimed.job.object), version: self.claimed.run_seq };
        let computation = Computation {
            definition_hash,
            strategy: Strategy::Part,
            reason: reason.to_string(),
            inputs,
            notes: is_mixed.then_some(mixed).into_iter().collect(),
            report,
        };
        let location = view.location.clone();
        Ok(StagedRun { location, staged, quarantine, computation, files: None })
    }

    /// Writes the partitions and, beside them, the quarantine; answers how many rows come.
    async fn stage_partitions(
        &self,
        object: &Object,
        view: &Transform,
        part: PlannedPart,
    ) -> Result<(Staged, Option<StagedQuarantine>, u64), RefreshError> {
        let (queries, lake) = (self.options.queries.clone(), Arc::clone(&self.options.lake));
        let (name, location) = (object.name.clone(), view.location.clone());
        let properties = object.properties.clone();
        let (claimed, progress) = (self.claimed.clone(), Arc::clone(self.progress));
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
            let ended = |source| RefreshError::Task { object: name.clone(), source };
            let aside =
                quarantine::prepare_part(&lake, &claimed, &location, &part, &properties).await;
            let aside = aside.map_err(|source| RefreshError::Lake {
                step: "make ready the quarantine of",
                object: name.clone(),
                source,
            })?;
            let gate = part.refresh.gate.clone();
            let (planned, base) = match part.refresh.work {
                RefreshWork::Change(planned, base) => (Arc::new(planned), base),
                RefreshWork::Replace(_) | RefreshWork::Append(..) => {
                    return Err(RefreshError::Panicked {
                        object: name.clone(),
                        panic: "the plan of a part is no change of a table".to_owned(),
                    });
                }
            };
            progress.planned(Arc::clone(&planned));
            let change = StageChange {
                base,
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
            let result = async {
                let lake = Arc::clone(&lake);
                let staging = queries
                    .runtime(&planned.plan)
                    .spawn(async move { lake.stage_change(change).await });
                let staged = staging.await.map_err(ended);
                if let Some(gate) = &gate {
                    gate.close();
                }
                staged?.map_err(failed)
            };
            let aside = async {
                let Some(prepared) = aside else { return Ok(None) };
                let (stage, staged_as) = prepared.split();
                let lake = Arc::clone(&lake);
                let staging =
                    queries.runtime(&stage.plan).spawn(async move { lake.stage(stage).await });
                let staged = staging.await.map_err(ended)?.map_err(failed)?;
                Ok(Some(staged_as(staged)))
            };
            let ((staged, changed), quarantine) = tokio::try_join!(result, aside)?;
            match staged {
                Some(staged) => Ok((staged, quarantine, changed.inserted)),
                None => Err(RefreshError::Panicked {
                    object: name.clone(),
                    panic: "a refresh has nothing to commit".to_owned(),
                }),
            }
        };
        let staged = self.options.cpu.spawn(work).await;
        staged.map_err(|source| RefreshError::Task { object: self.name(), source })?
    }
}

/// Whether a table that stands for some versions has all that came until others.
fn not_later(asked: &[PinnedInput], stands_for: &[PinnedInput]) -> bool {
    same_tables(asked, stands_for)
        && asked.iter().all(|input| {
            let there = stands_for.iter().find(|there| there.object == input.object);
            there.is_some_and(|there| match input.delta_table_id.is_empty() {
                // Fingerprints have no order.
                true => there.version == input.version,
                false => there.version >= input.version,
            })
        })
}

/// Whether a run, as its commit tells, has read exactly these versions.
fn read_same(run: &Value, inputs: &[PinnedInput]) -> bool {
    let Some(read) = run.get("inputs").and_then(Value::as_array) else { return false };
    let is_one_of = |input: &PinnedInput| {
        read.iter().any(|read| {
            let text = |key: &str| read.get(key).and_then(Value::as_str);
            text("object") == Some(input.object.to_string().as_str())
                && text("delta_table_id") == Some(input.delta_table_id.as_str())
                && read.get("version").and_then(Value::as_i64) == Some(input.version)
        })
    };
    read.len() == inputs.len() && inputs.iter().all(is_one_of)
}
