//! The columns of what statements answer that take effect.

use arrow::datatypes::SchemaRef;
use dialect::statement::{JobStatement, RightsStatement, Statement};

use crate::{command, system};

/// The columns of the rows that a statement answers without being a query; of others, none.
pub(super) fn answered(statement: &Statement) -> Option<SchemaRef> {
    match statement {
        Statement::Maintain(maintain) => command::maintain::answer_schema(maintain),
        Statement::Refresh(_)
        | Statement::Job(
            JobStatement::Wait { .. }
            | JobStatement::Cancel { .. }
            | JobStatement::Retry { .. }
            | JobStatement::RetryFailed { .. }
            | JobStatement::Approve { .. },
        ) => Some(system::job_rows(&[]).schema()),
        Statement::Quarantine(statement) => command::quarantine::answer_schema(statement),
        Statement::Verify { .. } => Some(command::verify::answer_schema()),
        Statement::ExplainRefresh { .. } => Some(command::transforms::answer_schema()),
        Statement::Backfill(_) => Some(command::backfill::answer_schema()),
        Statement::Folder { .. } => Some(command::folders::answer_schema()),
        Statement::Rights(RightsStatement::CreateToken { .. }) => {
            Some(command::users::answer_schema())
        }
        _ => None,
    }
}
