//! Things that wait for their client, under names that nobody can guess.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use model::{code::Code, principal::Principal, time::Timestamp};
use parking_lot::Mutex;
use rt::clock::Clock;

/// 128 random bits that name something kept for one principal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle([u8; 16]);

impl Handle {
    /// The bytes that travel.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A new one.
    pub fn generate() -> Result<Self, HandleError> {
        let mut bits = [0; 16];
        getrandom::fill(&mut bits).map_err(|error| HandleError::Random(error.to_string()))?;
        Ok(Self(bits))
    }

    /// Reads what travelled; `None` when it has another length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A handle is a capability: it stays out of logs.
        f.write_str("Handle(***)")
    }
}

/// Why a handle could not be made or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Unknown, expired, used up, or of somebody else: all look the same from outside.
    #[error("the handle is unknown, expired or already used; run the statement again")]
    Unknown,
    /// The limit is reached.
    #[error(
        "{0} handles are open, which is the limit, and nobody has more of them than you; fetch or \
         close some, or raise server.handles_max"
    )]
    Full(usize),
    /// The machine gives no random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
}

impl HandleError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unknown => Code::NotFound,
            Self::Full(_) => Code::ResourceExhausted,
            Self::Random(_) => Code::Internal,
        }
    }
}

/// A bounded store of values, each owned by a principal and kept for a limited time.
pub struct Handles<T> {
    entries: Mutex<HashMap<Handle, Entry<T>>>,
    count_max: usize,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

struct Entry<T> {
    owner: Principal,
    ttl: Duration,
    expires_at: Timestamp,
    value: T,
}

impl<T> fmt::Debug for Handles<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handles").field("count", &self.entries.lock().len()).finish_non_exhaustive()
    }
}

impl<T> Handles<T> {
    /// An empty store of at most `count_max` values, each dropped `ttl` after its last use.
    pub fn new(count_max: usize, ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { entries: Mutex::new(HashMap::new()), count_max, ttl, clock }
    }

    /// Keeps a value for its owner. Expired values make room first, then one of whoever has most:
    /// [`HandleError::Full`] is only for an owner who would have as many as that.
    pub fn insert(&self, owner: &Principal, value: T) -> Result<Handle, HandleError> {
        self.insert_for(self.ttl, owner, value)
    }

    /// As [`Handles::insert`], for a value that is dropped `ttl` after its last use.
    pub fn insert_for(
        &self,
        ttl: Duration,
        owner: &Principal,
        value: T,
    ) -> Result<Handle, HandleError> {
        let handle = Handle::generate()?;
        self.put(handle, ttl, owner, value)?;
        Ok(handle)
    }

    /// As [`Handles::insert`], under a handle that another server has made, in the place of what it
    /// has kept under it.
    pub fn insert_under(
        &self,
        handle: Handle,
        owner: &Principal,
        value: T,
    ) -> Result<(), HandleError> {
        self.put(handle, self.ttl, owner, value)
    }

    fn put(
        &self,
        handle: Handle,
        ttl: Duration,
        owner: &Principal,
        value: T,
    ) -> Result<(), HandleError> {
        let now = self.clock.now();
        let expires_at = now.plus(ttl);
        let mut entries = self.entries.lock();
        if entries.len() >= self.count_max {
            entries.retain(|_, entry| entry.expires_at > now);
        }
        let mut gone = None;
        if entries.len() >= self.count_max {
            let makes_room = makes_room(&entries, owner);
            let makes_room = makes_room.ok_or(HandleError::Full(self.count_max))?;
            gone = entries.remove(&makes_room);
        }
        entries.insert(handle, Entry { owner: owner.clone(), ttl, expires_at, value });
        drop(entries);
        // What it holds may be a lot, and is dropped when others can go on.
        drop(gone);
        Ok(())
    }

    /// Removes a value and gives it to its owner: it can be used once.
    pub fn take(&self, handle: &Handle, owner: &Principal) -> Result<T, HandleError> {
        let now = self.clock.now();
        let mut entries = self.entries.lock();
        let usable = entries
            .get(handle)
            .is_some_and(|entry| entry.owner == *owner && entry.expires_at > now);
        if !usable {
            return Err(HandleError::Unknown);
        }
        entries.remove(handle).map(|entry| entry.value).ok_or(HandleError::Unknown)
    }

    /// Lets the owner use a value in place and keeps it for another full time.
    pub fn with<R>(
        &self,
        handle: &Handle,
        owner: &Principal,
        use_value: impl FnOnce(&mut T) -> R,
    ) -> Result<R, HandleError> {
        let now = self.clock.now();
        let mut entries = self.entries.lock();
        match entries.get_mut(handle) {
            Some(entry) if entry.owner == *owner && entry.expires_at > now => {
                entry.expires_at = now.plus(entry.ttl);
                Ok(use_value(&mut entry.value))
            }
            _ => Err(HandleError::Unknown),
        }
    }

    /// Keeps a value for another full time; until when.
    pub fn renew(&self, handle: &Handle, owner: &Principal) -> Result<Timestamp, HandleError> {
        self.with(handle, owner, |_| ())?;
        let entries = self.entries.lock();
        entries.get(handle).map(|entry| entry.expires_at).ok_or(HandleError::Unknown)
    }

    /// Drops values whose time is over, so that what they hold is free again.
    pub fn sweep(&self) {
        let now = self.clock.now();
        self.entries.lock().retain(|_, entry| entry.expires_at > now);
    }
}

/// What goes so that `owner` gets a place: the value whose time is over first, of whoever has most,
/// as long as that is more than `owner` has then. So nobody keeps the others out, with however many.
fn makes_room<T>(entries: &HashMap<Handle, Entry<T>>, owner: &Principal) -> Option<Handle> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for entry in entries.values() {
        *counts.entry(entry.owner.name()).or_default() += 1;
    }
    let own = counts.get(owner.name()).copied().unwrap_or(0);
    let (most, count) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    if count <= own + 1 {
        return None;
    }
    let theirs = entries.iter().filter(|(_, entry)| entry.owner.name() == most);
    theirs.min_by_key(|(_, entry)| entry.expires_at).map(|(handle, _)| *handle)
}

#[cfg(test)]
mod tests;
