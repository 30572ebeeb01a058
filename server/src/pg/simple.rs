//! The simple protocol: a text with any number of statements, each run at once.

use pgwire::messages::{PgWireBackendMessage, response::EmptyQueryResponse};

use super::{
    error::PgError,
    own::{Own, own, tag},
    rows::{Rows, description},
    session::{Next, Session},
    wire::Writer,
};
use crate::client::split;

impl Session {
    pub(super) async fn simple(
        &mut self,
        text: &str,
        writer: &mut Writer,
    ) -> Result<Next, PgError> {
        let pieces = split(text);
        if pieces.is_empty() {
            writer.put(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
        }
        // The text has an unnamed statement of its own, in whose place it comes.
        self.statements.remove("");
        self.portals.remove("");
        let last = pieces.len().saturating_sub(1);
        let mut searched = 0;
        for (n, piece) in pieces.iter().enumerate() {
            let start = text[searched..].find(&piece.sql).map_or(searched, |at| searched + at);
            searched = start + piece.sql.len();
            let before = || text[..start].chars().count();
            let next = self.statement(&piece.sql, writer).await;
            match next.map_err(|error| error.within(&piece.sql, before()))? {
                Next::Go => {}
                copy @ Next::Receive(_) if n == last => return Ok(copy),
                Next::Receive(_) => {
                    return Err(PgError::unsupported(
                        "COPY … FROM STDIN has to be the last statement that is sent at once",
                    ));
                }
            }
        }
        self.ready(writer).await?;
        Ok(Next::Go)
    }

    async fn statement(&mut self, sql: &str, writer: &mut Writer) -> Result<Next, PgError> {
        let own = own(sql)?;
        self.allow(own.as_ref())?;
        match own {
            Some(Own::Declare { name, query }) => {
                let caller = self.caller();
                let queries = &self.shared.queries;
                let prepared = queries.prepare_now(&caller, &query).await?;
                let planned = queries.plan(&caller, &prepared, None).await?;
                let told = planned.schema();
                self.declare(name, Box::new(planned), told).await?;
                self.complete(writer, "DECLARE CURSOR".to_owned());
                Ok(Next::Go)
            }
            Some(own) => {
                if let Some(schema) = self.schema_of(&own) {
                    writer.put(description(&schema, &[]));
                }
                self.own(own, &[], writer).await
            }
            None => {
                self.engine(sql, writer).await?;
                Ok(Next::Go)
            }
        }
    }

    async fn engine(&mut self, sql: &str, writer: &mut Writer) -> Result<(), PgError> {
        let caller = self.caller();
        let queries = &self.shared.queries;
        let prepared = queries.prepare_now(&caller, sql).await?;
        let (mut rows, affected, is_query) = if prepared.is_query() {
            let planned = queries.plan(&caller, &prepared, None).await?;
            let told = planned.schema();
            let stream = queries.execute(planned).await?;
            (Rows::of_query(stream, told), 0, true)
        } else {
            self.may_write()?;
            let result = queries.command(&caller, &prepared, None).await?;
            self.warn_of_effect(&prepared, writer);
            (Rows::of_batches(result.schema, result.batches), result.rows_affected, false)
        };
        if is_query || !rows.schema().fields().is_empty() {
            writer.put(described(&rows));
            rows.send(writer, &[], None).await?;
        }
        let tag =
            if is_query { format!("SELECT {}", rows.total()) } else { counted(sql, affected) };
        self.complete(writer, tag);
        Ok(())
    }
}

/// A query may have no columns, and is then still one.
fn described(rows: &Rows) -> PgWireBackendMessage {
    use pgwire::messages::data::RowDescription;
    match rows.schema().fields().is_empty() {
        true => PgWireBackendMessage::RowDescription(RowDescription::new(Vec::new())),
        false => description(rows.schema(), &[]),
    }
}

/// The tag of a statement that takes effect.
pub(super) fn counted(sql: &str, affected: i64) -> String {
    let tag = tag(sql);
    match tag.as_str() {
        "INSERT" => format!("INSERT 0 {affected}"),
        "UPDATE" | "DELETE" | "MERGE" | "COPY" => format!("{tag} {affected}"),
        _ => tag,
    }
}
