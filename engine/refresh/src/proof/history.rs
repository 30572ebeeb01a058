//! What happens to the tables between two refreshes.

use super::query::TABLES;
use crate::sim::random::Random;

// Two tables are partitioned by it, and a log writes an empty text much as it does NULL.
const TEXTS: [&str; 5] = ["NULL", "''", "'a'", "'b'", "'c'"];
const FLOATS: [&str; 6] = ["NULL", "'NaN'::double", "0.25", "1.5", "-2.0", "0.0"];
const DECIMALS: [&str; 5] = ["NULL", "0.10", "2.50", "-1.00", "7.77"];
const BOOLEANS: [&str; 3] = ["NULL", "true", "false"];
const DATES: [&str; 4] = ["NULL", "DATE '2026-01-01'", "DATE '2026-01-02'", "DATE '2026-01-03'"];

fn pick(random: &mut Random, of: &[&'static str]) -> &'static str {
    of[usize::try_from(random.below(0..of.len() as u64)).unwrap()]
}

fn int(random: &mut Random, most: u64) -> String {
    match random.one_in(6) {
        true => "NULL".to_owned(),
        false => random.below(0..most).to_string(),
    }
}

fn row(random: &mut Random) -> String {
    format!(
        "({}, {}, {}, {}, {}, {}, {})",
        int(random, 6),
        pick(random, &TEXTS),
        int(random, 9),
        pick(random, &FLOATS),
        pick(random, &DECIMALS),
        pick(random, &BOOLEANS),
        pick(random, &DATES),
    )
}

fn rows(random: &mut Random, most: u64) -> String {
    let count = 1 + random.below(0..most);
    (0..count).map(|_| row(random)).collect::<Vec<_>>().join(", ")
}

/// The tables and their first rows.
pub(super) fn beginning(random: &mut Random) -> Vec<String> {
    let mut statements = Vec::new();
    for (n, table) in TABLES.into_iter().enumerate() {
        let columns =
            "k BIGINT, g VARCHAR, v BIGINT, f DOUBLE, d DECIMAL(10, 2), b BOOLEAN, a DATE";
        // One is partitioned, one records its changes, one does both.
        let partitioned = if n % 2 == 1 { " PARTITIONED BY (g)" } else { "" };
        let recorded = match n {
            2 | 3 => " TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')",
            _ => "",
        };
        statements.push(format!("CREATE TABLE {table} ({columns}){partitioned}{recorded}"));
        if !random.one_in(10) {
            statements.push(format!("INSERT INTO {table} VALUES {}", rows(random, 12)));
        }
    }
    statements
}

fn condition(random: &mut Random) -> String {
    let n = random.below(0..6);
    match random.below(0..6) {
        0 => "g IS NULL".to_owned(),
        1 => format!("v % 3 = {}", n % 3),
        2 => "k IS NULL".to_owned(),
        3 => format!("f > {n}"),
        _ => format!("k = {n}"),
    }
}

/// One statement.
pub(super) fn statement(random: &mut Random) -> String {
    let table = pick(random, &TABLES);
    match random.below(0..20) {
        0..=6 => format!("INSERT INTO {table} VALUES {}", rows(random, 4)),
        7 | 8 => format!("DELETE FROM {table} WHERE {}", condition(random)),
        9..=12 => {
            let set = match random.below(0..6) {
                0 => "v = v + 1".to_owned(),
                1 => "k = (k + 1) % 6".to_owned(),
                2 => format!("g = {}", pick(random, &TEXTS)),
                3 => format!("f = {}, b = NOT b", pick(random, &FLOATS)),
                4 => format!("k = {}, d = {}", int(random, 6), pick(random, &DECIMALS)),
                _ => format!("v = {}, a = {}", int(random, 9), pick(random, &DATES)),
            };
            format!("UPDATE {table} SET {set} WHERE {}", condition(random))
        }
        13 => {
            let (k, v) = (random.below(0..6), random.below(0..9));
            format!(
                "MERGE INTO {table} USING (VALUES (CAST({k} AS BIGINT), CAST({v} AS BIGINT))) AS s(k, v) \
                 ON {table}.k = s.k WHEN MATCHED AND {table}.v > 5 THEN DELETE \
                 WHEN MATCHED THEN UPDATE SET v = s.v \
                 WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)"
            )
        }
        14..=16 => format!("OPTIMIZE {table} ASYNC"),
        17 => format!("INSERT OVERWRITE {table} VALUES {}", rows(random, 8)),
        18 => format!("RESTORE TABLE {table} TO VERSION AS OF 1"),
        _ => format!("INSERT INTO {table} SELECT * FROM {} LIMIT 2", pick(random, &TABLES)),
    }
}
