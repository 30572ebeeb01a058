//! Deletes entries of a log that have expired, so that it does not grow for ever.
//!
//! What goes is decided from a listing alone: everything before one checkpoint, the newest that is
//! complete and not newer than any version that has to stay readable. So the versions that stay need
//! nothing of what goes, and a listing that shows less than there is deletes less. Versions stay for
//! as long as `delta.logRetentionDuration` says, as files that were taken away stay for VACUUM, and as
//! somebody has pinned them. It never writes, and no commit waits for it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use model::time::Timestamp;
use object_store::path::Path;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{
    error::LakeError,
    lake::Lake,
    location::Place,
    protocol::{check_writable, interval, is_off},
    snapshot::Snapshot,
    vacuum,
};

const ENABLED: &str = "delta.enableExpiredLogCleanup";
const RETENTION: &str = "delta.logRetentionDuration";
const RETENTION_DEFAULT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// A table with this feature says itself which entries have to stay, in a way that is not read here.
const PROTECTION: &str = "checkpointProtection";
/// Versions that have to have expired before anything goes without being asked.
const AUTOMATIC_VERSIONS: usize = 20;
/// Files that one cleanup deletes at most; the next one goes on.
const FILES_MAX: usize = 20_000;
/// How often the log of one table is listed for it without being asked, at most.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// Tables after which those that were not looked at for long are left out of the list.
const LOOKED_AT_MAX: usize = 1024;
/// Deleted before the next ones, so that what is left after a crash has no gaps but at its beginning.
const AT_ONCE: usize = 100;

/// Who knows which older versions of tables are still needed.
#[async_trait]
pub trait Pins: Send + Sync {
    /// Versions of the table with this id that somebody is going to read.
    async fn versions(
        &self,
        table_id: &str,
    ) -> Result<Vec<i64>, Box<dyn std::error::Error + Send + Sync>>;
}

/// What cleanups of one lake share.
#[derive(Default)]
pub(crate) struct Cleanups {
    pins: OnceLock<Arc<dyn Pins>>,
    looked_at: Mutex<HashMap<String, Instant>>,
}

impl Cleanups {
    /// Whether the log of the table was not looked at for so long; from now on it was.
    fn is_due(&self, place: &Place, every: Duration) -> bool {
        let mut looked_at = self.looked_at.lock();
        if looked_at.len() >= LOOKED_AT_MAX {
            looked_at.retain(|_, at| at.elapsed() < EVERY);
        }
        if looked_at.get(place.url.as_str()).is_some_and(|at| at.elapsed() < every) {
            return false;
        }
        looked_at.insert(place.text(), Instant::now());
        true
    }
}

/// How much has to have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Least {
    /// Whatever there is.
    Anything,
    /// Enough to be worth it.
    Enough,
}

impl Lake {
    /// Tells who knows the versions that are still needed. Without it expired entries of logs go only
    /// with a vacuum, which is told.
    pub fn ask_for_pins(&self, pins: Arc<dyn Pins>) {
        // One lake serves one catalog; a second one would be told nothing.
        let _ = self.cleanups().pins.set(pins);
    }

    /// Deletes expired entries after a checkpoint was written, now and then. That it fails is logged
    /// and hurts nobody: the next checkpoint tries again.
    pub(crate) async fn clean_log_now_and_then(&self, table: &Snapshot) {
        let location = table.location();
        let Some(retention) = retention(table) else { return };
        let Some(pins) = self.cleanups().pins.get() else { return };
        let place = match self.place(location) {
            Ok(place) => place,
            Err(error) => return tracing::warn!(location, %error, "expired log entries stay"),
        };
        if !self.cleanups().is_due(&place, EVERY.min(retention / 24)) {
            return;
        }
        let keep = match pins.versions(table.table_id()).await {
            Ok(keep) => keep,
            Err(error) => return tracing::warn!(location, %error, "expired log entries stay"),
        };
        match self.clean_log(table, &keep, Least::Enough).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(location, files, "expired log entries deleted"),
            Err(error) => tracing::warn!(location, %error, "expired log entries stay"),
        }
    }

    /// Deletes expired entries of a table's log, and answers how many files went. `keep`: versions
    /// that stay readable whatever their age.
    pub(crate) async fn clean_log(
        &self,
        table: &Snapshot,
        keep: &[i64],
        least: Least,
    ) -> Result<u64, LakeError> {
        let Some(retention) = retention(table) else { return Ok(0) };
        if check_writable(table).is_err() {
            return Ok(0);
        }
        let place = self.place(table.location())?;
        let now = rt::clock::Clock::now(&rt::clock::SystemClock).as_micros();
        let retention = i64::try_from(retention.as_micros()).unwrap_or(i64::MAX);
        let cutoff = Timestamp::from_micros(now.saturating_sub(retention));
        let listing = Listing::of(&place).await?;
        let gone = listing.expired(cutoff, keep, least);
        let deleted = gone.len() as u64;
        for some in gone.chunks(AT_ONCE) {
            delete(&place, some.to_vec()).await?;
        }
        Ok(deleted)
    }
}

/// How long entries stay; `None` when they stay for ever.
fn retention(table: &Snapshot) -> Option<Duration> {
    let properties = table.properties();
    let (_, _, features) = table.protocol();
    if is_off(properties, ENABLED) || features.iter().any(|feature| feature == PROTECTION) {
        return None;
    }
    let log = match properties.get(RETENTION) {
        // A time that cannot be told may be a long one.
        Some(text) => interval(text)?,
        None => RETENTION_DEFAULT,
    };
    // VACUUM learns from the entries which files were taken away, and when.
    Some(log.max(vacuum::retention(table)))
}

async fn delete(place: &Place, files: Vec<Path>) -> Result<(), LakeError> {
    let mut deleted = place.store.delete_stream(stream::iter(files.into_iter().map(Ok)).boxed());
    while let Some(result) = deleted.next().await {
        match result {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => {
                return Err(LakeError::store("delete a log entry", place.text(), source));
            }
        }
    }
    Ok(())
}

/// The files of a log by what their names say.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Each commit with the time of its file.
    commits: BTreeMap<i64, Timestamp>,
    /// Versions with a checkpoint that has all of its files.
    checkpoints: BTreeSet<i64>,
    /// Parts of checkpoints in several: by version and number of parts, those that are there.
    parts: BTreeMap<(i64, u64), BTreeSet<u64>>,
    /// Everything that is named after a version, by the first version that it is about.
    files: Vec<(i64, Path)>,
}

impl Listing {
    /// Lists the log of a table. An error in the middle is an error: half a listing decides nothing.
    pub(crate) async fn of(place: &Place) -> Result<Self, LakeError> {
        let failed = |source| LakeError::store("list the Delta log", place.text(), source);
        let mut listing = Self::default();
        let folder = Path::from("_delta_log");
        let mut entries = place.store.list(Some(&folder));
        loop {
            match entries.try_next().await {
                Ok(Some(meta)) => {
                    listing.add(meta.location, meta.size, Timestamp::from(meta.last_modified));
                }
                Ok(None) | Err(object_store::Error::NotFound { .. }) => return Ok(listing),
                Err(source) => return Err(failed(source)),
            }
        }
    }

    /// Takes note of a file. Those in deeper folders, such as sidecars, and those with other names,
    /// such as `_last_checkpoint`, are nobody's and stay.
    fn add(&mut self, path: Path, size: u64, modified: Timestamp) {
        let parts: Vec<String> = path.parts().map(|part| part.as_ref().to_owned()).collect();
        let [folder, name] = parts.as_slice() else { return };
        let Some((digits, ending)) = name.split_once('.') else { return };
        let is_version = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let Some(version) = digits.parse::<i64>().ok().filter(|_| is_version) else { return };
        if folder != "_delta_log" {
            return;
        }
        match ending.split('.').collect::<Vec<_>>().as_slice() {
            ["json"] => {
                self.commits.insert(version, modified);
            }
            ["checkpoint", part, of, "parquet"] if size > 0 => {
                if let (Ok(part), Ok(of)) = (part.parse(), of.parse()) {
                    let there = self.parts.entry((version, of)).or_default();
                    there.insert(part);
                    if (1..=of).all(|part| there.contains(&part)) {
                        self.checkpoints.insert(version);
                    }
                }
            }
            // The second kind has a name of its own for each, and its sidecars are never deleted.
            ["checkpoint", "parquet"] | ["checkpoint", _, "parquet" | "json"] if size > 0 => {
                self.checkpoints.insert(version);
            }
            ["checkpoint", ..] | ["crc"] | [_, "compacted", "json"] => {}
            _ => return,
        }
        self.files.push((version, path));
    }

    /// The newest commit.
    fn newest(&self) -> Option<i64> {
        self.commits.keys().next_back().copied()
    }

    /// The first commit that is not there of those that the newest version needs.
    pub(crate) fn missing(&self) -> Option<i64> {
        let newest = self.newest()?;
        let base = self.checkpoints.range(..=newest).next_back().map_or(0, |base| base + 1);
        (base..newest).find(|version| !self.commits.contains_key(version))
    }

    /// Whether there is a checkpoint of this version or a newer one.
    pub(crate) fn has_checkpoint_since(&self, version: i64) -> bool {
        self.checkpoints.range(version..).next().is_some()
    }

    /// The oldest version that can be read, and from which on every one can.
    pub(crate) fn first_readable(&self) -> Option<i64> {
        let newest = self.newest()?;
        // Where the commits that are there without a gap up to the newest begin.
        let mut first = newest;
        while self.commits.contains_key(&(first - 1)) {
            first -= 1;
        }
        if first == 0 {
            return Some(0);
        }
        // A checkpoint stands for the commits up to it; the one before the first will do.
        self.checkpoints.range(first - 1..=newest).next().copied()
    }

    /// The files that nobody needs who reads a version that was there at or after the cutoff, or is
    /// in `keep`; oldest version first.
    pub(crate) fn expired(&self, cutoff: Timestamp, keep: &[i64], least: Least) -> Vec<Path> {
        let (Some(newest), Some(readable)) = (self.newest(), self.first_readable()) else {
            return Vec::new();
        };
        // The version that was the newest at the cutoff, by times that never go back.
        let mut at_cutoff = None;
        let mut time = i64::MIN;
        for (version, modified) in &self.commits {
            time = time.max(modified.as_micros());
            if time > cutoff.as_micros() {
                break;
            }
            at_cutoff = Some(*version);
        }
        let Some(at_cutoff) = at_cutoff else { return Vec::new() };
        let first = self.files.iter().map(|(version, _)| *version).min().unwrap_or(at_cutoff);
        let pinned = keep.iter().copied().filter(|version| (first..=newest).contains(version));
        let needed = pinned.min().map_or(at_cutoff, |pinned| pinned.min(at_cutoff));
        let Some(base) = self.checkpoints.range(..=needed).next_back().filter(|v| **v >= readable)
        else {
            return Vec::new();
        };
        let versions = self.commits.range(..base).count();
        if least == Least::Enough && versions < AUTOMATIC_VERSIONS {
            return Vec::new();
        }
        let mut gone: Vec<_> = self.files.iter().filter(|(version, _)| version < base).collect();
        gone.sort();
        gone.into_iter().take(FILES_MAX).map(|(_, path)| path.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
