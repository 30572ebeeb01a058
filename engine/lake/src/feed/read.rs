//! Reads the rows that changed from one version of a table to another.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{ScalarValue, Statistics, config::TableParquetOptions},
    datasource::{
        listing::PartitionedFile,
        object_store::ObjectStoreUrl,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::Result as DataFusionResult,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, empty::EmptyExec, union::UnionExec},
};
use futures::{StreamExt, TryStreamExt, stream};
use model::time::Timestamp;
use object_store::path::Path;
use serde_json::Value;
use url::Position;

use super::{
    CHANGE_TYPE, COMMIT_TIMESTAMP, COMMIT_VERSION,
    told::{Files, Told},
};
use crate::{
    error::LakeError,
    held::HeldFiles,
    hive::partition_value,
    lake::{Lake, told_by_files},
    location::Place,
    log,
    parquet_scan::{nullable, options_of, stored_file},
    protocol::{CHANGE_FEED, is_on},
    scan::TableScan,
    snapshot::{At, Snapshot},
};

const COMMITS_AT_ONCE: usize = 16;

impl Lake {
    /// The rows that changed in the versions from `from` to `to`, both included: the columns of the
    /// table as of `to`, then `_change_type` (`insert`, `delete`, `update_preimage` or
    /// `update_postimage`), `_commit_version` and `_commit_timestamp` (UTC, microseconds).
    ///
    /// A time stands for the first version at or after it as `from`, and for the last one at or
    /// before it as `to`. Reads one commit for each version, and where rows were marked as deleted
    /// beside their files the marks and the files' footers; rows are read when the plan runs.
    /// [`LakeError::NotRecorded`] names the version whose changes cannot be told.
    pub async fn table_changes(
        &self,
        location: &str,
        from: At,
        to: At,
    ) -> Result<Arc<dyn TableProvider>, LakeError> {
        let place = self.place(location)?;
        let snapshot = self.snapshot(location, to).await?;
        let commits: BTreeMap<i64, Timestamp> = log::commits(&place).await?.into_iter().collect();
        let to = snapshot.version();
        let from = match from {
            At::Version(version) => version,
            At::Timestamp(time) => {
                told_by_files(&snapshot)?;
                if let Some((first, committed_at)) = commits.first_key_value()
                    && *first > 0
                    && time < *committed_at
                {
                    let why = "its entry is no longer in the log";
                    let version = first - 1;
                    return Err(LakeError::NotRecorded { location: place.text(), version, why });
                }
                let found = commits.iter().find(|(_, committed_at)| **committed_at >= time);
                found.map_or(to + 1, |(version, _)| *version)
            }
            At::Latest => to,
        };
        let mut changes = TableChanges::new(snapshot)?;
        let entries = stream::iter(from..=to)
            .map(|version| {
                let place = &place;
                async move { Ok::<_, LakeError>((version, log::actions(place, version).await?)) }
            })
            .buffered(COMMITS_AT_ONCE);
        let mut entries = std::pin::pin!(entries);
        while let Some((version, actions)) = entries.try_next().await? {
            let not_recorded =
                |why: &'static str| LakeError::NotRecorded { location: place.text(), version, why };
            let committed_at = commits.get(&version).copied();
            let (Some(actions), Some(committed_at)) = (actions, committed_at) else {
                return Err(not_recorded("its entry is no longer in the log"));
            };
            let commit = Commit { version, committed_at, actions };
            if commit.recorded().next().is_some() {
                changes.add_recorded(&commit)?;
                continue;
            }
            let files = Files::new(commit.changes("remove"), commit.changes("add"));
            let files =
                files.ok_or_else(|| not_recorded("it names a file twice without saying why"))?;
            if files.take_away() && !self.records(&place, version).await? {
                return Err(not_recorded(
                    "it changed rows while delta.enableChangeDataFeed was not 'true'",
                ));
            }
            for told in files.told(&place).await? {
                changes.add_told(&commit, &told, &place).await?;
            }
        }
        Ok(Arc::new(changes.holding(self, &place)))
    }

    /// Whether the table recorded its changes as of a version.
    async fn records(&self, place: &Place, version: i64) -> Result<bool, LakeError> {
        let snapshot = self.cache().version(place, version).await?;
        Ok(is_on(snapshot.properties(), CHANGE_FEED))
    }
}

/// One entry of the log.
struct Commit {
    version: i64,
    committed_at: Timestamp,
    actions: Vec<Value>,
}

impl Commit {
    /// Actions of a kind that change rows.
    fn changes<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        let found = self.actions.iter().filter_map(move |action| action.get(kind));
        found.filter(|file| file.get("dataChange").and_then(Value::as_bool) == Some(true))
    }

    fn recorded(&self) -> impl Iterator<Item = &Value> {
        self.actions.iter().filter_map(|action| action.get("cdc"))
    }
}

/// Rows that changed, for plans.
struct TableChanges {
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
    /// Files that say themselves what happened to each row.
    recorded: Vec<PartitionedFile>,
    /// Files to whose rows, or some of them, the same happened.
    told: Vec<PartitionedFile>,
    /// Their paths in the table's folder.
    paths: Vec<Path>,
    held: Option<Arc<HeldFiles>>,
}

impl fmt::Debug for TableChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableChanges").field("snapshot", &self.snapshot).finish_non_exhaustive()
    }
}

fn change_type() -> FieldRef {
    Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true))
}

fn commit_columns() -> [FieldRef; 2] {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    [
        Arc::new(Field::new(COMMIT_VERSION, DataType::Int64, true)),
        Arc::new(Field::new(COMMIT_TIMESTAMP, time, true)),
    ]
}

impl TableChanges {
    fn new(snapshot: Arc<Snapshot>) -> Result<Self, LakeError> {
        let unsupported = |feature: &str| LakeError::Unsupported {
            location: snapshot.location().to_owned(),
            feature: feature.to_owned(),
            access: "read the changes of",
        };
        let mapped = snapshot.properties().get("delta.columnMapping.mode");
        if mapped.is_some_and(|mode| mode != "none") {
            return Err(unsupported("columnMapping"));
        }
        let mut fields: Vec<FieldRef> = nullable(snapshot.schema().fields());
        for ours in [CHANGE_TYPE, COMMIT_VERSION, COMMIT_TIMESTAMP] {
            if fields.iter().any(|field| field.name() == ours) {
                return Err(unsupported(&format!("a column named '{ours}'")));
            }
        }
        fields.push(change_type());
        fields.extend(commit_columns());
        let schema = Arc::new(Schema::new(fields));
        let (recorded, told, paths) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Self { snapshot, schema, recorded, told, paths, held: None })
    }

    /// No vacuum of this process takes the files while they are to be read.
    fn holding(self, lake: &Lake, place: &Place) -> Self {
        let held = lake.held().hold(place, self.paths.clone());
        Self { held: Some(held), ..self }
    }

    fn add_recorded(&mut self, commit: &Commit) -> Result<(), LakeError> {
        for file in commit.recorded() {
            let (file, within) = self.file(file, None, commit)?;
            self.recorded.push(file);
            self.paths.push(within);
        }
        Ok(())
    }

    async fn add_told(
        &mut self,
        commit: &Commit,
        told: &Told<'_>,
        place: &Place,
    ) -> Result<(), LakeError> {
        let (mut file, within) = self.file(told.file, Some(told.happened), commit)?;
        if let Some(rows) = told.rows.access(place, &within, file.object_meta.size).await? {
            file = file.with_extension(rows);
        }
        self.told.push(file);
        self.paths.push(within);
        Ok(())
    }

    /// A file of the log with the values that all of its rows have, and its path in the table's
    /// folder.
    fn file(
        &self,
        action: &Value,
        happened: Option<&str>,
        commit: &Commit,
    ) -> Result<(PartitionedFile, Path), LakeError> {
        let broken = |why: String| LakeError::BrokenLog {
            location: self.snapshot.location().to_owned(),
            source: Arc::<dyn std::error::Error + Send + Sync>::from(Box::from(format!(
                "version {}: {why}",
                commit.version
            ))),
        };
        let path = action.get("path").and_then(Value::as_str).unwrap_or_default();
        if path.is_empty() || path.contains("://") || path.starts_with('/') {
            return Err(broken(format!("'{path}' is no file of the table's folder")));
        }
        let size = action.get("size").and_then(Value::as_u64);
        let size = size.ok_or_else(|| broken(format!("'{path}' has no size")))?;
        let within = Path::from_url_path(path).map_err(|error| broken(error.to_string()))?;
        let mut values = Vec::new();
        for (name, data_type) in self.partitions() {
            let pointer = action.get("partitionValues").and_then(|values| values.get(&name));
            let value = partition_value(pointer.and_then(Value::as_str), &data_type);
            values.push(value.map_err(|error| broken(format!("partition '{name}': {error}")))?);
        }
        values.extend(happened.map(ScalarValue::from));
        values.push(commit.version.into());
        let micros = commit.committed_at.as_micros();
        values.push(ScalarValue::TimestampMicrosecond(Some(micros), Some("UTC".into())));
        let mut file = stored_file(&self.snapshot, &within, size);
        file.partition_values = values;
        Ok((file, within))
    }

    fn partitions(&self) -> impl Iterator<Item = (String, DataType)> {
        let schema = self.snapshot.schema();
        let names = self.snapshot.partitioned_by().to_vec().into_iter();
        names.filter_map(move |name| {
            let data_type = schema.field_with_name(&name).ok()?.data_type().clone();
            Some((name, data_type))
        })
    }

    /// The columns as a reader of the files has them: stored ones, then values that all rows of a file have.
    fn file_schema(&self, is_recorded: bool) -> TableSchema {
        let partitioned_by = self.snapshot.partitioned_by();
        let fields = nullable(self.snapshot.schema().fields());
        let (mut constant, mut stored): (Vec<_>, Vec<_>) =
            fields.into_iter().partition(|field| partitioned_by.contains(field.name()));
        // In the order of the partitioning, as the values of each file are.
        constant.sort_by_key(|field| partitioned_by.iter().position(|name| name == field.name()));
        if is_recorded {
            stored.push(change_type());
        } else {
            constant.push(change_type());
        }
        constant.extend(commit_columns());
        TableSchema::builder(Arc::new(Schema::new(stored)))
            .with_table_partition_cols(constant)
            .build()
    }

    fn scan_files(
        &self,
        files: &[PartitionedFile],
        is_recorded: bool,
        projection: &[usize],
        options: TableParquetOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let table = self.file_schema(is_recorded);
        let read = projection
            .iter()
            .map(|column| table.table_schema().index_of(self.schema.field(*column).name()))
            .collect::<Result<Vec<usize>, _>>()?;
        let statistics = Statistics::new_unknown(table.table_schema());
        let store = ObjectStoreUrl::parse(&self.snapshot.url()[..Position::BeforePath])?;
        let source = ParquetSource::new(table).with_table_parquet_options(options);
        let config = FileScanConfigBuilder::new(store, Arc::new(source))
            .with_file_groups(vec![FileGroup::new(files.to_vec())])
            .with_statistics(statistics)
            .with_projection_indices(Some(read))?
            .build();
        let scan = TableScan::of_other_files(DataSourceExec::from_data_source(config));
        Ok(Arc::new(match &self.held {
            Some(held) => scan.holding_files(held),
            None => scan,
        }))
    }
}

#[async_trait]
impl TableProvider for TableChanges {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        // The physical plan takes them to the files.
        Ok(vec![TableProviderFilterPushDown::Unsupported; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let projection = projection.unwrap_or(&all);
        self.snapshot.register_stores(session.runtime_env());
        let options = options_of(session);
        let mut plans = Vec::new();
        for (files, is_recorded) in [(&self.recorded, true), (&self.told, false)] {
            if !files.is_empty() {
                plans.push(self.scan_files(files, is_recorded, projection, options.clone())?);
            }
        }
        match (plans.pop(), plans.is_empty()) {
            (None, _) => Ok(Arc::new(EmptyExec::new(Arc::new(self.schema.project(projection)?)))),
            (Some(only), true) => Ok(only),
            (Some(last), false) => {
                plans.push(last);
                UnionExec::try_new(plans)
            }
        }
    }
}
