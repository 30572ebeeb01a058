//! What can go wrong with stored data, each with the location it happened at and what to do.

use std::{error::Error, sync::Arc};

use model::{code::Code, object::TableFormat, time::Timestamp};
use parquet::errors::ParquetError;

/// What an error shows as its source.
pub(crate) type Cause = Arc<dyn Error + Send + Sync + 'static>;

/// What stands between the names of several features.
pub(crate) const FEATURES_BETWEEN: &str = "', '";

/// An operation of the lake that did not happen. Every variant names where.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LakeError {
    /// An option of the lake is wrong. Values are never shown: they may be secrets.
    #[error("lake option '{key}': {why}")]
    Option {
        /// The key in the configuration.
        key: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// The store cannot create an object only if it is absent, so commits would be lost.
    #[error(
        "the store at '{location}' does not support put-if-absent, so concurrent commits would overwrite each other; \
         use a store that honours 'If-None-Match: *' and do not set aws_conditional_put=disabled"
    )]
    NoPutIfAbsent {
        /// The lake's root.
        location: String,
    },
    /// A text that names no place.
    #[error("'{text}' is not a location: {why}")]
    Location {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A place outside the folders that the lake may use.
    #[error(
        "location '{location}' is outside the lake; an operator can allow its folder with the configuration key lake.locations"
    )]
    OutsideRoots {
        /// The place.
        location: String,
    },
    /// A log names a file outside the folders that the lake may use. Nothing of the table is read.
    #[error(
        "the log of '{location}' names the file '{file}', which is outside the lake; an operator can allow its folder with the configuration key lake.locations"
    )]
    FileOutsideRoots {
        /// The table.
        location: String,
        /// As the log has it.
        file: String,
    },
    /// A log names a file, and where that is cannot be told.
    #[error(
        "the log of '{location}' names the file '{file}', and where that is cannot be told: nothing is deleted, \
         for it might be one that is needed; look after this table with the engine that wrote the name"
    )]
    FileUnresolved {
        /// The table.
        location: String,
        /// As the log has it.
        file: String,
    },
    /// Something at the place itself must never be deleted.
    #[error("'{location}' is a root of the lake and cannot be deleted; only folders inside it can")]
    PurgeRoot {
        /// The place.
        location: String,
    },
    /// There is no Delta table.
    #[error("there is no Delta table at '{location}'")]
    NotFound {
        /// The place.
        location: String,
    },
    /// There are no data files.
    #[error("there is no {} file at '{location}'", format.as_sql())]
    FilesNotFound {
        /// The place.
        location: String,
        /// What was looked for.
        format: TableFormat,
    },
    /// There is a Delta table already.
    #[error("there is a Delta table at '{location}' already")]
    AlreadyExists {
        /// The place.
        location: String,
    },
    /// The table has no such version.
    #[error(
        "version {version} of the Delta table at '{location}' does not exist; its newest one is {newest}"
    )]
    VersionNotFound {
        /// The place.
        location: String,
        /// What was asked for.
        version: i64,
        /// The newest version there is.
        newest: i64,
    },
    /// The table no longer has this version.
    #[error(
        "version {version} of the Delta table at '{location}' is no longer in its log, which begins with \
         version {first}: entries stay for as long as delta.logRetentionDuration says"
    )]
    VersionExpired {
        /// The place.
        location: String,
        /// What was asked for.
        version: i64,
        /// The oldest version that can be read.
        first: i64,
    },
    /// The table did not exist yet, or its log does not reach back that far.
    #[error(
        "the Delta table at '{location}' has no version of {asked}; its first known version is of {first}"
    )]
    TimestampTooEarly {
        /// The place.
        location: String,
        /// What was asked for.
        asked: Timestamp,
        /// Time of the oldest version in the log.
        first: Timestamp,
    },
    /// The table needs something that this version cannot do.
    #[error(
        "the Delta table at '{location}' uses the {} '{feature}', which Whimbrel cannot {access} yet",
        feature_or_features(feature)
    )]
    Unsupported {
        /// The place.
        location: String,
        /// Name of the Delta feature, or names with [`FEATURES_BETWEEN`].
        feature: String,
        /// `read` or `write`.
        access: &'static str,
    },
    /// The table only takes appends.
    #[error(
        "the Delta table at '{location}' is append-only (delta.appendOnly): its rows cannot be changed or \
         replaced until ALTER TABLE … SET TBLPROPERTIES ('delta.appendOnly' = 'false')"
    )]
    AppendOnly {
        /// The place.
        location: String,
    },
    /// The log cannot be read although the store can.
    #[error(
        "broken Delta log at '{location}'; other tables are not affected, restore the files of '_delta_log' or recreate the table"
    )]
    BrokenLog {
        /// The place.
        location: String,
        /// What is wrong.
        #[source]
        source: Cause,
    },
    /// A commit without a byte: what it did is lost.
    #[error(
        "version {version} of the Delta table at '{location}' is broken: its commit \
         '_delta_log/{version:020}.json' is an empty file, so it was cut off and what it did is lost; other \
         tables are not affected; bring the file back from a backup or, where it is the newest and \
         the rows of its statement can be written again, delete it, and the table is at the version before"
    )]
    EmptyCommit {
        /// The place.
        location: String,
        /// The version.
        version: i64,
    },
    /// A checkpoint that is not what was said of it when it was written.
    #[error(
        "the checkpoint of version {version} of the Delta table at '{location}' is not what '_last_checkpoint' \
         says: {why}; other tables are not affected; VALIDATE TABLE compares it with the commits, and while \
         those are all there, delete the checkpoint and '_last_checkpoint' in '_delta_log', and the table is \
         read from the commits"
    )]
    WrongCheckpoint {
        /// The place.
        location: String,
        /// The version.
        version: i64,
        /// In what.
        why: String,
    },
    /// The store is out of reach or refuses.
    #[error("{operation} at '{location}'")]
    Store {
        /// What was tried.
        operation: &'static str,
        /// The place.
        location: String,
        /// Why not.
        #[source]
        source: Cause,
        /// See [`LakeError::code`].
        code: Code,
    },
    /// A column cannot be stored in a Delta table.
    #[error("column '{column}' cannot be stored in {}: {why}", table_at(location))]
    Column {
        /// The place; empty where it is not known.
        location: String,
        /// Name, or names joined by dots.
        column: String,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// The rows have another number of columns than the table.
    #[error("the Delta table at '{location}' has {expected} columns but the query returns {found}")]
    ColumnCount {
        /// The place.
        location: String,
        /// Columns of the table.
        expected: usize,
        /// Columns of the query.
        found: usize,
    },
    /// A row has NULL where the table forbids it.
    #[error(
        "column '{column}' of the Delta table at '{location}' is NOT NULL but a row has NULL in it"
    )]
    NotNull {
        /// The place.
        location: String,
        /// Name of the column.
        column: String,
    },
    /// A row makes a CHECK constraint false.
    #[error(
        "a row of the Delta table at '{location}' violates CHECK '{name}' ({condition}): {row}"
    )]
    Check {
        /// The place.
        location: String,
        /// Name of the constraint.
        name: String,
        /// Its condition.
        condition: String,
        /// The row, cut off when it is long.
        row: String,
    },
    /// A row has another value in a generated column than its expression.
    #[error(
        "a row of the Delta table at '{location}' has another value in the generated column \
         '{column}' than its expression ({expression}): {row}; leave the column out, and it is computed"
    )]
    Generated {
        /// The place.
        location: String,
        /// The column.
        column: String,
        /// Its expression.
        expression: String,
        /// The row, cut off when it is long.
        row: String,
    },
    /// What changed in a version cannot be told.
    #[error(
        "the changes of version {version} of the Delta table at '{location}' are not known: {why}; \
         read from a later version on"
    )]
    NotRecorded {
        /// The place.
        location: String,
        /// The version.
        version: i64,
        /// Why.
        why: &'static str,
    },
    /// What happened to the rows between two versions cannot be told.
    #[error(
        "what came and what went between the versions {from} and {to} of the Delta table at \
         '{location}' cannot be told: {why}; read the table in full"
    )]
    NotTold {
        /// The place.
        location: String,
        /// The earlier version.
        from: i64,
        /// The later version.
        to: i64,
        /// Why.
        why: String,
    },
    /// A data file that rows are to be read from was deleted.
    #[error(
        "the file '{file}' of version {version} of the Delta table at '{location}' is no longer \
         there: VACUUM deletes files that no version in delta.deletedFileRetentionDuration has"
    )]
    FileGone {
        /// The place.
        location: String,
        /// A version that named it.
        version: i64,
        /// Where it was, in the table's folder.
        file: String,
    },
    /// New values cannot be put into files as they are; the rows have to be written whole.
    #[error("the changed rows of '{location}' have to be written whole: {why}")]
    NotPatchable {
        /// The place.
        location: String,
        /// Why.
        why: &'static str,
    },
    /// A statement would change one row twice.
    #[error(
        "several rows of the source match the same row of the Delta table at '{location}': {row}; \
         make the source have one row for each, for example with GROUP BY or row_number()"
    )]
    Repeated {
        /// The place.
        location: String,
        /// The row.
        row: String,
    },
    /// Data files of an older version are gone.
    #[error(
        "version {version} of the Delta table at '{location}' cannot be restored: its file '{first}' \
         and {more} more are no longer there; VACUUM deletes files of old versions"
    )]
    FilesGone {
        /// The place.
        location: String,
        /// The version.
        version: i64,
        /// A file that is missing.
        first: String,
        /// How many others are.
        more: usize,
    },
    /// A file that cannot be part of a table.
    #[error(
        "the folder '{location}' cannot become a Delta table because of its file '{file}': {why}"
    )]
    Foreign {
        /// The folder.
        location: String,
        /// The file, as seen from there.
        file: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// Files are to be written where there are some.
    #[error("the place '{location}' is not empty, and nothing is overwritten; name another one")]
    NotEmpty {
        /// The place.
        location: String,
    },
    /// A value cannot be converted to its column's type.
    #[error("a value does not fit column '{column}' of the Delta table at '{location}'")]
    Value {
        /// The place.
        location: String,
        /// Name of the column.
        column: String,
        /// Which value, and why not.
        #[source]
        source: Cause,
    },
    /// A table property that Whimbrel does not write.
    #[error("table property '{key}' of '{location}': {why}")]
    Property {
        /// The place.
        location: String,
        /// Its key.
        key: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// A reader option that the format does not have.
    #[error("option '{option}' of the {} files at '{location}': {why}", format.as_sql())]
    FileOption {
        /// The place.
        location: String,
        /// The format.
        format: TableFormat,
        /// The option.
        option: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// Files that cannot be read as what they are said to be.
    #[error("read {} files at '{location}'", format.as_sql())]
    Files {
        /// The place.
        location: String,
        /// The format.
        format: TableFormat,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// What says which files the flows of a table have taken is not there.
    #[error(
        "what says which files were taken for the table at '{location}' is gone: only reading them all again is left"
    )]
    TakenFilesGone {
        /// The table.
        location: String,
    },
    /// Files of which nothing tells what they are.
    #[error(
        "what the files at '{location}' are is told neither by an option nor by their names: {why}; \
         write format => 'csv', 'json' or 'parquet'"
    )]
    FilesUntold {
        /// The place.
        location: String,
        /// Which file does not tell.
        why: String,
    },
    /// One file that cannot be read as what it is said to be.
    #[error("read the {} file '{file}'", format.as_sql())]
    File {
        /// The file.
        file: String,
        /// The format.
        format: TableFormat,
        /// Why not.
        #[source]
        source: Cause,
    },
    /// A file does not have the columns that are wanted of it.
    #[error("the column '{column}' of the file '{file}' {why}")]
    FileColumn {
        /// The file.
        file: String,
        /// The column.
        column: String,
        /// What is wrong with it there.
        why: String,
    },
    /// The name of a folder does not do for the column that it says a value of.
    #[error("path column '{column}' of the files at '{location}': {why}")]
    PathColumn {
        /// The place.
        location: String,
        /// The column.
        column: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// There are files, and no folder of them is complete.
    #[error(
        "the files at '{location}' are not complete yet: a folder counts when it holds the object '{marker}' \
         (COMPLETE WHEN), and none of those with files does; try again when whoever writes the files is through"
    )]
    NotComplete {
        /// The place.
        location: String,
        /// The object.
        marker: String,
    },
    /// The query that makes the rows failed. The cause is its own error, unchanged.
    #[error("compute the rows for '{location}'")]
    Query {
        /// The place.
        location: String,
        /// The query's error.
        #[source]
        source: Arc<datafusion::error::DataFusionError>,
    },
    /// Somebody else changed the table in between.
    #[error(
        "the Delta table at '{location}' was changed by somebody else at version {version}: {why}; run the statement again"
    )]
    Conflict {
        /// The place.
        location: String,
        /// The version that came in between.
        version: i64,
        /// What of it conflicts.
        why: &'static str,
    },
    /// The same application transaction was committed before.
    #[error(
        "transaction {app_id} of the Delta table at '{location}' is committed up to {version} already"
    )]
    AlreadyApplied {
        /// The place.
        location: String,
        /// Who wrote it.
        app_id: String,
        /// Newest committed number of the application.
        version: i64,
    },
    /// The store neither confirmed nor refused the commit, and its log cannot be read.
    #[error(
        "it is not known whether version {version} of the Delta table at '{location}' was committed; \
         look at its newest version before running the statement again"
    )]
    OutcomeUnknown {
        /// The place.
        location: String,
        /// The version that was tried.
        version: i64,
        /// Why it is not known.
        #[source]
        source: Cause,
    },
    /// Committed, but the table could not be read afterwards.
    #[error(
        "version {version} of the Delta table at '{location}' is committed; do not run the statement again. It could not be read back"
    )]
    ReadBack {
        /// The place.
        location: String,
        /// The version that was committed.
        version: i64,
        /// Why not.
        #[source]
        source: Box<LakeError>,
    },
    /// A defect of ours.
    #[error("{operation} at '{location}' ended unexpectedly")]
    Internal {
        /// What was being done.
        operation: &'static str,
        /// The place.
        location: String,
        /// What happened.
        #[source]
        source: Cause,
    },
}

impl LakeError {
    /// Who is at fault and what a caller may do about it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Option { .. }
            | Self::Location { .. }
            | Self::Column { .. }
            | Self::ColumnCount { .. }
            | Self::NotNull { .. }
            | Self::Check { .. }
            | Self::Generated { .. }
            | Self::Repeated { .. }
            | Self::Foreign { .. }
            | Self::Value { .. }
            | Self::Property { .. }
            | Self::FileOption { .. }
            | Self::Files { .. }
            | Self::FilesUntold { .. }
            | Self::FileColumn { .. }
            | Self::PathColumn { .. }
            | Self::TimestampTooEarly { .. } => Code::InvalidArgument,
            Self::NoPutIfAbsent { .. }
            | Self::PurgeRoot { .. }
            | Self::AppendOnly { .. }
            | Self::FileUnresolved { .. }
            | Self::FilesGone { .. } => Code::FailedPrecondition,
            Self::OutsideRoots { .. } | Self::FileOutsideRoots { .. } => Code::PermissionDenied,
            Self::NotFound { .. }
            | Self::FilesNotFound { .. }
            | Self::NotComplete { .. }
            | Self::VersionNotFound { .. }
            | Self::VersionExpired { .. } => Code::NotFound,
            Self::AlreadyExists { .. } | Self::AlreadyApplied { .. } | Self::NotEmpty { .. } => {
                Code::AlreadyExists
            }
            Self::Unsupported { .. } => Code::Unimplemented,
            Self::BrokenLog { .. }
            | Self::EmptyCommit { .. }
            | Self::WrongCheckpoint { .. }
            | Self::TakenFilesGone { .. } => Code::DataLoss,
            Self::File { source, .. } => file_code(source.as_ref()),
            Self::Store { code, .. } => *code,
            Self::Query { source, .. } => query_code(source.as_ref()),
            Self::Conflict { .. } => Code::Aborted,
            Self::NotRecorded { .. } | Self::NotTold { .. } | Self::FileGone { .. } => {
                Code::FailedPrecondition
            }
            Self::OutcomeUnknown { .. } => Code::Unavailable,
            Self::ReadBack { source, .. } => source.code(),
            Self::NotPatchable { .. } | Self::Internal { .. } => Code::Internal,
        }
    }

    /// A failed request to a store; what kind of failure decides the code.
    pub(crate) fn store(
        operation: &'static str,
        location: impl Into<String>,
        source: object_store::Error,
    ) -> Self {
        let code = store_code(&source);
        Self::Store { operation, location: location.into(), source: Arc::new(source), code }
    }

    /// A failed operation of a library on files: the store's fault where that is the cause, and a
    /// defect of ours otherwise.
    pub(crate) fn failed(
        operation: &'static str,
        location: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        match store_error(&source).map(store_code) {
            Some(code) => {
                let source = Arc::new(source);
                Self::Store { operation, location: location.into(), source, code }
            }
            None => Self::internal(operation, location, source),
        }
    }

    /// A failed file operation of the operating system.
    pub(crate) fn io(
        operation: &'static str,
        location: impl Into<String>,
        source: std::io::Error,
    ) -> Self {
        let code = match source.kind() {
            std::io::ErrorKind::NotFound => Code::NotFound,
            std::io::ErrorKind::PermissionDenied => Code::FailedPrecondition,
            _ => Code::Unavailable,
        };
        Self::Store { operation, location: location.into(), source: Arc::new(source), code }
    }

    pub(crate) fn internal(
        operation: &'static str,
        location: impl Into<String>,
        source: impl Error + Send + Sync + 'static,
    ) -> Self {
        Self::Internal { operation, location: location.into(), source: Arc::new(source) }
    }
}

fn feature_or_features(names: &str) -> &'static str {
    if names.contains(FEATURES_BETWEEN) { "features" } else { "feature" }
}

fn table_at(location: &str) -> String {
    match location {
        "" => "a Delta table".to_owned(),
        location => format!("the Delta table at '{location}'"),
    }
}

/// Class of an error that a store has caused, however deep below; `None` for all others. A file that
/// is not there is data that is lost.
#[must_use]
pub fn store_failure(error: &(dyn Error + 'static)) -> Option<Code> {
    let code = store_error(error).map(store_code).or_else(|| footer_failure(error))?;
    Some(if code == Code::NotFound { Code::DataLoss } else { code })
}

/// The file that was not there, however deep below; `None` for all other errors.
pub(crate) fn missing_file(error: &(dyn Error + 'static)) -> Option<String> {
    match store_error(error) {
        Some(object_store::Error::NotFound { path, .. }) => Some(path.clone()),
        Some(_) => None,
        None => {
            let (file, why) = footer_of(error)?.split_once(": ")?;
            let is_missing = why.contains("Object at location ") && why.contains(" not found");
            is_missing.then(|| file.to_owned())
        }
    }
}

/// The file whose footer could not be read, and why, as text: DataFusion hands on no more.
fn footer_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(ParquetError::General(text)) = error.downcast_ref() {
            return text.strip_prefix("Failed to fetch metadata for file ");
        }
        at = error.source();
    }
    None
}

/// As [`store_code`], of a footer that could not be read: what happened to it DataFusion hands on as
/// text only. Of a store that did not answer, the text has the library's words for that.
fn footer_failure(error: &(dyn Error + 'static)) -> Option<Code> {
    let why = footer_of(error)?;
    if is_beyond_end(why) {
        return Some(Code::DataLoss);
    }
    let is_of_store = ["External: Generic ", "Object Store error: Generic "];
    is_of_store.iter().any(|of| why.contains(of)).then_some(Code::Unavailable)
}

fn store_code(error: &object_store::Error) -> Code {
    match error {
        object_store::Error::NotFound { .. } => Code::NotFound,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => Code::FailedPrecondition,
        object_store::Error::InvalidPath { .. }
        | object_store::Error::UnknownConfigurationKey { .. } => Code::InvalidArgument,
        // The file is shorter than it was when its size was written down.
        object_store::Error::Generic { source, .. } if is_beyond_end(&source.to_string()) => {
            Code::DataLoss
        }
        _ => Code::Unavailable,
    }
}

/// Whether a store says that it was asked for bytes beyond the end of a file; it has no error of its
/// own for that, so its words have to do: those of local files, then those of HTTP.
fn is_beyond_end(why: &str) -> bool {
    ["Requested range was invalid", "Range Not Satisfiable"].iter().any(|words| why.contains(words))
}

fn store_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a object_store::Error> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // The kernel of the Delta library does not name it as its source.
        if let Some(delta_kernel::Error::ObjectStore(found)) = error.downcast_ref() {
            return Some(found);
        }
        // What an I/O error wraps is not its source: that is the source of what it wraps.
        at = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// Class of a file that could not be read. One that went after it was listed is in no later listing.
fn file_code(source: &(dyn Error + 'static)) -> Code {
    if missing_file(source).is_some() {
        return Code::Unavailable;
    }
    let of_query = source.downcast_ref::<datafusion::error::DataFusionError>().map(query_code);
    of_query.or_else(|| store_failure(source)).unwrap_or(Code::InvalidArgument)
}

/// Class of a failed query, for callers that do not look at the cause.
fn query_code(error: &datafusion::error::DataFusionError) -> Code {
    use datafusion::error::DataFusionError as D;
    match error.find_root() {
        D::ResourcesExhausted(_) => Code::ResourceExhausted,
        D::NotImplemented(_) => Code::Unimplemented,
        D::Internal(_) => Code::Internal,
        root @ D::ParquetError(_) => store_failure(root).unwrap_or(Code::DataLoss),
        root => store_failure(root).unwrap_or(Code::InvalidArgument),
    }
}
