//! Jobs that look after the files of a table.

use model::{
    id::ObjectId,
    job::{JobCause, JobState, NewJob, RunOutcome},
    work::{JobKind, Maintained, OptimizeWork, Optimized, VacuumWork, Vacuumed, Work},
};

use super::{
    fixture::{
        C, at, claim, job, new_job, progress, queued, stored, submit_one, succeeded, try_claim,
    },
    suite,
};
use crate::jobs::JobFilter;

suite![
    the_work_of_a_job_comes_back_as_it_was_asked,
    equal_work_is_one_job_and_other_work_another,
    work_of_any_kind_waits_for_the_job_that_is_under_way,
    a_result_is_kept_with_the_job_and_its_run,
    maintenance_is_no_refresh_that_succeeded,
    jobs_are_filtered_by_their_kind,
];

fn optimize(zorder_by: &str) -> Work {
    Work::Optimize(OptimizeWork {
        condition: Some("day = 'it''s'".to_owned()),
        zorder_by: vec![zorder_by.to_owned()],
        automatic: false,
    })
}

fn vacuum() -> Work {
    Work::Vacuum(VacuumWork { full: true, retain_ms: Some(7) })
}

fn asked(object: ObjectId, work: Work) -> NewJob {
    NewJob { work, ..new_job(object) }
}

fn maintained(result: Maintained, output_version: Option<i64>) -> RunOutcome {
    RunOutcome::Maintained { output_version, progress: progress(8), result }
}

async fn the_work_of_a_job_comes_back_as_it_was_asked(catalog: C) {
    let object = stored(&catalog, "a").await;
    let automatic = Work::Optimize(OptimizeWork { automatic: true, ..OptimizeWork::default() });
    for work in [optimize("a"), automatic, vacuum(), Work::Refresh] {
        let new = NewJob { cause: JobCause::Automatic, ..asked(object, work.clone()) };
        let answer = submit_one(&catalog, new).await;
        assert_eq!((answer.work, answer.cause), (work.clone(), JobCause::Automatic));
        let claimed = claim(&catalog, at(1)).await;
        assert_eq!(claimed.job.work, work);
        let run = catalog.runs(Some(&[answer.id]), 1).await.unwrap().remove(0);
        assert_eq!((run.kind, run.result), (work.kind(), None));
        catalog.finish(&claimed.lease, &RunOutcome::Cancelled, at(1)).await.unwrap();
    }
}

async fn equal_work_is_one_job_and_other_work_another(catalog: C) {
    let object = stored(&catalog, "a").await;
    let other = Work::Vacuum(VacuumWork { full: true, retain_ms: None });
    let mut ids = Vec::new();
    for work in [Work::Refresh, optimize("a"), optimize("b"), vacuum(), other] {
        let first = submit_one(&catalog, asked(object, work.clone())).await;
        let again = submit_one(&catalog, asked(object, work)).await;
        assert_eq!(first, again);
        assert!(!ids.contains(&first.id), "{first:?}");
        ids.push(first.id);
    }
}

async fn work_of_any_kind_waits_for_the_job_that_is_under_way(catalog: C) {
    let object = stored(&catalog, "a").await;
    for work in [vacuum(), Work::Refresh, optimize("a")] {
        submit_one(&catalog, asked(object, work)).await;
    }
    for (expected, run_seq) in [(JobKind::Vacuum, 1), (JobKind::Refresh, 2), (JobKind::Optimize, 3)]
    {
        let claimed = claim(&catalog, at(1)).await;
        assert_eq!((claimed.job.work.kind(), claimed.run_seq), (expected, run_seq));
        assert!(try_claim(&catalog, at(1)).await.is_none(), "{expected} is under way");
        catalog.finish(&claimed.lease, &RunOutcome::Cancelled, at(1)).await.unwrap();
    }
}

async fn a_result_is_kept_with_the_job_and_its_run(catalog: C) {
    let optimized = Optimized {
        files_removed: 5,
        files_added: 2,
        bytes_removed: 1 << 40,
        bytes_added: 1 << 39,
        commits: 1,
    };
    let vacuumed = Vacuumed { files_deleted: 5, bytes_deleted: 9, log_files_deleted: 20 };
    let object = stored(&catalog, "a").await;
    for (work, result, version) in [
        (optimize("a"), Maintained::Optimized(optimized), Some(7)),
        (vacuum(), Maintained::Vacuumed(vacuumed), None),
    ] {
        let asked = submit_one(&catalog, asked(object, work)).await;
        let claimed = claim(&catalog, at(1)).await;
        catalog.finish(&claimed.lease, &maintained(result, version), at(3)).await.unwrap();
        let ended = job(&catalog, asked.id).await;
        assert_eq!((ended.state, ended.finished_at), (JobState::Succeeded, Some(at(3))));
        assert_eq!((ended.result, ended.output_version), (Some(result), version));
        assert_eq!(ended.progress, progress(8));
        let run = catalog.runs(Some(&[asked.id]), 1).await.unwrap().remove(0);
        assert_eq!((run.result, run.output_version), (Some(result), version));
        assert_eq!((run.progress, run.strategy), (progress(8), None));
    }
}

async fn maintenance_is_no_refresh_that_succeeded(catalog: C) {
    let refreshed = queued(&catalog, "a", &[]).await;
    let first = claim(&catalog, at(0)).await;
    catalog.finish(&first.lease, &succeeded(4), at(1)).await.unwrap();
    submit_one(&catalog, asked(refreshed.object, optimize("a"))).await;
    let second = claim(&catalog, at(2)).await;
    let done = Maintained::Optimized(Optimized::default());
    catalog.finish(&second.lease, &maintained(done, Some(5)), at(3)).await.unwrap();
    submit_one(&catalog, new_job(refreshed.object)).await;
    let last = claim(&catalog, at(4)).await.last.unwrap();
    assert_eq!((last.output_version, last.definition_hash.as_str()), (4, "hash"));
}

async fn jobs_are_filtered_by_their_kind(catalog: C) {
    let object = stored(&catalog, "a").await;
    let first = submit_one(&catalog, new_job(object)).await;
    let second = submit_one(&catalog, asked(object, vacuum())).await;
    for (kind, expected) in [
        (None, vec![second.id, first.id]),
        (Some(JobKind::Refresh), vec![first.id]),
        (Some(JobKind::Vacuum), vec![second.id]),
        (Some(JobKind::Optimize), vec![]),
    ] {
        for by in [None, Some(object)] {
            let filter = JobFilter { kind, object: by, ..JobFilter::default() };
            let found = catalog.jobs(&filter).await.unwrap();
            assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), expected, "{filter:?}");
        }
    }
}
