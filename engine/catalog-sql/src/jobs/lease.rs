//! What the holder of a lease may do: pin, heartbeat, finish.

use catalog::error::CatalogError;
use model::{
    id::RunId,
    job::{JobState, Lease, LeaseState, PinnedInput, RunOutcome, RunProgress},
    report::RunReport,
    time::Timestamp,
};
use serde_json::json;

use super::{
    Ended, Locked,
    approval::{Question, ask, look_again},
    end, list, locked_columns, moves, parent,
};
use crate::{
    database::{Database, Transaction, row},
    sql::sql,
    value::{list as list_of, values},
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

/// See [`catalog::jobs::Jobs::pin`], for a run that has pinned nothing before: what nearly all calls are.
/// Answers whether these inputs are pinned now.
pub(super) async fn pin_first(
    db: &impl Database,
    lease: &Lease,
    inputs: &[PinnedInput],
) -> Result<bool, CatalogError> {
    let written = (0_i64..).zip(inputs).map(|(position, input)| {
        json!({
            "position": position,
            "object": input.object.to_string(),
            "schema": input.name.schema(),
            "name": input.name.name(),
            "table": input.delta_table_id,
            "version": input.version,
        })
    });
    // Of two calls at once the second waits for the job, and finds the run pinned.
    let pinned = db
        .change(
            "pin the inputs of a run",
            sql!(HOLDING
                 "INSERT INTO run_inputs (run_id, position, object_id, object_schema,"
                 " object_name, delta_table_id, version)"
                 " SELECT held_run, CAST(r ->> 'position' AS BIGINT), r ->> 'object',"
                 " r ->> 'schema', r ->> 'name', r ->> 'table', CAST(r ->> 'version' AS BIGINT)"
                 " FROM " HELD ", " [objects 4]
                 " WHERE EXISTS (SELECT 1 FROM runs p WHERE p.id = held_run AND p.pinned = 0)"
                 " ON CONFLICT (run_id, position) DO NOTHING"
                 LAST
                 "UPDATE runs SET pinned = 1 FROM " HELD " WHERE id = held_run AND pinned = 0"
                 " RETURNING id"),
            vec![lease.run.into(), lease.attempt.into(), lease.worker.into(), list_of(written)],
        )
        .await?;
    Ok(!pinned.is_empty())
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

/// The state after a heartbeat that says `$4`. An attempt only moves forward: a late heartbeat that still
/// says RUNNING takes nothing back; and one that was asked to stop does not come to its commit.
macro_rules! state_after {
    () => {
        "CASE WHEN held_state = 'COMMITTING' OR (held_state = 'RUNNING' AND $4 = 'PLANNING') \
           OR (held_stop = 1 AND $4 = 'COMMITTING') THEN held_state ELSE $4 END"
    };
}

/// See [`catalog::jobs::Jobs::heartbeat`].
pub(super) async fn heartbeat(
    db: &impl Database,
    lease: &Lease,
    beat: &Beat,
) -> Result<LeaseState, CatalogError> {
    const OPERATION: &str = "extend a lease";
    if !beat.state.is_under_way() {
        let mut tx = db.write(OPERATION).await?;
        let Some(job) = held(&mut tx, lease).await? else { return Ok(LeaseState::Lost) };
        return Err(CatalogError::JobState {
            job: job.id.to_string(),
            state: job.state.to_string(),
            why: "a heartbeat says PLANNING, RUNNING or COMMITTING",
        });
    }
    let progress = &beat.progress;
    let held = db
        .change(
            OPERATION,
            sql!(HOLDING
                 "UPDATE runs SET state = " state_after ", rows_read = $6,"
                 " rows_read_expected = $7, rows_written = $8, bytes_written = $9, files = $10,"
                 " files_expected = $11 FROM " HELD " WHERE id = held_run"
                 LAST
                 "UPDATE jobs SET state = " state_after ", lease_until = $5 FROM " HELD
                 " WHERE id = held_job RETURNING stop_asked"),
            values![
                lease.run,
                lease.attempt,
                lease.worker,
                beat.state,
                beat.lease_until,
                progress.rows_read,
                progress.rows_read_expected,
                progress.rows_written,
                progress.bytes_written,
                progress.files,
                progress.files_expected,
            ],
        )
        .await?;
    let Some(mut held) = held.into_iter().next() else { return Ok(LeaseState::Lost) };
    let stop_asked = held.truth("stop request")?;
    Ok(if stop_asked { LeaseState::StopAsked } else { LeaseState::Held })
}

/// Whether no other job of the object waits for approval. None can come to wait while this one is under
/// way.
macro_rules! nobody_waits {
    () => {
        "NOT EXISTS (SELECT 1 FROM jobs w WHERE w.object_id = held_object \
           AND w.state = 'AWAITING_APPROVAL')"
    };
}

/// See [`catalog::jobs::Jobs::finish`], for a refresh that went well and with whose end nothing but its
/// job and its run ends: what nearly all are. Answers whether it is recorded.
pub(super) async fn finish_plainly(
    db: &impl Database,
    lease: &Lease,
    outcome: &RunOutcome,
    now: Timestamp,
) -> Result<bool, CatalogError> {
    const OPERATION: &str = "finish a run";
    let finished = match outcome {
        RunOutcome::SkippedNoChange { output_version } => {
            let sql = sql!(HOLDING
                "UPDATE runs SET state = 'SKIPPED_NO_CHANGE', finished_at = $4, error = NULL,"
                " output_version = $5 FROM " HELD " WHERE id = held_run AND held_parent IS NULL"
                LAST
                "UPDATE jobs SET state = 'SKIPPED_NO_CHANGE', finished_at = $4, error = NULL,"
                " worker_id = NULL, lease_until = NULL FROM " HELD
                " WHERE id = held_job AND held_parent IS NULL RETURNING id");
            let version = *output_version;
            let values = values![lease.run, lease.attempt, lease.worker, now, version];
            db.change(OPERATION, sql, values).await?
        }
        RunOutcome::Succeeded {
            output_version,
            progress,
            strategy,
            reason,
            definition_hash,
            report,
        } => {
            let sql = sql!(HOLDING
                "UPDATE runs SET state = 'SUCCEEDED', finished_at = $4, error = NULL,"
                " output_version = $5, strategy = $6, reason = $7, definition_hash = $8,"
                " report = $9, rows_read = $10, rows_read_expected = $11, rows_written = $12,"
                " bytes_written = $13, files = $14, files_expected = $15"
                " FROM " HELD " WHERE id = held_run AND held_parent IS NULL AND " nobody_waits
                LAST
                "UPDATE jobs SET state = 'SUCCEEDED', finished_at = $4, error = NULL,"
                " worker_id = NULL, lease_until = NULL FROM " HELD
                " WHERE id = held_job AND held_parent IS NULL AND " nobody_waits " RETURNING id");
            let values = values![
                lease.run,
                lease.attempt,
                lease.worker,
                now,
                *output_version,
                strategy.as_str(),
                reason.as_str(),
                definition_hash.as_str(),
                (!report.is_empty()).then(|| report.to_json()),
                progress.rows_read,
                progress.rows_read_expected,
                progress.rows_written,
                progress.bytes_written,
                progress.files,
                progress.files_expected,
            ];
            db.change(OPERATION, sql, values).await?
        }
        _ => return Ok(false),
    };
    Ok(!finished.is_empty())
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
        RunOutcome::Failed { code, message, retry_after, strategy, reason, report } => {
            tx.rows(
                sql!("UPDATE runs SET strategy = $2, reason = $3 WHERE id = $1"),
                values![lease.run, strategy.clone(), reason.clone()],
            )
            .await?;
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
