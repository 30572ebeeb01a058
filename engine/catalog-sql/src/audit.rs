//! The audit trail.

use std::time::Duration;

use async_trait::async_trait;
use catalog::{
    audit::{Audit, StoredAudit},
    error::CatalogError,
};
use model::{
    audit::{AuditEvent, AuditOutcome, AuditRecord},
    time::Timestamp,
};
use serde_json::json;

use crate::{
    SqlCatalog,
    database::{Database, Transaction},
    sql::sql,
    value::{Row, corrupt, list, values},
};

#[async_trait]
impl<D: Database> Audit for SqlCatalog<D> {
    async fn append_audit(&self, records: &[AuditRecord]) -> Result<(), CatalogError> {
        if records.is_empty() {
            return Ok(());
        }
        // One statement for all: a database far away is asked once.
        self.db
            .change(
                "write the audit trail",
            sql!("INSERT INTO audit (at, principal, client, event, outcome, query_id, statement,"
                 " row_count, micros, error)"
                 " SELECT CAST(r ->> 'at' AS BIGINT), r ->> 'principal', r ->> 'client',"
                 " r ->> 'event', r ->> 'outcome', r ->> 'query_id', r ->> 'statement',"
                 " CAST(r ->> 'rows' AS BIGINT), CAST(r ->> 'micros' AS BIGINT), r ->> 'error'"
                 " FROM " [objects 1]),
            vec![list(records.iter().map(written))],
        )
        .await?;
        Ok(())
    }

    async fn audit(
        &self,
        principal: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<StoredAudit>, CatalogError> {
        let before = before.unwrap_or(i64::MAX);
        let rows = match principal {
            None => {
                let sql = sql!("SELECT seq, at, principal, client, event, outcome, query_id,"
                    " statement, row_count, micros, error FROM audit WHERE seq < $1"
                    " ORDER BY seq DESC LIMIT $2");
                self.db.rows("read the audit trail", sql, values![before, limit]).await?
            }
            Some(principal) => {
                let sql = sql!("SELECT seq, at, principal, client, event, outcome, query_id,"
                    " statement, row_count, micros, error FROM audit WHERE seq < $1"
                    " AND principal = $3 ORDER BY seq DESC LIMIT $2");
                let values = values![before, limit, principal];
                self.db.rows("read the audit trail", sql, values).await?
            }
        };
        rows.into_iter().map(read).collect()
    }

    async fn prune_audit(&self, until: Timestamp, keep: u64) -> Result<(), CatalogError> {
        let mut tx = self.db.write("shorten the audit trail").await?;
        tx.rows(sql!("DELETE FROM audit WHERE at < $1"), values![until]).await?;
        tx.rows(
            sql!("DELETE FROM audit WHERE seq <= (SELECT seq FROM audit ORDER BY seq DESC"
                 " LIMIT 1 OFFSET $1)"),
            values![keep],
        )
        .await?;
        tx.commit().await
    }
}

/// A record as a JSON object: texts and numbers.
fn written(record: &AuditRecord) -> String {
    // Postgres has no texts with NUL.
    let clean = |text: &str| text.replace('\0', "\u{fffd}");
    let maybe = |text: &Option<String>| text.as_deref().map(clean);
    json!({
        "at": record.at.as_micros(),
        "principal": clean(&record.principal),
        "client": maybe(&record.client),
        "event": record.event.as_str(),
        "outcome": record.outcome.as_str(),
        "query_id": maybe(&record.query_id),
        "statement": maybe(&record.statement),
        "rows": i64::try_from(record.rows).unwrap_or(i64::MAX),
        "micros": i64::try_from(record.duration.as_micros()).unwrap_or(i64::MAX),
        "error": maybe(&record.error),
    })
    .to_string()
}

fn read(mut row: Row) -> Result<StoredAudit, CatalogError> {
    let seq = row.int("place in the audit trail")?;
    let at = row.time("time of an audit record")?;
    let principal = row.text("principal of an audit record")?;
    let client = row.text_opt("client of an audit record")?;
    let event = row.text("event of an audit record")?;
    let outcome = row.text("outcome of an audit record")?;
    Ok(StoredAudit {
        seq,
        record: AuditRecord {
            at,
            principal,
            client,
            event: AuditEvent::from_word(&event)
                .ok_or_else(|| corrupt("event of an audit record", event))?,
            outcome: AuditOutcome::from_word(&outcome)
                .ok_or_else(|| corrupt("outcome of an audit record", outcome))?,
            query_id: row.text_opt("query of an audit record")?,
            statement: row.text_opt("statement of an audit record")?,
            rows: row.count("rows of an audit record")?,
            duration: Duration::from_micros(row.count("duration of an audit record")?),
            error: row.text_opt("error of an audit record")?,
        },
    })
}
