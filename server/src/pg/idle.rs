//! How long a session may do nothing.

use std::time::Duration;

use query::queries::SessionBounds;

use super::error::PgError;

/// How long a query that was read in part may wait for its client: it holds the place of a running
/// one.
const HALF_READ_MAX: Duration = Duration::from_secs(300);

/// What a session waits with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    /// A query was read in part.
    pub(super) half_read: bool,
    /// A block was begun.
    pub(super) block: bool,
}

/// The limits of one session.
#[derive(Debug)]
pub(super) struct Idle {
    /// As the server says; zero for ever.
    pub(super) server: Duration,
    pub(super) bounds: SessionBounds,
}

impl Idle {
    /// How long it may wait, and the error of who waits longer; `None` for ever.
    pub(super) fn limit(&self, open: Open) -> Option<(Duration, PgError)> {
        let half_read = open.half_read.then(|| {
            let text = "a query that was read in part waited too long";
            (HALF_READ_MAX, PgError::new("25P03", text))
        });
        let block = self.bounds.transaction_idle.as_ref().filter(|_| open.block);
        let block = block.map(|(limit, role)| {
            let text = format!("the block did nothing for too long: role '{role}' allows no more");
            (*limit, PgError::new("25P03", text))
        });
        let of_role = self.bounds.idle.as_ref().map(|(limit, role)| {
            let text =
                format!("the session did nothing for too long: role '{role}' allows no more");
            (*limit, PgError::new("57P05", text))
        });
        let server = (!self.server.is_zero())
            .then(|| (self.server, PgError::new("57P05", "the session did nothing for too long")));
        let limits = [half_read, block, of_role, server].into_iter().flatten();
        limits.min_by_key(|(limit, _)| *limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_limit_of_what_is_open_holds() {
        let second = Duration::from_secs(1);
        let bounds = SessionBounds {
            idle: Some((second * 20, "a".to_owned())),
            transaction_idle: Some((second * 5, "b".to_owned())),
            ..SessionBounds::default()
        };
        let idle = Idle { server: second * 600, bounds };
        let limit = |half_read, block| {
            idle.limit(Open { half_read, block })
                .map(|(limit, error)| (limit, error.text().to_owned()))
        };
        let (time, text) = limit(false, false).unwrap();
        assert_eq!(time, second * 20);
        assert!(text.contains("role 'a'"), "{text}");
        let (time, text) = limit(true, true).unwrap();
        assert_eq!(time, second * 5);
        assert!(text.contains("role 'b'"), "{text}");
        let free = Idle { server: Duration::ZERO, bounds: SessionBounds::default() };
        assert!(free.limit(Open { half_read: false, block: true }).is_none());
        let half_read = free.limit(Open { half_read: true, block: true }).unwrap();
        assert_eq!(half_read.0, HALF_READ_MAX);
    }
}
