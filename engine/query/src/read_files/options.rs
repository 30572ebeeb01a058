//! The options of `read_files`, by the names that Databricks has for them.

use dialect::statement::FilesUse;
use lake::NewColumns;
use model::object::{Properties, TableFormat};

use crate::error::QueryError;

/// Files that one run takes where nobody says how many.
const FILES_MAX: u64 = 10_000;

/// What the options ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options {
    /// What the files are, by an option or by how the place ends.
    pub(super) format: Option<TableFormat>,
    /// The list of their columns.
    pub(super) schema: Option<String>,
    /// A list of columns whose types are not to be guessed.
    pub(super) hints: Option<String>,
    /// What columns mean that come later.
    pub(super) new: Option<NewColumns>,
    /// What the names of files have to be like.
    pub(super) name_pattern: Option<String>,
    /// Files that one run takes.
    pub(super) files_max: u64,
    /// Bytes of files that one run takes; the first file may have more.
    pub(super) bytes_max: Option<u64>,
    /// An option that only a STREAM has.
    of_streams: Option<&'static str>,
    /// Options of the format, as the lake names them, with the name that they have here.
    of_format: Vec<(&'static str, String)>,
}

/// What is refused, and what to do instead.
const REFUSED: [(&str, &str); 22] = [
    (
        "rescueddatacolumn",
        "values that do not fit fail the statement: read such a column as STRING",
    ),
    ("readercasesensitive", "leave it out"),
    ("modifiedafter", "name the files by a pattern: 'folder/2026-*.csv'"),
    ("modifiedbefore", "name the files by a pattern: 'folder/2026-*.csv'"),
    ("partitioncolumns", "folders named column=value are columns anyway: name them in schema"),
    ("dateformat", "read the column as STRING, and write to_date(column, format)"),
    ("timestampformat", "read the column as STRING, and write to_timestamp(column, format)"),
    ("timestampntzformat", "read the column as STRING, and write to_timestamp(column, format)"),
    ("timezone", "read the column as STRING, and CAST it"),
    ("locale", "leave it out"),
    ("linesep", "leave it out: lines end with a line feed"),
    ("ignoreleadingwhitespace", "write trim(column)"),
    ("ignoretrailingwhitespace", "write trim(column)"),
    ("emptyvalue", "leave it out"),
    ("nanvalue", "leave it out"),
    ("positiveinf", "leave it out"),
    ("negativeinf", "leave it out"),
    ("maxcharspercolumn", "leave it out: there is no such bound"),
    ("maxcolumns", "leave it out: there is no such bound"),
    ("columnnameofcorruptrecord", "a broken file fails the statement: leave it out"),
    ("usenotifications", "leave it out: files are found by listing their folder"),
    ("maxfileage", "leave it out: files that were taken are known for ever"),
];

/// Options that may say what holds anyway, and nothing else.
const FIXED: [(&str, &str, &str); 13] = [
    ("inferschema", "true", "leave it out, or declare schema => 'name STRING, …'"),
    ("infercolumntypes", "true", "declare schema => 'name STRING, …'"),
    ("mergeschema", "true", "leave it out: the columns are those of all files"),
    ("mode", "failfast", "write FAILFAST: what cannot be read fails the statement"),
    ("allowoverwrites", "false", "a file is taken once: write changed files under new names"),
    ("includeexistingfiles", "true", "leave it out: the first run takes the files that are there"),
    ("ignorecorruptfiles", "false", "take the broken file away"),
    ("ignoremissingfiles", "false", "leave it out"),
    ("recursivefilelookup", "true", "name the files by a pattern: 'folder/*'"),
    ("encoding", "utf-8", "write the files in UTF-8"),
    ("charset", "utf-8", "write the files in UTF-8"),
    ("enforceschema", "false", "columns are found by the header: leave it out"),
    ("uselistingonly", "true", "leave it out"),
];

/// Options of formats: the name, that of the lake, and of which format they are.
const OF_FORMAT: [(&str, &str, &[TableFormat]); 11] = {
    use TableFormat::{Csv, Json};
    [
        ("header", "header", &[Csv]),
        ("sep", "delimiter", &[Csv]),
        ("delimiter", "delimiter", &[Csv]),
        ("quote", "quote", &[Csv]),
        ("escape", "escape", &[Csv]),
        ("comment", "comment", &[Csv]),
        ("nullvalue", "null_value", &[Csv]),
        ("null_value", "null_value", &[Csv]),
        ("multiline", "newlines_in_values", &[Csv]),
        ("newlines_in_values", "newlines_in_values", &[Csv]),
        ("compression", "compression", &[Csv, Json]),
    ]
};

const KNOWN: &str = "format, schema, schemaHints, schemaEvolutionMode, fileNamePattern, \
                     maxFilesPerTrigger, maxBytesPerTrigger, header, sep, quote, escape, comment, nullValue, \
                     multiLine, compression";

impl Options {
    pub(super) fn of(files: &FilesUse) -> Result<Self, QueryError> {
        let mut options = Self {
            format: by_ending(&files.place),
            schema: None,
            hints: None,
            new: None,
            name_pattern: None,
            files_max: FILES_MAX,
            bytes_max: None,
            of_streams: None,
            of_format: Vec::new(),
        };
        let found = files.found.as_ref();
        if let (None, Some(found)) = (options.format, found) {
            options.format = Some(found.format);
        }
        // Databricks itself has these names with and without the prefix.
        let plain = |option: &str| option.strip_prefix("cloudfiles.").unwrap_or(option).to_owned();
        for (option, value) in &files.options {
            options.set(&plain(option), value)?;
        }
        if options.schema.is_some() && options.hints.is_some() {
            return Err(refused("schemahints", "it says nothing beside schema: write one of them"));
        }
        let format = options.format;
        if format == Some(TableFormat::Json) {
            // One value on each line, which is how such files are read.
            let is_default = |option: &str, value: &str| {
                option == "multiline" && value.eq_ignore_ascii_case("false")
            };
            options.of_format.retain(|(option, value)| !is_default(option, value));
        }
        for (option, _) in &options.of_format {
            let of = OF_FORMAT.iter().find(|(name, ..)| name == option);
            if let (Some((.., of)), Some(format)) = (of, format)
                && !of.contains(&format)
            {
                let what = format!("{} files have no such option: leave it out", format.as_sql());
                return Err(refused(option, &what));
            }
        }
        Ok(options)
    }

    fn set(&mut self, option: &str, value: &str) -> Result<(), QueryError> {
        if let Some((_, instead)) = REFUSED.iter().find(|(name, _)| *name == option) {
            return Err(refused(option, instead));
        }
        if let Some((_, fixed, instead)) = FIXED.iter().find(|(name, ..)| *name == option) {
            return match value.eq_ignore_ascii_case(fixed) {
                true => Ok(()),
                false => Err(refused(&format!("{option} => '{value}'"), instead)),
            };
        }
        let of_format = OF_FORMAT.iter().find(|(name, ..)| *name == option);
        if let Some((name, ..)) = of_format {
            self.of_format.push((*name, value.to_owned()));
            return Ok(());
        }
        match option {
            "format" => self.format = Some(format(value)?),
            "schema" => self.schema = Some(value.to_owned()),
            "schemahints" => self.hints = Some(value.to_owned()),
            "schemaevolutionmode" => {
                self.new = Some(match value.to_ascii_lowercase().as_str() {
                    "none" => NewColumns::Ignore,
                    "failonnewcolumns" => NewColumns::Fail,
                    _ => {
                        let option = format!("schemaEvolutionMode => '{value}'");
                        let instead = "write 'failOnNewColumns', and declare a column once it has \
                                       come; or 'none', which leaves it out";
                        return Err(refused(&option, instead));
                    }
                });
            }
            "pathglobfilter" | "filenamepattern" => self.name_pattern = Some(value.to_owned()),
            "maxfilespertrigger" => {
                self.of_streams = Some("maxFilesPerTrigger");
                self.files_max = match value.parse() {
                    Ok(files) if files > 0 => files,
                    _ => {
                        return Err(QueryError::Invalid(format!(
                            "maxFilesPerTrigger of read_files is a number of files, not '{value}'"
                        )));
                    }
                };
            }
            "maxbytespertrigger" => {
                self.of_streams = Some("maxBytesPerTrigger");
                self.bytes_max = Some(bytes(value)?);
            }
            _ => {
                return Err(QueryError::Invalid(format!(
                    "'{option}' is no option of read_files; known are {KNOWN}"
                )));
            }
        }
        Ok(())
    }

    /// Refuses what bounds the runs of a STREAM, where there is none.
    pub(super) fn refuse_of_streams(&self) -> Result<(), QueryError> {
        match self.of_streams {
            None => Ok(()),
            Some(option) => Err(QueryError::Invalid(format!(
                "{option} bounds what a run of a STREAM takes: leave it out, or write STREAM read_files(…) \
                 in a streaming table"
            ))),
        }
    }

    /// The options of the format as the lake has them. Files are taken to have a header where their columns
    /// are looked up, and to have none where they are declared, as in Databricks.
    pub(super) fn of_format(&self, format: TableFormat) -> Properties {
        let named = self.of_format.iter().filter_map(|(name, value)| {
            let known = OF_FORMAT.iter().find(|(known, ..)| known == name)?;
            Some((known.1.to_owned(), value.clone()))
        });
        let mut options: Properties = named.collect();
        if format == TableFormat::Csv && !options.contains_key("header") {
            options.insert("header".to_owned(), self.schema.is_none().to_string());
        }
        options
    }
}

fn refused(option: &str, instead: &str) -> QueryError {
    QueryError::Unsupported(format!(
        "the option {option} of read_files is not supported in this version; {instead}"
    ))
}

fn format(value: &str) -> Result<TableFormat, QueryError> {
    match value.to_ascii_lowercase().as_str() {
        "csv" => Ok(TableFormat::Csv),
        "json" => Ok(TableFormat::Json),
        "parquet" => Ok(TableFormat::Parquet),
        _ => Err(QueryError::Unsupported(format!(
            "files of the format '{value}' are not read in this version: format is 'csv', 'json' or 'parquet'"
        ))),
    }
}

/// `10g` and `500m` as Databricks has them, and sizes as they are written elsewhere here.
fn bytes(value: &str) -> Result<u64, QueryError> {
    let text = value.trim().to_ascii_lowercase();
    let spelled = match text.strip_suffix(['k', 'm', 'g', 't']) {
        Some(number) => format!("{number}{}ib", &text[number.len()..]),
        None => text,
    };
    let size = model::quantity::parse_size(&spelled);
    size.map_err(|_| {
        QueryError::Invalid(format!(
            "maxBytesPerTrigger of read_files is a number of bytes or a size such as '500m' or '10g', \
             not '{value}'"
        ))
    })
}

/// What files are by the end of the place, with or without the ending of a compression.
fn by_ending(place: &str) -> Option<TableFormat> {
    let place = place.to_ascii_lowercase();
    let place = [".gz", ".zst", ".bz2", ".xz"]
        .into_iter()
        .find_map(|ending| place.strip_suffix(ending))
        .unwrap_or(&place);
    match place.rsplit_once('.')?.1 {
        "parquet" | "parq" | "pq" => Some(TableFormat::Parquet),
        "csv" | "tsv" => Some(TableFormat::Csv),
        "json" | "ndjson" | "jsonl" => Some(TableFormat::Json),
        _ => None,
    }
}
