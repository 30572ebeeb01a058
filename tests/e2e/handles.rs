//! Tickets and handles that are foreign, used up, too old, too many or garbage.

use arrow_flight::{
    Action, FlightDescriptor, Ticket,
    sql::{CommandPreparedStatementQuery, ProstMessageExt, TicketStatementQuery},
};
use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
};
use whimbrel_tests::{
    client::{Client, Failure},
    eventually::eventually,
    process::{Options, Server},
};

use crate::users::login;

async fn ticket(client: &mut Client, sql: &str) -> Ticket {
    let info = client.flight_info(sql).await.unwrap();
    info.endpoint[0].ticket.clone().unwrap()
}

fn prepared_query(handle: &[u8]) -> FlightDescriptor {
    let command =
        CommandPreparedStatementQuery { prepared_statement_handle: handle.to_vec().into() };
    FlightDescriptor::new_cmd(command.as_any().encode_to_vec())
}

#[tokio::test]
async fn a_ticket_is_good_once() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let ticket = ticket(&mut client, "SELECT 1").await;
    client.fetch_ticket(ticket.clone()).await.unwrap();
    let failure = client.fetch_ticket(ticket).await.unwrap_err();
    failure.expect(Code::NotFound, &["run the statement again"]);
}

#[tokio::test]
async fn garbage_is_the_senders_mistake() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    for bytes in [&b""[..], b"garbage", &[0xff; 100], &[0; 16]] {
        let failure = client.fetch_ticket(Ticket::new(bytes.to_vec())).await.unwrap_err();
        assert_eq!(failure.code, Code::InvalidArgument, "{failure} for the ticket {bytes:?}");
        let descriptor = FlightDescriptor::new_cmd(bytes.to_vec());
        let status = client.flight().inner_mut().get_flight_info(descriptor).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status} for the command {bytes:?}");
    }
    for name in ["CreatePreparedStatement", "ClosePreparedStatement"] {
        let action = Action { r#type: name.to_owned(), body: b"garbage".to_vec().into() };
        let failure: Failure = client.flight().do_action(action).await.unwrap_err().into();
        assert_eq!(failure.code, Code::InvalidArgument, "{failure} for the action {name}");
    }
    let unknown = Action { r#type: "Nonsense".to_owned(), body: Vec::new().into() };
    let failure: Failure = client.flight().do_action(unknown).await.unwrap_err().into();
    failure.expect(Code::Unimplemented, &["Nonsense"]);
    assert_eq!(client.query("SELECT 1").await.cell(), "1");
}

/// Sends bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_is_the_senders_mistake() {
    let server = Server::start();
    let mut grpc = Grpc::new(Client::connect(&server).await.channel());
    for method in ["GetFlightInfo", "GetSchema", "PollFlightInfo", "DoGet", "DoAction", "DoPut"] {
        let path = format!("/arrow.flight.protocol.FlightService/{method}");
        let path = PathAndQuery::try_from(path).unwrap();
        grpc.ready().await.unwrap();
        // A field of bytes that ends too early.
        let message = Request::new(Bytes::from_static(&[0x0a, 0x7f, 1]));
        let answer = grpc.server_streaming(message, path, Raw).await;
        let status = match answer {
            Ok(answer) => answer.into_inner().message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(status.code(), Code::InvalidArgument, "{status} for {method}");
    }
}

#[tokio::test]
async fn handles_that_never_were_are_not_found() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    for length in [16, 0, 15, 17, 1_000] {
        let handle = vec![7; length];
        let ticket = TicketStatementQuery { statement_handle: handle.clone().into() };
        let ticket = Ticket::new(ticket.as_any().encode_to_vec());
        let fetched = client.fetch_ticket(ticket).await.unwrap_err().code;
        let executed = client.flight().inner_mut().get_flight_info(prepared_query(&handle)).await;
        let executed = executed.unwrap_err().code();
        let expected = if length == 16 { Code::NotFound } else { Code::InvalidArgument };
        assert_eq!((fetched, executed), (expected, expected), "{length} bytes");
    }
}

#[tokio::test]
async fn a_closed_statement_is_gone() {
    let server = Server::start();
    let mut client = Client::connect(&server).await;
    let mut prepared = client.prepare("SELECT 1").await;
    let info = prepared.execute().await.unwrap();
    let handle = CommandPreparedStatementQuery::decode(
        &*arrow_flight::sql::Any::decode(&*info.flight_descriptor.unwrap().cmd).unwrap().value,
    )
    .unwrap()
    .prepared_statement_handle;
    prepared.close().await.unwrap();
    let status = client.flight().inner_mut().get_flight_info(prepared_query(&handle)).await;
    assert_eq!(status.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn an_expired_ticket_is_not_found() {
    let server = Options::new().env("WHIMBREL__SERVER__HANDLE_TTL", "1ms").start();
    let mut client = Client::connect(&server).await;
    let expired = eventually("a ticket is too old", || {
        let mut client = client.clone();
        async move {
            let ticket = ticket(&mut client, "SELECT 1").await;
            client.fetch_ticket(ticket).await.err()
        }
    });
    expired.await.expect(Code::NotFound, &["expired", "run the statement again"]);
    // What has no result to fetch is not concerned.
    client.update("CREATE TABLE t (a INT)").await;
}

#[tokio::test]
async fn there_is_a_limit_of_handles_and_reaching_it_changes_nothing() {
    let server = Options::new().env("WHIMBREL__SERVER__HANDLES_MAX", "3").start();
    let mut client = Client::connect(&server).await;
    client.update("CREATE TABLE t (a INT)").await;
    let first = ticket(&mut client, "SELECT 1").await;
    for _ in 0..2 {
        ticket(&mut client, "SELECT 1").await;
    }
    for sql in ["SELECT 1", "INSERT INTO t VALUES (1)"] {
        let failure = client.flight_info(sql).await.unwrap_err();
        failure.expect(Code::ResourceExhausted, &["server.handles_max"]);
    }
    client.fetch_ticket(first).await.unwrap();
    assert_eq!(client.count("t").await, 0);
}

#[tokio::test]
async fn handles_of_others_are_not_found() {
    let options = Options::new();
    let server = crate::users::with_users(&options, &[("ann", "one"), ("bob", "two")]);
    let mut ann = login(&server, "ann", "one").await;
    let mut bob = login(&server, "bob", "two").await;
    let foreign = ticket(&mut ann, "SELECT 'for ann'").await;
    bob.fetch_ticket(foreign.clone()).await.unwrap_err().expect(Code::NotFound, &[]);
    // Trying did not use it up.
    ann.fetch_ticket(foreign).await.unwrap();
    let prepared = ann.prepare("SELECT 1").await;
    let mut stolen = prepared;
    let info = stolen.execute().await.unwrap();
    let descriptor = info.flight_descriptor.unwrap();
    let status = bob.flight_info_of(descriptor).await.unwrap_err();
    status.expect(Code::NotFound, &[]);
}
