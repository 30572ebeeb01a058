//! Connections that are lent again while they are warm.
//!
//! It exists because the pool of sqlx asks the server twice whenever a connection is lent, before and
//! after, and lends them in turn: for a catalog whose calls are one or a few small statements that is a
//! third of all that the server is asked, spread over as many of its processes as there may be. Here the
//! connection that was given back last is lent first, without a question. The pool stays behind it:
//! it makes connections, closes those that nobody needs, and takes back whatever did not end well.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use sqlx::{PgConnection, PgPool, Postgres, pool::PoolConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A connection that lay longer goes back to the pool, which asks whether its server is still there.
const WARM_FOR: Duration = Duration::from_secs(1);
/// After so long the pool has a connection back in any case, since it knows when one is too old.
const LENT_FOR: Duration = Duration::from_secs(60);

/// All connections to the database.
pub(crate) struct Connections {
    pool: PgPool,
    /// One for each connection that is lent. So whoever holds one finds a warm connection, or the pool
    /// has one left: nobody waits for a connection that lies here.
    permits: Arc<Semaphore>,
    wait_max: Duration,
    warm: Arc<Warm>,
}

/// Those given back last are last.
#[derive(Default)]
struct Warm(Mutex<Vec<Lying>>);

struct Lying {
    connection: PoolConnection<Postgres>,
    from_pool_at: Instant,
    since: Instant,
}

impl Warm {
    fn lock(&self) -> MutexGuard<'_, Vec<Lying>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The one to lend, and those that go back to the pool.
    fn take(&self) -> (Option<Lying>, Vec<Lying>) {
        let mut lying = self.lock();
        let newest = lying.pop();
        let old = lying.partition_point(|other| other.since.elapsed() >= WARM_FOR);
        let mut back: Vec<Lying> = lying.drain(..old).collect();
        match newest {
            Some(newest) if newest.since.elapsed() < WARM_FOR => (Some(newest), back),
            newest => {
                back.extend(newest);
                (None, back)
            }
        }
    }
}

impl Connections {
    /// Lends the connections of a pool that makes at most `connections_max`, and to nobody else.
    pub(crate) fn new(pool: PgPool, connections_max: u32, wait_max: Duration) -> Self {
        let permits = usize::try_from(connections_max).unwrap_or(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)));
        Self { pool, permits, wait_max, warm: Arc::default() }
    }

    /// A connection on which nothing is under way. [`sqlx::Error::PoolTimedOut`] when none was given
    /// back in time.
    pub(crate) async fn lend(&self) -> Result<Lent, sqlx::Error> {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = tokio::time::timeout(self.wait_max, permit).await;
        let permit = permit.map_err(|_| sqlx::Error::PoolTimedOut)?;
        let permit = permit.map_err(|_| sqlx::Error::PoolClosed)?;
        let (warm, back) = self.warm.take();
        drop(back);
        let was_asked = warm.is_none();
        let (connection, from_pool_at) = match warm {
            Some(warm) => (warm.connection, warm.from_pool_at),
            None => (self.pool.acquire().await?, Instant::now()),
        };
        let warm = Arc::clone(&self.warm);
        Ok(Lent { connection, was_asked, from_pool_at, warm, permit })
    }
}

/// A connection that goes back to the pool of sqlx when it is dropped, to be looked at.
pub(crate) struct Lent {
    connection: PoolConnection<Postgres>,
    /// Whether its server was there when it was lent.
    was_asked: bool,
    from_pool_at: Instant,
    warm: Arc<Warm>,
    permit: OwnedSemaphorePermit,
}

impl Lent {
    /// Whether the first thing that was done with it is to be tried once more, if that may be done twice:
    /// its server has gone while it lay warm. Those that lie there still may be as dead.
    pub(crate) fn had_gone(&self, error: &sqlx::Error) -> bool {
        let code = match error {
            sqlx::Error::Database(error) => error.code(),
            _ => None,
        };
        // The server has ended the connection; a connection failed.
        let class = code.as_deref().and_then(|code| code.get(..2));
        let is_gone = matches!(error, sqlx::Error::Io(_)) || matches!(class, Some("57" | "08"));
        if is_gone {
            drop(std::mem::take(&mut *self.warm.lock()));
        }
        is_gone && !self.was_asked
    }

    /// Gives it back to be lent again as it is. Only when everything that was asked was answered, and
    /// no transaction is open.
    pub(crate) fn give_back(self) {
        let Self { connection, from_pool_at, warm, permit, .. } = self;
        if from_pool_at.elapsed() < LENT_FOR {
            warm.lock().push(Lying { connection, from_pool_at, since: Instant::now() });
        }
        // Only now somebody else may look for one.
        drop(permit);
    }

    /// Closes it: nobody knows what is under way on it.
    pub(crate) fn close(mut self) {
        self.connection.close_on_drop();
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}
