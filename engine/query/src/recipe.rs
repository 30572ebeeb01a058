//! What another server needs to run a planned query: its text, and everything that the plan was made
//! of and that could be another thing by the time it is planned again.
//!
//! It exists so that a result can be fetched from another server than the one that has planned it.
//! It holds no rows, and it opens nothing: whoever plans by it needs the rights that the statement
//! needs, at that moment.

use std::{sync::Arc, time::Duration};

use arrow::{datatypes::Schema, ipc::convert::IpcSchemaEncoder};
use chrono::{DateTime, Utc};
use dialect::statement::TimeTravel;
use model::{id::ObjectId, job::PinnedInput, time::Timestamp};
use sha2::{Digest, Sha256};

use crate::{
    error::QueryError,
    queries::{Planned, Queries},
    resolve::{Pins, at},
    session::Session,
};

/// How much the clocks of a store and of this server may differ.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(60);

/// A planned query, for whoever is to plan it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// The statement.
    pub sql: String,
    /// The schema of names that say none.
    pub schema: String,
    /// What `now()` answers, in nanoseconds since 1970; 0 for a statement that has no plan.
    pub started_at: i64,
    /// Every object that it reads, through views too, with the version of its definition; by id.
    pub objects: Vec<(ObjectId, i64)>,
    /// The version of each Delta table that it would read the newest version of; by id.
    pub tables: Vec<PinnedInput>,
    /// SHA-256 of the schema that was advertised.
    pub columns: [u8; 32],
}

/// Why a planned query has no recipe: only the server that planned it can run it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OnlyHere {
    /// It belongs to a transaction.
    #[error("it belongs to a transaction")]
    Transaction,
    /// Versions do not say what it reads.
    #[error(
        "it reads the newest changes of a table, a quarantine, or a table at a time that has not passed"
    )]
    Moving,
    /// It looks over a table as it is.
    #[error("it looks over the newest version of a table")]
    Validates,
}

/// What the names of a statement stood for when they were resolved.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Every object, with the version of its definition.
    pub(crate) objects: Vec<(ObjectId, i64)>,
    /// The newest version of each Delta table that is read at it.
    pub(crate) tables: Vec<PinnedInput>,
    /// Whether something is read that versions do not tell.
    pub(crate) moves: bool,
}

impl Seen {
    /// The recipe of a statement that was planned with these.
    pub(crate) fn recipe(
        mut self,
        session: &Session,
        sql: String,
        started_at: Option<DateTime<Utc>>,
        schema: &Schema,
    ) -> Result<Recipe, OnlyHere> {
        if session.transaction().is_some() {
            return Err(OnlyHere::Transaction);
        }
        if self.moves {
            return Err(OnlyHere::Moving);
        }
        self.objects.sort_unstable();
        self.tables.sort_unstable_by_key(|table| table.object);
        self.tables.dedup_by_key(|table| table.object);
        Ok(Recipe {
            sql,
            schema: session.schema().to_owned(),
            started_at: started_at.and_then(|time| time.timestamp_nanos_opt()).unwrap_or(0),
            objects: self.objects,
            tables: self.tables,
            columns: digest(schema),
        })
    }
}

impl Recipe {
    /// The versions to read.
    pub(crate) fn pins(&self) -> Pins {
        self.tables.iter().map(|table| (table.object, table.clone())).collect()
    }

    /// What `now()` has to answer.
    pub(crate) fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.started_at)
    }
}

/// Whether versions alone do not say what is read `at` these: the same words could mean other rows
/// later. A time that has not passed yet is such a word, since commits may still come before it.
pub(crate) fn moves<'a>(mut travels: impl Iterator<Item = &'a TimeTravel>, now: Timestamp) -> bool {
    let is_open = |travel: &TimeTravel| match at(travel) {
        Ok(lake::At::Version(_)) => false,
        Ok(lake::At::Timestamp(time)) => time.plus(CLOCKS_DIFFER_MAX) >= now,
        Ok(lake::At::Latest) | Err(_) => true,
    };
    travels.any(|travel| match travel {
        TimeTravel::Changes { from, to: Some(to) } => is_open(from) || is_open(to),
        other => is_open(other),
    })
}

fn digest(schema: &Schema) -> [u8; 32] {
    Sha256::digest(IpcSchemaEncoder::new().schema_to_fb(schema).finished_data()).into()
}

impl Queries {
    /// Plans a query as another server has planned it: with the same versions of its tables and at the
    /// same time, by the rights that the caller has now.
    ///
    /// [`QueryError::Outdated`] when that would not be the same query any more, since a table, a view
    /// or a policy is another one now.
    pub async fn plan_again(
        &self,
        session: &Session,
        recipe: &Recipe,
        parameters: Option<&arrow::record_batch::RecordBatch>,
    ) -> Result<Planned, QueryError> {
        let session = session.clone().with_schema(recipe.schema.clone());
        let session = session.with_recipe(Arc::new(recipe.clone()));
        let prepared = self.prepare_now(&session, &recipe.sql).await?;
        let planned = self.plan(&session, &prepared, parameters).await?;
        if planned.recipe() == Ok(recipe) {
            return Ok(planned);
        }
        let outdated = QueryError::Outdated;
        planned.failed(&outdated);
        Err(outdated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_may_mean_other_rows_later_are_known() {
        let version = || Box::new(TimeTravel::Version(3));
        let time = |text: &str| TimeTravel::Timestamp(text.to_owned());
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        for (travel, expected) in [
            (TimeTravel::Version(3), false),
            (time("2020-01-31"), false),
            (time("2100-01-31"), true),
            (TimeTravel::Changes { from: version(), to: None }, true),
            (TimeTravel::Changes { from: version(), to: Some(version()) }, false),
            (TimeTravel::Changes { from: version(), to: Some(Box::new(time("2100-01-31"))) }, true),
            (TimeTravel::Quarantine, true),
        ] {
            assert_eq!(moves([&travel].into_iter(), now), expected, "{travel:?}");
        }
        assert!(!moves([].into_iter(), now));
    }
}
