//! The flows of a streaming table: what came to their sources since they last read them, as one plan.
//!
//! It exists because a flow sees each row of a source once: its query runs over the rows between two
//! versions, and only operators that need no rows of other runs are let in. How far each source was
//! read is the caller's to keep, with the rows. It never reads a row itself.

mod by_name;
pub(crate) mod clauses;
pub(crate) mod kept;
mod linear;
mod unordered;
mod window;

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{Field, SchemaRef};
use datafusion::{
    catalog::TableProvider,
    logical_expr::{LogicalPlan, LogicalPlanBuilder},
};
use dialect::statement::{FilesUse, Query, StreamRead, TimeTravel};
use lake::{TakenFile, TakenFiles};
use model::{
    id::ObjectId,
    job::PinnedInput,
    name::{DEFAULT_SCHEMA, ObjectName},
    object::ObjectBody,
    principal::Principal,
    profile::Profile,
    report::{FilesReport, SkippedRows},
    transform::{Flow, FlowKind, Transform},
};

use crate::{
    error::QueryError,
    expect::{Gate, Quarantining, watched},
    known::Known,
    plan,
    queries::{Inner, Queries},
    read_files::{self, TakenNow},
    resolve::{self, Pins, Purpose, Reads, Resolved, Wanted},
    transform::{PlannedTransform, has_versions},
};
pub(crate) use linear::check as check_linear;
pub(crate) use unordered::function as unordered;
use window::Window;
pub(crate) use window::{check_starts, with_changes};

/// The rows of each STREAM of one query.
#[derive(Default)]
pub(crate) struct Streams {
    /// Those of tables.
    pub(crate) tables: HashMap<(ObjectId, StreamRead), Arc<dyn TableProvider>>,
    /// Those of files.
    pub(crate) files: HashMap<FilesUse, Arc<dyn TableProvider>>,
}

/// A flow that is to run.
#[derive(Debug, Clone)]
pub struct FlowToRun {
    /// What it does.
    pub flow: Flow,
    /// Up to which version it has read each of its sources, by the id of the Delta table.
    pub read_until: HashMap<String, i64>,
    /// The files that flows of its table have taken.
    pub taken: Arc<TakenFiles>,
}

/// Whether a flow reads a STREAM of files.
pub fn reads_files(flow: &Flow) -> Result<bool, QueryError> {
    Ok(read_files::stream_of(&dialect::parse_flow_query(&flow.query)?).is_some())
}

impl FlowToRun {
    /// The flow of AUTO CDC, if a table has one, as if it had read the events up to the versions of a
    /// run: what came since.
    #[must_use]
    pub fn of_changes(view: &Transform, last: &[PinnedInput]) -> Option<Self> {
        let flow = view.flows.iter().find(|flow| matches!(flow.kind, FlowKind::Changes(_)))?;
        let read_until = last.iter().filter(|input| !input.delta_table_id.is_empty());
        let read_until = read_until.map(|input| (input.delta_table_id.clone(), input.version));
        let taken = Arc::default();
        Some(Self { flow: flow.clone(), read_until: read_until.collect(), taken })
    }
}

/// How far a flow has read a source once its rows are committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRead {
    /// The flow.
    pub flow: ObjectName,
    /// The source.
    pub delta_table_id: String,
    /// The last version whose rows it has seen.
    pub version: i64,
}

/// What came to the sources of flows.
pub struct NewRows {
    flows: Vec<OpenFlow>,
    /// Whether a run has anything to do: rows to add, or a first run to record.
    pub is_news: bool,
    /// How far each source will have been read.
    pub read: Vec<FlowRead>,
    /// What was read and what was left out, for people.
    pub summary: String,
    /// What was left out: each source once for each stream that skips some of its commits.
    pub skipped: Vec<SkippedRows>,
    /// Files that will have been taken.
    pub taken: Vec<TakenFile>,
    /// What became of files, where a flow reads some.
    pub files: Option<FilesReport>,
}

impl std::fmt::Debug for NewRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewRows").field("is_news", &self.is_news).finish_non_exhaustive()
    }
}

/// The rows of all flows together.
#[derive(Debug)]
pub struct PlannedFlows {
    /// What is to be staged.
    pub planned: PlannedTransform,
    /// What the rows go through, where something is expected of them.
    pub gate: Option<Arc<Gate>>,
}

/// What a run of flows wants to compute.
#[derive(Debug)]
pub struct FlowsWish {
    /// Whose rights the flows have.
    pub owner: Principal,
    /// The streaming table.
    pub view: Transform,
    /// The versions that its inputs are pinned to.
    pub inputs: Vec<PinnedInput>,
    /// What came to the sources.
    pub new_rows: NewRows,
    /// The columns of the table, which flows find by name. Without a table they are those that are
    /// declared, or those of the first flow.
    pub table: Option<SchemaRef>,
    /// What is noted with rows that are quarantined.
    pub quarantining: Quarantining,
    /// What the run may take.
    pub profile: Profile,
    /// What the run knows of the objects.
    pub known: Option<Known>,
}

struct OpenFlow {
    flow: Flow,
    query: Query,
    streams: Streams,
}

impl Queries {
    /// Looks at what came to the sources of flows, up to the versions that inputs are pinned to.
    ///
    /// [`QueryError::SourceChanged`] when a commit did more than add rows and the flow does not say
    /// what that means. Reads logs, no rows. Files are listed with the rights of `owner`, once for
    /// each flow that reads some.
    pub async fn new_rows(
        &self,
        owner: &Principal,
        flows: Vec<FlowToRun>,
        inputs: &[PinnedInput],
        known: Option<&Known>,
    ) -> Result<NewRows, QueryError> {
        let inner = Arc::clone(&self.inner);
        let (owner, inputs, known) = (owner.clone(), inputs.to_vec(), known.cloned());
        let work = async move { inner.new_rows(&owner, flows, &inputs, known.as_ref()).await };
        self.inner.control().spawn(work).await?
    }

    /// Plans all flows together: the rows that they add to the table.
    pub async fn plan_flows(&self, wish: FlowsWish) -> Result<PlannedFlows, QueryError> {
        let inner = Arc::clone(&self.inner);
        let work = async move { inner.plan_flows(wish).await };
        self.inner.control().spawn(work).await?
    }
}

impl Inner {
    async fn new_rows(
        &self,
        owner: &Principal,
        flows: Vec<FlowToRun>,
        inputs: &[PinnedInput],
        known: Option<&Known>,
    ) -> Result<NewRows, QueryError> {
        let (mut open, mut read, mut told) = (Vec::new(), Vec::new(), Vec::new());
        let (mut is_news, mut skipped) = (false, Vec::new());
        let (mut files_taken, mut files_report) = (Vec::new(), None::<FilesReport>);
        for FlowToRun { flow, read_until, taken } in flows {
            let mut query = dialect::parse_flow_query(&flow.query)?;
            read_files::settle(&mut query, flow.files.as_ref());
            let mut streams = Streams::default();
            if let Some(files) = read_files::stream_of(&query) {
                let blame =
                    |source| QueryError::Flow { flow: flow.name.clone(), source: Box::new(source) };
                let new = self.new_files(owner, &flow, files, &taken).await.map_err(blame)?;
                is_news |= !new.files.is_empty();
                told.extend(new.told);
                files_taken.extend(new.files);
                let all = files_report.take().unwrap_or_default();
                files_report = Some(all.and(new.report));
                streams.files.insert(files.clone(), new.rows);
            }
            // A flow that reads no stream runs once, and has not yet.
            is_news |= !reads_a_stream(&query);
            for used in &query.tables {
                let Some(TimeTravel::Stream(stream)) = &used.at else { continue };
                let name = ObjectName::from_parts(&used.name, DEFAULT_SCHEMA)?;
                let (input, location) = self.source(&name, inputs, known).await?;
                let until = read_until.get(&input.delta_table_id).copied();
                let window = Window::open(self, &input, &location, stream, until).await?;
                is_news |= window.is_news;
                told.extend(window.told);
                skipped.extend(window.skipped);
                streams.tables.insert((input.object, stream.clone()), window.rows);
                let now = FlowRead {
                    flow: flow.name.clone(),
                    delta_table_id: input.delta_table_id,
                    version: input.version,
                };
                if !read.contains(&now) {
                    read.push(now);
                }
            }
            open.push(OpenFlow { flow, query, streams });
        }
        let (summary, taken, files) = (told.join("; "), files_taken, files_report);
        Ok(NewRows { flows: open, is_news, read, summary, skipped, taken, files })
    }

    /// The files that came to the STREAM of a flow.
    async fn new_files(
        &self,
        owner: &Principal,
        flow: &Flow,
        files: &FilesUse,
        taken: &TakenFiles,
    ) -> Result<TakenNow, QueryError> {
        let rights = self.rights(owner).await?;
        read_files::may_read_files(&rights)?;
        let state = self.state(DEFAULT_SCHEMA);
        read_files::take(self, &state, &flow.name, files, taken).await
    }

    /// The pinned version of a source, and where it lies.
    async fn source(
        &self,
        name: &ObjectName,
        inputs: &[PinnedInput],
        known: Option<&Known>,
    ) -> Result<(PinnedInput, String), QueryError> {
        let object = self.look_up(known, std::slice::from_ref(name)).await?.pop();
        let Some(object) = object else {
            let name = name.clone();
            return Err(QueryError::TableNotFound { name, nearest: None, is_hidden: false });
        };
        let input = inputs.iter().find(|input| input.object == object.id);
        let location = match &object.body {
            ObjectBody::View(_) => None,
            _ => object.location(),
        };
        match (input, location) {
            (Some(input), Some(location)) if !input.delta_table_id.is_empty() => {
                Ok((input.clone(), location.to_owned()))
            }
            _ => Err(QueryError::Invalid(format!(
                "'{name}' is no Delta table: only those can be read as a STREAM"
            ))),
        }
    }

    async fn plan_flows(&self, wish: FlowsWish) -> Result<PlannedFlows, QueryError> {
        let FlowsWish { owner, view, inputs, new_rows, table, quarantining, profile, known } = wish;
        let flows = new_rows.flows;
        let pins: Pins = inputs.iter().map(|input| (input.object, input.clone())).collect();
        let rights = self.rights(&owner).await?;
        let mut plans: Vec<(&Flow, Resolved, LogicalPlan)> = Vec::new();
        for OpenFlow { flow, query, streams } in &flows {
            let wanted = Wanted {
                rights: Arc::clone(&rights),
                default_schema: DEFAULT_SCHEMA,
                purpose: Purpose::Read,
                pins: &pins,
                streams: Some(streams),
                known: known.as_ref(),
            };
            let blame =
                |source| QueryError::Flow { flow: flow.name.clone(), source: Box::new(source) };
            let resolved = resolve::resolve(self, Reads::from(query), &wanted).await;
            let resolved = resolved.map_err(blame)?.within(&profile);
            has_versions(&resolved).map_err(blame)?;
            let logical = plan::logical(&resolved.state, query).await.map_err(blame)?;
            check_linear(&logical, query).map_err(blame)?;
            plans.push((flow, resolved, logical));
        }
        let Some((_, first, first_plan)) = plans.first() else {
            return Err(QueryError::Invalid("it has no flow yet: write CREATE FLOW".to_owned()));
        };
        let fields = match table {
            Some(table) => table.fields().to_vec(),
            None => by_name::declared(&first.state, first_plan, &view.columns).await?,
        };
        let state = first.state.clone();
        let rows = plans.iter().map(|(_, resolved, _)| resolved.rows_expected()).sum();
        let mut all: Option<LogicalPlan> = None;
        for (flow, _, logical) in plans {
            let aligned = by_name::align(logical, &fields, flow)?;
            all = Some(match all {
                Some(before) => LogicalPlanBuilder::from(before).union(aligned)?.build()?,
                None => aligned,
            });
        }
        let Some(all) = all else {
            return Err(QueryError::Invalid("it has no flow yet: write CREATE FLOW".to_owned()));
        };
        let columns = Arc::clone(all.schema().inner());
        let gate = Gate::new(&state, &columns, &view.expectations, quarantining)?;
        let all = watched(&state, all, gate.as_ref())?;
        let plan = plan::physical(&state, &all).await?;
        let planned = PlannedTransform { plan, task: state.task_ctx(), rows_expected: rows };
        Ok(PlannedFlows { planned, gate })
    }
}

/// The columns that a flow gives a table which is not there yet.
pub(crate) async fn first_columns(
    resolved: &Resolved,
    plan: &LogicalPlan,
    view: &Transform,
) -> Result<Vec<Arc<Field>>, QueryError> {
    by_name::declared(&resolved.state, plan, &view.columns).await
}

/// Whether a query reads any STREAM.
pub(crate) fn reads_a_stream(query: &Query) -> bool {
    read_files::stream_of(query).is_some()
        || query.tables.iter().any(|used| matches!(used.at, Some(TimeTravel::Stream(_))))
}

#[cfg(test)]
mod tests;
