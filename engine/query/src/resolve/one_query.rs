//! The planner's view of one scope of a statement: its tables, and no others.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::{
    catalog::{
        CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider,
        SchemaProvider, Session as DataFusionSession, TableProvider,
    },
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{Expr, TableType},
    physical_plan::ExecutionPlan,
};
use model::name::CATALOG;

use crate::error::QueryError;

/// The catalog of one scope: it knows the tables that its text names.
pub(super) struct OneQueryCatalog {
    catalog: Arc<MemoryCatalogProvider>,
}

impl OneQueryCatalog {
    pub(super) fn register(state: &mut SessionState) -> Self {
        let catalog = Arc::new(MemoryCatalogProvider::new());
        let list = Arc::new(MemoryCatalogProviderList::new());
        datafusion::catalog::CatalogProviderList::register_catalog(
            list.as_ref(),
            CATALOG.to_owned(),
            Arc::clone(&catalog) as Arc<dyn CatalogProvider>,
        );
        state.register_catalog_list(list);
        Self { catalog }
    }

    pub(super) fn schema(&self, name: &str) -> Result<Arc<dyn SchemaProvider>, DataFusionError> {
        if let Some(schema) = self.catalog.schema(name) {
            return Ok(schema);
        }
        let schema: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
        self.catalog.register_schema(name, Arc::clone(&schema))?;
        Ok(schema)
    }

    pub(super) fn add(
        &self,
        schema: &str,
        planned_name: &str,
        provider: Arc<dyn TableProvider>,
    ) -> Result<(), QueryError> {
        self.schema(schema)?.register_table(planned_name.to_owned(), provider)?;
        Ok(())
    }
}

/// A table of which only the columns are known.
#[derive(Debug)]
pub(crate) struct Described {
    schema: SchemaRef,
    definition: Option<String>,
    table_type: TableType,
}

impl Described {
    pub(crate) fn new(schema: SchemaRef, definition: Option<String>) -> Self {
        Self { schema, definition, table_type: TableType::Base }
    }

    pub(super) fn into_view(mut self) -> Self {
        self.table_type = TableType::View;
        self
    }
}

#[async_trait]
impl TableProvider for Described {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        self.table_type
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.definition.as_deref()
    }

    async fn scan(
        &self,
        _state: &dyn DataFusionSession,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        // Plans over it are only ever explained, never run.
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => Arc::clone(&self.schema),
        };
        Ok(Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema)))
    }
}
