//! When each schedule is due next.
//!
//! It exists so that a thousand schedules cost nothing while none is due: what the catalog knows of
//! their last times is read once, and kept in memory for as long as this process leads. If it is
//! wrong, because another process has queued something, the catalog refuses a due time that it has
//! queued before.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use catalog::{Catalog, error::CatalogError};
use model::{
    id::ObjectId,
    object::Object,
    schedule::{Schedule, ScheduleError},
    time::Timestamp,
    transform::Misfire,
};

/// Every schedule is looked at so often, whatever was found before: what a change of local time does
/// to it is decided by looking back, not forward.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How late a refresh with MISFIRE SKIP may be: longer than any tick and any pause of a machine.
const LATE_MAX: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct DueTimes {
    planned: BTreeMap<ObjectId, Planned>,
    looked_at: Option<Timestamp>,
}

struct Planned {
    definition_version: i64,
    /// The last time that a refresh was queued for, or the beginning.
    last: Timestamp,
    /// Nothing is due before.
    next: Timestamp,
}

impl DueTimes {
    /// Forgets everything: another process may have queued refreshes meanwhile.
    pub(super) fn forget(&mut self) {
        self.planned.clear();
    }

    /// Reads the last times of schedules that are new or others than before.
    pub(super) async fn learn(
        &mut self,
        catalog: &dyn Catalog,
        scheduled: &[&Object],
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        // A clock that was put back finds times that were due once more: nothing of it is queued twice,
        // and what was due in a future that did not come is no last time.
        if self.looked_at.is_some_and(|before| before > now) {
            self.forget();
        }
        self.looked_at = Some(now);
        let there: BTreeSet<ObjectId> = scheduled.iter().map(|object| object.id).collect();
        self.planned.retain(|id, _| there.contains(id));
        let is_known = |object: &&&Object| {
            let planned = self.planned.get(&object.id);
            planned.is_some_and(|planned| planned.definition_version == object.definition_version)
        };
        let new: Vec<&Object> =
            scheduled.iter().filter(|object| !is_known(object)).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = new.iter().map(|object| object.id).collect();
        let last: BTreeMap<_, _> = catalog.last_due(&ids, now).await?.into_iter().collect();
        for object in new {
            let since = object.transform().and_then(|transform| transform.schedule_since);
            let begin = since.unwrap_or(object.created_at).min(now);
            let last = last.get(&object.id).map_or(begin, |last| begin.max(*last));
            let planned =
                Planned { definition_version: object.definition_version, last, next: now };
            self.planned.insert(object.id, planned);
        }
        Ok(())
    }

    /// The time that a refresh of the object is to be queued for now.
    pub(super) fn due(
        &mut self,
        object: &Object,
        schedule: &Schedule,
        misfire: Misfire,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, ScheduleError> {
        let Some(planned) = self.planned.get_mut(&object.id) else { return Ok(None) };
        if now < planned.next {
            return Ok(None);
        }
        let due_at = schedule.due(planned.last, now)?;
        if let Some(due_at) = due_at
            && (misfire != Misfire::Skip || now <= due_at.plus(LATE_MAX))
        {
            return Ok(Some(due_at));
        }
        planned.next = next(schedule, due_at.unwrap_or(planned.last), now);
        Ok(None)
    }

    /// The refresh for what [`Self::due`] has found is queued.
    pub(super) fn queued(
        &mut self,
        object: ObjectId,
        schedule: &Schedule,
        due_at: Timestamp,
        now: Timestamp,
    ) {
        if let Some(planned) = self.planned.get_mut(&object) {
            planned.last = due_at;
            planned.next = next(schedule, due_at, now);
        }
    }
}

/// Until when nothing is due.
fn next(schedule: &Schedule, last: Timestamp, now: Timestamp) -> Timestamp {
    let look = now.plus(LOOK_EVERY);
    schedule.next(last).map_or(look, |next| next.min(look))
}
