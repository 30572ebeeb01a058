//! Places where a test makes the process die, to prove that a restart finds everything in order, or
//! stand still, to come in between.
//!
//! In a release build nothing can be armed and every point is empty.

use std::sync::Mutex;

static ARMED: Mutex<Option<String>> = Mutex::new(None);
static PAUSED: Mutex<Option<String>> = Mutex::new(None);

/// From now on the process aborts at the crash point of this name: `staged` (files are written,
/// nothing is committed) or `committed` (the commit is durable, nobody was told).
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
