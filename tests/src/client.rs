//! A Flight SQL client that checks on every call what every driver relies on.

use std::fmt;

use arrow::{array::RecordBatch, datatypes::Schema, error::ArrowError};
use arrow_flight::{
    Action, FlightDescriptor, FlightInfo, IpcMessage, Ticket,
    error::FlightError,
    flight_service_client::FlightServiceClient,
    sql::{
        ActionCreatePreparedStatementRequest, Any, CommandStatementIngest, ProstMessageExt,
        client::{FlightSqlServiceClient, PreparedStatement},
    },
};
use futures::TryStreamExt;
use prost::Message;
use tonic::{Code, transport::Channel};

use crate::{answer::Answer, eventually::LIMIT, process::Server};

/// Largest message that the usual drivers accept.
const MESSAGE_SIZE_MAX: usize = 16 * 1024 * 1024;

/// A refused or failed call, as the client sees it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The gRPC status code.
    pub code: Code,
    /// Its message.
    pub message: String,
    /// Its SQLSTATE, where it tells one.
    pub sqlstate: Option<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let sqlstate = status.metadata().get("sqlstate");
        let sqlstate = sqlstate.and_then(|text| text.to_str().ok()).map(str::to_owned);
        Self { code: status.code(), message: status.message().to_owned(), sqlstate }
    }
}

impl From<FlightError> for Failure {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Tonic(status) => (*status).into(),
            other => panic!("the client could not read what the server sent: {other}"),
        }
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        panic!("the client could not read what the server sent: {error}")
    }
}

impl Failure {
    /// Panics unless the code is this one and the message holds each of the texts, in any case.
    pub fn expect(&self, code: Code, texts: &[&str]) {
        let message = self.message.to_lowercase();
        let told = texts.iter().all(|text| message.contains(&text.to_lowercase()));
        assert!(self.code == code && told, "expected {code:?} with {texts:?}, got {self}");
    }
}

/// One connection to a server.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    flight: FlightSqlServiceClient<Channel>,
}

/// A prepared statement of the server.
pub type Prepared = PreparedStatement<Channel>;

impl Client {
    /// Connects without a name.
    pub async fn connect(server: &Server) -> Self {
        Self::connect_to(server.address()).await
    }

    /// Connects without a name to `host:port`.
    pub async fn connect_to(address: &str) -> Self {
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        let inner =
            FlightServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_SIZE_MAX);
        Self { channel, flight: FlightSqlServiceClient::new_from_inner(inner) }
    }

    /// Sends this text as the `authorization` header of every later call.
    #[must_use]
    pub fn with_authorization(mut self, value: &str) -> Self {
        self.flight.set_header("authorization", value);
        self
    }

    /// Sends this bearer token with every later call.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.flight.set_token(token.to_owned());
        self
    }

    /// The connection, for services other than Flight.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The Flight SQL client, for what has no word here.
    pub fn flight(&mut self) -> &mut FlightSqlServiceClient<Channel> {
        &mut self.flight
    }

    /// Asks for a query's plan and ticket; fetches nothing.
    pub async fn flight_info(&mut self, sql: &str) -> Result<FlightInfo, Failure> {
        Ok(self.flight.execute(sql.to_owned(), None).await?)
    }

    /// Asks for a ticket and fetches all rows.
    pub async fn try_query(&mut self, sql: &str) -> Result<Answer, Failure> {
        limited(sql, async {
            let info = self.flight_info(sql).await?;
            self.fetch(info).await
        })
        .await
    }

    /// Fetches all rows of all endpoints. Panics when a stream's schema is not the announced one.
    pub async fn fetch(&mut self, info: FlightInfo) -> Result<Answer, Failure> {
        let announced = Schema::try_from(IpcMessage(info.schema.clone())).unwrap();
        let mut batches = Vec::new();
        for endpoint in info.endpoint {
            let ticket = endpoint.ticket.expect("an endpoint has a ticket");
            let (schema, part) = self.fetch_ticket(ticket).await?;
            assert_eq!(schema, announced, "the stream has another schema than its FlightInfo");
            batches.extend(part);
        }
        Ok(Answer { schema: announced.into(), batches })
    }

    /// Redeems one ticket.
    pub async fn fetch_ticket(
        &mut self,
        ticket: Ticket,
    ) -> Result<(Schema, Vec<RecordBatch>), Failure> {
        let mut stream = self.flight.do_get(ticket).await?;
        let mut batches = Vec::new();
        while let Some(batch) = stream.try_next().await? {
            batches.push(batch);
        }
        let schema = stream.schema().expect("every stream begins with its schema");
        Ok((schema.as_ref().clone(), batches))
    }

    /// As [`Self::try_query`]; panics when it fails.
    pub async fn query(&mut self, sql: &str) -> Answer {
        match self.try_query(sql).await {
            Ok(answer) => answer,
            Err(failure) => panic!("{failure}\nin: {sql}"),
        }
    }

    /// Sends a statement that is to change something with DoPut; the number of rows it changed.
    pub async fn try_update(&mut self, sql: &str) -> Result<i64, Failure> {
        limited(sql, async { Ok(self.flight.execute_update(sql.to_owned(), None).await?) }).await
    }

    /// As [`Self::try_update`]; panics when it fails.
    pub async fn update(&mut self, sql: &str) -> i64 {
        match self.try_update(sql).await {
            Ok(count) => count,
            Err(failure) => panic!("{failure}\nin: {sql}"),
        }
    }

    /// Sends rows with DoPut; the number of rows that were written.
    pub async fn try_ingest(
        &mut self,
        command: CommandStatementIngest,
        rows: Vec<RecordBatch>,
    ) -> Result<i64, Failure> {
        let text = format!("{command:?}");
        let rows = futures::stream::iter(rows.into_iter().map(Ok));
        limited(&text, async { Ok(self.flight.execute_ingest(command, rows).await?) }).await
    }

    /// Sends several statements, `;` after each, with DoPut.
    pub async fn script(&mut self, sql: &str) {
        for statement in sql.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            self.update(statement).await;
        }
    }

    /// The failure of a statement that has to fail whichever way it is sent, the same way.
    pub async fn failure(&mut self, sql: &str) -> Failure {
        let as_update = match self.try_update(sql).await {
            Ok(count) => panic!("changed {count} rows instead of failing: {sql}"),
            Err(failure) => failure,
        };
        let as_query = self.query_failure(sql).await;
        assert_eq!(as_query.code, as_update.code, "{as_query} / {as_update}\nin: {sql}");
        as_query
    }

    /// The failure of a query.
    pub async fn query_failure(&mut self, sql: &str) -> Failure {
        match self.try_query(sql).await {
            Ok(answer) => panic!("answered {:?} instead of failing: {sql}", answer.lines()),
            Err(failure) => failure,
        }
    }

    /// Makes a prepared statement.
    pub async fn try_prepare(&mut self, sql: &str) -> Result<Prepared, Failure> {
        // Asked for by hand first: the library panics where the server refuses.
        let request =
            ActionCreatePreparedStatementRequest { query: sql.to_owned(), transaction_id: None };
        let action = Action {
            r#type: "CreatePreparedStatement".to_owned(),
            body: request.as_any().encode_to_vec().into(),
        };
        let mut refused = self.flight.do_action(action).await?;
        refused.message().await?;
        Ok(self.flight.prepare(sql.to_owned(), None).await?)
    }

    /// As [`Self::try_prepare`]; panics when it fails.
    pub async fn prepare(&mut self, sql: &str) -> Prepared {
        match self.try_prepare(sql).await {
            Ok(prepared) => prepared,
            Err(failure) => panic!("{failure}\nin: {sql}"),
        }
    }

    /// Sends any descriptor with GetFlightInfo, under this client's name.
    pub async fn flight_info_of(
        &mut self,
        descriptor: FlightDescriptor,
    ) -> Result<FlightInfo, Failure> {
        let mut request = tonic::Request::new(descriptor);
        if let Some(token) = self.flight.token() {
            let bearer = format!("Bearer {token}").parse().unwrap();
            request.metadata_mut().insert("authorization", bearer);
        }
        Ok(self.flight.inner_mut().get_flight_info(request).await?.into_inner())
    }

    /// Sends a Flight SQL command with GetFlightInfo.
    pub async fn command_info(
        &mut self,
        command: impl ProstMessageExt,
    ) -> Result<FlightInfo, Failure> {
        let any: Any = command.as_any();
        self.flight_info_of(FlightDescriptor::new_cmd(any.encode_to_vec())).await
    }

    /// Sends a Flight SQL command and fetches its rows; panics when it fails.
    pub async fn command(&mut self, command: impl ProstMessageExt) -> Answer {
        let info = self.command_info(command).await.unwrap();
        self.fetch(info).await.unwrap()
    }

    /// Waits until a job is over; its state, error and version.
    pub async fn job(&mut self, id: &str) -> Job {
        let sql = format!("SELECT * FROM system.jobs WHERE job_id = '{id}'");
        let start = std::time::Instant::now();
        loop {
            let answer = self.query(&sql).await;
            let state = answer.only("state");
            let over = !matches!(state.as_str(), "QUEUED" | "PLANNING" | "RUNNING" | "COMMITTING");
            if over {
                return Job {
                    id: id.to_owned(),
                    state,
                    error: answer.only("error"),
                    output_version: answer.only("output_version"),
                };
            }
            assert!(start.elapsed() < LIMIT, "job {id} does not end: {:?}", answer.lines());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Ids of all jobs of one object, oldest first.
    pub async fn jobs_of(&mut self, object: &str) -> Vec<String> {
        let sql = format!(
            "SELECT job_id FROM system.jobs WHERE object = '{object}' ORDER BY queued_at, job_id"
        );
        self.query(&sql).await.column("job_id")
    }

    /// Waits until the newest job of an object is over.
    pub async fn newest_job(&mut self, object: &str) -> Job {
        let jobs = self.jobs_of(object).await;
        let newest = jobs.last().unwrap_or_else(|| panic!("{object} has no job"));
        self.job(newest).await
    }

    /// Asks for a refresh, waits until it is over.
    pub async fn refresh(&mut self, view: &str) -> Job {
        let row = self.query(&format!("REFRESH {view}")).await;
        let id = row.only("job_id");
        self.job(&id).await
    }

    /// Number of rows of a table.
    pub async fn count(&mut self, table: &str) -> u64 {
        self.query(&format!("SELECT count(*) FROM {table}")).await.cell().parse().unwrap()
    }
}

/// Panics when an answer does not come at all, so that a test fails instead of hanging.
async fn limited<T>(sql: &str, answer: impl Future<Output = T>) -> T {
    let limited = tokio::time::timeout(LIMIT, answer).await;
    limited.unwrap_or_else(|_| panic!("no answer within {LIMIT:?} to: {sql}"))
}

/// A job that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Its last state.
    pub state: String,
    /// Why it failed, or `NULL`.
    pub error: String,
    /// The Delta version that holds the result, or `NULL`.
    pub output_version: String,
}

impl Job {
    /// Panics unless the job ended this way.
    pub fn expect(&self, state: &str) {
        assert_eq!(self.state, state, "{self:?}");
    }
}
