//! Writes rows of a query to plain files: Parquet, CSV or JSON.
//!
//! The files have no log, so nothing says when they are complete. That is why they go to a place of
//! their own, which has to be empty, and why a statement that fails leaves nothing behind.

use std::sync::Arc;

use arrow::{array::AsArray, datatypes::UInt64Type};
use datafusion::{
    datasource::{
        file_format::FileFormat,
        listing::ListingTableUrl,
        object_store::ObjectStoreUrl,
        physical_plan::{FileGroup, FileOutputMode, FileSinkConfig},
    },
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SessionState, runtime_env::RuntimeEnv},
    logical_expr::dml::InsertOp,
    physical_plan::{
        ExecutionPlan, ExecutionPlanProperties, coalesce_partitions::CoalescePartitionsExec,
        collect,
    },
};
use futures::TryStreamExt;
use model::object::{Properties, TableFormat};
use object_store::{Error as StoreError, ObjectStoreExt};
use url::Url;
use uuid::Uuid;

use crate::{
    error::LakeError,
    files::written_format,
    lake::Lake,
    location::{Place, path_of},
    log,
    stage::StageProgress,
    staging::StagingStore,
};

/// Endings that make a location the name of one file, not of a folder.
const FILE_ENDINGS: [&str; 3] = [".parquet", ".csv", ".json"];

/// Rows that are to become files.
#[derive(Debug, Clone)]
pub struct Copy {
    /// A folder, or one file: an absolute URL whose last name ends in `.parquet`, `.csv` or `.json`,
    /// with the ending of a compression after it if it has one.
    pub location: String,
    /// Makes the rows.
    pub plan: Arc<dyn ExecutionPlan>,
    /// What the plan runs in.
    pub state: Arc<SessionState>,
    /// What the files are.
    pub format: TableFormat,
    /// Options of the format.
    pub options: Properties,
}

impl Lake {
    /// Writes the rows and returns how many there are.
    ///
    /// Call it on the runtime that queries run on. Dropping the future, and every error, deletes what
    /// was written. [`LakeError::NotEmpty`] when something is there, and [`LakeError::Location`] for a
    /// place in a Delta table.
    pub async fn copy(&self, copy: Copy) -> Result<u64, LakeError> {
        let Copy { location, plan, state, format, options } = copy;
        let (file_format, extension) = written_format(&location, format, &options)?;
        let (place, file) = self.empty_place(&location).await?;
        let area = self.staging_area(&place, Arc::new(StageProgress::default()));
        let store = StagingStore::without_log(Arc::clone(&area));
        let env = Arc::clone(state.runtime_env());
        let failed =
            |error| LakeError::Query { location: location.clone(), source: Arc::new(error) };
        let written = async {
            let registered = Registered::new(env, store)?;
            let sink =
                Sink { location: location.clone(), file, extension, plan, format: file_format };
            let plan = sink.plan(&registered.url, &state).await?;
            let counts = collect(plan, state.task_ctx()).await?;
            let counts = counts.iter().filter_map(|batch| {
                let counts = batch.columns().first()?.as_primitive_opt::<UInt64Type>()?;
                Some(counts.values().iter().sum::<u64>())
            });
            Ok(counts.sum())
        };
        let rows = match written.await {
            Ok(rows) => rows,
            Err(error) => {
                area.delete().await;
                return Err(failed(error));
            }
        };
        area.keep();
        Ok(rows)
    }

    /// The folder that files go to, and the name of the file if it is one.
    async fn empty_place(&self, location: &str) -> Result<(Place, Option<String>), LakeError> {
        let whole = self.place(location)?;
        // Whoever could write there would tell the server which files to read.
        if whole.path.parts().any(|part| part.as_ref() == "_delta_log") {
            let why = "a folder of this name holds the log of a Delta table".to_owned();
            return Err(LakeError::Location { text: location.to_owned(), why });
        }
        let not_empty = || LakeError::NotEmpty { location: location.to_owned() };
        let failed = |source| LakeError::store("list the files", location.to_owned(), source);
        // Also finds files in a folder with the name of the file.
        match whole.store.list(None).try_next().await {
            Ok(None) | Err(StoreError::NotFound { .. }) => {}
            Ok(Some(_)) => return Err(not_empty()),
            Err(source) => return Err(failed(source)),
        }
        let name = location.rsplit('/').next().unwrap_or_default();
        let is_file = FILE_ENDINGS.iter().any(|ending| name.contains(ending));
        if name.is_empty() || !is_file {
            self.not_inside_a_table(&whole).await?;
            return Ok((whole, None));
        }
        let url = Url::parse(location).map_err(|error| LakeError::Location {
            text: location.to_owned(),
            why: error.to_string(),
        })?;
        match whole.root_store.head(&path_of(&url)?).await {
            Ok(_) => return Err(not_empty()),
            Err(StoreError::NotFound { .. }) => {}
            Err(source) => return Err(failed(source)),
        }
        let folder = self.place(location.strip_suffix(name).unwrap_or(location))?;
        if log::exists(&folder).await? {
            return Err(LakeError::Location {
                text: location.to_owned(),
                why: format!("it is a part of the Delta table at '{}'", folder.text()),
            });
        }
        self.not_inside_a_table(&folder).await?;
        Ok((folder, Some(name.to_owned())))
    }
}

/// A store that plans find under an address of its own, as long as this lives.
struct Registered {
    env: Arc<RuntimeEnv>,
    url: Url,
}

impl Registered {
    fn new(env: Arc<RuntimeEnv>, store: StagingStore) -> DataFusionResult<Self> {
        let url = format!("whimbrel-copy://{}/", Uuid::new_v4().simple());
        let url = Url::parse(&url).map_err(|error| DataFusionError::External(Box::new(error)))?;
        env.register_object_store(&url, Arc::new(store));
        Ok(Self { env, url })
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Err(error) = self.env.deregister_object_store(&self.url) {
            tracing::debug!(%error, "a store was not known any more");
        }
    }
}

struct Sink {
    location: String,
    file: Option<String>,
    extension: String,
    plan: Arc<dyn ExecutionPlan>,
    format: Arc<dyn FileFormat>,
}

impl Sink {
    /// The plan that writes the rows and answers their number.
    async fn plan(
        self,
        store: &Url,
        state: &SessionState,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let Self { location, file, extension, plan, format } = self;
        let store_url = ObjectStoreUrl::parse(store.as_str())?;
        let (path, file_output_mode) = match file {
            Some(file) => (format!("{store}{file}"), FileOutputMode::SingleFile),
            None => (store.to_string(), FileOutputMode::Directory),
        };
        let plan = match plan.output_partitioning().partition_count() {
            1 => plan,
            _ => Arc::new(CoalescePartitionsExec::new(plan)),
        };
        let config = FileSinkConfig {
            original_url: location,
            object_store_url: store_url,
            file_group: FileGroup::default(),
            table_paths: vec![ListingTableUrl::parse(path)?],
            output_schema: plan.schema(),
            table_partition_cols: Vec::new(),
            insert_op: InsertOp::Append,
            keep_partition_by_columns: false,
            file_extension: extension,
            file_output_mode,
        };
        format.create_writer_physical_plan(plan, state, config, None).await
    }
}
