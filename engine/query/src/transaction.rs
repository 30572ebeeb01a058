//! Several statements as one: they read each table at one version, and what they write becomes one
//! commit, or nothing.
//!
//! Delta commits one table at a time, so one table is what a transaction can write, and its files
//! are staged until the commit. What that cannot keep honest is refused: a second table, a change
//! on top of what is not committed, and reading it. What takes effect by itself, such as CREATE
//! TABLE, runs only while nothing waits, and ends the transaction's view of the tables.

use std::sync::Arc;

use futures::FutureExt;
use lake::{Snapshot, Staged};
use model::{job::PinnedInput, name::ObjectName};
use parking_lot::Mutex;

use crate::{
    command,
    error::QueryError,
    queries::{CommandResult, Queries},
    resolve::{Pins, Resolved, target_name},
    session::Session,
};

/// What the statements of one transaction share. Dropping it rolls it back: its files are deleted
/// in the background.
#[derive(Debug, Default)]
pub struct Transaction {
    state: Mutex<State>,
    reads_newest: bool,
}

#[derive(Debug, Default)]
struct State {
    pins: Pins,
    /// A vacuum leaves the files of versions that are held alone.
    held: Vec<Arc<Snapshot>>,
    written: Option<Written>,
    ended: bool,
}

#[derive(Debug)]
struct Written {
    table: ObjectName,
    kind: Write,
    staged: Vec<Staged>,
}

/// What a statement does to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// Rows come that do not depend on those that are there.
    Append,
    /// Anything else.
    Change,
}

impl Transaction {
    /// A transaction that has seen and written nothing.
    #[must_use]
    pub fn begin() -> Arc<Self> {
        Arc::default()
    }

    /// One of which each statement sees the newest versions, and not those of the statements before.
    #[must_use]
    pub fn begin_reading_the_newest() -> Arc<Self> {
        Arc::new(Self { reads_newest: true, ..Self::default() })
    }

    /// How many writes wait for the commit.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.lock().written.as_ref().map_or(0, |written| written.staged.len())
    }

    /// Takes back all writes but the first `kept`; their files are deleted in the background.
    pub fn take_back(&self, kept: usize) {
        let mut state = self.state.lock();
        match &mut state.written {
            Some(written) if kept > 0 => written.staged.truncate(kept),
            _ => state.written = None,
        }
    }

    /// The versions that were seen.
    pub(crate) fn pins(&self) -> Result<Pins, QueryError> {
        let state = self.state.lock();
        state.goes_on()?;
        Ok(state.pins.clone())
    }

    /// Remembers the versions that a statement sees for those that come after it. No, when another
    /// statement has seen another version meanwhile: then the tables have to be opened again.
    pub(crate) fn sees(&self, resolved: &Resolved) -> Result<bool, QueryError> {
        let mut state = self.state.lock();
        state.goes_on()?;
        if let Some(Written { table, .. }) = &state.written
            && resolved.reads(table, &target_name(table))
        {
            return Err(not_committed(
                table,
                "it cannot be read before the transaction is committed",
            ));
        }
        if self.reads_newest {
            return Ok(true);
        }
        let other = |seen: &(PinnedInput, Arc<Snapshot>)| {
            state.pins.get(&seen.0.object).is_some_and(|pin| pin.version != seen.0.version)
        };
        if resolved.newest.iter().any(other) {
            return Ok(false);
        }
        for (pin, snapshot) in &resolved.newest {
            if state.pins.insert(pin.object, pin.clone()).is_none() {
                state.held.push(Arc::clone(snapshot));
            }
        }
        Ok(true)
    }

    /// Refuses a write that could not become part of the transaction.
    pub(crate) fn may_write(&self, table: &ObjectName, kind: Write) -> Result<(), QueryError> {
        let state = self.state.lock();
        state.goes_on()?;
        let Some(written) = &state.written else { return Ok(()) };
        if written.table != *table {
            return Err(not_committed(
                &written.table,
                &format!("a transaction writes one table, and '{table}' would be a second one"),
            ));
        }
        if (written.kind, kind) != (Write::Append, Write::Append) {
            return Err(not_committed(
                table,
                "a transaction holds one UPDATE, DELETE, MERGE or INSERT OVERWRITE of a table, \
                 or any number of plain INSERTs",
            ));
        }
        Ok(())
    }

    /// Keeps staged rows until the end of the transaction.
    pub(crate) fn keep(
        &self,
        table: &ObjectName,
        kind: Write,
        staged: Staged,
    ) -> Result<(), QueryError> {
        // Others may have written meanwhile.
        self.may_write(table, kind)?;
        let mut state = self.state.lock();
        state.goes_on()?;
        match &mut state.written {
            Some(written) => written.staged.push(staged),
            None => {
                let written = Written { table: table.clone(), kind, staged: vec![staged] };
                state.written = Some(written);
            }
        }
        Ok(())
    }

    /// Refuses what takes effect by itself while something waits for the commit.
    pub(crate) fn may_do_alone(&self) -> Result<(), QueryError> {
        let state = self.state.lock();
        state.goes_on()?;
        match &state.written {
            None => Ok(()),
            Some(written) => Err(not_committed(
                &written.table,
                "this statement would take effect before it, by itself",
            )),
        }
    }

    /// After something took effect by itself the tables are looked at anew.
    pub(crate) fn sees_anew(&self) {
        let mut state = self.state.lock();
        state.pins.clear();
        state.held.clear();
    }

    fn end(&self) -> Result<Option<Written>, QueryError> {
        let mut state = self.state.lock();
        state.goes_on()?;
        state.ended = true;
        state.pins.clear();
        state.held.clear();
        Ok(state.written.take())
    }
}

impl State {
    fn goes_on(&self) -> Result<(), QueryError> {
        match self.ended {
            false => Ok(()),
            true => Err(QueryError::Transaction {
                problem: "the transaction has ended".to_owned(),
                hint: "begin another one, and prepare the statement in it",
            }),
        }
    }
}

fn not_committed(table: &ObjectName, problem: &str) -> QueryError {
    QueryError::Transaction {
        problem: format!("'{table}' was written in this transaction: {problem}"),
        hint: "commit first, or turn autocommit on",
    }
}

impl Queries {
    /// Makes what a transaction wrote visible, in one commit; the number of rows of plain INSERTs.
    /// The transaction is over then, also when this returns an error, and nothing of it takes
    /// effect after one, except where a lost answer leaves it open (see [`lake::LakeError`]).
    ///
    /// Dropping the future cancels what has not begun to commit; a commit that began is finished.
    pub async fn commit(
        &self,
        session: &Session,
        transaction: &Transaction,
    ) -> Result<CommandResult, QueryError> {
        let written = transaction.end()?;
        let (queries, caller) = (self.clone(), session.clone());
        let work = async move {
            let Some(Written { table, staged, .. }) = written else {
                return Ok(CommandResult::done());
            };
            let lake = Arc::clone(&queries.inner.options.lake);
            let committed =
                command::finished(&queries, async move { Ok(lake.commit_as_one(staged).await?) });
            let committed = committed.await?;
            queries.care_for(&caller, &table, &committed.snapshot);
            Ok(CommandResult::affected(committed.rows))
        };
        self.effect(session, "COMMIT", false, work.boxed()).await
    }

    /// Ends a transaction without an effect; its files are deleted.
    pub async fn rollback(
        &self,
        session: &Session,
        transaction: &Transaction,
    ) -> Result<CommandResult, QueryError> {
        let written = transaction.end()?;
        let lake = Arc::clone(&self.inner.options.lake);
        let work = async move {
            for staged in written.into_iter().flat_map(|written| written.staged) {
                lake.discard(staged).await;
            }
            Ok(CommandResult::done())
        };
        self.effect(session, "ROLLBACK", false, work.boxed()).await
    }
}
