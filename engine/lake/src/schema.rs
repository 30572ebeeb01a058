//! Which types a Delta table has, and how rows of a query become rows of it.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch, RecordBatchOptions},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit},
    util::display::FormatOptions,
};
use deltalake_core::kernel::{
    StructType,
    engine::arrow_conversion::{TryIntoArrow, TryIntoKernel},
};

use crate::error::LakeError;

/// Field metadata that holds a column's comment.
pub(crate) const COMMENT: &str = "comment";
/// Field metadata that holds the expression of a generated column, as the log has it.
pub const GENERATED: &str = "delta.generationExpression";

/// Characters that Parquet writers elsewhere refuse in column names.
const NAME_REFUSED: [char; 9] = [' ', ',', ';', '{', '}', '(', ')', '\t', '='];

/// How deep lists, structs and maps may be in each other. The log tells of each in several levels of
/// JSON, and readers, this one among them, refuse more than 128.
const NESTED_MAX: usize = 32;

/// The schema of a Delta table that holds rows of `schema`, in Arrow's types as
/// [`crate::Snapshot::schema`] shows them. Nullability and comments are kept, other metadata is not.
///
/// | from | to |
/// |---|---|
/// | `Utf8View`, `LargeUtf8`, dictionaries and runs of text | `Utf8` |
/// | `BinaryView`, `LargeBinary`, `FixedSizeBinary` | `Binary` |
/// | `UInt8`, `UInt16`, `UInt32` | the next larger signed integer |
/// | `UInt64` | `Int64`; a value that does not fit is an error |
/// | `Float16` | `Float32` |
/// | `Decimal32`, `Decimal64`, `Decimal256` | `Decimal128`, up to 38 digits |
/// | `Date64` | `Date32` |
/// | timestamp without zone | microseconds without zone (`timestampNtz`) |
/// | timestamp with any zone | microseconds in UTC |
/// | all kinds of lists | `List` |
/// | `Null` | `Utf8` |
///
/// Everything else that Delta lacks (times, intervals, durations, unions) is [`LakeError::Column`],
/// as are names that occur twice, whatever their case, or that other Delta readers refuse, and types
/// that are nested too deeply.
pub fn delta_schema(schema: &Schema) -> Result<SchemaRef, LakeError> {
    delta_schema_at("", schema)
}

/// [`delta_schema`] of columns that are declared: one whose field has [`GENERATED`] keeps it. A query
/// only passes on the metadata of what it reads, so its columns are not generated.
pub fn declared_schema(schema: &Schema) -> Result<SchemaRef, LakeError> {
    declared_schema_at("", schema)
}

/// [`declared_schema`] whose errors name the table.
pub(crate) fn declared_schema_at(location: &str, schema: &Schema) -> Result<SchemaRef, LakeError> {
    let stored = delta_schema_at(location, schema)?;
    let fields = stored.fields().iter().zip(schema.fields()).map(|(stored, declared)| {
        let Some(expression) = declared.metadata().get(GENERATED) else {
            return Arc::clone(stored);
        };
        let mut field = stored.as_ref().clone();
        let mut metadata = field.metadata().clone();
        metadata.insert(GENERATED.to_owned(), expression.clone());
        field.set_metadata(metadata);
        Arc::new(field)
    });
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Names and expressions of generated columns.
pub(crate) fn generated(schema: &Schema) -> impl Iterator<Item = (&str, &str)> {
    schema.fields().iter().filter_map(|field| {
        Some((field.name().as_str(), field.metadata().get(GENERATED)?.as_str()))
    })
}

/// [`delta_schema`] whose errors name the table.
pub(crate) fn delta_schema_at(location: &str, schema: &Schema) -> Result<SchemaRef, LakeError> {
    let refused = |column: &str, why: &str| LakeError::Column {
        location: location.to_owned(),
        column: column.to_owned(),
        why: why.to_owned(),
    };
    if schema.fields().is_empty() {
        return Err(refused("", "a table has at least one column"));
    }
    let mut seen = std::collections::HashSet::new();
    for field in schema.fields() {
        if field.name().is_empty() || field.name().contains(['\n', '\r']) {
            return Err(refused(field.name(), "give it a name with AS"));
        }
        if field.name().contains(NAME_REFUSED) {
            return Err(refused(
                field.name(),
                "the name has a character out of \" ,;{}()=\"; give it another one with AS",
            ));
        }
        if !seen.insert(field.name().to_lowercase()) {
            return Err(refused(
                field.name(),
                "the name occurs twice; names differ in more than case",
            ));
        }
    }
    if let Some(field) = schema.fields().iter().find(|field| is_too_deep(field.data_type())) {
        return Err(refused(
            field.name(),
            &format!(
                "its type is nested more than {NESTED_MAX} levels deep; no Delta table can tell of it"
            ),
        ));
    }
    let fields = delta_fields(location, "", schema.fields())?;
    let schema = Schema::new(fields);
    // Through the library's own types and back, so that it equals what a loaded table shows.
    let kernel = kernel_schema(location, &schema)?;
    let schema: Schema = (&kernel).try_into_arrow().map_err(|e| refused("", &e.to_string()))?;
    Ok(Arc::new(schema))
}

fn is_too_deep(data_type: &DataType) -> bool {
    // Level by level: a type from a client may be deeper than the stack.
    let mut level = vec![data_type];
    for _ in 0..=NESTED_MAX {
        level = level.into_iter().flat_map(parts).collect();
        if level.is_empty() {
            return false;
        }
    }
    true
}

/// The types inside of a type.
fn parts(data_type: &DataType) -> Vec<&DataType> {
    use DataType as D;
    match data_type {
        D::List(item)
        | D::LargeList(item)
        | D::ListView(item)
        | D::LargeListView(item)
        | D::FixedSizeList(item, _)
        | D::Map(item, _) => vec![item.data_type()],
        D::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        D::Dictionary(_, value) => vec![value.as_ref()],
        D::RunEndEncoded(_, values) => vec![values.data_type()],
        _ => Vec::new(),
    }
}

/// The library's form of a schema that is one of a Delta table already.
pub(crate) fn kernel_schema(location: &str, schema: &Schema) -> Result<StructType, LakeError> {
    schema.try_into_kernel().map_err(|e| LakeError::Column {
        location: location.to_owned(),
        column: schema.fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>().join(", "),
        why: e.to_string(),
    })
}

fn delta_fields(location: &str, parent: &str, fields: &Fields) -> Result<Fields, LakeError> {
    fields.iter().map(|field| delta_field(location, parent, field)).collect()
}

fn delta_field(location: &str, parent: &str, field: &Field) -> Result<FieldRef, LakeError> {
    let path =
        if parent.is_empty() { field.name().clone() } else { format!("{parent}.{}", field.name()) };
    let data_type = delta_type(location, &path, field.data_type())?;
    let mut metadata = std::collections::HashMap::new();
    if let Some(comment) = field.metadata().get(COMMENT) {
        metadata.insert(COMMENT.to_owned(), comment.clone());
    }
    let field = Field::new(field.name(), data_type, field.is_nullable());
    Ok(Arc::new(field.with_metadata(metadata)))
}

fn delta_type(location: &str, path: &str, from: &DataType) -> Result<DataType, LakeError> {
    use DataType as D;
    let refused = |why: &str| LakeError::Column {
        location: location.to_owned(),
        column: path.to_owned(),
        why: why.to_owned(),
    };
    let micros = |zone: Option<&str>| D::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
    Ok(match from {
        D::Boolean | D::Int8 | D::Int16 | D::Int32 | D::Int64 => from.clone(),
        D::Float32 | D::Float64 | D::Utf8 | D::Binary | D::Date32 => from.clone(),
        D::Null | D::LargeUtf8 | D::Utf8View => D::Utf8,
        D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => D::Binary,
        D::UInt8 => D::Int16,
        D::UInt16 => D::Int32,
        D::UInt32 | D::UInt64 => D::Int64,
        D::Float16 => D::Float32,
        D::Date64 => D::Date32,
        D::Timestamp(_, None) => micros(None),
        D::Timestamp(_, Some(_)) => micros(Some("UTC")),
        D::Decimal32(digits, scale)
        | D::Decimal64(digits, scale)
        | D::Decimal128(digits, scale)
        | D::Decimal256(digits, scale) => {
            if *digits > 38 || *scale < 0 {
                return Err(refused(
                    "a decimal has at most 38 digits and a scale of at least 0; use CAST(… AS DECIMAL(38, 10))",
                ));
            }
            D::Decimal128(*digits, *scale)
        }
        D::Dictionary(_, value) => delta_type(location, path, value)?,
        D::RunEndEncoded(_, values) => delta_type(location, path, values.data_type())?,
        D::List(item)
        | D::LargeList(item)
        | D::ListView(item)
        | D::LargeListView(item)
        | D::FixedSizeList(item, _) => {
            let item_type = delta_type(location, &format!("{path}.element"), item.data_type())?;
            D::List(Arc::new(Field::new("element", item_type, item.is_nullable())))
        }
        D::Struct(fields) => D::Struct(delta_fields(location, path, fields)?),
        D::Map(entries, sorted) => {
            let D::Struct(fields) = entries.data_type() else {
                return Err(refused("a map without keys and values"));
            };
            let entries = Field::new(
                entries.name(),
                D::Struct(delta_fields(location, path, fields)?),
                entries.is_nullable(),
            );
            D::Map(Arc::new(entries), *sorted)
        }
        D::Time32(_) | D::Time64(_) => {
            return Err(refused("Delta has no time of day; use CAST(… AS VARCHAR)"));
        }
        D::Interval(_) | D::Duration(_) => {
            return Err(refused("Delta has no intervals; store a number, for example of seconds"));
        }
        D::Union(_, _) => return Err(refused("Delta has no unions")),
    })
}

/// Turns batches of a query into batches of a table, column by column in order.
#[derive(Debug, Clone)]
pub(crate) struct Fit {
    location: String,
    target: SchemaRef,
}

impl Fit {
    /// Checks once that every column of `source` can become its column of `target` without loss,
    /// or with an error for the values that do not fit.
    pub(crate) fn new(
        location: &str,
        source: &Schema,
        target: SchemaRef,
    ) -> Result<Self, LakeError> {
        if source.fields().len() != target.fields().len() {
            return Err(LakeError::ColumnCount {
                location: location.to_owned(),
                expected: target.fields().len(),
                found: source.fields().len(),
            });
        }
        for (from, to) in source.fields().iter().zip(target.fields()) {
            let plain = delta_type(location, to.name(), from.data_type())?;
            let fits = *from.data_type() == DataType::Null || fits(&plain, to.data_type());
            if !fits {
                return Err(LakeError::Column {
                    location: location.to_owned(),
                    column: to.name().clone(),
                    why: format!(
                        "it is {} but the query returns {}; use CAST",
                        to.data_type(),
                        from.data_type()
                    ),
                });
            }
        }
        Ok(Self { location: location.to_owned(), target })
    }

    /// The columns that the batches become.
    pub(crate) fn target(&self) -> &Schema {
        &self.target
    }

    /// Converts one batch. Fails on values that do not fit and on NULL in NOT NULL columns.
    pub(crate) fn batch(&self, batch: &RecordBatch) -> Result<RecordBatch, LakeError> {
        let options = CastOptions { safe: false, format_options: FormatOptions::default() };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
        for (array, field) in batch.columns().iter().zip(self.target.fields()) {
            let column = if array.data_type() == field.data_type() {
                Arc::clone(array)
            } else {
                cast_with_options(array, field.data_type(), &options)
                    .map_err(|source| self.value(field, source))?
            };
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(LakeError::NotNull {
                    location: self.location.clone(),
                    column: field.name().clone(),
                });
            }
            columns.push(column);
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(Arc::clone(&self.target), columns, &rows)
            .map_err(|source| LakeError::internal("convert rows", self.location.clone(), source))
    }

    fn value(&self, field: &Field, source: arrow::error::ArrowError) -> LakeError {
        LakeError::Value {
            location: self.location.clone(),
            column: field.name().clone(),
            source: Arc::new(source),
        }
    }
}

/// Whether values of one Delta type may be written to a column of another.
fn fits(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    let integer = |t: &D| matches!(t, D::Int8 | D::Int16 | D::Int32 | D::Int64);
    match (from, to) {
        (D::Struct(from), D::Struct(to)) => {
            from.len() == to.len()
                && from.iter().zip(to).all(|(from, to)| {
                    from.name() == to.name() && fits(from.data_type(), to.data_type())
                })
        }
        (D::List(from), D::List(to)) => fits(from.data_type(), to.data_type()),
        // The fields of a map's entries have other names elsewhere; their order is always the same.
        (D::Map(from, _), D::Map(to, _)) => match (from.data_type(), to.data_type()) {
            (D::Struct(from), D::Struct(to)) => {
                from.len() == to.len()
                    && from.iter().zip(to).all(|(f, t)| fits(f.data_type(), t.data_type()))
            }
            _ => false,
        },
        (D::Decimal128(digits, scale), D::Decimal128(to_digits, to_scale)) => {
            to_scale >= scale
                && i16::from(*to_digits) - i16::from(*to_scale)
                    >= i16::from(*digits) - i16::from(*scale)
        }
        (from, D::Decimal128(_, _)) if integer(from) => true,
        (D::Int8 | D::Int16 | D::Int32 | D::Int64 | D::Float32, D::Float64) => true,
        (D::Int8 | D::Int16, D::Float32) => true,
        (D::Date32, D::Timestamp(_, None)) => true,
        // Larger values than the column holds are an error, row by row.
        (from, to) if integer(from) && integer(to) => true,
        (from, to) => from == to,
    }
}
