//! Puts the small files of a table together when there are many, without being asked.
//!
//! Whoever wrote the last of them does not wait for it. It is a job like others, with the cause
//! `automatic`; a table whose files are being put together, or wait for it, gets no second one.

use std::sync::Arc;

use catalog::jobs::JobFilter;
use lake::Snapshot;
use model::{
    id::JobId,
    job::{JobCause, JobState, NewJob},
    name::ObjectName,
    profile::Resources,
    work::{JobKind, OptimizeWork, Work},
};

use crate::{error::QueryError, queries::Queries, session::Session};

/// Held while one of this server's writers looks whether there is a job, and queues one.
#[derive(Debug, Default)]
pub(crate) struct Care {
    queueing: tokio::sync::Mutex<()>,
}

impl Queries {
    /// Looks whether a table needs it after a statement wrote to it, and if so queues a job in the
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
        let (queries, name) = (self.clone(), name.clone());
        let asked_by = session.principal().name().to_owned();
        self.inner.control().handle().spawn(async move {
            if let Err(error) = queries.queue_compaction(&name, asked_by).await {
                tracing::warn!(location, %error, "small files stay as they are");
            }
        });
    }

    async fn queue_compaction(
        &self,
        name: &ObjectName,
        requested_by: String,
    ) -> Result<(), QueryError> {
        let inner = &self.inner;
        let catalog = &inner.options.catalog;
        let _one_looks = inner.care.queueing.lock().await;
        let Some(object) = inner.objects_named(std::slice::from_ref(name)).await?.pop() else {
            return Ok(());
        };
        let under_way = JobFilter {
            object: Some(object.id),
            kind: Some(JobKind::Optimize),
            states: Some(JobState::ALL.into_iter().filter(|state| !state.is_final()).collect()),
            limit: Some(1),
            ..JobFilter::default()
        };
        if !catalog.jobs(&under_way).await?.is_empty() {
            return Ok(());
        }
        let job = NewJob {
            id: JobId::generate(),
            work: Work::Optimize(OptimizeWork { automatic: true, ..OptimizeWork::default() }),
            object: object.id,
            cause: JobCause::Automatic,
            requested_by,
            after: Vec::new(),
            due_at: None,
            force: false,
            attempts_max: inner.options.limits.attempts_max,
            priority: 0,
            parent: None,
            graph: None,
            resources: Resources::default(),
        };
        catalog.submit(&[job], inner.options.clock.now()).await?;
        inner.options.wake.notify_one();
        Ok(())
    }
}
