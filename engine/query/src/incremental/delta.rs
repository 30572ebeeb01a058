//! What happened to the rows of a plan, from what happened to the rows of its tables.
//!
//! For each node: rows that came and rows that went, as plans, such that as multisets
//! `now = before + came - went`. A row may be in both; then nothing happened to it.
//!
//! - A scan has what the log tells.
//! - Filter, projection, UNION ALL and unnest work row by row, so they are applied to both.
//! - `L JOIN R`: `came(L) JOIN R now`, and `L before JOIN came(R)`; the same for rows that went. That
//!   one side is read as it was is what counts changes of both sides once.
//! - An outer, semi or anti join works row by row over the side whose rows it keeps, as long as nothing
//!   happened to the other side.
//! - An operator that commutes with a filter on its key (GROUP BY, PARTITION BY, outer, semi and anti
//!   joins by equality): with K the keys of all rows that came to its inputs or went, its result
//!   outside K is what it was, and inside K what it gives over the inputs' rows of K, now and before.
//!   Windows below it that work by the same key are a part of it (`chain.rs`).
//!
//! K may be larger than it must: that costs time and changes nothing.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use datafusion::{
    common::{Column, JoinConstraint, JoinType, NullEquality},
    error::DataFusionError,
    logical_expr::{Aggregate, Expr, Join, LogicalPlan, LogicalPlanBuilder, Union},
};

use super::{
    Why, chain,
    keys::{Keyed, keyed, window_below},
    leaves::{Leaves, Of},
};
use crate::barrier;

/// Nodes of a plan that finds keys. Each join whose sides both have changes needs what is below it four
/// times, so that planning would take minutes where there are many of them below each other.
const NODES_MAX: usize = 1_000;

/// How many more nodes a plan might have, if it has not too many.
fn nodes_left(plan: &LogicalPlan, max: usize) -> Option<usize> {
    plan.inputs().into_iter().try_fold(max.checked_sub(1)?, |left, input| nodes_left(input, left))
}

/// Rows that came and rows that went; `None` when there are none.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    pub(super) came: Option<LogicalPlan>,
    pub(super) went: Option<LogicalPlan>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.came.is_none() && self.went.is_none()
    }

    /// All of them, whatever happened.
    pub(super) fn all(self) -> Result<Option<LogicalPlan>, DataFusionError> {
        union(self.came, self.went)
    }

    fn map(
        self,
        mut of: impl FnMut(LogicalPlan) -> Result<LogicalPlan, DataFusionError>,
    ) -> Result<Self, DataFusionError> {
        Ok(Self { came: self.came.map(&mut of).transpose()?, went: self.went.map(of).transpose()? })
    }
}

/// An operator or a reason why there is no proof.
pub(super) type Proved<T> = Result<Result<T, Why>, DataFusionError>;

/// Unwraps a proof, or ends with the reason.
macro_rules! proved {
    ($proof:expr) => {
        match $proof? {
            Ok(proved) => proved,
            Err(why) => return Ok(Err(why)),
        }
    };
}

/// What happened to the rows of a plan.
pub(super) struct Deltas<'a> {
    pub(super) leaves: &'a Leaves,
    /// Numbers the lists of keys, so that no two have one name.
    named: AtomicUsize,
}

impl<'a> Deltas<'a> {
    pub(super) fn new(leaves: &'a Leaves) -> Self {
        Self { leaves, named: AtomicUsize::new(0) }
    }

    /// Rows that came to a plan's result, and rows that went.
    pub(super) fn of(&self, plan: &LogicalPlan) -> Proved<Changes> {
        match plan {
            LogicalPlan::TableScan(scan) => {
                if !self.leaves.is_known(scan)? {
                    let why = format!("'{}' is no table with versions", scan.table_name);
                    return Ok(Err(Why::new("INPUT_WITHOUT_LOG", why)));
                }
                if scan.fetch.is_some() {
                    return Ok(Err(limited()));
                }
                Ok(Ok(Changes {
                    came: self.leaves.scan(scan, Of::Came)?,
                    went: self.leaves.scan(scan, Of::Went)?,
                }))
            }
            LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(Ok(Changes::default())),
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::Repartition(_) => {
                let Some(input) = plan.inputs().first().copied() else {
                    return Ok(Err(unknown(plan)));
                };
                let changes = proved!(self.of(input));
                let over = |input| plan.with_new_exprs(plan.expressions(), vec![input]);
                Ok(Ok(changes.map(over)?))
            }
            // An order without a limit says nothing about which rows there are.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.of(&sort.input),
            LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => Ok(Err(limited())),
            LogicalPlan::Union(union) => self.of_union(union),
            LogicalPlan::Join(join) if join.join_type == JoinType::Inner => self.of_inner(join),
            LogicalPlan::Join(_) | LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) => {
                if let LogicalPlan::Join(join) = plan
                    && let Some(changes) = proved!(self.of_kept_side(join))
                {
                    return Ok(Ok(changes));
                }
                let below = proved!(self.below(plan));
                if let Some(why) = below.inexact {
                    return Ok(Err(why));
                }
                let Some(keys) = below.keys else { return Ok(Ok(Changes::default())) };
                let keys = self.list(keys)?;
                let now = below.keyed.restricted(plan, &keys, |input| Ok(input.clone()))?;
                let before =
                    below.keyed.restricted(plan, &keys, |i| self.leaves.before(i.clone()))?;
                Ok(Ok(Changes { came: Some(now), went: Some(before) }))
            }
            other => Ok(Err(unknown(other))),
        }
    }

    /// The keys of an operator's rows that may be others now.
    pub(super) fn below(&self, plan: &LogicalPlan) -> Proved<Below> {
        let keyed = match keyed(plan) {
            Ok(keyed) => keyed,
            Err(why) => return Ok(Err(why)),
        };
        let (mut keys, mut inexact) = (None, keyed.inexact.clone());
        for (input, by) in plan.inputs().into_iter().zip(&keyed.by) {
            let below = chain::bottom(input, by);
            if below.is_some() {
                inexact.get_or_insert_with(window_below);
            }
            let (input, by) = below.unwrap_or_else(|| (input, by.clone()));
            let changed = proved!(self.of(input)).all()?;
            let Some(changed) = changed else { continue };
            let named = by.iter().enumerate().map(|(n, expr)| expr.clone().alias(key_name(n)));
            let found = LogicalPlanBuilder::from(changed).project(named)?.build()?;
            keys = union(keys, Some(found))?;
        }
        let keys =
            keys.map(|keys| LogicalPlanBuilder::from(keys).distinct()?.build()).transpose()?;
        if keys.as_ref().is_some_and(|keys| nodes_left(keys, NODES_MAX).is_none()) {
            let why = "too many joins below each other have changes on both sides: what changed would take \
                       longer to find out than the result";
            return Ok(Err(Why::new("TOO_MANY_JOINS", why)));
        }
        Ok(Ok(Below { keyed, keys, inexact }))
    }

    /// What happened to the rows of a join that works row by row; `None` when it does not.
    pub(super) fn of_kept_side(&self, join: &Join) -> Proved<Option<Changes>> {
        let is_left = match join.join_type {
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => true,
            JoinType::Right | JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                false
            }
            JoinType::Inner | JoinType::Full => return Ok(Ok(None)),
        };
        let (kept, other) =
            if is_left { (&join.left, &join.right) } else { (&join.right, &join.left) };
        if !proved!(self.of(other)).is_empty() {
            return Ok(Ok(None));
        }
        let changes = proved!(self.of(kept)).map(|rows| {
            let (rows, other) = (Arc::new(rows), Arc::clone(other));
            let (left, right) = if is_left { (rows, other) } else { (other, rows) };
            Ok(LogicalPlan::Join(Join { left, right, ..join.clone() }))
        })?;
        Ok(Ok(Some(changes)))
    }

    /// A list of keys under a name of its own.
    pub(super) fn list(&self, keys: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
        let number = self.named.fetch_add(1, Ordering::Relaxed);
        LogicalPlanBuilder::from(keys).alias(format!("@keys{number}"))?.build()
    }

    fn of_union(&self, inputs: &Union) -> Proved<Changes> {
        let (mut came, mut went) = (Vec::new(), Vec::new());
        for input in &inputs.inputs {
            let changes = proved!(self.of(input));
            came.extend(changes.came.map(Arc::new));
            went.extend(changes.went.map(Arc::new));
        }
        let of = |mut inputs_of: Vec<Arc<LogicalPlan>>| {
            // A union wants two inputs; the second one has no rows.
            if inputs_of.len() == 1 {
                inputs_of.extend(inputs.inputs.first().map(|input| Arc::new(empty_as(input))));
            }
            let schema = Arc::clone(&inputs.schema);
            (!inputs_of.is_empty()).then(|| LogicalPlan::Union(Union { inputs: inputs_of, schema }))
        };
        Ok(Ok(Changes { came: of(came), went: of(went) }))
    }

    fn of_inner(&self, join: &Join) -> Proved<Changes> {
        let left = proved!(self.of(&join.left));
        let right = proved!(self.of(&join.right));
        let left_before = self.leaves.before(join.left.as_ref().clone())?;
        let joined = |left: LogicalPlan, right: LogicalPlan| {
            let (left, right) = (Arc::new(left), Arc::new(right));
            LogicalPlan::Join(Join { left, right, ..join.clone() })
        };
        let both = |of_left: Option<LogicalPlan>, of_right: Option<LogicalPlan>| {
            let from_left = of_left.map(|left| joined(left, join.right.as_ref().clone()));
            let from_right = of_right.map(|right| joined(left_before.clone(), right));
            union(from_left, from_right)
        };
        Ok(Ok(Changes { came: both(left.came, right.came)?, went: both(left.went, right.went)? }))
    }
}

/// The keys below an operator.
pub(super) struct Below {
    pub(super) keyed: Keyed,
    /// One column for each part of the key, see [`key_name`]; `None` when nothing changed.
    pub(super) keys: Option<LogicalPlan>,
    /// Why what it gave before cannot be computed again, row for row.
    pub(super) inexact: Option<Why>,
}

/// The name of a part of a key in a list of keys.
pub(super) fn key_name(part: usize) -> String {
    format!("@key{part}")
}

/// Rows whose key is in the list; NULL is a key like any other.
pub(super) fn with_keys(
    input: LogicalPlan,
    by: &[Expr],
    keys: &LogicalPlan,
) -> Result<LogicalPlan, DataFusionError> {
    matched(input, by, keys, JoinType::LeftSemi)
}

pub(super) fn matched(
    input: LogicalPlan,
    by: &[Expr],
    keys: &LogicalPlan,
    join_type: JoinType,
) -> Result<LogicalPlan, DataFusionError> {
    let columns = keys.schema().columns();
    let on = by.iter().cloned().zip(columns.into_iter().map(Expr::Column)).collect();
    Ok(LogicalPlan::Join(Join::try_new(
        Arc::new(input),
        Arc::new(keys.clone()),
        on,
        None,
        join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNull,
        false,
    )?))
}

/// Both, where there are two.
pub(super) fn union(
    a: Option<LogicalPlan>,
    b: Option<LogicalPlan>,
) -> Result<Option<LogicalPlan>, DataFusionError> {
    let (a, b) = match (a, b) {
        (Some(a), Some(b)) => (a, b),
        (a, b) => return Ok(a.or(b)),
    };
    // Columns of a union have no relation, and two of one name would be one: so they are numbered
    // meanwhile.
    let shown = Arc::clone(a.schema());
    let numbered = |plan: LogicalPlan| {
        let columns = plan.schema().columns().into_iter().enumerate();
        let items = columns.map(|(n, column)| Expr::Column(column).alias(format!("@{n}")));
        let items: Vec<_> = items.collect();
        LogicalPlanBuilder::from(plan).project(items)?.build()
    };
    let both = LogicalPlanBuilder::from(numbered(a)?).union(numbered(b)?)?;
    let items = shown.iter().enumerate().map(|(n, (relation, field))| {
        let column = Expr::Column(Column::from_name(format!("@{n}")));
        column.alias_qualified(relation.cloned(), field.name())
    });
    Ok(Some(both.project(items.collect::<Vec<_>>())?.build()?))
}

fn empty_as(plan: &LogicalPlan) -> LogicalPlan {
    LogicalPlan::EmptyRelation(datafusion::logical_expr::EmptyRelation {
        produce_one_row: false,
        schema: Arc::clone(plan.schema()),
    })
}

fn limited() -> Why {
    Why::new("LIMIT", "which rows a LIMIT leaves depends on all others")
}

fn unknown(plan: &LogicalPlan) -> Why {
    if let LogicalPlan::Extension(node) = plan
        && barrier::is_one(node)
    {
        let why = "a row filter or a mask is between the owner and what the query reads, and what it hides \
                   may have changed";
        return Why::new("POLICY", why);
    }
    let what = match plan {
        LogicalPlan::RecursiveQuery(_) => "WITH RECURSIVE".to_owned(),
        LogicalPlan::Distinct(_) => "DISTINCT ON".to_owned(),
        LogicalPlan::Subquery(_) => "a subquery in FROM that names columns beside it".to_owned(),
        other => {
            let name = other.display().to_string();
            let name = name.split([':', ' ', '(']).next().unwrap_or_default();
            format!("the operator {name}")
        }
    };
    Why::new("OPERATOR", format!("what {what} gives cannot be computed from changes alone"))
}

/// Its node, when the plan is one.
pub(super) fn aggregate(plan: &LogicalPlan) -> Option<&Aggregate> {
    match plan {
        LogicalPlan::Aggregate(aggregate) => Some(aggregate),
        _ => None,
    }
}
