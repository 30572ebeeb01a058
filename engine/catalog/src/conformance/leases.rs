//! What the holder of a lease may do.

use std::time::Duration;

use model::{
    code::Code,
    id::{RunId, WorkerId},
    job::{JobState, Lease, LeaseState, NewJob, PinnedInput, RunOutcome},
    report::RunReport,
};

use super::{
    fixture::{
        C, LEASE, at, claim, failed, input, job, new_job, progress, queued, report, state, stored,
        submit_one, succeeded, try_claim,
    },
    suite,
};
use crate::{error::CatalogError, jobs::Takes};

suite![
    pins_of_the_first_attempt_are_those_of_every_attempt,
    a_run_without_inputs_is_pinned_too,
    a_heartbeat_records_state_and_progress,
    a_heartbeat_never_moves_a_run_back,
    a_heartbeat_says_where_an_attempt_stands_and_nothing_else,
    a_lease_that_ran_out_is_good_until_somebody_takes_the_run,
    a_stranger_changes_nothing,
    a_run_that_was_asked_to_stop_does_not_reach_the_commit,
    a_success_records_everything_and_clears_the_error_before_it,
    a_run_is_finished_once,
    a_transient_failure_is_tried_again_when_its_time_has_come,
    a_transient_failure_of_the_last_attempt_is_final,
    a_lasting_failure_is_final_at_once,
    a_failure_keeps_what_it_had_found_out_until_the_next_attempt_ends,
    a_transient_failure_of_a_run_that_was_asked_to_stop_ends_it,
    inputs_of_runs_are_listed_in_the_order_of_the_runs,
    runs_are_listed_newest_first,
];

async fn pins_of_the_first_attempt_are_those_of_every_attempt(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(0)).await;
    assert_eq!(catalog.pinned(first.lease.run).await.unwrap(), None);
    let inputs = vec![input("b", 3), input("a", -9)];
    assert_eq!(catalog.pin(&first.lease, &inputs).await.unwrap(), inputs);
    let newer = [input("b", 4)];
    assert_eq!(catalog.pin(&first.lease, &newer).await.unwrap(), inputs);
    let second = claim(&catalog, at(60)).await;
    assert_eq!(catalog.pinned(second.lease.run).await.unwrap(), Some(inputs.clone()));
    assert_eq!(catalog.pin(&second.lease, &newer).await.unwrap(), inputs);
    let error = catalog.pin(&first.lease, &newer).await.unwrap_err();
    assert!(matches!(error, CatalogError::LeaseLost(_)), "{error:?}");
    assert_eq!(catalog.pinned(RunId::generate()).await.unwrap(), None);
}

async fn a_run_without_inputs_is_pinned_too(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.pin(&claimed.lease, &[]).await.unwrap();
    assert_eq!(catalog.pinned(claimed.lease.run).await.unwrap(), Some(vec![]));
    assert_eq!(catalog.pin(&claimed.lease, &[input("a", 1)]).await.unwrap(), []);
}

async fn beat(catalog: &C, lease: &Lease, state: JobState, seconds: i64) -> LeaseState {
    catalog.heartbeat(lease, state, &progress(8), at(seconds), LEASE).await.unwrap()
}

async fn a_heartbeat_records_state_and_progress(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    for state in [JobState::Planning, JobState::Running, JobState::Committing] {
        assert_eq!(beat(&catalog, &claimed.lease, state, 1).await, LeaseState::Held);
        let seen = job(&catalog, a.id).await;
        assert_eq!((seen.state, seen.progress), (state, progress(8)));
        let run = catalog.runs(None, 1).await.unwrap().remove(0);
        assert_eq!((run.state, run.progress), (state, progress(8)));
    }
}

async fn a_heartbeat_never_moves_a_run_back(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    beat(&catalog, &claimed.lease, JobState::Committing, 1).await;
    assert_eq!(beat(&catalog, &claimed.lease, JobState::Running, 2).await, LeaseState::Held);
    assert_eq!(state(&catalog, a.id).await, JobState::Committing);
}

async fn a_heartbeat_says_where_an_attempt_stands_and_nothing_else(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    for state in [JobState::Queued, JobState::Succeeded, JobState::Cancelled] {
        let answer = catalog.heartbeat(&claimed.lease, state, &progress(1), at(1), LEASE).await;
        assert!(matches!(answer, Err(CatalogError::JobState { .. })), "{state}");
    }
    assert_eq!(state(&catalog, a.id).await, JobState::Planning);
}

async fn a_lease_that_ran_out_is_good_until_somebody_takes_the_run(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    assert_eq!(beat(&catalog, &claimed.lease, JobState::Running, 500).await, LeaseState::Held);
    assert!(try_claim(&catalog, at(529)).await.is_none());
    let next = claim(&catalog, at(530)).await;
    assert_eq!(beat(&catalog, &claimed.lease, JobState::Running, 531).await, LeaseState::Lost);
    assert_eq!(beat(&catalog, &next.lease, JobState::Running, 531).await, LeaseState::Held);
}

async fn a_stranger_changes_nothing(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let real = claim(&catalog, at(0)).await.lease;
    let before = job(&catalog, a.id).await;
    let strangers = [
        Lease { worker: WorkerId::generate(), ..real },
        Lease { attempt: 2, ..real },
        Lease { attempt: 0, ..real },
        Lease { run: RunId::generate(), ..real },
    ];
    for lease in strangers {
        assert_eq!(beat(&catalog, &lease, JobState::Running, 1).await, LeaseState::Lost);
        let finished = catalog.finish(&lease, &succeeded(1), at(1)).await;
        assert!(matches!(finished, Err(CatalogError::LeaseLost(_))), "{lease:?}");
        let pinned = catalog.pin(&lease, &[input("a", 1)]).await;
        assert!(matches!(pinned, Err(CatalogError::LeaseLost(_))), "{lease:?}");
    }
    assert_eq!(job(&catalog, a.id).await, before);
    assert_eq!(catalog.pinned(real.run).await.unwrap(), None);
}

async fn a_run_that_was_asked_to_stop_does_not_reach_the_commit(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    beat(&catalog, &claimed.lease, JobState::Running, 1).await;
    catalog.cancel(a.id, at(2)).await.unwrap();
    for state in [JobState::Running, JobState::Committing] {
        assert_eq!(beat(&catalog, &claimed.lease, state, 3).await, LeaseState::StopAsked);
    }
    assert_eq!(state(&catalog, a.id).await, JobState::Running);
    catalog.finish(&claimed.lease, &RunOutcome::Cancelled, at(4)).await.unwrap();
    let ended = job(&catalog, a.id).await;
    assert_eq!((ended.state, ended.finished_at), (JobState::Cancelled, Some(at(4))));
}

async fn a_success_records_everything_and_clears_the_error_before_it(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(0)).await;
    catalog.finish(&first.lease, &failed(Code::Unavailable), at(1)).await.unwrap();
    let second = claim(&catalog, at(70)).await;
    assert_eq!(second.job.error.as_deref(), Some("the disk is full"));
    catalog.finish(&second.lease, &succeeded(5), at(71)).await.unwrap();
    let ended = job(&catalog, a.id).await;
    let expected = model::job::Job {
        state: JobState::Succeeded,
        finished_at: Some(at(71)),
        progress: progress(10),
        chosen: model::approval::Chosen {
            strategy: Some("FULL".to_owned()),
            reason: Some("FIRST_RUN".to_owned()),
            alternatives: report(10).alternatives,
            bytes_estimated: None,
        },
        output_version: Some(5),
        error: None,
        ..second.job.clone()
    };
    assert_eq!(ended, expected);
    let run = catalog.runs(Some(&[a.id]), 5).await.unwrap().remove(0);
    assert_eq!((run.state, run.attempt), (JobState::Succeeded, 2));
    assert_eq!((run.strategy.as_deref(), run.reason.as_deref()), (Some("FULL"), Some("FIRST_RUN")));
    assert_eq!((run.output_version, run.error), (Some(5), None));
    assert_eq!(run.report, report(10));
    assert_eq!((run.started_at, run.finished_at), (at(0), Some(at(71))));
    assert_eq!(run.worker, Some(second.lease.worker));
}

async fn a_run_is_finished_once(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.finish(&claimed.lease, &succeeded(5), at(1)).await.unwrap();
    let before = job(&catalog, a.id).await;
    for outcome in [succeeded(6), failed(Code::Internal), RunOutcome::Cancelled] {
        let error = catalog.finish(&claimed.lease, &outcome, at(2)).await.unwrap_err();
        assert!(matches!(error, CatalogError::LeaseLost(_)), "{error:?}");
    }
    assert_eq!(beat(&catalog, &claimed.lease, JobState::Running, 3).await, LeaseState::Lost);
    assert_eq!(job(&catalog, a.id).await, before);
}

async fn a_transient_failure_is_tried_again_when_its_time_has_come(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(0)).await;
    catalog.finish(&first.lease, &failed(Code::Unavailable), at(10)).await.unwrap();
    let between = job(&catalog, a.id).await;
    assert_eq!((between.state, between.attempt), (JobState::Queued, 1));
    assert_eq!(between.error.as_deref(), Some("the disk is full"));
    assert_eq!(between.finished_at, None);
    assert!(try_claim(&catalog, at(69)).await.is_none());
    let second = claim(&catalog, at(70)).await;
    assert_eq!((second.lease.run, second.lease.attempt), (first.lease.run, 2));
}

async fn a_transient_failure_of_the_last_attempt_is_final(catalog: C) {
    let object = stored(&catalog, "a").await;
    let a = submit_one(&catalog, NewJob { attempts_max: 1, ..new_job(object) }).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.finish(&claimed.lease, &failed(Code::Unavailable), at(1)).await.unwrap();
    let ended = job(&catalog, a.id).await;
    assert_eq!((ended.state, ended.finished_at), (JobState::Failed, Some(at(1))));
}

async fn a_lasting_failure_is_final_at_once(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.finish(&claimed.lease, &failed(Code::InvalidArgument), at(1)).await.unwrap();
    let ended = job(&catalog, a.id).await;
    assert_eq!((ended.state, ended.attempt), (JobState::Failed, 1));
    assert_eq!(ended.error.as_deref(), Some("the disk is full"));
    let run = catalog.runs(None, 1).await.unwrap().remove(0);
    assert_eq!((run.state, run.error), (JobState::Failed, ended.error));
}

async fn a_failure_keeps_what_it_had_found_out_until_the_next_attempt_ends(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let told = |code| match failed(code) {
        RunOutcome::Failed { code, message, retry_after, .. } => RunOutcome::Failed {
            code,
            message,
            retry_after,
            strategy: Some("KEYS".to_owned()),
            reason: Some("INPUT_CHANGED".to_owned()),
            report: report(4),
        },
        other => other,
    };
    let claimed = claim(&catalog, at(0)).await;
    assert_eq!(catalog.runs(None, 1).await.unwrap()[0].report, RunReport::default());
    catalog.finish(&claimed.lease, &told(Code::Unavailable), at(1)).await.unwrap();
    let run = catalog.runs(None, 1).await.unwrap().remove(0);
    assert_eq!(run.report, report(4));
    let said = (run.strategy.as_deref(), run.reason.as_deref());
    assert_eq!(said, (Some("KEYS"), Some("INPUT_CHANGED")));
    let claimed = claim(&catalog, at(90)).await;
    catalog.finish(&claimed.lease, &failed(Code::Internal), at(91)).await.unwrap();
    let run = catalog.runs(None, 1).await.unwrap().remove(0);
    assert_eq!((run.report, run.strategy, run.reason), (RunReport::default(), None, None));
}

async fn a_transient_failure_of_a_run_that_was_asked_to_stop_ends_it(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(0)).await;
    catalog.cancel(a.id, at(1)).await.unwrap();
    catalog.finish(&claimed.lease, &failed(Code::Unavailable), at(2)).await.unwrap();
    assert_eq!(state(&catalog, a.id).await, JobState::Cancelled);
}

async fn inputs_of_runs_are_listed_in_the_order_of_the_runs(catalog: C) {
    let mut pins: Vec<(RunId, Vec<PinnedInput>)> = Vec::new();
    for of in ["a", "b", "c"] {
        queued(&catalog, of, &[]).await;
        let claimed = claim(&catalog, at(0)).await;
        let inputs = if of == "b" { vec![] } else { vec![input("z", 1), input("a", 2)] };
        catalog.pin(&claimed.lease, &inputs).await.unwrap();
        pins.push((claimed.lease.run, inputs));
    }
    pins.reverse();
    let runs: Vec<_> = pins.iter().map(|(run, _)| *run).collect();
    let expected: Vec<_> = pins
        .into_iter()
        .flat_map(|(run, inputs)| inputs.into_iter().map(move |input| (run, input)))
        .collect();
    assert_eq!(catalog.run_inputs(&runs).await.unwrap(), expected);
    assert!(catalog.run_inputs(&[]).await.unwrap().is_empty());
}

async fn runs_are_listed_newest_first(catalog: C) {
    assert_eq!(catalog.run(RunId::generate()).await.unwrap(), None);
    let mut runs = Vec::new();
    for (of, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
        queued(&catalog, of, &[]).await;
        let claimed = catalog
            .claim(WorkerId::generate(), &Takes::default(), at(seconds), Duration::from_secs(99))
            .await;
        runs.push(claimed.unwrap().unwrap());
    }
    let newest = catalog.runs(None, 2).await.unwrap();
    let newest: Vec<_> = newest.into_iter().map(|run| run.id).collect();
    assert_eq!(newest, [runs[2].lease.run, runs[1].lease.run]);
    let of_jobs = catalog.runs(Some(&[runs[0].job.id, runs[1].job.id]), 9).await.unwrap();
    let of_jobs: Vec<_> = of_jobs.into_iter().map(|run| run.id).collect();
    assert_eq!(of_jobs, [runs[1].lease.run, runs[0].lease.run]);
    assert!(catalog.runs(Some(&[]), 9).await.unwrap().is_empty());
    let one = catalog.run(runs[1].lease.run).await.unwrap().unwrap();
    assert_eq!((one.id, one.job, one.definition_hash), (runs[1].lease.run, runs[1].job.id, None));
}
