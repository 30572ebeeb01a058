//! A store that counts requests and loses answers.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

use crate::stores::Wrap;

#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) log_lists: AtomicUsize,
    pub(super) log_reads: AtomicUsize,
    pub(super) log_heads: AtomicUsize,
    /// The next commit arrives, but its answer gets lost.
    pub(super) lose_answer: AtomicBool,
    /// No commit arrives.
    pub(super) refuse_commits: AtomicBool,
    /// Objects are overwritten although only a new one was wanted.
    pub(super) ignore_create: AtomicBool,
}

impl Requests {
    pub(super) fn wrap(self: &Arc<Self>) -> Option<Wrap> {
        let requests = Arc::clone(self);
        Some(Arc::new(move |store| Arc::new(Recorder { store, requests: Arc::clone(&requests) })))
    }

    pub(super) fn take(&self) -> (usize, usize, usize) {
        (
            self.log_lists.swap(0, Ordering::SeqCst),
            self.log_reads.swap(0, Ordering::SeqCst),
            self.log_heads.swap(0, Ordering::SeqCst),
        )
    }
}

#[derive(Debug)]
struct Recorder {
    store: Arc<dyn ObjectStore>,
    requests: Arc<Requests>,
}

impl fmt::Display for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("recorder")
    }
}

fn in_log(path: &Path) -> bool {
    path.as_ref().contains("_delta_log")
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "recorder", source: "the answer got lost".into() }
}

#[async_trait]
impl ObjectStore for Recorder {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        let commit = in_log(location) && location.as_ref().ends_with(".json");
        if commit && self.requests.refuse_commits.load(Ordering::SeqCst) {
            return Err(lost());
        }
        if self.requests.ignore_create.load(Ordering::SeqCst) {
            opts.mode = PutMode::Overwrite;
        }
        let result = self.store.put_opts(location, payload, opts).await;
        if commit && self.requests.lose_answer.swap(false, Ordering::SeqCst) {
            return Err(lost());
        }
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if in_log(location) {
            let counter =
                if options.head { &self.requests.log_heads } else { &self.requests.log_reads };
            counter.fetch_add(1, Ordering::SeqCst);
        }
        self.store.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if prefix.is_some_and(in_log) {
            self.requests.log_lists.fetch_add(1, Ordering::SeqCst);
        }
        self.store.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if prefix.is_some_and(in_log) {
            self.requests.log_lists.fetch_add(1, Ordering::SeqCst);
        }
        self.store.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if prefix.is_some_and(in_log) {
            self.requests.log_lists.fetch_add(1, Ordering::SeqCst);
        }
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store.copy_opts(from, to, options).await
    }
}
