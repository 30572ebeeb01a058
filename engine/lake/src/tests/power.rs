//! What is on the disk when a commit is told as done. A power cut cannot be had in a test, so these
//! look at what was brought to the disk, and when.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, ErrorKind},
    path::{Path as FsPath, PathBuf},
    sync::Arc,
    time::Duration,
};

use model::code::Code;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::{
    create, create_by, data_files, labelled, latest, numbers, open, read_numbers, stage, write,
};
use crate::{CommitInfo, Lake, LakeError, WriteMode, local_files::LocalFiles, stores::Wrap};

/// A disk that notes what is brought to it.
#[derive(Debug, Default)]
struct Disk {
    /// Paths as they were named then, and whether the later name was there already.
    flushed: Mutex<Vec<(PathBuf, bool)>>,
    /// What has this in its path fails.
    broken: Mutex<Option<&'static str>>,
}

impl Disk {
    fn files(self: &Arc<Self>) -> LocalFiles {
        let disk = Arc::clone(self);
        LocalFiles::with_flush(move |_, path| disk.flush(path))
    }

    fn wrap(self: &Arc<Self>) -> Option<Wrap> {
        let disk = Arc::clone(self);
        Some(Arc::new(move |_| Arc::new(disk.files())))
    }

    fn flush(&self, path: &FsPath) -> io::Result<()> {
        let text = path.to_str().unwrap();
        if self.broken.lock().is_some_and(|part| text.ends_with(part)) {
            return Err(io::Error::other("the disk is broken"));
        }
        let later = text.rsplit_once('#').map(|(later, _)| PathBuf::from(later));
        let named = later.is_none_or(|later| later.exists());
        self.flushed.lock().push((path.to_owned(), named));
        Ok(())
    }

    /// What came to the disk since the last call, below a folder. Files have the names that they
    /// were about to get.
    fn take(&self, below: &FsPath) -> Vec<String> {
        let flushed = std::mem::take(&mut *self.flushed.lock());
        let inside = flushed.iter().filter(|(path, _)| path.starts_with(below));
        inside
            .map(|(path, named)| {
                let text = path.strip_prefix(below).unwrap().to_str().unwrap().to_owned();
                let Some((later, _)) = text.rsplit_once('#') else { return text };
                assert!(!named, "{later} had its name before its content");
                later.to_owned()
            })
            .collect()
    }
}

struct World {
    disk: Arc<Disk>,
    lake: Lake,
    table: String,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let (folder, disk) = (TempDir::new().unwrap(), Arc::new(Disk::default()));
        let lake = open(&folder, disk.wrap());
        let table = format!("{}t/", lake.root());
        Self { disk, lake, table, folder }
    }

    fn lake_folder(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("lake")
    }
}

fn entry(version: i64) -> String {
    format!("t/_delta_log/{version:020}.json")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_done_when_it_is_on_the_disk_and_its_files_are_before_it() {
    let World { disk, lake, table, folder } = &World::new();
    let root = folder.path().canonicalize().unwrap();
    let rows = labelled(&[(1, Some("a")), (2, Some("b")), (3, Some("c"))]);
    write(lake, table, create_by("label"), rows).await.unwrap();
    let flushed = disk.take(&root.join("lake"));
    let (files, rest) = flushed.split_at(3);
    let files: BTreeSet<_> =
        files.iter().map(|file| file.split_once("/part-").unwrap().0).collect();
    assert_eq!(files, BTreeSet::from(["t/label=a", "t/label=b", "t/label=c"]));
    // Then the content of the log entry, the folders of the files with the names of those in the
    // folders above, and last the name of the log entry.
    assert_eq!(rest[0], entry(0));
    assert_eq!(rest[1..8], ["t/label=a", "t", "", "t/label=b", "t", "t/label=c", "t"]);
    assert_eq!(rest[8..], ["t/_delta_log", "t"]);

    // What is known to be there is not looked at again.
    let rows = labelled(&[(4, Some("a")), (5, Some("a"))]);
    write(lake, table, WriteMode::Append, rows).await.unwrap();
    let flushed = disk.take(&root);
    assert!(flushed[0].starts_with("lake/t/label=a/part-"), "{flushed:?}");
    let entry = format!("lake/{}", entry(1));
    assert_eq!(flushed[1..], [entry.as_str(), "lake/t/label=a", "lake/t/_delta_log"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_folders_above_the_lake_are_on_the_disk_too() {
    let World { disk, lake, table, folder } = &World::new();
    write(lake, table, create(), numbers([1])).await.unwrap();
    let flushed: BTreeSet<PathBuf> =
        disk.flushed.lock().iter().map(|(path, _)| path.clone()).collect();
    for above in folder.path().canonicalize().unwrap().ancestors() {
        assert!(flushed.contains(above), "{}", above.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_that_are_one_commit_flush_their_folder_once() {
    let world = World::new();
    let World { disk, lake, table, .. } = &world;
    write(lake, table, create(), numbers([0])).await.unwrap();
    let mut staged = Vec::new();
    for n in 1..=8_i64 {
        staged.push(stage(lake, table, WriteMode::Append, numbers([n])).await.unwrap());
    }
    let below = world.lake_folder();
    let flushed = disk.take(&below);
    assert_eq!(flushed.iter().filter(|path| path.starts_with("t/part-")).count(), 8 + 1);
    let writers = lake.writers(&lake.place(table).unwrap());
    let turn = writers.turn.lock().await;
    let commits: Vec<_> = staged
        .into_iter()
        .map(|staged| {
            let lake = lake.clone();
            tokio::spawn(async move { lake.commit(staged, CommitInfo::default()).await })
        })
        .collect();
    while writers.waiting() < 8 {
        tokio::task::yield_now().await;
    }
    drop(turn);
    for commit in commits {
        assert_eq!(commit.await.unwrap().unwrap().version, 1);
    }
    assert_eq!(disk.take(&below), [entry(1), "t".to_owned(), "t/_delta_log".to_owned()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_has_its_content_before_its_name() {
    let world = World::new();
    let World { disk, lake, table, .. } = &world;
    write(lake, table, create(), numbers([0])).await.unwrap();
    for n in 1..=20 {
        write(lake, table, WriteMode::Append, numbers([n])).await.unwrap();
    }
    let log = world.lake_folder().join("t/_delta_log");
    while !log.join("_last_checkpoint").exists() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let flushed = disk.take(&log);
    let at = |name: &str| flushed.iter().position(|path| path == name).unwrap();
    let checkpoint = at("00000000000000000020.checkpoint.parquet");
    assert!(checkpoint < at("_last_checkpoint"), "{flushed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_reach_the_disk_is_not_committed() {
    let world = World::new();
    let World { disk, lake, table, .. } = &world;
    write(lake, table, create(), numbers([0])).await.unwrap();
    let folder = world.lake_folder().join("t");
    // A data file, the folder that it is in, and the log entry.
    for broken in [".parquet#1", "/t", ".json#1"] {
        *disk.broken.lock() = Some(broken);
        let error = write(lake, table, WriteMode::Append, numbers([1])).await.unwrap_err();
        assert!(matches!(error, LakeError::Store { code: Code::Unavailable, .. }), "{error:?}");
        *disk.broken.lock() = None;
        assert_eq!(read_numbers(&latest(lake, table).await).await, [0], "{broken}");
        assert_eq!(data_files(&folder).len(), 1, "{broken}");
        assert_eq!(fs::read_dir(folder.join("_delta_log")).unwrap().count(), 1, "{broken}");
    }
    // The folder that could not be flushed is not forgotten.
    disk.take(&folder);
    write(lake, table, WriteMode::Append, numbers([2])).await.unwrap();
    assert_eq!(disk.take(&folder)[2], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_on_a_broken_disk_holds_up_no_other() {
    let World { disk, lake, table, .. } = &World::new();
    let broken = format!("{}broken/", lake.root());
    write(lake, &broken, create(), numbers([0])).await.unwrap();
    write(lake, table, create(), numbers([0])).await.unwrap();
    *disk.broken.lock() = Some("/broken");
    write(lake, &broken, WriteMode::Append, numbers([1])).await.unwrap_err();
    write(lake, table, WriteMode::Append, numbers([1])).await.unwrap();
    assert_eq!(read_numbers(&latest(lake, table).await).await, [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_whose_name_may_be_lost_is_not_told_as_done() {
    let world = World::new();
    let World { disk, lake, table, .. } = &world;
    write(lake, table, create(), numbers([0])).await.unwrap();
    *disk.broken.lock() = Some("/_delta_log");
    let error = write(lake, table, WriteMode::Append, numbers([1])).await.unwrap_err();
    assert!(matches!(error, LakeError::OutcomeUnknown { version: 1, .. }), "{error:?}");
    *disk.broken.lock() = None;
    // Others may have seen it, so its files stay.
    assert_eq!(read_numbers(&latest(lake, table).await).await, [0, 1]);
    write(lake, table, WriteMode::Append, numbers([2])).await.unwrap();
    assert_eq!(read_numbers(&latest(lake, table).await).await, [0, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_deleted_and_made_anew_is_named_anew() {
    let world = World::new();
    let World { disk, lake, table, .. } = &world;
    write(lake, table, create(), numbers([0])).await.unwrap();
    lake.purge(table).await.unwrap();
    disk.take(&world.lake_folder());
    write(lake, table, create(), numbers([1])).await.unwrap();
    let flushed = disk.take(&world.lake_folder());
    assert_eq!(flushed[1..], [entry(0).as_str(), "t", "", "t/_delta_log", "t"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_parts_is_there_when_it_is_complete_and_leaves_nothing_otherwise() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let disk = Arc::new(Disk::default());
    let store = disk.files();
    let path = |name: &str| Path::from_absolute_path(root.join(name)).unwrap();
    let names = || -> BTreeSet<String> {
        let entries = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name());
        entries.map(|name| name.into_string().unwrap()).collect()
    };
    let mut upload = store.put_multipart(&path("whole")).await.unwrap();
    let first = upload.put_part(PutPayload::from_static(b"one "));
    let second = upload.put_part(PutPayload::from_static(b"two"));
    // Whichever comes first.
    second.await.unwrap();
    first.await.unwrap();
    assert_eq!(disk.take(&root), Vec::<String>::new());
    upload.complete().await.unwrap();
    assert_eq!(disk.take(&root), ["whole", ""]);
    assert!(upload.complete().await.is_err());
    drop(upload);
    let bytes = store.get(&path("whole")).await.unwrap().bytes().await.unwrap();
    assert_eq!(bytes.as_ref(), b"one two");

    let mut upload = store.put_multipart(&path("aborted")).await.unwrap();
    upload.put_part(PutPayload::from_static(b"x")).await.unwrap();
    upload.abort().await.unwrap();
    let mut upload = store.put_multipart(&path("dropped")).await.unwrap();
    upload.put_part(PutPayload::from_static(b"x")).await.unwrap();
    drop(upload);
    *disk.broken.lock() = Some("broken#1");
    let mut upload = store.put_multipart(&path("broken")).await.unwrap();
    upload.put_part(PutPayload::from_static(b"x")).await.unwrap();
    upload.complete().await.unwrap_err();
    assert_eq!(names(), BTreeSet::from(["whole".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_put_whole_copied_and_never_over_another_unless_asked() {
    let folder = TempDir::new().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let disk = Arc::new(Disk::default());
    let store = disk.files();
    let path = |name: &str| Path::from_absolute_path(root.join(name)).unwrap();
    let create = || object_store::PutMode::Create.into();
    store.put_opts(&path("a/b/file"), PutPayload::from_static(b"1"), create()).await.unwrap();
    assert_eq!(disk.take(&root), ["a/b/file", "a/b", "a", ""]);
    let again = store.put_opts(&path("a/b/file"), PutPayload::from_static(b"2"), create()).await;
    let error = again.unwrap_err();
    assert!(matches!(error, object_store::Error::AlreadyExists { .. }), "{error:?}");
    store.copy(&path("a/b/file"), &path("a/copy")).await.unwrap();
    assert_eq!(fs::read(root.join("a/copy")).unwrap(), b"1");
    store.put(&path("a/copy"), PutPayload::from_static(b"3")).await.unwrap();
    store.rename(&path("a/copy"), &path("a/b/file")).await.unwrap();
    assert_eq!(fs::read(root.join("a/b/file")).unwrap(), b"3");
    assert_eq!(fs::read_dir(root.join("a/b")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(root.join("a")).unwrap().count(), 1);

    // Where the system refuses, the file is not there, and the error says why.
    fs::write(root.join("plain"), "").unwrap();
    let error = store.put(&path("plain/file"), PutPayload::from_static(b"1")).await.unwrap_err();
    let object_store::Error::Generic { source, .. } = &error else { panic!("{error:?}") };
    let cause = source.source().and_then(|cause| cause.downcast_ref::<io::Error>()).unwrap();
    assert_eq!(cause.kind(), ErrorKind::NotADirectory);
}
