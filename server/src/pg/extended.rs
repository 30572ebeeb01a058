//! The extended protocol: prepared statements, parameters, and rows a few at a time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use pgwire::messages::{
    PgWireBackendMessage,
    data::ParameterDescription,
    extendedquery::{
        Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete,
        PortalSuspended,
    },
    response::EmptyQueryResponse,
};
use query::queries::{Planned, Prepared};

use super::{
    error::PgError,
    own::{Own, own},
    parameters,
    portal::{Body, Portal, Run, Statement},
    rows::{Rows, Sent, description},
    session::{Next, Session},
    simple::counted,
    wire::Writer,
};

/// Prepared statements of one session.
const STATEMENTS_MAX: usize = 1_000;
/// Portals and cursors of one session. One that was read in part holds what its query holds.
const PORTALS_MAX: usize = 100;
/// What a Describe or a Close is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Statement,
    Portal,
}

impl About {
    fn of(letter: u8) -> Result<Self, PgError> {
        match letter {
            b'S' => Ok(Self::Statement),
            b'P' => Ok(Self::Portal),
            other => Err(PgError::protocol(format!(
                "'{}' is neither a statement (S) nor a portal (P)",
                char::from(other).escape_default()
            ))),
        }
    }
}

impl Session {
    pub(super) async fn parse(&mut self, parse: Parse, writer: &mut Writer) -> Result<(), PgError> {
        let Parse { name, query, type_oids, .. } = parse;
        let name = name.unwrap_or_default();
        match name.is_empty() {
            true => drop(self.statements.remove("")),
            false => self.room_for_statement(&name)?,
        }
        let statement = self.prepared(query, &type_oids, &name).await?;
        self.statements.insert(name, Arc::new(statement));
        writer.put(PgWireBackendMessage::ParseComplete(ParseComplete::new()));
        Ok(())
    }

    /// Whether one more statement can be kept, under a name.
    pub(super) fn room_for_statement(&self, name: &str) -> Result<(), PgError> {
        if self.statements.contains_key(name) {
            let text = format!("there is a prepared statement '{name}' already");
            return Err(PgError::new("42P05", text));
        }
        if self.statements.len() < STATEMENTS_MAX {
            return Ok(());
        }
        let text = format!("a session has at most {STATEMENTS_MAX} prepared statements");
        Err(PgError::new("53000", text).with_hint("close some of them"))
    }

    pub(super) async fn prepared(
        &self,
        sql: String,
        declared: &[u32],
        name: &str,
    ) -> Result<Statement, PgError> {
        let own = own(&sql)?;
        self.allow(own.as_ref())?;
        let described = AtomicBool::new(false);
        if own.is_none() && crate::client::split(&sql).is_empty() {
            return Ok(Statement {
                sql,
                body: Body::Empty,
                parameters: Vec::new(),
                given: Vec::new(),
                described,
            });
        }
        let caller = self.caller();
        let text = match &own {
            None => &sql,
            Some(Own::Declare { query, .. }) => query,
            Some(_) => {
                let body = own.map_or(Body::Empty, Body::Own);
                return Ok(Statement {
                    sql,
                    body,
                    parameters: Vec::new(),
                    given: Vec::new(),
                    described,
                });
            }
        };
        let queries = &self.shared.queries;
        // A statement without a name runs at once, and most often once.
        let prepared = match name.is_empty() {
            true => queries.prepare_now(&caller, text).await,
            false => queries.prepare(&caller, text).await,
        };
        let before = sql.len() - text.len();
        let before = sql[..before].chars().count();
        let prepared = prepared.map_err(|error| PgError::from(error).within(text, before))?;
        let parameters = parameters::oids(declared, &prepared.parameters());
        let query = Box::new(prepared);
        let body = match own {
            Some(Own::Declare { name, .. }) => Body::Declare { cursor: name, query },
            _ => Body::Engine(query),
        };
        Ok(Statement { sql, body, parameters, given: Vec::new(), described })
    }

    pub(super) async fn bind(&mut self, bind: Bind, writer: &mut Writer) -> Result<(), PgError> {
        let name = bind.portal_name.clone().unwrap_or_default();
        if name.is_empty() {
            self.portals.remove("");
        } else if self.portals.contains_key(&name) {
            return Err(PgError::new("42P03", format!("there is a portal '{name}' already")));
        }
        self.room_for_portal()?;
        let statement = self.statement_named(bind.statement_name.as_deref())?;
        let row = parameters::row(&bind, &statement.parameters)?;
        let run = match &statement.body {
            Body::Empty => Run::Empty,
            Body::Own(own) => Run::Own(own.clone()),
            Body::Engine(prepared) if !prepared.is_query() => Run::Command(row),
            Body::Engine(prepared) => {
                let (planned, told) = self.planned(&statement, prepared, row.as_ref()).await?;
                Run::Planned { planned, told }
            }
            Body::Declare { cursor, query } => {
                let (planned, told) = self.planned(&statement, query, row.as_ref()).await?;
                Run::Declare { cursor: cursor.clone(), planned, told }
            }
        };
        let mut portal = Portal { statement, formats: Vec::new(), run };
        let columns = self.portal_schema(&portal).fields().len();
        // What has no rows has no columns to have forms.
        if columns > 0 {
            let codes = &bind.result_column_format_codes;
            portal.formats = parameters::formats(codes, columns)?;
        }
        self.portals.insert(name, portal);
        writer.put(PgWireBackendMessage::BindComplete(BindComplete::new()));
        Ok(())
    }

    async fn planned(
        &self,
        statement: &Statement,
        prepared: &Prepared,
        row: Option<&arrow::record_batch::RecordBatch>,
    ) -> Result<(Box<Planned>, arrow::datatypes::SchemaRef), PgError> {
        self.allow(None)?;
        let planned = self.shared.queries.plan(&self.caller(), prepared, row).await?;
        let told = statement.told(prepared, &planned);
        Ok((Box::new(planned), told))
    }

    pub(super) fn room_for_portal(&self) -> Result<(), PgError> {
        if self.portals.len() < PORTALS_MAX {
            return Ok(());
        }
        let text = format!("a session has at most {PORTALS_MAX} portals and cursors");
        Err(PgError::new("53000", text).with_hint("close some of them"))
    }

    pub(super) fn describe(&self, describe: &Describe, writer: &mut Writer) -> Result<(), PgError> {
        if About::of(describe.target_type)? == About::Statement {
            let statement = self.statement_named(describe.name.as_deref())?;
            let types = statement.parameters.clone();
            writer
                .put(PgWireBackendMessage::ParameterDescription(ParameterDescription::new(types)));
            let schema = match &statement.body {
                Body::Engine(prepared) => prepared.schema(),
                Body::Own(own) => self.schema_of(own).unwrap_or_else(nothing),
                Body::Empty | Body::Declare { .. } => nothing(),
            };
            statement.described.store(true, Ordering::Relaxed);
            writer.put(description(&schema, &[]));
            return Ok(());
        }
        let portal = self.portal_named(describe.name.as_deref())?;
        writer.put(description(&self.portal_schema(portal), &portal.formats));
        Ok(())
    }

    /// A FETCH has the columns of its cursor.
    fn portal_schema(&self, portal: &Portal) -> arrow::datatypes::SchemaRef {
        match &portal.run {
            Run::Own(own) => self.schema_of(own).unwrap_or_else(nothing),
            _ => portal.schema(),
        }
    }

    pub(super) async fn execute(
        &mut self,
        execute: Execute,
        writer: &mut Writer,
    ) -> Result<Next, PgError> {
        let name = execute.name.unwrap_or_default();
        let limit = usize::try_from(execute.max_rows).ok().filter(|rows| *rows > 0);
        let Some(mut portal) = self.portals.remove(&name) else { return Err(no_portal(&name)) };
        let statement = Arc::clone(&portal.statement);
        match std::mem::replace(&mut portal.run, Run::Ended) {
            Run::Empty => {
                writer.put(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new()));
                portal.run = Run::Empty;
            }
            Run::Own(own) => {
                self.allow(Some(&own))?;
                return self.own(own, &portal.formats, writer).await;
            }
            Run::Declare { cursor, planned, told } => {
                self.allow(None)?;
                self.declare(cursor, planned, told).await?;
                self.complete(writer, "DECLARE CURSOR".to_owned());
            }
            Run::Planned { planned, told } => {
                self.allow(None)?;
                let stream = self.shared.queries.execute(*planned).await?;
                let rows = Rows::of_query(stream, told);
                portal.run = self.send(rows, &portal, limit, writer).await?;
            }
            Run::Running(rows) => {
                self.allow(None)?;
                portal.run = self.send(rows, &portal, limit, writer).await?;
            }
            Run::Command(row) => {
                self.allow(None)?;
                self.may_write()?;
                let Body::Engine(prepared) = &statement.body else { return Err(over(&name)) };
                let caller = self.caller();
                let queries = &self.shared.queries;
                let result = queries.command(&caller, prepared, row.as_ref()).await;
                let result =
                    result.map_err(|error| PgError::from(error).within(&statement.sql, 0))?;
                self.warn_of_effect(prepared, writer);
                self.complete(writer, counted(&statement.sql, result.rows_affected));
            }
            Run::Ended => return Err(over(&name)),
        }
        self.portals.insert(name, portal);
        writer.ease().await?;
        Ok(Next::Go)
    }

    async fn send(
        &self,
        mut rows: Rows,
        portal: &Portal,
        limit: Option<usize>,
        writer: &mut Writer,
    ) -> Result<Run, PgError> {
        let before = rows.total();
        match rows.send(writer, &portal.formats, limit).await? {
            Sent::Some => {
                writer.put(PgWireBackendMessage::PortalSuspended(PortalSuspended::new()));
                Ok(Run::Running(rows))
            }
            Sent::All => {
                self.complete(writer, format!("SELECT {}", rows.total() - before));
                // Whoever asks again gets no rows, and no error.
                Ok(Run::Running(Rows::of_batches(Arc::clone(rows.schema()), Vec::new())))
            }
        }
    }

    pub(super) fn close(&mut self, close: &Close, writer: &mut Writer) -> Result<(), PgError> {
        let name = close.name.as_deref().unwrap_or_default();
        if About::of(close.target_type)? == About::Statement {
            self.statements.remove(name);
        } else {
            self.portals.remove(name);
        }
        writer.put(PgWireBackendMessage::CloseComplete(CloseComplete::new()));
        Ok(())
    }

    pub(super) fn statement_named(&self, name: Option<&str>) -> Result<Arc<Statement>, PgError> {
        let name = name.unwrap_or_default();
        self.statements.get(name).cloned().ok_or_else(|| {
            PgError::new("26000", format!("there is no prepared statement '{name}'"))
        })
    }

    fn portal_named(&self, name: Option<&str>) -> Result<&Portal, PgError> {
        let name = name.unwrap_or_default();
        self.portals.get(name).ok_or_else(|| no_portal(name))
    }
}

fn nothing() -> arrow::datatypes::SchemaRef {
    Arc::new(arrow::datatypes::Schema::empty())
}

fn no_portal(name: &str) -> PgError {
    PgError::new("34000", format!("there is no portal or cursor '{name}'"))
}

fn over(name: &str) -> PgError {
    PgError::new("55000", format!("the portal '{name}' has run and cannot run again"))
}
