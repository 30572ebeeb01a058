//! Looks into the folder of a Delta table without any library, as a stranger would.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The log of one Delta table in a local folder.
pub(crate) struct Log {
    folder: PathBuf,
}

impl Log {
    /// From a location as the server shows it.
    pub(crate) fn at(location: &str) -> Self {
        let path = location.strip_prefix("file://").unwrap_or(location);
        Self { folder: PathBuf::from(path) }
    }

    /// Newest version.
    pub(crate) fn newest(&self) -> i64 {
        let versions = self.versions();
        let newest = versions.last().copied().expect("a table has a version");
        let complete: Vec<i64> = (0..=newest).collect();
        assert_eq!(versions, complete, "no version is missing or there twice");
        newest
    }

    fn versions(&self) -> Vec<i64> {
        let mut versions: Vec<i64> = fs::read_dir(self.folder.join("_delta_log"))
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                name.strip_suffix(".json").and_then(|number| number.parse().ok())
            })
            .collect();
        versions.sort_unstable();
        versions
    }

    /// Every action of every version, with the version.
    pub(crate) fn actions(&self) -> Vec<(i64, Value)> {
        let mut actions = Vec::new();
        for version in self.versions() {
            let path = self.folder.join(format!("_delta_log/{version:020}.json"));
            for line in fs::read_to_string(path).unwrap().lines() {
                actions.push((version, serde_json::from_str(line).unwrap()));
            }
        }
        actions
    }

    /// Version and transaction number of each commit that a run of the object made.
    pub(crate) fn runs(&self) -> Vec<(i64, i64)> {
        self.actions()
            .iter()
            .filter_map(|(version, action)| {
                let txn = action.get("txn")?;
                let app = txn["appId"].as_str()?;
                let of_a_run =
                    app.strip_prefix("whimbrel:").is_some_and(|object| !object.contains(':'));
                of_a_run.then(|| (*version, txn["version"].as_i64().unwrap()))
            })
            .collect()
    }

    /// Data files in the folder that no version names, with those that were only staged.
    pub(crate) fn orphans(&self) -> Vec<PathBuf> {
        let named: Vec<PathBuf> = self
            .actions()
            .iter()
            .filter_map(|(_, action)| action.get("add")?["path"].as_str().map(PathBuf::from))
            .collect();
        let mut files = Vec::new();
        parquet_files(&self.folder, &self.folder, &mut files);
        files.retain(|file| !named.contains(file) && !file.starts_with("_delta_log"));
        files
    }

    /// Whether the folder is still there.
    pub(crate) fn is_there(&self) -> bool {
        self.folder.join("_delta_log").is_dir()
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

fn parquet_files(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            parquet_files(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path.strip_prefix(root).unwrap().to_owned());
        }
    }
}
