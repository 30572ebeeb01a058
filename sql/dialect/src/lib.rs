//! Text to [`statement::Statement`]: the SQL that Whimbrel takes.
//!
//! It exists so that everybody who needs to know what a text says asks one parser. It knows words
//! and names only: it never looks anything up, never plans and never does IO.

mod alter;
mod bounded;
mod cdc;
mod change;
mod checks;
mod clauses;
mod constraints;
mod copy;
mod cursor;
mod define;
pub mod error;
mod files;
mod folders;
mod insert;
mod jobs;
mod like;
mod live;
mod maintain;
mod maps;
mod merged;
mod metadata;
mod parse;
mod print;
mod query;
mod refused;
mod rights;
mod rows;
mod runs;
mod scope;
mod show;
pub mod statement;
mod streams;
mod tokens;
mod transform;
mod users;
mod written;

pub use error::{SyntaxError, SyntaxErrorKind};
pub use like::{LIKE_PATTERN, like_pattern};
pub use metadata::METADATA;
pub use parse::{
    ScriptStatement, WrittenColumn, parse, parse_columns, parse_data_type, parse_flow_query,
    parse_script,
};
pub use print::{inlined, normal_form, qualify};
pub use tokens::with_typed_parameters;
pub use users::without_secrets;
pub use written::written;
