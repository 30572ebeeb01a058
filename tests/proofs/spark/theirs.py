"""Tables that Spark writes and Whimbrel reads, then changes or refuses to."""

import json
import shutil

from delta.tables import DeltaTable, IdentityGenerator
from proof import Different, Proof

ODD = ["a/b=c%", " ", "ä 🐦", "it\\'s", "x:y", ".", "#?&+", "100%25", "a\\\\b", "{}[]^", "~|<>*", "null"]
CHANGES = (
    "INSERT INTO {t} (id, n) VALUES (1000, 1)",
    "UPDATE {t} SET n = n + 1 WHERE id % 3 = 0",
    "DELETE FROM {t} WHERE id % 4 = 1",
    "MERGE INTO {t} AS a USING (SELECT 2 AS id, 7 AS n UNION ALL SELECT 2000, 8) AS x ON a.id = x.id "
    "WHEN MATCHED THEN UPDATE SET n = x.n WHEN NOT MATCHED THEN INSERT (id, n) VALUES (x.id, x.n)",
)


def table_of(proof: Proof, columns: str = "(id BIGINT, n INT, s STRING)", more: str = "", rows: int = 30) -> None:
    proof.theirs(f"CREATE TABLE {{t}} {columns} USING delta {more}")
    if rows:
        proof.theirs(f"INSERT INTO {{t}} (id, n, s) SELECT id, id % 5, concat('v', id) FROM range({rows})")


def properties(**pairs: str) -> str:
    return "TBLPROPERTIES (" + ", ".join(f"'delta.{key}' = '{value}'" for key, value in pairs.items()) + ")"


def changes(proof: Proof, named: str) -> None:
    for sql in CHANGES:
        proof.changed_or_refused(sql, named)


def case_their_every_type(proof: Proof) -> None:
    """Values of every type, extremes, NULLs and nested ones."""
    proof.theirs(
        """CREATE TABLE {t} (id BIGINT, ti BYTE, si SHORT, i INT, f FLOAT, d DOUBLE, m DECIMAL(12, 2), big DECIMAL(38, 10),
        s STRING, x BINARY, b BOOLEAN, day DATE, ntz TIMESTAMP_NTZ, utc TIMESTAMP, tags ARRAY<STRING>,
        place STRUCT<name: STRING, at: STRUCT<lat: DOUBLE, lon: DOUBLE>>, pairs ARRAY<STRUCT<k: INT, v: STRING>>) USING delta""",
        """INSERT INTO {t} VALUES
        (1, 1, 2, 3, 1.5, 2.25, 12.34, 1.0000000001, 'ä🐦', X'00ff', true, DATE '2024-02-29', TIMESTAMP_NTZ '2024-02-29 12:30:00.123456',
        TIMESTAMP '2024-02-29 12:30:00+02:00', array('a', NULL, ''), named_struct('name', 'x', 'at', named_struct('lat', 1.5D, 'lon', -2.5D)),
        array(named_struct('k', 1, 'v', 'one'), NULL)),
        (2, -128, -32768, -2147483648, float('NaN'), double('-Infinity'), -9999999999.99, -9999999999999999999999999999.9999999999, '', X'', false,
        DATE '0001-01-01', TIMESTAMP_NTZ '1969-12-31 23:59:59.999999', TIMESTAMP '1600-01-01 00:00:00.000001Z', array(), named_struct('name', NULL, 'at', NULL), array()),
        (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)""",
    )
    proof.registered()
    proof.equal()
    proof.changed_or_refused("UPDATE {t} SET s = 'new' WHERE id = 2", "")
    proof.changed_or_refused("DELETE FROM {t} WHERE id = 3", "")


def case_their_maps(proof: Proof) -> None:
    """A column of type MAP."""
    proof.theirs(
        "CREATE TABLE {t} (id BIGINT, n INT, m MAP<STRING, INT>) USING delta",
        "INSERT INTO {t} VALUES (1, 1, map('a', 1, 'b', NULL)), (2, 2, map()), (3, 3, NULL)",
    )
    if proof.readable_or_refused("map"):
        changes(proof, "map")


def case_their_int96(proof: Proof) -> None:
    """Timestamps as INT96, the way of older writers."""
    proof.theirs("SET spark.sql.parquet.outputTimestampType = INT96")
    proof.theirs(
        "CREATE TABLE {t} (id BIGINT, n INT, ts TIMESTAMP) USING delta",
        "INSERT INTO {t} VALUES (1, 1, TIMESTAMP '2024-02-29 12:30:00.123456Z'), (2, 2, TIMESTAMP '1969-12-31 23:59:59Z'), (3, 3, NULL), (4, 4, TIMESTAMP '3000-01-01 00:00:00Z')",
    )
    proof.theirs("SET spark.sql.parquet.outputTimestampType = TIMESTAMP_MICROS")
    proof.registered()
    proof.equal()
    changes(proof, "")


def case_their_odd_partitions(proof: Proof) -> None:
    """Partition values with characters that folders and URLs do not like, NULLs and empty texts."""
    proof.theirs("CREATE TABLE {t} (id BIGINT, n INT, s STRING, day DATE) USING delta PARTITIONED BY (s, day)")
    values = ", ".join(f"({n}, {n % 3}, '{text}', DATE '2024-01-0{n % 3 + 1}')" for n, text in enumerate(ODD))
    proof.theirs(f"INSERT INTO {{t}} VALUES {values}, (100, 1, NULL, NULL), (101, 1, '', DATE '1969-12-31')")
    proof.registered()
    proof.equal()
    proof.equal("NULL or empty", "SELECT id FROM {t} WHERE s IS NULL")
    changes(proof, "")
    proof.changed_or_refused("UPDATE {t} SET s = s || '/' || s WHERE n = 1", "")


def case_their_timestamp_partitions(proof: Proof) -> None:
    """Partitions by times with and without a zone."""
    proof.theirs(
        "CREATE TABLE {t} (id BIGINT, n INT, utc TIMESTAMP, ntz TIMESTAMP_NTZ, b BOOLEAN, m DECIMAL(10, 2)) USING delta PARTITIONED BY (utc, ntz, b, m)",
        """INSERT INTO {t} VALUES (1, 1, TIMESTAMP '2024-02-29 12:30:00.5Z', TIMESTAMP_NTZ '2024-02-29 12:30:00.000001', true, 1.50),
        (2, 2, TIMESTAMP '1969-12-31 23:59:59Z', NULL, NULL, NULL), (3, 3, NULL, TIMESTAMP_NTZ '2024-01-01 00:00:00', false, -1)""",
    )
    proof.registered()
    proof.equal()
    changes(proof, "")


def case_their_deletion_vectors(proof: Proof) -> None:
    """Deletion vectors, after DELETE, UPDATE and MERGE."""
    table_of(proof, more=properties(enableDeletionVectors="true"), rows=2000)
    proof.theirs(
        "DELETE FROM {t} WHERE id % 7 = 0",
        "UPDATE {t} SET n = -1 WHERE id % 11 = 0",
        "MERGE INTO {t} AS a USING (SELECT id FROM range(1990, 2010)) AS x ON a.id = x.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, n) VALUES (x.id, 0)",
    )
    if proof.readable_or_refused("deletion ?vectors"):
        for version in (1, 2, 3, 4):
            proof.at_version(version)
        proof.equal("filtered", "SELECT id FROM {t} WHERE n = -1 AND id > 1000")
        proof.equal("counted", "SELECT count(*) AS n, sum(id) AS s FROM {t}")
    changes(proof, "deletion ?vectors")


def case_their_marks_as_changes(proof: Proof) -> None:
    """Rows that were marked as deleted are told as changes, with a feed and without one."""
    table_of(proof, more=properties(enableDeletionVectors="true", enableChangeDataFeed="true"), rows=2000)
    proof.theirs(
        "DELETE FROM {t} WHERE id % 7 = 0",
        "DELETE FROM {t} WHERE id % 5 = 0",
        "UPDATE {t} SET n = -1 WHERE id % 11 = 0",
        "INSERT OVERWRITE {t} SELECT * FROM {t} WHERE id < 20",
        "RESTORE TABLE {t} TO VERSION AS OF 3",
    )
    proof.registered()
    proof.equal()
    same_feed(proof)


def case_their_column_mapping(proof: Proof) -> None:
    """Columns by name mapping, one renamed, one dropped and made again."""
    table_of(proof, more="PARTITIONED BY (s) " + properties(**{"columnMapping.mode": "name", "minReaderVersion": "2", "minWriterVersion": "5"}))
    proof.theirs(
        "ALTER TABLE {t} ADD COLUMNS (`odd, name` STRING, gone INT)",
        "INSERT INTO {t} VALUES (500, 1, 'a/b', 'x', 7)",
        "ALTER TABLE {t} DROP COLUMN gone",
        "ALTER TABLE {t} ADD COLUMNS (gone INT)",
        "ALTER TABLE {t} RENAME COLUMN s TO part",
        "INSERT INTO {t} VALUES (501, 1, NULL, 'y', 8)",
    )
    if proof.readable_or_refused("column ?mapping"):
        proof.equal("filtered", "SELECT id, gone FROM {t} WHERE part = 'a/b' OR gone = 8")
    changes(proof, "column ?mapping")


def case_their_column_ids(proof: Proof) -> None:
    """Columns by id mapping."""
    table_of(proof, more=properties(**{"columnMapping.mode": "id", "minReaderVersion": "2", "minWriterVersion": "5"}))
    proof.theirs("ALTER TABLE {t} RENAME COLUMN s TO text")
    proof.readable_or_refused("column ?mapping")
    changes(proof, "column ?mapping")


def case_their_v2_checkpoints(proof: Proof) -> None:
    """Checkpoints of version 2."""
    table_of(proof, more=properties(checkpointPolicy="v2", checkpointInterval="5"))
    for n in range(12):
        proof.theirs(f"INSERT INTO {{t}} VALUES ({100 + n}, {n}, 'x')")
    proof.theirs("DELETE FROM {t} WHERE id < 5")
    if proof.readable_or_refused("v2 ?checkpoint"):
        proof.at_version(8)
    changes(proof, "v2 ?checkpoint")


def case_their_many_commits(proof: Proof) -> None:
    """More than a hundred commits, with checkpoints and the older part of the log gone."""
    table_of(proof, more=properties(checkpointInterval="20", logRetentionDuration="interval 1 days"))
    for n in range(110):
        proof.theirs(f"INSERT INTO {{t}} VALUES ({100 + n}, {n}, 'x{n}')")
    proof.theirs("DELETE FROM {t} WHERE id % 10 = 3")
    log = proof.location / "_delta_log"
    last = max(int(path.name[:20]) for path in log.glob("*.checkpoint.parquet"))
    for commit in log.glob("*.json"):
        if int(commit.name[:20]) < last:
            commit.unlink()
    proof.registered()
    proof.equal()
    changes(proof, "")
    proof.refused("Whimbrel", "SELECT count(*) FROM {t} VERSION AS OF 3", "version|3")


def case_their_struct_statistics(proof: Proof) -> None:
    """Checkpoints with statistics as structs only."""
    table_of(proof, more=properties(**{"checkpoint.writeStatsAsJson": "false", "checkpoint.writeStatsAsStruct": "true", "checkpointInterval": "2"}))
    proof.theirs("INSERT INTO {t} VALUES (100, 1, 'x')", "INSERT INTO {t} VALUES (101, 1, 'x')")
    for commit in (proof.location / "_delta_log").glob("*.json"):
        if int(commit.name[:20]) < 2:
            commit.unlink()
    proof.registered()
    proof.equal()
    proof.equal("filtered", "SELECT id FROM {t} WHERE id = 100 OR id < 3")
    changes(proof, "")


def case_their_change_data(proof: Proof) -> None:
    """A table that keeps a feed of its changes."""
    table_of(proof, more=properties(enableChangeDataFeed="true"))
    proof.theirs("UPDATE {t} SET n = 9 WHERE id < 3", "DELETE FROM {t} WHERE id = 4")
    proof.registered()
    proof.equal()
    changes(proof, "")
    same_feed(proof)


def same_feed(proof: Proof) -> None:
    """Both engines tell the same changes of every version."""
    proof.equal(
        "changes",
        f"SELECT id, n, _change_type, _commit_version FROM table_changes('{{t}}', 0)",
        f"SELECT id, n, _change_type, _commit_version FROM table_changes_by_path('{proof.location}', 0)",
    )


def case_their_append_only(proof: Proof) -> None:
    """A table that only grows."""
    table_of(proof, more=properties(appendOnly="true"))
    proof.registered()
    proof.equal()
    proof.changed_or_refused(CHANGES[0], "append")
    for sql in (*CHANGES[1:], "INSERT OVERWRITE {t} SELECT * FROM {t}", "TRUNCATE TABLE {t}"):
        proof.refused("Whimbrel", sql, "append")
    proof.equal("after refusals")


def case_their_generated_columns(proof: Proof) -> None:
    """A column that is computed from another."""
    proof.clones = True
    # SQL has no words for it where a table is named by its place.
    builder = DeltaTable.create(proof.spark.session).location(str(proof.location))
    builder.addColumn("id", "BIGINT").addColumn("n", "INT").addColumn("s", "STRING").addColumn(
        "twice", "INT", generatedAlwaysAs="n * 2"
    ).execute()
    proof.theirs("INSERT INTO {t} (id, n, s) SELECT id, id % 5, concat('v', id) FROM range(30)")
    proof.registered()
    proof.equal()
    for sql in CHANGES:
        # Nothing may be refused here.
        proof.changed_or_refused(sql, "(?!)")
    proof.refused("Whimbrel", "UPDATE {t} SET n = 3, twice = 7 WHERE id = 6", "twice")
    proof.refused("Whimbrel", "INSERT INTO {t} VALUES (3000, 1, 'x', 3)", "twice")
    proof.equal("after refusals")


def case_their_generated_partitions(proof: Proof) -> None:
    """Partitions by a date that is computed."""
    proof.clones = True
    builder = DeltaTable.create(proof.spark.session).location(str(proof.location))
    builder.addColumn("id", "BIGINT").addColumn("n", "INT").addColumn("at", "TIMESTAMP").addColumn(
        "day", "DATE", generatedAlwaysAs="CAST(at AS DATE)"
    ).partitionedBy("day").execute()
    proof.theirs("INSERT INTO {t} (id, n, at) SELECT id, id % 5, TIMESTAMP '2026-11-01 12:00:00Z' + make_interval(0, 0, 0, id) FROM range(30)")
    proof.registered()
    proof.equal()
    for sql in (
        "INSERT INTO {t} (id, n, at) VALUES (1000, 1, TIMESTAMP '2026-10-31 23:59:59Z')",
        "UPDATE {t} SET at = at + INTERVAL '1' DAY WHERE id % 3 = 0",
        *CHANGES[1:],
    ):
        proof.changed_or_refused(sql, "(?!)")
    proof.equal("by day", "SELECT id FROM {t} WHERE day > DATE '2026-11-20'")
    proof.ours("INSERT INTO {t} (id, n, at) VALUES (1001, 1, TIMESTAMP '2026-10-30 00:00:00Z')")
    proof.theirs("UPDATE {t} SET n = 9 WHERE day = DATE '2026-10-30'")
    proof.equal("after both wrote")


def case_their_generated_by_spark_alone(proof: Proof) -> None:
    """A column whose expression is no SQL of Whimbrel."""
    builder = DeltaTable.create(proof.spark.session).location(str(proof.location))
    builder.addColumn("id", "BIGINT").addColumn("n", "INT").addColumn("s", "STRING").addColumn(
        "h", "INT", generatedAlwaysAs="hash(s)"
    ).execute()
    proof.theirs("INSERT INTO {t} (id, n, s) SELECT id, id % 5, concat('v', id) FROM range(30)")
    proof.registered()
    proof.equal()
    for sql in (CHANGES[0], CHANGES[1], CHANGES[3]):
        proof.refused("Whimbrel", sql, "generated column 'h'")
    proof.equal("after refusals")


def case_their_identity(proof: Proof) -> None:
    """A column that counts by itself."""
    builder = DeltaTable.create(proof.spark.session).location(str(proof.location))
    builder.addColumn("id", "BIGINT").addColumn("n", "INT").addColumn("s", "STRING").addColumn(
        "seq", "BIGINT", generatedAlwaysAs=IdentityGenerator()
    ).execute()
    proof.theirs("INSERT INTO {t} (id, n, s) SELECT id, id % 5, concat('v', id) FROM range(30)")
    proof.readable_or_refused("identity")
    for sql in CHANGES[1:3]:
        proof.changed_or_refused(sql, "identity")
    proof.refused("Whimbrel", CHANGES[0], "identity")


def case_their_defaults(proof: Proof) -> None:
    """A column with a default."""
    table_of(proof, "(id BIGINT, n INT, s STRING, x INT DEFAULT 7)", properties(**{"feature.allowColumnDefaults": "supported"}))
    proof.readable_or_refused("default")
    for sql in CHANGES[1:3]:
        proof.changed_or_refused(sql, "default")
    before = proof.spark.rows(f"SELECT * FROM {proof.path}")
    try:
        proof.ours(CHANGES[0])
        after = proof.spark.rows(f"SELECT * FROM {proof.path}")
        print("  the new row:", [row for row in after if row not in before])
        proof.equal("after INSERT without the column")
    except Exception as refused:
        proof.names(refused, "default", CHANGES[0])


def case_their_checks(proof: Proof) -> None:
    """CHECK and NOT NULL of Spark."""
    table_of(proof, "(id BIGINT NOT NULL, n INT, s STRING)")
    proof.theirs("ALTER TABLE {t} ADD CONSTRAINT small CHECK (n < 100 AND `id` >= 0)")
    proof.registered()
    proof.equal()
    proof.refused("Whimbrel", "INSERT INTO {t} VALUES (1, 100, 'x')", "small")
    proof.refused("Whimbrel", "INSERT INTO {t} VALUES (NULL, 1, 'x')", "id")
    proof.refused("Whimbrel", "UPDATE {t} SET n = n + 99", "small")
    changes(proof, "small")
    # Words that only Spark knows.
    proof.theirs("ALTER TABLE {t} ADD CONSTRAINT texts CHECK (s IS NULL OR s RLIKE '^[a-z0-9]*$')")
    changes(proof, "texts")


def case_their_type_widening(proof: Proof) -> None:
    """A column whose type grew."""
    table_of(proof, more=properties(enableTypeWidening="true"))
    proof.theirs("ALTER TABLE {t} ALTER COLUMN n TYPE BIGINT", "INSERT INTO {t} VALUES (100, 5000000000, 'x')")
    proof.readable_or_refused("type ?widening")
    changes(proof, "type ?widening")


def case_their_row_tracking(proof: Proof) -> None:
    """Rows that have ids of their own."""
    table_of(proof, more=properties(enableRowTracking="true"))
    proof.readable_or_refused("row ?tracking")
    changes(proof, "row ?tracking|rowTracking")


def case_their_clustering(proof: Proof) -> None:
    """A table that is clustered rather than partitioned."""
    table_of(proof, more="CLUSTER BY (n)")
    proof.theirs("OPTIMIZE {t}")
    proof.readable_or_refused("cluster")
    changes(proof, "cluster|domain")


def case_their_commit_times(proof: Proof) -> None:
    """Commits that carry their time."""
    table_of(proof, more=properties(enableInCommitTimestamps="true"))
    proof.theirs("INSERT INTO {t} VALUES (100, 1, 'x')")
    proof.readable_or_refused("in-?commit ?timestamp")
    changes(proof, "in-?commit ?timestamp")


def case_their_variants(proof: Proof) -> None:
    """A column of type VARIANT."""
    proof.theirs("CREATE TABLE {t} (id BIGINT, n INT, v VARIANT) USING delta", "INSERT INTO {t} VALUES (1, 1, parse_json('{\"a\": 1}'))")
    try:
        proof.registered()
        proof.whimbrel.rows(f"SELECT id, n FROM {proof.name}")
        print("  other columns can be read")
    except Exception as refused:
        proof.names(refused, "variant", "reading")


def case_their_nested_changes(proof: Proof) -> None:
    """Nested values stay what they are when other columns change."""
    proof.theirs(
        "CREATE TABLE {t} (id BIGINT, n INT, place STRUCT<a: INT, b: ARRAY<STRING>>, list ARRAY<STRUCT<k: INT, v: STRING>>) USING delta",
        "INSERT INTO {t} SELECT id, id % 3, named_struct('a', int(id), 'b', array('x', NULL)), array(named_struct('k', int(id), 'v', 'y')) FROM range(20)",
    )
    proof.registered()
    proof.equal()
    changes(proof, "")
    proof.equal("inside", "SELECT id, place['a'] AS a FROM {t} WHERE place['a'] > 5", "SELECT id, place.a AS a FROM {t} WHERE place.a > 5")


def case_their_encoded_paths(proof: Proof) -> None:
    """Files in folders whose names a log writes with percent signs can be removed."""
    for n, text in enumerate(["ä", "a b", "é/è", "x=y"]):
        name = f"{proof.name}_{n}"
        one = Proof(name, proof.whimbrel, proof.spark)
        one.theirs(
            "CREATE TABLE {t} (id BIGINT, n INT, s STRING) USING delta PARTITIONED BY (s)",
            f"INSERT INTO {{t}} VALUES (1, 1, '{text}'), (2, 2, '{text}')",
        )
        one.registered()
        for sql in ("UPDATE {t} SET n = n + 1 WHERE id = 1", "DELETE FROM {t} WHERE id = 1", "DELETE FROM {t}"):
            try:
                one.changed_or_refused(sql, "")
            except Different as different:
                proof.wrong += 1
                print(f"  WRONG where s is '{text}': {different}", flush=True)
                show_files(one)
                break
        shutil.rmtree(one.location)


def show_files(proof: Proof) -> None:
    for commit in sorted((proof.location / "_delta_log").glob("*.json")):
        for line in commit.read_text().splitlines():
            for kind, action in json.loads(line).items():
                if kind in ("add", "remove"):
                    print(f"    version {int(commit.stem)}: {kind} {action['path']}", flush=True)
