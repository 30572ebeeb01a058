//! Basic credentials in, a bearer token out.

use arrow_flight::{BasicAuth, HandshakeRequest, HandshakeResponse};
use futures::StreamExt;
use prost::Message;
use tonic::{Request, Response, Status, Streaming, metadata::MetadataValue};

use super::FlightSql;
use crate::{
    auth::Secret,
    error::{auth_status, internal},
};

/// Drivers put the credentials into the header; the first generation of Flight clients puts them
/// into the payload. The token goes back both ways for the same reason.
pub(super) async fn handshake(
    service: &FlightSql,
    request: Request<Streaming<HandshakeRequest>>,
) -> Result<Response<HandshakeResponse>, Status> {
    let (headers, connection, mut messages) = request.into_parts();
    let from_payload = if headers.contains_key("authorization") {
        None
    } else {
        match messages.next().await {
            Some(message) => payload_credentials(&message?),
            None => None,
        }
    };
    let login = service.inner.auth.login(&headers, &connection, from_payload).await;
    let login = login.map_err(|error| auth_status(&error))?;
    tracing::debug!(principal = login.principal.name(), "logged in");
    let Some(token) = &login.token else {
        // The connection itself says who asks: there is nothing to send with later calls.
        return Ok(Response::new(HandshakeResponse::default()));
    };
    let token = token.reveal();
    let mut response = Response::new(HandshakeResponse {
        protocol_version: 0,
        payload: token.as_bytes().to_vec().into(),
    });
    let mut value = MetadataValue::try_from(format!("Bearer {token}"))
        .map_err(|error| internal("send a token", &error))?;
    value.set_sensitive(true);
    response.metadata_mut().insert("authorization", value);
    Ok(response)
}

fn payload_credentials(message: &HandshakeRequest) -> Option<(String, Secret)> {
    let pair = BasicAuth::decode(message.payload.as_ref()).ok()?;
    (!pair.username.is_empty()).then(|| (pair.username, Secret::new(pair.password)))
}
