//! A query that came before: what it is made of is looked up, and its plan runs again.

use std::sync::Arc;

use arrow::datatypes::Schema;
use dialect::statement::Statement;
use parking_lot::Mutex;

use super::{FirstPlan, Inner, PlanBody, Prepared};
use crate::{
    bounds::Bounds,
    kept::{KeptPlan, KeptPlans},
    resolve::{self, Pins, Purpose, Wanted},
    session::Session,
};

impl Inner {
    /// A statement that was planned before, ready to run again.
    pub(super) async fn prepared_before(&self, session: &Session, sql: &str) -> Option<Prepared> {
        let first_plan = self.plan_of_before(session, sql).await?;
        let FirstPlan::Kept { plan, .. } = &first_plan else { return None };
        Some(Prepared {
            sql: sql.to_owned(),
            statement: Arc::clone(&plan.statement),
            schema: Arc::clone(&plan.schema),
            parameters: Arc::new(Schema::empty()),
            first_plan: Mutex::new(Some(first_plan)),
        })
    }

    /// The plan that a text was given before, when all that it was made of is found to be the same.
    /// `None` also for an error: whoever plans anew finds it too.
    pub(super) async fn plan_of_before(&self, session: &Session, sql: &str) -> Option<FirstPlan> {
        if !KeptPlans::are_for(session) {
            return None;
        }
        let plan = self.kept.find(session, sql)?;
        let Statement::Query(query) = &*plan.statement else { return None };
        let rights = self.rights(session.principal()).await.ok()?;
        let bounds = Bounds::of(&rights);
        let wanted = Wanted {
            rights,
            default_schema: session.schema(),
            purpose: Purpose::Read,
            pins: &Pins::new(),
            streams: None,
            known: None,
        };
        let looked = resolve::look_up(self, query.into(), &wanted).await.ok()?;
        if !looked.is_as(&plan.basis) {
            self.kept.forget(session, sql);
            return None;
        }
        Some(FirstPlan::Kept { plan, bounds })
    }

    /// A kept plan for another run.
    pub(super) fn again(&self, kept: &KeptPlan) -> Option<PlanBody> {
        let (task, runtime) = (Arc::clone(&self.task), kept.runtime.clone());
        Some(PlanBody::Physical { plan: kept.plan.again()?, task, runtime })
    }
}
