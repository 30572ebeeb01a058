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

    /// Changes something with one [`Sql`], all of it or nothing, and collects the rows that its last
    /// statement answers.
    ///
    /// A database far away is asked once for it, instead of three times with a transaction around it.
    async fn change(
        &self,
        operation: &'static str,
        sql: Sql,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, CatalogError> {
        let mut tx = self.write(operation).await?;
        let rows = tx.rows(sql, values).await?;
        tx.commit().await?;
        Ok(rows)
    }

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

    /// Ends it without a change, and answers when nothing is locked any more. One that is dropped ends
    /// soon after.
    async fn roll_back(self);
}

/// Ends a transaction as what was done in it has ended: whoever is refused something finds nothing
/// locked by that.
pub(crate) async fn over<T>(
    tx: impl Transaction,
    done: Result<T, CatalogError>,
) -> Result<T, CatalogError> {
    match done {
        Ok(done) => {
            tx.commit().await?;
            Ok(done)
        }
        Err(error) => {
            tx.roll_back().await;
            Err(error)
        }
    }
}

/// The first row that a statement answers.
pub(crate) async fn row(
    tx: &mut impl Transaction,
    sql: Sql,
    values: Vec<Value>,
) -> Result<Option<Row>, CatalogError> {
    Ok(tx.rows(sql, values).await?.into_iter().next())
}
