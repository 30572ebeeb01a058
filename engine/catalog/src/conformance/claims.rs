//! Taking jobs.

use std::{collections::HashSet, sync::Arc};

use model::{
    code::Code,
    id::{GraphId, WorkerId},
    job::{JobState, LastRun, LeaseState, NewJob, RequestKey, RunOutcome, RunProgress},
    profile::Resources,
    work::{JobKind, OptimizeWork, Work},
};

use super::{
    fixture::{
        C, LEASE, at, claim, claim_of, failed, input, job, name, new_job, progress, queued, state,
        stored, submit_one, succeeded, try_claim,
    },
    suite,
};
use crate::{error::CatalogError, jobs::Takes};

suite![
    an_empty_queue_gives_nothing,
    the_oldest_job_is_taken_first,
    a_taken_job_is_in_planning_with_its_first_run,
    a_taken_job_comes_with_everything_that_is_listed_of_it,
    a_taken_job_comes_with_the_version_of_all_objects,
    a_job_waits_until_every_upstream_job_succeeded,
    an_upstream_job_without_a_change_lets_the_next_one_go_on,
    a_failure_ends_the_whole_chain_behind_it,
    one_object_has_one_job_under_way,
    other_jobs_of_an_object_wait_while_one_is_between_attempts,
    a_lease_that_has_not_run_out_is_left_alone,
    an_expired_lease_is_claimed_by_the_next_worker,
    an_expired_job_without_attempts_left_fails_and_ends_what_waits_for_it,
    an_expired_job_that_was_asked_to_stop_is_cancelled,
    an_expired_refresh_that_may_have_committed_is_looked_at_before_it_is_cancelled,
    an_expired_refresh_that_was_committing_is_looked_at_once_more_than_it_has_attempts,
    the_runs_of_an_object_are_counted_across_jobs,
    the_last_successful_run_comes_with_its_inputs_and_its_definition,
    a_new_object_of_an_old_name_has_no_last_run,
    concurrent_claims_never_give_one_job_to_two,
    concurrent_claims_never_take_two_jobs_of_one_object,
    a_worker_takes_jobs_of_its_profiles_only,
    a_profile_that_is_full_keeps_no_other_waiting,
];

async fn an_empty_queue_gives_nothing(catalog: C) {
    assert!(try_claim(&catalog, at(0)).await.is_none());
}

async fn the_oldest_job_is_taken_first(catalog: C) {
    let (a, b) = (stored(&catalog, "a").await, stored(&catalog, "b").await);
    let c = stored(&catalog, "c").await;
    let late = catalog.submit(&[new_job(a)], at(9)).await.unwrap().remove(0);
    let early = catalog.submit(&[new_job(b), new_job(c)], at(5)).await.unwrap();
    for expected in [early[0].id, early[1].id, late.id] {
        assert_eq!(claim(&catalog, at(10)).await.job.id, expected);
    }
    assert!(try_claim(&catalog, at(10)).await.is_none());
}

async fn a_taken_job_is_in_planning_with_its_first_run(catalog: C) {
    let waiting = queued(&catalog, "a", &[]).await;
    let worker = WorkerId::generate();
    let claimed = catalog.claim(worker, &Takes::default(), at(3), LEASE).await.unwrap().unwrap();
    assert_eq!((claimed.lease.attempt, claimed.lease.worker), (1, worker));
    assert_eq!((claimed.run_seq, &claimed.last), (1, &None));
    let expected = model::job::Job {
        state: JobState::Planning,
        started_at: Some(at(3)),
        run: Some(claimed.lease.run),
        attempt: 1,
        ..waiting
    };
    assert_eq!(claimed.job, expected);
    assert_eq!(job(&catalog, expected.id).await, expected);
    let runs = catalog.runs(None, 10).await.unwrap();
    let expected = model::job::Run {
        id: claimed.lease.run,
        job: expected.id,
        object: expected.object,
        kind: JobKind::Refresh,
        object_name: name("a"),
        run_seq: 1,
        state: JobState::Planning,
        attempt: 1,
        worker: Some(worker),
        started_at: at(3),
        finished_at: None,
        strategy: None,
        reason: None,
        progress: RunProgress::default(),
        output_version: None,
        result: None,
        error: None,
        report: model::report::RunReport::default(),
        graph: None,
        definition_hash: None,
    };
    assert_eq!(runs, [expected]);
}

async fn a_taken_job_comes_with_everything_that_is_listed_of_it(catalog: C) {
    let upstream = queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(1)).await;
    catalog.finish(&first.lease, &succeeded(1), at(2)).await.unwrap();
    let second = NewJob {
        after: vec![upstream.id],
        force: true,
        priority: 7,
        graph: Some(GraphId::generate()),
        resources: Resources { profile: "large".to_owned(), bytes_max: Some(9) },
        ..new_job(stored(&catalog, "b").await)
    };
    let key = RequestKey { key: "k".to_owned(), request: "REFRESH b".to_owned() };
    let second = catalog.submit_once(&key, &[second], at(3)).await.unwrap().remove(0);
    let claimed = claim(&catalog, at(4)).await;
    assert_eq!(claimed.job.after, [upstream.id]);
    assert_eq!(claimed.job, job(&catalog, second.id).await);
    // The next attempt, and another run, come with what there is by then.
    catalog.finish(&claimed.lease, &failed(Code::Unavailable), at(5)).await.unwrap();
    let again = claim(&catalog, at(65)).await;
    assert_eq!((again.lease.run, again.lease.attempt), (claimed.lease.run, 2));
    assert_eq!(again.job, job(&catalog, second.id).await);
    catalog.finish(&again.lease, &failed(Code::Internal), at(66)).await.unwrap();
    catalog.retry(second.id, at(67)).await.unwrap();
    let anew = claim(&catalog, at(68)).await;
    assert_ne!(anew.lease.run, claimed.lease.run);
    assert_eq!((anew.run_seq, anew.job), (2, job(&catalog, second.id).await));
}

async fn a_taken_job_comes_with_the_version_of_all_objects(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let b = queued(&catalog, "b", &[]).await;
    let first = claim(&catalog, at(1)).await;
    assert_eq!(first.objects_version, catalog.objects_version().await.unwrap());
    catalog.drop_object(stored(&catalog, "c").await, 1).await.unwrap();
    let second = claim(&catalog, at(1)).await;
    assert_eq!(second.job.id, b.id);
    assert_eq!(second.objects_version, catalog.objects_version().await.unwrap());
    assert!(second.objects_version > first.objects_version);
    // So does a run that goes on.
    let next = claim(&catalog, at(60)).await;
    assert_eq!((next.lease.attempt, next.objects_version), (2, second.objects_version));
}

async fn a_job_waits_until_every_upstream_job_succeeded(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let b = queued(&catalog, "b", &[]).await;
    let c = queued(&catalog, "c", &[a.id, b.id]).await;
    let (first, second) = (claim(&catalog, at(1)).await, claim(&catalog, at(1)).await);
    assert!(try_claim(&catalog, at(1)).await.is_none());
    catalog.finish(&first.lease, &succeeded(1), at(2)).await.unwrap();
    assert!(try_claim(&catalog, at(2)).await.is_none());
    catalog.finish(&second.lease, &succeeded(1), at(3)).await.unwrap();
    assert_eq!(claim(&catalog, at(3)).await.job.id, c.id);
}

async fn an_upstream_job_without_a_change_lets_the_next_one_go_on(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let b = queued(&catalog, "b", &[a.id]).await;
    let claimed = claim(&catalog, at(1)).await;
    let outcome = RunOutcome::SkippedNoChange { output_version: 4 };
    catalog.finish(&claimed.lease, &outcome, at(2)).await.unwrap();
    assert_eq!(job(&catalog, a.id).await.output_version, Some(4));
    assert_eq!(claim(&catalog, at(2)).await.job.id, b.id);
}

async fn a_failure_ends_the_whole_chain_behind_it(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let b = queued(&catalog, "b", &[a.id]).await;
    let c = queued(&catalog, "c", &[b.id]).await;
    let d = queued(&catalog, "d", &[a.id, c.id]).await;
    let free = queued(&catalog, "free", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.finish(&claimed.lease, &failed(Code::InvalidArgument), at(2)).await.unwrap();
    assert_eq!(claim(&catalog, at(3)).await.job.id, free.id);
    for behind in [b.id, c.id, d.id] {
        let behind = job(&catalog, behind).await;
        assert_eq!(behind.state, JobState::UpstreamFailed);
        assert_eq!(behind.finished_at, Some(at(3)));
    }
    let error = job(&catalog, b.id).await.error.unwrap();
    assert!(error.contains("main.a") && error.contains("FAILED"), "{error}");
}

async fn one_object_has_one_job_under_way(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    let second = submit_one(&catalog, new_job(first.object)).await;
    assert!(try_claim(&catalog, at(2)).await.is_none());
    catalog.finish(&claimed.lease, &succeeded(1), at(3)).await.unwrap();
    assert_eq!(claim(&catalog, at(3)).await.job.id, second.id);
}

async fn other_jobs_of_an_object_wait_while_one_is_between_attempts(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.finish(&claimed.lease, &failed(Code::Unavailable), at(2)).await.unwrap();
    let second = submit_one(&catalog, new_job(first.object)).await;
    assert!(try_claim(&catalog, at(3)).await.is_none(), "run 1 has not ended");
    let again = claim(&catalog, at(62)).await;
    assert_eq!((again.job.id, again.lease.run, again.run_seq), (first.id, claimed.lease.run, 1));
    catalog.finish(&again.lease, &succeeded(1), at(63)).await.unwrap();
    let next = claim(&catalog, at(63)).await;
    assert_eq!((next.job.id, next.run_seq), (second.id, 2));
}

async fn a_lease_that_has_not_run_out_is_left_alone(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    assert!(try_claim(&catalog, at(29)).await.is_none());
    catalog
        .heartbeat(&claimed.lease, JobState::Running, &progress(1), at(29), LEASE)
        .await
        .unwrap();
    assert!(try_claim(&catalog, at(58)).await.is_none());
}

async fn an_expired_lease_is_claimed_by_the_next_worker(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(0)).await;
    catalog
        .heartbeat(&first.lease, JobState::Committing, &progress(5), at(0), LEASE)
        .await
        .unwrap();
    let second = claim(&catalog, at(30)).await;
    assert_eq!(second.lease.run, first.lease.run);
    assert_eq!((second.lease.attempt, second.run_seq), (2, 1));
    assert_eq!(second.job.state, JobState::Planning);
    assert_eq!(second.job.started_at, first.job.started_at);
    assert_eq!(second.job.progress, RunProgress::default());
    let error = catalog.finish(&first.lease, &succeeded(1), at(31)).await.unwrap_err();
    assert!(matches!(error, CatalogError::LeaseLost(_)), "{error:?}");
    catalog.finish(&second.lease, &succeeded(2), at(32)).await.unwrap();
    assert_eq!(job(&catalog, second.job.id).await.output_version, Some(2));
    assert_eq!(catalog.runs(None, 10).await.unwrap().len(), 1);
}

async fn an_expired_job_without_attempts_left_fails_and_ends_what_waits_for_it(catalog: C) {
    let object = stored(&catalog, "a").await;
    let a = submit_one(&catalog, NewJob { attempts_max: 2, ..new_job(object) }).await;
    let b = queued(&catalog, "b", &[a.id]).await;
    claim(&catalog, at(0)).await;
    let last = claim(&catalog, at(100)).await;
    assert_eq!(last.lease.attempt, 2);
    assert!(try_claim(&catalog, at(200)).await.is_none());
    let ended = job(&catalog, a.id).await;
    assert_eq!(ended.state, JobState::Failed);
    assert_eq!(ended.finished_at, Some(at(200)));
    assert_eq!(ended.error.as_deref(), Some("the worker stopped answering"));
    let run = catalog.runs(Some(&[a.id]), 10).await.unwrap().remove(0);
    assert_eq!((run.state, run.finished_at), (JobState::Failed, Some(at(200))));
    assert_eq!(state(&catalog, b.id).await, JobState::UpstreamFailed);
    let error = catalog.finish(&last.lease, &succeeded(1), at(201)).await.unwrap_err();
    assert!(matches!(error, CatalogError::LeaseLost(_)), "{error:?}");
}

async fn an_expired_job_that_was_asked_to_stop_is_cancelled(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    claim(&catalog, at(0)).await;
    assert_eq!(catalog.cancel(a.id, at(1)).await.unwrap().state, JobState::Planning);
    assert!(try_claim(&catalog, at(100)).await.is_none());
    assert_eq!(state(&catalog, a.id).await, JobState::Cancelled);
}

async fn an_expired_refresh_that_may_have_committed_is_looked_at_before_it_is_cancelled(
    catalog: C,
) {
    let a = queued(&catalog, "a", &[]).await;
    claim(&catalog, at(0)).await;
    claim(&catalog, at(100)).await;
    catalog.cancel(a.id, at(101)).await.unwrap();
    // It has three attempts.
    let last = claim(&catalog, at(200)).await;
    assert_eq!((last.job.id, last.lease.attempt), (a.id, 3));
    let (none, now) = (RunProgress::default(), at(201));
    let beat = catalog.heartbeat(&last.lease, JobState::Planning, &none, now, LEASE).await.unwrap();
    assert_eq!(beat, LeaseState::StopAsked);
    assert!(try_claim(&catalog, at(300)).await.is_none());
    assert_eq!(state(&catalog, a.id).await, JobState::Cancelled);
}

async fn an_expired_refresh_that_was_committing_is_looked_at_once_more_than_it_has_attempts(
    catalog: C,
) {
    let object = stored(&catalog, "a").await;
    for (work, looks) in [(Work::Refresh, true), (Work::Optimize(OptimizeWork::default()), false)] {
        let new = NewJob { attempts_max: 1, work, ..new_job(object) };
        let a = submit_one(&catalog, new).await;
        let only = claim(&catalog, at(0)).await;
        let none = RunProgress::default();
        let beat = catalog.heartbeat(&only.lease, JobState::Committing, &none, at(1), LEASE).await;
        assert_eq!(beat.unwrap(), LeaseState::Held);
        let looking = try_claim(&catalog, at(100)).await;
        assert_eq!(
            looking.map(|looking| (looking.job.id, looking.lease.attempt)),
            looks.then_some((a.id, 2))
        );
        assert!(try_claim(&catalog, at(200)).await.is_none());
        assert_eq!(state(&catalog, a.id).await, JobState::Failed);
    }
}

async fn the_runs_of_an_object_are_counted_across_jobs(catalog: C) {
    let (a, b) = (stored(&catalog, "a").await, stored(&catalog, "b").await);
    for round in 1..=3 {
        for object in [a, b] {
            submit_one(&catalog, new_job(object)).await;
            let claimed = claim(&catalog, at(round)).await;
            assert_eq!(claimed.run_seq, round);
            let outcome = if round == 2 { failed(Code::Internal) } else { succeeded(round) };
            catalog.finish(&claimed.lease, &outcome, at(round)).await.unwrap();
        }
    }
}

async fn the_last_successful_run_comes_with_its_inputs_and_its_definition(catalog: C) {
    let object = stored(&catalog, "a").await;
    let inputs = vec![input("z", 7), input("b", -3), input("m", 0)];
    let outcomes = [
        succeeded(11),
        RunOutcome::SkippedNoChange { output_version: 11 },
        failed(Code::Internal),
        RunOutcome::Cancelled,
    ];
    for (round, outcome) in (0..).zip(outcomes) {
        submit_one(&catalog, new_job(object)).await;
        let claimed = claim(&catalog, at(round)).await;
        let pins = if round == 0 { inputs.clone() } else { vec![input("other", 99)] };
        catalog.pin(&claimed.lease, &pins).await.unwrap();
        catalog.finish(&claimed.lease, &outcome, at(round)).await.unwrap();
        submit_one(&catalog, new_job(object)).await;
        let next = claim(&catalog, at(round)).await;
        let expected = LastRun {
            definition_hash: "hash".to_owned(),
            inputs: inputs.clone(),
            output_version: 11,
            is_mixed: false,
        };
        assert_eq!(next.last, Some(expected), "after {outcome:?}");
        catalog.finish(&next.lease, &RunOutcome::Cancelled, at(round)).await.unwrap();
    }
}

async fn a_new_object_of_an_old_name_has_no_last_run(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(2)).await.unwrap();
    catalog.drop_object(first.object, 1).await.unwrap();
    queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(3)).await;
    assert_eq!((claimed.last, claimed.run_seq), (None, 1));
}

async fn concurrent_claims_never_give_one_job_to_two(catalog: C) {
    const JOBS: usize = 24;
    for n in 0..JOBS {
        queued(&catalog, &format!("t{n}"), &[]).await;
    }
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while let Some(claimed) = try_claim(&catalog, at(1)).await {
                    taken.push(claimed.job.id);
                }
                taken
            })
        })
        .collect();
    let mut taken = Vec::new();
    for task in tasks {
        taken.extend(task.await.unwrap());
    }
    let unique: HashSet<_> = taken.iter().collect();
    assert_eq!(unique.len(), taken.len(), "a job was given to two");
    assert_eq!(taken.len(), JOBS, "a job that nobody took");
}

async fn concurrent_claims_never_take_two_jobs_of_one_object(catalog: C) {
    let upstream = queued(&catalog, "upstream", &[]).await;
    let object = stored(&catalog, "a").await;
    // Jobs that do not coalesce, and that all become runnable at once.
    let waits = |force| NewJob { force, after: vec![upstream.id], ..new_job(object) };
    catalog.submit(&[new_job(object), waits(false), waits(true)], at(0)).await.unwrap();
    let first = claim(&catalog, at(1)).await;
    catalog.finish(&first.lease, &succeeded(1), at(1)).await.unwrap();
    for round in 1..=3 {
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let catalog = Arc::clone(&catalog);
                tokio::spawn(async move { try_claim(&catalog, at(2)).await })
            })
            .collect();
        let mut taken = Vec::new();
        for task in tasks {
            taken.extend(task.await.unwrap());
        }
        assert_eq!(taken.len(), 1, "round {round}");
        assert_eq!(taken[0].run_seq, round);
        catalog.finish(&taken[0].lease, &succeeded(1), at(2)).await.unwrap();
    }
}

/// Queues a job of a profile.
async fn of_profile(catalog: &C, of: &str, profile: &str) -> model::id::JobId {
    let resources = Resources { profile: profile.to_owned(), bytes_max: None };
    let job = NewJob { resources, ..new_job(stored(catalog, of).await) };
    submit_one(catalog, job).await.id
}

async fn a_worker_takes_jobs_of_its_profiles_only(catalog: C) {
    let large = of_profile(&catalog, "a", "large").await;
    let usual = of_profile(&catalog, "b", "default").await;
    let only = |names: &[&str]| Takes {
        only: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..Takes::default()
    };
    assert!(claim_of(&catalog, &only(&["small"]), at(1)).await.is_none());
    assert!(claim_of(&catalog, &only(&[]), at(1)).await.is_none());
    let taken = claim_of(&catalog, &only(&["small", "default"]), at(1)).await.unwrap();
    assert_eq!(taken.job.id, usual);
    let taken = claim_of(&catalog, &only(&["large"]), at(1)).await.unwrap();
    assert_eq!((taken.job.id, taken.job.resources.profile.as_str()), (large, "large"));
    // A run that was begun is continued by those alone who take its profile.
    let later = at(1).plus(LEASE);
    assert!(claim_of(&catalog, &only(&["small"]), later).await.is_none());
    let continued = claim_of(&catalog, &only(&["large"]), later).await.unwrap();
    assert_eq!((continued.job.id, continued.lease.attempt), (large, 2));
}

async fn a_profile_that_is_full_keeps_no_other_waiting(catalog: C) {
    let first = of_profile(&catalog, "a", "large").await;
    let usual = of_profile(&catalog, "b", "default").await;
    let full = Takes { full: vec!["large".to_owned()], ..Takes::default() };
    assert_eq!(claim_of(&catalog, &full, at(1)).await.unwrap().job.id, usual);
    assert!(claim_of(&catalog, &full, at(1)).await.is_none());
    assert_eq!(try_claim(&catalog, at(1)).await.unwrap().job.id, first);
}
