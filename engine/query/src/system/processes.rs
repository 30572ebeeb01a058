//! What processes do for all: `system.leaders`, `system.verifications`.

use arrow::record_batch::RecordBatch;
use model::rights::Rights;

use crate::{
    answer::{Answer, count},
    error::QueryError,
    queries::Inner,
};

/// Which process has which role.
pub(super) async fn leaders(queries: &Inner) -> Result<RecordBatch, QueryError> {
    let leaders = queries.options.catalog.leaders().await?;
    Ok(Answer::new()
        .text("role", leaders.iter().map(|leader| leader.role.as_str()))
        .maybe_text("worker", leaders.iter().map(|leader| leader.worker.map(|w| w.to_string())))
        .number("epoch", leaders.iter().map(|leader| leader.sign.epoch))
        .time("since", leaders.iter().map(|leader| leader.since))
        .time("renewed_at", leaders.iter().map(|leader| leader.renewed_at))
        .finish())
}

/// What the auditor has found of objects that somebody may know of.
pub(super) async fn verifications(
    queries: &Inner,
    rights: &Rights,
) -> Result<RecordBatch, QueryError> {
    let mut found = queries.options.catalog.verifications().await?;
    if !rights.is_admin() {
        let seen = queries.seen(rights).await?;
        found.retain(|found| seen.contains(&found.last.object));
    }
    let last = || found.iter().map(|found| &found.last);
    Ok(Answer::new()
        .text("object", last().map(|last| last.name.to_string()))
        .text("verdict", last().map(|last| last.verdict.as_str()))
        .number("times", found.iter().map(|found| count(found.times)))
        .time("first_at", found.iter().map(|found| found.first_at))
        .time("last_at", last().map(|last| last.at))
        .number("version", last().map(|last| last.version))
        .number("rows", last().map(|last| last.rows.map(count)))
        .number("rows_computed", last().map(|last| last.rows_computed.map(count)))
        .maybe_text("detail", last().map(|last| last.detail.as_deref()))
        .finish())
}
