//! Ends statements on somebody's wish: one's own, or anybody's for an admin.

use model::id::QueryId;

use crate::{
    error::QueryError,
    log::{QueryRecord, QueryState},
    queries::Queries,
    reins::{Ended, GoesOn},
    session::Session,
};

impl Queries {
    /// What is known of a statement of the caller, or of anybody's for an admin.
    pub async fn record(&self, session: &Session, id: QueryId) -> Result<QueryRecord, QueryError> {
        let rights = self.inner.rights(session.principal()).await?;
        let record = self.inner.log.record(id);
        let own = |record: &QueryRecord| rights.is_admin() || record.principal == rights.name();
        record.filter(own).ok_or(QueryError::NoStatement(id))
    }

    /// Ends a statement of the caller, or of anybody's for an admin; `reason` is for people. When
    /// this returns, its work was told to stop, what it held is free, and nothing of it takes
    /// effect any more. Ending it twice is the same as once.
    ///
    /// [`QueryError::NoStatement`] for one that nobody ever sent, or that is not the caller's;
    /// [`QueryError::TooLate`] for one that commits already, or has ended.
    pub async fn cancel(
        &self,
        session: &Session,
        id: QueryId,
        reason: Option<&str>,
    ) -> Result<QueryRecord, QueryError> {
        self.record(session, id).await?;
        let entry = self.inner.log.find(id).ok_or(QueryError::NoStatement(id))?;
        let by = session.principal().name().to_owned();
        let ended = entry.end(Ended::Cancelled { by, reason: reason.map(str::to_owned) });
        let record = self.record(session, id).await?;
        match ended {
            Ok(()) => {
                tracing::info!(query_id = %id, by = session.principal().name(), reason, "statement ended");
                Ok(record)
            }
            Err(GoesOn::Over) if record.state == QueryState::Cancelled => Ok(record),
            Err(GoesOn::Over) => Err(QueryError::TooLate { id, state: record.state.as_str() }),
            Err(GoesOn::Commits) => Err(QueryError::TooLate { id, state: "COMMITTING" }),
        }
    }
}
