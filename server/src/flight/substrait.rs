//! Plans of Substrait, as the statements that they are: from here on they go the way of every text.

use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedSubstraitPlanRequest,
    CommandStatementQuery, CommandStatementSubstraitPlan, SubstraitPlan,
};
use query::substrait;
use tonic::Status;

use crate::error::{invalid, status};

/// A plan to be run.
pub(super) fn query(
    command: CommandStatementSubstraitPlan,
) -> Result<CommandStatementQuery, Status> {
    let CommandStatementSubstraitPlan { plan, transaction_id } = command;
    Ok(CommandStatementQuery { query: text(plan)?, transaction_id })
}

/// A plan to be prepared.
pub(super) fn prepared(
    request: ActionCreatePreparedSubstraitPlanRequest,
) -> Result<ActionCreatePreparedStatementRequest, Status> {
    let ActionCreatePreparedSubstraitPlanRequest { plan, transaction_id } = request;
    Ok(ActionCreatePreparedStatementRequest { query: text(plan)?, transaction_id })
}

fn text(plan: Option<SubstraitPlan>) -> Result<String, Status> {
    let SubstraitPlan { plan, version } =
        plan.ok_or_else(|| invalid("there is no plan in the request"))?;
    substrait::check_version(&version).map_err(|error| status(&error))?;
    Ok(substrait::text(&plan))
}
