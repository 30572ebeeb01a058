//! USING INPUTS: versions of inputs that a refresh reads in the place of the newest ones.
//!
//! Everything that can be wrong with them is said before a job is queued, by the name of the input. What
//! changes until its run begins, the run finds.

use std::slice;

use dialect::statement::InputVersion;
use lake::{At, LakeError};
use model::{
    job::PinnedInput,
    name::ObjectName,
    object::{Object, ObjectBody},
    principal::Principal,
    rights::{Privilege, Rights},
    transform::Transform,
};

use crate::{
    authorize::not_granted,
    error::QueryError,
    queries::{Inner, Queries},
    session::Session,
};

/// What a refresh of a transform is asked to read.
pub(super) struct Named<'a> {
    pub(super) object: &'a Object,
    pub(super) view: &'a Transform,
    pub(super) inputs: &'a [InputVersion],
    /// FULL: a streaming table begins anew, and keeps no row.
    pub(super) full: bool,
}

/// The inputs at the versions that are named. Whoever chooses what of a table is shown has to be one
/// who may read it.
pub(super) async fn versions(
    queries: &Queries,
    session: &Session,
    named: &Named<'_>,
) -> Result<Vec<PinnedInput>, QueryError> {
    let Named { object, view, inputs, .. } = named;
    if inputs.is_empty() {
        return Ok(Vec::new());
    }
    let inner = &queries.inner;
    let rights = inner.rights(session.principal()).await?;
    let owner = Principal::verified(&object.owner);
    let read = queries.transform_inputs(&owner, view, None).await?;
    let mut chosen: Vec<PinnedInput> = Vec::with_capacity(inputs.len());
    for InputVersion { name, version } in *inputs {
        let name = ObjectName::from_parts(name, session.schema())?;
        let input = inner.objects_named(slice::from_ref(&name)).await?.pop();
        let Some(input) = input.filter(|input| rights.sees(input)) else {
            return Err(inner.not_found(&rights, name).await);
        };
        let Some(newest) = read.iter().find(|read| read.object == input.id) else {
            return Err(no_input(inner, &rights, object, &input, &read).await?);
        };
        if rights.columns(&input).is_none() {
            return Err(not_granted(&rights, Privilege::Select, &input.name.to_sql()));
        }
        if chosen.iter().any(|other| other.object == input.id) {
            return Err(QueryError::Invalid(format!("input '{name}' is named twice")));
        }
        let asked = PinnedInput { version: *version, ..newest.clone() };
        check(inner, named, &input, &asked).await?;
        chosen.push(asked);
    }
    Ok(chosen)
}

/// These inputs, of which some are read at the versions that are named.
pub(super) fn with_versions(
    mut inputs: Vec<PinnedInput>,
    named: &[PinnedInput],
) -> Vec<PinnedInput> {
    for input in &mut inputs {
        let asked = named.iter().find(|asked| asked.object == input.object);
        input.version = asked.map_or(input.version, |asked| asked.version);
    }
    inputs
}

/// Why something that is there is not one of the inputs.
async fn no_input(
    inner: &Inner,
    rights: &Rights,
    object: &Object,
    named: &Object,
    read: &[PinnedInput],
) -> Result<QueryError, QueryError> {
    let name = &named.name;
    let problem = match &named.body {
        ObjectBody::View(_) => format!("'{name}' is a view, which has no versions"),
        _ => format!("'{name}' is no input of '{}'", object.name),
    };
    let seen = inner.seen(rights).await?;
    let shown = read.iter().filter(|input| rights.is_admin() || seen.contains(&input.object));
    let shown: Vec<_> = shown.map(|input| input.name.to_string()).collect();
    Ok(QueryError::Refused {
        problem,
        hint: match shown.as_slice() {
            [] => format!("'{}' reads no table that could be named", object.name),
            shown => format!("inputs of '{}' are {}", object.name, shown.join(", ")),
        },
    })
}

/// Refuses a version that cannot be read, or that the transform may not go back to.
async fn check(
    inner: &Inner,
    named: &Named<'_>,
    input: &Object,
    asked: &PinnedInput,
) -> Result<(), QueryError> {
    let name = &input.name;
    let location = match input.location() {
        Some(location) if !asked.delta_table_id.is_empty() => location,
        _ => {
            return Err(QueryError::Refused {
                problem: format!("input '{name}' has no versions: it is files without a log"),
                hint: "leave it out of USING INPUTS: it is read as it is".to_owned(),
            });
        }
    };
    let lake = &inner.options.lake;
    let unreadable = |error: LakeError| {
        let why = match error {
            error if error.code().is_transient() => return QueryError::from(error),
            LakeError::FilesGone { first, more, .. } => format!(
                "its file '{first}' and {more} more are no longer there, since VACUUM deletes files of \
                 old versions"
            ),
            error => error.to_string(),
        };
        QueryError::Refused {
            problem: format!("input '{name}' cannot be read at version {}: {why}", asked.version),
            hint: format!("DESCRIBE HISTORY {} shows its versions", name.to_sql()),
        }
    };
    let table = lake.snapshot(location, At::Version(asked.version)).await.map_err(unreadable)?;
    if table.table_id() != asked.delta_table_id {
        return Err(QueryError::Refused {
            problem: format!("version {} of input '{name}' is of another table", asked.version),
            hint: format!("DESCRIBE HISTORY {} shows its versions", name.to_sql()),
        });
    }
    lake.look_for_files(location, asked.version).await.map_err(unreadable)?;
    match taken(inner, named, location, asked).await? {
        None => Ok(()),
        Some(read) => Err(QueryError::Refused {
            problem: format!(
                "the streaming table '{of}' has read '{name}' up to version {read} already and takes no \
                 row back: version {asked} is before that",
                of = named.object.name,
                asked = asked.version
            ),
            hint: format!(
                "name version {read} or a later one, or begin anew: REFRESH STREAMING TABLE {} FULL \
                 USING INPUTS ({} VERSION {})",
                named.object.name.to_sql(),
                name.to_sql(),
                asked.version
            ),
        }),
    }
}

/// Up to which version a streaming table that keeps its rows has read an input, where that is a later
/// one with other rows.
async fn taken(
    inner: &Inner,
    named: &Named<'_>,
    location: &str,
    asked: &PinnedInput,
) -> Result<Option<i64>, QueryError> {
    if named.full || !matches!(named.object.body, ObjectBody::StreamingTable(_)) {
        return Ok(None);
    }
    let Some(last) = inner.options.catalog.last_refresh(named.object.id).await? else {
        return Ok(None);
    };
    let same = |before: &&PinnedInput| {
        before.object == asked.object && before.delta_table_id == asked.delta_table_id
    };
    let read = last.inputs.iter().find(same).map(|before| before.version);
    let Some(read) = read.filter(|read| *read > asked.version) else { return Ok(None) };
    let moved = inner.options.lake.moved_only(location, asked.version, read).await?;
    Ok((!moved).then_some(read))
}
