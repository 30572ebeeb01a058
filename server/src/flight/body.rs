//! The answer of DoGet as the body of an HTTP response.
//!
//! tonic's codec would copy each message once more, so DoGet goes around it: its answer hands the
//! messages over in the response's extensions, and [`send_rows`], which has to be a layer of the gRPC
//! server, makes them the body. Everything else of the call stays tonic's.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use arrow_flight::FlightData;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use http::HeaderMap;
use http_body::Frame;
use parking_lot::Mutex;
use tonic::{Response, Status};

use super::{message::Pieces, stream::Messages};

/// Messages on their way from the call to the layer: taken once.
#[derive(Clone)]
struct Handover(Arc<Mutex<Option<Messages>>>);

/// The response of a DoGet. Its own stream is never read; it fails where the layer is missing.
pub(super) fn response(
    messages: Messages,
) -> Response<BoxStream<'static, Result<FlightData, Status>>> {
    let missing = Status::internal("DoGet is answered through a layer that this server lacks");
    let mut response = Response::new(stream::iter([Err(missing)]).boxed());
    response.extensions_mut().insert(Handover(Arc::new(Mutex::new(Some(messages)))));
    response
}

/// The layer that sends the rows of a DoGet; passes on every other response as it is.
pub fn send_rows(
    mut response: http::Response<tonic::body::Body>,
) -> http::Response<tonic::body::Body> {
    let handed = response.extensions_mut().remove::<Handover>();
    match handed.and_then(|Handover(messages)| messages.lock().take()) {
        Some(messages) => {
            response.map(|_| tonic::body::Body::new(Rows { messages, sending: None, ended: false }))
        }
        None => response,
    }
}

/// Messages as frames of HTTP/2, and the status of the call after the last one. The next message
/// is asked for when the transport has taken the last one; dropping it ends the query.
struct Rows {
    messages: Messages,
    sending: Option<Pieces>,
    ended: bool,
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl http_body::Body for Rows {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let status = loop {
            if let Some(piece) = this.sending.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match ready!(this.messages.poll_next_unpin(cx)) {
                Some(Ok(message)) => this.sending = Some(message.into_pieces()),
                Some(Err(status)) => break status,
                None => break Status::ok(""),
            }
        };
        this.ended = true;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}
