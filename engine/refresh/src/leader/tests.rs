use catalog_sqlite::SqliteCatalog;

use super::*;
use crate::sim::{catalog::FlakyCatalog, clock::SimClock};

const LEASE: Duration = Duration::from_secs(30);

/// One of several processes, each with a clock of its own.
struct Process {
    clock: Arc<SimClock>,
    election: Election,
}

impl Process {
    fn new(catalog: &Arc<FlakyCatalog>, at: i64) -> Self {
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(at * 1_000_000)));
        let election = Election::new(
            Arc::clone(catalog) as Arc<dyn Catalog>,
            Arc::clone(&clock) as Arc<dyn Clock>,
            (SCHEDULER, WorkerId::generate()),
            LEASE,
        );
        Self { clock, election }
    }

    async fn after(&mut self, seconds: u64) -> Option<i64> {
        self.clock.advance(Duration::from_secs(seconds));
        self.election.leads().await.unwrap()
    }
}

#[tokio::test]
async fn one_leads_and_the_next_takes_over_when_it_is_silent() {
    let catalog = Arc::new(FlakyCatalog::new(1).await);
    let (mut a, mut b) = (Process::new(&catalog, 0), Process::new(&catalog, 5000));
    assert_eq!(a.after(0).await, Some(1));
    assert_eq!(b.after(0).await, None);
    for _ in 0..10 {
        assert_eq!(a.after(10).await, Some(1));
        assert_eq!(b.after(10).await, None);
    }
    // The other stands still from here on.
    assert_eq!(b.after(10).await, None);
    assert_eq!(b.after(10).await, None);
    assert_eq!(b.after(10).await, Some(2));
    assert_eq!(a.after(10).await, None, "it wakes up and is told");
}

#[tokio::test]
async fn who_gives_the_role_back_is_replaced_at_once() {
    let catalog = Arc::new(FlakyCatalog::new(1).await);
    let (mut a, mut b) = (Process::new(&catalog, 0), Process::new(&catalog, 0));
    assert_eq!(a.after(0).await, Some(1));
    assert_eq!(b.after(0).await, None);
    b.election.resign().await;
    assert_eq!(a.after(10).await, Some(1), "only the leader gives it back");
    a.election.resign().await;
    assert_eq!(b.after(10).await, Some(2));
}

#[tokio::test]
async fn a_clock_that_was_put_forward_and_back_stops_nobody() {
    let catalog = Arc::new(FlakyCatalog::new(1).await);
    let (mut a, mut b) = (Process::new(&catalog, 1_000_000), Process::new(&catalog, 1_000_000));
    assert_eq!(a.after(0).await, Some(1));
    assert_eq!(b.after(0).await, None);
    b.clock.set(Timestamp::from_micros(0));
    // It asks at once, and counts from now on.
    for _ in 0..6 {
        assert_eq!(b.after(5).await, None);
    }
    assert_eq!(b.after(5).await, Some(2));
    // A leader whose clock went back renews at once, and does not lead on memory.
    a.clock.set(Timestamp::from_micros(0));
    assert_eq!(a.after(0).await, None);
    // A leader of next year that dies is waited for no longer than another.
    b.clock.set(Timestamp::from_micros(32_000_000_000_000));
    assert_eq!(b.after(0).await, Some(2));
    for _ in 0..3 {
        assert_eq!(a.after(10).await, None);
    }
    assert_eq!(a.after(10).await, Some(3));
}

#[tokio::test]
async fn nobody_leads_while_the_catalog_does_not_answer() {
    let catalog = Arc::new(FlakyCatalog::new(1).await);
    let mut a = Process::new(&catalog, 0);
    assert_eq!(a.after(0).await, Some(1));
    catalog.gone(true);
    assert_eq!(a.after(9).await, Some(1), "what was renewed just now holds");
    a.clock.advance(Duration::from_secs(1));
    assert!(a.election.leads().await.is_err());
    catalog.gone(false);
    assert_eq!(a.after(0).await, Some(1));
}

#[tokio::test]
async fn who_has_the_catalog_alone_does_not_wait_for_the_one_before() {
    let catalog: Arc<dyn Catalog> = Arc::new(SqliteCatalog::in_memory().await.unwrap());
    for epoch in 1..4 {
        let clock = Arc::new(SimClock::new(Timestamp::from_micros(0)));
        let worker = (SCHEDULER, WorkerId::generate());
        let mut process = Election::new(Arc::clone(&catalog), clock, worker, LEASE);
        assert_eq!(process.leads().await.unwrap(), Some(epoch));
    }
}
