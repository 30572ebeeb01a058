//! What the log says of the values in a file, compared with the values.
//!
//! Engines leave out files by what the log says of them, and answer counts from it alone: statistics
//! that are not so make rows disappear without an error.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, StructArray},
    buffer::NullBuffer,
    compute::filter,
    datatypes::{DataType, Field, Float32Type, Float64Type},
};
use datafusion::{
    catalog::TableProvider,
    common::ScalarValue,
    error::{DataFusionError, Result as DataFusionResult},
    execution::TaskContext,
    functions_aggregate::min_max::{MaxAccumulator, MinAccumulator},
    logical_expr::Accumulator,
};
use futures::{StreamExt, TryStreamExt, stream};
use model::code::Code;
use object_store::path::Path;
use parquet::errors::ParquetError;
use serde_json::Value;

use super::{Report, counted, replay::Replay, with_causes};
use crate::{
    change::parquet_options, error::LakeError, location::Place, parquet_object::ParquetObject,
    rows::TableRows, snapshot::Snapshot,
};

const FOOTERS_AT_ONCE: usize = 16;
const ADVICE: &str = "write the rows anew, with statistics of their own: \
                      INSERT OVERWRITE t SELECT * FROM t";
/// Times in the log are cut off to milliseconds.
const CUT_OFF_MICROS: i64 = 1_000;
/// How far a number may be off because the log has it as a decimal fraction.
const ROUNDED: f64 = 1e-15;

/// Statistics of a version that are compared with its data.
pub(super) struct Comparing {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) task: Arc<TaskContext>,
    pub(super) data_bytes_max: u64,
}

/// A data file, with what the log says of it.
struct Logged<'a> {
    path: &'a str,
    size: u64,
    stats: Value,
    has_vector: bool,
}

impl Comparing {
    /// Returns what was looked at.
    pub(super) async fn run(
        &self,
        place: &Place,
        replay: &Replay,
        report: &mut Report,
    ) -> Result<String, LakeError> {
        let mut files = Vec::with_capacity(replay.files.len());
        let mut without = 0;
        for ((path, vector), file) in &replay.files {
            let stats = match &file.stats {
                None => {
                    without += 1;
                    Value::Null
                }
                Some(text) => serde_json::from_str(text).unwrap_or_else(|error| {
                    report.error(path, format!("its statistics are no JSON: {error}"), ADVICE);
                    Value::Null
                }),
            };
            let size = file.size.unwrap_or(0);
            files.push(Logged { path, size, stats, has_vector: vector.is_some() });
        }
        if without > 0 {
            report.notice(
                "",
                format!("{} without statistics in the log", counted(without, "file")),
                format!("queries read them whatever they look for; {ADVICE}"),
            );
        }
        let mut rows = self.footers(place, &files, report).await?;
        let counts = counted(rows.iter().flatten().count(), "file");
        self.vectors(&files, &mut rows, report).await?;
        let read = self.data(&files, &rows, report).await?;
        Ok(format!("row counts of {counts}, values of {read}"))
    }

    /// The number of each data file, by its path.
    fn numbers(&self) -> Result<HashMap<String, usize>, LakeError> {
        let files = self.snapshot.data_files()?;
        (0..files.len()).map(|number| Ok((files.path(number)?.to_string(), number))).collect()
    }

    /// Looks whether what marks rows as deleted can be read, and marks rows that are there. Files of
    /// which that is not so have no rows that could be read.
    async fn vectors(
        &self,
        files: &[Logged<'_>],
        rows: &mut [Option<i64>],
        report: &mut Report,
    ) -> Result<(), LakeError> {
        if !files.iter().any(|file| file.has_vector) {
            return Ok(());
        }
        let (numbers, vectors) = (self.numbers()?, self.snapshot.deletion_vectors()?);
        for (file, rows) in files.iter().zip(rows) {
            let (true, Some(count)) = (file.has_vector, &rows) else { continue };
            let Some(number) = numbers.get(file.path) else { continue };
            let problem = match vectors.of(*number).await {
                Ok(marked) => {
                    let last = marked.and_then(|marked| marked.max()).map(i64::from);
                    let Some(last) = last.filter(|last| last >= count) else { continue };
                    format!("its deletion vector marks the row {last}, the file has {count} rows")
                }
                // That its file is missing is told of the file.
                Err(error) if error.code() == Code::NotFound => {
                    *rows = None;
                    continue;
                }
                Err(error) => {
                    format!("its deletion vector cannot be read: {}", with_causes(&error))
                }
            };
            *rows = None;
            let advice = "bring the deletion vector back from a backup, or go back with RESTORE to a \
                          version without it";
            report.error(file.path, problem, advice);
        }
        Ok(())
    }

    /// Compares numbers of rows. Returns how many each file has, `None` where it cannot be read.
    async fn footers(
        &self,
        place: &Place,
        files: &[Logged<'_>],
        report: &mut Report,
    ) -> Result<Vec<Option<i64>>, LakeError> {
        let footers: Vec<_> = files.iter().map(|file| (file.path.to_owned(), file.size)).collect();
        let mut footers = stream::iter(footers)
            .map(|(path, size)| async move {
                let (store, path) =
                    (Arc::clone(&place.store), Path::parse(path).map_err(external)?);
                ParquetObject { store, path, size }.footer().await
            })
            .buffered(FOOTERS_AT_ONCE);
        let mut readable = Vec::with_capacity(files.len());
        for file in files {
            let Some(footer) = footers.next().await else { break };
            let footer = match footer {
                Ok(footer) => footer,
                Err(error) if is_missing(&error) => {
                    readable.push(None);
                    continue;
                }
                Err(error) => {
                    report.error(
                        file.path,
                        format!("it cannot be read as Parquet: {}", with_causes(&error)),
                        "bring the file back from a backup",
                    );
                    readable.push(None);
                    continue;
                }
            };
            let rows = footer.file_metadata().num_rows();
            readable.push(Some(rows));
            let said = file.stats.get("numRecords").filter(|said| !said.is_null());
            let Some(said) = said else {
                if file.has_vector {
                    let problem = "some of its rows are marked as deleted, and the log does not say \
                                   how many it has";
                    report.error(file.path, problem, ADVICE);
                }
                continue;
            };
            if said.as_i64() != Some(rows) {
                let problem = format!("the log says {said} rows, the file has {rows}");
                report.error(file.path, problem, ADVICE);
            }
        }
        Ok(readable)
    }

    /// Compares ranges and numbers of NULLs, up to the bound. Returns how many files were read.
    async fn data(
        &self,
        files: &[Logged<'_>],
        rows_of: &[Option<i64>],
        report: &mut Report,
    ) -> Result<String, LakeError> {
        let location = self.snapshot.location().to_owned();
        let failed =
            |source| LakeError::Query { location: location.clone(), source: Arc::new(source) };
        let all = counted(files.len(), "file");
        let rows = TableRows::new(Arc::clone(&self.snapshot));
        let (rows, numbers) = match rows.and_then(|rows| Ok((rows, self.numbers()?))) {
            Ok(found) => found,
            Err(LakeError::Unsupported { feature, .. }) => {
                let problem = format!("values were not compared: the table uses '{feature}'");
                report.notice("", problem, "other engines can compare them");
                return Ok("none".to_owned());
            }
            Err(error) => return Err(error),
        };
        let (mut read, mut bytes) = (0, 0);
        for (file, readable) in files.iter().zip(rows_of) {
            let (Some(_), Some(number)) = (readable, numbers.get(file.path)) else { continue };
            if !file.stats.is_object() {
                continue;
            }
            if bytes + file.size > self.data_bytes_max && read > 0 {
                return Ok(format!("{read} of {all}, the bound is {} bytes", self.data_bytes_max));
            }
            bytes += file.size;
            read += 1;
            match self.file(&rows, *number, file, report).await {
                Ok(()) => {}
                Err(
                    error @ (DataFusionError::ResourcesExhausted(_) | DataFusionError::Plan(_)),
                ) => {
                    return Err(failed(error));
                }
                Err(error) => report.error(
                    file.path,
                    format!("its rows cannot be read: {error}"),
                    "bring the file back from a backup",
                ),
            }
        }
        Ok(format!("{read} of {all}"))
    }

    async fn file(
        &self,
        rows: &TableRows,
        number: usize,
        file: &Logged<'_>,
        report: &mut Report,
    ) -> DataFusionResult<()> {
        let schema = rows.schema();
        let mut leaves = Vec::new();
        for (index, field) in self.snapshot.schema().fields().iter().enumerate() {
            if !self.snapshot.partitioned_by().contains(field.name()) {
                leaves_of(&file.stats, index, field, &mut Vec::new(), &mut leaves);
            }
        }
        if leaves.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<usize> = leaves.iter().map(|leaf| leaf.column).collect();
        columns.dedup();
        debug_assert!(columns.iter().all(|column| *column < schema.fields().len()));
        let (env, options) = (self.task.runtime_env(), parquet_options(&self.task));
        let plan = rows.scan_files(&[number], Some(&columns), &env, options)?;
        let mut batches = plan.execute(0, Arc::clone(&self.task))?;
        while let Some(batch) = batches.try_next().await? {
            for leaf in &mut leaves {
                let Some(place) = columns.iter().position(|column| *column == leaf.column) else {
                    continue;
                };
                leaf.see(batch.column(place))?;
            }
        }
        for leaf in leaves {
            leaf.compare(file.path, report)?;
        }
        Ok(())
    }
}

fn external(error: object_store::path::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

fn is_missing(error: &ParquetError) -> bool {
    let ParquetError::External(source) = error else { return false };
    matches!(
        source.downcast_ref::<object_store::Error>(),
        Some(object_store::Error::NotFound { .. })
    )
}

/// A column, or a field of a struct, with statistics in the log.
struct Leaf {
    column: usize,
    /// The fields on the way to it, by their place.
    within: Vec<usize>,
    name: String,
    data_type: DataType,
    said_lowest: Option<Value>,
    said_highest: Option<Value>,
    said_nulls: Option<Value>,
    /// Whether bounds are said to be those of the data, not only to hold it.
    tight: bool,
    lowest: MinAccumulator,
    highest: MaxAccumulator,
    /// Rows of the whole file as the log has them, those that are marked as deleted among them.
    said_rows: Option<i64>,
    rows: i64,
    nulls: i64,
    has_nan: bool,
}

/// Finds the leaves of a column that the log has statistics of.
fn leaves_of(
    stats: &Value,
    column: usize,
    field: &Field,
    within: &mut Vec<(usize, String)>,
    leaves: &mut Vec<Leaf>,
) {
    within.push((column, field.name().clone()));
    if let DataType::Struct(fields) = field.data_type() {
        for (index, field) in fields.iter().enumerate() {
            leaves_of(stats, index, field, within, leaves);
        }
        within.pop();
        return;
    }
    let said = |kind: &str| {
        let mut value = stats.get(kind)?;
        for (_, name) in within.iter() {
            value = value.get(name)?;
        }
        (!value.is_null() && !value.is_object()).then(|| value.clone())
    };
    let (lowest, highest) = (said("minValues"), said("maxValues"));
    let nulls = said("nullCount");
    let accumulators =
        (MinAccumulator::try_new(field.data_type()), MaxAccumulator::try_new(field.data_type()));
    let any = lowest.is_some() || highest.is_some() || nulls.is_some();
    if let (true, false, (Ok(min), Ok(max))) = (any, field.data_type().is_nested(), accumulators) {
        let names: Vec<&str> = within.iter().map(|(_, name)| name.as_str()).collect();
        leaves.push(Leaf {
            column: within.first().map_or(column, |(column, _)| *column),
            within: within.iter().skip(1).map(|(index, _)| *index).collect(),
            name: names.join("."),
            data_type: field.data_type().clone(),
            said_lowest: lowest,
            said_highest: highest,
            said_nulls: nulls,
            tight: stats.get("tightBounds").and_then(Value::as_bool) != Some(false),
            lowest: min,
            highest: max,
            said_rows: stats.get("numRecords").and_then(Value::as_i64),
            rows: 0,
            nulls: 0,
            has_nan: false,
        });
    }
    within.pop();
}

impl Leaf {
    fn see(&mut self, column: &ArrayRef) -> DataFusionResult<()> {
        let mut values = Arc::clone(column);
        for index in &self.within {
            values = field_of(values.as_struct(), *index)?;
        }
        self.rows += i64::try_from(values.len()).unwrap_or(i64::MAX);
        self.nulls += i64::try_from(values.logical_null_count()).unwrap_or(i64::MAX);
        // NaN is in no range: writers leave it out of the bounds.
        let not_nan: Option<BooleanArray> = match values.data_type() {
            DataType::Float64 => {
                let floats = values.as_primitive::<Float64Type>();
                Some(floats.iter().map(|value| Some(value.is_none_or(|v| !v.is_nan()))).collect())
            }
            DataType::Float32 => {
                let floats = values.as_primitive::<Float32Type>();
                Some(floats.iter().map(|value| Some(value.is_none_or(|v| !v.is_nan()))).collect())
            }
            _ => None,
        };
        if let Some(not_nan) = not_nan
            && not_nan.false_count() > 0
        {
            self.has_nan = true;
            values = filter(&values, &not_nan)?;
        }
        self.lowest.update_batch(&[Arc::clone(&values)])?;
        self.highest.update_batch(&[values])
    }

    fn compare(mut self, path: &str, report: &mut Report) -> DataFusionResult<()> {
        let object = format!("{path}: {}", self.name);
        if let Some(problem) = self.wrong_nulls() {
            report.error(&object, problem, ADVICE);
        }
        let (lowest, highest) = (self.lowest.evaluate()?, self.highest.evaluate()?);
        for (what, said, is) in [
            ("lowest", self.said_lowest.take(), lowest),
            ("highest", self.said_highest.take(), highest),
        ] {
            let Some(said) = said else { continue };
            let Some(bound) = self.parsed(&said) else {
                // Some writers say NaN, which bounds nothing.
                if !(self.data_type.is_floating() && said.is_string()) {
                    let problem =
                        format!("the {what} value in the log, {said}, is no {}", self.data_type);
                    report.error(&object, problem, ADVICE);
                }
                continue;
            };
            if is.is_null() {
                continue;
            }
            let outside = match what {
                "lowest" => is.partial_cmp(&bound) == Some(Ordering::Less),
                _ => is.partial_cmp(&bound) == Some(Ordering::Greater),
            };
            let said = said.as_str().map_or_else(|| said.to_string(), |text| format!("'{text}'"));
            let problem =
                format!("the log says that the {what} value is {said}, the data has {is}");
            match (outside, Self::near(&is, &bound)) {
                (true, Near::Cut) => {}
                (true, Near::Rounded) => report.warning(
                    &object,
                    format!("{problem}: the number is rounded in the log"),
                    "conditions on this very value may leave out rows; \
                     leave the column out of delta.dataSkippingStatsColumns",
                ),
                (true, Near::Far) => report.error(&object, problem, ADVICE),
                (false, Near::Far) if self.is_wide(&is, &bound) => report.notice(
                    &object,
                    problem,
                    "queries with a condition on it read more than they need",
                ),
                (false, _) => {}
            }
        }
        Ok(())
    }

    /// How the number of NULLs is not what the log says. Where it was not counted anew after rows were
    /// marked as deleted, only none and all of the file's rows say something of those that are left.
    fn wrong_nulls(&self) -> Option<String> {
        let said = self.said_nulls.as_ref()?;
        let (count, nulls) = (said.as_i64(), self.nulls);
        let other = self.rows - nulls;
        if self.tight {
            return (count != Some(nulls))
                .then(|| format!("the log says {said} NULLs, the data has {nulls}"));
        }
        if count == Some(0) {
            return (nulls > 0).then(|| format!("the log says no NULLs, the data has {nulls}"));
        }
        let all = count.is_some() && count == self.said_rows;
        (all && other > 0).then(|| format!("the log says only NULLs, the data has {other} values"))
    }

    /// Whether a bound that holds is wider than it needs to be. Texts are cut off in the log.
    fn is_wide(&self, value: &ScalarValue, bound: &ScalarValue) -> bool {
        let is_text = self.data_type.is_string() || self.data_type.is_binary();
        self.tight && value != bound && !self.has_nan && !is_text
    }

    /// A bound in the log as a value of the column.
    fn parsed(&self, said: &Value) -> Option<ScalarValue> {
        let text = match said {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let value = ScalarValue::try_from_string(text, &self.data_type);
        // Large decimals may be written as `1e21`.
        let float = || ScalarValue::Float64(said.as_f64()).cast_to(&self.data_type);
        let value = value.or_else(|_| float()).ok()?;
        let is_nan = match &value {
            ScalarValue::Float64(Some(value)) => value.is_nan(),
            ScalarValue::Float32(Some(value)) => value.is_nan(),
            _ => false,
        };
        (!value.is_null() && !is_nan).then_some(value)
    }

    /// How much a bound may differ from the value without being wrong.
    fn near(value: &ScalarValue, bound: &ScalarValue) -> Near {
        match (value, bound) {
            (
                ScalarValue::TimestampMicrosecond(Some(value), _),
                ScalarValue::TimestampMicrosecond(Some(bound), _),
            ) if value.abs_diff(*bound) < CUT_OFF_MICROS.unsigned_abs() => Near::Cut,
            (ScalarValue::Float64(Some(value)), ScalarValue::Float64(Some(bound))) => {
                near_number(*value, *bound, Near::Cut)
            }
            (ScalarValue::Float32(Some(value)), ScalarValue::Float32(Some(bound))) => {
                near_number(f64::from(*value), f64::from(*bound), Near::Cut)
            }
            (
                ScalarValue::Decimal128(Some(value), _, _),
                ScalarValue::Decimal128(Some(bound), _, _),
            ) => near_number(*value as f64, *bound as f64, Near::Rounded),
            _ => Near::Far,
        }
    }
}

enum Near {
    /// Cut off in the log, as the protocol allows.
    Cut,
    /// The log cannot tell so many digits.
    Rounded,
    /// Another value.
    Far,
}

fn near_number(value: f64, bound: f64, near: Near) -> Near {
    let off = (value - bound).abs();
    if off <= ROUNDED * value.abs().max(bound.abs()) { near } else { Near::Far }
}

/// A field of a struct, NULL where the struct is.
fn field_of(parent: &StructArray, index: usize) -> DataFusionResult<ArrayRef> {
    let child = parent.column(index);
    if parent.null_count() == 0 {
        return Ok(Arc::clone(child));
    }
    let nulls = NullBuffer::union(parent.nulls(), child.nulls());
    let data = child.to_data().into_builder().nulls(nulls).build()?;
    Ok(arrow::array::make_array(data))
}
