//! The runtime for planning and execution, apart from the one that answers the network.
//!
//! DataFusion's own documentation asks for it: a plan that keeps every thread busy must not delay
//! the threads that poll sockets. Work moves over with [`CpuRuntime::spawn`] and results come back
//! through [`CpuRuntime::run`].

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{Stream, StreamExt};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::mpsc,
    task::JoinHandle,
};

/// Niceness of threads that give way: about a tenth of the weight of others.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// A multi-threaded Tokio runtime for work that computes.
#[derive(Clone, Debug)]
pub struct CpuRuntime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime must not be waited for inside another one, and its tasks belong to streams
        // that are gone by now.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A task did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum CpuTaskError {
    /// The task panicked; the text is the panic's.
    #[error("a worker thread panicked: {0}")]
    Panicked(String),
    /// The runtime is going down.
    #[error("the server is shutting down")]
    ShutDown,
}

impl CpuRuntime {
    /// Starts `threads` threads (at least one).
    pub fn new(threads: usize) -> io::Result<Self> {
        Self::start(Builder::new_multi_thread().worker_threads(threads.max(1)))
    }

    /// As [`CpuRuntime::new`], with threads that give way: while other threads of the machine have
    /// something to do, they get most of the processor. For work that takes as long as it takes,
    /// beside work that somebody waits for. Only Linux knows such threads; elsewhere they are equal.
    pub fn giving_way(threads: usize) -> io::Result<Self> {
        Self::start(
            Builder::new_multi_thread().worker_threads(threads.max(1)).on_thread_start(give_way),
        )
    }

    fn start(builder: &mut Builder) -> io::Result<Self> {
        let runtime = builder
            .thread_name("whimbrel-cpu")
            // The depth of an expression decides the depth of the planner's recursion.
            .thread_stack_size(8 << 20)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        Ok(Self { inner: Arc::new(Inner { handle, runtime: Some(runtime) }) })
    }

    /// For libraries that want a handle.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.inner.handle.clone()
    }

    /// Runs a future on this runtime. Dropping the returned future aborts the work.
    pub fn spawn<T, F>(&self, work: F) -> CpuTask<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        CpuTask { handle: self.inner.handle.spawn(work) }
    }

    /// Makes streams on this runtime, drives each in a task of its own, and merges what they yield in
    /// the order of arrival; at most `capacity` items wait for the reader. An error of `begin` is the
    /// first and only item.
    ///
    /// Dropping the returned stream aborts the work at its next await.
    pub fn run<T, E, S, F>(&self, begin: F, capacity: usize) -> CpuStream<T, E>
    where
        T: Send + 'static,
        E: Send + From<CpuTaskError> + 'static,
        S: Stream<Item = Result<T, E>> + Send + 'static,
        F: FnOnce() -> Result<Vec<S>, E> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let cpu = self.clone();
        let task = self.spawn(async move {
            let streams = match begin() {
                Ok(streams) => streams,
                Err(error) => {
                    // Nobody waits for it any more when this fails.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            let mut streams = streams.into_iter();
            // Most have one: it needs no other task than this.
            let Some(first) = streams.next() else { return };
            let others = streams.map(|stream| cpu.spawn(drive(stream, sender.clone())));
            let others: Vec<_> = others.collect();
            drive(first, sender.clone()).await;
            for other in others {
                // A dead task must not look like a complete answer.
                if let Err(error) = other.await {
                    let _ = sender.send(Err(error.into())).await;
                }
            }
        });
        CpuStream { receiver, task: Some(task) }
    }
}

/// Hands on what a stream yields, for as long as somebody takes it.
async fn drive<T, E>(stream: impl Stream<Item = Result<T, E>>, sender: mpsc::Sender<Result<T, E>>) {
    let mut stream = std::pin::pin!(stream);
    while let Some(item) = stream.next().await {
        if sender.send(item).await.is_err() {
            break;
        }
    }
}

/// Lowers the priority of the calling thread, and so of the threads that it starts.
fn give_way() {
    // setpriority(2) of Linux: process 0 is the calling thread. Never raised, whoever starts us.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::getpriority_process(None)
        .and_then(|now| rustix::process::setpriority_process(None, now.max(NICE)))
    {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}

/// The result of [`CpuRuntime::spawn`]; aborts the work when dropped.
#[derive(Debug)]
pub struct CpuTask<T> {
    handle: JoinHandle<T>,
}

impl<T> Future for CpuTask<T> {
    type Output = Result<T, CpuTaskError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.handle).poll(cx).map(|joined| {
            joined.map_err(|error| match error.try_into_panic() {
                Ok(panic) => CpuTaskError::Panicked(panic_text(panic.as_ref())),
                Err(_) => CpuTaskError::ShutDown,
            })
        })
    }
}

impl<T> Drop for CpuTask<T> {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

/// The result of [`CpuRuntime::run`]; aborts the work when dropped.
#[derive(Debug)]
pub struct CpuStream<T, E> {
    receiver: mpsc::Receiver<Result<T, E>>,
    task: Option<CpuTask<()>>,
}

impl<T, E: From<CpuTaskError>> Stream for CpuStream<T, E> {
    type Item = Result<T, E>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.receiver.poll_recv(cx) {
            Poll::Ready(None) => {}
            other => return other,
        }
        // The senders are gone: either the streams ended or the task died, which must not look like a
        // complete answer.
        if let Some(task) = &mut self.task {
            let ended = std::task::ready!(Pin::new(task).poll(cx));
            self.task = None;
            if let Err(error) = ended {
                return Poll::Ready(Some(Err(error.into())));
            }
        }
        Poll::Ready(None)
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

#[cfg(test)]
mod tests;
