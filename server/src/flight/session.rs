//! Session options: the catalog and the schema of names that say none.
//!
//! Flight has no connections, so drivers tell a session by a cookie. There is one option that can
//! have two values, the schema; it is the cookie. So the server keeps nothing of a session, any
//! replica knows it, and it does not expire. Nobody gains by changing the cookie himself: it says no
//! more than a name in a statement could.

use std::collections::HashMap;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use model::name::{CATALOG, DEFAULT_SCHEMA};
use prost::Message;
use query::session::Session;
use tonic::{
    Status,
    metadata::{MetadataMap, MetadataValue},
};

use super::FlightSql;
use crate::error::{internal, invalid, refused, status};

/// The name that Flight.proto suggests.
const COOKIE: &str = "arrow_flight_session_id";
/// Before the schema: another version of the server might keep more.
const VERSION: &str = "1.";
const OPTION_CATALOG: &str = "catalog";
const OPTION_SCHEMA: &str = "schema";
/// The driver that asks GetSqlInfo before anything else, so that it had a cookie to keep.
const ADBC: &str = "ADBC Flight SQL Driver";

/// The messages of Flight.proto, which arrow-flight does not have yet.
#[derive(Clone, PartialEq, prost::Message)]
struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetSessionOptionsRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CloseSessionRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct CloseSessionResult {
    #[prost(enumeration = "CloseStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OptionError {
    #[prost(enumeration = "ErrorValue", tag = "1")]
    value: i32,
}

/// A value; none unsets the option.
#[derive(Clone, PartialEq, prost::Message)]
struct OptionValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(bool, tag = "2")]
    Flag(bool),
    #[prost(sfixed64, tag = "3")]
    Whole(i64),
    #[prost(double, tag = "4")]
    Number(f64),
    #[prost(message, tag = "5")]
    List(Texts),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    values: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ErrorValue {
    Unspecified = 0,
    InvalidName = 1,
    InvalidValue = 2,
    Error = 3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum CloseStatus {
    Unspecified = 0,
    Closed = 1,
    Closing = 2,
    NotCloseable = 3,
}

/// What an action about the session answers: a message, and a cookie to keep.
pub(super) struct Answered {
    pub(super) body: Vec<u8>,
    pub(super) cookie: Option<MetadataValue<tonic::metadata::Ascii>>,
}

/// The schema that a request's cookie says; `None` without a cookie of ours.
pub(super) fn schema(headers: &MetadataMap) -> Result<Option<String>, Status> {
    let pairs = headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    let mut values = pairs.flat_map(|pairs| pairs.split(';')).filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        // Cookies of the second kind are sent back in quotes.
        (name.trim() == COOKIE).then(|| value.trim().trim_matches('"'))
    });
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.strip_prefix(VERSION).map(|text| BASE64_URL_SAFE_NO_PAD.decode(text));
    match bytes.and_then(Result::ok).and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(schema) => Ok(Some(schema)),
        None => Err(invalid(format!(
            "the cookie '{COOKIE}' is none of this server\nhint: connect anew"
        ))),
    }
}

/// The schema that a client asks for with each of its requests, before it has a cookie: the JDBC
/// driver sends every property of its URL that it does not know as a header.
pub(super) fn asked(headers: &MetadataMap) -> Option<String> {
    let schema = headers.get(OPTION_SCHEMA)?.to_str().ok()?;
    (!schema.is_empty()).then(|| schema.to_owned())
}

fn cookie(schema: &str) -> Result<MetadataValue<tonic::metadata::Ascii>, Status> {
    let value = BASE64_URL_SAFE_NO_PAD.encode(schema);
    let header = format!("{COOKIE}={VERSION}{value}; Path=/");
    header.parse().map_err(|error| internal("send a cookie", &error))
}

/// The cookie of a session that begins, for a client that has none.
pub(super) fn offered(
    headers: &MetadataMap,
) -> Result<Option<MetadataValue<tonic::metadata::Ascii>>, Status> {
    match schema(headers)? {
        Some(_) => Ok(None),
        None => cookie(asked(headers).as_deref().unwrap_or(DEFAULT_SCHEMA)).map(Some),
    }
}

fn read<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|error| invalid(format!("the session options cannot be read: {error}")))
}

fn text(value: &str) -> OptionValue {
    OptionValue { value: Some(Value::Text(value.to_owned())) }
}

impl FlightSql {
    /// SetSessionOptions: each option by itself; those that cannot be set are answered with why.
    pub(super) async fn set_options(
        &self,
        headers: &MetadataMap,
        session: &Session,
        body: &[u8],
    ) -> Result<Answered, Status> {
        let request: SetSessionOptionsRequest = read(body)?;
        let agent = headers.get("user-agent").and_then(|agent| agent.to_str().ok());
        if schema(headers)?.is_none() && agent.is_some_and(|agent| agent.contains(ADBC)) {
            return Err(refused(
                "a session is kept by a cookie, and this client sends none back\n\
                 hint: connect with adbc.flight.sql.rpc.with_cookie_middleware=true",
            ));
        }
        let mut chosen = session.schema().to_owned();
        let mut errors = HashMap::new();
        for (name, OptionValue { value }) in request.session_options {
            let result = match (name.as_str(), value) {
                (OPTION_SCHEMA, None) => {
                    DEFAULT_SCHEMA.clone_into(&mut chosen);
                    Ok(())
                }
                (OPTION_SCHEMA, Some(Value::Text(schema))) => {
                    let known = self.has_schema(session, &schema).await?;
                    if known {
                        chosen = schema;
                    }
                    if known { Ok(()) } else { Err(ErrorValue::InvalidValue) }
                }
                (OPTION_CATALOG, None) => Ok(()),
                (OPTION_CATALOG, Some(Value::Text(catalog))) if catalog == CATALOG => Ok(()),
                (OPTION_CATALOG | OPTION_SCHEMA, Some(_)) => Err(ErrorValue::InvalidValue),
                _ => Err(ErrorValue::InvalidName),
            };
            if let Err(error) = result {
                errors.insert(name, OptionError { value: error as i32 });
            }
        }
        let body = SetSessionOptionsResult { errors }.encode_to_vec();
        Ok(Answered { body, cookie: Some(cookie(&chosen)?) })
    }

    async fn has_schema(&self, session: &Session, name: &str) -> Result<bool, Status> {
        let names = self.inner.queries.schemas(session, None).await;
        Ok(names.map_err(|error| status(&error))?.iter().any(|known| known == name))
    }

    /// GetSessionOptions.
    pub(super) fn options(
        headers: &MetadataMap,
        session: &Session,
        body: &[u8],
    ) -> Result<Answered, Status> {
        let GetSessionOptionsRequest {} = read(body)?;
        known(headers)?;
        let options = [(OPTION_CATALOG, CATALOG), (OPTION_SCHEMA, session.schema())];
        let session_options =
            options.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
        let body = GetSessionOptionsResult { session_options }.encode_to_vec();
        Ok(Answered { body, cookie: None })
    }

    /// CloseSession: the cookie goes.
    pub(super) fn close_session(headers: &MetadataMap, body: &[u8]) -> Result<Answered, Status> {
        let CloseSessionRequest {} = read(body)?;
        known(headers)?;
        let body = CloseSessionResult { status: CloseStatus::Closed as i32 }.encode_to_vec();
        let gone = format!("{COOKIE}=; Max-Age=0; Path=/");
        let gone = gone.parse().map_err(|error| internal("send a cookie", &error))?;
        Ok(Answered { body, cookie: Some(gone) })
    }
}

/// Refuses a client without a session. ADBC takes this code as "there are none".
fn known(headers: &MetadataMap) -> Result<(), Status> {
    match schema(headers)? {
        Some(_) => Ok(()),
        None => Err(invalid(format!(
            "there is no session: the request has no cookie '{COOKIE}'\n\
             hint: SetSessionOptions begins one, for clients that keep cookies"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(cookies: &[&str]) -> MetadataMap {
        let mut headers = MetadataMap::new();
        for cookie in cookies {
            headers.append("cookie", cookie.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_schema_comes_back_from_its_cookie_however_it_is_sent() {
        for schema_name in ["main", "shop", "größe; a=\"b\"", ""] {
            let set = cookie(schema_name).unwrap();
            let pair = set.to_str().unwrap().split(';').next().unwrap().to_owned();
            let (name, value) = pair.split_once('=').unwrap();
            for sent in [
                pair.clone(),
                format!("a=b; {pair}; c=d"),
                format!("{name}=\"{value}\";$Path=\"/\""),
            ] {
                let read = schema(&headers(&["other=1", &sent])).unwrap();
                assert_eq!(read.as_deref(), Some(schema_name), "{sent}");
            }
        }
        assert_eq!(schema(&headers(&["other=1"])).unwrap(), None);
    }

    #[test]
    fn a_cookie_of_others_is_refused() {
        for value in ["", "abc", "1.%%%", "2.bWFpbg", "1._w"] {
            let refused = schema(&headers(&[&format!("{COOKIE}={value}")])).unwrap_err();
            assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{value}");
        }
    }
}
