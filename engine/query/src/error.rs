//! What can go wrong with a statement.

use std::{sync::Arc, time::Duration};

use arrow::error::ArrowError;
use catalog::error::CatalogError;
use datafusion::{common::SchemaError, error::DataFusionError};
use dialect::{SyntaxError, SyntaxErrorKind};
use lake::{LakeError, store_failure};
use model::{
    code::Code,
    id::{JobId, QueryId},
    limits::Limit,
    name::{NameError, ObjectName},
    report::Promise,
};
use rt::cpu::CpuTaskError;

use crate::{
    fault::{self, Fault},
    incremental::{ApprovalNeeded, Why},
    ingest::Broken,
    violation::Violation,
};

/// An error of a statement. Its text says what and where; [`QueryError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is not SQL that Whimbrel takes.
    #[error("{0}")]
    Syntax(#[from] SyntaxError),
    /// A name that cannot be one.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A named table, view or transform does not exist.
    #[error("table '{name}' does not exist")]
    TableNotFound {
        /// The name, with its schema.
        name: ObjectName,
        /// The most similar name that does exist.
        nearest: Option<String>,
        /// Whether it does exist, and the caller may not know of it: for the audit trail alone.
        is_hidden: bool,
    },
    /// The caller, or the owner of what it uses, may not do that.
    #[error("'{who}' may not {what}")]
    Denied {
        /// Whose rights do not suffice.
        who: String,
        /// What was to be done.
        what: String,
        /// Who can change that.
        hint: String,
    },
    /// The object is of another kind than the statement says or needs.
    #[error("'{name}' is a {kind} {problem}")]
    WrongKind {
        /// The object.
        name: ObjectName,
        /// What it is.
        kind: &'static str,
        /// What does not fit.
        problem: String,
    },
    /// Only a full refresh is left, and the transform does not allow one.
    #[error("only a full refresh is left ({why}), and its definition says {rule}")]
    FullRefused {
        /// Why nothing less would do.
        why: String,
        /// The clause that forbids it.
        rule: String,
    },
    /// Only a full refresh is left, and somebody has to approve it.
    #[error("only a full refresh is left ({}), which somebody has to approve", .0.reason)]
    ApprovalNeeded(Box<ApprovalNeeded>),
    /// The statement waited for a job that waits for a person.
    #[error("the job of '{object}' waits for approval of a full refresh ({reason}): {job}")]
    JobAsks {
        /// What is refreshed.
        object: ObjectName,
        /// Why nothing less would do.
        reason: String,
        /// The job.
        job: JobId,
    },
    /// Rows of a result that its declaration does not allow.
    #[error("{0}")]
    Violated(Box<Violation>),
    /// A flow cannot be planned.
    #[error("the flow '{flow}': {source}")]
    Flow {
        /// The flow.
        flow: ObjectName,
        /// Why not.
        #[source]
        source: Box<QueryError>,
    },
    /// A commit in the source of a STREAM did more than add rows.
    #[error("{}", source_changed(.name, *.version, .operation, *.rows))]
    SourceChanged {
        /// The source.
        name: ObjectName,
        /// The version that the commit made.
        version: i64,
        /// What it did, in the words of its writer; empty when that is not known.
        operation: String,
        /// Rows that it changed or took away, where its writer counted them.
        rows: Option<u64>,
    },
    /// What came to the source of a STREAM since it was read last cannot be told.
    #[error("{why}; REFRESH … FULL begins anew")]
    StreamLost {
        /// A word for machines.
        code: &'static str,
        /// What happened to the source.
        why: String,
    },
    /// A transform that nobody has computed yet.
    #[error("'{0}' has not been refreshed yet")]
    NotRefreshed(ObjectName),
    /// Views or transforms that would read each other in a circle.
    #[error("'{}' would read itself: {}", .0[0], join_cycle(.0))]
    Cycle(Vec<ObjectName>),
    /// Views upon views upon views.
    #[error("views are nested deeper than {0} levels")]
    ViewDepth(usize),
    /// The planner or the execution refused.
    #[error("{}", data_fusion_text(.0))]
    Engine(#[source] Arc<DataFusionError>),
    /// A stored view no longer fits what it reads.
    #[error("the query of '{name}' no longer works: {source}")]
    View {
        /// The view.
        name: ObjectName,
        /// Why.
        #[source]
        source: Box<QueryError>,
    },
    /// The catalog refused or is out of reach.
    #[error("{}", chain(.0))]
    Catalog(#[from] CatalogError),
    /// The lake refused or is out of reach.
    #[error("{}", chain(.0))]
    Lake(#[from] LakeError),
    /// A statement that this version plans no further.
    #[error("{0}")]
    Unsupported(String),
    /// An argument that cannot be.
    #[error("{0}")]
    Invalid(String),
    /// A column that is named and not there.
    #[error("table '{table}' has no column '{column}'; it has {known}")]
    NoColumn {
        /// The table, as it was named.
        table: String,
        /// The column.
        column: String,
        /// Those that there are.
        known: String,
    },
    /// A name that was to be a relation of the Postgres catalog.
    #[error("{0}")]
    NoRelation(String),
    /// More or fewer parameters than the statement has.
    #[error("the statement has {wanted} parameters and {given} were bound")]
    Parameters {
        /// Those of the statement.
        wanted: usize,
        /// Those that came.
        given: usize,
    },
    /// What this server does not do as it is configured.
    #[error("{problem}")]
    Refused {
        /// What is not done.
        problem: String,
        /// What would let it be done.
        hint: String,
    },
    /// Jobs are queued, and nobody will be told of their end.
    #[error("the jobs are queued ({jobs}), but nobody is told of their end: {}", chain(.source))]
    Unnotified {
        /// The jobs.
        jobs: String,
        /// Why not.
        #[source]
        source: CatalogError,
    },
    /// The rows that a client sends broke off, or could not be read.
    #[error("{0}")]
    Incoming(Broken),
    /// Too many statements run and wait.
    #[error("the server is busy: {running} statements run and {waiting} wait")]
    Busy {
        /// Limit of running statements.
        running: usize,
        /// Limit of waiting statements.
        waiting: usize,
    },
    /// The statement waited too long for its turn.
    #[error("the statement waited {0:?} for its turn and was given up")]
    QueueWait(Duration),
    /// A limit of one of the caller's roles.
    #[error("{what}: role '{role}' allows no more")]
    RoleLimit {
        /// The role.
        role: String,
        /// Which limit.
        limit: Limit,
        /// What came of it.
        what: String,
    },
    /// The statement ran too long.
    #[error("the statement ran longer than its limit of {0:?}")]
    Timeout(Duration),
    /// Somebody ended it.
    #[error("the statement was cancelled by '{by}'{}", reason_text(.reason))]
    Cancelled {
        /// Who.
        by: String,
        /// Why.
        reason: Option<String>,
    },
    /// What a transaction cannot keep together.
    #[error("{problem}")]
    Transaction {
        /// What.
        problem: String,
        /// What to do.
        hint: &'static str,
    },
    /// A query that is to be planned again would not be the same one any more.
    #[error("what the statement reads is not what it was when the statement was planned")]
    Outdated,
    /// There is no such statement, as far as the caller can know.
    #[error("there is no statement '{0}'")]
    NoStatement(QueryId),
    /// A statement that can no longer be cancelled.
    #[error("the statement '{id}' can no longer be cancelled: it is {state}")]
    TooLate {
        /// The statement.
        id: QueryId,
        /// Where it stands.
        state: &'static str,
    },
    /// The thread that worked on it died, or the server stops.
    #[error("{0}")]
    Task(#[from] CpuTaskError),
    /// The statement waited for a job and the job did not succeed.
    #[error("{0}")]
    JobEnded(String),
    /// The statement waited for a refresh whose rows broke a promise of their declaration.
    #[error("{text}")]
    JobBroke {
        /// What kind of promise it was.
        promise: Promise,
        /// What the job says of it.
        text: String,
    },
    /// The statement waited for jobs that take longer; they go on.
    #[error("after {limit:?} these jobs had not ended: {jobs}")]
    StillRunning {
        /// How long it waited.
        limit: Duration,
        /// Who is not finished.
        jobs: String,
    },
}

impl QueryError {
    /// Who is at fault.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Syntax(error) => match error.kind {
                SyntaxErrorKind::Unsupported => Code::Unimplemented,
                _ => Code::InvalidArgument,
            },
            Self::Name(_)
            | Self::Cycle(_)
            | Self::ViewDepth(_)
            | Self::Violated(_)
            | Self::Invalid(_)
            | Self::NoColumn { .. }
            | Self::Parameters { .. }
            | Self::WrongKind { .. } => Code::InvalidArgument,
            Self::Denied { .. } => Code::PermissionDenied,
            Self::TableNotFound { .. } | Self::NoRelation(_) | Self::NoStatement(_) => {
                Code::NotFound
            }
            Self::Flow { source, .. } => source.code(),
            Self::NotRefreshed(_)
            | Self::SourceChanged { .. }
            | Self::StreamLost { .. }
            | Self::FullRefused { .. }
            | Self::ApprovalNeeded(_)
            | Self::Refused { .. }
            | Self::JobAsks { .. }
            | Self::JobEnded(_)
            | Self::JobBroke { .. }
            | Self::TooLate { .. }
            | Self::Outdated
            | Self::Transaction { .. } => Code::FailedPrecondition,
            Self::Cancelled { .. } => Code::Cancelled,
            Self::Engine(error) => engine_code(error),
            Self::View { source, .. } => match source.code() {
                Code::InvalidArgument | Code::NotFound => Code::FailedPrecondition,
                other => other,
            },
            Self::Catalog(error) | Self::Unnotified { source: error, .. } => error.code(),
            Self::Incoming(broken) => broken.code,
            Self::Lake(error) => error.code(),
            Self::Unsupported(_) => Code::Unimplemented,
            Self::Busy { .. } | Self::QueueWait(_) => Code::ResourceExhausted,
            Self::RoleLimit { limit: Limit::RunTime, .. } => Code::DeadlineExceeded,
            Self::RoleLimit { .. } => Code::ResourceExhausted,
            Self::Timeout(_) | Self::StillRunning { .. } => Code::DeadlineExceeded,
            Self::Task(CpuTaskError::Panicked(_)) => Code::Internal,
            Self::Task(CpuTaskError::ShutDown) => Code::Unavailable,
        }
    }

    /// What in particular is wrong, where SQL has a name for it.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        match self {
            Self::Engine(error) => fault::of_engine(error),
            Self::Lake(LakeError::Query { source, .. }) => fault::of_engine(source),
            Self::Lake(LakeError::Value { source, .. }) => {
                fault::of_text(&chain(source.as_ref())).or(Some(Fault::InvalidText))
            }
            // A value with the column that it was meant for.
            Self::Invalid(text) => fault::of_text(text),
            Self::NoColumn { .. } => Some(Fault::UndefinedColumn),
            Self::Flow { source, .. } => source.fault(),
            _ => None,
        }
    }

    /// Whether a value was at fault, of a row that was computed: another way to compute the same result may
    /// never meet it.
    #[must_use]
    pub fn is_of_a_value(&self) -> bool {
        let computed = matches!(self, Self::Engine(_) | Self::Lake(LakeError::Query { .. }));
        let fault = self.fault();
        computed
            && matches!(
                fault,
                Some(
                    Fault::DivisionByZero
                        | Fault::InvalidArgument
                        | Fault::InvalidRegex
                        | Fault::InvalidText
                        | Fault::InvalidTime
                        | Fault::ManyRows
                        | Fault::OutOfRange
                        | Fault::TimeOutOfRange
                )
            )
    }

    /// Why a flow can only go on by reading everything again, if that is what it says.
    #[must_use]
    pub fn begins_anew(&self) -> Option<Why> {
        match self {
            Self::Flow { source, .. } => source.begins_anew(),
            Self::SourceChanged { .. } => Some(Why::new("INPUT_ROWS_CHANGED", self.to_string())),
            Self::StreamLost { code, why } => Some(Why::new(code, why.clone())),
            _ => None,
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Syntax(error) => error.hint.clone(),
            Self::Denied { hint, .. } => Some(hint.clone()),
            Self::TableNotFound { nearest: Some(nearest), .. } => {
                Some(format!("did you mean '{nearest}'?"))
            }
            Self::TableNotFound { nearest: None, .. } => {
                Some("SHOW TABLES lists what there is".to_owned())
            }
            Self::NotRefreshed(name) => {
                Some(format!("watch its job with SHOW JOBS, or run REFRESH {} SYNC", name.to_sql()))
            }
            Self::Flow { source, .. } => source.hint(),
            Self::SourceChanged { name, .. } => Some(format!(
                "STREAM({}, ON_CHANGE => 'skip') leaves such commits out, 'changes' gives their rows with \
                 _change_type; REFRESH … FULL reads all rows again",
                name.to_sql()
            )),
            Self::FullRefused { .. } => {
                Some("REFRESH … FULL does it all the same; EXPLAIN REFRESH tells more".to_owned())
            }
            Self::Refused { hint, .. } => Some(hint.clone()),
            Self::JobAsks { job, .. } => {
                Some(format!("APPROVE JOB '{job}' lets it go on, CANCEL JOB '{job}' ends it"))
            }
            Self::Busy { .. } | Self::QueueWait(_) => {
                Some("try again later, or raise query.concurrency or query.queue_max".to_owned())
            }
            Self::RoleLimit { role, .. } => {
                let role = model::name::quote(role);
                Some(format!(
                    "SHOW LIMITS lists them; an admin can ALTER ROLE {role} SET LIMITS (…)"
                ))
            }
            Self::Timeout(_) => Some("raise query.statement_timeout".to_owned()),
            Self::StillRunning { .. } => {
                Some("they go on: WAIT FOR JOB again, or see SHOW JOBS".to_owned())
            }
            Self::Violated(violation) => Some(violation.hint.clone()),
            Self::Transaction { hint, .. } => Some((*hint).to_owned()),
            Self::NoStatement(_) => {
                Some("system.queries lists the newest statements of this process".to_owned())
            }
            Self::Outdated => Some("run the statement again".to_owned()),
            Self::View { source, .. } => source.hint(),
            Self::Engine(error) => engine_hint(error),
            Self::Lake(LakeError::Query { source, .. }) => engine_hint(source),
            _ => None,
        }
    }

    /// Line and column of the mistake in the statement, counted from 1, when it is known.
    #[must_use]
    pub fn position(&self) -> Option<(u64, u64)> {
        match self {
            Self::Syntax(error) => Some((error.line, error.column)),
            Self::Engine(error) => {
                let span = error.diagnostic()?.span?;
                Some((span.start.line, span.start.column))
            }
            _ => None,
        }
    }
}

impl From<DataFusionError> for QueryError {
    fn from(error: DataFusionError) -> Self {
        // Errors of our own that travelled through DataFusion come back as what they were.
        match error {
            DataFusionError::External(inner) => match inner.downcast::<LakeError>() {
                Ok(lake) => Self::Lake(*lake),
                Err(inner) => match inner.downcast::<Self>() {
                    Ok(own) => *own,
                    Err(inner) => Self::Engine(Arc::new(DataFusionError::External(inner))),
                },
            },
            DataFusionError::Context(_, inner)
                if matches!(*inner, DataFusionError::External(_)) =>
            {
                Self::from(*inner)
            }
            other => Self::Engine(Arc::new(other)),
        }
    }
}

impl From<ArrowError> for QueryError {
    fn from(error: ArrowError) -> Self {
        Self::from(DataFusionError::from(error))
    }
}

/// Whether a limit is what ended it. Inside a plan Arrow does I/O for one purpose, spilling, and
/// reports a full spill folder as no more than an I/O error.
fn is_exhausted(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => true,
        DataFusionError::ArrowError(inner, _) => matches!(**inner, ArrowError::IoError(..)),
        _ => false,
    }
}

fn engine_code(error: &DataFusionError) -> Code {
    if is_exhausted(error) {
        return Code::ResourceExhausted;
    }
    match error.find_root() {
        DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::SQL(..)
        | DataFusionError::Substrait(_)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => Code::InvalidArgument,
        root @ DataFusionError::ArrowError(..) => {
            store_failure(root).unwrap_or(Code::InvalidArgument)
        }
        DataFusionError::NotImplemented(_) => Code::Unimplemented,
        DataFusionError::ResourcesExhausted(_) => Code::ResourceExhausted,
        DataFusionError::IoError(_) => Code::Unavailable,
        root @ DataFusionError::ObjectStore(_) => store_failure(root).unwrap_or(Code::Unavailable),
        // Reading fails as Parquet's error also where the store did not answer.
        root @ DataFusionError::ParquetError(_) => store_failure(root).unwrap_or(Code::DataLoss),
        root @ DataFusionError::External(inner) => match inner.downcast_ref::<LakeError>() {
            Some(error) => error.code(),
            None => store_failure(root).unwrap_or_else(|| match fault::of_engine(root) {
                Some(_) => Code::InvalidArgument,
                None => Code::Internal,
            }),
        },
        _ => Code::Internal,
    }
}

fn engine_hint(error: &DataFusionError) -> Option<String> {
    if is_exhausted(error) {
        return Some(
            "the statement needs more memory or spill space than it may use: \
             select less, or raise query.memory_max or query.spill_max"
                .to_owned(),
        );
    }
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => valid_fields
                .iter()
                .map(|valid| (strsim::jaro_winkler(&field.name, &valid.name), &valid.name))
                .filter(|(likeness, _)| *likeness > 0.8)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, name)| format!("did you mean column '{name}'?")),
            _ => None,
        },
        _ => None,
    }
}

/// How DataFusion's texts of a subquery begin that none of its rules has made a join of.
const NO_PLACE_FOR_A_SUBQUERY: [&str; 3] = [
    "Physical plan does not support logical expression",
    "Correlated scalar subquery can only be used in",
    "In/Exist/SetComparison subquery can only be used in",
];

/// DataFusion's text without the type name that it puts in front.
fn data_fusion_text(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::NotImplemented(text) | DataFusionError::Plan(text)
            if NO_PLACE_FOR_A_SUBQUERY.iter().any(|words| text.starts_with(words)) =>
        {
            "a subquery stands where it cannot be planned: what looks at the row outside has to compare columns \
             with it in a WHERE, a value by equality, and not below UNION, LIMIT or in the ON of an outer \
             join that names both sides; compute it in WITH or FROM, with the columns to compare by, and join that"
                .to_owned()
        }
        // The planner says so of a function that does not take what it is given.
        DataFusionError::Plan(text) => text.trim_start_matches("Internal error: ").to_owned(),
        DataFusionError::Execution(text)
        | DataFusionError::NotImplemented(text)
        | DataFusionError::Configuration(text)
        | DataFusionError::ResourcesExhausted(text) => text.clone(),
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            // Places of rows have names of which no text should know.
            SchemaError::FieldNotFound { field, valid_fields } => {
                let known = valid_fields.iter().filter(|field| !field.name.starts_with('@'));
                let valid_fields = known.cloned().collect();
                SchemaError::FieldNotFound { field: field.clone(), valid_fields }.to_string()
            }
            other => other.to_string(),
        },
        DataFusionError::External(inner) => chain(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => inner.to_string(),
        other => other.strip_backtrace(),
    }
}

/// An error with the errors below it, `: ` between them.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = without_backtrace(error.to_string());
    let mut below = error.source();
    while let Some(cause) = below {
        let cause_text = without_backtrace(cause.to_string());
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        below = cause.source();
    }
    text
}

/// Some libraries put the stack into the text when `RUST_BACKTRACE` is set.
fn without_backtrace(text: String) -> String {
    let is_frame = |line: &str| {
        line.trim_start().split_once(": ").is_some_and(|(number, _)| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    match text.lines().position(is_frame) {
        None => text,
        Some(first) => {
            text.lines().take(first).collect::<Vec<_>>().join("\n").trim_end().to_owned()
        }
    }
}

fn reason_text(reason: &Option<String>) -> String {
    reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default()
}

fn join_cycle(names: &[ObjectName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" -> ")
}

fn source_changed(name: &ObjectName, version: i64, operation: &str, rows: Option<u64>) -> String {
    let operation = if operation.is_empty() { "an unknown operation" } else { operation };
    let rows = rows.map(|rows| format!(" of {rows} rows")).unwrap_or_default();
    format!(
        "version {version} of '{name}' did more than add rows: {operation}{rows}, and a STREAM gives \
         each row once"
    )
}
