//! Handles as they travel: sealed, so that any server of the catalog knows what one of them gave.
//!
//! A handle names what waits on the server that made it, and there it is used as long as it is there.
//! What travels with it is what another server needs in its stead: the recipe of a query, the answer
//! of a statement that has taken effect, the text of a prepared statement. It holds no password and no
//! token, is as large as [`SEALED_MAX`] at most, and opens nothing for anybody but the one who asked.

use std::sync::Arc;

use arrow::{
    datatypes::SchemaRef,
    ipc::{reader::StreamReader, writer::StreamWriter},
    record_batch::RecordBatch,
};
use bytes::Bytes;
use model::{
    id::{ObjectId, QueryId},
    job::PinnedInput,
    name::ObjectName,
    principal::Principal,
    time::Timestamp,
};
use prost::{Message, Oneof};
use query::{
    handles::{Handle, HandleError},
    queries::{Planned, Prepared},
    recipe::Recipe,
};
use tonic::Status;

use super::{FlightSql, statement::Answer};
use crate::{
    error::{compose, handle_status, internal, invalid, refused},
    seal::{Key, Purpose, SealError},
};

/// Bytes that travel with a handle; what is larger waits on its server.
pub(super) const SEALED_MAX: usize = 32 << 10;
/// Bytes in memory of rows that are not even tried to be written down.
const ROWS_MAX: usize = 1 << 20;
/// The length of a handle that travels alone, as those of older versions do.
const PLAIN: usize = 16;

/// What is sealed.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Sealed {
    /// What it waits under.
    #[prost(bytes = "vec", tag = "1")]
    handle: Vec<u8>,
    /// The id of the process that it waits in; none when it waits nowhere.
    #[prost(bytes = "vec", tag = "2")]
    server: Vec<u8>,
    /// That process, for people.
    #[prost(string, tag = "3")]
    server_name: String,
    /// Who may use it.
    #[prost(string, tag = "4")]
    principal: String,
    /// Until when another server takes it, in microseconds since 1970.
    #[prost(int64, tag = "5")]
    expires_at: i64,
    #[prost(oneof = "Content", tags = "6, 7, 8, 9")]
    content: Option<Content>,
}

/// What another server needs.
#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Content {
    /// Nothing would do; why.
    #[prost(string, tag = "6")]
    OnlyThere(String),
    #[prost(message, tag = "7")]
    Query(SealedQuery),
    /// The rows of an answer, as an Arrow stream.
    #[prost(bytes = "vec", tag = "8")]
    Answer(Vec<u8>),
    #[prost(message, tag = "9")]
    Statement(SealedStatement),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SealedQuery {
    #[prost(string, tag = "1")]
    sql: String,
    #[prost(string, tag = "2")]
    schema: String,
    #[prost(int64, tag = "3")]
    started_at: i64,
    #[prost(message, repeated, tag = "4")]
    objects: Vec<SealedObject>,
    #[prost(message, repeated, tag = "5")]
    tables: Vec<SealedTable>,
    #[prost(bytes = "vec", tag = "6")]
    columns: Vec<u8>,
    /// One row, as an Arrow stream.
    #[prost(bytes = "vec", optional, tag = "7")]
    parameters: Option<Vec<u8>>,
    /// Its id in `system.queries`.
    #[prost(string, tag = "8")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct SealedObject {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, tag = "2")]
    definition_version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SealedTable {
    #[prost(string, tag = "1")]
    object: String,
    #[prost(string, tag = "2")]
    schema: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    delta_table_id: String,
    #[prost(int64, tag = "5")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct SealedStatement {
    #[prost(string, tag = "1")]
    pub(super) sql: String,
    /// What is bound, as an Arrow stream.
    #[prost(bytes = "vec", optional, tag = "2")]
    parameters: Option<Vec<u8>>,
    /// Whether something is bound that could not travel.
    #[prost(bool, tag = "3")]
    bound_there: bool,
}

impl Content {
    /// The content unless it is too large to travel, because of `what` is in it.
    fn unless_too_large(self, what: &str) -> Self {
        match self.encoded_len() > SEALED_MAX {
            false => self,
            true => too_large(what),
        }
    }

    /// Whether another server can do with it.
    pub(super) fn travels(&self) -> bool {
        !matches!(self, Self::OnlyThere(_))
    }

    /// Whether all that is bound to a prepared statement is in it.
    pub(super) fn holds_what_is_bound(&self) -> bool {
        matches!(self, Self::Statement(statement) if !statement.bound_there)
    }

    /// What another server needs to run a planned query.
    pub(super) fn query(
        planned: &Planned,
        prepared: &Prepared,
        parameters: Option<&RecordBatch>,
    ) -> Result<Self, Status> {
        let recipe = match planned.recipe() {
            _ if prepared.has_secret() => return Ok(has_secret()),
            Ok(recipe) => recipe,
            Err(only_here) => return Ok(Self::OnlyThere(only_here.to_string())),
        };
        let Some(parameters) = written_row(parameters)? else {
            return Ok(too_large("what is bound to it"));
        };
        let Recipe { sql, schema, started_at, objects, tables, columns } = recipe;
        let query = SealedQuery {
            sql: sql.clone(),
            schema: schema.clone(),
            started_at: *started_at,
            objects: objects
                .iter()
                .map(|(id, version)| SealedObject {
                    id: id.to_string(),
                    definition_version: *version,
                })
                .collect(),
            tables: tables.iter().map(SealedTable::from).collect(),
            columns: columns.to_vec(),
            parameters,
            id: planned.query_id().to_string(),
        };
        Ok(Self::Query(query).unless_too_large("its text, with what it reads,"))
    }

    /// The answer of a statement that has taken effect.
    pub(super) fn answer(prepared: &Prepared, answer: &Answer) -> Self {
        if prepared.has_secret() {
            return has_secret();
        }
        let Answer { schema, batches } = answer;
        let size: usize = batches.iter().map(RecordBatch::get_array_memory_size).sum();
        if size > ROWS_MAX {
            return too_large("its answer");
        }
        match written(schema, batches) {
            Ok(bytes) => Self::Answer(bytes).unless_too_large("its answer"),
            // It has taken effect, and the answer waits: that is no reason to fail.
            Err(_) => Self::OnlyThere("its answer cannot be written down".to_owned()),
        }
    }

    /// A prepared statement with what is bound to it.
    pub(super) fn statement(
        prepared: &Prepared,
        is_in_transaction: bool,
        parameters: Option<&RecordBatch>,
    ) -> Result<Self, Status> {
        if prepared.has_secret() {
            return Ok(has_secret());
        }
        if is_in_transaction {
            return Ok(Self::OnlyThere("it belongs to a transaction".to_owned()));
        }
        let sql = || prepared.sql().to_owned();
        let statement = match written_row(parameters)? {
            Some(parameters) => SealedStatement { sql: sql(), parameters, bound_there: false },
            None => SealedStatement { sql: sql(), parameters: None, bound_there: true },
        };
        let content = Self::Statement(statement);
        if content.encoded_len() <= SEALED_MAX || parameters.is_none() {
            return Ok(content.unless_too_large("its text"));
        }
        // Without the parameters it may still be known elsewhere.
        let statement = SealedStatement { sql: sql(), parameters: None, bound_there: true };
        Ok(Self::Statement(statement).unless_too_large("its text"))
    }
}

fn has_secret() -> Content {
    Content::OnlyThere("it is about a secret, which does not travel".to_owned())
}

fn too_large(what: &str) -> Content {
    Content::OnlyThere(format!("{what} takes more than {SEALED_MAX} bytes"))
}

impl From<&PinnedInput> for SealedTable {
    fn from(table: &PinnedInput) -> Self {
        let PinnedInput { object, name, delta_table_id, version } = table;
        Self {
            object: object.to_string(),
            schema: name.schema().to_owned(),
            name: name.name().to_owned(),
            delta_table_id: delta_table_id.clone(),
            version: *version,
        }
    }
}

impl SealedQuery {
    /// The recipe, what is bound, and the id of the statement.
    pub(super) fn read(self) -> Result<(Recipe, Option<RecordBatch>, QueryId), Status> {
        let Self { sql, schema, started_at, objects, tables, columns, parameters, id } = self;
        let objects = objects.into_iter().map(|object| -> Result<_, Status> {
            let SealedObject { id, definition_version } = object;
            Ok((id.parse::<ObjectId>().map_err(unreadable)?, definition_version))
        });
        let tables = tables.into_iter().map(|table| -> Result<_, Status> {
            let SealedTable { object, schema, name, delta_table_id, version } = table;
            let name = ObjectName::new(schema, name).map_err(unreadable)?;
            let object = object.parse::<ObjectId>().map_err(unreadable)?;
            Ok(PinnedInput { object, name, delta_table_id, version })
        });
        let recipe = Recipe {
            sql,
            schema,
            started_at,
            objects: objects.collect::<Result<_, Status>>()?,
            tables: tables.collect::<Result<_, Status>>()?,
            columns: columns.try_into().map_err(|_| unreadable("no digest"))?,
        };
        Ok((recipe, read_row(parameters)?, id.parse::<QueryId>().map_err(unreadable)?))
    }
}

impl SealedStatement {
    /// What travels bound to it.
    pub(super) fn bound(self) -> Result<Option<RecordBatch>, Status> {
        read_row(self.parameters)
    }
}

/// An answer that travelled.
pub(super) fn read_answer(bytes: &[u8]) -> Result<Answer, Status> {
    let (schema, batches) = read(bytes)?;
    Ok(Answer { schema, batches })
}

fn written(schema: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<u8>, Status> {
    let write = || {
        let mut writer = StreamWriter::try_new(Vec::new(), schema)?;
        batches.iter().try_for_each(|batch| writer.write(batch))?;
        writer.into_inner()
    };
    write().map_err(|error| internal("write rows", &error))
}

/// Parameters as they travel; `None` for too many of them.
fn written_row(parameters: Option<&RecordBatch>) -> Result<Option<Option<Vec<u8>>>, Status> {
    let Some(batch) = parameters else { return Ok(Some(None)) };
    if batch.get_array_memory_size() > ROWS_MAX {
        return Ok(None);
    }
    let bytes = written(&batch.schema(), std::slice::from_ref(batch))?;
    Ok((bytes.len() <= SEALED_MAX).then_some(Some(bytes)))
}

fn read_row(bytes: Option<Vec<u8>>) -> Result<Option<RecordBatch>, Status> {
    let Some(bytes) = bytes else { return Ok(None) };
    let (_, batches) = read(&bytes)?;
    batches.into_iter().next().map(Some).ok_or_else(|| unreadable("no rows"))
}

fn read(bytes: &[u8]) -> Result<(SchemaRef, Vec<RecordBatch>), Status> {
    let rows = StreamReader::try_new(bytes, None).map_err(unreadable)?;
    let schema = rows.schema();
    let batches = rows.collect::<Result<_, _>>().map_err(unreadable)?;
    Ok((schema, batches))
}

/// What a server sealed can be read, unless one of another version did.
fn unreadable(why: impl std::fmt::Display) -> Status {
    invalid(format!(
        "a server of another version has made this: {why}\nhint: run the statement again"
    ))
}

/// A handle that a client gave back.
pub(super) struct Opened {
    /// What to look for on this server.
    pub(super) handle: Handle,
    sealed: Option<Sealed>,
}

impl Opened {
    /// What is sealed beside the handle, for the one who may use it, where nothing waits under the
    /// handle on this server.
    pub(super) fn elsewhere(
        self,
        server: &FlightSql,
        caller: &Principal,
        what: &str,
    ) -> Result<Content, Status> {
        let unknown = || handle_status(&HandleError::Unknown);
        let sealed = self.sealed.ok_or_else(unknown)?;
        let has_expired = sealed.expires_at <= server.inner.clock.now().as_micros();
        // On the server that made it, it is used up, closed or too old.
        if sealed.is_of(server) || sealed.principal != caller.name() || has_expired {
            return Err(unknown());
        }
        match sealed.content {
            None => Err(unknown()),
            Some(Content::OnlyThere(why)) => {
                Err(server.only_there(what, &sealed.server_name, &why))
            }
            Some(content) => Ok(content),
        }
    }

    /// What is bound to a prepared statement by the handle itself.
    pub(super) fn bound(
        &self,
        server: &FlightSql,
        caller: &Principal,
    ) -> Result<Option<RecordBatch>, Status> {
        let Some(sealed) = &self.sealed else { return Ok(None) };
        if sealed.principal != caller.name() {
            return Err(handle_status(&HandleError::Unknown));
        }
        match &sealed.content {
            Some(Content::Statement(statement)) if statement.bound_there => {
                match sealed.is_of(server) {
                    true => Ok(None),
                    false => {
                        let why = format!("it takes more than {SEALED_MAX} bytes");
                        Err(server.only_there("what was bound", &sealed.server_name, &why))
                    }
                }
            }
            Some(Content::Statement(statement)) => statement.clone().bound(),
            _ => Ok(None),
        }
    }

    /// The same with another end; `None` for a handle that travelled alone.
    pub(super) fn renewed(&self, until: Timestamp) -> Option<Sealed> {
        let sealed = self.sealed.clone()?;
        Some(Sealed { expires_at: until.as_micros(), ..sealed })
    }

    /// As [`Opened::renewed`], for one that nothing waits under on this server.
    pub(super) fn may_be_renewed(
        &self,
        server: &FlightSql,
        caller: &Principal,
    ) -> Result<(), Status> {
        let (handle, sealed) = (self.handle, self.sealed.clone());
        Self { handle, sealed }.elsewhere(server, caller, "the result").map(|_| ())
    }
}

impl Sealed {
    fn is_of(&self, server: &FlightSql) -> bool {
        self.server == server.inner.server.id()
    }

    /// As it travels.
    pub(super) fn seal(&self, key: &Key, purpose: Purpose) -> Bytes {
        key.seal(purpose, &self.encode_to_vec()).into()
    }
}

/// A handle to be sealed.
pub(super) struct NewSeal<'a> {
    pub(super) handle: Handle,
    pub(super) owner: &'a Principal,
    pub(super) content: Content,
    /// Whether something waits under the handle on this server.
    pub(super) waits: bool,
}

impl FlightSql {
    /// The error for what only another server can do.
    fn only_there(&self, what: &str, server: &str, why: &str) -> Status {
        // A server that is alone has been that other one, before it was started again.
        if !self.inner.is_shared {
            return handle_status(&HandleError::Unknown);
        }
        refused(format!(
            "{what} waits on the server {server} and on no other: {why}\n\
             hint: ask that server, or let a load balancer keep each client on one server; \
             what waited on a server that has ended is lost"
        ))
    }

    /// The key to seal with: before anything takes effect whose answer is to be sealed.
    pub(super) async fn key(&self) -> Result<Arc<Key>, Status> {
        self.inner.seals.key().await.map_err(|error| seal_status(&error))
    }

    /// A handle as it travels.
    pub(super) fn seal(&self, key: &Key, purpose: Purpose, new: NewSeal<'_>) -> Bytes {
        let NewSeal { handle, owner, content, waits } = new;
        let server = &self.inner.server;
        let lives = match purpose {
            Purpose::Statement => self.inner.statement_ttl,
            _ => self.inner.handle_ttl,
        };
        let sealed = Sealed {
            handle: handle.as_bytes().to_vec(),
            server: if waits { server.id().to_vec() } else { Vec::new() },
            server_name: server.to_string(),
            principal: owner.name().to_owned(),
            expires_at: self.inner.clock.now().plus(lives).as_micros(),
            content: Some(content),
        };
        sealed.seal(key, purpose)
    }

    /// Reads a handle that a client gives back.
    pub(super) async fn open(&self, purpose: Purpose, bytes: &[u8]) -> Result<Opened, Status> {
        if bytes.len() == PLAIN
            && let Some(handle) = Handle::from_bytes(bytes)
        {
            return Ok(Opened { handle, sealed: None });
        }
        let content = self.inner.seals.open(purpose, bytes).await;
        let content = content.map_err(|error| seal_status(&error))?;
        let sealed = Sealed::decode(content).map_err(unreadable)?;
        let handle = Handle::from_bytes(&sealed.handle).ok_or_else(|| unreadable("no handle"))?;
        Ok(Opened { handle, sealed: Some(sealed) })
    }
}

fn seal_status(error: &SealError) -> Status {
    match error {
        // As all look that cannot be used any more.
        SealError::Unknown => handle_status(&HandleError::Unknown),
        SealError::Broken => invalid(format!("the ticket or handle is none: {error}")),
        SealError::Catalog(_) | SealError::Random(_) => {
            compose(error.code(), error.to_string(), None, error)
        }
    }
}
