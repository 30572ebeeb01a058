//! Queues the refreshes that are due: by their schedules, or because an input has a new version.
//!
//! It exists so that a schedule needs nobody: each tick looks at everything anew, so a missed tick,
//! a restart or a second process changes nothing. It takes no input and keeps no state that has to
//! survive.

mod updates;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use catalog::{Catalog, error::CatalogError};
use model::{
    id::{JobId, ObjectId},
    job::{JobCause, NewJob},
    object::Object,
    schedule::ScheduleError,
    time::Timestamp,
    transform::{Misfire, Transform},
    work::Work,
};
use rt::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::{bell::Bell, error::chain, options::RefreshOptions};
use updates::{ByName, Updates};

/// Who asks for the jobs of schedules, as `system.jobs` shows it.
pub(crate) const REQUESTED_BY: &str = "schedule";
/// Who asks for the jobs of triggers.
const TRIGGERED_BY: &str = "trigger";

/// How late a refresh with MISFIRE SKIP may be: longer than any tick and any pause of a machine.
const LATE_MAX: Duration = Duration::from_secs(60);

/// Queues what is due on every ring of the bell, until `stop`.
pub(crate) async fn reconcile(options: Arc<RefreshOptions>, bell: Bell, stop: CancellationToken) {
    let mut rings = bell.listen();
    rings.mark_changed();
    let mut reconciler = Reconciler {
        catalog: Arc::clone(&options.catalog),
        clock: Arc::clone(&options.clock),
        attempts_max: options.attempts_max,
        updates: Updates::new(Arc::clone(&options.lake)),
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
    updates: Updates,
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
        let by_name: ByName<'_> = objects.iter().map(|object| (&object.name, object)).collect();
        let mut queued = 0;
        for (object, transform) in objects.iter().filter_map(awake) {
            match self.queue_when_due(object, transform, &by_name).await {
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
        self.updates.next_tick();
        queued
    }

    async fn queue_when_due(
        &mut self,
        object: &Object,
        transform: &Transform,
        by_name: &ByName<'_>,
    ) -> Result<usize, ReconcileError> {
        if let Some(trigger) = transform.trigger {
            let now = self.clock.now();
            let catalog = self.catalog.as_ref();
            if !self.updates.is_due(catalog, object, trigger, by_name, now).await? {
                return Ok(0);
            }
            let job = NewJob {
                cause: JobCause::Automatic,
                due_at: None,
                requested_by: TRIGGERED_BY.to_owned(),
                ..new_job(object.id, now, self.attempts_max)
            };
            let queued = self.catalog.submit(&[job], now).await?.len();
            self.updates.queued(object.id, now);
            return Ok(queued);
        }
        let Some(schedule) = &transform.schedule else { return Ok(0) };
        let last_due = self.catalog.last_due(object.id).await?;
        let after = last_due.map_or(object.created_at, |last| last.max(object.created_at));
        let now = self.clock.now();
        let Some(due_at) = schedule.due(after, now)? else { return Ok(0) };
        if transform.misfire == Misfire::Skip && due_at.plus(LATE_MAX) < now {
            return Ok(0);
        }
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
    #[error(transparent)]
    Lake(#[from] lake::LakeError),
}

/// The object with its declaration, if it refreshes by itself.
fn awake(object: &Object) -> Option<(&Object, &Transform)> {
    let transform = object.transform()?;
    let wakes = transform.schedule.is_some() || transform.trigger.is_some();
    (wakes && !transform.suspended).then_some((object, transform))
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
