//! What came and what went between two versions.

use std::{collections::BTreeMap, fs, sync::Arc};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, Schema},
    util::display::{ArrayFormatter, FormatOptions},
};
use datafusion::{catalog::TableProvider, prelude::SessionContext};

use super::{
    TestLake, changing, create, create_by, data_files, labelled, latest, numbers, plan_of,
    reading::mark_deleted, replace, unreliable::Random, write,
};
use crate::{
    Alteration, Amount, At, CommitInfo, Delta, DistinctColumns, Lake, LakeError, Repeats,
    RowHasher, RowsHash, Stage, StageProgress, WriteMode,
};

/// How often each row is there.
pub(super) type Rows = BTreeMap<String, i64>;

pub(super) async fn rows_of(provider: Arc<dyn TableProvider>, sql: &str) -> Rows {
    let context = SessionContext::new();
    context.register_table("t", provider).unwrap();
    let batches = context.sql(sql).await.unwrap().collect().await.unwrap();
    let mut rows = Rows::new();
    for batch in &batches {
        for row in texts(batch) {
            *rows.entry(row).or_default() += 1;
        }
    }
    rows
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).unwrap())
        .collect();
    (0..batch.num_rows())
        .map(|row| columns.iter().map(|c| format!("{}|", c.value(row))).collect())
        .collect()
}

pub(super) async fn all_rows(provider: Arc<dyn TableProvider>) -> Rows {
    rows_of(provider, "SELECT * FROM t").await
}

async fn rows_at(lake: &Lake, table: &str, version: i64) -> Rows {
    let snapshot = lake.snapshot(table, At::Version(version)).await.unwrap();
    all_rows(snapshot.provider().unwrap()).await
}

fn rows(values: &[&str]) -> Rows {
    let mut rows = Rows::new();
    for value in values {
        *rows.entry(format!("{value}|")).or_default() += 1;
    }
    rows
}

fn sum(parts: &[(&Rows, i64)]) -> Rows {
    let mut sum = Rows::new();
    for (rows, sign) in parts {
        for (row, count) in *rows {
            *sum.entry(row.clone()).or_default() += sign * count;
        }
    }
    sum.retain(|_, count| *count != 0);
    sum
}

/// Sees that what came and what went lead from the one version to the other.
async fn checked(lake: &Lake, table: &str, from: i64, to: i64) -> Delta {
    let delta = lake.delta(table, from, to).await.unwrap();
    let (before, after) = (rows_at(lake, table, from).await, rows_at(lake, table, to).await);
    let came = all_rows(delta.came().unwrap()).await;
    let went = all_rows(delta.went().unwrap()).await;
    let sum = sum(&[(&before, 1), (&came, 1), (&went, -1)]);
    assert_eq!(sum, after, "{from}..{to}: came {came:?}, went {went:?}");
    let now = delta.to().provider().unwrap().schema();
    for provider in [delta.came(), delta.went(), delta.appended()] {
        let schema = provider.unwrap().schema();
        let columns = |schema: &Schema| -> Vec<(String, DataType)> {
            let fields = schema.fields().iter();
            fields.map(|field| (field.name().clone(), field.data_type().clone())).collect()
        };
        assert_eq!(columns(&schema), columns(&now));
    }
    // Parts of the rows, with conditions that files can be left out by.
    let counted = rows_of(delta.came().unwrap(), "SELECT count(*) FROM t").await;
    assert_eq!(counted, rows(&[&came.values().sum::<i64>().to_string()]));
    let small = |rows: &Rows| -> i64 {
        let n = |row: &str| row.split('|').next().and_then(|n| n.parse::<i64>().ok());
        rows.iter().filter(|(row, _)| n(row).is_some_and(|n| n < 20)).map(|(_, count)| count).sum()
    };
    for (provider, all) in [(delta.came(), &came), (delta.went(), &went)] {
        let counted = rows_of(provider.unwrap(), "SELECT count(n) FROM t WHERE n < 20").await;
        assert_eq!(counted, rows(&[&small(all).to_string()]), "{from}..{to}");
    }
    if let Some(rows) = delta.amount_came().rows {
        assert!(rows >= u64::try_from(came.values().sum::<i64>()).unwrap(), "{from}..{to}");
    }
    if delta.unchanged {
        assert!(delta.appended_only && came.is_empty() && went.is_empty());
    }
    if delta.appended_only {
        assert!(delta.first_other.is_none());
        let appended = all_rows(delta.appended().unwrap()).await;
        assert_eq!(self::sum(&[(&before, 1), (&appended, 1)]), after, "{from}..{to}");
    }
    delta
}

fn recorded() -> WriteMode {
    WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: [("delta.enableChangeDataFeed".to_owned(), "true".to_owned())].into(),
        schema: None,
    }
}

/// Deletes rows of a table with the columns `n` and `label`.
async fn delete_labelled(lake: &Lake, table: &str, condition: &str) {
    let base = latest(lake, table).await;
    let sql = format!(
        "SELECT \"@file\", \"@row\", arrow_cast(0, 'Int8'), NULL AS n, NULL AS label FROM rows \
         WHERE {condition}"
    );
    let (staged, _) = changing::stage(lake, &base, &sql, Repeats::Once).await.unwrap();
    if let Some(staged) = staged {
        lake.commit(staged, CommitInfo::default()).await.unwrap();
    }
}

async fn update(lake: &Lake, table: &str, set: &str, condition: &str) {
    let base = latest(lake, table).await;
    let sql = format!(
        "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), {set} FROM rows WHERE {condition}"
    );
    let repeats = Repeats::Refused { keys: Vec::new() };
    let (staged, _) = changing::stage(lake, &base, &sql, repeats).await.unwrap();
    if let Some(staged) = staged {
        lake.commit(staged, CommitInfo::default()).await.unwrap();
    }
}

async fn optimize(lake: &Lake, table: &str) {
    changing::optimize(lake, latest(lake, table).await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_bring_rows_are_told_from_those_that_do_more() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..12)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..13)).await.unwrap();
    let delta = checked(&test.lake, &table, 0, 2).await;
    assert!(delta.appended_only && delta.same_columns && delta.same_table && !delta.unchanged);
    let came = all_rows(delta.came().unwrap()).await;
    assert_eq!(came, rows(&["10", "10", "11", "11", "12"]));
    assert_eq!(delta.amount_came().rows, Some(5));
    assert!(delta.amount_came().bytes > 0);
    assert_eq!(delta.amount_went(), Amount { files: 0, bytes: 0, rows: Some(0) });

    // Files that are put together hold what they held, and what was appended is told of once.
    optimize(&test.lake, &table).await;
    let delta = checked(&test.lake, &table, 2, 3).await;
    assert!(delta.unchanged && delta.appended_only);
    assert_eq!(delta.amount_came().files, 0);
    write(&test.lake, &table, WriteMode::Append, numbers(20..21)).await.unwrap();
    let delta = checked(&test.lake, &table, 1, 4).await;
    assert!(delta.appended_only);
    let appended = all_rows(delta.appended().unwrap()).await;
    assert_eq!(appended, rows(&["10", "11", "12", "20"]));
    assert_eq!(all_rows(delta.came().unwrap()).await, appended, "the cheaper way is taken");

    changing::delete(&test.lake, &table, "n = 20").await.unwrap();
    let delta = checked(&test.lake, &table, 1, 5).await;
    let other = delta.first_other.clone().unwrap();
    assert_eq!((other.version, other.operation.as_str(), other.rows), (5, "UPDATE", Some(1)));
    assert!(!delta.appended_only);
    // Those who follow appends alone still get them.
    assert_eq!(all_rows(delta.appended().unwrap()).await, appended);
    assert!(checked(&test.lake, &table, 5, 5).await.unchanged);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_change_feed_only_rows_that_changed_come_and_go() {
    for (mode, copied) in [(recorded(), 0), (create(), 98)] {
        let test = TestLake::new();
        let table = test.table("t");
        write(&test.lake, &table, mode, numbers(0..100)).await.unwrap();
        update(&test.lake, &table, "n + 1000", "n = 7").await;
        changing::delete(&test.lake, &table, "n = 8").await.unwrap();
        let delta = checked(&test.lake, &table, 0, 2).await;
        let came = all_rows(delta.came().unwrap()).await;
        let went = all_rows(delta.went().unwrap()).await;
        assert_eq!(came.len(), 1 + copied);
        assert_eq!(went.len(), 2 + copied);
        assert!(came.contains_key("1007|") && went.contains_key("7|") && went.contains_key("8|"));
        checked(&test.lake, &table, 1, 2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_others_marked_come_and_go_alone() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..50)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(100..150)).await.unwrap();
    mark_deleted(&test.path("t"), 2, &[1, 2]);
    mark_deleted(&test.path("t"), 3, &[1, 2, 40]);
    let delta = checked(&test.lake, &table, 1, 3).await;
    assert_eq!(all_rows(delta.went().unwrap()).await, rows(&["101", "102", "140"]));
    assert!(all_rows(delta.came().unwrap()).await.is_empty());
    assert!(!delta.appended_only);
    let delta = checked(&test.lake, &table, 2, 3).await;
    assert_eq!(all_rows(delta.went().unwrap()).await, rows(&["140"]));
    assert_eq!(delta.amount_went().rows, Some(1));
    test.lake.restore(&table, At::Version(1)).await.unwrap();
    let delta = checked(&test.lake, &table, 3, 4).await;
    assert_eq!(all_rows(delta.came().unwrap()).await, rows(&["101", "102", "140"]));
    for (from, to) in [(0, 2), (0, 3), (0, 4), (1, 4), (2, 4)] {
        checked(&test.lake, &table, from, to).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_vacuumed_are_named_where_they_are_needed() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..10)).await.unwrap();
    write(&test.lake, &table, WriteMode::Append, numbers(10..20)).await.unwrap();
    let before = data_files(&test.path("t"));
    optimize(&test.lake, &table).await;
    write(&test.lake, &table, WriteMode::Append, numbers(30..31)).await.unwrap();
    for file in before {
        fs::remove_file(file).unwrap();
    }
    let delta = test.lake.delta(&table, 0, 3).await.unwrap();
    assert!(delta.appended_only);
    let gone = delta.appended().unwrap_err();
    assert!(matches!(gone, LakeError::FileGone { version: 1, .. }), "{gone}");
    assert!(matches!(delta.came().unwrap_err(), LakeError::FileGone { .. }));
    assert_eq!(delta.amount_came(), Amount::default());
    assert_eq!(all_rows(delta.to().provider().unwrap()).await.len(), 21);
    let delta = test.lake.delta(&table, 2, 3).await.unwrap();
    assert_eq!(all_rows(delta.came().unwrap()).await, rows(&["30"]));
    assert!(all_rows(delta.went().unwrap()).await.is_empty());

    // Files that only one way needs leave the other way.
    let table = test.table("u");
    write(&test.lake, &table, create(), numbers(0..1000)).await.unwrap();
    let first = data_files(&test.path("u"));
    write(&test.lake, &table, WriteMode::Append, numbers(10..20)).await.unwrap();
    let appended: Vec<_> =
        data_files(&test.path("u")).into_iter().filter(|file| !first.contains(file)).collect();
    optimize(&test.lake, &table).await;
    let delta = checked(&test.lake, &table, 0, 2).await;
    assert_eq!(delta.amount_came().rows, Some(10));
    fs::remove_file(&appended[0]).unwrap();
    let delta = test.lake.delta(&table, 0, 2).await.unwrap();
    assert_eq!(delta.amount_came().rows, Some(1010));
    assert_eq!(all_rows(delta.came().unwrap()).await.values().sum::<i64>(), 1010);
    assert_eq!(all_rows(delta.went().unwrap()).await.values().sum::<i64>(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn new_columns_are_null_in_old_rows_and_other_columns_are_refused() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    let label = Arc::new(Schema::new(vec![Field::new("label", DataType::Utf8, true)]));
    let base = latest(&test.lake, &table).await;
    test.lake.alter(base, Alteration::AddColumns(label)).await.unwrap();
    let delta = test.lake.delta(&table, 0, 1).await.unwrap();
    assert!(delta.unchanged && !delta.same_columns && delta.same_table);
    write(&test.lake, &table, WriteMode::Append, labelled(&[(7, Some("x"))])).await.unwrap();
    delete_labelled(&test.lake, &table, "n = 1").await;
    let delta = test.lake.delta(&table, 0, 3).await.unwrap();
    let (came, went) = (delta.came().unwrap(), delta.went().unwrap());
    assert_eq!(all_rows(came).await, rows(&["0|NULL", "2|NULL", "7|x"]));
    assert_eq!(all_rows(went).await, rows(&["0|NULL", "1|NULL", "2|NULL"]));

    // Another definition in between is noticed even where it is the old one again.
    write(&test.lake, &table, replace(), numbers([5])).await.unwrap();
    let delta = test.lake.delta(&table, 3, 4).await.unwrap();
    assert!(!delta.same_columns && !delta.appended_only);
    for error in [delta.came(), delta.went(), delta.appended()].map(Result::unwrap_err) {
        assert!(matches!(error, LakeError::NotTold { .. }), "{error}");
        assert!(error.to_string().contains("'label' is no longer there"), "{error}");
    }
    let delta = test.lake.delta(&table, 0, 4).await.unwrap();
    assert!(delta.same_columns);
    assert!(matches!(delta.came().unwrap_err(), LakeError::NotTold { .. }));

    test.lake.purge(&table).await.unwrap();
    write(&test.lake, &table, create(), numbers([1])).await.unwrap();
    let error = test.lake.delta(&table, 3, 0).await.unwrap_err();
    assert!(matches!(error, LakeError::NotTold { .. }), "{error}");
    let error = test.lake.delta(&table, 0, 9).await.unwrap_err();
    assert!(matches!(error, LakeError::VersionNotFound { newest: 0, .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_rows_and_the_table_to_be_are_readable_before_the_commit() {
    let test = TestLake::new();
    let table = test.table("t");
    let stage = async |mode: WriteMode, rows: RecordBatch| {
        super::stage(&test.lake, &table, mode, rows).await.unwrap()
    };
    let seen = async |staged: &crate::Staged| {
        let alone = all_rows(staged.rows_provider(&test.lake).unwrap()).await;
        let whole = all_rows(test.lake.staged_table(staged).unwrap()).await;
        (alone, whole)
    };
    let first = labelled(&[(1, Some("a b/%")), (2, None), (3, Some("c"))]);
    let staged = stage(create_by("label"), first).await;
    let (alone, whole) = seen(&staged).await;
    assert_eq!(alone, whole);
    assert_eq!(whole, rows(&["1|a b/%", "2|NULL", "3|c"]));
    test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    for (mode, stays) in
        [(WriteMode::Append, true), (WriteMode::Grow, true), (WriteMode::Overwrite, false)]
    {
        let staged = stage(mode, labelled(&[(4, Some("c"))])).await;
        let (alone, whole) = seen(&staged).await;
        assert_eq!(alone, rows(&["4|c"]));
        assert_eq!(whole.len(), if stays { 4 } else { 1 });
        let some = "SELECT n FROM t WHERE label = 'c' AND n > 3";
        let some = rows_of(test.lake.staged_table(&staged).unwrap(), some).await;
        assert_eq!(some, rows(&["4"]));
    }
    let staged = stage(replace(), numbers([9])).await;
    assert_eq!(seen(&staged).await, (rows(&["9"]), rows(&["9"])));
    drop(staged);

    let base = latest(&test.lake, &table).await;
    let sql = "SELECT \"@file\", \"@row\", arrow_cast(1, 'Int8'), n + 10, label FROM rows \
               WHERE n <> 2";
    let (staged, _) = changing::stage(&test.lake, &base, sql, Repeats::Once).await.unwrap();
    let staged = staged.unwrap();
    let (alone, whole) = seen(&staged).await;
    assert_eq!(alone, rows(&["11|a b/%", "13|c"]));
    assert_eq!(whole, rows(&["11|a b/%", "13|c", "2|NULL"]));
    test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    assert_eq!(rows_at(&test.lake, &table, 1).await, whole);
}

/// `0..20` or `7` in `WHIMBREL_DELTA_SEEDS`; otherwise those that are always run.
fn seeds() -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("WHIMBREL_DELTA_SEEDS") else { return 0..4 };
    match asked.split_once("..") {
        Some((from, to)) => from.parse().unwrap()..to.parse().unwrap(),
        None => {
            let seed = asked.parse().unwrap();
            seed..seed + 1
        }
    }
}

fn some_rows(random: &mut Random) -> RecordBatch {
    const LABELS: [Option<&str>; 4] = [None, Some("a"), Some("ü /%="), Some("b")];
    let row = |random: &mut Random| {
        let n = i64::try_from(random.below(40)).unwrap();
        (n, LABELS[usize::try_from(random.below(4)).unwrap()])
    };
    let count = 1 + random.below(12);
    labelled(&(0..count).map(|_| row(random)).collect::<Vec<_>>())
}

async fn some_commit(test: &TestLake, table: &str, random: &mut Random) {
    let lake = &test.lake;
    let now = latest(lake, table).await;
    let n = random.below(40);
    match random.below(12) {
        0..=3 => {
            write(lake, table, WriteMode::Append, some_rows(random)).await.unwrap();
        }
        4 | 5 => {
            delete_labelled(lake, table, &format!("n % 7 = {}", n % 7)).await;
        }
        6 | 7 => {
            let set = "(n + 3) % 40, CASE WHEN n % 2 = 0 THEN NULL ELSE label END";
            update(lake, table, set, &format!("n BETWEEN {n} AND {}", n + 4)).await;
        }
        8 => optimize(lake, table).await,
        9 => {
            write(lake, table, WriteMode::Overwrite, some_rows(random)).await.unwrap();
        }
        10 => {
            let version = i64::try_from(random.below(now.version().unsigned_abs() + 1)).unwrap();
            lake.restore(table, At::Version(version)).await.unwrap();
        }
        _ => {
            let set = (random.below(2) == 0).to_string();
            let set = [("delta.enableChangeDataFeed".to_owned(), set)].into();
            lake.alter(now, Alteration::Properties { set, unset: Vec::new() }).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_and_went_leads_from_any_version_to_any_later_one() {
    for seed in seeds() {
        println!("seed {seed}");
        let mut random = Random::new(seed);
        let test = TestLake::new();
        let table = test.table("t");
        let mode = if random.below(2) == 0 { create() } else { create_by("label") };
        write(&test.lake, &table, mode, some_rows(&mut random)).await.unwrap();
        for _ in 0..12 {
            some_commit(&test, &table, &mut random).await;
        }
        let newest = latest(&test.lake, &table).await.version();
        for from in 0..newest {
            for to in [from + 1, from + 1 + (random.below(6).cast_signed()), newest] {
                checked(&test.lake, &table, from, to.min(newest)).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_hashed_while_they_are_staged() {
    let test = TestLake::new();
    let table = test.table("t");
    let rows = labelled(&[(1, Some("a")), (2, None), (1, Some("a"))]);
    let parts = vec![vec![rows.slice(1, 2)], vec![rows.slice(0, 1)]];
    let progress = Arc::new(StageProgress::default());
    assert_eq!(progress.hash(), None);
    progress.hash_rows();
    assert_eq!(progress.hash(), Some(RowsHash::default()));
    let stage = Stage {
        location: table.clone(),
        plan: plan_of(&parts, rows.schema()),
        task: SessionContext::new().task_ctx(),
        mode: create_by("label"),
        base: None,
        checks: Vec::new(),
        progress: Arc::clone(&progress),
    };
    let staged = test.lake.stage(stage).await.unwrap();
    let committed = test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    let stored = super::read(&committed.snapshot).await;
    let stored = RowHasher::new(&stored.schema()).unwrap().hash(&stored).unwrap();
    assert_eq!(progress.hash(), Some(stored));
    assert_eq!(stored.rows(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_proved_distinct_while_rows_are_staged() {
    let test = TestLake::new();
    let key = |name: &str| DistinctColumns { columns: vec![name.to_owned()], nulls_equal: false };
    let rows = labelled(&[(1, Some("a")), (2, Some("b")), (3, Some("a"))]);
    let of = async |name: &str, parts: &[Vec<RecordBatch>]| {
        let progress = Arc::new(StageProgress::default());
        let task = SessionContext::new().task_ctx();
        let keys = vec![key("n"), key("label"), key("none of these")];
        progress.watch_distinct(keys, Arc::clone(task.memory_pool()));
        let stage = Stage {
            location: test.table(name),
            plan: plan_of(parts, rows.schema()),
            task,
            mode: create(),
            base: None,
            checks: Vec::new(),
            progress: Arc::clone(&progress),
        };
        test.lake.stage(stage).await.unwrap();
        progress.proved_distinct().await
    };
    let parts = [vec![rows.slice(1, 2)], vec![rows.slice(0, 1)]];
    assert_eq!(of("t", &parts).await, [true, false, false]);
    let twice = [vec![rows.slice(1, 2)], vec![rows.clone()]];
    assert_eq!(of("twice", &twice).await, [false, false, false]);
    // No rows, no values.
    assert_eq!(of("empty", &[vec![]]).await, [true, true, true]);
    assert!(StageProgress::default().proved_distinct().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_what_came_is_spread_over_files() {
    let test = TestLake::new();
    let table = test.table("t");
    write(&test.lake, &table, create(), numbers(0..3)).await.unwrap();
    for n in 0..4 {
        let rows = numbers(n * 100_000..(n + 1) * 100_000);
        let stage = Stage {
            location: table.clone(),
            plan: plan_of(&[vec![rows.clone()]], rows.schema()),
            task: SessionContext::new().task_ctx(),
            mode: WriteMode::Append,
            base: None,
            checks: Vec::new(),
            progress: Arc::new(StageProgress::default()),
        };
        let staged = test.lake.stage(stage).await.unwrap();
        test.lake.commit(staged, CommitInfo::default()).await.unwrap();
    }
    let delta = test.lake.delta(&table, 0, 4).await.unwrap();
    let context = changing::context();
    context.state_ref().write().config_mut().options_mut().optimizer.repartition_file_min_size = 1;
    context.register_table("t", delta.came().unwrap()).unwrap();
    let plan = context.sql("SELECT sum(n) FROM t WHERE n > 7").await.unwrap();
    let plan = plan.create_physical_plan().await.unwrap();
    let shown = datafusion::physical_plan::displayable(plan.as_ref()).indent(true).to_string();
    assert!(shown.contains("TableScan: version=4"), "{shown}");
    assert!(shown.contains("2 groups"), "{shown}");
    assert!(shown.contains("predicate=n"), "{shown}");
}
