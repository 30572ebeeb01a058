//! TRIGGER ON UPDATE: which transforms have inputs with versions that no refresh reads.
//!
//! The logs of the tables say what is new, and the job that was queued last says what it reads: a job
//! that waited reads more than it was queued for. An idle server asks for no job, and looks once a tick
//! whether the next entry of each log is there. All of it is kept in memory only; after a restart the
//! last refresh of a transform tells which versions it has read.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use catalog::{Catalog, error::CatalogError, jobs::Reading};
use lake::{At, Lake, LakeError};
use model::{
    id::{JobId, ObjectId},
    name::ObjectName,
    object::{Object, ObjectBody, TableFormat},
    time::Timestamp,
    transform::Trigger,
};

use super::ReconcileError;

/// All objects of the catalog.
pub(super) type ByName<'a> = BTreeMap<&'a ObjectName, &'a Object>;

/// The versions of a transform's inputs, by their tables.
pub(super) type Versions = BTreeMap<ObjectId, i64>;

pub(super) struct Updates {
    lake: Arc<Lake>,
    asked: BTreeMap<ObjectId, Asked>,
    /// What this tick has found, so that a table is asked once.
    found: BTreeMap<ObjectId, Option<i64>>,
}

/// What was done for a transform last.
#[derive(Debug, Clone, Default)]
struct Asked {
    /// What its refresh has read; what it was queued for, while that is not known.
    versions: Versions,
    at: Option<Timestamp>,
    /// The job that was queued, until it is known what it reads.
    job: Option<JobId>,
}

impl Updates {
    pub(super) fn new(lake: Arc<Lake>) -> Self {
        Self { lake, asked: BTreeMap::new(), found: BTreeMap::new() }
    }

    /// Asks what the queued jobs read of which that is not known. Comes before looking for news, so that
    /// what is newer than what a job reads is newer for sure.
    pub(super) async fn learn(&mut self, catalog: &dyn Catalog) -> Result<(), CatalogError> {
        let open: Vec<JobId> = self.asked.values().filter_map(|asked| asked.job).collect();
        if open.is_empty() {
            return Ok(());
        }
        let mut reading: BTreeMap<_, _> = catalog.reading(&open).await?.into_iter().collect();
        for asked in self.asked.values_mut() {
            let Some(job) = asked.job else { continue };
            match reading.remove(&job) {
                Some(Reading::Newest | Reading::Choosing) => {}
                Some(Reading::At(versions)) => (asked.versions, asked.job) = (versions, None),
                None => asked.job = None,
            }
        }
        Ok(())
    }

    /// The versions of the inputs, if one of them is one that no refresh reads, and enough time has
    /// passed.
    pub(super) async fn news(
        &mut self,
        catalog: &dyn Catalog,
        object: &Object,
        trigger: Trigger,
        by_name: &ByName<'_>,
        now: Timestamp,
    ) -> Result<Option<Versions>, ReconcileError> {
        let asked = match self.asked.get(&object.id) {
            Some(asked) => asked.clone(),
            None => {
                let last = catalog.last_refresh(object.id).await?;
                // A part that was refreshed alone says nothing about the rest.
                let last = last.filter(|last| !last.is_mixed);
                let inputs = last.map(|last| last.inputs).unwrap_or_default();
                let versions = inputs.into_iter().map(|input| (input.object, input.version));
                let asked = Asked { versions: versions.collect(), ..Asked::default() };
                self.asked.insert(object.id, asked.clone());
                asked
            }
        };
        let least = trigger.at_most_every_s.map(Duration::from_secs).unwrap_or_default();
        // A clock that was put back keeps nobody from asking.
        if asked.at.is_some_and(|at| at <= now && at.plus(least) > now) {
            return Ok(None);
        }
        // One that waits reads what is newest when it begins; of one that has begun the next tick knows.
        if asked.job.is_some() {
            return Ok(None);
        }
        let mut versions = Versions::new();
        for input in inputs(object, by_name) {
            if let Some(version) = self.newest(input).await? {
                versions.insert(input.id, version);
            }
        }
        let is_news = versions.iter().any(|(id, version)| asked.versions.get(id) != Some(version));
        Ok(is_news.then_some(versions))
    }

    /// A job that will read these versions, or newer ones, is in the queue.
    pub(super) fn queued(
        &mut self,
        object: ObjectId,
        versions: Versions,
        job: JobId,
        now: Timestamp,
    ) {
        self.asked.insert(object, Asked { versions, at: Some(now), job: Some(job) });
    }

    /// A definition may be another one: what was queued before need not do what is wanted now.
    pub(super) fn redefined(&mut self) {
        self.asked.values_mut().for_each(|asked| asked.job = None);
    }

    /// Forgets what was queued: another process may have done that meanwhile. The last refreshes tell.
    pub(super) fn forget(&mut self) {
        self.asked.clear();
    }

    /// From now on tables are asked anew.
    pub(super) fn next_tick(&mut self) {
        self.found.clear();
    }

    async fn newest(&mut self, input: &Object) -> Result<Option<i64>, LakeError> {
        if let Some(found) = self.found.get(&input.id) {
            return Ok(*found);
        }
        let version = match &input.body {
            ObjectBody::Table(table) if table.format != TableFormat::Delta => {
                Some(self.lake.table_fingerprint(table).await?)
            }
            _ => match input.location() {
                None => None,
                Some(location) => match self.lake.snapshot(location, At::Latest).await {
                    Ok(table) => Some(table.version()),
                    // A transform that was never refreshed has no table yet.
                    Err(LakeError::NotFound { .. }) => None,
                    Err(error) => return Err(error),
                },
            },
        };
        self.found.insert(input.id, version);
        Ok(version)
    }
}

/// The tables and transforms that a transform reads, views seen through.
fn inputs<'a>(object: &'a Object, by_name: &ByName<'a>) -> Vec<&'a Object> {
    let (mut found, mut seen) = (Vec::new(), BTreeSet::new());
    let mut waiting: Vec<&ObjectName> = object.reads().iter().collect();
    while let Some(name) = waiting.pop() {
        let Some(read) = by_name.get(name).filter(|_| seen.insert(name)) else { continue };
        match &read.body {
            ObjectBody::View(view) => waiting.extend(&view.reads),
            _ => found.push(*read),
        }
    }
    found
}
