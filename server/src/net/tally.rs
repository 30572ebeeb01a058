//! Says what goes wrong, and not too often.

use std::{fmt::Display, time::Duration};

use model::time::Timestamp;
use parking_lot::Mutex;

/// Between two lines of one tally.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Events of one kind: strangers cause them, so that they must not fill the log.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    quiet_until: Option<Timestamp>,
    unsaid: u64,
}

impl Tally {
    /// How many such events were passed over since the last one that was to be said, when this one
    /// is to be said; else nothing.
    pub(super) fn count(&self, now: Timestamp) -> Option<u64> {
        let mut state = self.state.lock();
        if state.quiet_until.is_some_and(|until| now < until) {
            state.unsaid += 1;
            return None;
        }
        state.quiet_until = Some(now.plus(SAY_EVERY));
        Some(std::mem::take(&mut state.unsaid))
    }

    /// A line for the log at most once a minute, with the number of those that got none.
    pub(crate) fn warn(&self, now: Timestamp, error: &dyn Display, what: &'static str) {
        match self.count(now) {
            Some(more) => tracing::warn!(%error, not_logged = more, "{what}"),
            None => tracing::debug!(%error, "{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_minute_and_the_others_are_counted() {
        let tally = Tally::default();
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let said: Vec<_> = [0, 1, 59, 60, 61, 200].map(|s| tally.count(at(s))).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
