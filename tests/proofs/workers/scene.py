"""What there is: sources, transforms over them, and what each transform has to hold, said to DuckDB."""

SCHEMA = "w"
# So that VACUUM at the end may delete what nobody needs any more.
KEEPS_NOTHING = "TBLPROPERTIES ('delta.deletedFileRetentionDuration' = 'interval 0 hours')"
DAYS = 8
KEYS = 12

# Append only: events of two streams, and what became of items.
SOURCES = {
    "facts": "id BIGINT, k BIGINT, v BIGINT, day BIGINT",
    "dims": "k BIGINT, name STRING, weight BIGINT",
    "events": "id BIGINT, k BIGINT, v BIGINT, tag STRING",
    "events2": "id BIGINT, k BIGINT, v BIGINT, tag STRING",
    "cdc": "item BIGINT, seq BIGINT, op STRING, note STRING",
}

SUMS = "SELECT k, count(*) AS n, sum(v) AS s, min(v) AS least, max(v) AS most FROM w.facts GROUP BY k"
JOIN = "SELECT f.id, f.k, f.v, d.name FROM w.facts AS f JOIN w.dims AS d ON f.k = d.k"
LEFT = "SELECT f.id, f.k, f.v, d.weight FROM w.facts AS f LEFT JOIN w.dims AS d ON f.k = d.k"
RANKS = (
    "SELECT id, k, v, row_number() OVER (PARTITION BY k ORDER BY v, id) AS place,"
    " sum(v) OVER (PARTITION BY k ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS so_far FROM w.facts"
)
TOTALS = "SELECT count(*) AS n, sum(v) AS s, max(id) AS newest FROM w.facts"
DAYS_QUERY = "SELECT day, count(*) AS n, sum(v) AS s FROM w.facts GROUP BY day"
SMALL = "SELECT id, k, v FROM w.facts"
LEFT_BRANCH = "SELECT k, sum(v) AS s FROM w.facts GROUP BY k"
RIGHT_BRANCH = "SELECT k, count(*) AS n FROM w.facts GROUP BY k"
TOP = "SELECT l.k, l.s, r.n FROM w.left_branch AS l JOIN w.right_branch AS r ON l.k = r.k"
CLEAN = "SELECT id, k, v, tag FROM w.{} WHERE v >= 0 AND tag IS NOT NULL"
NEWEST = (
    "SELECT item, note FROM (SELECT *, row_number() OVER (PARTITION BY item ORDER BY seq DESC) AS place FROM w.cdc)"
    " WHERE place = 1 AND op <> 'D'"
)
# Equal states that follow each other are one; a deletion ends a state and is none.
STATES = """
WITH ordered AS (
  SELECT *, lag(op = 'D') OVER by_item AS was_gone, lag(note) OVER by_item AS was, lag(seq) OVER by_item AS before
  FROM w.cdc WINDOW by_item AS (PARTITION BY item ORDER BY seq)),
changes AS (
  SELECT * FROM ordered
  WHERE before IS NULL OR was_gone <> (op = 'D') OR (op <> 'D' AND note IS DISTINCT FROM was)),
states AS (SELECT *, lead(seq) OVER (PARTITION BY item ORDER BY seq) AS ends FROM changes)
SELECT item, note, seq AS "__START_AT", ends AS "__END_AT" FROM states WHERE op <> 'D'"""

AUTO_CDC = "FLOW AUTO CDC FROM STREAM w.cdc KEYS (item) APPLY AS DELETE WHEN op = 'D' SEQUENCE BY seq COLUMNS * EXCEPT (op, seq)"
OFTEN = "TRIGGER ON UPDATE"


class Transform:
    def __init__(self, name: str, kind: str, definition: str, expected: str, *, wakes: str = "") -> None:
        self.name, self.kind, self.definition, self.expected, self.wakes = name, kind, definition, expected, wakes

    @property
    def is_view(self) -> bool:
        return self.kind == "MATERIALIZED VIEW"


def view(name: str, query: str, *, wakes: str = "", clauses: str = "", columns: str = "", expected: str = "") -> Transform:
    text = f"CREATE MATERIALIZED VIEW w.{name} {columns} {clauses} {wakes} {KEEPS_NOTHING} AS {query}"
    return Transform(name, "MATERIALIZED VIEW", text, expected or query, wakes=wakes)


def stream(name: str, what: str, expected: str, *, wakes: str = "", columns: str = "") -> Transform:
    text = f"CREATE STREAMING TABLE w.{name} {columns} {wakes} {KEEPS_NOTHING} {what}"
    return Transform(name, "STREAMING TABLE", text, expected, wakes=wakes)


CHECKED = (
    "(CONSTRAINT positive EXPECT (v >= 0) ON VIOLATION QUARANTINE ROW,"
    " CONSTRAINT tagged EXPECT (tag IS NOT NULL) ON VIOLATION DROP ROW)"
)
TRANSFORMS = [
    view("sums", SUMS, wakes=OFTEN, clauses="REFRESH POLICY INCREMENTAL"),
    view("joined", JOIN, wakes="SCHEDULE EVERY 4 SECONDS", clauses="REFRESH POLICY INCREMENTAL"),
    view("outer_joined", LEFT, wakes="TRIGGER ON UPDATE AT MOST EVERY INTERVAL 3 SECONDS", clauses="REFRESH POLICY INCREMENTAL"),
    view("ranks", RANKS, clauses="REFRESH POLICY INCREMENTAL"),
    view("totals", TOTALS, wakes=OFTEN, clauses="REFRESH POLICY FULL"),
    view("days", DAYS_QUERY, clauses="PARTITIONED BY (day)"),
    view(
        "small", SMALL, wakes="SCHEDULE EVERY 5 SECONDS", expected=f"{SMALL} WHERE v < 900",
        columns="(CONSTRAINT small EXPECT (v < 900) ON VIOLATION QUARANTINE ROW, CONSTRAINT one PRIMARY KEY (id))",
    ),
    view("left_branch", LEFT_BRANCH, wakes=OFTEN),
    view("right_branch", RIGHT_BRANCH),
    view("top", TOP),
    stream(
        "taken", "AS SELECT id, k, v, tag FROM STREAM w.events", f"{CLEAN.format('events')} UNION ALL {CLEAN.format('events2')}",
        wakes=OFTEN, columns=CHECKED,
    ),
    stream("newest", AUTO_CDC, NEWEST, wakes="SCHEDULE EVERY 3 SECONDS"),
    stream("states", f"{AUTO_CDC} STORED AS SCD TYPE 2", STATES, wakes=OFTEN),
]  # fmt: skip
BY_NAME = {transform.name: transform for transform in TRANSFORMS}
FLOW = "CREATE FLOW w.more AS INSERT INTO w.taken BY NAME SELECT id, k, v, tag FROM STREAM w.events2"
ASIDE = {
    "taken": "SELECT id FROM w.events WHERE v < 0 UNION ALL SELECT id FROM w.events2 WHERE v < 0",
    "small": "SELECT id FROM w.facts WHERE v >= 900",
}


def statements() -> list[str]:
    made = [f"CREATE SCHEMA {SCHEMA}"]
    made += [f"CREATE TABLE w.{name} ({columns}) {KEEPS_NOTHING}" for name, columns in SOURCES.items()]
    made += [transform.definition for transform in TRANSFORMS]
    return [*made, FLOW]
