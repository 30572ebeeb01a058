//! VALIDATE of tables with checkpoints of the second kind (v2), whose files are in sidecars.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, StructArray, new_null_array},
    compute::{concat, concat_batches, filter_record_batch, is_not_null, is_null},
    datatypes::{DataType, Field, Fields, Schema},
};
use parquet::arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder};
use serde_json::{Value, json};

use super::{
    TestLake, latest, read_numbers,
    validating::{commit_file, edit_commit, problems, validate, with_checkpoint},
};
use crate::{Finding, Severity};

const VERSION: i64 = 20;

/// How the file with the names of the sidecars is called and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Parquet,
    Classic,
}

const FORMS: [Form; 3] = [Form::Json, Form::Parquet, Form::Classic];

fn log_file(test: &TestLake, name: &str) -> PathBuf {
    test.path(&format!("t/_delta_log/{name}"))
}

fn main_file(test: &TestLake, form: Form) -> PathBuf {
    let uuid = "161956b5-c6f8-40a0-8d04-3c86bbf6b39f";
    log_file(
        test,
        &match form {
            Form::Json => format!("{VERSION:020}.checkpoint.{uuid}.json"),
            Form::Parquet => format!("{VERSION:020}.checkpoint.{uuid}.parquet"),
            Form::Classic => format!("{VERSION:020}.checkpoint.parquet"),
        },
    )
}

fn write_parquet(path: &Path, rows: &RecordBatch) {
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), rows.schema(), None).unwrap();
    writer.write(rows).unwrap();
    writer.close().unwrap();
}

/// Values of a column beneath so many rows without.
fn below(rows: usize, values: StructArray) -> ArrayRef {
    concat(&[&new_null_array(values.data_type(), rows), &values]).unwrap()
}

/// Two sidecars, with the files of the checkpoint, and the rows that are no files.
fn sidecars(test: &TestLake, first_kind: &Path) -> (Vec<(String, u64)>, RecordBatch) {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(first_kind).unwrap()).unwrap();
    let schema = Arc::clone(reader.schema());
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let all = concat_batches(&schema, &batches).unwrap();
    let add = all.column_by_name("add").unwrap();
    let files = filter_record_batch(&all, &is_not_null(add).unwrap()).unwrap();
    let others = filter_record_batch(&all, &is_null(add).unwrap()).unwrap();
    let files = files.project(&[schema.index_of("add").unwrap()]).unwrap();
    fs::create_dir(log_file(test, "_sidecars")).unwrap();
    let half = files.num_rows() / 2;
    let halves = [files.slice(0, half), files.slice(half, files.num_rows() - half)];
    let written = halves.iter().enumerate().map(|(n, rows)| {
        let name = format!("{VERSION:020}.checkpoint.{:010}.0000000002.some-uuid.parquet", n + 1);
        let path = log_file(test, &format!("_sidecars/{name}"));
        write_parquet(&path, rows);
        (name, fs::metadata(path).unwrap().len())
    });
    (written.collect(), others)
}

/// The rows with those that belong to the second kind below them, as the columns of that kind.
fn with_sidecars(rows: &RecordBatch, sidecars: &[(String, u64)]) -> RecordBatch {
    let of = |fields: Vec<(&str, DataType)>, columns: Vec<ArrayRef>| {
        let fields: Fields =
            fields.into_iter().map(|(name, of)| Field::new(name, of, true)).collect();
        StructArray::new(fields, columns, None)
    };
    let version = Int64Array::from(vec![VERSION]);
    let about = of(vec![("version", DataType::Int64)], vec![Arc::new(version)]);
    let names = StringArray::from_iter_values(sidecars.iter().map(|(name, _)| name));
    let sizes = sidecars.iter().map(|(_, size)| i64::try_from(*size).unwrap());
    let named = of(
        vec![
            ("path", DataType::Utf8),
            ("sizeInBytes", DataType::Int64),
            ("modificationTime", DataType::Int64),
        ],
        vec![
            Arc::new(names),
            Arc::new(Int64Array::from_iter_values(sizes)),
            Arc::new(Int64Array::from_iter_values(sidecars.iter().map(|_| 1))),
        ],
    );
    let count = rows.num_rows() + 1 + named.len();
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        // The first kind has these columns too, without values.
        if ["checkpointMetadata", "sidecar"].contains(&field.name().as_str()) {
            continue;
        }
        let rest = new_null_array(field.data_type(), count - rows.num_rows());
        fields.push(Arc::new(field.as_ref().clone().with_nullable(true)));
        columns.push(concat(&[column, &rest]).unwrap());
    }
    let about = below(rows.num_rows(), about);
    let about = concat(&[&about, &new_null_array(about.data_type(), named.len())]).unwrap();
    let named = below(rows.num_rows() + 1, named);
    for (name, column) in [("checkpointMetadata", about), ("sidecar", named)] {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

/// A table of 22 versions, with a checkpoint of the second kind at the last but one.
async fn second_kind(form: Form) -> (TestLake, String) {
    let (test, table) = with_checkpoint().await;
    let first_kind = main_file(&test, Form::Classic);
    let (sidecars, others) = sidecars(&test, &first_kind);
    fs::remove_file(&first_kind).unwrap();
    let path = main_file(&test, form);
    match form {
        Form::Parquet | Form::Classic => write_parquet(&path, &with_sidecars(&others, &sidecars)),
        Form::Json => {
            let first = fs::read_to_string(commit_file(&test, 0)).unwrap();
            let is_other =
                |line: &&str| line.contains("\"metaData\"") || line.contains("\"protocol\"");
            let mut lines: Vec<String> =
                first.lines().filter(is_other).map(ToOwned::to_owned).collect();
            lines.push(json!({ "checkpointMetadata": { "version": VERSION } }).to_string());
            lines.extend(sidecars.iter().map(|(name, size)| {
                json!({ "sidecar": { "path": name, "sizeInBytes": size, "modificationTime": 1 } })
                    .to_string()
            }));
            fs::write(&path, lines.join("\n")).unwrap();
        }
    }
    (test, table)
}

fn assert_healthy(findings: &[Finding], of: impl std::fmt::Debug) {
    let is_ok = |finding: &Finding| finding.severity == Severity::Ok;
    assert!(findings.iter().all(is_ok), "{of:?}: {findings:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_of_the_second_kind_is_compared_with_the_log() {
    for form in FORMS {
        let (test, table) = second_kind(form).await;
        let findings = validate(&test.other(), &table).await;
        assert_healthy(&findings, form);
        assert_eq!(findings[1].object, "1 checkpoint");
        // One of its sidecars has other files than the commits tell.
        let name = format!("{VERSION:020}.checkpoint.{:010}.0000000002.some-uuid.parquet", 1);
        let (liar, _) = second_kind(form).await;
        let sidecar = format!("_sidecars/{name}");
        fs::copy(log_file(&liar, &sidecar), log_file(&test, &sidecar)).unwrap();
        let found = problems(&test.other(), &table).await;
        for says in [
            "it lacks the files of that version: 10 files",
            "it has too many of the files of that version: 10 files",
        ] {
            assert!(found.iter().any(|p| p.contains(says)), "{form:?}: {found:#?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_begins_with_a_checkpoint_of_the_second_kind_is_looked_over() {
    for form in FORMS {
        let (test, table) = second_kind(form).await;
        for version in 0..VERSION {
            fs::remove_file(commit_file(&test, version)).unwrap();
        }
        assert_eq!(read_numbers(&latest(&test.other(), &table).await).await.len(), 22);
        let findings = validate(&test.other(), &table).await;
        assert_healthy(&findings, form);
        let looked_at: Vec<_> = findings.iter().map(|finding| finding.object.as_str()).collect();
        assert_eq!(looked_at[..3], ["2 commits, versions 20 to 21", "1 checkpoint", "22 files"]);
        assert_eq!(looked_at[5], "row counts of 22 files, values of 22 of 22 files");
        // What it names is looked for like everything else.
        let file = fs::read_dir(test.path("t")).unwrap().map(|entry| entry.unwrap().path());
        let file = file.into_iter().find(|path| path.extension().is_some_and(|e| e == "parquet"));
        fs::remove_file(file.unwrap()).unwrap();
        let found = problems(&test.other(), &table).await;
        assert_eq!(found.len(), 1, "{form:?}: {found:#?}");
        assert!(found[0].contains("it is not there"), "{form:?}: {found:#?}");
        fs::remove_dir_all(log_file(&test, "_sidecars")).unwrap();
        let found = problems(&test.other(), &table).await;
        assert!(found.iter().any(|p| p.contains("its sidecar '0")), "{form:?}: {found:#?}");
        let says = "error log version 0: it is not in the log";
        assert!(found.iter().any(|p| p.starts_with(says)), "{form:?}: {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_checkpoint_of_the_second_kind_is_named() {
    type Edit = fn(&TestLake, &mut Value);
    let cases: [(Edit, &str); 6] = [
        (
            |_, action| {
                if let Some(size) = action.pointer_mut("/sidecar/sizeInBytes") {
                    *size = 7.into();
                }
            },
            "bytes, but the checkpoint says 7",
        ),
        (
            |_, action| {
                if let Some(path) = action.pointer_mut("/sidecar/path") {
                    *path = "elsewhere.parquet".into();
                }
            },
            "its sidecar 'elsewhere.parquet' is not there",
        ),
        (
            |test, action| {
                if let Some(path) = action.pointer("/sidecar/path").and_then(Value::as_str) {
                    let path = log_file(test, &format!("_sidecars/{path}"));
                    let bytes = fs::read(&path).unwrap();
                    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
                }
            },
            "' cannot be read: ",
        ),
        (
            |_, action| {
                if let Some(version) = action.pointer_mut("/checkpointMetadata/version") {
                    *version = 19.into();
                }
            },
            "warning checkpoints checkpoint of version 20: its 'checkpointMetadata' says that it is of version 19",
        ),
        (
            |_, action| {
                if action.get("checkpointMetadata").is_some() {
                    *action = json!({ "txn": { "appId": "x", "version": 1 } });
                }
            },
            "warning checkpoints checkpoint of version 20: it lacks the action 'checkpointMetadata'",
        ),
        (
            |_, action| {
                if action.get("metaData").is_some() {
                    *action = json!({ "txn": { "appId": "x", "version": 1 } });
                }
            },
            "error checkpoints checkpoint of version 20: it lacks the action 'metaData'",
        ),
    ];
    for (edit, says) in cases {
        let (test, table) = second_kind(Form::Json).await;
        edit_commit(&main_file(&test, Form::Json), |action| edit(&test, action));
        let found = problems(&test.other(), &table).await;
        assert!(found.iter().any(|p| p.contains(says)), "{says}: {found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_checkpoints_of_one_version_each_is_looked_into() {
    let (test, table) = second_kind(Form::Json).await;
    let other = log_file(&test, &format!("{VERSION:020}.checkpoint.some-other-uuid.json"));
    fs::copy(main_file(&test, Form::Json), &other).unwrap();
    let findings = validate(&test.other(), &table).await;
    assert_healthy(&findings, "two");
    assert_eq!(findings[1].object, "2 checkpoints");
    let one = fs::read_to_string(&other).unwrap();
    let mut lines: Vec<&str> = one.lines().collect();
    lines.pop();
    fs::write(&other, lines.join("\n")).unwrap();
    for begins_with_it in [false, true] {
        if begins_with_it {
            for version in 0..VERSION {
                fs::remove_file(commit_file(&test, version)).unwrap();
            }
        }
        let found = problems(&test.other(), &table).await;
        let says = format!(
            "error checkpoints checkpoint of version 20, '{VERSION:020}.checkpoint.some-other-uuid.json': \
             it lacks the files of that version: 11 files"
        );
        assert!(found.iter().any(|p| p.starts_with(&says)), "{found:#?}");
    }
}

/// Copies a table that Spark wrote.
fn from_spark(test: &TestLake, name: &str) -> String {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let to = to.join(path.file_name().unwrap());
            match path.is_dir() {
                true => copy(&path, &to),
                false => fs::write(to, fs::read(&path).unwrap()).unwrap(),
            }
        }
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/spark");
    copy(&fixtures.join(name).join("table"), &test.path("t"));
    test.table("t")
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_of_the_second_kind_that_spark_wrote_are_healthy() {
    for (name, is_renamed) in
        [("v2_checkpoint", false), ("v2_checkpoint", true), ("v2_checkpoint_json", false)]
    {
        let test = TestLake::new();
        let table = from_spark(&test, name);
        if is_renamed {
            // The same under the name that the first kind has.
            let log = fs::read_dir(test.path("t/_delta_log")).unwrap();
            let mut log = log.map(|entry| entry.unwrap().path());
            let own = log.find(|path| path.to_string_lossy().contains(".checkpoint.")).unwrap();
            fs::rename(own, log_file(&test, "00000000000000000004.checkpoint.parquet")).unwrap();
        }
        let findings = validate(&test.lake, &table).await;
        assert!(findings.iter().all(|f| f.severity <= Severity::Notice), "{findings:#?}");
        assert_eq!(findings[0].object, "3 commits, versions 4 to 6");
        assert_eq!(findings[1].object, "1 checkpoint");
    }
}
