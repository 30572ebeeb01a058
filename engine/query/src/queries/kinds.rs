//! What kind of statement it is, as far as running it differs.

use dialect::statement::{
    JobStatement, Maintain, NameParts, OldRows, QuarantineAction, Query, Statement, TableUse,
};
use model::name::RESERVED_SCHEMAS;

use crate::postgres;

/// Whether it only reads.
pub(super) fn is_query(statement: &Statement) -> bool {
    matches!(
        statement,
        Statement::Query(_)
            | Statement::Substrait { .. }
            | Statement::Explain { .. }
            | Statement::Show(_)
            | Statement::Job(JobStatement::Show(_) | JobStatement::Describe { .. })
            | Statement::Maintain(Maintain::Validate { .. })
    )
}

/// When a statement that is prepared is going to run.
#[derive(Debug, Clone, Copy)]
pub(super) enum Runs {
    AtOnce,
    Later,
}

/// Whether its run finds and plans all that would be checked before, and no parameters are to be told.
pub(super) fn is_planned_by_its_run(statement: &Statement) -> bool {
    match statement {
        Statement::Insert(insert) => {
            let replaces = match &insert.old_rows {
                OldRows::GoWhere(replaced) => replaced.rows.parameters,
                OldRows::Stay | OldRows::Go => 0,
            };
            insert.source.parameters + replaces == 0
        }
        Statement::Change(change) => change.rows.parameters == 0,
        _ => false,
    }
}

/// The table that a VALIDATE looks over.
pub(super) fn validated(statement: &Statement) -> Option<&NameParts> {
    match statement {
        Statement::Maintain(Maintain::Validate { target }) => Some(target),
        _ => None,
    }
}

/// Whether a statement that takes effect computes much, and so waits for its turn. What only changes
/// names, rights or jobs does not, nor does what waits for a job or for rows that its client brings:
/// a place that is held while somebody else is slow would be taken from all others.
pub(super) fn takes_a_turn(statement: &Statement) -> bool {
    let reads = |query: &Query| !query.tables.is_empty() || !query.files.is_empty();
    match statement {
        Statement::Insert(insert) => reads(&insert.source),
        // RELEASE is a job, and only waits for it.
        Statement::Quarantine(quarantine) => quarantine.action == QuarantineAction::Purge,
        Statement::Change(_) | Statement::Copy(_) | Statement::Verify { .. } => true,
        Statement::CreateTable(create) => create.query.is_some(),
        _ => false,
    }
}

/// Whether a query reads nothing but what the server knows by itself.
pub(super) fn asks_the_server(statement: &Statement) -> bool {
    let own = |used: &TableUse| {
        let schema = used.name.len().checked_sub(2).and_then(|n| used.name.get(n));
        schema.is_some_and(|schema| {
            schema == postgres::SCHEMA || RESERVED_SCHEMAS.contains(&schema.as_str())
        })
    };
    match statement {
        Statement::Show(_) | Statement::Job(_) => true,
        Statement::Query(query) => {
            let names_tables = !query.tables.is_empty() && query.files.is_empty();
            names_tables && query.tables.iter().all(own)
        }
        _ => false,
    }
}
