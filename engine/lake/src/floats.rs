//! What is not known of floating point numbers.
//!
//! The ranges that Parquet and Delta keep of a column say nothing of its NaNs, and a NaN is larger
//! than every number, or smaller where it has a sign. So a range can neither leave out rows of a
//! condition on such a column nor answer what its largest value is.

use std::{collections::HashSet, sync::Arc};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    datasource::{
        physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder},
        source::DataSourceExec,
    },
    error::Result,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_plan::{ExecutionPlan, Statistics},
};

use crate::scan::TableScan;

/// Whether values of the type are floating point numbers, or have some in them.
pub(crate) fn has_floats(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| has_floats(field.data_type())),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => has_floats(field.data_type()),
        DataType::Dictionary(_, values) => has_floats(values),
        other => other.is_floating(),
    }
}

/// Columns whose ranges can be believed.
pub(crate) fn ranged(schema: &Schema) -> HashSet<usize> {
    let columns = schema.fields().iter().enumerate();
    columns.filter(|(_, field)| !has_floats(field.data_type())).map(|(n, _)| n).collect()
}

/// Whether ranges may leave out rows of a condition.
pub(crate) fn may_leave_out(condition: &Expr, schema: &Schema) -> bool {
    condition.column_refs().into_iter().all(|column| {
        let field = schema.field_with_name(&column.name);
        field.is_ok_and(|field| !has_floats(field.data_type()))
    })
}

/// Those conditions of which ranges may leave out rows.
pub(crate) fn that_may_leave_out(conditions: &[Expr], schema: &Schema) -> Vec<Expr> {
    conditions.iter().filter(|one| may_leave_out(one, schema)).cloned().collect()
}

/// A table whose scan believes every range.
#[derive(Debug)]
pub(crate) struct Doubted(pub(crate) Arc<dyn TableProvider>);

#[async_trait]
impl TableProvider for Doubted {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let supported = self.0.supports_filters_pushdown(filters)?;
        let schema = self.schema();
        let supported =
            filters.iter().zip(supported).map(|(filter, supported)| {
                match may_leave_out(filter, &schema) {
                    true => supported,
                    false => TableProviderFilterPushDown::Unsupported,
                }
            });
        Ok(supported.collect())
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = self.0.scan(session, projection, filters, limit).await?;
        Ok(Arc::new(TableScan::of_other_files(doubting(scan))))
    }
}

/// The scan with its ranges as estimates. One that is exact, and from a value to the same value,
/// would be read instead of the column.
fn doubting(scan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let Some(files) = scan.downcast_ref::<DataSourceExec>() else { return scan };
    let Some(config) = files.data_source().downcast_ref::<FileScanConfig>() else { return scan };
    let schema = Arc::clone(config.file_source().table_schema().table_schema());
    let groups = config.file_groups.iter().map(|group| {
        let files = group.iter().map(|file| {
            let mut file = file.clone();
            file.statistics = file.statistics.map(|known| Arc::new(estimated(&known, &schema)));
            file
        });
        let of_group = group.file_statistics(None).map(|known| estimated(known, &schema));
        let group = FileGroup::new(files.collect());
        match of_group {
            Some(known) => group.with_statistics(Arc::new(known)),
            None => group,
        }
    });
    let groups = groups.collect();
    let config = FileScanConfigBuilder::from(config.clone())
        .with_file_groups(groups)
        .with_statistics(estimated(&config.statistics(), &schema))
        .build();
    DataSourceExec::from_data_source(config)
}

/// What is known, with the ranges of floating point columns as estimates.
pub(crate) fn estimated(known: &Statistics, schema: &Schema) -> Statistics {
    let mut known = known.clone();
    for (column, field) in known.column_statistics.iter_mut().zip(schema.fields()) {
        if has_floats(field.data_type()) {
            column.min_value = std::mem::take(&mut column.min_value).to_inexact();
            column.max_value = std::mem::take(&mut column.max_value).to_inexact();
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{ArrayRef, Float64Array, Int64Array, RecordBatch},
        datatypes::Field,
    };
    use datafusion::prelude::{col, lit};

    use super::*;

    #[test]
    fn a_condition_with_a_float_leaves_nothing_out() {
        let point = DataType::Struct(vec![Field::new("x", DataType::Float32, true)].into());
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("f", DataType::Float64, true),
            Field::new("points", DataType::new_list(point, true), true),
        ]);
        assert_eq!(ranged(&schema), HashSet::from([0]));
        let leaves_out = |condition: &Expr| may_leave_out(condition, &schema);
        assert!(leaves_out(&col("n").gt(lit(1_i64))));
        assert!(!leaves_out(&col("f").gt(lit(1.0))));
        assert!(!leaves_out(&col("n").gt(lit(1_i64)).or(col("f").lt(lit(1.0)))));
        assert!(!leaves_out(&col("points").is_not_null()));
        let batch: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from(vec![1]))),
            ("f", Arc::new(Float64Array::from(vec![f64::NAN]))),
        ];
        let schema = RecordBatch::try_from_iter(batch).unwrap().schema();
        let conditions = [col("n").eq(lit(1_i64)), col("f").eq(lit(f64::NAN))];
        assert_eq!(that_may_leave_out(&conditions, &schema), conditions[..1]);
    }
}
