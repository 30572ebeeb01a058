//! What a run of a streaming table stages: the rows that came to the sources of its flows.
//!
//! How far a flow has read a source is in the log of the table, in the commit that brought the rows:
//! so a run that died after its commit has read them, and one that died before has not.

use std::{collections::HashMap, sync::Arc};

use lake::{Alteration, At, LakeError, Snapshot, TakenFiles, TakenParts, Txn};
use model::{
    job::PinnedInput,
    object::{Object, Properties},
    principal::Principal,
    report::RunReport,
    transform::{Flow, Transform},
};
use query::{
    incremental::{RefreshWork, Strategy},
    streaming::{self, FlowToRun, FlowsWish, NewRows, PlannedFlows},
};

use super::{
    check::Checking,
    transform::{Run, StagedRun},
};
use crate::{
    commit::{self, Computation},
    error::RefreshError,
    progress::Decided,
};

/// What flows read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// What came since they have read last.
    New,
    /// All that is there, and the table begins anew: that was asked for, or approved.
    Everything,
}

/// What a run of a streaming table found.
pub(super) struct Found {
    /// The table that rows are added to; none for the first run, and for one that reads everything
    /// again.
    pub(super) table: Option<Arc<Snapshot>>,
    /// The versions up to which sources are read.
    inputs: Vec<PinnedInput>,
    new_rows: NewRows,
    /// Flows that run once, in this run.
    once: Vec<Flow>,
    /// The files that earlier runs have taken, where a flow reads some.
    taken: Option<Arc<TakenFiles>>,
}

impl Found {
    /// The version that is still right, when there is nothing to add to it.
    pub(super) fn unchanged(&self) -> Option<i64> {
        let table = self.table.as_ref()?;
        (!self.new_rows.is_news).then(|| table.version())
    }

    /// Whether it was found up to these versions.
    pub(super) fn is_up_to(&self, inputs: &[PinnedInput]) -> bool {
        self.inputs == inputs
    }
}

impl Run<'_> {
    /// Looks at the table and at what came to the sources of its flows, up to `inputs`.
    pub(super) async fn find_new_rows(
        &self,
        owner: &Principal,
        view: &Transform,
        inputs: &[PinnedInput],
        reading: Reading,
    ) -> Result<Found, RefreshError> {
        if view.flows.is_empty() {
            return Err(RefreshError::NoFlow(self.name()));
        }
        let table = self.table_of_flows(view, reading).await?;
        let taken = self.taken_files(view, table.is_some()).await?;
        let (mut flows, mut once) = (Vec::new(), Vec::new());
        for flow in &view.flows {
            let mut read_until = HashMap::new();
            if table.is_some() {
                if flow.once && self.has_run(view, flow).await? {
                    continue;
                }
                read_until = self.read_until(view, flow, inputs).await?;
            }
            if flow.once {
                once.push(flow.clone());
            }
            let taken = taken.clone().unwrap_or_default();
            flows.push(FlowToRun { flow: flow.clone(), read_until, taken });
        }
        let new_rows = self.options.queries.new_rows(owner, flows, inputs, Some(&self.known));
        let new_rows = new_rows.await.map_err(|source| self.query("read what came to", source))?;
        Ok(Found { table, inputs: inputs.to_vec(), new_rows, once, taken })
    }

    /// The files that flows have taken, by the log of the table; `None` when no flow reads files.
    async fn taken_files(
        &self,
        view: &Transform,
        has_table: bool,
    ) -> Result<Option<Arc<TakenFiles>>, RefreshError> {
        let mut reads = false;
        for flow in &view.flows {
            let of_flow = streaming::reads_files(flow);
            reads |= of_flow.map_err(|source| self.query("read the flows of", source))?;
        }
        if !reads {
            return Ok(None);
        }
        if !has_table {
            return Ok(Some(Arc::default()));
        }
        let object = self.claimed.job.object;
        let Some(id) = self.noted(view, &commit::files_app_id(object)).await? else {
            return Ok(Some(Arc::default()));
        };
        match self.options.lake.taken_files(&view.location, object, id).await {
            Ok(taken) => Ok(Some(Arc::new(taken))),
            Err(gone @ LakeError::TakenFilesGone { .. }) => Err(RefreshError::NeedsFull {
                object: self.name(),
                code: "OFFSETS_UNKNOWN",
                why: gone.to_string(),
            }),
            Err(source) => Err(self.lake("read which files were taken for", source)),
        }
    }

    /// Writes down which files are taken; the commit of the run will say that it holds.
    async fn note_files(
        &self,
        view: &Transform,
        found: &mut Found,
    ) -> Result<Option<TakenParts>, RefreshError> {
        let Some(before) = &found.taken else { return Ok(None) };
        let new = std::mem::take(&mut found.new_rows.taken);
        // A table that begins anew has to forget what the one before it had.
        if new.is_empty() && found.table.is_some() {
            return Ok(None);
        }
        let (lake, object) = (&self.options.lake, self.claimed.job.object);
        let noted = lake.note_taken(&view.location, object, before, new).await;
        noted.map(Some).map_err(|source| self.lake("write down which files were taken for", source))
    }

    /// Gives the table comment and properties that its declaration has got since: a run that only adds
    /// rows says nothing of them. A commit of its own; nobody's rows are others.
    pub(super) async fn renew_description(
        &self,
        object: &Object,
        view: &Transform,
        reading: Reading,
    ) -> Result<(), RefreshError> {
        let Some(table) = self.table_of_flows(view, reading).await? else { return Ok(()) };
        let mut alterations = Vec::new();
        if table.comment() != object.comment.as_deref() {
            alterations.push(Alteration::Comment(object.comment.clone()));
        }
        let is_other = |key: &String, value: &String| table.properties().get(key) != Some(value);
        let set: Properties = object
            .properties
            .iter()
            .filter(|(key, value)| is_other(key, value))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !set.is_empty() {
            alterations.push(Alteration::Properties { set, unset: Vec::new() });
        }
        let lake = &self.options.lake;
        for alteration in alterations {
            let newest = lake.snapshot(&view.location, At::Latest).await;
            let newest = newest.map_err(|source| self.lake("open the table of", source))?;
            let altered = lake.alter(newest, alteration).await;
            altered.map_err(|source| self.lake("describe the table of", source))?;
        }
        Ok(())
    }

    /// AUTO CDC reads events, which only come: fails when a commit did more than add some since the last
    /// run. Reading everything again takes them as they are now.
    pub(super) async fn refuse_changed_events(
        &self,
        owner: &Principal,
        view: &Transform,
        inputs: &[PinnedInput],
        reading: Reading,
    ) -> Result<(), RefreshError> {
        let (Some(last), Reading::New) = (&self.claimed.last, reading) else { return Ok(()) };
        let Some(flow) = FlowToRun::of_changes(view, &last.inputs) else { return Ok(()) };
        let new_rows = self.options.queries.new_rows(owner, vec![flow], inputs, Some(&self.known));
        let new_rows = new_rows.await;
        new_rows.map_err(|source| self.query("read what came to", source))?;
        Ok(())
    }

    /// The table, if runs of this object have written it and it is to keep its rows.
    async fn table_of_flows(
        &self,
        view: &Transform,
        reading: Reading,
    ) -> Result<Option<Arc<Snapshot>>, RefreshError> {
        if reading == Reading::Everything {
            return Ok(None);
        }
        let table = match self.options.lake.snapshot(&view.location, At::Latest).await {
            Ok(table) => table,
            Err(LakeError::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(self.lake("open the table of", source)),
        };
        if self.txn_version(&view.location).await?.is_none() {
            return Ok(None);
        }
        if table.partitioned_by() != view.partitioned_by.as_slice() {
            return Err(RefreshError::NeedsFull {
                object: self.name(),
                code: "LAYOUT_CHANGED",
                why: "its table is partitioned in another way than it is declared".to_owned(),
            });
        }
        Ok(Some(table))
    }

    async fn has_run(&self, view: &Transform, flow: &Flow) -> Result<bool, RefreshError> {
        let app_id = commit::once_app_id(self.claimed.job.object, &flow.name);
        Ok(self.noted(view, &app_id).await?.is_some())
    }

    /// How far a flow has read its sources, by the log of the table.
    async fn read_until(
        &self,
        view: &Transform,
        flow: &Flow,
        inputs: &[PinnedInput],
    ) -> Result<HashMap<String, i64>, RefreshError> {
        let object = self.claimed.job.object;
        let mut read_until = HashMap::new();
        for input in inputs.iter().filter(|input| !input.delta_table_id.is_empty()) {
            let app_id = commit::flow_app_id(object, &flow.name, &input.delta_table_id);
            if let Some(version) = self.noted(view, &app_id).await? {
                read_until.insert(input.delta_table_id.clone(), version);
                continue;
            }
            // Another table in its place, or of its name: its rows are not those that come next.
            let last = self.claimed.last.iter().flat_map(|last| &last.inputs);
            let before = last
                .filter(|before| before.object == input.object || before.name == input.name)
                .find(|before| before.delta_table_id != input.delta_table_id);
            let Some(before) = before else { continue };
            let app_id = commit::flow_app_id(object, &flow.name, &before.delta_table_id);
            if self.noted(view, &app_id).await?.is_some() {
                return Err(RefreshError::NeedsFull {
                    object: self.name(),
                    code: "INPUT_CREATED_ANEW",
                    why: format!("'{}' was dropped and created anew after it was read", input.name),
                });
            }
        }
        Ok(read_until)
    }

    async fn noted(&self, view: &Transform, app_id: &str) -> Result<Option<i64>, RefreshError> {
        let noted = self.options.lake.txn_version(&view.location, app_id).await;
        noted.map_err(|source| self.lake("read the log of", source))
    }

    /// Plans all flows at the pinned versions and writes their rows to files that nobody sees yet.
    pub(super) async fn stage_flows(
        &self,
        object: &Object,
        owner: &Principal,
        view: &Transform,
        definition_hash: String,
        mut found: Found,
    ) -> Result<StagedRun, RefreshError> {
        let files = self.note_files(view, &mut found).await?;
        let Found { table, inputs, mut new_rows, once, .. } = found;
        let skipped = std::mem::take(&mut new_rows.skipped);
        let files_report = new_rows.files.take();
        let id = self.claimed.job.object;
        let read = new_rows.read.iter().map(|read| Txn {
            app_id: commit::flow_app_id(id, &read.flow, &read.delta_table_id),
            version: read.version,
        });
        let once = once.iter().map(|flow| Txn {
            app_id: commit::once_app_id(id, &flow.name),
            version: self.claimed.run_seq,
        });
        let taken =
            files.iter().map(|parts| Txn { app_id: commit::files_app_id(id), version: parts.id });
        let notes = read.chain(once).chain(taken).collect();
        let job = &self.claimed.job;
        let code = match (&table, job.force, &job.approval) {
            (Some(_), ..) => "NEW_ROWS",
            (None, true, _) => "REQUESTED_FULL",
            (None, false, Some(_)) => "APPROVED_FULL",
            (None, false, None) => "FIRST_RUN",
        };
        let reason = match new_rows.summary.as_str() {
            "" => code.to_owned(),
            summary => format!("{code}: {summary}"),
        };
        let wish = FlowsWish {
            owner: owner.clone(),
            view: view.clone(),
            inputs: inputs.clone(),
            new_rows,
            table: table.as_ref().map(|table| table.schema()),
            quarantining: self.quarantining(),
            profile: self.profile()?,
            known: Some(self.known.clone()),
        };
        let planned = self.options.queries.plan_flows(wish);
        let PlannedFlows { planned, gate } =
            planned.await.map_err(|source| self.query("plan the flows of", source))?;
        let strategy = if table.is_some() { Strategy::Append } else { Strategy::Full };
        let decided = Decided { strategy, reason: reason.clone(), alternatives: Vec::new() };
        self.decide(&planned, decided)?;
        let work = match table {
            Some(table) => RefreshWork::Append(planned, table),
            None => RefreshWork::Replace(planned),
        };
        let (staged, quarantine) = self.stage(object, view, work, gate.clone()).await?;
        let checking = Checking {
            object,
            view,
            owner,
            inputs: &inputs,
            strategy,
            gate: gate.as_deref(),
            staged: &staged,
        };
        let report = RunReport { skipped, files: files_report, ..self.checked(checking).await? };
        let computation = Computation { definition_hash, strategy, reason, inputs, notes, report };
        let location = view.location.clone();
        Ok(StagedRun { location, staged, quarantine, computation, files })
    }
}
