//! What the lake does for a table beside its commits, and nobody waits for: a checkpoint, and the
//! cleaning of its log after one.

use std::sync::Arc;

use futures::{FutureExt, future::BoxFuture};

use crate::{error::LakeError, lake::Lake};

/// Lets work beside commits be watched, and ended.
pub trait Upkeep: Send + Sync {
    /// Does `work`, of which `what` tells people what it is. Wherever it is dropped the table is as
    /// complete as before, and a later commit begins it again.
    fn run(
        &self,
        what: String,
        work: BoxFuture<'static, Result<(), LakeError>>,
    ) -> BoxFuture<'static, ()>;
}

impl Lake {
    /// Tells who watches work beside commits. Without it the work is done all the same.
    pub fn watch_upkeep(&self, upkeep: Arc<dyn Upkeep>) {
        // One lake serves one server; a second one would see nothing.
        let _ = self.upkeep().set(upkeep);
    }

    /// Does work beside commits. That it fails is logged: the table is complete without it.
    pub(crate) fn beside_commits(
        &self,
        what: String,
        work: impl Future<Output = Result<(), LakeError>> + Send + 'static,
    ) {
        let told = what.clone();
        let work = async move {
            let done = work.await;
            if let Err(error) = &done {
                tracing::warn!(what = told, %error, "not done; the table is complete without it");
            }
            done
        };
        let work = match self.upkeep().get() {
            Some(upkeep) => upkeep.run(what, work.boxed()),
            None => work.map(drop).boxed(),
        };
        self.io().spawn(work);
    }
}
