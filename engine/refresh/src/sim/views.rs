//! The tables and transforms of a simulation, and what each of them has to hold.
//!
//! In a query `@name@` stands for something that it reads.

use std::collections::BTreeMap;

use model::job::PinnedInput;

/// Everything but `a`, which changes its definition; `b`, `d`, `j` and `a` are a diamond over `src`.
pub(super) const BEGINNING: [&str; 7] = [
    "CREATE TABLE src (k BIGINT, v BIGINT)",
    "INSERT INTO src VALUES (0, 1), (1, 2)",
    "CREATE TABLE log (k BIGINT, v BIGINT)",
    "INSERT INTO log VALUES (0, 1)",
    "CREATE STREAMING TABLE s SCHEDULE EVERY 45 SECONDS AS SELECT k, v + 1 AS v FROM STREAM log",
    "CREATE MATERIALIZED VIEW t SCHEDULE EVERY 30 SECONDS REFRESH POLICY INCREMENTAL AS \
     SELECT k, sum(v) AS s, count(*) AS n FROM s GROUP BY k",
    "CREATE MATERIALIZED VIEW d SCHEDULE EVERY 20 SECONDS REFRESH POLICY INCREMENTAL AS \
     SELECT k, v FROM src WHERE v % 3 <> 0",
];
/// What reads `a`.
pub(super) const AFTER_A: [&str; 2] = [
    "CREATE MATERIALIZED VIEW b REFRESH POLICY INCREMENTAL AS SELECT count(*) AS n, sum(s) AS s FROM a",
    "CREATE MATERIALIZED VIEW j REFRESH POLICY INCREMENTAL AS \
     SELECT a.k AS k, sum(d.v) AS s, count(*) AS n FROM a JOIN d ON a.k = d.k GROUP BY a.k",
];

/// Names of all transforms.
pub(super) const TRANSFORMS: [&str; 6] = ["a", "b", "d", "j", "s", "t"];

/// The query of a definition of `a`.
pub(super) fn query_of_a(variant: u64) -> String {
    format!("SELECT k, sum(v) + {variant} AS s, count(*) AS n FROM @src@ GROUP BY k")
}

/// What a transform has to hold, where that is not decided by its definition.
pub(super) fn query(name: &str) -> Option<&'static str> {
    Some(match name {
        "b" => "SELECT count(*) AS n, sum(s) AS s FROM @a@",
        "d" => "SELECT k, v FROM @src@ WHERE v % 3 <> 0",
        "j" => {
            "SELECT a.k AS k, sum(d.v) AS s, count(*) AS n FROM @a@ JOIN @d@ ON a.k = d.k GROUP BY a.k"
        }
        "s" => "SELECT k, v + 1 AS v FROM @log@",
        "t" => "SELECT k, sum(v) AS s, count(*) AS n FROM @s@ GROUP BY k",
        _ => return None,
    })
}

/// A query as it is declared.
pub(super) fn declared(query: &str) -> String {
    query.replace('@', "")
}

/// A query over its inputs at the versions that were pinned.
pub(super) fn pinned(query: &str, inputs: &[PinnedInput]) -> String {
    let versions: BTreeMap<&str, i64> =
        inputs.iter().map(|input| (input.name.name(), input.version)).collect();
    let mut text = query.to_owned();
    for (name, version) in versions {
        let at = format!("(SELECT * FROM {name} VERSION AS OF {version}) AS {name}");
        text = text.replace(&format!("@{name}@"), &at);
    }
    assert!(!text.contains('@'), "not every input is pinned: {text}");
    text
}
