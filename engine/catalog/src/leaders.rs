//! Who does what only one process is to do, such as looking at schedules.

use async_trait::async_trait;
use model::{id::WorkerId, time::Timestamp};

use crate::error::CatalogError;

/// What a leader has done when it was seen: another one of both, and it was alive meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sign {
    /// Counts those who took the role.
    pub epoch: i64,
    /// Counts how often the one who has it has renewed it.
    pub renewals: i64,
}

/// Who has a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// The role, for example `scheduler`.
    pub role: String,
    /// Who has it; nobody, when it was given back.
    pub worker: Option<WorkerId>,
    /// Its newest sign of life.
    pub sign: Sign,
    /// Since when, by its own clock. For people.
    pub since: Timestamp,
    /// When it was renewed last, by its own clock. For people.
    pub renewed_at: Timestamp,
}

/// Somebody wants a role, or wants to keep it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bid {
    /// The role.
    pub role: String,
    /// Who.
    pub worker: WorkerId,
    /// The last sign of a leader that has shown no other one for the length of its lease, as the
    /// bidder has measured it: the role is taken if that is still its newest.
    pub silent_since: Option<Sign>,
}

/// Leases of roles. A catalog reads no clock, and no time that it keeps decides anything: clocks of
/// processes differ and jump. Whoever wants a role measures how long its leader has been silent.
#[async_trait]
pub trait Leaders: Send + Sync {
    /// Renews the role when it is the bidder's; takes it when it is nobody's, or when its leader is
    /// still where [`Bid::silent_since`] says. Answers who has it then. Each taking makes a new epoch.
    async fn lead(&self, bid: &Bid, now: Timestamp) -> Result<Leader, CatalogError>;

    /// Gives the role back if it is this worker's.
    async fn resign(&self, role: &str, worker: WorkerId) -> Result<(), CatalogError>;

    /// Every role that somebody ever had, by name.
    async fn leaders(&self) -> Result<Vec<Leader>, CatalogError>;
}
