//! What one run of a job may take of a process: its profile.
//!
//! It exists beside the bounds of roles (`bounds.rs`), which hold for whoever asks: a profile belongs
//! to the work. Both hold for a run.

use std::sync::Arc;

use datafusion::{
    datasource::{physical_plan::FileScanConfig, source::DataSourceExec},
    execution::{SessionState, SessionStateBuilder},
    physical_plan::ExecutionPlan,
};
use lake::FilesScan;
use model::{profile::Profile, quantity::format_size};

use crate::{bounds, resolve::Resolved};

impl Resolved {
    /// Plans that are made from here on are those of a run of this profile.
    pub(crate) fn within(mut self, profile: &Profile) -> Self {
        self.state = within(self.state, profile);
        self
    }
}

fn within(state: SessionState, profile: &Profile) -> SessionState {
    let mut config = state.config().clone();
    if let Some(partitions) = profile.partitions {
        config = config.with_target_partitions(partitions.max(1));
    }
    let env = Arc::clone(state.runtime_env());
    let env = match profile.memory_max {
        None => env,
        Some(max) => bounds::share(
            &env,
            max,
            format!(
                "the run needs more memory than the {} that the profile '{}' allows one",
                format_size(max),
                profile.name
            ),
        ),
    };
    SessionStateBuilder::new_from_existing(state).with_config(config).with_runtime_env(env).build()
}

/// Bytes of the data files, or of their parts, that a plan reads: whole files where it reads only some
/// of their columns.
pub(crate) fn bytes_to_read(plan: &dyn ExecutionPlan) -> u64 {
    let scan = plan.downcast_ref::<DataSourceExec>();
    let files = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
    let own: u64 = files.map_or(0, |config| {
        let files = config.file_groups.iter().flat_map(|group| group.iter());
        files
            .map(|file| match &file.range {
                Some(part) => u64::try_from(part.end - part.start).unwrap_or(0),
                None => file.object_meta.size,
            })
            .sum()
    });
    let one_by_one = plan.downcast_ref::<FilesScan>().map_or(0, FilesScan::bytes);
    own + one_by_one
        + plan.children().into_iter().map(|child| bytes_to_read(child.as_ref())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use datafusion::{
        execution::memory_pool::MemoryConsumer,
        prelude::{ParquetReadOptions, SessionContext},
    };

    use super::*;

    #[test]
    fn a_run_has_the_parts_and_the_memory_of_its_profile() {
        let profile =
            Profile { memory_max: Some(1_000), partitions: Some(3), ..Profile::unlimited("small") };
        let state = within(SessionContext::new().state(), &profile);
        assert_eq!(state.config().target_partitions(), 3);
        let pool = &state.task_ctx().runtime_env().memory_pool;
        let held = MemoryConsumer::new("sort").register(pool);
        held.try_grow(1_000).unwrap();
        let refused = held.try_grow(1).unwrap_err().to_string();
        assert!(refused.contains("the profile 'small' allows"), "{refused}");
        let free = within(SessionContext::new().state(), &Profile::unlimited("default"));
        let pool = &free.task_ctx().runtime_env().memory_pool;
        MemoryConsumer::new("sort").register(pool).try_grow(1 << 30).unwrap();
    }

    #[tokio::test]
    async fn what_a_plan_reads_is_the_size_of_its_files_however_they_are_parted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let path = path.to_str().unwrap();
        let context = SessionContext::new();
        let rows = context.sql("SELECT value FROM generate_series(1, 100000)").await.unwrap();
        rows.write_parquet(path, Default::default(), None).await.unwrap();
        let size = std::fs::metadata(path).unwrap().len();
        context.register_parquet("t", path, ParquetReadOptions::default()).await.unwrap();
        for (sql, times) in [
            ("SELECT value FROM t", 1),
            ("SELECT a.value FROM t AS a JOIN t AS b ON a.value = b.value", 2),
            ("SELECT 1 AS value", 0),
        ] {
            let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
            assert_eq!(bytes_to_read(plan.as_ref()), times * size, "{sql}");
        }
    }
}
