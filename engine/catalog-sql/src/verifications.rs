//! What the auditor has found of materialized views.

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    verifications::{StoredVerification, Verification, Verifications},
};

use crate::{
    SqlCatalog,
    database::{Database, Transaction},
    sql::sql,
    value::{Row, Value, values},
};

#[async_trait]
impl<D: Database> Verifications for SqlCatalog<D> {
    async fn add_verification(&self, verification: &Verification) -> Result<(), CatalogError> {
        let Verification { object, name, verdict, at, version, rows, rows_computed, detail } =
            verification;
        let count = |count: &Option<u64>| match count {
            Some(count) => Value::from(*count),
            None => Value::from(None::<i64>),
        };
        let mut tx = self.db.write("record a verification").await?;
        tx.rows(
            sql!("INSERT INTO verifications (object_id, verdict, object_schema, object_name,"
                 " first_at, last_at, times, version, row_count, row_count_computed, detail)"
                 " VALUES ($1, $2, $3, $4, $5, $5, 1, $6, $7, $8, $9)"
                 " ON CONFLICT (object_id, verdict) DO UPDATE SET"
                 " object_schema = excluded.object_schema, object_name = excluded.object_name,"
                 " last_at = excluded.last_at, times = verifications.times + 1,"
                 " version = excluded.version, row_count = excluded.row_count,"
                 " row_count_computed = excluded.row_count_computed, detail = excluded.detail"),
            vec![
                Value::from(*object),
                Value::from(verdict.as_str()),
                Value::from(name.schema()),
                Value::from(name.name()),
                Value::from(*at),
                Value::from(*version),
                count(rows),
                count(rows_computed),
                // Postgres has no texts with NUL.
                Value::from(detail.as_deref().map(|text| text.replace('\0', "\u{fffd}"))),
            ],
        )
        .await?;
        tx.commit().await
    }

    async fn verifications(&self) -> Result<Vec<StoredVerification>, CatalogError> {
        let sql = sql!("SELECT object_id, object_schema, object_name, verdict, last_at, version,"
            " row_count, row_count_computed, detail, first_at, times FROM verifications"
            " ORDER BY last_at DESC, object_id, verdict");
        let rows = self.db.rows("list the verifications", sql, values![]).await?;
        rows.into_iter().map(read).collect()
    }
}

fn read(mut row: Row) -> Result<StoredVerification, CatalogError> {
    let count = |found: Option<i64>| found.and_then(|found| u64::try_from(found).ok());
    let last = Verification {
        object: row.parsed("object id")?,
        name: row.name("object name")?,
        verdict: row.parsed("verdict")?,
        at: row.time("time of a verification")?,
        version: row.int_opt("version")?,
        rows: count(row.int_opt("number of rows")?),
        rows_computed: count(row.int_opt("number of rows")?),
        detail: row.text_opt("detail of a verification")?,
    };
    let first_at = row.time("time of a verification")?;
    Ok(StoredVerification { last, first_at, times: row.count("number of verifications")? })
}
