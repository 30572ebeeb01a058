//! Keeps loaded tables, and notices with two small requests when a table has changed.
//!
//! Loading a table lists and replays its log, so it is done once. Afterwards the commit file of the
//! next version tells whether there is something new, and the commit file of the known version
//! whether it is still the same table: one that was dropped and created anew has another.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
    time::Duration,
};

use deltalake_core::{DeltaTable, DeltaTableError, kernel::EagerSnapshot};
use model::code::Code;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    error::{Cause, LakeError, store_failure},
    location::{Place, Roots},
    log::{self, CommitFile},
    log_cleanup::Listing,
    pointer,
    protocol::unreadable_feature,
    snapshot::Snapshot,
    sound::{Listed, empty_commit},
    stores::Stores,
};

/// After so many steps from version to version a table is loaded anew, because each step leaves
/// the list of files in one more piece.
const STEPS_MAX: u32 = 200;
/// Tables after which those that nobody reads are left out of the list of loaded ones.
const LOADED_SWEEP_AT: usize = 1024;

/// Loaded tables.
pub(crate) struct Cache {
    roots: Arc<Roots>,
    stores: Arc<Stores>,
    stale_max: Duration,
    latest: Mutex<Lru<String, Arc<Entry>>>,
    older: Mutex<Lru<(String, i64), Held>>,
    /// Every version of a table that was loaded and may still be read by somebody.
    loaded: Mutex<HashMap<String, Vec<Weak<EagerSnapshot>>>>,
}

/// The newest known version of one table.
#[derive(Default)]
struct Entry {
    held: Mutex<Option<Held>>,
    refresh: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Held {
    snapshot: Arc<Snapshot>,
    /// The log was asked at or after this moment.
    checked: Instant,
    steps: u32,
}

impl Cache {
    pub(crate) fn new(
        (roots, stores): (Arc<Roots>, Arc<Stores>),
        stale_max: Duration,
        snapshots_max: usize,
    ) -> Self {
        let max = snapshots_max.max(1);
        let (latest, older) = (Mutex::new(Lru::new(max)), Mutex::new(Lru::new(max)));
        Self { roots, stores, stale_max, latest, older, loaded: Mutex::default() }
    }

    /// The newest version, at most `stale_max` old.
    pub(crate) async fn latest(&self, place: &Place) -> Result<Arc<Snapshot>, LakeError> {
        self.not_older_than(place, self.stale_max).await
    }

    /// The newest version, asked for now.
    pub(crate) async fn fresh(&self, place: &Place) -> Result<Arc<Snapshot>, LakeError> {
        self.not_older_than(place, Duration::ZERO).await
    }

    async fn not_older_than(
        &self,
        place: &Place,
        stale_max: Duration,
    ) -> Result<Arc<Snapshot>, LakeError> {
        let asked = Instant::now();
        let fresh = |held: &Held| held.checked + stale_max >= asked;
        let entry = self.entry(place);
        if let Some(held) = entry.get().filter(&fresh) {
            return Ok(held.snapshot);
        }
        // One asks the log; those who waited meanwhile take its answer if it is new enough for them.
        let _one = entry.refresh.lock().await;
        let known = entry.get();
        if let Some(held) = known.clone().filter(&fresh) {
            return Ok(held.snapshot);
        }
        let checked = Instant::now();
        let result = match known {
            Some(held) => self.refresh(place, held).await,
            None => self.load(place, None).await.map(|snapshot| (snapshot, 0)),
        };
        match result {
            Ok((snapshot, steps)) => {
                entry.set(Some(Held { snapshot: Arc::clone(&snapshot), checked, steps }));
                Ok(snapshot)
            }
            Err(error) => {
                if matches!(error, LakeError::NotFound { .. }) {
                    self.forget(place);
                }
                Err(error)
            }
        }
    }

    /// Exactly this version.
    pub(crate) async fn version(
        &self,
        place: &Place,
        version: i64,
    ) -> Result<Arc<Snapshot>, LakeError> {
        let key = (place.text(), version);
        let latest = self.entry(place).get().filter(|held| held.snapshot.version() == version);
        let known = latest.or_else(|| self.older.lock().get(&key));
        if let Some(held) = known {
            let asked = Instant::now();
            let fresh = !self.stale_max.is_zero() && held.checked + self.stale_max >= asked;
            if fresh {
                return Ok(held.snapshot);
            }
            if log::head(place, version).await?.as_ref() == held.snapshot.commit() {
                let held = Held { checked: asked, ..held };
                self.older.lock().insert(key, held.clone());
                return Ok(held.snapshot);
            }
            self.forget(place);
        }
        let newest = self.latest(place).await?;
        if newest.version() == version {
            return Ok(newest);
        }
        let missing = || LakeError::VersionNotFound {
            location: place.text(),
            version,
            newest: newest.version(),
        };
        if version < 0 || version > newest.version() {
            return Err(missing());
        }
        let checked = Instant::now();
        match self.load(place, Some(version)).await {
            Ok(snapshot) => {
                let held = Held { snapshot: Arc::clone(&snapshot), checked, steps: 0 };
                self.older.lock().insert(key, held);
                Ok(snapshot)
            }
            // The newest version could be read, so what is missing is the log of the older one.
            Err(error @ (LakeError::BrokenLog { .. } | LakeError::NotFound { .. })) => {
                match Listing::of(place).await?.first_readable() {
                    Some(first) if version < first => {
                        let location = place.text();
                        Err(LakeError::VersionExpired { location, version, first })
                    }
                    _ => Err(error),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Loads exactly this version, which was committed just now on top of `base`, and keeps it
    /// unless a newer one is known.
    pub(crate) async fn advance(
        &self,
        place: &Place,
        base: Option<&Arc<Snapshot>>,
        version: i64,
    ) -> Result<Arc<Snapshot>, LakeError> {
        let checked = Instant::now();
        let entry = self.entry(place);
        let steps = entry.get().map_or(0, |held| held.steps);
        let (snapshot, steps) = match base {
            Some(base) if steps < STEPS_MAX => {
                (self.step(place, base, Some(version)).await?, steps + 1)
            }
            _ => (self.load(place, Some(version)).await?, 0),
        };
        let mut held = entry.held.lock();
        let newer_known = held.as_ref().is_some_and(|held| {
            held.snapshot.table_id() == snapshot.table_id() && held.snapshot.version() > version
        });
        if !newer_known {
            *held = Some(Held { snapshot: Arc::clone(&snapshot), checked, steps });
        }
        Ok(snapshot)
    }

    /// Forgets the versions before the newest, so that only those stay that something reads.
    pub(crate) fn forget_older(&self, place: &Place) {
        self.older.lock().retain(|(location, _)| location != place.url.as_str());
    }

    /// Every version of the table that something in this process holds.
    pub(crate) fn alive(&self, place: &Place) -> Vec<Arc<EagerSnapshot>> {
        let loaded = self.loaded.lock();
        let of_table = loaded.get(place.url.as_str());
        of_table.into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    fn remember(&self, place: &Place, snapshot: &Snapshot) {
        let mut loaded = self.loaded.lock();
        let of_table = loaded.entry(place.text()).or_default();
        of_table.retain(|version| version.strong_count() > 0);
        of_table.push(Arc::downgrade(snapshot.held_version()));
        if loaded.len() > LOADED_SWEEP_AT {
            loaded.retain(|_, versions| versions.iter().any(|version| version.strong_count() > 0));
        }
    }

    /// Forgets everything about the table.
    pub(crate) fn forget(&self, place: &Place) {
        self.latest.lock().remove(place.url.as_str());
        self.older.lock().retain(|(location, _)| location != place.url.as_str());
    }

    fn entry(&self, place: &Place) -> Arc<Entry> {
        let mut latest = self.latest.lock();
        if let Some(entry) = latest.get(place.url.as_str()) {
            return entry;
        }
        let entry = Arc::new(Entry::default());
        latest.insert(place.text(), Arc::clone(&entry));
        entry
    }

    async fn refresh(&self, place: &Place, held: Held) -> Result<(Arc<Snapshot>, u32), LakeError> {
        let known = &held.snapshot;
        let version = known.version();
        let (next, own) = futures::join!(log::head(place, version + 1), log::head(place, version));
        let (next, own) = (next?, own?);
        let same_table = own.as_ref() == known.commit();
        if !same_table || held.steps >= STEPS_MAX {
            if !same_table {
                self.older.lock().retain(|(location, _)| location != place.url.as_str());
            }
            return Ok((self.load(place, None).await?, 0));
        }
        // Without its own commit file the log was cleaned up, maybe past the next version too.
        let changed = next.is_some() || own.is_none();
        if !changed {
            return Ok((held.snapshot, held.steps));
        }
        match self.step(place, known, None).await {
            Ok(snapshot) => Ok((snapshot, held.steps + 1)),
            Err(_) => Ok((self.load(place, None).await?, 0)),
        }
    }

    /// Reads only the commits after a known version.
    async fn step(
        &self,
        place: &Place,
        from: &Arc<Snapshot>,
        to: Option<i64>,
    ) -> Result<Arc<Snapshot>, LakeError> {
        let mut table = from.table().clone();
        let first = from.version() + 1;
        let to = to.and_then(|version| u64::try_from(version).ok());
        if let Err(source) = table.update_incremental(to).await {
            return Err(self.load_error(place, source).await);
        }
        let reached = table.version().and_then(|version| i64::try_from(version).ok());
        // The last one is looked at below.
        for version in first..reached.unwrap_or(first) {
            if log::head(place, version).await?.is_some_and(|commit| commit.is_empty()) {
                return Err(empty_commit(place, version));
            }
        }
        self.finish(place, table).await
    }

    /// Lists and replays the log.
    async fn load(&self, place: &Place, version: Option<i64>) -> Result<Arc<Snapshot>, LakeError> {
        let to = version.and_then(|version| u64::try_from(version).ok());
        let mut table = DeltaTable::new(place.log_store());
        let (loaded, listed) = futures::join!(table.update_incremental(to), Listed::of(place));
        if let Err(first) = loaded {
            match self.load_error(place, first).await {
                // The store can be read now: a second failure is the log's, not the network's.
                LakeError::BrokenLog { .. } => {
                    let log_store = match pointer::misleads(place).await? {
                        true => {
                            let location = place.text();
                            tracing::warn!(
                                location,
                                "no checkpoint is where '_last_checkpoint' says"
                            );
                            pointer::log_store_without(place)
                        }
                        false => place.log_store(),
                    };
                    table = DeltaTable::new(log_store);
                    if let Err(second) = table.update_incremental(to).await {
                        return Err(self.load_error(place, second).await);
                    }
                }
                error => return Err(error),
            }
        }
        if let Some(version) = table.version().and_then(|version| i64::try_from(version).ok()) {
            listed?.check(place, version).await?;
        }
        self.finish(place, table).await
    }

    async fn finish(&self, place: &Place, table: DeltaTable) -> Result<Arc<Snapshot>, LakeError> {
        let version = table.version().and_then(|version| i64::try_from(version).ok());
        let commit = match version {
            Some(version) => log::head(place, version).await?,
            None => None,
        };
        if let Some(version) = version.filter(|_| commit.as_ref().is_some_and(CommitFile::is_empty))
        {
            return Err(empty_commit(place, version));
        }
        let snapshot = Snapshot::new(
            place.clone(),
            (Arc::clone(&self.roots), Arc::clone(&self.stores)),
            table,
            commit,
        )?;
        self.remember(place, &snapshot);
        Ok(Arc::new(snapshot))
    }

    /// What a failed load means, found out by asking the store again.
    async fn load_error(&self, place: &Place, source: DeltaTableError) -> LakeError {
        match log::exists(place).await {
            Ok(true) => match unreadable_feature(place).await {
                Ok(Some(feature)) => {
                    LakeError::Unsupported { location: place.text(), feature, access: "read" }
                }
                Ok(None) if store_failure(&source).is_some_and(|code| code != Code::DataLoss) => {
                    LakeError::failed("read the Delta log", place.text(), source)
                }
                Ok(None) => LakeError::BrokenLog {
                    location: place.text(),
                    source: missing_commit(place).await.unwrap_or_else(|| Arc::new(source)),
                },
                Err(unreachable) => unreachable,
            },
            Ok(false) => LakeError::NotFound { location: place.text() },
            Err(unreachable) => unreachable,
        }
    }
}

/// What is wrong with a log that has a gap; the library shows it as it sees it.
async fn missing_commit(place: &Place) -> Option<Cause> {
    let version = Listing::of(place).await.ok()?.missing()?;
    let said = format!(
        "the commit of version {version}, '_delta_log/{version:020}.json', is not there, and later ones are"
    );
    Some(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(said)))
}

impl Entry {
    fn get(&self) -> Option<Held> {
        self.held.lock().clone()
    }

    fn set(&self, held: Option<Held>) {
        *self.held.lock() = held;
    }
}

/// A map that drops what was not used for longest.
struct Lru<K, V> {
    max: usize,
    clock: u64,
    entries: HashMap<K, (u64, V)>,
}

impl<K: Hash + Eq + Clone, V: Clone> Lru<K, V> {
    fn new(max: usize) -> Self {
        Self { max, clock: 0, entries: HashMap::new() }
    }

    fn get<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.clock += 1;
        let (used, value) = self.entries.get_mut(key)?;
        *used = self.clock;
        Some(value.clone())
    }

    fn insert(&mut self, key: K, value: V) {
        self.clock += 1;
        self.entries.insert(key, (self.clock, value));
        if self.entries.len() > self.max {
            let oldest =
                self.entries.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.entries.remove(&oldest);
            }
        }
    }

    fn remove<Q>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.remove(key);
    }

    fn retain(&mut self, keep: impl Fn(&K) -> bool) {
        self.entries.retain(|key, _| keep(key));
    }
}
