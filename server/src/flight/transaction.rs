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

use super::{
    FlightSql,
    sealed::{Content, NewSeal, Opened},
};
use crate::{
    error::{compose, handle_status, invalid, status},
    seal::Purpose,
};

impl FlightSql {
    /// BeginTransaction.
    pub(super) async fn begin(
        &self,
        session: &Session,
    ) -> Result<ActionBeginTransactionResult, Status> {
        let (key, owner) = (self.key().await?, session.principal());
        let bounds = self.inner.queries.session_bounds(owner).await;
        let of_role = bounds.map_err(|error| status(&error))?.transaction_idle;
        let ttl = self.inner.handle_ttl;
        let ttl = of_role.map_or(ttl, |(limit, _)| ttl.min(limit));
        let transactions = &self.inner.transactions;
        let begun = transactions.insert_for(ttl, owner, Transaction::begin());
        let handle = begun.map_err(|error| handle_status(&error))?;
        let content = Content::OnlyThere("a transaction goes on where it began".to_owned());
        let new = NewSeal { handle, owner, content, waits: true };
        let transaction_id = self.seal(&key, Purpose::Transaction, new);
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
        let opened = self.open(Purpose::Transaction, &request.transaction_id).await?;
        let taken = self.inner.transactions.take(&opened.handle, session.principal());
        let transaction = taken.map_err(|error| self.no_transaction(session, opened, &error))?;
        let queries = &self.inner.queries;
        let ended = match commits {
            true => queries.commit(session, &transaction).await,
            false => queries.rollback(session, &transaction).await,
        };
        ended.map(|_| ()).map_err(|error| status(&error))
    }

    /// The session inside the transaction that a request names, if it names one.
    pub(super) async fn within(
        &self,
        session: &Session,
        id: Option<&Bytes>,
    ) -> Result<Session, Status> {
        let Some(opened) = self.transaction(id).await? else { return Ok(session.clone()) };
        match self.in_transaction(session, &opened.handle) {
            Ok(session) => Ok(session),
            Err(error) => Err(self.no_transaction(session, opened, &error)),
        }
    }

    /// As [`FlightSql::within`], for a handle.
    pub(super) fn within_transaction(
        &self,
        session: &Session,
        handle: &Handle,
    ) -> Result<Session, Status> {
        self.in_transaction(session, handle).map_err(|error| unknown(&error))
    }

    fn in_transaction(&self, session: &Session, handle: &Handle) -> Result<Session, HandleError> {
        let transactions = &self.inner.transactions;
        let found = transactions.with(handle, session.principal(), |found| Arc::clone(found))?;
        Ok(session.clone().with_transaction(found))
    }

    /// The error for a transaction that this server does not know.
    fn no_transaction(&self, session: &Session, opened: Opened, error: &HandleError) -> Status {
        match opened.elsewhere(self, session.principal(), "the transaction") {
            Err(elsewhere) if elsewhere.code() == tonic::Code::FailedPrecondition => elsewhere,
            _ => unknown(error),
        }
    }

    /// The handle of the transaction that a request names. Some drivers send no bytes for none.
    pub(super) async fn transaction(&self, id: Option<&Bytes>) -> Result<Option<Opened>, Status> {
        match id {
            Some(id) if !id.is_empty() => self.open(Purpose::Transaction, id).await.map(Some),
            _ => Ok(None),
        }
    }
}

fn unknown(error: &HandleError) -> Status {
    let text = "the transaction is unknown, has ended, or did nothing for too long";
    let hint = "begin another one, and prepare the statement in it";
    compose(Code::NotFound, text.to_owned(), Some(hint.to_owned()), error)
}
