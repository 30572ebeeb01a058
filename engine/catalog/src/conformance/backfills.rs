//! A BACKFILL is what its ranges are.

use model::{
    code::Code,
    id::{JobId, ObjectId},
    job::{ClaimedRun, Job, JobState, LeaseState, NewJob, Ranges, RunOutcome, RunProgress},
    work::{BackfillWork, JobKind, PartWork, Work},
};

use super::{
    fixture::{
        C, LEASE, at, claim, failed, input, job, new_job, progress, queued, state, stored,
        submit_one, succeeded, try_claim,
    },
    suite,
};
use crate::{error::CatalogError, jobs::JobFilter};

suite![
    nobody_takes_a_backfill_and_its_ranges_run_one_after_the_other,
    a_backfill_ends_with_its_last_range_and_adds_them_up,
    a_backfill_without_anything_to_do_is_skipped,
    a_range_that_failed_fails_the_backfill_when_all_have_ended,
    cancelling_a_backfill_cancels_what_waits_and_stops_what_runs,
    a_range_that_commits_while_the_backfill_is_cancelled_counts,
    a_backfill_that_was_cancelled_too_late_has_succeeded,
    retrying_a_backfill_does_only_what_is_missing,
    retrying_one_range_reopens_the_backfill,
    retrying_what_failed_of_a_backfill_takes_its_ranges_that_failed,
    ranges_behind_a_failure_fail_the_backfill,
    the_range_of_a_worker_that_died_is_taken_over,
    dropping_the_object_ends_the_backfill,
    two_backfills_of_the_same_are_two,
    a_backfill_keeps_no_other_job_of_its_object_waiting_but_by_its_ranges,
];

struct Backfill {
    object: ObjectId,
    parent: JobId,
    ranges: Vec<JobId>,
}

fn work(condition: &str) -> BackfillWork {
    BackfillWork { condition: condition.to_owned(), inputs: vec![input("i", 7)] }
}

fn asked(object: ObjectId, ranges: usize, after: &[JobId]) -> Vec<NewJob> {
    let parent = NewJob { work: Work::Backfill(work("k < 9")), ..new_job(object) };
    let id = parent.id;
    let inputs = Some(work("").inputs);
    let range = |n| NewJob {
        work: Work::Part(PartWork { condition: format!("k = {n}"), inputs: inputs.clone() }),
        parent: Some(id),
        after: after.to_vec(),
        ..new_job(object)
    };
    std::iter::once(parent).chain((0..ranges).map(range)).collect()
}

async fn backfill(catalog: &C, ranges: usize, after: &[JobId]) -> Backfill {
    let object = stored(catalog, "a").await;
    let jobs = catalog.submit(&asked(object, ranges, after), at(0)).await.unwrap();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    assert!(jobs[1..].iter().all(|job| job.parent == Some(ids[0])));
    assert_eq!((jobs[0].work.kind(), jobs[0].parent), (JobKind::Backfill, None));
    Backfill { object, parent: ids[0], ranges: ids[1..].to_vec() }
}

/// The next range runs and ends like that.
async fn end(catalog: &C, of: &Backfill, number: usize, outcome: &RunOutcome) {
    let claimed = claim(catalog, at(11)).await;
    assert_eq!(claimed.job.id, of.ranges[number]);
    catalog.finish(&claimed.lease, outcome, at(12)).await.unwrap();
}

async fn parent(catalog: &C, of: &Backfill) -> Job {
    job(catalog, of.parent).await
}

fn ranges(all: u32, succeeded: u32, unsuccessful: u32) -> Option<Ranges> {
    Some(Ranges { all, succeeded, unsuccessful })
}

async fn nobody_takes_a_backfill_and_its_ranges_run_one_after_the_other(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    let waits = parent(&catalog, &of).await;
    let expected = (JobState::Queued, ranges(2, 0, 0), None);
    assert_eq!((waits.state, waits.ranges, waits.started_at), expected);
    assert_eq!(waits.work.part(), Some("k < 9"));
    let first = claim(&catalog, at(1)).await;
    assert_eq!(first.job.id, of.ranges[0]);
    assert_eq!(state(&catalog, of.parent).await, JobState::Running);
    assert!(try_claim(&catalog, at(1)).await.is_none());
    catalog.finish(&first.lease, &succeeded(4), at(2)).await.unwrap();
    assert_eq!(claim(&catalog, at(3)).await.job.id, of.ranges[1]);
}

async fn a_backfill_ends_with_its_last_range_and_adds_them_up(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    end(&catalog, &of, 0, &succeeded(4)).await;
    let half = parent(&catalog, &of).await;
    assert_eq!(
        (half.state, half.ranges, half.finished_at),
        (JobState::Running, ranges(2, 1, 0), None)
    );
    assert_eq!((half.progress, half.output_version), (progress(10), Some(4)));
    end(&catalog, &of, 1, &succeeded(5)).await;
    let done = parent(&catalog, &of).await;
    assert_eq!((done.state, done.ranges, done.error), (JobState::Succeeded, ranges(2, 2, 0), None));
    assert_eq!((done.started_at, done.finished_at), (Some(at(11)), Some(at(12))));
    assert_eq!(done.output_version, Some(5));
    let one = progress(10);
    let both = RunProgress {
        rows_read: 2 * one.rows_read,
        rows_read_expected: 2 * one.rows_read_expected,
        rows_written: 2 * one.rows_written,
        bytes_written: 2 * one.bytes_written,
        files: 2 * one.files,
        files_expected: 2 * one.files_expected,
    };
    assert_eq!(done.progress, both);
}

async fn a_backfill_without_anything_to_do_is_skipped(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    let nothing = RunOutcome::SkippedNoChange { output_version: 3 };
    end(&catalog, &of, 0, &nothing).await;
    end(&catalog, &of, 1, &nothing).await;
    let skipped = parent(&catalog, &of).await;
    assert_eq!((skipped.state, skipped.ranges), (JobState::SkippedNoChange, ranges(2, 2, 0)));
}

async fn a_range_that_failed_fails_the_backfill_when_all_have_ended(catalog: C) {
    let of = backfill(&catalog, 3, &[]).await;
    end(&catalog, &of, 0, &failed(Code::Internal)).await;
    assert_eq!(state(&catalog, of.parent).await, JobState::Running);
    end(&catalog, &of, 1, &succeeded(4)).await;
    end(&catalog, &of, 2, &succeeded(5)).await;
    let ended = parent(&catalog, &of).await;
    assert_eq!((ended.state, ended.ranges), (JobState::Failed, ranges(3, 2, 1)));
    let error = ended.error.unwrap();
    let names =
        ["1 of 3 ranges", "1 FAILED", "the disk is full", "RETRY JOB", &of.ranges[0].to_string()];
    assert!(names.iter().all(|name| error.contains(name)), "{error}");
}

async fn cancelling_a_backfill_cancels_what_waits_and_stops_what_runs(catalog: C) {
    let of = backfill(&catalog, 3, &[]).await;
    end(&catalog, &of, 0, &succeeded(4)).await;
    let claimed = claim(&catalog, at(3)).await;
    let asked = catalog.cancel(of.parent, at(4)).await.unwrap();
    assert_eq!((asked.state, asked.ranges), (JobState::Running, ranges(3, 1, 1)));
    assert_eq!(state(&catalog, of.ranges[2]).await, JobState::Cancelled);
    let told = catalog
        .heartbeat(&claimed.lease, JobState::Running, &progress(1), at(5), LEASE)
        .await
        .unwrap();
    assert_eq!(told, LeaseState::StopAsked);
    catalog.finish(&claimed.lease, &RunOutcome::Cancelled, at(6)).await.unwrap();
    let ended = parent(&catalog, &of).await;
    assert_eq!((ended.state, ended.finished_at), (JobState::Cancelled, Some(at(6))));
    assert!(ended.error.unwrap().contains("2 of 3 ranges did not succeed (2 CANCELLED)"));
    let error = catalog.cancel(of.parent, at(7)).await.unwrap_err();
    assert!(matches!(error, CatalogError::JobState { .. }), "{error:?}");
    assert!(try_claim(&catalog, at(100)).await.is_none());
}

/// Its worker begins to commit.
async fn commits(catalog: &C, claimed: &ClaimedRun) -> LeaseState {
    let (lease, so_far) = (&claimed.lease, progress(1));
    catalog.heartbeat(lease, JobState::Committing, &so_far, at(2), LEASE).await.unwrap()
}

async fn a_range_that_commits_while_the_backfill_is_cancelled_counts(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    let answer = commits(&catalog, &claimed).await;
    assert_eq!(answer, LeaseState::Held);
    catalog.cancel(of.parent, at(3)).await.unwrap();
    catalog.finish(&claimed.lease, &succeeded(4), at(4)).await.unwrap();
    let ended = parent(&catalog, &of).await;
    assert_eq!((ended.state, ended.ranges), (JobState::Cancelled, ranges(2, 1, 1)));
}

async fn a_backfill_that_was_cancelled_too_late_has_succeeded(catalog: C) {
    let of = backfill(&catalog, 1, &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    let answer = commits(&catalog, &claimed).await;
    assert_eq!(answer, LeaseState::Held);
    catalog.cancel(of.parent, at(3)).await.unwrap();
    catalog.finish(&claimed.lease, &succeeded(4), at(4)).await.unwrap();
    assert_eq!(state(&catalog, of.parent).await, JobState::Succeeded);
}

async fn retrying_a_backfill_does_only_what_is_missing(catalog: C) {
    let of = backfill(&catalog, 4, &[]).await;
    end(&catalog, &of, 0, &succeeded(4)).await;
    end(&catalog, &of, 1, &failed(Code::Internal)).await;
    let error = catalog.retry(of.parent, at(3)).await.unwrap_err();
    assert!(matches!(error, CatalogError::JobState { .. }), "{error:?}");
    catalog.cancel(of.parent, at(3)).await.unwrap();
    let again = catalog.retry(of.parent, at(4)).await.unwrap();
    assert_eq!((again.state, again.ranges), (JobState::Running, ranges(4, 1, 0)));
    assert_eq!((again.error, again.finished_at), (None, None));
    for (number, version) in [(1, 5), (2, 6), (3, 7)] {
        end(&catalog, &of, number, &succeeded(version)).await;
    }
    assert_eq!(state(&catalog, of.parent).await, JobState::Succeeded);
    assert!(try_claim(&catalog, at(9)).await.is_none());
}

async fn retrying_one_range_reopens_the_backfill(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    end(&catalog, &of, 0, &failed(Code::Internal)).await;
    end(&catalog, &of, 1, &succeeded(4)).await;
    assert_eq!(state(&catalog, of.parent).await, JobState::Failed);
    catalog.retry(of.ranges[0], at(3)).await.unwrap();
    assert_eq!(state(&catalog, of.parent).await, JobState::Running);
    end(&catalog, &of, 0, &succeeded(5)).await;
    let ended = parent(&catalog, &of).await;
    assert_eq!((ended.state, ended.error), (JobState::Succeeded, None));
}

async fn retrying_what_failed_of_a_backfill_takes_its_ranges_that_failed(catalog: C) {
    let of = backfill(&catalog, 3, &[]).await;
    let error = catalog.retry_failed(of.parent, at(1)).await.unwrap_err();
    assert!(matches!(error, CatalogError::JobState { .. }), "{error:?}");
    end(&catalog, &of, 0, &failed(Code::Internal)).await;
    end(&catalog, &of, 1, &succeeded(4)).await;
    // While others have still to run; and a range stands for all of them.
    let again = catalog.retry_failed(of.ranges[2], at(3)).await.unwrap();
    assert_eq!(again.iter().map(|job| job.id).collect::<Vec<_>>(), [of.ranges[0]]);
    assert_eq!(parent(&catalog, &of).await.ranges, ranges(3, 1, 0));
    end(&catalog, &of, 2, &failed(Code::Internal)).await;
    end(&catalog, &of, 0, &succeeded(5)).await;
    assert_eq!(state(&catalog, of.parent).await, JobState::Failed);
    let again = catalog.retry_failed(of.parent, at(4)).await.unwrap();
    assert_eq!(again.iter().map(|job| job.id).collect::<Vec<_>>(), [of.ranges[2]]);
    assert_eq!(state(&catalog, of.parent).await, JobState::Running);
    end(&catalog, &of, 2, &succeeded(6)).await;
    assert_eq!(state(&catalog, of.parent).await, JobState::Succeeded);
}

async fn ranges_behind_a_failure_fail_the_backfill(catalog: C) {
    let upstream = queued(&catalog, "upstream", &[]).await;
    let of = backfill(&catalog, 2, &[upstream.id]).await;
    let claimed = claim(&catalog, at(1)).await;
    assert_eq!(claimed.job.id, upstream.id);
    catalog.finish(&claimed.lease, &failed(Code::Internal), at(2)).await.unwrap();
    assert!(try_claim(&catalog, at(3)).await.is_none());
    let ended = parent(&catalog, &of).await;
    assert_eq!((ended.state, ended.ranges), (JobState::Failed, ranges(2, 0, 2)));
    // What it waited for comes along.
    catalog.retry(of.parent, at(4)).await.unwrap();
    let claimed = claim(&catalog, at(5)).await;
    assert_eq!(claimed.job.id, upstream.id);
    catalog.finish(&claimed.lease, &succeeded(1), at(6)).await.unwrap();
    end(&catalog, &of, 0, &succeeded(2)).await;
    end(&catalog, &of, 1, &succeeded(3)).await;
    assert_eq!(state(&catalog, of.parent).await, JobState::Succeeded);
}

async fn the_range_of_a_worker_that_died_is_taken_over(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    let died = claim(&catalog, at(1)).await;
    let taken = claim(&catalog, at(60)).await;
    assert_eq!((taken.job.id, taken.lease.attempt), (of.ranges[0], 2));
    assert_eq!(taken.lease.run, died.lease.run);
    assert_eq!(state(&catalog, of.parent).await, JobState::Running);
    catalog.finish(&taken.lease, &succeeded(1), at(61)).await.unwrap();
    let late = catalog.finish(&died.lease, &succeeded(1), at(62)).await.unwrap_err();
    assert!(matches!(late, CatalogError::LeaseLost(_)), "{late:?}");
    end(&catalog, &of, 1, &succeeded(2)).await;
    assert_eq!(state(&catalog, of.parent).await, JobState::Succeeded);
}

async fn dropping_the_object_ends_the_backfill(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.drop_object(of.object, 1).await.unwrap();
    catalog.finish(&claimed.lease, &RunOutcome::Cancelled, at(2)).await.unwrap();
    assert_eq!(state(&catalog, of.parent).await, JobState::Cancelled);
    let error = catalog.retry(of.parent, at(3)).await.unwrap_err();
    assert!(matches!(error, CatalogError::JobState { .. }), "{error:?}");
}

async fn two_backfills_of_the_same_are_two(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    let again = catalog.submit(&asked(of.object, 2, &[]), at(1)).await.unwrap();
    assert!(again.iter().all(|job| job.id != of.parent && !of.ranges.contains(&job.id)));
    assert_eq!(catalog.jobs(&JobFilter::default()).await.unwrap().len(), 6);
    // Nor is a request of a part taken for a range.
    let work = job(&catalog, of.ranges[0]).await.work;
    let alone = submit_one(&catalog, NewJob { work, ..new_job(of.object) }).await;
    assert_eq!(alone.parent, None);
}

async fn a_backfill_keeps_no_other_job_of_its_object_waiting_but_by_its_ranges(catalog: C) {
    let of = backfill(&catalog, 2, &[]).await;
    end(&catalog, &of, 0, &succeeded(1)).await;
    let urgent = NewJob { priority: 1, ..new_job(of.object) };
    let urgent = submit_one(&catalog, urgent).await;
    let claimed = claim(&catalog, at(3)).await;
    assert_eq!(claimed.job.id, urgent.id);
    catalog.finish(&claimed.lease, &succeeded(2), at(4)).await.unwrap();
    end(&catalog, &of, 1, &succeeded(3)).await;
    assert_eq!(state(&catalog, of.parent).await, JobState::Succeeded);
}
