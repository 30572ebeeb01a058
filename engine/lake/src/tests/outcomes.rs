//! Many writers on a store that fails: what each was told is what became of its statement.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use datafusion::{
    arrow::{array::AsArray, datatypes::Int64Type},
    prelude::{SessionConfig, SessionContext},
};
use futures::{StreamExt, TryStreamExt, future::join_all};
use model::code::Code;
use object_store::{ObjectStore, memory::InMemory};
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::{
    numbers, options, plan_of,
    unreliable::{Random, Weather},
};
use crate::{
    At, ChangeOperation, Changed, CommitInfo, Committed, Lake, LakeError, Optimize, Repeats,
    Severity, Snapshot, Stage, StageChange, StageProgress, Txn, Vacuum, Validate, WriteMode,
    local_files::LocalFiles, log, stores::Wrap,
};

const WRITERS: u64 = 5;
const STATEMENTS: u64 = 12;
/// Every seed has rows of its own.
const ROWS_OF_A_STATEMENT: i64 = 10;
/// Rows of a DELETE are those with this remainder.
const PARTS: i64 = 7;

/// What a writer was told of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Committed(i64),
    /// Nothing happened.
    Refused,
    /// It may have happened, as this version.
    Unknown(i64),
}

#[derive(Debug, Clone)]
enum What {
    /// These rows came.
    Append(BTreeSet<i64>),
    /// These rows are all that is left.
    Overwrite(BTreeSet<i64>),
    /// The rows of a version with this remainder went, so many.
    Delete { base: i64, remainder: i64, count: u64 },
}

#[derive(Debug, Clone)]
struct Statement {
    what: What,
    outcome: Outcome,
    /// The run that it was a try of.
    run: Option<String>,
}

/// What all writers did.
#[derive(Debug, Default)]
struct Told {
    statements: Vec<Statement>,
    /// Runs that are committed, as their last try was told.
    finished: BTreeSet<String>,
}

/// Where a history takes place.
enum Ground {
    Memory(Arc<InMemory>),
    Folder,
}

struct World {
    ground: Ground,
    folder: TempDir,
}

impl World {
    fn new(on_disk: bool) -> Self {
        let ground = if on_disk { Ground::Folder } else { Ground::Memory(Arc::default()) };
        Self { ground, folder: TempDir::new().unwrap() }
    }

    /// A lake as another process would have it, under this weather.
    fn lake(&self, weather: Option<&Arc<Weather>>) -> Lake {
        let store: Arc<dyn ObjectStore> = match &self.ground {
            Ground::Memory(store) => Arc::clone(store) as _,
            // The power stays on.
            Ground::Folder => Arc::new(LocalFiles::with_flush(|_, _| Ok(()))),
        };
        let store =
            weather.map_or_else(|| Arc::clone(&store), |weather| weather.over(Arc::clone(&store)));
        let wrap: Wrap = Arc::new(move |_| Arc::clone(&store));
        let mut options = options(&self.folder);
        if matches!(self.ground, Ground::Memory(_)) {
            options.root = "memory:///lake/".to_owned();
        }
        Lake::open_wrapped(options, Some(wrap)).unwrap()
    }
}

/// `0..20` or `7` in `WHIMBREL_FAULT_SEEDS`; otherwise those that are always run.
fn seeds() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("WHIMBREL_FAULT_SEEDS") else { return 0..4 };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => {
            let seed = asked.parse().unwrap();
            seed..seed + 1
        }
    }
}

#[test]
fn a_statement_is_there_once_or_not_at_all_as_its_writer_was_told() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds() {
        // Every third one on a disk, where requests do not arrive late.
        let on_disk = seed % 3 == 2;
        println!("seed {seed}");
        // Time goes on by itself when everybody waits.
        let runtime =
            Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let weather = Weather::new(seed, !on_disk);
        runtime.block_on(history(seed, on_disk, &weather, &mut seen));
        runtime.shutdown_timeout(Duration::from_secs(5));
        for (fault, count) in weather.seen() {
            *seen.entry(fault).or_default() += count;
        }
    }
    println!("{seen:#?}");
    // Enough went right and enough went wrong, whichever it was.
    let (mut committed, mut wrong) = (0, 0);
    for (what, count) in seen {
        match what {
            "committed" => committed += count,
            "refused" | "unknown" => {}
            _ => wrong += count,
        }
    }
    assert!(committed > 5 && wrong > 5, "{committed} commits and {wrong} faults");
}

async fn history(
    seed: u64,
    on_disk: bool,
    weather: &Arc<Weather>,
    seen: &mut BTreeMap<&'static str, usize>,
) {
    let world = World::new(on_disk);
    let clean = world.lake(None);
    let table = format!("{}t/", clean.root());
    let properties = [("delta.deletedFileRetentionDuration", "interval 0 hours")];
    let created = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        schema: None,
    };
    super::write(&clean, &table, created, numbers([])).await.unwrap();

    let processes = [world.lake(Some(weather)), world.lake(Some(weather))];
    let writers = (0..WRITERS).map(|writer| {
        let lake = processes[usize::try_from(writer % 2).unwrap()].clone();
        let writer = Writer {
            lake,
            table: table.clone(),
            context: context(),
            random: Random::new(seed * 1_000 + writer),
            next_row: i64::try_from(writer).unwrap() * 1_000_000,
            name: format!("writer {writer}"),
            told: Told::default(),
        };
        tokio::spawn(writer.write())
    });
    let mut told = Told::default();
    for writer in join_all(writers).await {
        let writer = writer.unwrap();
        told.statements.extend(writer.statements);
        told.finished.extend(writer.finished);
    }
    weather.calm_down();
    drop(processes);
    // What is under way arrives.
    tokio::time::sleep(Duration::from_secs(20)).await;
    for statement in &told.statements {
        let outcome = match statement.outcome {
            Outcome::Committed(_) => "committed",
            Outcome::Refused => "refused",
            Outcome::Unknown(_) => "unknown",
        };
        *seen.entry(outcome).or_default() += 1;
    }

    let clean = world.lake(None);
    agrees(&clean, &table, &told).await;
    is_in_order(&clean, &table).await;
}

fn context() -> SessionContext {
    SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2))
}

struct Writer {
    lake: Lake,
    table: String,
    context: SessionContext,
    random: Random,
    next_row: i64,
    name: String,
    told: Told,
}

impl Writer {
    async fn write(mut self) -> Told {
        for n in 0..STATEMENTS {
            match self.random.below(12) {
                0..4 => self.insert(WriteMode::Append, None).await,
                4..7 => self.delete().await,
                7 => self.insert(WriteMode::Overwrite, None).await,
                8 => self.optimize().await,
                _ => self.run(format!("{} {n}", self.name), i64::try_from(n).unwrap()).await,
            }
        }
        self.told
    }

    fn rows(&mut self) -> BTreeSet<i64> {
        let first = self.next_row;
        self.next_row += ROWS_OF_A_STATEMENT;
        (first..self.next_row).collect()
    }

    /// Writes rows of its own.
    async fn insert(&mut self, mode: WriteMode, run: Option<(String, i64)>) {
        let rows = self.rows();
        let batch = numbers(rows.iter().copied());
        let stage = Stage {
            location: self.table.clone(),
            plan: plan_of(&[vec![batch.clone()]], batch.schema()),
            task: self.context.task_ctx(),
            mode: mode.clone(),
            base: None,
            checks: Vec::new(),
            progress: Arc::new(StageProgress::default()),
        };
        let app_id = self.name.clone();
        let info = CommitInfo {
            txn: run.as_ref().map(|(_, version)| Txn { app_id, version: *version }),
            ..CommitInfo::default()
        };
        let committed = match self.lake.stage(stage).await {
            Ok(staged) => self.lake.commit(staged, info).await,
            Err(error) => Err(error),
        };
        if let (Some((name, _)), true) = (&run, is_done(&committed)) {
            self.told.finished.insert(name.clone());
        }
        let what = match mode {
            WriteMode::Overwrite => What::Overwrite(rows),
            _ => What::Append(rows),
        };
        let outcome = outcome(&committed);
        self.told.statements.push(Statement { what, outcome, run: run.map(|(name, _)| name) });
    }

    /// Tries until the transaction is committed, as a refresh does.
    async fn run(&mut self, name: String, version: i64) {
        for _ in 0..6 {
            self.insert(WriteMode::Append, Some((name.clone(), version))).await;
            if self.told.finished.contains(&name) {
                return;
            }
        }
    }

    async fn delete(&mut self) {
        let remainder = i64::try_from(self.random.below(PARTS as u64)).unwrap();
        let Ok(base) = self.lake.snapshot(&self.table, At::Latest).await else { return };
        let sql = format!(
            "SELECT \"@file\", \"@row\", arrow_cast(0, 'Int8'), NULL AS n FROM rows \
             WHERE n % {PARTS} = {remainder}"
        );
        self.context.deregister_table("rows").unwrap();
        self.context.register_table("rows", base.rows_provider().unwrap()).unwrap();
        let Ok(frame) = self.context.sql(&sql).await else { return };
        let Ok(plan) = frame.create_physical_plan().await else { return };
        let change = StageChange {
            base: Arc::clone(&base),
            plan,
            task: self.context.task_ctx(),
            operation: ChangeOperation::Delete,
            condition: None,
            repeats: Repeats::Once,
            touches: crate::Touches::AnyRow,
            checks: Vec::new(),
            patched: None,
            added: None,
            progress: Arc::new(StageProgress::default()),
        };
        let (committed, count) = match self.lake.stage_change(change).await {
            Ok((Some(staged), Changed { deleted, .. })) => {
                (self.lake.commit(staged, CommitInfo::default()).await, deleted)
            }
            Ok((None, _)) => return,
            Err(error) => (Err(error), 0),
        };
        let what = What::Delete { base: base.version(), remainder, count };
        self.told.statements.push(Statement { what, outcome: outcome(&committed), run: None });
    }

    async fn optimize(&mut self) {
        let Ok(base) = self.lake.snapshot(&self.table, At::Latest).await else { return };
        let optimized = self.lake.optimize(Optimize {
            base,
            partitions: None,
            condition: None,
            zorder_by: Vec::new(),
            automatic: false,
            task: self.context.task_ctx(),
            progress: Arc::new(StageProgress::default()),
        });
        if let Err(error) = optimized.await {
            check_code(&error);
        }
    }
}

/// Whether a run needs no other try.
fn is_done(committed: &Result<Committed, LakeError>) -> bool {
    matches!(committed, Ok(_) | Err(LakeError::ReadBack { .. } | LakeError::AlreadyApplied { .. }))
}

fn outcome(committed: &Result<Committed, LakeError>) -> Outcome {
    match committed {
        Ok(committed) => Outcome::Committed(committed.version),
        Err(LakeError::ReadBack { version, .. }) => Outcome::Committed(*version),
        Err(LakeError::OutcomeUnknown { version, .. }) => Outcome::Unknown(*version),
        Err(error) => {
            check_code(error);
            Outcome::Refused
        }
    }
}

/// A store that fails is no defect of ours, no broken table and no mistake in a statement.
fn check_code(error: &LakeError) {
    let code = error.code();
    let right = match error {
        LakeError::AlreadyApplied { .. } => true,
        _ => matches!(code, Code::Unavailable | Code::Aborted),
    };
    assert!(right, "{code:?}: {error}: {error:?}");
}

/// Every version is what the statements say that made it.
async fn agrees(clean: &Lake, table: &str, told: &Told) {
    let newest = super::latest(clean, table).await.version();
    let mut versions: Vec<BTreeSet<i64>> = Vec::new();
    let context = context();
    for version in 0..=newest {
        let snapshot = clean.snapshot(table, At::Version(version)).await.unwrap();
        versions.push(rows_of(&context, &snapshot).await);
    }
    let place = clean.place(table).unwrap();
    let mut landed = BTreeSet::new();
    for version in 1..=newest {
        let at = usize::try_from(version).unwrap();
        let (before, after) = (&versions[at - 1], &versions[at]);
        let of_version = |wanted: Outcome| -> Vec<usize> {
            let statements = told.statements.iter().enumerate();
            statements.filter(|(_, one)| one.outcome == wanted).map(|(n, _)| n).collect()
        };
        let known = of_version(Outcome::Committed(version));
        let unknown = of_version(Outcome::Unknown(version));
        let applied = |which: &[usize]| -> BTreeSet<i64> {
            let mut rows = before.clone();
            for n in which {
                apply(&told.statements[*n].what, &versions, &mut rows);
            }
            rows
        };
        if !known.is_empty() {
            assert_eq!(applied(&known), *after, "version {version}");
            landed.extend(known);
            continue;
        }
        // Those whose outcome nobody knows were one commit each, or appends of one process that
        // were one commit together: never some of them without the others.
        let actions = log::actions(&place, version).await.unwrap().unwrap();
        let operation = actions.iter().find_map(|action| action.pointer("/commitInfo/operation"));
        if operation.and_then(|name| name.as_str()) == Some("OPTIMIZE") {
            assert_eq!(before, after, "version {version}");
            continue;
        }
        let appended: BTreeSet<i64> = after.difference(before).copied().collect();
        let by_rows = unknown.iter().copied().filter(|n| match &told.statements[*n].what {
            What::Append(rows) | What::Overwrite(rows) => !rows.is_disjoint(&appended),
            What::Delete { .. } => false,
        });
        let mut made: Vec<usize> = by_rows.collect();
        if made.is_empty() {
            let fits = |n: &usize| applied(&[*n]) == *after;
            made.extend(unknown.iter().copied().find(fits));
        }
        assert!(!made.is_empty(), "nobody made version {version}: {actions:?}");
        assert_eq!(applied(&made), *after, "version {version}");
        landed.extend(made);
    }
    for (n, Statement { what, outcome, .. }) in told.statements.iter().enumerate() {
        match outcome {
            Outcome::Committed(_) => assert!(landed.contains(&n), "it is lost: {what:?}"),
            Outcome::Refused => {
                let (What::Append(rows) | What::Overwrite(rows)) = what else { continue };
                let there = versions.iter().any(|version| !version.is_disjoint(rows));
                assert!(!there, "it was refused: {what:?}");
            }
            Outcome::Unknown(_) => {}
        }
    }
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for n in &landed {
        if let Some(run) = &told.statements[*n].run {
            *runs.entry(run).or_default() += 1;
        }
    }
    for run in &told.finished {
        assert_eq!(runs.get(run.as_str()), Some(&1), "{run}");
    }
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
}

/// What a statement makes of rows.
fn apply(what: &What, versions: &[BTreeSet<i64>], rows: &mut BTreeSet<i64>) {
    match what {
        What::Append(new) => rows.extend(new),
        What::Overwrite(new) => rows.clone_from(new),
        What::Delete { base, remainder, count } => {
            let read = &versions[usize::try_from(*base).unwrap()];
            let gone: BTreeSet<i64> =
                read.iter().copied().filter(|n| n % PARTS == *remainder).collect();
            assert_eq!(u64::try_from(gone.len()).unwrap(), *count, "of version {base}");
            assert!(gone.is_subset(rows), "rows of version {base} went twice");
            rows.retain(|n| !gone.contains(n));
        }
    }
}

/// All rows; none is there twice.
async fn rows_of(context: &SessionContext, snapshot: &Arc<Snapshot>) -> BTreeSet<i64> {
    let frame = context.read_table(snapshot.provider().unwrap()).unwrap();
    let mut rows = BTreeSet::new();
    for batch in frame.collect().await.unwrap() {
        for n in batch.column(0).as_primitive::<Int64Type>().values() {
            assert!(rows.insert(*n), "{n} is in version {} twice", snapshot.version());
        }
    }
    rows
}

/// The log is whole, files and log agree, and what nobody names is found by VACUUM FULL alone.
async fn is_in_order(clean: &Lake, table: &str) {
    let place = clean.place(table).unwrap();
    let newest = super::latest(clean, table).await;
    let commits = log::commits(&place).await.unwrap();
    let commits: Vec<i64> = commits.into_iter().map(|(version, _)| version).collect();
    assert_eq!(commits, (0..=newest.version()).collect::<Vec<_>>());
    let context = context();
    let validate =
        Validate { location: table.to_owned(), task: context.task_ctx(), data_bytes_max: u64::MAX };
    for finding in clean.validate(validate).await.unwrap() {
        let harmless = finding.severity < Severity::Error;
        assert!(
            harmless && (finding.severity == Severity::Ok || finding.check == "orphans"),
            "{finding:?}"
        );
    }

    let mut named = BTreeSet::new();
    for version in commits {
        for action in log::actions(&place, version).await.unwrap().unwrap() {
            let path = action.pointer("/add/path").and_then(|path| path.as_str());
            named.extend(path.map(ToOwned::to_owned));
        }
    }
    let orphans: BTreeSet<String> = data_files(&place).await.difference(&named).cloned().collect();
    let rows = rows_of(&context, &newest).await;
    let vacuum = Vacuum { full: false, retain: None, dry_run: false, keep: Vec::new() };
    clean.vacuum(table, &vacuum).await.unwrap();
    assert!(orphans.is_subset(&data_files(&place).await));
    let vacuumed = clean.vacuum(table, &Vacuum { full: true, ..vacuum }).await.unwrap();
    assert_eq!(vacuumed.files.into_iter().collect::<BTreeSet<_>>(), orphans);
    assert_eq!(data_files(&place).await.len(), newest.files());
    assert_eq!(rows_of(&context, &newest).await, rows);
}

async fn data_files(place: &crate::location::Place) -> BTreeSet<String> {
    let listed = place.store.list(None).map(|meta| meta.map(|meta| meta.location.to_string()));
    let listed: Vec<String> = listed.try_collect().await.unwrap();
    listed.into_iter().filter(|path| !path.contains("_delta_log")).collect()
}
