//! What one statement may use: the limits of the roles of its caller, the least of each.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arrow::record_batch::RecordBatch;
use datafusion::{
    common::human_readable_size,
    error::{DataFusionError, Result},
    execution::{
        memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
        runtime_env::RuntimeEnv,
    },
};
use model::{
    limits::{Limit, RoleLimits},
    principal::Principal,
    rights::Rights,
};

use crate::{error::QueryError, queries::Queries};

/// The limits of all roles of one caller.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bounds {
    roles: Vec<(String, RoleLimits)>,
}

/// One limit and the role that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) role: String,
    pub(crate) limit: Limit,
    pub(crate) value: u64,
}

impl Bound {
    /// The error of who wants more.
    pub(crate) fn exceeded(&self) -> QueryError {
        let shown = self.limit.show(self.value);
        let what = match self.limit {
            Limit::Concurrency => format!("{shown} statements run already and no more may wait"),
            Limit::Queue => format!("{shown} statements wait already"),
            Limit::QueueWait => format!("the statement waited {shown} for its turn"),
            Limit::RunTime => format!("the statement ran for {shown}"),
            Limit::Memory => format!("the statement needs more memory than {shown}"),
            Limit::Rows => format!("the query answers more than {shown} rows"),
            Limit::Bytes => format!("the query answers more than {shown}"),
            Limit::Sessions => format!("{shown} sessions are open already"),
            Limit::SessionIdle => format!("the session did nothing for {shown}"),
            Limit::TransactionIdle => format!("the transaction did nothing for {shown}"),
        };
        QueryError::RoleLimit { role: self.role.clone(), limit: self.limit, what }
    }
}

/// What the roles of somebody say of sessions and transactions.
#[derive(Debug, Clone, Default)]
pub struct SessionBounds {
    /// How many sessions the members of a role have together, by its name.
    pub sessions: BTreeMap<String, u64>,
    /// How long a session may do nothing, and the role that says so.
    pub idle: Option<(Duration, String)>,
    /// How long a transaction may do nothing, and the role that says so.
    pub transaction_idle: Option<(Duration, String)>,
}

impl Queries {
    /// What the roles of a principal say of its sessions and transactions now.
    pub async fn session_bounds(&self, principal: &Principal) -> Result<SessionBounds, QueryError> {
        let rights = self.inner.rights(principal).await?;
        let bounds = Bounds::of(&rights);
        let time = |limit| {
            let least = bounds.least(limit)?;
            Some((Duration::from_millis(least.value), least.role))
        };
        let sessions = bounds.roles.iter().filter_map(|(role, limits)| {
            limits.get(Limit::Sessions).map(|sessions| (role.clone(), sessions))
        });
        Ok(SessionBounds {
            sessions: sessions.collect(),
            idle: time(Limit::SessionIdle),
            transaction_idle: time(Limit::TransactionIdle),
        })
    }
}

impl Bounds {
    pub(crate) fn of(rights: &Rights) -> Self {
        let roles = rights.limits().map(|(role, limits)| (role.to_owned(), limits.clone()));
        Self { roles: roles.collect() }
    }

    /// The least bound of one thing.
    pub(crate) fn least(&self, limit: Limit) -> Option<Bound> {
        let of_role = |(role, limits): &(String, RoleLimits)| {
            limits.get(limit).map(|value| Bound { role: role.clone(), limit, value })
        };
        self.roles.iter().filter_map(of_role).min_by_key(|bound| bound.value)
    }

    /// The least time that a statement may run.
    pub(crate) fn run_time(&self) -> Option<(Duration, Bound)> {
        self.least(Limit::RunTime).map(|bound| (Duration::from_millis(bound.value), bound))
    }

    /// The roles that let only so many statements run at once, in the order of their names.
    pub(crate) fn gates(&self) -> impl Iterator<Item = (&str, u64, &RoleLimits)> {
        self.roles.iter().filter_map(|(role, limits)| {
            limits.get(Limit::Concurrency).map(|running| (role.as_str(), running, limits))
        })
    }

    /// Where a statement of this caller runs: as `env`, with less memory where a role says so.
    pub(crate) fn runtime_env(&self, env: &Arc<RuntimeEnv>) -> Option<Arc<RuntimeEnv>> {
        let Bound { role, limit, value } = self.least(Limit::Memory)?;
        let shown = limit.show(value);
        let refused = format!(
            "the statement needs more memory than the {shown} that role '{role}' allows one"
        );
        Some(share(env, value, refused))
    }

    /// Counts what a query answers.
    pub(crate) fn counter(&self) -> Counter {
        Counter {
            rows: self.least(Limit::Rows),
            bytes: self.least(Limit::Bytes),
            rows_seen: 0,
            bytes_seen: 0,
        }
    }
}

/// As `env`, with so many bytes of its memory; `refused` is the error of who wants more.
pub(crate) fn share(env: &Arc<RuntimeEnv>, max: u64, refused: String) -> Arc<RuntimeEnv> {
    let mut env = RuntimeEnv::clone(env);
    let inner = Arc::clone(&env.memory_pool);
    let max = usize::try_from(max).unwrap_or(usize::MAX);
    env.memory_pool = Arc::new(Share { inner, max, refused, used: AtomicUsize::new(0) });
    Arc::new(env)
}

/// What a query has answered, against its bounds.
#[derive(Debug)]
pub(crate) struct Counter {
    rows: Option<Bound>,
    bytes: Option<Bound>,
    rows_seen: u64,
    bytes_seen: u64,
}

impl Counter {
    /// Counts a batch before it is sent; the error instead of one that is too many.
    pub(crate) fn count(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        if let Some(bound) = &self.rows {
            self.rows_seen += batch.num_rows() as u64;
            if self.rows_seen > bound.value {
                return Err(bound.exceeded());
            }
        }
        if let Some(bound) = &self.bytes {
            self.bytes_seen += batch.get_array_memory_size() as u64;
            if self.bytes_seen > bound.value {
                return Err(bound.exceeded());
            }
        }
        Ok(())
    }
}

/// A part of the server's memory, for one statement or one run.
#[derive(Debug)]
struct Share {
    inner: Arc<dyn MemoryPool>,
    /// Bytes.
    max: usize,
    /// The error of who wants more.
    refused: String,
    used: AtomicUsize,
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", human_readable_size(self.max), self.inner)
    }
}

impl MemoryPool for Share {
    fn name(&self) -> &str {
        "share"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let fits = |used: usize| used.checked_add(additional).filter(|sum| *sum <= self.max);
        if self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            // What can spill does; what cannot ends with this text.
            return Err(DataFusionError::ResourcesExhausted(self.refused.clone()));
        }
        self.inner.try_grow(reservation, additional).inspect_err(|_| {
            self.used.fetch_sub(additional, Ordering::Relaxed);
        })
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.max)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    fn bounds(roles: &[(&str, &[(Limit, u64)])]) -> Bounds {
        let limits: BTreeMap<_, _> = roles
            .iter()
            .map(|(role, limits)| {
                let mut of_role = RoleLimits::default();
                limits.iter().for_each(|(limit, value)| of_role.set(*limit, *value));
                ((*role).to_owned(), of_role)
            })
            .collect();
        Bounds::of(&Rights::new("ann", BTreeSet::new(), Vec::new()).with_limits(limits))
    }

    #[test]
    fn the_least_of_all_roles_holds() {
        let bounds = bounds(&[
            ("a", &[(Limit::Rows, 5), (Limit::Memory, 9)]),
            ("b", &[(Limit::Rows, 4), (Limit::Concurrency, 2)]),
        ]);
        let role = |limit| bounds.least(limit).map(|bound| (bound.role, bound.value));
        assert_eq!(role(Limit::Rows), Some(("b".to_owned(), 4)));
        assert_eq!(role(Limit::Memory), Some(("a".to_owned(), 9)));
        assert_eq!(role(Limit::Bytes), None);
        let gates: Vec<_> = bounds.gates().map(|(role, running, _)| (role, running)).collect();
        assert_eq!(gates, [("b", 2)]);
    }

    #[test]
    fn a_share_gives_no_more_than_its_bound_and_gives_everything_back() {
        let inner: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1_000));
        let env = RuntimeEnv { memory_pool: Arc::clone(&inner), ..RuntimeEnv::default() };
        let small = bounds(&[("a", &[(Limit::Memory, 100)])]);
        let share = Arc::clone(&small.runtime_env(&Arc::new(env)).unwrap().memory_pool);
        let reservation = MemoryConsumer::new("sort").register(&share);
        reservation.try_grow(80).unwrap();
        let error = reservation.try_grow(21).unwrap_err().to_string();
        assert!(error.contains("100B that role 'a' allows"), "{error}");
        assert_eq!((share.reserved(), inner.reserved()), (80, 80));
        reservation.try_grow(20).unwrap();
        drop(reservation);
        assert_eq!((share.reserved(), inner.reserved()), (0, 0));
        // What the server does not have, no role can give.
        let big = bounds(&[("a", &[(Limit::Memory, 5_000)])]);
        let env = RuntimeEnv { memory_pool: Arc::clone(&inner), ..RuntimeEnv::default() };
        let share = Arc::clone(&big.runtime_env(&Arc::new(env)).unwrap().memory_pool);
        let reservation = MemoryConsumer::new("sort").register(&share);
        assert!(reservation.try_grow(2_000).is_err());
        assert_eq!(share.reserved(), 0);
    }
}
