//! Files on local disks that survive a power cut.
//!
//! The library's store for local files leaves it to the operating system when anything reaches the
//! disk. After a power cut a log entry could then be there without its content, or name data files
//! that are not, and the table could not be read any more. Here a file gets its name only when its
//! content is on the disk, and a write is done only when the name is there too. Names of data files
//! wait for the log entry that names them, so that many files in one folder cost one flush of it.
//! Reading, listing and deleting are the library's own.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Seek, SeekFrom, Write},
    ops::Range,
    path::{Path as FsPath, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result, UploadPart, local::LocalFileSystem, path::Path,
};
use parking_lot::Mutex;
use thiserror::Error as ThisError;

const STORE: &str = "local files";
/// Folders that are remembered as named on the disk; beyond that they are all looked at again.
const NAMED_MAX: usize = 10_000;
/// Logs after which those that nothing waits for are left out.
const LOGS_SWEEP_AT: usize = 1024;

/// Brings a file or a folder to the disk; it is told which one, by the name that it has now.
pub(crate) type Flush = dyn Fn(&File, &FsPath) -> io::Result<()> + Send + Sync;

/// Goes with the options of a put: the name of the file need not be on the disk before the next
/// entry of this log is.
#[derive(Debug, Clone)]
pub(crate) struct NamedByLog {
    /// The folder of the log.
    pub(crate) log: Path,
}

/// Why a write failed.
#[derive(Debug, ThisError)]
enum WriteError {
    /// Nothing has the name.
    #[error("write '{}'", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The name is there for everybody, but may be gone after a power cut.
    #[error("'{}' is written, but the disk has not confirmed its name", path.display())]
    Name {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<WriteError> for Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Write { path, source } if source.kind() == ErrorKind::AlreadyExists => {
                Self::AlreadyExists { path: path.display().to_string(), source: Box::new(source) }
            }
            error => Self::Generic { store: STORE, source: Box::new(error) },
        }
    }
}

/// Whether a put is done for all who look, but not for certain on the disk.
pub(crate) fn is_unconfirmed(error: &Error) -> bool {
    let Error::Generic { source, .. } = error else { return false };
    matches!(source.downcast_ref(), Some(WriteError::Name { .. }))
}

/// All files of this machine.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    files: LocalFileSystem,
    disk: Arc<Disk>,
}

struct Disk {
    flush: Box<Flush>,
    /// What waits for a log entry, by the folder of the log: tables may be on several disks, and
    /// one that does not answer must hold up no other.
    waiting: Mutex<HashMap<PathBuf, Arc<Waiting>>>,
    /// Folders whose own names are on the disk, as far as this process knows.
    named: Mutex<HashSet<PathBuf>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Folders with names that wait for a log entry.
    folders: Mutex<BTreeSet<PathBuf>>,
    /// Held while those are flushed: who finds none any more knows that they are on the disk.
    settling: Mutex<()>,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl fmt::Display for LocalFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STORE)
    }
}

/// When the name of a file has to be on the disk.
#[derive(Debug)]
enum Named {
    /// When its put is done.
    Now,
    /// When the next entry of the log in this folder is.
    ByLog(PathBuf),
}

/// What happens to a file that has the name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Stays,
    Goes,
}

impl LocalFiles {
    pub(crate) fn new() -> Self {
        Self::with_flush(|file, _| file.sync_all())
    }

    /// With another way to bring things to the disk.
    pub(crate) fn with_flush(
        flush: impl Fn(&File, &FsPath) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let disk =
            Disk { flush: Box::new(flush), waiting: Mutex::default(), named: Mutex::default() };
        Self { files: LocalFileSystem::new(), disk: Arc::new(disk) }
    }

    fn named(&self, by_log: Option<&NamedByLog>) -> Result<Named> {
        match by_log {
            Some(NamedByLog { log }) => Ok(Named::ByLog(self.files.path_to_filesystem(log)?)),
            None => Ok(Named::Now),
        }
    }

    /// Brings what the library has put there to the disk.
    async fn settle(&self, location: &Path) -> Result<()> {
        let (disk, path) = (Arc::clone(&self.disk), self.files.path_to_filesystem(location)?);
        blocking(move || {
            let flushed = File::open(&path).and_then(|file| (disk.flush)(&file, &path));
            let settled = flushed.and_then(|()| disk.settle_folder_of(&path));
            Ok(settled.map_err(|source| WriteError::Name { path, source })?)
        })
        .await
    }
}

/// A file that is written before it gets its name.
#[derive(Debug)]
struct Unnamed {
    file: File,
    /// Beside its later place, with a name that no listing shows.
    at: PathBuf,
    path: PathBuf,
    named: Named,
}

impl Unnamed {
    fn failed(&self, source: io::Error) -> WriteError {
        WriteError::Write { path: self.path.clone(), source }
    }

    fn remove(&self) {
        // What stays here is in nobody's way.
        let _ = fs::remove_file(&self.at);
    }
}

impl Disk {
    /// Writes a file and gives it its name.
    fn put(
        &self,
        path: PathBuf,
        payload: &PutPayload,
        known: Known,
        named: Named,
    ) -> std::result::Result<(), WriteError> {
        let mut unnamed = self.begin(path, named)?;
        if let Err(error) = payload.iter().try_for_each(|part| unnamed.file.write_all(part)) {
            unnamed.remove();
            return Err(unnamed.failed(error));
        }
        self.finish(&unnamed, known)
    }

    fn begin(&self, path: PathBuf, named: Named) -> std::result::Result<Unnamed, WriteError> {
        match self.create(&path) {
            Ok((file, at)) => Ok(Unnamed { file, at, path, named }),
            Err(source) => Err(WriteError::Write { path, source }),
        }
    }

    fn create(&self, path: &FsPath) -> io::Result<(File, PathBuf)> {
        let mut n = 1_u64;
        loop {
            let mut unnamed = path.as_os_str().to_owned();
            unnamed.push(format!("#{n}"));
            let unnamed = PathBuf::from(unnamed);
            match OpenOptions::new().write(true).create_new(true).open(&unnamed) {
                Ok(file) => return Ok((file, unnamed)),
                Err(e) if e.kind() == ErrorKind::AlreadyExists => n += 1,
                Err(e) if e.kind() == ErrorKind::NotFound => {
                    self.make_folder(path.parent().ok_or(e)?)?;
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Brings the content to the disk, then the name.
    fn finish(&self, unnamed: &Unnamed, known: Known) -> std::result::Result<(), WriteError> {
        let Unnamed { file, at, path, named } = unnamed;
        let flushed = (self.flush)(file, at);
        // After the content, because journals of file systems took the names along with it: then
        // there is little left to do.
        let settled = flushed.and_then(|()| match path.parent() {
            Some(log) if log.ends_with("_delta_log") => self.settle_waiting(log),
            _ => Ok(()),
        });
        let renamed = settled.and_then(|()| match known {
            Known::Goes => fs::rename(at, path),
            Known::Stays => fs::hard_link(at, path),
        });
        if renamed.is_err() || known == Known::Stays {
            unnamed.remove();
        }
        renamed.map_err(|source| unnamed.failed(source))?;
        match (named, path.parent()) {
            (Named::ByLog(log), Some(folder)) => {
                self.waiting_of(log).folders.lock().insert(folder.to_owned());
                Ok(())
            }
            _ => self
                .settle_folder_of(path)
                .map_err(|source| WriteError::Name { path: path.clone(), source }),
        }
    }

    fn make_folder(&self, folder: &FsPath) -> io::Result<()> {
        let missing: Vec<PathBuf> = folder
            .ancestors()
            .take_while(|above| !above.exists())
            .map(FsPath::to_path_buf)
            .collect();
        let forget = || {
            let mut named = self.named.lock();
            named.retain(|folder| !missing.contains(folder));
        };
        // One of this name may have been there and gone. Afterwards once more, for those who have
        // looked at the old one meanwhile.
        forget();
        let made = fs::create_dir_all(folder);
        forget();
        made
    }

    fn waiting_of(&self, log: &FsPath) -> Arc<Waiting> {
        let mut waiting = self.waiting.lock();
        if waiting.len() >= LOGS_SWEEP_AT {
            waiting.retain(|_, of| Arc::strong_count(of) > 1 || !of.folders.lock().is_empty());
        }
        Arc::clone(waiting.entry(log.to_owned()).or_default())
    }

    /// Brings all names to the disk that wait for an entry of the log.
    fn settle_waiting(&self, log: &FsPath) -> io::Result<()> {
        let waiting = self.waiting_of(log);
        let _one = waiting.settling.lock();
        let folders = std::mem::take(&mut *waiting.folders.lock());
        let settled = folders.iter().try_for_each(|folder| self.settle_folder(folder));
        if settled.is_err() {
            waiting.folders.lock().extend(folders);
        }
        settled
    }

    fn settle_folder_of(&self, path: &FsPath) -> io::Result<()> {
        path.parent().map_or(Ok(()), |folder| self.settle_folder(folder))
    }

    /// Brings the names in a folder to the disk, and its own name in the folders above.
    fn settle_folder(&self, folder: &FsPath) -> io::Result<()> {
        self.flush_folder(folder)?;
        let mut at = folder;
        let mut found = Vec::new();
        while let Some(above) = at.parent()
            && !self.named.lock().contains(at)
        {
            self.flush_folder(above)?;
            found.push(at.to_owned());
            at = above;
        }
        let mut named = self.named.lock();
        if named.len() + found.len() > NAMED_MAX {
            named.clear();
        }
        named.extend(found);
        Ok(())
    }

    fn flush_folder(&self, folder: &FsPath) -> io::Result<()> {
        let flushed = File::open(folder).and_then(|open| (self.flush)(&open, folder));
        match flushed.as_ref().map_err(io::Error::kind) {
            // A folder that is gone has no names, and one that we may not read is none that we
            // made. Some file systems have nothing to flush in a folder, and say so.
            Err(
                ErrorKind::NotFound
                | ErrorKind::PermissionDenied
                | ErrorKind::InvalidInput
                | ErrorKind::Unsupported,
            ) => Ok(()),
            _ => flushed,
        }
    }
}

/// Runs what waits for the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|source| Error::JoinError { source })?
}

#[async_trait]
impl ObjectStore for LocalFiles {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let known = match &opts.mode {
            PutMode::Overwrite => Known::Goes,
            PutMode::Create => Known::Stays,
            // The library refuses it in its own words.
            PutMode::Update(_) => return self.files.put_opts(location, payload, opts).await,
        };
        if !opts.attributes.is_empty() {
            return self.files.put_opts(location, payload, opts).await;
        }
        let named = self.named(opts.extensions.get())?;
        let (disk, path) = (Arc::clone(&self.disk), self.files.path_to_filesystem(location)?);
        blocking(move || Ok(disk.put(path, &payload, known, named)?)).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if !opts.attributes.is_empty() {
            return self.files.put_multipart_opts(location, opts).await;
        }
        let named = self.named(opts.extensions.get())?;
        let (disk, path) = (Arc::clone(&self.disk), self.files.path_to_filesystem(location)?);
        blocking(move || {
            let unnamed = disk.begin(path, named)?;
            let at = Some(unnamed.at.clone());
            let upload = Upload { disk, unnamed: Arc::new(Mutex::new(unnamed)), at, length: 0 };
            Ok(Box::new(upload) as Box<dyn MultipartUpload>)
        })
        .await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.files.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await?;
        self.settle(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.files.rename_opts(from, to, options).await?;
        self.settle(to).await
    }
}

/// A file that comes in parts. Dropping it removes what was written, unless it is complete.
#[derive(Debug)]
struct Upload {
    disk: Arc<Disk>,
    unnamed: Arc<Mutex<Unnamed>>,
    /// `None` when it is complete or aborted.
    at: Option<PathBuf>,
    length: u64,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (unnamed, offset) = (Arc::clone(&self.unnamed), self.length);
        self.length += data.content_length() as u64;
        Box::pin(blocking(move || {
            let mut unnamed = unnamed.lock();
            let file = &mut unnamed.file;
            let written = file
                .seek(SeekFrom::Start(offset))
                .and_then(|_| data.iter().try_for_each(|bytes| file.write_all(bytes)));
            Ok(written.map_err(|source| unnamed.failed(source))?)
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.at.take().ok_or_else(over)?;
        let (disk, unnamed) = (Arc::clone(&self.disk), Arc::clone(&self.unnamed));
        blocking(move || {
            disk.finish(&unnamed.lock(), Known::Goes)?;
            Ok(PutResult { e_tag: None, version: None })
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let at = self.at.take().ok_or_else(over)?;
        let unnamed = Arc::clone(&self.unnamed);
        blocking(move || {
            let removed = fs::remove_file(at);
            Ok(removed.map_err(|source| unnamed.lock().failed(source))?)
        })
        .await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(at) = self.at.take() {
            // One short call, and nobody is left who could be told of an error.
            let _ = fs::remove_file(at);
        }
    }
}

fn over() -> Error {
    Error::Generic { store: STORE, source: "the upload is over".into() }
}
