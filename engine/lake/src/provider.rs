//! What plans read a table through.
//!
//! It reads and nothing else: the write hooks of a table provider are left alone on purpose, so that
//! a plan that slips past the write path fails instead of changing rows it should not.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::tree_node::TreeNodeRecursion,
    error::{DataFusionError, Result as DataFusionResult},
    execution::TaskContext,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, PhysicalExpr, PlanProperties,
        SendableRecordBatchStream,
    },
};
use deltalake_core::{
    delta_datafusion::{DeltaScanConfig, DeltaScanNext},
    kernel::EagerSnapshot,
};

use crate::{error::LakeError, stores::Stores};

/// One version of a Delta table for plans.
pub(crate) struct DeltaTableProvider {
    location: String,
    stores: Arc<Stores>,
    snapshot: Arc<EagerSnapshot>,
    scan: DeltaScanNext,
}

impl fmt::Debug for DeltaTableProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaTableProvider")
            .field("location", &self.location)
            .field("version", &self.snapshot.version())
            .finish_non_exhaustive()
    }
}

impl DeltaTableProvider {
    pub(crate) fn new(
        snapshot: EagerSnapshot,
        stores: Arc<Stores>,
        location: &str,
    ) -> Result<Self, LakeError> {
        let snapshot = Arc::new(snapshot);
        let scan = scan(&snapshot, false).map_err(|source| LakeError::BrokenLog {
            location: location.to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Self { location: location.to_owned(), stores, snapshot, scan })
    }
}

fn scan(snapshot: &Arc<EagerSnapshot>, row_filter: bool) -> DataFusionResult<DeltaScanNext> {
    let config = DeltaScanConfig::new()
        // Dictionary-typed partition columns trip joins and clients.
        .with_wrap_partition_values(false)
        .with_parquet_pushdown(row_filter);
    DeltaScanNext::new(Arc::clone(snapshot), config)
}

#[async_trait]
impl TableProvider for DeltaTableProvider {
    fn schema(&self) -> SchemaRef {
        self.scan.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.scan.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.stores.register(session.runtime_env());
        let row_filter = session.config().options().execution.parquet.pushdown_filters;
        let plan = if row_filter {
            let scan = scan(&self.snapshot, row_filter)?;
            scan.scan(session, projection, filters, limit).await?
        } else {
            self.scan.scan(session, projection, filters, limit).await?
        };
        Ok(whole(plan))
    }
}

/// The library's scan of a log alone says that it takes a LIMIT and then forgets it: what is above
/// it must not believe that.
fn whole(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    if plan.name() == "DeltaScanMetaExec" { Arc::new(WholeScan::new(plan)) } else { plan }
}

/// A scan that returns all its rows, whatever limit is above it.
#[derive(Debug)]
struct WholeScan {
    scan: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl WholeScan {
    fn new(scan: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::clone(scan.properties());
        Self { scan, properties }
    }
}

impl DisplayAs for WholeScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WholeScan")
    }
}

impl ExecutionPlan for WholeScan {
    fn name(&self) -> &'static str {
        "WholeScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.scan]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(scan), true) => Ok(Arc::new(Self::new(scan))),
            _ => Err(DataFusionError::Internal("WholeScan has one input".to_owned())),
        }
    }

    fn supports_limit_pushdown(&self) -> bool {
        false
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        task: Arc<TaskContext>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        self.scan.execute(partition, task)
    }
}
