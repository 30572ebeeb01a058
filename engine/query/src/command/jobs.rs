//! REFRESH and the statements about jobs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    time::Duration,
};

use catalog::jobs::JobFilter;
use dialect::statement::{Along, DropKind, JobStatement, Refresh, RefreshOptions};
use model::{
    id::{GraphId, JobId, ObjectId},
    job::{Job, JobCause, JobState, NewJob},
    name::ObjectName,
    object::{Object, ObjectBody},
    profile::Resources,
    rights::{Privilege, Rights},
    work::{JobKind, Work},
};

use super::{
    approval, notify, parse_job, requests::Asked, resources, show::kind_of, tables::wrong_kind,
};
use crate::{
    authorize::{denied, not_granted},
    error::QueryError,
    queries::{CommandResult, Inner, Queries},
    session::Session,
    system::job_rows,
};

/// How soon it is looked again whether jobs are over: soon at first, since most refreshes with nothing
/// to do are over at once, then with growing pauses.
const POLL_FIRST: Duration = Duration::from_millis(2);
const POLL_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn refresh(
    queries: &Queries,
    session: &Session,
    refresh: &Refresh,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let receiver = refresh.notify.as_deref().map(|url| notify::receiver(inner, url)).transpose()?;
    let graph = Graph::load(inner).await?;
    let mut wanted = BTreeSet::new();
    let mut named = Vec::new();
    for parts in &refresh.names {
        let name = ObjectName::from_parts(parts, session.schema())?;
        let Some(object) = graph.by_name.get(&name) else {
            return Err(inner.missing(session, name).await);
        };
        if object.transform().is_none() {
            let problem = "and only materialized views and streaming tables can be refreshed";
            return Err(wrong_kind(object, problem));
        }
        let said = refresh.kind.filter(|said| *said != DropKind::Table);
        if said.is_some_and(|said| kind_of(said) != object.kind()) {
            let problem = format!("and is refreshed with REFRESH {}", object.kind().as_sql());
            return Err(wrong_kind(object, &problem));
        }
        if wanted.insert(object.id) {
            named.push(object);
        }
    }
    match refresh.along {
        Along::Nothing => {}
        Along::Upstream => graph.extend(&mut wanted, &graph.upstream),
        Along::Downstream => graph.extend(&mut wanted, &graph.downstream()),
    }
    let rights = inner.rights(session.principal()).await?;
    for object in graph.by_name.values().filter(|object| wanted.contains(&object.id)) {
        if !rights.sees(object) {
            return Err(inner.not_found(&rights, object.name.clone()).await);
        }
        if !rights.allows(Privilege::Refresh, object) {
            return Err(not_granted(&rights, Privilege::Refresh, &object.name.to_sql()));
        }
    }
    let asked = Asked::by(queries, session, refresh, &named).await?;
    let jobs = submit(queries, session, &graph, &wanted, asked).await?;
    if let Some(receiver) = receiver {
        notify::keep(inner, session, &jobs, &receiver).await?;
    }
    if !refresh.sync {
        return Ok(CommandResult::rows(job_rows(&jobs)));
    }
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let jobs = wait(inner, &ids, refresh.timeout_ms.map(Duration::from_millis)).await?;
    if let Some(question) = approval::question(inner, &jobs).await? {
        return Err(question);
    }
    match jobs.iter().find(|job| !job.state.is_success()) {
        None => Ok(CommandResult::rows(job_rows(&jobs))),
        Some(job) => Err(unsuccessful(inner, job).await?),
    }
}

/// The error for a refresh that was waited for and did not succeed.
async fn unsuccessful(inner: &Inner, job: &Job) -> Result<QueryError, QueryError> {
    let text = format!(
        "the refresh of '{}' ended {}: {}",
        job.object_name,
        job.state,
        job.error.as_deref().unwrap_or("see system.runs")
    );
    let runs = inner.options.catalog.runs(Some(&[job.id]), u32::MAX).await?;
    let run = runs.into_iter().find(|run| Some(run.id) == job.run);
    Ok(match run.and_then(|run| run.report.broken) {
        Some(promise) if job.state == JobState::Failed => QueryError::JobBroke { promise, text },
        _ => QueryError::JobEnded(text),
    })
}

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    statement: JobStatement,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let catalog = &inner.options.catalog;
    let now = inner.options.clock.now();
    let job = match statement {
        JobStatement::Wait { job, timeout_ms } => {
            let job = one(inner, session, &job).await?;
            let jobs = wait(inner, &[job.id], timeout_ms.map(Duration::from_millis)).await?;
            return Ok(CommandResult::rows(job_rows(&jobs)));
        }
        JobStatement::Cancel { job, reason } => {
            let job = steered(inner, session, &job).await?;
            let job = catalog.cancel(job.id, now).await?;
            tracing::info!(job_id = %job.id, object = %job.object_name, reason = reason.as_deref(), "cancel was asked for");
            job
        }
        JobStatement::Approve { job } => approval::approve(inner, session, &job).await?,
        JobStatement::Retry { job } => {
            let job = steered(inner, session, &job).await?;
            catalog.retry(job.id, now).await?
        }
        JobStatement::RetryFailed { job } => {
            let job = steered(inner, session, &job).await?;
            may_steer_all_of(inner, session, &job).await?;
            let jobs = catalog.retry_failed(job.id, now).await?;
            inner.options.wake.notify_one();
            return Ok(CommandResult::rows(job_rows(&jobs)));
        }
        JobStatement::Show(_) | JobStatement::Describe { .. } => {
            return Err(QueryError::Invalid("the statement is a query: fetch its rows".to_owned()));
        }
    };
    inner.options.wake.notify_one();
    Ok(CommandResult::rows(job_rows(&[job])))
}

impl Queries {
    /// Queues a refresh of each of these transforms. Those that read others of them, directly or
    /// through views, wait for them; the rest run side by side. Several are one graph run, which reads
    /// each source at one version.
    ///
    /// Returns the jobs, upstream first.
    pub async fn submit_graph(
        &self,
        session: &Session,
        objects: &[ObjectId],
        cause: JobCause,
    ) -> Result<Vec<Job>, QueryError> {
        let graph = Graph::load(&self.inner).await?;
        let wanted = objects.iter().copied().collect();
        submit(self, session, &graph, &wanted, Asked::plainly(&self.inner, cause)).await
    }
}

impl Queries {
    /// The jobs that fit a filter, as far as the caller may know of them, newest first.
    pub async fn jobs(
        &self,
        session: &Session,
        filter: &JobFilter,
    ) -> Result<Vec<Job>, QueryError> {
        let rights = self.inner.rights(session.principal()).await?;
        self.inner.jobs(&rights, filter).await
    }
}

impl Inner {
    /// As [`Queries::jobs`], for a caller with these rights: those of objects that it sees, and those
    /// that it asked for.
    pub(crate) async fn jobs(
        &self,
        rights: &Rights,
        filter: &JobFilter,
    ) -> Result<Vec<Job>, QueryError> {
        let catalog = &self.options.catalog;
        if rights.is_admin() {
            return Ok(catalog.jobs(filter).await?);
        }
        // The limit counts what is shown.
        let all = JobFilter { limit: None, ..filter.clone() };
        let seen = self.seen(rights).await?;
        let mut jobs = catalog.jobs(&all).await?;
        jobs.retain(|job| seen.contains(&job.object) || job.requested_by == rights.name());
        jobs.truncate(filter.limit.map_or(usize::MAX, |limit| limit as usize));
        Ok(jobs)
    }

    /// Ids of the objects that somebody may know of.
    pub(crate) async fn seen(&self, rights: &Rights) -> Result<HashSet<ObjectId>, QueryError> {
        let objects = self.options.catalog.objects().await?;
        Ok(objects.iter().filter(|object| rights.sees(object)).map(|object| object.id).collect())
    }
}

/// One job by its id as written.
pub(super) async fn one(inner: &Inner, session: &Session, text: &str) -> Result<Job, QueryError> {
    let id = parse_job(text)?;
    let filter = JobFilter { ids: Some(vec![id]), ..JobFilter::default() };
    let rights = inner.rights(session.principal()).await?;
    let job = inner.jobs(&rights, &filter).await?.pop();
    job.ok_or_else(|| catalog::error::CatalogError::JobNotFound(id.to_string()).into())
}

/// As [`one`], for somebody who wants to stop or repeat it: who asked for it may, who owns the
/// object, and of a refresh who may ask for one.
async fn steered(inner: &Inner, session: &Session, text: &str) -> Result<Job, QueryError> {
    let job = one(inner, session, text).await?;
    let rights = inner.rights(session.principal()).await?;
    may_steer(inner, &rights, &job).await?;
    Ok(job)
}

async fn may_steer(inner: &Inner, rights: &Rights, job: &Job) -> Result<(), QueryError> {
    if rights.is_admin() || job.requested_by == rights.name() {
        return Ok(());
    }
    let object = inner.options.catalog.object(job.object).await?;
    let refreshes = matches!(job.work.kind(), JobKind::Refresh | JobKind::Backfill);
    match object {
        Some(object) if rights.owns(&object) => Ok(()),
        Some(object) if refreshes && rights.allows(Privilege::Refresh, &object) => Ok(()),
        Some(object) if !rights.sees(&object) => {
            let what = "repeat all that failed of the graph run: it may not know all of it";
            Err(denied(rights, what, "whoever asked for it may, and an admin"))
        }
        _ => Err(not_granted(rights, Privilege::Refresh, &job.object_name.to_sql())),
    }
}

/// Refuses somebody who may not repeat each job of a graph run that has not succeeded. The ranges of a
/// BACKFILL are about one transform, and one person asked for them.
async fn may_steer_all_of(inner: &Inner, session: &Session, job: &Job) -> Result<(), QueryError> {
    let Some(graph) = job.graph else { return Ok(()) };
    let rights = inner.rights(session.principal()).await?;
    let members = JobFilter { graph: Some(graph), ..JobFilter::default() };
    for job in inner.options.catalog.jobs(&members).await? {
        if !job.state.is_success() {
            may_steer(inner, &rights, &job).await?;
        }
    }
    Ok(())
}

/// Jobs in the order of `ids` once all of them have ended, or wait for a person. Whoever stops waiting leaves them alone.
pub(super) async fn wait(
    inner: &Inner,
    ids: &[JobId],
    limit: Option<Duration>,
) -> Result<Vec<Job>, QueryError> {
    let clock = &inner.options.clock;
    let deadline = limit.map(|limit| (clock.now().plus(limit), limit));
    let mut pause = POLL_FIRST;
    loop {
        let filter = JobFilter { ids: Some(ids.to_vec()), ..JobFilter::default() };
        let mut jobs = inner.options.catalog.jobs(&filter).await?;
        if approval::all_rest(inner, &jobs).await? {
            jobs.sort_by_key(|job| ids.iter().position(|id| *id == job.id));
            return Ok(jobs);
        }
        if let Some((deadline, limit)) = deadline
            && clock.now() >= deadline
        {
            let running: Vec<_> = jobs
                .iter()
                .filter(|job| !job.state.is_final())
                .map(|job| format!("{} ({})", job.object_name, job.state))
                .collect();
            return Err(QueryError::StillRunning { limit, jobs: running.join(", ") });
        }
        clock.sleep(pause).await;
        pause = POLL_EVERY.min(pause.mul_f32(1.5));
    }
}

async fn submit(
    queries: &Queries,
    session: &Session,
    graph: &Graph,
    wanted: &BTreeSet<ObjectId>,
    asked: Asked,
) -> Result<Vec<Job>, QueryError> {
    let Asked { cause, force, priority, attempts_max, part, at, key, options } = asked;
    let inner = &queries.inner;
    let mut jobs: Vec<NewJob> = Vec::with_capacity(wanted.len());
    // One job reads its inputs at one version anyway.
    let run = (wanted.len() > 1).then(GraphId::generate);
    let ids: BTreeMap<ObjectId, JobId> = wanted.iter().map(|id| (*id, JobId::generate())).collect();
    for object in graph.upstream_first(wanted) {
        let mut after = Vec::new();
        for read in graph.upstream.get(&object).into_iter().flatten() {
            match ids.get(read) {
                Some(job) => after.push(*job),
                None => after.extend(first_refresh_under_way(inner, *read).await?),
            }
        }
        let work = match (&part, &at) {
            (None, None) => Work::Refresh,
            (None, Some(at)) => Work::At(at.clone()),
            (Some(part), _) => {
                // A part stands beside others, which its first refresh brings.
                after.extend(first_refresh_under_way(inner, object).await?);
                Work::Part(part.clone())
            }
        };
        jobs.push(NewJob {
            id: ids[&object],
            work,
            object,
            cause,
            requested_by: session.principal().name().to_owned(),
            after,
            due_at: None,
            force,
            attempts_max,
            priority,
            parent: None,
            graph: run,
            resources: graph.resources(object, &options),
        });
    }
    for job in &jobs {
        resources::check(inner, &job.resources)?;
    }
    let (catalog, now) = (&inner.options.catalog, inner.options.clock.now());
    let jobs = match &key {
        None => catalog.submit(&jobs, now).await?,
        Some(key) => catalog.submit_once(key, &jobs, now).await?,
    };
    inner.options.wake.notify_one();
    Ok(jobs)
}

/// The job that will make a transform readable which has never succeeded, if there is one.
pub(super) async fn first_refresh_under_way(
    inner: &Inner,
    object: ObjectId,
) -> Result<Option<JobId>, QueryError> {
    let (open, succeeded): (Vec<_>, Vec<_>) = JobState::ALL
        .into_iter()
        .filter(|s| !s.is_final() || s.is_success())
        .partition(|s| !s.is_final());
    let newest = |states| JobFilter {
        object: Some(object),
        kind: Some(JobKind::Refresh),
        states: Some(states),
        limit: Some(1),
        ..JobFilter::default()
    };
    let catalog = &inner.options.catalog;
    if !catalog.jobs(&newest(succeeded)).await?.is_empty() {
        return Ok(None);
    }
    Ok(catalog.jobs(&newest(open)).await?.pop().map(|job| job.id))
}

/// Which transforms read which, views seen through.
struct Graph {
    by_name: HashMap<ObjectName, Object>,
    upstream: BTreeMap<ObjectId, BTreeSet<ObjectId>>,
}

impl Graph {
    async fn load(inner: &Inner) -> Result<Self, QueryError> {
        let objects = inner.options.catalog.objects().await?;
        let by_name: HashMap<_, _> =
            objects.into_iter().map(|object| (object.name.clone(), object)).collect();
        let mut upstream = BTreeMap::new();
        for object in by_name.values() {
            if object.transform().is_some() {
                upstream.insert(object.id, transforms_read(object, &by_name));
            }
        }
        Ok(Self { by_name, upstream })
    }

    /// What a job of a transform may take.
    fn resources(&self, object: ObjectId, options: &RefreshOptions) -> Resources {
        let transform = self.by_name.values().find(|each| each.id == object);
        let declared = transform.and_then(Object::transform).map(|each| each.resources.clone());
        resources::of_request(options, &declared.unwrap_or_default())
    }

    fn downstream(&self) -> BTreeMap<ObjectId, BTreeSet<ObjectId>> {
        let mut downstream: BTreeMap<ObjectId, BTreeSet<ObjectId>> = BTreeMap::new();
        for (reader, reads) in &self.upstream {
            for read in reads {
                downstream.entry(*read).or_default().insert(*reader);
            }
        }
        downstream
    }

    /// Adds everything that can be reached along `edges`.
    fn extend(
        &self,
        wanted: &mut BTreeSet<ObjectId>,
        edges: &BTreeMap<ObjectId, BTreeSet<ObjectId>>,
    ) {
        let mut queue: VecDeque<_> = wanted.iter().copied().collect();
        while let Some(at) = queue.pop_front() {
            for next in edges.get(&at).into_iter().flatten() {
                if wanted.insert(*next) {
                    queue.push_back(*next);
                }
            }
        }
    }

    /// The wanted transforms such that each comes after those that it reads.
    fn upstream_first(&self, wanted: &BTreeSet<ObjectId>) -> Vec<ObjectId> {
        fn visit(
            at: ObjectId,
            graph: &Graph,
            seen: &mut BTreeSet<ObjectId>,
            order: &mut Vec<ObjectId>,
        ) {
            if !seen.insert(at) {
                return;
            }
            for read in graph.upstream.get(&at).into_iter().flatten() {
                visit(*read, graph, seen, order);
            }
            order.push(at);
        }
        let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
        for object in wanted {
            visit(*object, self, &mut seen, &mut order);
        }
        order.retain(|object| wanted.contains(object));
        order
    }
}

fn transforms_read(object: &Object, by_name: &HashMap<ObjectName, Object>) -> BTreeSet<ObjectId> {
    let (mut found, mut seen) = (BTreeSet::new(), BTreeSet::new());
    let mut queue: VecDeque<&ObjectName> = object.reads().iter().collect();
    while let Some(name) = queue.pop_front() {
        if !seen.insert(name) {
            continue;
        }
        match by_name.get(name).map(|read| (read, &read.body)) {
            Some((read, ObjectBody::MaterializedView(_) | ObjectBody::StreamingTable(_))) => {
                found.insert(read.id);
            }
            Some((read, ObjectBody::View(_))) => queue.extend(read.reads()),
            _ => {}
        }
    }
    found
}
