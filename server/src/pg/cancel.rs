//! Which session a cancel request means, and what it ends.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The sessions that are there, by their numbers.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: Mutex<HashMap<i32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    secret: i32,
    /// The statement that runs.
    running: Option<CancellationToken>,
}

impl Sessions {
    /// A number that no other session has, with the secret that lets somebody cancel it.
    pub(super) fn open(self: &std::sync::Arc<Self>) -> Result<Seat, getrandom::Error> {
        loop {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes)?;
            let [a, b, c, d, e, f, g, h] = bytes;
            // Clients show it as a process: never negative, never nothing.
            let pid = i32::from_be_bytes([a & 0x7f, b, c, d]).max(1);
            let secret = i32::from_be_bytes([e, f, g, h]);
            let mut open = self.open.lock();
            if open.contains_key(&pid) {
                continue;
            }
            open.insert(pid, Entry { secret, running: None });
            return Ok(Seat { pid, secret, sessions: std::sync::Arc::clone(self) });
        }
    }

    /// Ends what the session runs now. Nothing happens for a wrong secret, nor between statements;
    /// who asks is not told.
    pub(super) fn cancel(&self, pid: i32, secret: i32) {
        let open = self.open.lock();
        let Some(entry) = open.get(&pid) else { return };
        let right = crate::auth::same(&entry.secret.to_be_bytes(), &secret.to_be_bytes());
        if let Some(running) = entry.running.as_ref().filter(|_| right) {
            running.cancel();
        }
    }
}

/// The place of one session. Given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) pid: i32,
    pub(super) secret: i32,
    sessions: std::sync::Arc<Sessions>,
}

impl Seat {
    /// A statement begins: what tells it to end.
    pub(super) fn begin(&self) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(entry) = self.sessions.open.lock().get_mut(&self.pid) {
            entry.running = Some(token.clone());
        }
        token
    }

    /// It has ended.
    pub(super) fn end(&self) {
        if let Some(entry) = self.sessions.open.lock().get_mut(&self.pid) {
            entry.running = None;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sessions.open.lock().remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_who_knows_the_secret_ends_what_runs() {
        let sessions = Arc::new(Sessions::default());
        let seat = sessions.open().unwrap();
        sessions.cancel(seat.pid, seat.secret);
        let running = seat.begin();
        sessions.cancel(seat.pid, seat.secret.wrapping_add(1));
        sessions.cancel(seat.pid.wrapping_add(1), seat.secret);
        assert!(!running.is_cancelled());
        sessions.cancel(seat.pid, seat.secret);
        assert!(running.is_cancelled());
        let next = seat.begin();
        seat.end();
        sessions.cancel(seat.pid, seat.secret);
        assert!(!next.is_cancelled());
        drop(seat);
        assert!(sessions.open.lock().is_empty());
    }
}
