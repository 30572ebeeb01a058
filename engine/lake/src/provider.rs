//! What plans read a table through.
//!
//! It reads and nothing else: the write hooks of a table provider are left alone on purpose, so that
//! a plan that slips past the write path fails instead of changing rows it should not.

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    datasource::source::DataSourceExec,
    error::Result as DataFusionResult,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_expr::expressions::Column,
    physical_plan::{
        ExecutionPlan,
        projection::{ProjectionExec, ProjectionExpr},
    },
};
use deltalake_core::{
    delta_datafusion::{DeltaScanConfig, DeltaScanNext},
    kernel::EagerSnapshot,
};

use crate::{
    error::LakeError,
    floats::{may_leave_out, that_may_leave_out},
    location::Place,
    page_index::with_page_indexes,
    rows::TableRows,
    scan::TableScan,
    snapshot::Snapshot,
    statistics::LogStatistics,
    stores::Stores,
};

/// One version of a Delta table for plans.
pub(crate) struct DeltaTableProvider {
    place: Place,
    stores: Arc<Stores>,
    snapshot: Arc<EagerSnapshot>,
    statistics: Arc<LogStatistics>,
    text: Text,
    /// The rows are what the files have in the columns of the same names.
    is_as_stored: bool,
    scan: DeltaScanNext,
}

/// As what text and bytes are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// As views of what was read: quick to compare, to filter and to join.
    Views,
    /// As plain values, one after the other.
    Plain,
}

/// The same table with text and bytes read as plain values, for plans that only pass rows on to who
/// wants them so. `None` where nothing else can be had.
#[must_use]
pub fn with_plain_text(table: &dyn TableProvider) -> Option<Arc<dyn TableProvider>> {
    let table: &DeltaTableProvider = table.downcast_ref()?;
    let scan = scan(&table.snapshot, false, Text::Plain).ok()?;
    Some(Arc::new(DeltaTableProvider {
        place: table.place.clone(),
        stores: Arc::clone(&table.stores),
        snapshot: Arc::clone(&table.snapshot),
        statistics: Arc::clone(&table.statistics),
        text: Text::Plain,
        is_as_stored: table.is_as_stored,
        scan,
    }))
}

impl fmt::Debug for DeltaTableProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaTableProvider")
            .field("place", &self.place)
            .field("version", &self.snapshot.version())
            .finish_non_exhaustive()
    }
}

impl DeltaTableProvider {
    pub(crate) fn new(
        snapshot: Arc<EagerSnapshot>,
        statistics: Arc<LogStatistics>,
        stores: Arc<Stores>,
        place: &Place,
        is_as_stored: bool,
    ) -> Result<Self, LakeError> {
        let text = Text::Views;
        let scan = scan(&snapshot, false, text).map_err(|source| LakeError::BrokenLog {
            location: place.text(),
            source: Arc::new(source),
        })?;
        let place = place.clone();
        Ok(Self { place, stores, snapshot, statistics, text, is_as_stored, scan })
    }
}

/// The scan of the files alone, of a plan of the library's that reads a table whose rows are what
/// its files have. What the library puts above it would look at each row for the file that it is
/// of, to find that there is nothing to do.
fn files_alone(plan: &Arc<dyn ExecutionPlan>) -> Option<Arc<dyn ExecutionPlan>> {
    let [files] = plan.children()[..] else { return None };
    let files: &DataSourceExec = files.downcast_ref().filter(|_| plan.name() == "DeltaScanExec")?;
    let (wanted, stored) = (plan.schema(), files.schema());
    let columns = wanted.fields().iter().map(|field| {
        let (at, found) = stored.column_with_name(field.name())?;
        let column = || ProjectionExpr::new(Arc::new(Column::new(field.name(), at)), field.name());
        (found == field.as_ref()).then(column)
    });
    let columns: Vec<_> = columns.collect::<Option<_>>()?;
    let files: Arc<dyn ExecutionPlan> = Arc::new(files.clone());
    let projected = ProjectionExec::try_new(columns, Arc::clone(&files)).ok()?;
    let alone = files.try_swapping_with_projection(&projected).ok()??;
    (alone.is::<DataSourceExec>() && alone.schema() == wanted).then_some(alone)
}

fn scan(
    snapshot: &Arc<EagerSnapshot>,
    row_filter: bool,
    text: Text,
) -> DataFusionResult<DeltaScanNext> {
    let mut config = DeltaScanConfig::new()
        // Dictionary-typed partition columns trip joins and clients.
        .with_wrap_partition_values(false)
        .with_parquet_pushdown(row_filter);
    config.schema_force_view_types = text == Text::Views;
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
        let schema = self.schema();
        let kept = filters.iter().zip(supported).map(|(filter, supported)| match supported {
            _ if filter.column_refs().is_empty() || !may_leave_out(filter, &schema) => {
                TableProviderFilterPushDown::Unsupported
            }
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
        let filters = &that_may_leave_out(filters, &self.schema());
        let row_filter = session.config().options().execution.parquet.pushdown_filters;
        let plan = if row_filter {
            let scan = scan(&self.snapshot, row_filter, self.text)?;
            scan.scan(session, projection, filters, limit).await?
        } else {
            self.scan.scan(session, projection, filters, limit).await?
        };
        let alone = if self.is_as_stored { files_alone(&plan) } else { None };
        let mut plan = alone.unwrap_or(plan);
        if !filters.is_empty() {
            plan = with_page_indexes(plan);
        }
        Ok(Arc::new(TableScan::new(plan, &self.place, &self.snapshot, &self.statistics)))
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
