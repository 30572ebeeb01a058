//! Prepared statements: kept for their owner, run any number of times, without effect until then.

use std::sync::Arc;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use arrow_flight::{
    FlightDescriptor, FlightInfo,
    sql::{ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult},
};
use bytes::Bytes;
use model::principal::Principal;
use parking_lot::Mutex;
use query::{handles::Handle, queries::Prepared, session::Session};
use tonic::Status;

use super::{FlightSql, statement::schema_bytes, ticket};
use crate::error::{handle_status, status};

/// A statement that a client prepared, with the parameters that it bound last.
pub(super) struct PreparedStatement {
    prepared: Arc<Prepared>,
    bound: Mutex<Option<RecordBatch>>,
    /// The transaction that it was prepared in, and is run in.
    transaction: Option<Handle>,
}

impl FlightSql {
    /// Prepares a statement. The schema of its rows is left out for a statement without any: that
    /// is how JDBC tells an update.
    pub(super) async fn prepare(
        &self,
        session: &Session,
        request: &ActionCreatePreparedStatementRequest,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let transaction = self.transaction(request.transaction_id.as_ref())?;
        let session = &self.within(session, request.transaction_id.as_ref())?;
        let prepared = self.inner.queries.prepare(session, &request.query).await;
        let prepared = Arc::new(prepared.map_err(|error| status(&error))?);
        let dataset_schema = schema_bytes(&prepared.schema())?;
        let parameter_schema = schema_bytes(&prepared.parameters())?;
        let statement =
            Arc::new(PreparedStatement { prepared, bound: Mutex::new(None), transaction });
        let handle = self.inner.prepared.insert(session.principal(), statement);
        let handle = handle.map_err(|error| handle_status(&error))?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: Bytes::copy_from_slice(handle.as_bytes()),
            dataset_schema,
            parameter_schema,
        })
    }

    /// Forgets a prepared statement. One that is gone already is no error: drivers close what may
    /// have expired.
    pub(super) fn close(&self, owner: &Principal, handle: &[u8]) -> Result<(), Status> {
        let handle = ticket::handle(handle)?;
        let _ = self.inner.prepared.take(&handle, owner);
        Ok(())
    }

    /// Remembers parameters for the next run; `None` forgets them.
    pub(super) fn bind(
        &self,
        owner: &Principal,
        handle: &[u8],
        parameters: Option<RecordBatch>,
    ) -> Result<(), Status> {
        *self.prepared(owner, handle)?.bound.lock() = parameters;
        Ok(())
    }

    /// GetFlightInfo of a prepared statement: one run.
    pub(super) async fn prepared_info(
        &self,
        session: &Session,
        handle: &[u8],
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let (session, prepared, bound) = self.prepared_run(session, handle)?;
        self.start(&session, &prepared, bound.as_ref(), descriptor).await
    }

    /// What one run of a prepared statement needs: its session, the statement, what was bound last.
    pub(super) fn prepared_run(
        &self,
        session: &Session,
        handle: &[u8],
    ) -> Result<(Session, Arc<Prepared>, Option<RecordBatch>), Status> {
        let statement = self.prepared(session.principal(), handle)?;
        let session = match &statement.transaction {
            None => session.clone(),
            Some(transaction) => self.within_transaction(session, transaction)?,
        };
        let bound = statement.bound.lock().clone();
        Ok((session, Arc::clone(&statement.prepared), bound))
    }

    /// GetSchema of a prepared statement: no columns for what is not a query. No effect.
    pub(super) fn prepared_schema(
        &self,
        owner: &Principal,
        handle: &[u8],
    ) -> Result<SchemaRef, Status> {
        Ok(self.prepared(owner, handle)?.prepared.schema())
    }

    /// DoPut of a prepared statement: one run, with the parameters that came along or else those
    /// that were bound before.
    pub(super) async fn prepared_update(
        &self,
        session: &Session,
        handle: &[u8],
        parameters: Option<RecordBatch>,
    ) -> Result<i64, Status> {
        let (session, prepared, bound) = self.prepared_run(session, handle)?;
        self.update(&session, &prepared, parameters.or(bound).as_ref()).await
    }

    fn prepared(&self, owner: &Principal, handle: &[u8]) -> Result<Arc<PreparedStatement>, Status> {
        let handle = ticket::handle(handle)?;
        let statement = self.inner.prepared.with(&handle, owner, |statement| Arc::clone(statement));
        statement.map_err(|error| handle_status(&error))
    }
}
