//! Work of the lake beside commits, in the list of statements: it can be seen there, and ended.

use std::sync::{Arc, Weak};

use futures::{FutureExt, future::BoxFuture};
use lake::{LakeError, Upkeep};

use crate::{error::QueryError, queries::Inner};

/// Keeps nothing alive: what is left of the work when the server stops is dropped with it.
pub(crate) struct Watched(Weak<Inner>);

impl Watched {
    pub(crate) fn by(inner: &Arc<Inner>) -> Arc<Self> {
        Arc::new(Self(Arc::downgrade(inner)))
    }
}

impl Upkeep for Watched {
    fn run(
        &self,
        what: String,
        work: BoxFuture<'static, Result<(), LakeError>>,
    ) -> BoxFuture<'static, ()> {
        let Some(inner) = self.0.upgrade() else { return futures::future::ready(()).boxed() };
        let token = inner.log.open_upkeep(&what);
        async move {
            token.started();
            let work = work.map(|done| done.map_err(QueryError::from));
            match token.reins().unless_ended(work).await {
                Ok(()) => token.succeeded(),
                Err(error) => token.failed(&error),
            }
        }
        .boxed()
    }
}
