//! Reads what clients send as commands, tickets and handles, and writes ours.
//!
//! A sealed handle ([`super::sealed`]) travels as the `statement_handle` of a `TicketStatementQuery`;
//! metadata needs no handle, its ticket is the command itself.

use arrow_flight::{
    FlightDescriptor, Ticket,
    flight_descriptor::DescriptorType,
    sql::{Any, Command, ProstMessageExt, TicketStatementQuery},
};
use bytes::Bytes;
use prost::Message;
use tonic::Status;

use crate::error::invalid;

/// Reads a command or a ticket. What cannot be read is the sender's mistake.
pub(super) fn command(bytes: &[u8]) -> Result<Command, Status> {
    let any = Any::decode(bytes).map_err(|error| {
        invalid(format!("the request is no Flight SQL message: {}", error_text(&error)))
    })?;
    let type_url = any.type_url.clone();
    match Command::try_from(any) {
        Ok(Command::Unknown(any)) => Err(invalid(format!(
            "'{}' is no Flight SQL command that this server knows",
            any.type_url
        ))),
        Ok(command) => Ok(command),
        Err(error) => Err(invalid(format!("a '{type_url}' cannot be read: {error}"))),
    }
}

/// Reads the command of a descriptor.
pub(super) fn descriptor_command(descriptor: &FlightDescriptor) -> Result<Command, Status> {
    if descriptor.r#type == DescriptorType::Path as i32 {
        return Err(invalid("paths name nothing here: send a Flight SQL command"));
    }
    command(&descriptor.cmd)
}

/// Reads a message that an action carries.
pub(super) fn action<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let any = Any::decode(body).map_err(|error| {
        invalid(format!("the action is no Flight SQL message: {}", error_text(&error)))
    })?;
    let found = any.type_url.clone();
    match any.unpack::<M>() {
        Ok(Some(message)) => Ok(message),
        Ok(None) => Err(invalid(format!("the action needs a '{}', got '{found}'", M::type_url()))),
        Err(error) => Err(invalid(format!("a '{found}' cannot be read: {error}"))),
    }
}

/// The ticket of a result, with its sealed handle.
pub(super) fn ticket(sealed: Bytes) -> Ticket {
    packed(&TicketStatementQuery { statement_handle: sealed })
}

/// A message as a ticket.
pub(super) fn packed(message: &impl ProstMessageExt) -> Ticket {
    Ticket::new(message.as_any().encode_to_vec())
}

fn error_text(error: &prost::DecodeError) -> String {
    let text = error.to_string();
    text.trim_start_matches("failed to decode Protobuf message: ").to_owned()
}

#[cfg(test)]
mod tests {
    use arrow_flight::sql::{ActionClosePreparedStatementRequest, CommandStatementQuery};
    use proptest::prelude::*;
    use tonic::Code;

    use super::*;

    #[test]
    fn a_handle_comes_back_from_its_ticket() {
        let sealed = Bytes::from_static(b"sealed");
        let packed = ticket(sealed.clone()).ticket;
        let Command::TicketStatementQuery(read) = command(&packed).unwrap() else {
            panic!("another command")
        };
        assert_eq!(read.statement_handle, sealed);
    }

    #[test]
    fn garbage_is_the_senders_mistake() {
        let half = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
        let mut any = half.as_any();
        any.value = Bytes::from_static(&[0xff, 0xff, 0xff]);
        let foreign = Any { type_url: "type.googleapis.com/x.Y".to_owned(), value: Bytes::new() };
        for bytes in
            [vec![], vec![0xff; 9], b"hello".to_vec(), any.encode_to_vec(), foreign.encode_to_vec()]
        {
            assert_eq!(command(&bytes).unwrap_err().code(), Code::InvalidArgument, "{bytes:?}");
        }
        let path = FlightDescriptor::new_path(vec!["t".to_owned()]);
        assert_eq!(descriptor_command(&path).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn an_action_takes_only_its_own_message() {
        let query = CommandStatementQuery { query: "SELECT 1".to_owned(), transaction_id: None };
        let wrong = action::<ActionClosePreparedStatementRequest>(&query.as_any().encode_to_vec());
        assert_eq!(wrong.unwrap_err().code(), Code::InvalidArgument);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = command(&bytes);
            let _ = action::<ActionClosePreparedStatementRequest>(&bytes);
        }

        #[test]
        fn no_content_of_a_known_message_makes_it_panic(
            value in proptest::collection::vec(any::<u8>(), 0..200),
            name in "(CommandStatementQuery|TicketStatementQuery|CommandGetTables|Nothing)",
        ) {
            let type_url = format!("type.googleapis.com/arrow.flight.protocol.sql.{name}");
            let any = Any { type_url, value: value.into() };
            let _ = command(&any.encode_to_vec());
        }
    }
}
