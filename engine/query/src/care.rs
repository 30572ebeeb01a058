//! Puts the small files of a table together when there are many, without being asked.
//!
//! Whoever wrote the last of them does not wait for it. It is a statement like others: the log of
//! statements shows it under the name of that writer, and shutting down waits for it.

use std::{collections::HashSet, sync::Arc};

use lake::{At, Optimize, Snapshot, StageProgress};
use model::name::ObjectName;
use parking_lot::Mutex;

use crate::{
    error::QueryError,
    queries::{CommandResult, Queries},
    session::Session,
};

/// Tables whose files are being put together.
#[derive(Debug, Default)]
pub(crate) struct Care {
    running: Mutex<HashSet<String>>,
}

/// One of them, until it is dropped.
struct Running {
    queries: Queries,
    location: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.queries.inner.care.running.lock().remove(&self.location);
    }
}

impl Queries {
    /// Looks whether a table needs it after a statement wrote to it, and if so begins in the
    /// background. That it fails is logged and hurts nobody: the next writers look again.
    pub(crate) fn care_for(&self, session: &Session, name: &ObjectName, table: &Arc<Snapshot>) {
        let location = table.location().to_owned();
        match self.inner.options.lake.compaction_due(table) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%location, %error, "the table could not be looked at for small files");
                return;
            }
        }
        if !self.inner.care.running.lock().insert(location.clone()) {
            return;
        }
        let running = Running { queries: self.clone(), location };
        let (queries, session) = (self.clone(), session.clone());
        let sql = format!("OPTIMIZE {name} -- it has many small files");
        self.inner.control().handle().spawn(async move {
            let work = compact(queries.clone(), session.clone(), running.location.clone());
            if let Err(error) = queries.effect(&session, &sql, work).await {
                tracing::warn!(location = running.location, %error, "small files stay as they are");
            }
            drop(running);
        });
    }
}

async fn compact(
    queries: Queries,
    session: Session,
    location: String,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let lake = Arc::clone(&inner.options.lake);
    let optimize = Optimize {
        base: lake.snapshot(&location, At::Latest).await?,
        partitions: None,
        condition: None,
        zorder_by: Vec::new(),
        automatic: true,
        task: inner.state(session.schema()).task_ctx(),
        progress: Arc::new(StageProgress::default()),
    };
    inner.options.cpu.spawn(async move { lake.optimize(optimize).await }).await??;
    Ok(CommandResult::done())
}
