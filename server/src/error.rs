//! The one table from [`Code`] to gRPC, and the texts that clients get to read.
//!
//! Errors end here: what is a defect of ours or of the stored data is logged with everything that
//! is known, and the client gets an id to ask for. Nothing else decides a status.

use std::error::Error;

use catalog::error::CatalogError;
use lake::LakeError;
use model::{code::Code, id::QueryId, report::Promise};
use query::error::QueryError;
use query::fault::Fault;
use query::handles::HandleError;
use query::violation::ViolationKind;
use tonic::{Status, body::Body, metadata::MetadataMap};

use crate::auth::AuthError;

/// Texts travel in a header, once as they are and once among the details; proxies cut or refuse
/// headers of more than 8 KiB, and every byte that is not plain ASCII takes three.
const TEXT_MAX: usize = 1536;

/// The gRPC code of a [`Code`].
#[must_use]
pub fn grpc_code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Aborted => tonic::Code::Aborted,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::Cancelled => tonic::Code::Cancelled,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::DataLoss => tonic::Code::DataLoss,
        Code::Internal => tonic::Code::Internal,
    }
}

/// The SQLSTATE of a [`Code`]: the class that drivers and pools act on.
#[must_use]
pub fn sqlstate(code: Code) -> &'static str {
    match code {
        // invalid_parameter_value would blame a value; most often it is the statement.
        Code::InvalidArgument => "42000",
        Code::NotFound => "42704",
        Code::AlreadyExists => "42710",
        Code::PermissionDenied => "42501",
        Code::Unauthenticated => "28P01",
        Code::FailedPrecondition => "55000",
        Code::Aborted => "40001",
        Code::ResourceExhausted => "53000",
        Code::Cancelled | Code::DeadlineExceeded => "57014",
        Code::Unavailable => "58030",
        Code::Unimplemented => "0A000",
        Code::DataLoss => "XX001",
        Code::Internal => "XX000",
    }
}

/// The SQLSTATE of an error of a statement: of its [`Code`], or the one that clients know better.
#[must_use]
pub fn sqlstate_of(error: &QueryError) -> &'static str {
    match error {
        QueryError::TableNotFound { .. } | QueryError::NoRelation(_) => "42P01",
        QueryError::Catalog(error) => of_catalog(error),
        QueryError::WrongKind { .. } => "42809",
        QueryError::Name(_) => "42602",
        QueryError::Cycle(_) => "42P17",
        QueryError::ViewDepth(_) => "54001",
        QueryError::Parameters { given: 0, .. } => "42P02",
        QueryError::Parameters { .. } => "08P01",
        QueryError::Syntax(_) if error.code() == Code::InvalidArgument => "42601",
        QueryError::Lake(LakeError::NotNull { .. }) => "23502",
        QueryError::Lake(LakeError::Check { .. }) => "23514",
        QueryError::Lake(LakeError::Generated { .. }) => "428C9",
        QueryError::Lake(LakeError::AlreadyExists { .. }) => "42P07",
        QueryError::Lake(LakeError::ColumnCount { .. }) => "42601",
        QueryError::Lake(LakeError::Repeated { .. }) => "21000",
        QueryError::Violated(violation) => match violation.kind {
            ViolationKind::Expectation => "23514",
            ViolationKind::Unique => "23505",
            ViolationKind::Foreign => "23503",
        },
        QueryError::JobBroke { promise, .. } => match promise {
            Promise::Expectation => "23514",
            Promise::Unique => "23505",
            Promise::Foreign => "23503",
        },
        // in_failed_sql_transaction would say that nothing else can be done in it.
        QueryError::Transaction { .. } => "25000",
        _ => error.fault().map_or_else(|| sqlstate(error.code()), of_fault),
    }
}

fn of_catalog(error: &CatalogError) -> &'static str {
    match error {
        CatalogError::SchemaNotFound(_) => "3F000",
        CatalogError::SchemaExists(_) => "42P06",
        CatalogError::SchemaNotEmpty { .. } | CatalogError::StillOwns { .. } => "2BP01",
        CatalogError::ObjectNotFound(_) => "42P01",
        CatalogError::ObjectExists(_) => "42P07",
        CatalogError::RoleCycle { .. } => "0LP01",
        other => sqlstate(other.code()),
    }
}

/// The SQLSTATE that PostgreSQL has for it.
fn of_fault(fault: Fault) -> &'static str {
    match fault {
        Fault::AmbiguousColumn => "42702",
        Fault::DuplicateColumn => "42701",
        Fault::DuplicateAlias => "42712",
        Fault::DivisionByZero => "22012",
        Fault::Grouping => "42803",
        Fault::InvalidReference => "42P10",
        Fault::InvalidRegex => "2201B",
        Fault::InvalidTime => "22007",
        Fault::InvalidText => "22P02",
        Fault::InvalidArgument => "22023",
        Fault::ColumnCount => "42601",
        Fault::Mismatch => "42804",
        Fault::ManyRows => "21000",
        Fault::OutOfRange => "22003",
        Fault::TimeOutOfRange => "22008",
        Fault::UndefinedColumn => "42703",
        Fault::UndefinedFunction => "42883",
        Fault::UndefinedTable => "42P01",
        Fault::UndefinedType => "42704",
    }
}

/// The SQLSTATE of a value that cannot be read as its type.
pub(crate) fn sqlstate_of_value(why: &str) -> &'static str {
    of_fault(query::fault::of_text(why).unwrap_or(Fault::InvalidText))
}

/// The status of an error of a statement.
#[must_use]
pub fn status(error: &QueryError) -> Status {
    let mut text = error.to_string();
    if let Some((line, column)) = error.position()
        && !text.contains(&format!("line {line}"))
    {
        text.push_str(&format!(" (line {line}, column {column})"));
    }
    let (text, hint) = logged(error.code(), text, error.hint(), error);
    let facts = Facts { sqlstate: sqlstate_of(error), position: error.position(), hint };
    with_details(error.code(), text, facts)
}

/// The status of an error of the catalog.
#[must_use]
pub fn catalog_status(error: &CatalogError) -> Status {
    compose(error.code(), chain(error), None, error)
}

/// The status of an error of authentication.
#[must_use]
pub fn auth_status(error: &AuthError) -> Status {
    compose(error.code(), error.to_string(), None, error)
}

/// The status of an error about a handle.
#[must_use]
pub fn handle_status(error: &HandleError) -> Status {
    compose(error.code(), error.to_string(), None, error)
}

/// The status of a call that cannot be read or makes no sense.
pub(crate) fn invalid(text: impl Into<String>) -> Status {
    with_details(Code::InvalidArgument, text.into(), Facts::of(Code::InvalidArgument))
}

/// The layer that says whose mistake it is when a message cannot be decoded: tonic, which decodes
/// it, says INTERNAL. Passes on every other response as it is.
pub fn blame_the_sender(response: http::Response<Body>) -> http::Response<Body> {
    const UNREADABLE: &str = "failed to decode Protobuf message: ";
    // A call that did not begin has its status among the headers.
    let Some(status) = Status::from_header_map(response.headers()) else { return response };
    match status.message().strip_prefix(UNREADABLE) {
        Some(why) if status.code() == tonic::Code::Internal => {
            invalid(format!("the message cannot be read: {why}")).into_http()
        }
        _ => response,
    }
}

/// The status of a call that comes at the wrong time.
pub(crate) fn refused(text: impl Into<String>) -> Status {
    with_details(Code::FailedPrecondition, text.into(), Facts::of(Code::FailedPrecondition))
}

/// The status of a call that there is not.
pub(crate) fn unimplemented(text: impl Into<String>) -> Status {
    with_details(Code::Unimplemented, text.into(), Facts::of(Code::Unimplemented))
}

/// The status of a defect of ours in `doing`, with the error logged under the id that is shown.
pub(crate) fn internal(doing: &str, error: &dyn Error) -> Status {
    compose(Code::Internal, format!("{doing}: {error}"), None, error)
}

pub(crate) fn compose(code: Code, text: String, hint: Option<String>, error: &dyn Error) -> Status {
    let (text, hint) = logged(code, text, hint, error);
    with_details(code, text, Facts { hint, ..Facts::of(code) })
}

/// What programs can read of an error.
struct Facts {
    sqlstate: &'static str,
    /// Line and column, from 1.
    position: Option<(u64, u64)>,
    hint: Option<String>,
}

impl Facts {
    fn of(code: Code) -> Self {
        Self { sqlstate: sqlstate(code), position: None, hint: None }
    }
}

/// The text with its hint, for people; for programs SQLSTATE and position, where drivers keep them:
/// as an ErrorInfo in grpc-status-details-bin, and each as a header.
fn with_details(code: Code, mut text: String, facts: Facts) -> Status {
    let Facts { sqlstate, position, hint } = facts;
    let mut facts = vec![("sqlstate", sqlstate.to_owned())];
    if let Some((line, column)) = position {
        facts.extend([("sql-line", line.to_string()), ("sql-column", column.to_string())]);
    }
    if let Some(hint) = &hint {
        text.push_str("\nhint: ");
        text.push_str(hint);
    }
    let text = cut(text);
    let code = grpc_code(code);
    let mut headers = MetadataMap::new();
    for (name, value) in &facts {
        if let Ok(value) = value.parse() {
            headers.insert(*name, value);
        }
    }
    let details = details::encoded(code, &text, &facts);
    Status::with_details_and_metadata(code, text, details, headers)
}

/// The standard messages for what there is to say about an error, as googleapis' status.proto and
/// error_details.proto have them.
mod details {
    use std::collections::HashMap;

    use arrow_flight::sql::Any;
    use prost::Message;

    const ERROR_INFO: &str = "type.googleapis.com/google.rpc.ErrorInfo";
    /// Whose reasons these are.
    const DOMAIN: &str = "whimbrel";

    #[derive(Clone, PartialEq, Message)]
    struct RpcStatus {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct ErrorInfo {
        #[prost(string, tag = "1")]
        reason: String,
        #[prost(string, tag = "2")]
        domain: String,
        #[prost(map = "string, string", tag = "3")]
        metadata: HashMap<String, String>,
    }

    /// What travels in grpc-status-details-bin. Some clients take code and text from here.
    pub(super) fn encoded(code: tonic::Code, text: &str, facts: &[(&str, String)]) -> bytes::Bytes {
        let metadata = facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let info = ErrorInfo {
            reason: reason(code),
            domain: DOMAIN.to_owned(),
            metadata: metadata.collect(),
        };
        let value = info.encode_to_vec().into();
        let details = vec![Any { type_url: ERROR_INFO.to_owned(), value }];
        let status = RpcStatus { code: code as i32, message: text.to_owned(), details };
        status.encode_to_vec().into()
    }

    /// The name of a code as it is written, `NOT_FOUND`.
    fn reason(code: tonic::Code) -> String {
        let mut name = String::new();
        for c in format!("{code:?}").chars() {
            if c.is_ascii_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(c.to_ascii_uppercase());
        }
        name
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn programs_can_read_what_the_text_says() {
            let facts = [("sqlstate", "42601".to_owned()), ("sql-line", "3".to_owned())];
            let bytes = encoded(tonic::Code::InvalidArgument, "no", &facts);
            let status = RpcStatus::decode(bytes).unwrap();
            assert_eq!((status.code, status.message.as_str()), (3, "no"));
            assert_eq!(status.details[0].type_url, ERROR_INFO);
            let info = ErrorInfo::decode(status.details[0].value.clone()).unwrap();
            assert_eq!(info.reason, "INVALID_ARGUMENT");
            assert_eq!(info.metadata["sqlstate"], "42601");
            assert_eq!(info.metadata["sql-line"], "3");
        }
    }
}

/// Logs what is not the client's, and what the client gets to read instead.
pub(crate) fn logged(
    code: Code,
    text: String,
    mut hint: Option<String>,
    error: &dyn Error,
) -> (String, Option<String>) {
    match code {
        Code::Internal => {
            let id = QueryId::generate();
            tracing::error!(error_id = %id, error = chain(error), "internal error");
            let defect =
                format!("this is a defect of the server; its log has more under error id {id}");
            hint = Some(match hint {
                Some(hint) => format!("{defect}\nhint: {hint}"),
                None => defect,
            });
        }
        Code::DataLoss => tracing::error!(error = chain(error), "stored data is broken"),
        Code::Unavailable => tracing::warn!(error = chain(error), "out of reach"),
        _ => {}
    }
    (text, hint)
}

/// An error and everything below it, outermost first.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        below = cause.source();
    }
    text
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        text.truncate(text.floor_char_boundary(TEXT_MAX));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
