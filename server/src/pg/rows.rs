//! Rows of a running query on their way to a client, a few at a time.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    compute::{CastOptions, cast_with_options},
    datatypes::{Field, Schema, SchemaRef},
    error::ArrowError,
    record_batch::{RecordBatch, RecordBatchOptions},
};
use futures::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use pgwire::messages::{
    PgWireBackendMessage,
    data::{FieldDescription, NoData, RowDescription},
};
use query::{
    error::QueryError,
    postgres::types::{ColumnType, modifier},
    stream::QueryStream,
};

use super::{
    encode::{self, Format},
    error::PgError,
    wire::Writer,
};

/// What a client is told of columns. No columns are no rows.
pub(super) fn description(schema: &Schema, formats: &[Format]) -> PgWireBackendMessage {
    if schema.fields().is_empty() {
        return PgWireBackendMessage::NoData(NoData::new());
    }
    let field = |(n, field): (usize, &Arc<Field>)| {
        let column = ColumnType::of(field.data_type());
        let format = formats.get(n).copied().unwrap_or(Format::Text);
        FieldDescription::new(
            field.name().clone(),
            0,
            0,
            column.oid(),
            column.size(),
            modifier(field.data_type()),
            format.code(),
        )
    };
    let fields = schema.fields().iter().enumerate().map(field).collect();
    PgWireBackendMessage::RowDescription(RowDescription::new(fields))
}

/// Whether there are more rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// As many as were asked for; nobody has looked whether there are more.
    Some,
}

/// The rows of a query that runs, or of an answer. Dropping it cancels the query.
pub(super) struct Rows {
    /// Never locked: it lets a session be looked at from several threads, which a stream cannot.
    stream: Mutex<BoxStream<'static, Result<RecordBatch, QueryError>>>,
    /// The columns that the client was told.
    schema: SchemaRef,
    current: Option<(RecordBatch, usize)>,
    total: u64,
}

impl Rows {
    /// Rows under the columns of `told`, which may have other types than the query's.
    pub(super) fn of_query(stream: QueryStream, told: SchemaRef) -> Self {
        Self { stream: Mutex::new(stream.boxed()), schema: told, current: None, total: 0 }
    }

    pub(super) fn of_batches(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        let stream = futures::stream::iter(batches.into_iter().map(Ok)).boxed();
        Self { stream: Mutex::new(stream), schema, current: None, total: 0 }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Rows that were sent so far, over all calls.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Sends at most `limit` rows, as fast as the client takes them.
    pub(super) async fn send(
        &mut self,
        writer: &mut Writer,
        formats: &[Format],
        limit: Option<usize>,
    ) -> Result<Sent, PgError> {
        let mut left = limit;
        while let Some((batch, mut row)) = self.next_batch().await? {
            while row < batch.num_rows() {
                if left == Some(0) {
                    self.current = Some((batch, row));
                    return Ok(Sent::Some);
                }
                writer.row(batch.num_columns(), |out| {
                    batch.columns().iter().enumerate().try_for_each(|(n, column)| {
                        let format = formats.get(n).copied().unwrap_or(Format::Text);
                        encode::cell(column, row, format, out)
                    })
                })?;
                row += 1;
                self.total += 1;
                left = left.map(|left| left - 1);
                writer.ease().await?;
            }
        }
        Ok(Sent::All)
    }

    /// The batch that is being sent, or the next one, under the columns that the client was told.
    pub(super) async fn next_batch(&mut self) -> Result<Option<(RecordBatch, usize)>, PgError> {
        if let Some(current) = self.current.take() {
            return Ok(Some(current));
        }
        match self.stream.get_mut().next().await {
            None => Ok(None),
            Some(batch) => {
                let batch = as_told(batch?, &self.schema)
                    .map_err(|error| PgError::new("42804", error.to_string()))?;
                Ok(Some((batch, 0)))
            }
        }
    }

    pub(super) fn count(&mut self, rows: usize) {
        self.total += rows as u64;
    }
}

/// A client that was told the columns before it bound parameters gets those.
fn as_told(batch: RecordBatch, told: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    if batch.schema_ref().fields() == told.fields() {
        return Ok(batch);
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let as_field = |(column, field): (&ArrayRef, &Arc<Field>)| {
        let cast = cast_with_options(column, field.data_type(), &options)?;
        let back = || cast_with_options(&cast, column.data_type(), &options);
        if !field.data_type().is_numeric() || back()?.to_data() == column.to_data() {
            return Ok(cast);
        }
        Err(ArrowError::CastError(format!(
            "the parameters make '{}' {}, which {}, the type that the statement was described with, \
             does not hold; cast the parameters: $1::double precision",
            field.name(),
            column.data_type(),
            field.data_type()
        )))
    };
    let columns = batch
        .columns()
        .iter()
        .zip(told.fields())
        .map(as_field)
        .collect::<Result<Vec<_>, ArrowError>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(told), columns, &rows)
}
