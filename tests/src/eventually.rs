//! Waiting for a state instead of sleeping.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long anything that should happen may take before the test fails. Only a failing test ever
/// waits this long, so that a slow machine fails none.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Calls `look` until it returns something. Panics with `what` after [`LIMIT`].
pub async fn eventually<T, F>(what: &str, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "waited {LIMIT:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
