//! VERIFY … AT RUN: whether a run has made what its query says, whatever was made since.
//!
//! It exists because a result that somebody has used may be an older one. What would not be a comparison
//! with that run's own result is refused by what it lacks, never answered.

use std::{collections::HashMap, sync::Arc};

use dialect::statement::Percent;
use lake::{At, LakeError, Snapshot};
use model::{
    id::{ObjectId, RunId},
    job::{JobState, PinnedInput, Run},
    name::ObjectName,
    object::{Object, ObjectBody, TableFormat},
    principal::Principal,
    rights::Rights,
    transform::Transform,
    work::JobKind,
};

use super::{Stands, Verified, says_gone};
use crate::{definition, error::QueryError, queries::Inner, transform::leaves};

/// Compares what a run has made, or a sample of it, with what its query gives over what it has read.
pub(super) async fn verified(
    inner: &Inner,
    rights: &Rights,
    (object, view): (&Object, &Transform),
    run: &str,
    sample: Option<Percent>,
) -> Result<Verified, QueryError> {
    let (run, version) = find(inner, rights, object, run).await?;
    let catalog = inner.options.catalog.as_ref();
    let is_same = match &run.definition_hash {
        Some(then) => *then == definition::hash(catalog, catalog, &object.owner, view).await?,
        None => false,
    };
    if !is_same {
        return Err(refused(
            &run,
            &format!(
                "'{}' was redefined after it, or a view or a policy that it reads through was, and the \
                 query of then is not kept",
                object.name
            ),
            &format!("VERIFY {} compares the newest result", object.name.to_sql()),
        ));
    }
    let inputs = catalog.run_inputs(&[run.id]).await?;
    let inputs: Vec<PinnedInput> = inputs.into_iter().map(|(_, input)| input).collect();
    let gone = |error: QueryError| if_gone(error, object, &run);
    check_inputs(inner, object, view, &run, &inputs).await.map_err(gone)?;
    let table = inner.options.lake.snapshot(&view.location, At::Version(version)).await;
    let table: Arc<Snapshot> = table.map_err(|error| gone(error.into()))?;
    // The partitions that it has computed; what it has left stands for older versions.
    let part = run.report.part.as_ref().map(|part| part.condition.clone());
    let stands = Stands { run: run.clone(), inputs, part };
    inner.compared(object, view, &table, stands, sample).await.map_err(gone)
}

/// The run and the version that it made.
async fn find(
    inner: &Inner,
    rights: &Rights,
    object: &Object,
    text: &str,
) -> Result<(Run, i64), QueryError> {
    let name = object.name.to_string().replace('\'', "''");
    let hint = format!(
        "SELECT run_id, state, started_at, output_version FROM system.runs WHERE object = '{name}' lists them"
    );
    let unknown = |problem: String| QueryError::Refused { problem, hint: hint.clone() };
    let Ok(id) = text.parse::<RunId>() else {
        return Err(unknown(format!("'{text}' is not the id of a run, which is a UUID")));
    };
    let missing = || unknown(format!("there is no run '{id}' of '{}'", object.name));
    let catalog = &inner.options.catalog;
    let Some(run) = catalog.run(id).await? else { return Err(missing()) };
    if run.object != object.id {
        if run.object_name == object.name {
            return Err(unknown(format!(
                "the run '{id}' is one of an earlier '{}', which was dropped since",
                object.name
            )));
        }
        // Whoever may not know of the other object is not told of it.
        let other = catalog.object(run.object).await?.filter(|other| rights.sees(other));
        return Err(match other {
            Some(other) => unknown(format!(
                "the run '{id}' is one of '{}', not of '{}'",
                other.name, object.name
            )),
            None => missing(),
        });
    }
    if run.kind != JobKind::Refresh {
        let what = format!("it is one of {}, which computes no query", run.kind);
        return Err(refused(&run, &what, &hint));
    }
    match (run.state, run.output_version) {
        (JobState::Succeeded, Some(version)) => Ok((run, version)),
        (state, _) => {
            let what = match state {
                JobState::SkippedNoChange => "nothing had changed, so it has made no version",
                state if state.is_final() => "it has made no version",
                _ => "it has not ended",
            };
            Err(refused(&run, &format!("it is {state}: {what}"), &hint))
        }
    }
}

/// Refuses a run over tables that are not there any more as the run has read them.
async fn check_inputs(
    inner: &Inner,
    object: &Object,
    view: &Transform,
    run: &Run,
    inputs: &[PinnedInput],
) -> Result<(), QueryError> {
    let owner = inner.rights(&Principal::verified(&object.owner)).await?;
    let pins: HashMap<ObjectId, &PinnedInput> =
        inputs.iter().map(|input| (input.object, input)).collect();
    let hint = format!("VERIFY {} compares the newest result", object.name.to_sql());
    for leaf in leaves(inner, &owner, view, None).await? {
        let anew = || {
            let what = format!("'{}' was created anew since, and is another table now", leaf.name);
            refused(run, &what, &hint)
        };
        let Some(pin) = pins.get(&leaf.id) else { return Err(anew()) };
        let is_files = matches!(&leaf.body, ObjectBody::Table(t) if t.format != TableFormat::Delta);
        if is_files != pin.delta_table_id.is_empty() {
            return Err(anew());
        }
        let Some(location) = leaf.location().filter(|_| !is_files) else { continue };
        let then = inner.options.lake.snapshot(location, At::Version(pin.version)).await?;
        if then.table_id() != pin.delta_table_id {
            return Err(anew());
        }
    }
    match other_files(inner, inputs).await? {
        None => Ok(()),
        Some(name) => Err(refused(
            run,
            &format!(
                "the files of '{name}' are not those that it has read, and files have no versions to go \
                 back to"
            ),
            &hint,
        )),
    }
}

/// A table of plain files among these inputs whose files are not those of then.
pub(crate) async fn other_files(
    inner: &Inner,
    inputs: &[PinnedInput],
) -> Result<Option<ObjectName>, QueryError> {
    for input in inputs.iter().filter(|input| input.delta_table_id.is_empty()) {
        let Some(object) = inner.options.catalog.object(input.object).await? else { continue };
        let ObjectBody::Table(table) = &object.body else { continue };
        let is_files = table.format != TableFormat::Delta;
        if is_files && inner.options.lake.table_fingerprint(table).await? != input.version {
            return Ok(Some(object.name));
        }
    }
    Ok(None)
}

/// The error of a comparison, told as what it mostly is where a version or a file is not there.
fn if_gone(error: QueryError, object: &Object, run: &Run) -> QueryError {
    if !says_gone(&error) {
        return error;
    }
    refused(
        run,
        &format!(
            "versions or files of then are gone, as after a VACUUM, or when the log has become too long: \
             {error}"
        ),
        &format!("VERIFY {} compares the newest result", object.name.to_sql()),
    )
}

fn refused(run: &Run, why: &str, hint: &str) -> QueryError {
    QueryError::Refused {
        problem: format!("the run '{}' cannot be verified: {why}", run.id),
        hint: hint.to_owned(),
    }
}

/// Whether it says that an old version of a table is not there.
pub(super) fn is_gone(error: &LakeError) -> bool {
    matches!(
        error,
        LakeError::FileGone { .. }
            | LakeError::VersionExpired { .. }
            | LakeError::VersionNotFound { .. }
            | LakeError::NotFound { .. }
    )
}
