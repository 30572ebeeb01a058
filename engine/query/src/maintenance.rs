//! OPTIMIZE and VACUUM as their jobs do them: what a worker calls, step by step.
//!
//! It exists so that a worker can stop between two steps, and so that what is checked before a job is
//! queued is checked by the code that does it. It never waits for a job and never knows one.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use catalog::{Catalog, error::CatalogError, jobs::JobFilter};
use datafusion::common::ToDFSchema;
use lake::{
    At, Optimize, Optimizing, Pins, Snapshot, StageProgress, Staged, Vacuum, VacuumProgress,
    Vacuumed,
};
use model::{
    id::GraphId,
    job::{JobState, PinnedInput},
    object::Object,
    work::{OptimizeWork, VacuumWork, Work},
};

use crate::{
    clustering,
    command::{show::delta_location_of, target::physical_of},
    error::QueryError,
    expect::{quarantine_app_id, quarantine_location},
    numbers,
    queries::{Inner, Queries},
};

impl Queries {
    /// Decides which files of the object's newest version are to be put together, and how.
    ///
    /// `progress` counts what is staged from then on.
    pub async fn plan_optimize(
        &self,
        object: &Object,
        work: &OptimizeWork,
        progress: Arc<StageProgress>,
    ) -> Result<Optimizing, QueryError> {
        let (inner, work) = (Arc::clone(&self.inner), work.clone());
        let (object, location) = (object.clone(), delta_location_of(object)?);
        let planning = self.inner.options.cpu.spawn(async move {
            let lake = &inner.options.lake;
            let base = lake.snapshot(&location, At::Latest).await?;
            let optimize = optimize(&inner, &object, base, &work, progress)?;
            Ok::<_, QueryError>(lake.plan_optimize(optimize).await?)
        });
        planning.await?
    }

    /// Writes the files of the next commit where queries run; none when nothing is left to do.
    /// Dropping the future deletes what it has written.
    pub async fn stage_optimize(
        &self,
        mut optimizing: Optimizing,
    ) -> Result<(Optimizing, Option<Staged>), QueryError> {
        let staging = self.inner.options.cpu.spawn(async move {
            let staged = optimizing.stage().await?;
            Ok::<_, QueryError>((optimizing, staged))
        });
        staging.await?
    }

    /// Deletes files of the object's table that nobody needs. Dropping the future ends it between two
    /// files; no version within the retention notices.
    pub async fn vacuum(
        &self,
        object: &Object,
        work: &VacuumWork,
        progress: Arc<VacuumProgress>,
    ) -> Result<Vacuumed, QueryError> {
        let inner = Arc::clone(&self.inner);
        let (location, vacuum) = (delta_location_of(object)?, vacuum(work));
        let object = object.clone();
        let deleting = self
            .inner
            .control()
            .spawn(async move { vacuumed(&inner, &object, &location, vacuum, &progress).await });
        deleting.await?
    }
}

/// Deletes files of an object's table, and of the quarantine beside it, that nobody needs.
pub(crate) async fn vacuumed(
    inner: &Inner,
    object: &Object,
    location: &str,
    vacuum: Vacuum,
    progress: &VacuumProgress,
) -> Result<Vacuumed, QueryError> {
    let lake = &inner.options.lake;
    // Asked before something is deleted.
    let aside = quarantine_of(inner, object, &vacuum).await?;
    let vacuum = Vacuum { keep: pinned_versions(inner, object).await?, ..vacuum };
    let mut done = lake.vacuum_counted(location, &vacuum, progress).await?;
    let Some((location, vacuum)) = aside else { return Ok(done) };
    let more = lake.vacuum_counted(&location, &vacuum, progress).await?;
    let folder = location.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    done.files.extend(more.files.iter().map(|file| format!("../{folder}/{file}")));
    done.bytes += more.bytes;
    done.log_files += more.log_files;
    Ok(done)
}

/// Where the quarantine of a transform lies, if it has one, and what of it may go: as the transform's
/// table, but nothing of the version that belongs to it.
async fn quarantine_of(
    inner: &Inner,
    object: &Object,
    vacuum: &Vacuum,
) -> Result<Option<(String, Vacuum)>, QueryError> {
    let Some(transform) = object.transform() else { return Ok(None) };
    let lake = &inner.options.lake;
    let location = quarantine_location(&transform.location);
    if !lake.exists(&transform.location).await? || !lake.exists(&location).await? {
        return Ok(None);
    }
    let table = lake.snapshot(&transform.location, At::Latest).await?;
    let quarantine = lake.snapshot(&location, At::Latest).await?;
    let noted = table.txn_version(&quarantine_app_id(object.id)).await?;
    let retain = vacuum.retain.unwrap_or_else(|| table.deleted_files_stay());
    let retain = Some(retain.max(quarantine.deleted_files_stay()));
    Ok(Some((location, Vacuum { retain, keep: noted.into_iter().collect(), ..vacuum.clone() })))
}

/// What a vacuum was asked to do; which versions stay is not known yet.
pub(crate) fn vacuum(work: &VacuumWork) -> Vacuum {
    let retain = work.retain_ms.map(Duration::from_millis);
    Vacuum { full: work.full, retain, dry_run: false, keep: Vec::new() }
}

/// Plans an OPTIMIZE for a version of the object's table; what it cannot do is refused.
pub(crate) fn optimize(
    inner: &Inner,
    object: &Object,
    base: Arc<Snapshot>,
    work: &OptimizeWork,
    progress: Arc<StageProgress>,
) -> Result<Optimize, QueryError> {
    let OptimizeWork { condition, zorder_by, automatic } = work;
    Optimize::check(&base)?;
    let (clause, order_by) = match zorder_by.as_slice() {
        [] => ("CLUSTER BY", clustering::columns(object, &base)?),
        said => ("ZORDER BY", said.to_vec()),
    };
    clustering::check_order(clause, &order_by, &base.schema(), base.partitioned_by())?;
    let state = inner.state("main");
    let mut partitions = None;
    if let Some(text) = condition {
        let schema = base.schema().to_dfschema()?;
        let expr = numbers::expression(&state, text, &schema)?;
        let other = expr
            .column_refs()
            .into_iter()
            .find(|column| !base.partitioned_by().contains(&column.name));
        if let Some(column) = other {
            return Err(QueryError::Invalid(format!(
                "OPTIMIZE … WHERE chooses partitions, and the table is not partitioned by '{}'",
                column.name
            )));
        }
        partitions = Some(physical_of(&state, expr, &schema)?);
    }
    Ok(Optimize {
        base,
        partitions,
        condition: condition.clone(),
        zorder_by: order_by,
        automatic: *automatic,
        task: state.task_ctx(),
        progress,
    })
}

/// What the catalog knows of versions that are still needed.
pub(crate) struct CatalogPins {
    pub(crate) catalog: Arc<dyn Catalog>,
}

#[async_trait]
impl Pins for CatalogPins {
    async fn versions(
        &self,
        table_id: &str,
    ) -> Result<Vec<i64>, Box<dyn std::error::Error + Send + Sync>> {
        let pinned = open_inputs(self.catalog.as_ref()).await?;
        let of_table = pinned.into_iter().filter(|input| input.delta_table_id == table_id);
        Ok(of_table.map(|input| input.version).collect())
    }
}

/// Versions of an object that runs or graph runs which have not ended were pinned to.
pub(crate) async fn pinned_versions(
    inner: &Inner,
    object: &Object,
) -> Result<Vec<i64>, QueryError> {
    let pinned = open_inputs(inner.options.catalog.as_ref()).await?;
    let of_object = pinned.into_iter().filter(|input| input.object == object.id);
    Ok(of_object.map(|input| input.version).collect())
}

/// What runs that have not ended were pinned to, and graph runs of which a job has not ended: those
/// jobs that wait have no run yet.
async fn open_inputs(catalog: &dyn Catalog) -> Result<Vec<PinnedInput>, CatalogError> {
    let open = JobState::ALL.into_iter().filter(|state| !state.is_final());
    let filter = JobFilter { states: Some(open.collect()), ..JobFilter::default() };
    let jobs = catalog.jobs(&filter).await?;
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    // The ranges of a BACKFILL are pinned before they run, and so is what USING INPUTS names.
    let promised = jobs.iter().filter_map(|job| match &job.work {
        Work::Backfill(backfill) => Some(backfill.inputs.clone()),
        Work::At(asked) => Some(asked.at.clone()),
        _ => None,
    });
    let promised: Vec<_> = promised.flatten().collect();
    let graphs: BTreeSet<GraphId> = jobs.iter().filter_map(|job| job.graph).collect();
    let graphs: Vec<_> = graphs.into_iter().collect();
    let of_graphs = catalog.graph_inputs(&graphs).await?.into_iter().map(|(_, input)| input);
    let jobs: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let runs = catalog.runs(Some(&jobs), u32::MAX).await?;
    let runs: Vec<_> = runs.into_iter().map(|run| run.id).collect();
    let of_runs = catalog.run_inputs(&runs).await?.into_iter().map(|(_, input)| input);
    Ok(of_runs.chain(of_graphs).chain(promised).collect())
}
