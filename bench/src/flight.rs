//! One Flight SQL client for every server that is measured.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use arrow_flight::{
    FlightDescriptor, FlightInfo,
    error::FlightError,
    flight_service_client::FlightServiceClient,
    sql::{
        CommandStatementIngest, TableDefinitionOptions, TableExistsOption, TableNotExistOption,
        client::FlightSqlServiceClient,
    },
};
use futures::{TryStreamExt, stream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

/// A connection to one server.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    client: FlightSqlServiceClient<Channel>,
}

/// How much an answer was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Volume {
    pub(crate) rows: usize,
    /// Bytes of the rows as Arrow arrays.
    pub(crate) bytes: usize,
    pub(crate) batches: usize,
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(address: &str) -> Self {
        Self::open_by(address, None).await
    }

    /// Connects to `host:port`, encrypted when there is an authority (PEM) to believe.
    pub(crate) async fn open_by(address: &str, authority: Option<&str>) -> Self {
        let scheme = if authority.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).unwrap();
        if let Some(authority) = authority {
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority));
            endpoint = endpoint.tls_config(tls).unwrap();
        }
        let channel = endpoint.tcp_nodelay(true).connect().await.unwrap();
        let inner = FlightServiceClient::new(channel).max_decoding_message_size(64 << 20);
        Self { client: FlightSqlServiceClient::new_from_inner(inner) }
    }

    pub(crate) fn client(&mut self) -> &mut FlightSqlServiceClient<Channel> {
        &mut self.client
    }

    /// Logs in; later calls bring the token.
    pub(crate) async fn log_in(&mut self, user: &str, password: &str) {
        self.client.handshake(user, password).await.unwrap();
    }

    /// Makes a table of rows that are here; how many there were.
    pub(crate) async fn ingest(&mut self, table: &str, batches: Arc<Vec<RecordBatch>>) -> i64 {
        let command = CommandStatementIngest {
            table_definition_options: Some(TableDefinitionOptions {
                if_not_exist: TableNotExistOption::Create.into(),
                if_exists: TableExistsOption::Fail.into(),
            }),
            table: table.to_owned(),
            ..Default::default()
        };
        let rows = (0..batches.len()).map(move |n| Ok::<_, FlightError>(batches[n].clone()));
        self.client.execute_ingest(command, stream::iter(rows)).await.unwrap()
    }

    /// The same for servers that take the plain text of a statement for a command.
    pub(crate) async fn drain_text(&mut self, sql: &str) -> Volume {
        let descriptor = FlightDescriptor::new_cmd(sql.to_owned());
        let flight = self.client.inner_mut();
        let info = flight.get_flight_info(descriptor).await.unwrap().into_inner();
        let mut volume = Volume::default();
        for ticket in tickets(info) {
            let mut rows = self.client.do_get(ticket).await.unwrap();
            while let Some(batch) = rows.try_next().await.unwrap() {
                volume.add(&batch);
            }
        }
        volume
    }

    /// Sends a statement and fetches its rows.
    pub(crate) async fn query(&mut self, sql: &str) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        self.each(sql, |batch| batches.push(batch)).await;
        batches
    }

    /// Sends a statement and counts its rows as they come.
    pub(crate) async fn drain(&mut self, sql: &str) -> Volume {
        let mut volume = Volume::default();
        self.each(sql, |batch| volume.add(&batch)).await;
        volume
    }

    /// Sends a statement that changes something.
    pub(crate) async fn update(&mut self, sql: &str) -> i64 {
        match self.client.execute_update(sql.to_owned(), None).await {
            Ok(rows) => rows,
            Err(error) => panic!("{error}\nin: {sql}"),
        }
    }

    async fn each(&mut self, sql: &str, mut take: impl FnMut(RecordBatch)) {
        let info = match self.client.execute(sql.to_owned(), None).await {
            Ok(info) => info,
            Err(error) => panic!("{error}\nin: {sql}"),
        };
        for ticket in tickets(info) {
            let mut rows = self.client.do_get(ticket).await.unwrap();
            while let Some(batch) = rows.try_next().await.unwrap() {
                take(batch);
            }
        }
    }
}

impl Volume {
    pub(crate) fn add(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows();
        self.batches += 1;
        let used = |column: &arrow::array::ArrayRef| {
            column.to_data().get_slice_memory_size().unwrap_or_default()
        };
        self.bytes += batch.columns().iter().map(used).sum::<usize>();
    }
}

fn tickets(info: FlightInfo) -> impl Iterator<Item = arrow_flight::Ticket> {
    info.endpoint.into_iter().map(|endpoint| endpoint.ticket.expect("an endpoint has a ticket"))
}
