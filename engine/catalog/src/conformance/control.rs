//! Cancel and retry.

use model::{
    code::Code,
    id::JobId,
    job::{JobState, RunOutcome, RunProgress},
};

use super::{
    fixture::{
        C, LEASE, at, claim, failed, job, new_job, progress, queued, state, submit_one, succeeded,
        try_claim,
    },
    suite,
};
use crate::error::CatalogError;

suite![
    a_waiting_job_is_cancelled_at_once,
    a_job_between_attempts_is_cancelled_with_its_run,
    a_running_job_goes_on_until_its_worker_asks,
    a_job_that_commits_is_not_cancelled,
    a_job_that_ended_is_not_cancelled,
    an_unknown_job_is_not_found,
    a_failed_job_is_queued_again_with_a_new_run,
    a_retried_job_forgets_that_it_was_asked_to_stop,
    a_retry_takes_the_unsuccessful_jobs_that_it_waits_for_along,
    a_job_that_did_not_fail_is_not_queued_again,
    a_job_of_a_dropped_object_is_not_queued_again,
];

async fn a_waiting_job_is_cancelled_at_once(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let b = queued(&catalog, "b", &[a.id]).await;
    let cancelled = catalog.cancel(a.id, at(1)).await.unwrap();
    assert_eq!((cancelled.state, cancelled.finished_at), (JobState::Cancelled, Some(at(1))));
    assert!(try_claim(&catalog, at(2)).await.is_none());
    assert_eq!(state(&catalog, b.id).await, JobState::UpstreamFailed);
}

async fn a_job_between_attempts_is_cancelled_with_its_run(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.finish(&claimed.lease, &failed(Code::Unavailable), at(1)).await.unwrap();
    catalog.cancel(a.id, at(2)).await.unwrap();
    let run = catalog.runs(None, 1).await.unwrap().remove(0);
    assert_eq!((run.state, run.finished_at), (JobState::Cancelled, Some(at(2))));
    assert!(try_claim(&catalog, at(100)).await.is_none());
}

async fn a_running_job_goes_on_until_its_worker_asks(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    claim(&catalog, at(0)).await;
    for _ in 0..2 {
        let asked = catalog.cancel(a.id, at(1)).await.unwrap();
        assert_eq!((asked.state, asked.finished_at), (JobState::Planning, None));
    }
}

async fn a_job_that_commits_is_not_cancelled(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog
        .heartbeat(&claimed.lease, JobState::Committing, &progress(1), at(1), LEASE)
        .await
        .unwrap();
    let error = catalog.cancel(a.id, at(2)).await.unwrap_err();
    assert!(matches!(&error, CatalogError::JobState { state, .. } if state == "COMMITTING"));
    catalog.finish(&claimed.lease, &succeeded(1), at(3)).await.unwrap();
    assert_eq!(state(&catalog, a.id).await, JobState::Succeeded);
}

async fn a_job_that_ended_is_not_cancelled(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    catalog.cancel(a.id, at(1)).await.unwrap();
    let error = catalog.cancel(a.id, at(2)).await.unwrap_err();
    assert!(matches!(error, CatalogError::JobState { .. }), "{error:?}");
    assert_eq!(job(&catalog, a.id).await.finished_at, Some(at(1)));
}

async fn an_unknown_job_is_not_found(catalog: C) {
    for answer in [
        catalog.cancel(JobId::generate(), at(0)).await,
        catalog.retry(JobId::generate(), at(0)).await,
    ] {
        assert!(matches!(answer, Err(CatalogError::JobNotFound(_))), "{answer:?}");
    }
}

async fn a_failed_job_is_queued_again_with_a_new_run(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(0)).await;
    catalog.pin(&first.lease, &[super::fixture::input("i", 1)]).await.unwrap();
    catalog.finish(&first.lease, &failed(Code::Internal), at(1)).await.unwrap();
    let again = catalog.retry(a.id, at(2)).await.unwrap();
    let expected = model::job::Job {
        state: JobState::Queued,
        queued_at: at(2),
        progress: RunProgress::default(),
        ..a.clone()
    };
    assert_eq!(again, expected);
    let second = claim(&catalog, at(2)).await;
    assert_eq!(second.job.id, a.id);
    assert_ne!(second.lease.run, first.lease.run);
    assert_eq!((second.lease.attempt, second.run_seq), (1, 2));
    assert_eq!(catalog.pinned(second.lease.run).await.unwrap(), None);
    let runs = catalog.runs(Some(&[a.id]), 9).await.unwrap();
    let runs: Vec<_> = runs.into_iter().map(|run| (run.run_seq, run.state)).collect();
    assert_eq!(runs, [(2, JobState::Planning), (1, JobState::Failed)]);
}

async fn a_retried_job_forgets_that_it_was_asked_to_stop(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(0)).await;
    catalog.cancel(a.id, at(1)).await.unwrap();
    catalog.finish(&first.lease, &RunOutcome::Cancelled, at(2)).await.unwrap();
    catalog.retry(a.id, at(3)).await.unwrap();
    let second = claim(&catalog, at(3)).await;
    let answer = catalog
        .heartbeat(&second.lease, JobState::Committing, &progress(1), at(4), LEASE)
        .await
        .unwrap();
    assert_eq!(answer, model::job::LeaseState::Held);
}

async fn a_retry_takes_the_unsuccessful_jobs_that_it_waits_for_along(catalog: C) {
    let good = queued(&catalog, "good", &[]).await;
    let bad = queued(&catalog, "bad", &[]).await;
    let middle = queued(&catalog, "middle", &[good.id, bad.id]).await;
    let end = queued(&catalog, "end", &[middle.id]).await;
    let aside = queued(&catalog, "aside", &[bad.id]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(1)).await.unwrap();
    let claimed = claim(&catalog, at(1)).await;
    catalog.finish(&claimed.lease, &failed(Code::Internal), at(1)).await.unwrap();
    assert!(try_claim(&catalog, at(2)).await.is_none());
    catalog.retry(end.id, at(3)).await.unwrap();
    let expected = [
        (good.id, JobState::Succeeded),
        (bad.id, JobState::Queued),
        (middle.id, JobState::Queued),
        (end.id, JobState::Queued),
        (aside.id, JobState::UpstreamFailed),
    ];
    for (id, expected) in expected {
        assert_eq!(state(&catalog, id).await, expected);
    }
    for expected in [bad.id, middle.id, end.id] {
        let claimed = claim(&catalog, at(4)).await;
        assert_eq!(claimed.job.id, expected);
        catalog.finish(&claimed.lease, &succeeded(1), at(4)).await.unwrap();
    }
}

async fn a_job_that_did_not_fail_is_not_queued_again(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let refused = async |catalog: &C| {
        let answer = catalog.retry(a.id, at(1)).await;
        assert!(matches!(answer, Err(CatalogError::JobState { .. })), "{answer:?}");
    };
    refused(&catalog).await;
    let claimed = claim(&catalog, at(0)).await;
    refused(&catalog).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(1)).await.unwrap();
    refused(&catalog).await;
    assert_eq!(state(&catalog, a.id).await, JobState::Succeeded);
    submit_one(&catalog, new_job(a.object)).await;
    let claimed = claim(&catalog, at(2)).await;
    assert_eq!(claimed.run_seq, 2);
}

async fn a_job_of_a_dropped_object_is_not_queued_again(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let b = queued(&catalog, "b", &[a.id]).await;
    catalog.drop_object(a.object, 1).await.unwrap();
    assert!(try_claim(&catalog, at(1)).await.is_none());
    for id in [a.id, b.id] {
        let answer = catalog.retry(id, at(2)).await;
        assert!(matches!(answer, Err(CatalogError::JobState { .. })), "{answer:?}");
    }
    assert_eq!(state(&catalog, b.id).await, JobState::UpstreamFailed);
}
