//! One connection to one server, and statements sent over it.

use std::{fmt, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use arrow_flight::{
    FlightEndpoint, FlightInfo, HandshakeRequest, Ticket, decode::FlightRecordBatchStream,
    flight_service_client::FlightServiceClient, sql::client::FlightSqlServiceClient,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::StreamExt;
use tonic::{
    Code, Request,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

use crate::auth::Secret;

use super::{
    ClientError, ServerUrl,
    error::innermost,
    split::{StatementKind, statement_kind},
};

/// Bytes of one message that a server may send us.
const MESSAGE_SIZE_MAX: usize = 256 << 20;
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(10);

/// How to reach a server.
#[derive(Clone)]
pub struct ConnectOptions {
    /// Where it is.
    pub url: ServerUrl,
    /// Who we are, when the server wants to know; goes before the user in the URL.
    pub user: Option<String>,
    /// The proof; goes before the password in the URL.
    pub password: Option<String>,
    /// A token of an issuer, for a server that takes them; without effect where a user is named.
    pub token: Option<Secret>,
    /// Whose certificates count.
    pub trust: TransportSecurity,
    /// What we show of ourselves when the server asks for it.
    pub certificate: Option<OwnCertificate>,
}

/// A certificate and its key, as PEM.
#[derive(Debug, Clone)]
pub struct OwnCertificate {
    /// The certificate chain, ours first.
    pub cert: String,
    /// The private key.
    pub key: Secret,
}

/// Whose certificates count on an encrypted connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransportSecurity {
    /// Those that the operating system trusts.
    System,
    /// Those signed by the authority in this PEM text.
    Authority(String),
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions").field("url", &self.url).field("user", &self.user).finish()
    }
}

/// An open, authenticated connection. Clones share it.
#[derive(Clone)]
pub struct Connection {
    options: ConnectOptions,
    channel: Channel,
    flight: FlightSqlServiceClient<Channel>,
    bearer: Bearer,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("url", &self.options.url).finish_non_exhaustive()
    }
}

/// Adds the token to calls of services other than Flight.
#[derive(Clone, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(***)")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, tonic::Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// What a statement answered.
#[derive(Debug)]
pub enum Outcome {
    /// Rows; dropping them cancels the statement.
    Rows(Box<Rows>),
    /// No rows: how many were changed, when the server knows.
    Done(Option<i64>),
}

impl Connection {
    /// Connects, and logs in when a user is named or there is a token.
    pub async fn open(options: ConnectOptions) -> Result<Self, ClientError> {
        let channel = channel(&options.url, &options).await?;
        let service = FlightServiceClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_SIZE_MAX)
            .max_encoding_message_size(MESSAGE_SIZE_MAX);
        let flight = FlightSqlServiceClient::new_from_inner(service);
        let mut connection = Self { options, channel, flight, bearer: Bearer::default() };
        connection.log_in().await?;
        Ok(connection)
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> &ServerUrl {
        &self.options.url
    }

    /// The connection itself, for services that want no login.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The service `whimbrel.v1.Jobs` on the same connection.
    #[must_use]
    pub fn jobs(&self) -> proto::v1::jobs_client::JobsClient<InterceptedService<Channel, Bearer>> {
        proto::v1::jobs_client::JobsClient::with_interceptor(
            self.channel.clone(),
            self.bearer.clone(),
        )
    }

    /// The service `whimbrel.v1.Transforms` on the same connection.
    #[must_use]
    pub fn transforms(
        &self,
    ) -> proto::v1::transforms_client::TransformsClient<InterceptedService<Channel, Bearer>> {
        proto::v1::transforms_client::TransformsClient::with_interceptor(
            self.channel.clone(),
            self.bearer.clone(),
        )
        .max_encoding_message_size(MESSAGE_SIZE_MAX)
        .max_decoding_message_size(MESSAGE_SIZE_MAX)
    }

    /// For the metadata calls of Flight SQL.
    pub(super) fn flight(&mut self) -> &mut FlightSqlServiceClient<Channel> {
        &mut self.flight
    }

    /// Runs one statement. It takes effect at most once, and exactly once when this answers `Ok`.
    ///
    /// The server is asked to prepare it first, which changes nothing, and says by the schema
    /// whether there are rows to come; only then is it executed, by one call.
    pub async fn run(&mut self, sql: &str) -> Result<Outcome, ClientError> {
        let mut prepared = match self.flight.prepare(sql.to_owned(), None).await {
            Ok(prepared) => prepared,
            Err(error) => return self.run_unprepared(sql, error.into()).await,
        };
        let fields = prepared.dataset_schema().map(|schema| schema.fields().len()).unwrap_or(0);
        let changes_rows = statement_kind(sql) == StatementKind::Change;
        if fields == 0 && changes_rows {
            let count = prepared.execute_update().await;
            let closed = prepared.close().await;
            let count = count?;
            if let Err(error) = closed {
                tracing::debug!(%error, "the server did not close the prepared statement");
            }
            return Ok(Outcome::Done((count >= 0).then_some(count)));
        }
        let info = prepared.execute().await;
        let rows = match info {
            Ok(info) => self.fetch(info).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = prepared.close().await {
            tracing::debug!(%error, "the server did not close the prepared statement");
        }
        rows.map(|rows| Outcome::Rows(Box::new(rows)))
    }

    /// For servers that cannot prepare: what the statement is, its first word has to tell.
    async fn run_unprepared(
        &mut self,
        sql: &str,
        why: ClientError,
    ) -> Result<Outcome, ClientError> {
        if !matches!(why, ClientError::Server { code: Code::Unimplemented, .. }) {
            return Err(why);
        }
        match statement_kind(sql) {
            StatementKind::Change => {
                let count = self.flight.execute_update(sql.to_owned(), None).await?;
                Ok(Outcome::Done((count >= 0).then_some(count)))
            }
            StatementKind::Query | StatementKind::Other => {
                let info = self.flight.execute(sql.to_owned(), None).await?;
                Ok(Outcome::Rows(Box::new(self.fetch(info).await?)))
            }
        }
    }

    /// The rows behind a FlightInfo, from all its endpoints in turn.
    pub(super) async fn fetch(&self, info: FlightInfo) -> Result<Rows, ClientError> {
        let schema =
            info.clone().try_decode_schema().ok().filter(|schema| !schema.fields().is_empty());
        let mut rows = Rows {
            connection: self.clone(),
            endpoints: info.endpoint.into(),
            current: None,
            schema: schema.map(SchemaRef::new),
            peeked: None,
        };
        // The first message carries the schema that the batches really have.
        rows.peeked = rows.advance().await?;
        Ok(rows)
    }

    async fn stream(
        &self,
        endpoint: FlightEndpoint,
    ) -> Result<FlightRecordBatchStream, ClientError> {
        let ticket = endpoint.ticket.unwrap_or_else(|| Ticket { ticket: bytes::Bytes::new() });
        let elsewhere = endpoint
            .location
            .iter()
            .all(|location| !is_here(&location.uri, &self.options.url))
            .then(|| endpoint.location.first())
            .flatten();
        let mut flight = match elsewhere {
            None => self.flight.clone(),
            Some(location) => {
                let url: ServerUrl = location.uri.parse()?;
                let channel = channel(&url, &self.options).await?;
                let service =
                    FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_SIZE_MAX);
                let mut flight = FlightSqlServiceClient::new_from_inner(service);
                if let Some(token) = self.flight.token() {
                    flight.set_token(token.clone());
                }
                flight
            }
        };
        Ok(flight.do_get(ticket).await?)
    }

    async fn log_in(&mut self) -> Result<(), ClientError> {
        let in_url = self.options.url.credentials();
        let user = self.options.user.as_deref().or(in_url.map(|(user, _)| user));
        let Some(user) = user else {
            if let Some(token) = self.options.token.clone() {
                self.send_with_each_call(token.reveal())?;
            }
            return Ok(());
        };
        let password =
            self.options.password.as_deref().or(in_url.and_then(|(_, password)| password));
        let credentials =
            BASE64_STANDARD.encode(format!("{user}:{}", password.unwrap_or_default()));
        let hello = HandshakeRequest { protocol_version: 0, payload: bytes::Bytes::new() };
        let mut request = Request::new(futures::stream::iter([hello]));
        request.metadata_mut().insert("authorization", header(&format!("Basic {credentials}"))?);
        let response = self.flight.inner_mut().handshake(request).await;
        let response = response.map_err(|status| match status.code() {
            Code::Unauthenticated => ClientError::Login(status.message().to_owned()),
            _ => status.into(),
        })?;
        let token = response.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let token = match token {
            Some(text) => text.strip_prefix("Bearer ").unwrap_or(text).to_owned(),
            // Some servers put the token into the payload instead.
            None => {
                let mut payloads = response.into_inner();
                let payload = payloads.message().await?.map(|first| first.payload);
                let payload = payload.unwrap_or_default();
                String::from_utf8(payload.into())
                    .map_err(|_| ClientError::Answer("the login token is no text".to_owned()))?
            }
        };
        if !token.is_empty() {
            self.send_with_each_call(&token)?;
        }
        Ok(())
    }

    fn send_with_each_call(&mut self, token: &str) -> Result<(), ClientError> {
        self.bearer = Bearer(Some(header(&format!("Bearer {token}"))?));
        self.flight.set_token(token.to_owned());
        Ok(())
    }
}

/// Rows of a result, as they come in. Dropping them cancels the statement.
pub struct Rows {
    connection: Connection,
    endpoints: std::collections::VecDeque<FlightEndpoint>,
    current: Option<FlightRecordBatchStream>,
    schema: Option<SchemaRef>,
    peeked: Option<RecordBatch>,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("endpoints_left", &self.endpoints.len())
            .finish_non_exhaustive()
    }
}

impl Rows {
    /// The columns.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone().unwrap_or_else(|| SchemaRef::new(arrow::datatypes::Schema::empty()))
    }

    /// The next rows, or none at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        match self.peeked.take() {
            Some(batch) => Ok(Some(batch)),
            None => self.advance().await,
        }
    }

    /// All rows that are left. Only for results known to be small.
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, ClientError> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    async fn advance(&mut self) -> Result<Option<RecordBatch>, ClientError> {
        loop {
            if let Some(stream) = &mut self.current {
                match stream.next().await {
                    Some(batch) => {
                        let batch = batch?;
                        self.schema = Some(batch.schema());
                        return Ok(Some(batch));
                    }
                    None => {
                        if let Some(schema) = stream.schema() {
                            self.schema = Some(SchemaRef::clone(schema));
                        }
                        self.current = None;
                    }
                }
            }
            let Some(endpoint) = self.endpoints.pop_front() else { return Ok(None) };
            self.current = Some(self.connection.stream(endpoint).await?);
        }
    }
}

async fn channel(url: &ServerUrl, options: &ConnectOptions) -> Result<Channel, ClientError> {
    let refused = |error: tonic::transport::Error| {
        let (url, why) = (url.to_string(), innermost(&error).to_string());
        if why.contains("certificate") {
            ClientError::Untrusted { url, why }
        } else {
            ClientError::Connect { url, why }
        }
    };
    let mut endpoint = Endpoint::from_shared(url.to_http())
        .map_err(|error| ClientError::Url {
            url: url.to_string(),
            why: innermost(&error).to_string(),
        })?
        .connect_timeout(CONNECT_WAIT_MAX)
        .tcp_nodelay(true)
        // Large windows: a result is one long stream, often over a fast network.
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_while_idle(true);
    if url.is_tls() {
        let name = url.host().trim_start_matches('[').trim_end_matches(']');
        let tls = ClientTlsConfig::new().domain_name(name);
        let tls = match &options.trust {
            TransportSecurity::System => tls.with_native_roots(),
            TransportSecurity::Authority(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
        };
        let tls = match &options.certificate {
            None => tls,
            Some(own) => tls.identity(Identity::from_pem(&own.cert, own.key.reveal())),
        };
        endpoint = endpoint.tls_config(tls).map_err(refused)?;
    }
    endpoint.connect().await.map_err(refused)
}

fn header(text: &str) -> Result<MetadataValue<Ascii>, ClientError> {
    text.parse().map_err(|_| ClientError::Answer("the login token is no plain text".to_owned()))
}

/// Whether a location of an endpoint means the connection that we have.
fn is_here(uri: &str, url: &ServerUrl) -> bool {
    uri.is_empty()
        || uri.starts_with("arrow-flight-reuse-connection:")
        || uri.parse::<ServerUrl>().is_ok_and(|other| other.to_http() == url.to_http())
}
