//! What a commit writes into the log, and whether it still may.
//!
//! It never talks to a store except to read the commits that came in between.

use std::{collections::HashMap, sync::Arc};

use deltalake_core::{
    kernel::{
        Action, Transaction,
        transaction::{CommitData, PROTOCOL, TransactionError},
    },
    protocol::{DeltaOperation, SaveMode},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    commit::CommitInfo,
    edit::Edit,
    error::LakeError,
    protocol::{check_writable, is_append_only},
    snapshot::Snapshot,
    stage::{Effect, Staged, WriteMode},
    stored_path::Spellings,
};

/// Who writes, for the table's history.
const ENGINE: &str = concat!("whimbrel ", env!("CARGO_PKG_VERSION"));

/// Refuses to commit on a table that is no longer what the staged files were made for.
pub(crate) async fn check_base(
    staged: &Staged,
    base: Option<&Arc<Snapshot>>,
) -> Result<(), LakeError> {
    let location = staged.place.text();
    let conflict = |version: i64, why: &'static str| {
        Err(LakeError::Conflict { location: location.clone(), version, why })
    };
    let mode = match &staged.effect {
        Effect::Write(mode) => mode,
        Effect::Edit(edit) => return edit.check_base(staged, base).await,
    };
    match (mode, &staged.base, base) {
        (WriteMode::Create { .. }, _, Some(_)) => Err(LakeError::AlreadyExists { location }),
        (WriteMode::Create { .. } | WriteMode::Replace { .. }, None, None) => Ok(()),
        (WriteMode::Append | WriteMode::Grow | WriteMode::Overwrite, _, None) => {
            Err(LakeError::NotFound { location })
        }
        (_, Some(old), None) => conflict(old.version(), "it was dropped"),
        (_, None, Some(new)) => conflict(new.version(), "it was created"),
        (_, Some(old), Some(new)) if old.table_id() != new.table_id() => {
            conflict(new.version(), "it was dropped and created anew")
        }
        (WriteMode::Append, Some(old), Some(new)) => {
            if same_definition(old, new) {
                Ok(())
            } else {
                conflict(new.version(), "its definition changed")
            }
        }
        (_, Some(old), Some(new)) if old.version() != new.version() => {
            conflict(new.version(), "its rows or its definition changed")
        }
        (WriteMode::Grow | WriteMode::Overwrite | WriteMode::Replace { .. }, Some(_), Some(_)) => {
            Ok(())
        }
    }
}

/// Whether two versions of a table have the same columns, partitioning, properties and features.
pub(crate) fn same_definition(old: &Snapshot, new: &Snapshot) -> bool {
    old.version() == new.version()
        || (old.state().metadata() == new.state().metadata()
            && old.state().protocol() == new.state().protocol())
}

/// The log entry, one action a line.
pub(crate) fn entry(
    staged: &Staged,
    info: &CommitInfo,
    base: Option<&Arc<Snapshot>>,
    commit_id: Uuid,
) -> Result<bytes::Bytes, LakeError> {
    let location = staged.place.text();
    let now_millis = rt::clock::Clock::now(&rt::clock::SystemClock).as_micros() / 1_000;
    let Prepared { operation, named, parameters, mut actions, metrics, blind } =
        match &staged.effect {
            Effect::Write(mode) => write(staged, mode, base, now_millis)?,
            Effect::Edit(edit) => Prepared::of(edit, now_millis),
        };
    actions.extend(staged.adds.iter().cloned().map(Action::Add));
    if let Some(base) = base {
        check_writable(base)?;
        match PROTOCOL.can_commit(base.state(), &actions, &operation) {
            Ok(()) => {}
            Err(TransactionError::DeltaTableAppendOnly) => {
                return Err(LakeError::AppendOnly { location });
            }
            Err(source) => return Err(LakeError::internal("commit", location, source)),
        }
    }
    let mut whimbrel = info.operation_metadata.clone();
    whimbrel.insert("commitId".to_owned(), json!(commit_id.to_string()));
    let mut metadata = HashMap::from([
        ("whimbrel".to_owned(), Value::Object(whimbrel)),
        ("operationMetrics".to_owned(), Value::Object(metrics)),
        ("isBlindAppend".to_owned(), json!(blind)),
    ]);
    if let Some(base) = base {
        metadata.insert("readVersion".to_owned(), json!(base.version()));
    }
    let txns = info
        .txn
        .iter()
        .chain(&info.sources)
        .map(|txn| Transaction::new_with_last_update(&txn.app_id, txn.version, Some(now_millis)))
        .collect();
    let removed = actions.iter().filter_map(|action| match action {
        Action::Remove(remove) => Some(remove.path.as_str()),
        _ => None,
    });
    let spellings = match base {
        Some(base) => Spellings::of(base, removed)?,
        None => Spellings::default(),
    };
    let bytes = CommitData::new(actions, operation, metadata, txns)
        .get_bytes()
        .map_err(|source| LakeError::internal("write the log entry", &location, source))?;
    finished(&bytes, (named, &parameters), &spellings)
        .map_err(|source| LakeError::internal("write the log entry", location, source))
}

/// The entry with what the library cannot be told: the name of the writer, parameters that it does
/// not know, and paths as they were spelled before.
fn finished(
    entry: &[u8],
    (named, parameters): (Option<&str>, &Map<String, Value>),
    spellings: &Spellings,
) -> serde_json::Result<bytes::Bytes> {
    let mut finished = Vec::with_capacity(entry.len());
    for line in entry.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        if !finished.is_empty() {
            finished.push(b'\n');
        }
        let is = |kind: &str| line[1..].starts_with(format!("\"{kind}\"").as_bytes());
        if !is("commitInfo") && (spellings.is_empty() || !is("remove")) {
            finished.extend_from_slice(line);
            continue;
        }
        let mut action: Value = serde_json::from_slice(line)?;
        if let Some(info) = action.get_mut("commitInfo").and_then(Value::as_object_mut) {
            info.insert("engineInfo".to_owned(), json!(ENGINE));
            info.extend(named.map(|named| ("operation".to_owned(), json!(named))));
            let known = info.entry("operationParameters").or_insert_with(|| json!({}));
            if let Some(known) = known.as_object_mut() {
                known.extend(parameters.clone());
            }
        }
        if let Some(remove) = action.get_mut("remove") {
            spellings.correct(remove);
        }
        serde_json::to_writer(&mut finished, &action)?;
    }
    Ok(finished.into())
}

struct Prepared {
    operation: DeltaOperation,
    named: Option<&'static str>,
    parameters: Map<String, Value>,
    actions: Vec<Action>,
    metrics: Map<String, Value>,
    blind: bool,
}

impl Prepared {
    fn of(edit: &Edit, now_millis: i64) -> Self {
        let mut actions: Vec<Action> = Vec::new();
        actions.extend(edit.protocol.clone().map(Action::Protocol));
        actions.extend(edit.metadata.clone().map(Action::Metadata));
        for remove in &edit.removes {
            let mut remove = remove.clone();
            remove.deletion_timestamp = Some(now_millis);
            actions.push(Action::Remove(remove));
        }
        actions.extend(edit.feed.iter().cloned().map(Action::Cdc));
        Self {
            operation: edit.operation.clone(),
            named: edit.named,
            parameters: edit.parameters.clone(),
            actions,
            metrics: edit.metrics.clone(),
            blind: false,
        }
    }
}

fn write(
    staged: &Staged,
    mode: &WriteMode,
    base: Option<&Arc<Snapshot>>,
    now_millis: i64,
) -> Result<Prepared, LakeError> {
    let location = staged.place.text();
    let mut actions: Vec<Action> = Vec::new();
    let appends = matches!(mode, WriteMode::Append | WriteMode::Grow);
    let mut operation = DeltaOperation::Write {
        mode: if appends { SaveMode::Append } else { SaveMode::Overwrite },
        partition_by: base
            .map(|base| base.partitioned_by().to_vec())
            .filter(|columns| !columns.is_empty()),
        predicate: None,
    };
    if let Some(declaration) = mode.declaration(&location, &staged.schema) {
        match base {
            None => {
                let (protocol, metadata) =
                    (declaration.protocol()?, declaration.metadata(now_millis)?);
                operation = DeltaOperation::Create {
                    mode: SaveMode::ErrorIfExists,
                    location: staged.place.url.clone(),
                    protocol: protocol.clone(),
                    metadata: metadata.clone(),
                };
                actions.extend([Action::Protocol(protocol), Action::Metadata(metadata)]);
            }
            Some(base) => {
                actions.extend(declaration.protocol_after(base)?.map(Action::Protocol));
                actions.extend(declaration.metadata_after(base)?.map(Action::Metadata));
            }
        }
    }
    let mut removed = 0_u64;
    if let (Some(base), false) = (base, appends) {
        if is_append_only(base) {
            return Err(LakeError::AppendOnly { location });
        }
        let files = base.state().snapshot().try_log_data().map_err(|source| {
            LakeError::BrokenLog { location: location.clone(), source: Arc::new(source) }
        })?;
        for file in files.iter() {
            removed += 1;
            actions.push(Action::Remove(file.remove_action(true)));
        }
    }
    let metrics = [
        ("numFiles", staged.adds.len() as u64),
        ("numOutputRows", staged.rows),
        ("numOutputBytes", staged.bytes()),
        ("numRemovedFiles", removed),
    ];
    let metrics = metrics.into_iter().map(|(key, n)| (key.to_owned(), json!(n.to_string())));
    Ok(Prepared {
        operation,
        named: None,
        parameters: Map::new(),
        actions,
        metrics: metrics.collect(),
        blind: matches!(mode, WriteMode::Append),
    })
}
