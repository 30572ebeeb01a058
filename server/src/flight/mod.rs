//! Flight SQL: statements and metadata over Arrow Flight.
//!
//! It exists so that ADBC, JDBC, ODBC and plain Flight clients can talk to Whimbrel; it turns their
//! messages into calls of [`query::queries::Queries`] and rows into messages. It never plans,
//! decides a right or builds a principal itself.
//!
//! A query is planned once, at GetFlightInfo, and waits under a handle that can be fetched once by
//! the one who asked; its ticket is sealed ([`crate::seal`]) and says what another server needs to plan
//! it again. Anything else takes effect at GetFlightInfo or DoPut, whichever the driver
//! sends, exactly once; what it answers waits under a handle like rows do. Preparing has no effect.
//! A transaction is a handle too; a session is a cookie.

mod body;
mod cancel;
mod handshake;
mod ingest;
mod message;
mod metadata;
mod parameters;
mod poll;
mod prepared;
mod sealed;
mod service;
mod session;
mod sql_info;
mod statement;
mod stream;
mod substrait;
mod ticket;
mod transaction;
mod type_info;
mod whole;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use arrow_flight::{
    flight_service_server::FlightServiceServer, sql::metadata::SqlInfoData,
    sql::metadata::XdbcTypeInfoData,
};
use model::{id::WorkerId, principal::Principal};
use query::{handles::Handles, queries::Queries, session::Session, transaction::Transaction};
use rt::clock::Clock;
use tonic::{Extensions, Status, metadata::MetadataMap};

use crate::{
    auth::{Authenticator, Peer},
    error::{auth_status, internal},
    seal::Seals,
};
pub use body::send_rows;
use prepared::PreparedStatement;
use sql_info::Facts;
use statement::Waiting;
pub use whole::whole_rows;

/// How often what has expired is dropped, so that it frees what it holds.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// How long other servers know a prepared statement: drivers that keep connections keep them for long.
pub const STATEMENT_TTL: Duration = Duration::from_secs(24 * 3_600);

/// Parts and limits of the Flight SQL service.
pub struct FlightOptions {
    /// Runs the statements.
    pub queries: Queries,
    /// What tickets are sealed with.
    pub seals: Arc<Seals>,
    /// Whether other servers have the same catalog. What waits here may then never be fetched here.
    pub is_shared: bool,
    /// This process.
    pub server: ServerName,
    /// Knows who asks.
    pub auth: Arc<Authenticator>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long a result, a prepared statement or a transaction waits for its client.
    pub handle_ttl: Duration,
    /// How many results, prepared statements and transactions wait at once, of each.
    pub handles_max: usize,
    /// Bytes of one gRPC message, in either direction.
    pub message_size_max: usize,
    /// The version that clients are told.
    pub version: String,
}

impl fmt::Debug for FlightOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightOptions")
            .field("handle_ttl", &self.handle_ttl)
            .field("handles_max", &self.handles_max)
            .field("message_size_max", &self.message_size_max)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Which process it is that something waits in.
#[derive(Debug, Clone, Copy)]
pub struct ServerName {
    /// Its id, as `system.runs` and the log of its start have it.
    pub worker: WorkerId,
    /// Where it listens.
    pub address: SocketAddr,
}

impl ServerName {
    fn id(&self) -> [u8; 16] {
        *self.worker.as_uuid().as_bytes()
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} (worker {})", self.address, self.worker)
    }
}

/// The service, ready to be added to a tonic server that has [`send_rows`] and [`whole_rows`] as
/// layers. Has to be called inside a Tokio runtime: a task that drops expired handles lives as long
/// as the service.
pub fn service(options: FlightOptions) -> Result<FlightServiceServer<FlightSql>, Status> {
    let FlightOptions {
        queries,
        seals,
        is_shared,
        server,
        auth,
        clock,
        handle_ttl,
        handles_max,
        message_size_max,
        version,
    } = options;
    let statement_ttl = STATEMENT_TTL.max(handle_ttl);
    let facts = Facts { version: &version, sql_length_max: queries.sql_length_max(), handle_ttl };
    let sql_info = sql_info::sql_info(&facts).map_err(|e| internal("describe the server", &e))?;
    let inner = Arc::new(Inner {
        queries,
        seals,
        is_shared,
        server,
        auth,
        clock: Arc::clone(&clock),
        handle_ttl,
        statement_ttl,
        waiting: Handles::new(handles_max, handle_ttl, Arc::clone(&clock)),
        prepared: Handles::new(handles_max, handle_ttl, Arc::clone(&clock)),
        transactions: Handles::new(handles_max, handle_ttl, Arc::clone(&clock)),
        message_size_max,
        sql_info_of_old: sql_info::unless_asked(&sql_info)
            .map_err(|e| internal("describe the server", &e))?,
        sql_info,
        type_info: type_info::type_info().map_err(|e| internal("describe the types", &e))?,
    });
    tokio::spawn(sweep(Arc::downgrade(&inner), clock));
    Ok(FlightServiceServer::new(FlightSql { inner })
        .max_decoding_message_size(message_size_max)
        .max_encoding_message_size(message_size_max))
}

/// Flight SQL over the query engine. Made by [`service`].
#[derive(Clone)]
pub struct FlightSql {
    inner: Arc<Inner>,
}

impl fmt::Debug for FlightSql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightSql").finish_non_exhaustive()
    }
}

struct Inner {
    queries: Queries,
    seals: Arc<Seals>,
    is_shared: bool,
    server: ServerName,
    auth: Arc<Authenticator>,
    clock: Arc<dyn Clock>,
    handle_ttl: Duration,
    statement_ttl: Duration,
    waiting: Handles<Waiting>,
    prepared: Handles<Arc<PreparedStatement>>,
    transactions: Handles<Arc<Transaction>>,
    message_size_max: usize,
    sql_info: SqlInfoData,
    /// The numbers of it that are answered to who asks for none.
    sql_info_of_old: Vec<u32>,
    type_info: XdbcTypeInfoData,
}

impl FlightSql {
    /// Who sent a request with these headers over a connection with these facts.
    async fn principal(
        &self,
        headers: &MetadataMap,
        connection: &Extensions,
    ) -> Result<Principal, Status> {
        let principal = self.inner.auth.authenticate(headers, connection).await;
        principal.map_err(|error| auth_status(&error))
    }

    /// The session of such a request.
    async fn session(
        &self,
        headers: &MetadataMap,
        connection: &Extensions,
    ) -> Result<Session, Status> {
        let client = Peer::of(connection).client("flight");
        let session = Session::new(self.principal(headers, connection).await?);
        let session = session.with_client(Some(client.into()));
        Ok(match session::schema(headers)?.or_else(|| session::asked(headers)) {
            Some(schema) => session.with_schema(schema),
            None => session,
        })
    }
}

async fn sweep(inner: Weak<Inner>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep(SWEEP_EVERY).await;
        let Some(inner) = inner.upgrade() else { return };
        inner.waiting.sweep();
        inner.prepared.sweep();
        inner.transactions.sweep();
    }
}

#[cfg(test)]
mod tests;
