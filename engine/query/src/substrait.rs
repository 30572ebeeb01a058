//! Queries that come as a plan of Substrait in the place of a text.
//!
//! It exists so that a tool that plans by itself can send what it has. A plan names tables and
//! functions and says which columns it takes them to have; whatever that is, it goes where a text goes:
//! its names are found as those of a text are, with the rights of whoever sends it, and the planner gets
//! the tables that a text would get, views and policies above them. So it travels as a text does
//! ([`text`]): a statement of its own, which is prepared, logged, sealed and planned again like any other.
//!
//! A plan only reads: relations that write are refused, and so is whatever names files.

mod consumer;
mod emit;

use std::panic::AssertUnwindSafe;

use base64::{Engine, prelude::BASE64_STANDARD};
use datafusion::{error::DataFusionError, execution::SessionState, logical_expr::LogicalPlan};
use datafusion_substrait::{
    extensions::Extensions,
    logical_plan::consumer::from_substrait_plan_with_consumer,
    serializer::deserialize_bytes,
    substrait::proto::{Plan, Version, plan_rel::RelType},
};
use dialect::statement::TableUse;
use futures::FutureExt;
use model::code::Code;

use self::consumer::{Consumer, Tables};
use crate::{
    caller,
    error::QueryError,
    planning::in_turn,
    queries::{Checked, Inner},
    resolve::{Purpose, Reads},
    session::Session,
};

/// The first version of Substrait that is read.
pub const VERSION_MIN: &str = "0.20.0";
/// The last version of Substrait that is read: later ones may say what this one does not know.
pub const VERSION_MAX: &str = "0.85.0";

/// The minor numbers of these: the major one is 0.
const MINORS: std::ops::RangeInclusive<u32> = 20..=85;

/// A plan as a statement.
#[must_use]
pub fn text(plan: &[u8]) -> String {
    format!("SUBSTRAIT '{}'", BASE64_STANDARD.encode(plan))
}

/// Refuses a version of Substrait that is not read. None at all, as an empty text, is for the plan to
/// tell.
pub fn check_version(version: &str) -> Result<(), QueryError> {
    if version.is_empty() {
        return Ok(());
    }
    let mut parts = version.trim_start_matches('v').splitn(3, '.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(0)), Some(Ok(minor))) if MINORS.contains(&minor) => Ok(()),
        _ => Err(unknown_version(version)),
    }
}

fn unknown_version(version: &str) -> QueryError {
    QueryError::Unsupported(format!(
        "the plan is of version {version} of Substrait; \
         those from {VERSION_MIN} to {VERSION_MAX} are read"
    ))
}

/// Finds what a plan names and makes a plan of ours of it, parameters still open.
pub(crate) async fn check(
    inner: &Inner,
    session: &Session,
    plan: &str,
) -> Result<Checked, QueryError> {
    let plan = decoded(plan)?;
    let extensions = Extensions::try_from(&plan.extensions).map_err(unreadable)?;
    if !extensions.type_variations.is_empty() {
        return Err(QueryError::Unsupported("type variations of Substrait".to_owned()));
    }
    // Once with the columns that it says its tables have, for the names of these.
    let rights = inner.rights(session.principal()).await?;
    let mut state = inner.state(session.schema());
    state.config_mut().set_extension(inner.planners.of(rights.name()));
    caller::register(&mut state, &rights)?;
    let named = Consumer::new(&extensions, &state, Tables::Named);
    read(&state, &named, &plan).await?;
    let tables: Vec<_> = named.into_names().into_iter().map(table_use).collect();
    let reads = Reads { tables: &tables, files: &[] };
    let resolved = inner.resolve(session, reads, Purpose::Read).await?;
    // And once with those that they have.
    let found = Consumer::new(&extensions, &resolved.state, Tables::Found);
    let plan = read(&resolved.state, &found, &plan).await?;
    let parameters = found.parameters();
    Ok(Checked { resolved, plan, parameters, guessed: false })
}

fn table_use(name: Vec<String>) -> TableUse {
    TableUse { planned_name: name.clone(), name, at: None }
}

fn decoded(text: &str) -> Result<Plan, QueryError> {
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|error| QueryError::Invalid(format!("the plan is no base64: {error}")))?;
    let plan = *deserialize_bytes(&bytes).map_err(unreadable)?;
    if let Some(Version { major_number, minor_number, patch_number, .. }) = &plan.version
        && (*major_number, *minor_number, *patch_number) != (0, 0, 0)
    {
        check_version(&format!("{major_number}.{minor_number}.{patch_number}"))?;
    }
    consumer::refuse_enhancement(plan.advanced_extensions.as_ref()).map_err(unreadable)?;
    let root = match plan.relations.as_slice() {
        [relation] => relation.rel_type.as_ref(),
        [] => None,
        _ => {
            let what = "a Substrait plan with several trees of relations";
            return Err(QueryError::Unsupported(what.to_owned()));
        }
    };
    let has_input = match root {
        Some(RelType::Root(root)) => root.input.is_some(),
        Some(RelType::Rel(_)) => true,
        None => false,
    };
    match has_input {
        true => Ok(plan),
        false => Err(QueryError::Invalid("the Substrait plan has no relation".to_owned())),
    }
}

async fn read(
    state: &SessionState,
    consumer: &Consumer<'_>,
    plan: &Plan,
) -> Result<LogicalPlan, QueryError> {
    let reading = from_substrait_plan_with_consumer(consumer, plan);
    // The library trusts what it reads. What the consumer has not refused before, the client is told,
    // and not only this thread.
    let read = in_turn(state, AssertUnwindSafe(reading).catch_unwind()).await;
    match read {
        Ok(plan) => plan.map_err(unreadable),
        Err(_) => Err(QueryError::Invalid("the Substrait plan contradicts itself".to_owned())),
    }
}

/// An error of reading a plan: whoever sent it is at fault.
fn unreadable(error: DataFusionError) -> QueryError {
    let error = QueryError::from(error);
    match error.code() {
        Code::Internal => {
            QueryError::Invalid(format!("the Substrait plan cannot be read: {error}"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests;
