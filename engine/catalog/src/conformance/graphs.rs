//! Graph runs: jobs that read each input at one version.

use model::{
    code::Code,
    id::{GraphId, JobId, ObjectId, WorkerId},
    job::{Job, JobState, Lease, NewJob, PinnedInput},
};

use super::{
    fixture::{
        C, at, claim, failed, input, job, new_job, queued, state, stored, submit_one, succeeded,
        try_claim,
    },
    suite,
};
use crate::{
    error::CatalogError,
    jobs::{JobFilter, Reading},
};

suite![
    jobs_of_a_graph_run_are_found_by_it,
    the_first_version_of_an_input_stays_for_the_whole_graph_run,
    an_output_takes_the_place_of_the_one_before,
    a_job_of_no_graph_run_pins_none,
    only_the_holder_of_a_lease_pins_for_its_graph_run,
    graph_runs_that_share_a_waiting_job_become_one,
    a_job_that_waits_alone_is_taken_along,
    a_request_does_not_join_a_graph_run_that_has_begun,
    a_newer_refresh_waits_for_those_of_older_graph_runs,
    a_clock_that_is_behind_does_not_overtake_a_graph_run,
    a_refresh_that_has_begun_waits_for_no_graph_run,
    other_work_on_the_object_does_not_wait_for_a_graph_run,
    a_job_that_is_queued_again_chooses_versions_anew_that_nobody_has_read,
    what_fails_in_a_graph_run_ends_what_is_behind_it,
    all_that_failed_of_a_graph_run_is_queued_again_at_its_versions,
    a_graph_run_that_goes_on_has_what_failed_queued_again,
    what_has_no_parts_or_no_failed_ones_is_not_queued_again,
];

fn in_graph(graph: GraphId, object: ObjectId, after: &[JobId]) -> NewJob {
    NewJob { graph: Some(graph), after: after.to_vec(), ..new_job(object) }
}

/// Two transforms over one source and one over both, as one graph run.
async fn diamond(catalog: &C) -> (GraphId, Vec<Job>) {
    let graph = GraphId::generate();
    let [a, b, c] = [
        in_graph(graph, stored(catalog, "a").await, &[]),
        in_graph(graph, stored(catalog, "b").await, &[]),
        in_graph(graph, stored(catalog, "c").await, &[]),
    ];
    let c = NewJob { after: vec![a.id, b.id], ..c };
    (graph, catalog.submit(&[a, b, c], at(0)).await.unwrap())
}

fn versions(inputs: &[PinnedInput]) -> Vec<(&str, i64)> {
    inputs.iter().map(|input| (input.name.name(), input.version)).collect()
}

async fn jobs_of_a_graph_run_are_found_by_it(catalog: C) {
    let (graph, jobs) = diamond(&catalog).await;
    queued(&catalog, "d", &[]).await;
    assert!(jobs.iter().all(|job| job.graph == Some(graph)));
    let filter = JobFilter { graph: Some(graph), ..JobFilter::default() };
    let mut found = catalog.jobs(&filter).await.unwrap();
    found.reverse();
    assert_eq!(found, jobs);
    let filter = JobFilter { object: Some(jobs[1].object), ..filter };
    assert_eq!(catalog.jobs(&filter).await.unwrap(), jobs[1..2]);
    let run = claim(&catalog, at(1)).await;
    assert_eq!(run.job.graph, Some(graph));
    assert_eq!(catalog.runs(None, 1).await.unwrap()[0].graph, Some(graph));
}

async fn the_first_version_of_an_input_stays_for_the_whole_graph_run(catalog: C) {
    let (graph, jobs) = diamond(&catalog).await;
    let last = [jobs[2].id];
    assert_eq!(catalog.reading(&last).await.unwrap(), [(last[0], Reading::Newest)]);
    let (a, b) = (claim(&catalog, at(1)).await, claim(&catalog, at(1)).await);
    assert_eq!(catalog.pin_graph(&a.lease, &[]).await.unwrap(), []);
    let source = input("s", 7);
    let first = catalog.pin_graph(&a.lease, std::slice::from_ref(&source)).await.unwrap();
    assert_eq!(first, std::slice::from_ref(&source));
    assert_eq!(catalog.reading(&last).await.unwrap(), [], "it will read what was chosen for it");
    let newer = PinnedInput { version: 9, ..source.clone() };
    let other = input("t", 3);
    let second = catalog.pin_graph(&b.lease, &[newer, other.clone()]).await.unwrap();
    assert_eq!(second, [source.clone(), other.clone()]);
    // Another attempt of another worker finds the same.
    let again = claim(&catalog, at(100)).await;
    let found = catalog.pin_graph(&again.lease, &[]).await.unwrap();
    assert_eq!(found, [source, other]);
    let listed = catalog.graph_inputs(&[graph, GraphId::generate()]).await.unwrap();
    assert_eq!(listed.iter().map(|(of, _)| *of).collect::<Vec<_>>(), [graph, graph]);
    assert_eq!(catalog.graph_inputs(&[]).await.unwrap(), []);
}

async fn an_output_takes_the_place_of_the_one_before(catalog: C) {
    diamond(&catalog).await;
    let a = claim(&catalog, at(1)).await;
    let output = PinnedInput { object: a.job.object, ..input("a", 4) };
    for version in [4, 5] {
        let output = PinnedInput { version, ..output.clone() };
        catalog.put_graph_output(&a.lease, &output).await.unwrap();
        assert_eq!(catalog.pin_graph(&a.lease, &[]).await.unwrap(), [output]);
    }
}

async fn a_job_of_no_graph_run_pins_none(catalog: C) {
    queued(&catalog, "a", &[]).await;
    let a = claim(&catalog, at(1)).await;
    catalog.put_graph_output(&a.lease, &input("a", 1)).await.unwrap();
    assert_eq!(catalog.pin_graph(&a.lease, &[input("s", 1)]).await.unwrap(), []);
}

async fn only_the_holder_of_a_lease_pins_for_its_graph_run(catalog: C) {
    diamond(&catalog).await;
    let real = claim(&catalog, at(1)).await.lease;
    let stranger = Lease { worker: WorkerId::generate(), ..real.clone() };
    let pinned = catalog.pin_graph(&stranger, &[input("s", 1)]).await;
    assert!(matches!(pinned, Err(CatalogError::LeaseLost(_))), "{pinned:?}");
    let put = catalog.put_graph_output(&stranger, &input("a", 1)).await;
    assert!(matches!(put, Err(CatalogError::LeaseLost(_))), "{put:?}");
    assert_eq!(catalog.pin_graph(&real, &[]).await.unwrap(), []);
}

async fn graph_runs_that_share_a_waiting_job_become_one(catalog: C) {
    let (_, first) = diamond(&catalog).await;
    let second = GraphId::generate();
    let d = stored(&catalog, "d").await;
    let a = in_graph(second, first[0].object, &[]);
    let d = in_graph(second, d, &[a.id]);
    let answer = catalog.submit(&[a, d], at(1)).await.unwrap();
    assert_eq!(answer[0].id, first[0].id);
    let filter = JobFilter { graph: Some(second), ..JobFilter::default() };
    assert_eq!(catalog.jobs(&filter).await.unwrap().len(), 4, "all of both");
}

async fn a_job_that_waits_alone_is_taken_along(catalog: C) {
    let alone = queued(&catalog, "a", &[]).await;
    let graph = GraphId::generate();
    let a = in_graph(graph, alone.object, &[]);
    let b = in_graph(graph, stored(&catalog, "b").await, &[a.id]);
    let answer = catalog.submit(&[a, b], at(1)).await.unwrap();
    assert_eq!((answer[0].id, answer[0].graph), (alone.id, Some(graph)));
    // And who asks for it alone is content with the one of a graph run.
    assert_eq!(submit_one(&catalog, new_job(alone.object)).await.id, alone.id);
    assert_eq!(job(&catalog, alone.id).await.graph, Some(graph));
}

async fn a_request_does_not_join_a_graph_run_that_has_begun(catalog: C) {
    let (graph, jobs) = diamond(&catalog).await;
    let a = claim(&catalog, at(1)).await;
    // Nothing is chosen yet: whoever asks now is served.
    assert_eq!(submit_one(&catalog, new_job(jobs[1].object)).await.id, jobs[1].id);
    catalog.pin_graph(&a.lease, &[input("s", 7)]).await.unwrap();
    let alone = submit_one(&catalog, new_job(jobs[1].object)).await;
    assert_ne!(alone.id, jobs[1].id);
    assert_eq!(alone.graph, None);
    let second = GraphId::generate();
    let with = submit_one(&catalog, in_graph(second, jobs[2].object, &[])).await;
    assert_ne!(with.id, jobs[2].id);
    assert_eq!(job(&catalog, jobs[2].id).await.graph, Some(graph));
}

async fn a_newer_refresh_waits_for_those_of_older_graph_runs(catalog: C) {
    let (_, jobs) = diamond(&catalog).await;
    let a = claim(&catalog, at(1)).await;
    catalog.pin_graph(&a.lease, &[input("s", 7)]).await.unwrap();
    let alone = submit_one(&catalog, new_job(jobs[2].object)).await;
    let b = claim(&catalog, at(2)).await;
    assert_eq!(b.job.id, jobs[1].id);
    assert!(try_claim(&catalog, at(3)).await.is_none(), "c waits, and the newer one for it");
    for claimed in [a, b] {
        catalog.finish(&claimed.lease, &succeeded(1), at(4)).await.unwrap();
    }
    let c = claim(&catalog, at(5)).await;
    assert_eq!(c.job.id, jobs[2].id);
    catalog.finish(&c.lease, &succeeded(1), at(6)).await.unwrap();
    assert_eq!(claim(&catalog, at(7)).await.job.id, alone.id);
}

async fn a_clock_that_is_behind_does_not_overtake_a_graph_run(catalog: C) {
    let (_, jobs) = diamond(&catalog).await;
    let a = claim(&catalog, at(1)).await;
    catalog.pin_graph(&a.lease, &[input("s", 7)]).await.unwrap();
    catalog.submit(&[new_job(jobs[2].object)], at(-100)).await.unwrap();
    assert_eq!(claim(&catalog, at(2)).await.job.id, jobs[1].id);
    assert!(try_claim(&catalog, at(3)).await.is_none());
}

async fn a_refresh_that_has_begun_waits_for_no_graph_run(catalog: C) {
    let x = queued(&catalog, "x", &[]).await;
    let d = stored(&catalog, "d").await;
    let old = submit_one(&catalog, NewJob { after: vec![x.id], ..new_job(d) }).await;
    let newer = submit_one(&catalog, NewJob { force: true, ..new_job(d) }).await;
    assert_eq!(claim(&catalog, at(1)).await.job.id, x.id);
    let begun = claim(&catalog, at(1)).await;
    assert_eq!(begun.job.id, newer.id);
    // The older one, which waits for x, becomes one of a graph run.
    let joined = submit_one(&catalog, in_graph(GraphId::generate(), d, &[x.id])).await;
    assert_eq!(joined.id, old.id);
    catalog.finish(&begun.lease, &failed(Code::Unavailable), at(2)).await.unwrap();
    let again = claim(&catalog, at(100)).await;
    assert!([x.id, newer.id].contains(&again.job.id));
    assert!([x.id, newer.id].contains(&claim(&catalog, at(100)).await.job.id));
}

async fn other_work_on_the_object_does_not_wait_for_a_graph_run(catalog: C) {
    let (_, jobs) = diamond(&catalog).await;
    let work = model::work::Work::Optimize(model::work::OptimizeWork::default());
    let optimize = submit_one(&catalog, NewJob { work, ..new_job(jobs[2].object) }).await;
    claim(&catalog, at(1)).await;
    claim(&catalog, at(1)).await;
    assert_eq!(claim(&catalog, at(1)).await.job.id, optimize.id);
}

async fn a_job_that_is_queued_again_chooses_versions_anew_that_nobody_has_read(catalog: C) {
    let (graph, jobs) = diamond(&catalog).await;
    let (s, t) = (input("s", 7), input("t", 3));
    let a = claim(&catalog, at(1)).await;
    catalog.pin_graph(&a.lease, &[s.clone(), t.clone()]).await.unwrap();
    catalog.pin(&a.lease, std::slice::from_ref(&s)).await.unwrap();
    let output = PinnedInput { object: a.job.object, ..input("a", 4) };
    catalog.put_graph_output(&a.lease, &output).await.unwrap();
    catalog.finish(&a.lease, &succeeded(4), at(2)).await.unwrap();
    let b = claim(&catalog, at(3)).await;
    catalog.pin(&b.lease, &[s.clone(), t.clone()]).await.unwrap();
    catalog.finish(&b.lease, &failed(Code::InvalidArgument), at(4)).await.unwrap();
    assert!(try_claim(&catalog, at(5)).await.is_none());
    catalog.retry(jobs[2].id, at(6)).await.unwrap();
    let left: Vec<_> = catalog.graph_inputs(&[graph]).await.unwrap();
    let left: Vec<_> = left.into_iter().map(|(_, input)| input).collect();
    assert_eq!(versions(&left), [("a", 4), ("s", 7)], "what a has read and made");
    let b = claim(&catalog, at(7)).await;
    let newer = PinnedInput { version: 8, ..t };
    let pinned = catalog.pin_graph(&b.lease, &[newer]).await.unwrap();
    assert_eq!(versions(&pinned), [("a", 4), ("s", 7), ("t", 8)]);
}

async fn what_fails_in_a_graph_run_ends_what_is_behind_it(catalog: C) {
    let (_, jobs) = diamond(&catalog).await;
    let a = claim(&catalog, at(1)).await;
    catalog.finish(&a.lease, &failed(Code::InvalidArgument), at(2)).await.unwrap();
    claim(&catalog, at(3)).await;
    assert_eq!(state(&catalog, jobs[0].id).await, JobState::Failed);
    assert_eq!(state(&catalog, jobs[2].id).await, JobState::UpstreamFailed);
}

async fn all_that_failed_of_a_graph_run_is_queued_again_at_its_versions(catalog: C) {
    let (graph, jobs) = diamond(&catalog).await;
    let (s, t) = (input("s", 7), input("t", 3));
    let a = claim(&catalog, at(1)).await;
    catalog.pin_graph(&a.lease, &[s.clone(), t.clone()]).await.unwrap();
    catalog.pin(&a.lease, std::slice::from_ref(&s)).await.unwrap();
    let output = PinnedInput { object: a.job.object, ..input("a", 4) };
    catalog.put_graph_output(&a.lease, &output).await.unwrap();
    catalog.finish(&a.lease, &succeeded(4), at(2)).await.unwrap();
    let b = claim(&catalog, at(3)).await;
    catalog.finish(&b.lease, &failed(Code::InvalidArgument), at(4)).await.unwrap();
    assert!(try_claim(&catalog, at(5)).await.is_none());
    assert_eq!(state(&catalog, jobs[2].id).await, JobState::UpstreamFailed);
    // Whichever job of it is named, also one that succeeded.
    let again = catalog.retry_failed(jobs[0].id, at(6)).await.unwrap();
    let again: Vec<_> = again.iter().map(|job| (job.id, job.state)).collect();
    let queued = JobState::Queued;
    assert_eq!(again, [(jobs[1].id, queued), (jobs[2].id, queued)], "upstream first");
    assert_eq!(job(&catalog, jobs[0].id).await.state, JobState::Succeeded);
    let kept: Vec<_> = catalog.graph_inputs(&[graph]).await.unwrap();
    let kept: Vec<_> = kept.into_iter().map(|(_, input)| input).collect();
    assert_eq!(versions(&kept), [("a", 4), ("s", 7), ("t", 3)], "also what nobody has read");
    let b = claim(&catalog, at(7)).await;
    assert_eq!((b.job.id, b.job.attempt), (jobs[1].id, 1));
    let newer = PinnedInput { version: 8, ..t };
    let pinned = catalog.pin_graph(&b.lease, &[newer]).await.unwrap();
    assert_eq!(versions(&pinned), [("a", 4), ("s", 7), ("t", 3)]);
    catalog.finish(&b.lease, &succeeded(1), at(8)).await.unwrap();
    assert_eq!(claim(&catalog, at(9)).await.job.id, jobs[2].id);
}

async fn a_graph_run_that_goes_on_has_what_failed_queued_again(catalog: C) {
    let (_, jobs) = diamond(&catalog).await;
    let (a, b) = (claim(&catalog, at(1)).await, claim(&catalog, at(1)).await);
    catalog.finish(&a.lease, &failed(Code::InvalidArgument), at(2)).await.unwrap();
    // Nobody has looked yet what waits for it.
    assert_eq!(state(&catalog, jobs[2].id).await, JobState::Queued);
    let again = catalog.retry_failed(jobs[1].id, at(3)).await.unwrap();
    assert_eq!(again.iter().map(|job| job.id).collect::<Vec<_>>(), [jobs[0].id]);
    catalog.finish(&b.lease, &succeeded(1), at(4)).await.unwrap();
    let a = claim(&catalog, at(5)).await;
    assert_eq!(a.job.id, jobs[0].id);
    catalog.finish(&a.lease, &succeeded(1), at(6)).await.unwrap();
    assert_eq!(claim(&catalog, at(7)).await.job.id, jobs[2].id);
}

async fn what_has_no_parts_or_no_failed_ones_is_not_queued_again(catalog: C) {
    let (_, jobs) = diamond(&catalog).await;
    let error = catalog.retry_failed(jobs[0].id, at(1)).await.unwrap_err();
    assert!(matches!(error, CatalogError::JobState { .. }), "{error:?}");
    assert_eq!(state(&catalog, jobs[0].id).await, JobState::Queued);
    let alone = queued(&catalog, "d", &[]).await;
    catalog.cancel(alone.id, at(2)).await.unwrap();
    let error = catalog.retry_failed(alone.id, at(3)).await.unwrap_err();
    assert!(error.to_string().contains("no graph run"), "{error}");
    let error = catalog.retry_failed(JobId::generate(), at(3)).await.unwrap_err();
    assert!(matches!(error, CatalogError::JobNotFound(_)), "{error:?}");
}
