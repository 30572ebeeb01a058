//! Connections as they come in.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rt::clock::Clock;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::{Connection, Door, Protocol, Tls, tally::Tally};
use crate::auth::Peer;

/// How long to wait after the system had no room for one more connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Connections that are being encrypted at once.
const HANDSHAKES_MAX: usize = 256;
/// Connections that are ready and not yet taken.
const READY_MAX: usize = 64;

/// Connections that are ready to be spoken on.
pub type Incoming = ReceiverStream<io::Result<Connection>>;

/// Accepts connections for Flight until `stop`, each encrypted when there is `tls`. One that stalls
/// or sends nonsense holds up no other.
pub fn incoming(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Incoming {
    let (ready, incoming) = mpsc::channel(READY_MAX);
    tokio::spawn(accept(listener, tls, clock, stop, ready));
    ReceiverStream::new(incoming)
}

async fn accept(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    ready: mpsc::Sender<io::Result<Connection>>,
) {
    let door = Door::new(HANDSHAKES_MAX);
    let failures = Tally::default();
    loop {
        let next = tokio::select! {
            () = stop.cancelled() => return,
            next = next_socket(&listener, clock.as_ref(), &failures) => next,
        };
        let (socket, address) = next;
        let peer = Peer { address: Some(address), certificate: None };
        let Some(tls) = tls.clone() else {
            // Its error is that nobody serves any more.
            if ready.send(Ok(Connection::plain(socket, peer))).await.is_err() {
                return;
            }
            continue;
        };
        let mut waiting = door.enter();
        let (ready, stop) = (ready.clone(), stop.clone());
        tokio::spawn(async move {
            let encrypted = tokio::select! {
                () = stop.cancelled() => return,
                () = waiting.lost() => {
                    tls.crowded(address);
                    return;
                }
                encrypted = tls.accept(socket, Protocol::Flight, peer) => encrypted,
            };
            drop(waiting);
            if let Some((socket, peer)) = encrypted {
                let _ = ready.send(Ok(Connection::encrypted(socket, peer))).await;
            }
        });
    }
}

/// The next connection. Waits and tries again when the system has no room for one more.
pub(crate) async fn next_socket(
    listener: &TcpListener,
    clock: &dyn Clock,
    failures: &Tally,
) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((socket, address)) => {
                // Answers are whole messages: nothing is gained by waiting for more. Its error is
                // that the other end has gone, which the first read tells too.
                let _ = socket.set_nodelay(true);
                return (socket, address);
            }
            Err(error) => {
                failures.warn(clock.now(), &error, "a connection cannot be accepted");
                clock.sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}
