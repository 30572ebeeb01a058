//! Plans of queries that came before, for the same query to come again.
//!
//! Planning a small query takes longer than running it. So the plan is kept, with all that it was made
//! of: the text, the rights of everybody whose text it reads, the objects with their definitions and
//! policies, the version of each table. All of that is looked up for each statement as ever, and only
//! where it is the same the plan is taken again: what the planner would be asked would be the same.
//!
//! Never kept is a plan that the caller, the time or chance are part of, see [`is_settled`], and one
//! of which a second run would find what the first has left, see [`Tree::of`]. What is kept holds no
//! version of a table.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::SchemaRef;
use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    error::Result as DataFusionResult,
    logical_expr::{Expr, LogicalPlan, Volatility},
    physical_plan::{
        ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions, aggregates::AggregateExec,
        coalesce_partitions::CoalescePartitionsExec, coop::CooperativeExec, filter::FilterExec,
        limit::GlobalLimitExec, limit::LocalLimitExec, projection::ProjectionExec,
        repartition::RepartitionExec,
    },
};
use dialect::statement::Statement;
use lake::KeptScan;
use parking_lot::Mutex;
use rt::cpu::CpuRuntime;

use crate::{barrier, recipe::Recipe, resolve::Basis, session::Session};

/// Plans at once.
const PLANS_MAX: usize = 1_000;
/// Bytes of all plans, about.
const BYTES_MAX: usize = 64 << 20;
/// Bytes of one plan, about: what reads so much that its plan is larger gains nothing.
const PLAN_MAX: usize = 256 << 10;
/// Bytes of an operator, of a column and of a file in a plan, about.
const OPERATOR: usize = 4 << 10;
const COLUMN: usize = 512;
const FILE: usize = 1 << 10;

/// A plan that is kept, and all that it was made of.
pub(crate) struct KeptPlan {
    /// What the text says.
    pub(crate) statement: Arc<Statement>,
    /// What its names stood for.
    pub(crate) basis: Basis,
    /// Columns of the answer under their wire types.
    pub(crate) schema: SchemaRef,
    /// By what another server can plan it; `now()` is none of it.
    pub(crate) recipe: Recipe,
    /// Where it runs.
    pub(crate) runtime: CpuRuntime,
    pub(crate) plan: Tree,
}

impl KeptPlan {
    fn size(&self) -> usize {
        // The text is here, in the key, in the recipe and, as a tree, in the statement.
        let text = self.recipe.sql.len() * 16;
        let columns = self.schema.fields().len() * COLUMN;
        text + columns + self.basis.size() + self.plan.size()
    }
}

/// A plan whose parts with a state of their own are made anew for each run.
pub(crate) enum Tree {
    /// Reads files.
    Scan(Box<KeptScan>),
    /// An operator over others.
    Operator { node: Arc<dyn ExecutionPlan>, inputs: Vec<Self> },
}

impl Tree {
    /// Takes a plan that was made to run once. `None` unless each of its parts is known to begin anew
    /// when it is given new inputs: sorts with limits, joins and minima share what they learn with the
    /// scans below them.
    pub(crate) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        if let Some(scan) = KeptScan::of(plan.as_ref()) {
            return Some(Self::Scan(Box::new(scan)));
        }
        let begins_anew = plan.is::<FilterExec>()
            || plan.is::<ProjectionExec>()
            || plan.is::<CooperativeExec>()
            || plan.is::<CoalescePartitionsExec>()
            || plan.is::<GlobalLimitExec>()
            || plan.is::<LocalLimitExec>()
            || plan.is::<RepartitionExec>()
            || plan.is::<AggregateExec>()
            || barrier::is_barrier(plan.as_ref());
        let inputs: Vec<Self> = plan.children().into_iter().map(Self::of).collect::<Option<_>>()?;
        if !begins_anew || inputs.is_empty() {
            return None;
        }
        // Over scans at rest: an operator would hold the versions that its inputs hold.
        let node = with_inputs(plan, inputs.iter().map(Self::at_rest).collect())?;
        Some(Self::Operator { node, inputs })
    }

    /// The plan for another run. `None` when a version of a table is gone.
    pub(crate) fn again(&self) -> Option<Arc<dyn ExecutionPlan>> {
        match self {
            Self::Scan(scan) => scan.again(),
            Self::Operator { node, inputs } => {
                let inputs = inputs.iter().map(Self::again).collect::<Option<_>>()?;
                with_inputs(node, inputs)
            }
        }
    }

    fn at_rest(&self) -> Arc<dyn ExecutionPlan> {
        match self {
            Self::Scan(scan) => scan.at_rest(),
            Self::Operator { node, .. } => Arc::clone(node),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Scan(scan) => OPERATOR + scan.files() * FILE,
            Self::Operator { inputs, .. } => {
                OPERATOR + inputs.iter().map(Self::size).sum::<usize>()
            }
        }
    }
}

/// The operator over inputs that are, but for their counters, those that it has.
fn with_inputs(
    node: &Arc<dyn ExecutionPlan>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
) -> Option<Arc<dyn ExecutionPlan>> {
    let keep = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Keep);
    Arc::clone(node).replace_children(inputs, keep).ok()
}

/// Whether a plan, before the optimizer has seen it, means the same whoever runs it, and whenever.
pub(crate) fn is_settled(plan: &LogicalPlan) -> DataFusionResult<bool> {
    let mut settled = true;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(inner) = scan.source.get_logical_plan()
        {
            settled &= is_settled(&inner)?;
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let volatility = match expr {
                    Expr::ScalarFunction(call) => call.func.signature().volatility,
                    Expr::AggregateFunction(call) => call.func.signature().volatility,
                    Expr::WindowFunction(call) => call.fun.signature().volatility,
                    Expr::HigherOrderFunction(_)
                    | Expr::Placeholder(_)
                    | Expr::ScalarVariable(..) => Volatility::Volatile,
                    _ => Volatility::Immutable,
                };
                settled &= volatility == Volatility::Immutable;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(settled)
}

/// What tells two statements apart, beside what their names stand for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    sql: String,
    schema: String,
    principal: String,
}

impl Asked {
    fn by(session: &Session, sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            schema: session.schema().to_owned(),
            principal: session.principal().name().to_owned(),
        }
    }
}

/// The plans that are kept; what was used longest ago makes room.
#[derive(Default)]
pub(crate) struct KeptPlans {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    plans: HashMap<Asked, Place>,
    bytes: usize,
    uses: u64,
}

struct Place {
    plan: Arc<KeptPlan>,
    bytes: usize,
    used: u64,
}

impl KeptPlans {
    /// Whether statements of the session mean what their text says: in a transaction, with rows that
    /// come along, by a recipe, and for Postgres clients there is more to it.
    pub(crate) fn are_for(session: &Session) -> bool {
        session.transaction().is_none()
            && session.rows().is_none()
            && session.recipe().is_none()
            && session.postgres().is_none()
    }

    /// The plan of the same text of the same principal, which may be about something else by now.
    pub(crate) fn find(&self, session: &Session, sql: &str) -> Option<Arc<KeptPlan>> {
        let asked = Asked::by(session, sql);
        let mut kept = self.kept.lock();
        kept.uses += 1;
        let used = kept.uses;
        let place = kept.plans.get_mut(&asked)?;
        place.used = used;
        Some(Arc::clone(&place.plan))
    }

    /// Keeps a plan, in the place of an older one of the same text.
    pub(crate) fn keep(&self, session: &Session, plan: KeptPlan) {
        let bytes = plan.size();
        let asked = Asked::by(session, &plan.recipe.sql);
        // What is dropped may be a lot, and is dropped when others can go on.
        let mut gone = Vec::new();
        let mut kept = self.kept.lock();
        gone.extend(kept.remove(&asked));
        if bytes > PLAN_MAX {
            return;
        }
        while kept.plans.len() >= PLANS_MAX || kept.bytes + bytes > BYTES_MAX {
            let oldest = kept.plans.iter().min_by_key(|(_, place)| place.used);
            let Some(oldest) = oldest.map(|(asked, _)| asked.clone()) else { break };
            gone.extend(kept.remove(&oldest));
        }
        kept.uses += 1;
        kept.bytes += bytes;
        let used = kept.uses;
        kept.plans.insert(asked, Place { plan: Arc::new(plan), bytes, used });
    }

    /// Forgets the plan of a text, which is about something else now.
    pub(crate) fn forget(&self, session: &Session, sql: &str) {
        let gone = self.kept.lock().remove(&Asked::by(session, sql));
        drop(gone);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.kept.lock().plans.len()
    }
}

impl Kept {
    fn remove(&mut self, asked: &Asked) -> Option<Arc<KeptPlan>> {
        let place = self.plans.remove(asked)?;
        self.bytes -= place.bytes;
        Some(place.plan)
    }
}

#[cfg(test)]
pub(crate) mod tests;
