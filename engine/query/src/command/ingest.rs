//! Rows of a client into a table, by the statement that SQL has for the same thing.

use dialect::statement::Statement;
use futures::FutureExt;
use model::name::ObjectName;

use super::{insert, tables};
use crate::{
    authorize,
    error::QueryError,
    ingest::{IfExists, IfMissing, Ingest},
    queries::{CommandResult, Inner, Queries},
    session::{INCOMING_ROWS, Session},
};

pub(crate) async fn run(
    queries: &Queries,
    session: &Session,
    ingest: Ingest,
) -> Result<CommandResult, QueryError> {
    let sql = statement(&queries.inner, session, &ingest).await?;
    let rows = ingest.rows;
    let with_rows = session.clone().with_rows(rows.clone());
    let (writer, statement) = (queries.clone(), dialect::parse(&sql)?);
    authorize::check(&queries.inner, session, &statement).await?;
    let work = async move {
        let written = match statement {
            Statement::Insert(mut insert) => {
                // The rows are no table that the catalog could know.
                insert.source.tables.clear();
                insert::once(&writer, &with_rows, &insert).await
            }
            Statement::CreateTable(mut create) => {
                if let Some(query) = &mut create.query {
                    query.tables.clear();
                }
                if let Some(transaction) = with_rows.transaction() {
                    transaction.may_do_alone()?;
                }
                let created = tables::create(&writer, &with_rows, create).await;
                if let Some(transaction) = with_rows.transaction() {
                    transaction.sees_anew();
                }
                created
            }
            _ => Err(QueryError::Unsupported("this form of ingest".to_owned())),
        };
        match (written, rows.broken()) {
            (Err(_), Some(broken)) => Err(QueryError::Incoming(broken)),
            (written, _) => written,
        }
    };
    queries.effect(session, &sql, false, work.boxed()).await
}

/// The statement that does with the rows what is to happen to them.
async fn statement(
    inner: &Inner,
    session: &Session,
    ingest: &Ingest,
) -> Result<String, QueryError> {
    let name = ObjectName::from_parts(&ingest.table, session.schema())?;
    let exists = !inner.objects_named(std::slice::from_ref(&name)).await?.is_empty();
    let (begin, middle) = match (exists, ingest.if_missing, ingest.if_exists) {
        (true, _, IfExists::Fail) => {
            return Err(catalog::error::CatalogError::ObjectExists(name).into());
        }
        (false, IfMissing::Fail, _) => return Err(inner.missing(session, name).await),
        (true, _, IfExists::Append) => ("INSERT INTO", "BY NAME"),
        (true, _, IfExists::Replace) => ("CREATE OR REPLACE TABLE", "AS"),
        (false, IfMissing::Create, _) => ("CREATE TABLE", "AS"),
    };
    Ok(format!("{begin} {} {middle} SELECT * FROM {INCOMING_ROWS}", name.to_sql()))
}
