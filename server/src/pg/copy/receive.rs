//! COPY … FROM STDIN: what the client sends, as rows of an ingest.

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use futures::{SinkExt, Stream, StreamExt, channel::mpsc, stream};
use model::code::Code;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage, copy::CopyInResponse};
use query::{
    ingest::{Broken, IfExists, IfMissing, Incoming, Ingest},
    queries::Queries,
    session::Session,
};

use super::{Kind, Layout, binary, decode};
use crate::pg::{
    error::PgError,
    wire::{Lost, Reader, Received, Writer},
};

/// Batches between the client and the lake.
const BATCHES_IN_FLIGHT: usize = 2;

/// A COPY that waits for its rows.
#[derive(Debug)]
pub(crate) struct Receive {
    pub(crate) table: Vec<String>,
    pub(crate) schema: SchemaRef,
    pub(crate) layout: Layout,
}

/// What the client sent.
enum Piece {
    Rows(RecordBatch),
    /// It was everything.
    End,
}

/// The rows up to the end. A client that stops before it has said that it was everything has broken
/// off, however that came to be: half of its rows must not be committed.
fn whole(
    pieces: mpsc::Receiver<Piece>,
) -> impl Stream<Item = Result<RecordBatch, Broken>> + Send + 'static {
    stream::unfold(Some(pieces), |pieces| async move {
        let mut pieces = pieces?;
        match pieces.next().await {
            Some(Piece::Rows(batch)) => Some((Ok(batch), Some(pieces))),
            Some(Piece::End) => None,
            None => {
                let text = "the rows broke off, and nothing was written".to_owned();
                Some((Err(Broken { code: Code::Cancelled, text }), None))
            }
        }
    })
}

/// Reads rows in one of the forms.
enum Decoder {
    Text(Box<decode::Decoder>),
    Binary(Box<binary::Decoder>),
}

impl Decoder {
    fn new(layout: Layout, schema: SchemaRef) -> Self {
        match layout.kind {
            Kind::Binary => Self::Binary(Box::new(binary::Decoder::new(schema))),
            Kind::Text | Kind::Csv => Self::Text(Box::new(decode::Decoder::new(layout, schema))),
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<Vec<RecordBatch>, PgError> {
        match self {
            Self::Text(decoder) => decoder.push(piece),
            Self::Binary(decoder) => decoder.push(piece),
        }
    }

    fn finish(&mut self) -> Result<Option<RecordBatch>, PgError> {
        match self {
            Self::Text(decoder) => decoder.finish(),
            Self::Binary(decoder) => decoder.finish(),
        }
    }
}

/// Why there are no more rows.
enum Stopped {
    Lost(Lost),
    Error(PgError),
}

impl Receive {
    /// Tells the client to send.
    pub(crate) fn announce(&self, writer: &mut Writer) -> Result<(), PgError> {
        let columns = self.schema.fields().len();
        let count = i16::try_from(columns).map_err(|_| PgError::too_many_columns(columns))?;
        let codes = vec![self.layout.format().code(); columns];
        writer.put(PgWireBackendMessage::CopyInResponse(CopyInResponse::new(
            i8::from(self.layout.kind == Kind::Binary),
            count,
            codes,
        )));
        Ok(())
    }

    /// Writes what comes, in one commit; how many rows it was. Nothing is written unless the client
    /// says that it was everything.
    pub(crate) async fn run(
        self,
        queries: &Queries,
        session: &Session,
        reader: &mut Reader,
    ) -> Result<Result<i64, PgError>, Lost> {
        let Self { table, schema, layout } = self;
        let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
        let rows = match Incoming::new(&schema, whole(receiver)) {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(error.into())),
        };
        let (if_missing, if_exists) = (IfMissing::Fail, IfExists::Append);
        let ingest = queries.ingest(session, Ingest { table, if_missing, if_exists, rows });
        let mut ingest = std::pin::pin!(ingest);
        let pump = pump(reader, Decoder::new(layout, schema), sender);
        let written = tokio::select! {
            // Ended before its rows did: what is wrong, it knows.
            written = &mut ingest => written,
            pumped = pump => match pumped {
                Ok(()) => ingest.await,
                Err(Stopped::Lost(lost)) => return Err(lost),
                Err(Stopped::Error(error)) => return Ok(Err(error)),
            },
        };
        Ok(written.map(|result| result.rows_affected).map_err(PgError::from))
    }
}

async fn pump(
    reader: &mut Reader,
    mut decoder: Decoder,
    mut sender: mpsc::Sender<Piece>,
) -> Result<(), Stopped> {
    loop {
        let message = match reader.next().await.map_err(Stopped::Lost)? {
            Received::Message(message) => message,
            Received::Refused { error, .. } => return Err(Stopped::Error(error)),
        };
        let batches = match message {
            PgWireFrontendMessage::CopyData(piece) => {
                decoder.push(&piece.data).map_err(Stopped::Error)?
            }
            PgWireFrontendMessage::CopyDone(_) => {
                if let Some(batch) = decoder.finish().map_err(Stopped::Error)? {
                    // Nobody takes it when the ingest has ended, which then says why.
                    let _ = sender.send(Piece::Rows(batch)).await;
                }
                let _ = sender.send(Piece::End).await;
                return Ok(());
            }
            PgWireFrontendMessage::CopyFail(failed) => {
                let text = format!("the client gave the COPY up: {}", failed.message);
                return Err(Stopped::Error(PgError::new("57014", text)));
            }
            // Drivers send them right behind the statement.
            PgWireFrontendMessage::Flush(_) | PgWireFrontendMessage::Sync(_) => continue,
            _ => {
                let text = "something else than rows was sent during COPY";
                return Err(Stopped::Error(PgError::protocol(text)));
            }
        };
        for batch in batches {
            if sender.send(Piece::Rows(batch)).await.is_err() {
                // The ingest has ended and is about to say why.
                return std::future::pending().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{array::Int64Array, record_batch::RecordBatch};

    use super::*;

    #[tokio::test]
    async fn rows_without_an_end_are_an_error() {
        let numbers: arrow::array::ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        for ended in [true, false] {
            let (mut sender, receiver) = mpsc::channel(4);
            sender.send(Piece::Rows(batch.clone())).await.unwrap();
            if ended {
                sender.send(Piece::End).await.unwrap();
            }
            drop(sender);
            let rows: Vec<_> = whole(receiver).collect().await;
            assert_eq!(rows.last().unwrap().is_ok(), ended);
        }
    }
}
