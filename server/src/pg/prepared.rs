//! PREPARE and EXECUTE: prepared statements of clients that send texts alone.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;

use super::{
    encode::Format,
    error::PgError,
    portal::Body,
    rows::Rows,
    session::{Next, Session},
    simple::counted,
    wire::Writer,
};

impl Session {
    /// Keeps a statement under a name; `types` are those of its first parameters.
    pub(super) async fn prepare_text(
        &mut self,
        name: String,
        types: Vec<String>,
        query: String,
    ) -> Result<(), PgError> {
        self.room_for_statement(&name)?;
        let query = dialect::with_typed_parameters(&query, &types).unwrap_or(query);
        let mut statement = self.prepared(query, &[], &name).await?;
        if !matches!(statement.body, Body::Engine(_)) {
            let text = "PREPARE takes a query, or a statement that writes";
            return Err(PgError::syntax(text));
        }
        statement.given = types;
        self.statements.insert(name, Arc::new(statement));
        Ok(())
    }

    /// Runs a prepared statement with values for its parameters, each an expression.
    pub(super) async fn execute_text(
        &mut self,
        name: &str,
        arguments: &[String],
        (formats, writer): (&[Format], &mut Writer),
    ) -> Result<Next, PgError> {
        self.allow(None)?;
        let statement = self.statement_named(Some(name))?;
        let Body::Engine(prepared) = &statement.body else {
            return Err(PgError::syntax(format!("'{name}' is no statement that EXECUTE can run")));
        };
        if arguments.len() != statement.parameters.len() {
            return Err(PgError::syntax(format!(
                "the statement '{name}' has {} parameters and {} were given",
                statement.parameters.len(),
                arguments.len()
            )));
        }
        let row = self.values(arguments, &statement.given).await?;
        let caller = self.caller();
        let queries = &self.shared.queries;
        if prepared.is_query() {
            let planned = queries.plan(&caller, prepared, row.as_ref()).await?;
            // Its columns were told before.
            let mut rows = Rows::of_query(queries.execute(planned).await?, prepared.schema());
            rows.send(writer, formats, None).await?;
            self.complete(writer, format!("SELECT {}", rows.total()));
        } else {
            self.may_write()?;
            let result = queries.command(&caller, prepared, row.as_ref()).await?;
            self.warn_of_effect(prepared, writer);
            self.complete(writer, counted(&statement.sql, result.rows_affected));
        }
        Ok(Next::Go)
    }

    /// One row of the values of expressions, of these types where there are some.
    async fn values(
        &self,
        expressions: &[String],
        types: &[String],
    ) -> Result<Option<RecordBatch>, PgError> {
        if expressions.is_empty() {
            return Ok(None);
        }
        let value = |(n, expression): (usize, &String)| match types.get(n) {
            Some(given) => format!("CAST({expression} AS {given})"),
            None => expression.clone(),
        };
        let values: Vec<_> = expressions.iter().enumerate().map(value).collect();
        let (caller, queries) = (self.caller(), &self.shared.queries);
        let prepared =
            queries.prepare_now(&caller, &format!("VALUES ({})", values.join(", "))).await?;
        let planned = queries.plan(&caller, &prepared, None).await?;
        let batches: Vec<_> = queries.execute(planned).await?.try_collect().await?;
        let mut batches = batches.into_iter().filter(|batch| batch.num_rows() > 0);
        match (batches.next(), batches.next()) {
            (Some(row), None) if row.num_rows() == 1 && row.num_columns() == values.len() => {
                Ok(Some(row))
            }
            _ => Err(PgError::syntax("EXECUTE takes one value for each parameter")),
        }
    }
}
