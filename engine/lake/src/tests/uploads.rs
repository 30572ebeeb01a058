//! Files that go to a failing store in parts: a statement has all of its file or none of it, and no
//! upload stays open, for which stores send bills.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use model::code::Code;
use object_store::{ObjectStore, memory::InMemory};
use tempfile::TempDir;

use super::{
    latest, numbers, options, read_sql,
    unreliable::{Random, Weather},
    write,
};
use crate::{Lake, Vacuum, WriteMode, stores::Wrap};

/// Enough for three parts, since nothing makes random numbers smaller.
const ROWS: usize = 1_500_000;
const STATEMENTS: u64 = 14;

/// Rows of which the first one says which statement they are of.
fn rows(random: &mut Random) -> RecordBatch {
    let numbers = (0..ROWS).map(|_| random.below(u64::MAX).cast_signed());
    let numbers = Int64Array::from_iter_values(numbers);
    RecordBatch::try_from_iter([("n", Arc::new(numbers) as _)]).unwrap()
}

fn sum_of(rows: &RecordBatch) -> i64 {
    let numbers = rows.column(0).as_primitive::<Int64Type>().values();
    numbers.iter().fold(0, |sum, n| sum ^ n)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_in_parts_is_there_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let lake = |weather: Option<&Arc<Weather>>| {
        let store = weather.map_or_else(|| Arc::clone(&store), |w| w.over(Arc::clone(&store)));
        let wrap: Wrap = Arc::new(move |_| Arc::clone(&store));
        let mut options = options(&folder);
        options.root = "memory:///lake/".to_owned();
        Lake::open_wrapped(options, Some(wrap)).unwrap()
    };
    let clean = lake(None);
    let table = format!("{}t/", clean.root());
    let properties = [("delta.deletedFileRetentionDuration", "interval 0 hours")];
    let created = WriteMode::Create {
        partitioned_by: Vec::new(),
        comment: None,
        properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        schema: None,
    };
    write(&clean, &table, created, numbers([])).await.unwrap();

    let weather = Weather::new(11, false);
    let failing = lake(Some(&weather));
    let mut random = Random::new(11);
    let (mut sum, mut committed) = (0, 0);
    for _ in 0..STATEMENTS {
        let rows = rows(&mut random);
        match write(&failing, &table, WriteMode::Append, rows.clone()).await {
            Ok(_) => {
                sum ^= sum_of(&rows);
                committed += 1;
            }
            Err(error) => {
                assert!(matches!(error.code(), Code::Unavailable | Code::Aborted), "{error:?}");
            }
        }
    }
    weather.calm_down();
    drop(failing);
    let seen = weather.seen();
    println!("{committed} commits, {seen:?}");
    let of = |what: &str| -> usize {
        let faults = seen.iter().filter(|(name, _)| name.starts_with(what));
        faults.map(|(_, count)| count).sum()
    };
    assert!(committed > 2 && of("part") > 2 && of("complete") > 1, "{committed}, {seen:?}");

    let clean = lake(None);
    let newest = latest(&clean, &table).await;
    let found = read_sql(&newest, "SELECT count(*) AS n, bit_xor(n) AS x FROM t").await;
    let number = |column: usize| found.column(column).as_primitive::<Int64Type>().value(0);
    assert_eq!(number(0), i64::try_from(committed * ROWS).unwrap());
    assert_eq!(number(1), sum);
    // Aborting runs beside; what could not be aborted, the store was told and refused.
    let refused = of("abort") as u64;
    for _ in 0..200 {
        if weather.open_uploads() <= refused {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(weather.open_uploads() <= refused, "{} uploads are open", weather.open_uploads());

    // Nothing is left but what VACUUM finds.
    let vacuum = Vacuum { full: true, retain: None, dry_run: false, keep: Vec::new() };
    clean.vacuum(&table, &vacuum).await.unwrap();
    let files: Vec<_> = store.list(None).try_collect().await.unwrap();
    let data = files.iter().filter(|meta| !meta.location.as_ref().contains("_delta_log"));
    let sizes: BTreeMap<_, _> = data.map(|meta| (meta.location.to_string(), meta.size)).collect();
    assert_eq!(sizes.len(), newest.files(), "{sizes:?}");
}
