//! The standard gRPC health service: for load balancers, containers and `whimbrel healthcheck`.

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use tonic_health::{
    ServingStatus,
    pb::{
        HealthCheckRequest,
        health_check_response::ServingStatus as Answer,
        health_client::HealthClient,
        health_server::{Health, HealthServer},
    },
    server::HealthReporter,
};

use crate::client::{ClientError, Connection};

/// The whole server, in the words of the protocol.
const EVERYTHING: &str = "";

/// The service, and the switch that its answers come from. It answers SERVING from the start: it
/// is added to a server that is ready.
pub async fn service<F: FlightService>() -> (Switch, HealthServer<impl Health>) {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status(EVERYTHING, ServingStatus::Serving).await;
    reporter.set_serving::<FlightServiceServer<F>>().await;
    (Switch { reporter }, service)
}

/// Decides what the health service answers.
#[derive(Debug, Clone)]
pub struct Switch {
    reporter: HealthReporter,
}

impl Switch {
    /// From now on clients are told to go elsewhere.
    pub async fn stopping(&self) {
        for service in [EVERYTHING, "arrow.flight.protocol.FlightService"] {
            self.reporter.set_service_status(service, ServingStatus::NotServing).await;
        }
    }
}

/// Asks a server whether it serves.
pub async fn check(connection: &Connection) -> Result<(), ClientError> {
    let mut client = HealthClient::new(connection.channel());
    let request = HealthCheckRequest { service: EVERYTHING.to_owned() };
    let status = client.check(request).await?.into_inner().status();
    match status {
        Answer::Serving => Ok(()),
        other => Err(ClientError::Answer(format!("its health is {}", other.as_str_name()))),
    }
}
