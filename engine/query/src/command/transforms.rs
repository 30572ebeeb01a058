//! Statements about how and when transforms are refreshed: EXPLAIN REFRESH, SUSPEND, RESUME and ALTER.

use arrow::{datatypes::SchemaRef, record_batch::RecordBatch};
use catalog::{jobs::Jobs, objects::OnConflict};
use datafusion::physical_plan::displayable;
use dialect::statement::{AlterTransform, AlterTransformAction, InputVersion, Wakes};
use model::{
    job::PinnedInput,
    name::ObjectName,
    object::{Object, ObjectBody},
    principal::Principal,
    time::Timestamp,
    transform::{Misfire, SuspendedReason, Transform},
};

use super::{
    inputs::{Named, versions, with_versions},
    redeclare, schedules,
    show::kind_of,
    streaming,
    tables::wrong_kind,
};
use crate::{
    answer::Answer,
    authorize::may_read_all,
    definition,
    error::QueryError,
    expect::Quarantining,
    incremental::{ApprovalNeeded, PlannedRefresh, RefreshWish, Strategy, Why},
    queries::{CommandResult, Inner, Queries},
    session::Session,
    streaming::FlowToRun,
};

/// What the next refresh would do, and why; nothing is written. Keys that changed are looked for, since
/// the choice depends on them. The refresh reads with the rights of the owner, so its plan, and how
/// much it reads, is only for who may read all of that too.
pub(super) async fn explain(
    queries: &Queries,
    session: &Session,
    name: &[String],
    full: bool,
    at: &[InputVersion],
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let object = transform_named(inner, session, name).await?;
    let Some(view) = object.computed() else {
        return Err(wrong_kind(
            &object,
            "whose refreshes always append what is new, new files among it: EXPLAIN REFRESH is for materialized \
             views, and for tables with AUTO CDC",
        ));
    };
    let owner = Principal::verified(&object.owner);
    let inputs = queries.transform_inputs(&owner, view, None).await?;
    let at = Named { object: &object, view, inputs: at, full };
    let inputs = with_versions(inputs, &versions(queries, session, &at).await?);
    let rights = inner.rights(session.principal()).await?;
    let shows_plan = may_read_all(&rights, &object).is_ok()
        && inner.may_show_plan(&owner, view, &inputs, &rights).await?;
    let seen = inner.seen(&rights).await?;
    let last = Jobs::last_refresh(inner.options.catalog.as_ref(), object.id).await?;
    let catalog = inner.options.catalog.as_ref();
    let hash = definition::hash(catalog, catalog, &object.owner, view).await?;
    let since = queries.since(&object, view, &hash, last.as_ref(), full).await?;
    let before = last.as_ref().map(|last| last.inputs.clone()).unwrap_or_default();
    let sees = |input: &&PinnedInput| rights.is_admin() || seen.contains(&input.object);
    let shown: Vec<_> = inputs.iter().filter(sees).cloned().collect();
    let mut lines: Vec<(&'static str, String)> = Vec::new();
    if view.suspended {
        lines.push(("suspended", "a refresh is refused until ALTER … RESUME".to_owned()));
    }
    if since.is_ok() && queries.same_rows(catalog, &before, &inputs).await? {
        let reason = "SKIPPED_NO_CHANGE: its inputs have the rows that its last run has read";
        lines.extend([("strategy", "none".to_owned()), ("reason", reason.to_owned())]);
        lines.extend(inputs_of(&shown, &before));
        return Ok(CommandResult::rows(answer(&lines)));
    }
    if let (Some(last), false) = (&last, full)
        && let Some(why) = changed_events(queries, &owner, view, &last.inputs, &inputs).await?
    {
        let refused = "its events were changed: REFRESH … FULL takes them as they are now";
        lines.extend([("refused", refused.to_owned()), ("reason", why.to_string())]);
        lines.extend(inputs_of(&shown, &before));
        return Ok(CommandResult::rows(answer(&lines)));
    }
    let wish = RefreshWish {
        owner,
        view: view.clone(),
        inputs,
        since,
        full_is_meant: full || last.is_none(),
        quarantining: Quarantining {
            run: model::id::RunId::generate(),
            at: inner.options.clock.now(),
        },
        profile: inner.profile_of(view),
        known: None,
    };
    match queries.plan_refresh(wish).await {
        Ok(PlannedRefresh { choice, work, .. }) => {
            lines.push(("strategy", choice.strategy.to_string()));
            lines.push(("reason", choice.reason.to_string()));
            for (strategy, why) in &choice.alternatives {
                lines.push(("not taken", format!("{strategy}: {why}")));
            }
            lines.extend(inputs_of(&shown, &before));
            lines.push(("profile", view.resources.profile.clone()));
            if shows_plan {
                lines.push(("bytes to read", work.planned().bytes_to_read().to_string()));
                let (plan, _) = work.plan();
                lines.push(("plan", displayable(plan.as_ref()).indent(false).to_string()));
            }
        }
        Err(QueryError::FullRefused { why, rule }) => {
            lines.push(("refused", format!("only a full refresh is left, which {rule} forbids")));
            lines.push(("reason", why));
            lines.extend(inputs_of(&shown, &before));
        }
        Err(QueryError::ApprovalNeeded(needed)) => {
            let ApprovalNeeded { reason, alternatives, bytes } = *needed;
            lines.push(("strategy", Strategy::Full.to_string()));
            lines.push(("reason", reason.to_string()));
            let waits = "its job would wait for APPROVE JOB";
            lines.push((
                "approval",
                match bytes.filter(|_| shows_plan) {
                    Some(bytes) => format!("{waits}; its inputs have {bytes} bytes"),
                    None => waits.to_owned(),
                },
            ));
            for (strategy, why) in &alternatives {
                lines.push(("not taken", format!("{strategy}: {why}")));
            }
            lines.extend(inputs_of(&shown, &before));
        }
        Err(error) => return Err(error),
    }
    Ok(CommandResult::rows(answer(&lines)))
}

/// The columns of the answer.
pub(crate) fn answer_schema() -> SchemaRef {
    answer(&[]).schema()
}

fn answer(lines: &[(&'static str, String)]) -> RecordBatch {
    Answer::new()
        .text("item", lines.iter().map(|(item, _)| *item))
        .text("value", lines.iter().map(|(_, value)| value.as_str()))
        .finish()
}

/// Why AUTO CDC cannot go on from what it has read last: its events have to stay what they were.
async fn changed_events(
    queries: &Queries,
    owner: &Principal,
    view: &Transform,
    last: &[PinnedInput],
    now: &[PinnedInput],
) -> Result<Option<Why>, QueryError> {
    let Some(flow) = FlowToRun::of_changes(view, last) else { return Ok(None) };
    match queries.new_rows(owner, vec![flow], now, None).await {
        Ok(_) => Ok(None),
        Err(error) => error.begins_anew().map(Some).ok_or(error),
    }
}

/// From which version to which each input would be read.
fn inputs_of(now: &[PinnedInput], last: &[PinnedInput]) -> Vec<(&'static str, String)> {
    let lines = now.iter().map(|input| {
        let before = last.iter().find(|before| before.object == input.object);
        let text = match before {
            _ if input.delta_table_id.is_empty() => {
                format!("{}: files without versions", input.name)
            }
            None => format!("{}: version {}, whole", input.name, input.version),
            Some(before) if before.version == input.version => {
                format!("{}: version {}, unchanged", input.name, input.version)
            }
            Some(before) if before.version > input.version => {
                format!("{}: version {} back to {}", input.name, before.version, input.version)
            }
            Some(before) => {
                format!("{}: version {} to {}", input.name, before.version, input.version)
            }
        };
        ("input", text)
    });
    lines.collect()
}

/// SUSPEND and RESUME: whether a transform is refreshed by itself or on request.
pub(super) async fn suspend(
    queries: &Queries,
    session: &Session,
    name: &[String],
    suspended: bool,
) -> Result<CommandResult, QueryError> {
    let mut object = transform_named(&queries.inner, session, name).await?;
    if let Some(transform) = declared(&mut object) {
        transform.suspended = suspended;
        transform.suspended_reason = suspended.then_some(SuspendedReason::Statement);
    }
    store(queries, object).await
}

/// ALTER MATERIALIZED VIEW or STREAMING TABLE: when it refreshes by itself, and what it declares.
pub(super) async fn alter(
    queries: &Queries,
    session: &Session,
    alter: &AlterTransform,
) -> Result<CommandResult, QueryError> {
    let inner = &queries.inner;
    let mut object = transform_named(inner, session, &alter.name).await?;
    if object.kind() != kind_of(alter.kind) {
        let problem = format!("and is changed with ALTER {}", object.kind().as_sql());
        return Err(wrong_kind(&object, &problem));
    }
    match &alter.action {
        AlterTransformAction::Properties(change) => {
            redeclare::properties(inner, &mut object, change).await?;
        }
        AlterTransformAction::Comment(comment) => object.comment.clone_from(comment),
        AlterTransformAction::AddConstraint(added) => {
            redeclare::add(inner, session, &mut object, added).await?;
        }
        AlterTransformAction::DropConstraint { name, if_exists } => {
            redeclare::drop(inner, session, &mut object, name, *if_exists).await?;
        }
        wakes => wake(&mut object, wakes, inner.options.clock.now())?,
    }
    if let Some(transform) = object.transform() {
        streaming::check_trigger(transform)?;
    }
    let definition = redeclare::restated(&object)?;
    if let Some(transform) = declared(&mut object) {
        transform.definition = definition;
    }
    store(queries, object).await
}

/// Changes what makes a transform refresh by itself.
fn wake(
    object: &mut Object,
    action: &AlterTransformAction,
    now: Timestamp,
) -> Result<(), QueryError> {
    let name = object.name.clone();
    let Some(transform) = declared(object) else { return Ok(()) };
    let wakes = transform.schedule.is_some() || transform.trigger.is_some();
    match action {
        AlterTransformAction::Add(_) if wakes => {
            return Err(QueryError::Invalid(format!(
                "'{name}' has a schedule or a trigger already: ALTER it, or DROP it first"
            )));
        }
        AlterTransformAction::Alter(_) if !wakes => {
            return Err(QueryError::Invalid(format!(
                "'{name}' has no schedule and no trigger: ADD one"
            )));
        }
        AlterTransformAction::Add(Wakes::Schedule(schedule, misfire))
        | AlterTransformAction::Alter(Wakes::Schedule(schedule, misfire)) => {
            schedules::check(Some(schedule), now)?;
            transform.schedule_since = schedules::since(Some(&*transform), Some(schedule), now);
            (transform.schedule, transform.misfire) = (Some(schedule.clone()), *misfire);
            transform.trigger = None;
        }
        AlterTransformAction::Add(Wakes::Trigger(trigger))
        | AlterTransformAction::Alter(Wakes::Trigger(trigger)) => {
            (transform.schedule, transform.misfire) = (None, Misfire::default());
            transform.trigger = Some(*trigger);
        }
        AlterTransformAction::DropSchedule if transform.schedule.is_none() => {
            return Err(QueryError::Invalid(format!("'{name}' has no schedule")));
        }
        AlterTransformAction::DropSchedule => {
            (transform.schedule, transform.misfire) = (None, Misfire::default());
        }
        AlterTransformAction::DropTrigger if transform.trigger.is_none() => {
            return Err(QueryError::Invalid(format!("'{name}' has no trigger")));
        }
        AlterTransformAction::DropTrigger => transform.trigger = None,
        AlterTransformAction::Properties(_)
        | AlterTransformAction::Comment(_)
        | AlterTransformAction::AddConstraint(_)
        | AlterTransformAction::DropConstraint { .. } => {}
    }
    Ok(())
}

fn declared(object: &mut Object) -> Option<&mut Transform> {
    match &mut object.body {
        ObjectBody::MaterializedView(transform) | ObjectBody::StreamingTable(transform) => {
            Some(transform)
        }
        ObjectBody::Table(_) | ObjectBody::View(_) => None,
    }
}

async fn store(queries: &Queries, object: Object) -> Result<CommandResult, QueryError> {
    let on = OnConflict::Replace { id: object.id, definition_version: object.definition_version };
    queries.inner.options.catalog.put_object(&object, on).await?;
    queries.inner.options.wake.notify_one();
    Ok(CommandResult::done())
}

async fn transform_named(
    inner: &Inner,
    session: &Session,
    name: &[String],
) -> Result<Object, QueryError> {
    let name = ObjectName::from_parts(name, session.schema())?;
    let found = inner.objects_named(std::slice::from_ref(&name)).await?.pop();
    let Some(object) = found else { return Err(inner.missing(session, name).await) };
    if object.transform().is_none() {
        return Err(wrong_kind(
            &object,
            "and only materialized views and streaming tables refresh",
        ));
    }
    Ok(object)
}
