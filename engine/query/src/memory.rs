//! The memory of all running statements.
//!
//! Sorts and aggregations take what they get and spill when they get no more; joins and merges
//! cannot spill and end their statement. So the first kind leaves room for the second: while half of
//! the memory is free whoever asks gets it, and then those who can spill get no more than an equal
//! share of three quarters. An equal share from the beginning (DataFusion's `FairSpillPool`) would
//! make a statement spill that is alone, and none at all (`GreedyMemoryPool`) lets one sort take
//! everything, so that the merge of its neighbour's spilled rows fails.
//!
//! What merges the files of a sort takes as many of them at once as it gets memory for, and writes the
//! rest to disk again, but does not say so: left alone it takes everything, and there is none for what
//! merges the partitions of that sort. The same consumer merges rows in memory before, which cannot
//! wait. It has begun with the files when it wants more than [`sort_reservation`], which it was given
//! for that; from then on it gets a share.

use std::{collections::HashSet, fmt};

use datafusion::{
    common::human_readable_size,
    error::{DataFusionError, Result},
    execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation},
};
use parking_lot::Mutex;

/// What a consumer that can spill always gets, where there is as much: some batches.
const LEAST_SHARE: usize = 4 << 20;

/// What the merge of a sort has before it begins. No batches take an odd number of bytes, so whoever
/// holds just this was given it.
pub(crate) fn sort_reservation(max: u64) -> usize {
    usize::try_from(max / 64).unwrap_or(usize::MAX).clamp(1 << 20, 10 << 20) | 1
}

/// A pool of so many bytes.
#[derive(Debug)]
pub(crate) struct StatementMemory {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Consumers that can spill.
    spillers: usize,
    spillable: usize,
    unspillable: usize,
    /// Those that merge files.
    merges: HashSet<usize>,
}

impl State {
    fn used(&self) -> usize {
        self.spillable + self.unspillable
    }

    fn can_spill(&self, consumer: &MemoryConsumer) -> bool {
        consumer.can_spill() || self.merges.contains(&consumer.id())
    }

    fn of(&mut self, reservation: &MemoryReservation) -> &mut usize {
        match self.can_spill(reservation.consumer()) {
            true => &mut self.spillable,
            false => &mut self.unspillable,
        }
    }

    /// Notices that a merge has begun with files.
    fn notice(&mut self, reservation: &MemoryReservation, max: usize) {
        let consumer = reservation.consumer();
        let held = reservation.size();
        let merges = consumer.name().starts_with("ExternalSorterMerge")
            && held == sort_reservation(max as u64);
        if merges && self.merges.insert(consumer.id()) {
            self.spillers += 1;
            self.unspillable -= held;
            self.spillable += held;
        }
    }
}

impl StatementMemory {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, state: Mutex::default() }
    }

    /// What one consumer that can spill may hold when less than half of the memory is free.
    fn share(&self, state: &State) -> usize {
        let together = (self.max / 4 * 3).saturating_sub(state.unspillable);
        (together / state.spillers.max(1)).max(LEAST_SHARE)
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
        if consumer.can_spill() {
            self.state.lock().spillers += 1;
        }
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state.lock();
        if state.merges.remove(&consumer.id()) || consumer.can_spill() {
            state.spillers = state.spillers.saturating_sub(1);
        }
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        *self.state.lock().of(reservation) += additional;
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        *self.state.lock().of(reservation) -= shrink;
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let mut state = self.state.lock();
        state.notice(reservation, self.max);
        let free = self.max.saturating_sub(state.used());
        let may_hold = match state.can_spill(reservation.consumer()) {
            // There is nothing to write to disk before the first rows.
            true if reservation.size() == 0 => usize::MAX,
            true if additional > free.saturating_sub(self.max / 2) => self.share(&state),
            _ => usize::MAX,
        };
        let left = free.min(may_hold.saturating_sub(reservation.size()));
        if additional > left {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} needs {} more than the {} that it has, and {} are left for it",
                reservation.consumer().name(),
                human_readable_size(additional),
                human_readable_size(reservation.size()),
                human_readable_size(left),
            )));
        }
        *state.of(reservation) += additional;
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.state.lock().used()
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
        assert_eq!(greedy(&sort), 4);
        let error = sort.try_grow(MB).unwrap_err().to_string();
        assert!(error.contains("one needs 1024.0 KB more than the 4.0 MB"), "{error}");
    }
}
