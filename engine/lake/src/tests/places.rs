use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, atomic::Ordering},
};

use model::{code::Code, id::ObjectId, name::ObjectName};
use tempfile::TempDir;

use super::{
    TestLake, create, latest, numbers, open, options, read_numbers, recorder::Requests, write,
};
use crate::{Lake, LakeError, LakeOptions};

#[tokio::test(flavor = "multi_thread")]
async fn locations_outside_the_lake_are_refused() {
    let folder = TempDir::new().unwrap();
    let outside = folder.path().join("outside");
    let extra = folder.path().join("extra folder");
    fs::create_dir_all(&outside).unwrap();
    fs::create_dir_all(&extra).unwrap();
    let locations = vec![extra.to_string_lossy().into_owned()];
    let lake = Lake::open(LakeOptions { locations, ..options(&folder) }).unwrap();
    let root = folder.path().join("lake").canonicalize().unwrap();
    let link = root.join("link");
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    std::os::unix::fs::symlink(folder.path().join("nowhere"), root.join("dangling")).unwrap();
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    for inside in [
        text(&root.join("a/b")),
        format!("file://{}/a%20b/", text(&root)),
        "relative/folder".to_owned(),
        text(&extra.join("table")),
        format!("{}/../lake/x", text(&root)),
    ] {
        let url = lake.parse_location(&inside).unwrap();
        assert!(url.starts_with("file:///"), "{url}");
        assert_eq!(lake.parse_location(&url).unwrap(), url);
    }
    for refused in [
        "/etc/passwd".to_owned(),
        text(&outside),
        text(&link),
        text(&link.join("x")),
        text(&root.join("dangling")),
        text(&root.join("dangling/x")),
        "../outside".to_owned(),
        "missing/../../outside".to_owned(),
        format!("{}/../outside/x", text(&root)),
        format!("file://{}/%2e%2e/outside", text(&root)),
        format!("file://{}/..%2foutside", text(&root)),
        format!("{}2/x", text(&root)),
        "s3://bucket/x".to_owned(),
        "http://host/x".to_owned(),
        "file://host/x".to_owned(),
        String::new(),
    ] {
        let error = lake.parse_location(&refused).unwrap_err();
        let known = matches!(error, LakeError::OutsideRoots { .. } | LakeError::Location { .. });
        assert!(known, "{refused}: {error}");
    }
    let error = lake.parse_location("/etc/passwd").unwrap_err();
    assert!(error.to_string().contains("lake.locations"), "{error}");
    assert_eq!(error.code(), Code::PermissionDenied);
    let error = lake.exists("file:///etc/").await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
}

/// Writes a table whose log names this file in the place of its own, with these keys beside.
async fn naming(lake: &Lake, test: &std::path::Path, name: &str, file: &str, more: &str) -> String {
    let table = format!("{}{name}/", lake.root());
    write(lake, &table, create(), numbers([1])).await.unwrap();
    let log = test.join(name).join("_delta_log/00000000000000000000.json");
    let entries = fs::read_to_string(&log).unwrap();
    let (before, rest) = entries.split_once(r#""add":{"path":""#).unwrap();
    let (own, after) = rest.split_once('"').unwrap();
    assert!(own.ends_with(".parquet"), "{own}");
    fs::write(&log, format!(r#"{before}"add":{{{more}"path":"{file}"{after}"#)).unwrap();
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_names_files_outside_the_lake_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().canonicalize().unwrap();
    let (inside, outside) = (path.join("lake"), path.join("outside"));
    let root = outside.to_string_lossy().into_owned();
    let other = Lake::open(LakeOptions { root: root.clone(), ..options(&folder) }).unwrap();
    let secret = format!("{}secret/", other.root());
    write(&other, &secret, create(), numbers([7])).await.unwrap();
    let mut files =
        fs::read_dir(outside.join("secret")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|file| file.extension().is_some_and(|x| x == "parquet")).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let spelled = [
        format!("file://{root}/secret/{name}"),
        format!("{root}/secret/{name}"),
        format!("../../outside/secret/{name}"),
        format!("%2e%2e/%2E%2e/outside/secret/{name}"),
        format!("x/../../../outside/secret/{name}"),
        format!(" {root}/secret/{name}"),
    ];
    let lake = open(&folder, None);
    let allowed = LakeOptions { locations: vec![root.clone()], ..options(&folder) };
    let allowed = Lake::open(allowed).unwrap();
    for (n, spelled) in spelled.iter().enumerate() {
        let table = naming(&other_process(&folder), &inside, &format!("t{n}"), spelled, "").await;
        let snapshot = latest(&lake, &table).await;
        for refused in [snapshot.provider(), snapshot.rows_provider()] {
            let error = refused.unwrap_err();
            assert!(matches!(error, LakeError::FileOutsideRoots { .. }), "{spelled}: {error}");
            assert_eq!(error.code(), Code::PermissionDenied);
            let text = error.to_string();
            assert!(text.contains(&table) && text.contains(name), "{text}");
        }
        // Where an operator has allowed the folder it is the shallow clone that it looks like.
        assert_eq!(read_numbers(&latest(&allowed, &table).await).await, [7], "{spelled}");
    }
    // A file of another table of the lake, as in a shallow clone.
    let table = format!("{}t0/", lake.root());
    write(&lake, &format!("{}u/", lake.root()), create(), numbers([3])).await.unwrap();
    let mut files = fs::read_dir(inside.join("u")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|file| file.extension().is_some_and(|x| x == "parquet")).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    let clone = naming(&lake, &inside, "clone", &format!("../u/{name}"), "").await;
    assert_eq!(read_numbers(&latest(&other_process(&folder), &clone).await).await, [3]);
    assert!(latest(&lake, &table).await.provider().is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_names_marks_outside_the_lake_is_refused() {
    let folder = TempDir::new().unwrap();
    let lake = open(&folder, None);
    let inside = folder.path().canonicalize().unwrap().join("lake");
    let marked = |kind: &str, at: &str| {
        format!(
            r#""deletionVector":{{"storageType":"{kind}","pathOrInlineDv":"{at}","offset":1,"sizeInBytes":36,"cardinality":1}},"#
        )
    };
    let odd = [marked("p", "file:///etc/hostname"), marked("u", "../../xab^-aqEH.-t@S}K{vb[*k^")];
    for (n, marks) in odd.iter().enumerate() {
        let name = format!("t{n}");
        let writer = other_process(&folder);
        write(&writer, &format!("{}{name}/", lake.root()), create(), numbers([1])).await.unwrap();
        let log = inside.join(&name).join("_delta_log/00000000000000000000.json");
        let entries = fs::read_to_string(&log).unwrap();
        let entries = entries.replace(r#""add":{"#, &format!(r#""add":{{{marks}"#));
        let protocol = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
        let lines = entries.lines().map(|line| match line.starts_with(r#"{"protocol""#) {
            true => protocol,
            false => line,
        });
        fs::write(&log, lines.collect::<Vec<_>>().join("\n")).unwrap();
        let error = latest(&lake, &format!("{}{name}/", lake.root())).await.provider().unwrap_err();
        assert!(matches!(error, LakeError::FileOutsideRoots { .. }), "{error}");
    }
}

fn other_process(folder: &TempDir) -> Lake {
    open(folder, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_locations_are_compared_by_bucket_and_folder() {
    let folder = TempDir::new().unwrap();
    let storage = [
        ("aws_region", "eu-central-1"),
        ("aws_access_key_id", "AKIASECRET"),
        ("aws_secret_access_key", "AKIASECRET"),
    ];
    let storage = storage.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let root = "s3://bucket/lake".to_owned();
    let options = LakeOptions { root, storage, ..options(&folder) };
    assert!(!format!("{options:?}").contains("AKIASECRET"));
    let lake = Lake::open(options).unwrap();
    assert_eq!(lake.root(), "s3://bucket/lake/");
    assert_eq!(lake.parse_location("s3://bucket/lake/a b/").unwrap(), "s3://bucket/lake/a%20b/");
    assert_eq!(lake.parse_location("x/y").unwrap(), "s3://bucket/lake/x/y");
    for refused in [
        "s3://bucket/lake2/x",
        "s3://bucket/lake/../x",
        "s3://bucket/lake/..%2fx",
        "s3://bucket/lake/%2e%2e/x",
        "s3://other/lake/x",
        "s3://key:secret@bucket/lake/x",
        "gs://bucket/lake/x",
        "/tmp/x",
    ] {
        let error = lake.parse_location(refused).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    assert!(!format!("{lake:?}").contains("AKIASECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_storage_options_are_refused_without_their_value() {
    let folder = TempDir::new().unwrap();
    let storage = BTreeMap::from([("aws_secrte_key".to_owned(), "TOPSECRET".to_owned())]);
    let error = Lake::open(LakeOptions { storage, ..options(&folder) }).unwrap_err();
    assert!(error.to_string().contains("storage.aws_secrte_key"), "{error}");
    assert!(!format!("{error:?}").contains("TOPSECRET"));
}

#[tokio::test(flavor = "multi_thread")]
async fn probe_finds_out_whether_commits_are_safe() {
    let folder = TempDir::new().unwrap();
    let requests = Arc::new(Requests::default());
    let lake = open(&folder, requests.wrap());
    lake.probe().await.unwrap();
    requests.ignore_create.store(true, Ordering::SeqCst);
    let error = lake.probe().await.unwrap_err();
    assert!(matches!(error, LakeError::NoPutIfAbsent { .. }), "{error}");
    let left = fs::read_dir(folder.path().join("lake/_whimbrel")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn table_locations_are_plain_and_unique() {
    let test = TestLake::new();
    let name = ObjectName::new("my schema", "tä.ble#1").unwrap();
    let (a, b) = (ObjectId::generate(), ObjectId::generate());
    let location = test.lake.table_location(a, &name);
    assert_ne!(location, test.lake.table_location(b, &name));
    let rest = location.strip_prefix(test.lake.root()).unwrap();
    assert!(rest.starts_with("tables/my_schema/t__ble_1-"), "{rest}");
    assert_eq!(test.lake.parse_location(&location).unwrap(), location);
    write(&test.lake, &location, create(), numbers([1])).await.unwrap();
    assert_eq!(read_numbers(&latest(&test.lake, &location).await).await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_folders_with_odd_names_work() {
    let test = TestLake::new();
    for name in ["a b", "ä", "50%", "x+y", "q?r", "h#i", "%zz"] {
        let location =
            test.lake.parse_location(&format!("{}/", test.path(name).display())).unwrap();
        write(&test.lake, &location, create(), numbers([1, 2])).await.unwrap();
        assert!(test.path(name).join("_delta_log").is_dir(), "{name}");
        assert_eq!(read_numbers(&latest(&test.other(), &location).await).await, [1, 2], "{name}");
    }
    let error = test.lake.parse_location(&test.path("%20").to_string_lossy()).unwrap_err();
    assert!(matches!(error, LakeError::Location { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn purge_deletes_one_table_and_never_a_root() {
    let test = TestLake::new();
    let name = ObjectName::new("main", "t").unwrap();
    let location = test.lake.table_location(ObjectId::generate(), &name);
    let neighbour = test.lake.table_location(ObjectId::generate(), &name);
    for table in [&location, &neighbour] {
        write(&test.lake, table, create(), numbers([1])).await.unwrap();
    }
    let root = test.lake.root().to_owned();
    for refused in [root.clone(), format!("{root}tables/"), format!("{root}tables/main/")] {
        let error = test.lake.purge(&refused).await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{refused}");
    }
    assert!(test.lake.purge("file:///tmp/").await.is_err());
    test.lake.purge(&location).await.unwrap();
    test.lake.purge(&location).await.unwrap();
    assert!(!test.lake.exists(&location).await.unwrap());
    assert_eq!(fs::read_dir(test.path("tables/main")).unwrap().count(), 1);
    assert_eq!(read_numbers(&latest(&test.lake, &neighbour).await).await, [1]);
}
