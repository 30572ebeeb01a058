//! What the server is compared with.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use arrow::{array::AsArray, record_batch::RecordBatch};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::{
    dataset::{Dataset, TABLES},
    flight::Connection,
};

/// DataFusion with delta-rs in this process, on the same tables with the settings of the server.
/// Each of `changed` is a setting that differs, as KEY=VALUE.
pub(crate) async fn in_process(
    dataset: &Dataset,
    server: &mut Connection,
    changed: &[String],
) -> SessionContext {
    let settings =
        server.query("SELECT name, value FROM information_schema.df_settings ORDER BY name").await;
    let mut config = SessionConfig::new();
    for batch in &settings {
        let names = batch.column(0).as_string::<i32>();
        let values = batch.column(1).as_string::<i32>();
        for (name, value) in names.iter().zip(values) {
            let (Some(name), Some(value)) = (name, value) else { continue };
            // The names of our catalog, and what belongs to a runtime and not to a session.
            let ours = name.starts_with("datafusion.catalog.");
            if !ours && name.starts_with("datafusion.") && !name.starts_with("datafusion.runtime.")
            {
                config.options_mut().set(name, value).unwrap();
            }
        }
    }
    for setting in changed {
        let (name, value) = setting.split_once('=').expect("a setting is KEY=VALUE");
        config.options_mut().set(name, value).unwrap();
    }
    let context = SessionContext::new_with_config(config);
    for table in TABLES {
        let delta = deltalake_core::open_table(dataset.location(table)).await.unwrap();
        delta.update_datafusion_session(&context.state()).unwrap();
        context.register_table(table, delta.table_provider().await.unwrap()).unwrap();
    }
    context
}

/// Runs a query to its last row.
pub(crate) async fn run_in_process(context: &SessionContext, sql: &str) -> Vec<RecordBatch> {
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

/// flydelta, killed when dropped.
pub(crate) struct FlyDelta {
    child: Child,
    address: String,
}

impl FlyDelta {
    /// Starts it on some of the tables.
    pub(crate) async fn start(program: &Path, dataset: &Dataset, tables: &[&str]) -> Self {
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]);
        for table in tables {
            let folder = dataset.location(table).to_file_path().expect("a folder");
            command.arg("--table").arg(format!("{table}={}", folder.display()));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let address = format!("127.0.0.1:{port}");
        wait_for(&address).await;
        Self { child, address }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for FlyDelta {
    fn drop(&mut self) {
        // It may have died on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sail's Flight SQL server, killed when dropped.
pub(crate) struct Sail {
    child: Child,
    address: String,
    pub(crate) connection: Connection,
}

impl Sail {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Starts it and tells it where the tables are.
    pub(crate) async fn start(program: &Path, dataset: &Dataset) -> Self {
        let port = free_port();
        let child = Command::new(program)
            .args(["flight", "server", "--ip", "127.0.0.1", "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let address = format!("127.0.0.1:{port}");
        wait_for(&address).await;
        let connection = Connection::open(&address).await;
        let mut sail = Self { child, address, connection };
        for table in TABLES {
            let location = dataset.location(table);
            let sql = format!("CREATE TABLE {table} USING delta LOCATION '{location}'");
            sail.connection.drain(&sql).await;
        }
        sail
    }
}

impl Drop for Sail {
    fn drop(&mut self) {
        // It may have died on its own.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens there.
pub(crate) async fn wait_for(address: &str) {
    let start = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(120), "nobody listens on {address}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
