//! COPY over the connection: rows of a query as text, and text into a table.

mod binary;
mod decode;
mod receive;

use bytes::{BufMut, BytesMut};
use model::name::quote;
use pgwire::messages::{
    PgWireBackendMessage,
    copy::{CopyDone, CopyOutResponse},
};

use super::{
    encode::{self, Format},
    error::PgError,
    rows::Rows,
    wire::Writer,
    words::{Token, Words},
};
pub(super) use receive::Receive;

/// The SQLSTATE of what is not in its form (bad_copy_file_format).
const BROKEN: &str = "22P04";

/// `COPY … FROM STDIN` and `COPY … TO STDOUT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyStatement {
    pub(super) from: Source,
    pub(super) direction: Direction,
    pub(super) layout: Layout,
}

/// What is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A table, and the columns of it that were named.
    Table { name: Vec<String>, columns: Vec<String> },
    /// The rows of a query.
    Query(String),
}

/// Seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    pub(super) delimiter: u8,
    pub(super) null: String,
    pub(super) header: Header,
    pub(super) quote: u8,
    pub(super) escape: u8,
}

/// What the first line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// A row like all others.
    None,
    /// Names, whichever they are.
    Names,
    /// The names of the columns that are copied, in their order.
    Match,
}

/// The three formats of COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Csv,
    Binary,
}

impl CopyStatement {
    /// The statement after its first word, unless its file is none of the connection's.
    pub(super) fn read(mut words: Words<'_>) -> Result<Option<Self>, PgError> {
        let from = if words.take_sign('(') {
            let text = words.rest();
            let end = closing(text).ok_or_else(|| PgError::syntax("')' is missing in COPY"))?;
            words = Words::new(&text[end + 1..]);
            Source::Query(text[..end].to_owned())
        } else {
            let Some(name) = words.parts() else { return Ok(None) };
            let mut columns = Vec::new();
            if words.take_sign('(') {
                while let Some(column) = words.name() {
                    columns.push(column);
                    if !words.take_sign(',') {
                        break;
                    }
                }
                if !words.take_sign(')') {
                    return Err(PgError::syntax("')' is missing after the columns of COPY"));
                }
            }
            Source::Table { name, columns }
        };
        let direction = if words.take("from stdin") {
            Direction::In
        } else if words.take("to stdout") {
            Direction::Out
        } else {
            return Ok(None);
        };
        if direction == Direction::In && matches!(from, Source::Query(_)) {
            return Err(PgError::syntax("COPY FROM needs a table and not a query"));
        }
        let layout = Layout::read(&mut words)?;
        if direction == Direction::Out && layout.header == Header::Match {
            return Err(PgError::unsupported("HEADER MATCH is for COPY … FROM only"));
        }
        if !words.at_end() {
            return Err(PgError::syntax(format!("COPY is not understood at '{}'", words.rest())));
        }
        Ok(Some(Self { from, direction, layout }))
    }

    /// The query whose rows have the columns that are copied.
    pub(super) fn query(&self) -> String {
        match &self.from {
            Source::Query(query) => query.clone(),
            Source::Table { name, columns } => {
                let list =
                    |names: &[String]| names.iter().map(|name| quote(name)).collect::<Vec<_>>();
                let columns = match columns.as_slice() {
                    [] => "*".to_owned(),
                    columns => list(columns).join(", "),
                };
                format!("SELECT {columns} FROM {}", list(name).join("."))
            }
        }
    }
}

/// Where the bracket closes that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut words = Words::new(text);
    let mut depth = 0_usize;
    loop {
        let at = text.len() - words.rest().len();
        match words.next()? {
            Token::Sign('(') => depth += 1,
            Token::Sign(')') if depth == 0 => return Some(at),
            Token::Sign(')') => depth -= 1,
            _ => {}
        }
    }
}

impl Layout {
    fn new(kind: Kind) -> Self {
        let is_csv = kind == Kind::Csv;
        Self {
            kind,
            delimiter: if is_csv { b',' } else { b'\t' },
            null: if is_csv { String::new() } else { "\\N".to_owned() },
            header: Header::None,
            quote: b'"',
            escape: b'"',
        }
    }

    /// `(FORMAT csv, HEADER)`, or the older `WITH CSV HEADER`.
    fn read(words: &mut Words<'_>) -> Result<Self, PgError> {
        let mut options: Vec<(String, Option<Token>)> = Vec::new();
        let _said = words.take("with");
        if words.take_sign('(') {
            while let Some(name) = words.name() {
                let value = match words.peek() {
                    // FORCE_QUOTE *
                    Some(Token::Sign('*')) => words.next(),
                    Some(Token::Sign(_)) | None => None,
                    Some(_) => words.next(),
                };
                options.push((name, value));
                if !words.take_sign(',') {
                    break;
                }
            }
            if !words.take_sign(')') {
                return Err(PgError::syntax("')' is missing after the options of COPY"));
            }
        } else {
            while !words.at_end() {
                let Some(name) = words.name() else { break };
                let _said = words.take("as");
                let value = match words.peek() {
                    Some(text @ Token::Text(_)) => {
                        words.next();
                        Some(text)
                    }
                    _ => None,
                };
                options.push(match name.as_str() {
                    "csv" | "binary" => ("format".to_owned(), Some(Token::Word(name))),
                    _ => (name, value),
                });
            }
        }
        Self::of(&options)
    }

    fn of(options: &[(String, Option<Token>)]) -> Result<Self, PgError> {
        let text = |value: &Option<Token>| match value {
            Some(Token::Word(text) | Token::Text(text) | Token::Number(text)) => text.clone(),
            _ => String::new(),
        };
        let mut kind = Kind::Text;
        for (name, value) in options.iter().filter(|(name, _)| name == "format") {
            kind = match text(value).to_lowercase().as_str() {
                "text" => Kind::Text,
                "csv" => Kind::Csv,
                "binary" => Kind::Binary,
                other => return Err(PgError::invalid(format!("COPY has no {name} '{other}'"))),
            };
        }
        let mut layout = Self::new(kind);
        let mut escape = None;
        for (name, value) in options {
            let byte = || match text(value).as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
                _ => Err(PgError::invalid(format!("{name} of COPY is one plain character"))),
            };
            match name.as_str() {
                "format" => {}
                "delimiter" => layout.delimiter = byte()?,
                "null" => layout.null = text(value),
                "quote" if kind == Kind::Csv => layout.quote = byte()?,
                "escape" if kind == Kind::Csv => escape = Some(byte()?),
                "header" => {
                    layout.header = match text(value).to_lowercase().as_str() {
                        "" | "true" | "on" | "1" => Header::Names,
                        "match" => Header::Match,
                        "false" | "off" | "0" => Header::None,
                        other => {
                            return Err(PgError::invalid(format!("HEADER cannot be '{other}'")));
                        }
                    };
                }
                "encoding" if matches!(text(value).to_lowercase().as_str(), "utf8" | "utf-8") => {}
                other => {
                    return Err(PgError::unsupported(format!(
                        "the option {} of COPY is not supported in this version",
                        other.to_uppercase()
                    )));
                }
            }
        }
        if kind == Kind::Binary && layout.header != Header::None {
            return Err(PgError::unsupported("a binary COPY has no HEADER"));
        }
        layout.escape = escape.unwrap_or(layout.quote);
        Ok(layout)
    }

    pub(super) fn format(&self) -> Format {
        if self.kind == Kind::Binary { Format::Binary } else { Format::Text }
    }
}

/// Sends all rows; how many there were.
pub(super) async fn send(
    rows: &mut Rows,
    layout: &Layout,
    writer: &mut Writer,
) -> Result<u64, PgError> {
    let columns = rows.schema().fields().len();
    let code = layout.format().code();
    writer.put(PgWireBackendMessage::CopyOutResponse(CopyOutResponse::new(
        i8::from(layout.kind == Kind::Binary),
        i16::try_from(columns).map_err(|_| PgError::too_many_columns(columns))?,
        vec![code; columns],
    )));
    if layout.header != Header::None {
        let names: Vec<_> =
            rows.schema().fields().iter().map(|field| field.name().clone()).collect();
        writer.copy_data(|out| {
            for (n, name) in names.iter().enumerate() {
                if n > 0 {
                    out.put_u8(layout.delimiter);
                }
                escaped(name.as_bytes(), layout, out);
            }
            out.put_u8(b'\n');
            Ok(())
        })?;
    }
    let mut cell = BytesMut::new();
    // Clients expect it in the message of the first row.
    let mut signature: &[u8] = match layout.kind {
        Kind::Binary => b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0",
        Kind::Text | Kind::Csv => &[],
    };
    while let Some((batch, start)) = rows.next_batch().await? {
        for row in start..batch.num_rows() {
            writer.copy_data(|out| {
                out.put_slice(std::mem::take(&mut signature));
                if layout.kind == Kind::Binary {
                    let count = batch.num_columns();
                    let count =
                        i16::try_from(count).map_err(|_| PgError::too_many_columns(count))?;
                    out.put_i16(count);
                    return batch
                        .columns()
                        .iter()
                        .try_for_each(|column| encode::cell(column, row, Format::Binary, out));
                }
                for (n, column) in batch.columns().iter().enumerate() {
                    if n > 0 {
                        out.put_u8(layout.delimiter);
                    }
                    if encode::is_null(column.as_ref(), row) {
                        out.put_slice(layout.null.as_bytes());
                        continue;
                    }
                    cell.clear();
                    encode::plain(column, row, &mut cell)?;
                    escaped(&cell, layout, out);
                }
                out.put_u8(b'\n');
                Ok(())
            })?;
            writer.ease().await?;
        }
        rows.count(batch.num_rows() - start);
    }
    if layout.kind == Kind::Binary {
        writer.copy_data(|out| {
            out.put_slice(signature);
            out.put_i16(-1);
            Ok(())
        })?;
    }
    writer.put(PgWireBackendMessage::CopyDone(CopyDone::new()));
    Ok(rows.total())
}

fn escaped(value: &[u8], layout: &Layout, out: &mut BytesMut) {
    if layout.kind == Kind::Csv {
        let special = |byte: &u8| {
            matches!(*byte, b'\n' | b'\r') || *byte == layout.delimiter || *byte == layout.quote
        };
        // An empty text is no NULL, nor is a text that reads like one.
        let quoted =
            value.iter().any(special) || value == layout.null.as_bytes() || value == b"\\.";
        if !quoted {
            return out.put_slice(value);
        }
        out.put_u8(layout.quote);
        for byte in value {
            if *byte == layout.quote || *byte == layout.escape {
                out.put_u8(layout.escape);
            }
            out.put_u8(*byte);
        }
        out.put_u8(layout.quote);
        return;
    }
    for byte in value {
        let letter = match *byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            11 => b'v',
            12 => b'f',
            byte if byte == layout.delimiter => byte,
            byte => {
                out.put_u8(byte);
                continue;
            }
        };
        out.put_u8(b'\\');
        out.put_u8(letter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str) -> Result<Option<CopyStatement>, PgError> {
        let mut words = Words::new(sql);
        words.next();
        CopyStatement::read(words)
    }

    #[test]
    fn old_and_new_options_mean_the_same() {
        let new = read("COPY s.t (a, \"B\") FROM STDIN (FORMAT csv, HEADER true, DELIMITER ';')");
        let old = read("copy s.t(a,\"B\") from stdin with csv header delimiter as ';'");
        let (new, old) = (new.unwrap().unwrap(), old.unwrap().unwrap());
        assert_eq!(new, old);
        assert_eq!(new.query(), "SELECT a, \"B\" FROM s.t");
        let out = read("COPY (SELECT ')' FROM (SELECT 1) AS t) TO STDOUT").unwrap().unwrap();
        assert_eq!(out.query(), "SELECT ')' FROM (SELECT 1) AS t");
        assert_eq!(out.layout, Layout::new(Kind::Text));
    }

    #[test]
    fn files_are_not_of_the_connection_and_odd_options_are_refused() {
        assert!(read("COPY t TO 's3://bucket/x.parquet'").unwrap().is_none());
        for sql in [
            "COPY t FROM STDIN (FORMAT parquet)",
            "COPY t FROM STDIN (FREEZE)",
            "COPY t FROM STDIN (DELIMITER 'ab')",
            "COPY (SELECT 1) FROM STDIN",
            "COPY t TO STDOUT (FORMAT csv",
            "COPY t TO STDOUT (FORMAT csv, HEADER MATCH)",
            "COPY t FROM STDIN (FORMAT binary, HEADER)",
            "COPY t TO STDOUT (FORMAT csv, FORCE_QUOTE *)",
        ] {
            assert!(read(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn texts_are_escaped() {
        let written = |kind, text: &str| {
            let mut out = BytesMut::new();
            escaped(text.as_bytes(), &Layout::new(kind), &mut out);
            String::from_utf8(out.to_vec()).unwrap()
        };
        assert_eq!(written(Kind::Text, "a\tb\\N\n"), "a\\tb\\\\N\\n");
        assert_eq!(written(Kind::Csv, "a\"b,c"), "\"a\"\"b,c\"");
        assert_eq!(written(Kind::Csv, ""), "\"\"");
        assert_eq!(written(Kind::Csv, "plain"), "plain");
    }
}
