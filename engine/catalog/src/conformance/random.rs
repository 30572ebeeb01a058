//! Random histories: whatever happens in whatever order, some things are always true.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use model::{
    approval::Approval,
    code::Code,
    id::{JobId, ObjectId, RunId},
    job::{ClaimedRun, Job, JobState, Lease, LeaseState, NewJob, RunOutcome},
    report::RunReport,
    time::Timestamp,
    work::{JobKind, Maintained, OptimizeWork, VacuumWork, Vacuumed, Work},
};

use super::{
    fixture::{C, LEASE, at, input, new_job, progress, stored, succeeded, try_claim},
    suite,
};
use crate::{error::CatalogError, jobs::JobFilter};

suite![
    random_histories_keep_the_promises_1,
    random_histories_keep_the_promises_2,
    random_histories_keep_the_promises_3,
    random_histories_keep_the_promises_4,
];

const STEPS: usize = 250;
const OBJECTS: usize = 4;

async fn random_histories_keep_the_promises_1(catalog: C) {
    History::new(catalog, 1).await.run().await;
}

async fn random_histories_keep_the_promises_2(catalog: C) {
    History::new(catalog, 0x5eed_0002).await.run().await;
}

async fn random_histories_keep_the_promises_3(catalog: C) {
    History::new(catalog, 0x5eed_0003).await.run().await;
}

/// Another seed each time, printed when it fails.
async fn random_histories_keep_the_promises_4(catalog: C) {
    let seed = JobId::generate().as_uuid().as_u64_pair().1;
    History::new(catalog, seed).await.run().await;
}

/// Knuth's MMIX generator: the same seed, the same history, on every machine.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let high = usize::try_from(self.0 >> 33).unwrap();
        high % limit
    }

    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        if items.is_empty() { None } else { Some(items[self.below(items.len())]) }
    }
}

/// The catalog beside what is known of it.
struct History {
    catalog: C,
    seed: u64,
    random: Random,
    now: i64,
    objects: Vec<ObjectId>,
    jobs: Vec<JobId>,
    /// Every lease that was ever given, the newest last.
    leases: Vec<Held>,
    /// How often `finish` made each run final.
    finished: HashMap<RunId, u32>,
    run_seqs: HashMap<ObjectId, (i64, RunId)>,
    /// Jobs as they were when they were seen to have ended.
    ended: HashMap<JobId, Job>,
    trace: Vec<String>,
}

#[derive(Clone)]
struct Held {
    lease: Lease,
    job: JobId,
    object: ObjectId,
    until: i64,
}

impl History {
    async fn new(catalog: C, seed: u64) -> Self {
        let mut objects = Vec::new();
        for n in 0..OBJECTS {
            objects.push(stored(&catalog, &format!("t{n}")).await);
        }
        Self {
            catalog,
            seed,
            random: Random(seed),
            now: 0,
            objects,
            jobs: vec![],
            leases: vec![],
            finished: HashMap::new(),
            run_seqs: HashMap::new(),
            ended: HashMap::new(),
            trace: vec![],
        }
    }

    fn time(&self) -> Timestamp {
        at(self.now)
    }

    async fn run(mut self) {
        for _ in 0..STEPS {
            match self.random.below(13) {
                0 | 1 => self.submit().await,
                2..=4 => self.claim().await,
                5 | 6 => self.heartbeat().await,
                7 | 8 => self.finish().await,
                9 => self.cancel().await,
                10 => self.retry().await,
                11 => self.approve().await,
                _ => {
                    let seconds = [1, 10, 31, 90];
                    self.now += seconds[self.random.below(seconds.len())];
                }
            }
            self.check_invariants().await;
        }
    }

    fn check(&self, holds: bool, promise: &str) {
        let last = self.trace.len().saturating_sub(12);
        assert!(
            holds,
            "{promise} (seed {:#x}); the last steps were {:#?}",
            self.seed,
            &self.trace[last..]
        );
    }

    async fn submit(&mut self) {
        let mut batch: Vec<NewJob> = Vec::new();
        for _ in 0..=self.random.below(3) {
            let object = self.objects[self.random.below(OBJECTS)];
            let mut after: Vec<JobId> = batch.iter().map(|job| job.id).collect();
            after.extend(self.random.pick(&self.jobs));
            after.truncate(self.random.below(3));
            let force = self.random.below(4) == 0;
            let attempts_max = u32::try_from(self.random.below(3)).unwrap() + 1;
            let kinds = [
                Work::Refresh,
                Work::Optimize(OptimizeWork::default()),
                Work::Vacuum(VacuumWork::default()),
            ];
            let work = kinds[self.random.below(kinds.len())].clone();
            batch.push(NewJob { work, after, force, attempts_max, ..new_job(object) });
        }
        self.trace.push(format!("submit {} jobs at {}", batch.len(), self.now));
        let answer = self.catalog.submit(&batch, self.time()).await.unwrap();
        self.check(answer.len() == batch.len(), "every job is answered");
        for (asked, got) in batch.iter().zip(answer) {
            self.check(asked.object == got.object, "answers come in the order of the jobs");
            self.check(got.state == JobState::Queued, "an answered job waits in the queue");
            self.check(asked.work == got.work, "an answered job does what was asked");
            self.check(got.force || !asked.force, "a forced request is forced");
            if !self.jobs.contains(&got.id) {
                self.jobs.push(got.id);
            }
        }
    }

    async fn claim(&mut self) {
        let before = self.all_jobs().await;
        let claimed = try_claim(&self.catalog, self.time()).await;
        self.trace.push(format!("claim at {}: {:?}", self.now, claimed.as_ref().map(|c| &c.lease)));
        let Some(claimed) = claimed else { return };
        let ClaimedRun { lease, job, run_seq, .. } = &claimed;
        let was = &before[&job.id];
        self.check(!was.state.is_final(), "only an open job is taken");
        for upstream in &job.after {
            self.check(before[upstream].state.is_success(), "upstream jobs have succeeded");
        }
        let same_object: Vec<_> =
            self.leases.iter().filter(|held| held.object == job.object).cloned().collect();
        for held in same_object {
            let live = held.until > self.now && self.is_newest(&held);
            let open = !self.finished.contains_key(&held.lease.run)
                && before[&held.job].run == Some(held.lease.run)
                && matches!(
                    before[&held.job].state,
                    JobState::Planning | JobState::Running | JobState::Committing
                );
            self.check(!(live && open), "no two live leases for one object");
        }
        match self.run_seqs.get(&job.object) {
            Some((last, run)) if run == &lease.run => {
                self.check(run_seq == last, "a continued run keeps its number");
                self.check(lease.attempt == was.attempt + 1, "attempts are counted");
            }
            Some((last, _)) => self.check(*run_seq == last + 1, "run numbers grow by one"),
            None => self.check(*run_seq == 1, "the first run has number 1"),
        }
        self.run_seqs.insert(job.object, (*run_seq, lease.run));
        self.leases.push(Held {
            lease: lease.clone(),
            job: job.id,
            object: job.object,
            until: self.now + i64::try_from(LEASE.as_secs()).unwrap(),
        });
        self.catalog.pin(lease, &[input("i", *run_seq)]).await.unwrap();
    }

    /// Whether nobody has taken the run since.
    fn is_newest(&self, held: &Held) -> bool {
        let newest = self.leases.iter().rev().find(|other| other.lease.run == held.lease.run);
        newest.is_some_and(|newest| newest.lease == held.lease)
    }

    /// One of the newest leases, be it good or not.
    fn some_lease(&mut self) -> Option<usize> {
        let recent = self.leases.len().min(4);
        (recent > 0).then(|| self.leases.len() - 1 - self.random.below(recent))
    }

    async fn heartbeat(&mut self) {
        let Some(index) = self.some_lease() else { return };
        let held = self.leases[index].clone();
        let states = [JobState::Planning, JobState::Running, JobState::Committing];
        let state = states[self.random.below(3)];
        let good = self.is_good(&held).await;
        let answer = self
            .catalog
            .heartbeat(&held.lease, state, &progress(1), self.time(), LEASE)
            .await
            .unwrap();
        self.trace.push(format!("heartbeat {:?} {state} at {}: {answer:?}", held.lease, self.now));
        self.check(good == (answer != LeaseState::Lost), "exactly the good leases are held");
        if answer != LeaseState::Lost {
            self.leases[index].until = self.now + i64::try_from(LEASE.as_secs()).unwrap();
        }
    }

    async fn is_good(&self, held: &Held) -> bool {
        let job = &self.all_jobs().await[&held.job];
        self.is_newest(held)
            && job.run == Some(held.lease.run)
            && job.attempt == held.lease.attempt
            && job.state.is_under_way()
    }

    async fn finish(&mut self) {
        let Some(index) = self.some_lease() else { return };
        let held = self.leases[index].clone();
        let success = match self.all_jobs().await[&held.job].work {
            Work::Refresh | Work::At(_) | Work::Part(_) | Work::Backfill(_) => succeeded(3),
            Work::Optimize(_) | Work::Vacuum(_) | Work::Release(_) => RunOutcome::Maintained {
                output_version: None,
                progress: progress(2),
                result: Maintained::Vacuumed(Vacuumed::default()),
            },
        };
        let outcomes = [
            success,
            RunOutcome::SkippedNoChange { output_version: 3 },
            question(),
            RunOutcome::Cancelled,
            failure(Code::Unavailable),
            failure(Code::Unavailable),
            failure(Code::Internal),
        ];
        let outcome = &outcomes[self.random.below(outcomes.len())];
        let before_commit = matches!(
            outcome,
            RunOutcome::SkippedNoChange { .. } | RunOutcome::NeedsApproval { .. }
        );
        if before_commit && self.all_jobs().await[&held.job].state == JobState::Committing {
            return;
        }
        let good = self.is_good(&held).await;
        let answer = self.catalog.finish(&held.lease, outcome, self.time()).await;
        self.trace.push(format!(
            "finish {:?} {outcome:?} at {}: {}",
            held.lease,
            self.now,
            answer.is_ok()
        ));
        match answer {
            Ok(()) => {
                self.check(good, "only the holder of a good lease finishes");
                if self.all_jobs().await[&held.job].state.is_final() {
                    *self.finished.entry(held.lease.run).or_default() += 1;
                }
            }
            Err(CatalogError::LeaseLost(_)) => self.check(!good, "a good lease finishes"),
            Err(other) => panic!("{other:?}"),
        }
        let twice = self.finished.get(&held.lease.run).is_some_and(|times| *times > 1);
        self.check(!twice, "a run is finished at most once");
    }

    async fn cancel(&mut self) {
        let Some(id) = self.random.pick(&self.jobs) else { return };
        let before = self.all_jobs().await[&id].state;
        let answer = self.catalog.cancel(id, self.time()).await;
        self.trace.push(format!("cancel {id} which is {before}: {}", answer.is_ok()));
        let can = !before.is_final() && before != JobState::Committing;
        self.check(can == answer.is_ok(), "a job can be cancelled until it commits");
    }

    async fn approve(&mut self) {
        let Some(id) = self.random.pick(&self.jobs) else { return };
        let before = self.all_jobs().await[&id].state;
        let (by, definition_hash) = ("ada".to_owned(), "hash".to_owned());
        let approval = Approval { by, at: self.time(), definition_hash };
        let answer = self.catalog.approve(id, &approval, self.time()).await;
        self.trace.push(format!("approve {id} which is {before}: {}", answer.is_ok()));
        let asks = before == JobState::AwaitingApproval;
        self.check(asks == answer.is_ok(), "exactly the jobs that ask can be approved");
    }

    async fn retry(&mut self) {
        let Some(id) = self.random.pick(&self.jobs) else { return };
        let before = self.all_jobs().await;
        let answer = self.catalog.retry(id, self.time()).await;
        self.trace.push(format!("retry {id} which is {}: {}", before[&id].state, answer.is_ok()));
        let state = before[&id].state;
        self.check(
            answer.is_ok() == (state.is_final() && !state.is_success()),
            "exactly the unsuccessful jobs can be retried",
        );
        if answer.is_err() {
            return;
        }
        // Whatever it waits for may have been queued again; success stays.
        for (id, job) in self.all_jobs().await {
            if !job.state.is_final() {
                let success = self.ended.remove(&id).is_some_and(|job| job.state.is_success());
                self.check(!success, "a success is never run again");
            }
        }
    }

    async fn all_jobs(&self) -> HashMap<JobId, Job> {
        let jobs = self.catalog.jobs(&JobFilter::default()).await.unwrap();
        jobs.into_iter().map(|job| (job.id, job)).collect()
    }

    async fn check_invariants(&mut self) {
        let jobs = self.all_jobs().await;
        self.check(jobs.len() == self.jobs.len(), "no job appears or disappears");
        let mut under_way = HashSet::new();
        for job in jobs.values() {
            let has_worker = job.state.is_under_way();
            let between = job.state == JobState::Queued && job.run.is_some();
            if has_worker || between {
                self.check(under_way.insert(job.object), "one job of an object is under way");
            }
            // One more of a refresh only looks whether the last one has committed.
            let looks = u32::from(job.work.kind() == JobKind::Refresh);
            self.check(job.attempt <= job.attempts_max + looks, "attempts are limited");
            self.check(
                job.finished_at.is_some() == job.state.is_final(),
                "the end has a time, and nothing else has",
            );
            if let Some(ended) = self.ended.get(&job.id) {
                self.check(ended == job, "what has ended stays as it is");
            }
        }
        for (id, job) in &jobs {
            if job.state.is_final() {
                self.ended.insert(*id, job.clone());
            }
        }
        let runs = self.catalog.runs(None, u32::MAX).await.unwrap();
        for run in &runs {
            let job = &jobs[&run.job];
            if job.run == Some(run.id) {
                self.check(job.state == run.state, "a job stands where its newest run stands");
            } else {
                self.check(run.state.is_final(), "only the newest run of a job is open");
            }
        }
        let ids: Vec<_> = runs.iter().map(|run| run.id).collect();
        let pinned = self.catalog.run_inputs(&ids).await.unwrap();
        let pinned: Vec<_> = pinned.into_iter().map(|(run, input)| (run, input.version)).collect();
        let first: Vec<_> = runs.iter().map(|run| (run.id, run.run_seq)).collect();
        self.check(pinned == first, "a run keeps the inputs of its first attempt");
    }
}

fn question() -> RunOutcome {
    RunOutcome::NeedsApproval {
        strategy: "FULL".to_owned(),
        reason: "NOT_DETERMINISTIC".to_owned(),
        report: RunReport::default(),
    }
}

pub(super) fn failure(code: Code) -> RunOutcome {
    RunOutcome::Failed {
        code,
        message: "no".to_owned(),
        retry_after: Duration::from_secs(5),
        strategy: None,
        reason: None,
        report: RunReport::default(),
    }
}
