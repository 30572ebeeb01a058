//! Which Delta features and properties we write, and the actions that declare a table.

use std::{collections::BTreeSet, time::Duration};

use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use deltalake_core::kernel::{
    Metadata, Protocol,
    transaction::{PROTOCOL, TransactionError},
};
use model::object::Properties;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    change::CHANGE_COLUMN,
    check::CONSTRAINT_PREFIX,
    codec,
    error::{FEATURES_BETWEEN, LakeError},
    feed::{CHANGE_TYPE, COMMIT_TIMESTAMP, COMMIT_VERSION},
    location::Place,
    log,
    rows::{FILE_COLUMN, ROW_COLUMN},
    schema::{GENERATED, generated, kernel_schema},
    snapshot::Snapshot,
};

/// Properties of Delta that may be set; others would need features that we do not write.
const DELTA_PROPERTIES: [&str; 12] = [
    "delta.appendOnly",
    "delta.autoOptimize.autoCompact",
    "delta.checkpointInterval",
    "delta.dataSkippingNumIndexedCols",
    "delta.dataSkippingStatsColumns",
    "delta.deletedFileRetentionDuration",
    "delta.enableChangeDataFeed",
    "delta.enableExpiredLogCleanup",
    "delta.isolationLevel",
    "delta.logRetentionDuration",
    codec::CODEC,
    "delta.targetFileSize",
];
/// Whether commits record which rows changed.
pub(crate) const IN_COMMIT_TIMESTAMPS: &str = "delta.enableInCommitTimestamps";
pub(crate) const CHANGE_FEED: &str = "delta.enableChangeDataFeed";
const STATISTICS_COLUMNS: &str = "delta.dataSkippingStatsColumns";
/// Columns that readers of the changes get beside those of the table.
const OF_FEED: [&str; 3] = [CHANGE_TYPE, COMMIT_VERSION, COMMIT_TIMESTAMP];
/// The writer version that lists its features.
const LISTED_SINCE: i64 = 7;

/// A feature that a writer has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Feature {
    name: &'static str,
    /// The writer version that has it.
    since: i64,
}

impl Feature {
    const CHECK_CONSTRAINTS: Self = Self { name: "checkConstraints", since: 3 };
    const CHANGE_FEED: Self = Self { name: "changeDataFeed", since: 4 };
    const GENERATED_COLUMNS: Self = Self { name: "generatedColumns", since: 4 };
    const TIMESTAMP_NTZ: Self = Self { name: "timestampNtz", since: LISTED_SINCE };
}

/// Whether a property is `true`.
pub(crate) fn is_on(properties: &Properties, key: &str) -> bool {
    properties.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// Whether a property is `false`.
pub(crate) fn is_off(properties: &Properties, key: &str) -> bool {
    properties.get(key).is_some_and(|value| value.eq_ignore_ascii_case("false"))
}

/// What a table is declared to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declaration<'a> {
    pub(crate) location: &'a str,
    pub(crate) schema: &'a SchemaRef,
    pub(crate) partitioned_by: &'a [String],
    pub(crate) comment: Option<&'a str>,
    pub(crate) properties: &'a Properties,
}

impl Declaration<'_> {
    /// Refuses what no table can be, and names that no new column may have.
    pub(crate) fn check(&self) -> Result<(), LakeError> {
        self.check_definition()?;
        match reserved(self.schema, self.properties) {
            Some((column, why)) => Err(LakeError::Column {
                location: self.location.to_owned(),
                column: column.to_owned(),
                why: why.to_owned(),
            }),
            None => Ok(()),
        }
    }

    /// Refuses what no table can be.
    pub(crate) fn check_definition(&self) -> Result<(), LakeError> {
        let column = |column: &str, why: &str| LakeError::Column {
            location: self.location.to_owned(),
            column: column.to_owned(),
            why: why.to_owned(),
        };
        for (index, name) in self.partitioned_by.iter().enumerate() {
            let Ok(field) = self.schema.field_with_name(name) else {
                return Err(column(name, "the table is partitioned by it but has no such column"));
            };
            if field.data_type().is_nested() {
                return Err(column(
                    name,
                    "a table cannot be partitioned by lists, structs or maps",
                ));
            }
            if is_bytes(field.data_type()) {
                return Err(column(
                    name,
                    "a table cannot be partitioned by BYTEA: the log has such values as text",
                ));
            }
            if self.partitioned_by[..index].contains(name) {
                return Err(column(name, "the table is partitioned by it twice"));
            }
        }
        if self.partitioned_by.len() == self.schema.fields().len() {
            let name = self.partitioned_by.first().map_or("", String::as_str);
            return Err(column(name, "a table needs a column that it is not partitioned by"));
        }
        for (key, value) in self.properties {
            let lower = key.to_ascii_lowercase();
            let of_delta = lower.starts_with("delta.") || lower.starts_with("delta-rs.");
            let known =
                DELTA_PROPERTIES.contains(&key.as_str()) || key.starts_with(CONSTRAINT_PREFIX);
            if of_delta && !known {
                return Err(LakeError::Property {
                    location: self.location.to_owned(),
                    key: key.clone(),
                    why: format!("is not supported; known are {}", DELTA_PROPERTIES.join(", ")),
                });
            }
            check_value(self.location, key, value)?;
            let unknown = (key == STATISTICS_COLUMNS).then(|| self.unknown_column(value)).flatten();
            if let Some(name) = unknown {
                return Err(LakeError::Property {
                    location: self.location.to_owned(),
                    key: key.clone(),
                    why: format!("names columns of the table, and it has no column '{name}'"),
                });
            }
        }
        Ok(())
    }

    /// The first of these names, with commas between them, that is no column nor in one.
    fn unknown_column<'b>(&self, names: &'b str) -> Option<&'b str> {
        let mut names = names.split(',').map(|name| name.trim().trim_matches('`'));
        names.find(|name| {
            let outermost = name.split('.').next().unwrap_or(name);
            ![name, outermost].iter().any(|name| self.schema.field_with_name(name).is_ok())
        })
    }

    /// The metadata action of a new table.
    pub(crate) fn metadata(&self, now_millis: i64) -> Result<Metadata, LakeError> {
        self.metadata_with(&Uuid::new_v4().to_string(), now_millis)
    }

    /// The metadata action that turns the table of `base` into this; `None` when it is this already.
    pub(crate) fn metadata_after(&self, base: &Snapshot) -> Result<Option<Metadata>, LakeError> {
        let old = base.state().metadata();
        let new = self.metadata_with(old.id(), old.created_time().unwrap_or(0))?;
        let same = old.schema_string() == new.schema_string()
            && old.partition_columns() == new.partition_columns()
            && old.configuration() == new.configuration()
            && old.description().unwrap_or("") == new.description().unwrap_or("");
        Ok((!same).then_some(new))
    }

    fn metadata_with(&self, id: &str, created_millis: i64) -> Result<Metadata, LakeError> {
        let internal = |e| LakeError::internal("write table metadata", self.location, e);
        let schema = kernel_schema(self.location, self.schema)?;
        let value = json!({
            "id": id,
            "name": null,
            "description": self.comment,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": serde_json::to_string(&schema).map_err(internal)?,
            "partitionColumns": self.partitioned_by,
            "configuration": self.properties,
            "createdTime": created_millis,
        });
        serde_json::from_value(value).map_err(internal)
    }

    /// The protocol action of a new table: the oldest one that can hold it.
    pub(crate) fn protocol(&self) -> Result<Protocol, LakeError> {
        let needed = self.needed_features();
        let value = if needed.contains(&Feature::TIMESTAMP_NTZ) {
            let names = needed.iter().map(|feature| feature.name);
            let features: Vec<&str> =
                ["appendOnly", "invariants"].into_iter().chain(names).collect();
            json!({
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": [Feature::TIMESTAMP_NTZ.name],
                "writerFeatures": features,
            })
        } else {
            let writer = needed.iter().map(|feature| feature.since).max().unwrap_or(2);
            json!({ "minReaderVersion": 1, "minWriterVersion": writer })
        };
        self.parse_protocol(value)
    }

    /// The protocol action that the table of `base` needs to become this, if any.
    pub(crate) fn protocol_after(&self, base: &Snapshot) -> Result<Option<Protocol>, LakeError> {
        let old = base.state().protocol();
        let old: Value = serde_json::to_value(old)
            .map_err(|e| LakeError::internal("read the table protocol", self.location, e))?;
        let names = |key: &str| -> BTreeSet<String> {
            let list = old.get(key).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).map(ToOwned::to_owned).collect()
        };
        let version = |key: &str| old.get(key).and_then(Value::as_i64).unwrap_or(1);
        let (mut reader, mut writer) = (names("readerFeatures"), names("writerFeatures"));
        let listed = version("minWriterVersion") >= LISTED_SINCE;
        let mut missing = self.needed_features();
        missing.retain(|feature| {
            if listed {
                !writer.contains(feature.name)
            } else {
                version("minWriterVersion") < feature.since
            }
        });
        let Some(newest) = missing.iter().map(|feature| feature.since).max() else {
            return Ok(None);
        };
        let needs_ntz = missing.contains(&Feature::TIMESTAMP_NTZ);
        if !needs_ntz && !listed {
            return self
                .parse_protocol(json!({
                    "minReaderVersion": version("minReaderVersion"),
                    "minWriterVersion": newest,
                }))
                .map(Some);
        }
        writer.extend(missing.iter().map(|feature| feature.name.to_owned()));
        if !needs_ntz {
            let mut value = old.clone();
            if let Some(map) = value.as_object_mut() {
                map.insert("writerFeatures".to_owned(), json!(writer));
            }
            return self.parse_protocol(value).map(Some);
        }
        // Lists of features replace the version numbers, so what a number meant is written out.
        if !listed {
            let implied: [(i64, &[&str]); 5] = [
                (2, &["appendOnly", "invariants"]),
                (3, &["checkConstraints"]),
                (4, &["changeDataFeed", "generatedColumns"]),
                (5, &["columnMapping"]),
                (6, &["identityColumns"]),
            ];
            for (since, features) in implied {
                if version("minWriterVersion") >= since {
                    writer.extend(features.iter().map(|feature| (*feature).to_owned()));
                }
            }
        }
        if version("minReaderVersion") == 2 {
            reader.insert("columnMapping".to_owned());
        }
        reader.insert(Feature::TIMESTAMP_NTZ.name.to_owned());
        let value = json!({
            "minReaderVersion": 3,
            "minWriterVersion": LISTED_SINCE,
            "readerFeatures": reader,
            "writerFeatures": writer,
        });
        self.parse_protocol(value).map(Some)
    }

    /// Features that the oldest protocols do not have.
    fn needed_features(&self) -> Vec<Feature> {
        let has_checks = self.properties.keys().any(|key| key.starts_with(CONSTRAINT_PREFIX));
        [
            (has_checks, Feature::CHECK_CONSTRAINTS),
            (is_on(self.properties, CHANGE_FEED), Feature::CHANGE_FEED),
            (generated(self.schema).next().is_some(), Feature::GENERATED_COLUMNS),
            (has_timestamp_ntz(self.schema), Feature::TIMESTAMP_NTZ),
        ]
        .into_iter()
        .filter_map(|(needed, feature)| needed.then_some(feature))
        .collect()
    }

    fn parse_protocol(&self, value: Value) -> Result<Protocol, LakeError> {
        serde_json::from_value(value)
            .map_err(|e| LakeError::internal("write the table protocol", self.location, e))
    }
}

/// Names what a table needs that we cannot read, for a table that could not be loaded.
/// `None` when that is not the reason, or its log no longer tells.
pub(crate) async fn unreadable_feature(place: &Place) -> Result<Option<String>, LakeError> {
    let Some(action) = log::newest_action(place, "protocol").await? else { return Ok(None) };
    let reader = action.get("minReaderVersion").and_then(Value::as_i64).unwrap_or(1);
    if reader > 3 {
        return Ok(Some(format!("reader version {reader}")));
    }
    let Ok(protocol) = serde_json::from_value::<Protocol>(action) else { return Ok(None) };
    match PROTOCOL.can_read_from_protocol(&protocol) {
        Err(TransactionError::UnsupportedTableFeatures(features)) => Ok(Some(names(&features))),
        _ => Ok(None),
    }
}

/// Features in words, as the Delta protocol spells them, in an order that is always the same.
pub(crate) fn names(features: &[impl ToString]) -> String {
    let mut names: Vec<String> = features.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(FEATURES_BETWEEN)
}

/// A column whose name means something else where rows are changed, or where changes are read.
pub(crate) fn reserved<'a>(
    schema: &'a Schema,
    properties: &Properties,
) -> Option<(&'a str, &'static str)> {
    let names = || schema.fields().iter().map(|field| field.name().as_str());
    let of_rows = names().find(|name| [FILE_COLUMN, ROW_COLUMN, CHANGE_COLUMN].contains(name));
    if let Some(name) = of_rows {
        return Some((name, "the name stands for the place of a row; give the column another one"));
    }
    let of_feed = names().find(|name| is_on(properties, CHANGE_FEED) && OF_FEED.contains(name))?;
    Some((
        of_feed,
        "the change feed (delta.enableChangeDataFeed) has a column of that name; give the column \
         another one, or leave the feed off",
    ))
}

/// Engines do not agree on how such values become the text in the log.
fn is_bytes(data_type: &DataType) -> bool {
    use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary};
    matches!(data_type, Binary | BinaryView | LargeBinary | FixedSizeBinary(_))
}

/// Refuses tables whose rules our writers would not keep, naming the feature.
pub(crate) fn check_writable(snapshot: &Snapshot) -> Result<(), LakeError> {
    let unsupported = |feature: String| LakeError::Unsupported {
        location: snapshot.location().to_owned(),
        feature,
        access: "write",
    };
    match PROTOCOL.can_write_to(snapshot.state()) {
        Ok(()) => {}
        Err(TransactionError::UnsupportedTableFeatures(features)) => {
            return Err(unsupported(names(&features)));
        }
        Err(error) => return Err(unsupported(error.to_string())),
    }
    let properties = snapshot.properties();
    let mapping = properties.get("delta.columnMapping.mode");
    if mapping.is_some_and(|mode| !mode.eq_ignore_ascii_case("none")) {
        return Err(unsupported("columnMapping".to_owned()));
    }
    let columns = snapshot.schema();
    let by_bytes = snapshot
        .partitioned_by()
        .iter()
        .find(|name| columns.field_with_name(name).is_ok_and(|field| is_bytes(field.data_type())));
    if let Some(name) = by_bytes {
        return Err(unsupported(format!("partitioning by '{name}', a column of type BYTEA")));
    }
    let schema: Value =
        serde_json::from_str(snapshot.state().metadata().schema_string()).unwrap_or(Value::Null);
    let within = |field: &Value| field.get("type").is_some_and(|inner| has_key(inner, GENERATED));
    if schema.get("fields").and_then(Value::as_array).is_some_and(|all| all.iter().any(within)) {
        return Err(unsupported("generatedColumns within structs".to_owned()));
    }
    for (key, feature) in
        [("delta.invariants", "invariants"), ("delta.identity.start", "identityColumns")]
    {
        if has_key(&schema, key) {
            return Err(unsupported(feature.to_owned()));
        }
    }
    Ok(())
}

/// Whether rows of the table may not be removed.
pub(crate) fn is_append_only(snapshot: &Snapshot) -> bool {
    is_on(snapshot.properties(), "delta.appendOnly")
}

/// Whether a change has to see every row of the versions before its own (`Serializable`); else rows
/// that were appended meanwhile count as later (`WriteSerializable`).
pub(crate) fn is_serializable(snapshot: &Snapshot) -> bool {
    let level = snapshot.properties().get("delta.isolationLevel");
    level.is_some_and(|level| level.eq_ignore_ascii_case("Serializable"))
}

fn check_value(location: &str, key: &str, value: &str) -> Result<(), LakeError> {
    let why = match key {
        "delta.appendOnly"
        | "delta.autoOptimize.autoCompact"
        | "delta.enableChangeDataFeed"
        | "delta.enableExpiredLogCleanup"
            if value.parse::<bool>().is_err() =>
        {
            "must be 'true' or 'false'"
        }
        "delta.checkpointInterval" if !value.parse::<u64>().is_ok_and(|n| n > 0) => {
            "must be a number of commits"
        }
        "delta.targetFileSize" if !value.parse::<u64>().is_ok_and(|n| n > 0) => {
            "must be a number of bytes"
        }
        "delta.dataSkippingNumIndexedCols" if !value.parse::<i64>().is_ok_and(|n| n >= -1) => {
            "must be a number of columns, or -1 for all"
        }
        "delta.isolationLevel" if !matches!(value, "Serializable" | "WriteSerializable") => {
            "must be 'Serializable' or 'WriteSerializable'"
        }
        "delta.logRetentionDuration" | "delta.deletedFileRetentionDuration"
            if !is_interval(value) =>
        {
            "must look like 'interval 30 days'"
        }
        codec::CODEC if codec::named(value).is_none() => codec::MUST_BE,
        _ => return Ok(()),
    };
    Err(LakeError::Property {
        location: location.to_owned(),
        key: key.to_owned(),
        why: format!("{why}, not '{value}'"),
    })
}

fn is_interval(value: &str) -> bool {
    interval(value).is_some()
}

/// The time that a property such as `interval 7 days` means.
pub(crate) fn interval(value: &str) -> Option<Duration> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let ["interval", number, unit] = words.as_slice() else { return None };
    let millis: u64 = match unit.trim_end_matches('s') {
        "millisecond" => 1,
        "second" => 1_000,
        "minute" => 60_000,
        "hour" => 3_600_000,
        "day" => 86_400_000,
        "week" => 604_800_000,
        _ => return None,
    };
    Some(Duration::from_millis(u64::from(number.parse::<u32>().ok()?) * millis))
}

fn has_timestamp_ntz(schema: &Schema) -> bool {
    fn inside(data_type: &DataType) -> bool {
        match data_type {
            DataType::Timestamp(TimeUnit::Microsecond, None) => true,
            DataType::List(item) | DataType::Map(item, _) => inside(item.data_type()),
            DataType::Struct(fields) => fields.iter().any(|field| inside(field.data_type())),
            _ => false,
        }
    }
    schema.fields().iter().any(|field| inside(field.data_type()))
}

fn has_key(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(map) => map.contains_key(key) || map.values().any(|v| has_key(v, key)),
        Value::Array(items) => items.iter().any(|item| has_key(item, key)),
        _ => false,
    }
}
