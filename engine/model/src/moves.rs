//! From which state a job may come into which: the machine that the catalog holds all jobs to.
//!
//! It exists so that every place which changes a state can be held to one table, in debug builds,
//! tests and the simulator alike. It decides nothing.

use crate::job::JobState::{
    self, AwaitingApproval, Cancelled, Committing, Failed, Planning, Queued, Running,
    SkippedNoChange, Succeeded, UpstreamFailed,
};

/// Every move that changes a state, and what makes it.
pub const MOVES: [(JobState, JobState, &str); 27] = [
    (Queued, Planning, "a worker takes it"),
    (Queued, Cancelled, "somebody cancels it, or drops its object"),
    (Queued, UpstreamFailed, "a job that it waits for did not succeed"),
    (Planning, Running, "the query runs"),
    (Planning, Committing, "the commit begins before a heartbeat has seen the query run"),
    (Planning, AwaitingApproval, "only a full refresh is left, and somebody has to approve it"),
    (Planning, SkippedNoChange, "nothing has changed"),
    (Planning, Succeeded, "an earlier attempt had committed"),
    (Planning, Failed, "it cannot be done, or its attempts are used up"),
    (Planning, Cancelled, "it was asked to stop"),
    (Planning, Queued, "the attempt failed in passing"),
    (Running, Planning, "another worker takes it over"),
    (Running, Committing, "the commit begins"),
    (Running, AwaitingApproval, "as from PLANNING; looking for what changed may run queries"),
    (Running, SkippedNoChange, "nothing has changed"),
    (Running, Succeeded, "what it did needs no single commit"),
    (Running, Failed, "it cannot be done, or its attempts are used up"),
    (Running, Cancelled, "it was asked to stop"),
    (Running, Queued, "the attempt failed in passing"),
    (Committing, Planning, "another worker takes it over, and looks for the commit"),
    (Committing, Succeeded, "the result is there"),
    (Committing, Failed, "it cannot be done, or its attempts are used up"),
    (Committing, Cancelled, "it was asked to stop, and its worker is gone"),
    (Committing, Queued, "the attempt failed in passing"),
    (AwaitingApproval, Queued, "somebody approves it, or it is to look again"),
    (AwaitingApproval, Cancelled, "somebody cancels it, or drops its object"),
    // RETRY; the same from CANCELLED and UPSTREAM_FAILED.
    (Failed, Queued, "somebody wants it tried again"),
];

impl JobState {
    /// Whether a job in this state may come into that one, or stay in it.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        let is_retried = matches!(self, Cancelled | UpstreamFailed) && next == Queued;
        self == next || is_retried || MOVES.iter().any(|(from, to, _)| (*from, *to) == (self, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_open_state_can_be_left_and_every_success_stays() {
        for state in JobState::ALL {
            let leaves = JobState::ALL.into_iter().filter(|next| *next != state);
            let leaves = leaves.filter(|next| state.may_become(*next)).count();
            assert_eq!(leaves == 0, state.is_success(), "{state}");
        }
    }

    #[test]
    fn every_state_is_reached_from_the_queue_and_every_open_one_leads_to_an_end() {
        let reached = |from: JobState| {
            let mut seen = vec![from];
            let mut at = 0;
            while let Some(state) = seen.get(at).copied() {
                at += 1;
                let next = JobState::ALL.into_iter().filter(|next| state.may_become(*next));
                let new: Vec<_> = next.filter(|next| !seen.contains(next)).collect();
                seen.extend(new);
            }
            seen
        };
        assert_eq!(reached(Queued).len(), JobState::ALL.len());
        for state in JobState::ALL.into_iter().filter(|state| !state.is_final()) {
            assert!(reached(state).contains(&Succeeded), "{state}");
        }
    }

    #[test]
    fn nobody_waits_for_a_person_after_the_end() {
        for state in JobState::ALL.into_iter().filter(|state| state.is_final()) {
            assert!(!state.may_become(AwaitingApproval), "{state}");
            assert!(!AwaitingApproval.is_final() && AwaitingApproval.rests() && state.rests());
        }
    }
}
