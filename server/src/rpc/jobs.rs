//! `whimbrel.v1.Jobs`.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use arrow::array::AsArray;
use catalog::jobs::JobFilter;
use futures::{StreamExt, stream::BoxStream};
use model::{id::JobId, job::Job};
use proto::v1::{
    self, Along, CancelRequest, CancelResponse, ListRequest, ListResponse, SubmitOptions,
    SubmitRequest, SubmitResponse, WatchRequest, WatchResponse, jobs_server::Jobs,
};
use query::{queries::Queries, session::Session};
use rt::clock::Clock;
use tonic::{Request, Response, Status};

use super::{convert, name};
use crate::{
    auth::Authenticator,
    error::{auth_status, invalid, status},
};

/// How often the catalog is asked while somebody watches.
const POLL_EVERY: Duration = Duration::from_millis(150);
/// Jobs that one call may name.
const IDS_MAX: usize = 10_000;
const LIST_DEFAULT: u32 = 100;
const LIST_MAX: u32 = 10_000;
/// The column of a job's id in the answer of a REFRESH.
const JOB_ID: &str = "job_id";

/// Parts of the service.
#[derive(Clone)]
pub struct JobsOptions {
    /// Knows the jobs, and runs the statements that submit and cancel.
    pub queries: Queries,
    /// Knows who asks.
    pub auth: Arc<Authenticator>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for JobsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobsOptions").finish_non_exhaustive()
    }
}

/// The service. Made by [`super::jobs_service`].
#[derive(Debug)]
pub struct JobsService {
    options: JobsOptions,
}

impl JobsService {
    pub(super) fn new(options: JobsOptions) -> Self {
        Self { options }
    }

    async fn session<T>(&self, request: &Request<T>) -> Result<Session, Status> {
        let (headers, connection) = (request.metadata(), request.extensions());
        let principal = self.options.auth.authenticate(headers, connection).await;
        Ok(Session::new(principal.map_err(|error| auth_status(&error))?))
    }
}

#[tonic::async_trait]
impl Jobs for JobsService {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn submit(
        &self,
        request: Request<SubmitRequest>,
    ) -> Result<Response<SubmitResponse>, Status> {
        let session = self.session(&request).await?;
        let sql = refresh_sql(request.get_ref())?;
        let queries = &self.options.queries;
        let prepared = queries.prepare(&session, &sql).await.map_err(|error| status(&error))?;
        let result = queries.command(&session, &prepared, None).await;
        let result = result.map_err(|error| status(&error))?;
        let mut ids = Vec::new();
        for batch in &result.batches {
            let column = batch.column_by_name(JOB_ID).and_then(|c| c.as_string_opt::<i32>());
            ids.extend(column.into_iter().flatten().flatten().map(str::to_owned));
        }
        let jobs = named(&self.options, &session, &parse_ids(&ids)?).await?;
        Ok(Response::new(SubmitResponse { jobs: convert::jobs(&jobs) }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let session = self.session(&request).await?;
        let ListRequest { job_ids, states, limit } = request.into_inner();
        let states = states.into_iter().map(|number| {
            convert::stored_state(number)
                .ok_or_else(|| invalid(format!("there is no job state {number}")))
        });
        let states = states.collect::<Result<Vec<_>, _>>()?;
        let ids = parse_ids(&job_ids)?;
        let filter = JobFilter {
            ids: (!ids.is_empty()).then_some(ids),
            object: None,
            kind: None,
            graph: None,
            states: (!states.is_empty()).then_some(states),
            limit: Some(if limit == 0 { LIST_DEFAULT } else { limit.min(LIST_MAX) }),
        };
        let jobs = self.options.queries.jobs(&session, &filter).await;
        let jobs = convert::jobs(&jobs.map_err(|error| status(&error))?);
        Ok(Response::new(ListResponse { jobs }))
    }

    async fn cancel(
        &self,
        request: Request<CancelRequest>,
    ) -> Result<Response<CancelResponse>, Status> {
        let session = self.session(&request).await?;
        let ids = parse_ids(&[request.into_inner().job_id])?;
        let queries = &self.options.queries;
        for id in &ids {
            let sql = format!("CANCEL JOB '{id}'");
            let prepared = queries.prepare(&session, &sql).await.map_err(|error| status(&error))?;
            let done = queries.command(&session, &prepared, None).await;
            done.map_err(|error| status(&error))?;
        }
        let job = named(&self.options, &session, &ids).await?.first().map(convert::job);
        Ok(Response::new(CancelResponse { job }))
    }

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let session = self.session(&request).await?;
        let ids = parse_ids(&request.into_inner().job_ids)?;
        if ids.is_empty() {
            return Err(invalid("name at least one job to watch"));
        }
        let first = named(&self.options, &session, &ids).await?;
        let watch = Watch { options: self.options.clone(), session, ids, sent: HashMap::new() };
        Ok(Response::new(watch.stream(first)))
    }
}

/// Jobs on their way to somebody who watches them.
struct Watch {
    options: JobsOptions,
    session: Session,
    ids: Vec<JobId>,
    sent: HashMap<JobId, Job>,
}

impl Watch {
    fn stream(self, first: Vec<Job>) -> BoxStream<'static, Result<WatchResponse, Status>> {
        enum Next {
            Send(Vec<Job>),
            Poll,
            End,
        }
        let step = move |(mut watch, mut next): (Self, Next)| async move {
            loop {
                let jobs = match next {
                    Next::End => return None,
                    Next::Send(jobs) => jobs,
                    Next::Poll => {
                        watch.options.clock.sleep(POLL_EVERY).await;
                        match named(&watch.options, &watch.session, &watch.ids).await {
                            Ok(jobs) => jobs,
                            Err(status) => return Some((Err(status), (watch, Next::End))),
                        }
                    }
                };
                let over = watch.options.queries.all_rest(&jobs).await;
                let changed = watch.changed(jobs);
                next = match over {
                    Ok(true) => Next::End,
                    Ok(false) => Next::Poll,
                    Err(error) => return Some((Err(status(&error)), (watch, Next::End))),
                };
                if !changed.is_empty() {
                    return Some((Ok(WatchResponse { jobs: changed }), (watch, next)));
                }
            }
        };
        futures::stream::unfold((self, Next::Send(first)), step).boxed()
    }

    /// Those that differ from what was sent last; from now on they are what was sent last.
    fn changed(&mut self, jobs: Vec<Job>) -> Vec<v1::Job> {
        let mut changed = Vec::new();
        for job in jobs {
            if self.sent.get(&job.id) != Some(&job) {
                changed.push(convert::job(&job));
                self.sent.insert(job.id, job);
            }
        }
        changed
    }
}

/// The jobs of these ids, in the order of the ids; each has to exist for the caller.
async fn named(
    options: &JobsOptions,
    session: &Session,
    ids: &[JobId],
) -> Result<Vec<Job>, Status> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let filter = JobFilter { ids: Some(ids.to_vec()), ..JobFilter::default() };
    let jobs = options.queries.jobs(session, &filter).await.map_err(|error| status(&error))?;
    let mut jobs: HashMap<JobId, Job> = jobs.into_iter().map(|job| (job.id, job)).collect();
    ids.iter()
        .map(|id| {
            let missing = || Status::not_found(format!("job '{id}' does not exist"));
            jobs.remove(id).ok_or_else(missing)
        })
        .collect()
}

/// Each id once, in the order of their first mention.
fn parse_ids(texts: &[String]) -> Result<Vec<JobId>, Status> {
    if texts.len() > IDS_MAX {
        return Err(invalid(format!("at most {IDS_MAX} jobs can be named in one call")));
    }
    let mut seen = HashSet::new();
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let id: JobId = text.parse().map_err(|error| invalid(format!("{error}")))?;
        if seen.insert(id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The statement that a request stands for.
fn refresh_sql(request: &SubmitRequest) -> Result<String, Status> {
    if request.objects.is_empty() {
        return Err(invalid("name at least one materialized view or streaming table to refresh"));
    }
    let names = request.objects.iter().map(|text| name::normalized(text));
    let mut names = names.collect::<Result<Vec<_>, _>>().map_err(invalid)?;
    // Words that REFRESH would take for the kind of what follows.
    if let Some(first) = names.first_mut()
        && ["materialized", "streaming", "table"].contains(&first.as_str())
    {
        *first = format!("\"{first}\"");
    }
    let along = match Along::try_from(request.along) {
        Ok(Along::Unspecified) => "",
        Ok(Along::Upstream) => " WITH UPSTREAM",
        Ok(Along::Downstream) => " WITH DOWNSTREAM",
        Err(_) => return Err(invalid(format!("'along' has no value {}", request.along))),
    };
    let full = if request.full { " FULL" } else { "" };
    let options = request.options.as_ref().map(options_sql).unwrap_or_default();
    Ok(format!("REFRESH {}{full}{along} ASYNC{options}", names.join(", ")))
}

fn options_sql(options: &SubmitOptions) -> String {
    let text = |text: &String| format!("'{}'", text.replace('\'', "''"));
    let said = [
        options.idempotency_key.as_ref().map(|key| format!("idempotency_key = {}", text(key))),
        options.priority.map(|priority| format!("priority = {priority}")),
        options.max_attempts.map(|attempts| format!("max_attempts = {attempts}")),
        options.profile.as_ref().map(|profile| format!("profile = {}", text(profile))),
        options.max_bytes.map(|bytes| format!("max_bytes = {bytes}")),
    ];
    let said: Vec<_> = said.into_iter().flatten().collect();
    match said.is_empty() {
        true => String::new(),
        false => format!(" OPTIONS ({})", said.join(", ")),
    }
}

#[cfg(test)]
mod tests;
