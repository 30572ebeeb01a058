//! The only way in for a statement: prepare, plan, execute, command.

mod again;
mod answered;
mod checked;
mod execute;
mod for_each_row;
mod kinds;

use std::{collections::HashMap, sync::Arc, time::Duration};

pub use crate::bounds::SessionBounds;
use answered::answered;
use arrow::{
    datatypes::{Schema, SchemaRef},
    record_batch::RecordBatch,
};
pub(crate) use checked::{Checked, Explain, check_query, may_explain};
use datafusion::{
    execution::{SessionState, TaskContext},
    logical_expr::LogicalPlan,
    physical_plan::ExecutionPlan,
};
use dialect::statement::{RightsStatement, Show, Statement};
use futures::{FutureExt, future::BoxFuture, stream::BoxStream};
use kinds::{Runs, asks_the_server, is_planned_by_its_run, is_query, takes_a_turn, validated};
use lake::{Changed, Stage, StageChange, Staged};
use model::{id::QueryId, limits::Limit, name::ObjectName, object::Object, rights::Rights};
use parking_lot::Mutex;
use rt::cpu::CpuRuntime;
use tokio::sync::OnceCell;

use crate::{
    admit::Admission,
    authorize,
    bounds::Bounds,
    care::Care,
    command,
    error::QueryError,
    kept::{KeptPlan, KeptPlans, Tree, is_settled},
    known::Memory,
    log::{self, Kind, QueryLog, QueryToken},
    maintenance::CatalogPins,
    nearest::nearest,
    options::QueriesOptions,
    pause, plan,
    planning::Planners,
    postgres,
    recipe::{OnlyHere, Recipe, Seen},
    reins::Work,
    resolve::{self, Basis, Pins, Purpose, Reads, Resolved, Wanted},
    session::{INCOMING_ROWS, Session},
    spill::SpillFolder,
    untyped,
    upkeep::Watched,
    wire,
};

const CONTROL_THREADS: usize = 2;
/// Threads for each part of a plan that may not pause.
const SPARE_THREADS: usize = 4;

/// Rows on their way.
pub(crate) type Rows = BoxStream<'static, Result<RecordBatch, QueryError>>;

/// Runs statements. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Queries {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: QueriesOptions,
    pub(crate) log: QueryLog,
    admission: Admission,
    pub(crate) care: Care,
    base: SessionState,
    pub(crate) kept: KeptPlans,
    pub(crate) planners: Planners,
    /// What plans that are kept run with.
    task: Arc<TaskContext>,
    /// Plans, and answers what is asked about the server itself: a query that keeps every other
    /// thread busy must not delay a CANCEL.
    control: CpuRuntime,
    /// Runs the plans that may not pause. There are threads to spare, so that the machine's own
    /// scheduler lets the others go on; the same for every plan would cost a tenth of the speed.
    spare: CpuRuntime,
    /// What runs have looked up.
    pub(crate) memory: Arc<Mutex<Memory>>,
    /// Columns of the tables that describe the server: planned once, they never change.
    pub(crate) system_columns: OnceCell<HashMap<ObjectName, SchemaRef>>,
    _spill: SpillFolder,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queries").field("options", &self.options).finish_non_exhaustive()
    }
}

/// A statement that was parsed, resolved and checked. It has had no effect.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) sql: String,
    pub(crate) statement: Arc<Statement>,
    schema: SchemaRef,
    parameters: SchemaRef,
    /// The plan made while preparing, for a statement that runs at once.
    first_plan: Mutex<Option<FirstPlan>>,
}

enum FirstPlan {
    /// It was planned now.
    New(Box<NewPlan>),
    /// It was planned before, of all that was found now.
    Kept { plan: Arc<KeptPlan>, bounds: Bounds },
}

struct NewPlan {
    state: SessionState,
    plan: LogicalPlan,
    parameters: usize,
    bounds: Bounds,
    guessed: bool,
    seen: Seen,
    basis: Option<Basis>,
}

impl From<Checked> for NewPlan {
    fn from(checked: Checked) -> Self {
        let Checked { resolved, plan, parameters, guessed } = checked;
        let Resolved { state, bounds, seen, basis, .. } = resolved;
        Self { state, plan, parameters, bounds, guessed, seen, basis }
    }
}

impl std::fmt::Debug for FirstPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FirstPlan")
    }
}

impl Prepared {
    /// Whether it only reads: then [`Queries::plan`] and [`Queries::execute`] run it. Everything
    /// else takes effect through [`Queries::command`].
    #[must_use]
    pub fn is_query(&self) -> bool {
        is_query(&self.statement)
    }

    /// Columns of the answer under their wire types; none for what is not a query. Binding
    /// parameters can still change a type: the planned query has the last word.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Whether it takes effect at once, also in a transaction.
    #[must_use]
    pub fn takes_effect_alone(&self) -> bool {
        !self.is_query() && command::takes_effect_alone(&self.statement)
    }

    /// The statement as it came.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// Whether its text or its answer holds a secret: a password, or a token.
    #[must_use]
    pub fn has_secret(&self) -> bool {
        matches!(*self.statement, Statement::Rights(RightsStatement::CreateToken { .. }))
            || dialect::without_secrets(&self.sql) != self.sql
    }

    /// The parameters in their order, named `$1`, `$2`, …; text where the statement does not tell.
    #[must_use]
    pub fn parameters(&self) -> SchemaRef {
        Arc::clone(&self.parameters)
    }
}

/// A query pinned to versions and planned, ready to run once.
#[derive(Debug)]
pub struct Planned {
    schema: SchemaRef,
    body: PlanBody,
    bounds: Bounds,
    token: QueryToken,
    recipe: Result<Recipe, OnlyHere>,
}

#[derive(Debug)]
enum PlanBody {
    Physical { plan: Arc<dyn ExecutionPlan>, task: Arc<TaskContext>, runtime: CpuRuntime },
    Rows(RecordBatch),
}

impl Planned {
    /// The schema of every batch that it will yield.
    #[must_use]
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// By what another server can plan it, or why none can.
    pub fn recipe(&self) -> Result<&Recipe, OnlyHere> {
        self.recipe.as_ref().map_err(|only_here| *only_here)
    }

    /// Tells how it ended, for a plan that is not run.
    pub(crate) fn failed(&self, error: &QueryError) {
        self.token.failed(error);
    }

    /// Its id in `system.queries`.
    #[must_use]
    pub fn query_id(&self) -> QueryId {
        self.token.id()
    }
}

/// What a command answered.
#[derive(Debug, Clone)]
pub struct CommandResult {
    /// Columns of the rows; none when there are no rows to show.
    pub schema: SchemaRef,
    /// The rows.
    pub batches: Vec<RecordBatch>,
    /// Rows that a DML statement wrote; 0 for DDL.
    pub rows_affected: i64,
}

impl CommandResult {
    pub(crate) fn done() -> Self {
        Self::affected(0)
    }

    pub(crate) fn affected(rows: u64) -> Self {
        let rows_affected = crate::answer::count(rows);
        Self { schema: Arc::new(Schema::empty()), batches: Vec::new(), rows_affected }
    }

    pub(crate) fn rows(batch: RecordBatch) -> Self {
        Self { schema: batch.schema(), batches: vec![batch], rows_affected: 0 }
    }
}

impl Queries {
    /// Puts the parts together. The spill folder is made here.
    pub fn new(options: QueriesOptions) -> Result<Self, QueryError> {
        let spill = SpillFolder::make(&options.limits.spill_dir)?;
        let env = plan::runtime_env(&options.limits, spill.path())?;
        options.lake.register_stores(&env);
        let catalog = Arc::clone(&options.catalog);
        options.lake.ask_for_pins(Arc::new(CatalogPins { catalog }));
        let base = plan::base_state(&options.limits, env);
        let task = base.task_ctx();
        let limits = &options.limits;
        let admission = Admission::new(
            limits.concurrency,
            limits.queue_max,
            limits.queue_wait,
            Arc::clone(&options.clock),
        );
        let log = QueryLog::new(Arc::clone(&options.clock), options.audit.clone());
        let no_threads = |error| {
            QueryError::Invalid(format!("the threads of the engine cannot be started: {error}"))
        };
        let control = CpuRuntime::new(CONTROL_THREADS).map_err(no_threads)?;
        let spare = CpuRuntime::giving_way(limits.target_partitions.max(1) * SPARE_THREADS);
        let spare = spare.map_err(no_threads)?;
        let system_columns = OnceCell::new();
        let inner = Arc::new(Inner {
            options,
            log,
            care: Care::default(),
            admission,
            base,
            kept: KeptPlans::default(),
            planners: Planners::default(),
            task,
            control,
            spare,
            memory: Arc::default(),
            system_columns,
            _spill: spill,
        });
        inner.options.lake.watch_upkeep(Watched::by(&inner));
        Ok(Self { inner })
    }

    /// Parses, resolves and plans a statement without any effect, to be run later, any number of
    /// times: each run sees the tables at their newest version then.
    pub async fn prepare(&self, session: &Session, sql: &str) -> Result<Prepared, QueryError> {
        let mut prepared = self.prepare_for(session, sql, Runs::Later).await?;
        *prepared.first_plan.get_mut() = None;
        Ok(prepared)
    }

    /// As [`Queries::prepare`], for a statement that runs at once, so that nothing is planned twice: the
    /// first run of a query uses the versions that were found here, and what is wrong with an INSERT,
    /// UPDATE, DELETE or MERGE without parameters is told when it runs.
    pub async fn prepare_now(&self, session: &Session, sql: &str) -> Result<Prepared, QueryError> {
        self.prepare_for(session, sql, Runs::AtOnce).await
    }

    async fn prepare_for(
        &self,
        session: &Session,
        sql: &str,
        runs: Runs,
    ) -> Result<Prepared, QueryError> {
        if let Some(prepared) = self.inner.prepared_before(session, sql).await {
            return Ok(prepared);
        }
        let (inner, caller, text) = (Arc::clone(&self.inner), session.clone(), sql.to_owned());
        let prepared = self.on_control(async move { inner.prepare(&caller, text, runs).await });
        let limits = &self.inner.options.limits;
        let prepared = match limits.statement_timeout {
            Duration::ZERO => prepared.await,
            limit => tokio::select! {
                biased;
                prepared = prepared => prepared,
                () = self.inner.options.clock.sleep(limit) => Err(QueryError::Timeout(limit)),
            },
        };
        if let Err(error) = &prepared {
            let is_read = sql.len() <= self.inner.options.limits.sql_length_max;
            let takes_effect =
                is_read && dialect::parse(sql).is_ok_and(|statement| !is_query(&statement));
            let kind = if takes_effect { Kind::Command } else { Kind::Query };
            self.inner.log.refused(session, kind, sql, error);
        }
        prepared
    }

    /// Pins a query to versions and plans it with its parameters, if it has some: its answer is that to
    /// each row of them, one after the other.
    ///
    /// [`QueryError::Invalid`] for what is not a query, and for the wrong number of parameters.
    pub async fn plan(
        &self,
        session: &Session,
        prepared: &Prepared,
        parameters: Option<&RecordBatch>,
    ) -> Result<Planned, QueryError> {
        let token = self.inner.log.open(session, Kind::Query, &prepared.sql);
        let first_plan = prepared.first_plan.lock().take();
        let first_plan = match first_plan {
            None if parameters.is_none() => self.inner.plan_of_before(session, &prepared.sql).await,
            first_plan => first_plan,
        };
        let first_plan = match first_plan {
            // Parameters of a statement that takes none are refused where it is planned.
            Some(FirstPlan::Kept { .. }) if parameters.is_some() => None,
            Some(FirstPlan::Kept { plan, bounds }) => {
                if let Some(body) = self.inner.again(&plan) {
                    let schema = Arc::clone(&plan.schema);
                    let started_at = self.inner.options.clock.now().as_micros() * 1_000;
                    let recipe = Ok(Recipe { started_at, ..plan.recipe.clone() });
                    return Ok(Planned { schema, body, bounds, token, recipe });
                }
                None
            }
            Some(FirstPlan::New(new)) => Some(*new),
            None => None,
        };
        // Who has no rights is told so by the plan.
        let rights = self.inner.rights(session.principal()).await.ok();
        let _time = rights.and_then(|rights| self.inner.limit_time(&token, &Bounds::of(&rights)));
        let (inner, session) = (Arc::clone(&self.inner), session.clone());
        let (sql, statement) = (prepared.sql.clone(), Arc::clone(&prepared.statement));
        let parameters = parameters.cloned();
        let planning = async move {
            let text = Text { sql, statement };
            inner.plan(&session, text, first_plan, parameters.as_ref()).await
        };
        let planning = self.on_control(planning.boxed());
        let planned = token.reins().unless_ended(planning).await;
        match planned {
            Ok((schema, body, bounds, recipe)) => {
                Ok(Planned { schema, body, bounds, token, recipe })
            }
            Err(error) => {
                token.failed(&error);
                Err(error)
            }
        }
    }

    /// Runs a statement that is not a query; it takes effect exactly once, or not at all when this
    /// returns an error. With several rows of parameters it takes effect once for each, an INSERT of
    /// VALUES in one commit.
    ///
    /// Dropping the future cancels what has not begun to commit; a commit that began is finished.
    pub async fn command(
        &self,
        session: &Session,
        prepared: &Prepared,
        parameters: Option<&RecordBatch>,
    ) -> Result<CommandResult, QueryError> {
        let queries = self.clone();
        let caller = session.clone().without_postgres();
        let statement = Statement::clone(&prepared.statement);
        let parameters = parameters.cloned();
        let turn = takes_a_turn(&statement);
        let work = async move {
            authorize::check(&queries.inner, &caller, &statement).await?;
            command::run_in_transaction(&queries, &caller, statement, parameters.as_ref()).await
        };
        self.effect(session, &prepared.sql, turn, work.boxed()).await
    }

    /// Runs what takes effect, under its text in the log of statements; what computes much
    /// (`turn`) as one of so many, and no longer than a statement may.
    pub(crate) async fn effect(
        &self,
        session: &Session,
        sql: &str,
        turn: bool,
        work: BoxFuture<'static, Result<CommandResult, QueryError>>,
    ) -> Result<CommandResult, QueryError> {
        let token = self.inner.log.open(session, Kind::Command, sql);
        let _guard = self.inner.options.shutdown.guard(format!("statement {}", token.id()));
        let work = async {
            if turn {
                self.in_turn(session, &token, work).await
            } else {
                token.started();
                self.on_control(token.scope(work)).await
            }
        };
        let result = token.reins().unless_ended(work).await;
        match &result {
            Ok(answer) => {
                token.add_rows(usize::try_from(answer.rows_affected).unwrap_or(0));
                token.succeeded();
            }
            Err(error) => token.failed(error),
        }
        result
    }

    async fn in_turn(
        &self,
        session: &Session,
        token: &QueryToken,
        work: BoxFuture<'static, Result<CommandResult, QueryError>>,
    ) -> Result<CommandResult, QueryError> {
        let rights = self.inner.rights(session.principal()).await?;
        let bounds = Bounds::of(&rights);
        let _permit = self.inner.admission.admit(&bounds).await?;
        token.started();
        let _time = self.inner.limit_time(token, &bounds);
        self.on_control(token.scope(work)).await
    }

    /// Bytes of the longest text that is read.
    #[must_use]
    pub fn sql_length_max(&self) -> usize {
        self.inner.options.limits.sql_length_max
    }

    /// Stages a plan's rows where plans run.
    pub(crate) async fn stage(&self, stage: Stage) -> Result<Staged, QueryError> {
        let lake = Arc::clone(&self.inner.options.lake);
        log::watch(|| Work {
            plan: Arc::clone(&stage.plan),
            staged: Some(Arc::clone(&stage.progress)),
        });
        let runtime = self.runtime(&stage.plan).clone();
        let staging = runtime.spawn(async move { lake.stage(stage).await });
        Ok(staging.await??)
    }

    /// As [`Queries::stage`], for a plan that changes rows.
    pub(crate) async fn stage_change(
        &self,
        change: StageChange,
    ) -> Result<(Option<Staged>, Changed), QueryError> {
        let lake = Arc::clone(&self.inner.options.lake);
        log::watch(|| Work {
            plan: Arc::clone(&change.plan),
            staged: Some(Arc::clone(&change.progress)),
        });
        let runtime = self.runtime(&change.plan).clone();
        let staging = runtime.spawn(async move { lake.stage_change(change).await });
        Ok(staging.await??)
    }

    /// Where a plan over stored data is to be run: threads to spare for one that may keep its threads
    /// for long, [`QueriesOptions::cpu`] for any other.
    #[must_use]
    pub fn runtime(&self, plan: &Arc<dyn ExecutionPlan>) -> &CpuRuntime {
        self.inner.runtime_of(plan)
    }

    async fn on_control<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, QueryError>> + Send + 'static,
    ) -> Result<T, QueryError> {
        self.inner.control.spawn(work).await?
    }
}

impl Inner {
    pub(crate) fn runtime_of(&self, plan: &Arc<dyn ExecutionPlan>) -> &CpuRuntime {
        if pause::may_not_pause(plan) { &self.spare } else { &self.options.cpu }
    }

    pub(crate) fn control(&self) -> &CpuRuntime {
        &self.control
    }

    /// A DataFusion session that knows no table yet.
    pub(crate) fn state(&self, default_schema: &str) -> SessionState {
        let mut state = self.base.clone();
        default_schema.clone_into(&mut state.config_mut().options_mut().catalog.default_schema);
        state.mark_start_execution();
        state
    }

    /// The tables of a statement that a client sent, at the versions that its transaction has seen.
    pub(crate) async fn resolve(
        &self,
        session: &Session,
        reads: Reads<'_>,
        purpose: Purpose,
    ) -> Result<Resolved, QueryError> {
        let rights = self.rights(session.principal()).await?;
        let others = match session.postgres() {
            Some(_) => postgres::others(reads.tables),
            None => reads.tables.to_vec(),
        };
        let others = Reads { tables: &others, files: reads.files };
        let mut resolved = loop {
            let pins = match (session.transaction(), session.recipe()) {
                (Some(transaction), _) => transaction.pins()?,
                (None, Some(recipe)) => recipe.pins(),
                (None, None) => Pins::new(),
            };
            let rights = Arc::clone(&rights);
            let wanted = Wanted {
                rights,
                default_schema: session.schema(),
                purpose,
                pins: &pins,
                streams: None,
                known: None,
            };
            let resolved = resolve::resolve(self, others, &wanted).await?;
            match session.transaction() {
                Some(transaction) if !transaction.sees(&resolved)? => {}
                _ => break resolved,
            }
        };
        if let Some(recipe) = session.recipe() {
            let planning = resolved.state.execution_props_mut();
            planning.query_execution_start_time = Some(recipe.time());
        }
        if let Some(client) = session.postgres() {
            postgres::add(self, session, client, reads, &mut resolved).await?;
        }
        if let Some(rows) = session.rows() {
            let rows = rows.table(self.options.limits.target_partitions)?;
            resolved.add(session.schema(), INCOMING_ROWS, rows)?;
        }
        Ok(resolved)
    }

    pub(crate) async fn objects_named(
        &self,
        names: &[ObjectName],
    ) -> Result<Vec<Object>, QueryError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.options.catalog.objects_named(names).await?)
    }

    /// The object of that name, or the error that names the nearest one.
    pub(crate) async fn object_named(
        &self,
        session: &Session,
        name: &ObjectName,
    ) -> Result<Object, QueryError> {
        match self.objects_named(std::slice::from_ref(name)).await?.pop() {
            Some(object) => Ok(object),
            None => Err(self.missing(session, name.clone()).await),
        }
    }

    /// The error for a name that nothing has, as far as the caller can know.
    pub(crate) async fn missing(&self, session: &Session, name: ObjectName) -> QueryError {
        match self.rights(session.principal()).await {
            Ok(rights) => self.not_found(&rights, name).await,
            Err(error) => error,
        }
    }

    /// As [`Inner::missing`], for a caller with these rights.
    pub(crate) async fn not_found(&self, rights: &Rights, name: ObjectName) -> QueryError {
        let known = match self.options.catalog.objects().await {
            Ok(objects) => objects,
            Err(error) => return error.into(),
        };
        let is_hidden = known.iter().any(|object| object.name == name && !rights.sees(object));
        let known = known.iter().filter(|object| rights.sees(object) && object.name != name);
        let nearest = nearest(&name, known.map(|object| &object.name));
        QueryError::TableNotFound { name, nearest, is_hidden }
    }

    async fn prepare(
        &self,
        session: &Session,
        sql: String,
        runs: Runs,
    ) -> Result<Prepared, QueryError> {
        if sql.len() > self.options.limits.sql_length_max {
            return Err(QueryError::Invalid(format!(
                "the statement has {} bytes; at most {} are read (query.sql_length_max)",
                sql.len(),
                self.options.limits.sql_length_max
            )));
        }
        let mut statement = dialect::parse(&sql)?;
        authorize::check(self, session, &statement).await?;
        let mut session = session.clone();
        let mut given = Vec::new();
        if !is_query(&statement) {
            session = session.without_postgres();
        } else if session.postgres().is_some() {
            given = postgres::rewrite(&mut statement)?;
        }
        let session = &session;
        if let Some(batch) = self.rows_of_show(session, &statement).await? {
            return Ok(Prepared {
                sql,
                statement: Arc::new(statement),
                schema: wire::wire_schema(&batch.schema()),
                parameters: Arc::new(Schema::empty()),
                first_plan: Mutex::new(None),
            });
        }
        if let Some(target) = validated(&statement) {
            let plan = command::maintain::validation(self, session, target).await?;
            return Ok(Prepared {
                sql,
                schema: wire::wire_schema(&plan.schema()),
                statement: Arc::new(statement),
                parameters: Arc::new(Schema::empty()),
                first_plan: Mutex::new(None),
            });
        }
        if let Some(schema) = answered(&statement) {
            return Ok(Prepared {
                sql,
                statement: Arc::new(statement),
                schema: wire::wire_schema(&schema),
                parameters: Arc::new(Schema::empty()),
                first_plan: Mutex::new(None),
            });
        }
        let checked = match runs {
            Runs::AtOnce if is_planned_by_its_run(&statement) => None,
            Runs::AtOnce | Runs::Later => command::check(self, session, &statement).await?,
        };
        let (first_plan, schema, parameters) = match checked {
            None => (None, Arc::new(Schema::empty()), Arc::new(Schema::empty())),
            Some(checked) => {
                let parameters = plan::parameters(&checked.plan, checked.parameters)?;
                let parameters = postgres::types::with_given(parameters, &given);
                let schema = wire::wire_schema(checked.plan.schema().as_arrow());
                if is_query(&statement) {
                    let first_plan = FirstPlan::New(Box::new(checked.into()));
                    (Some(first_plan), schema, parameters)
                } else {
                    (None, Arc::new(Schema::empty()), parameters)
                }
            }
        };
        let (statement, first_plan) = (Arc::new(statement), Mutex::new(first_plan));
        Ok(Prepared { sql, statement, schema, parameters, first_plan })
    }

    async fn plan(
        &self,
        session: &Session,
        text: Text,
        first_plan: Option<NewPlan>,
        parameters: Option<&RecordBatch>,
    ) -> Result<(SchemaRef, PlanBody, Bounds, Result<Recipe, OnlyHere>), QueryError> {
        let Text { sql, statement: text } = text;
        let statement = &*text;
        if !is_query(statement) {
            return Err(QueryError::Invalid("the statement is not a query".to_owned()));
        }
        if first_plan.is_none() {
            // Rights may be others than when it was prepared.
            authorize::check(self, session, statement).await?;
        }
        if let Some(batch) = self.rows_of_show(session, statement).await? {
            let schema = wire::wire_schema(&batch.schema());
            let batch = wire::to_wire(&batch, &schema)?;
            let recipe = Seen::default().recipe(session, sql, None, &schema);
            return Ok((schema, PlanBody::Rows(batch), Bounds::default(), recipe));
        }
        if let Some(target) = validated(statement) {
            let plan = command::maintain::validation(self, session, target).await?;
            let schema = wire::wire_schema(&plan.schema());
            let task = self.state(session.schema()).task_ctx();
            let runtime = self.options.cpu.clone();
            let body = PlanBody::Physical { plan, task, runtime };
            return Ok((schema, body, Bounds::default(), Err(OnlyHere::Validates)));
        }
        let first_plan = match first_plan {
            Some(first_plan) => first_plan,
            None => {
                let checked = command::check(self, session, statement).await?;
                let Some(checked) = checked else {
                    return Err(QueryError::Invalid("the statement is not a query".to_owned()));
                };
                checked.into()
            }
        };
        let NewPlan { state, mut plan, parameters: wanted, bounds, guessed, seen, basis } =
            first_plan;
        let rows = for_each_row::rows(parameters)?;
        if let (Statement::Query(query), Some(bound)) = (statement, parameters)
            && query.parameters > 0
            && let Some(query) = untyped::as_bound(query, &plan, guessed, bound)?
        {
            plan = plan::logical(&state, &query).await?;
        }
        // With less memory than others it runs in a place of its own.
        let may_be_kept = matches!(statement, Statement::Query(query) if query.parameters == 0)
            && KeptPlans::are_for(session)
            && bounds.least(Limit::Memory).is_none();
        let mut is_settled_for_all = true;
        let mut plans = Vec::with_capacity(rows.len());
        for row in rows {
            let bound = plan::as_it_travels(plan::bind(plan.clone(), wanted, row)?)?;
            is_settled_for_all &= is_settled(&bound)?;
            plans.push(plan::physical(&state, &bound).await?);
        }
        let basis = if may_be_kept && is_settled_for_all { basis } else { None };
        let physical = for_each_row::one_after_another(plans)?;
        let schema = wire::wire_schema(&physical.schema());
        let runtime =
            if asks_the_server(statement) { &self.control } else { self.runtime_of(&physical) };
        let runtime = runtime.clone();
        let started_at = state.execution_props().query_execution_start_time;
        let recipe = seen.recipe(session, sql, started_at, &schema);
        if let (Some(basis), Ok(recipe)) = (basis, &recipe)
            && let Some(plan) = Tree::of(&physical)
        {
            let (schema, recipe, runtime) = (Arc::clone(&schema), recipe.clone(), runtime.clone());
            let kept = KeptPlan { statement: text, basis, schema, recipe, runtime, plan };
            self.kept.keep(session, kept);
        }
        let body = PlanBody::Physical { plan: physical, task: state.task_ctx(), runtime };
        Ok((schema, body, bounds, recipe))
    }

    async fn rows_of_show(
        &self,
        session: &Session,
        statement: &Statement,
    ) -> Result<Option<RecordBatch>, QueryError> {
        match statement {
            Statement::Show(Show::Setting { .. }) => Ok(None),
            Statement::Show(show) => Ok(Some(command::show::rows(self, session, show).await?)),
            _ => Ok(None),
        }
    }
}

/// A statement, as it came and as it was read.
struct Text {
    sql: String,
    statement: Arc<Statement>,
}
