//! Requests that are sent again, and those that go first.

use model::{
    code::Code,
    job::{JobState, NewJob, PinnedInput, RequestKey},
    report::PartResult,
    work::{AtWork, JobKind, PartWork, Work},
};

use super::{
    fixture::{
        C, at, claim, failed, new_job, queued, report, stored, submit_one, succeeded, try_claim,
    },
    suite,
};
use crate::{error::CatalogError, jobs::JobFilter};

suite![
    a_request_that_comes_again_is_answered_with_its_jobs_as_they_are,
    a_key_of_another_request_is_refused_and_queues_nothing,
    everybody_has_keys_of_their_own,
    a_request_with_a_key_joins_a_job_that_waits,
    a_request_that_queued_nothing_keeps_no_key,
    the_greatest_priority_goes_first_and_then_the_oldest,
    joining_a_job_makes_it_go_sooner_never_later,
    a_request_with_other_attempts_is_a_job_of_its_own,
    a_part_is_a_job_of_its_own_and_comes_back_whole,
    a_refresh_at_named_versions_is_a_job_of_its_own_and_comes_back_whole,
    a_run_of_a_part_is_told_by_the_last_run,
];

fn key(key: &str, request: &str) -> RequestKey {
    RequestKey { key: key.to_owned(), request: request.to_owned() }
}

fn part(condition: &str) -> Work {
    Work::Part(PartWork { condition: condition.to_owned(), inputs: None })
}

async fn count(catalog: &C) -> usize {
    catalog.jobs(&JobFilter::default()).await.unwrap().len()
}

async fn a_request_that_comes_again_is_answered_with_its_jobs_as_they_are(catalog: C) {
    let (a, b) = (stored(&catalog, "a").await, stored(&catalog, "b").await);
    let call = || [new_job(b), new_job(a)];
    let key = key("it's \"k\"", "REFRESH b, a");
    let first = catalog.submit_once(&key, &call(), at(0)).await.unwrap();
    assert_eq!(first[0].idempotency_key.as_deref(), Some("it's \"k\""));
    assert_eq!(catalog.submit_once(&key, &call(), at(1)).await.unwrap(), first);
    for _ in 0..2 {
        let claimed = claim(&catalog, at(2)).await;
        catalog.finish(&claimed.lease, &failed(Code::Internal), at(3)).await.unwrap();
    }
    let again = catalog.submit_once(&key, &call(), at(4)).await.unwrap();
    let ids = |jobs: &[model::job::Job]| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&first));
    assert!(again.iter().all(|job| job.state == JobState::Failed));
    assert_eq!(count(&catalog).await, 2);
}

async fn a_key_of_another_request_is_refused_and_queues_nothing(catalog: C) {
    let object = stored(&catalog, "a").await;
    let first = catalog.submit_once(&key("k", "one"), &[new_job(object)], at(0)).await.unwrap();
    let error = catalog.submit_once(&key("k", "two"), &[new_job(object)], at(1)).await.unwrap_err();
    assert_eq!(error.code(), Code::AlreadyExists);
    let CatalogError::RequestKeyTaken { key, request, job } = error else { panic!("{error:?}") };
    let expected = ("k", "one", first[0].id.to_string());
    assert_eq!((key.as_str(), request.as_str(), job), expected);
    assert_eq!(count(&catalog).await, 1);
}

async fn everybody_has_keys_of_their_own(catalog: C) {
    let object = stored(&catalog, "a").await;
    let key = key("k", "same");
    let mine = catalog.submit_once(&key, &[new_job(object)], at(0)).await.unwrap();
    claim(&catalog, at(1)).await;
    let of_bob = NewJob { requested_by: "bob".to_owned(), ..new_job(object) };
    let his = catalog.submit_once(&key, &[of_bob], at(2)).await.unwrap();
    assert_ne!(his[0].id, mine[0].id);
}

async fn a_request_with_a_key_joins_a_job_that_waits(catalog: C) {
    let there = queued(&catalog, "a", &[]).await;
    let key = key("k", "same");
    let joined = catalog.submit_once(&key, &[new_job(there.object)], at(1)).await.unwrap();
    assert_eq!(joined, std::slice::from_ref(&there));
    let claimed = claim(&catalog, at(2)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(3)).await.unwrap();
    let again = catalog.submit_once(&key, &[new_job(there.object)], at(4)).await.unwrap();
    assert_eq!((again[0].id, again[0].state), (there.id, JobState::Succeeded));
}

async fn a_request_that_queued_nothing_keeps_no_key(catalog: C) {
    let object = stored(&catalog, "a").await;
    catalog.drop_object(object, 1).await.unwrap();
    let error = catalog.submit_once(&key("k", "one"), &[new_job(object)], at(0)).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectGone(_)), "{error:?}");
    let other = new_job(stored(&catalog, "b").await);
    assert_eq!(catalog.submit_once(&key("k", "two"), &[other], at(0)).await.unwrap().len(), 1);
}

async fn the_greatest_priority_goes_first_and_then_the_oldest(catalog: C) {
    let mut jobs = Vec::new();
    for (of, priority) in [("a", 0), ("b", -5), ("c", 7), ("d", 7), ("e", 0)] {
        let job = NewJob { priority, ..new_job(stored(&catalog, of).await) };
        let job = submit_one(&catalog, job).await;
        assert_eq!(job.priority, priority);
        jobs.push(job.id);
    }
    for next in [2, 3, 0, 4, 1] {
        assert_eq!(claim(&catalog, at(1)).await.job.id, jobs[next]);
    }
    assert!(try_claim(&catalog, at(1)).await.is_none());
}

async fn joining_a_job_makes_it_go_sooner_never_later(catalog: C) {
    let there = queued(&catalog, "a", &[]).await;
    for (asked, now) in [(9, 9), (3, 9), (-1, 9)] {
        let joined = NewJob { priority: asked, ..new_job(there.object) };
        let joined = submit_one(&catalog, joined).await;
        assert_eq!((joined.id, joined.priority), (there.id, now));
    }
}

async fn a_request_with_other_attempts_is_a_job_of_its_own(catalog: C) {
    let there = queued(&catalog, "a", &[]).await;
    let once = NewJob { attempts_max: 1, ..new_job(there.object) };
    let once = submit_one(&catalog, once).await;
    assert_ne!(once.id, there.id);
    assert_eq!(once.attempts_max, 1);
}

async fn a_part_is_a_job_of_its_own_and_comes_back_whole(catalog: C) {
    let whole = queued(&catalog, "a", &[]).await;
    let inputs = Some(vec![super::fixture::input("i", 3)]);
    let pinned = Work::Part(PartWork { condition: "day = 1".to_owned(), inputs });
    let mut ids = vec![whole.id];
    for work in [part("it = 'a'"), part("it = 'b'"), pinned] {
        let new = NewJob { work: work.clone(), ..new_job(whole.object) };
        let got = submit_one(&catalog, new).await;
        assert_eq!(got.work, work);
        assert!(!ids.contains(&got.id));
        ids.push(got.id);
        let same = NewJob { work, ..new_job(whole.object) };
        assert_eq!(submit_one(&catalog, same).await.id, got.id);
    }
}

async fn a_refresh_at_named_versions_is_a_job_of_its_own_and_comes_back_whole(catalog: C) {
    let newest = queued(&catalog, "a", &[]).await;
    let mut ids = vec![newest.id];
    for versions in [vec![("i", 3)], vec![("i", 4)], vec![("i", 3), ("j", 0)]] {
        let at = versions.into_iter().map(|(name, version)| PinnedInput {
            object: newest.object,
            ..super::fixture::input(name, version)
        });
        let work = Work::At(AtWork { at: at.collect() });
        let got = submit_one(&catalog, NewJob { work: work.clone(), ..new_job(newest.object) });
        let got = got.await;
        assert_eq!((&got.work, got.work.kind()), (&work, JobKind::Refresh));
        assert!(!ids.contains(&got.id));
        ids.push(got.id);
        let same = NewJob { work, ..new_job(newest.object) };
        assert_eq!(submit_one(&catalog, same).await.id, got.id);
    }
    let joined = submit_one(&catalog, new_job(newest.object)).await;
    assert_eq!(joined.id, newest.id, "who names no version gets the newest ones");
}

async fn a_run_of_a_part_is_told_by_the_last_run(catalog: C) {
    let object = stored(&catalog, "a").await;
    for is_mixed in [true, false] {
        submit_one(&catalog, NewJob { work: part("k = 1"), ..new_job(object) }).await;
        let claimed = claim(&catalog, at(1)).await;
        let mut outcome = succeeded(2);
        if let model::job::RunOutcome::Succeeded { report: of_run, .. } = &mut outcome {
            let part = PartResult { condition: "k = 1".to_owned(), is_mixed };
            *of_run = model::report::RunReport { part: Some(part), ..report(10) };
        }
        catalog.finish(&claimed.lease, &outcome, at(2)).await.unwrap();
        let last = catalog.last_refresh(object).await.unwrap().unwrap();
        assert_eq!(last.is_mixed, is_mixed);
    }
}
