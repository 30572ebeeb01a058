//! What the holder of a lease may do: pin, heartbeat, finish.

use catalog::error::CatalogError;
use model::{
    id::RunId,
    job::{JobState, Lease, LeaseState, PinnedInput, RunOutcome, RunProgress},
    report::RunReport,
    time::Timestamp,
};

use super::{
    Ended, Locked,
    approval::{Question, ask, look_again},
    end, list, locked_columns, moves, parent,
};
use crate::{
    database::{Transaction, row},
    sql::sql,
    value::values,
};

/// Locks the job of a lease, if the lease is still good.
///
/// A lease that ran out is good as long as nobody else has taken the run.
pub(super) async fn held(
    tx: &mut impl Transaction,
    lease: &Lease,
) -> Result<Option<Locked>, CatalogError> {
    let found = row(
        tx,
        sql!("SELECT " locked_columns " FROM jobs j WHERE j.run_id = $1" LOCK_J),
        values![lease.run],
    )
    .await?;
    let Some(found) = found else { return Ok(None) };
    let job = Locked::read(found)?;
    let ours = job.attempt == lease.attempt && job.worker == Some(lease.worker);
    Ok((job.state.is_under_way() && ours).then_some(job))
}

pub(super) fn lost(lease: &Lease) -> CatalogError {
    CatalogError::LeaseLost(lease.run.to_string())
}

/// See [`catalog::jobs::Jobs::pin`].
pub(super) async fn pin(
    tx: &mut impl Transaction,
    lease: &Lease,
    inputs: &[PinnedInput],
) -> Result<Vec<PinnedInput>, CatalogError> {
    if held(tx, lease).await?.is_none() {
        return Err(lost(lease));
    }
    if let Some(stored) = pinned(tx, lease.run).await? {
        return Ok(stored);
    }
    for (position, input) in (0_i64..).zip(inputs) {
        tx.rows(
            sql!("INSERT INTO run_inputs (run_id, position, object_id, object_schema,"
                 " object_name, delta_table_id, version) VALUES ($1, $2, $3, $4, $5, $6, $7)"),
            values![
                lease.run,
                position,
                input.object,
                input.name.schema(),
                input.name.name(),
                input.delta_table_id.as_str(),
                input.version,
            ],
        )
        .await?;
    }
    tx.rows(sql!("UPDATE runs SET pinned = 1 WHERE id = $1"), values![lease.run]).await?;
    Ok(inputs.to_vec())
}

/// See [`catalog::jobs::Jobs::pinned`].
pub(super) async fn pinned(
    tx: &mut impl Transaction,
    run: RunId,
) -> Result<Option<Vec<PinnedInput>>, CatalogError> {
    let found = row(tx, sql!("SELECT pinned FROM runs WHERE id = $1"), values![run]).await?;
    let Some(mut found) = found else { return Ok(None) };
    if !found.truth("pin of a run")? {
        return Ok(None);
    }
    let inputs = list::run_inputs(tx, &[run]).await?;
    Ok(Some(inputs.into_iter().map(|(_, input)| input).collect()))
}

/// What a worker says of itself.
pub(super) struct Beat {
    pub(super) state: JobState,
    pub(super) progress: RunProgress,
    pub(super) lease_until: Timestamp,
}

/// See [`catalog::jobs::Jobs::heartbeat`].
pub(super) async fn heartbeat(
    tx: &mut impl Transaction,
    lease: &Lease,
    beat: &Beat,
) -> Result<LeaseState, CatalogError> {
    let Some(job) = held(tx, lease).await? else { return Ok(LeaseState::Lost) };
    let state = next_state(&job, beat.state)?;
    moves(job.state, state);
    tx.rows(
        sql!("UPDATE jobs SET state = $2, lease_until = $3 WHERE id = $1"),
        values![job.id, state, beat.lease_until],
    )
    .await?;
    tx.rows(sql!("UPDATE runs SET state = $2 WHERE id = $1"), values![lease.run, state]).await?;
    record(tx, lease, &beat.progress).await?;
    Ok(if job.stop_asked { LeaseState::StopAsked } else { LeaseState::Held })
}

/// The state after a heartbeat. An attempt only moves forward: a late heartbeat that still says
/// RUNNING takes nothing back.
fn next_state(job: &Locked, asked: JobState) -> Result<JobState, CatalogError> {
    let rank = |state| match state {
        JobState::Planning => Some(0),
        JobState::Running => Some(1),
        JobState::Committing => Some(2),
        _ => None,
    };
    if rank(asked).is_none() {
        return Err(CatalogError::JobState {
            job: job.id.to_string(),
            state: job.state.to_string(),
            why: "a heartbeat says PLANNING, RUNNING or COMMITTING",
        });
    }
    if job.stop_asked && asked == JobState::Committing {
        return Ok(job.state);
    }
    Ok(if rank(asked) > rank(job.state) { asked } else { job.state })
}

/// See [`catalog::jobs::Jobs::finish`].
pub(super) async fn finish(
    tx: &mut impl Transaction,
    lease: &Lease,
    outcome: &RunOutcome,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let Some(job) = held(tx, lease).await? else { return Err(lost(lease)) };
    let at = Some(now);
    match outcome {
        RunOutcome::Succeeded { .. }
        | RunOutcome::Maintained { .. }
        | RunOutcome::SkippedNoChange { .. } => succeed(tx, &job, lease, outcome, now).await,
        RunOutcome::NeedsApproval { strategy, reason, report } => {
            ask(tx, &job, lease, &Question { strategy, reason, report }, now).await
        }
        RunOutcome::Cancelled => {
            end(tx, job.id, &Ended { state: JobState::Cancelled, error: None, at }).await
        }
        RunOutcome::Failed { code, message, retry_after, report } => {
            record_report(tx, lease, report).await?;
            let error = Some(message.clone());
            let again = code.is_transient() && job.attempt < job.attempts_max;
            if !again {
                return end(tx, job.id, &Ended { state: JobState::Failed, error, at }).await;
            }
            if job.stop_asked {
                return end(tx, job.id, &Ended { state: JobState::Cancelled, error, at }).await;
            }
            queue_again(tx, &job, lease, message, now.plus(*retry_after)).await
        }
    }
}

async fn succeed(
    tx: &mut impl Transaction,
    job: &Locked,
    lease: &Lease,
    outcome: &RunOutcome,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let (state, version) = match outcome {
        RunOutcome::Succeeded { output_version, .. } => {
            (JobState::Succeeded, Some(*output_version))
        }
        RunOutcome::Maintained { output_version, .. } => (JobState::Succeeded, *output_version),
        RunOutcome::SkippedNoChange { output_version } => {
            (JobState::SkippedNoChange, Some(*output_version))
        }
        RunOutcome::Cancelled | RunOutcome::NeedsApproval { .. } | RunOutcome::Failed { .. } => {
            return Ok(());
        }
    };
    moves(job.state, state);
    tx.rows(
        sql!("UPDATE jobs SET state = $2, finished_at = $3, error = NULL, worker_id = NULL,"
             " lease_until = NULL WHERE id = $1"),
        values![job.id, state, now],
    )
    .await?;
    tx.rows(
        sql!("UPDATE runs SET state = $2, finished_at = $3, error = NULL, output_version = $4"
             " WHERE id = $1"),
        values![lease.run, state, now, version],
    )
    .await?;
    parent::follows(tx, job.id, Some(now)).await?;
    match outcome {
        RunOutcome::Succeeded { progress, strategy, reason, definition_hash, report, .. } => {
            tx.rows(
                sql!("UPDATE runs SET strategy = $2, reason = $3, definition_hash = $4"
                     " WHERE id = $1"),
                values![lease.run, strategy.as_str(), reason.as_str(), definition_hash.as_str()],
            )
            .await?;
            record_report(tx, lease, report).await?;
            record(tx, lease, progress).await?;
            look_again(tx, job.object, now).await
        }
        RunOutcome::Maintained { progress, result, .. } => {
            tx.rows(
                sql!("UPDATE runs SET result = $2 WHERE id = $1"),
                values![lease.run, result.to_json()],
            )
            .await?;
            record(tx, lease, progress).await
        }
        _ => Ok(()),
    }
}

/// Writes down what a run has done so far.
async fn record(
    tx: &mut impl Transaction,
    lease: &Lease,
    progress: &RunProgress,
) -> Result<(), CatalogError> {
    tx.rows(
        sql!("UPDATE runs SET rows_read = $2, rows_read_expected = $3, rows_written = $4,"
             " bytes_written = $5, files = $6, files_expected = $7 WHERE id = $1"),
        values![
            lease.run,
            progress.rows_read,
            progress.rows_read_expected,
            progress.rows_written,
            progress.bytes_written,
            progress.files,
            progress.files_expected,
        ],
    )
    .await?;
    Ok(())
}

/// Writes down what a run says of itself, in the place of what an earlier attempt said.
pub(super) async fn record_report(
    tx: &mut impl Transaction,
    lease: &Lease,
    report: &RunReport,
) -> Result<(), CatalogError> {
    let report = (!report.is_empty()).then(|| report.to_json());
    tx.rows(sql!("UPDATE runs SET report = $2 WHERE id = $1"), values![lease.run, report]).await?;
    Ok(())
}

async fn queue_again(
    tx: &mut impl Transaction,
    job: &Locked,
    lease: &Lease,
    message: &str,
    not_before: Timestamp,
) -> Result<(), CatalogError> {
    moves(job.state, JobState::Queued);
    tx.rows(
        sql!("UPDATE jobs SET state = 'QUEUED', error = $2, not_before = $3, worker_id = NULL,"
             " lease_until = NULL WHERE id = $1"),
        values![job.id, message, not_before],
    )
    .await?;
    tx.rows(
        sql!("UPDATE runs SET state = 'QUEUED', error = $2 WHERE id = $1"),
        values![lease.run, message],
    )
    .await?;
    Ok(())
}
