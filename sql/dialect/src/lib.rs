//! Text to [`statement::Statement`]: the SQL that Whimbrel takes.
pub mod statement;
