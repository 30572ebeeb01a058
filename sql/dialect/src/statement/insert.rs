//! INSERT, as types.

use super::{NameParts, Query};

/// INSERT INTO or INSERT OVERWRITE.
#[derive(Debug, Clone)]
pub struct Insert {
    /// Where to.
    pub target: NameParts,
    /// The column list, when one was given.
    pub columns: Vec<String>,
    /// BY NAME: columns of the source go to the columns with their names.
    pub by_name: bool,
    /// What its PARTITION clause names; nothing without one.
    pub partition: Partition,
    /// The source: VALUES or any query.
    pub source: Query,
    /// What happens to the rows that are there.
    pub old_rows: OldRows,
}

/// The PARTITION clause of INSERT. All of its columns have to be some that the table is partitioned by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// Columns with one value for all rows. The last columns of the source are their values, in this
    /// order, and with BY NAME have their names.
    pub fixed: Vec<String>,
    /// Columns that have no value there: the query gives them.
    pub open: Vec<String>,
}

/// What INSERT does with the rows that are there.
#[derive(Debug, Clone)]
pub enum OldRows {
    /// INTO: they stay.
    Stay,
    /// OVERWRITE: all of them go.
    Go,
    /// INTO … REPLACE WHERE condition: those that fulfil it go, and new rows must fulfil it.
    GoWhere(Box<Replaced>),
}

/// The condition of INSERT INTO … REPLACE WHERE.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// `SELECT condition FROM target WHERE condition`: the first item of the FROM clause is the target.
    pub rows: Query,
    /// The condition as written.
    pub text: String,
}
