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
