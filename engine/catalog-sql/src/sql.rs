//! Statement texts, which differ between databases in a few words only.

/// One statement in the words of each database; in SQLite it may be several, with the same parameters.
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
/// - `SKIP_J`, `SKIP_J_C` (also of `c`): locks the rows that nobody has locked and leaves out the others,
/// - `BYTES`: the text before it compares by its bytes (in SQLite every text does),
/// - `[list n]`: the texts in the JSON array that is parameter n,
/// - `[among n]`: that a column is one of these texts, where its index is to be used: Postgres takes a
///   list as above for a hundred rows, and would rather read the whole table,
/// - `[objects n]`: a table whose column `r` has the JSON objects in that array of texts,
/// - `FIRST`, `THEN`, `LAST`: what follows each is a statement, and all of them are one, so that they
///   take one way to the database. None may depend on what another one changes: Postgres shows each
///   the state before all of them. The rows are those of the last,
/// - `HOLDING`, in the place of `FIRST`: locks the job of the lease that is the parameters 1 to 3, if it
///   is still good, as `HELD` for the statements that follow: a table of one row or none, with
///   `held_job`, `held_run`, `held_object`, `held_state`, `held_stop` and `held_parent` as they were,
/// - `NEWEST_REFRESH`, `LAST_REFRESH`: what the last refresh of `jobs.object_id` has left, of its newest
///   runs or of all: a value that [`crate::jobs::last::read`] takes,
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
    (postgres SKIP_J_C) => {
        " FOR NO KEY UPDATE OF j, c SKIP LOCKED "
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
    (sqlite SKIP_J_C) => {
        ""
    };
    (sqlite SKIP_J) => {
        ""
    };
    (postgres FIRST) => {
        "WITH done_first AS ("
    };
    (postgres THEN) => {
        "), done_then AS ("
    };
    (postgres LAST) => {
        ") "
    };
    (postgres HOLDING) => {
        concat!(
            "WITH held AS MATERIALIZED (",
            $crate::sql::held!(),
            " FOR NO KEY UPDATE), done_first AS ("
        )
    };
    (postgres HELD) => {
        "held"
    };
    (sqlite FIRST) => {
        ""
    };
    (sqlite THEN) => {
        "; "
    };
    (sqlite LAST) => {
        "; "
    };
    (sqlite HOLDING) => {
        ""
    };
    (sqlite HELD) => {
        concat!("(", $crate::sql::held!(), ") AS held")
    };
    (sqlite NEWEST_REFRESH) => {
        $crate::jobs::last::newest_refresh!("json_object", "json_group_array")
    };
    (postgres NEWEST_REFRESH) => {
        $crate::jobs::last::newest_refresh!("json_build_object", "json_agg")
    };
    (sqlite LAST_REFRESH) => {
        $crate::jobs::last::last_refresh!("json_object", "json_group_array", "0")
    };
    (postgres LAST_REFRESH) => {
        $crate::jobs::last::last_refresh!("json_build_object", "json_agg", "0")
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

/// The job of a lease that is good: parameters 1 to 3 are its run, attempt and worker. One that ran out
/// is good as long as nobody else has taken the run.
macro_rules! held {
    () => {
        "SELECT l.id AS held_job, l.run_id AS held_run, l.object_id AS held_object, \
         l.state AS held_state, l.stop_asked AS held_stop, l.parent_id AS held_parent FROM jobs l \
         WHERE l.run_id = $1 AND l.attempt = $2 AND l.worker_id = $3 \
         AND l.state IN ('PLANNING', 'RUNNING', 'COMMITTING')"
    };
}

pub(crate) use {held, sql, word};
