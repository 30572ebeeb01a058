//! Statement texts, which differ between databases in a few words only.

/// One statement in the words of each database.
#[derive(Debug, Clone, Copy)]
pub struct Sql {
    /// For SQLite.
    pub sqlite: &'static str,
    /// For Postgres.
    pub postgres: &'static str,
}

/// Joins literals and these words into an [`Sql`]:
///
/// - `LOCK`: waits for the rows and locks them (SQLite has one writer and needs no lock),
/// - `LOCK_J`: the same, for the rows of the table called `j` only,
/// - `SKIP`, `SKIP_J`: locks the rows that nobody has locked and leaves out the others,
/// - `BYTES`: the text before it compares by its bytes (in SQLite every text does),
/// - `[list n]`: the texts in the JSON array that is parameter n,
/// - `[among n]`: that a column is one of these texts, where its index is to be used: Postgres takes a
///   list as above for a hundred rows, and would rather read the whole table,
/// - `[objects n]`: a table whose column `r` has the JSON objects in that array of texts,
/// - the name of a macro that gives a literal.
macro_rules! sql {
    ($($part:tt)*) => {
        $crate::sql::Sql {
            sqlite: concat!($($crate::sql::word!(sqlite $part)),*),
            postgres: concat!($($crate::sql::word!(postgres $part)),*),
        }
    };
}

macro_rules! word {
    (postgres LOCK) => {
        " FOR NO KEY UPDATE "
    };
    (postgres LOCK_J) => {
        " FOR NO KEY UPDATE OF j "
    };
    (postgres SKIP) => {
        " FOR NO KEY UPDATE SKIP LOCKED "
    };
    (postgres SKIP_J) => {
        " FOR NO KEY UPDATE OF j SKIP LOCKED "
    };
    (postgres BYTES) => {
        " COLLATE \"C\" "
    };
    (sqlite BYTES) => {
        ""
    };
    (sqlite LOCK) => {
        ""
    };
    (sqlite LOCK_J) => {
        ""
    };
    (sqlite SKIP) => {
        ""
    };
    (sqlite SKIP_J) => {
        ""
    };
    (sqlite [list $n:literal]) => {
        concat!("(SELECT value FROM json_each($", $n, "))")
    };
    (postgres [list $n:literal]) => {
        concat!("(SELECT json_array_elements_text($", $n, "::json))")
    };
    (sqlite [among $n:literal]) => {
        concat!("IN (SELECT value FROM json_each($", $n, "))")
    };
    (postgres [among $n:literal]) => {
        concat!("= ANY (ARRAY(SELECT json_array_elements_text($", $n, "::json)))")
    };
    (sqlite [objects $n:literal]) => {
        concat!("(SELECT value AS r FROM json_each($", $n, "))")
    };
    (postgres [objects $n:literal]) => {
        concat!("(SELECT json_array_elements_text($", $n, "::json)::json AS r) AS o")
    };
    ($database:ident $text:literal) => {
        $text
    };
    ($database:ident $part:ident) => {
        $part!()
    };
}

pub(crate) use {sql, word};
