"""Tables that Whimbrel writes and Spark reads, then changes."""

import shutil

from proof import Proof

ALL_TYPES = """(id BIGINT NOT NULL, ti TINYINT, si SMALLINT, i INT, f REAL, d DOUBLE, m DECIMAL(12, 2), big DECIMAL(38, 10),
 s VARCHAR, x BYTEA, b BOOLEAN, day DATE, ts TIMESTAMP, utc TIMESTAMP WITH TIME ZONE,
 tags VARCHAR[], numbers ARRAY<BIGINT>, place STRUCT<name VARCHAR, at STRUCT<lat DOUBLE, lon DOUBLE>>)"""
ROWS = """INSERT INTO {t} VALUES
 (1, 1, 2, 3, 1.5, 2.25, 12.34, 1.0000000001, 'ä🐦', X'00ff', true, '2024-02-29', '2024-02-29 12:30:00.123456',
  '2024-02-29T12:30:00+02:00', ['a', NULL, ''], [1, 2], named_struct('name', 'x', 'at', named_struct('lat', 1.5, 'lon', -2.5))),
 (2, -128, -32768, -2147483648, 'NaN', '-Infinity', -9999999999.99, -9999999999999999999999999999.9999999999, '', X'', false,
  '0001-01-01', '1969-12-31 23:59:59.999999', '1969-12-31T23:59:59.999999Z', [], [NULL],
  named_struct('name', NULL, 'at', NULL)),
 (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
 (9223372036854775807, 127, 32767, 2147483647, 0, 1e308, 9999999999.99, 0, 'it''s "q" \\ ' || chr(10), X'0a', NULL,
  '9999-12-31', '2100-01-01', '2100-01-01T00:00:00Z', ['x'], [], named_struct('name', '', 'at', named_struct('lat', NULL, 'lon', 0)))"""
ODD = ["a/b=c%", " ", "ä 🐦", "it''s", "x:y", ".", "#?&+", "100%25", "__HIVE_DEFAULT_PARTITION__", "a\\b", "{}[]^", "~|<>*", "null"]


def table_of(proof: Proof, columns: str, more: str = "") -> None:
    proof.ours(f"CREATE TABLE {{t}} {columns} {more} LOCATION '{proof.name}'")


def case_every_type(proof: Proof) -> None:
    """Values of every type, extremes, NULLs and nested ones."""
    table_of(proof, ALL_TYPES)
    proof.ours(ROWS)
    proof.equal()
    proof.ours("UPDATE {t} SET s = 'new', m = m + 1 WHERE id = 1", "DELETE FROM {t} WHERE id = 3")
    proof.equal("after UPDATE and DELETE")
    for condition in ("d > 0", "m < 0", "s = 'new'", "day < DATE '1900-01-01'", "ts > TIMESTAMP '2050-01-01 00:00:00'", "b", "s IS NULL"):
        proof.equal(f"WHERE {condition}", f"SELECT id FROM {{t}} WHERE {condition}", theirs_condition(condition))


def theirs_condition(condition: str) -> str:
    return f"SELECT id FROM {{t}} WHERE {condition.replace('TIMESTAMP', 'TIMESTAMP_NTZ')}"


def case_odd_partitions(proof: Proof) -> None:
    """Partition values with characters that folders and URLs do not like, and NULLs."""
    table_of(proof, "(id BIGINT, s VARCHAR, k INT)", "PARTITIONED BY (s, k)")
    values = ", ".join(f"({n}, '{text}', {n % 3})" for n, text in enumerate(ODD))
    proof.ours(f"INSERT INTO {{t}} VALUES {values}, (100, NULL, 1), (101, 'x', NULL), (102, NULL, NULL)")
    proof.equal()
    for text in ODD:
        theirs = text.replace("\\", "\\\\").replace("''", "\\'")
        proof.equal(f"where s is {text}", f"SELECT id FROM {{t}} WHERE s = '{text}'", f"SELECT id FROM {{t}} WHERE s = '{theirs}'")
    proof.ours("UPDATE {t} SET s = s || '/' || s WHERE k = 1", "UPDATE {t} SET s = NULL WHERE id = 0", "DELETE FROM {t} WHERE s IS NULL AND k = 1")
    proof.equal("after rows moved")
    proof.theirs("UPDATE {t} SET s = concat(s, '%41') WHERE k = 2", "INSERT INTO {t} VALUES (200, 'a/b=c%', 7)")
    proof.equal("after Spark moved rows")


def case_typed_partitions(proof: Proof) -> None:
    """Partitions by dates, times, decimals and booleans."""
    table_of(proof, "(id BIGINT, day DATE, ts TIMESTAMP, m DECIMAL(10, 2), b BOOLEAN)", "PARTITIONED BY (day, ts, m, b)")
    proof.ours(
        """INSERT INTO {t} VALUES (1, '2024-02-29', '2024-02-29 12:30:00.5', 1.50, true), (2, NULL, NULL, NULL, NULL),
        (3, '1969-12-31', '1969-12-31 23:59:59.999999', -0.01, false), (4, '2024-01-01', '2024-01-01', 100, true)"""
    )
    proof.equal()
    proof.ours("UPDATE {t} SET m = m * 2, day = day + INTERVAL '1' DAY WHERE b")
    proof.equal("after UPDATE")
    proof.equal("by decimal", "SELECT id FROM {t} WHERE m = 3.00")
    proof.equal("by day", "SELECT id FROM {t} WHERE day > DATE '2024-01-01'")


def case_doubles_in_partitions(proof: Proof) -> None:
    """Partitions by floats, integers of all widths and bytes."""
    table_of(proof, "(id BIGINT, d DOUBLE, f REAL, ti TINYINT, l BIGINT)", "PARTITIONED BY (d, f, ti, l)")
    proof.ours("INSERT INTO {t} VALUES (1, 1.5, 0.1, 1, 9223372036854775807), (2, 1e20, 1e-30, -128, -1), (3, NULL, NULL, NULL, NULL), (4, 0, 3, 5, 0)")
    proof.equal()


def case_changes(proof: Proof) -> None:
    """UPDATE, DELETE and MERGE in turns, every version of the table."""
    table_of(proof, "(id BIGINT NOT NULL, n INT, s VARCHAR, p VARCHAR)", "PARTITIONED BY (p) TBLPROPERTIES ('delta.checkpointInterval' = '5')")
    proof.ours("INSERT INTO {t} SELECT value, value % 7, 'v' || value, 'p' || (value % 4) FROM generate_series(1, 200)")
    for n in range(8):
        proof.ours(
            f"UPDATE {{t}} SET n = n + 1, s = s || '{n}' WHERE id % 8 = {n}",
            f"DELETE FROM {{t}} WHERE id % 50 = {n}",
            f"""MERGE INTO {{t}} USING (SELECT value AS id FROM generate_series({190 + n * 5}, {200 + n * 5})) AS x ON {{t}}.id = x.id
            WHEN MATCHED AND x.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET p = 'moved'
            WHEN NOT MATCHED THEN INSERT (id, n, p) VALUES (x.id, {n}, NULL)
            WHEN NOT MATCHED BY SOURCE AND {{t}}.n > 12 THEN DELETE""",
        )
    proof.equal()
    for version in (1, 2, 3, 10, 20, 25):
        proof.at_version(version)
    proof.theirs("UPDATE {t} SET n = -1 WHERE id < 20", "DELETE FROM {t} WHERE p = 'p1'")
    proof.equal("after Spark's changes")
    proof.ours("OPTIMIZE {t}", "UPDATE {t} SET n = 5 WHERE n = -1")
    proof.equal("after OPTIMIZE and UPDATE")
    proof.ours("RESTORE {t} TO VERSION AS OF 5")
    proof.equal("after RESTORE")


def case_checkpoints(proof: Proof) -> None:
    """A hundred commits with a checkpoint every 20, the newest of which has to be enough."""
    table_of(proof, "(id BIGINT, s VARCHAR, m DECIMAL(12, 2), ts TIMESTAMP, p INT)", "PARTITIONED BY (p) TBLPROPERTIES ('delta.checkpointInterval' = '20')")
    for n in range(100):
        proof.ours(f"INSERT INTO {{t}} VALUES ({n}, 'v{n}', {n}.25, '2024-01-01 00:00:{n % 60:02}', {n % 3})")
        if n % 10 == 5:
            proof.ours(f"UPDATE {{t}} SET s = 'changed' WHERE id = {n - 2}", f"DELETE FROM {{t}} WHERE id = {n - 3}")
    proof.equal()
    proof.at_version(63)
    log = proof.location / "_delta_log"
    checkpoints = sorted(log.glob("*.checkpoint.parquet"))
    print(f"  checkpoints: {[int(path.name[:20]) for path in checkpoints]}")
    assert checkpoints, "there is no checkpoint"
    last = int(checkpoints[-1].name[:20])
    copy = proof.location.with_name(f"{proof.name}_short")
    shutil.copytree(proof.location, copy)
    for commit in (copy / "_delta_log").glob("*.json"):
        if commit.name[:20].isdigit() and int(commit.name[:20]) < last:
            commit.unlink()
    proof.equal("from the checkpoint alone", theirs=f"SELECT * FROM delta.`{copy}`")
    for condition in ("id = 50", "s = 'changed'", "m > 90", "p = 1 AND id > 60", "ts = TIMESTAMP '2024-01-01 00:00:07'"):
        theirs = f"SELECT id FROM delta.`{copy}` WHERE {condition.replace('TIMESTAMP', 'TIMESTAMP_NTZ')}"
        proof.equal(f"from the checkpoint, {condition}", f"SELECT id FROM {{t}} WHERE {condition}", theirs)


def case_generated_columns(proof: Proof) -> None:
    """Columns that are computed from others, also one that the table is partitioned by: both engines compute them."""
    table_of(
        proof,
        """(id BIGINT NOT NULL, n INT, at TIMESTAMP WITH TIME ZONE,
        day DATE GENERATED ALWAYS AS (CAST(at AS DATE)), twice BIGINT GENERATED ALWAYS AS (n * 2))""",
        "PARTITIONED BY (day)",
    )
    proof.ours("INSERT INTO {t} (id, n, at) SELECT value, value % 7, to_timestamp_seconds(1793534400 + value * 25200) FROM generate_series(1, 50)")
    proof.equal()
    proof.theirs(
        "INSERT INTO {t} (id, n, at) VALUES (1000, 5, TIMESTAMP '2026-10-31 23:59:59Z')",
        "UPDATE {t} SET n = n + 1, at = at + INTERVAL '1' DAY WHERE id % 5 = 0",
    )
    proof.equal("after Spark wrote")
    proof.ours(
        "UPDATE {t} SET n = 100 WHERE id = 1000",
        """MERGE INTO {t} USING (VALUES (1, 77), (2000, 8)) AS x(id, n) ON {t}.id = x.id
        WHEN MATCHED THEN UPDATE SET n = x.n WHEN NOT MATCHED THEN INSERT (id, n) VALUES (x.id, x.n)""",
    )
    proof.equal("after MERGE")
    proof.refused("Spark", "INSERT INTO {t} (id, n, at, twice) VALUES (3000, 1, TIMESTAMP '2026-10-31 23:59:59Z', 3)", "twice|generated")
    proof.refused("Whimbrel", "INSERT INTO {t} (id, n, at, twice) VALUES (3000, 1, TIMESTAMP '2026-10-31 23:59:59Z', 3)", "twice")
    proof.equal("after refusals")


def case_constraints(proof: Proof) -> None:
    """CHECK and NOT NULL of Whimbrel hold for Spark, comments and properties are seen."""
    table_of(proof, "(id BIGINT NOT NULL COMMENT 'key', n INT, CONSTRAINT small CHECK (n < 100 AND id > 0))")
    proof.ours("INSERT INTO {t} VALUES (1, 1), (2, NULL)", "ALTER TABLE {t} ADD CONSTRAINT odd CHECK (n % 2 = 1)")
    proof.equal()
    proof.refused("Spark", "INSERT INTO {t} VALUES (3, 101)", "small")
    proof.refused("Spark", "INSERT INTO {t} VALUES (3, 2)", "odd")
    proof.refused("Spark", "INSERT INTO {t} VALUES (NULL, 1)", "id|null")
    proof.theirs("INSERT INTO {t} VALUES (3, 3)", "ALTER TABLE {t} ADD CONSTRAINT theirs CHECK (id <> 77)")
    proof.equal("after Spark wrote")
    proof.refused("Whimbrel", "INSERT INTO {t} VALUES (77, 1)", "theirs")
    proof.ours("ALTER TABLE {t} DROP CONSTRAINT odd", "INSERT INTO {t} VALUES (4, 4)")
    proof.theirs("INSERT INTO {t} VALUES (5, 6)")
    proof.equal("after a constraint went")


def case_new_columns(proof: Proof) -> None:
    """Columns that come later, also nested ones."""
    table_of(proof, "(id BIGINT)")
    proof.ours("INSERT INTO {t} VALUES (1)", "ALTER TABLE {t} ADD COLUMN s VARCHAR COMMENT 'new'", "INSERT INTO {t} VALUES (2, 'x')")
    proof.equal()
    proof.theirs("ALTER TABLE {t} ADD COLUMNS (place STRUCT<a: INT, b: STRING>)", "INSERT INTO {t} VALUES (3, 'y', named_struct('a', 1, 'b', 'z'))")
    proof.equal("after Spark's column")
    proof.ours("UPDATE {t} SET s = 'z' WHERE id < 3")
    proof.equal("after UPDATE of older files")


def case_change_data(proof: Proof) -> None:
    """What changed, told by both."""
    table_of(proof, "(id BIGINT, s VARCHAR, k INT)", "PARTITIONED BY (k) TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true')")
    proof.ours(
        "INSERT INTO {t} SELECT value, 'v', value % 3 FROM generate_series(1, 30)",
        "UPDATE {t} SET s = 'w', k = 7 WHERE id < 4",
        "DELETE FROM {t} WHERE id % 5 = 0",
        "MERGE INTO {t} USING (VALUES (1, 'x'), (100, 'y')) AS n(id, s) ON {t}.id = n.id WHEN MATCHED THEN UPDATE SET s = n.s WHEN NOT MATCHED THEN INSERT (id, s) VALUES (n.id, n.s)",
        "OPTIMIZE {t}",
        "INSERT OVERWRITE {t} VALUES (1, 'z', 1)",
    )
    proof.equal()
    proof.theirs("UPDATE {t} SET s = 'theirs'")
    proof.equal(
        "changes",
        "SELECT id, s, k, _change_type, _commit_version FROM table_changes('{t}', 0)",
        f"SELECT id, s, k, _change_type, _commit_version FROM table_changes_by_path('{proof.location}', 0)",
    )


def case_materialized_view(proof: Proof) -> None:
    """The result of a transform."""
    proof.ours(
        f"CREATE MATERIALIZED VIEW {{t}} PARTITIONED BY (k) LOCATION '{proof.name}' AS "
        "SELECT value % 3 AS k, value AS x, CAST(NULL AS VARCHAR) AS nothing FROM generate_series(1, 1000)",
        "REFRESH MATERIALIZED VIEW {t} FULL SYNC TIMEOUT 2 MINUTES",
    )
    proof.equal()
