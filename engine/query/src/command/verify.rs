//! VERIFY: whether what a materialized view, or a table with AUTO CDC, has stored is what its query says.
//!
//! The query is computed once more over the versions that the last run has read, and compared with
//! the rows that are there: by one hash of all rows, and only where that is another one by the rows.
//! Of a table whose partitions stand for different versions only those are compared that the last
//! runs have computed from the same ones. Nothing is written.

mod at_run;

use std::{collections::HashMap, error::Error, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Int64Type, SchemaRef},
};
use catalog::jobs::JobFilter;
use datafusion::{
    catalog::default_table_source::DefaultTableSource,
    common::Column,
    execution::SessionState,
    functions_aggregate::{count::count_all, expr_fn::sum},
    logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit},
    physical_plan::{execute_stream, execution_plan::collect},
};
use dialect::statement::{NameParts, Percent, Wait};
use futures::StreamExt;
use lake::{At, LakeError, RowHasher, RowsHash, Snapshot};
use model::{
    code::Code,
    id::RunId,
    job::{JobState, PinnedInput, Run},
    name::ObjectName,
    object::Object,
    principal::Principal,
    report::PartResult,
    rights::{Privilege, Rights},
    transform::{Expectation, KeyKind, OnViolation, Transform},
    work::JobKind,
};

pub(crate) use self::at_run::other_files;
use super::tables::wrong_kind;
use crate::{
    answer::{Answer, count},
    definition,
    error::QueryError,
    expect::{Gate, Quarantining, watched},
    incremental::{app_id, is_mixed},
    numbers, plan,
    queries::{CommandResult, Inner, Queries},
    sampling::Sample,
    session::Session,
};

/// Rows that are shown where some differ.
const SHOWN: usize = 5;
const WEIGHT: &str = "@weight";
/// Refreshes of the view that are looked at, the newest ones.
const JOBS_MAX: u32 = 1_000;
/// Refreshes of parts that are compared together.
const PARTS_MAX: usize = 50;

/// A VERIFY as it was said.
pub(super) struct Verify {
    /// The transform.
    pub(super) name: NameParts,
    /// The run whose result is compared; the newest result where none was said.
    pub(super) run: Option<String>,
    /// How much of it.
    pub(super) sample: Option<Percent>,
    /// When to answer.
    pub(super) wait: Wait,
}

pub(super) async fn run(
    queries: &Queries,
    session: &Session,
    verify: Verify,
) -> Result<CommandResult, QueryError> {
    let Verify { name, run, sample, wait } = verify;
    if !matches!(wait, Wait::ForTheEnd { timeout_ms: None }) {
        return Err(QueryError::Unsupported(
            "VERIFY is no job: it computes while its statement runs, and answers when it is through; leave \
             ASYNC and TIMEOUT out"
                .to_owned(),
        ));
    }
    let inner = &queries.inner;
    let name = ObjectName::from_parts(&name, session.schema())?;
    let object = inner.object_named(session, &name).await?;
    let rights = inner.rights(session.principal()).await?;
    let view = match (object.computed(), object.transform()) {
        (Some(view), _) => view,
        (None, Some(_)) => {
            return Err(QueryError::Unsupported(format!(
                "VERIFY {name}: a streaming table keeps what it has read once, and its query over the \
                 rows of now says nothing about it; materialized views can be verified, and tables \
                 with AUTO CDC"
            )));
        }
        (None, None) => {
            return Err(wrong_kind(
                &object,
                "and only materialized views and tables with AUTO CDC can be verified",
            ));
        }
    };
    if let Some(run) = run {
        let verified = at_run::verified(inner, &rights, (&object, view), &run, sample).await?;
        let told = verified.told(&object, shows_rows(&rights, &object));
        return Ok(CommandResult::rows(answer(Some(&told))));
    }
    if let Some(unknown) = redefined(inner, &object, view).await? {
        return Ok(CommandResult::rows(answer(Some(&unknown))));
    }
    if let Some(unknown) = read_others(inner, &object, view).await? {
        return Ok(CommandResult::rows(answer(Some(&unknown))));
    }
    let verified =
        inner.verified(&object, view, sample).await.map_err(|error| files_gone(error, &object))?;
    if verified.differing.is_some() && committed_meanwhile(inner, &object, view, &verified).await? {
        let note = "a refresh of it has committed just now: VERIFY again once its job has ended";
        let unknown = Told::unknown(&object, verified.version, note.to_owned());
        return Ok(CommandResult::rows(answer(Some(&unknown))));
    }
    let told = verified.told(&object, shows_rows(&rights, &object));
    Ok(CommandResult::rows(answer(Some(&told))))
}

/// The error of a comparison, told as what it mostly is where a file is not there.
fn files_gone(error: QueryError, object: &Object) -> QueryError {
    if error.code() != Code::DataLoss && !says_vacuumed(&error) {
        return error;
    }
    let name = object.name.to_sql();
    QueryError::Refused {
        problem: format!(
            "VERIFY {name}: it cannot be computed once more, since files of the versions that the last \
             run has read are gone, as after a VACUUM of what it reads: {error}"
        ),
        hint: format!("REFRESH {} {name} FULL, and VERIFY then", object.kind().as_sql()),
    }
}

/// Whether an error is about a file of an older version that VACUUM has deleted.
fn says_vacuumed(error: &QueryError) -> bool {
    is_below(error, |error| matches!(error, LakeError::FileGone { .. }))
}

/// Whether an error is about something of an older version that is not there.
fn says_gone(error: &QueryError) -> bool {
    error.code() == Code::DataLoss || is_below(error, at_run::is_gone)
}

fn is_below(error: &QueryError, is_it: impl Fn(&LakeError) -> bool) -> bool {
    let mut below: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = below {
        if error.downcast_ref::<LakeError>().is_some_and(&is_it) {
            return true;
        }
        below = error.source();
    }
    false
}

/// What is said of a view that another definition made than it has now: its query and its rows need not
/// agree, so nothing is compared.
async fn redefined(
    inner: &Inner,
    object: &Object,
    view: &Transform,
) -> Result<Option<Told>, QueryError> {
    let catalog = inner.options.catalog.as_ref();
    let not_refreshed = || QueryError::NotRefreshed(object.name.clone());
    let last = catalog.last_refresh(object.id).await?.ok_or_else(not_refreshed)?;
    if last.definition_hash == definition::hash(catalog, catalog, &object.owner, view).await? {
        return Ok(None);
    }
    let (kind, name) = (object.kind().as_sql(), object.name.to_sql());
    let note = format!(
        "'{}' was redefined after its last refresh: its rows are those of the definition before, and \
         there is nothing to compare them with; REFRESH {kind} {name} computes all anew",
        object.name
    );
    Ok(Some(Told::unknown(object, last.output_version, note)))
}

/// What is said of a view over plain files that are others now: what was read cannot be read again.
async fn read_others(
    inner: &Inner,
    object: &Object,
    view: &Transform,
) -> Result<Option<Told>, QueryError> {
    let Some(last) = inner.options.catalog.last_refresh(object.id).await? else { return Ok(None) };
    let Some(name) = other_files(inner, &last.inputs).await? else { return Ok(None) };
    let table = inner.options.lake.snapshot(&view.location, At::Latest).await?;
    let note = format!(
        "the files of '{name}' are not those that the last run has read, and files have no versions to go \
         back to: VERIFY again after a REFRESH"
    );
    Ok(Some(Told::unknown(object, table.version(), note)))
}

/// Whether the log of the table knows a later run than the one that was compared.
async fn committed_meanwhile(
    inner: &Inner,
    object: &Object,
    view: &Transform,
    verified: &Verified,
) -> Result<bool, QueryError> {
    let committed = inner.options.lake.txn_version(&view.location, &app_id(object.id)).await?;
    Ok(committed.is_some_and(|committed| committed > verified.run_seq))
}

/// Whether somebody may see single rows that differ.
fn shows_rows(rights: &Rights, object: &Object) -> bool {
    let filtered = !object.policy.is_empty();
    rights.is_admin()
        || rights.owns(object)
        || (!filtered && rights.allows(Privilege::Select, object))
}

/// What the rows of a table, or those of some partitions, are to be compared with.
pub(crate) struct Stands {
    /// The run that made them.
    pub(crate) run: Run,
    /// What it read.
    pub(crate) inputs: Vec<PinnedInput>,
    /// Only these partitions stand for these versions, as SQL.
    part: Option<String>,
}

/// What is there, as far as it stands for one version of each input.
pub(crate) async fn stands(
    inner: &Inner,
    object: &Object,
    table: &Snapshot,
) -> Result<Stands, QueryError> {
    let catalog = &inner.options.catalog;
    let filter = JobFilter {
        object: Some(object.id),
        kind: Some(JobKind::Refresh),
        states: Some(vec![JobState::Succeeded]),
        limit: Some(JOBS_MAX),
        ..JobFilter::default()
    };
    let none = || QueryError::NotRefreshed(object.name.clone());
    let jobs: Vec<_> = catalog.jobs(&filter).await?.into_iter().map(|job| job.id).collect();
    let runs = catalog.runs(Some(&jobs), u32::MAX).await?;
    let mut runs: Vec<_> = runs.into_iter().filter(|run| run.output_version.is_some()).collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.run_seq));
    let runs = up_to_the_newest(inner, object, table, runs).await?;
    let run = runs.first().cloned().ok_or_else(none)?;
    let mixed = is_mixed(table, object.id).await?;
    let read = if mixed { &runs[..runs.len().min(PARTS_MAX)] } else { &runs[..1] };
    let ids: Vec<_> = read.iter().map(|run| run.id).collect();
    let mut inputs: HashMap<RunId, Vec<PinnedInput>> = HashMap::new();
    for (run, input) in catalog.run_inputs(&ids).await? {
        inputs.entry(run).or_default().push(input);
    }
    let newest = inputs.remove(&run.id).unwrap_or_default();
    if !mixed {
        return Ok(Stands { run, inputs: newest, part: None });
    }
    // The newest runs that read the same, for nothing that they have computed was computed since.
    let first = run.id;
    let same = |run: &&Run| run.id == first || inputs.get(&run.id) == Some(&newest);
    let parts = read.iter().take_while(same).map_while(|run| run.report.part.as_ref());
    let parts: Vec<_> = parts.map(|part| format!("({})", part.condition)).collect();
    if parts.is_empty() {
        return Err(QueryError::Invalid(format!(
            "the log of '{name}' says that a part of it was refreshed alone, and the catalog does not \
             know which: REFRESH MATERIALIZED VIEW {name} computes all of it, which can be verified then",
            name = object.name.to_sql()
        )));
    }
    Ok(Stands { run, inputs: newest, part: Some(parts.join(" OR ")) })
}

/// These runs without those that the table does not have yet, and the one that made its rows first of
/// all: the log says which, also while nobody has booked it, because its worker died or is about to.
async fn up_to_the_newest(
    inner: &Inner,
    object: &Object,
    table: &Snapshot,
    mut runs: Vec<Run>,
) -> Result<Vec<Run>, QueryError> {
    let Some(newest) = table.txn_version(&app_id(object.id)).await? else { return Ok(runs) };
    runs.retain(|run| run.run_seq <= newest);
    if runs.first().is_some_and(|run| run.run_seq == newest) {
        return Ok(runs);
    }
    let catalog = &inner.options.catalog;
    let filter = JobFilter {
        object: Some(object.id),
        kind: Some(JobKind::Refresh),
        limit: Some(JOBS_MAX),
        ..JobFilter::default()
    };
    let jobs = catalog.jobs(&filter).await?;
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let of_jobs = catalog.runs(Some(&ids), u32::MAX).await?;
    let Some(mut run) = of_jobs.into_iter().find(|run| run.run_seq == newest) else {
        return Ok(runs);
    };
    if run.report.part.is_none() {
        let job = jobs.iter().find(|job| job.id == run.job);
        let part = job.and_then(|job| job.work.part());
        run.report.part =
            part.map(|part| PartResult { condition: part.to_owned(), is_mixed: true });
    }
    runs.insert(0, run);
    Ok(runs)
}

/// What was found.
pub(crate) struct Verified {
    pub(crate) version: i64,
    /// The run that made what was compared.
    run_seq: i64,
    pub(crate) stored: RowsHash,
    pub(crate) computed: RowsHash,
    /// Rows that differ; `None` when all are equal.
    pub(crate) differing: Option<String>,
    note: Option<String>,
}

impl Verified {
    fn told(self, object: &Object, with_rows: bool) -> Told {
        let verdict = if self.differing.is_none() { "EQUAL" } else { "DIFFERENT" };
        let differing = match self.differing {
            Some(_) if !with_rows => {
                Some("rows are shown to those who may read all of them".to_owned())
            }
            differing => differing,
        };
        let hashes = Some((self.stored, self.computed));
        let (object, version) = (object.name.to_string(), self.version);
        Told { object, version, verdict, hashes, differing, note: self.note }
    }
}

/// The answer to a VERIFY.
struct Told {
    object: String,
    version: i64,
    verdict: &'static str,
    /// Of the rows that are there, and of those that were computed.
    hashes: Option<(RowsHash, RowsHash)>,
    differing: Option<String>,
    note: Option<String>,
}

impl Told {
    /// Nothing was compared that could be compared.
    fn unknown(object: &Object, version: i64, note: String) -> Self {
        let (object, note) = (object.name.to_string(), Some(note));
        Self { object, version, verdict: "UNKNOWN", hashes: None, differing: None, note }
    }
}

/// The columns of the answer.
pub(crate) fn answer_schema() -> SchemaRef {
    answer(None).schema()
}

fn answer(told: Option<&Told>) -> RecordBatch {
    let each = || told.into_iter();
    let stored = || each().map(|told| told.hashes.map(|(stored, _)| stored));
    let computed = || each().map(|told| told.hashes.map(|(_, computed)| computed));
    Answer::new()
        .text("object", each().map(|told| told.object.as_str()))
        .number("version", each().map(|told| told.version))
        .text("verdict", each().map(|told| told.verdict))
        .number("rows", stored().map(|hash| hash.map(|hash| count(hash.rows()))))
        .number("rows_computed", computed().map(|hash| hash.map(|hash| count(hash.rows()))))
        .maybe_text("hash", stored().map(|hash| hash.map(|hash| hash.to_string())))
        .maybe_text("hash_computed", computed().map(|hash| hash.map(|hash| hash.to_string())))
        .maybe_text("differing", each().map(|told| told.differing.as_deref()))
        .maybe_text("note", each().map(|told| told.note.as_deref()))
        .finish()
}

impl Inner {
    /// Compares what a transform has stored, or a sample of it, with what its query gives.
    pub(crate) async fn verified(
        &self,
        object: &Object,
        view: &Transform,
        sample: Option<Percent>,
    ) -> Result<Verified, QueryError> {
        let lake = &self.options.lake;
        let table = match lake.snapshot(&view.location, At::Latest).await {
            Err(LakeError::NotFound { .. }) => {
                return Err(QueryError::NotRefreshed(object.name.clone()));
            }
            table => table?,
        };
        let stands = stands(self, object, &table).await?;
        self.compared(object, view, &table, stands, sample).await
    }

    /// Compares a version of a transform's table, or a sample of it, with what its query gives over what
    /// it stands for.
    async fn compared(
        &self,
        object: &Object,
        view: &Transform,
        table: &Arc<Snapshot>,
        stands: Stands,
        sample: Option<Percent>,
    ) -> Result<Verified, QueryError> {
        let Stands { run, inputs, part } = stands;
        let owner = Principal::verified(&object.owner);
        let (resolved, logical) = self.resolve_transform(&owner, view, &inputs, None).await?;
        let state = &resolved.state;
        let stored_schema = table.schema();
        if logical.schema().fields().len() != stored_schema.fields().len() {
            return Err(QueryError::Invalid(format!(
                "'{}' was redefined since its last refresh, with other columns; refresh it first",
                object.name
            )));
        }
        // Rows that an expectation has kept out are not there, whatever became of them.
        let keeps_out = [OnViolation::Drop, OnViolation::Quarantine];
        let kept_out = view.expectations.iter().filter(|e| keeps_out.contains(&e.on_violation));
        let kept_out: Vec<_> = kept_out
            .map(|e| Expectation { on_violation: OnViolation::Drop, ..e.clone() })
            .collect();
        let quarantining = Quarantining { run: run.id, at: self.options.clock.now() };
        let columns = Arc::clone(logical.schema().inner());
        let gate = Gate::new(state, &columns, &kept_out, quarantining)?;
        let mut stored = chosen(state, stored(table)?, part.as_deref())?;
        let mut computed = logical;
        let mut notes: Vec<String> = part.as_deref().map(only_a_part).into_iter().collect();
        if let Some(percent) = sample {
            let sample = Sample::of(percent, view, &computed, &stored_schema)
                .ok_or_else(|| no_sample(object))?;
            stored = sample.within(stored, &stored_schema)?;
            computed = sample.within(computed, &stored_schema)?;
            let keys = self.keys(state, &stored, &sample).await?;
            notes.push(sample.note(&stored_schema, keys));
        }
        let computed = with_types(watched(state, computed, gate.as_ref())?, &stored_schema)?;
        let computed = chosen(state, computed, part.as_deref())?;
        let hash_of_stored = self.hashed(state, &stored).await?;
        let hash_of_computed = self.hashed(state, &computed).await?;
        let mut verified = Verified {
            version: table.version(),
            run_seq: run.run_seq,
            stored: hash_of_stored,
            computed: hash_of_computed,
            differing: None,
            note: None,
        };
        if hash_of_stored != hash_of_computed {
            let keys = primary_key(view);
            match self.differing(state, stored, computed, &stored_schema, &keys).await? {
                Some(rows) => {
                    let since = since_run(table, &run);
                    verified.differing = Some(format!("{since}{rows}"));
                }
                None => notes.push("up to the last digits of floating point numbers".to_owned()),
            }
        }
        verified.note = (!notes.is_empty()).then(|| notes.join("; "));
        Ok(verified)
    }

    /// How many keys the rows of a sample have; nothing where they were not chosen by a key.
    async fn keys(
        &self,
        state: &SessionState,
        rows: &LogicalPlan,
        sample: &Sample,
    ) -> Result<Option<i64>, QueryError> {
        let Some(key) = sample.key() else { return Ok(None) };
        let columns = rows.schema().columns();
        let key = key.iter().filter_map(|n| columns.get(*n).cloned()).map(Expr::Column);
        let counted = LogicalPlanBuilder::from(rows.clone())
            .project(key)?
            .distinct()?
            .aggregate(Vec::<Expr>::new(), vec![count_all()])?
            .build()?;
        let plan = plan::physical(state, &counted).await?;
        let work = collect(Arc::clone(&plan), state.task_ctx());
        let batches = self.runtime_of(&plan).spawn(work).await??;
        let of_batch = |batch: &RecordBatch| {
            batch.column(0).as_primitive::<Int64Type>().values().iter().sum::<i64>()
        };
        Ok(Some(batches.iter().map(of_batch).sum()))
    }

    /// The hash of all rows of a plan.
    async fn hashed(
        &self,
        state: &SessionState,
        logical: &LogicalPlan,
    ) -> Result<RowsHash, QueryError> {
        let plan = plan::physical(state, logical).await?;
        let mut rows = execute_stream(Arc::clone(&plan), state.task_ctx())?;
        let hasher = RowHasher::new(&plan.schema())?;
        let work = async move {
            let mut sum = RowsHash::default();
            while let Some(batch) = rows.next().await {
                sum = sum.and(hasher.hash(&batch?)?);
            }
            Ok::<_, QueryError>(sum)
        };
        self.runtime_of(&plan).spawn(work).await?
    }

    /// Some of the rows that are only on one side; `None` when there are none.
    async fn differing(
        &self,
        state: &SessionState,
        stored: LogicalPlan,
        computed: LogicalPlan,
        schema: &SchemaRef,
        keys: &[String],
    ) -> Result<Option<String>, QueryError> {
        if let Some(field) = schema.fields().iter().find(|field| has_map(field.data_type())) {
            return Ok(Some(format!(
                "rows cannot be told apart: values of '{}' cannot be compared one by one",
                field.name()
            )));
        }
        let both = LogicalPlanBuilder::from(weighted(stored, schema, 1)?)
            .union(weighted(computed, schema, -1)?)?;
        let name = |name: &str| Expr::Column(Column::from_name(name));
        let groups = schema.fields().iter().map(|field| name(field.name()));
        let order = keys.iter().chain(schema.fields().iter().map(|field| field.name()));
        let order: Vec<_> = order.map(|column| name(column).sort(true, true)).collect();
        let rows = both
            .aggregate(groups, vec![sum(name(WEIGHT)).alias(WEIGHT)])?
            .filter(name(WEIGHT).not_eq(lit(0_i64)))?
            .sort_with_limit(order, Some(SHOWN))?
            .build()?;
        let plan = plan::physical(state, &rows).await?;
        let work = collect(Arc::clone(&plan), state.task_ctx());
        let batches = self.runtime_of(&plan).spawn(work).await??;
        let shown: Vec<String> = batches.iter().flat_map(|batch| shown(batch, keys)).collect();
        Ok((!shown.is_empty()).then(|| shown.join("\n")))
    }
}

/// What a reader should know who wonders why rows differ.
fn since_run(table: &Snapshot, run: &Run) -> String {
    match run.output_version {
        Some(made) if made < table.version() => {
            format!("the last run made version {made}, others have committed since\n")
        }
        _ => String::new(),
    }
}

/// The error for a result without a column that can choose a sample.
fn no_sample(object: &Object) -> QueryError {
    let name = object.name.to_sql();
    QueryError::Refused {
        problem: format!(
            "VERIFY {name} SAMPLE: rows are chosen by the hash of their key, and all columns are floating \
             point numbers or maps, of which equal ones need not be the same to the last bit"
        ),
        hint: format!("VERIFY {name} compares all rows"),
    }
}

/// What is said of a table of which only some partitions were compared.
fn only_a_part(part: &str) -> String {
    format!(
        "only partitions WHERE {part} were compared, which the last runs have computed from the same \
         versions of the inputs; the others stand for other versions, and the next REFRESH computes \
         all of them"
    )
}

/// The rows of some partitions.
fn chosen(
    state: &SessionState,
    rows: LogicalPlan,
    part: Option<&str>,
) -> Result<LogicalPlan, QueryError> {
    let Some(part) = part else { return Ok(rows) };
    let condition = numbers::expression(state, part, rows.schema())?;
    Ok(LogicalPlanBuilder::from(rows).filter(condition)?.build()?)
}

fn primary_key(view: &Transform) -> Vec<String> {
    let primary = view.keys.iter().find(|key| key.kind == KeyKind::Primary);
    primary.map(|key| key.columns.clone()).unwrap_or_default()
}

fn has_map(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_map(field.data_type())),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            has_map(field.data_type())
        }
        _ => false,
    }
}

fn stored(table: &Arc<Snapshot>) -> Result<LogicalPlan, QueryError> {
    let source = Arc::new(DefaultTableSource::new(table.provider()?));
    let scan = LogicalPlanBuilder::scan("@stored", source, None)?.build()?;
    with_types(scan, &table.schema())
}

/// The rows in the columns of a table.
fn with_types(plan: LogicalPlan, schema: &SchemaRef) -> Result<LogicalPlan, QueryError> {
    let columns = plan.schema().columns().into_iter().zip(schema.fields());
    let items: Vec<_> = columns
        .map(|(column, field)| {
            cast(Expr::Column(column), field.data_type().clone()).alias(field.name())
        })
        .collect();
    Ok(LogicalPlanBuilder::from(plan).project(items)?.build()?)
}

/// The rows with a weight, and with floating point numbers without their last digits: these depend
/// on the order in which rows were added up.
fn weighted(plan: LogicalPlan, schema: &SchemaRef, weight: i64) -> Result<LogicalPlan, QueryError> {
    let columns = plan.schema().columns().into_iter().zip(schema.fields());
    let mut items: Vec<_> = columns
        .map(|(column, field)| {
            let column = Expr::Column(column);
            let value = match field.data_type() {
                // Adding nothing takes the sign from a zero.
                DataType::Float32 | DataType::Float64 => {
                    cast(column, DataType::Float32) + lit(0_f32)
                }
                _ => column,
            };
            value.alias(field.name())
        })
        .collect();
    items.push(lit(weight).alias(WEIGHT));
    Ok(LogicalPlanBuilder::from(plan).project(items)?.build()?)
}

/// Rows with what is wrong with them.
fn shown(batch: &RecordBatch, keys: &[String]) -> Vec<String> {
    let last = batch.num_columns() - 1;
    let weights = batch.column(last).as_primitive::<Int64Type>();
    // What people know the row by comes first.
    let is_key = |column: &usize| keys.contains(batch.schema_ref().field(*column).name());
    let (mut order, others): (Vec<usize>, Vec<usize>) = (0..last).partition(is_key);
    order.extend(others);
    let row = |(row, weight): (usize, &i64)| {
        let what = if *weight > 0 { "stored" } else { "computed" };
        let times = weight.unsigned_abs();
        let times = if times > 1 { format!(" {times} times") } else { String::new() };
        let text = match batch.slice(row, 1).project(&order) {
            Ok(row) => lake::shown(&row),
            Err(error) => error.to_string(),
        };
        format!("only {what}{times}: {text}")
    };
    weights.values().iter().enumerate().map(row).collect()
}
