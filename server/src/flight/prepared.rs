//! Prepared statements: kept for their owner, run any number of times, without effect until then.
//!
//! The sealed handle of one has its text, and what was bound to it last: so any server can run it. The
//! one that prepared it has both at hand too, since not every driver uses the handle that binding
//! answers.

use std::sync::Arc;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use arrow_flight::{
    FlightDescriptor, FlightInfo,
    sql::{ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult},
};
use bytes::Bytes;
use model::principal::Principal;
use parking_lot::Mutex;
use query::{
    handles::{Handle, HandleError},
    queries::Prepared,
    session::Session,
};
use tonic::Status;

use super::{
    FlightSql,
    sealed::{Content, NewSeal, Opened},
    statement::schema_bytes,
};
use crate::{
    error::{handle_status, status},
    seal::Purpose,
};

/// A statement that a client prepared, with the parameters that it bound last.
pub(super) struct PreparedStatement {
    prepared: Arc<Prepared>,
    bound: Mutex<Option<RecordBatch>>,
    /// The transaction that it was prepared in, and is run in.
    transaction: Option<Handle>,
}

impl From<Prepared> for PreparedStatement {
    fn from(prepared: Prepared) -> Self {
        Self { prepared: Arc::new(prepared), bound: Mutex::new(None), transaction: None }
    }
}

/// A prepared statement as a handle of it says.
struct Known {
    statement: Arc<PreparedStatement>,
    bound: Option<RecordBatch>,
}

impl FlightSql {
    /// Prepares a statement. The schema of its rows is left out for a statement without any: that
    /// is how JDBC tells an update.
    pub(super) async fn prepare(
        &self,
        session: &Session,
        request: &ActionCreatePreparedStatementRequest,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let transaction = self.transaction(request.transaction_id.as_ref()).await?;
        let transaction = transaction.map(|opened| opened.handle);
        let session = &self.within(session, request.transaction_id.as_ref()).await?;
        let (key, owner) = (self.key().await?, session.principal());
        let prepared = self.inner.queries.prepare(session, &request.query).await;
        let prepared = Arc::new(prepared.map_err(|error| status(&error))?);
        let dataset_schema = schema_bytes(&prepared.schema())?;
        let parameter_schema = schema_bytes(&prepared.parameters())?;
        let content = Content::statement(&prepared, transaction.is_some(), None)?;
        let statement =
            Arc::new(PreparedStatement { prepared, bound: Mutex::new(None), transaction });
        let new = match self.inner.prepared.insert(owner, statement) {
            Ok(handle) => NewSeal { handle, owner, content, waits: true },
            Err(full) => self.without_waiting(full, owner, content)?,
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.seal(&key, Purpose::Statement, new),
            dataset_schema,
            parameter_schema,
        })
    }

    /// Forgets a prepared statement. One that is gone already is no error: drivers close what may
    /// have expired.
    pub(super) async fn close(&self, owner: &Principal, handle: &[u8]) -> Result<(), Status> {
        match self.open(Purpose::Statement, handle).await {
            Ok(opened) => {
                let _ = self.inner.prepared.take(&opened.handle, owner);
                Ok(())
            }
            Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
            Err(status) => Err(status),
        }
    }

    /// Remembers parameters for the next run; `None` forgets them. The handle to run it by.
    pub(super) async fn bind(
        &self,
        session: &Session,
        handle: Bytes,
        parameters: Option<RecordBatch>,
    ) -> Result<Bytes, Status> {
        let (key, owner) = (self.key().await?, session.principal());
        let opened = self.open(Purpose::Statement, &handle).await?;
        let handle = opened.handle;
        let (statement, is_here): (Arc<PreparedStatement>, _) = match self.kept(owner, &handle) {
            Ok(statement) => (statement, Ok(())),
            Err(_) => {
                let sql = self.text_elsewhere(owner, opened)?;
                let prepared = self.inner.queries.prepare(session, &sql).await;
                let statement = Arc::new(prepared.map_err(|error| status(&error))?.into());
                // For a driver that goes on with the handle that it has.
                let kept = self.inner.prepared.insert_under(handle, owner, Arc::clone(&statement));
                (statement, kept)
            }
        };
        let is_in_transaction = statement.transaction.is_some();
        let content =
            Content::statement(&statement.prepared, is_in_transaction, parameters.as_ref())?;
        *statement.bound.lock() = parameters;
        let new = match is_here {
            Ok(()) => NewSeal { handle, owner, content, waits: true },
            Err(full) if content.holds_what_is_bound() => {
                self.without_waiting(full, owner, content)?
            }
            Err(full) => return Err(handle_status(&full)),
        };
        Ok(self.seal(&key, Purpose::Statement, new))
    }

    /// GetFlightInfo of a prepared statement: one run.
    pub(super) async fn prepared_info(
        &self,
        session: &Session,
        handle: &[u8],
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let (session, prepared, bound) = self.prepared_run(session, handle).await?;
        self.start(&session, &prepared, bound.as_ref(), descriptor).await
    }

    /// What one run of a prepared statement needs: its session, the statement, what was bound last.
    pub(super) async fn prepared_run(
        &self,
        session: &Session,
        handle: &[u8],
    ) -> Result<(Session, Arc<Prepared>, Option<RecordBatch>), Status> {
        let Known { statement, bound } = self.prepared(session, handle).await?;
        let session = match &statement.transaction {
            None => session.clone(),
            Some(transaction) => self.within_transaction(session, transaction)?,
        };
        Ok((session, Arc::clone(&statement.prepared), bound))
    }

    /// GetSchema of a prepared statement: no columns for what is not a query. No effect.
    pub(super) async fn prepared_schema(
        &self,
        session: &Session,
        handle: &[u8],
    ) -> Result<SchemaRef, Status> {
        Ok(self.prepared(session, handle).await?.statement.prepared.schema())
    }

    /// DoPut of a prepared statement: one run, with the parameters that came along or else those
    /// that were bound before.
    pub(super) async fn prepared_update(
        &self,
        session: &Session,
        handle: &[u8],
        parameters: Option<RecordBatch>,
    ) -> Result<i64, Status> {
        let (session, prepared, bound) = self.prepared_run(session, handle).await?;
        self.update(&session, &prepared, parameters.or(bound).as_ref()).await
    }

    async fn prepared(&self, session: &Session, handle: &[u8]) -> Result<Known, Status> {
        let opened = self.open(Purpose::Statement, handle).await?;
        let sealed = opened.bound(self, session.principal())?;
        let statement = match self.kept(session.principal(), &opened.handle) {
            Ok(statement) => statement,
            Err(_) => {
                // For one run, which uses the plan that is made here.
                let sql = self.text_elsewhere(session.principal(), opened)?;
                let prepared = self.inner.queries.prepare_now(session, &sql).await;
                Arc::new(prepared.map_err(|error| status(&error))?.into())
            }
        };
        let bound = sealed.or_else(|| statement.bound.lock().clone());
        Ok(Known { statement, bound })
    }

    fn kept(
        &self,
        owner: &Principal,
        handle: &Handle,
    ) -> Result<Arc<PreparedStatement>, HandleError> {
        self.inner.prepared.with(handle, owner, |statement| Arc::clone(statement))
    }

    /// The text of a statement that another server has prepared.
    fn text_elsewhere(&self, owner: &Principal, opened: Opened) -> Result<String, Status> {
        match opened.elsewhere(self, owner, "the prepared statement")? {
            Content::Statement(statement) => Ok(statement.sql),
            _ => Err(handle_status(&HandleError::Unknown)),
        }
    }
}
