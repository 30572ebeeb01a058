//! Full refreshes that somebody has to approve: what is asked, and who said yes.
//!
//! A transform with `ON FULL REFRESH APPROVE` whose next refresh could only be a full one asks first.
//! Its job then waits, without a worker, until somebody approves or cancels it.

use crate::time::Timestamp;

/// How a run computes its result and why, and what that costs where the run has estimated it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// How, for example `FULL`.
    pub strategy: Option<String>,
    /// Why this way, for example `DEFINITION_CHANGED`.
    pub reason: Option<String>,
    /// Ways that were not taken, each with its reason.
    pub alternatives: Vec<String>,
    /// Bytes of all inputs: what a full refresh has to read at most. Only said by runs that ask.
    pub bytes_estimated: Option<u64>,
}

/// Somebody's word that one job may refresh in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    /// Who said it.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// Of which definition: a run of another one asks again.
    pub definition_hash: String,
}
