//! Keys with which servers seal what they give to clients.

use std::time::Duration;

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    seal_keys::{SEAL_KEYS_KEPT, SealKey, SealKeys},
};
use model::{secret::Secret, time::Timestamp};

use crate::{
    SqlCatalog,
    database::{Database, Transaction},
    sql::{Sql, sql},
    value::{Row, Value, values},
};

const NEWEST: Sql =
    sql!("SELECT number, secret, made_at FROM seal_keys ORDER BY number DESC LIMIT $1");

#[async_trait]
impl<D: Database> SealKeys for SqlCatalog<D> {
    async fn seal_keys(
        &self,
        fresh: &Secret,
        rotate_after: Duration,
        now: Timestamp,
    ) -> Result<Vec<SealKey>, CatalogError> {
        let is_old = |key: &SealKey| now.since(key.made_at) >= rotate_after;
        // Nearly always there is one, and nobody has to wait for those who write.
        let known = read(self.db.rows("read the keys of tickets", NEWEST, kept()).await?)?;
        let newest = match known.first() {
            Some(newest) if !is_old(newest) => return Ok(known),
            newest => newest.map_or(0, |newest| newest.number),
        };
        let mut tx = self.db.write("make a key of tickets").await?;
        // Whoever has made the same number meanwhile was first: then both use that one.
        tx.rows(
            sql!("INSERT INTO seal_keys (number, secret, made_at) VALUES ($1, $2, $3)"
                 " ON CONFLICT (number) DO NOTHING"),
            values![newest + 1, fresh.reveal(), now],
        )
        .await?;
        tx.rows(
            sql!("DELETE FROM seal_keys WHERE number NOT IN"
                 " (SELECT number FROM seal_keys ORDER BY number DESC LIMIT $1)"),
            kept(),
        )
        .await?;
        let keys = read(tx.rows(NEWEST, kept()).await?)?;
        tx.commit().await?;
        Ok(keys)
    }
}

fn kept() -> Vec<Value> {
    values![SEAL_KEYS_KEPT]
}

fn read(rows: Vec<Row>) -> Result<Vec<SealKey>, CatalogError> {
    let key = |mut row: Row| {
        Ok(SealKey {
            number: row.int("number of a key")?,
            secret: Secret::new(row.text("key")?),
            made_at: row.time("time of a key")?,
        })
    };
    rows.into_iter().map(key).collect()
}
