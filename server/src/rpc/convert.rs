//! Jobs as they travel.

use model::{
    job::{Job, JobState},
    work::JobKind,
};
use proto::v1;

pub(super) fn job(job: &Job) -> v1::Job {
    let ranges = job.ranges.unwrap_or_default();
    v1::Job {
        id: job.id.to_string(),
        object: job.object_name.to_sql(),
        state: state(job.state).into(),
        cause: job.cause.as_str().to_owned(),
        requested_by: job.requested_by.clone(),
        after: job.after.iter().map(ToString::to_string).collect(),
        queued_at_us: job.queued_at.as_micros(),
        started_at_us: job.started_at.map(|at| at.as_micros()),
        finished_at_us: job.finished_at.map(|at| at.as_micros()),
        attempt: job.attempt,
        attempts_max: job.attempts_max,
        rows_read: job.progress.rows_read,
        rows_read_expected: job.progress.rows_read_expected,
        rows_written: job.progress.rows_written,
        bytes_written: job.progress.bytes_written,
        output_version: job.output_version,
        error: job.error.clone(),
        kind: kind(job.work.kind()).into(),
        files: job.progress.files,
        files_expected: job.progress.files_expected,
        result: job.result.map(|result| result.to_json()),
        part: job.work.part().map(str::to_owned),
        parent: job.parent.map(|parent| parent.to_string()),
        ranges: ranges.all,
        ranges_done: ranges.succeeded,
        ranges_failed: ranges.unsuccessful,
        priority: job.priority,
        idempotency_key: job.idempotency_key.clone(),
        reason: job.chosen.reason.clone(),
        profile: job.resources.profile.clone(),
        max_bytes: job.resources.bytes_max,
    }
}

pub(super) fn jobs(jobs: &[Job]) -> Vec<v1::Job> {
    jobs.iter().map(job).collect()
}

pub(super) fn kind(kind: JobKind) -> v1::JobKind {
    match kind {
        JobKind::Refresh => v1::JobKind::Refresh,
        JobKind::Optimize => v1::JobKind::Optimize,
        JobKind::Vacuum => v1::JobKind::Vacuum,
        JobKind::Backfill => v1::JobKind::Backfill,
        JobKind::Release => v1::JobKind::Release,
    }
}

pub(super) fn state(state: JobState) -> v1::JobState {
    match state {
        JobState::Queued => v1::JobState::Queued,
        JobState::Planning => v1::JobState::Planning,
        JobState::Running => v1::JobState::Running,
        JobState::Committing => v1::JobState::Committing,
        JobState::AwaitingApproval => v1::JobState::AwaitingApproval,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Failed => v1::JobState::Failed,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::SkippedNoChange => v1::JobState::SkippedNoChange,
        JobState::UpstreamFailed => v1::JobState::UpstreamFailed,
    }
}

/// The state that a number on the wire means; none for 0 and for numbers that nobody gave out.
pub(super) fn stored_state(number: i32) -> Option<JobState> {
    JobState::ALL.into_iter().find(|known| i32::from(state(*known)) == number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_travels_under_its_own_name_and_comes_back() {
        for known in JobState::ALL {
            let sent = state(known);
            assert_eq!(sent.as_str_name(), format!("JOB_STATE_{}", known.as_str()));
            assert_eq!(stored_state(sent.into()), Some(known));
        }
        for known in JobKind::ALL {
            assert_eq!(kind(known).as_str_name(), format!("JOB_KIND_{}", known.as_str()));
        }
        assert_eq!(stored_state(0), None);
        assert_eq!(stored_state(99), None);
    }
}
