//! Requests that carry a key: sent again, they queue nothing.

use catalog::error::CatalogError;
use model::{
    id::JobId,
    job::{Job, NewJob, RequestKey},
    time::Timestamp,
};

use super::{next_queue_seq, submit};
use crate::{database::Transaction, sql::sql, value::values};

/// See [`catalog::jobs::Jobs::submit_once`].
pub(super) async fn submit_once(
    tx: &mut impl Transaction,
    key: &RequestKey,
    jobs: &[NewJob],
    now: Timestamp,
) -> Result<Vec<Job>, CatalogError> {
    let Some(first) = jobs.first() else { return Ok(Vec::new()) };
    let by = first.requested_by.as_str();
    // From here on nobody else queues, so the key cannot come in between.
    next_queue_seq(tx, 0).await?;
    let answered = tx
        .rows(
            sql!("SELECT job_id, request FROM job_keys WHERE requested_by = $1"
                 " AND request_key = $2 ORDER BY position"),
            values![by, key.key.as_str()],
        )
        .await?;
    let mut ids: Vec<JobId> = Vec::new();
    for mut row in answered {
        let job: JobId = row.parsed("job id")?;
        let request = row.text("request of a key")?;
        if request != key.request {
            let (key, job) = (key.key.clone(), job.to_string());
            return Err(CatalogError::RequestKeyTaken { key, request, job });
        }
        ids.push(job);
    }
    if !ids.is_empty() {
        return submit::in_order(tx, ids).await;
    }
    let queued = submit::submit(tx, jobs, Some(&key.key), now).await?;
    for (position, job) in (0_i64..).zip(&queued) {
        tx.rows(
            sql!("INSERT INTO job_keys (requested_by, request_key, position, request, job_id)"
                 " VALUES ($1, $2, $3, $4, $5)"),
            values![by, key.key.as_str(), position, key.request.as_str(), job.id],
        )
        .await?;
    }
    Ok(queued)
}
