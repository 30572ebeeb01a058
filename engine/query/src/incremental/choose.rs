//! Which strategy a run takes: the cheapest of those that are proved, as its policy allows.

use std::{error::Error, sync::Arc};

use arrow::datatypes::DataType;
use datafusion::{
    error::DataFusionError,
    execution::SessionState,
    logical_expr::{Expr, ExprSchemable, LogicalPlan},
    physical_plan::ExecutionPlan,
};
use lake::Snapshot;
use model::{
    job::PinnedInput,
    principal::Principal,
    profile::Profile,
    transform::{Expectation, OnFullRefresh, OnViolation, RefreshPolicy, Transform},
};

use super::{
    Choice, PlannedRefresh, RefreshWork, Strategy, Why, apply,
    delta::{Deltas, aggregate},
    keys::{Keyed, keyed},
    leaves::Leaves,
    merge, shape,
    since::Since,
};
use crate::{
    error::QueryError,
    expect::{self, Gate, Quarantining, watched},
    known::Known,
    plan,
    planning::aside,
    queries::{Inner, Queries},
    resolve::Resolved,
    transform::PlannedTransform,
};

/// With less of the changed inputs than this part changed, groups are computed anew one by one.
const CHANGED_PART_MAX: f64 = 0.3;

/// What a run wants to compute.
#[derive(Debug, Clone)]
pub struct RefreshWish {
    /// Whose rights the query has.
    pub owner: Principal,
    /// What is refreshed.
    pub view: Transform,
    /// The versions that its inputs are pinned to.
    pub inputs: Vec<PinnedInput>,
    /// What is there: the versions of the inputs that the table's rows are the query's answer for,
    /// and the table. `Err` where it has to be computed in full whatever changed.
    pub since: Since,
    /// Nobody has to allow a full refresh: it is the first one, or it was asked for, or somebody has
    /// approved it.
    pub full_is_meant: bool,
    /// What is noted with rows that are quarantined.
    pub quarantining: Quarantining,
    /// What the run may take.
    pub profile: Profile,
    /// What the run knows of the objects.
    pub known: Option<Known>,
}

/// A full refresh that somebody has to approve first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalNeeded {
    /// Why nothing less would do.
    pub reason: Why,
    /// Ways that are not open, each with its reason.
    pub alternatives: Vec<(Strategy, Why)>,
    /// Bytes of the files of all inputs, those that have a log; `None` when that would tell the owner
    /// how much is hidden.
    pub bytes: Option<u64>,
}

impl Queries {
    /// Plans a refresh by the cheapest strategy that is proved to give the same as a full one.
    ///
    /// May run parts of the query to find which keys changed. [`QueryError::FullRefused`] when only
    /// a full refresh is left and the policy does not allow one, [`QueryError::ApprovalNeeded`] when
    /// somebody has to approve it.
    pub async fn plan_refresh(&self, wish: RefreshWish) -> Result<PlannedRefresh, QueryError> {
        let inner = Arc::clone(&self.inner);
        let work = async move { aside(inner.plan_refresh(&wish)).await };
        self.inner.control().spawn(work).await?
    }
}

impl Queries {
    /// A plan without rows, in the columns of a table.
    pub async fn nothing_for(&self, table: &Arc<Snapshot>) -> Result<PlannedTransform, QueryError> {
        let (inner, table) = (Arc::clone(&self.inner), Arc::clone(table));
        let work = async move {
            let state = inner.state(model::name::DEFAULT_SCHEMA);
            let plan = nothing_for(&state, &table).await?;
            Ok(PlannedTransform { plan, task: state.task_ctx(), rows_expected: 0 })
        };
        self.inner.control().spawn(work).await?
    }
}

/// A plan without rows, in the columns of a table.
pub(crate) async fn nothing_for(
    state: &SessionState,
    table: &Arc<Snapshot>,
) -> Result<Arc<dyn ExecutionPlan>, QueryError> {
    plan::physical(state, &apply::nothing(table)?).await
}

/// A strategy that is proved, before it is planned.
enum Way {
    Nothing,
    Append(LogicalPlan),
    Change(Strategy, LogicalPlan),
}

impl Inner {
    async fn plan_refresh(&self, wish: &RefreshWish) -> Result<PlannedRefresh, QueryError> {
        let RefreshWish { owner, view, inputs, known, .. } = wish;
        let resolving = self.resolve_transform(owner, view, inputs, known.as_ref());
        let (resolved, logical) = resolving.await?;
        let resolved = resolved.within(&wish.profile);
        let columns = Arc::clone(logical.schema().inner());
        let expectations = &wish.view.expectations;
        let gate = Gate::new(&resolved.state, &columns, expectations, wish.quarantining)?;
        let gate = gate.as_ref();
        let mut alternatives = Vec::new();
        let proved = self.planned_change(wish, &resolved, &logical, gate, &mut alternatives).await;
        let reason = match proved {
            Ok(Ok(planned)) => return Ok(planned),
            Ok(Err(why)) => why,
            // A plan that was put together wrongly is our mistake, and no reason to let a pipeline stand.
            Err(QueryError::Engine(error)) if is_of_the_planner(&error) => {
                let error = error.to_string();
                tracing::warn!(error, "an incremental refresh could not be planned");
                Why::new("NOT_PLANNED", error)
            }
            Err(error) if error.is_of_a_value() => changes_failed(&error),
            Err(error) => return Err(error),
        };
        allows_full(wish, &resolved, &reason, &alternatives)?;
        let logical = watched(&resolved.state, logical, gate)?;
        let planned = self.planned(&resolved.state, &logical, &resolved).await?;
        let choice = Choice { strategy: Strategy::Full, reason, alternatives };
        let gate = gate.map(Arc::clone);
        Ok(PlannedRefresh { choice, work: RefreshWork::Replace(planned), gate })
    }

    /// A proved way as a plan, or why there is none.
    async fn planned_change(
        &self,
        wish: &RefreshWish,
        resolved: &Resolved,
        logical: &LogicalPlan,
        gate: Option<&Arc<Gate>>,
        alternatives: &mut Vec<(Strategy, Why)>,
    ) -> Result<Result<PlannedRefresh, Why>, QueryError> {
        let way = self.incrementally(wish, resolved, logical, gate, alternatives).await?;
        let (way, base, reason) = match way {
            Ok(proved) => proved,
            Err(why) => return Ok(Err(why)),
        };
        let state = &resolved.state;
        let (strategy, plan) = match way {
            Way::Nothing => (Strategy::Append, apply::nothing(&base)?),
            Way::Append(rows) => (Strategy::Append, watched(state, rows, gate)?),
            Way::Change(strategy, changes) => (strategy, changes),
        };
        let planned = self.planned(state, &plan, resolved).await?;
        let work = match strategy {
            Strategy::Append => RefreshWork::Append(planned, base),
            _ => RefreshWork::Change(planned, base),
        };
        let alternatives = std::mem::take(alternatives);
        let choice = Choice { strategy, reason, alternatives };
        Ok(Ok(PlannedRefresh { choice, work, gate: gate.map(Arc::clone) }))
    }

    async fn planned(
        &self,
        state: &SessionState,
        logical: &LogicalPlan,
        resolved: &Resolved,
    ) -> Result<PlannedTransform, QueryError> {
        let plan = plan::physical(state, logical).await?;
        let rows_expected = resolved.rows_expected();
        Ok(PlannedTransform { plan, task: state.task_ctx(), rows_expected })
    }

    /// A proved way, or why there is none.
    async fn incrementally(
        &self,
        wish: &RefreshWish,
        resolved: &Resolved,
        logical: &LogicalPlan,
        gate: Option<&Arc<Gate>>,
        alternatives: &mut Vec<(Strategy, Why)>,
    ) -> Result<Result<(Way, Arc<Snapshot>, Why), Why>, QueryError> {
        let (last, base) = match &wish.since {
            Ok((last, base)) => (last, Arc::clone(base)),
            Err(why) => return Ok(Err(why.clone())),
        };
        if wish.view.policy == RefreshPolicy::Full {
            return Ok(Err(Why::new("POLICY", "REFRESH POLICY FULL")));
        }
        if let Some(why) = shape::deterministic(logical)? {
            return Ok(Err(why));
        }
        let leaves = match Leaves::open(self, &resolved.leaves, last, &wish.inputs).await? {
            Ok(leaves) => leaves,
            Err(why) => return Ok(Err(why)),
        };
        let plan = shape::prepared(&resolved.state, logical.clone())?;
        if let Some(why) = shape::without_subqueries(&plan)? {
            return Ok(Err(why));
        }
        if let Some(why) = same_columns(&plan, &base) {
            return Ok(Err(why));
        }
        let (leaves, base_of, plan) = (&leaves, &base, &plan);
        let chosen = Choosing { inner: self, wish, resolved, leaves, base: base_of, plan, gate };
        let way = chosen.way(alternatives).await?;
        Ok(way.map(|(way, reason)| (way, base, reason)))
    }
}

/// Why a result is computed in full after all: rows on the way to what changed are not all in the result, so
/// something may fail for them that the query never meets.
#[must_use]
pub fn changes_failed(error: &dyn Error) -> Why {
    Why::new("CHANGES_FAILED", format!("computing only what changed has failed: {error}"))
}

/// Whether a join works row by row over a side that only got rows: then so does the result.
fn only_adds(deltas: &Deltas<'_>, operator: &LogicalPlan) -> Result<bool, DataFusionError> {
    let LogicalPlan::Join(join) = operator else { return Ok(false) };
    let changes = deltas.of_kept_side(join)?;
    Ok(changes.is_ok_and(|changes| changes.is_some_and(|changes| changes.went.is_none())))
}

fn allows_full(
    wish: &RefreshWish,
    resolved: &Resolved,
    why: &Why,
    alternatives: &[(Strategy, Why)],
) -> Result<(), QueryError> {
    if wish.full_is_meant {
        return Ok(());
    }
    let view = &wish.view;
    let refused =
        |rule: &str| Err(QueryError::FullRefused { why: why.to_string(), rule: rule.to_owned() });
    match (view.policy, view.on_full_refresh) {
        (RefreshPolicy::Full, _) => Ok(()),
        (RefreshPolicy::IncrementalStrict, _) => refused("REFRESH POLICY INCREMENTAL STRICT"),
        (_, OnFullRefresh::Allow) => Ok(()),
        (_, OnFullRefresh::Approve) => {
            let bytes = resolved.bytes_expected();
            let (reason, alternatives) = (why.clone(), alternatives.to_vec());
            let needed = ApprovalNeeded { reason, alternatives, bytes };
            Err(QueryError::ApprovalNeeded(Box::new(needed)))
        }
        (_, OnFullRefresh::Fail) => refused("ON FULL REFRESH FAIL"),
    }
}

/// Whether a plan could not be made; what happened while a part of it ran is something else.
pub(crate) fn is_of_the_planner(error: &DataFusionError) -> bool {
    matches!(
        error.find_root(),
        DataFusionError::Plan(_)
            | DataFusionError::SchemaError(..)
            | DataFusionError::Internal(_)
            | DataFusionError::NotImplemented(_)
    )
}

/// The stored columns have to be those of the query, by name and order.
fn same_columns(plan: &LogicalPlan, base: &Snapshot) -> Option<Why> {
    let stored = base.schema();
    let same = stored.fields().len() == plan.schema().fields().len()
        && stored.fields().iter().zip(plan.schema().fields()).all(|(a, b)| a.name() == b.name());
    (!same).then(|| Why::new("COLUMNS_CHANGED", "the table has other columns than the query"))
}

struct Choosing<'a> {
    inner: &'a Inner,
    wish: &'a RefreshWish,
    resolved: &'a Resolved,
    leaves: &'a Leaves,
    base: &'a Arc<Snapshot>,
    plan: &'a LogicalPlan,
    gate: Option<&'a Arc<Gate>>,
}

impl Choosing<'_> {
    async fn way(
        &self,
        alternatives: &mut Vec<(Strategy, Why)>,
    ) -> Result<Result<(Way, Why), Why>, QueryError> {
        let deltas = Deltas::new(self.leaves);
        let top = Top::of(self.plan);
        let changed = || Why::new("INPUT_CHANGED", "");
        let by_key = match keyed(top.operator) {
            Ok(keyed) if !is_inner(top.operator) && !only_adds(&deltas, top.operator)? => {
                Some(keyed)
            }
            _ => None,
        };
        if let Some(keyed) = &by_key {
            let below = match deltas.below(top.operator)? {
                Ok(below) => below,
                Err(why) => return Ok(Err(why)),
            };
            let Some(keys) = below.keys else { return Ok(Ok((Way::Nothing, changed()))) };
            match self.merged(&deltas, &top)? {
                Ok(changes) => {
                    return Ok(Ok((Way::Change(Strategy::Merge, changes), changed())));
                }
                Err(why) => alternatives.push((Strategy::Merge, why)),
            }
            match self.by_keys(&deltas, &top, keyed, keys, alternatives).await? {
                Ok((strategy, changes)) => {
                    return Ok(Ok((Way::Change(strategy, changes), changed())));
                }
                Err(why) if why.code == "KEY_NOT_SHOWN" => {
                    alternatives.push((Strategy::Keys, why));
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        let changes = match deltas.of(self.plan)? {
            Ok(changes) => changes,
            Err(why) => return Ok(Err(why)),
        };
        if changes.is_empty() {
            return Ok(Ok((Way::Nothing, changed())));
        }
        if by_key.is_none() {
            match (changes.came.clone(), &changes.went) {
                (Some(came), None) => return Ok(Ok((Way::Append(came), changed()))),
                _ => {
                    let why = Why::new("ROWS_WENT", "rows of an input went or became others");
                    alternatives.push((Strategy::Append, why));
                }
            }
        }
        if let Some(why) = self.too_much() {
            return Ok(Err(why));
        }
        if let Some(field) =
            self.plan.schema().fields().iter().find(|f| incomparable(f.data_type()))
        {
            let why = format!("values of '{}' cannot be compared", field.name());
            return Ok(Err(Why::new("NOT_COMPARABLE", why)));
        }
        if let Some(why) = self.rows_are_diverted("rows that went are not found where they are") {
            return Ok(Err(why));
        }
        let state = &self.resolved.state;
        Ok(match apply::rows(self.inner, state, changes, self.base, self.gate).await? {
            Ok(changes) => Ok((Way::Change(Strategy::Rows, changes), changed())),
            Err(why) => Err(why),
        })
    }

    /// Why recomputing what changed would cost more than recomputing all; only when the policy
    /// leaves the choice to us.
    fn too_much(&self) -> Option<Why> {
        let (changed, all) = (self.leaves.bytes_changed, self.leaves.bytes_all);
        let part = changed as f64 / (all.max(1)) as f64;
        (self.wish.view.policy == RefreshPolicy::Auto && part > CHANGED_PART_MAX).then(|| {
            let why = format!("{changed} of {all} bytes of the changed inputs are new or gone");
            Why::new("CHANGESET_TOO_LARGE", why)
        })
    }

    /// Why only appends will do: rows of the result are not all in its table.
    fn rows_are_diverted(&self, detail: &str) -> Option<Why> {
        let diverts = |each: &Expectation| {
            matches!(each.on_violation, OnViolation::Drop | OnViolation::Quarantine)
        };
        let any = self.wish.view.expectations.iter().any(diverts);
        any.then(|| Why::new("EXPECTATIONS", detail))
    }

    fn merged(
        &self,
        deltas: &Deltas<'_>,
        top: &Top<'_>,
    ) -> Result<Result<LogicalPlan, Why>, QueryError> {
        if self.gate.is_some() {
            let why = "expectations are asked of whole rows, and only what is added is computed";
            return Ok(Err(Why::new("EXPECTATIONS", why)));
        }
        let Some(node) = aggregate(top.operator) else {
            return Ok(Err(Why::new("NO_AGGREGATE", "the query is no aggregate at its top")));
        };
        if !top.is_bare {
            let why = "the query filters or computes after it has aggregated";
            return Ok(Err(Why::new("AFTER_AGGREGATE", why)));
        }
        if self.leaves.any_went() {
            let why = "rows of an input went, and what they had added is not known";
            return Ok(Err(Why::new("ROWS_WENT", why)));
        }
        let came = match deltas.of(&node.input)? {
            Ok(changes) if changes.went.is_some() => {
                let why = "rows below the aggregate went";
                return Ok(Err(Why::new("ROWS_WENT", why)));
            }
            Ok(changes) => changes.came,
            Err(why) => return Ok(Err(why)),
        };
        let Some(came) = came else { return Ok(Err(Why::new("NO_ROWS", ""))) };
        merge::changes(node, came, &top.shown, self.base)
    }

    async fn by_keys(
        &self,
        deltas: &Deltas<'_>,
        top: &Top<'_>,
        keyed: &Keyed,
        keys: LogicalPlan,
        alternatives: &mut Vec<(Strategy, Why)>,
    ) -> Result<Result<(Strategy, LogicalPlan), Why>, QueryError> {
        let stored = self.base.schema();
        // Parts of the key with the column of the table that holds them.
        let mut shown: Vec<(usize, usize)> = Vec::new();
        for (part, held_by) in keyed.held_by.iter().enumerate() {
            let column = top.shown.iter().position(|of| of.is_some_and(|of| held_by.contains(&of)));
            let Some(column) = column else { continue };
            let key = keys.schema().field(part).data_type();
            if same_values(key, stored.field(column).data_type()) && !incomparable(key) {
                shown.push((part, column));
            }
        }
        let quarantine = expect::has_quarantine(&self.wish.view.expectations);
        if quarantine && let Some(why) = self.rows_are_diverted("rows of a key lie in quarantine") {
            return Ok(Err(why));
        }
        if shown.is_empty() {
            let why = "no part of the key is a column of the result";
            return Ok(Err(Why::new("KEY_NOT_SHOWN", why)));
        }
        if let Some(why) = self.too_much() {
            return Ok(Err(why));
        }
        let partitions = self.base.partitioned_by();
        let by_partition: Vec<_> = shown
            .iter()
            .copied()
            .filter(|(_, column)| partitions.contains(stored.field(*column).name()))
            .collect();
        let whole = !partitions.is_empty() && by_partition.len() == partitions.len();
        let strategy = if whole { Strategy::Partitions } else { Strategy::Keys };
        if whole {
            shown = by_partition;
        } else {
            let why = if partitions.is_empty() {
                "the table has none"
            } else {
                "they are no part of the key"
            };
            alternatives.push((Strategy::Partitions, Why::new("NO_PARTITIONS", why)));
        }
        let state = &self.resolved.state;
        let changes =
            apply::keys(self.inner, state, deltas, top, keyed, keys, &shown, self.base, self.gate)
                .await?;
        Ok(changes.map(|changes| (strategy, changes)))
    }
}

/// What stands above the last operator that works key by key: only what works row by row.
pub(super) struct Top<'a> {
    /// The whole query.
    pub(super) plan: &'a LogicalPlan,
    /// What is below.
    pub(super) operator: &'a LogicalPlan,
    /// For each column of the query the column of the operator that it shows, if it is one.
    pub(super) shown: Vec<Option<usize>>,
    /// Every column is shown, and every row.
    pub(super) is_bare: bool,
}

impl<'a> Top<'a> {
    pub(super) fn of(plan: &'a LogicalPlan) -> Self {
        let (operator, shown, is_bare) = walk(plan);
        let is_bare = is_bare && shown.iter().all(Option::is_some);
        Self { plan, operator, shown, is_bare }
    }

    /// The query over other rows of the operator.
    pub(super) fn over(&self, operator: LogicalPlan) -> Result<LogicalPlan, QueryError> {
        fn rebuilt(
            plan: &LogicalPlan,
            end: &LogicalPlan,
            operator: LogicalPlan,
        ) -> Result<LogicalPlan, QueryError> {
            if std::ptr::eq(plan, end) {
                return Ok(operator);
            }
            let Some(input) = plan.inputs().first().copied() else { return Ok(operator) };
            let input = rebuilt(input, end, operator)?;
            if matches!(plan, LogicalPlan::Sort(_)) {
                return Ok(input);
            }
            Ok(plan.with_new_exprs(plan.expressions(), vec![input])?)
        }
        rebuilt(self.plan, self.operator, operator)
    }
}

fn walk(plan: &LogicalPlan) -> (&LogicalPlan, Vec<Option<usize>>, bool) {
    match plan {
        LogicalPlan::Projection(projection) => {
            let (operator, below, bare) = walk(&projection.input);
            let input = projection.input.schema();
            let shown = projection.expr.iter().map(|expr| {
                let column = bare_column(expr, &projection.input)?;
                let at = input.maybe_index_of_column(&column)?;
                below.get(at).copied().flatten()
            });
            (operator, shown.collect(), bare)
        }
        LogicalPlan::Filter(filter) => {
            let (operator, shown, _) = walk(&filter.input);
            (operator, shown, false)
        }
        LogicalPlan::SubqueryAlias(alias) => walk(&alias.input),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => walk(&sort.input),
        other => (other, (0..other.schema().fields().len()).map(Some).collect(), true),
    }
}

/// The column that an expression is, whatever it is called.
fn bare_column(expr: &Expr, input: &LogicalPlan) -> Option<datafusion::common::Column> {
    match expr {
        Expr::Column(column) => Some(column.clone()),
        Expr::Alias(alias) => bare_column(&alias.expr, input),
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(input.schema()).ok()?;
            same_values(&from, cast.field.data_type())
                .then(|| bare_column(&cast.expr, input))
                .flatten()
        }
        _ => None,
    }
}

fn is_inner(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::Join(join) if join.join_type == datafusion::common::JoinType::Inner)
}

/// Whether a value has the same equals in both types.
pub(super) fn same_values(from: &DataType, to: &DataType) -> bool {
    let text = |t: &DataType| {
        matches!(t, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
            || matches!(t, DataType::Dictionary(_, value) if value.is_string())
    };
    let bytes =
        |t: &DataType| matches!(t, DataType::Binary | DataType::BinaryView | DataType::LargeBinary);
    let whole = |t: &DataType| t.is_integer();
    // Parts of a value differ in whether they may be NULL, and in how texts are kept.
    match (from, to) {
        (DataType::Struct(from), DataType::Struct(to)) => {
            return from.len() == to.len()
                && from.iter().zip(to).all(|(from, to)| {
                    from.name() == to.name() && same_values(from.data_type(), to.data_type())
                });
        }
        (DataType::List(from), DataType::List(to)) => {
            return same_values(from.data_type(), to.data_type());
        }
        _ => {}
    }
    from == to
        || (text(from) && text(to))
        || (bytes(from) && bytes(to))
        || (whole(from) && whole(to) && to.primitive_width() >= from.primitive_width())
}

fn incomparable(data_type: &DataType) -> bool {
    match data_type {
        DataType::Map(..) | DataType::Union(..) => true,
        nested => {
            let mut found = false;
            if let DataType::Struct(fields) = nested {
                found = fields.iter().any(|field| incomparable(field.data_type()));
            }
            if let DataType::List(field) | DataType::LargeList(field) = nested {
                found = incomparable(field.data_type());
            }
            found
        }
    }
}
