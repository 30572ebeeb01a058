//! Jobs that wait for a person.

use model::{
    approval::{Approval, Chosen},
    code::Code,
    id::{JobId, ObjectId},
    job::{Job, JobCause, JobState, LeaseState, NewJob, RunOutcome},
    report::RunReport,
};

use super::{
    fixture::{
        C, LEASE, at, claim, failed, job, new_job, progress, queued, state, submit_one, succeeded,
        try_claim,
    },
    suite,
};
use crate::{error::CatalogError, objects::Objects};

suite![
    a_job_that_asks_waits_without_a_worker_and_says_why,
    a_job_that_asks_is_in_nobodys_way,
    an_approved_job_goes_on_with_a_run_of_its_own,
    only_a_job_that_asks_is_approved,
    a_job_that_asks_is_cancelled_at_once,
    a_job_that_was_asked_to_stop_does_not_ask,
    what_comes_by_itself_joins_the_job_that_asks,
    a_request_lets_the_job_that_asks_look_again,
    a_success_lets_the_jobs_that_ask_look_again,
    an_approval_holds_for_later_attempts_and_not_for_another_question,
    a_job_that_asks_ends_with_its_object,
];

fn question() -> RunOutcome {
    RunOutcome::NeedsApproval {
        strategy: "FULL".to_owned(),
        reason: "DEFINITION_CHANGED".to_owned(),
        report: RunReport {
            alternatives: vec!["KEYS: no".to_owned()],
            bytes_estimated: Some(1 << 40),
            ..RunReport::default()
        },
    }
}

fn approval() -> Approval {
    Approval { by: "it's ada".to_owned(), at: at(5), definition_hash: "hash".to_owned() }
}

/// A job that has asked at second 1.
async fn asking(catalog: &C, of: &str) -> Job {
    let asked = queued(catalog, of, &[]).await;
    let claimed = claim(catalog, at(0)).await;
    catalog.finish(&claimed.lease, &question(), at(1)).await.unwrap();
    job(catalog, asked.id).await
}

async fn submit_by(catalog: &C, object: ObjectId, cause: JobCause) -> Job {
    submit_one(catalog, NewJob { cause, ..new_job(object) }).await
}

async fn a_job_that_asks_waits_without_a_worker_and_says_why(catalog: C) {
    let asked = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.pin(&claimed.lease, &[super::fixture::input("i", 1)]).await.unwrap();
    catalog.finish(&claimed.lease, &question(), at(1)).await.unwrap();
    let asking = job(&catalog, asked.id).await;
    assert_eq!((asking.state, asking.finished_at), (JobState::AwaitingApproval, None));
    assert_eq!((asking.error.as_deref(), &asking.approval), (None, &None));
    let chosen = Chosen {
        strategy: Some("FULL".to_owned()),
        reason: Some("DEFINITION_CHANGED".to_owned()),
        alternatives: vec!["KEYS: no".to_owned()],
        bytes_estimated: Some(1 << 40),
    };
    assert_eq!(asking.chosen, chosen);
    let run = catalog.runs(None, 1).await.unwrap().remove(0);
    assert_eq!((run.state, run.finished_at), (JobState::AwaitingApproval, None));
    assert_eq!(run.reason.as_deref(), Some("DEFINITION_CHANGED"));
    // However long it waits, nobody takes it, and its worker has nothing to say any more.
    assert!(try_claim(&catalog, at(1_000_000)).await.is_none());
    let done = progress(1);
    let beat = catalog.heartbeat(&claimed.lease, JobState::Running, &done, at(2), LEASE).await;
    assert_eq!(beat.unwrap(), LeaseState::Lost);
    let late = catalog.finish(&claimed.lease, &succeeded(1), at(2)).await;
    assert!(matches!(late, Err(CatalogError::LeaseLost(_))), "{late:?}");
}

async fn a_job_that_asks_is_in_nobodys_way(catalog: C) {
    let asking = asking(&catalog, "a").await;
    let forced = NewJob { force: true, ..new_job(asking.object) };
    let forced = submit_one(&catalog, forced).await;
    assert_ne!(forced.id, asking.id);
    let claimed = claim(&catalog, at(2)).await;
    assert_eq!((claimed.job.id, claimed.run_seq), (forced.id, 2));
}

async fn an_approved_job_goes_on_with_a_run_of_its_own(catalog: C) {
    let asking = asking(&catalog, "a").await;
    let behind = queued(&catalog, "b", &[asking.id]).await;
    assert!(try_claim(&catalog, at(2)).await.is_none(), "it is not done");
    let approved = catalog.approve(asking.id, &approval(), at(5)).await.unwrap();
    assert_eq!((approved.state, approved.approval.clone()), (JobState::Queued, Some(approval())));
    assert_eq!((approved.run, approved.attempt, &approved.chosen), (None, 0, &Chosen::default()));
    let claimed = claim(&catalog, at(5)).await;
    assert_eq!((claimed.job.id, claimed.job.approval.clone()), (asking.id, Some(approval())));
    assert_eq!((claimed.run_seq, claimed.lease.attempt), (2, 1));
    assert_eq!(catalog.pinned(claimed.lease.run).await.unwrap(), None);
    catalog.finish(&claimed.lease, &succeeded(3), at(6)).await.unwrap();
    let ended = job(&catalog, asking.id).await;
    assert_eq!((ended.state, ended.approval), (JobState::Succeeded, Some(approval())));
    let runs = catalog.runs(Some(&[asking.id]), 9).await.unwrap();
    let states: Vec<_> = runs.iter().map(|run| (run.run_seq, run.state)).collect();
    assert_eq!(states, [(2, JobState::Succeeded), (1, JobState::Cancelled)]);
    assert!(runs[1].error.as_deref().unwrap().contains("it's ada"), "{:?}", runs[1]);
    assert_eq!(runs[1].finished_at, Some(at(5)));
    assert_eq!(claim(&catalog, at(7)).await.job.id, behind.id);
}

async fn only_a_job_that_asks_is_approved(catalog: C) {
    let unknown = catalog.approve(JobId::generate(), &approval(), at(0)).await;
    assert!(matches!(unknown, Err(CatalogError::JobNotFound(_))), "{unknown:?}");
    let asked = queued(&catalog, "a", &[]).await;
    let refused = |answer: Result<Job, CatalogError>| {
        assert!(matches!(&answer, Err(CatalogError::JobState { .. })), "{answer:?}");
    };
    refused(catalog.approve(asked.id, &approval(), at(0)).await);
    let claimed = claim(&catalog, at(0)).await;
    refused(catalog.approve(asked.id, &approval(), at(1)).await);
    catalog.finish(&claimed.lease, &question(), at(1)).await.unwrap();
    catalog.approve(asked.id, &approval(), at(2)).await.unwrap();
    refused(catalog.approve(asked.id, &approval(), at(3)).await);
    let claimed = claim(&catalog, at(3)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(4)).await.unwrap();
    refused(catalog.approve(asked.id, &approval(), at(5)).await);
}

async fn a_job_that_asks_is_cancelled_at_once(catalog: C) {
    let asking = asking(&catalog, "a").await;
    let behind = queued(&catalog, "b", &[asking.id]).await;
    let cancelled = catalog.cancel(asking.id, at(3)).await.unwrap();
    assert_eq!((cancelled.state, cancelled.finished_at), (JobState::Cancelled, Some(at(3))));
    let run = catalog.runs(None, 1).await.unwrap().remove(0);
    assert_eq!((run.state, run.finished_at), (JobState::Cancelled, Some(at(3))));
    assert!(try_claim(&catalog, at(4)).await.is_none());
    assert_eq!(state(&catalog, behind.id).await, JobState::UpstreamFailed);
    let again = catalog.retry(asking.id, at(5)).await.unwrap();
    assert_eq!((again.state, again.approval), (JobState::Queued, None));
}

async fn a_job_that_was_asked_to_stop_does_not_ask(catalog: C) {
    let asked = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.cancel(asked.id, at(1)).await.unwrap();
    catalog.finish(&claimed.lease, &question(), at(2)).await.unwrap();
    assert_eq!(state(&catalog, asked.id).await, JobState::Cancelled);
}

async fn what_comes_by_itself_joins_the_job_that_asks(catalog: C) {
    let asking = asking(&catalog, "a").await;
    for second in 2..6 {
        let due = NewJob {
            cause: JobCause::Schedule,
            due_at: Some(at(second)),
            ..new_job(asking.object)
        };
        assert_eq!(submit_one(&catalog, due).await, asking);
        assert_eq!(submit_by(&catalog, asking.object, JobCause::Automatic).await, asking);
        let due = catalog.last_due(&[asking.object], at(second)).await.unwrap();
        assert_eq!(due, [(asking.object, at(second))]);
    }
    assert!(try_claim(&catalog, at(9)).await.is_none());
}

async fn a_request_lets_the_job_that_asks_look_again(catalog: C) {
    for (n, cause) in (0..).zip([JobCause::Request, JobCause::Definition]) {
        let asking = asking(&catalog, &format!("t{n}")).await;
        let joined = submit_by(&catalog, asking.object, cause).await;
        assert_eq!((joined.id, joined.state), (asking.id, JobState::Queued));
        assert_eq!((joined.run, joined.approval), (None, None));
        let claimed = claim(&catalog, at(3)).await;
        assert_eq!((claimed.job.id, claimed.run_seq), (asking.id, 2));
        catalog.finish(&claimed.lease, &question(), at(4)).await.unwrap();
        assert_eq!(state(&catalog, asking.id).await, JobState::AwaitingApproval);
    }
}

async fn a_success_lets_the_jobs_that_ask_look_again(catalog: C) {
    let asking = asking(&catalog, "a").await;
    let other = self::asking(&catalog, "b").await;
    submit_one(&catalog, NewJob { force: true, ..new_job(asking.object) }).await;
    let claimed = claim(&catalog, at(2)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(3)).await.unwrap();
    assert_eq!(state(&catalog, asking.id).await, JobState::Queued);
    assert_eq!(state(&catalog, other.id).await, JobState::AwaitingApproval);
    let claimed = claim(&catalog, at(4)).await;
    assert_eq!((claimed.job.id, claimed.job.approval.clone()), (asking.id, None));
    let nothing = RunOutcome::SkippedNoChange { output_version: 1 };
    catalog.finish(&claimed.lease, &nothing, at(5)).await.unwrap();
    assert_eq!(state(&catalog, asking.id).await, JobState::SkippedNoChange);
}

async fn an_approval_holds_for_later_attempts_and_not_for_another_question(catalog: C) {
    let asking = asking(&catalog, "a").await;
    catalog.approve(asking.id, &approval(), at(5)).await.unwrap();
    let first = claim(&catalog, at(5)).await;
    catalog.finish(&first.lease, &failed(Code::Unavailable), at(6)).await.unwrap();
    let second = claim(&catalog, at(100)).await;
    assert_eq!((second.job.id, second.job.approval.clone()), (asking.id, Some(approval())));
    catalog.finish(&second.lease, &failed(Code::Internal), at(101)).await.unwrap();
    let again = catalog.retry(asking.id, at(102)).await.unwrap();
    assert_eq!(again.approval, Some(approval()), "it is the same job");
    let third = claim(&catalog, at(103)).await;
    catalog.finish(&third.lease, &question(), at(104)).await.unwrap();
    let asks_again = job(&catalog, asking.id).await;
    assert_eq!((asks_again.state, asks_again.approval), (JobState::AwaitingApproval, None));
}

async fn a_job_that_asks_ends_with_its_object(catalog: C) {
    let asking = asking(&catalog, "a").await;
    let object = Objects::object(catalog.as_ref(), asking.object).await.unwrap().unwrap();
    catalog.drop_object(object.id, object.definition_version).await.unwrap();
    let ended = job(&catalog, asking.id).await;
    assert_eq!(ended.state, JobState::Cancelled);
    assert!(ended.error.unwrap().contains("was dropped"));
}
