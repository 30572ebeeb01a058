//! `read_files`: what its options ask of files, and the files that a flow is to take.
//!
//! It exists because the words are those of Databricks, whose meaning is kept where the lake can: an option
//! that could not mean the same is refused by its name. It never reads a row itself.

mod options;

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::{catalog::TableProvider, execution::SessionState};
use dialect::{
    METADATA,
    statement::{FilesFunction, FilesUse, Query},
};
use lake::{
    FileColumn, FilesReading, FilesTable, ListedFile, ListedFiles, NewColumns, TakenFile,
    TakenFiles, metadata_type,
};
use model::{
    name::ObjectName,
    object::TableFormat,
    report::FilesReport,
    rights::{Privilege, Rights},
    transform::FoundFiles,
};

use crate::{
    authorize::not_granted,
    command,
    error::QueryError,
    queries::Inner,
    resolve::{Described, stored_schema},
};
use options::Options;

/// The files of a stream that a run takes.
pub(crate) struct TakenNow {
    /// Their rows.
    pub(crate) rows: Arc<dyn TableProvider>,
    /// The files.
    pub(crate) files: Vec<TakenFile>,
    /// What was taken and what was not, for the report.
    pub(crate) report: FilesReport,
    /// The same for people.
    pub(crate) told: Option<String>,
}

/// The STREAM of files of a query, if it reads one.
pub(crate) fn stream_of(query: &Query) -> Option<&FilesUse> {
    query.files.iter().find(|files| files.is_stream)
}

/// Refuses a flow that reads several streams of files: which files it has taken is known of the flow.
pub(crate) fn check_one_stream(query: &Query) -> Result<(), QueryError> {
    match query.files.iter().filter(|files| files.is_stream).count() {
        0 | 1 => Ok(()),
        _ => Err(QueryError::Unsupported(
            "a flow reads one STREAM of files: which files it has taken is known of the flow as a whole; \
             write a flow for each of them: CREATE FLOW name AS INSERT INTO table BY NAME SELECT …"
                .to_owned(),
        )),
    }
}

/// Refuses to look for files for somebody who may not read any.
pub(crate) fn may_read_files(rights: &Rights) -> Result<(), QueryError> {
    match rights.allows_everywhere(Privilege::ReadFiles) {
        true => Ok(()),
        false => Err(not_granted(rights, Privilege::ReadFiles, "CATALOG")),
    }
}

/// What a query finds out about its STREAM of files when it is declared, unless it says so itself. It
/// is kept with the flow, so that its columns stay what they are.
pub(crate) async fn find_out(
    inner: &Inner,
    state: &SessionState,
    query: &Query,
) -> Result<Option<FoundFiles>, QueryError> {
    let Some(files) = stream_of(query) else { return Ok(None) };
    let asked = Options::of(files)?;
    let listed = match (asked.format, &asked.schema) {
        (Some(_), Some(_)) => return Ok(None),
        _ => list(inner, files, &asked).await?,
    };
    let format = match asked.format {
        Some(format) => format,
        None => listed.format()?,
    };
    if asked.schema.is_some() {
        return Ok(Some(FoundFiles { format, columns: None }));
    }
    if listed.files().is_empty() {
        return Err(QueryError::Invalid(format!(
            "there is no file at '{}' yet whose columns could be looked up: declare them, \
             schema => 'id BIGINT, name STRING'",
            files.place
        )));
    }
    let columns = inferred(inner, state, &asked, format, &listed).await?;
    Ok(Some(FoundFiles { format, columns: Some(as_list(&columns)) }))
}

/// Gives the STREAM of files of a query what was found out about it when it was declared.
pub(crate) fn settle(query: &mut Query, found: Option<&FoundFiles>) {
    for files in query.files.iter_mut().filter(|files| files.is_stream) {
        files.found = found.cloned();
    }
}

/// The files that a query names, as a table. Of a STREAM only the columns, which a plan needs that is
/// not run.
pub(crate) async fn open(
    inner: &Inner,
    files: &FilesUse,
    state: &SessionState,
) -> Result<Arc<dyn TableProvider>, QueryError> {
    let lake = &inner.options.lake;
    if let FilesFunction::Of(format) = files.function {
        let location = lake.parse_location(&files.place)?;
        return Ok(lake.files(&location, format, &files.options, state).await?);
    }
    let asked = Options::of(files)?;
    if files.is_stream {
        let found = files.found.as_ref().and_then(|found| found.columns.as_deref());
        let columns = match asked.schema.as_deref().or(found) {
            Some(list) => declared(state, list).await?,
            None => {
                let listed = list(inner, files, &asked).await?;
                let format = asked.format.map_or_else(|| listed.format(), Ok)?;
                inferred(inner, state, &asked, format, &listed).await?
            }
        };
        return Ok(Arc::new(Described::new(with_metadata(&columns, files), None)));
    }
    asked.refuse_of_streams()?;
    let listed = list(inner, files, &asked).await?;
    let format = asked.format.map_or_else(|| listed.format(), Ok)?;
    if listed.files().is_empty() {
        let location = listed.location().to_owned();
        return Err(lake::LakeError::FilesNotFound { location, format }.into());
    }
    let columns = match asked.schema.as_deref() {
        Some(list) => declared(state, list).await?,
        None => inferred(inner, state, &asked, format, &listed).await?,
    };
    Ok(table(inner, files, &asked, format, columns, listed))
}

/// The files of a STREAM that were not taken yet: those that were written first, up to the bounds of a run.
pub(crate) async fn take(
    inner: &Inner,
    state: &SessionState,
    flow: &ObjectName,
    files: &FilesUse,
    taken: &TakenFiles,
) -> Result<TakenNow, QueryError> {
    let asked = Options::of(files)?;
    let listed = list(inner, files, &asked).await?;
    let flow = flow.to_string();
    let (mut new, mut report) = (Vec::new(), FilesReport::default());
    let mut first_changed = None;
    for file in listed.files() {
        match taken.get(&flow, file.url()) {
            None => new.push(file.clone()),
            Some(known) if is_same(known, file) => {}
            Some(_) => {
                report.changed += 1;
                first_changed.get_or_insert_with(|| file.url().to_owned());
            }
        }
    }
    let waiting = new.split_off(within(&new, asked.files_max, asked.bytes_max));
    (report.taken, report.waiting) = (new.len() as u64, waiting.len() as u64);
    let told = told(listed.location(), &report, first_changed.as_deref());
    report.first_changed = first_changed;
    let files_taken = new.iter().map(|file| TakenFile {
        flow: flow.clone(),
        path: file.url().to_owned(),
        size: file.size(),
        modified: file.modified(),
        e_tag: file.e_tag().map(str::to_owned),
    });
    let files_taken = files_taken.collect();
    let format = asked.format.map_or_else(|| listed.format(), Ok)?;
    let found = files.found.as_ref().and_then(|found| found.columns.as_deref());
    let columns = match asked.schema.as_deref().or(found) {
        Some(list) => declared(state, list).await?,
        None => inferred(inner, state, &asked, format, &listed).await?,
    };
    let rows = table(inner, files, &asked, format, columns, listed.only(new));
    Ok(TakenNow { rows, files: files_taken, report, told })
}

/// How many of the files, the first ones, one run takes: one at least.
fn within(files: &[ListedFile], files_max: u64, bytes_max: Option<u64>) -> usize {
    let mut bytes = 0_u64;
    let fits = files.iter().zip(1_u64..).take_while(|(file, n)| {
        let is_first = *n == 1;
        bytes = bytes.saturating_add(file.size());
        is_first || (*n <= files_max && bytes_max.is_none_or(|max| bytes <= max))
    });
    fits.count()
}

/// Whether a file is what it was when it was taken, as far as its store tells.
fn is_same(taken: &TakenFile, now: &ListedFile) -> bool {
    let same_tag = match (taken.e_tag.as_deref(), now.e_tag()) {
        (Some(then), Some(now)) => then == now,
        _ => true,
    };
    taken.size == now.size() && taken.modified == now.modified() && same_tag
}

fn told(place: &str, report: &FilesReport, first_changed: Option<&str>) -> Option<String> {
    if report.taken == 0 && report.changed == 0 {
        return None;
    }
    let files =
        |count: u64| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let mut text = format!("{} of {place}", files(report.taken));
    if report.waiting > 0 {
        text.push_str(&format!(", {} more wait for the next refresh", report.waiting));
    }
    if let Some(first) = first_changed {
        text.push_str(&format!(
            ", without {} that changed after being taken, the first '{first}'",
            files(report.changed)
        ));
    }
    Some(text)
}

async fn list(inner: &Inner, files: &FilesUse, asked: &Options) -> Result<ListedFiles, QueryError> {
    let lake = &inner.options.lake;
    let location = lake.parse_location(&files.place)?;
    Ok(lake.listed_files(&location, asked.name_pattern.as_deref()).await?)
}

fn table(
    inner: &Inner,
    files: &FilesUse,
    asked: &Options,
    format: TableFormat,
    columns: Vec<FileColumn>,
    listed: ListedFiles,
) -> Arc<dyn TableProvider> {
    let by_default = match asked.schema.is_some() {
        true => NewColumns::Ignore,
        false => NewColumns::Fail,
    };
    inner.options.lake.files_table(FilesTable {
        files: listed,
        reading: reading(asked, format),
        columns,
        new: asked.new.unwrap_or(by_default),
        metadata: files.has_metadata.then(|| METADATA.to_owned()),
    })
}

fn reading(asked: &Options, format: TableFormat) -> FilesReading {
    FilesReading { format, options: asked.of_format(format) }
}

/// The columns of a list that was written.
async fn declared(state: &SessionState, list: &str) -> Result<Vec<FileColumn>, QueryError> {
    let mut columns = Vec::new();
    for column in dialect::parse_columns(list).map_err(|error| of_list(list, &error))? {
        let data_type = command::arrow_type_of(state, &column.data_type).await;
        let data_type = data_type.map_err(|error| {
            QueryError::Invalid(format!("schema of read_files, column '{}': {error}", column.name))
        })?;
        columns.push(FileColumn { name: column.name, in_file: column.written, data_type });
    }
    // As tables store them: the planner's own types are others.
    let fields = columns.iter();
    let fields: Vec<Field> =
        fields.map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
    let stored = stored_schema(&Schema::new(fields))?;
    for (column, field) in columns.iter_mut().zip(stored.fields()) {
        column.data_type = field.data_type().clone();
    }
    Ok(columns)
}

fn of_list(list: &str, error: &dialect::SyntaxError) -> QueryError {
    QueryError::Invalid(format!(
        "'{list}' is no list of columns: {}; write schema => 'id BIGINT, name STRING'",
        error.message
    ))
}

/// The columns that files have, with the types that somebody has hinted at.
async fn inferred(
    inner: &Inner,
    state: &SessionState,
    asked: &Options,
    format: TableFormat,
    listed: &ListedFiles,
) -> Result<Vec<FileColumn>, QueryError> {
    let lake = &inner.options.lake;
    let schema = lake.columns_of_files(listed, &reading(asked, format), state).await?;
    let fields = schema.fields().iter();
    let mut columns: Vec<FileColumn> = fields
        .map(|field| FileColumn {
            name: field.name().clone(),
            in_file: field.name().clone(),
            data_type: field.data_type().clone(),
        })
        .collect();
    let Some(hints) = &asked.hints else { return Ok(columns) };
    for hint in declared(state, hints).await? {
        let mut known = columns.iter_mut();
        match known.find(|column| column.in_file.eq_ignore_ascii_case(&hint.in_file)) {
            Some(column) => column.data_type = hint.data_type,
            None => columns.push(hint),
        }
    }
    Ok(columns)
}

/// Columns as `schema` would have them.
fn as_list(columns: &[FileColumn]) -> String {
    let column = |column: &FileColumn| {
        let quoted = column.in_file.replace('"', "\"\"");
        format!("\"{quoted}\" {}", command::sql_type(&column.data_type))
    };
    columns.iter().map(column).collect::<Vec<_>>().join(", ")
}

fn with_metadata(columns: &[FileColumn], files: &FilesUse) -> SchemaRef {
    let fields = columns.iter();
    let mut fields: Vec<Field> =
        fields.map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
    if files.has_metadata {
        fields.push(Field::new(METADATA, metadata_type(), true));
    }
    Arc::new(Schema::new(fields))
}

#[cfg(test)]
mod tests;
