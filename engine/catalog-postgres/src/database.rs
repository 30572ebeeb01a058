//! Connections to Postgres.

use std::{io::ErrorKind, str::FromStr, time::Duration};

use async_trait::async_trait;
use catalog::error::CatalogError;
use catalog_sql::{
    database::{Database, Transaction},
    sql::Sql,
    value::{Row, Value},
};
use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, PgPool, Row as _, SqlStr, TypeInfo,
    ValueRef,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions, PgRow},
};

use crate::{
    PostgresOptions,
    connections::{Connections, Lent},
};

/// Number, name and text of each migration, in order. Listed here instead of found by sqlx's macro,
/// which would compile both drivers a second time.
const MIGRATIONS: [(i64, &str, &str); 15] = [
    (1, "init", include_str!("../../../sql/migrations/postgres/0001_init.sql")),
    (2, "rights", include_str!("../../../sql/migrations/postgres/0002_rights.sql")),
    (3, "job_kinds", include_str!("../../../sql/migrations/postgres/0003_job_kinds.sql")),
    (4, "scram", include_str!("../../../sql/migrations/postgres/0004_scram.sql")),
    (5, "tokens", include_str!("../../../sql/migrations/postgres/0005_tokens.sql")),
    (6, "audit", include_str!("../../../sql/migrations/postgres/0006_audit.sql")),
    (7, "limits", include_str!("../../../sql/migrations/postgres/0007_limits.sql")),
    (8, "run_reports", include_str!("../../../sql/migrations/postgres/0008_run_reports.sql")),
    (9, "job_requests", include_str!("../../../sql/migrations/postgres/0009_job_requests.sql")),
    (10, "approvals", include_str!("../../../sql/migrations/postgres/0010_approvals.sql")),
    (11, "notifications", include_str!("../../../sql/migrations/postgres/0011_notifications.sql")),
    (12, "graph_runs", include_str!("../../../sql/migrations/postgres/0012_graph_runs.sql")),
    (
        13,
        "leaders_and_verifications",
        include_str!("../../../sql/migrations/postgres/0013_leaders_and_verifications.sql"),
    ),
    (14, "seal_keys", include_str!("../../../sql/migrations/postgres/0014_seal_keys.sql")),
    (15, "profiles", include_str!("../../../sql/migrations/postgres/0015_profiles.sql")),
];

/// How long a call waits for a connection.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A process that was cut off must not hold its locks, nor must the others wait for them, for ever. And
/// a statement by itself is a transaction like the others, whatever the database's defaults are.
///
/// A catalog looks up a few rows by indexes. But a statement is planned once, perhaps while a table is
/// empty, and then reading all of it looks best: so such plans are taken only where there is no other.
/// To compile a plan, which costs more than all of its rows, is then for nothing as well.
const SETTINGS: &str = "SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '30s'; SET statement_timeout = '60s'; \
    SET default_transaction_isolation = 'read committed'; SET default_transaction_read_only = off; \
    SET enable_seqscan = off; SET enable_bitmapscan = off; SET jit = off";

/// A Postgres database with every migration applied.
pub(crate) struct PostgresDatabase {
    pub(crate) connections: Connections,
    place: String,
}

impl PostgresDatabase {
    pub(crate) async fn connect(url: &str, options: PostgresOptions) -> Result<Self, CatalogError> {
        const OPERATION: &str = "connect";
        // The source is left out: it may quote the URL, and with it the password.
        let connect = PgConnectOptions::from_str(url).map_err(|_| CatalogError::Database {
            operation: OPERATION,
            source: "the URL cannot be used; write \
                     postgres://user:password@host:port/database?sslmode=require and encode \
                     special characters of the password as %XX"
                .into(),
            transient: false,
        })?;
        let connect = connect.application_name("whimbrel").disable_statement_logging();
        let place = place(&connect);
        let named = |error| at(&place, error);
        // Not through a pool: it would hide why the server cannot be reached.
        let first = tokio::time::timeout(WAIT_MAX, PgConnection::connect_with(&connect))
            .await
            .unwrap_or(Err(sqlx::Error::PoolTimedOut))
            .map_err(database_error(OPERATION))
            .map_err(named)?;
        first.close().await.map_err(database_error(OPERATION)).map_err(named)?;
        // Without the time limits of the other connections: a migration may take long.
        let migrating = PgPoolOptions::new().max_connections(1).acquire_timeout(WAIT_MAX);
        let migrating = migrating.connect_lazy_with(connect.clone());
        let migrated = migrate(&migrating).await;
        migrating.close().await;
        migrated.map_err(named)?;
        let connections_max = options.connections_max.max(1);
        let pool = PgPoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(WAIT_MAX)
            .after_connect(|connection, _| {
                Box::pin(async move { connection.execute(SETTINGS).await.map(drop) })
            })
            .connect_lazy_with(connect);
        Ok(Self { connections: Connections::new(pool, connections_max, WAIT_MAX), place })
    }

    async fn begin(
        &self,
        begin: &'static str,
        operation: &'static str,
    ) -> Result<PostgresTx, CatalogError> {
        let failed = database_error(operation);
        loop {
            let lent = self.connections.lend().await.map_err(&failed)?;
            // Before the server is asked: whoever leaves while it begins leaves no transaction behind.
            let mut tx = PostgresTx { lent: Some(lent), operation };
            match tx.connection()?.execute(begin).await {
                Ok(_) => return Ok(tx),
                Err(error) if tx.connection()?.had_gone(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// Database, host and port, without user and password.
fn place(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    match options.get_socket() {
        Some(socket) => format!("Postgres database '{database}' at {}", socket.display()),
        None => format!(
            "Postgres database '{database}' at {}:{}",
            options.get_host(),
            options.get_port()
        ),
    }
}

#[async_trait]
impl Database for PostgresDatabase {
    type Tx = PostgresTx;

    async fn read(&self, operation: &'static str) -> Result<PostgresTx, CatalogError> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", operation).await
    }

    async fn write(&self, operation: &'static str) -> Result<PostgresTx, CatalogError> {
        self.begin("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", operation).await
    }

    async fn rows(
        &self,
        operation: &'static str,
        sql: Sql,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, CatalogError> {
        let failed = database_error(operation);
        loop {
            let mut lent = self.connections.lend().await.map_err(&failed)?;
            match rows(&mut lent, sql, values.clone()).await {
                Ok(answered) => {
                    lent.give_back();
                    return Ok(answered);
                }
                Err(error) if lent.had_gone(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// A statement by itself is a transaction.
    async fn change(
        &self,
        operation: &'static str,
        sql: Sql,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, CatalogError> {
        let failed = database_error(operation);
        let mut lent = self.connections.lend().await.map_err(&failed)?;
        // Never twice, whatever became of the connection: it may have taken effect.
        let answered = rows(&mut lent, sql, values).await.map_err(|error| {
            lent.had_gone(&error);
            failed(error)
        })?;
        lent.give_back();
        Ok(answered)
    }

    fn describe(&self) -> String {
        self.place.clone()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// A transaction; the errors name the operation that it serves.
pub(crate) struct PostgresTx {
    /// There until the transaction is over.
    lent: Option<Lent>,
    operation: &'static str,
}

impl PostgresTx {
    fn connection(&mut self) -> Result<&mut Lent, CatalogError> {
        self.lent.as_mut().ok_or(CatalogError::Database {
            operation: self.operation,
            source: "the transaction is over".into(),
            transient: false,
        })
    }
}

#[async_trait]
impl Transaction for PostgresTx {
    async fn rows(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>, CatalogError> {
        let operation = self.operation;
        let answered = rows(self.connection()?, sql, values).await;
        answered.map_err(database_error(operation))
    }

    async fn commit(mut self) -> Result<(), CatalogError> {
        let operation = self.operation;
        self.connection()?.execute("COMMIT").await.map_err(database_error(operation))?;
        if let Some(lent) = self.lent.take() {
            lent.give_back();
        }
        Ok(())
    }

    async fn roll_back(mut self) {
        let Some(lent) = &mut self.lent else { return };
        // Where it fails, dropping does the rest.
        if lent.execute("ROLLBACK").await.is_ok()
            && let Some(lent) = self.lent.take()
        {
            lent.give_back();
        }
    }
}

impl Drop for PostgresTx {
    fn drop(&mut self) {
        let Some(mut lent) = self.lent.take() else { return };
        // After what is still under way on the connection.
        tokio::spawn(async move {
            match lent.execute("ROLLBACK").await {
                Ok(_) => lent.give_back(),
                Err(_) => lent.close(),
            }
        });
    }
}

async fn rows(
    connection: &mut PgConnection,
    sql: Sql,
    values: Vec<Value>,
) -> Result<Vec<Row>, sqlx::Error> {
    let mut query = sqlx::query(sql.postgres);
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Int(number) => query.bind(number),
        };
    }
    query.fetch_all(connection).await?.iter().map(read_row).collect()
}

fn read_row(row: &PgRow) -> Result<Row, sqlx::Error> {
    let mut cells = Vec::with_capacity(row.len());
    for column in 0..row.len() {
        let is_integer = row.try_get_raw(column)?.type_info().name() == "INT8";
        cells.push(if is_integer {
            Value::Int(row.try_get(column)?)
        } else {
            Value::Text(row.try_get(column)?)
        });
    }
    Ok(Row::new(cells))
}

fn migrator() -> Migrator {
    let migration = |(version, name, text): (i64, &'static str, &'static str)| {
        let text = SqlStr::from_static(text);
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(MIGRATIONS.into_iter().map(migration).collect())
}

async fn migrate(pool: &PgPool) -> Result<(), CatalogError> {
    const OPERATION: &str = "bring the schema up to date";
    // Under an advisory lock of the database, so one process does it and the others wait.
    match migrator().run(pool).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(missing)) => {
            let found: Option<i64> =
                sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations")
                    .fetch_one(pool)
                    .await
                    .map_err(database_error(OPERATION))?;
            let known = MIGRATIONS.last().map(|(version, ..)| *version);
            Err(CatalogError::NewerSchema {
                found: found.unwrap_or(missing),
                known: known.unwrap_or_default(),
            })
        }
        Err(MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _)) => {
            Err(database_error(OPERATION)(source))
        }
        Err(source) => Err(CatalogError::Database {
            operation: OPERATION,
            source: source.into(),
            transient: false,
        }),
    }
}

/// Names the database in an error.
fn at(place: &str, error: CatalogError) -> CatalogError {
    match error {
        CatalogError::Database { operation, source, transient } => CatalogError::Database {
            operation,
            source: format!("{place}: {source}").into(),
            transient,
        },
        other => other,
    }
}

fn database_error(operation: &'static str) -> impl Fn(sqlx::Error) -> CatalogError {
    move |source| CatalogError::Database {
        operation,
        transient: is_transient(&source),
        source: source.into(),
    }
}

/// Whether the server is out of reach or busy, or another transaction was in the way.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut => true,
        // A wrong certificate stays wrong.
        sqlx::Error::Io(error) => {
            !matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput)
        }
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let class = code.get(..2).unwrap_or_default();
            // Connection failures; out of connections or memory; an operator or a timeout ended it.
            matches!(class, "08" | "53" | "57")
                // Serialization failure, deadlock, lock timeout, idle transaction timeout.
                || matches!(&*code, "40001" | "40P01" | "55P03" | "25P03")
        }
        _ => false,
    }
}
