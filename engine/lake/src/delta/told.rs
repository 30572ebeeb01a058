//! What the commits of a log did to the rows of their table.

use std::sync::Arc;

use arrow::datatypes::Schema;
use deltalake_core::kernel::{StructType, engine::arrow_conversion::TryIntoArrow};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::Value;

use super::OtherCommit;
use crate::{error::LakeError, location::Place, log, snapshot::Snapshot};

const COMMITS_AT_ONCE: usize = 16;
/// What writers call the rows that they changed or took away.
const CHANGED_ROWS: [&str; 4] =
    ["numDeletedRows", "numUpdatedRows", "numTargetRowsDeleted", "numTargetRowsUpdated"];

/// A commit that changed rows.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) version: i64,
    pub(super) adds: Vec<Value>,
    pub(super) removes: Vec<Value>,
    /// Files that say what happened to each row.
    pub(super) recorded: Vec<Value>,
    operation: String,
    rows: Option<u64>,
}

/// What a part of a log says.
pub(super) struct Told {
    /// Commits that changed rows, oldest first.
    pub(super) commits: Vec<Commit>,
    /// Why the files that they name cannot be read as the newest version is.
    pub(super) unfit: Option<String>,
}

impl Commit {
    /// Whether it only brought rows.
    pub(super) fn appends(&self) -> bool {
        let marked = |add: &Value| add.get("deletionVector").is_some_and(Value::is_object);
        self.removes.is_empty() && !self.adds.iter().any(marked)
    }

    pub(super) fn other(&self) -> Option<OtherCommit> {
        let (version, rows) = (self.version, self.rows);
        let operation = self.operation.clone();
        (!self.appends()).then_some(OtherCommit { version, operation, rows })
    }

    /// `None` when it changed no row.
    fn new(version: i64, actions: &mut [Value]) -> Option<Self> {
        let files = |actions: &mut [Value], kind: &str| -> Vec<Value> {
            let files = actions.iter_mut().filter_map(|action| action.get_mut(kind));
            // Only who says so is believed that rows are as they were.
            let files = files.filter(|file| file.get("dataChange") != Some(&Value::Bool(false)));
            files.map(Value::take).collect()
        };
        let (adds, removes) = (files(actions, "add"), files(actions, "remove"));
        // These never count as a change of data: they only repeat what the others say.
        let recorded = actions.iter_mut().filter_map(|action| action.get_mut("cdc"));
        let recorded: Vec<Value> = recorded.map(Value::take).collect();
        if adds.is_empty() && removes.is_empty() && recorded.is_empty() {
            return None;
        }
        let info = actions.iter().find_map(|action| action.get("commitInfo"));
        let operation = info.and_then(|info| info.get("operation")?.as_str()).unwrap_or_default();
        let metrics = info.and_then(|info| info.get("operationMetrics"));
        let counted = |name: &str| match metrics?.get(name)? {
            Value::String(text) => text.parse::<u64>().ok(),
            number => number.as_u64(),
        };
        let counts: Vec<u64> = CHANGED_ROWS.into_iter().filter_map(counted).collect();
        let rows = (!counts.is_empty()).then(|| counts.iter().sum());
        Some(Self { version, adds, removes, recorded, operation: operation.to_owned(), rows })
    }
}

/// Reads the commits after one version, up to another.
pub(super) async fn read(
    place: &Place,
    from: &Arc<Snapshot>,
    to: &Arc<Snapshot>,
) -> Result<Told, LakeError> {
    let schema = to.schema();
    let mut unfit = misfit(&from.schema(), &schema);
    if unfit.is_none() && from.partitioned_by() != to.partitioned_by() {
        unfit = Some("its partitioning is another one".to_owned());
    }
    let versions = from.version() + 1..=to.version();
    let mut entries = std::pin::pin!(
        stream::iter(versions)
            .map(|version| async move { Ok((version, log::actions(place, version).await?)) })
            .buffered(COMMITS_AT_ONCE)
    );
    let mut commits = Vec::new();
    while let Some((version, actions)) = entries.try_next().await? {
        let Some(mut actions) = actions else {
            let why = "its entry is no longer in the log";
            return Err(LakeError::NotRecorded { location: place.text(), version, why });
        };
        for definition in actions.iter().filter_map(|action| action.get("metaData")) {
            let columns = columns_of(definition).map_err(|why| LakeError::BrokenLog {
                location: place.text(),
                source: Arc::<dyn std::error::Error + Send + Sync>::from(Box::from(format!(
                    "version {version}: {why}"
                ))),
            })?;
            unfit = unfit.or_else(|| misfit(&columns, &schema));
            if unfit.is_none() && partitions_of(definition) != to.partitioned_by() {
                unfit = Some(format!("its partitioning was another one at version {version}"));
            }
        }
        commits.extend(Commit::new(version, &mut actions));
    }
    Ok(Told { commits, unfit })
}

/// Whether the columns are the same, in names, types and order.
pub(super) fn same_columns(old: &Schema, new: &Schema) -> bool {
    let same = |(old, new): (&Arc<arrow::datatypes::Field>, &Arc<arrow::datatypes::Field>)| {
        old.name() == new.name() && old.data_type().equals_datatype(new.data_type())
    };
    old.fields().len() == new.fields().len() && old.fields().iter().zip(new.fields()).all(same)
}

/// Whether names of columns in files may be others than those of the table.
pub(super) fn is_mapped(snapshot: &Snapshot) -> bool {
    let mode = snapshot.properties().get("delta.columnMapping.mode");
    mode.is_some_and(|mode| mode != "none")
}

/// Why files with the old columns do not have the new ones; a column that they lack is NULL in them.
fn misfit(old: &Schema, new: &Schema) -> Option<String> {
    old.fields().iter().find_map(|field| match new.field_with_name(field.name()) {
        Err(_) => Some(format!("its column '{}' is no longer there", field.name())),
        Ok(now) if !now.data_type().equals_datatype(field.data_type()) => {
            Some(format!("its column '{}' has another type", field.name()))
        }
        Ok(_) => None,
    })
}

fn columns_of(definition: &Value) -> Result<Schema, String> {
    let text = definition.get("schemaString").and_then(Value::as_str).unwrap_or_default();
    let columns: StructType = serde_json::from_str(text).map_err(|error| error.to_string())?;
    (&columns).try_into_arrow().map_err(|error| error.to_string())
}

fn partitions_of(definition: &Value) -> Vec<String> {
    let names = definition.get("partitionColumns").and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| name.as_str().map(ToOwned::to_owned)).collect()
}
