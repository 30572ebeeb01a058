//! What is checked of a run's rows while nobody sees them: expectations, keys, and its ledger.

use std::sync::Arc;

use lake::Staged;
use model::{
    job::PinnedInput,
    object::Object,
    principal::Principal,
    report::RunReport,
    transform::{KeyMode, Transform},
};
use query::{
    expect::Gate,
    history::HistoryCheck,
    incremental::Strategy,
    keys::{KeyCheck, RunRows, distinct_columns},
    violation::Violation,
};

use super::transform::Run;
use crate::error::RefreshError;

/// A run whose files wait for their commit.
pub(super) struct Checking<'a> {
    pub(super) object: &'a Object,
    pub(super) view: &'a Transform,
    pub(super) owner: &'a Principal,
    pub(super) inputs: &'a [PinnedInput],
    pub(super) strategy: Strategy,
    pub(super) gate: Option<&'a Gate>,
    pub(super) staged: &'a Staged,
}

impl Run<'_> {
    /// What the run says of itself, if nothing is against publishing its rows.
    pub(super) async fn checked(&self, run: Checking<'_>) -> Result<RunReport, RefreshError> {
        let Checking { object, view, strategy, gate, staged, .. } = &run;
        let mut report = gate.map(Gate::report).unwrap_or_default();
        if let Some(violation) = gate.and_then(Gate::failure) {
            return Err(self.violated(object, violation, report).await?);
        }
        // A change of rows also stages rows that it only copies.
        if matches!(strategy, Strategy::Full | Strategy::Append) {
            let rows = staged.rows();
            report.rows_in.get_or_insert(rows);
            let out = *report.rows_out.get_or_insert(rows);
            if out != rows {
                return Err(self.lost(&report, rows));
            }
        }
        if run.strategy == Strategy::Full {
            report.hash = self.progress.staged().hash().map(|hash| hash.to_string());
        }
        if !report.balances() {
            return Err(self.lost(&report, staged.rows()));
        }
        if let Some(violation) = self.no_history(&run).await? {
            return Err(self.violated(object, violation, report).await?);
        }
        if !view.keys.iter().any(|key| key.mode == KeyMode::Verified) {
            return Ok(report);
        }
        let mut violation = None;
        for checked in self.keys(&run).await? {
            report.keys.push(checked.result);
            violation = violation.or(checked.violation);
        }
        match violation {
            Some(violation) => Err(self.violated(object, violation, report).await?),
            None => Ok(report),
        }
    }

    async fn keys(&self, run: &Checking<'_>) -> Result<Vec<query::keys::CheckedKey>, RefreshError> {
        let Checking { object, view, owner, inputs, .. } = run;
        let check = KeyCheck {
            owner: Principal::clone(owner),
            object: object.name.clone(),
            keys: view.keys.clone(),
            inputs: inputs.to_vec(),
            rows: self.rows(run)?,
            proved: self.proved(run).await?,
        };
        let queries = self.options.queries.clone();
        let work = async move { queries.check_keys(check).await };
        let checked = self.options.cpu.spawn(work).await;
        checked
            .map_err(|source| RefreshError::Task { object: self.name(), source })?
            .map_err(|source| self.query("check the keys of", source))
    }

    /// Names of the keys that were proved while all rows were written.
    async fn proved(&self, run: &Checking<'_>) -> Result<Vec<String>, RefreshError> {
        if run.strategy != Strategy::Full {
            return Ok(Vec::new());
        }
        let staged = self.progress.staged();
        let proved = self.options.cpu.spawn(async move { staged.proved_distinct().await });
        let proved =
            proved.await.map_err(|source| RefreshError::Task { object: self.name(), source })?;
        let watched = run.view.keys.iter().filter(|key| distinct_columns(key).is_some());
        let found = watched.zip(proved).filter(|(_, is_proved)| *is_proved);
        Ok(found.map(|(key, _)| key.name.clone()).collect())
    }

    /// Why what AUTO CDC has made is none of what it should be.
    async fn no_history(&self, run: &Checking<'_>) -> Result<Option<Violation>, RefreshError> {
        let Checking { object, view, .. } = run;
        if view.query.is_empty() || view.flows.is_empty() {
            return Ok(None);
        }
        let Some(check) = HistoryCheck::of(&object.name, view, self.rows(run)?) else {
            return Ok(None);
        };
        let queries = self.options.queries.clone();
        let work = async move { queries.check_history(check).await };
        let checked = self.options.cpu.spawn(work).await;
        checked
            .map_err(|source| RefreshError::Task { object: self.name(), source })?
            .map_err(|source| self.query("check the history of", source))
    }

    /// The staged rows, and those of them that come.
    fn rows(&self, run: &Checking<'_>) -> Result<RunRows, RefreshError> {
        let lake = &self.options.lake;
        let failed = |source| self.lake("read the staged rows of", source);
        let coming = match run.strategy {
            Strategy::Full => None,
            _ => Some(run.staged.rows_provider(lake).map_err(failed)?),
        };
        Ok(RunRows { table: lake.staged_table(run.staged).map_err(failed)?, coming })
    }

    /// The error for rows that must not be published. It shows some of them only where all who can
    /// see the job can see them anyway.
    async fn violated(
        &self,
        object: &Object,
        violation: Violation,
        report: RunReport,
    ) -> Result<RefreshError, RefreshError> {
        let report = RunReport { broken: Some(violation.kind.promise()), ..report };
        let may_show = self
            .options
            .queries
            .may_show_rows(object)
            .await
            .map_err(|source| self.query("read the rights on", source))?;
        let violation = if may_show { violation } else { violation.without_rows() };
        let (violation, report) = (Box::new(violation), Box::new(report));
        Ok(RefreshError::Violated { object: self.name(), violation, report })
    }

    pub(super) fn lost(&self, report: &RunReport, staged: u64) -> RefreshError {
        let (object, report) = (self.name(), Arc::new(report.clone()));
        RefreshError::Ledger { object, report, staged }
    }
}
