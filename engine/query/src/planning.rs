//! Whose turn it is to plan, and where.
//!
//! Planning computes without a pause, for seconds where a statement is large, and nothing ends it on
//! its way. So it never has a thread that others wait for, and one principal plans some statements at
//! once and no more: what somebody sends makes nobody else wait. Whoever waits for the plan can leave
//! at any time; the thread is free when the step that it is in has ended.

use std::{
    collections::HashMap,
    pin::{Pin, pin},
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use datafusion::execution::SessionState;
use parking_lot::Mutex;
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    sync::Semaphore,
};

/// Statements of one principal that are planned at once.
const AT_ONCE: usize = 4;

/// The turns of everybody who plans just now.
#[derive(Default)]
pub(crate) struct Planners {
    turns: Mutex<HashMap<String, Weak<Turns>>>,
}

/// The turns of one principal. Each session of a statement has those of whoever sent it.
pub(crate) struct Turns(Semaphore);

impl Planners {
    /// The turns of a principal.
    pub(crate) fn of(&self, principal: &str) -> Arc<Turns> {
        let mut turns = self.turns.lock();
        if let Some(known) = turns.get(principal).and_then(Weak::upgrade) {
            return known;
        }
        turns.retain(|_, turns| turns.strong_count() > 0);
        let new = Arc::new(Turns(Semaphore::new(AT_ONCE)));
        turns.insert(principal.to_owned(), Arc::downgrade(&new));
        new
    }
}

/// Does `work`, which plans and waits for nothing, when it is the turn of whoever the session is for.
pub(crate) async fn in_turn<T>(state: &SessionState, work: impl Future<Output = T>) -> T {
    let turns = state.config().get_extension::<Turns>();
    let _turn = match &turns {
        // It is never closed.
        Some(turns) => turns.0.acquire().await.ok(),
        None => None,
    };
    aside(work).await
}

/// Does `work`, each step of which may keep its thread for long: others go on on another one.
pub(crate) async fn aside<T>(work: impl Future<Output = T>) -> T {
    Aside(pin!(work)).await
}

struct Aside<'w, F>(Pin<&'w mut F>);

impl<F: Future> Future for Aside<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Another kind of runtime has one thread, and a test that waits for it.
        let has_others = Handle::try_current()
            .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
        if has_others {
            tokio::task::block_in_place(|| self.0.as_mut().poll(cx))
        } else {
            self.0.as_mut().poll(cx)
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    fn state(turns: &Arc<Turns>) -> SessionState {
        let config = SessionConfig::new().with_extension(Arc::clone(turns));
        SessionContext::new_with_config(config).state()
    }

    #[test]
    fn whoever_plans_has_turns_of_the_own() {
        let planners = Planners::default();
        let ann = planners.of("ann");
        assert!(Arc::ptr_eq(&ann, &planners.of("ann")));
        assert!(!Arc::ptr_eq(&ann, &planners.of("bob")));
        drop(ann);
        let _bob = planners.of("bob");
        assert_eq!(planners.turns.lock().len(), 1, "who plans nothing is forgotten");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn planning_keeps_nobody_waiting() {
        let planners = Planners::default();
        let (ann, bob) = (planners.of("ann"), planners.of("bob"));
        let (go_on, waits) = std::sync::mpsc::channel::<()>();
        let waits = Arc::new(Mutex::new(waits));
        let busy: Vec<_> = (0..=AT_ONCE)
            .map(|_| {
                let (state, waits) = (state(&ann), Arc::clone(&waits));
                tokio::spawn(async move {
                    in_turn(&state, async { waits.lock().recv().unwrap() }).await;
                })
            })
            .collect();
        // The only thread of the runtime is hers, and the other's plan is made all the same.
        let state = state(&bob);
        assert_eq!(in_turn(&state, async { 7 }).await, 7);
        for _ in &busy {
            go_on.send(()).unwrap();
        }
        for task in busy {
            task.await.unwrap();
        }
    }
}
