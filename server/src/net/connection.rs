//! A connection, encrypted or not.
//!
//! HTTP/2 hands over one frame of at most 16 KiB at a time and flushes behind each. Sending each by
//! itself is a call of the system for each, and with encryption two records. So what belongs to a
//! long answer is put together, and sent when there is much of it or nothing follows.

use std::{
    io,
    io::IoSlice,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use crate::auth::Peer;

/// Bytes that are put together.
const TOGETHER: usize = 128 << 10;
/// A write of so many bytes is a part of a long answer; what is shorter is sent at once.
const LONG: usize = 8 << 10;

/// A connection that may be spoken on, and who is at its other end.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    peer: Peer,
    /// Written, and sent up to here.
    waiting: Vec<u8>,
    sent: usize,
    /// Whether the last write was long, and nobody has asked to flush twice since.
    more_may_follow: bool,
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Encrypted(Box<TlsStream<TcpStream>>),
}

impl Connection {
    pub(super) fn plain(socket: TcpStream, peer: Peer) -> Self {
        Self::new(Socket::Plain(socket), peer)
    }

    pub(super) fn encrypted(socket: TlsStream<TcpStream>, peer: Peer) -> Self {
        Self::new(Socket::Encrypted(Box::new(socket)), peer)
    }

    fn new(socket: Socket, peer: Peer) -> Self {
        Self { socket, peer, waiting: Vec::new(), sent: 0, more_may_follow: false }
    }

    /// Sends what waits.
    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.waiting.len() {
            let rest = IoSlice::new(&self.waiting[self.sent..]);
            let sent = ready!(self.socket.write(context, &[rest]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += sent;
        }
        self.waiting.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl Socket {
    fn write(
        &mut self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            Self::Encrypted(socket) => Pin::new(socket).poll_write_vectored(context, slices),
        }
    }

    fn flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_flush(context),
            Self::Encrypted(socket) => Pin::new(socket).poll_flush(context),
        }
    }
}

/// Each request gets the [`Peer`] into its extensions.
impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Encrypted(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let length = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if this.waiting.len() + length > TOGETHER {
            ready!(this.send(context))?;
        }
        let long = (LONG..=TOGETHER).contains(&length);
        if this.waiting.is_empty() && !long {
            this.more_may_follow = false;
            return this.socket.write(context, slices);
        }
        this.more_may_follow = long;
        if this.waiting.capacity() == 0 {
            this.waiting.reserve_exact(TOGETHER);
        }
        slices.iter().for_each(|slice| this.waiting.extend_from_slice(slice));
        Poll::Ready(Ok(length))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.more_may_follow {
            // HTTP/2 flushes behind each frame. It is asked again when it has written what it had,
            // and flushes then as well: without a write in between, nothing follows for now.
            this.more_may_follow = false;
            context.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        ready!(this.send(context))?;
        // A connection that says nothing more has no need of it.
        this.waiting = Vec::new();
        this.socket.flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.send(context))?;
        match &mut self.socket {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Encrypted(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, address) = listener.accept().await.unwrap();
        (Connection::plain(socket, Peer { address: Some(address), certificate: None }), client)
    }

    fn text(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n % 251) as u8).collect()
    }

    #[tokio::test]
    async fn what_was_written_arrives_whatever_its_length() {
        let (mut connection, mut client) = pair().await;
        let lengths = [1, LONG, 16 << 10, TOGETHER, TOGETHER + 1, 3, 40 << 10, LONG - 1, 1 << 20];
        let whole: Vec<u8> = lengths.into_iter().flat_map(text).collect();
        let writing = tokio::spawn(async move {
            for length in lengths {
                connection.write_all(&text(length)).await.unwrap();
                connection.flush().await.unwrap();
            }
            connection.shutdown().await.unwrap();
        });
        let mut read = Vec::new();
        client.read_to_end(&mut read).await.unwrap();
        writing.await.unwrap();
        assert!(read == whole, "{} of {} bytes", read.len(), whole.len());
    }

    #[tokio::test]
    async fn short_writes_are_sent_at_once_and_long_ones_at_the_second_flush() {
        let (mut connection, mut client) = pair().await;
        let mut buffer = vec![0; 64 << 10];
        connection.write_all(b"short").await.unwrap();
        assert_eq!(client.read(&mut buffer).await.unwrap(), 5);

        connection.write_all(&text(16 << 10)).await.unwrap();
        connection.flush().await.unwrap();
        assert!(client.try_read(&mut buffer).is_err(), "it waits for more");
        connection.flush().await.unwrap();
        client.read_exact(&mut buffer[..16 << 10]).await.unwrap();

        // What comes behind it does not overtake it.
        connection.write_all(&text(16 << 10)).await.unwrap();
        connection.write_all(b"short").await.unwrap();
        connection.flush().await.unwrap();
        client.read_exact(&mut buffer[..(16 << 10) + 5]).await.unwrap();
        assert_eq!(&buffer[16 << 10..][..5], b"short");
    }
}
