//! Graph runs: jobs that were queued together and read each input at one version.
//!
//! It exists so that the join of two branches sees both at the same version of what they have in
//! common. The versions are kept in the catalog: those of the sources as the first run of the graph
//! finds them, those of transforms as their own runs have left them. They never take a table back: a
//! job whose table stands for newer rows already ends, and what is behind it with it.

use std::{collections::BTreeSet, time::Duration};

use catalog::{error::CatalogError, jobs::JobFilter};
use lake::At;
use model::{
    job::{PinnedInput, RunOutcome},
    object::Object,
};

use super::{Ended, transform::Run};
use crate::{error::RefreshError, stop::Stop};

/// How soon an output is told again while the catalog or the lake does not answer.
const TELL_AGAIN_AFTER: Duration = Duration::from_millis(200);

impl Run<'_> {
    /// The inputs of the run at the versions of its graph run; as they are for a run of none.
    pub(super) async fn at_graph_versions(
        &self,
        newest: Vec<PinnedInput>,
    ) -> Result<Vec<PinnedInput>, RefreshError> {
        if self.claimed.job.graph.is_none() {
            return Ok(newest);
        }
        let mut pins = self.pin_graph(&[]).await?;
        if pins.is_empty() {
            pins = self.pin_graph(&self.sources_of_graph().await?).await?;
        }
        let is_pinned = |input: &PinnedInput, pins: &[PinnedInput]| {
            pins.iter().any(|pin| pin.object == input.object)
        };
        let missing: Vec<_> =
            newest.iter().filter(|input| !is_pinned(input, &pins)).cloned().collect();
        if !missing.is_empty() {
            pins = self.pin_graph(&missing).await?;
        }
        let mut inputs = Vec::with_capacity(newest.len());
        for now in newest {
            let pin = pins.iter().find(|pin| pin.object == now.object);
            // A catalog that forgets what it was told just now has made the job one of no graph run.
            let pin = pin.cloned().unwrap_or_else(|| now.clone());
            let is_file = now.delta_table_id.is_empty();
            if pin.delta_table_id != now.delta_table_id || (is_file && pin.version != now.version) {
                return Err(RefreshError::SourceReplaced { object: self.name(), input: now.name });
            }
            inputs.push(self.not_behind(pin).await?);
        }
        Ok(inputs)
    }

    /// The version that the graph run reads, unless the table stands for a later one already: then that
    /// one, if it has the same rows.
    async fn not_behind(&self, pin: PinnedInput) -> Result<PinnedInput, RefreshError> {
        let last = self.claimed.last.iter().flat_map(|last| &last.inputs);
        let same = |before: &&PinnedInput| {
            before.object == pin.object && before.delta_table_id == pin.delta_table_id
        };
        let Some(before) = last.into_iter().find(same) else { return Ok(pin) };
        if before.version <= pin.version || pin.delta_table_id.is_empty() {
            return Ok(pin);
        }
        if self.moved_only(&pin, before.version).await? {
            return Ok(before.clone());
        }
        Err(RefreshError::Overtaken {
            object: self.name(),
            read: before.version,
            pinned: pin.version,
            input: pin.name,
        })
    }

    /// Whether an input has the same rows at a later version.
    pub(super) async fn moved_only(
        &self,
        input: &PinnedInput,
        later: i64,
    ) -> Result<bool, RefreshError> {
        let object = self.options.catalog.object(input.object).await;
        let object = object.map_err(|source| self.catalog("read an input of", source))?;
        let Some(location) = object.as_ref().and_then(Object::location) else { return Ok(false) };
        let moved = self.options.lake.moved_only(location, input.version, later).await;
        moved.map_err(|source| self.lake("look at an input of", source))
    }

    /// What all transforms of the graph run read that is no transform of it, as it is now.
    async fn sources_of_graph(&self) -> Result<Vec<PinnedInput>, RefreshError> {
        let catalog = &self.options.catalog;
        let failed = |source| self.catalog("read the graph run of", source);
        // It may have become part of another one before it was taken.
        let job = JobFilter { ids: Some(vec![self.claimed.job.id]), ..JobFilter::default() };
        let job = catalog.jobs(&job).await.map_err(failed)?.pop();
        let Some(graph) = job.and_then(|job| job.graph) else { return Ok(Vec::new()) };
        let members = JobFilter { graph: Some(graph), ..JobFilter::default() };
        let members = catalog.jobs(&members).await.map_err(failed)?;
        let members: BTreeSet<_> = members.into_iter().map(|job| job.object).collect();
        let mut transforms = catalog.objects().await.map_err(failed)?;
        transforms.retain(|object| members.contains(&object.id));
        let sources = self.options.queries.sources_of(&transforms).await;
        sources.map_err(|source| self.query("resolve the sources of the graph run of", source))
    }

    async fn pin_graph(&self, inputs: &[PinnedInput]) -> Result<Vec<PinnedInput>, RefreshError> {
        let pinned = self.options.catalog.pin_graph(&self.claimed.lease, inputs).await;
        pinned.map_err(|source| self.catalog("pin the graph run of", source))
    }

    /// Tells the rest of the graph run which version of the table to read. Before that the job must
    /// not end: those that wait for it would begin.
    pub(super) async fn tell_graph(&self, outcome: &RunOutcome) -> Result<(), Ended> {
        let version = match outcome {
            RunOutcome::Succeeded { output_version, .. }
            | RunOutcome::SkippedNoChange { output_version } => *output_version,
            _ => return Ok(()),
        };
        if self.claimed.job.graph.is_none() {
            return Ok(());
        }
        let is_committed = matches!(outcome, RunOutcome::Succeeded { .. });
        let clock = &self.options.clock;
        let give_up_at = clock.now().plus(self.options.lease_for);
        loop {
            let error = match self.tell_graph_once(version).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.code().is_transient() || is_lost(&error) {
                return Err(error.into());
            }
            tokio::select! {
                biased;
                why = self.stop.given() => match why {
                    // What is committed is told, and booked.
                    Stop::Asked if is_committed => clock.sleep(TELL_AGAIN_AFTER).await,
                    why => return Err(Ended::Stopped(why)),
                },
                () = clock.sleep(TELL_AGAIN_AFTER) => {}
            }
            if clock.now() >= give_up_at {
                return Err(error.into());
            }
        }
    }

    async fn tell_graph_once(&self, version: i64) -> Result<(), RefreshError> {
        let catalog = &self.options.catalog;
        let object = catalog.object(self.claimed.job.object).await;
        let object = object.map_err(|source| self.catalog("read the definition of", source))?;
        // Nobody reads what was dropped meanwhile.
        let Some(location) = object.as_ref().and_then(Object::location) else { return Ok(()) };
        let table = self.options.lake.snapshot(location, At::Latest).await;
        let table = table.map_err(|source| self.lake("open the table of", source))?;
        let output = PinnedInput {
            object: self.claimed.job.object,
            name: self.name(),
            delta_table_id: table.table_id().to_owned(),
            version,
        };
        let told = catalog.put_graph_output(&self.claimed.lease, &output).await;
        told.map_err(|source| self.catalog("pin the result of", source))
    }
}

fn is_lost(error: &RefreshError) -> bool {
    matches!(error, RefreshError::Catalog { source: CatalogError::LeaseLost(_), .. })
}

#[cfg(test)]
mod tests;
