//! Notifications.
//!
//! That a job has ended is read from its row, so nobody who ends one has to think of them.

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    notifications::{DueNotification, Notifications, Try, TryEnded},
};
use model::{
    id::{JobId, NotificationId},
    job::JobState,
    notification::{NewNotification, Notification, NotificationState},
    time::Timestamp,
};

use crate::{
    SqlCatalog,
    database::{Database, Transaction, row},
    jobs::{jobs_of, next_queue_seq},
    sql::sql,
    value::{Row, values},
};

#[async_trait]
impl<D: Database> Notifications for SqlCatalog<D> {
    async fn notify(
        &self,
        new: &[NewNotification],
        open_max: u64,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.db.write("keep notifications").await?;
        // Two callers must not both take the last place.
        next_queue_seq(&mut tx, 0).await?;
        let mut fresh = Vec::with_capacity(new.len());
        for notification in new {
            let job = notification.job;
            let found =
                row(&mut tx, sql!("SELECT id FROM jobs WHERE id = $1"), values![job]).await?;
            if found.is_none() {
                return Err(CatalogError::JobNotFound(job.to_string()));
            }
            if !is_kept(&mut tx, notification).await? {
                fresh.push(notification);
            }
        }
        let open = row(
            &mut tx,
            sql!("SELECT count(*) FROM notifications WHERE state = 'WAITING'"),
            values![],
        )
        .await?;
        let open = open.map(|mut row| row.count("number of notifications")).transpose()?;
        let open = open.unwrap_or(0).saturating_add(fresh.len() as u64);
        if !fresh.is_empty() && open > open_max {
            return Err(CatalogError::NotificationsFull { open_max });
        }
        for notification in fresh {
            insert(&mut tx, notification, now).await?;
        }
        tx.commit().await
    }

    async fn claim_notifications(
        &self,
        now: Timestamp,
        hold_for: Duration,
        limit: u32,
    ) -> Result<Vec<DueNotification>, CatalogError> {
        let mut tx = self.db.write("take notifications").await?;
        // The notification is called j, so that it is what is locked.
        let due = tx
            .rows(
                sql!("SELECT j.id FROM notifications j JOIN jobs u ON u.id = j.job_id"
                     " WHERE j.state = 'WAITING' AND j.next_at <= $1"
                     " AND u.state IN ('SUCCEEDED', 'FAILED', 'CANCELLED', 'SKIPPED_NO_CHANGE',"
                     " 'UPSTREAM_FAILED') ORDER BY j.next_at, j.id LIMIT $2" SKIP_J),
                values![now, limit],
            )
            .await?;
        let mut taken: Vec<(Try, String, JobId)> = Vec::new();
        for mut row in due {
            let id: NotificationId = row.parsed("notification id")?;
            let mut held = tx
                .rows(
                    sql!("UPDATE notifications SET attempts = attempts + 1, next_at = $2"
                         " WHERE id = $1 RETURNING attempts, url, job_id"),
                    values![id.to_string(), now.plus(hold_for)],
                )
                .await?;
            let Some(mut held) = held.pop() else { continue };
            let sent = Try { id, attempt: held.small("number of tries")? };
            taken.push((sent, held.text("url")?, held.parsed("job id")?));
        }
        let mut ids: Vec<JobId> = taken.iter().map(|(.., job)| *job).collect();
        ids.dedup();
        let jobs = match ids.is_empty() {
            true => Vec::new(),
            false => jobs_of(&mut tx, ids).await?,
        };
        let jobs: HashMap<_, _> = jobs.into_iter().map(|job| (job.id, job)).collect();
        tx.commit().await?;
        let due = taken.into_iter().filter_map(|(sent, url, job)| {
            let job = jobs.get(&job)?.clone();
            Some(DueNotification { sent, url, job })
        });
        Ok(due.collect())
    }

    async fn finish_notification(
        &self,
        sent: &Try,
        ended: &TryEnded,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let (state, error, next_at, finished_at) = match ended {
            TryEnded::Delivered => (NotificationState::Delivered, None, now, Some(now)),
            TryEnded::Again { error, at } => {
                (NotificationState::Waiting, Some(error.clone()), *at, None)
            }
            TryEnded::GivenUp { error } => {
                (NotificationState::Failed, Some(error.clone()), now, Some(now))
            }
        };
        let mut tx = self.db.write("record a notification").await?;
        let found = row(
            &mut tx,
            sql!("UPDATE notifications SET state = $3, last_error = $4, next_at = $5,"
                 " finished_at = $6 WHERE id = $1 AND attempts = $2 AND state = 'WAITING'"
                 " RETURNING id"),
            values![sent.id.to_string(), sent.attempt, state.as_str(), error, next_at, finished_at],
        )
        .await?;
        tx.commit().await?;
        Ok(found.is_some())
    }

    async fn prune_notifications(&self, until: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.db.write("forget old notifications").await?;
        tx.rows(
            sql!("DELETE FROM notifications WHERE state <> 'WAITING' AND finished_at < $1"),
            values![until],
        )
        .await?;
        tx.commit().await
    }

    async fn notifications(&self, limit: u32) -> Result<Vec<Notification>, CatalogError> {
        let sql = sql!("SELECT n.id, n.job_id, j.object_schema, j.object_name, n.url,"
            " n.requested_by, n.requested_at, n.state, j.state, n.attempts, n.next_at,"
            " n.finished_at, n.last_error FROM notifications n JOIN jobs j ON j.id = n.job_id"
            " ORDER BY n.requested_at DESC, n.id DESC LIMIT $1");
        let rows = self.db.rows("list the notifications", sql, values![limit]).await?;
        rows.into_iter().map(read).collect()
    }
}

/// Whether there is that notification, or one to the same URL of the same job for the same asker.
async fn is_kept(tx: &mut impl Transaction, new: &NewNotification) -> Result<bool, CatalogError> {
    let found = row(
        tx,
        sql!("SELECT id FROM notifications WHERE id = $1"
             " OR (job_id = $2 AND url = $3 AND requested_by = $4) LIMIT 1"),
        values![new.id.to_string(), new.job, new.url.as_str(), new.requested_by.as_str()],
    )
    .await?;
    Ok(found.is_some())
}

async fn insert(
    tx: &mut impl Transaction,
    new: &NewNotification,
    now: Timestamp,
) -> Result<(), CatalogError> {
    tx.rows(
        sql!("INSERT INTO notifications (id, job_id, url, requested_by, requested_at, state,"
             " attempts, next_at) VALUES ($1, $2, $3, $4, $5, 'WAITING', 0, $5)"
             " ON CONFLICT (id) DO NOTHING"),
        values![new.id.to_string(), new.job, new.url.as_str(), new.requested_by.as_str(), now],
    )
    .await?;
    Ok(())
}

/// A job that is queued again ends again: who was told of its first end is told of the next one too.
pub(crate) async fn tell_again(
    tx: &mut impl Transaction,
    job: JobId,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let told = tx
        .rows(
            sql!("SELECT DISTINCT n.url, n.requested_by FROM notifications n WHERE n.job_id = $1"
                 " AND n.state <> 'WAITING' AND NOT EXISTS (SELECT 1 FROM notifications w"
                 " WHERE w.job_id = n.job_id AND w.url = n.url AND w.state = 'WAITING')"),
            values![job],
        )
        .await?;
    for mut row in told {
        let (url, requested_by) = (row.text("url")?, row.text("name of a principal")?);
        let id = NotificationId::generate();
        insert(tx, &NewNotification { id, job, url, requested_by }, now).await?;
    }
    Ok(())
}

fn read(mut row: Row) -> Result<Notification, CatalogError> {
    let id = row.parsed("notification id")?;
    let job = row.parsed("job id")?;
    let object_name = row.name("object name")?;
    let url = row.text("url")?;
    let requested_by = row.text("name of a principal")?;
    let requested_at = row.time("time of a request")?;
    let state: NotificationState = row.parsed("state of a notification")?;
    let job_state: JobState = row.parsed("job state")?;
    let is_open = state == NotificationState::Waiting;
    let state = if is_open && job_state.is_final() { NotificationState::Sending } else { state };
    let attempts = row.small("number of tries")?;
    let next_at = row.time("time of the next try")?;
    Ok(Notification {
        id,
        job,
        object_name,
        url,
        requested_by,
        requested_at,
        state,
        attempts,
        next_attempt_at: (state == NotificationState::Sending).then_some(next_at),
        finished_at: row.time_opt("end of a notification")?,
        last_error: row.text_opt("error of a notification")?,
    })
}
