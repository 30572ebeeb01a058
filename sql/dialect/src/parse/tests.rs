use super::*;

/// Each form is read, and what it says shows in the debug text of the statement.
fn assert_says(sql: &str, expected: &[&str]) {
    let statement = parse(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let text = format!("{statement:?}");
    for part in expected {
        assert!(text.contains(part), "{sql}\nlacks {part}\nin {text}");
    }
}

#[test]
fn smoke() {
    assert_says("SELECT * FROM t VERSION AS OF 3 JOIN main.u USING (a) -- x\n;", &["t@v3", "main"]);
    assert_says("INSERT INTO t (a, b) VALUES (?, ?)", &["parameters: 2", "overwrite: false"]);
    assert_says("CREATE TABLE t (a INT NOT NULL COMMENT 'x', b STRING) PARTITIONED BY (b)", &["nullable: false", "partitioned_by: [\"b\"]"]);
    assert_says("CREATE VIEW v AS SELECT 1", &["definition: \"CREATE VIEW v AS SELECT 1\""]);
    assert_says("CREATE OR REFRESH MATERIALIZED VIEW v SCHEDULE EVERY 5 MINUTES AS SELECT * FROM t", &["OrRefresh", "seconds: 300"]);
    assert_says("DROP TABLE IF EXISTS t PURGE", &["purge: true"]);
    assert_says("REFRESH MATERIALIZED VIEW a, b FULL WITH UPSTREAM SYNC TIMEOUT 30 SECONDS", &["timeout_ms: Some(30000)", "Upstream"]);
    assert_says("SHOW JOBS WHERE state = 'FAILED' LIMIT 3", &["system"]);
    assert_says("WAIT FOR JOB 0198f2c4-7e3a-7bcd-9e12-0123456789ab TIMEOUT '30s'", &["0198f2c4-7e3a-7bcd-9e12-0123456789ab", "30000"]);
    assert_says("EXPLAIN ANALYZE TABLE t", &["analyze: true", "name: [\"t\"]"]);
}
