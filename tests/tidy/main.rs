//! Rules of the repository that no other tool checks.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Lines that one source file may have.
const LINES_MAX: usize = 800;

/// Which of our crates each crate may know: down only, siblings never see each other.
const EDGES: [(&str, &[&str]); 15] = [
    ("model", &[]),
    ("rt", &["model"]),
    ("catalog", &["model"]),
    ("dialect", &["model"]),
    ("catalog-sql", &["model", "rt", "catalog"]),
    ("catalog-sqlite", &["model", "rt", "catalog", "catalog-sql"]),
    ("catalog-postgres", &["model", "rt", "catalog", "catalog-sql"]),
    ("lake", &["model", "rt"]),
    ("query", &["model", "rt", "dialect", "catalog", "lake"]),
    ("refresh", &["model", "rt", "dialect", "catalog", "lake", "query"]),
    ("proto", &[]),
    ("substrait", &[]),
    (
        "whimbrel",
        &[
            "model",
            "rt",
            "dialect",
            "catalog",
            "catalog-sqlite",
            "catalog-postgres",
            "lake",
            "query",
            "refresh",
            "proto",
        ],
    ),
    ("tests", &["proto"]),
    ("bench", &["proto", "tests"]),
];

/// Which of our crates may name a library. A name that ends in `*` stands for all that begin so.
const ONLY: [(&str, &[&str]); 10] = [
    ("sqlx*", &["catalog-sqlite", "catalog-postgres"]),
    ("deltalake*", &["lake", "bench"]),
    ("buoyant_kernel", &["lake"]),
    ("object_store", &["lake"]),
    ("datafusion*", &["lake", "query", "bench"]),
    ("sqlparser", &["dialect", "query"]),
    ("tonic*", &["whimbrel", "proto", "tests", "bench"]),
    ("arrow-flight", &["whimbrel", "tests", "bench"]),
    ("pgwire", &["whimbrel"]),
    ("prost", &["query", "whimbrel", "proto", "substrait", "tests", "bench"]),
];

/// Libraries of which there is one version, because their types meet.
const LOCK_STEP: [&str; 9] = [
    "arrow",
    "arrow-*",
    "parquet",
    "datafusion",
    "datafusion-*",
    "object_store",
    "prost",
    "tokio",
    "sqlx",
];

/// Words that only one folder may use, with the reason for whoever wants to add one.
const WORDS: [(&str, &[&str], &str); 5] = [
    (
        "std::env::var",
        &["server/src/config", "tests", "engine/refresh/src/sim/random.rs"],
        "the configuration is read in one place",
    ),
    ("SystemTime::now", &["engine/rt", "tests"], "time comes in as an argument, from rt::Clock"),
    ("Utc::now", &["engine/rt", "tests"], "time comes in as an argument, from rt::Clock"),
    ("#[ignore", &["tests/tidy"], "a test that is not run proves nothing"),
    ("unbounded_channel", &["tests"], "every queue has a bound"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is a folder of the repository")
}

/// Files of the repository: everything that git keeps or would keep.
fn files(extension: &str) -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .expect("git lists the files of the repository");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<_> = listed
        .split('\0')
        .map(PathBuf::from)
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        // A file that was removed but not yet committed so.
        .filter(|path| root().join(path).is_file())
        .collect();
    assert!(!files.is_empty(), "there is no .{extension} file");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

fn report(broken: &[String]) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn matches(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == pattern,
    }
}

/// Our crates by their short names, each with everything it depends on.
fn crates() -> BTreeMap<String, BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            // What only tests need does not ship.
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let dependencies = dependencies.filter(|dependency| dependency["kind"] != "dev");
            (
                short(&text(&package["name"])),
                dependencies.map(|dependency| short(&text(&dependency["name"]))).collect(),
            )
        })
        .collect()
}

fn short(name: &str) -> String {
    name.strip_prefix("whimbrel-").unwrap_or(name).to_owned()
}

#[test]
fn crates_know_only_those_below_them() {
    let allowed: BTreeMap<_, _> = EDGES.into_iter().collect();
    let crates = crates();
    let mut broken = Vec::new();
    for (name, dependencies) in &crates {
        let Some(below) = allowed.get(name.as_str()) else {
            broken.push(format!("crate '{name}' has no place in EDGES"));
            continue;
        };
        for dependency in dependencies {
            // A crate may name itself with other features for its own tests.
            let ours = crates.contains_key(dependency) && dependency != name;
            if ours && !below.contains(&dependency.as_str()) {
                broken.push(format!("'{name}' must not know '{dependency}'"));
            }
        }
    }
    report(&broken);
}

#[test]
fn libraries_are_named_only_where_they_belong() {
    let mut broken = Vec::new();
    for (name, dependencies) in crates() {
        for dependency in dependencies {
            for (library, owners) in ONLY {
                if matches(library, &dependency) && !owners.contains(&name.as_str()) {
                    broken.push(format!("'{name}' names '{dependency}': only {owners:?} may"));
                }
            }
        }
    }
    report(&broken);
}

#[test]
fn libraries_that_move_in_lock_step_have_one_version() {
    let lock = read(Path::new("Cargo.lock"));
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut name = "";
    for line in lock.lines() {
        if let Some(found) = line.strip_prefix("name = ") {
            name = found.trim_matches('"');
        } else if let Some(version) = line.strip_prefix("version = ") {
            versions.entry(name).or_default().insert(version.trim_matches('"'));
        }
    }
    let of_one_family = |family: &str| -> BTreeSet<&str> {
        versions
            .iter()
            .filter(|(name, _)| matches(family, name))
            .flat_map(|(_, versions)| versions.iter().copied())
            .collect()
    };
    let mut broken = Vec::new();
    for family in LOCK_STEP {
        let found = of_one_family(family);
        if found.len() != 1 {
            broken.push(format!("'{family}' has the versions {found:?} in Cargo.lock"));
        }
    }
    // Its companions count their versions like it does.
    let tonic = of_one_family("tonic");
    for companion in ["tonic-prost", "tonic-health", "tonic-reflection"] {
        if of_one_family(companion) != tonic {
            broken.push(format!("'{companion}' is not of tonic's version {tonic:?}"));
        }
    }
    report(&broken);
}

#[test]
fn migrations_come_in_pairs() {
    let names = |database: &str| -> BTreeSet<String> {
        fs::read_dir(root().join("sql/migrations").join(database))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    assert_eq!(sqlite, postgres, "the same migrations under the same names in both databases");
    for (index, name) in sqlite.iter().enumerate() {
        let number = format!("{:04}_", index + 1);
        assert!(name.starts_with(&number), "'{name}' is migration {number}: no number is left out");
        for database in ["sqlite", "postgres"] {
            let adapter = format!("engine/catalog-{database}/src/database.rs");
            let text = read(Path::new(&adapter));
            let listed = text.contains(&format!("sql/migrations/{database}/{name}"));
            assert!(listed, "'{name}' is not in the list of {adapter}");
        }
    }
}

#[test]
fn source_files_are_short() {
    let mut broken = Vec::new();
    for path in files("rs") {
        let generated = ["proto/src/gen", "proto/substrait/src/gen"];
        let generated = generated.iter().any(|folder| path.starts_with(folder));
        let lines = read(&path).lines().count();
        if !generated && lines > LINES_MAX {
            broken.push(format!("{} has {lines} lines; split it by nouns", path.display()));
        }
    }
    report(&broken);
}

#[test]
fn words_are_used_only_where_they_belong() {
    let mut broken = Vec::new();
    for path in files("rs") {
        // Tests beside the code may read the clock and the environment.
        let is_test = path.components().any(|part| {
            let part = part.as_os_str().to_string_lossy();
            part == "tests" || part == "tests.rs" || part == "benches"
        });
        let text = read(&path);
        for (word, folders, why) in WORDS {
            let at_home = folders.iter().any(|folder| path.starts_with(folder));
            let excused = is_test && !word.starts_with('#');
            if at_home || excused {
                continue;
            }
            for (index, line) in text.lines().enumerate() {
                if line.contains(word) && !line.trim_start().starts_with("//") {
                    let line = index + 1;
                    broken.push(format!("{}:{line}: '{word}': {why}", path.display()));
                }
            }
        }
    }
    report(&broken);
}

#[test]
fn markdown_links_lead_somewhere() {
    let mut broken = Vec::new();
    for path in files("md") {
        let folder = path.parent().unwrap();
        let text = read(&path);
        let mut code_block = false;
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                code_block = !code_block;
            }
            if code_block {
                continue;
            }
            for target in links(line) {
                let elsewhere = target.contains("://") || target.starts_with("mailto:");
                let file = target.split('#').next().unwrap_or_default();
                if elsewhere || file.is_empty() {
                    continue;
                }
                if !root().join(folder).join(file).exists() {
                    let line = index + 1;
                    broken.push(format!("{}:{line}: there is no {target}", path.display()));
                }
            }
        }
    }
    report(&broken);
}

/// Targets of the links `[text](target)` in one line.
fn links(line: &str) -> Vec<&str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split_whitespace().next().unwrap_or_default())
        .collect()
}

#[test]
fn demo_data_says_where_it_comes_from() {
    let readme = read(Path::new("sql/demo/README.md"));
    for entry in fs::read_dir(root().join("sql/demo/data")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let mentioned = readme.contains(&format!("data/{name}"));
        assert!(mentioned, "sql/demo/README.md does not mention data/{name}");
    }
}
