//! Transactions: begun for one principal, kept under a handle, ended once or by their age.

use std::sync::Arc;

use arrow_flight::sql::{
    ActionBeginTransactionResult, ActionEndTransactionRequest, EndTransaction,
};
use bytes::Bytes;
use model::code::Code;
use query::{
    handles::{Handle, HandleError},
    session::Session,
    transaction::Transaction,
};
use tonic::Status;

use super::{FlightSql, ticket};
use crate::error::{compose, handle_status, invalid, status};

impl FlightSql {
    /// BeginTransaction.
    pub(super) fn begin(&self, session: &Session) -> Result<ActionBeginTransactionResult, Status> {
        let begun = self.inner.transactions.insert(session.principal(), Transaction::begin());
        let handle = begun.map_err(|error| handle_status(&error))?;
        let transaction_id = Bytes::copy_from_slice(handle.as_bytes());
        Ok(ActionBeginTransactionResult { transaction_id })
    }

    /// EndTransaction: the transaction is over, whatever this returns.
    pub(super) async fn end(
        &self,
        session: &Session,
        request: &ActionEndTransactionRequest,
    ) -> Result<(), Status> {
        let action = EndTransaction::try_from(request.action);
        let commits = match action {
            Ok(EndTransaction::Commit) => true,
            Ok(EndTransaction::Rollback) => false,
            Ok(EndTransaction::Unspecified) | Err(_) => {
                return Err(invalid("EndTransaction has to say COMMIT or ROLLBACK"));
            }
        };
        let handle = ticket::handle(&request.transaction_id)?;
        let taken = self.inner.transactions.take(&handle, session.principal());
        let transaction = taken.map_err(|error| unknown(&error))?;
        let queries = &self.inner.queries;
        let ended = match commits {
            true => queries.commit(session, &transaction).await,
            false => queries.rollback(session, &transaction).await,
        };
        ended.map(|_| ()).map_err(|error| status(&error))
    }

    /// The session inside the transaction that a request names, if it names one.
    pub(super) fn within(&self, session: &Session, id: Option<&Bytes>) -> Result<Session, Status> {
        match self.transaction(id)? {
            None => Ok(session.clone()),
            Some(handle) => self.within_transaction(session, &handle),
        }
    }

    /// As [`FlightSql::within`], for a handle.
    pub(super) fn within_transaction(
        &self,
        session: &Session,
        handle: &Handle,
    ) -> Result<Session, Status> {
        let transactions = &self.inner.transactions;
        let found = transactions.with(handle, session.principal(), |found| Arc::clone(found));
        Ok(session.clone().with_transaction(found.map_err(|error| unknown(&error))?))
    }

    /// The handle of the transaction that a request names. Some drivers send no bytes for none.
    pub(super) fn transaction(&self, id: Option<&Bytes>) -> Result<Option<Handle>, Status> {
        match id {
            Some(id) if !id.is_empty() => ticket::handle(id).map(Some),
            _ => Ok(None),
        }
    }
}

fn unknown(error: &HandleError) -> Status {
    let text = "the transaction is unknown, has ended, or did nothing for too long";
    let hint = "begin another one, and prepare the statement in it";
    compose(Code::NotFound, text.to_owned(), Some(hint.to_owned()), error)
}
