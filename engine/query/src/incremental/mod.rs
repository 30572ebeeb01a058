//! How a materialized view is refreshed: what its new result is computed from.
//!
//! A refresh is incremental only where that is proved to give what the query gives over its pinned
//! inputs. The proof goes over the plan, from the leaves up (`delta.rs`): rows that came to an input
//! and rows that went become rows that came to the result and rows that went from it. An operator
//! that works group by group (an aggregate, a window, an outer join) gives outside the groups that
//! changed what it gave before; inside them it is computed anew, from whole inputs. Nothing is kept
//! between runs but the result itself, so there is no state that could be wrong.
//!
//! Whatever is not proved is computed in full, and the reason is recorded with the run.

mod apply;
mod chain;
mod choose;
mod delta;
mod keys;
mod leaves;
mod merge;
mod part;
mod shape;
mod since;

use std::{fmt, sync::Arc};

use datafusion::{execution::TaskContext, logical_expr::LogicalPlan, physical_plan::ExecutionPlan};
use lake::Snapshot;

use crate::{error::QueryError, expect::Gate, transform::PlannedTransform};
pub use choose::{ApprovalNeeded, RefreshWish, changes_failed};
pub(crate) use choose::{is_of_the_planner, nothing_for};
pub use part::{PartWish, PlannedPart};
pub use since::{Since, app_id, is_mixed, mixed_app_id, source_app_id};

/// Whether a query has a function that answers differently from run to run.
pub(crate) fn answers_differently(plan: &LogicalPlan) -> Result<bool, QueryError> {
    Ok(shape::deterministic(plan)?.is_some())
}

/// How a run computes its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Strategy {
    /// All of it, from all rows of the inputs.
    Full,
    /// Rows that the inputs' new rows make are added.
    Append,
    /// Rows that the inputs' new rows make are added to the aggregates that are there.
    Merge,
    /// Rows of the keys that changed are computed anew.
    Keys,
    /// Partitions in which a key changed are computed anew.
    Partitions,
    /// Single rows come and go, found by all of their columns.
    Rows,
    /// The partitions that were asked for are computed anew, whatever changed.
    Part,
}

impl Strategy {
    /// The word that is recorded and shown.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Append => "APPEND",
            Self::Merge => "MERGE",
            Self::Keys => "KEYS",
            Self::Partitions => "PARTITIONS",
            Self::Rows => "ROWS",
            Self::Part => "PART",
        }
    }
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 7] = [
        Self::Full,
        Self::Append,
        Self::Merge,
        Self::Keys,
        Self::Partitions,
        Self::Rows,
        Self::Part,
    ];

    /// Its number in the logs of tables; never changes.
    #[must_use]
    pub fn number(self) -> i64 {
        match self {
            Self::Full => 0,
            Self::Append => 1,
            Self::Merge => 2,
            Self::Keys => 3,
            Self::Partitions => 4,
            Self::Rows => 5,
            Self::Part => 6,
        }
    }

    /// The strategy with a number; of a number that this version does not know, a full one.
    #[must_use]
    pub fn of_number(number: i64) -> Self {
        Self::ALL.into_iter().find(|strategy| strategy.number() == number).unwrap_or(Self::Full)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something is not computed incrementally, or not in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// A word for machines, for example `NOT_DETERMINISTIC`.
    pub code: &'static str,
    /// The rest for people; empty when the word says it all.
    pub detail: String,
}

impl Why {
    pub(crate) fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        Ok(())
    }
}

/// What was chosen for one run, and what was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// How the result is computed.
    pub strategy: Strategy,
    /// Why this way.
    pub reason: Why,
    /// Ways that were not taken, each with its reason.
    pub alternatives: Vec<(Strategy, Why)>,
}

/// A refresh that is planned.
#[derive(Debug)]
pub struct PlannedRefresh {
    /// How, and why.
    pub choice: Choice,
    /// What is to be staged.
    pub work: RefreshWork,
    /// What the rows that come go through, where something is expected of them.
    pub gate: Option<Arc<Gate>>,
}

/// What the lake has to do with the rows of a plan.
#[derive(Debug)]
pub enum RefreshWork {
    /// They become the table.
    Replace(PlannedTransform),
    /// They are added to the table, which has to be at this version.
    Append(PlannedTransform, Arc<Snapshot>),
    /// They say which rows go and which come, see [`lake::StageChange`].
    Change(PlannedTransform, Arc<Snapshot>),
}

impl RefreshWork {
    /// The plan, whatever becomes of its rows.
    #[must_use]
    pub fn planned(&self) -> &PlannedTransform {
        match self {
            Self::Replace(planned) | Self::Append(planned, _) | Self::Change(planned, _) => planned,
        }
    }

    /// Its parts.
    #[must_use]
    pub fn plan(&self) -> (Arc<dyn ExecutionPlan>, Arc<TaskContext>) {
        let planned = self.planned();
        (Arc::clone(&planned.plan), Arc::clone(&planned.task))
    }
}
