//! One connection after its login: messages in, answers out, one statement at a time.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use arrow::{array::StringArray, datatypes::SchemaRef, record_batch::RecordBatch};
use futures::FutureExt;
use model::principal::Principal;
use pgwire::messages::{
    PgWireBackendMessage, PgWireFrontendMessage,
    response::{CommandComplete, ReadyForQuery, TransactionStatus},
};
use query::{
    postgres::PostgresClient,
    queries::{Planned, Prepared},
    transaction::Transaction,
};

use super::{
    Shared,
    cancel::Seat,
    copy::{self, CopyStatement, Direction, Receive, Source},
    encode::Format,
    error::PgError,
    idle::{Idle, Open},
    own::{Mode, Own},
    places::Place,
    portal::{Body, Portal, Run, Statement, shown},
    rows::{Rows, Sent},
    settings::{Changed, SERVER_VERSION, Settings},
    startup::{Login, report},
    wire::{Lost, Reader, Received, Writer},
};

/// What a session has of the server's, as long as it is there.
pub(super) struct Stay {
    pub(super) place: Place,
    pub(super) idle: Idle,
}

/// What comes after a message was answered.
#[derive(Debug)]
pub(super) enum Next {
    /// The next message.
    Go,
    /// The rows of a COPY.
    Receive(Box<Receive>),
}

/// Whether a client has opened a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    None,
    Open,
    /// Something failed in it: it has to end first.
    Failed,
}

/// What belongs to a block until it ends.
struct Begun {
    transaction: Arc<Transaction>,
    isolation: Mode,
    /// What it says of itself; else the session does.
    read_only: Option<bool>,
    savepoints: Vec<Savepoint>,
}

/// Where a block can go back to.
struct Savepoint {
    name: String,
    /// Portals and cursors that there were.
    portals: HashSet<String>,
    /// Writes that waited.
    waiting: usize,
}

/// What a session knows and holds.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) statements: HashMap<String, Arc<Statement>>,
    pub(super) portals: HashMap<String, Portal>,
    principal: Principal,
    client: Arc<str>,
    settings: Settings,
    caller: query::session::Session,
    block: Block,
    begun: Option<Begun>,
    seat: Arc<Seat>,
    wires: Option<(Reader, Writer)>,
    idle: Idle,
    _place: Place,
}

/// How the wait for a message ended.
enum Waited {
    Received(Received),
    Lost(Lost),
    Over(PgError),
}

impl Session {
    pub(super) fn new(
        shared: Arc<Shared>,
        login: Login,
        seat: Seat,
        wires: (Reader, Writer),
        stay: Stay,
    ) -> Self {
        let Stay { place, idle } = stay;
        let Login { principal, client, settings } = login;
        let mut session = Self {
            shared,
            statements: HashMap::new(),
            portals: HashMap::new(),
            caller: query::session::Session::new(principal.clone()),
            principal,
            client: client.into(),
            settings,
            block: Block::None,
            begun: None,
            seat: Arc::new(seat),
            wires: Some(wires),
            idle,
            _place: place,
        };
        session.renew_caller();
        session
    }

    /// Answers until the client goes away, or has to.
    pub(super) async fn run(mut self) {
        let Some((mut reader, mut writer)) = self.wires.take() else { return };
        // After a mistake in the extended protocol, everything up to the next Sync is passed over.
        let mut skipping = false;
        loop {
            let received = match self.wait(&mut reader).await {
                Waited::Received(received) => received,
                Waited::Lost(Lost::Gone) => return,
                Waited::Lost(Lost::Broken(error)) | Waited::Over(error) => {
                    writer.fatal(&error);
                    return writer.close().await;
                }
            };
            let (message, is_extended) = match received {
                Received::Message(PgWireFrontendMessage::Terminate(_)) => return,
                Received::Message(message) => {
                    let is_extended = message.is_extended_query();
                    (Ok(message), is_extended)
                }
                Received::Refused { error, is_extended } => (Err(error), is_extended),
            };
            let is_sync = matches!(message, Ok(PgWireFrontendMessage::Sync(_)));
            if skipping && !is_sync {
                continue;
            }
            skipping = false;
            let answered = match message {
                Ok(message) => self.answered(message, &mut reader, &mut writer).await,
                Err(error) => Err(error),
            };
            let answered = match answered {
                Ok(Next::Go) => Ok(()),
                Ok(Next::Receive(receive)) => {
                    match self.receive(*receive, &mut reader, &mut writer).await {
                        Ok(received) => received,
                        Err(Lost::Gone) => return,
                        Err(Lost::Broken(error)) => {
                            writer.fatal(&error);
                            return writer.close().await;
                        }
                    }
                    .map(|()| {
                        if !is_extended {
                            self.put_ready(&mut writer);
                        }
                    })
                }
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                if error.is_gone() {
                    return;
                }
                if self.block == Block::Open {
                    self.block = Block::Failed;
                }
                writer.error(&error);
                if is_extended && !is_sync {
                    skipping = true;
                } else {
                    self.put_ready(&mut writer);
                }
            }
            // Several messages are answered together; the last one of them asks for it.
            if (!is_extended || is_sync || skipping) && writer.flush().await.is_err() {
                return;
            }
        }
    }

    /// The next message, unless the server stops or the client sleeps.
    async fn wait(&self, reader: &mut Reader) -> Waited {
        let stop = self.shared.shutdown.token();
        let half_read = self.portals.values().any(|portal| matches!(portal.run, Run::Running(_)));
        let limit = self.idle.limit(Open { half_read, block: self.block != Block::None });
        let asleep = async {
            match limit {
                Some((limit, error)) => {
                    self.shared.clock.sleep(limit).await;
                    error
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            message = reader.next() => match message {
                Ok(received) => Waited::Received(received),
                Err(lost) => Waited::Lost(lost),
            },
            () = stop.cancelled() => {
                Waited::Over(PgError::new("57P01", "the server is shutting down"))
            }
            error = asleep => Waited::Over(error),
        }
    }

    /// Answers one message, unless somebody or something ends it before.
    async fn answered(
        &mut self,
        message: PgWireFrontendMessage,
        reader: &mut Reader,
        writer: &mut Writer,
    ) -> Result<Next, PgError> {
        let limit = self.settings.statement_timeout;
        let late = self.late(limit);
        let seat = Arc::clone(&self.seat);
        let cancelled = seat.begin();
        let answered = tokio::select! {
            biased;
            answered = self.answer(message, writer) => answered,
            () = cancelled.cancelled() => Err(PgError::cancelled()),
            () = reader.gone() => Err(PgError::gone()),
            () = late => Err(timeout(limit)),
        };
        seat.end();
        answered
    }

    fn late(&self, limit: Option<Duration>) -> futures::future::BoxFuture<'static, ()> {
        match limit {
            Some(limit) => self.shared.clock.sleep(limit),
            None => std::future::pending().boxed(),
        }
    }

    async fn receive(
        &mut self,
        receive: Receive,
        reader: &mut Reader,
        writer: &mut Writer,
    ) -> Result<Result<(), PgError>, Lost> {
        let announced = receive.announce(writer);
        if let Err(error) = announced {
            return Ok(Err(error));
        }
        writer.flush().await.map_err(|_| Lost::Gone)?;
        let limit = self.settings.statement_timeout;
        let late = self.late(limit);
        let cancelled = self.seat.begin();
        let written = tokio::select! {
            biased;
            written = receive.run(&self.shared.queries, &self.caller, reader) => written?,
            () = cancelled.cancelled() => Err(PgError::cancelled()),
            () = late => Err(timeout(limit)),
        };
        self.seat.end();
        Ok(written.map(|rows| self.complete(writer, format!("COPY {rows}"))))
    }

    async fn answer(
        &mut self,
        message: PgWireFrontendMessage,
        writer: &mut Writer,
    ) -> Result<Next, PgError> {
        match message {
            PgWireFrontendMessage::Query(query) => return self.simple(&query.query, writer).await,
            PgWireFrontendMessage::Parse(parse) => self.parse(parse, writer).await?,
            PgWireFrontendMessage::Bind(bind) => self.bind(bind, writer).await?,
            PgWireFrontendMessage::Describe(describe) => self.describe(&describe, writer)?,
            PgWireFrontendMessage::Execute(execute) => return self.execute(execute, writer).await,
            PgWireFrontendMessage::Close(close) => self.close(&close, writer)?,
            PgWireFrontendMessage::Flush(_) => writer.flush().await?,
            PgWireFrontendMessage::Sync(_) => {
                if self.block == Block::None {
                    self.portals.clear();
                }
                self.put_ready(writer);
            }
            // What is left of a COPY that failed.
            PgWireFrontendMessage::CopyData(_)
            | PgWireFrontendMessage::CopyDone(_)
            | PgWireFrontendMessage::CopyFail(_) => {}
            _ => return Err(PgError::protocol("this message makes no sense here")),
        }
        Ok(Next::Go)
    }

    /// Whether the statement may run now; `None` for one of the engine.
    pub(super) fn allow(&self, own: Option<&Own>) -> Result<(), PgError> {
        let ends = matches!(own, Some(Own::Commit | Own::Rollback | Own::RollbackTo(_)));
        if self.block != Block::Failed || ends {
            return Ok(());
        }
        Err(PgError::new("25P02", "a statement of this block failed; nothing runs before it ends")
            .with_hint("send ROLLBACK"))
    }

    /// Whether something may take effect.
    pub(super) fn may_write(&self) -> Result<(), PgError> {
        let of_block = self.begun.as_ref().and_then(|begun| begun.read_only);
        match of_block.unwrap_or(self.settings.read_only) {
            true => Err(PgError::new("25006", "the transaction is read only")),
            false => Ok(()),
        }
    }

    /// Tells a client in a block of what its ROLLBACK would not undo.
    pub(super) fn warn_of_effect(&self, prepared: &Prepared, writer: &mut Writer) {
        if self.block != Block::None && prepared.takes_effect_alone() {
            let text = "this statement took effect at once: ROLLBACK does not undo it";
            writer.warning(&PgError::new("01000", text));
        }
    }

    /// On whose behalf statements run, as things are now.
    pub(super) fn caller(&self) -> query::session::Session {
        self.caller.clone()
    }

    fn renew_caller(&mut self) {
        let caller = self.outside();
        self.caller = match &self.begun {
            Some(begun) => caller.with_transaction(Arc::clone(&begun.transaction)),
            None => caller,
        };
    }

    /// The caller without its transaction.
    fn outside(&self) -> query::session::Session {
        let client = PostgresClient {
            pid: self.seat.pid,
            version: format!(
                "PostgreSQL {SERVER_VERSION} (Whimbrel {}) on Delta Lake",
                self.shared.version
            ),
            settings: self.settings.all(),
        };
        query::session::Session::new(self.principal.clone())
            .with_client(Some(Arc::clone(&self.client)))
            .with_schema(self.settings.schema.clone())
            .for_postgres(Arc::new(client))
    }

    pub(super) fn complete(&self, writer: &mut Writer, tag: String) {
        writer.put(PgWireBackendMessage::CommandComplete(CommandComplete::new(tag)));
    }

    pub(super) async fn ready(&self, writer: &mut Writer) -> Result<(), PgError> {
        self.put_ready(writer);
        writer.flush().await
    }

    fn put_ready(&self, writer: &mut Writer) {
        let status = match self.block {
            Block::None => TransactionStatus::Idle,
            Block::Open => TransactionStatus::Transaction,
            Block::Failed => TransactionStatus::Error,
        };
        writer.put(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status)));
    }

    /// The columns that a statement about the session answers with.
    pub(super) fn schema_of(&self, own: &Own) -> Option<SchemaRef> {
        match own {
            Own::Show(key) => Some(shown(key)),
            Own::Fetch { name, .. } => self.portals.get(name).map(Portal::schema),
            Own::Execute { name, .. } => match &self.statements.get(name)?.body {
                Body::Engine(prepared) if prepared.is_query() => Some(prepared.schema()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Opens a cursor over a planned query.
    pub(super) async fn declare(
        &mut self,
        name: String,
        planned: Box<Planned>,
        told: SchemaRef,
    ) -> Result<(), PgError> {
        if self.block == Block::None {
            return Err(PgError::new("25P01", "DECLARE needs a block: a cursor ends with it")
                .with_hint("send BEGIN first"));
        }
        if self.portals.contains_key(&name) {
            return Err(PgError::new("42P03", format!("there is a cursor '{name}' already")));
        }
        self.room_for_portal()?;
        let stream = self.shared.queries.execute(*planned).await?;
        let statement = Statement {
            sql: String::new(),
            body: Body::Empty,
            parameters: Vec::new(),
            given: Vec::new(),
            described: false.into(),
        };
        let rows = Rows::of_query(stream, told);
        self.portals.insert(name, Portal::cursor(Arc::new(statement), rows));
        Ok(())
    }

    /// Runs a statement about the session.
    pub(super) async fn own(
        &mut self,
        own: Own,
        formats: &[Format],
        writer: &mut Writer,
    ) -> Result<Next, PgError> {
        let tag = match own {
            Own::Begin(modes) => {
                if self.block == Block::None {
                    self.begin(&modes)?;
                } else {
                    writer.warning(&PgError::new("25001", "there is a block already"));
                }
                "BEGIN".to_owned()
            }
            Own::Commit => self.end_block(End::Commit, writer).await?,
            Own::Rollback => self.end_block(End::Rollback, writer).await?,
            Own::Savepoint(name) => {
                let portals = self.portals.keys().cloned().collect();
                let begun = self.begun("SAVEPOINT")?;
                let waiting = begun.transaction.waiting();
                begun.savepoints.push(Savepoint { name, portals, waiting });
                "SAVEPOINT".to_owned()
            }
            Own::Release(name) => {
                let begun = self.begun("RELEASE")?;
                let at = begun.savepoint(&name)?;
                begun.savepoints.truncate(at);
                "RELEASE".to_owned()
            }
            Own::RollbackTo(name) => {
                self.back_to(&name)?;
                "ROLLBACK".to_owned()
            }
            Own::Transaction(modes) => {
                match self.begun("SET TRANSACTION") {
                    Ok(begun) => begun.set(&modes)?,
                    Err(outside) => writer.warning(&outside),
                }
                self.renew_caller();
                "SET".to_owned()
            }
            Own::Characteristics(modes) => {
                for mode in modes {
                    let (key, value) = match mode {
                        Mode::ReadOnly => ("default_transaction_read_only", "on"),
                        Mode::ReadWrite => ("default_transaction_read_only", "off"),
                        isolation => ("default_transaction_isolation", isolation.as_sql()),
                    };
                    let set = self.settings.set(key, &[value.to_owned()]);
                    self.changed(set?, writer);
                }
                "SET".to_owned()
            }
            Own::Set { key, values } => {
                let changed = self.settings.set(&key, &values)?;
                self.changed(changed, writer);
                "SET".to_owned()
            }
            Own::Reset(Some(key)) => {
                let changed = self.settings.reset(&key)?;
                self.changed(changed, writer);
                "RESET".to_owned()
            }
            Own::Reset(None) => {
                self.reset_all(writer);
                "RESET".to_owned()
            }
            Own::Show(key) => {
                let value = match &self.begun {
                    Some(begun) if key == "transaction_isolation" => {
                        begun.isolation.as_sql().to_owned()
                    }
                    _ => self.settings.get(&key).unwrap_or_default(),
                };
                let column = Arc::new(StringArray::from(vec![value]));
                let batch = RecordBatch::try_new(shown(&key), vec![column])
                    .map_err(|error| PgError::new("XX000", error.to_string()))?;
                let mut rows = Rows::of_batches(batch.schema(), vec![batch]);
                rows.send(writer, formats, None).await?;
                "SHOW".to_owned()
            }
            Own::Discard { all } => {
                if all {
                    if self.block != Block::None {
                        let text = "DISCARD ALL cannot run in a block";
                        return Err(PgError::new("25001", text));
                    }
                    self.statements.clear();
                    self.portals.clear();
                    self.reset_all(writer);
                }
                if all { "DISCARD ALL" } else { "DISCARD" }.to_owned()
            }
            Own::Prepare { name, types, query } => {
                self.prepare_text(name, types, query).await?;
                "PREPARE".to_owned()
            }
            Own::Execute { name, arguments } => {
                return self.execute_text(&name, &arguments, (formats, writer)).await;
            }
            Own::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL".to_owned()
            }
            Own::Deallocate(Some(name)) => {
                if self.statements.remove(&name).is_none() {
                    let text = format!("there is no prepared statement '{name}'");
                    return Err(PgError::new("26000", text));
                }
                "DEALLOCATE".to_owned()
            }
            Own::Declare { .. } => {
                return Err(PgError::new("XX000", "a cursor was declared without its query"));
            }
            Own::Fetch { name, rows } => {
                let fetched = self.fetch(&name, rows, formats, writer).await?;
                format!("FETCH {fetched}")
            }
            Own::Close(None) => {
                self.portals.clear();
                "CLOSE CURSOR ALL".to_owned()
            }
            Own::Close(Some(name)) => {
                if self.portals.remove(&name).is_none() {
                    return Err(PgError::new("34000", format!("there is no cursor '{name}'")));
                }
                "CLOSE CURSOR".to_owned()
            }
            Own::Unlisten => "UNLISTEN".to_owned(),
            Own::Copy(statement) => return self.copy(*statement, writer).await,
        };
        self.complete(writer, tag);
        Ok(Next::Go)
    }

    async fn fetch(
        &mut self,
        name: &str,
        limit: Option<usize>,
        formats: &[Format],
        writer: &mut Writer,
    ) -> Result<u64, PgError> {
        let missing = || PgError::new("34000", format!("there is no cursor '{name}'"));
        let portal = self.portals.get_mut(name).ok_or_else(missing)?;
        let Run::Running(rows) = &mut portal.run else { return Err(missing()) };
        let before = rows.total();
        match rows.send(writer, formats, limit).await? {
            Sent::All | Sent::Some => Ok(rows.total() - before),
        }
    }

    async fn copy(
        &mut self,
        statement: CopyStatement,
        writer: &mut Writer,
    ) -> Result<Next, PgError> {
        let caller = self.caller();
        let queries = &self.shared.queries;
        let sql = statement.query();
        if statement.direction == Direction::In {
            self.may_write()?;
            // Only its columns are wanted: the block may have written to it.
            let schema = queries.prepare(&self.outside(), &sql).await?.schema();
            let Source::Table { name: table, .. } = statement.from else {
                return Err(PgError::syntax("COPY FROM needs a table and not a query"));
            };
            let layout = statement.layout;
            return Ok(Next::Receive(Box::new(Receive { table, schema, layout })));
        }
        let prepared = queries.prepare_now(&caller, &sql).await?;
        if !prepared.is_query() {
            return Err(PgError::syntax("COPY … TO needs a query"));
        }
        let planned = queries.plan(&caller, &prepared, None).await?;
        let told = planned.schema();
        let mut rows = Rows::of_query(queries.execute(planned).await?, told);
        let sent = copy::send(&mut rows, &statement.layout, writer).await?;
        self.complete(writer, format!("COPY {sent}"));
        Ok(Next::Go)
    }

    fn begun(&mut self, what: &str) -> Result<&mut Begun, PgError> {
        let outside = || PgError::new("25P01", format!("{what} is for a block only"));
        self.begun.as_mut().ok_or_else(outside)
    }

    fn begin(&mut self, modes: &[Mode]) -> Result<(), PgError> {
        let isolation = match self.settings.get("default_transaction_isolation").as_deref() {
            Some("repeatable read") => Mode::Repeatable,
            _ => Mode::Committed,
        };
        let mut begun = Begun {
            transaction: transaction(isolation)?,
            isolation,
            read_only: None,
            savepoints: Vec::new(),
        };
        begun.set(modes)?;
        self.begun = Some(begun);
        self.block = Block::Open;
        self.renew_caller();
        Ok(())
    }

    /// Takes back what came after a savepoint: what was written, cursors, and an error.
    fn back_to(&mut self, name: &str) -> Result<(), PgError> {
        let begun = self.begun("ROLLBACK TO")?;
        let at = begun.savepoint(name)?;
        begun.savepoints.truncate(at + 1);
        if let Some(Savepoint { portals, waiting, .. }) = begun.savepoints.last() {
            begun.transaction.take_back(*waiting);
            let kept = portals.clone();
            self.portals.retain(|name, _| kept.contains(name));
        }
        self.block = Block::Open;
        Ok(())
    }

    /// The block is over, whatever this returns.
    async fn end_block(&mut self, end: End, writer: &mut Writer) -> Result<String, PgError> {
        // A block in which something failed can only end in one way.
        let end = if self.block == Block::Failed { End::Rollback } else { end };
        if self.block == Block::None {
            writer.warning(&PgError::new("25P01", "there is no block to end"));
        }
        self.block = Block::None;
        self.portals.clear();
        let begun = self.begun.take();
        self.renew_caller();
        let queries = &self.shared.queries;
        // Most blocks only read, and nobody needs to hear of their end.
        if let Some(Begun { transaction, .. }) = begun.filter(|b| b.transaction.waiting() > 0) {
            match end {
                End::Commit => queries.commit(&self.caller, &transaction).await?,
                End::Rollback => queries.rollback(&self.caller, &transaction).await?,
            };
        }
        Ok(match end {
            End::Commit => "COMMIT",
            End::Rollback => "ROLLBACK",
        }
        .to_owned())
    }

    fn changed(&mut self, changed: Changed, writer: &mut Writer) {
        if let Some(warning) = changed.warning {
            writer.warning(&warning);
        }
        if let Some(name) = changed.report {
            report(writer, &self.settings, name);
        }
        self.renew_caller();
    }

    fn reset_all(&mut self, writer: &mut Writer) {
        for name in self.settings.reset_all() {
            report(writer, &self.settings, name);
        }
        self.renew_caller();
    }
}

/// How a block is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Commit,
    Rollback,
}

impl Begun {
    fn savepoint(&self, name: &str) -> Result<usize, PgError> {
        let at = self.savepoints.iter().rposition(|savepoint| savepoint.name == name);
        at.ok_or_else(|| PgError::new("3B001", format!("there is no savepoint '{name}'")))
    }

    fn set(&mut self, modes: &[Mode]) -> Result<(), PgError> {
        for mode in modes {
            match mode {
                Mode::ReadOnly => self.read_only = Some(true),
                Mode::ReadWrite => self.read_only = Some(false),
                isolation if self.transaction.waiting() > 0 => {
                    let text = format!(
                        "the isolation level cannot become {} after something was written",
                        isolation.as_sql()
                    );
                    return Err(PgError::new("25001", text));
                }
                isolation => {
                    self.transaction = transaction(*isolation)?;
                    self.isolation = *isolation;
                }
            }
        }
        Ok(())
    }
}

fn transaction(isolation: Mode) -> Result<Arc<Transaction>, PgError> {
    match isolation {
        Mode::Repeatable => Ok(Transaction::begin()),
        // One that promises more than it keeps would be a lie.
        Mode::Serializable => {
            Err(PgError::unsupported("there is no isolation level above REPEATABLE READ"))
        }
        Mode::Committed | Mode::ReadOnly | Mode::ReadWrite => {
            Ok(Transaction::begin_reading_the_newest())
        }
    }
}

fn timeout(limit: Option<Duration>) -> PgError {
    let limit = limit.unwrap_or_default();
    PgError::new(
        "57014",
        format!("the statement ran longer than its statement_timeout of {limit:?}"),
    )
}
