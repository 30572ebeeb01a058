//! What plans read a table through.
//!
//! It reads and nothing else: the write hooks of a table provider are left alone on purpose, so that
//! a plan that slips past the write path fails instead of changing rows it should not.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    error::Result as DataFusionResult,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::ExecutionPlan,
};
use deltalake_core::{
    delta_datafusion::{DeltaScanConfig, DeltaScanNext},
    kernel::EagerSnapshot,
};

use crate::{
    error::LakeError, rows::TableRows, scan::TableScan, snapshot::Snapshot,
    statistics::LogStatistics, stores::Stores,
};

/// One version of a Delta table for plans.
pub(crate) struct DeltaTableProvider {
    location: String,
    stores: Arc<Stores>,
    snapshot: Arc<EagerSnapshot>,
    statistics: Arc<LogStatistics>,
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
        snapshot: Arc<EagerSnapshot>,
        statistics: Arc<LogStatistics>,
        stores: Arc<Stores>,
        location: &str,
    ) -> Result<Self, LakeError> {
        let scan = scan(&snapshot, false).map_err(|source| LakeError::BrokenLog {
            location: location.to_owned(),
            source: Arc::new(source),
        })?;
        Ok(Self { location: location.to_owned(), stores, snapshot, statistics, scan })
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
        let supported = self.scan.supports_filters_pushdown(filters)?;
        // The library promises to apply conditions about partitions, and those without columns, but
        // only leaves out files that it is sure of: where a condition is NULL it is not.
        let kept = filters.iter().zip(supported).map(|(filter, supported)| match supported {
            _ if filter.column_refs().is_empty() => TableProviderFilterPushDown::Unsupported,
            TableProviderFilterPushDown::Exact => TableProviderFilterPushDown::Inexact,
            other => other,
        });
        Ok(kept.collect())
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
        Ok(Arc::new(TableScan::new(plan, &self.snapshot, &self.statistics)))
    }
}

/// One version of a table with rows that are marked as deleted beside their files. The library's
/// scan reads the marks of all files before the first row and each file by one thread.
pub(crate) struct LiveTableProvider {
    rows: TableRows,
    schema: SchemaRef,
}

impl fmt::Debug for LiveTableProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveTableProvider").field("rows", &self.rows).finish()
    }
}

impl LiveTableProvider {
    /// `None` where no row is marked, and for tables that only the library's scan can read.
    pub(crate) fn new(snapshot: &Arc<Snapshot>) -> Result<Option<Self>, LakeError> {
        if !snapshot.has_deletion_vectors() || snapshot.deletion_vectors()?.is_empty() {
            return Ok(None);
        }
        let files = snapshot.data_files()?;
        if !(0..files.len()).all(|file| files.is_within(file)) {
            return Ok(None);
        }
        match TableRows::new(Arc::clone(snapshot)) {
            Ok(rows) => {
                let columns: Vec<usize> = (0..rows.schema().fields().len() - 2).collect();
                let schema = rows.schema().project(&columns).map_err(|error| {
                    LakeError::internal("read the table", snapshot.location(), error)
                })?;
                Ok(Some(Self { rows, schema: Arc::new(schema) }))
            }
            Err(LakeError::Unsupported { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[async_trait]
impl TableProvider for LiveTableProvider {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.rows.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        self.rows.scan(session, Some(projection.unwrap_or(&all)), filters, None).await
    }
}
