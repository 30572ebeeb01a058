//! The data files of one version of a table, and which of them can hold rows that fulfil a condition.
//!
//! It exists because changing rows needs files by number, not only by what they hold. It never
//! leaves out a file because of a range that the log tells inexactly.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Scalar, StringArray, TimestampMicrosecondArray,
    },
    compute::{cast, kernels::zip::zip},
    datatypes::{DataType, SchemaRef, TimestampMicrosecondType},
};
use datafusion::{
    common::{Column, ScalarValue},
    error::Result as DataFusionResult,
    physical_expr::PhysicalExpr,
    physical_optimizer::pruning::{PruningPredicateBuilder, PruningStatistics},
};
use deltalake_core::kernel::{Add, EagerSnapshot, LogicalFileView, Remove};
use object_store::path::Path;
use serde_json::json;

use crate::{
    deletion_vector::DeletionVector, elsewhere::Whereabouts, error::LakeError, hive::may_be_empty,
    location::Place,
};

/// Times in the log may be cut off to milliseconds.
const CUT_OFF_MICROS: i64 = 1_000;

/// All data files of a version, each with a number that never changes.
pub(crate) struct DataFiles {
    place: Place,
    snapshot: Arc<EagerSnapshot>,
    schema: SchemaRef,
    partitioned_by: Vec<String>,
    files: Vec<LogicalFileView>,
    /// For each partition column, the value of each file.
    partition_values: Vec<ArrayRef>,
}

impl std::fmt::Debug for DataFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataFiles").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl DataFiles {
    /// Reads what the loaded log says; no request is sent.
    pub(crate) fn new(
        place: &Place,
        snapshot: Arc<EagerSnapshot>,
        schema: SchemaRef,
        partitioned_by: &[String],
    ) -> Result<Self, LakeError> {
        let broken =
            |source: crate::error::Cause| LakeError::BrokenLog { location: place.text(), source };
        let log = snapshot.try_log_data().map_err(|error| broken(Arc::new(error)))?;
        let files: Vec<_> = log.iter().collect();
        let mut partition_values = Vec::with_capacity(partitioned_by.len());
        for name in partitioned_by {
            let values = if files.is_empty() { None } else { log.min_values(&named(name)) };
            partition_values.push(match values {
                Some(values) if values.len() == files.len() => with_empty(values, name, &files)?,
                None if files.is_empty() => {
                    let field = schema.field_with_name(name);
                    let data_type = field.map_or(&DataType::Utf8, |field| field.data_type());
                    arrow::array::new_empty_array(data_type)
                }
                _ => {
                    return Err(LakeError::Unsupported {
                        location: place.text(),
                        feature: format!("partitioning by '{name}', a column of its type"),
                        access: "change rows of",
                    });
                }
            });
        }
        Ok(Self {
            place: place.clone(),
            files,
            partition_values,
            schema,
            partitioned_by: partitioned_by.to_vec(),
            snapshot,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// Where the file is, in the table's folder; an error for a file that is kept elsewhere.
    pub(crate) fn path(&self, file: usize) -> Result<Path, LakeError> {
        match Whereabouts::of(&self.place, &self.files[file].path()) {
            Some(Whereabouts::Within(path)) => Ok(path),
            Some(Whereabouts::Elsewhere) | None => Err(LakeError::Unsupported {
                location: self.place.text(),
                feature: "data files outside of the table's folder (shallow clone)".to_owned(),
                access: "change rows of",
            }),
        }
    }

    pub(crate) fn size(&self, file: usize) -> u64 {
        u64::try_from(self.files[file].size()).unwrap_or(0)
    }

    /// Rows in the file; `None` when the log does not tell.
    pub(crate) fn rows(&self, file: usize) -> Option<u64> {
        self.files[file].num_records().map(|rows| rows as u64)
    }

    /// Where rows of the file are marked as deleted beside it.
    pub(crate) fn deletion_vector(&self, file: usize) -> Option<DeletionVector> {
        let descriptor = self.files[file].deletion_vector_descriptor()?;
        DeletionVector::of_action(&json!({ "deletionVector": descriptor }))
    }

    /// Whether the file is in the table's folder.
    pub(crate) fn is_within(&self, file: usize) -> bool {
        let found = Whereabouts::of(&self.place, &self.files[file].path());
        matches!(found, Some(Whereabouts::Within(_)))
    }

    /// The file's values of the partition columns, in the order of the partitioning.
    pub(crate) fn partition_values(&self, file: usize) -> DataFusionResult<Vec<ScalarValue>> {
        let values = self.partition_values.iter();
        values.map(|values| ScalarValue::try_from_array(values, file)).collect()
    }

    /// The log's entry that brought the file.
    #[expect(deprecated, reason = "the library offers no other way back to the action")]
    pub(crate) fn add(&self, file: usize) -> Add {
        self.files[file].add_action()
    }

    /// The log's entry that takes the file away.
    pub(crate) fn remove(&self, file: usize, data_change: bool) -> Remove {
        self.files[file].remove_action(data_change)
    }

    /// The files that may hold rows that fulfil all of `predicate`, a condition over the table's
    /// columns.
    pub(crate) fn that_may_hold(
        &self,
        predicate: &Arc<dyn PhysicalExpr>,
    ) -> DataFusionResult<Vec<usize>> {
        let pruning = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .try_build(Arc::clone(predicate))?;
        if pruning.always_true() {
            return Ok((0..self.len()).collect());
        }
        let kept = pruning.prune(self)?;
        Ok(kept.into_iter().enumerate().filter_map(|(n, kept)| kept.then_some(n)).collect())
    }

    fn data_type(&self, column: &Column) -> Option<&DataType> {
        self.schema.field_with_name(&column.name).ok().map(|field| field.data_type())
    }

    fn partition_of(&self, column: &Column) -> Option<&ArrayRef> {
        let index = self.partitioned_by.iter().position(|name| *name == column.name)?;
        self.partition_values.get(index)
    }

    fn bound(&self, column: &Column, highest: Bound) -> Option<ArrayRef> {
        if let Some(values) = self.partition_of(column) {
            return Some(Arc::clone(values));
        }
        let data_type = self.data_type(column)?;
        // NaN is larger than every number and in no range.
        if data_type.is_floating() || data_type.is_nested() {
            return None;
        }
        let log = self.snapshot.try_log_data().ok()?;
        let bounds = match highest {
            Bound::Lowest => log.min_values(column)?,
            Bound::Highest => log.max_values(column)?,
        };
        if bounds.len() != self.len() {
            return None;
        }
        match (highest, data_type) {
            (Bound::Highest, DataType::Timestamp(..)) => {
                let zone = match data_type {
                    DataType::Timestamp(_, zone) => zone.clone(),
                    _ => None,
                };
                let micros = bounds.as_primitive_opt::<TimestampMicrosecondType>()?;
                let later: TimestampMicrosecondArray =
                    micros.unary(|micros| micros.saturating_add(CUT_OFF_MICROS));
                Some(Arc::new(later.with_timezone_opt(zone)))
            }
            _ => Some(bounds),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Bound {
    Lowest,
    Highest,
}

impl PruningStatistics for DataFiles {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, Bound::Lowest)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bound(column, Bound::Highest)
    }

    fn num_containers(&self) -> usize {
        self.len()
    }

    // The library's counts of NULLs and rows are wrong for some types and tables: none are better.
    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        None
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        None
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let of_files = self.partition_of(column)?;
        let contained = (0..of_files.len()).map(|file| {
            let value = ScalarValue::try_from_array(of_files, file).ok()?;
            Some(values.iter().any(|other| match other.cast_to(&value.data_type()) {
                Ok(other) => other == value,
                Err(_) => true,
            }))
        });
        Some(contained.collect())
    }
}

/// The values of a partition column as the log tells them: the library takes an empty entry for NULL
/// here, and for a value where it scans.
fn with_empty(
    values: ArrayRef,
    name: &str,
    files: &[LogicalFileView],
) -> Result<ArrayRef, LakeError> {
    if values.null_count() == 0 || !may_be_empty(values.data_type()) {
        return Ok(values);
    }
    let is_empty = |file: usize| {
        values.is_null(file)
            && matches!(files[file].partition_values_map().get(name), Some(Some(text)) if text.is_empty())
    };
    let empty: BooleanArray = (0..files.len()).map(|file| Some(is_empty(file))).collect();
    if empty.true_count() == 0 {
        return Ok(values);
    }
    let failed = |error| LakeError::internal("read partition values", name, error);
    let value = cast(&StringArray::new_scalar("").into_inner(), values.data_type());
    zip(&empty, &Scalar::new(value.map_err(failed)?), &values).map_err(failed)
}

fn named(name: &str) -> Column {
    Column::from_name(name)
}
