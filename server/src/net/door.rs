//! Where connections wait that have not said who they are.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// A place for so many connections at once. One more takes the place of the one that has been
/// waiting for longest: honest clients need milliseconds, so that those who stall make room for
/// them, however many there are.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    places: Arc<Mutex<Places>>,
    max: usize,
}

#[derive(Debug, Default)]
struct Places {
    taken: BTreeMap<u64, oneshot::Sender<()>>,
    last: u64,
}

/// A place at the door, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    places: Arc<Mutex<Places>>,
    number: u64,
    lost: oneshot::Receiver<()>,
}

impl Door {
    pub(crate) fn new(max: usize) -> Self {
        Self { places: Arc::default(), max: max.max(1) }
    }

    /// A place, always.
    pub(crate) fn enter(&self) -> Waiting {
        let (keep, lost) = oneshot::channel();
        let mut places = self.places.lock();
        places.last += 1;
        let number = places.last;
        places.taken.insert(number, keep);
        while places.taken.len() > self.max {
            places.taken.pop_first();
        }
        drop(places);
        Waiting { places: Arc::clone(&self.places), number, lost }
    }
}

impl Waiting {
    /// Ends when somebody else has got the place; cancel-safe.
    pub(crate) async fn lost(&mut self) {
        // Nothing is ever sent: the sender goes with the place.
        let _ = (&mut self.lost).await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.places.lock().taken.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn the_one_who_has_waited_for_longest_makes_room() {
        let door = Door::new(2);
        let (mut first, mut second) = (door.enter(), door.enter());
        assert_eq!(first.lost().now_or_never(), None);
        let mut third = door.enter();
        assert_eq!(first.lost().now_or_never(), Some(()));
        assert_eq!((second.lost().now_or_never(), third.lost().now_or_never()), (None, None));
        drop(second);
        let _fourth = door.enter();
        assert_eq!(third.lost().now_or_never(), None, "a place that was given back is free");
    }
}
