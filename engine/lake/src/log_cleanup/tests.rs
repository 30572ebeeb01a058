use super::*;

fn path(name: &str) -> Path {
    Path::from(format!("_delta_log/{name}"))
}

fn commit(version: i64) -> String {
    format!("{version:020}.json")
}

fn checkpoint(version: i64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

fn seconds(n: i64) -> Timestamp {
    Timestamp::from_micros(n * 1_000_000)
}

/// Files of these names, each written at the second that is its version.
fn listing(names: &[String]) -> Listing {
    let mut listing = Listing::default();
    for name in names {
        let second = name.get(..20).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        listing.add(path(name), 1, seconds(second));
    }
    listing
}

/// Commits up to a version, with checkpoints of some.
fn log(to: i64, checkpoints: &[i64]) -> Vec<String> {
    (0..=to).map(commit).chain(checkpoints.iter().copied().map(checkpoint)).collect()
}

fn gone(listing: &Listing, cutoff: i64, keep: &[i64]) -> Vec<String> {
    let gone = listing.expired(seconds(cutoff), keep, Least::Anything);
    gone.iter().map(|path| path.filename().unwrap().to_owned()).collect()
}

#[test]
fn what_comes_before_the_checkpoint_of_the_oldest_needed_version_goes() {
    let listing = listing(&log(30, &[10, 20]));
    // Version 9 was there at second 9, and no checkpoint is old enough for it.
    assert_eq!(gone(&listing, 9, &[]), Vec::<String>::new());
    let to_10: Vec<String> = (0..10).map(commit).collect();
    for cutoff in [10, 15, 19] {
        assert_eq!(gone(&listing, cutoff, &[]), to_10, "{cutoff}");
    }
    let mut to_20: Vec<String> = (0..20).map(commit).chain([checkpoint(10)]).collect();
    to_20.sort();
    let mut found = gone(&listing, 1000, &[]);
    assert_eq!(found.last(), Some(&commit(19)), "oldest first");
    found.sort();
    assert_eq!(found, to_20);
}

#[test]
fn pinned_versions_stay_readable() {
    let listing = listing(&log(30, &[10, 20]));
    assert_eq!(gone(&listing, 1000, &[19, 25]).len(), 10);
    assert_eq!(gone(&listing, 1000, &[9]).len(), 0);
    // What is not there any more holds nothing up, nor does what never was.
    assert_eq!(gone(&listing, 1000, &[-1, 99]).len(), 21);
}

#[test]
fn nothing_goes_for_the_sake_of_an_incomplete_checkpoint() {
    let part = |part: u64| format!("{:020}.checkpoint.{part:010}.{:010}.parquet", 20, 2);
    let mut names = log(30, &[]);
    names.push(part(1));
    assert!(gone(&listing(&names), 1000, &[]).is_empty());
    names.push(part(2));
    assert_eq!(gone(&listing(&names), 1000, &[]).len(), 20);
    let mut empty = listing(&log(30, &[]));
    empty.add(path(&checkpoint(20)), 0, seconds(20));
    assert!(empty.expired(seconds(1000), &[], Least::Anything).is_empty());
}

#[test]
fn a_checkpoint_of_the_second_kind_is_one() {
    let id = "80a083e8-7026-4e79-81be-64bd76c43a11";
    for ending in ["parquet", "json"] {
        let mut names = log(30, &[]);
        names.push(format!("{:020}.checkpoint.{id}.{ending}", 20));
        assert_eq!(gone(&listing(&names), 1000, &[]).len(), 20, "{ending}");
    }
}

#[test]
fn everything_named_after_an_expired_version_goes_and_nothing_else() {
    let mut names = log(30, &[20]);
    let old = [
        format!("{:020}.crc", 3),
        format!("{:020}.{:020}.compacted.json", 4, 8),
        format!("{:020}.checkpoint.{:010}.{:010}.parquet", 10, 1, 2),
    ];
    names.extend(old.clone());
    let stays = [
        "_last_checkpoint".to_owned(),
        "_sidecars/00000000000000000003.parquet".to_owned(),
        "_staged_commits/00000000000000000003.80a083e8.json".to_owned(),
        format!("{:020}.crc", 20),
        format!("{:020}.json.tmp", 3),
        "3.json".to_owned(),
    ];
    names.extend(stays.clone());
    let found = gone(&listing(&names), 1000, &[]);
    assert_eq!(found.len(), 23);
    assert!(old.iter().all(|name| found.contains(name)), "{found:?}");
    assert!(stays.iter().all(|name| !found.contains(name)), "{found:?}");
}

#[test]
fn a_log_with_a_gap_is_left_to_whoever_repairs_it() {
    let mut names = log(30, &[20]);
    names.retain(|name| *name != commit(25));
    let listing = listing(&names);
    assert_eq!(listing.first_readable(), None);
    assert!(gone(&listing, 1000, &[]).is_empty());
}

#[test]
fn a_cleanup_that_broke_off_is_gone_on_with() {
    let mut names = log(30, &[20]);
    names.retain(|name| ![commit(0), commit(3), commit(4)].contains(name));
    assert_eq!(gone(&listing(&names), 1000, &[]).len(), 17);
}

#[test]
fn a_log_that_was_cleaned_begins_where_a_checkpoint_does() {
    for (names, first) in [
        (log(30, &[20]), Some(0)),
        (log(30, &[20]).split_off(20), Some(20)),
        // Others leave the commits of a whole day: those before the checkpoint cannot be read.
        (log(30, &[20]).split_off(15), Some(20)),
        // The commit of the checkpoint itself is not needed.
        (log(30, &[20]).split_off(21), Some(20)),
        (log(30, &[]).split_off(15), None),
        (vec![], None),
    ] {
        assert_eq!(listing(&names).first_readable(), first, "{names:?}");
    }
}

#[test]
fn a_few_versions_are_not_worth_it_without_being_asked() {
    let all = |listing: &Listing| listing.expired(seconds(1000), &[], Least::Enough).len();
    assert_eq!(all(&listing(&log(30, &[19]))), 0);
    assert_eq!(all(&listing(&log(30, &[20]))), 20);
}

#[test]
fn a_time_that_goes_back_keeps_more() {
    let mut listing = listing(&log(30, &[10, 20]));
    // Written anew later than the versions after it: those count as no older.
    listing.commits.insert(5, seconds(500));
    assert!(gone(&listing, 100, &[]).is_empty());
}

/// Knuth's MMIX generator.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: i64) -> i64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// Whether a version can be read from these files alone, told in another way than in the code.
fn readable(names: &[String], version: i64) -> bool {
    let has = |name: String| names.contains(&name);
    let is_checkpoint = |version: i64| {
        let parts =
            (1..=3).all(|n| has(format!("{version:020}.checkpoint.{n:010}.{:010}.parquet", 3)));
        has(checkpoint(version)) || parts
    };
    let replayed = |from: i64| (from..=version).all(|version| has(commit(version)));
    replayed(0) || (0..=version).any(|base| is_checkpoint(base) && replayed(base + 1))
}

#[test]
fn every_version_since_the_cutoff_stays_readable_whatever_the_log_looks_like() {
    let mut deleted = 0;
    for seed in 0..2_000 {
        let mut random = Random(seed);
        let newest = 1 + random.below(40);
        let first = if random.below(3) == 0 { random.below(newest + 1) } else { 0 };
        let mut names: Vec<String> = (first..=newest).map(commit).collect();
        for version in 0..=newest {
            match random.below(8) {
                0 => names.push(checkpoint(version)),
                1 => {
                    let parts = 1 + random.below(3);
                    names
                        .extend((1..=parts).map(|n| {
                            format!("{version:020}.checkpoint.{n:010}.{:010}.parquet", 3)
                        }));
                }
                _ => {}
            }
        }
        if random.below(10) == 0 {
            let hole = commit(random.below(newest + 1));
            names.retain(|name| *name != hole);
        }
        let mut listing = listing(&names);
        let mut written = BTreeMap::new();
        let mut time = 0;
        for (version, modified) in &mut listing.commits {
            // Clocks of writers differ.
            *modified = seconds(10 * version + random.below(40));
            time = time.max(modified.as_micros());
            written.insert(*version, time);
        }
        let cutoff = seconds(random.below(10 * newest + 60));
        let keep = [random.below(newest + 1)];
        let keep = if random.below(2) == 0 { &keep[..] } else { &[] };
        let gone = listing.expired(cutoff, keep, Least::Anything);
        deleted += gone.len();
        let left: Vec<String> =
            names.iter().filter(|name| !gone.contains(&path(name))).cloned().collect();
        let at_cutoff =
            written.iter().rev().find(|(_, time)| **time <= cutoff.as_micros()).map(|(v, _)| *v);
        for version in 0..=newest {
            let recent = written.get(&version).is_some_and(|time| *time > cutoff.as_micros());
            let needed = recent || at_cutoff == Some(version) || keep.contains(&version);
            if needed && readable(&names, version) {
                assert!(readable(&left, version), "seed {seed}: version {version} of {names:?}");
            }
        }
    }
    assert!(deleted > 1_000, "only {deleted} files went");
}
