//! Messages from and to one client: whole, bounded, and never half written.

use std::panic::AssertUnwindSafe;

use bytes::{BufMut, BytesMut};
use pgwire::messages::{
    DecodeContext, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion,
    response::{ErrorResponse, NoticeResponse},
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{error::PgError, frame};

/// What is written before the client has to take some of it.
const OUT_MAX: usize = 64 << 10;
/// What is read ahead while a statement runs, so that a client that goes away is noticed.
const AHEAD_MAX: usize = 64 << 10;
/// A message has a letter and its length.
const HEAD: usize = 5;

/// A connection, encrypted or not.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + Sync {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + Sync> Socket for T {}

pub(super) type BoxSocket = Box<dyn Socket>;

/// Why a connection ends without another word.
#[derive(Debug)]
pub(super) enum Lost {
    /// The client is gone, or the network is.
    Gone,
    /// What it sends cannot be followed any further.
    Broken(PgError),
}

/// What a client has sent.
#[derive(Debug)]
pub(super) enum Received {
    Message(PgWireFrontendMessage),
    /// Whole, and nothing that can be done; the messages after it can be followed.
    Refused {
        error: PgError,
        is_extended: bool,
    },
}

/// What a client sends.
pub(super) struct Reader {
    half: ReadHalf<BoxSocket>,
    buffer: BytesMut,
    message_max: usize,
    context: DecodeContext,
}

impl Reader {
    /// What was read of the connection before belongs to nobody: `buffer` is where it goes on.
    pub(super) fn new(half: ReadHalf<BoxSocket>, buffer: BytesMut, message_max: usize) -> Self {
        let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
        context.awaiting_frontend_ssl = false;
        context.awaiting_frontend_startup = false;
        Self { half, buffer, message_max, context }
    }

    /// Longer messages end the connection.
    pub(super) fn allow(&mut self, message_max: usize) {
        self.message_max = message_max;
    }

    /// The next message. Loses nothing when it is dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Received, Lost> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(message);
            }
            match self.half.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Lost::Gone),
                Ok(_) => {}
            }
        }
    }

    /// Ends when the client has gone, however many messages it sends before.
    pub(super) async fn gone(&mut self) {
        while self.buffer.len() < AHEAD_MAX {
            match self.half.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        // Too much is waiting to look any further: a write will tell.
        std::future::pending().await
    }

    fn take(&mut self) -> Result<Option<Received>, Lost> {
        if self.buffer.len() < HEAD {
            return Ok(None);
        }
        let length = [self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]];
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(0);
        if length < HEAD - 1 {
            return Err(Lost::Broken(PgError::protocol("a message has no length")));
        }
        if length > self.message_max {
            return Err(Lost::Broken(PgError::too_long(length, self.message_max)));
        }
        if self.buffer.len() < length + 1 {
            self.buffer.reserve(length + 1 - self.buffer.len());
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(length + 1);
        let broken = |broken| match broken {
            frame::Broken::Short => "a message ends before what it says is in it",
            frame::Broken::Long => "a message is longer than what it says is in it",
        };
        frame::check(frame[0], &frame[HEAD..])
            .map_err(|error| Lost::Broken(PgError::protocol(broken(error))))?;
        if let Some(refused) = refused(frame[0], &frame[HEAD..]) {
            return Ok(Some(refused));
        }
        // Should a message get past that check, the client gets to know it and not only this thread.
        let decode = || {
            PgWireFrontendMessage::decode(&mut frame, &self.context)
                .map(|message| message.filter(|_| frame.is_empty()))
        };
        match std::panic::catch_unwind(AssertUnwindSafe(decode)) {
            Ok(Ok(Some(message))) => Ok(Some(Received::Message(message))),
            Ok(Err(error)) => Err(Lost::Broken(PgError::protocol(error.to_string()))),
            Ok(Ok(None)) | Err(_) => {
                Err(Lost::Broken(PgError::protocol("a message cannot be decoded")))
            }
        }
    }
}

/// What is wrong with a message that has the right length.
fn refused(letter: u8, body: &[u8]) -> Option<Received> {
    const FUNCTION_CALL: u8 = b'F';
    if letter == FUNCTION_CALL {
        let error = PgError::unsupported("calls of functions are not supported in this version")
            .with_hint("call the function in a query");
        return Some(Received::Refused { error, is_extended: false });
    }
    if frame::is_text(letter, body) {
        return None;
    }
    let error = PgError::new("22021", "a text has bytes that are no UTF-8");
    let is_extended = matches!(letter, b'P' | b'B' | b'C' | b'D' | b'E');
    Some(Received::Refused { error, is_extended })
}

/// What a client gets.
pub(super) struct Writer {
    half: WriteHalf<BoxSocket>,
    buffer: BytesMut,
}

impl Writer {
    pub(super) fn new(half: WriteHalf<BoxSocket>) -> Self {
        Self { half, buffer: BytesMut::new() }
    }

    /// Adds a message to what is on its way.
    pub(super) fn put(&mut self, message: PgWireBackendMessage) {
        // Only a message of more than two GiB is refused, and none of ours can be.
        if let Err(error) = message.encode(&mut self.buffer) {
            tracing::error!(%error, "a message of the server cannot be encoded");
        }
    }

    pub(super) fn error(&mut self, error: &PgError) {
        self.put(PgWireBackendMessage::ErrorResponse(ErrorResponse::new(error.fields("ERROR"))));
    }

    pub(super) fn fatal(&mut self, error: &PgError) {
        self.put(PgWireBackendMessage::ErrorResponse(ErrorResponse::new(error.fields("FATAL"))));
    }

    pub(super) fn warning(&mut self, error: &PgError) {
        self.put(PgWireBackendMessage::NoticeResponse(NoticeResponse::new(
            error.fields("WARNING"),
        )));
    }

    /// A row, its cells written by `cells`; nothing of it when they fail.
    pub(super) fn row(
        &mut self,
        columns: usize,
        cells: impl FnOnce(&mut BytesMut) -> Result<(), PgError>,
    ) -> Result<(), PgError> {
        let columns = i16::try_from(columns).map_err(|_| PgError::too_many_columns(columns))?;
        self.framed(b'D', |out| {
            out.put_i16(columns);
            cells(out)
        })
    }

    /// A piece of a COPY.
    pub(super) fn copy_data(
        &mut self,
        data: impl FnOnce(&mut BytesMut) -> Result<(), PgError>,
    ) -> Result<(), PgError> {
        self.framed(b'd', data)
    }

    fn framed(
        &mut self,
        letter: u8,
        body: impl FnOnce(&mut BytesMut) -> Result<(), PgError>,
    ) -> Result<(), PgError> {
        let start = self.buffer.len();
        self.buffer.put_u8(letter);
        self.buffer.put_i32(0);
        let written = body(&mut self.buffer).and_then(|()| {
            let length = self.buffer.len() - start - 1;
            i32::try_from(length).map_err(|_| PgError::too_long(length, i32::MAX as usize))
        });
        match written {
            Ok(length) => {
                self.buffer[start + 1..start + HEAD].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            Err(error) => {
                self.buffer.truncate(start);
                Err(error)
            }
        }
    }

    /// Waits until the client has taken some of it when there is much.
    pub(super) async fn ease(&mut self) -> Result<(), PgError> {
        if self.buffer.len() < OUT_MAX { Ok(()) } else { self.flush().await }
    }

    /// Sends everything. Dropped while it waits, it has sent a part and keeps the rest.
    pub(super) async fn flush(&mut self) -> Result<(), PgError> {
        while !self.buffer.is_empty() {
            match self.half.write_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(PgError::gone()),
                Ok(_) => {}
            }
        }
        self.half.flush().await.map_err(|_| PgError::gone())
    }

    /// Says goodbye.
    pub(super) async fn close(&mut self) {
        // The client may have gone first.
        let _ = self.flush().await;
        let _ = self.half.shutdown().await;
    }
}
