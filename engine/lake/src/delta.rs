//! What happened to the rows of a table between two of its versions.
//!
//! It exists so that whoever computed something from one version can bring it to another one by
//! looking at what came and what went, and can tell beforehand what that costs. It never says less
//! than what happened: where it cannot tell, it says so, and the caller reads the table in full.

mod net;
mod told;

use std::sync::Arc;

use datafusion::catalog::TableProvider;

use crate::{
    error::LakeError,
    feed::{AFTER, BEFORE, DELETE, INSERT},
    lake::Lake,
    snapshot::{At, Snapshot},
    stored_rows::{Folder, StoredFile, StoredRows},
};

/// A commit that did something else to rows than to bring new ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherCommit {
    /// The version that it made.
    pub version: i64,
    /// What it did, in the words of the Delta protocol: `DELETE`, `MERGE` …; empty when its writer did
    /// not say.
    pub operation: String,
    /// Rows that it changed or took away, where its writer counted them.
    pub rows: Option<u64>,
}

/// How many rows and bytes there are to read. Estimates: nobody may rely on them for a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amount {
    /// Files.
    pub files: usize,
    /// Bytes of the files, or of the part of their rows that is meant.
    pub bytes: u64,
    /// Rows; `None` where the log does not tell.
    pub rows: Option<u64>,
}

impl Amount {
    fn of<'a>(files: impl Iterator<Item = &'a StoredFile>) -> Self {
        let nothing = Self { files: 0, bytes: 0, rows: Some(0) };
        files.fold(nothing, |sum, file| Self {
            files: sum.files + 1,
            bytes: sum.bytes + file.bytes(),
            rows: sum.rows.zip(file.rows()).map(|(sum, rows)| sum + rows),
        })
    }
}

/// What the commits of a table did to its rows, from after one version up to another.
#[derive(Debug, Clone)]
pub struct Delta {
    from: Arc<Snapshot>,
    to: Arc<Snapshot>,
    /// Whether every commit that changed rows only brought new ones. Also where no commit changed
    /// any: files that were put together hold the rows that they held.
    pub appended_only: bool,
    /// Whether no commit changed any row.
    pub unchanged: bool,
    /// The first commit that did something else.
    pub first_other: Option<OtherCommit>,
    others: (usize, Option<u64>),
    /// Whether the columns are the same, in names, types and order.
    pub same_columns: bool,
    /// Whether it is the same table: not when it was dropped and created anew.
    pub same_table: bool,
    change: Result<Change, LakeError>,
    appended: Result<Vec<StoredFile>, LakeError>,
    folder: Folder,
}

/// The files with the rows that came and went.
#[derive(Debug, Clone, Default)]
struct Change {
    came: Vec<StoredFile>,
    went: Vec<StoredFile>,
    /// Files that say of each row whether it came or went.
    recorded: Vec<StoredFile>,
}

impl Change {
    fn bytes(&self) -> u64 {
        let recorded = Amount::of(self.recorded.iter()).bytes;
        Amount::of(self.came.iter().chain(&self.went)).bytes + recorded
    }
}

impl Lake {
    /// What happened to the rows of a table in the versions after `from`, up to `to`.
    ///
    /// Reads their commits and, of files that are no longer part of the table, whether they are
    /// still there; no rows. An error only when a version or the log between them cannot be read;
    /// what cannot be told of the rows is an error of [`Delta::came`] and its sisters.
    pub async fn delta(&self, location: &str, from: i64, to: i64) -> Result<Delta, LakeError> {
        let place = self.place(location)?;
        let not_told = |why: &str| LakeError::NotTold {
            location: place.text(),
            from,
            to,
            why: why.to_owned(),
        };
        if from > to {
            return Err(not_told("the first one is the later one"));
        }
        let new = self.snapshot(location, At::Version(to)).await?;
        let old = match from == to {
            true => Arc::clone(&new),
            false => self.snapshot(location, At::Version(from)).await?,
        };
        let mut delta = Delta {
            appended_only: true,
            unchanged: true,
            first_other: None,
            others: (0, Some(0)),
            same_columns: told::same_columns(&old.schema(), &new.schema()),
            same_table: old.table_id() == new.table_id(),
            change: Ok(Change::default()),
            appended: Ok(Vec::new()),
            folder: Folder::new(self, &place, new.provider()?.schema(), new.partitioned_by()),
            from: old,
            to: new,
        };
        let told = told::read(&place, &delta.from, &delta.to).await?;
        delta.unchanged = told.commits.is_empty();
        let others: Vec<_> = told.commits.iter().filter_map(told::Commit::other).collect();
        delta.others = (others.len(), others.iter().map(|other| other.rows).sum());
        delta.first_other = others.into_iter().next();
        delta.appended_only = delta.same_table && delta.first_other.is_none();
        let unfit = match told.unfit {
            _ if !delta.same_table => Some("it was dropped and created anew".to_owned()),
            unfit => unfit,
        };
        if told::is_mapped(&delta.from) || told::is_mapped(&delta.to) {
            let mapped = LakeError::Unsupported {
                location: place.text(),
                feature: "columnMapping".to_owned(),
                access: "read the changes of",
            };
            (delta.change, delta.appended) = (Err(mapped.clone()), Err(mapped));
        } else if let Some(why) = unfit {
            let unfit = not_told(&why);
            (delta.change, delta.appended) = (Err(unfit.clone()), Err(unfit));
        } else if !told.commits.is_empty() {
            let net = net::Net::new(&delta.folder, &delta.from, &delta.to)?;
            delta.appended = net.appended(&told.commits).await;
            delta.change = net.change(&told.commits).await;
        }
        Ok(delta)
    }
}

impl Delta {
    /// The version that it begins after.
    #[must_use]
    pub fn from(&self) -> &Arc<Snapshot> {
        &self.from
    }

    /// The version that it leads to.
    #[must_use]
    pub fn to(&self) -> &Arc<Snapshot> {
        &self.to
    }

    /// How many commits did something else than to bring rows, and how many rows they changed or took
    /// away where all of their writers counted them.
    #[must_use]
    pub fn others(&self) -> (usize, Option<u64>) {
        self.others
    }

    /// Rows that are there now and were not, with the columns that the provider of the version
    /// [`Delta::to`] has. `to = from + came - went` as multisets: a row that was only copied from one
    /// file to another may be in both.
    ///
    /// [`LakeError::NotTold`] where columns, partitioning or the table are others,
    /// [`LakeError::FileGone`] where a file was vacuumed, [`LakeError::Unsupported`] for tables that
    /// only a whole version can be read of.
    pub fn came(&self) -> Result<Arc<dyn TableProvider>, LakeError> {
        let change = self.change.as_ref().map_err(Clone::clone)?;
        self.provider(change.came.clone(), change.recorded.clone(), &[INSERT, AFTER])
    }

    /// Rows that were there and are not now. See [`Delta::came`].
    pub fn went(&self) -> Result<Arc<dyn TableProvider>, LakeError> {
        let change = self.change.as_ref().map_err(Clone::clone)?;
        self.provider(change.went.clone(), change.recorded.clone(), &[DELETE, BEFORE])
    }

    /// The rows that commits brought that did nothing else, each once, whatever became of them later:
    /// read from the files that brought them. Rows of other commits are not among them, see
    /// [`Delta::first_other`]. Errors as those of [`Delta::came`].
    pub fn appended(&self) -> Result<Arc<dyn TableProvider>, LakeError> {
        let files = self.appended.as_ref().map_err(Clone::clone)?;
        self.provider(files.clone(), Vec::new(), &[])
    }

    /// What [`Delta::came`] has to read, copied rows included; nothing where it is an error.
    #[must_use]
    pub fn amount_came(&self) -> Amount {
        self.amount(|change| &change.came)
    }

    /// What [`Delta::went`] has to read.
    #[must_use]
    pub fn amount_went(&self) -> Amount {
        self.amount(|change| &change.went)
    }

    /// What [`Delta::appended`] has to read.
    #[must_use]
    pub fn amount_appended(&self) -> Amount {
        self.appended.as_ref().map_or(Amount::default(), |files| Amount::of(files.iter()))
    }

    fn amount(&self, side: impl Fn(&Change) -> &Vec<StoredFile>) -> Amount {
        let Ok(change) = &self.change else { return Amount::default() };
        Amount::of(side(change).iter().chain(&change.recorded))
    }

    fn provider(
        &self,
        files: Vec<StoredFile>,
        recorded: Vec<StoredFile>,
        happened: &'static [&'static str],
    ) -> Result<Arc<dyn TableProvider>, LakeError> {
        let held = vec![Arc::clone(&self.from), Arc::clone(&self.to)];
        let rows = StoredRows::new(self.folder.clone(), files)
            .and_recorded(recorded, happened)
            .holding(held);
        Ok(Arc::new(rows))
    }
}
