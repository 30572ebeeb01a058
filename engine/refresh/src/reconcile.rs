//! Queues the refreshes that are due by their schedules.
//!
//! It exists so that a schedule needs nobody: each tick looks at everything anew, so a missed tick,
//! a restart or a second process changes nothing. It takes no input and keeps no state that has to
//! survive.

use std::{collections::BTreeMap, sync::Arc};

use catalog::{Catalog, error::CatalogError};
use model::{
    id::{JobId, ObjectId},
    job::{JobCause, NewJob},
    object::{Object, ObjectBody},
    schedule::{Schedule, ScheduleError},
    time::Timestamp,
    work::Work,
};
use rt::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::{bell::Bell, error::chain, options::RefreshOptions};

/// Who asks for the jobs of schedules, as `system.jobs` shows it.
pub(crate) const REQUESTED_BY: &str = "schedule";

/// Queues what is due on every ring of the bell, until `stop`.
pub(crate) async fn reconcile(options: Arc<RefreshOptions>, bell: Bell, stop: CancellationToken) {
    let mut rings = bell.listen();
    rings.mark_changed();
    let mut reconciler = Reconciler {
        catalog: Arc::clone(&options.catalog),
        clock: Arc::clone(&options.clock),
        attempts_max: options.attempts_max,
        told: BTreeMap::new(),
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            // The bell is ours too, so its other end cannot be gone.
            _ = rings.changed() => {}
        }
        if reconciler.tick().await > 0 {
            bell.ring();
        }
    }
}

/// What a problem is about; each is logged once, until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Catalog,
    Transform(ObjectId),
}

struct Reconciler {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    attempts_max: u32,
    told: BTreeMap<Subject, String>,
}

impl Reconciler {
    /// Queues what is due now. Answers how many jobs are new.
    async fn tick(&mut self) -> usize {
        let objects = match self.catalog.objects().await {
            Ok(objects) => objects,
            Err(error) => {
                self.tell(Subject::Catalog, "transforms not listed", &error);
                return 0;
            }
        };
        self.over(Subject::Catalog);
        let mut queued = 0;
        for (object, schedule) in objects.iter().filter_map(scheduled) {
            match self.queue_when_due(object, schedule).await {
                Ok(new) => {
                    queued += new;
                    self.over(Subject::Transform(object.id));
                }
                Err(error) => {
                    let what = format!("schedule of {} not followed", object.name);
                    self.tell(Subject::Transform(object.id), &what, &error);
                }
            }
        }
        queued
    }

    async fn queue_when_due(
        &self,
        object: &Object,
        schedule: &Schedule,
    ) -> Result<usize, ReconcileError> {
        let last_due = self.catalog.last_due(object.id).await?;
        let after = last_due.map_or(object.created_at, |last| last.max(object.created_at));
        let now = self.clock.now();
        let Some(due_at) = schedule.due(after, now)? else { return Ok(0) };
        let job = new_job(object.id, due_at, self.attempts_max);
        Ok(self.catalog.submit(&[job], now).await?.len())
    }

    fn tell(&mut self, subject: Subject, what: &str, error: &dyn std::error::Error) {
        let text = chain(error);
        if self.told.get(&subject) != Some(&text) {
            tracing::warn!(error = text, "{what}; tried again on the next tick");
            self.told.insert(subject, text);
        }
    }

    fn over(&mut self, subject: Subject) {
        self.told.remove(&subject);
    }
}

#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// The object with its schedule, if it refreshes by itself.
fn scheduled(object: &Object) -> Option<(&Object, &Schedule)> {
    match &object.body {
        ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view)
            if !view.suspended =>
        {
            view.schedule.as_ref().map(|schedule| (object, schedule))
        }
        _ => None,
    }
}

fn new_job(object: ObjectId, due_at: Timestamp, attempts_max: u32) -> NewJob {
    NewJob {
        id: JobId::generate(),
        work: Work::Refresh,
        object,
        cause: JobCause::Schedule,
        requested_by: REQUESTED_BY.to_owned(),
        after: Vec::new(),
        due_at: Some(due_at),
        force: false,
        attempts_max,
    }
}

#[cfg(test)]
mod tests;
