//! Statements whose client asks now and then how far they are.
//!
//! A polled statement runs by itself: a query until its first rows are there, everything else to
//! its end. What it has then waits under the handle that was asked for. Who stops asking gives it up.

use std::{sync::Arc, time::Duration};

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use arrow_flight::{
    FlightDescriptor, FlightInfo, PollInfo,
    sql::{Command, CommandStatementQuery, TicketStatementQuery},
};
use futures::{StreamExt, stream};
use model::id::QueryId;
use parking_lot::Mutex;
use query::{
    error::QueryError,
    handles::{Handle, HandleError},
    queries::{Planned, Prepared, Queries},
    session::Session,
};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;

use super::{
    FlightSql, cancel,
    sealed::{Content, NewSeal},
    statement::{self, Answer, Waiting},
    stream::{self as rows, Messages},
    substrait, ticket,
};
use crate::{
    error::{handle_status, status},
    seal::Purpose,
};

/// How long a statement goes on, and its result waits, while nobody asks for it.
const ASKED_EVERY: Duration = Duration::from_secs(60);
/// How long an answer waits for the end before it tells how far the statement is.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// A statement that runs by itself. Dropping it ends the statement, unless that commits already.
pub(super) struct Polled {
    id: QueryId,
    /// What the client asked first.
    asked: FlightDescriptor,
    outcome: Arc<Outcome>,
    _task: AbortOnDropHandle<()>,
}

struct Outcome {
    state: Mutex<State>,
    changed: Notify,
}

enum State {
    Runs,
    Ready { schema: SchemaRef, messages: Messages },
    Failed(Status),
    Fetched,
}

impl Polled {
    pub(super) fn query_id(&self) -> QueryId {
        self.id
    }

    /// The rows, for a statement that is ready.
    pub(super) fn rows(self) -> Result<Messages, Status> {
        match std::mem::replace(&mut *self.outcome.state.lock(), State::Fetched) {
            State::Ready { messages, .. } => Ok(messages),
            State::Failed(status) => Err(status),
            // Its ticket is only told once it is ready.
            State::Runs | State::Fetched => Err(handle_status(&HandleError::Unknown)),
        }
    }
}

impl Outcome {
    /// Waits a little for the end of the statement.
    async fn wait(&self) {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        // Before the state is looked at, so that no change is missed.
        changed.as_mut().enable();
        if matches!(*self.state.lock(), State::Runs) {
            let _ = tokio::time::timeout(ANSWER_WITHIN, changed).await;
        }
    }

    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_waiters();
    }
}

/// What a polled statement does.
pub(super) enum Work {
    Query(Box<Planned>),
    Command { prepared: Arc<Prepared>, parameters: Option<RecordBatch> },
}

impl FlightSql {
    /// PollFlightInfo.
    pub(super) async fn poll(
        &self,
        session: &Session,
        descriptor: FlightDescriptor,
    ) -> Result<PollInfo, Status> {
        match ticket::descriptor_command(&descriptor)? {
            Command::TicketStatementQuery(TicketStatementQuery { statement_handle }) => {
                let opened = self.open(Purpose::Ticket, &statement_handle).await?;
                let handle = opened.handle;
                let found = self.inner.waiting.with(&handle, session.principal(), |_| ());
                if let Err(error) = found {
                    let elsewhere = opened.elsewhere(self, session.principal(), "the statement");
                    return Err(elsewhere.err().unwrap_or_else(|| handle_status(&error)));
                }
                self.progress(session, &handle).await
            }
            Command::CommandStatementQuery(query) => {
                self.poll_statement(session, &query, descriptor).await
            }
            Command::CommandStatementSubstraitPlan(plan) => {
                self.poll_statement(session, &substrait::query(plan)?, descriptor).await
            }
            Command::CommandPreparedStatementQuery(query) => {
                let handle = &query.prepared_statement_handle;
                let (session, prepared, bound) = self.prepared_run(session, handle).await?;
                self.begin_polled(session, prepared, bound, descriptor).await
            }
            // Whatever else can be asked for is there at once.
            command => Ok(PollInfo {
                info: Some(self.metadata_info(&command, descriptor)?),
                flight_descriptor: None,
                progress: Some(1.0),
                expiration_time: None,
            }),
        }
    }

    async fn poll_statement(
        &self,
        session: &Session,
        query: &CommandStatementQuery,
        descriptor: FlightDescriptor,
    ) -> Result<PollInfo, Status> {
        let session = self.within(session, query.transaction_id.as_ref()).await?;
        let prepared = self.inner.queries.prepare_now(&session, &query.query).await;
        let prepared = Arc::new(prepared.map_err(|error| status(&error))?);
        self.begin_polled(session, prepared, None, descriptor).await
    }

    async fn begin_polled(
        &self,
        session: Session,
        prepared: Arc<Prepared>,
        parameters: Option<RecordBatch>,
        asked: FlightDescriptor,
    ) -> Result<PollInfo, Status> {
        let id = QueryId::generate();
        let session = session.with_query_id(id);
        let queries = self.inner.queries.clone();
        let work = if prepared.is_query() {
            let planned = queries.plan(&session, &prepared, parameters.as_ref()).await;
            Work::Query(Box::new(planned.map_err(|error| status(&error))?))
        } else {
            Work::Command { prepared, parameters }
        };
        let (waiting, owner) = (&self.inner.waiting, session.principal().clone());
        // The place is taken first: a full store must refuse before anything has taken effect.
        let handle = waiting.insert_for(ASKED_EVERY, &owner, Waiting::Reserved);
        let handle = handle.map_err(|error| handle_status(&error))?;
        let state = Mutex::new(State::Runs);
        let outcome = Arc::new(Outcome { state, changed: Notify::new() });
        let (told, size_max) = (Arc::clone(&outcome), self.inner.message_size_max);
        let asks = session.clone();
        let task = tokio::spawn(async move {
            let state = match run(&queries, &asks, work, size_max).await {
                Ok((schema, messages)) => State::Ready { schema, messages },
                Err(error) => State::Failed(status(&error)),
            };
            told.set(state);
        });
        let polled = Polled { id, asked, outcome, _task: AbortOnDropHandle::new(task) };
        let placed =
            waiting.with(&handle, &owner, move |place| *place = Waiting::Polled(Box::new(polled)));
        placed.map_err(|error| handle_status(&error))?;
        self.progress(&session, &handle).await
    }

    /// How far a polled statement is.
    async fn progress(&self, session: &Session, handle: &Handle) -> Result<PollInfo, Status> {
        let (waiting, owner) = (&self.inner.waiting, session.principal());
        let found = waiting.with(handle, owner, |waiting| match waiting {
            Waiting::Polled(polled) => {
                Some((polled.id, polled.asked.clone(), Arc::clone(&polled.outcome)))
            }
            _ => None,
        });
        let unknown = || handle_status(&HandleError::Unknown);
        let (id, asked, outcome) =
            found.map_err(|error| handle_status(&error))?.ok_or_else(unknown)?;
        let key = self.key().await?;
        let content = Content::OnlyThere("a statement that is asked about runs at once".to_owned());
        let new = NewSeal { handle: *handle, owner, content, waits: true };
        let ticket = ticket::ticket(self.seal(&key, Purpose::Ticket, new));
        outcome.wait().await;
        let record = self.inner.queries.record(session, id).await.ok();
        let ready = match &*outcome.state.lock() {
            State::Runs => None,
            State::Ready { schema, .. } => Some(Ok(SchemaRef::clone(schema))),
            State::Failed(status) => Some(Err(status.clone())),
            State::Fetched => Some(Err(unknown())),
        };
        let mut poll = match ready {
            None => PollInfo {
                info: Some(tagged(FlightInfo::new().with_descriptor(asked), id)),
                flight_descriptor: Some(FlightDescriptor::new_cmd(ticket.ticket)),
                progress: record.and_then(|record| record.progress.fraction()),
                expiration_time: None,
            },
            Some(Ok(schema)) => PollInfo {
                info: Some(tagged(statement::info(&schema, Some(ticket), asked)?, id)),
                flight_descriptor: None,
                progress: Some(1.0),
                expiration_time: None,
            },
            Some(Err(status)) => {
                let _ = waiting.take(handle, owner);
                return Err(status);
            }
        };
        let until = waiting.renew(handle, owner).map_err(|error| handle_status(&error))?;
        let time = poll.expiration_time.get_or_insert_default();
        (time.seconds, time.nanos) = cancel::seconds(until);
        Ok(poll)
    }
}

/// A FlightInfo that tells the id of its statement, so that it can be cancelled by it.
pub(super) fn tagged(info: FlightInfo, id: QueryId) -> FlightInfo {
    info.with_app_metadata(id.to_string())
}

async fn run(
    queries: &Queries,
    session: &Session,
    work: Work,
    size_max: usize,
) -> Result<(SchemaRef, Messages), QueryError> {
    let planned = match work {
        Work::Query(planned) => *planned,
        Work::Command { prepared, parameters } => {
            let result = queries.command(session, &prepared, parameters.as_ref()).await?;
            let Answer { schema, batches } = Answer::from(result);
            return Ok((SchemaRef::clone(&schema), rows::batches(schema, batches, size_max)));
        }
    };
    let mut answer = queries.execute(planned).await?;
    let schema = answer.schema();
    let first = answer.next().await.transpose()?;
    let all = stream::iter(first.map(Ok)).chain(answer);
    Ok((SchemaRef::clone(&schema), rows::rows(schema, all, size_max)))
}
