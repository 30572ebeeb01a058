//! What is in a table's folder, compared with what the log names.

use std::collections::{BTreeMap, HashSet};

use arrow::{
    array::{Array, StringArray},
    compute::cast,
    datatypes::SchemaRef,
};
use futures::TryStreamExt;
use object_store::path::Path;
use serde_json::Value;

use super::{Finding, Report, counted, replay::Replay};
use crate::{
    elsewhere::Whereabouts,
    error::LakeError,
    hive::{self, NULL_FOLDER, folder_values},
    lake::Lake,
    location::Place,
    stored_path::decoded,
    vacuum::is_hidden,
};

/// Missing files, files of another size, and files that nobody needs.
pub(super) async fn files(
    lake: &Lake,
    place: &Place,
    replay: &Replay,
    staged: Vec<Path>,
) -> Result<Vec<Finding>, LakeError> {
    let (mut files, mut orphans) = (Report::new("files"), Report::new("orphans"));
    let failed = |source| LakeError::store("list the table's files", place.text(), source);
    let vectors =
        replay.files.values().filter_map(|file| Some((file.vector.as_ref()?.as_ref(), None)));
    let data = replay.files.iter().map(|((path, _), file)| (path.as_str(), file.size));
    let sizes: BTreeMap<&str, Option<u64>> = vectors.chain(data).collect();
    // Of the own folder all the same.
    let within: HashSet<String> = replay
        .elsewhere
        .iter()
        .filter_map(|written| match Whereabouts::of(place, &decoded(written)) {
            Some(Whereabouts::Within(path)) => Some(path.into()),
            Some(Whereabouts::Elsewhere) | None => None,
        })
        .collect();
    let mut there: HashSet<&str> = HashSet::new();
    let (mut count, mut old) = (0_usize, 0_usize);
    let mut unknown: Vec<(Path, u64)> = Vec::new();
    let mut listed = place.store.list(None);
    loop {
        let meta = match listed.try_next().await {
            Ok(Some(meta)) => meta,
            Ok(None) | Err(object_store::Error::NotFound { .. }) => break,
            Err(source) => return Err(failed(source)),
        };
        let path = meta.location.as_ref();
        if let Some((path, size)) = sizes.get_key_value(path) {
            there.insert(path);
            if size.is_some_and(|size| size != meta.size) {
                files.error(
                    *path,
                    format!(
                        "it has {} bytes, but the log says {}",
                        meta.size,
                        size.unwrap_or_default()
                    ),
                    "bring the file back from a backup: it was cut off or overwritten",
                );
            }
        } else if is_hidden(&meta.location) || meta.size == 0 {
            continue;
        } else if replay.named.contains(path) || within.contains(path) {
            old += 1;
        } else {
            unknown.push((meta.location.clone(), meta.size));
            continue;
        }
        count += 1;
    }
    for path in sizes.keys().filter(|path| !there.contains(**path)) {
        files.error(
            *path,
            "it is not there, so whoever reads its rows fails",
            "bring the file back from a backup, or go back with RESTORE to a version without it",
        );
    }
    let elsewhere = replay.elsewhere.len() - within.len();
    if elsewhere > 0 {
        let problem = format!("not looked at: {}", counted(elsewhere, "file"));
        files.notice("files elsewhere", problem, "look over the table that they belong to");
    }
    if !within.is_empty() {
        let problem = format!(
            "not compared with the log: {} that it names by absolute paths",
            counted(within.len(), "file")
        );
        files.notice("files by other names", problem, "OPTIMIZE or a change gives them plain ones");
    }
    // What was committed or staged while the folder was listed is no orphan.
    let mut spared = replay.later_files(place).await?;
    spared.extend(staged.into_iter().chain(lake.staged_files(place)).map(String::from));
    unknown.retain(|(path, _)| !spared.contains(path.as_ref()));
    if !replay.complete && !unknown.is_empty() {
        let problem = format!(
            "not looked at: the log is broken, and does not name {} that are there",
            counted(unknown.len(), "file")
        );
        orphans.notice("", problem, "repair the log first");
        unknown.clear();
    }
    let wasted: u64 = unknown.iter().map(|(_, size)| size).sum();
    for (path, size) in &unknown {
        orphans.notice(
            path.as_ref(),
            format!(
                "no version in the log names it; it takes {size} bytes of {wasted} of this kind"
            ),
            "VACUUM … FULL deletes it when it is older than the table's retention; \
             another process may be writing it right now",
        );
    }
    let mut findings = files.finish(&counted(sizes.len(), "file"));
    let looked_at = format!("{}, {old} of them only for older versions", counted(count, "file"));
    findings.extend(orphans.finish(&looked_at));
    Ok(findings)
}

/// Partition values against the table's columns and the folders that the files are in.
pub(super) fn partitions(replay: &Replay, schema: Option<&SchemaRef>) -> Vec<Finding> {
    let mut report = Report::new("partitions");
    let columns = &replay.partitioned_by;
    if columns.is_empty() {
        return report.finish("the table is not partitioned");
    }
    if replay.mapped {
        report.notice("", "not looked at: the table maps column names", "other engines can look");
        return report.finish("");
    }
    let may_be_empty = |column: &str| {
        let field = schema.and_then(|schema| schema.field_with_name(column).ok());
        field.is_some_and(|field| hive::may_be_empty(field.data_type()))
    };
    for ((path, _), file) in &replay.files {
        for column in columns {
            let value = match file.partition_values.get(column) {
                Some(Value::Null) => None,
                Some(Value::String(text)) if text.is_empty() && !may_be_empty(column) => None,
                Some(Value::String(text)) => Some(text.as_str()),
                Some(_) | None => {
                    report.error(
                        path,
                        format!(
                            "the log does not say its value of the partition column '{column}'"
                        ),
                        super::replay::LOG_ADVICE,
                    );
                    continue;
                }
            };
            let field = schema.and_then(|schema| schema.field_with_name(column).ok());
            let typed = |text: &str| {
                let text = StringArray::from(vec![text]);
                field.and_then(|field| cast(&text, field.data_type()).ok())
            };
            let parsed = value.and_then(typed);
            let is_no_value = parsed.as_ref().is_some_and(|parsed| parsed.null_count() > 0);
            if let (true, Some(field), Some(text)) = (is_no_value, field, value) {
                report.error(
                    path,
                    format!("its value '{text}' of '{column}' is no {}", field.data_type()),
                    super::replay::LOG_ADVICE,
                );
            }
            let mut folders = folder_values(path).into_iter();
            let Some((_, folder)) = folders.find(|(name, _)| name == column) else { continue };
            // A value can be spelled in several ways, a time for one.
            let same = folder.as_deref().and_then(typed).zip(parsed);
            let is_same = same.is_some_and(|(folder, said)| {
                folder.null_count() == 0 && folder.to_data() == said.to_data()
            });
            if folder.as_deref() != value && !is_same {
                let folder = folder.as_deref().unwrap_or(NULL_FOLDER);
                let said = value.unwrap_or("NULL");
                report.warning(
                    path,
                    format!("its folder says {column}={folder}, but the log says '{said}'"),
                    "the log counts; readers of the folder alone see another value",
                );
            }
        }
        if let Some(other) = file.partition_values.keys().find(|key| !columns.contains(key)) {
            report.warning(
                path,
                format!("the log has a value of '{other}', which the table is not partitioned by"),
                "nothing: readers leave it alone",
            );
        }
    }
    let files = counted(replay.files.len(), "file");
    report.finish(&format!("{files} by {}", columns.join(", ")))
}
