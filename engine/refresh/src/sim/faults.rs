//! What goes wrong in a simulation, one kind each.

use std::time::Duration;

use ::catalog::{
    jobs::{JobFilter, Jobs},
    leaders::Leaders,
};
use model::{id::WorkerId, job::JobState, time::Timestamp};
use rt::clock::Clock;

use super::{Attempt, World, catalog::Fatal, poll_at_most, ticks};
use crate::reconcile::Reconciler;

/// Calls of a worker at which it may die.
const CALLS: [&str; 6] =
    ["pin_graph", "pin", "heartbeat", "committing", "put_graph_output", "finish"];
/// How long the catalog is gone.
const GONE_FOR: Duration = Duration::from_secs(60);

impl World {
    /// The worker dies before or after one of its calls takes effect, if it comes there.
    pub(super) async fn die_at_a_call(&mut self, attempt: Attempt) {
        let call = CALLS[usize::try_from(self.random.below(0..CALLS.len() as u64)).unwrap()];
        let takes_effect = self.random.one_in(2);
        self.catalog.kill_at(Some(Fatal { call, takes_effect }));
        let Attempt { work, clock, .. } = attempt;
        let ended = async {
            tokio::select! {
                _ = work => {}
                () = self.catalog.struck() => {}
                () = ticks(&clock, &self.clock) => {}
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(120), ended).await;
        assert!(ended.is_ok(), "an attempt hangs");
        self.catalog.kill_at(None);
    }

    /// In the middle of an attempt the catalog does not answer for a minute.
    pub(super) async fn lose_the_catalog(&mut self, mut attempt: Attempt) {
        let polls = self.random.below(1..100);
        if poll_at_most(&mut attempt, polls, &self.clock).await {
            return;
        }
        self.catalog.gone(true);
        let clock = &attempt.clock;
        let minute = async {
            let back_at = clock.now().plus(GONE_FOR);
            while clock.now() < back_at {
                tokio::time::sleep(Duration::from_millis(2)).await;
                clock.advance(Duration::from_millis(500));
                self.clock.advance(Duration::from_millis(500));
            }
        };
        let ended = tokio::select! {
            _ = &mut attempt.work => true,
            () = minute => false,
        };
        self.catalog.gone(false);
        if !ended {
            self.finish(attempt).await;
        }
    }

    /// The clock of all processes is put forward or back by some minutes.
    pub(super) fn jump(&mut self) {
        let by = i64::try_from(self.random.below(0..600)).unwrap() - 300;
        let to = self.clock.now().as_micros() + by * 1_000_000;
        self.clock.set(Timestamp::from_micros(to));
    }

    pub(super) async fn retry(&mut self) {
        let jobs = self.catalog.unfailing().jobs(&JobFilter::default()).await.unwrap();
        let over = [JobState::Failed, JobState::Cancelled, JobState::UpstreamFailed];
        let ended: Vec<_> = jobs.iter().filter(|job| over.contains(&job.state)).collect();
        if ended.is_empty() {
            return;
        }
        let chosen = self.random.below(0..ended.len() as u64);
        let job = ended[usize::try_from(chosen).unwrap()];
        self.catalog.unfailing().retry(job.id, self.clock.now()).await.unwrap();
    }

    /// A scheduler looks at what is due; now and then one dies and another one starts.
    pub(super) async fn schedule(&mut self) {
        let chosen = usize::try_from(self.random.below(0..self.schedulers.len() as u64)).unwrap();
        self.schedulers[chosen].tick().await;
        for leader in self.catalog.unfailing().leaders().await.unwrap() {
            let Some(worker) = leader.worker else { continue };
            let first = *self.leaders.entry(leader.sign.epoch).or_insert(worker);
            assert_eq!(first, worker, "two lead in epoch {}", leader.sign.epoch);
        }
        if self.random.one_in(6) {
            self.schedulers.swap_remove(chosen);
            self.start_scheduler();
        }
    }

    pub(super) fn start_scheduler(&mut self) {
        let process = self.schedulers.len() % self.processes.len();
        let options = self.options(process, &self.clock);
        self.schedulers.push(Reconciler::new(&options, WorkerId::generate()));
    }
}
