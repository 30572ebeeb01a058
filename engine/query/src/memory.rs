//! The memory of all running statements.
//!
//! Sorts, aggregations and the smaller sides of joins take what they get and write to disk when they
//! get no more. What merges rows that were spilled, and some others, cannot, and ends its statement.
//! So the first leave room for the last: while half of the memory is free whoever spills gets it, and
//! then no more than an equal share of three quarters. An equal share from the beginning (DataFusion's
//! `FairSpillPool`) would make a statement spill that is alone, and none at all (`GreedyMemoryPool`)
//! lets one sort take everything, so that the merge of its neighbour's spilled rows fails.
//!
//! A merge takes as many runs of rows at once as there is memory for, and does with two; so one that
//! holds its share leaves a quarter to those that begin later.

use std::{collections::HashMap, fmt};

use datafusion::{
    common::human_readable_size,
    error::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};
use parking_lot::Mutex;

/// What a consumer that can spill always gets, where there is as much: some batches, and no more
/// than this part of all.
const LEAST_SHARE: usize = 4 << 20;
const LEAST_PART: usize = 16;

/// A pool of so many bytes.
#[derive(Debug)]
pub(crate) struct StatementMemory {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What all hold.
    used: usize,
    /// Consumers that can spill.
    spillers: usize,
    spillable: usize,
    /// What each merge of sorted rows holds.
    merges: HashMap<usize, usize>,
}

/// What a consumer does when it gets no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Spills,
    /// It takes less at once, as long as it got something.
    Merge,
    /// It fails.
    Other,
}

impl Kind {
    /// DataFusion tells by the name what a consumer is.
    fn of(consumer: &MemoryConsumer) -> Self {
        match consumer.name() {
            _ if consumer.can_spill() => Self::Spills,
            name if name.starts_with("ExternalSorterMerge") => Self::Merge,
            _ => Self::Other,
        }
    }
}

impl State {
    /// What is counted of consumers of this kind beside the sum.
    fn part(&mut self, consumer: &MemoryConsumer) -> Option<&mut usize> {
        match Kind::of(consumer) {
            Kind::Spills => Some(&mut self.spillable),
            Kind::Merge => Some(self.merges.entry(consumer.id()).or_default()),
            Kind::Other => None,
        }
    }

    fn grow(&mut self, consumer: &MemoryConsumer, additional: usize) {
        self.used += additional;
        if let Some(part) = self.part(consumer) {
            *part += additional;
        }
    }

    fn shrink(&mut self, consumer: &MemoryConsumer, less: usize) {
        self.used -= less;
        if let Some(part) = self.part(consumer) {
            *part -= less;
        }
    }
}

impl StatementMemory {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, state: Mutex::default() }
    }

    /// What all may hold together that can do with less.
    fn yielding(&self) -> usize {
        self.max / 4 * 3
    }

    fn least_share(&self) -> usize {
        LEAST_SHARE.min(self.max / LEAST_PART)
    }

    /// What one consumer that can spill may hold when less than half of the memory is free.
    fn share(&self, state: &State) -> usize {
        let others = state.used - state.spillable;
        let together = self.yielding().saturating_sub(others);
        (together / state.spillers.max(1)).max(self.least_share())
    }

    /// How much more a consumer may have.
    fn left(&self, state: &State, reservation: &MemoryReservation, additional: usize) -> usize {
        let free = self.max.saturating_sub(state.used);
        let consumer = reservation.consumer();
        match Kind::of(consumer) {
            // Who holds nothing has nothing to spill.
            Kind::Spills if reservation.size() == 0 => free,
            Kind::Spills if additional > free.saturating_sub(self.max / 2) => {
                free.min(self.share(state).saturating_sub(reservation.size()))
            }
            Kind::Merge if additional > free.saturating_sub(self.max / 4) => {
                let share = (self.yielding() / state.merges.len().max(1)).max(self.least_share());
                let held = state.merges.get(&consumer.id()).copied().unwrap_or_default();
                free.min(share.saturating_sub(held))
            }
            _ => free,
        }
    }
}

impl fmt::Display for StatementMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (used, max) = (self.reserved(), self.max);
        write!(f, "{} of {} in use", human_readable_size(used), human_readable_size(max))
    }
}

impl MemoryPool for StatementMemory {
    fn name(&self) -> &str {
        "statements"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        match Kind::of(consumer) {
            Kind::Spills => self.state.lock().spillers += 1,
            Kind::Merge => drop(self.state.lock().merges.insert(consumer.id(), 0)),
            Kind::Other => {}
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        match Kind::of(consumer) {
            Kind::Spills => state.spillers = state.spillers.saturating_sub(1),
            Kind::Merge => drop(state.merges.remove(&consumer.id())),
            Kind::Other => {}
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.state.lock().grow(reservation.consumer(), additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.state.lock().shrink(reservation.consumer(), shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state.lock();
        let left = self.left(&state, reservation, additional);
        if additional > left {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} needs {} more than the {} that it has, and {} are left for it",
                reservation.consumer().name(),
                human_readable_size(additional),
                human_readable_size(reservation.size()),
                human_readable_size(left),
            )));
        }
        state.grow(reservation.consumer(), additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state.lock().used
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.max)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const MB: usize = 1 << 20;

    fn pool(megabytes: usize) -> Arc<dyn MemoryPool> {
        Arc::new(StatementMemory::new(megabytes * MB))
    }

    fn consumer(pool: &Arc<dyn MemoryPool>, can_spill: bool) -> MemoryReservation {
        MemoryConsumer::new("one").with_can_spill(can_spill).register(pool)
    }

    /// As much as it gets, in pieces of a megabyte.
    fn greedy(reservation: &MemoryReservation) -> usize {
        let mut got = 0;
        while reservation.try_grow(MB).is_ok() {
            got += 1;
        }
        got
    }

    #[test]
    fn what_is_alone_gets_most_and_leaves_room_for_what_cannot_spill() {
        let pool = pool(100);
        let sort = consumer(&pool, true);
        assert_eq!(greedy(&sort), 75);
        let merge = consumer(&pool, false);
        assert_eq!(greedy(&merge), 25);
        assert!(sort.try_grow(1).is_err());
        drop(merge);
        sort.free();
        assert_eq!(pool.reserved(), 0);
    }

    #[test]
    fn nobody_who_can_spill_starves() {
        let pool = pool(100);
        let first = consumer(&pool, true);
        assert_eq!(greedy(&first), 75);
        let others: Vec<_> = (0..2).map(|_| consumer(&pool, true)).collect();
        // It took its part while it was alone, and gets no more now: it has to spill.
        assert!(first.try_grow(1).is_err());
        assert_eq!(greedy(&others[0]), 25);
        first.free();
        assert_eq!(greedy(&others[1]), 25);
        assert_eq!(greedy(&first), 25);
    }

    #[test]
    fn a_share_is_never_less_than_some_batches() {
        let pool = pool(40);
        let join = consumer(&pool, false);
        join.try_grow(32 * MB).unwrap();
        let sort = consumer(&pool, true);
        assert_eq!(greedy(&sort), 2);
        let error = sort.try_grow(MB).unwrap_err().to_string();
        assert!(error.contains("one needs 1024.0 KB more than the 2.0 MB"), "{error}");
    }

    fn named(pool: &Arc<dyn MemoryPool>, name: &str) -> MemoryReservation {
        MemoryConsumer::new(name).register(pool)
    }

    #[test]
    fn a_merge_that_has_its_share_leaves_something_to_the_next() {
        let pool = pool(80);
        let merges =
            [named(&pool, "ExternalSorterMerge[0]"), named(&pool, "ExternalSorterMerge[1]")];
        // A merge asks for parts of what it holds under one name.
        let part = merges[0].new_empty();
        merges[0].try_grow(40 * MB).unwrap();
        assert_eq!(greedy(&part), 20);
        assert_eq!(greedy(&merges[1]), 20);
        drop(part);
        assert_eq!(greedy(&merges[1]), 10);
        let [first, second] = merges;
        drop((first, second));
        assert_eq!(pool.reserved(), 0);
    }
}
