//! The TPC-H tables as Delta tables, made once through the server with SQL.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tests::process::{Options, Server};
use url::Url;

use crate::{certificate::Certificate, flight::Connection};

/// Tables in the order of their size.
pub(crate) const TABLES: [&str; 8] =
    ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

/// A folder with the tables.
pub(crate) struct Dataset {
    files: PathBuf,
    data_dir: PathBuf,
}

impl Dataset {
    /// Takes the tables that are there, and makes those that are not.
    pub(crate) async fn prepare(files: &Path) -> Self {
        let files = files.canonicalize().unwrap_or_else(|error| {
            panic!("{}: {error}; `bench/run` makes this folder", files.display())
        });
        let dataset = Self { data_dir: files.join("whimbrel-data"), files };
        let done = dataset.data_dir.join("loaded");
        if !done.is_file() {
            if dataset.data_dir.exists() {
                fs::remove_dir_all(&dataset.data_dir).unwrap();
            }
            dataset.load().await;
            fs::write(done, "").unwrap();
        }
        dataset
    }

    /// Starts a server on the tables.
    pub(crate) fn serve(&self) -> Server {
        self.options().start()
    }

    /// Starts an encrypted one.
    pub(crate) fn serve_by(&self, certificate: &Certificate) -> Server {
        let file = |name: &str| certificate.folder().join(name).to_string_lossy().into_owned();
        self.options()
            .env("WHIMBREL__SERVER__TLS_CERT", file(Certificate::FILE))
            .env("WHIMBREL__SERVER__TLS_KEY", file(Certificate::KEY))
            .start()
    }

    /// What a server on the tables is started with.
    pub(crate) fn options(&self) -> Options {
        Options::new()
            .data_dir(self.data_dir.to_str().expect("a path that is text"))
            .env("WHIMBREL__LAKE__LOCATIONS", self.files.to_str().expect("a path that is text"))
            .without_env("WHIMBREL__REFRESH__LEASE")
            .without_env("WHIMBREL__REFRESH__TICK")
    }

    /// Where one table is, for other programs.
    pub(crate) fn location(&self, table: &str) -> Url {
        Url::from_directory_path(self.data_dir.join("lake/tpch").join(table)).unwrap()
    }

    /// The generated file of one table.
    pub(crate) fn file(&self, table: &str) -> PathBuf {
        self.files.join(format!("{table}.parquet"))
    }

    /// Where a table without a LOCATION is, for other programs. There must be one of that name.
    pub(crate) fn managed(&self, table: &str) -> String {
        let folder = self.data_dir.join("lake/tables/main");
        let named = |name: &str| name.rsplit_once('-').is_some_and(|(name, _)| name == table);
        let found = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut found =
            found.filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(named));
        found.next().expect("the table is there").to_string_lossy().into_owned()
    }

    async fn load(&self) {
        let server = self.serve();
        let mut connection = Connection::open(server.address()).await;
        for table in TABLES {
            let file = self.files.join(format!("{table}.parquet"));
            let file = file.display();
            for sql in [
                format!("CREATE EXTERNAL TABLE {table}_file USING PARQUET LOCATION '{file}'"),
                format!(
                    "CREATE TABLE {table} LOCATION 'tpch/{table}' AS SELECT * FROM {table}_file"
                ),
                format!("DROP TABLE {table}_file"),
            ] {
                connection.update(&sql).await;
            }
        }
        server.stop();
    }
}
