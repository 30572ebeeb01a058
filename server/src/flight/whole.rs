//! Tells a stream of rows that has ended from one that was broken off.
//!
//! tonic takes a request that its client cancelled for one that is complete, and HTTP a reset without
//! an error. A DoPut that broke off in the middle would then be committed as if it were whole. So
//! [`whole_rows`], which has to be a layer of the gRPC server, makes both an error.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::Frame;
use tonic::{Status, body::Body};

const DO_PUT: &str = "/arrow.flight.protocol.FlightService/DoPut";

/// The layer that makes a DoPut which breaks off fail; passes on every other request as it is.
pub fn whole_rows(request: http::Request<Body>) -> http::Request<Body> {
    if request.uri().path() != DO_PUT {
        return request;
    }
    request.map(|body| Body::new(Whole { body, ended: false }))
}

/// A body that ends only where its sender ended it.
struct Whole<B> {
    body: B,
    ended: bool,
}

impl<B> fmt::Debug for Whole<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Whole").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<B> http_body::Body for Whole<B>
where
    B: http_body::Body<Data = Bytes, Error = Status> + Unpin,
{
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
        let gone = || Status::unavailable("the client went away");
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(frame))),
            Some(Err(status)) if status.code() == tonic::Code::Cancelled => Some(Err(gone())),
            Some(Err(status)) => Some(Err(status)),
            None if this.body.is_end_stream() => None,
            None => Some(Err(gone())),
        };
        this.ended = true;
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::future::poll_fn;
    use http_body::Body as _;
    use tonic::Code;

    use super::*;

    /// Frames that are there already; `complete` says whether the sender ended them.
    struct Sent {
        frames: VecDeque<Result<&'static str, Status>>,
        complete: bool,
    }

    impl http_body::Body for Sent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let frame = self.frames.pop_front();
            Poll::Ready(frame.map(|frame| frame.map(|text| Frame::data(Bytes::from(text)))))
        }

        fn is_end_stream(&self) -> bool {
            self.complete && self.frames.is_empty()
        }
    }

    async fn received(
        frames: impl IntoIterator<Item = Result<&'static str, Status>>,
        complete: bool,
    ) -> (usize, Option<Code>) {
        let body = Sent { frames: frames.into_iter().collect(), complete };
        let mut whole = Whole { body, ended: false };
        let mut count = 0;
        loop {
            match poll_fn(|cx| Pin::new(&mut whole).poll_frame(cx)).await {
                Some(Ok(_)) => count += 1,
                Some(Err(status)) => {
                    let after = poll_fn(|cx| Pin::new(&mut whole).poll_frame(cx)).await;
                    assert!(after.is_none(), "nothing comes after an error");
                    return (count, Some(status.code()));
                }
                None => return (count, None),
            }
        }
    }

    #[tokio::test]
    async fn only_an_end_that_the_sender_made_is_one() {
        assert_eq!(received([Ok("a"), Ok("b")], true).await, (2, None));
        assert_eq!(received([], true).await, (0, None));
        assert_eq!(received([Ok("a")], false).await, (1, Some(Code::Unavailable)));
        let cancelled = Err(Status::cancelled("reset"));
        assert_eq!(received([Ok("a"), cancelled], false).await, (1, Some(Code::Unavailable)));
        let broken = Err(Status::internal("broken"));
        assert_eq!(received([Ok("a"), broken], false).await, (1, Some(Code::Internal)));
    }
}
