//! `system.audit`: read from the catalog in pieces while the query runs, so that it may be long.

use std::sync::Arc;

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use catalog::{Catalog, audit::StoredAudit};
use datafusion::{
    catalog::{TableProvider, streaming::StreamingTable},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_plan::{stream::RecordBatchStreamAdapter, streaming::PartitionStream},
};
use futures::stream;
use model::{audit::AuditRecord, rights::Rights};
use rt::cpu::CpuRuntime;

use crate::{
    answer::{Answer, count},
    audit::AuditTrail,
    error::QueryError,
    queries::Inner,
};

/// Records that are asked for at once.
const PIECE: u32 = 2_000;

/// The trail, newest first; an admin sees all of it, others what they did themselves.
pub(super) fn table(
    queries: &Inner,
    rights: &Rights,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let schema = rows(&[]).schema();
    let trail = Trail {
        schema: Arc::clone(&schema),
        catalog: Arc::clone(&queries.options.catalog),
        audit: queries.options.audit.clone(),
        runtime: queries.control().clone(),
        principal: (!rights.is_admin()).then(|| rights.name().to_owned()),
    };
    Ok(Arc::new(StreamingTable::try_new(schema, vec![Arc::new(trail)])?))
}

#[derive(Clone)]
struct Trail {
    schema: SchemaRef,
    catalog: Arc<dyn Catalog>,
    audit: Option<Arc<AuditTrail>>,
    /// Where the catalog may be asked.
    runtime: CpuRuntime,
    principal: Option<String>,
}

impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Where reading stands.
#[derive(Clone, Copy)]
enum At {
    Start,
    Before(i64),
    End,
}

impl Trail {
    async fn piece(self, at: At) -> Result<Vec<StoredAudit>, QueryError> {
        let before = match at {
            At::Start => {
                if let Some(audit) = &self.audit {
                    audit.flush().await;
                }
                None
            }
            At::Before(seq) => Some(seq),
            At::End => return Ok(Vec::new()),
        };
        Ok(self.catalog.audit(self.principal.as_deref(), before, PIECE).await?)
    }

    async fn next(self, at: At) -> Result<Option<(RecordBatch, At)>, DataFusionError> {
        if matches!(at, At::End) {
            return Ok(None);
        }
        let runtime = self.runtime.clone();
        let read = runtime.spawn(self.piece(at)).await.map_err(QueryError::from);
        let piece = read.and_then(|piece| piece).map_err(external)?;
        let next = match piece.last() {
            Some(last) if piece.len() == PIECE as usize => At::Before(last.seq),
            _ => At::End,
        };
        let records: Vec<_> = piece.into_iter().map(|stored| stored.record).collect();
        Ok(Some((rows(&records), next)))
    }
}

impl PartitionStream for Trail {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let trail = self.clone();
        let pieces = stream::try_unfold(At::Start, move |at| trail.clone().next(at));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), pieces))
    }
}

fn external(error: QueryError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

fn rows(records: &[AuditRecord]) -> RecordBatch {
    let each = || records.iter();
    Answer::new()
        .time("at", each().map(|record| record.at))
        .text("principal", each().map(|record| record.principal.as_str()))
        .maybe_text("client", each().map(|record| record.client.as_deref()))
        .text("event", each().map(|record| record.event.as_str()))
        .text("outcome", each().map(|record| record.outcome.as_str()))
        .maybe_text("query_id", each().map(|record| record.query_id.as_deref()))
        .maybe_text("statement", each().map(|record| record.statement.as_deref()))
        .number("rows", each().map(|record| count(record.rows)))
        .number("duration_us", each().map(micros))
        .maybe_text("error", each().map(|record| record.error.as_deref()))
        .finish()
}

fn micros(record: &AuditRecord) -> i64 {
    i64::try_from(record.duration.as_micros()).unwrap_or(i64::MAX)
}
