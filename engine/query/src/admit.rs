//! Who may run now: a bounded number of statements, a bounded queue behind them; of the whole
//! server, and of each role that says so.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use model::limits::Limit;
use parking_lot::Mutex;
use rt::clock::Clock;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    bounds::{Bound, Bounds},
    error::QueryError,
};

/// Hands out the right to run.
#[derive(Debug)]
pub(crate) struct Admission {
    server: Gate,
    waiting_max: usize,
    wait_max: Duration,
    /// Made when they are first needed; a role with another number gets another gate.
    roles: Mutex<HashMap<String, Arc<Gate>>>,
    clock: Arc<dyn Clock>,
}

/// The right to run one statement, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Permit {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Admission {
    pub(crate) fn new(
        running_max: usize,
        waiting_max: usize,
        wait_max: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (server, roles) = (Gate::new(running_max), Mutex::new(HashMap::new()));
        Self { server, waiting_max, wait_max, roles, clock }
    }

    /// Waits for a turn, first come first served: one of each role that has a limit, then one of the
    /// server. Cancel-safe: a dropped wait leaves the queues.
    pub(crate) async fn admit(&self, bounds: &Bounds) -> Result<Permit, QueryError> {
        let mut permits = Vec::new();
        // Everybody asks in the order of the names, and of the server last: nobody waits in a circle,
        // and who waits for a role keeps nothing from others.
        for (role, running_max, limits) in bounds.gates() {
            let bound = |limit, value| Bound { role: role.to_owned(), limit, value };
            let waiting_max = limits.get(Limit::Queue);
            let queue = Queue {
                waiting_max: waiting_max.map_or(self.waiting_max, to_usize),
                wait_max: limits.get(Limit::QueueWait).map_or(self.wait_max, Duration::from_millis),
            };
            let permit = self.gate(role, to_usize(running_max)).admit(&queue, &*self.clock).await;
            permits.push(permit.map_err(|refused| match refused {
                Refused::Full => match waiting_max {
                    Some(waiting) if waiting > 0 => bound(Limit::Queue, waiting).exceeded(),
                    _ => bound(Limit::Concurrency, running_max).exceeded(),
                },
                Refused::Late => {
                    let ms = u64::try_from(queue.wait_max.as_millis()).unwrap_or(u64::MAX);
                    bound(Limit::QueueWait, ms).exceeded()
                }
            })?);
        }
        let queue = Queue { waiting_max: self.waiting_max, wait_max: self.wait_max };
        let permit = self.server.admit(&queue, &*self.clock).await;
        permits.push(permit.map_err(|refused| match refused {
            Refused::Full => {
                QueryError::Busy { running: self.server.running_max, waiting: self.waiting_max }
            }
            Refused::Late => QueryError::QueueWait(self.wait_max),
        })?);
        Ok(Permit { _permits: permits })
    }

    fn gate(&self, role: &str, running_max: usize) -> Arc<Gate> {
        let mut roles = self.roles.lock();
        if let Some(gate) = roles.get(role)
            && gate.running_max == running_max
        {
            return Arc::clone(gate);
        }
        // Roles that are gone are forgotten: nobody else holds their gates.
        roles.retain(|_, gate| Arc::strong_count(gate) > 1 || gate.is_busy());
        let gate = Arc::new(Gate::new(running_max));
        roles.insert(role.to_owned(), Arc::clone(&gate));
        gate
    }
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// How long the queue behind a gate may get.
#[derive(Debug)]
struct Queue {
    waiting_max: usize,
    wait_max: Duration,
}

/// Why a gate stayed closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refused {
    Full,
    Late,
}

/// So many statements at once.
#[derive(Debug)]
struct Gate {
    running: Arc<Semaphore>,
    running_max: usize,
    waiting: AtomicUsize,
}

impl Gate {
    fn new(running_max: usize) -> Self {
        let running_max = running_max.clamp(1, Semaphore::MAX_PERMITS);
        let running = Arc::new(Semaphore::new(running_max));
        Self { running, running_max, waiting: AtomicUsize::new(0) }
    }

    fn is_busy(&self) -> bool {
        self.running.available_permits() < self.running_max
    }

    async fn admit(
        &self,
        queue: &Queue,
        clock: &dyn Clock,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        if let Ok(permit) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(permit);
        }
        let _place = Place::take(&self.waiting, queue.waiting_max).ok_or(Refused::Full)?;
        tokio::select! {
            permit = Arc::clone(&self.running).acquire_owned() => {
                Ok(permit.expect("the semaphore is never closed"))
            }
            () = clock.sleep(queue.wait_max) => Err(Refused::Late),
        }
    }
}

/// One place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, max: usize) -> Option<Self> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < max).then_some(n + 1))
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use model::{limits::RoleLimits, rights::Rights};
    use rt::clock::SystemClock;

    use super::*;

    fn admission(running: usize, waiting: usize, wait: Duration) -> Admission {
        Admission::new(running, waiting, wait, Arc::new(SystemClock))
    }

    fn nobody() -> Bounds {
        Bounds::default()
    }

    fn of_role(role: &str, limits: &[(Limit, u64)]) -> Bounds {
        let mut of_role = RoleLimits::default();
        limits.iter().for_each(|(limit, value)| of_role.set(*limit, *value));
        let limits = BTreeMap::from([(role.to_owned(), of_role)]);
        Bounds::of(&Rights::new("ann", BTreeSet::new(), Vec::new()).with_limits(limits))
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_a_freed_place_admits() {
        let admission = Arc::new(admission(1, 1, Duration::from_secs(60)));
        let first = admission.admit(&nobody()).await.unwrap();
        let waiter = tokio::spawn({
            let admission = Arc::clone(&admission);
            async move { admission.admit(&nobody()).await.map(drop) }
        });
        while admission.server.waiting.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(admission.admit(&nobody()).await, Err(QueryError::Busy { .. })));
        drop(first);
        waiter.await.unwrap().unwrap();
        admission.admit(&nobody()).await.unwrap();
    }

    #[tokio::test]
    async fn a_long_wait_is_given_up() {
        let admission = admission(1, 1, Duration::from_millis(5));
        let _first = admission.admit(&nobody()).await.unwrap();
        assert!(matches!(admission.admit(&nobody()).await, Err(QueryError::QueueWait(_))));
    }

    #[tokio::test]
    async fn a_full_role_keeps_nobody_else_waiting() {
        let admission = admission(3, 10, Duration::from_secs(60));
        let sales = of_role("sales", &[(Limit::Concurrency, 1), (Limit::Queue, 0)]);
        let first = admission.admit(&sales).await.unwrap();
        let refused = admission.admit(&sales).await.unwrap_err();
        assert!(
            matches!(&refused, QueryError::RoleLimit { role, .. } if role == "sales"),
            "{refused}"
        );
        let late = of_role("sales", &[(Limit::Concurrency, 1), (Limit::QueueWait, 5)]);
        let refused = admission.admit(&late).await.unwrap_err();
        assert!(refused.to_string().contains("waited 5ms"), "{refused}");
        let other = of_role("staff", &[(Limit::Concurrency, 1)]);
        let (_second, _third) =
            (admission.admit(&other).await.unwrap(), admission.admit(&nobody()).await.unwrap());
        drop(first);
        // Another number is in force at once.
        let more = of_role("sales", &[(Limit::Concurrency, 2)]);
        admission.admit(&more).await.unwrap();
    }
}
