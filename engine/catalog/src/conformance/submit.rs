//! Queueing.

use std::collections::BTreeMap;

use model::{
    id::{GraphId, JobId, ObjectId},
    job::{Job, JobCause, JobState, NewJob, RunProgress},
    profile::Resources,
    time::Timestamp,
    work::{JobKind, Work},
};

use super::{
    fixture::{
        C, at, claim, failed, input, job, name, new_job, queued, stored, submit_one, succeeded,
        try_claim,
    },
    suite,
};
use crate::{
    error::CatalogError,
    jobs::{JobFilter, Reading},
};

suite![
    a_queued_job_comes_back_with_everything_that_was_asked,
    jobs_are_listed_newest_first_in_a_total_order,
    jobs_are_filtered_by_everything_that_is_given,
    a_call_is_answered_with_its_jobs_as_they_are_listed,
    a_call_queues_all_jobs_or_none,
    a_dropped_object_gets_no_job,
    the_same_request_twice_is_one_job,
    a_call_that_is_sent_again_queues_nothing_twice,
    a_forced_request_is_not_taken_for_an_unforced_one,
    an_unforced_request_is_satisfied_by_a_forced_one,
    a_request_that_may_take_something_else_is_a_job_of_its_own,
    a_request_that_waits_for_more_is_a_job_of_its_own,
    waiting_for_what_has_succeeded_is_no_new_wait,
    a_job_that_a_worker_has_is_not_what_a_new_request_asks,
    a_job_between_two_attempts_is_not_what_a_new_request_asks,
    later_jobs_of_a_call_wait_for_the_job_that_is_there,
    a_chain_that_is_asked_for_twice_is_queued_once,
    a_due_time_is_queued_once_even_after_its_job_ended,
    a_due_time_that_joined_a_waiting_job_counts_as_queued,
    what_a_job_reads_is_known_once_it_is_pinned,
    a_run_without_inputs_reads_nothing,
    the_last_due_time_is_the_newest_of_the_object,
    a_due_time_of_a_clock_that_was_ahead_is_not_the_last_one,
];

async fn a_queued_job_comes_back_with_everything_that_was_asked(catalog: C) {
    let upstream = queued(&catalog, "a", &[]).await;
    let object = stored(&catalog, "b").await;
    let new = NewJob {
        cause: JobCause::Definition,
        after: vec![upstream.id, upstream.id],
        force: true,
        graph: Some(GraphId::generate()),
        resources: Resources { profile: "large".to_owned(), bytes_max: Some(1 << 40) },
        ..new_job(object)
    };
    let (graph, resources) = (new.graph, new.resources.clone());
    let expected = Job {
        id: new.id,
        work: Work::Refresh,
        object,
        object_name: name("b"),
        state: JobState::Queued,
        cause: JobCause::Definition,
        requested_by: "ada".to_owned(),
        after: vec![upstream.id],
        force: true,
        queued_at: at(7),
        started_at: None,
        finished_at: None,
        run: None,
        attempt: 0,
        attempts_max: 3,
        progress: RunProgress::default(),
        chosen: model::approval::Chosen::default(),
        approval: None,
        output_version: None,
        result: None,
        error: None,
        priority: 0,
        idempotency_key: None,
        parent: None,
        ranges: None,
        graph,
        resources,
    };
    let answer = catalog.submit(&[new], at(7)).await.unwrap();
    assert_eq!(answer, [expected]);
    assert_eq!(job(&catalog, answer[0].id).await, answer[0]);
}

async fn jobs_are_listed_newest_first_in_a_total_order(catalog: C) {
    let mut ids = Vec::new();
    // Equal times, ids in no order.
    for of in ["a", "b", "c", "d"] {
        ids.push(queued(&catalog, of, &[]).await.id);
    }
    ids.reverse();
    let listed = catalog.jobs(&JobFilter::default()).await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
    let filter = JobFilter { limit: Some(2), ..JobFilter::default() };
    let listed = catalog.jobs(&filter).await.unwrap();
    assert_eq!(listed.iter().map(|job| job.id).collect::<Vec<_>>(), ids[..2]);
}

async fn jobs_are_filtered_by_everything_that_is_given(catalog: C) {
    let a = queued(&catalog, "a", &[]).await;
    let b = queued(&catalog, "b", &[]).await;
    assert_eq!(claim(&catalog, at(1)).await.job.id, a.id);
    let waiting = Some(vec![JobState::Queued]);
    let both = Some(vec![a.id, b.id]);
    let cases: [(JobFilter, &[JobId]); 7] = [
        (JobFilter { ids: both.clone(), ..JobFilter::default() }, &[b.id, a.id]),
        (JobFilter { ids: Some(vec![]), ..JobFilter::default() }, &[]),
        (JobFilter { object: Some(a.object), ..JobFilter::default() }, &[a.id]),
        (JobFilter { states: waiting.clone(), ..JobFilter::default() }, &[b.id]),
        (
            JobFilter { object: Some(a.object), states: waiting.clone(), ..JobFilter::default() },
            &[],
        ),
        (
            JobFilter {
                ids: both,
                object: Some(b.object),
                kind: Some(JobKind::Refresh),
                graph: None,
                states: waiting,
                limit: Some(9),
            },
            &[b.id],
        ),
        (JobFilter { states: Some(vec![]), ..JobFilter::default() }, &[]),
    ];
    for (filter, expected) in cases {
        let found = catalog.jobs(&filter).await.unwrap();
        assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), expected, "{filter:?}");
    }
}

async fn a_call_is_answered_with_its_jobs_as_they_are_listed(catalog: C) {
    let objects =
        [stored(&catalog, "a").await, stored(&catalog, "b").await, stored(&catalog, "c").await];
    let there = submit_one(&catalog, new_job(objects[1])).await;
    let resources = Resources { profile: "large".to_owned(), bytes_max: Some(u64::MAX) };
    let first = NewJob { priority: -4, attempts_max: 0, resources, ..new_job(objects[0]) };
    let last = NewJob { after: vec![first.id], force: true, ..new_job(objects[2]) };
    for call in [
        // New ones only, and some that are there.
        vec![first.clone(), last],
        vec![first.clone(), new_job(objects[1]), new_job(objects[2])],
        vec![NewJob { priority: 5, ..new_job(objects[1]) }],
    ] {
        let answer = catalog.submit(&call, at(1)).await.unwrap();
        assert_eq!(answer.len(), call.len());
        for answered in answer {
            assert_eq!(answered, job(&catalog, answered.id).await);
        }
    }
    assert_eq!(job(&catalog, there.id).await.priority, 5);
}

async fn a_call_queues_all_jobs_or_none(catalog: C) {
    let object = stored(&catalog, "a").await;
    let missing = JobId::generate();
    let bad = NewJob { after: vec![missing], ..new_job(stored(&catalog, "b").await) };
    let error = catalog.submit(&[new_job(object), bad], at(0)).await.unwrap_err();
    assert!(matches!(&error, CatalogError::JobNotFound(id) if *id == missing.to_string()));
    assert!(catalog.jobs(&JobFilter::default()).await.unwrap().is_empty());
    assert!(catalog.submit(&[], at(0)).await.unwrap().is_empty());
}

async fn a_dropped_object_gets_no_job(catalog: C) {
    let object = stored(&catalog, "a").await;
    catalog.drop_object(object, 1).await.unwrap();
    let error = catalog.submit(&[new_job(object)], at(0)).await.unwrap_err();
    assert!(matches!(error, CatalogError::ObjectGone(_)), "{error:?}");
}

async fn the_same_request_twice_is_one_job(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    let both = [new_job(first.object), new_job(first.object)];
    let answer = catalog.submit(&both, at(5)).await.unwrap();
    assert_eq!(answer, [first.clone(), first]);
    assert_eq!(catalog.jobs(&JobFilter::default()).await.unwrap().len(), 1);
}

async fn a_call_that_is_sent_again_queues_nothing_twice(catalog: C) {
    let call = [new_job(stored(&catalog, "a").await)];
    catalog.submit(&call, at(0)).await.unwrap();
    let claimed = claim(&catalog, at(1)).await;
    let again = catalog.submit(&call, at(2)).await.unwrap();
    assert_eq!(again, [claimed.job]);
    assert_eq!(catalog.jobs(&JobFilter::default()).await.unwrap().len(), 1);
}

async fn a_forced_request_is_not_taken_for_an_unforced_one(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    let forced = submit_one(&catalog, NewJob { force: true, ..new_job(first.object) }).await;
    assert_ne!(forced.id, first.id);
}

async fn an_unforced_request_is_satisfied_by_a_forced_one(catalog: C) {
    let object = stored(&catalog, "a").await;
    let forced = submit_one(&catalog, NewJob { force: true, ..new_job(object) }).await;
    assert_eq!(submit_one(&catalog, new_job(object)).await, forced);
}

async fn a_request_that_may_take_something_else_is_a_job_of_its_own(catalog: C) {
    let object = stored(&catalog, "a").await;
    let mut ids = Vec::new();
    for (profile, bytes_max) in [("default", None), ("large", None), ("large", Some(7))] {
        let resources = Resources { profile: profile.to_owned(), bytes_max };
        let new = || NewJob { resources: resources.clone(), ..new_job(object) };
        let job = submit_one(&catalog, new()).await;
        assert_eq!(job.resources, resources);
        assert!(!ids.contains(&job.id));
        assert_eq!(submit_one(&catalog, new()).await.id, job.id);
        ids.push(job.id);
    }
}

async fn a_request_that_waits_for_more_is_a_job_of_its_own(catalog: C) {
    let upstream = queued(&catalog, "a", &[]).await;
    let plain = queued(&catalog, "b", &[]).await;
    let waits = NewJob { after: vec![upstream.id], ..new_job(plain.object) };
    let waits = submit_one(&catalog, waits).await;
    assert_ne!(waits.id, plain.id);
    // Both are there now; the older one that does enough is the answer.
    let again = NewJob { after: vec![upstream.id], ..new_job(plain.object) };
    assert_eq!(submit_one(&catalog, again).await.id, waits.id);
    assert_eq!(submit_one(&catalog, new_job(plain.object)).await.id, plain.id);
}

async fn waiting_for_what_has_succeeded_is_no_new_wait(catalog: C) {
    let upstream = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(2)).await.unwrap();
    let plain = queued(&catalog, "b", &[]).await;
    let again = NewJob { after: vec![upstream.id], ..new_job(plain.object) };
    assert_eq!(submit_one(&catalog, again).await.id, plain.id);
}

async fn a_job_that_a_worker_has_is_not_what_a_new_request_asks(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    claim(&catalog, at(1)).await;
    let second = submit_one(&catalog, new_job(first.object)).await;
    assert_ne!(second.id, first.id);
}

async fn a_job_between_two_attempts_is_not_what_a_new_request_asks(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.pin(&claimed.lease, &[input("i", 1)]).await.unwrap();
    catalog.finish(&claimed.lease, &failed(model::code::Code::Unavailable), at(2)).await.unwrap();
    assert_eq!(job(&catalog, first.id).await.state, JobState::Queued);
    let second = submit_one(&catalog, new_job(first.object)).await;
    assert_ne!(second.id, first.id);
}

async fn later_jobs_of_a_call_wait_for_the_job_that_is_there(catalog: C) {
    let there = queued(&catalog, "a", &[]).await;
    let a = new_job(there.object);
    let b = NewJob { after: vec![a.id], ..new_job(stored(&catalog, "b").await) };
    let answer = catalog.submit(&[a, b], at(3)).await.unwrap();
    assert_eq!(answer[0].id, there.id);
    assert_eq!(answer[1].after, [there.id]);
}

async fn a_chain_that_is_asked_for_twice_is_queued_once(catalog: C) {
    let objects: [ObjectId; 3] =
        [stored(&catalog, "a").await, stored(&catalog, "b").await, stored(&catalog, "c").await];
    let chain = || {
        let a = new_job(objects[0]);
        let b = NewJob { after: vec![a.id], ..new_job(objects[1]) };
        let c = NewJob { after: vec![a.id, b.id], ..new_job(objects[2]) };
        [a, b, c]
    };
    let first = catalog.submit(&chain(), at(0)).await.unwrap();
    assert_eq!(catalog.submit(&chain(), at(1)).await.unwrap(), first);
    assert_eq!(catalog.jobs(&JobFilter::default()).await.unwrap().len(), 3);
}

fn due(object: ObjectId, seconds: i64) -> NewJob {
    NewJob { cause: JobCause::Schedule, due_at: Some(at(seconds)), ..new_job(object) }
}

async fn a_due_time_is_queued_once_even_after_its_job_ended(catalog: C) {
    let object = stored(&catalog, "a").await;
    assert_eq!(catalog.submit(&[due(object, 60)], at(60)).await.unwrap().len(), 1);
    let claimed = claim(&catalog, at(61)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(62)).await.unwrap();
    assert!(catalog.submit(&[due(object, 60)], at(63)).await.unwrap().is_empty());
    assert!(try_claim(&catalog, at(64)).await.is_none());
    // Another time, and the same time of another object, are other things.
    let other = stored(&catalog, "b").await;
    let more = [due(object, 120), due(object, 120), due(other, 60)];
    assert_eq!(catalog.submit(&more, at(120)).await.unwrap().len(), 2);
}

async fn a_due_time_that_joined_a_waiting_job_counts_as_queued(catalog: C) {
    let there = queued(&catalog, "a", &[]).await;
    assert_eq!(submit_one(&catalog, due(there.object, 60)).await, there);
    assert_eq!(last_due(&catalog, there.object, 60).await, Some(at(60)));
    let claimed = claim(&catalog, at(61)).await;
    catalog.finish(&claimed.lease, &succeeded(1), at(62)).await.unwrap();
    assert!(catalog.submit(&[due(there.object, 60)], at(63)).await.unwrap().is_empty());
}

async fn what_a_job_reads_is_known_once_it_is_pinned(catalog: C) {
    let first = queued(&catalog, "a", &[]).await;
    let second = queued(&catalog, "b", &[]).await;
    let both = [first.id, second.id];
    assert_eq!(reading(&catalog, &[]).await, []);
    assert_eq!(reading(&catalog, &both).await, [Some(Reading::Newest), Some(Reading::Newest)]);
    let claimed = claim(&catalog, at(61)).await;
    assert_eq!(claimed.job.id, first.id);
    assert_eq!(reading(&catalog, &both).await, [Some(Reading::Choosing), Some(Reading::Newest)]);
    // An attempt that ended before it chose leaves that to the next one.
    catalog.finish(&claimed.lease, &failed(model::code::Code::Unavailable), at(62)).await.unwrap();
    assert_eq!(job(&catalog, first.id).await.state, JobState::Queued);
    assert_eq!(reading(&catalog, &both[..1]).await, [Some(Reading::Newest)]);
    catalog.cancel(second.id, at(63)).await.unwrap();
    assert_eq!(reading(&catalog, &both[1..]).await, [None], "it never chose");
    let claimed = claim(&catalog, at(1_000)).await;
    assert_eq!(claimed.job.id, first.id);
    let (x, y) = (input("x", 3), input("y", 7));
    catalog.pin(&claimed.lease, &[x.clone(), y.clone()]).await.unwrap();
    let pinned = Reading::At([(x.object, 3), (y.object, 7)].into());
    assert_eq!(reading(&catalog, &both).await, [Some(pinned.clone()), None]);
    catalog.finish(&claimed.lease, &succeeded(1), at(1_001)).await.unwrap();
    assert_eq!(reading(&catalog, &both[..1]).await, [Some(pinned)], "also when it has ended");
}

async fn a_run_without_inputs_reads_nothing(catalog: C) {
    let asked = queued(&catalog, "a", &[]).await;
    let claimed = claim(&catalog, at(1)).await;
    catalog.pin(&claimed.lease, &[]).await.unwrap();
    assert_eq!(reading(&catalog, &[asked.id]).await, [Some(Reading::At(BTreeMap::new()))]);
}

/// What each of the jobs reads.
async fn reading(catalog: &C, jobs: &[JobId]) -> Vec<Option<Reading>> {
    let found: BTreeMap<_, _> = catalog.reading(jobs).await.unwrap().into_iter().collect();
    jobs.iter().map(|job| found.get(job).cloned()).collect()
}

/// The last due time of an object that is not after so many seconds.
async fn last_due(catalog: &C, object: ObjectId, seconds: i64) -> Option<Timestamp> {
    let found = catalog.last_due(&[object], at(seconds)).await.unwrap();
    found.first().map(|(of, due)| {
        assert_eq!((*of, found.len()), (object, 1));
        *due
    })
}

async fn the_last_due_time_is_the_newest_of_the_object(catalog: C) {
    let (a, b) = (stored(&catalog, "a").await, stored(&catalog, "b").await);
    assert_eq!(last_due(&catalog, a, 600).await, None);
    for job in [due(a, 120), due(a, 60), due(b, 600)] {
        catalog.submit(&[job], at(600)).await.unwrap();
    }
    assert_eq!(last_due(&catalog, a, 600).await, Some(at(120)));
    let mut both = catalog.last_due(&[a, b], at(600)).await.unwrap();
    both.sort();
    let mut expected = vec![(a, at(120)), (b, at(600))];
    expected.sort();
    assert_eq!(both, expected);
    assert_eq!(catalog.last_due(&[], at(600)).await.unwrap(), []);
}

async fn a_due_time_of_a_clock_that_was_ahead_is_not_the_last_one(catalog: C) {
    let a = stored(&catalog, "a").await;
    for job in [due(a, 60), due(a, 86_400)] {
        catalog.submit(&[job], at(60)).await.unwrap();
    }
    assert_eq!(last_due(&catalog, a, 119).await, Some(at(60)));
    assert_eq!(last_due(&catalog, a, 59).await, None);
}
