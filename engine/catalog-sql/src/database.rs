//! What an adapter lends: transactions over one database.

use async_trait::async_trait;
use catalog::error::CatalogError;

use crate::{
    sql::Sql,
    value::{Row, Value},
};

/// A database with the tables of `sql/migrations`.
#[async_trait]
pub trait Database: Send + Sync + 'static {
    /// A transaction of this database.
    type Tx: Transaction;

    /// Begins a transaction that sees one state of the database and changes nothing.
    ///
    /// `operation` goes into every error of the transaction.
    async fn read(&self, operation: &'static str) -> Result<Self::Tx, CatalogError>;

    /// Begins a transaction that may change the database; each of its statements sees what others
    /// have committed before that statement.
    async fn write(&self, operation: &'static str) -> Result<Self::Tx, CatalogError>;

    /// Runs one reading statement by itself.
    async fn rows(
        &self,
        operation: &'static str,
        sql: Sql,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, CatalogError>;

    /// The kind of database and where it is, without secrets.
    fn describe(&self) -> String;

    /// Whether several processes may use the database.
    fn is_shared(&self) -> bool;
}

/// A transaction. Dropped without [`Transaction::commit`], it changes nothing.
#[async_trait]
pub trait Transaction: Send {
    /// Runs a statement and collects the rows that it answers.
    async fn rows(&mut self, sql: Sql, values: Vec<Value>) -> Result<Vec<Row>, CatalogError>;

    /// Makes every change of the transaction visible at once.
    async fn commit(self) -> Result<(), CatalogError>;
}

/// The first row that a statement answers.
pub(crate) async fn row(
    tx: &mut impl Transaction,
    sql: Sql,
    values: Vec<Value>,
) -> Result<Option<Row>, CatalogError> {
    Ok(tx.rows(sql, values).await?.into_iter().next())
}
