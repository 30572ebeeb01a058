//! What happened to a table, commit by commit, as its log tells it.

use futures::{StreamExt, TryStreamExt, stream};
use model::time::Timestamp;
use serde_json::Value;

use crate::{error::LakeError, lake::Lake, log};

/// Commits that are read at the same time.
const COMMITS_AT_ONCE: usize = 16;

/// One commit of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryEntry {
    /// The version that it made.
    pub version: i64,
    /// When, by the clock of the store.
    pub committed_at: Timestamp,
    /// What it did, in the words of the Delta protocol: `WRITE`, `DELETE`, `OPTIMIZE` …; empty when its
    /// writer did not say.
    pub operation: String,
    /// Its parameters, as JSON.
    pub parameters: Option<String>,
    /// What it counted, as JSON.
    pub metrics: Option<String>,
    /// The version that it had read.
    pub read_version: Option<i64>,
    /// Whether it added rows without having read the table.
    pub blind_append: Option<bool>,
    /// Who wrote it.
    pub engine: Option<String>,
    /// What Whimbrel said besides: see [`crate::CommitInfo::operation_metadata`].
    pub application: Option<Value>,
}

impl Lake {
    /// The commits that are still in the table's log, newest first, at most `limit` of them.
    pub async fn history(
        &self,
        location: &str,
        limit: Option<usize>,
    ) -> Result<Vec<HistoryEntry>, LakeError> {
        let place = self.place(location)?;
        let commits = log::commits(&place).await?;
        if commits.is_empty() {
            return Err(LakeError::NotFound { location: place.text() });
        }
        let newest = commits.into_iter().rev().take(limit.unwrap_or(usize::MAX));
        stream::iter(newest)
            .map(|(version, committed_at)| {
                let place = place.clone();
                async move {
                    let actions = log::actions(&place, version).await?.unwrap_or_default();
                    Ok(entry(version, committed_at, &actions))
                }
            })
            .buffered(COMMITS_AT_ONCE)
            .try_collect()
            .await
    }
}

fn entry(version: i64, committed_at: Timestamp, actions: &[Value]) -> HistoryEntry {
    let info = actions.iter().find_map(|action| action.get("commitInfo"));
    let get = |key: &str| info.and_then(|info| info.get(key)).filter(|value| !value.is_null());
    let text = |key: &str| get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    let json = |key: &str| get(key).map(Value::to_string);
    HistoryEntry {
        version,
        committed_at,
        operation: text("operation").unwrap_or_default(),
        parameters: json("operationParameters"),
        metrics: json("operationMetrics"),
        read_version: get("readVersion").and_then(Value::as_i64),
        blind_append: get("isBlindAppend").and_then(Value::as_bool),
        application: get("whimbrel").cloned(),
        engine: text("engineInfo").or_else(|| text("clientVersion")),
    }
}
