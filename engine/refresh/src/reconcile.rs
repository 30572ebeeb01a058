//! Queues the refreshes that are due: by their schedules, or because an input has a new version.
//!
//! It exists so that a schedule needs nobody: each tick looks at what is due by now, so a missed tick
//! or a restart changes nothing. Of several processes the one that leads does it. It takes no input
//! and keeps no state that has to survive.

mod due;
mod updates;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use catalog::{Catalog, error::CatalogError};
use model::{
    id::{JobId, ObjectId, WorkerId},
    job::{JobCause, NewJob},
    object::Object,
    schedule::ScheduleError,
    time::Timestamp,
    transform::Transform,
    work::Work,
};
use rt::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::{
    bell::Bell,
    error::chain,
    leader::{Election, SCHEDULER},
    options::RefreshOptions,
};
use due::DueTimes;
use updates::{ByName, Updates, Versions};

/// Who asks for the jobs of schedules, as `system.jobs` shows it.
pub(crate) const REQUESTED_BY: &str = "schedule";
/// Who asks for the jobs of triggers.
const TRIGGERED_BY: &str = "trigger";

/// Between the beginnings of two looks at least. Under load the bell rings at the end of every run, and
/// what is found together is queued together.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Queues what is due on every ring of the bell, until `stop`, while this process leads.
pub(crate) async fn reconcile(
    options: Arc<RefreshOptions>,
    worker: WorkerId,
    bell: Bell,
    stop: CancellationToken,
) {
    let mut rings = bell.listen();
    rings.mark_changed();
    let mut reconciler = Reconciler::new(&options, worker);
    let look_every = reconciler.election.every();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            // The bell is ours too, so its other end cannot be gone.
            _ = rings.changed() => {}
            // A leader that nobody wakes has to renew all the same.
            () = options.clock.sleep(look_every) => {}
        }
        let looks_at = options.clock.now();
        if reconciler.tick().await > 0 {
            bell.ring();
        }
        let took = options.clock.now().since(looks_at);
        tokio::select! {
            () = stop.cancelled() => break,
            () = options.clock.sleep(LOOK_PAUSE.saturating_sub(took)) => {}
        }
    }
    reconciler.election.resign().await;
}

/// What a problem is about; each is logged once, until it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Leader,
    Catalog,
    Transform(ObjectId),
}

/// One process that would follow the schedules.
pub(crate) struct Reconciler {
    catalog: Arc<dyn Catalog>,
    clock: Arc<dyn Clock>,
    attempts_max: u32,
    election: Election,
    /// In which epoch of this process `due` was learned.
    epoch: Option<i64>,
    /// All objects, and the version of the catalog that has them.
    objects: Option<(i64, Arc<Vec<Object>>)>,
    due: DueTimes,
    updates: Updates,
    told: BTreeMap<Subject, String>,
}

impl Reconciler {
    pub(crate) fn new(options: &RefreshOptions, worker: WorkerId) -> Self {
        let RefreshOptions { catalog, clock, lake, attempts_max, lease_for, .. } = options;
        let (catalog, clock) = (Arc::clone(catalog), Arc::clone(clock));
        let role = (SCHEDULER, worker);
        let election = Election::new(Arc::clone(&catalog), Arc::clone(&clock), role, *lease_for);
        Self {
            catalog,
            clock,
            attempts_max: *attempts_max,
            election,
            epoch: None,
            objects: None,
            due: DueTimes::default(),
            updates: Updates::new(Arc::clone(lake)),
            told: BTreeMap::new(),
        }
    }

    /// Queues what is due now, if this process leads. Answers how many jobs are new.
    pub(crate) async fn tick(&mut self) -> usize {
        let epoch = match self.election.leads().await {
            Ok(epoch) => epoch,
            Err(error) => {
                self.tell(Subject::Leader, "not known who follows the schedules", &error);
                return 0;
            }
        };
        self.over(Subject::Leader);
        if self.epoch != epoch {
            self.epoch = epoch;
            self.due.forget();
            self.updates.forget();
        }
        if epoch.is_none() {
            return 0;
        }
        let objects = match self.objects().await {
            Ok(objects) => objects,
            Err(error) => {
                self.tell(Subject::Catalog, "transforms not listed", &error);
                return 0;
            }
        };
        let awake: Vec<_> = objects.iter().filter_map(awake).collect();
        let scheduled: Vec<_> =
            awake.iter().filter(|(_, t)| t.trigger.is_none()).map(|(object, _)| *object).collect();
        let now = self.clock.now();
        if let Err(error) = self.due.learn(self.catalog.as_ref(), &scheduled, now).await {
            self.tell(Subject::Catalog, "schedules not read", &error);
            return 0;
        }
        if let Err(error) = self.updates.learn(self.catalog.as_ref()).await {
            self.tell(Subject::Catalog, "jobs of triggers not read", &error);
            return 0;
        }
        self.over(Subject::Catalog);
        let by_name: ByName<'_> = if scheduled.len() == awake.len() {
            ByName::new()
        } else {
            objects.iter().map(|object| (&object.name, object)).collect()
        };
        let (mut queued, mut triggered) = (0, Vec::new());
        for (object, transform) in awake {
            let done = match transform.trigger {
                Some(trigger) => {
                    let news =
                        self.updates.news(self.catalog.as_ref(), object, trigger, &by_name, now);
                    news.await
                        .map(|news| triggered.extend(news.map(|news| (object, transform, news))))
                }
                None => self.queue_when_due(object, transform).await.map(|new| queued += new),
            };
            self.note(object, done);
        }
        self.updates.next_tick();
        queued + self.queue_triggered(triggered).await
    }

    /// Every object; read again when one of them is another.
    async fn objects(&mut self) -> Result<Arc<Vec<Object>>, CatalogError> {
        // Before the objects: what changes in between is then seen next time.
        let version = self.catalog.objects_version().await?;
        if let Some((of, objects)) = &self.objects
            && *of == version
        {
            return Ok(Arc::clone(objects));
        }
        let objects = Arc::new(self.catalog.objects().await?);
        self.objects = Some((version, Arc::clone(&objects)));
        self.updates.redefined();
        Ok(objects)
    }

    async fn queue_when_due(
        &mut self,
        object: &Object,
        transform: &Transform,
    ) -> Result<usize, ReconcileError> {
        let now = self.clock.now();
        let Some(schedule) = &transform.schedule else { return Ok(0) };
        let Some(due_at) = self.due.due(object, schedule, transform.misfire, now)? else {
            return Ok(0);
        };
        let job = new_job(object.id, transform, due_at, self.attempts_max);
        let queued = self.catalog.submit(&[job], now).await?.len();
        self.due.queued(object.id, schedule, due_at, now);
        Ok(queued)
    }

    /// Queues a job for each transform that has news.
    async fn queue_triggered(&mut self, triggered: Vec<(&Object, &Transform, Versions)>) -> usize {
        let now = self.clock.now();
        let (mut wanted, mut jobs) = (Vec::new(), Vec::new());
        for (object, transform, versions) in triggered {
            jobs.push(NewJob {
                cause: JobCause::Automatic,
                due_at: None,
                requested_by: TRIGGERED_BY.to_owned(),
                ..new_job(object.id, transform, now, self.attempts_max)
            });
            wanted.push((object, versions));
        }
        if jobs.is_empty() {
            return 0;
        }
        // All of them are queued or none; then each by itself, so that none is in the way of others.
        let together = match self.catalog.submit(&jobs, now).await {
            Err(error) if error.code().is_transient() => {
                self.tell(Subject::Catalog, "jobs not queued", &error);
                return 0;
            }
            together => together,
        };
        let mut queued = 0;
        for (n, (object, versions)) in wanted.into_iter().enumerate() {
            let stored = match &together {
                Ok(stored) => Ok(stored.get(n).map(|job| job.id)),
                Err(_) => self
                    .catalog
                    .submit(&jobs[n..=n], now)
                    .await
                    .map(|stored| stored.first().map(|job| job.id)),
            };
            if let Ok(Some(job)) = stored {
                self.updates.queued(object.id, versions, job, now);
                queued += 1;
            }
            self.note(object, stored.map(drop).map_err(ReconcileError::from));
        }
        queued
    }

    /// What following one transform has come to.
    fn note(&mut self, object: &Object, done: Result<(), ReconcileError>) {
        match done {
            Ok(()) => self.over(Subject::Transform(object.id)),
            Err(error) => {
                let what = format!("schedule of {} not followed", object.name);
                self.tell(Subject::Transform(object.id), &what, &error);
            }
        }
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

fn new_job(
    object: ObjectId,
    transform: &Transform,
    due_at: Timestamp,
    attempts_max: u32,
) -> NewJob {
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
        priority: 0,
        parent: None,
        graph: None,
        resources: transform.resources.clone(),
    }
}

#[cfg(test)]
mod tests;
