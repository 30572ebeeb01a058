//! Runs the `.slt` files beside this one over Flight SQL against the real binary.
//!
//! Each file gets a server of its own, and some are run a second time with the lake on the S3 server
//! that `tests/run` has started. A file that begins with `# users: a b` gets a server with these
//! users: the first, an admin, is the default connection, and each further `connection` logs in as the
//! next of them. `{data}` in a file stands for a folder outside the lake that
//! statements may name as a LOCATION. With `WHIMBREL_SLT_COMPLETE=1` the files are rewritten with
//! what the server answers now, for a person to look at; arguments choose files by name.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test program fails by panicking and talks to a terminal"
)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use arrow::{
    array::{Array, ArrayRef, cast::AsArray},
    datatypes::DataType,
    util::display::{ArrayFormatter, FormatOptions},
};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use whimbrel_tests::{
    answer::{Answer, with_offset},
    client::{Client, Failure},
    process::{Options, Server},
};

/// Files that are run on S3 as well: whatever writes, and so goes about the store in a way of its own.
const ON_S3_TOO: [&str; 14] = [
    "change.slt",
    "ddl.slt",
    "external.slt",
    "files.slt",
    "folders.slt",
    "generated.slt",
    "insert.slt",
    "maintain.slt",
    "queries.slt",
    "streaming.slt",
    "table_changes.slt",
    "time_travel.slt",
    "types.slt",
    "views.slt",
];

/// Where the lake of a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Folder,
    S3,
}

struct Database {
    client: Client,
}

#[async_trait]
impl AsyncDB for Database {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    /// Decides between query and update as JDBC does: by the schema of the prepared statement.
    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failure> {
        let prepared = self.client.try_prepare(sql).await?;
        let is_update = prepared.dataset_schema()?.fields().is_empty();
        prepared.close().await?;
        if is_update {
            let count = self.client.try_update(sql).await?;
            return Ok(DBOutput::StatementComplete(u64::try_from(count).unwrap_or(0)));
        }
        let answer = self.client.try_query(sql).await?;
        Ok(DBOutput::Rows { types: types(&answer), rows: rows(&answer) })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "whimbrel"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

fn types(answer: &Answer) -> Vec<DefaultColumnType> {
    answer
        .schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            data_type if data_type.is_integer() => DefaultColumnType::Integer,
            data_type if data_type.is_floating() => DefaultColumnType::FloatingPoint,
            DataType::Decimal128(..) | DataType::Decimal256(..) => DefaultColumnType::FloatingPoint,
            DataType::Utf8 => DefaultColumnType::Text,
            _ => DefaultColumnType::Any,
        })
        .collect()
}

fn rows(answer: &Answer) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for batch in &answer.batches {
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| cell(column, row)).collect());
        }
    }
    rows
}

/// One cell. Text keeps its lines apart with `\n`, and an empty text is told from NULL.
fn cell(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return match texts.value(row) {
            "" => "(empty)".to_owned(),
            text => text.replace('\n', "\\n"),
        };
    }
    let options = FormatOptions::default().with_null("NULL");
    ArrayFormatter::try_new(&with_offset(column), &options).unwrap().value(row).to_string()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("slt")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
}

/// The users of a file.
fn users(text: &str) -> Vec<String> {
    let first = text.lines().next().unwrap_or_default();
    let users = first.strip_prefix("# users: ").unwrap_or_default();
    users.split_whitespace().map(str::to_owned).collect()
}

fn start(store: Store, users: &[String]) -> (Server, String) {
    let options = match store {
        Store::Folder => Options::new(),
        Store::S3 => Options::new().on_s3(),
    };
    let data = options.folder().join("files");
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("people.csv"), "id,name\n1,ann\n2,bob\n").unwrap();
    std::fs::write(data.join("events.json"), "{\"at\": 1, \"what\": \"a\"}\n{\"at\": 2}\n")
        .unwrap();
    let data = data.to_str().unwrap().to_owned();
    for user in users {
        let data_dir = options.data().to_str().unwrap();
        let arguments = ["user", "add", user, "--password-stdin", "--data-dir", data_dir];
        assert!(options.run(&arguments, user).status.success());
    }
    (options.env("WHIMBREL__LAKE__LOCATIONS", data.as_str()).start(), data)
}

async fn run(file: &Path, store: Store) -> Result<(), String> {
    let text = std::fs::read_to_string(file).unwrap();
    let users = users(&text);
    let (server, data) = start(store, &users);
    let address = server.address().to_owned();
    let mut next_user = users.into_iter();
    let mut runner = sqllogictest::Runner::new(move || {
        let (address, user) = (address.clone(), next_user.next());
        async move {
            let client = Client::connect_to(&address).await;
            let client = match user {
                Some(user) => {
                    let pair = STANDARD.encode(format!("{user}:{user}"));
                    client.with_authorization(&format!("Basic {pair}"))
                }
                None => client,
            };
            Ok(Database { client })
        }
    });
    runner.with_column_validator(sqllogictest::strict_column_validator);
    let complete = std::env::var_os("WHIMBREL_SLT_COMPLETE").is_some();
    if complete && !text.contains("{data}") {
        let validator = sqllogictest::default_validator;
        let normalizer = sqllogictest::default_normalizer;
        let columns = sqllogictest::strict_column_validator;
        let updated = runner.update_test_file(file, " ", validator, normalizer, columns).await;
        return updated.map_err(|error| error.to_string());
    }
    let script = text.replace("{data}", &data);
    let name = file.display().to_string();
    let ran = runner.run_script_with_name_async(&script, name).await;
    ran.map_err(|error| format!("{}\n--- the server said:\n{}", error.display(false), server.log()))
}

#[tokio::main]
async fn main() -> ExitCode {
    let chosen: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut found = Vec::new();
    files(&folder(), &mut found);
    found.retain(|file| {
        let name = file.strip_prefix(folder()).unwrap().display().to_string();
        chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()))
    });
    found.sort();
    let has_s3 = std::env::var_os("WHIMBREL_TEST_S3_ENDPOINT").is_some();
    let completes = std::env::var_os("WHIMBREL_SLT_COMPLETE").is_some();
    let mut runs = Vec::new();
    for file in &found {
        runs.push((file, Store::Folder));
        if has_s3 && !completes && ON_S3_TOO.iter().any(|name| file.ends_with(name)) {
            runs.push((file, Store::S3));
        }
    }
    let mut failed = 0;
    for (file, store) in &runs {
        let start = Instant::now();
        let mut name = file.strip_prefix(folder()).unwrap().display().to_string();
        if *store == Store::S3 {
            name.push_str(" on S3");
        }
        match run(file, *store).await {
            Ok(()) => println!("test {name} ... ok ({:.1?})", start.elapsed()),
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED\n{error}");
            }
        }
    }
    let passed = runs.len() - failed;
    println!("{passed} passed, {failed} failed");
    if failed == 0 && (passed > 0 || !chosen.is_empty()) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
