use std::fs;

use model::{code::Code, id::ObjectId, time::Timestamp};

use super::{FOLDER, TakenFile, TakenFiles};
use crate::tests::TestLake;

fn file(flow: &str, n: usize) -> TakenFile {
    TakenFile {
        flow: flow.to_owned(),
        path: format!("file:///in/day={n:05}/part-{n:08}.csv"),
        size: n as u64,
        modified: Timestamp::from_micros(1_000_000 + i64::try_from(n).unwrap()),
        e_tag: n.is_multiple_of(2).then(|| format!("\"{n}\"")),
    }
}

fn parts(test: &TestLake, object: ObjectId) -> Vec<std::path::PathBuf> {
    let found = fs::read_dir(test.path("t").join(FOLDER).join(object.to_string())).unwrap();
    found.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_many_commits_are_in_few_parts_and_all_are_found() {
    let test = TestLake::new();
    let (location, object) = (test.lake.parse_location("t/").unwrap(), ObjectId::generate());
    let mut before = TakenFiles::default();
    let (mut last, mut most, mut count) = (0, 0, 0);
    for commit in 0..200 {
        let new = (0..=commit % 3).map(|_| {
            count += 1;
            file(if count % 5 == 0 { "b" } else { "a" }, count)
        });
        let new: Vec<_> = new.collect();
        last = test.lake.note_taken(&location, object, &before, new).await.unwrap().id;
        before = test.lake.taken_files(&location, object, last).await.unwrap();
        most = most.max(before.parts.len());
    }
    assert_eq!(before.len(), count);
    assert!(most <= 12, "{most} parts for {count} files");
    for n in 1..=count {
        let (one, other) = if n % 5 == 0 { ("b", "a") } else { ("a", "b") };
        assert_eq!(before.get(one, &file(one, n).path), Some(&file(one, n)));
        assert_eq!(before.get(other, &file(other, n).path), None);
    }
    let bytes: u64 = before
        .parts
        .iter()
        .map(|part| {
            let path = test.path("t").join(FOLDER).join(object.to_string());
            fs::metadata(path.join(format!("{:016x}.parquet", part.id))).unwrap().len()
        })
        .sum();
    assert!(bytes < 100 * count as u64, "{bytes} bytes for {count} files");
    // What a commit says stays as it was, whatever came after.
    let again = test.lake.note_taken(&location, object, &before, vec![file("a", 9_999)]).await;
    assert!(again.is_ok());
    assert_eq!(test.lake.taken_files(&location, object, last).await.unwrap().len(), count);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_commits_need_stays_and_the_rest_goes_when_it_is_old() {
    let test = TestLake::new();
    let (location, object) = (test.lake.parse_location("t/").unwrap(), ObjectId::generate());
    let lake = &test.lake;
    let (mut before, mut noted) = (TakenFiles::default(), super::TakenParts::default());
    for n in 0..8 {
        noted = lake.note_taken(&location, object, &before, vec![file("a", n)]).await.unwrap();
        if n < 7 {
            before = lake.taken_files(&location, object, noted.id).await.unwrap();
        }
    }
    assert_eq!(parts(&test, object).len(), 8);
    let now = Timestamp::from(chrono::Utc::now());
    lake.forget_taken(&location, object, &noted, now).await.unwrap();
    assert_eq!(parts(&test, object).len(), 8, "all are young");
    let later = Timestamp::from_micros(now.as_micros() + 25 * 3_600 * 1_000_000);
    lake.forget_taken(&location, object, &noted, later).await.unwrap();
    assert!(parts(&test, object).len() < 8);
    assert_eq!(lake.taken_files(&location, object, noted.id).await.unwrap().len(), 8);
    let last = before.parts.last().unwrap().id;
    assert_eq!(lake.taken_files(&location, object, last).await.unwrap().len(), 7);
    fs::remove_dir_all(test.path("t").join(FOLDER)).unwrap();
    let error = lake.taken_files(&location, object, noted.id).await.unwrap_err();
    assert_eq!(error.code(), Code::DataLoss);
}
