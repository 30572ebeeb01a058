//! The end of statements before their end, and the life of what waits.

use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightEndpoint, FlightInfo,
    RenewFlightEndpointRequest,
    sql::{ActionCancelQueryRequest, ActionCancelQueryResult, Command},
};
use model::{id::QueryId, time::Timestamp};
use prost::Message;
use query::{error::QueryError, handles::Handle, session::Session};
use tonic::Status;

use super::{FlightSql, sealed::Opened, statement::Waiting, ticket};
use crate::{
    error::{invalid, status},
    seal::Purpose,
};

impl FlightSql {
    /// CancelFlightInfo. The body is the message itself, as Flight.proto has it.
    pub(super) async fn cancel_flight_info(
        &self,
        session: &Session,
        body: &[u8],
    ) -> Result<Vec<u8>, Status> {
        let request: CancelFlightInfoRequest = read(body)?;
        let info = request.info.ok_or_else(|| invalid("CancelFlightInfo needs a FlightInfo"))?;
        let status = self.cancel(session, &info).await?;
        Ok(CancelFlightInfoResult { status: status as i32 }.encode_to_vec())
    }

    /// CancelQuery, as it was before CancelFlightInfo.
    pub(super) async fn cancel_query(
        &self,
        session: &Session,
        request: &ActionCancelQueryRequest,
    ) -> Result<ActionCancelQueryResult, Status> {
        let info: FlightInfo = read(&request.info)?;
        // The older answer has the same numbers.
        let result = self.cancel(session, &info).await? as i32;
        Ok(ActionCancelQueryResult { result })
    }

    /// Ends the statement of a FlightInfo, whether it waits or runs, and frees what waits.
    async fn cancel(&self, session: &Session, info: &FlightInfo) -> Result<CancelStatus, Status> {
        let mut handles: Vec<Handle> = Vec::new();
        for endpoint in &info.endpoint {
            handles.extend(self.opened(endpoint).await.map(|opened| opened.handle));
        }
        let told = std::str::from_utf8(&info.app_metadata).ok().and_then(|id| id.parse().ok());
        let waiting = &self.inner.waiting;
        let mut waits: Vec<QueryId> = Vec::new();
        for handle in &handles {
            let id = waiting.with(handle, session.principal(), |waiting| waiting.query_id());
            waits.extend(id.ok().flatten());
        }
        let ids: Vec<QueryId> = told.into_iter().chain(waits).collect();
        if ids.is_empty() {
            return Err(invalid(
                "the FlightInfo names no statement of this server: send it as it was received",
            ));
        }
        for id in ids {
            match self.inner.queries.cancel(session, id, None).await {
                Ok(_) => {}
                Err(QueryError::TooLate { .. }) => return Ok(CancelStatus::NotCancellable),
                Err(error) => return Err(status(&error)),
            }
        }
        for handle in &handles {
            // What was fetched already is not there any more.
            let _ = waiting.take(handle, session.principal());
        }
        Ok(CancelStatus::Cancelled)
    }

    /// RenewFlightEndpoint: what waits is kept for another full time. The answer says until when.
    pub(super) async fn renew(&self, session: &Session, body: &[u8]) -> Result<Vec<u8>, Status> {
        let request: RenewFlightEndpointRequest = read(body)?;
        let endpoint = request.endpoint;
        let mut endpoint =
            endpoint.ok_or_else(|| invalid("RenewFlightEndpoint needs an endpoint"))?;
        let opened = self.opened(&endpoint).await.ok_or_else(|| {
            invalid("the ticket of the endpoint is none of a result that waits here")
        })?;
        let until = match self.inner.waiting.renew(&opened.handle, session.principal()) {
            Ok(until) => until,
            Err(_) => {
                opened.may_be_renewed(self, session.principal())?;
                self.inner.clock.now().plus(self.inner.handle_ttl)
            }
        };
        if let Some(renewed) = opened.renewed(until) {
            let sealed = renewed.seal(&*self.key().await?, Purpose::Ticket);
            endpoint.ticket = Some(ticket::ticket(sealed));
        }
        set_time(&mut endpoint, until);
        Ok(endpoint.encode_to_vec())
    }

    /// The handle in the ticket of an endpoint, if it is one.
    async fn opened(&self, endpoint: &FlightEndpoint) -> Option<Opened> {
        match ticket::command(&endpoint.ticket.as_ref()?.ticket).ok()? {
            Command::TicketStatementQuery(ticket) => {
                self.open(Purpose::Ticket, &ticket.statement_handle).await.ok()
            }
            _ => None,
        }
    }
}

impl Waiting {
    /// The id of the statement that waits.
    fn query_id(&self) -> Option<QueryId> {
        match self {
            Self::Query(planned) => Some(planned.query_id()),
            Self::Polled(polled) => Some(polled.query_id()),
            Self::Reserved | Self::Answer(_) => None,
        }
    }
}

fn set_time(endpoint: &mut FlightEndpoint, until: Timestamp) {
    let time = endpoint.expiration_time.get_or_insert_default();
    (time.seconds, time.nanos) = seconds(until);
}

/// A time as protobuf has it: seconds, and the nanoseconds after them.
pub(super) fn seconds(time: Timestamp) -> (i64, i32) {
    let micros = time.as_micros();
    let nanos = micros.rem_euclid(1_000_000) * 1_000;
    (micros.div_euclid(1_000_000), i32::try_from(nanos).expect("less than a second"))
}

fn read<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|error| invalid(format!("the action cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_have_nanoseconds_too() {
        assert_eq!(seconds(Timestamp::from_micros(1_500_000)), (1, 500_000_000));
        assert_eq!(seconds(Timestamp::from_micros(-1)), (-1, 999_999_000));
    }
}
