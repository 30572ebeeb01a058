//! Which rows changed from version to version (Delta protocol, "Change Data Files").
//!
//! A table with `delta.enableChangeDataFeed` records its changes: a commit that rewrites files also
//! names files with the rows that went, came and became others. Commits that only bring or only take
//! whole files need none: their rows are the changes.

pub(crate) mod read;
pub(crate) mod told;
pub(crate) mod write;

/// Where the files are, in the table's folder.
pub(crate) const FEED_FOLDER: &str = "_change_data";
/// What happened to a row: `insert`, `delete`, `update_preimage` or `update_postimage`, `Utf8`.
pub(crate) const CHANGE_TYPE: &str = "_change_type";
/// The version that changed the row, `Int64`.
pub(crate) const COMMIT_VERSION: &str = "_commit_version";
/// When that was, in UTC.
pub(crate) const COMMIT_TIMESTAMP: &str = "_commit_timestamp";

pub(crate) const INSERT: &str = "insert";
pub(crate) const DELETE: &str = "delete";
pub(crate) const BEFORE: &str = "update_preimage";
pub(crate) const AFTER: &str = "update_postimage";
