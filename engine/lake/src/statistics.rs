//! What the log says of a table's columns, for the optimizer.
//!
//! delta-rs' scan tells the optimizer the rows of a table, but of its columns only those that a
//! filter names. Without the range of a join's keys DataFusion takes a foreign key for a unique one
//! and builds hash tables on the wrong side; so the rest is read from the log here, once for each
//! column and version. Everything is told as an estimate: it never makes a plan leave out rows.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use arrow::{
    array::{Array, ArrayRef},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::{Column, ColumnStatistics, ScalarValue, stats::Precision},
    physical_optimizer::pruning::PruningStatistics,
};
use deltalake_core::kernel::EagerSnapshot;

/// Statistics of the columns of one version of a table, each found when it is first asked for.
pub(crate) struct LogStatistics {
    snapshot: Arc<EagerSnapshot>,
    schema: SchemaRef,
    columns: Vec<OnceLock<ColumnStatistics>>,
}

impl fmt::Debug for LogStatistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStatistics").finish_non_exhaustive()
    }
}

impl LogStatistics {
    /// Reads nothing yet. `schema` is the table's.
    pub(crate) fn new(snapshot: Arc<EagerSnapshot>, schema: SchemaRef) -> Self {
        let columns = schema.fields().iter().map(|_| OnceLock::new()).collect();
        Self { snapshot, schema, columns }
    }

    /// The range of the column with this name over all rows of the table; unknown for texts, nested
    /// values, columns that are not the table's, and where a file tells no range.
    pub(crate) fn column(&self, name: &str) -> ColumnStatistics {
        let Ok(index) = self.schema.index_of(name) else { return ColumnStatistics::new_unknown() };
        self.columns[index]
            .get_or_init(|| self.find(name, self.schema.field(index).data_type()))
            .clone()
    }

    fn find(&self, name: &str, data_type: &DataType) -> ColumnStatistics {
        let unknown = ColumnStatistics::new_unknown();
        // Bounds of text are cut off in the log, and do not tell how many values there are.
        let has_range = data_type.is_numeric()
            || matches!(data_type, DataType::Date32 | DataType::Timestamp(..) | DataType::Boolean);
        let (true, Ok(files)) = (has_range, self.snapshot.try_log_data()) else { return unknown };
        let column = Column::from_name(name);
        let (Some(lowest), Some(highest)) = (files.min_values(&column), files.max_values(&column))
        else {
            return unknown;
        };
        ColumnStatistics {
            min_value: bound(&lowest, |bound, value| bound.min(value)),
            max_value: bound(&highest, |bound, value| bound.max(value)),
            ..unknown
        }
    }
}

/// The bound of all files, by those of each; absent when a file has none.
fn bound(
    files: &ArrayRef,
    outer: impl Fn(&Precision<ScalarValue>, &Precision<ScalarValue>) -> Precision<ScalarValue>,
) -> Precision<ScalarValue> {
    let mut bound = Precision::Absent;
    for file in 0..files.len() {
        let value = match ScalarValue::try_from_array(files, file) {
            Ok(value) if !value.is_null() => Precision::Inexact(value),
            _ => return Precision::Absent,
        };
        bound = if bound == Precision::Absent { value } else { outer(&bound, &value) };
    }
    bound
}
