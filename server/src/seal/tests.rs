use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use catalog_sqlite::SqliteCatalog;
use futures::future::BoxFuture;
use proptest::prelude::*;

use super::*;

const LIFE_MAX: Duration = Duration::from_secs(3_600);

#[derive(Debug, Default)]
struct TestClock(AtomicI64);

impl TestClock {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// A catalog that counts how often it is asked.
struct Counting {
    catalog: SqliteCatalog,
    asked: AtomicI64,
}

#[async_trait]
impl SealKeys for Counting {
    async fn seal_keys(
        &self,
        fresh: &Secret,
        rotate_after: Duration,
        now: Timestamp,
    ) -> Result<Vec<catalog::seal_keys::SealKey>, CatalogError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.catalog.seal_keys(fresh, rotate_after, now).await
    }
}

struct World {
    clock: Arc<TestClock>,
    catalog: Arc<Counting>,
}

impl World {
    async fn new() -> Self {
        let catalog = SqliteCatalog::in_memory().await.unwrap();
        let catalog = Arc::new(Counting { catalog, asked: AtomicI64::new(0) });
        Self { clock: Arc::default(), catalog }
    }

    /// A server of it.
    fn server(&self) -> Seals {
        Seals::new(Arc::clone(&self.catalog) as _, Arc::clone(&self.clock) as _, LIFE_MAX)
    }

    fn asked(&self) -> i64 {
        self.catalog.asked.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn what_one_server_seals_another_one_opens() {
    let world = World::new().await;
    let (here, there) = (world.server(), world.server());
    for content in [&b""[..], b"SELECT 1", &[0; 10_000]] {
        let sealed = here.key().await.unwrap().seal(Purpose::Ticket, content);
        assert_eq!(there.open(Purpose::Ticket, &sealed).await.unwrap(), content);
    }
    assert_eq!(world.asked(), 2, "each asks once");
}

#[tokio::test]
async fn a_seal_is_good_for_one_purpose() {
    let world = World::new().await;
    let seals = world.server();
    let sealed = seals.key().await.unwrap().seal(Purpose::Ticket, b"SELECT 1");
    for purpose in [Purpose::Statement, Purpose::Transaction, Purpose::Login] {
        let refused = seals.open(purpose, &sealed).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn whatever_is_changed_cut_or_added_is_refused() {
    let world = World::new().await;
    let seals = world.server();
    let sealed = seals.key().await.unwrap().seal(Purpose::Ticket, b"SELECT 1");
    let refused = async |bytes: &[u8]| {
        let error = seals.open(Purpose::Ticket, bytes).await.unwrap_err();
        assert!(matches!(error, SealError::Broken | SealError::Unknown), "{error} for {bytes:?}");
    };
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[at] ^= 1 << bit;
            refused(&flipped).await;
        }
        refused(&sealed[..at]).await;
        refused(&sealed[at + 1..]).await;
    }
    for added in [&b"\0"[..], b"SELECT 2", &sealed] {
        refused(&[&sealed, added].concat()).await;
        refused(&[added, &sealed].concat()).await;
    }
    assert_eq!(seals.open(Purpose::Ticket, &sealed).await.unwrap(), b"SELECT 1");
}

#[tokio::test]
async fn another_catalog_has_other_keys() {
    let (world, other) = (World::new().await, World::new().await);
    let sealed = world.server().key().await.unwrap().seal(Purpose::Ticket, b"SELECT 1");
    let seals = other.server();
    seals.key().await.unwrap();
    let refused = seals.open(Purpose::Ticket, &sealed).await.unwrap_err();
    assert!(matches!(refused, SealError::Broken));
}

#[tokio::test]
async fn what_was_sealed_outlives_its_key_and_no_key_is_kept_for_ever() {
    let world = World::new().await;
    let (here, there) = (world.server(), world.server());
    let first = here.key().await.unwrap().seal(Purpose::Ticket, b"first");
    world.clock.pass(ROTATE_AFTER);
    let second = here.key().await.unwrap().seal(Purpose::Ticket, b"second");
    assert_ne!(first[..HEAD], second[..HEAD], "another key");
    // A server that has not asked since knows the newer one as soon as it sees it.
    for seals in [&here, &there] {
        assert_eq!(seals.open(Purpose::Ticket, &first).await.unwrap(), b"first");
        assert_eq!(seals.open(Purpose::Ticket, &second).await.unwrap(), b"second");
    }
    world.clock.pass(ROTATE_AFTER);
    here.key().await.unwrap();
    let refused = here.open(Purpose::Ticket, &first).await.unwrap_err();
    assert_eq!(refused.code(), Code::NotFound);
    assert_eq!(here.open(Purpose::Ticket, &second).await.unwrap(), b"second");
}

#[tokio::test]
async fn keys_live_longer_than_what_they_seal() {
    let world = World::new().await;
    let (clock, catalog) = (Arc::clone(&world.clock) as _, Arc::clone(&world.catalog) as _);
    let seals = Seals::new(catalog, clock, ROTATE_AFTER);
    let sealed = seals.key().await.unwrap().seal(Purpose::Ticket, b"first");
    for _ in 0..2 {
        world.clock.pass(ROTATE_AFTER);
        seals.key().await.unwrap();
        assert_eq!(seals.open(Purpose::Ticket, &sealed).await.unwrap(), b"first");
    }
}

#[tokio::test]
async fn made_up_numbers_do_not_keep_the_catalog_busy() {
    let world = World::new().await;
    let seals = world.server();
    let sealed = seals.key().await.unwrap().seal(Purpose::Ticket, b"SELECT 1");
    for number in 0..100 {
        let mut made_up = sealed.clone();
        made_up[3] = number + 1;
        let refused = seals.open(Purpose::Ticket, &made_up).await.unwrap_err();
        assert!(matches!(refused, SealError::Unknown));
    }
    assert_eq!(world.asked(), 1);
    world.clock.pass(UNKNOWN_EVERY);
    for _ in 0..10 {
        let mut made_up = sealed.clone();
        made_up[3] = 7;
        seals.open(Purpose::Ticket, &made_up).await.unwrap_err();
    }
    assert_eq!(world.asked(), 2);
    for _ in 0..1_000 {
        seals.key().await.unwrap();
    }
    assert_eq!(world.asked(), 2, "a key is asked for once");
}

proptest! {
    #[test]
    fn no_bytes_open(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let clock = Arc::new(TestClock::default());
            // Nothing gets as far as the catalog but what has the right form.
            struct Nobody;
            #[async_trait]
            impl SealKeys for Nobody {
                async fn seal_keys(
                    &self,
                    _: &Secret,
                    _: Duration,
                    _: Timestamp,
                ) -> Result<Vec<catalog::seal_keys::SealKey>, CatalogError> {
                    Ok(Vec::new())
                }
            }
            let seals = Seals::new(Arc::new(Nobody), clock, LIFE_MAX);
            assert!(seals.open(Purpose::Ticket, &bytes).await.is_err());
        });
    }
}
