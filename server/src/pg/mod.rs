//! The wire protocol of Postgres, for psql, JDBC, psycopg and the tools on top of them.
//!
//! It only translates: statements go through [`query::queries::Queries`] as those of Flight do, and
//! rows come back from there. It never plans, decides a right or builds a principal itself.
//!
//! Each connection is one session with at most one statement at a time; a client that goes away, and
//! a cancel request, end what it runs. There are no transactions over several statements: a block may
//! read, and a write inside of one is refused.

mod cancel;
mod copy;
mod encode;
mod error;
mod extended;
mod frame;
mod idle;
mod own;
mod parameters;
mod places;
mod portal;
mod prepared;
mod rows;
mod session;
mod settings;
mod simple;
mod startup;
mod wire;
mod words;

use std::{fmt, sync::Arc, time::Duration};

use model::principal::Principal;
use query::queries::Queries;
use rt::{clock::Clock, shutdown::Shutdown};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use self::{
    cancel::Sessions,
    error::PgError,
    idle::Idle,
    places::{Places, Who},
    session::{Session, Stay},
    startup::Opening,
    wire::{Lost, Writer},
};
use crate::{
    auth::{Authenticator, Peer},
    net::{Door, Tally, Tls, Waiting, next_socket},
};

/// How long a connection has for TLS and its login.
const STARTUP_MAX: Duration = Duration::from_secs(30);
/// Connections at once that are being encrypted and logged in, or bring a cancel request.
const AT_THE_DOOR_MAX: usize = 256;

/// Parts and limits of the Postgres port.
pub struct PgOptions {
    /// Runs the statements.
    pub queries: Queries,
    /// Knows who asks.
    pub auth: Arc<Authenticator>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Says when to stop.
    pub shutdown: Shutdown,
    /// Sessions at once.
    pub connections_max: usize,
    /// Sessions of one user at once; of one address on a server without users.
    pub connections_per_user_max: usize,
    /// How long a session may do nothing; zero for ever.
    pub idle_timeout: Duration,
    /// Bytes of one message.
    pub message_size_max: usize,
    /// Encrypts connections; with it, all have to be.
    pub tls: Option<Arc<Tls>>,
    /// The version that clients are told.
    pub version: String,
}

impl fmt::Debug for PgOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgOptions")
            .field("connections_max", &self.connections_max)
            .field("connections_per_user_max", &self.connections_per_user_max)
            .field("idle_timeout", &self.idle_timeout)
            .field("message_size_max", &self.message_size_max)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

struct Shared {
    queries: Queries,
    auth: Arc<Authenticator>,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
    sessions: Arc<Sessions>,
    places: Arc<Places>,
    idle_timeout: Duration,
    message_size_max: usize,
    tls: Option<Arc<Tls>>,
    version: String,
}

/// Serves until shutdown begins; sessions end by themselves then.
pub fn serve(listener: TcpListener, options: PgOptions) -> JoinHandle<()> {
    let PgOptions {
        queries,
        auth,
        clock,
        shutdown,
        connections_max,
        connections_per_user_max,
        idle_timeout,
        message_size_max,
        tls,
        version,
    } = options;
    let shared = Arc::new(Shared {
        queries,
        auth,
        clock,
        shutdown,
        sessions: Arc::default(),
        places: Arc::new(Places::new(connections_max, connections_per_user_max)),
        idle_timeout,
        message_size_max,
        tls,
        version,
    });
    tokio::spawn(accept(listener, shared))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let stop = shared.shutdown.token();
    let (door, failures) = (Door::new(AT_THE_DOOR_MAX), Tally::default());
    loop {
        let (socket, address) = tokio::select! {
            () = stop.cancelled() => return,
            next = next_socket(&listener, shared.clock.as_ref(), &failures) => next,
        };
        let peer = Peer { address: Some(address), certificate: None };
        let connection = connection(socket, peer, Arc::clone(&shared), door.enter());
        shared.shutdown.spawn("Postgres session", connection);
    }
}

async fn connection(socket: TcpStream, peer: Peer, shared: Arc<Shared>, mut waiting: Waiting) {
    let stop = shared.shutdown.token();
    let opened = tokio::select! {
        () = stop.cancelled() => return,
        () = shared.clock.sleep(STARTUP_MAX) => return,
        () = waiting.lost() => return,
        opened = begin(socket, peer, &shared) => opened,
    };
    drop(waiting);
    if let Some(session) = opened {
        session.run().await;
    }
}

/// From the first packet to the first question.
async fn begin(socket: TcpStream, peer: Peer, shared: &Arc<Shared>) -> Option<Session> {
    let (mut reader, mut writer, startup, from) = match startup::open(socket, peer, shared).await {
        Opening::Session { reader, writer, startup, from } => (reader, writer, startup, from),
        Opening::Cancel { pid, secret } => {
            shared.sessions.cancel(pid, secret);
            return None;
        }
        Opening::Nothing => return None,
    };
    let login = match startup::login(shared, &startup, &from, (&mut reader, &mut writer)).await {
        Ok(Ok(login)) => login,
        Ok(Err(error)) | Err(Lost::Broken(error)) => return refuse(writer, &error).await,
        Err(Lost::Gone) => return None,
    };
    let stay = match stay(shared, &login.principal, &from.peer).await {
        Ok(stay) => stay,
        Err(error) => return refuse(writer, &error).await,
    };
    let seat = match shared.sessions.open() {
        Ok(seat) => seat,
        Err(error) => {
            let text = format!("the operating system gives no random numbers: {error}");
            return refuse(writer, &PgError::new("XX000", text)).await;
        }
    };
    startup::welcome(&mut writer, &login.settings, &seat).await.ok()?;
    reader.allow(shared.message_size_max);
    Some(Session::new(Arc::clone(shared), login, seat, (reader, writer), stay))
}

/// A place for whoever has logged in, and how long it may be kept without use.
async fn stay(shared: &Shared, principal: &Principal, peer: &Peer) -> Result<Stay, PgError> {
    let bounds = shared.queries.session_bounds(principal).await?;
    let who = match principal.is_reserved() {
        true => Who::From(peer.address.map(|address| address.ip())),
        false => Who::User(principal.name().to_owned()),
    };
    let place = shared.places.take(who, &bounds.sessions)?;
    Ok(Stay { place, idle: Idle { server: shared.idle_timeout, bounds } })
}

async fn refuse(mut writer: Writer, error: &PgError) -> Option<Session> {
    writer.fatal(error);
    writer.close().await;
    None
}
