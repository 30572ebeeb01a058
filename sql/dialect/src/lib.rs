//! Text to [`statement::Statement`]: the SQL that Whimbrel takes.
//!
//! It exists so that everybody who needs to know what a text says asks one parser. It knows words
//! and names only: it never looks anything up, never plans and never does IO.

mod alter;
mod bounded;
mod change;
mod checks;
mod clauses;
mod copy;
mod cursor;
mod define;
pub mod error;
mod files;
mod insert;
mod jobs;
mod like;
mod maintain;
mod parse;
mod print;
mod query;
mod refused;
mod rights;
mod rows;
mod scope;
mod show;
pub mod statement;
mod tokens;
mod users;

pub use error::{SyntaxError, SyntaxErrorKind};
pub use like::{LIKE_PATTERN, like_pattern};
pub use parse::{ScriptStatement, parse, parse_data_type, parse_script};
pub use print::{normal_form, qualify};
pub use users::without_secrets;
