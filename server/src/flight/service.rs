//! The Flight calls, each sent where it belongs.
//!
//! Arrow's own `FlightSqlService` answers INTERNAL for a message that it cannot decode, which is the
//! sender's mistake, and cannot answer GetSchema; so the few lines of dispatch are here.

use arrow::{datatypes::Schema, ipc::writer::IpcWriteOptions};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc,
    SchemaResult, Ticket,
    flight_service_server::FlightService,
    sql::{
        ActionBeginTransactionRequest, ActionCancelQueryRequest,
        ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
        ActionCreatePreparedSubstraitPlanRequest, ActionEndTransactionRequest, Command,
        CommandStatementQuery, CommandStatementUpdate, DoPutPreparedStatementResult,
        DoPutUpdateResult, ProstMessageExt,
    },
};
use futures::{StreamExt, stream, stream::BoxStream};
use prost::Message;
use tonic::{
    Request, Response, Status, Streaming,
    metadata::{Ascii, MetadataValue},
};

use super::{
    FlightSql, body, handshake, parameters,
    session::{self, Answered},
    statement, stream as rows, substrait, ticket,
};
use crate::error::{internal, invalid, unimplemented};

const CREATE_PREPARED_STATEMENT: &str = "CreatePreparedStatement";
const CREATE_PREPARED_SUBSTRAIT_PLAN: &str = "CreatePreparedSubstraitPlan";
const CLOSE_PREPARED_STATEMENT: &str = "ClosePreparedStatement";
const BEGIN_TRANSACTION: &str = "BeginTransaction";
const END_TRANSACTION: &str = "EndTransaction";
const BEGIN_SAVEPOINT: &str = "BeginSavepoint";
const END_SAVEPOINT: &str = "EndSavepoint";
const CANCEL_QUERY: &str = "CancelQuery";
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
const RENEW_FLIGHT_ENDPOINT: &str = "RenewFlightEndpoint";
const SET_SESSION_OPTIONS: &str = "SetSessionOptions";
const GET_SESSION_OPTIONS: &str = "GetSessionOptions";
const CLOSE_SESSION: &str = "CloseSession";

/// What there is, for ListActions.
const ACTIONS: [(&str, &str); 11] = [
    (CREATE_PREPARED_STATEMENT, "Prepares a statement; takes and gives Flight SQL messages."),
    (CREATE_PREPARED_SUBSTRAIT_PLAN, "As CreatePreparedStatement, for a plan of Substrait."),
    (CLOSE_PREPARED_STATEMENT, "Forgets a prepared statement; takes a Flight SQL message."),
    (BEGIN_TRANSACTION, "Begins a transaction; takes and gives Flight SQL messages."),
    (END_TRANSACTION, "Commits a transaction or rolls it back; takes a Flight SQL message."),
    (CANCEL_FLIGHT_INFO, "Ends the statement of a FlightInfo; takes and gives Flight messages."),
    (CANCEL_QUERY, "As CancelFlightInfo, with the older messages of Flight SQL."),
    (RENEW_FLIGHT_ENDPOINT, "Keeps a result for longer; takes and gives Flight messages."),
    (SET_SESSION_OPTIONS, "Sets 'catalog' and 'schema'; takes and gives Flight messages."),
    (GET_SESSION_OPTIONS, "Tells the session's options; takes and gives Flight messages."),
    (CLOSE_SESSION, "Forgets the session's options; takes and gives Flight messages."),
];

type Answer<T> = BoxStream<'static, Result<T, Status>>;

#[tonic::async_trait]
impl FlightService for FlightSql {
    type HandshakeStream = Answer<HandshakeResponse>;
    type ListFlightsStream = Answer<FlightInfo>;
    type DoGetStream = Answer<FlightData>;
    type DoPutStream = Answer<PutResult>;
    type DoActionStream = Answer<arrow_flight::Result>;
    type ListActionsStream = Answer<ActionType>;
    type DoExchangeStream = Answer<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        Ok(handshake::handshake(self, request).await?.map(one))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let (headers, connection, descriptor) = request.into_parts();
        let session = self.session(&headers, &connection).await?;
        let command = ticket::descriptor_command(&descriptor)?;
        let info = match &command {
            Command::CommandStatementQuery(query) => {
                self.statement_info(&session, query, descriptor).await?
            }
            Command::CommandPreparedStatementQuery(query) => {
                let handle = &query.prepared_statement_handle;
                self.prepared_info(&session, handle, descriptor).await?
            }
            Command::CommandStatementSubstraitPlan(plan) => {
                let query = substrait::query(plan.clone())?;
                self.statement_info(&session, &query, descriptor).await?
            }
            other => self.metadata_info(other, descriptor)?,
        };
        let mut response = Response::new(info);
        // Drivers ask this first: from now on the session of a client that keeps cookies is known.
        if let Command::CommandGetSqlInfo(_) = &command {
            set_cookie(&mut response, session::offered(&headers)?);
        }
        Ok(response)
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let (headers, connection, descriptor) = request.into_parts();
        let session = self.session(&headers, &connection).await?;
        let schema = match &ticket::descriptor_command(&descriptor)? {
            Command::CommandStatementQuery(query) => self.statement_schema(&session, query).await?,
            Command::CommandPreparedStatementQuery(query) => {
                self.prepared_schema(&session, &query.prepared_statement_handle).await?
            }
            Command::CommandStatementSubstraitPlan(plan) => {
                self.statement_schema(&session, &substrait::query(plan.clone())?).await?
            }
            other => self.metadata_schema(other).ok_or_else(|| unsupported(other))?,
        };
        Ok(Response::new(schema_result(&schema)?))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let (headers, connection, ticket) = request.into_parts();
        let session = self.session(&headers, &connection).await?;
        let command = ticket::command(&ticket.ticket)?;
        if let Command::TicketStatementQuery(ticket) = &command {
            return Ok(body::response(self.fetch(&session, ticket).await?));
        }
        let error = unsupported(&command);
        let batch = self.metadata(&session, command).await?.ok_or(error)?;
        let size_max = self.inner.message_size_max;
        Ok(body::response(rows::batches(batch.schema(), vec![batch], size_max)))
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let (headers, connection, mut messages) = request.into_parts();
        let session = self.session(&headers, &connection).await?;
        let first = messages.next().await;
        let mut first = first.ok_or_else(|| invalid("a DoPut has to begin with a message"))??;
        let descriptor = first
            .flight_descriptor
            .take()
            .ok_or_else(|| invalid("the first message of a DoPut has to carry a command"))?;
        // The first message may carry the schema of the parameters too.
        let messages = stream::iter([Ok(first)]).chain(messages);
        let answer = match ticket::descriptor_command(&descriptor)? {
            Command::CommandStatementUpdate(command) => {
                updated(self.statement_update(&session, &command).await?)
            }
            Command::CommandStatementSubstraitPlan(plan) => {
                let CommandStatementQuery { query, transaction_id } = substrait::query(plan)?;
                let command = CommandStatementUpdate { query, transaction_id };
                updated(self.statement_update(&session, &command).await?)
            }
            Command::CommandStatementIngest(command) => {
                updated(self.ingest(&session, command, messages).await?)
            }
            Command::CommandPreparedStatementUpdate(command) => {
                let handle = &command.prepared_statement_handle;
                let parameters = parameters::read(messages).await?;
                updated(self.prepared_update(&session, handle, parameters).await?)
            }
            Command::CommandPreparedStatementQuery(command) => {
                let handle = command.prepared_statement_handle;
                let parameters = parameters::read(messages).await?;
                let handle = self.bind(&session, handle, parameters).await?;
                DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) }
                    .encode_to_vec()
            }
            other => return Err(unsupported(&other)),
        };
        Ok(Response::new(one(PutResult { app_metadata: answer.into() })))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let (headers, connection, action) = request.into_parts();
        let session = self.session(&headers, &connection).await?;
        let Action { r#type, body } = action;
        let answer = match r#type.as_str() {
            CREATE_PREPARED_STATEMENT => {
                let request: ActionCreatePreparedStatementRequest = ticket::action(&body)?;
                packed(&self.prepare(&session, &request).await?)
            }
            CLOSE_PREPARED_STATEMENT => {
                let request: ActionClosePreparedStatementRequest = ticket::action(&body)?;
                self.close(session.principal(), &request.prepared_statement_handle).await?;
                return Ok(Response::new(stream::empty().boxed()));
            }
            BEGIN_TRANSACTION => {
                let ActionBeginTransactionRequest {} = ticket::action(&body)?;
                packed(&self.begin(&session).await?)
            }
            END_TRANSACTION => {
                let request: ActionEndTransactionRequest = ticket::action(&body)?;
                self.end(&session, &request).await?;
                return Ok(Response::new(stream::empty().boxed()));
            }
            BEGIN_SAVEPOINT | END_SAVEPOINT => {
                return Err(unimplemented(
                    "there are no savepoints: a transaction ends as a whole",
                ));
            }
            CREATE_PREPARED_SUBSTRAIT_PLAN => {
                let request: ActionCreatePreparedSubstraitPlanRequest = ticket::action(&body)?;
                packed(&self.prepare(&session, &substrait::prepared(request)?).await?)
            }
            CANCEL_QUERY => {
                let request: ActionCancelQueryRequest = ticket::action(&body)?;
                packed(&self.cancel_query(&session, &request).await?)
            }
            CANCEL_FLIGHT_INFO => self.cancel_flight_info(&session, &body).await?,
            RENEW_FLIGHT_ENDPOINT => self.renew(&session, &body).await?,
            SET_SESSION_OPTIONS => {
                return Ok(answered(self.set_options(&headers, &session, &body).await?));
            }
            GET_SESSION_OPTIONS => {
                return Ok(answered(Self::options(&headers, &session, &body)?));
            }
            CLOSE_SESSION => return Ok(answered(Self::close_session(&headers, &body)?)),
            other => return Err(unimplemented(format!("there is no action '{other}'"))),
        };
        Ok(Response::new(one(arrow_flight::Result { body: answer.into() })))
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        self.principal(request.metadata(), request.extensions()).await?;
        let actions = ACTIONS.map(|(name, description)| {
            Ok(ActionType { r#type: name.to_owned(), description: description.to_owned() })
        });
        Ok(Response::new(stream::iter(actions).boxed()))
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(unimplemented("flights are not listed: ask for tables with Flight SQL"))
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let (headers, connection, descriptor) = request.into_parts();
        let session = self.session(&headers, &connection).await?;
        Ok(Response::new(self.poll(&session, descriptor).await?))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(unimplemented("there is nothing to exchange: use DoGet and DoPut"))
    }
}

fn one<T: Send + 'static>(item: T) -> Answer<T> {
    stream::iter([Ok(item)]).boxed()
}

fn updated(record_count: i64) -> Vec<u8> {
    DoPutUpdateResult { record_count }.encode_to_vec()
}

fn schema_result(schema: &Schema) -> Result<SchemaResult, Status> {
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &IpcWriteOptions::default()));
    let IpcMessage(schema) = message.map_err(|error| internal("write a schema", &error))?;
    Ok(SchemaResult { schema })
}

impl FlightSql {
    /// GetFlightInfo of a metadata command: its ticket is the command itself.
    pub(super) fn metadata_info(
        &self,
        command: &Command,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Status> {
        let schema = self.metadata_schema(command).ok_or_else(|| unsupported(command))?;
        let ticket = Ticket::new(descriptor.cmd.clone());
        statement::info(&schema, Some(ticket), descriptor)
    }
}

fn unsupported(command: &Command) -> Status {
    let name = command.type_url().rsplit('.').next().unwrap_or_default();
    unimplemented(format!("{name} is not supported by this call"))
}

fn packed(message: &impl ProstMessageExt) -> Vec<u8> {
    message.as_any().encode_to_vec()
}

fn answered(answer: Answered) -> Response<Answer<arrow_flight::Result>> {
    let Answered { body, cookie } = answer;
    let mut response = Response::new(one(arrow_flight::Result { body: body.into() }));
    set_cookie(&mut response, cookie);
    response
}

fn set_cookie<T>(response: &mut Response<T>, cookie: Option<MetadataValue<Ascii>>) {
    if let Some(cookie) = cookie {
        response.metadata_mut().append("set-cookie", cookie);
    }
}
