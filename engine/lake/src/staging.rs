//! Remembers every file that a statement stages, so that none is left behind when it fails.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
    path::Path,
};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    local_files::NamedByLog, location::Place, stage::StageProgress, stored_path::shortened,
};

/// The files of one statement. Dropping it deletes them in the background, unless they were kept.
pub(crate) struct StagingArea {
    place: Place,
    io: Handle,
    progress: Arc<StageProgress>,
    files: Mutex<Vec<Path>>,
    kept: AtomicBool,
}

impl fmt::Debug for StagingArea {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StagingArea").field("place", &self.place).finish_non_exhaustive()
    }
}

impl StagingArea {
    pub(crate) fn new(place: Place, io: Handle, progress: Arc<StageProgress>) -> Arc<Self> {
        let (files, kept) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Self { place, io, progress, files, kept })
    }

    /// The table that the files are for.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// What was written so far.
    pub(crate) fn files(&self) -> Vec<Path> {
        self.files.lock().clone()
    }

    /// From now on the files belong to the table.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Release);
    }

    /// The files belong to nobody again.
    pub(crate) fn unkeep(&self) {
        self.kept.store(false, Ordering::Release);
    }

    /// Deletes the files now. Those that cannot be deleted stay for a later vacuum.
    pub(crate) async fn delete(&self) {
        let files = std::mem::take(&mut *self.files.lock());
        delete(&self.place, files).await;
    }
}

impl Drop for StagingArea {
    fn drop(&mut self) {
        let files = std::mem::take(self.files.get_mut());
        if *self.kept.get_mut() || files.is_empty() {
            return;
        }
        let place = self.place.clone();
        self.io.spawn(async move { delete(&place, files).await });
    }
}

async fn delete(place: &Place, files: Vec<Path>) {
    let files = stream::iter(files.into_iter().map(Ok)).boxed();
    let mut deleted = place.store.delete_stream(files);
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => {
                tracing::warn!(location = %place.url, %error, "a staged file could not be deleted");
            }
        }
    }
}

/// The table's store as the writers of one statement see it.
#[derive(Debug, Clone)]
pub(crate) struct StagingStore {
    area: Arc<StagingArea>,
    followed_by: Followed,
}

/// What makes the staged files count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Followed {
    LogEntry,
    Nothing,
}

impl StagingStore {
    /// For files that a log entry will name.
    pub(crate) fn new(area: Arc<StagingArea>) -> Self {
        Self { area, followed_by: Followed::LogEntry }
    }

    /// For files that count as soon as they are written.
    pub(crate) fn without_log(area: Arc<StagingArea>) -> Self {
        Self { area, followed_by: Followed::Nothing }
    }

    fn store(&self) -> &dyn ObjectStore {
        self.area.place.store.as_ref()
    }

    fn named_by_log(&self) -> NamedByLog {
        NamedByLog { log: self.area.place.path.clone().join("_delta_log") }
    }

    fn written(&self, bytes: usize) {
        self.area.progress.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl fmt::Display for StagingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "staging for {}", self.area.place.url)
    }
}

#[async_trait]
impl ObjectStore for StagingStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        mut opts: PutOptions,
    ) -> Result<PutResult> {
        let location = shortened(location);
        self.area.files.lock().push(location.clone());
        if self.followed_by == Followed::LogEntry {
            opts.extensions.insert(self.named_by_log());
        }
        self.written(payload.content_length());
        // A put that is under way when its statement is cancelled still arrives. In a task of its
        // own it keeps the area alive until then, so that its file is deleted too.
        let area = Arc::clone(&self.area);
        let put = self
            .area
            .io
            .spawn(async move { area.place.store.put_opts(&location, payload, opts).await });
        put.await.map_err(|source| object_store::Error::JoinError { source })?
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        mut opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let location = shortened(location);
        self.area.files.lock().push(location.clone());
        if self.followed_by == Followed::LogEntry {
            opts.extensions.insert(self.named_by_log());
        }
        let upload = self.store().put_multipart_opts(&location, opts).await?;
        Ok(Box::new(StagingUpload { upload: Some(upload), area: Arc::clone(&self.area) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store().get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.store().get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.store().delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store().list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store().list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.store().copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.store().rename_opts(from, to, options).await
    }
}

/// An upload in parts that is aborted when it is dropped half-way: a store keeps, and bills,
/// parts that nobody completes.
#[derive(Debug)]
struct StagingUpload {
    upload: Option<Box<dyn MultipartUpload>>,
    area: Arc<StagingArea>,
}

#[async_trait]
impl MultipartUpload for StagingUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.area.progress.bytes.fetch_add(data.content_length() as u64, Ordering::Relaxed);
        match &mut self.upload {
            Some(upload) => upload.put_part(data),
            None => Box::pin(std::future::ready(Err(over()))),
        }
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.upload.as_mut().ok_or_else(over)?.complete().await;
        if result.is_ok() {
            self.upload = None;
        }
        result
    }

    async fn abort(&mut self) -> Result<()> {
        match self.upload.take() {
            Some(mut upload) => upload.abort().await,
            None => Ok(()),
        }
    }
}

impl Drop for StagingUpload {
    fn drop(&mut self) {
        let Some(mut upload) = self.upload.take() else { return };
        self.area.io.spawn(async move {
            if let Err(error) = upload.abort().await {
                tracing::warn!(%error, "a staged upload could not be aborted");
            }
        });
    }
}

fn over() -> object_store::Error {
    object_store::Error::Generic { store: "staging", source: "the upload is over".into() }
}
