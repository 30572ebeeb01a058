//! Who does what only one process is to do.

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    leaders::{Bid, Leader, Leaders, Sign},
};
use model::{id::WorkerId, time::Timestamp};

use crate::{
    SqlCatalog,
    database::{Database, Transaction, row},
    sql::{Sql, sql},
    value::{Row, corrupt, values},
};

const BY_ROLE: Sql = sql!("SELECT role, worker_id, epoch, renewals, since, renewed_at FROM leaders"
    " WHERE role = $1");

#[async_trait]
impl<D: Database> Leaders for SqlCatalog<D> {
    async fn lead(&self, bid: &Bid, now: Timestamp) -> Result<Leader, CatalogError> {
        let mut tx = self.db.write("take or renew a role").await?;
        let leader = lead(&mut tx, bid, now).await?;
        tx.commit().await?;
        Ok(leader)
    }

    async fn resign(&self, role: &str, worker: WorkerId) -> Result<(), CatalogError> {
        let mut tx = self.db.write("give a role back").await?;
        tx.rows(
            sql!("UPDATE leaders SET worker_id = NULL WHERE role = $1 AND worker_id = $2"),
            values![role, worker],
        )
        .await?;
        tx.commit().await
    }

    async fn leaders(&self) -> Result<Vec<Leader>, CatalogError> {
        let sql = sql!("SELECT role, worker_id, epoch, renewals, since, renewed_at FROM leaders"
            " ORDER BY role");
        let rows = self.db.rows("list the leaders", sql, values![]).await?;
        rows.into_iter().map(read).collect()
    }
}

async fn lead(
    tx: &mut impl Transaction,
    bid: &Bid,
    now: Timestamp,
) -> Result<Leader, CatalogError> {
    let Bid { role, worker, silent_since } = bid;
    tx.rows(
        sql!("INSERT INTO leaders (role, worker_id, epoch, renewals, since, renewed_at)"
             " VALUES ($1, NULL, 0, 0, $2, $2) ON CONFLICT (role) DO NOTHING"),
        values![role.as_str(), now],
    )
    .await?;
    // Each of both changes one row or none, by what the row is at that moment: so of two bids at
    // once the second finds what the first has made of it.
    tx.rows(
        sql!("UPDATE leaders SET renewals = renewals + 1, renewed_at = $3"
             " WHERE role = $1 AND worker_id = $2"),
        values![role.as_str(), *worker, now],
    )
    .await?;
    // No epoch is negative: without a sign only a role that nobody has is taken.
    let silent = silent_since.unwrap_or(Sign { epoch: -1, renewals: -1 });
    tx.rows(
        sql!("UPDATE leaders SET worker_id = $2, epoch = epoch + 1, renewals = 0, since = $3,"
             " renewed_at = $3 WHERE role = $1"
             " AND (worker_id IS NULL OR (worker_id <> $2 AND epoch = $4 AND renewals = $5))"),
        values![role.as_str(), *worker, now, silent.epoch, silent.renewals],
    )
    .await?;
    let found = row(tx, BY_ROLE, values![role.as_str()]).await?;
    read(found.ok_or_else(|| corrupt("role", "it is missing"))?)
}

fn read(mut row: Row) -> Result<Leader, CatalogError> {
    Ok(Leader {
        role: row.text("role")?,
        worker: row.parsed_opt("worker id")?,
        sign: Sign { epoch: row.int("epoch")?, renewals: row.int("number of renewals")? },
        since: row.time("time of a taking")?,
        renewed_at: row.time("time of a renewal")?,
    })
}
