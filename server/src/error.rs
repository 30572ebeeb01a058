//! The one table from [`Code`] to gRPC, and the texts that clients get to read.
//!
//! Errors end here: what is a defect of ours or of the stored data is logged with everything that
//! is known, and the client gets an id to ask for. Nothing else decides a status.

use std::error::Error;

use catalog::error::CatalogError;
use model::{code::Code, id::QueryId};
use query::error::QueryError;
use query::handles::HandleError;
use tonic::Status;

use crate::auth::AuthError;

/// Texts travel in a header; proxies cut or refuse headers of more than 8 KiB, and every byte that
/// is not plain ASCII takes three.
const TEXT_MAX: usize = 2048;

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

/// The status of an error of a statement.
#[must_use]
pub fn status(error: &QueryError) -> Status {
    let mut text = error.to_string();
    if let Some((line, column)) = error.position()
        && !text.contains(&format!("line {line}"))
    {
        text.push_str(&format!(" (line {line}, column {column})"));
    }
    compose(error.code(), text, error.hint(), error)
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
    Status::invalid_argument(cut(text.into()))
}

/// The status of a defect of ours in `doing`, with the error logged under the id that is shown.
pub(crate) fn internal(doing: &str, error: &dyn Error) -> Status {
    compose(Code::Internal, format!("{doing}: {error}"), None, error)
}

pub(crate) fn compose(code: Code, text: String, hint: Option<String>, error: &dyn Error) -> Status {
    let (mut text, hint) = logged(code, text, hint, error);
    if let Some(hint) = hint {
        text.push_str("\nhint: ");
        text.push_str(&hint);
    }
    Status::new(grpc_code(code), cut(text))
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
