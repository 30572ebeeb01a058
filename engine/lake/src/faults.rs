//! Places where a test makes the process die, to prove that a restart finds everything in order, or
//! stand still, to come in between.
//!
//! In a release build nothing can be armed and every point is empty.

use std::{collections::BTreeMap, sync::Mutex};

static ARMED: Mutex<Option<String>> = Mutex::new(None);
static PAUSED: Mutex<Option<String>> = Mutex::new(None);
static FAILING: Mutex<BTreeMap<String, Failing>> = Mutex::new(BTreeMap::new());

/// Commits of a lake that fail now and then.
struct Failing {
    one_in: u64,
    state: u64,
}

/// How the store fails a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFault {
    /// The entry is not written.
    Before,
    /// It is, and nobody learns of it.
    After,
}

/// From now on the process aborts at the crash point of this name: `staged` (files are written,
/// nothing is committed), `committed` (the commit is durable, nobody was told), `checkpointed` (a
/// checkpoint is written, no entry before it is gone), `deleting` (a vacuum has deleted one file), or
/// one of those of runs.
/// Does nothing in a release build.
pub fn arm(name: &str) {
    if cfg!(debug_assertions) {
        *ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(name.to_owned());
    }
}

/// Aborts the process when `name` is armed. Returns at once otherwise, and always in a release build.
pub fn crash_point(name: &str) {
    if cfg!(debug_assertions) {
        let armed = ARMED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if armed.as_deref() == Some(name) {
            std::process::abort();
        }
    }
}

/// From now on whoever comes to the pause point of this name stays there for ever.
/// Does nothing in a release build.
pub fn arm_pause(name: &str) {
    if cfg!(debug_assertions) {
        *PAUSED.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(name.to_owned());
    }
}

/// Never ends when `name` is armed. Ends at once otherwise, and always in a release build.
pub async fn pause_point(name: &str) {
    if cfg!(debug_assertions) {
        let armed = {
            let paused = PAUSED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            paused.as_deref() == Some(name)
        };
        if armed {
            std::future::pending::<()>().await;
        }
    }
}

/// From now on one in so many commits below a location fails, before or after it is written, as a seed
/// says; none with 0. Does nothing in a release build.
pub fn fail_commits(below: &str, one_in: u64, seed: u64) {
    if cfg!(debug_assertions) {
        let mut failing = FAILING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match one_in {
            0 => failing.remove(below),
            _ => failing.insert(below.to_owned(), Failing { one_in, state: seed }),
        };
    }
}

/// What becomes of the next commit at a location. Nothing, and always in a release build, when no
/// commit is to fail.
pub(crate) fn commit_fault(location: &str) -> Option<CommitFault> {
    if !cfg!(debug_assertions) {
        return None;
    }
    let mut failing = FAILING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (_, failing) =
        failing.iter_mut().find(|(below, _)| location.starts_with(below.as_str()))?;
    // The constants of a linear congruential generator; its high bits look random.
    failing.state = failing
        .state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    let drawn = failing.state >> 33;
    let fails = drawn % failing.one_in == 0;
    let after = (drawn / failing.one_in) % 2 == 0;
    fails.then_some(if after { CommitFault::After } else { CommitFault::Before })
}
