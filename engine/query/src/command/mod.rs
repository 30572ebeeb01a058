//! Statements that take effect: one file for each kind of object, one entry for all.

mod alter;
mod approval;
pub(crate) mod backfill;
mod change;
mod clauses;
mod copy;
mod data_types;
pub(crate) mod folders;
mod generated;
pub(crate) mod ingest;
mod inputs;
mod insert;
pub(crate) mod jobs;
pub(crate) mod maintain;
mod notify;
mod place;
pub(crate) mod quarantine;
mod ranges;
mod redeclare;
mod release;
mod requests;
mod resources;
mod rights;
mod schedules;
mod schemas;
pub(crate) mod show;
mod streaming;
mod struct_values;
mod tables;
pub(crate) mod target;
pub(crate) mod transforms;
pub(crate) mod users;
pub(crate) mod verify;
mod views;

use arrow::record_batch::RecordBatch;
use dialect::statement::{CreateFlow, JobStatement, Query, Show, Statement};
use model::{
    id::{JobId, ParseIdError, QueryId},
    name::{ObjectName, RESERVED_SCHEMAS},
};

use crate::{
    error::QueryError,
    queries::{Checked, CommandResult, Explain, Inner, Queries, check_query},
    session::Session,
    substrait,
};

/// Checks and plans what can be planned of a statement, without any effect.
pub(crate) async fn check(
    inner: &Inner,
    session: &Session,
    statement: &Statement,
) -> Result<Option<Checked>, QueryError> {
    match statement {
        Statement::Query(query) | Statement::Job(JobStatement::Show(query)) => {
            check_query(inner, session, query, None).await.map(Some)
        }
        Statement::Substrait { plan } => substrait::check(inner, session, plan).await.map(Some),
        Statement::Explain { verbose, statement, .. }
            if matches!(**statement, Statement::Change(_)) =>
        {
            let Statement::Change(statement) = &**statement else { return Ok(None) };
            change::explain(inner, session, statement, *verbose).await.map(Some)
        }
        Statement::Explain { analyze, verbose, statement } => {
            let query = query_of(statement).ok_or_else(|| {
                QueryError::Unsupported(
                    "EXPLAIN shows the plans of queries; this statement has none".to_owned(),
                )
            })?;
            if *analyze && !matches!(**statement, Statement::Query(_)) {
                return Err(QueryError::Unsupported(
                    "EXPLAIN ANALYZE would run the statement; only queries can be analyzed"
                        .to_owned(),
                ));
            }
            let explain = Explain { analyze: *analyze, verbose: *verbose };
            check_query(inner, session, query, Some(explain)).await.map(Some)
        }
        Statement::Insert(statement) => insert::check(inner, session, statement).await.map(Some),
        Statement::Change(statement) => change::check(inner, session, statement).await.map(Some),
        Statement::CreateTable(create) => {
            let Some(query) = &create.query else { return Ok(None) };
            stored(query)?;
            check_query(inner, session, query, None).await.map(|_| None)
        }
        Statement::Copy(copy) => {
            check_query(inner, session, &copy.source, None).await.map(|_| None)
        }
        Statement::CreateView(create) => {
            views::check(inner, session, &create.name, &create.query).await.map(|_| None)
        }
        Statement::CreateTemporaryView(_) => Err(no_folder()),
        Statement::CreateMaterializedView(create) => {
            schedules::check(create.schedule.as_ref(), inner.options.clock.now())?;
            let checked = views::check_materialized(inner, session, &create.name, &create.query);
            checked.await.map(|_| None)
        }
        Statement::CreateStreamingTable(create) => {
            schedules::check(create.schedule.as_ref(), inner.options.clock.now())?;
            let Some(flow) = &create.flow else { return Ok(None) };
            let name = &create.name;
            streaming::check(inner, session, name, name, flow).await.map(|_| None)
        }
        Statement::CreateFlow(create) => {
            let CreateFlow { name, target, body, .. } = create.as_ref();
            streaming::check(inner, session, target, name, body).await.map(|_| None)
        }
        Statement::Job(JobStatement::Describe { job }) => {
            let job = jobs::one(inner, session, job).await?;
            let text = format!("SELECT * FROM system.jobs WHERE job_id = '{}'", job.id);
            let query = crate::resolve::parse_stored(&text)?;
            check_query(inner, session, &query, None).await.map(Some)
        }
        Statement::Show(Show::Setting { key }) => {
            let filter = match key {
                None => String::new(),
                Some(key) => format!(" WHERE name = '{}'", show::setting(inner, key)?),
            };
            let text = format!("SELECT name, value FROM information_schema.df_settings{filter}");
            let query = crate::resolve::parse_stored(&text)?;
            check_query(inner, session, &query, None).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Runs a statement that is not a query. In a transaction rows that are written wait for its commit;
/// everything else takes effect at once, while nothing waits.
pub(crate) async fn run_in_transaction(
    queries: &Queries,
    session: &Session,
    statement: Statement,
    parameters: Option<&RecordBatch>,
) -> Result<CommandResult, QueryError> {
    let alone = session.transaction().filter(|_| takes_effect_alone(&statement));
    if let Some(transaction) = alone {
        transaction.may_do_alone()?;
    }
    let done = run(queries, session, statement, parameters).await?;
    if let Some(transaction) = alone {
        transaction.sees_anew();
    }
    Ok(done)
}

/// Whether a statement takes effect at once, also in a transaction.
pub(crate) fn takes_effect_alone(statement: &Statement) -> bool {
    match statement {
        Statement::Insert(_) | Statement::Change(_) | Statement::Truncate { .. } => false,
        // These change no table.
        Statement::CancelQuery { .. }
        | Statement::Verify { .. }
        | Statement::Job(
            JobStatement::Wait { .. } | JobStatement::Cancel { .. } | JobStatement::Approve { .. },
        ) => false,
        _ => true,
    }
}

/// Runs a statement that is not a query.
async fn run(
    queries: &Queries,
    session: &Session,
    statement: Statement,
    parameters: Option<&RecordBatch>,
) -> Result<CommandResult, QueryError> {
    let bound = parameters.is_some_and(|batch| batch.num_columns() > 0);
    if bound && !matches!(statement, Statement::Insert(_) | Statement::Change(_)) {
        return Err(QueryError::Invalid("this statement takes no parameters".to_owned()));
    }
    match statement {
        Statement::Insert(insert) => insert::run(queries, session, &insert, parameters).await,
        Statement::Change(change) => change::run(queries, session, &change, parameters).await,
        Statement::Truncate { target } => {
            change::run(queries, session, &change::truncate(&target)?, None).await
        }
        Statement::Alter(alter) => alter::run(queries, session, &alter).await,
        Statement::Copy(copy) => copy::run(queries, session, *copy).await,
        Statement::Maintain(maintain) => maintain::run(queries, session, maintain).await,
        Statement::CreateSchema { name, if_not_exists, comment } => {
            schemas::create(queries, &name, if_not_exists, comment).await
        }
        Statement::DropSchema { name, if_exists, cascade } => {
            schemas::drop(queries, &name, if_exists, cascade).await
        }
        Statement::CreateTable(create) => tables::create(queries, session, create).await,
        Statement::CreateView(create) => views::create(queries, session, create).await,
        Statement::CreateTemporaryView(_) => Err(no_folder()),
        Statement::CreateMaterializedView(create) => {
            views::create_materialized(queries, session, create).await
        }
        Statement::CreateStreamingTable(create) => {
            streaming::create(queries, session, *create).await
        }
        Statement::CreateFlow(create) => streaming::create_flow(queries, session, *create).await,
        Statement::DropFlow { name, if_exists } => {
            streaming::drop_flow(queries, session, &name, if_exists).await
        }
        Statement::Quarantine(statement) => quarantine::run(queries, session, statement).await,
        Statement::Drop(drop) => tables::drop(queries, session, &drop).await,
        Statement::Refresh(refresh) => jobs::refresh(queries, session, &refresh).await,
        Statement::Job(job) => jobs::run(queries, session, job).await,
        Statement::CancelQuery { query, reason } => {
            cancel_query(queries, session, &query, reason.as_deref()).await
        }
        Statement::Rights(rights) => rights::run(queries, session, rights).await,
        Statement::Set { key, .. } => Err(QueryError::Unsupported(format!(
            "SET {key} is not supported in this version: settings belong to the server's configuration"
        ))),
        Statement::Verify { name, run, sample, wait } => {
            let verify = verify::Verify { name, run, sample, wait };
            verify::run(queries, session, verify).await
        }
        Statement::AlterTransform(alter) => transforms::alter(queries, session, &alter).await,
        Statement::ExplainRefresh { name, full, inputs } => {
            transforms::explain(queries, session, &name, full, &inputs).await
        }
        Statement::Suspend { name } => transforms::suspend(queries, session, &name, true).await,
        Statement::Resume { name } => transforms::suspend(queries, session, &name, false).await,
        Statement::Folder { action, folder } => {
            folders::run(queries, session, action, &folder).await
        }
        Statement::Backfill(statement) => backfill::run(queries, session, &statement).await,
        Statement::Query(_)
        | Statement::Substrait { .. }
        | Statement::Explain { .. }
        | Statement::Show(_) => {
            Err(QueryError::Invalid("the statement is a query: fetch its rows".to_owned()))
        }
    }
}

pub(crate) use show::sql_type;
pub(crate) use tables::{arrow_type, arrow_type_of};
pub(crate) use views::named_once;

/// The query inside a statement.
pub(crate) fn query_of(statement: &Statement) -> Option<&Query> {
    match statement {
        Statement::Query(query) | Statement::Job(JobStatement::Show(query)) => Some(query),
        Statement::Insert(insert) => Some(&insert.source),
        Statement::Copy(copy) => Some(&copy.source),
        Statement::CreateTable(create) => create.query.as_ref(),
        Statement::CreateView(create) => Some(&create.query),
        Statement::CreateMaterializedView(create) => Some(&create.query),
        Statement::CreateStreamingTable(create) => create.flow.as_ref().map(|flow| &flow.query),
        Statement::CreateFlow(create) => Some(&create.body.query),
        _ => None,
    }
}

/// A session keeps nothing that later statements could read.
fn no_folder() -> QueryError {
    QueryError::Unsupported(
        "a temporary view is for the other statements of a folder, see `whimbrel apply`: in a session \
         write CREATE VIEW, or WITH … inside the query"
            .to_owned(),
    )
}

/// A query that is kept has no caller who could bind its parameters.
fn stored(query: &Query) -> Result<(), QueryError> {
    if query.parameters == 0 {
        return Ok(());
    }
    Err(QueryError::Invalid("a CREATE statement takes no parameters: write the values".to_owned()))
}

/// The name under which something is created; reserved schemas are refused.
fn new_name(session: &Session, parts: &[String]) -> Result<ObjectName, QueryError> {
    let name = ObjectName::from_parts(parts, session.schema())?;
    if RESERVED_SCHEMAS.contains(&name.schema()) {
        return Err(QueryError::Invalid(format!(
            "schema '{}' belongs to the server",
            name.schema()
        )));
    }
    Ok(name)
}

/// Answers with what `system.queries` says of the statement.
async fn cancel_query(
    queries: &Queries,
    session: &Session,
    query: &str,
    reason: Option<&str>,
) -> Result<CommandResult, QueryError> {
    let id: QueryId =
        query.parse().map_err(|error: ParseIdError| QueryError::Invalid(error.to_string()))?;
    let record = queries.cancel(session, id, reason).await?;
    Ok(CommandResult::rows(crate::system::statement_rows(&[record])))
}

fn parse_job(text: &str) -> Result<JobId, QueryError> {
    text.parse().map_err(|error: ParseIdError| QueryError::Invalid(error.to_string()))
}

/// Finishes `work` even when the caller goes away: for what must not stop half way. It does not
/// begin when somebody has ended the statement.
pub(crate) async fn finished<T: Send + 'static>(
    queries: &Queries,
    work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
) -> Result<T, QueryError> {
    crate::log::may_commit()?;
    let guard = queries.inner.options.shutdown.guard("commit");
    let task = queries.inner.control().handle().spawn(async move {
        let result = work.await;
        drop(guard);
        result
    });
    task.await.map_err(|error| QueryError::Task(join_error(error)))?
}

fn join_error(error: tokio::task::JoinError) -> rt::cpu::CpuTaskError {
    match error.try_into_panic() {
        Ok(_) => rt::cpu::CpuTaskError::Panicked("while committing".to_owned()),
        Err(_) => rt::cpu::CpuTaskError::ShutDown,
    }
}
