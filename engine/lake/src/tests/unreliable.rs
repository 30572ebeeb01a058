//! A store with everything that can go wrong between a server and its store, driven by a seed.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart, path::Path,
};
use parking_lot::Mutex;

/// SplitMix64: the same seed, the same numbers, on every machine.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}

/// What happens to requests.
#[derive(Debug)]
pub(super) struct Weather {
    random: Mutex<Random>,
    calm: AtomicBool,
    /// So many requests more are refused.
    throttled: AtomicU64,
    /// About this object nothing is heard, so many requests long.
    silent: Mutex<Option<(Path, u64)>>,
    /// Whether a request may arrive after its client has given it up.
    late: bool,
    /// Uploads in parts that nobody has ended.
    open_uploads: AtomicU64,
    seen: Mutex<BTreeMap<&'static str, usize>>,
}

impl Weather {
    pub(super) fn new(seed: u64, late: bool) -> Arc<Self> {
        Arc::new(Self {
            random: Mutex::new(Random::new(seed)),
            calm: AtomicBool::new(false),
            throttled: AtomicU64::new(0),
            silent: Mutex::default(),
            late,
            open_uploads: AtomicU64::new(0),
            seen: Mutex::default(),
        })
    }

    pub(super) fn over(self: &Arc<Self>, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Unreliable { store, weather: Arc::clone(self) })
    }

    /// From now on nothing goes wrong.
    pub(super) fn calm_down(&self) {
        self.calm.store(true, Ordering::SeqCst);
    }

    /// What went wrong, and how often.
    pub(super) fn seen(&self) -> BTreeMap<&'static str, usize> {
        self.seen.lock().clone()
    }

    /// Uploads in parts that were neither completed nor aborted, so far as the store knows.
    pub(super) fn open_uploads(&self) -> u64 {
        self.open_uploads.load(Ordering::SeqCst)
    }

    /// One of the faults in so many of a thousand requests each.
    fn fault<T: Copy + fmt::Debug>(
        &self,
        of_thousand: u64,
        faults: &[(&'static str, T)],
    ) -> Option<T> {
        if self.calm.load(Ordering::SeqCst) {
            return None;
        }
        let drawn = self.random.lock().below(1_000);
        let which = usize::try_from(drawn / of_thousand).unwrap();
        let (name, fault) = *faults.get(which)?;
        *self.seen.lock().entry(name).or_default() += 1;
        Some(fault)
    }

    fn milliseconds(&self, below: u64) -> Duration {
        Duration::from_millis(self.random.lock().below(below))
    }

    /// Refuses a request when there were too many, or when nothing is heard about its object.
    fn let_through(&self, location: Option<&Path>) -> Result<()> {
        if self.calm.load(Ordering::SeqCst) {
            return Ok(());
        }
        if let Some((silent, left)) = &mut *self.silent.lock()
            && location == Some(silent)
            && *left > 0
        {
            *left -= 1;
            return Err(failed("timed out"));
        }
        let left = self.throttled.load(Ordering::SeqCst);
        if left > 0 {
            self.throttled.store(left - 1, Ordering::SeqCst);
            return Err(failed("429 Too Many Requests: slow down"));
        }
        if self.fault(4, &[("throttled", ())]).is_some() {
            let more = self.random.lock().below(4);
            self.throttled.store(more, Ordering::SeqCst);
            return Err(failed("503 Service Unavailable: reduce your request rate"));
        }
        Ok(())
    }
}

fn failed(what: &'static str) -> Error {
    Error::Generic { store: "unreliable", source: what.into() }
}

#[derive(Debug, Clone, Copy)]
enum PutFault {
    /// It does not arrive.
    Before,
    /// It arrives, but its answer does not.
    After,
    /// It arrives when its client has given it up.
    Late,
    /// It arrives, is sent once more by something in between, and that is refused.
    Twice,
    /// It arrives, and for a while nothing can be found out about it.
    Silence,
    /// The same, and it does not arrive.
    LostInSilence,
    Slow,
}

#[derive(Debug, Clone, Copy)]
enum GetFault {
    Before,
    Cut,
    Slow,
}

#[derive(Debug, Clone, Copy)]
enum UploadFault {
    Before,
    After,
    Slow,
}

/// An upload in parts of which any request may fail.
#[derive(Debug)]
struct UnreliableUpload {
    upload: Box<dyn MultipartUpload>,
    weather: Arc<Weather>,
    /// Whoever did not get the answer may abort what is complete.
    is_over: bool,
}

impl UnreliableUpload {
    fn ended(&mut self) {
        if !std::mem::replace(&mut self.is_over, true) {
            self.weather.open_uploads.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

#[async_trait]
impl MultipartUpload for UnreliableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        const FAULTS: [(&str, UploadFault); 3] = [
            ("part: failed before", UploadFault::Before),
            ("part: answer lost", UploadFault::After),
            ("part: slow", UploadFault::Slow),
        ];
        let fault = self.weather.fault(60, &FAULTS);
        if matches!(fault, Some(UploadFault::Before)) {
            return Box::pin(async { Err(failed("connection refused")) });
        }
        let pause = self.weather.milliseconds(20);
        let part = self.upload.put_part(data);
        Box::pin(async move {
            if matches!(fault, Some(UploadFault::Slow)) {
                tokio::time::sleep(pause).await;
            }
            part.await?;
            match fault {
                Some(UploadFault::After) => Err(failed("connection reset")),
                _ => Ok(()),
            }
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        const FAULTS: [(&str, UploadFault); 2] = [
            ("complete: failed before", UploadFault::Before),
            ("complete: answer lost", UploadFault::After),
        ];
        let fault = self.weather.fault(120, &FAULTS);
        if matches!(fault, Some(UploadFault::Before)) {
            return Err(failed("connection refused"));
        }
        let done = self.upload.complete().await?;
        self.ended();
        match fault {
            Some(UploadFault::After) => Err(failed("connection reset")),
            _ => Ok(done),
        }
    }

    async fn abort(&mut self) -> Result<()> {
        if self.weather.fault(100, &[("abort: failed", ())]).is_some() {
            return Err(failed("connection refused"));
        }
        self.upload.abort().await?;
        self.ended();
        Ok(())
    }
}

#[derive(Debug)]
struct Unreliable {
    store: Arc<dyn ObjectStore>,
    weather: Arc<Weather>,
}

impl fmt::Display for Unreliable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unreliable")
    }
}

impl Unreliable {
    /// The answers up to somewhere, then an error.
    fn broken_off<T: Send + 'static>(
        &self,
        answers: BoxStream<'static, Result<T>>,
        fault: &'static str,
        of_thousand: u64,
    ) -> BoxStream<'static, Result<T>> {
        if self.weather.fault(of_thousand, &[(fault, ())]).is_none() {
            return answers;
        }
        let after = usize::try_from(self.weather.random.lock().below(12)).unwrap();
        let error = stream::once(async { Err(failed("connection reset")) });
        answers.take(after).chain(error).boxed()
    }
}

#[async_trait]
impl ObjectStore for Unreliable {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        const FAULTS: [(&str, PutFault); 7] = [
            ("put: slow", PutFault::Slow),
            ("put: failed before", PutFault::Before),
            ("put: answer lost", PutFault::After),
            ("put: sent twice", PutFault::Twice),
            ("put: silence", PutFault::Silence),
            ("put: lost in silence", PutFault::LostInSilence),
            ("put: arrives late", PutFault::Late),
        ];
        self.weather.let_through(Some(location))?;
        let is_log_entry = location.as_ref().contains("_delta_log") && opts.mode == PutMode::Create;
        let faults = if self.weather.late { &FAULTS[..] } else { &FAULTS[..6] };
        let fault = self.weather.fault(if is_log_entry { 40 } else { 8 }, faults);
        match fault {
            Some(PutFault::Before) => return Err(failed("connection refused")),
            Some(PutFault::Slow) => tokio::time::sleep(self.weather.milliseconds(100)).await,
            Some(PutFault::Late) => {
                let (store, location) = (Arc::clone(&self.store), location.clone());
                let late = self.weather.milliseconds(6_000);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    // Nobody waits for the answer any more.
                    drop(store.put_opts(&location, payload, opts).await);
                });
                return Err(failed("timed out"));
            }
            Some(PutFault::Silence | PutFault::LostInSilence) => {
                let requests = 4 + self.weather.random.lock().below(12);
                *self.weather.silent.lock() = Some((location.clone(), requests));
                if matches!(fault, Some(PutFault::LostInSilence)) {
                    return Err(failed("timed out"));
                }
            }
            Some(PutFault::After | PutFault::Twice) | None => {}
        }
        let create = opts.mode == PutMode::Create;
        let done = self.store.put_opts(location, payload, opts).await?;
        let (path, source) = (location.to_string(), "it is there".into());
        match fault {
            Some(PutFault::After | PutFault::Silence) => Err(failed("connection reset")),
            Some(PutFault::Twice) if create => Err(Error::AlreadyExists { path, source }),
            Some(PutFault::Twice) => Err(Error::Precondition { path, source }),
            _ => Ok(done),
        }
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.weather.let_through(None)?;
        let upload = self.store.put_multipart_opts(location, opts).await?;
        self.weather.open_uploads.fetch_add(1, Ordering::SeqCst);
        let weather = Arc::clone(&self.weather);
        Ok(Box::new(UnreliableUpload { upload, weather, is_over: false }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        const FAULTS: [(&str, GetFault); 3] = [
            ("get: failed", GetFault::Before),
            ("get: cut", GetFault::Cut),
            ("get: slow", GetFault::Slow),
        ];
        self.weather.let_through(Some(location))?;
        let head = options.head;
        let fault = self.weather.fault(6, &FAULTS);
        match fault {
            Some(GetFault::Before) => return Err(failed("connection refused")),
            // Some of these are awaited on threads where time is real.
            Some(GetFault::Slow) => tokio::time::sleep(self.weather.milliseconds(20)).await,
            Some(GetFault::Cut) | None => {}
        }
        let found = self.store.get_opts(location, options).await?;
        if head || !matches!(fault, Some(GetFault::Cut)) {
            return Ok(found);
        }
        let (meta, range, attributes) =
            (found.meta.clone(), found.range.clone(), found.attributes.clone());
        let bytes = found.bytes().await?;
        let half = bytes.slice(..bytes.len() / 2);
        let cut = stream::iter([Ok(half), Err(failed("connection reset"))]).boxed();
        Ok(GetResult { payload: GetResultPayload::Stream(cut), meta, range, attributes })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.broken_off(self.store.delete_stream(locations), "delete: failed", 100)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.broken_off(self.store.list(prefix), "list: broken off", 30)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.broken_off(self.store.list_with_offset(prefix, offset), "list: broken off", 30)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.weather.let_through(None)?;
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.weather.let_through(None)?;
        self.store.copy_opts(from, to, options).await
    }
}
