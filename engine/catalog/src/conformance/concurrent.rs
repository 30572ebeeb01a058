//! Many callers in the same moment: whatever order the database puts them in, nobody gets in the
//! way of another for good and nothing is done twice.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use model::{
    code::Code,
    id::ObjectId,
    job::{JobState, NewJob, RunOutcome},
};

use super::{
    fixture::{C, LEASE, at, input, new_job, progress, stored, succeeded, try_claim},
    random::{Random, failure},
    suite,
};
use crate::{error::CatalogError, jobs::JobFilter, objects::OnConflict};

suite![
    many_workers_and_clients_at_once_keep_the_runs_of_an_object_apart,
    runs_whose_leases_ran_out_are_each_continued_once,
    inputs_that_are_pinned_at_once_are_pinned_once,
    objects_that_are_dropped_while_jobs_are_queued_leave_no_waiting_job,
];

const OBJECTS: usize = 3;
const TASKS: u64 = 8;
const STEPS: usize = 40;

/// An object and whether a worker has a run of it now.
struct Watched {
    id: ObjectId,
    busy: AtomicBool,
}

async fn many_workers_and_clients_at_once_keep_the_runs_of_an_object_apart(catalog: C) {
    let mut objects = Vec::new();
    for n in 0..OBJECTS {
        let id = stored(&catalog, &format!("t{n}")).await;
        objects.push(Watched { id, busy: AtomicBool::new(false) });
    }
    let objects = Arc::new(objects);
    let tasks: Vec<_> = (0..TASKS)
        .map(|seed| {
            let (catalog, objects) = (Arc::clone(&catalog), Arc::clone(&objects));
            tokio::spawn(act(catalog, objects, Random(seed)))
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut numbers: HashMap<ObjectId, HashSet<i64>> = HashMap::new();
    for run in catalog.runs(None, u32::MAX).await.unwrap() {
        assert!(numbers.entry(run.object).or_default().insert(run.run_seq), "a number twice");
    }
    for numbers in numbers.values() {
        let newest = numbers.iter().copied().max().unwrap();
        assert_eq!(usize::try_from(newest).unwrap(), numbers.len(), "a number was left out");
    }
}

async fn act(catalog: C, objects: Arc<Vec<Watched>>, mut random: Random) {
    for _ in 0..STEPS {
        match random.below(6) {
            0 => submit(&catalog, &objects, &mut random).await,
            1 => cancel_or_retry(&catalog, &mut random).await,
            _ => work(&catalog, &objects, &mut random).await,
        }
    }
}

/// Queues a chain of jobs over the objects, in any order.
async fn submit(catalog: &C, objects: &[Watched], random: &mut Random) {
    let mut batch: Vec<NewJob> = Vec::new();
    let first = random.below(OBJECTS);
    for n in 0..OBJECTS {
        let after = batch.iter().map(|job| job.id).collect();
        let object = objects[(first + n) % OBJECTS].id;
        batch.push(NewJob { after, force: random.below(3) == 0, ..new_job(object) });
    }
    assert_eq!(catalog.submit(&batch, at(0)).await.unwrap().len(), OBJECTS);
}

async fn cancel_or_retry(catalog: &C, random: &mut Random) {
    let jobs = catalog.jobs(&JobFilter::default()).await.unwrap();
    let ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    let Some(id) = random.pick(&ids) else { return };
    let answer = if random.below(2) == 0 {
        catalog.cancel(id, at(0)).await
    } else {
        catalog.retry(id, at(0)).await
    };
    assert!(matches!(answer, Ok(_) | Err(CatalogError::JobState { .. })), "{answer:?}");
}

/// Takes a job through its life. Time stands still, so no lease runs out.
async fn work(catalog: &C, objects: &[Watched], random: &mut Random) {
    let Some(claimed) = try_claim(catalog, at(0)).await else { return };
    let object = objects.iter().find(|object| object.id == claimed.job.object).unwrap();
    assert!(!object.busy.swap(true, Ordering::SeqCst), "two runs of one object at once");
    let lease = &claimed.lease;
    catalog.pin(lease, &[input("i", 1)]).await.unwrap();
    for state in [JobState::Running, JobState::Committing] {
        catalog.heartbeat(lease, state, &progress(1), at(0), LEASE).await.unwrap();
    }
    let outcomes = [succeeded(1), succeeded(2), RunOutcome::Cancelled, failure(Code::Internal)];
    let outcome = &outcomes[random.below(outcomes.len())];
    // Before the lease is given back: the next worker may have it at once.
    object.busy.store(false, Ordering::SeqCst);
    catalog.finish(lease, outcome, at(0)).await.unwrap();
}

async fn runs_whose_leases_ran_out_are_each_continued_once(catalog: C) {
    const RUNS: usize = 12;
    for n in 0..RUNS {
        let object = stored(&catalog, &format!("t{n}")).await;
        catalog.submit(&[new_job(object)], at(0)).await.unwrap();
    }
    while try_claim(&catalog, at(0)).await.is_some() {}
    // Each object has another job, which must not overtake the run that goes on.
    for object in catalog.objects().await.unwrap() {
        catalog.submit(&[new_job(object.id)], at(1)).await.unwrap();
    }
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while let Some(claimed) = try_claim(&catalog, at(60)).await {
                    taken.push(claimed);
                }
                taken
            })
        })
        .collect();
    let mut continued = HashSet::new();
    for task in tasks {
        for claimed in task.await.unwrap() {
            assert_eq!((claimed.lease.attempt, claimed.run_seq), (2, 1));
            assert!(continued.insert(claimed.lease.run), "a run has two workers");
        }
    }
    // What was locked by another one in that moment is found by the next.
    while let Some(claimed) = try_claim(&catalog, at(60)).await {
        assert!(continued.insert(claimed.lease.run), "a run has two workers");
    }
    assert_eq!(continued.len(), RUNS);
}

async fn inputs_that_are_pinned_at_once_are_pinned_once(catalog: C) {
    for n in 0..10 {
        let object = stored(&catalog, &format!("t{n}")).await;
        catalog.submit(&[new_job(object)], at(0)).await.unwrap();
        let claimed = try_claim(&catalog, at(0)).await.unwrap();
        // A call whose answer was lost may still be on its way when it is sent again.
        let tasks: Vec<_> = (0..4)
            .map(|version| {
                let (catalog, lease) = (Arc::clone(&catalog), claimed.lease.clone());
                let inputs = vec![input("i", version), input("j", version)];
                tokio::spawn(async move { catalog.pin(&lease, &inputs).await.unwrap() })
            })
            .collect();
        let mut answers = HashSet::new();
        for task in tasks {
            let answered = task.await.unwrap();
            answers.insert(answered.iter().map(|input| input.version).collect::<Vec<_>>());
            assert_eq!(catalog.pinned(claimed.lease.run).await.unwrap(), Some(answered));
        }
        assert_eq!(answers.len(), 1, "{answers:?}");
    }
}

async fn objects_that_are_dropped_while_jobs_are_queued_leave_no_waiting_job(catalog: C) {
    let tasks: Vec<_> = (0..TASKS)
        .map(|n| {
            let catalog = Arc::clone(&catalog);
            tokio::spawn(async move {
                // Pairs of tasks fight over one name.
                let object = super::fixture::transform(&format!("t{}", n / 2));
                for _ in 0..15 {
                    let object =
                        model::object::Object { id: ObjectId::generate(), ..object.clone() };
                    catalog.put_object(&object, OnConflict::Keep).await.unwrap();
                    let there =
                        catalog.objects_named(std::slice::from_ref(&object.name)).await.unwrap();
                    let Some(there) = there.first() else { continue };
                    let queued = catalog.submit(&[new_job(there.id)], at(0)).await;
                    assert!(
                        matches!(queued, Ok(_) | Err(CatalogError::ObjectGone(_))),
                        "{queued:?}"
                    );
                    try_claim(&catalog, at(0)).await;
                    let dropped = catalog.drop_object(there.id, there.definition_version).await;
                    assert!(
                        matches!(dropped, Ok(()) | Err(CatalogError::ObjectGone(_))),
                        "{dropped:?}"
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(catalog.objects().await.unwrap().is_empty());
    let filter = JobFilter { states: Some(vec![JobState::Queued]), ..JobFilter::default() };
    assert!(catalog.jobs(&filter).await.unwrap().is_empty());
}
