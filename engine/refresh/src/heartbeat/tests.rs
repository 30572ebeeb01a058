use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use catalog::{
    error::CatalogError,
    jobs::{JobFilter, Reading, Takes},
};
use futures::future::BoxFuture;
use model::{
    approval::Approval,
    id::{GraphId, JobId, ObjectId, RunId, WorkerId},
    job::{
        ClaimedRun, Job, LastRun, NewJob, PinnedInput, RequestKey, Run, RunOutcome, RunProgress,
    },
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;

/// Tokio's paused time as a clock.
#[derive(Debug)]
struct PausedClock(Instant);

impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(0).plus(self.0.elapsed())
    }

    fn sleep(&self, wait: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(wait))
    }
}

/// What the catalog does with a heartbeat.
#[derive(Debug, Clone, Copy)]
enum Answer {
    State(LeaseState),
    Unreachable,
    Hangs,
}

/// A catalog that takes heartbeats only.
struct Beats {
    answers: Mutex<Answer>,
    seen: Mutex<Vec<JobState>>,
    count: AtomicI64,
}

impl Beats {
    fn new(answer: Answer) -> Arc<Self> {
        let (answers, seen) = (Mutex::new(answer), Mutex::default());
        Arc::new(Self { answers, seen, count: AtomicI64::new(0) })
    }

    fn answer(&self, answer: Answer) {
        *self.answers.lock() = answer;
    }
}

#[async_trait]
impl Jobs for Beats {
    async fn heartbeat(
        &self,
        _: &Lease,
        state: JobState,
        _: &RunProgress,
        _: Timestamp,
        _: Duration,
    ) -> Result<LeaseState, CatalogError> {
        self.count.fetch_add(1, Ordering::SeqCst);
        let answer = *self.answers.lock();
        match answer {
            Answer::State(answer) => {
                self.seen.lock().push(state);
                Ok(answer)
            }
            Answer::Unreachable => Err(CatalogError::Database {
                operation: "record a heartbeat",
                source: "gone".into(),
                transient: true,
            }),
            Answer::Hangs => std::future::pending().await,
        }
    }

    async fn submit_once(
        &self,
        _: &RequestKey,
        _: &[NewJob],
        _: Timestamp,
    ) -> Result<Vec<Job>, CatalogError> {
        unreachable!()
    }

    async fn submit(&self, _: &[NewJob], _: Timestamp) -> Result<Vec<Job>, CatalogError> {
        unreachable!()
    }

    async fn jobs(&self, _: &JobFilter) -> Result<Vec<Job>, CatalogError> {
        unreachable!()
    }

    async fn reading(&self, _: &[JobId]) -> Result<Vec<(JobId, Reading)>, CatalogError> {
        unreachable!()
    }

    async fn last_due(
        &self,
        _: &[ObjectId],
        _: Timestamp,
    ) -> Result<Vec<(ObjectId, Timestamp)>, CatalogError> {
        unreachable!()
    }

    async fn pin_graph(
        &self,
        _: &Lease,
        _: &[PinnedInput],
    ) -> Result<Vec<PinnedInput>, CatalogError> {
        unreachable!()
    }

    async fn put_graph_output(&self, _: &Lease, _: &PinnedInput) -> Result<(), CatalogError> {
        unreachable!()
    }

    async fn graph_inputs(
        &self,
        _: &[GraphId],
    ) -> Result<Vec<(GraphId, PinnedInput)>, CatalogError> {
        unreachable!()
    }

    async fn claim(
        &self,
        _: WorkerId,
        _: &Takes,
        _: Timestamp,
        _: Duration,
    ) -> Result<Option<ClaimedRun>, CatalogError> {
        unreachable!()
    }

    async fn pin(&self, _: &Lease, _: &[PinnedInput]) -> Result<Vec<PinnedInput>, CatalogError> {
        unreachable!()
    }

    async fn pinned(&self, _: RunId) -> Result<Option<Vec<PinnedInput>>, CatalogError> {
        unreachable!()
    }

    async fn finish(&self, _: &Lease, _: &RunOutcome, _: Timestamp) -> Result<(), CatalogError> {
        unreachable!()
    }

    async fn cancel(&self, _: JobId, _: Timestamp) -> Result<Job, CatalogError> {
        unreachable!()
    }

    async fn approve(&self, _: JobId, _: &Approval, _: Timestamp) -> Result<Job, CatalogError> {
        unreachable!()
    }

    async fn retry(&self, _: JobId, _: Timestamp) -> Result<Job, CatalogError> {
        unreachable!()
    }

    async fn retry_failed(&self, _: JobId, _: Timestamp) -> Result<Vec<Job>, CatalogError> {
        unreachable!()
    }

    async fn last_refresh(&self, _: ObjectId) -> Result<Option<LastRun>, CatalogError> {
        unreachable!()
    }

    async fn runs(&self, _: Option<&[JobId]>, _: u32) -> Result<Vec<Run>, CatalogError> {
        unreachable!()
    }

    async fn run(&self, _: RunId) -> Result<Option<Run>, CatalogError> {
        unreachable!()
    }

    async fn run_inputs(&self, _: &[RunId]) -> Result<Vec<(RunId, PinnedInput)>, CatalogError> {
        unreachable!()
    }
}

const LEASE_FOR: Duration = Duration::from_secs(30);

fn start(jobs: &Arc<Beats>) -> (Beating, StopSignal, Arc<PausedClock>) {
    let clock = Arc::new(PausedClock(Instant::now()));
    let stop = StopSignal::new(CancellationToken::new());
    let heartbeat = Heartbeat {
        jobs: Arc::clone(jobs),
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        lease: Lease { run: RunId::generate(), attempt: 1, worker: WorkerId::generate() },
        leased_at: clock.now(),
        lease_for: LEASE_FOR,
        progress_every: Duration::from_secs(3600),
        progress: Arc::new(Progress::default()),
        stop: stop.clone(),
    };
    (heartbeat.start(), stop, clock)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn it_beats_three_times_within_a_lease_and_extends_it() {
    let jobs = Beats::new(Answer::State(LeaseState::Held));
    let (beating, _stop, clock) = start(&jobs);
    pass(61).await;
    assert_eq!(jobs.count.load(Ordering::SeqCst), 6);
    assert!(jobs.seen.lock().iter().all(|state| *state == JobState::Planning));
    let held_until = beating.end().await.unwrap();
    assert_eq!(held_until.since(clock.now()), Duration::from_secs(29));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_to_stop_or_was_taken_over_stops_the_run() {
    for (answer, why) in [(LeaseState::StopAsked, Stop::Asked), (LeaseState::Lost, Stop::Lost)] {
        let jobs = Beats::new(Answer::State(answer));
        let (_beating, stop, _clock) = start(&jobs);
        assert_eq!(stop.given().await, why);
    }
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_is_away_stops_the_run_only_when_the_lease_is_over() {
    for away in [Answer::Unreachable, Answer::Hangs] {
        let jobs = Beats::new(Answer::State(LeaseState::Held));
        let (_beating, stop, clock) = start(&jobs);
        pass(15).await;
        jobs.answer(away);
        assert_eq!(stop.given().await, Stop::Expired);
        // The last beat that was answered was the one after ten seconds.
        let over = clock.now().since(Timestamp::from_micros(0));
        assert!(over >= Duration::from_secs(40) && over < Duration::from_secs(41), "{over:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_catalog_that_comes_back_in_time_keeps_the_run_alive() {
    let jobs = Beats::new(Answer::Unreachable);
    let (beating, stop, clock) = start(&jobs);
    pass(29).await;
    jobs.answer(Answer::State(LeaseState::Held));
    tokio::select! {
        why = stop.given() => panic!("{why:?}"),
        () = pass(60) => {}
    }
    assert!(beating.end().await.unwrap() > clock.now());
}

#[tokio::test(start_paused = true)]
async fn committing_is_asked_at_once_and_later_beats_do_not_take_it_back() {
    let jobs = Beats::new(Answer::State(LeaseState::Held));
    let (beating, stop, clock) = start(&jobs);
    assert_eq!(beating.committing().await, Ok(()));
    assert_eq!(clock.now(), Timestamp::from_micros(0));
    jobs.answer(Answer::State(LeaseState::StopAsked));
    pass(25).await;
    assert_eq!(*jobs.seen.lock(), [JobState::Committing; 3]);
    tokio::select! {
        biased;
        why = stop.given() => panic!("a commit that is on its way was stopped: {why:?}"),
        () = pass(60) => {}
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_commits_without_a_lease() {
    for (answer, why) in [
        (Answer::State(LeaseState::StopAsked), Stop::Asked),
        (Answer::State(LeaseState::Lost), Stop::Lost),
        (Answer::Unreachable, Stop::Expired),
        (Answer::Hangs, Stop::Expired),
    ] {
        let jobs = Beats::new(answer);
        let (beating, _stop, _clock) = start(&jobs);
        assert_eq!(beating.committing().await, Err(why), "{answer:?}");
        assert_eq!(beating.committing().await, Err(Stop::Lost), "the heartbeat is over");
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_waits_for_a_catalog_that_comes_back() {
    let jobs = Beats::new(Answer::Unreachable);
    let (beating, _stop, _clock) = start(&jobs);
    let back = async {
        pass(20).await;
        jobs.answer(Answer::State(LeaseState::Held));
    };
    let (committing, ()) = tokio::join!(beating.committing(), back);
    assert_eq!(committing, Ok(()));
}
