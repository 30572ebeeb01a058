//! The `system` schema: jobs, runs, statements, tables, users and their rights as tables.

mod audit;
mod principals;
mod processes;

use std::{collections::HashMap, sync::Arc};

use arrow::record_batch::RecordBatch;
use catalog::jobs::JobFilter;
use datafusion::{catalog::TableProvider, datasource::MemTable};
use futures::{StreamExt, stream};
use lake::{At, Snapshot};
use model::{
    clustering,
    code::Code,
    id::{ObjectId, RunId},
    job::{PinnedInput, Ranges, Run},
    name::ObjectName,
    object::{Object, ObjectBody, TableFormat},
    report::FilesReport,
    rights::Rights,
    transform::SuspendedReason,
    work::JobKind,
};

use crate::{
    answer::{Answer, count},
    authorize::{self, sees_definition},
    error::QueryError,
    log::QueryRecord,
    queries::Inner,
};

/// Jobs and runs that a query sees at most: the newest ones.
const ROWS_MAX: u32 = 10_000;

/// Logs that are read side by side.
const TABLES_AT_ONCE: usize = 16;

/// Tables of the schema.
pub(crate) const TABLES: [&str; 16] = [
    "audit",
    "expectation_results",
    "grants",
    "jobs",
    "leaders",
    "limits",
    "notifications",
    "queries",
    "roles",
    "run_inputs",
    "runs",
    "tables",
    "tokens",
    "transforms",
    "users",
    "verifications",
];

/// A table of the schema with the rows of now, as far as they concern somebody with these rights;
/// `None` when there is none of that name.
pub(crate) async fn table(
    queries: &Inner,
    rights: &Rights,
    name: &str,
) -> Result<Option<Arc<dyn TableProvider>>, QueryError> {
    let batch = match name {
        "audit" => return audit::table(queries, rights).map(Some),
        "jobs" => jobs(queries, rights).await?,
        "runs" => runs(queries, rights).await?,
        "expectation_results" => expectation_results(queries, rights).await?,
        "run_inputs" => run_inputs(queries, rights).await?,
        "notifications" => notifications(queries, rights).await?,
        "queries" => statements(queries, rights),
        "tables" => tables(queries, rights).await?,
        "transforms" => transforms(queries, rights).await?,
        "users" => principals::users(queries, rights).await?,
        "roles" => principals::roles(queries, rights).await?,
        "grants" => principals::grants(queries, rights).await?,
        "leaders" => processes::leaders(queries).await?,
        "verifications" => processes::verifications(queries, rights).await?,
        "limits" => principals::limits(queries, rights).await?,
        "tokens" => principals::tokens(queries, rights).await?,
        _ => return Ok(None),
    };
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    Ok(Some(Arc::new(table)))
}

async fn jobs(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let filter = JobFilter { limit: Some(ROWS_MAX), ..JobFilter::default() };
    Ok(job_rows(&queries.jobs(rights, &filter).await?))
}

/// Rows of jobs, in the columns of `system.jobs`.
pub(crate) fn job_rows(jobs: &[model::job::Job]) -> RecordBatch {
    jobs_answer(jobs).finish()
}

/// As [`job_rows`], for more columns.
pub(crate) fn jobs_answer(jobs: &[model::job::Job]) -> Answer {
    let ranges = |of: fn(Ranges) -> u32| {
        jobs.iter().map(move |job| job.ranges.map(|ranges| i64::from(of(ranges))))
    };
    Answer::new()
        .text("job_id", jobs.iter().map(|job| job.id.to_string()))
        .text("object", jobs.iter().map(|job| job.object_name.to_string()))
        .text("kind", jobs.iter().map(|job| job.work.kind().as_str()))
        .text("state", jobs.iter().map(|job| job.state.as_str()))
        .text("cause", jobs.iter().map(|job| job.cause.as_str()))
        .text("requested_by", jobs.iter().map(|job| job.requested_by.as_str()))
        .time("queued_at", jobs.iter().map(|job| job.queued_at))
        .time("started_at", jobs.iter().map(|job| job.started_at))
        .time("finished_at", jobs.iter().map(|job| job.finished_at))
        .number("attempt", jobs.iter().map(|job| i64::from(job.attempt)))
        .number("rows_read", jobs.iter().map(|job| count(job.progress.rows_read)))
        .number("rows_expected", jobs.iter().map(|job| count(job.progress.rows_read_expected)))
        .number("rows_written", jobs.iter().map(|job| count(job.progress.rows_written)))
        .number("bytes_written", jobs.iter().map(|job| count(job.progress.bytes_written)))
        .number("files", jobs.iter().map(|job| count(job.progress.files)))
        .number("files_expected", jobs.iter().map(|job| count(job.progress.files_expected)))
        .number("output_version", jobs.iter().map(|job| job.output_version))
        .maybe_text("result", jobs.iter().map(|job| job.result.map(|result| result.to_json())))
        .maybe_text("error", jobs.iter().map(|job| job.error.as_deref()))
        .maybe_text("run_id", jobs.iter().map(|job| job.run.map(|run| run.to_string())))
        .text("waits_for", jobs.iter().map(|job| join(&job.after)))
        .maybe_text("graph_id", jobs.iter().map(|job| job.graph.map(|graph| graph.to_string())))
        .text("watch_sql", jobs.iter().map(|job| format!("WAIT FOR JOB '{}'", job.id)))
        .maybe_text("part", jobs.iter().map(|job| job.work.part()))
        .maybe_text("parent", jobs.iter().map(|job| job.parent.map(|parent| parent.to_string())))
        .number("ranges", ranges(|ranges| ranges.all))
        .number("ranges_done", ranges(|ranges| ranges.succeeded))
        .number("ranges_failed", ranges(|ranges| ranges.unsuccessful))
        .number("priority", jobs.iter().map(|job| i64::from(job.priority)))
        .number("attempts_max", jobs.iter().map(|job| i64::from(job.attempts_max)))
        .maybe_text("idempotency_key", jobs.iter().map(|job| job.idempotency_key.as_deref()))
        .maybe_text("strategy", jobs.iter().map(|job| job.chosen.strategy.as_deref()))
        .maybe_text("reason", jobs.iter().map(|job| job.chosen.reason.as_deref()))
        .maybe_text("alternatives", jobs.iter().map(|job| listed(&job.chosen.alternatives)))
        .number("bytes_estimated", jobs.iter().map(|job| job.chosen.bytes_estimated.map(count)))
        .maybe_text(
            "approved_by",
            jobs.iter().map(|job| job.approval.as_ref().map(|a| a.by.as_str())),
        )
        .time("approved_at", jobs.iter().map(|job| job.approval.as_ref().map(|a| a.at)))
        .text("profile", jobs.iter().map(|job| job.resources.profile.as_str()))
        .number("max_bytes", jobs.iter().map(|job| job.resources.bytes_max.map(count)))
}

/// Runs of objects that somebody may know of.
async fn seen_runs(queries: &Inner, rights: &Rights) -> Result<Vec<Run>, QueryError> {
    let mut runs = queries.options.catalog.runs(None, ROWS_MAX).await?;
    if !rights.is_admin() {
        let seen = queries.seen(rights).await?;
        runs.retain(|run| seen.contains(&run.object));
    }
    Ok(runs)
}

async fn runs(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let runs = seen_runs(queries, rights).await?;
    Ok(Answer::new()
        .text("run_id", runs.iter().map(|run| run.id.to_string()))
        .text("job_id", runs.iter().map(|run| run.job.to_string()))
        .text("object", runs.iter().map(|run| run.object_name.to_string()))
        .text("kind", runs.iter().map(|run| run.kind.as_str()))
        .number("run_seq", runs.iter().map(|run| run.run_seq))
        .text("state", runs.iter().map(|run| run.state.as_str()))
        .number("attempt", runs.iter().map(|run| i64::from(run.attempt)))
        .maybe_text("worker", runs.iter().map(|run| run.worker.map(|worker| worker.to_string())))
        .time("started_at", runs.iter().map(|run| run.started_at))
        .time("finished_at", runs.iter().map(|run| run.finished_at))
        .maybe_text("strategy", runs.iter().map(|run| run.strategy.as_deref()))
        .maybe_text("reason", runs.iter().map(|run| run.reason.as_deref()))
        .number("rows_read", runs.iter().map(|run| count(run.progress.rows_read)))
        .number("rows_written", runs.iter().map(|run| count(run.progress.rows_written)))
        .number("bytes_written", runs.iter().map(|run| count(run.progress.bytes_written)))
        .number("files", runs.iter().map(|run| count(run.progress.files)))
        .number("output_version", runs.iter().map(|run| run.output_version))
        .maybe_text("result", runs.iter().map(|run| run.result.map(|result| result.to_json())))
        .maybe_text("error", runs.iter().map(|run| run.error.as_deref()))
        .number("rows_in", runs.iter().map(|run| run.report.rows_in.map(count)))
        .number("rows_dropped", runs.iter().map(|run| run.report.rows_dropped.map(count)))
        .number("rows_quarantined", runs.iter().map(|run| run.report.rows_quarantined.map(count)))
        .maybe_text("alternatives", runs.iter().map(|run| listed(&run.report.alternatives)))
        .maybe_text(
            "part",
            runs.iter().map(|run| run.report.part.as_ref().map(|part| part.condition.as_str())),
        )
        .number("bytes_estimated", runs.iter().map(|run| run.report.bytes_estimated.map(count)))
        .number("files_read", files(&runs, |files| files.taken))
        .number("files_waiting", files(&runs, |files| files.waiting))
        .number("files_changed", files(&runs, |files| files.changed))
        .finish())
}

/// What became of the files that runs have read as a STREAM.
fn files(runs: &[Run], of: impl Fn(&FilesReport) -> u64) -> impl Iterator<Item = Option<i64>> {
    runs.iter().map(move |run| run.report.files.as_ref().map(|files| count(of(files))))
}

/// The strategies that a run did not take, each with why.
fn listed(alternatives: &[String]) -> Option<String> {
    (!alternatives.is_empty()).then(|| alternatives.join("; "))
}

/// Notifications that the caller has asked for; an admin sees those of everybody.
async fn notifications(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let mut all = queries.options.catalog.notifications(ROWS_MAX).await?;
    all.retain(|each| rights.is_admin() || each.requested_by == rights.name());
    Ok(Answer::new()
        .text("notification_id", all.iter().map(|each| each.id.to_string()))
        .text("job_id", all.iter().map(|each| each.job.to_string()))
        .text("object", all.iter().map(|each| each.object_name.to_string()))
        .text("url", all.iter().map(|each| each.url.as_str()))
        .text("state", all.iter().map(|each| each.state.as_str()))
        .number("attempts", all.iter().map(|each| i64::from(each.attempts)))
        .text("requested_by", all.iter().map(|each| each.requested_by.as_str()))
        .time("requested_at", all.iter().map(|each| each.requested_at))
        .time("next_attempt_at", all.iter().map(|each| each.next_attempt_at))
        .time("finished_at", all.iter().map(|each| each.finished_at))
        .maybe_text("last_error", all.iter().map(|each| each.last_error.as_deref()))
        .finish())
}

/// What became of each expectation in each run.
async fn expectation_results(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let runs = seen_runs(queries, rights).await?;
    let results: Vec<_> = runs
        .iter()
        .flat_map(|run| run.report.expectations.iter().map(move |result| (run, result)))
        .collect();
    let each = || results.iter();
    Ok(Answer::new()
        .text("run_id", each().map(|(run, _)| run.id.to_string()))
        .text("object", each().map(|(run, _)| run.object_name.to_string()))
        .text("expectation", each().map(|(_, result)| result.name.as_str()))
        .text("on_violation", each().map(|(_, result)| result.on_violation.as_sql()))
        .number("violated", each().map(|(_, result)| count(result.violated)))
        .number("rows", each().map(|(run, _)| run.report.rows_in.map(count)))
        .finish())
}

async fn run_inputs(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let catalog = &queries.options.catalog;
    let runs = seen_runs(queries, rights).await?;
    let ids: Vec<_> = runs.iter().map(|run| run.id).collect();
    let mut inputs = catalog.run_inputs(&ids).await?;
    if !rights.is_admin() {
        let seen = queries.seen(rights).await?;
        inputs.retain(|(_, input)| seen.contains(&input.object));
    }
    let objects: HashMap<_, _> = runs.iter().map(|run| (run.id, &run.object_name)).collect();
    let graphs: HashMap<_, _> =
        runs.iter().filter_map(|run| Some((run.id, run.graph?.to_string()))).collect();
    let reports: HashMap<_, _> = runs.iter().map(|run| (run.id, &run.report)).collect();
    // What the flows of a run left out of one input; unknown where one of them does not know.
    let skipped = |run: &RunId, input: &PinnedInput| -> Option<i64> {
        let all = reports.get(run)?.skipped.iter().filter(|skipped| skipped.input == input.object);
        all.map(|skipped| skipped.rows.map(count)).sum()
    };
    Ok(Answer::new()
        .text("run_id", inputs.iter().map(|(run, _)| run.to_string()))
        .maybe_text(
            "object",
            inputs.iter().map(|(run, _)| objects.get(run).map(ToString::to_string)),
        )
        .text("input", inputs.iter().map(|(_, input)| input.name.to_string()))
        .text("delta_table_id", inputs.iter().map(|(_, input)| input.delta_table_id.as_str()))
        .number("version", inputs.iter().map(|(_, input)| input.version))
        .maybe_text("graph_id", inputs.iter().map(|(run, _)| graphs.get(run).map(String::as_str)))
        .number("rows_skipped", inputs.iter().map(|(run, input)| skipped(run, input)))
        .finish())
}

/// Statements of the caller; an admin sees those of everybody.
fn statements(queries: &Inner, rights: &Rights) -> RecordBatch {
    let mut records = queries.log.records();
    records.retain(|record| rights.is_admin() || record.principal == rights.name());
    statement_rows(&records)
}

/// Rows of statements, in the columns of `system.queries`.
pub(crate) fn statement_rows(records: &[QueryRecord]) -> RecordBatch {
    Answer::new()
        .text("query_id", records.iter().map(|record| record.id.to_string()))
        .text("principal", records.iter().map(|record| record.principal.as_str()))
        .text("sql", records.iter().map(|record| record.sql.as_str()))
        .text("state", records.iter().map(|record| record.state.as_str()))
        .time("received_at", records.iter().map(|record| record.received_at))
        .time("started_at", records.iter().map(|record| record.started_at))
        .time("finished_at", records.iter().map(|record| record.finished_at))
        .number("rows", records.iter().map(|record| count(record.rows)))
        .number("rows_read", records.iter().map(|record| count(record.progress.rows_read)))
        .number(
            "rows_expected",
            records.iter().map(|record| record.progress.rows_expected.map(count)),
        )
        .number("bytes_read", records.iter().map(|record| count(record.progress.bytes_read)))
        .number("rows_written", records.iter().map(|record| count(record.progress.rows_written)))
        .number("bytes_written", records.iter().map(|record| count(record.progress.bytes_written)))
        .maybe_text("error", records.iter().map(|record| record.error.as_deref()))
        .finish()
}

/// What the log of each table says. One that cannot be opened is there with its error.
async fn tables(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let mut objects = queries.options.catalog.objects().await?;
    objects.retain(|object| rights.sees(object));
    let stored: Vec<_> = objects
        .iter()
        .filter_map(|object| match &object.body {
            ObjectBody::Table(table) => Some((object, table.format, table.location.clone())),
            ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
                Some((object, TableFormat::Delta, view.location.clone()))
            }
            ObjectBody::View(_) => None,
        })
        .collect();
    let logs: Vec<_> = stored
        .iter()
        .map(|(object, format, location)| {
            // How many rows there are is for those who may see all of them.
            let whole = authorize::may_read_all(rights, object).is_ok();
            (*format == TableFormat::Delta && whole).then(|| location.clone())
        })
        .collect();
    let opened = stream::iter(logs).map(|location| {
        let lake = Arc::clone(&queries.options.lake);
        async move {
            match location {
                Some(location) => Some(lake.snapshot(&location, At::Latest).await),
                None => None,
            }
        }
    });
    let opened: Vec<_> = opened.buffered(TABLES_AT_ONCE).collect().await;
    let tables: Vec<_> = stored
        .into_iter()
        .zip(opened)
        .map(|((object, format, location), opened)| (object, format, location, opened))
        .collect();
    let each = || tables.iter();
    let known =
        || each().map(|(.., opened)| opened.as_ref().and_then(|opened| opened.as_ref().ok()));
    let number = |of: fn(&Snapshot) -> Option<i64>| known().map(move |table| of(table?));
    Ok(Answer::new()
        .text("name", each().map(|(object, ..)| object.name.to_string()))
        .text("kind", each().map(|(object, ..)| object.kind().as_sql()))
        .text("format", each().map(|(_, format, ..)| format.as_sql()))
        .text("location", each().map(|(.., location, _)| location))
        .text("owner", each().map(|(object, ..)| object.owner.as_str()))
        .number("version", number(|table| Some(table.version())))
        .time("last_modified", known().map(|table| Some(table?.committed_at())))
        .number("files", number(|table| i64::try_from(table.files()).ok()))
        .number("bytes", number(|table| i64::try_from(table.bytes()).ok()))
        .number("rows", number(|table| i64::try_from(table.rows()?).ok()))
        .maybe_text("partitioned_by", known().map(|table| Some(table?.partitioned_by().join(", "))))
        .maybe_text(
            "error",
            each().map(|(object, .., opened)| match opened {
                // A transform that was never refreshed has no table yet.
                Some(Err(error))
                    if error.code() == Code::NotFound && object.transform().is_some() =>
                {
                    None
                }
                Some(Err(error)) => Some(error.to_string()),
                Some(Ok(_)) | None => None,
            }),
        )
        .finish())
}

async fn transforms(queries: &Inner, rights: &Rights) -> Result<RecordBatch, QueryError> {
    let catalog = &queries.options.catalog;
    let objects = catalog.objects().await?;
    let by_name: HashMap<_, _> = objects.iter().map(|object| (&object.name, object)).collect();
    let views: Vec<_> = objects
        .iter()
        .filter(|object| rights.sees(object))
        .filter_map(|object| match &object.body {
            ObjectBody::MaterializedView(view) | ObjectBody::StreamingTable(view) => {
                Some((object, view))
            }
            _ => None,
        })
        .collect();
    let mut newest: HashMap<ObjectId, model::job::Job> = HashMap::new();
    for (object, _) in &views {
        let filter = JobFilter {
            object: Some(object.id),
            kind: Some(JobKind::Refresh),
            limit: Some(1),
            ..JobFilter::default()
        };
        if let Some(job) = catalog.jobs(&filter).await?.pop() {
            newest.insert(object.id, job);
        }
    }
    let job = |object: &Object| newest.get(&object.id);
    let now = queries.options.clock.now();
    Ok(Answer::new()
        .text("name", views.iter().map(|(object, _)| object.name.to_string()))
        .maybe_text(
            "definition",
            views.iter().map(|(object, view)| {
                let seen = sees_definition(rights, object, |name| by_name.get(name).copied());
                seen.then_some(view.definition.as_str())
            }),
        )
        .text("definition_hash", views.iter().map(|(_, view)| view.definition_hash.as_str()))
        .number("definition_version", views.iter().map(|(object, _)| object.definition_version))
        .text(
            "reads",
            views.iter().map(|(_, view)| {
                let reads = view.reads.iter();
                let seen = |name: &ObjectName| by_name.get(name).is_some_and(|o| rights.sees(o));
                join(&reads.filter(|name| seen(name)).collect::<Vec<_>>())
            }),
        )
        .text("partitioned_by", views.iter().map(|(_, view)| view.partitioned_by.join(", ")))
        .maybe_text(
            "schedule",
            views.iter().map(|(_, view)| view.schedule.as_ref().map(ToString::to_string)),
        )
        .time(
            "next_due_at",
            views.iter().map(|(object, view)| {
                let begin = view.schedule_since.unwrap_or(object.created_at);
                let last = job(object).map_or(begin, |job| job.queued_at).max(begin);
                view.schedule.as_ref().and_then(|schedule| schedule.next(last.min(now)))
            }),
        )
        .flag("suspended", views.iter().map(|(_, view)| view.suspended))
        .maybe_text("source_file", views.iter().map(|(_, view)| view.source_file.as_deref()))
        .maybe_text("comment", views.iter().map(|(object, _)| object.comment.as_deref()))
        .text("owner", views.iter().map(|(object, _)| object.owner.as_str()))
        .text("location", views.iter().map(|(_, view)| view.location.as_str()))
        .maybe_text(
            "last_job_id",
            views.iter().map(|(object, _)| job(object).map(|job| job.id.to_string())),
        )
        .maybe_text(
            "last_state",
            views.iter().map(|(object, _)| job(object).map(|job| job.state.as_str())),
        )
        .time(
            "last_finished_at",
            views.iter().map(|(object, _)| job(object).and_then(|job| job.finished_at)),
        )
        .text("profile", views.iter().map(|(_, view)| view.resources.profile.as_str()))
        .number("max_bytes", views.iter().map(|(_, view)| view.resources.bytes_max.map(count)))
        .maybe_text(
            "trigger",
            views.iter().map(|(_, view)| view.trigger.as_ref().map(ToString::to_string)),
        )
        .maybe_text(
            "misfire",
            views.iter().map(|(_, view)| view.schedule.as_ref().map(|_| view.misfire.as_sql())),
        )
        .text("refresh_policy", views.iter().map(|(_, view)| view.policy.as_sql()))
        .text("on_full_refresh", views.iter().map(|(_, view)| view.on_full_refresh.as_sql()))
        .maybe_text(
            "suspended_reason",
            views.iter().map(|(_, view)| view.suspended_reason.map(SuspendedReason::as_text)),
        )
        .text(
            "cluster_by",
            views.iter().map(|(object, _)| {
                clustering::columns(&object.properties).unwrap_or_default().join(", ")
            }),
        )
        .finish())
}

/// The name of a system table.
pub(crate) fn is_system(name: &ObjectName) -> bool {
    name.schema() == "system"
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
