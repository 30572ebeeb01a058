//! Graph runs: which jobs belong together, and the versions at which they read their inputs.
//!
//! Whoever changes which graph run a job belongs to, or the versions of one, holds
//! `catalog_state.queue_seq`: so graph runs are put together only while none has chosen a version.

use catalog::error::CatalogError;
use model::{
    id::{GraphId, JobId},
    job::{Lease, PinnedInput},
};

use super::{
    Locked,
    lease::{held, lost},
    locked_columns, next_queue_seq,
};
use crate::{
    database::{Transaction, row},
    sql::sql,
    value::{list, values},
};

/// Whether the graph run of job `j` has chosen a version.
macro_rules! graph_has_begun {
    () => {
        "EXISTS (SELECT 1 FROM graph_inputs b WHERE b.graph_id = j.graph_id)"
    };
}
pub(super) use graph_has_begun;

/// Makes a job one of a graph run, together with all that are in the same graph run as it is. None of
/// both has begun; the caller holds `queue_seq`.
pub(super) async fn join(
    tx: &mut impl Transaction,
    job: JobId,
    graph: Option<GraphId>,
) -> Result<(), CatalogError> {
    let Some(graph) = graph else { return Ok(()) };
    match graph_of(tx, job).await? {
        Some(there) if there == graph => {}
        Some(there) => {
            tx.rows(
                sql!("UPDATE jobs SET graph_id = $1 WHERE graph_id = $2"),
                values![graph, there],
            )
            .await?;
        }
        None => {
            tx.rows(sql!("UPDATE jobs SET graph_id = $1 WHERE id = $2"), values![graph, job])
                .await?;
        }
    }
    Ok(())
}

async fn graph_of(tx: &mut impl Transaction, job: JobId) -> Result<Option<GraphId>, CatalogError> {
    let found = row(tx, sql!("SELECT graph_id FROM jobs WHERE id = $1"), values![job]).await?;
    let Some(mut found) = found else { return Ok(None) };
    found.parsed_opt("graph run of a job")
}

/// The jobs of a graph run, locked, in the order of the queue.
///
/// They are locked in the order of their ids, as the ranges of a BACKFILL are.
pub(super) async fn members(
    tx: &mut impl Transaction,
    graph: GraphId,
) -> Result<Vec<Locked>, CatalogError> {
    tx.rows(
        sql!("SELECT j.id FROM jobs j WHERE j.graph_id = $1 ORDER BY j.id" LOCK_J),
        values![graph],
    )
    .await?;
    let rows = tx
        .rows(
            sql!("SELECT " locked_columns " FROM jobs j WHERE j.graph_id = $1"
                 " ORDER BY j.queue_seq"),
            values![graph],
        )
        .await?;
    rows.into_iter().map(Locked::read).collect()
}

/// See [`catalog::jobs::Jobs::pin_graph`].
pub(super) async fn pin(
    tx: &mut impl Transaction,
    lease: &Lease,
    inputs: &[PinnedInput],
) -> Result<Vec<PinnedInput>, CatalogError> {
    let Some(graph) = held_graph(tx, lease).await? else { return Ok(Vec::new()) };
    for input in inputs {
        tx.rows(
            sql!("INSERT INTO graph_inputs (graph_id, object_id, object_schema, object_name,"
                 " delta_table_id, version) VALUES ($1, $2, $3, $4, $5, $6)"
                 " ON CONFLICT (graph_id, object_id) DO NOTHING"),
            values![
                graph,
                input.object,
                input.name.schema(),
                input.name.name(),
                input.delta_table_id.as_str(),
                input.version,
            ],
        )
        .await?;
    }
    Ok(self::inputs(tx, &[graph]).await?.into_iter().map(|(_, input)| input).collect())
}

/// See [`catalog::jobs::Jobs::put_graph_output`].
pub(super) async fn put_output(
    tx: &mut impl Transaction,
    lease: &Lease,
    output: &PinnedInput,
) -> Result<(), CatalogError> {
    let Some(graph) = held_graph(tx, lease).await? else { return Ok(()) };
    tx.rows(
        sql!("INSERT INTO graph_inputs (graph_id, object_id, object_schema, object_name,"
             " delta_table_id, version) VALUES ($1, $2, $3, $4, $5, $6)"
             " ON CONFLICT (graph_id, object_id) DO UPDATE SET"
             " delta_table_id = excluded.delta_table_id, version = excluded.version"),
        values![
            graph,
            output.object,
            output.name.schema(),
            output.name.name(),
            output.delta_table_id.as_str(),
            output.version,
        ],
    )
    .await?;
    Ok(())
}

/// The graph run of the job of a lease that is good.
async fn held_graph(
    tx: &mut impl Transaction,
    lease: &Lease,
) -> Result<Option<GraphId>, CatalogError> {
    next_queue_seq(tx, 0).await?;
    let Some(job) = held(tx, lease).await? else { return Err(lost(lease)) };
    graph_of(tx, job.id).await
}

/// See [`catalog::jobs::Jobs::graph_inputs`].
pub(super) async fn inputs(
    tx: &mut impl Transaction,
    graphs: &[GraphId],
) -> Result<Vec<(GraphId, PinnedInput)>, CatalogError> {
    if graphs.is_empty() {
        return Ok(Vec::new());
    }
    let rows = tx
        .rows(
            sql!("SELECT graph_id, object_id, object_schema, object_name, delta_table_id, version"
                 " FROM graph_inputs WHERE graph_id IN " [list 1]
                 " ORDER BY graph_id, object_schema, object_name, object_id"),
            vec![list(graphs)],
        )
        .await?;
    let mut inputs = Vec::with_capacity(rows.len());
    for mut row in rows {
        let graph = row.parsed("graph run")?;
        let input = PinnedInput {
            object: row.parsed("object id")?,
            name: row.name("object name")?,
            delta_table_id: row.text("id of a Delta table")?,
            version: row.int("pinned version")?,
        };
        inputs.push((graph, input));
    }
    Ok(inputs)
}

/// Takes from the graph runs of jobs that are queued again the versions that none of their other jobs
/// has read or made: these are chosen anew. While one of them is under way all stay, since it may be
/// about to read them.
pub(super) async fn forget_unread(
    tx: &mut impl Transaction,
    queued_again: &[JobId],
) -> Result<(), CatalogError> {
    tx.rows(
        sql!("DELETE FROM graph_inputs WHERE graph_id IN"
             " (SELECT q.graph_id FROM jobs q WHERE q.id IN " [list 1] " AND q.graph_id IS NOT NULL)"
             " AND NOT EXISTS (SELECT 1 FROM jobs k JOIN run_inputs i ON i.run_id = k.run_id"
             " WHERE k.graph_id = graph_inputs.graph_id AND i.object_id = graph_inputs.object_id"
             " AND k.state NOT IN ('FAILED', 'CANCELLED', 'UPSTREAM_FAILED'))"
             " AND NOT EXISTS (SELECT 1 FROM jobs k WHERE k.graph_id = graph_inputs.graph_id"
             " AND k.object_id = graph_inputs.object_id"
             " AND k.state IN ('SUCCEEDED', 'SKIPPED_NO_CHANGE'))"
             " AND NOT EXISTS (SELECT 1 FROM jobs k WHERE k.graph_id = graph_inputs.graph_id"
             " AND k.run_id IS NOT NULL AND k.state NOT IN ('SUCCEEDED', 'SKIPPED_NO_CHANGE',"
             " 'FAILED', 'CANCELLED', 'UPSTREAM_FAILED'))"),
        vec![list(queued_again)],
    )
    .await?;
    Ok(())
}
