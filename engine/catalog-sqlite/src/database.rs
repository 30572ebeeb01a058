//! Connections to SQLite: one that writes, a few that read.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use catalog::error::CatalogError;
use catalog_sql::{
    database::{Database, Transaction},
    sql::Sql,
    value::{Row, Value},
};
use sqlx::{
    ConnectOptions, Row as _, SqlStr, Sqlite, SqliteConnection, SqlitePool, TypeInfo, ValueRef,
    error::BoxDynError,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
    },
};

use crate::recent::{Found, Recent, is_about_the_trail};

/// Number, name and text of each migration, in order. Listed here instead of found by sqlx's macro,
/// which would compile both drivers a second time.
const MIGRATIONS: [(i64, &str, &str); 15] = [
    (1, "init", include_str!("../../../sql/migrations/sqlite/0001_init.sql")),
    (2, "rights", include_str!("../../../sql/migrations/sqlite/0002_rights.sql")),
    (3, "job_kinds", include_str!("../../../sql/migrations/sqlite/0003_job_kinds.sql")),
    (4, "scram", include_str!("../../../sql/migrations/sqlite/0004_scram.sql")),
    (5, "tokens", include_str!("../../../sql/migrations/sqlite/0005_tokens.sql")),
    (6, "audit", include_str!("../../../sql/migrations/sqlite/0006_audit.sql")),
    (7, "limits", include_str!("../../../sql/migrations/sqlite/0007_limits.sql")),
    (8, "run_reports", include_str!("../../../sql/migrations/sqlite/0008_run_reports.sql")),
    (9, "job_requests", include_str!("../../../sql/migrations/sqlite/0009_job_requests.sql")),
    (10, "approvals", include_str!("../../../sql/migrations/sqlite/0010_approvals.sql")),
    (11, "notifications", include_str!("../../../sql/migrations/sqlite/0011_notifications.sql")),
    (12, "graph_runs", include_str!("../../../sql/migrations/sqlite/0012_graph_runs.sql")),
    (
        13,
        "leaders_and_verifications",
        include_str!("../../../sql/migrations/sqlite/0013_leaders_and_verifications.sql"),
    ),
    (14, "seal_keys", include_str!("../../../sql/migrations/sqlite/0014_seal_keys.sql")),
    (15, "profiles", include_str!("../../../sql/migrations/sqlite/0015_profiles.sql")),
];

/// How long a call waits for another process or for a connection.
const WAIT_MAX: Duration = Duration::from_secs(10);
const READERS_MAX: u32 = 4;

/// A SQLite database with every migration applied.
pub(crate) struct SqliteDatabase {
    writer: SqlitePool,
    readers: SqlitePool,
    recent: Arc<Recent>,
    place: String,
}

impl SqliteDatabase {
    pub(crate) async fn open(path: &Path) -> Result<Self, CatalogError> {
        let place = format!("SQLite in {}", path.display());
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| CatalogError::Database {
                operation: "make the folder of the database",
                source: format!("{}: {source}", folder.display()).into(),
                transient: false,
            })?;
        }
        let options = options()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A statement that was answered survives a power failure.
            .synchronous(SqliteSynchronous::Full);
        let named = |e| at(path, e);
        let writer = pool(1)
            .connect_with(options.clone())
            .await
            .map_err(database_error("open"))
            .map_err(named)?;
        migrate(&writer).await.map_err(named)?;
        let readers = pool(READERS_MAX)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(database_error("open"))
            .map_err(named)?;
        Ok(Self { writer, readers, recent: Arc::default(), place })
    }

    pub(crate) async fn in_memory() -> Result<Self, CatalogError> {
        // The database is the connection: it must never be closed.
        let only = pool(1).min_connections(1).idle_timeout(None).max_lifetime(None);
        let writer = only
            .connect_with(options().filename(":memory:"))
            .await
            .map_err(database_error("open"))?;
        migrate(&writer).await?;
        let (readers, place) = (writer.clone(), "SQLite in memory".to_owned());
        Ok(Self { readers, writer, recent: Arc::default(), place })
    }
}

fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .foreign_keys(true)
        .busy_timeout(WAIT_MAX)
        .disable_statement_logging()
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new().max_connections(connections_max).acquire_timeout(WAIT_MAX)
}

#[async_trait]
impl Database for SqliteDatabase {
    type Tx = SqliteTx;

    async fn read(&self, operation: &'static str) -> Result<SqliteTx, CatalogError> {
        let tx = self.readers.begin().await.map_err(database_error(operation))?;
        Ok(SqliteTx { tx, operation, recent: None, wrote: false })
    }

    async fn write(&self, operation: &'static str) -> Result<SqliteTx, CatalogError> {
        let tx = self.writer.begin_with("BEGIN IMMEDIATE");
        let tx = tx.await.map_err(database_error(operation))?;
        Ok(SqliteTx { tx, operation, recent: Some(Arc::clone(&self.recent)), wrote: false })
    }

    async fn rows(
        &self,
        operation: &'static str,
        sql: Sql,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, CatalogError> {
        let asked = match self.recent.find(sql.sqlite, &values) {
            Found::Answer(rows) => return Ok(rows),
            Found::Nothing(asked) => asked,
        };
        let mut connection = self.readers.acquire().await.map_err(database_error(operation))?;
        let rows = rows(&mut connection, operation, sql, values).await?;
        self.recent.keep(asked, &rows);
        Ok(rows)
    }

    fn describe(&self) -> String {
        self.place.clone()
    }

    fn is_shared(&self) -> bool {
        false
    }
}

/// A transaction; the errors name the operation that it serves.
pub(crate) struct SqliteTx {
    tx: sqlx::Transaction<'static, Sqlite>,
    operation: &'static str,
    /// None for one that only reads.
    recent: Option<Arc<Recent>>,
    /// Whether it has written what others may have been told of.
    wrote: bool,
}

#[async_trait]
impl Transaction for SqliteTx {
    async fn rows(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>, CatalogError> {
        self.wrote |= self.recent.is_some() && !is_about_the_trail(sql.sqlite);
        rows(&mut self.tx, self.operation, sql, values).await
    }

    async fn commit(self) -> Result<(), CatalogError> {
        let Self { tx, operation, recent, wrote } = self;
        let Some(recent) = recent.filter(|_| wrote) else {
            return tx.commit().await.map_err(database_error(operation));
        };
        // It ends also when nobody waits for it any more, and what was read before is forgotten then.
        let ending = recent.ending();
        let committing = tokio::spawn(async move {
            let committed = tx.commit().await;
            drop(ending);
            committed
        });
        match committing.await {
            Ok(committed) => committed.map_err(database_error(operation)),
            Err(source) => {
                Err(CatalogError::Database { operation, source: source.into(), transient: false })
            }
        }
    }

    async fn roll_back(self) {
        // Where it fails the connection is rolled back before anybody else has it.
        let _ = self.tx.rollback().await;
    }
}

async fn rows(
    connection: &mut SqliteConnection,
    operation: &'static str,
    sql: Sql,
    values: Vec<Value>,
) -> Result<Vec<Row>, CatalogError> {
    let mut query = sqlx::query(sql.sqlite);
    for value in values {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Int(number) => query.bind(number),
        };
    }
    let answered = query.fetch_all(connection).await.map_err(database_error(operation))?;
    answered.iter().map(read_row).collect::<Result<_, _>>().map_err(database_error(operation))
}

fn read_row(row: &SqliteRow) -> Result<Row, sqlx::Error> {
    let mut cells = Vec::with_capacity(row.len());
    for column in 0..row.len() {
        let is_integer = row.try_get_raw(column)?.type_info().name() == "INTEGER";
        let is_null = row.try_get_raw(column)?.is_null();
        cells.push(if is_null {
            Value::Text(None)
        } else if is_integer {
            Value::Int(row.try_get_unchecked(column)?)
        } else {
            Value::Text(row.try_get_unchecked(column)?)
        });
    }
    Ok(Row::new(cells))
}

fn migrator(migrations: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migration = |&(version, name, text): &(i64, &'static str, &'static str)| {
        let text = SqlStr::from_static(text);
        Migration::new(version, name.into(), MigrationType::Simple, text, false)
    };
    Migrator::with_migrations(migrations.iter().map(migration).collect())
}

async fn migrate(pool: &SqlitePool) -> Result<(), CatalogError> {
    const OPERATION: &str = "bring the schema up to date";
    match migrator(&MIGRATIONS).run(pool).await {
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

/// Names the file in an error.
fn at(path: &Path, error: CatalogError) -> CatalogError {
    match error {
        CatalogError::Database { operation, source, transient } => CatalogError::Database {
            operation,
            source: BoxDynError::from(format!("{}: {source}", path.display())),
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

/// Whether another program held the file, or every connection was in use.
fn is_transient(error: &sqlx::Error) -> bool {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    match error {
        sqlx::Error::PoolTimedOut => true,
        sqlx::Error::Database(error) => {
            // The low byte is the primary code, the others say more about it.
            let code = error.code().and_then(|code| code.parse::<i32>().ok());
            code.is_some_and(|code| matches!(code & 0xff, BUSY | LOCKED))
        }
        _ => false,
    }
}

/// A file as the first program made it.
#[cfg(test)]
pub(crate) async fn of_the_first_program(path: &Path) -> SqlitePool {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let pool = SqlitePool::connect_with(options).await.unwrap();
    migrator(&MIGRATIONS[..1]).run(&pool).await.unwrap();
    pool
}
