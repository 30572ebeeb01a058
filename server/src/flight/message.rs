//! One Flight message of rows as the bytes that travel.
//!
//! Arrow's encoder for Flight copies the buffers of a batch into one for the message, and gRPC's
//! codec copies that into another one. Here HTTP/2 gets the long ones as they are. What is written
//! is `FlightData` of Flight's protocol (Flight.proto), with metadata and body of Arrow's
//! "encapsulated message format", behind gRPC's length prefix.

use std::collections::VecDeque;

use arrow::{
    buffer::Buffer,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{root_as_message, writer::StreamEncoder},
    record_batch::RecordBatch,
};
use bytes::{BufMut, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

/// Numbers of the fields of `FlightData`.
const DATA_HEADER: u32 = 2;
const DATA_BODY: u32 = 1000;
/// The most that clients take as one frame of HTTP/2, unless they say otherwise.
const FRAME: usize = 16 << 10;
/// Bytes of gRPC's prefix.
const PREFIX: usize = 5;
/// Bytes that short buffers are put together to.
const PIECE: usize = 4 * FRAME;
/// Bytes from which on a buffer is not copied.
const ALONE: usize = 2 * FRAME;
/// Arrow's mark of a message, before the length of its metadata.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// A schema or a batch of rows as one message.
#[derive(Debug)]
pub(super) struct Message {
    header: Vec<u8>,
    body: Vec<Buffer>,
    body_length: usize,
}

impl Message {
    /// Bytes of the message, without gRPC's prefix.
    pub(super) fn len(&self) -> usize {
        let field =
            |number, length: usize| key_len(number) + encoded_len_varint(length as u64) + length;
        let body = if self.body_length == 0 { 0 } else { field(DATA_BODY, self.body_length) };
        field(DATA_HEADER, self.header.len()) + body
    }

    /// The message behind gRPC's prefix, in pieces. Its length has to fit into 32 bits.
    pub(super) fn into_pieces(self) -> Pieces {
        let length = self.len();
        let Self { header, body, body_length } = self;
        let mut begun = BytesMut::with_capacity(PIECE.min(PREFIX + length));
        // Whether it is compressed, and its length.
        begun.put_u8(0);
        begun.put_u32(u32::try_from(length).expect("whoever sends messages has a limit"));
        encode_key(DATA_HEADER, WireType::LengthDelimited, &mut begun);
        encode_varint(header.len() as u64, &mut begun);
        begun.put_slice(&header);
        if body_length > 0 {
            encode_key(DATA_BODY, WireType::LengthDelimited, &mut begun);
            encode_varint(body_length as u64, &mut begun);
        }
        Pieces { begun, rest: body.into() }
    }
}

/// A message as it is sent. Long buffers go as they are, without a copy, in whole frames; what is
/// between them is put together to pieces of at most [`PIECE`] bytes, the first one aside.
#[derive(Debug)]
pub(super) struct Pieces {
    begun: BytesMut,
    rest: VecDeque<Buffer>,
}

impl Iterator for Pieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut piece = std::mem::take(&mut self.begun);
        while let Some(buffer) = self.rest.front_mut() {
            let alone = buffer.len() >= ALONE;
            if alone && piece.is_empty() {
                let whole_frames = buffer.len() / FRAME * FRAME;
                let bytes = Owned(buffer.slice_with_length(0, whole_frames));
                buffer.advance(whole_frames);
                return Some(Bytes::from_owner(bytes));
            }
            let until = if alone { piece.len().next_multiple_of(FRAME) } else { PIECE };
            let taken = buffer.len().min(until.saturating_sub(piece.len()));
            piece.put_slice(&buffer[..taken]);
            if taken < buffer.len() {
                buffer.advance(taken);
                break;
            }
            self.rest.pop_front();
        }
        (!piece.is_empty()).then(|| piece.freeze())
    }
}

struct Owned(Buffer);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Makes messages of one stream of rows.
pub(super) struct Encoder {
    arrow: StreamEncoder,
}

impl Encoder {
    /// An encoder for rows of `schema`, and the message that goes first: the schema.
    pub(super) fn new(schema: &SchemaRef) -> Result<(Self, Message), ArrowError> {
        let mut arrow = StreamEncoder::try_new(schema)?;
        // The first batch takes the schema along.
        let buffers = arrow.encode(&RecordBatch::new_empty(SchemaRef::clone(schema)))?;
        let first = split(buffers)?.into_iter().next();
        let first = first.ok_or_else(|| broken("a stream begins with its schema"))?;
        Ok((Self { arrow }, first))
    }

    /// One batch as messages: itself, after the dictionaries that it brings along, if any.
    pub(super) fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<Message>, ArrowError> {
        split(self.arrow.encode(batch)?)
    }
}

/// Takes Arrow's stream format apart: where each message begins and what is its body.
fn split(buffers: Vec<Buffer>) -> Result<Vec<Message>, ArrowError> {
    let buffers = buffers.into_iter().filter(|buffer| !buffer.is_empty());
    let mut bytes = Cursor { buffers: buffers.collect() };
    let mut messages = Vec::new();
    while !bytes.buffers.is_empty() {
        let prefix = bytes.copy(8)?;
        let (mark, length) = prefix.split_at(4);
        if mark != CONTINUATION {
            return Err(broken("a message begins with its mark"));
        }
        let length = u32::from_le_bytes(length.try_into().expect("four of eight bytes"));
        let header = bytes.copy(length as usize)?;
        let message = root_as_message(&header).map_err(|error| broken(&error.to_string()))?;
        let body_length =
            usize::try_from(message.bodyLength()).map_err(|_| broken("a body has a length"))?;
        let body = bytes.take(body_length)?;
        messages.push(Message { header, body, body_length });
    }
    Ok(messages)
}

struct Cursor {
    buffers: VecDeque<Buffer>,
}

impl Cursor {
    /// The next `length` bytes, without a copy.
    fn take(&mut self, mut length: usize) -> Result<Vec<Buffer>, ArrowError> {
        let mut taken = Vec::new();
        while length > 0 {
            let next = self.buffers.pop_front();
            let next = next.ok_or_else(|| broken("a message is as long as it says"))?;
            if next.len() > length {
                self.buffers.push_front(next.slice(length));
                taken.push(next.slice_with_length(0, length));
                break;
            }
            length -= next.len();
            taken.push(next);
        }
        Ok(taken)
    }

    fn copy(&mut self, length: usize) -> Result<Vec<u8>, ArrowError> {
        let mut copied = Vec::with_capacity(length);
        for buffer in self.take(length)? {
            copied.extend_from_slice(&buffer);
        }
        Ok(copied)
    }
}

fn broken(rule: &str) -> ArrowError {
    ArrowError::IpcError(format!("encode rows: {rule}"))
}
