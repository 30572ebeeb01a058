//! Results, written in the format that was asked for.

use std::{fmt, io::Write, str::FromStr};

use arrow::{
    array::{Array, RecordBatch},
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
    ipc::writer::StreamWriter,
    json::{WriterBuilder, writer::LineDelimited},
};

use super::{
    ClientError,
    connection::Rows,
    table::{TextTable, formatters},
};

/// How rows look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table for people.
    Table,
    /// Comma-separated values with a header (RFC 4180); NULL is empty, an empty text is "".
    Csv,
    /// One JSON object per line.
    Json,
    /// An Arrow IPC stream.
    Arrow,
}

impl FromStr for Format {
    type Err = ClientError;

    fn from_str(word: &str) -> Result<Self, ClientError> {
        <Self as clap::ValueEnum>::from_str(word, true).map_err(|_| {
            ClientError::Command(format!(
                "'{word}' is no format; there are table, csv, json and arrow"
            ))
        })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Arrow => "arrow",
        })
    }
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// The format.
    pub format: Format,
    /// Rows that a table shows; the others are neither fetched nor computed. Zero shows all.
    pub table_rows_max: usize,
    /// What becomes of tables that are wider than the terminal.
    pub width: TableWidth,
}

/// How wide a table may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableWidth {
    /// As wide as it is.
    Any,
    /// As wide as the terminal; wider ones are written as one block of lines for each row.
    Terminal,
}

impl TableWidth {
    fn columns(self) -> Option<usize> {
        match self {
            Self::Any => None,
            Self::Terminal => crossterm::terminal::size().ok().map(|(columns, _)| columns.into()),
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) rows: usize,
    /// Rows were left out.
    pub(super) cut: bool,
}

impl Output {
    /// Writes all rows as they come in.
    pub(super) async fn write(
        &self,
        rows: &mut Rows,
        to: &mut (dyn Write + Send),
    ) -> Result<Written, ClientError> {
        match self.format {
            Format::Table => self.write_table(rows, to).await,
            Format::Csv | Format::Json | Format::Arrow => self.write_stream(rows, to).await,
        }
    }

    async fn write_table(
        &self,
        rows: &mut Rows,
        to: &mut (dyn Write + Send),
    ) -> Result<Written, ClientError> {
        let mut written = Written { rows: 0, cut: false };
        let mut table: Option<TextTable> = None;
        while let Some(batch) = rows.next().await? {
            let table = table.get_or_insert_with(|| TextTable::for_schema(&batch.schema()));
            let left = match self.table_rows_max {
                0 => usize::MAX,
                most => most - written.rows,
            };
            written.cut = batch.num_rows() > left;
            let batch = batch.slice(0, batch.num_rows().min(left));
            table.push_batch(&batch).map_err(ClientError::Format)?;
            written.rows += batch.num_rows();
            if written.cut {
                break;
            }
        }
        let table = table.unwrap_or_else(|| TextTable::for_schema(&rows.schema()));
        to.write_all(table.render_within(self.width.columns()).as_bytes())
            .map_err(ClientError::Write)?;
        Ok(written)
    }

    async fn write_stream(
        &self,
        rows: &mut Rows,
        to: &mut (dyn Write + Send),
    ) -> Result<Written, ClientError> {
        let mut written = Written { rows: 0, cut: false };
        let mut encoder = Encoder::new(self.format);
        let mut buffer = Vec::new();
        encoder.begin(&rows.schema(), &mut buffer).map_err(ClientError::Format)?;
        while let Some(batch) = rows.next().await? {
            encoder.batch(&batch, &mut buffer).map_err(ClientError::Format)?;
            written.rows += batch.num_rows();
            to.write_all(&buffer).map_err(ClientError::Write)?;
            buffer.clear();
        }
        encoder.end(&mut buffer).map_err(ClientError::Format)?;
        to.write_all(&buffer).and_then(|()| to.flush()).map_err(ClientError::Write)?;
        Ok(written)
    }
}

/// Turns batches into bytes. The schema comes first, even when no rows follow.
struct Encoder {
    format: Format,
    arrow: Option<StreamWriter<Vec<u8>>>,
}

impl Encoder {
    fn new(format: Format) -> Self {
        Self { format, arrow: None }
    }

    fn begin(&mut self, schema: &SchemaRef, to: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self.format {
            Format::Csv => csv_header(schema, to),
            Format::Arrow => self.arrow = Some(StreamWriter::try_new(Vec::new(), schema)?),
            Format::Json | Format::Table => {}
        }
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, to: &mut Vec<u8>) -> Result<(), ArrowError> {
        match self.format {
            Format::Csv => csv_rows(batch, to),
            Format::Json | Format::Table => json_rows(batch, to),
            Format::Arrow => {
                let Some(writer) = &mut self.arrow else { return Ok(()) };
                writer.write(batch)?;
                to.append(writer.get_mut());
                Ok(())
            }
        }
    }

    fn end(&mut self, to: &mut Vec<u8>) -> Result<(), ArrowError> {
        if let Some(writer) = &mut self.arrow {
            writer.finish()?;
            to.append(writer.get_mut());
        }
        Ok(())
    }
}

fn csv_header(schema: &Schema, to: &mut Vec<u8>) {
    let names: Vec<String> = schema.fields().iter().map(|field| csv_cell(field.name())).collect();
    to.extend_from_slice(names.join(",").as_bytes());
    to.push(b'\n');
}

fn csv_rows(batch: &RecordBatch, to: &mut Vec<u8>) -> Result<(), ArrowError> {
    let columns = formatters(batch)?;
    for row in 0..batch.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                to.push(b',');
            }
            // NULL is nothing at all; an empty text has its quotes.
            if !batch.column(at).is_null(row) {
                to.extend_from_slice(csv_cell(&column.value(row).try_to_string()?).as_bytes());
            }
        }
        to.push(b'\n');
    }
    Ok(())
}

fn csv_cell(text: &str) -> String {
    let quoted = text.is_empty() || text.contains(['"', ',', '\n', '\r']);
    if quoted { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn json_rows(batch: &RecordBatch, to: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(to as &mut dyn Write);
    writer.write(batch)?;
    writer.finish()
}

#[cfg(test)]
mod tests;
