//! Statements on their way in, and what waits for its client afterwards.

use std::sync::Arc;

use arrow::ipc::writer::IpcWriteOptions;
use arrow::{
    array::Int64Array,
    datatypes::{DataType, Field, Schema, SchemaRef},
    record_batch::RecordBatch,
};
use arrow_flight::{
    FlightDescriptor, FlightEndpoint, FlightInfo, IpcMessage, SchemaAsIpc, Ticket,
    sql::{CommandStatementQuery, CommandStatementUpdate, TicketStatementQuery},
};
use bytes::Bytes;
use futures::TryStreamExt;
use model::{id::QueryId, principal::Principal};
use query::{
    handles::{Handle, HandleError},
    queries::{CommandResult, Planned, Prepared},
    session::Session,
};
use tonic::Status;

use super::{
    FlightSql, Inner,
    poll::{Polled, tagged},
    sealed::{self, Content, NewSeal},
    stream::{self, Messages},
    ticket,
};
use crate::{
    error::{handle_status, internal, status},
    seal::Purpose,
};

/// The column of the answer of a statement that has no rows of its own.
const ROWS_AFFECTED: &str = "rows_affected";

/// What a client can fetch once.
pub(super) enum Waiting {
    /// A command that has not ended yet. Nobody knows its handle.
    Reserved,
    /// A query that was planned and runs when it is fetched.
    Query(Box<Planned>),
    /// The answer of a command that has taken effect.
    Answer(Answer),
    /// A statement whose client asks how far it is.
    Polled(Box<Polled>),
}

/// Rows that a command left for its client.
pub(super) struct Answer {
    pub(super) schema: SchemaRef,
    pub(super) batches: Vec<RecordBatch>,
}

impl From<CommandResult> for Answer {
    /// A command without rows of its own answers how many it wrote: some clients cannot take a
    /// result without columns.
    fn from(result: CommandResult) -> Self {
        if !result.schema.fields().is_empty() {
            return Self { schema: result.schema, batches: result.batches };
        }
        let schema = rows_affected_schema();
        let column = Arc::new(Int64Array::from(vec![result.rows_affected]));
        let batch = RecordBatch::try_new(SchemaRef::clone(&schema), vec![column])
            .expect("one column of the type that the schema says");
        Self { schema, batches: vec![batch] }
    }
}

fn rows_affected_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new(ROWS_AFFECTED, DataType::Int64, true)]))
}

impl FlightSql {
    /// GetFlightInfo of a statement.
    pub(super) async fn statement_info(
        &self,
        session: &Session,
        command: &CommandStatementQuery,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let session = &self.within(session, command.transaction_id.as_ref()).await?;
        let prepared = self.inner.queries.prepare_now(session, &command.query).await;
        let prepared = prepared.map_err(|error| status(&error))?;
        self.start(session, &prepared, None, descriptor).await
    }

    /// GetSchema of a statement: no columns for what is not a query. No effect.
    pub(super) async fn statement_schema(
        &self,
        session: &Session,
        command: &CommandStatementQuery,
    ) -> Result<SchemaRef, Status> {
        let session = &self.within(session, command.transaction_id.as_ref()).await?;
        let prepared = self.inner.queries.prepare(session, &command.query).await;
        Ok(prepared.map_err(|error| status(&error))?.schema())
    }

    /// DoPut of a statement.
    pub(super) async fn statement_update(
        &self,
        session: &Session,
        command: &CommandStatementUpdate,
    ) -> Result<i64, Status> {
        let session = &self.within(session, command.transaction_id.as_ref()).await?;
        let prepared = self.inner.queries.prepare_now(session, &command.query).await;
        let prepared = prepared.map_err(|error| status(&error))?;
        self.update(session, &prepared, None).await
    }

    /// Plans a query, or runs a command, and says where to fetch the rows.
    pub(super) async fn start(
        &self,
        session: &Session,
        prepared: &Prepared,
        parameters: Option<&RecordBatch>,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let Inner { queries, waiting, .. } = &*self.inner;
        let id = QueryId::generate();
        let session = &session.clone().with_query_id(id);
        let owner = session.principal();
        // First of all: what has taken effect must not lack a ticket.
        let key = self.key().await?;
        if prepared.is_query() {
            let planned = queries.plan(session, prepared, parameters).await;
            let planned = planned.map_err(|error| status(&error))?;
            let schema = planned.schema();
            let content = Content::query(&planned, prepared, parameters)?;
            let kept = waiting.insert(owner, Waiting::Query(Box::new(planned)));
            let new = match kept {
                Ok(handle) => NewSeal { handle, owner, content, waits: true },
                Err(full) => self.without_waiting(full, owner, content)?,
            };
            let ticket = ticket::ticket(self.seal(&key, Purpose::Ticket, new));
            return Ok(tagged(info(&schema, Some(ticket), descriptor)?, id));
        }
        // The place is taken first: a full store must refuse before anything has taken effect.
        let reserved = waiting.insert(owner, Waiting::Reserved);
        let handle = reserved.map_err(|error| handle_status(&error))?;
        let result = match queries.command(session, prepared, parameters).await {
            Ok(result) => result,
            Err(error) => {
                let _ = waiting.take(&handle, owner);
                return Err(status(&error));
            }
        };
        let answer = Answer::from(result);
        let schema = SchemaRef::clone(&answer.schema);
        let content = Content::answer(prepared, &answer);
        let mut answer = Some(answer);
        let kept = waiting.with(&handle, owner, |place| {
            if let Some(answer) = answer.take() {
                *place = Waiting::Answer(answer);
            }
        });
        let handle = match (kept, answer) {
            (Ok(()), _) => Some(handle),
            // The command ran longer than a handle lives: take another place.
            (Err(_), Some(answer)) => waiting.insert(owner, Waiting::Answer(answer)).ok(),
            (Err(_), None) => None,
        };
        let sealed = |handle| {
            let new = NewSeal { handle, owner, content, waits: true };
            self.seal(&key, Purpose::Ticket, new)
        };
        let ticket = handle.map(sealed).map(ticket::ticket);
        Ok(tagged(info(&schema, ticket, descriptor)?, id))
    }

    /// A full store is no reason to refuse what waits nowhere: any server plans it when it is fetched.
    /// So it is where others have fetched what still waits here.
    pub(super) fn without_waiting<'a>(
        &self,
        full: HandleError,
        owner: &'a Principal,
        content: Content,
    ) -> Result<NewSeal<'a>, Status> {
        let may = self.inner.is_shared && matches!(full, HandleError::Full(_));
        if !may || !content.travels() {
            return Err(handle_status(&full));
        }
        let handle = Handle::generate().map_err(|error| handle_status(&error))?;
        Ok(NewSeal { handle, owner, content, waits: false })
    }

    /// Runs a statement for its effect. The rows of a query are thrown away.
    pub(super) async fn update(
        &self,
        session: &Session,
        prepared: &Prepared,
        parameters: Option<&RecordBatch>,
    ) -> Result<i64, Status> {
        let queries = &self.inner.queries;
        if !prepared.is_query() {
            let result = queries.command(session, prepared, parameters).await;
            return Ok(result.map_err(|error| status(&error))?.rows_affected);
        }
        let planned = queries.plan(session, prepared, parameters).await;
        let planned = planned.map_err(|error| status(&error))?;
        let mut rows = queries.execute(planned).await.map_err(|error| status(&error))?;
        while rows.try_next().await.map_err(|error| status(&error))?.is_some() {}
        Ok(-1)
    }

    /// DoGet: what waits under a handle here, once; what another server has planned, planned again.
    pub(super) async fn fetch(
        &self,
        session: &Session,
        ticket: &TicketStatementQuery,
    ) -> Result<Messages, Status> {
        let opened = self.open(Purpose::Ticket, &ticket.statement_handle).await?;
        let size_max = self.inner.message_size_max;
        let waiting = match self.inner.waiting.take(&opened.handle, session.principal()) {
            Ok(waiting) => waiting,
            Err(_) => {
                let content = opened.elsewhere(self, session.principal(), "the result")?;
                self.waiting_elsewhere(session, content).await?
            }
        };
        match waiting {
            Waiting::Query(planned) => {
                let rows = self.inner.queries.execute(*planned).await;
                let rows = rows.map_err(|error| status(&error))?;
                Ok(stream::rows(rows.schema(), rows, size_max))
            }
            Waiting::Answer(Answer { schema, batches }) => {
                Ok(stream::batches(schema, batches, size_max))
            }
            Waiting::Polled(polled) => polled.rows(),
            Waiting::Reserved => Err(handle_status(&HandleError::Unknown)),
        }
    }

    /// What would wait here if this server had made the ticket.
    async fn waiting_elsewhere(
        &self,
        session: &Session,
        content: Content,
    ) -> Result<Waiting, Status> {
        match content {
            Content::Query(query) => {
                let (recipe, parameters, id) = query.read()?;
                let session = session.clone().with_query_id(id);
                let queries = &self.inner.queries;
                let planned = queries.plan_again(&session, &recipe, parameters.as_ref()).await;
                Ok(Waiting::Query(Box::new(planned.map_err(|error| status(&error))?)))
            }
            Content::Answer(bytes) => sealed::read_answer(&bytes).map(Waiting::Answer),
            Content::OnlyThere(_) | Content::Statement(_) => {
                Err(handle_status(&HandleError::Unknown))
            }
        }
    }
}

/// Where to fetch rows. Without a ticket there is nothing to fetch. No endpoint says when it expires:
/// that would promise that rows can be fetched twice.
pub(super) fn info(
    schema: &Schema,
    ticket: Option<Ticket>,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| internal("write a schema", &error))?
        .with_descriptor(descriptor);
    Ok(match ticket {
        // No location: the rows come over the connection that asked for them.
        Some(ticket) => info.with_endpoint(FlightEndpoint::new().with_ticket(ticket)),
        None => info,
    })
}

/// A schema as the bytes of an IPC message; no bytes for no columns, which is how drivers tell a
/// statement without rows.
pub(super) fn schema_bytes(schema: &Schema) -> Result<Bytes, Status> {
    if schema.fields().is_empty() {
        return Ok(Bytes::new());
    }
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &IpcWriteOptions::default()));
    let IpcMessage(bytes) = message.map_err(|error| internal("write a schema", &error))?;
    Ok(bytes)
}
