//! A Flight server with nothing behind it: what the wire and the client allow.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use arrow::record_batch::RecordBatch;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
    decode::FlightRecordBatchStream,
    encode::FlightDataEncoderBuilder,
    error::FlightError,
    flight_service_server::{FlightService, FlightServiceServer},
    sql::DoPutUpdateResult,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost::Message;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Identity, ServerTlsConfig, server::TcpIncoming},
};

use crate::{certificate::Certificate, flight::Connection};

const READY: &str = "bare server on ";
/// As the real server has it.
const WINDOW: u32 = 4 << 20;

/// Fetches lineitem from the server at `source` and serves just these batches, encrypted when there
/// is a folder with a certificate. Rows that are put are decoded, counted and dropped.
pub(crate) async fn serve(source: &str, certificate: Option<&Path>) {
    let batches = Connection::open(source).await.query("SELECT * FROM lineitem").await;
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    println!("{READY}{}", incoming.local_addr().unwrap());
    let mut server = tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW);
    if let Some(folder) = certificate {
        let read = |name: &str| fs::read(folder.join(name)).unwrap();
        let identity = Identity::from_pem(read(Certificate::FILE), read(Certificate::KEY));
        server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
    }
    server
        .add_service(FlightServiceServer::new(Bare { batches: Arc::new(batches) }))
        .serve_with_incoming(incoming.with_nodelay(Some(true)))
        .await
        .unwrap();
}

/// A bare server as a process, killed when dropped.
pub(crate) struct BareServer {
    child: Child,
    pub(crate) address: String,
}

impl BareServer {
    /// Starts one with what the server at `source` sends.
    pub(crate) fn start(source: &str) -> Self {
        Self::start_by(source, None)
    }

    /// The same, encrypted when there is a certificate.
    pub(crate) fn start_by(source: &str, certificate: Option<&Certificate>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--data", ".", "--bare", source]);
        if let Some(certificate) = certificate {
            command.arg("--bare-certificate").arg(certificate.folder());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix(READY).expect("the line of a server that is ready");
        Self { child, address: address.to_owned() }
    }
}

impl BareServer {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        // It may have died on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Bare {
    batches: Arc<Vec<RecordBatch>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn unknown<T>() -> Result<T, Status> {
    Err(Status::unimplemented("this server only has DoGet and DoPut"))
}

#[tonic::async_trait]
impl FlightService for Bare {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let batches = Arc::clone(&self.batches);
        let schema = batches[0].schema();
        let rows = stream::iter(0..batches.len()).map(move |index| Ok(batches[index].clone()));
        let messages = FlightDataEncoderBuilder::new()
            .with_schema(schema)
            .with_max_flight_data_size(usize::MAX)
            .build(rows)
            .map_err(Status::from);
        Ok(Response::new(Box::pin(messages)))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        unknown()
    }

    async fn list_flights(
        &self,
        _: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        unknown()
    }

    async fn get_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        unknown()
    }

    async fn poll_flight_info(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        unknown()
    }

    async fn get_schema(
        &self,
        _: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        unknown()
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let messages = request.into_inner().map_err(FlightError::from);
        let mut rows = FlightRecordBatchStream::new_from_flight_data(messages);
        let mut record_count = 0;
        while let Some(batch) = rows.try_next().await? {
            record_count += i64::try_from(batch.num_rows()).unwrap();
        }
        let app_metadata = DoPutUpdateResult { record_count }.encode_to_vec().into();
        Ok(Response::new(stream::iter([Ok(PutResult { app_metadata })]).boxed()))
    }

    async fn do_action(
        &self,
        _: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        unknown()
    }

    async fn list_actions(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        unknown()
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        unknown()
    }
}
