//! How a connection begins: encryption, who it is, what it wants to be told.

use bytes::{Buf, Bytes, BytesMut};
use model::{
    name::{CATALOG, DEFAULT_SCHEMA},
    principal::Principal,
};
use pgwire::messages::{
    DecodeContext, Message, PgWireBackendMessage, PgWireFrontendMessage, ProtocolVersion,
    response::{GssEncResponse, ReadyForQuery, SslResponse, TransactionStatus},
    startup::{
        Authentication, BackendKeyData, NegotiateProtocolVersion, ParameterStatus, SecretKey,
        Startup,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Shared,
    cancel::Seat,
    error::PgError,
    settings::{REPORTED, Settings},
    wire::{BoxSocket, Lost, Reader, Received, Writer},
    words::Words,
};
use crate::{
    auth::{AuthError, Peer, Secret},
    net::Protocol,
};

/// Bytes of the first packet, and of each message before the login.
const PACKET_MAX: usize = 10_000;
/// What a client sets to `token` that has one in the place of a password.
const LOGIN: &str = "whimbrel.login";
const CANCEL: i32 = 80_877_102;
const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;

/// Where a connection comes from.
pub(super) struct Origin {
    pub(super) peer: Peer,
    /// It is encrypted.
    pub(super) is_secure: bool,
}

impl Origin {
    /// Whether nobody between the client and here can read what travels.
    fn keeps_secrets(&self) -> bool {
        self.is_secure || self.peer.address.is_some_and(|address| address.ip().is_loopback())
    }
}

/// What a connection is about.
pub(super) enum Opening {
    /// A session that wants to log in.
    Session { reader: Reader, writer: Writer, startup: Startup, from: Origin },
    /// Somebody else's statement is to end.
    Cancel { pid: i32, secret: i32 },
    /// It went away, or makes no sense.
    Nothing,
}

/// Reads the first packets, and begins encryption when the client asks for it.
pub(super) async fn open(socket: TcpStream, mut peer: Peer, shared: &Shared) -> Opening {
    let mut socket: BoxSocket = Box::new(socket);
    let mut buffer = BytesMut::new();
    let mut is_secure = false;
    loop {
        let Some((code, length)) = packet(&mut socket, &mut buffer).await else {
            return Opening::Nothing;
        };
        match code {
            SSL | GSS => {
                // What comes before the answer was not encrypted: nothing may.
                if length != 8 || buffer.len() > length || is_secure {
                    return Opening::Nothing;
                }
                buffer.clear();
                let tls = shared.tls.as_ref().filter(|_| code == SSL);
                let mut answer = BytesMut::new();
                let encoded = match (code == SSL, tls.is_some()) {
                    (true, true) => SslResponse::Accept.encode(&mut answer),
                    (true, false) => SslResponse::Refuse.encode(&mut answer),
                    (false, _) => GssEncResponse::Refuse.encode(&mut answer),
                };
                if encoded.is_err()
                    || socket.write_all(&answer).await.is_err()
                    || socket.flush().await.is_err()
                {
                    return Opening::Nothing;
                }
                if let Some(tls) = tls {
                    let encrypted = tls.accept(socket, Protocol::Postgres, peer).await;
                    let Some((encrypted, seen)) = encrypted else { return Opening::Nothing };
                    (socket, peer, is_secure) = (Box::new(encrypted), seen, true);
                }
            }
            CANCEL => {
                buffer.advance(8);
                if length != 16 {
                    return Opening::Nothing;
                }
                let (pid, secret) = (buffer.get_i32(), buffer.get_i32());
                return Opening::Cancel { pid, secret };
            }
            _ => {
                let mut context = DecodeContext::new(ProtocolVersion::PROTOCOL3_0);
                context.awaiting_frontend_ssl = false;
                let mut frame = buffer.split_to(length);
                let (read, write) = tokio::io::split(socket);
                let mut writer = Writer::new(write);
                let startup = match PgWireFrontendMessage::decode(&mut frame, &context) {
                    Ok(Some(PgWireFrontendMessage::Startup(startup))) => startup,
                    _ => {
                        writer.fatal(&PgError::protocol("the start-up packet cannot be read"));
                        writer.close().await;
                        return Opening::Nothing;
                    }
                };
                // Passwords do not travel, but the rows do.
                if shared.tls.is_some() && !is_secure {
                    writer.fatal(
                        &PgError::new("28000", "this server takes encrypted connections only")
                            .with_hint("connect with sslmode=require"),
                    );
                    writer.close().await;
                    return Opening::Nothing;
                }
                let reader = Reader::new(read, buffer, PACKET_MAX);
                let from = Origin { peer, is_secure };
                return Opening::Session { reader, writer, startup, from };
            }
        }
    }
}

/// Waits for a packet without a letter: its code, and its length.
async fn packet(socket: &mut BoxSocket, buffer: &mut BytesMut) -> Option<(i32, usize)> {
    loop {
        if buffer.len() >= 8 {
            let mut head = &buffer[..8];
            let length = usize::try_from(head.get_i32()).ok()?;
            let code = head.get_i32();
            if !(8..=PACKET_MAX).contains(&length) {
                return None;
            }
            if buffer.len() >= length {
                return Some((code, length));
            }
        }
        if socket.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Who logged in, and how the session begins.
pub(super) struct Login {
    pub(super) principal: Principal,
    /// Where it comes from, for the audit trail.
    pub(super) client: String,
    pub(super) settings: Settings,
}

/// Logs a client in and takes what it asks for at the start.
pub(super) async fn login(
    shared: &Shared,
    startup: &Startup,
    from: &Origin,
    (reader, writer): (&mut Reader, &mut Writer),
) -> Result<Result<Login, PgError>, Lost> {
    if startup.protocol_number_major != 3 {
        return Ok(Err(PgError::unsupported(format!(
            "the protocol {}.{} is not spoken here; 3.0 is",
            startup.protocol_number_major, startup.protocol_number_minor
        ))));
    }
    let unknown: Vec<String> =
        startup.parameters.keys().filter(|key| key.starts_with("_pq_.")).cloned().collect();
    if startup.protocol_number_minor > 0 || !unknown.is_empty() {
        writer.put(PgWireBackendMessage::NegotiateProtocolVersion(NegotiateProtocolVersion::new(
            0, unknown,
        )));
    }
    let user = startup.parameters.get("user").map_or("", String::as_str);
    let principal = match authenticate(shared, startup, from, (reader, writer)).await? {
        Ok(principal) => principal,
        Err(error) => return Ok(Err(error)),
    };
    let client = from.peer.client("postgres");
    Ok(settings(shared, startup, user).map(|settings| Login { principal, client, settings }))
}

async fn authenticate(
    shared: &Shared,
    startup: &Startup,
    from: &Origin,
    (reader, writer): (&mut Reader, &mut Writer),
) -> Result<Result<Principal, PgError>, Lost> {
    match shared.auth.admits_anonymous().await {
        Ok(true) => return Ok(Ok(Principal::anonymous())),
        Ok(false) => {}
        Err(error) => return Ok(Err(error.into())),
    }
    let user = startup.parameters.get("user").map_or("", String::as_str);
    if user.is_empty() {
        return Ok(Err(AuthError::Missing.into()));
    }
    let Origin { peer, .. } = from;
    let client = peer.client("postgres");
    if sends_token(startup) {
        return by_token(shared, user, from, (reader, writer)).await;
    }
    // Whoever the certificate names needs no password; for others it says nothing.
    if peer.certificate.as_ref().is_some_and(|certificate| certificate.user() == Some(user)) {
        let known = shared.auth.by_certificate(peer).await;
        shared.auth.record_login(user, &client, known.as_ref().err());
        return Ok(known.map_err(PgError::from));
    }
    let mut exchange = match shared.auth.scram(user).await {
        Ok(exchange) => exchange,
        Err(error) => return Ok(Err(error.into())),
    };
    let mechanisms = vec![crate::auth::SCRAM.to_owned()];
    ask(writer, Authentication::SASL(mechanisms)).await?;
    let unreadable = || PgError::protocol("a message of the login was expected");
    let Received::Message(PgWireFrontendMessage::PasswordMessageFamily(answer)) =
        reader.next().await?
    else {
        return Ok(Err(unreadable()));
    };
    let Ok(first) = answer.into_sasl_initial_response() else { return Ok(Err(unreadable())) };
    if first.auth_method != crate::auth::SCRAM {
        let text = format!("the mechanism {} is not offered", first.auth_method);
        return Ok(Err(PgError::protocol(text)));
    }
    let challenge = match exchange.first(&first.data.unwrap_or_default()) {
        Ok(challenge) => challenge,
        Err(error) => return Ok(Err(error.into())),
    };
    ask(writer, Authentication::SASLContinue(Bytes::from(challenge))).await?;
    let Received::Message(PgWireFrontendMessage::PasswordMessageFamily(answer)) =
        reader.next().await?
    else {
        return Ok(Err(unreadable()));
    };
    let Ok(last) = answer.into_sasl_response() else { return Ok(Err(unreadable())) };
    let proven = exchange.last(&last.data);
    if let Err(error) = &proven {
        shared.auth.record_login(user, &client, Some(error));
    }
    match proven {
        Ok((principal, proof)) => {
            shared.auth.record_login(principal.name(), &client, None);
            writer.put(PgWireBackendMessage::Authentication(Authentication::SASLFinal(
                Bytes::from(proof),
            )));
            Ok(Ok(principal))
        }
        Err(error @ AuthError::WrongScram) => Ok(Err(PgError::from(error).with_hint(
            "a user from before this version needs a new password to log in here: \
             `whimbrel user password NAME`",
        ))),
        Err(error) => Ok(Err(error.into())),
    }
}

/// Whether the client says that what it has for a password is a token.
fn sends_token(startup: &Startup) -> bool {
    let is_token = |value: &str| value == "token";
    let in_options = |text: &String| {
        let options = options(text).unwrap_or_default();
        options.iter().any(|(key, value)| key == LOGIN && is_token(value))
    };
    startup.parameters.get(LOGIN).is_some_and(|value| is_token(value))
        || startup.parameters.get("options").is_some_and(in_options)
}

/// Asks for the token itself: unlike a proof of a password it opens the server for whoever reads it.
async fn by_token(
    shared: &Shared,
    user: &str,
    from: &Origin,
    (reader, writer): (&mut Reader, &mut Writer),
) -> Result<Result<Principal, PgError>, Lost> {
    if !from.keeps_secrets() {
        let text = "a token does not travel over a connection that others can read";
        let error = PgError::new("28000", text);
        return Ok(Err(
            error.with_hint("let the server have a certificate: [tls] in its configuration")
        ));
    }
    ask(writer, Authentication::CleartextPassword).await?;
    let unreadable = || PgError::protocol("a message of the login was expected");
    let Received::Message(PgWireFrontendMessage::PasswordMessageFamily(answer)) =
        reader.next().await?
    else {
        return Ok(Err(unreadable()));
    };
    let Ok(token) = answer.into_password() else { return Ok(Err(unreadable())) };
    let known = shared.auth.by_token(user, &Secret::new(token.password)).await;
    shared.auth.record_login(user, &from.peer.client("postgres"), known.as_ref().err());
    Ok(known.map_err(PgError::from))
}

async fn ask(writer: &mut Writer, question: Authentication) -> Result<(), Lost> {
    writer.put(PgWireBackendMessage::Authentication(question));
    writer.flush().await.map_err(|_| Lost::Gone)
}

fn settings(shared: &Shared, startup: &Startup, user: &str) -> Result<Settings, PgError> {
    let database = startup.parameters.get("database").map_or(CATALOG, String::as_str);
    // The others are what clients send when nobody has said anything.
    if database != CATALOG && database != "postgres" && database != user && !database.is_empty() {
        return Err(PgError::new("3D000", format!("there is no database '{database}'")).with_hint(
            format!("the only one is '{CATALOG}', with the schema '{DEFAULT_SCHEMA}'"),
        ));
    }
    let mut settings = Settings::new(user, &shared.version);
    for (key, value) in &startup.parameters {
        match key.as_str() {
            "user" | "database" => {}
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => return Err(PgError::unsupported("there is no replication here")),
            "options" => {
                for (key, value) in options(value)?.into_iter().filter(|(key, _)| key != LOGIN) {
                    settings.set(&key, &[value])?;
                }
            }
            LOGIN => {}
            key if key.starts_with("_pq_.") => {}
            // The client is told which zone times are in.
            key => drop(settings.set(key, std::slice::from_ref(value))?),
        }
    }
    settings.started();
    Ok(settings)
}

/// `-c key=value --key=value`, with backslashes before spaces that are meant.
fn options(text: &str) -> Result<Vec<(String, String)>, PgError> {
    let mut words = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = words.last_mut().expect("there is one at least");
        match c {
            '\\' => last.extend(chars.next()),
            c if c.is_whitespace() => words.push(String::new()),
            c => last.push(c),
        }
    }
    let mut options = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let option = match word.strip_prefix("-c") {
            Some("") => words.next().unwrap_or_default(),
            Some(option) => option.to_owned(),
            None => word.strip_prefix("--").unwrap_or_default().to_owned(),
        };
        let Some((key, value)) = option.split_once('=') else {
            return Err(PgError::invalid(format!("the option '{word}' is not known")));
        };
        let key = Words::new(key).rest().replace('-', "_");
        options.push((key, value.to_owned()));
    }
    Ok(options)
}

/// Tells a client that it may begin.
pub(super) async fn welcome(
    writer: &mut Writer,
    settings: &Settings,
    seat: &Seat,
) -> Result<(), PgError> {
    writer.put(PgWireBackendMessage::Authentication(Authentication::Ok));
    for name in REPORTED {
        report(writer, settings, name);
    }
    let secret = SecretKey::I32(seat.secret);
    writer.put(PgWireBackendMessage::BackendKeyData(BackendKeyData::new(seat.pid, secret)));
    writer.put(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(TransactionStatus::Idle)));
    writer.flush().await
}

/// Tells a client what a setting is now.
pub(super) fn report(writer: &mut Writer, settings: &Settings, name: &str) {
    let value = settings.get(name).unwrap_or_default();
    let status = ParameterStatus::new(name.to_owned(), value);
    writer.put(PgWireBackendMessage::ParameterStatus(status));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_start_are_read() {
        let read = options("-c search_path=a\\ b  -cdatestyle=ISO --extra-float-digits=2").unwrap();
        let expected = [("search_path", "a b"), ("datestyle", "ISO"), ("extra_float_digits", "2")];
        let expected: Vec<_> =
            expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        assert_eq!(read, expected);
        assert!(options("-x").is_err());
    }

    #[test]
    fn a_token_is_asked_for_where_the_client_says_so_and_nobody_else_reads() {
        let starting = |key: &str, value: &str| {
            let mut startup = Startup::new();
            startup.parameters.insert(key.to_owned(), value.to_owned());
            startup
        };
        assert!(sends_token(&starting("options", "-c datestyle=ISO -c whimbrel.login=token")));
        assert!(sends_token(&starting(LOGIN, "token")));
        assert!(!sends_token(&starting(LOGIN, "password")));
        assert!(!sends_token(&starting("options", "-c datestyle=ISO")));
        let from = |address: &str, is_secure| {
            let address = Some(address.parse().unwrap());
            Origin { peer: Peer { address, certificate: None }, is_secure }
        };
        assert!(from("127.0.0.1:5", false).keeps_secrets());
        assert!(from("10.0.0.1:5", true).keeps_secrets());
        assert!(!from("10.0.0.1:5", false).keeps_secrets());
    }
}
