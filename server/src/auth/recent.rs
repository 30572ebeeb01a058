//! A bounded map that forgets what was used longest ago.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

/// At most `max` entries.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    entries: HashMap<K, (u64, V)>,
    by_use: BTreeMap<u64, K>,
    uses: u64,
    max: usize,
}

impl<K: Hash + Eq + Copy, V> Recent<K, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), by_use: BTreeMap::new(), uses: 0, max: max.max(1) }
    }

    /// Counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.by_use.remove(used);
        self.uses += 1;
        *used = self.uses;
        self.by_use.insert(self.uses, *key);
        Some(value)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        while self.entries.len() >= self.max {
            let Some((_, oldest)) = self.by_use.pop_first() else { break };
            self.entries.remove(&oldest);
        }
        self.uses += 1;
        self.by_use.insert(self.uses, key);
        self.entries.insert(key, (self.uses, value));
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.by_use.clear();
    }

    /// Every value, in no order; no use.
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut().map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some((used, _)) = self.entries.remove(key) {
            self.by_use.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let mut recent = Recent::new(2);
        recent.insert(1, "a");
        recent.insert(2, "b");
        assert!(recent.get(&1).is_some());
        recent.insert(3, "c");
        assert_eq!(recent.get(&2), None);
        assert_eq!((recent.get(&1).copied(), recent.get(&3).copied()), (Some("a"), Some("c")));
        recent.remove(&1);
        recent.insert(4, "d");
        assert_eq!((recent.get(&3).copied(), recent.get(&4).copied()), (Some("c"), Some("d")));
    }
}
