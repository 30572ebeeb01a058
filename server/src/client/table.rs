//! Rows as a table for people.

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
    error::ArrowError,
    util::display::{ArrayFormatter, DurationFormat, FormatOptions},
};
use unicode_width::UnicodeWidthStr;

/// Cells are cut to this width, so that one long text does not break the whole table.
const CELL_WIDTH_MAX: usize = 100;

/// How values are written in tables and CSV.
pub(super) const FORMAT: FormatOptions<'static> =
    FormatOptions::new().with_null("NULL").with_duration_format(DurationFormat::Pretty);

/// A table that is being filled.
#[derive(Debug, Clone)]
pub struct TextTable {
    header: Vec<String>,
    right_aligned: Vec<bool>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// An empty table; a column whose name begins with `>` is aligned to the right, without the
    /// sign.
    #[must_use]
    pub fn new(columns: &[&str]) -> Self {
        Self {
            header: columns.iter().map(|name| name.trim_start_matches('>').to_owned()).collect(),
            right_aligned: columns.iter().map(|name| name.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// An empty table with the columns of a result; numbers are aligned to the right.
    #[must_use]
    pub fn for_schema(schema: &Schema) -> Self {
        let fields = schema.fields();
        Self {
            header: fields.iter().map(|field| one_line(field.name())).collect(),
            right_aligned: fields.iter().map(|field| is_number(field.data_type())).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. Missing cells are empty.
    pub fn push(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|cell| one_line(cell)).collect());
    }

    /// Adds the rows of a result.
    pub fn push_batch(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        let columns = formatters(batch)?;
        for row in 0..batch.num_rows() {
            let cells: Result<Vec<String>, ArrowError> =
                columns.iter().map(|column| column.value(row).try_to_string()).collect();
            self.push(cells?);
        }
        Ok(())
    }

    /// The table as text that ends in a new line. A table without columns is empty.
    #[must_use]
    pub fn render(&self) -> String {
        if self.header.is_empty() {
            return String::new();
        }
        let widths: Vec<usize> = (0..self.header.len()).map(|column| self.width(column)).collect();
        let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        let mut text = format!("┌{}┐\n", bars.join("┬"));
        text.push_str(&self.line(&self.header, &widths));
        text.push_str(&format!("├{}┤\n", bars.join("┼")));
        for row in &self.rows {
            text.push_str(&self.line(row, &widths));
        }
        text.push_str(&format!("└{}┘\n", bars.join("┴")));
        text
    }

    /// The table, or where it is wider than `width_max` each row as a block of lines of its own.
    #[must_use]
    pub fn render_within(&self, width_max: Option<usize>) -> String {
        let width: usize = (0..self.header.len()).map(|column| self.width(column) + 3).sum();
        let fits = width_max.is_none_or(|most| width < most);
        if fits || self.rows.is_empty() { self.render() } else { self.render_blocks() }
    }

    fn render_blocks(&self) -> String {
        let name_width = self.header.iter().map(|name| name.width()).max().unwrap_or(0);
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            text.push_str(&format!("── row {} ──\n", number + 1));
            for (name, cell) in self.header.iter().zip(row) {
                let space = " ".repeat(name_width - name.width());
                text.push_str(&format!("{name}{space} │ {cell}\n"));
            }
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        self.rows
            .iter()
            .filter_map(|row| row.get(column))
            .chain(&self.header[column..=column])
            .map(|cell| cell.width())
            .max()
            .unwrap_or(0)
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let mut text = String::from("│");
        for (column, width) in widths.iter().enumerate() {
            let cell = cells.get(column).map_or("", String::as_str);
            let space = " ".repeat(width.saturating_sub(cell.width()));
            let right = self.right_aligned.get(column).copied().unwrap_or(false);
            let (before, after) = if right { (space.as_str(), "") } else { ("", space.as_str()) };
            text.push_str(&format!(" {before}{cell}{after} │"));
        }
        text.push('\n');
        text
    }
}

/// A whole result as a table.
pub fn render_batches(schema: &Schema, batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut table = TextTable::for_schema(schema);
    for batch in batches {
        table.push_batch(batch)?;
    }
    Ok(table.render())
}

/// One writer of values per column.
pub(super) fn formatters(batch: &RecordBatch) -> Result<Vec<ArrayFormatter<'_>>, ArrowError> {
    batch.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &FORMAT)).collect()
}

fn is_number(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Duration(_))
}

/// The text on one line, of bearable width, without what would move the cursor.
fn one_line(text: &str) -> String {
    let plain = text.chars().all(|c| !c.is_control());
    let text = if plain { text.to_owned() } else { text.chars().map(visible).collect() };
    if text.width() <= CELL_WIDTH_MAX {
        return text;
    }
    let mut cut = String::new();
    for c in text.chars() {
        if cut.width() >= CELL_WIDTH_MAX - 1 {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

fn visible(c: char) -> char {
    match c {
        '\n' => '⏎',
        '\t' => ' ',
        c if c.is_control() => '�',
        c => c,
    }
}

#[cfg(test)]
mod tests;
