//! What a REFRESH says besides what is to be refreshed: which part, and in which order, how often and
//! under which key.

use std::fmt::Write as _;

use dialect::statement::{Along, Refresh, RefreshOptions};
use model::{
    job::{JobCause, PRIORITIES, PinnedInput, RequestKey},
    object::{Object, ObjectBody},
    work::{AtWork, PartWork},
};

use super::{
    inputs::{Named, versions},
    tables::wrong_kind,
};
use crate::{
    error::QueryError,
    queries::{Inner, Queries},
    session::Session,
};

/// The longest key that a request may have, in bytes.
const KEY_BYTES_MAX: usize = 256;

/// How the jobs of a request are queued.
pub(super) struct Asked {
    pub(super) cause: JobCause,
    /// Recompute even when no input changed.
    pub(super) force: bool,
    pub(super) priority: i32,
    pub(super) attempts_max: u32,
    /// Only these partitions, of the one transform that is named.
    pub(super) part: Option<PartWork>,
    /// These versions of inputs of the one transform that is named.
    pub(super) at: Option<AtWork>,
    pub(super) key: Option<RequestKey>,
    /// What it says of what runs may take.
    pub(super) options: RefreshOptions,
}

impl Asked {
    /// As when nothing else was said.
    pub(super) fn plainly(inner: &Inner, cause: JobCause) -> Self {
        let attempts_max = inner.options.limits.attempts_max;
        let options = RefreshOptions::default();
        let (part, at, key) = (None, None, None);
        Self { cause, force: false, priority: 0, attempts_max, part, at, key, options }
    }

    /// As a statement says it; what it cannot mean is refused. `objects` are those that it names.
    pub(super) async fn by(
        queries: &Queries,
        session: &Session,
        refresh: &Refresh,
        objects: &[&Object],
    ) -> Result<Self, QueryError> {
        let options = &refresh.options;
        let plainly = Self::plainly(&queries.inner, JobCause::Request);
        let priority = options.priority.unwrap_or_default();
        let Some(priority) = i32::try_from(priority).ok().filter(|p| PRIORITIES.contains(p)) else {
            return Err(QueryError::Invalid(format!(
                "priority is between {} and {}, not {priority}",
                PRIORITIES.start(),
                PRIORITIES.end()
            )));
        };
        let at = match objects {
            [object] if !refresh.inputs.is_empty() => {
                Some(at(queries, session, refresh, object).await?)
            }
            _ => None,
        };
        let part = match (&refresh.condition, objects) {
            (Some(condition), [object]) => Some(part(queries, refresh, object, condition).await?),
            _ => None,
        };
        let asked_at = at.as_ref().map(|at| at.at.as_slice()).unwrap_or_default();
        let key = options.idempotency_key.as_ref();
        let key = key.map(|key| key_of(key, refresh, objects, asked_at));
        Ok(Self {
            force: refresh.full,
            priority,
            attempts_max: options.max_attempts.unwrap_or(plainly.attempts_max),
            part,
            key: key.transpose()?,
            at,
            options: options.clone(),
            ..plainly
        })
    }
}

/// REFRESH … WHERE, if a part of the object can be computed alone.
async fn part(
    queries: &Queries,
    refresh: &Refresh,
    object: &Object,
    condition: &str,
) -> Result<PartWork, QueryError> {
    let view = view_with_parts(object, "REFRESH … WHERE")?;
    if refresh.full {
        return Err(QueryError::Invalid(
            "FULL computes everything and WHERE only a part, always anew: leave one of them out"
                .to_owned(),
        ));
    }
    if refresh.along != Along::Nothing {
        return Err(QueryError::Invalid(
            "WHERE names partitions of one view, which those that it reads and those that read it \
             do not have: leave WITH UPSTREAM and WITH DOWNSTREAM out"
                .to_owned(),
        ));
    }
    queries.check_part(object, view, condition).await?;
    Ok(PartWork { condition: condition.to_owned(), inputs: None })
}

/// REFRESH … USING INPUTS, if the object can be computed from these versions.
async fn at(
    queries: &Queries,
    session: &Session,
    refresh: &Refresh,
    object: &Object,
) -> Result<AtWork, QueryError> {
    if refresh.condition.is_some() {
        return Err(QueryError::Invalid(
            "WHERE computes a part from the newest versions, beside other parts, and USING INPUTS names \
             other versions: leave one of them out"
                .to_owned(),
        ));
    }
    if refresh.along != Along::Nothing {
        return Err(QueryError::Invalid(
            "USING INPUTS names what one transform reads, and a graph run chooses one version of each \
             table for all of its transforms: leave WITH UPSTREAM and WITH DOWNSTREAM out"
                .to_owned(),
        ));
    }
    let Some(view) = object.transform() else {
        return Err(wrong_kind(object, "and has no inputs"));
    };
    let named = Named { object, view, inputs: &refresh.inputs, full: refresh.full };
    let mut at = versions(queries, session, &named).await?;
    // However they are written, the same versions are the same request.
    at.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(AtWork { at })
}

/// The definition of something whose partitions can be computed one by one.
pub(super) fn view_with_parts<'a>(
    object: &'a Object,
    what: &str,
) -> Result<&'a model::transform::Transform, QueryError> {
    match &object.body {
        ObjectBody::MaterializedView(view) => Ok(view),
        ObjectBody::StreamingTable(_) => Err(QueryError::Unsupported(format!(
            "{what}: '{}' is a streaming table, which keeps what it has read once, so no part of it \
             can be computed again; REFRESH STREAMING TABLE {} FULL reads all rows that its sources \
             have now",
            object.name,
            object.name.to_sql()
        ))),
        _ => Err(wrong_kind(object, &format!("and {what} is for materialized views"))),
    }
}

/// The key of a statement. When it answers is no part of what it asks for.
fn key_of(
    key: &str,
    refresh: &Refresh,
    objects: &[&Object],
    at: &[PinnedInput],
) -> Result<RequestKey, QueryError> {
    if key.len() > KEY_BYTES_MAX {
        return Err(QueryError::Invalid(format!(
            "an idempotency_key has at most {KEY_BYTES_MAX} bytes, and this one has {}",
            key.len()
        )));
    }
    let names: Vec<_> = objects.iter().map(|object| object.name.to_sql()).collect();
    let mut request = format!("REFRESH {}", names.join(", "));
    if refresh.full {
        request.push_str(" FULL");
    }
    if let Some(condition) = &refresh.condition {
        // Writing to a text cannot fail.
        let _ = write!(request, " WHERE {condition}");
    }
    let at = at.iter().map(|input| format!("{} VERSION {}", input.name.to_sql(), input.version));
    let at: Vec<_> = at.collect();
    if !at.is_empty() {
        let _ = write!(request, " USING INPUTS ({})", at.join(", "));
    }
    request.push_str(match refresh.along {
        Along::Nothing => "",
        Along::Upstream => " WITH UPSTREAM",
        Along::Downstream => " WITH DOWNSTREAM",
    });
    let options = &refresh.options;
    let said = [
        options.priority.map(|priority| format!("priority = {priority}")),
        options.max_attempts.map(|attempts| format!("max_attempts = {attempts}")),
        options.profile.as_ref().map(|profile| format!("profile = {profile}")),
        options.max_bytes.map(|bytes| format!("max_bytes = {bytes}")),
    ];
    let said: Vec<_> = said.into_iter().flatten().collect();
    if !said.is_empty() {
        let _ = write!(request, " OPTIONS ({})", said.join(", "));
    }
    Ok(RequestKey { key: key.to_owned(), request })
}
