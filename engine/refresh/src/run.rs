//! One attempt of a run, whatever its job does: from its lease to its books. What refreshes is in
//! `run/transform.rs`, what looks after tables in `maintain.rs`.

mod at;
mod bounds;
mod check;
mod graph;
mod part;
mod release;
mod stream;
mod transform;
mod view;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use catalog::error::CatalogError;
use futures::FutureExt;
use lake::faults::crash_point;
use model::{
    code::Code,
    job::{ClaimedRun, Lease, RunOutcome},
    report::RunReport,
    time::Timestamp,
    work::Work,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::RefreshError,
    heartbeat::Heartbeat,
    maintain::Maintenance,
    options::RefreshOptions,
    progress::{Decided, Progress},
    stop::{Stop, StopSignal},
};

use transform::Run;

/// How soon the books are tried again while the catalog does not answer.
const FINISH_RETRY_AFTER: Duration = Duration::from_millis(200);

/// Works on a claimed run until it has ended, and records how. Answers how long to wait before
/// the next attempt when the failure was transient.
///
/// Dropping the future is like the death of the worker: nothing is recorded, and the lease runs
/// out. `give_up` stops it in order, so that the job is queued again at once.
pub(crate) async fn attempt(
    options: &Arc<RefreshOptions>,
    claimed: ClaimedRun,
    leased_at: Timestamp,
    give_up: CancellationToken,
) -> Option<Duration> {
    crash_point("claimed");
    let progress = Arc::new(Progress::default());
    let stop = StopSignal::new(give_up);
    let heartbeat = Heartbeat {
        jobs: Arc::clone(&options.catalog),
        clock: Arc::clone(&options.clock),
        lease: claimed.lease.clone(),
        leased_at,
        lease_for: options.lease_for,
        progress_every: options.progress_every,
        progress: Arc::clone(&progress),
        stop: stop.clone(),
    }
    .start();
    let care = Maintenance { options, claimed: &claimed, progress: &progress, stop: stop.clone() };
    let known = options.queries.known_at(claimed.objects_version);
    let run =
        Run { options, claimed: &claimed, progress: &progress, stop, heartbeat: &heartbeat, known };
    let work = async {
        match &claimed.job.work {
            Work::Refresh | Work::At(_) | Work::Part(_) => {
                // See [`catalog::jobs::Jobs::claim`]: such an attempt only looks.
                let only_looks = claimed.lease.attempt > claimed.job.attempts_max;
                let executed = if only_looks { run.looked().await } else { run.execute().await };
                let outcome = match executed {
                    Err(Ended::Stopped(Stop::Asked)) => run.cancelled().await,
                    ended => ended,
                }?;
                run.tell_graph(&outcome).await?;
                Ok(outcome)
            }
            Work::Optimize(work) => care.optimize(work).await,
            Work::Vacuum(work) => care.vacuum(work).await,
            // No catalog hands one out: its ranges are jobs of their own.
            Work::Backfill(_) => {
                Err(RefreshError::NotAWorkersJob(claimed.job.object_name.clone()).into())
            }
            Work::Release(work) => run.release(work).await,
        }
    };
    let ended = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(ended) => ended,
        Err(panic) => Err(Ended::Failed(RefreshError::Panicked {
            object: claimed.job.object_name.clone(),
            panic: panic_text(panic.as_ref()),
        })),
    };
    let held_until = heartbeat.end().await.unwrap_or(leased_at);
    let outcome = outcome(options, &claimed, progress.decided().as_ref(), ended)?;
    crash_point("before_finish");
    finish(options, &claimed, &outcome, held_until).await;
    match outcome {
        RunOutcome::Failed { code, retry_after, .. } if code.is_transient() => Some(retry_after),
        _ => None,
    }
}

/// Why an attempt has no result.
pub(crate) enum Ended {
    Failed(RefreshError),
    Stopped(Stop),
}

impl From<RefreshError> for Ended {
    fn from(error: RefreshError) -> Self {
        Self::Failed(error)
    }
}

/// How the attempt goes into the books; `None` when the run is no longer ours to book.
fn outcome(
    options: &RefreshOptions,
    claimed: &ClaimedRun,
    decided: Option<&Decided>,
    ended: Result<RunOutcome, Ended>,
) -> Option<RunOutcome> {
    let ClaimedRun { lease: Lease { run, attempt, .. }, job, .. } = claimed;
    let (object, kind, attempt) = (&job.object_name, job.work.kind(), *attempt);
    let error = match ended {
        Ok(outcome) => {
            tracing::info!(%run, %object, %kind, attempt, outcome = word(&outcome), "job ended");
            return Some(outcome);
        }
        Err(Ended::Stopped(Stop::Asked)) => {
            tracing::info!(%run, %object, %kind, attempt, "job cancelled");
            return Some(RunOutcome::Cancelled);
        }
        Err(Ended::Stopped(why @ (Stop::Lost | Stop::Expired))) => {
            tracing::warn!(%run, %object, %kind, attempt, ?why, "job given up: its lease is gone");
            return None;
        }
        Err(Ended::Stopped(Stop::ShutDown)) => RefreshError::ShutDown(object.clone()),
        // The lease tells more than the error that its loss caused.
        Err(Ended::Failed(RefreshError::Catalog {
            source: CatalogError::LeaseLost(_), ..
        })) => {
            tracing::warn!(%run, %object, %kind, attempt, "job given up: its lease is gone");
            return None;
        }
        Err(Ended::Failed(error)) => error,
    };
    let (code, message) = (error.code(), error.text());
    let retry_after = match &error {
        RefreshError::ShutDown(_) => Duration::ZERO,
        _ => options.backoff.after(attempt, *run),
    };
    match code {
        Code::Internal => {
            tracing::error!(%run, %object, %kind, attempt, error = message, "job failed")
        }
        _ => tracing::warn!(%run, %object, %kind, attempt, %code, error = message, "job failed"),
    }
    let mut report = match error {
        RefreshError::Violated { report, .. } => *report,
        RefreshError::Ledger { report, .. } => report.as_ref().clone(),
        _ => RunReport::default(),
    };
    report.alternatives = decided.map(|way| way.alternatives.clone()).unwrap_or_default();
    let strategy = decided.map(|way| way.strategy.to_string());
    let reason = decided.map(|way| way.reason.clone());
    Some(RunOutcome::Failed { code, message, retry_after, strategy, reason, report })
}

/// Records the outcome; while the catalog does not answer, again and again until the lease ends.
/// What could not be recorded is found by the next attempt: in the log of the table.
async fn finish(
    options: &RefreshOptions,
    claimed: &ClaimedRun,
    outcome: &RunOutcome,
    held_until: Timestamp,
) {
    let run = claimed.lease.run;
    loop {
        let now = options.clock.now();
        let error = match options.catalog.finish(&claimed.lease, outcome, now).await {
            Ok(()) => return,
            Err(error) => error,
        };
        let again = error.code().is_transient()
            && !matches!(error, CatalogError::LeaseLost(_))
            && options.clock.now().plus(FINISH_RETRY_AFTER) < held_until;
        if !again {
            tracing::warn!(%run, object = %claimed.job.object_name, error = crate::error::chain(&error),
                "the end of a run was not recorded; another worker will find it");
            return;
        }
        options.clock.sleep(FINISH_RETRY_AFTER).await;
    }
}

fn word(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Succeeded { .. } | RunOutcome::Maintained { .. } => "SUCCEEDED",
        RunOutcome::SkippedNoChange { .. } => "SKIPPED_NO_CHANGE",
        RunOutcome::Cancelled => "CANCELLED",
        RunOutcome::NeedsApproval { .. } => "AWAITING_APPROVAL",
        RunOutcome::Failed { .. } => "FAILED",
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
