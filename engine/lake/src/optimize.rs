//! Puts small files together, so that reading a table costs fewer requests and plans less.
//!
//! Rows stay what they are, so everybody may go on reading and appending; only who changes rows of
//! the very files that are being put together comes in between. Files are put together up to the
//! table's target size, and a table that needs nothing gets no commit. Ordering rows as well rewrites
//! whole partitions, whatever the size of their files.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, atomic::Ordering},
};

use arrow::datatypes::Schema;
use datafusion::{
    catalog::TableProvider, common::ScalarValue, execution::TaskContext,
    physical_expr::PhysicalExpr, physical_plan::coalesce_partitions::CoalescePartitionsExec,
};
use deltalake_core::{kernel::Add, protocol::DeltaOperation};
use serde_json::{Map, Value, json};

use crate::{
    change::parquet_options,
    commit::{CommitInfo, Committed},
    data_files::DataFiles,
    edit::{Edit, Meanwhile},
    error::LakeError,
    lake::Lake,
    location::Place,
    protocol::check_writable,
    rows::TableRows,
    schema::Fit,
    snapshot::Snapshot,
    stage::{Effect, Held, StageProgress, Staged, Target, Writing, run, streams},
    zorder::ZOrder,
};

/// Bytes that one commit puts together at most: what is done stays done when it is cancelled.
const COMMIT_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;

/// Whether files may be put together without being asked.
const AUTOMATIC: &str = "delta.autoOptimize.autoCompact";
/// Small files of a partition that are too many.
pub const AUTOMATIC_FILES: usize = 50;
/// Versions from one look to the next.
pub const AUTOMATIC_EVERY: i64 = 10;

/// Which files are put together.
#[derive(Debug, Clone)]
pub struct Optimize {
    /// The table at the version that the condition was planned for.
    pub base: Arc<Snapshot>,
    /// A condition over the partition columns; all files where there is none.
    pub partitions: Option<Arc<dyn PhysicalExpr>>,
    /// The condition as written, for the table's history.
    pub condition: Option<String>,
    /// Columns that the rows of each partition are put in order by, along a Z-order curve: columns
    /// of the table that are not nested and that it is not partitioned by, at most
    /// [`crate::ZORDER_COLUMNS_MAX`]. None: rows stay where they are. Of an automatic one only those rows
    /// whose files are put together anyway.
    pub zorder_by: Vec<String>,
    /// Only files that are much smaller than the target: what nobody asked for has to stay cheap,
    /// however often it runs.
    pub automatic: bool,
    /// What the copying runs in.
    pub task: Arc<TaskContext>,
    /// Counts while it runs.
    pub progress: Arc<StageProgress>,
}

/// What was put together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Optimized {
    /// Files that went.
    pub removed_files: u64,
    /// Files that came.
    pub added_files: u64,
    /// Bytes of the files that went.
    pub removed_bytes: u64,
    /// Bytes of the files that came.
    pub added_bytes: u64,
    /// Commits that it took.
    pub commits: u64,
}

impl Lake {
    /// Whether a partition of the table has so many small files that they are worth putting together
    /// without being asked: [`AUTOMATIC_FILES`] at least. Looks at every [`AUTOMATIC_EVERY`]th version only, and never
    /// at tables that say `delta.autoOptimize.autoCompact` = `false`.
    pub fn compaction_due(&self, table: &Snapshot) -> Result<bool, LakeError> {
        let forbidden = table.properties().get(AUTOMATIC);
        let looks = table.version() % AUTOMATIC_EVERY == 0 && table.files() >= AUTOMATIC_FILES;
        if !looks || forbidden.is_some_and(|value| value.eq_ignore_ascii_case("false")) {
            return Ok(false);
        }
        let own = table.properties().get("delta.targetFileSize").and_then(|n| n.parse().ok());
        let small = small(own.unwrap_or(self.target_file_size()), true);
        let files = table.data_files()?;
        let all: Vec<usize> = (0..files.len()).collect();
        let bins = bins(&files, &all, small, u64::MAX).map_err(|error| LakeError::Query {
            location: table.location().to_owned(),
            source: Arc::new(error),
        })?;
        Ok(bins.iter().any(|bin| bin.len() >= AUTOMATIC_FILES))
    }

    /// Puts small files of each partition together, or its rows in order. Cancelling it keeps what was committed by then.
    ///
    /// Call it on the runtime that queries run on.
    pub async fn optimize(&self, optimize: Optimize) -> Result<Optimized, LakeError> {
        let mut optimizing = self.plan_optimize(optimize).await?;
        while let Some(staged) = optimizing.stage().await? {
            optimizing.commit(staged).await?;
        }
        Ok(optimizing.done())
    }

    /// Decides which files are put together, and in how many commits; for those who want to know
    /// how far it is, or to stop between them.
    pub async fn plan_optimize(&self, optimize: Optimize) -> Result<Optimizing, LakeError> {
        let Optimize { base, partitions, condition, zorder_by, automatic, task, progress } =
            optimize;
        Optimize::check(&base)?;
        let place = self.place(base.location())?;
        let files = base.data_files()?;
        let target = Target::of(&base, &task);
        let target_size = target.file_size(self.target_file_size());
        let chosen = match &partitions {
            Some(predicate) => files.that_may_hold(predicate),
            None => Ok((0..files.len()).collect()),
        };
        let failed = |error| LakeError::Query { location: place.text(), source: Arc::new(error) };
        let chosen = chosen.map_err(failed)?;
        let zorder = ZOrder::new(&base, &zorder_by)?;
        let bins = match &zorder {
            Some(zorder) if !automatic => zorder.partitions(&place, &base, &files, &chosen).await?,
            _ => {
                bins(&files, &chosen, small(target_size, automatic), target_size).map_err(failed)?
            }
        };
        let parameters = match &zorder {
            // Its partitions are in order only in part, so the log must not say that they are.
            _ if automatic => Map::from_iter([("auto".to_owned(), json!("true"))]),
            zorder => zorder.as_ref().map(ZOrder::parameters).unwrap_or_default(),
        };
        let rows = TableRows::new(Arc::clone(&base))?;
        let commits = VecDeque::from(commits(bins, &files));
        let (staged, done) = (Optimized::default(), Optimized::default());
        Ok(Optimizing {
            lake: self.clone(),
            place,
            base,
            rows,
            files,
            target,
            target_size,
            zorder,
            condition,
            parameters,
            commits,
            task,
            progress,
            staged,
            done,
        })
    }
}

impl Optimize {
    /// Refuses tables whose files nobody here may put together.
    pub fn check(base: &Arc<Snapshot>) -> Result<(), LakeError> {
        check_writable(base)?;
        TableRows::new(Arc::clone(base))?;
        Ok(())
    }
}

/// Files of a table that are being put together: some are staged, those are committed, then the next.
///
/// Dropping it keeps what was committed by then; nothing else of it can be seen.
pub struct Optimizing {
    lake: Lake,
    place: Place,
    base: Arc<Snapshot>,
    rows: TableRows,
    files: Arc<DataFiles>,
    target: Target,
    target_size: u64,
    zorder: Option<ZOrder>,
    condition: Option<String>,
    parameters: Map<String, Value>,
    /// The files of each commit that is still to be made, those that become one together.
    commits: VecDeque<Vec<Vec<usize>>>,
    task: Arc<TaskContext>,
    progress: Arc<StageProgress>,
    /// The numbers of what waits for its commit.
    staged: Optimized,
    done: Optimized,
}

impl fmt::Debug for Optimizing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Optimizing")
            .field("base", &self.base)
            .field("commits", &self.commits.len())
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Optimizing {
    /// Files that are still to be put together.
    #[must_use]
    pub fn files(&self) -> u64 {
        self.commits.iter().flatten().map(|bin| bin.len() as u64).sum()
    }

    /// What was committed so far.
    #[must_use]
    pub fn done(&self) -> Optimized {
        self.done
    }

    /// Writes the files of the next commit; `None` when nothing is left to do. Nobody sees them
    /// until [`Optimizing::commit`].
    ///
    /// Call it on the runtime that queries run on.
    pub async fn stage(&mut self) -> Result<Option<Staged>, LakeError> {
        let Some(bins) = self.commits.pop_front() else { return Ok(None) };
        let Self { lake, place, rows, files, target, zorder, task, progress, .. } = &*self;
        let failed = |error| LakeError::Query { location: place.text(), source: Arc::new(error) };
        // Sorting takes all threads and all memory by itself.
        let at_once = match zorder {
            Some(_) => 1,
            None => task.session_config().target_partitions().max(1),
        };
        let columns = target.schema.fields().len();
        let all: Vec<usize> = (0..columns).collect();
        let area = lake.staging_area(place, Arc::clone(progress));
        let fit = Fit::new(
            &place.text(),
            &Schema::new(rows.schema().fields()[..columns].to_vec()),
            Arc::clone(&target.schema),
        )?;
        let writing =
            Writing::new(lake, target, fit, Arc::clone(&area), Arc::clone(progress), vec![])?;
        let mut adds = Vec::new();
        for together in bins.chunks(at_once) {
            let mut copied = Vec::with_capacity(together.len());
            for bin in together {
                if let Some(zorder) = zorder {
                    let sorted = zorder.sorted(rows, files, bin, task).await;
                    copied.push(sorted.map_err(failed)?);
                    continue;
                }
                let options = parquet_options(task);
                let plan = rows
                    .scan_files(bin, Some(&all), &task.runtime_env(), options)
                    .map_err(failed)?;
                // One writer for each, so that what belongs together becomes one file.
                let plan = Arc::new(CoalescePartitionsExec::new(plan)) as _;
                copied.extend(streams(&writing, &plan, task)?);
            }
            let (written, held) = run(&writing, copied, Held::default()).await?;
            adds.extend(written);
            adds.extend(writing.flush(held).await?);
            let copied: usize = together.iter().map(Vec::len).sum();
            progress.files.fetch_add(copied as u64, Ordering::Relaxed);
        }
        let gone: Vec<usize> = bins.into_iter().flatten().collect();
        let adds: Vec<Add> =
            adds.into_iter().map(|add| Add { data_change: false, ..add }).collect();
        let staged = Optimized {
            removed_files: gone.len() as u64,
            added_files: adds.len() as u64,
            removed_bytes: gone.iter().map(|file| files.size(*file)).sum(),
            added_bytes: adds.iter().map(|add| u64::try_from(add.size).unwrap_or(0)).sum(),
            commits: 1,
        };
        let metrics = [
            ("numRemovedFiles", staged.removed_files),
            ("numAddedFiles", staged.added_files),
            ("numRemovedBytes", staged.removed_bytes),
            ("numAddedBytes", staged.added_bytes),
        ];
        let edit = Edit {
            named: None,
            operation: DeltaOperation::Optimize {
                predicate: self.condition.clone(),
                target_size: i64::try_from(self.target_size).unwrap_or(i64::MAX),
            },
            removes: gone.iter().map(|file| files.remove(*file, false)).collect(),
            feed: Vec::new(),
            metadata: None,
            protocol: None,
            metrics: metrics
                .into_iter()
                .map(|(key, n)| (key.to_owned(), json!(n.to_string())))
                .collect(),
            parameters: self.parameters.clone(),
            meanwhile: Meanwhile::OtherFiles,
        };
        let files = Staged {
            place: place.clone(),
            effect: Effect::Edit(Box::new(edit)),
            base: Some(Arc::clone(&self.base)),
            schema: self.base.schema(),
            adds,
            rows: 0,
            area,
        };
        self.staged = staged;
        Ok(Some(files))
    }

    /// Publishes what was staged last: see [`Lake::commit`]. On [`LakeError::Conflict`] somebody
    /// changed rows of these files, and it has to be planned anew.
    pub async fn commit(&mut self, staged: Staged) -> Result<Committed, LakeError> {
        let committed = self.lake.commit(staged, CommitInfo::default()).await?;
        let Optimized { removed_files, added_files, removed_bytes, added_bytes, commits } =
            self.staged;
        self.done.removed_files += removed_files;
        self.done.added_files += added_files;
        self.done.removed_bytes += removed_bytes;
        self.done.added_bytes += added_bytes;
        self.done.commits += commits;
        Ok(committed)
    }
}

/// Bytes from which on a file stays as it is.
fn small(target_size: u64, automatic: bool) -> u64 {
    if automatic { target_size / 8 } else { target_size / 4 * 3 }
}

/// Files that become one: neighbours of the same partition that are together no larger than the
/// target. A file that is nearly that large already stays.
fn bins(
    files: &DataFiles,
    chosen: &[usize],
    small: u64,
    target_size: u64,
) -> datafusion::error::Result<Vec<Vec<usize>>> {
    let mut partitions: BTreeMap<Vec<String>, Vec<usize>> = BTreeMap::new();
    for file in chosen.iter().copied().filter(|file| files.size(*file) < small) {
        let values = files.partition_values(file)?;
        let key = values.iter().map(|value: &ScalarValue| format!("{value:?}")).collect();
        partitions.entry(key).or_default().push(file);
    }
    let mut bins = Vec::new();
    for files_of in partitions.into_values() {
        let (mut bin, mut bytes) = (Vec::new(), 0);
        for file in files_of {
            if bytes + files.size(file) > target_size && !bin.is_empty() {
                bins.push(std::mem::take(&mut bin));
                bytes = 0;
            }
            bytes += files.size(file);
            bin.push(file);
        }
        bins.push(bin);
    }
    bins.retain(|bin| bin.len() > 1);
    Ok(bins)
}

/// The bins of each commit.
fn commits(bins: Vec<Vec<usize>>, files: &DataFiles) -> Vec<Vec<Vec<usize>>> {
    let mut commits: Vec<Vec<Vec<usize>>> = Vec::new();
    let mut bytes = 0;
    for bin in bins {
        let size: u64 = bin.iter().map(|file| files.size(*file)).sum();
        match commits.last_mut() {
            Some(commit) if bytes + size <= COMMIT_BYTES_MAX => {
                commit.push(bin);
                bytes += size;
            }
            _ => {
                commits.push(vec![bin]);
                bytes = size;
            }
        }
    }
    commits
}
