//! What a commit changed, told from the files that it added and took away.

use std::collections::BTreeMap;

use datafusion::datasource::physical_plan::parquet::ParquetAccessPlan;
use object_store::path::Path;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use roaring::RoaringBitmap;
use serde_json::Value;

use super::{DELETE, INSERT};
use crate::{
    deletion_vector::DeletionVector, error::LakeError, location::Place,
    parquet_object::ParquetObject, stored_path::decoded,
};

/// A file as a commit leaves it and as it was before.
#[derive(Debug, Default)]
struct Pair<'a> {
    removed: Option<&'a Value>,
    added: Option<&'a Value>,
}

/// The files of a commit that changed rows.
#[derive(Debug)]
pub(super) struct Files<'a>(BTreeMap<String, Pair<'a>>);

/// Rows of a file to which the same happened.
#[derive(Debug)]
pub(super) struct Told<'a> {
    /// The action that describes the file.
    pub(super) file: &'a Value,
    pub(super) happened: &'static str,
    pub(super) rows: Rows,
}

/// Some rows of a file, by their positions.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rows {
    All,
    AllBut(RoaringBitmap),
    Only(RoaringBitmap),
}

impl<'a> Files<'a> {
    /// `None` when the commit says of one file several things that do not go together.
    pub(super) fn new(
        removed: impl Iterator<Item = &'a Value>,
        added: impl Iterator<Item = &'a Value>,
    ) -> Option<Self> {
        let mut files: BTreeMap<String, Pair<'a>> = BTreeMap::new();
        let path = |file: &Value| Some(decoded(file.get("path")?.as_str()?).into_owned());
        for file in removed {
            if files.entry(path(file)?).or_default().removed.replace(file).is_some() {
                return None;
            }
        }
        for file in added {
            if files.entry(path(file)?).or_default().added.replace(file).is_some() {
                return None;
            }
        }
        Some(Self(files))
    }

    /// Whether a file went: its rows may be in others now, and nothing says which.
    pub(super) fn take_away(&self) -> bool {
        self.0.values().any(|pair| pair.removed.is_some() && pair.added.is_none())
    }

    /// What happened to which rows. Reads the marks of files that have some.
    pub(super) async fn told(&self, place: &Place) -> Result<Vec<Told<'a>>, LakeError> {
        let mut told = Vec::new();
        for pair in self.0.values() {
            match (pair.removed, pair.added) {
                (Some(before), Some(after)) => {
                    let (old, new) = (marked(before, place).await?, marked(after, place).await?);
                    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
                    for (happened, rows) in [(DELETE, &new - &old), (INSERT, &old - &new)] {
                        if !rows.is_empty() {
                            told.push(Told { file: after, happened, rows: Rows::Only(rows) });
                        }
                    }
                }
                (Some(file), None) | (None, Some(file)) => {
                    let happened = if pair.removed.is_some() { DELETE } else { INSERT };
                    let rows = marked(file, place).await?.map_or(Rows::All, Rows::AllBut);
                    told.push(Told { file, happened, rows });
                }
                (None, None) => {}
            }
        }
        Ok(told)
    }
}

/// Positions of the rows of a file that an action says are marked; `None` when it says none.
async fn marked(file: &Value, place: &Place) -> Result<Option<RoaringBitmap>, LakeError> {
    if !file.get("deletionVector").is_some_and(Value::is_object) {
        return Ok(None);
    }
    let vector = DeletionVector::of_action(file).ok_or_else(|| LakeError::BrokenLog {
        location: place.text(),
        source: std::sync::Arc::<dyn std::error::Error + Send + Sync>::from(Box::from(
            "a deletion vector is not described as the protocol says",
        )),
    })?;
    vector.read(place).await.map(Some)
}

impl Rows {
    /// What a scan of the file reads; `None` when it reads all. Asks for the footer of the file.
    pub(crate) async fn access(
        &self,
        place: &Place,
        within: &Path,
        size: u64,
    ) -> Result<Option<ParquetAccessPlan>, LakeError> {
        if *self == Self::All {
            return Ok(None);
        }
        let store = std::sync::Arc::clone(&place.store);
        let file = ParquetObject { store, path: within.clone(), size };
        let footer = file.footer().await;
        let footer =
            footer.map_err(|source| LakeError::failed("read a data file", place.text(), source))?;
        let selection = self.selection(footer.file_metadata().num_rows().unsigned_abs());
        ParquetAccessPlan::try_new_from_overall_row_selection(selection, footer.row_groups())
            .map(Some)
            .map_err(|source| LakeError::Query {
                location: place.text(),
                source: std::sync::Arc::new(source),
            })
    }

    fn selection(&self, count: u64) -> RowSelection {
        let (positions, named_are_read) = match self {
            Self::All => (&RoaringBitmap::new(), false),
            Self::AllBut(positions) => (positions, false),
            Self::Only(positions) => (positions, true),
        };
        let selector = |rows: u64, is_named: bool| {
            let rows = usize::try_from(rows).unwrap_or(usize::MAX);
            match is_named == named_are_read {
                true => RowSelector::select(rows),
                false => RowSelector::skip(rows),
            }
        };
        let (mut selectors, mut at) = (Vec::new(), 0_u64);
        for position in positions.iter().map(u64::from).take_while(|position| *position < count) {
            if position > at {
                selectors.push(selector(position - at, false));
            }
            selectors.push(selector(1, true));
            at = position + 1;
        }
        if count > at {
            selectors.push(selector(count - at, false));
        }
        // Neighbours that are alike become one.
        selectors.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_become_runs_of_rows() {
        let positions: RoaringBitmap = [0, 1, 4, 9].into_iter().collect();
        let (read, skip) = (RowSelector::select, RowSelector::skip);
        let only: Vec<RowSelector> = Rows::Only(positions.clone()).selection(6).into();
        assert_eq!(only, [read(2), skip(2), read(1), skip(1)]);
        let others: Vec<RowSelector> = Rows::AllBut(positions).selection(6).into();
        assert_eq!(others, [skip(2), read(2), skip(1), read(1)]);
        let all: Vec<RowSelector> = Rows::All.selection(6).into();
        assert_eq!(all, [read(6)]);
    }
}
