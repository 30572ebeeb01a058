//! One version of one table: what it looks like, and how plans read it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::{catalog::TableProvider, execution::runtime_env::RuntimeEnv};
use deltalake_core::{
    DeltaTable,
    kernel::EagerSnapshot,
    kernel::engine::arrow_conversion::TryIntoArrow,
    kernel::transaction::{PROTOCOL, TransactionError},
    table::state::DeltaTableState,
};
use model::{object::Properties, time::Timestamp};
use object_store::path::Path;
use serde_json::Value;
use url::Url;

use crate::{
    data_files::DataFiles,
    deletion_vector::DeletionVectors,
    elsewhere,
    error::LakeError,
    location::{Place, Roots},
    log::CommitFile,
    protocol::names,
    provider::{DeltaTableProvider, LiveTableProvider},
    rows::TableRows,
    statistics::LogStatistics,
    stores::Stores,
};

/// Which version of a table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The newest.
    Latest,
    /// Exactly this one.
    Version(i64),
    /// The newest one that was committed at or before this time, by the clock of the store.
    Timestamp(Timestamp),
}

/// One version of a Delta table. Never changes; planning and reading it asks no log.
pub struct Snapshot {
    place: Place,
    roots: Arc<Roots>,
    stores: Arc<Stores>,
    table: DeltaTable,
    state: DeltaTableState,
    commit: Option<CommitFile>,
    version: i64,
    schema: SchemaRef,
    properties: Properties,
    size: OnceLock<Size>,
    statistics: Arc<LogStatistics>,
    files: Arc<EagerSnapshot>,
    are_files_allowed: OnceLock<Result<(), LakeError>>,
    data_files: OnceLock<Result<Arc<DataFiles>, LakeError>>,
    deletion_vectors: OnceLock<Arc<DeletionVectors>>,
}

#[derive(Debug, Clone, Copy)]
struct Size {
    rows: Option<u64>,
    files: usize,
    bytes: u64,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("location", &self.place.url.as_str())
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Takes a loaded table; refuses it when it uses features that cannot be read.
    pub(crate) fn new(
        place: Place,
        (roots, stores): (Arc<Roots>, Arc<Stores>),
        table: DeltaTable,
        commit: Option<CommitFile>,
    ) -> Result<Self, LakeError> {
        let broken = |source: Box<dyn std::error::Error + Send + Sync>| LakeError::BrokenLog {
            location: place.text(),
            source: source.into(),
        };
        let state = table.snapshot().map_err(|e| broken(e.into()))?.clone();
        match PROTOCOL.can_read_from(&state) {
            Ok(()) => {}
            Err(TransactionError::UnsupportedTableFeatures(features)) => {
                return Err(LakeError::Unsupported {
                    location: place.text(),
                    feature: names(&features),
                    access: "read",
                });
            }
            Err(error) => return Err(broken(error.into())),
        }
        let schema: Schema =
            state.schema().as_ref().try_into_arrow().map_err(|e| broken(Box::new(e)))?;
        let properties = state
            .metadata()
            .configuration()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        let version = i64::try_from(state.version()).map_err(|e| broken(Box::new(e)))?;
        let schema = Arc::new(schema);
        let files = Arc::new(state.snapshot().clone());
        Ok(Self {
            statistics: Arc::new(LogStatistics::new(Arc::clone(&files), Arc::clone(&schema))),
            files,
            schema,
            properties,
            version,
            state,
            table,
            commit,
            place,
            roots,
            stores,
            are_files_allowed: OnceLock::new(),
            size: OnceLock::new(),
            data_files: OnceLock::new(),
            deletion_vectors: OnceLock::new(),
        })
    }

    /// Number of the version; the first is 0.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Id of the table in its log: another one after the table was dropped and created anew.
    #[must_use]
    pub fn table_id(&self) -> &str {
        self.state.metadata().id()
    }

    /// Absolute URL of the table's folder, with a trailing slash.
    #[must_use]
    pub fn location(&self) -> &str {
        self.place.url.as_str()
    }

    /// The columns with plain types (`Utf8`, `Binary`; no views, no dictionaries).
    /// A column's comment is its field's metadata `comment`. The provider may return view types.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Columns that the files are sorted into folders by.
    #[must_use]
    pub fn partitioned_by(&self) -> &[String] {
        self.state.metadata().partition_columns()
    }

    /// Rows by the statistics in the log; `None` when a file has none.
    #[must_use]
    pub fn rows(&self) -> Option<u64> {
        self.size().rows
    }

    /// Data files.
    #[must_use]
    pub fn files(&self) -> usize {
        self.size().files
    }

    /// Bytes of all data files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.size().bytes
    }

    /// The table's comment.
    #[must_use]
    pub fn comment(&self) -> Option<&str> {
        self.state.metadata().description().filter(|text| !text.is_empty())
    }

    /// The table's properties, those of Delta (`delta.…`) included.
    #[must_use]
    pub fn properties(&self) -> &Properties {
        &self.properties
    }

    /// Versions of the protocol that a reader and a writer need, and the features that are listed.
    #[must_use]
    pub fn protocol(&self) -> (i32, i32, Vec<String>) {
        let protocol = serde_json::to_value(self.state.protocol()).unwrap_or_default();
        let version = |key: &str| {
            protocol
                .get(key)
                .and_then(Value::as_i64)
                .and_then(|n| i32::try_from(n).ok())
                .unwrap_or(1)
        };
        let mut features: Vec<String> = ["readerFeatures", "writerFeatures"]
            .iter()
            .filter_map(|key| protocol.get(*key)?.as_array())
            .flatten()
            .filter_map(|feature| feature.as_str().map(ToOwned::to_owned))
            .collect();
        features.sort();
        features.dedup();
        (version("minReaderVersion"), version("minWriterVersion"), features)
    }

    /// When this version was committed, by the clock of the store. The time of the table's creation
    /// when the log no longer has the commit.
    #[must_use]
    pub fn committed_at(&self) -> Timestamp {
        if let Some(commit) = &self.commit {
            return commit.modified();
        }
        let millis = self.state.metadata().created_time().unwrap_or(0);
        Timestamp::from_micros(millis.saturating_mul(1000))
    }

    /// A table that plans read this version through. Asks no log, now or when it is planned.
    /// It cannot be written through: every write goes through [`crate::Lake::stage`].
    /// [`LakeError::FileOutsideRoots`] when the log names a file that the lake may not use.
    pub fn provider(self: &Arc<Self>) -> Result<Arc<dyn TableProvider>, LakeError> {
        self.check_files()?;
        if let Some(live) = LiveTableProvider::new(self)? {
            return Ok(Arc::new(live));
        }
        let provider = DeltaTableProvider::new(
            Arc::clone(&self.files),
            Arc::clone(&self.statistics),
            Arc::clone(&self.stores),
            &self.place,
            self.is_as_stored(),
        )?;
        Ok(Arc::new(provider))
    }

    /// A table whose rows say where they are: the columns of the table, then [`crate::FILE_COLUMN`]
    /// and [`crate::ROW_COLUMN`]. [`LakeError::Unsupported`] for tables whose rows cannot be changed.
    pub fn rows_provider(self: &Arc<Self>) -> Result<Arc<dyn TableProvider>, LakeError> {
        Ok(Arc::new(TableRows::new(Arc::clone(self))?))
    }

    /// The data files of this version.
    pub(crate) fn data_files(&self) -> Result<Arc<DataFiles>, LakeError> {
        self.check_files()?;
        let files = self.data_files.get_or_init(|| {
            let snapshot = Arc::clone(&self.files);
            DataFiles::new(&self.place, snapshot, self.schema(), self.partitioned_by())
                .map(Arc::new)
        });
        files.clone()
    }

    /// Whether all files are where the lake may read.
    pub(crate) fn check_files(&self) -> Result<(), LakeError> {
        let allowed = self.are_files_allowed.get_or_init(|| {
            elsewhere::check(&self.place, &self.state, (&self.roots, &self.stores))
        });
        allowed.clone()
    }

    /// Whether the rows are what the files have in the columns of the same names: nothing comes from
    /// folders, from other columns or from marks beside the files.
    fn is_as_stored(&self) -> bool {
        let mapped = self.properties().get("delta.columnMapping.mode");
        self.partitioned_by().is_empty()
            && !self.has_deletion_vectors()
            && mapped.is_none_or(|mode| mode == "none")
    }

    /// Whether rows may be marked as deleted beside their files.
    pub(crate) fn has_deletion_vectors(&self) -> bool {
        self.protocol().2.iter().any(|feature| feature == "deletionVectors")
    }

    /// Rows that are marked as deleted beside their files.
    pub(crate) fn deletion_vectors(&self) -> Result<Arc<DeletionVectors>, LakeError> {
        let files = self.data_files()?;
        let vectors = self
            .deletion_vectors
            .get_or_init(|| Arc::new(DeletionVectors::new(self.place.clone(), &files)));
        Ok(Arc::clone(vectors))
    }

    /// Lives as long as anybody reads this version.
    pub(crate) fn held_version(&self) -> &Arc<EagerSnapshot> {
        &self.files
    }

    pub(crate) fn statistics(&self) -> &LogStatistics {
        &self.statistics
    }

    pub(crate) fn register_stores(&self, env: &RuntimeEnv) {
        self.stores.register(env);
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn url(&self) -> &Url {
        &self.place.url
    }

    /// The table's folder in its store.
    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    pub(crate) fn table(&self) -> &DeltaTable {
        &self.table
    }

    pub(crate) fn state(&self) -> &DeltaTableState {
        &self.state
    }

    /// The commit file of this version as it was when the version was loaded.
    pub(crate) fn commit(&self) -> Option<&CommitFile> {
        self.commit.as_ref()
    }

    /// The newest number that the application committed up to this version.
    pub async fn txn_version(&self, app_id: &str) -> Result<Option<i64>, LakeError> {
        let log_store = self.table.log_store();
        self.state.transaction_version(log_store.as_ref(), app_id).await.map_err(|source| {
            LakeError::Store {
                operation: "read the transactions of the Delta log",
                location: self.place.text(),
                source: Arc::new(source),
                code: model::code::Code::Unavailable,
            }
        })
    }

    fn size(&self) -> Size {
        *self.size.get_or_init(|| {
            let mut size = Size { rows: Some(0), files: 0, bytes: 0 };
            let Ok(files) = self.state.snapshot().try_log_data() else {
                return Size { rows: None, ..size };
            };
            for file in files.iter() {
                let deleted = file
                    .deletion_vector_descriptor()
                    .map_or(0, |vector| u64::try_from(vector.cardinality).unwrap_or(0));
                let rows = file.num_records().map(|rows| (rows as u64).saturating_sub(deleted));
                size.rows = size.rows.zip(rows).map(|(sum, rows)| sum + rows);
                size.files += 1;
                size.bytes += u64::try_from(file.size()).unwrap_or(0);
            }
            size
        })
    }
}
