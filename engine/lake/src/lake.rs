//! The lake itself: its roots, its stores, and the rules of where things may be.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use datafusion::execution::runtime_env::RuntimeEnv;
use futures::{StreamExt, TryStreamExt};
use model::{id::ObjectId, name::ObjectName, time::Timestamp};
use object_store::{ObjectStoreExt, PutMode, PutOptions, PutPayload, path::Path};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use url::Url;
use uuid::Uuid;

use crate::{
    cache::Cache,
    error::LakeError,
    group::Writers,
    held::Held,
    location::{Place, Roots, path_of, to_url},
    log,
    log_cleanup::Cleanups,
    protocol::{IN_COMMIT_TIMESTAMPS, is_on},
    snapshot::{At, Snapshot},
    stage::StageProgress,
    staging::StagingArea,
    stores::{Stores, Wrap},
    upkeep::Upkeep,
};

/// How often a put of the probe is sent.
const PROBE_TRIES: u32 = 3;

/// How a lake is opened.
#[derive(Clone)]
pub struct LakeOptions {
    /// Path or URL of the folder that holds tables without a `LOCATION`. A local one is created.
    pub root: String,
    /// Options of the object stores, by the names that they have in the `object_store` library
    /// (`aws_access_key_id`, `aws_endpoint`, `azure_storage_account_key` …).
    pub storage: BTreeMap<String, String>,
    /// Further folders, paths or URLs, that a `LOCATION` may name.
    pub locations: Vec<String>,
    /// Runtime that talks to object stores.
    pub io: Handle,
    /// How old the newest known version of a table may be before the log is asked again.
    /// Zero: it is asked by every statement.
    pub stale_max: Duration,
    /// Tables whose newest version is kept in memory; as many older versions are kept besides.
    pub snapshots_max: usize,
    /// Size in bytes at which a data file is closed and the next one begun.
    pub target_file_size: u64,
}

impl fmt::Debug for LakeOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LakeOptions")
            .field("root", &self.root)
            .field("storage", &self.storage.keys().collect::<Vec<_>>())
            .field("locations", &self.locations)
            .field("stale_max", &self.stale_max)
            .field("snapshots_max", &self.snapshots_max)
            .field("target_file_size", &self.target_file_size)
            .finish_non_exhaustive()
    }
}

/// Reads and writes tables. Cheap to clone; all clones share stores, snapshots and write locks.
#[derive(Clone)]
pub struct Lake {
    shared: Arc<Shared>,
}

struct Shared {
    roots: Arc<Roots>,
    root_text: String,
    stores: Arc<Stores>,
    cache: Cache,
    writers: OfTables<Writers>,
    turns: OfTables<tokio::sync::Mutex<()>>,
    staging: Mutex<Vec<Weak<StagingArea>>>,
    held: Held,
    cleanups: Cleanups,
    upkeep: OnceLock<Arc<dyn Upkeep>>,
    io: Handle,
    target_file_size: u64,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lake").field("root", &self.shared.root_text).finish_non_exhaustive()
    }
}

impl Lake {
    /// Checks all options and creates a local root. Sends nothing to a remote store:
    /// call [`Lake::probe`] for that.
    pub fn open(options: LakeOptions) -> Result<Self, LakeError> {
        Self::open_wrapped(options, None)
    }

    pub(crate) fn open_wrapped(
        options: LakeOptions,
        wrap: Option<Wrap>,
    ) -> Result<Self, LakeError> {
        let LakeOptions {
            root,
            storage,
            locations,
            io,
            stale_max,
            snapshots_max,
            target_file_size,
        } = options;
        if !root.contains("://") && !root.starts_with("file:") {
            std::fs::create_dir_all(&root)
                .map_err(|source| LakeError::io("create the lake's root", &root, source))?;
        }
        let roots = Arc::new(Roots::parse(&root, &locations)?);
        let root = roots.lake();
        if let Some(folder) = root.local() {
            std::fs::create_dir_all(&folder).map_err(|source| {
                LakeError::io("create the lake's root", root.url().as_str(), source)
            })?;
        }
        let stores = Arc::new(Stores::new(storage, io.clone(), wrap)?);
        for folder in roots.all() {
            stores.get(folder.url())?;
        }
        let root_text = root.url().to_string();
        let shared_by_tables = (Arc::clone(&roots), Arc::clone(&stores));
        let cache = Cache::new(shared_by_tables, stale_max, snapshots_max);
        let shared = Shared {
            roots,
            root_text,
            stores,
            cache,
            writers: OfTables::default(),
            turns: OfTables::default(),
            staging: Mutex::default(),
            held: Held::default(),
            cleanups: Cleanups::default(),
            upkeep: OnceLock::new(),
            io,
            target_file_size,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The root as an absolute URL with a trailing slash.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.shared.root_text
    }

    /// Writes one object under `<root>/_whimbrel/` twice, to see that the second time is refused,
    /// and deletes it. [`LakeError::NoPutIfAbsent`] when it is not: commits would get lost.
    pub async fn probe(&self) -> Result<(), LakeError> {
        let place = Place::open(&self.shared.stores, self.shared.roots.lake().url())?;
        let path = Path::from(format!("_whimbrel/probe-{}", Uuid::new_v4().simple()));
        let put = || async {
            let mut tries = 1;
            loop {
                let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
                let payload = PutPayload::from_static(b"whimbrel");
                match place.store.put_opts(&path, payload, options).await {
                    // Such puts are not repeated by the library, and one lost reply is no reason to
                    // refuse to start.
                    Err(object_store::Error::Generic { .. }) if tries < PROBE_TRIES => tries += 1,
                    answered => return answered,
                }
            }
        };
        let failed = |source| LakeError::store("write a probe", self.root(), source);
        let no_put_if_absent = || LakeError::NoPutIfAbsent { location: self.root().to_owned() };
        match put().await {
            // Nobody else writes there: it is the first put, whose reply was lost.
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(
                object_store::Error::NotImplemented { .. }
                | object_store::Error::NotSupported { .. },
            ) => {
                return Err(no_put_if_absent());
            }
            Err(source) => return Err(failed(source)),
        }
        let second = put().await;
        let deleted = place.store.delete(&path).await;
        match second {
            Err(object_store::Error::AlreadyExists { .. }) => deleted.map_err(failed),
            Ok(_) => Err(no_put_if_absent()),
            Err(source) => Err(failed(source)),
        }
    }

    /// Makes every root readable for plans that run in `env`.
    pub fn register_stores(&self, env: &RuntimeEnv) {
        self.shared.stores.register(env);
    }

    /// Where a table without a `LOCATION` lives: `<root>tables/<schema>/<name>-<8 hex digits>/`.
    /// Characters that some store or tool could trip over become `_`; the digits keep it unique.
    #[must_use]
    pub fn table_location(&self, id: ObjectId, name: &ObjectName) -> String {
        let id = id.as_uuid().simple().to_string();
        // The first digits of an id are its time, equal for tables made in the same minute.
        let digits = &id[id.len() - 8..];
        let (schema, name) = (plain(name.schema()), plain(name.name()));
        format!("{}tables/{schema}/{name}-{digits}/", self.shared.root_text)
    }

    /// Turns the text of a `LOCATION` into an absolute URL. A relative path is relative to the root.
    /// Symbolic links and `..` are followed first; whatever is then outside of the root and of
    /// `lake.locations` is [`LakeError::OutsideRoots`].
    pub fn parse_location(&self, text: &str) -> Result<String, LakeError> {
        let url = to_url(text, self.shared.roots.lake().url())?;
        self.shared.roots.check(&url)?;
        Ok(url.to_string())
    }

    /// The table as it is now, or was. Does not ask the log when the newest known version is
    /// younger than `stale_max`; otherwise two small requests tell whether it changed.
    /// Cancel-safe.
    pub async fn snapshot(&self, location: &str, at: At) -> Result<Arc<Snapshot>, LakeError> {
        let place = self.place(location)?;
        match at {
            At::Latest => self.shared.cache.latest(&place).await,
            At::Version(version) => self.shared.cache.version(&place, version).await,
            At::Timestamp(time) => {
                told_by_files(&*self.shared.cache.latest(&place).await?)?;
                let version = version_at(&place, time).await?;
                self.shared.cache.version(&place, version).await
            }
        }
    }

    /// Refuses a place outside the folders that the lake may use.
    pub(crate) fn check_within(&self, url: &Url) -> Result<(), LakeError> {
        self.shared.roots.check(url)
    }

    /// Whether there is a Delta table, readable or not.
    pub async fn exists(&self, location: &str) -> Result<bool, LakeError> {
        log::exists(&self.place(location)?).await
    }

    /// The newest number that the application has committed to the table; `None` when it never did
    /// or there is no table. Always asks the log.
    pub async fn txn_version(
        &self,
        location: &str,
        app_id: &str,
    ) -> Result<Option<i64>, LakeError> {
        let place = self.place(location)?;
        match self.shared.cache.fresh(&place).await {
            Ok(snapshot) => snapshot.txn_version(app_id).await,
            Err(LakeError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether a place is a root, or one of the folders in which the lake's own tables are.
    pub(crate) fn is_for_several_tables(&self, place: &Place) -> Result<bool, LakeError> {
        let root_depth = self.shared.roots.lake().depth(&place.url, &place.path);
        let mut roots = self.shared.roots.all();
        let is_root = roots.any(|root| root.depth(&place.url, &place.path) == Some(0));
        let tables = Path::from_iter(
            path_of(self.shared.roots.lake().url())?.parts().chain(["tables".into()]),
        );
        let holds_tables =
            place.path.prefix_matches(&tables) && root_depth.is_some_and(|depth| depth < 3);
        Ok(is_root || holds_tables)
    }

    /// Deletes everything under the location. Never deletes a root, nor a folder of several tables.
    /// Not cancel-safe: what was deleted by then stays deleted.
    pub async fn purge(&self, location: &str) -> Result<(), LakeError> {
        let place = self.place(location)?;
        if self.is_for_several_tables(&place)? {
            return Err(LakeError::PurgeRoot { location: place.text() });
        }
        let writers = self.writers(&place);
        let _turn = writers.turn.lock().await;
        self.shared.cache.forget(&place);
        let failed = |source| LakeError::store("delete the table's files", place.text(), source);
        // The log goes first: without it nobody reads a half-deleted table.
        for folder in [place.path.clone().join("_delta_log"), place.path.clone()] {
            let found = place.root_store.list(Some(&folder)).map_ok(|meta| meta.location).boxed();
            let mut deleted = place.root_store.delete_stream(found);
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                    Err(source) => return Err(failed(source)),
                }
            }
        }
        if let Some(folder) = place.local() {
            match tokio::fs::remove_dir_all(&folder).await {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => return Err(LakeError::io("delete the table's folder", place.text(), e)),
            }
        }
        Ok(())
    }

    /// The folder of a table, checked to be inside the lake.
    pub(crate) fn place(&self, location: &str) -> Result<Place, LakeError> {
        let url = Url::parse(location).map_err(|e| LakeError::Location {
            text: location.to_owned(),
            why: format!("{e}; a location is an absolute URL"),
        })?;
        self.shared.roots.check(&url)?;
        Place::open(&self.shared.stores, &url)
    }

    /// What all writers of the table in this process share.
    pub(crate) fn writers(&self, place: &Place) -> Arc<Writers> {
        of_table(&self.shared.writers, place)
    }

    pub(crate) fn io(&self) -> &Handle {
        &self.shared.io
    }

    /// Whether the versions of a table after `from`, up to `to`, have the same rows and definition as
    /// `from`: they only put files together. Reads their commits; `false` when that are too many, or
    /// the log no longer has them.
    pub async fn moved_only(&self, location: &str, from: i64, to: i64) -> Result<bool, LakeError> {
        log::moved_only(&self.place(location)?, from, to).await
    }

    /// Waits until no other statement of this process that holds a turn works on the table: for
    /// those who read rows to change them, and would only make each other start again.
    pub async fn turn(&self, location: &str) -> Result<Turn, LakeError> {
        let place = self.place(location)?;
        let lock = of_table(&self.shared.turns, &place);
        Ok(Turn { _guard: lock.lock_owned().await })
    }

    /// A place for the files of one statement.
    pub(crate) fn staging_area(
        &self,
        place: &Place,
        progress: Arc<StageProgress>,
    ) -> Arc<StagingArea> {
        let area = StagingArea::new(place.clone(), self.shared.io.clone(), progress);
        let mut staging = self.shared.staging.lock();
        staging.retain(|area| area.strong_count() > 0);
        staging.push(Arc::downgrade(&area));
        area
    }

    /// The files that statements of this process are writing for the table.
    pub(crate) fn staged_files(&self, place: &Place) -> Vec<Path> {
        let staging = self.shared.staging.lock();
        let areas = staging.iter().filter_map(Weak::upgrade);
        areas.filter(|area| area.place().url == place.url).flat_map(|area| area.files()).collect()
    }

    /// Files that plans have still to read, beside those of versions that are held.
    pub(crate) fn held(&self) -> &Held {
        &self.shared.held
    }

    pub(crate) fn upkeep(&self) -> &OnceLock<Arc<dyn Upkeep>> {
        &self.shared.upkeep
    }

    pub(crate) fn cleanups(&self) -> &Cleanups {
        &self.shared.cleanups
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.shared.cache
    }

    pub(crate) fn target_file_size(&self) -> u64 {
        self.shared.target_file_size
    }
}

/// One thing for each table that somebody uses it of.
type OfTables<T> = Mutex<HashMap<String, Weak<T>>>;

/// The right to read rows of a table and change them; ends when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    _guard: tokio::sync::OwnedMutexGuard<()>,
}

fn of_table<T: Default>(tables: &OfTables<T>, place: &Place) -> Arc<T> {
    const SWEEP_AT: usize = 1024;
    let mut tables = tables.lock();
    if let Some(known) = tables.get(place.url.as_str()).and_then(Weak::upgrade) {
        return known;
    }
    if tables.len() >= SWEEP_AT {
        tables.retain(|_, known| known.strong_count() > 0);
    }
    let new = Arc::<T>::default();
    tables.insert(place.text(), Arc::downgrade(&new));
    new
}

/// The newest version that was committed at or before `time`.
/// Refuses tables whose commits say themselves when they were (Delta protocol, "In-Commit Timestamps"):
/// the times of their files are others.
pub(crate) fn told_by_files(table: &Snapshot) -> Result<(), LakeError> {
    if is_on(table.properties(), IN_COMMIT_TIMESTAMPS) {
        return Err(LakeError::Unsupported {
            location: table.location().to_owned(),
            feature: "inCommitTimestamp".to_owned(),
            access: "read by time (VERSION AS OF works)",
        });
    }
    Ok(())
}

async fn version_at(place: &Place, time: Timestamp) -> Result<i64, LakeError> {
    let commits = log::commits(place).await?;
    let Some((_, first)) = commits.first() else {
        return Err(LakeError::NotFound { location: place.text() });
    };
    match commits.iter().rev().find(|(_, committed)| *committed <= time) {
        Some((version, _)) => Ok(*version),
        None => {
            Err(LakeError::TimestampTooEarly { location: place.text(), asked: time, first: *first })
        }
    }
}

/// The text with everything but plain letters, digits and `_` replaced, at most 64 characters.
fn plain(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' };
    text.chars().take(64).map(keep).collect()
}
