"""One table that both engines know, and what has to hold between them."""

import re

from engines import Refused, Spark, Whimbrel


# What a copy needs to be able to have any column that the table has.
COPY = "TBLPROPERTIES ('delta.columnMapping.mode' = 'name', 'delta.feature.allowColumnDefaults' = 'supported')"


class Different(Exception):
    """The engines do not agree."""


class Proof:
    def __init__(self, name: str, whimbrel: Whimbrel, spark: Spark) -> None:
        self.name = name
        self.whimbrel = whimbrel
        self.spark = spark
        self.location = whimbrel.lake / name
        # Spark names the table by its place, so that it keeps nothing about it.
        self.path = f"delta.`{self.location}`"
        self.wrong = 0
        self.is_known = False
        # Whether Spark changes a clone, which keeps what columns are computed from.
        self.clones = False

    def ours(self, *statements: str) -> None:
        """Whimbrel runs statements; `{t}` is the table."""
        for sql in statements:
            self.whimbrel.run(sql.replace("{t}", self.name))

    def theirs(self, *statements: str) -> None:
        """Spark runs statements; `{t}` is the table."""
        for sql in statements:
            self.spark.run(sql.replace("{t}", self.path))

    def registered(self) -> None:
        """Whimbrel gets to know Spark's table."""
        self.ours(f"CREATE EXTERNAL TABLE {{t}} STORED AS DELTA LOCATION '{self.name}'")
        self.is_known = True

    def equal(self, what: str = "rows", query: str = "SELECT * FROM {t}", theirs: str | None = None) -> list:
        ours = self.whimbrel.rows(query.replace("{t}", self.name))
        theirs = self.spark.rows((theirs or query).replace("{t}", self.path))
        if ours != theirs:
            only_ours = [row for row in ours if row not in theirs]
            only_theirs = [row for row in theirs if row not in ours]
            raise Different(
                f"{what}: {len(ours)} rows in Whimbrel, {len(theirs)} in Spark"
                f"\n    only in Whimbrel: {only_ours[:8]}\n    only in Spark: {only_theirs[:8]}"
            )
        print(f"  equal: {what}, {len(ours)} rows", flush=True)
        return ours

    def at_version(self, version: int) -> None:
        self.equal(
            f"version {version}",
            f"SELECT * FROM {{t}} VERSION AS OF {version}",
            f"SELECT * FROM {{t}} VERSION AS OF {version}",
        )

    def readable_or_refused(self, named: str) -> bool:
        """The same rows, or a refusal that names what is not supported."""
        try:
            self.registered()
            self.equal()
            return True
        except Refused as refused:
            self.names(refused, named, "reading")
            return False

    def changed_or_refused(self, sql: str, named: str) -> None:
        """Whimbrel's statement does what Spark's does to a copy, or is refused by name and does nothing."""
        if not self.is_known:
            return
        before = self.spark.rows(f"SELECT * FROM {self.path}")
        copy = f"copy_of_{self.name}"
        self.spark.run(f"DROP TABLE IF EXISTS {copy}")
        if self.clones:
            self.spark.run(f"CREATE TABLE {copy} SHALLOW CLONE {self.path}")
        else:
            self.spark.run(f"CREATE TABLE {copy} USING delta {COPY} AS SELECT * FROM {self.path}")
        try:
            self.ours(sql)
        except Refused as refused:
            self.names(refused, named, sql)
            if self.spark.rows(f"SELECT * FROM {self.path}") != before:
                raise Different(f"refused, and the rows are others: {sql}") from refused
            return
        self.spark.run(sql.replace("{t}", copy))
        ours = self.equal(f"after {sql}")
        theirs = self.spark.rows(f"SELECT * FROM {copy}")
        if ours != theirs:
            raise Different(
                f"{sql}\n    Whimbrel made: {[row for row in ours if row not in theirs][:8]}"
                f"\n    Spark made: {[row for row in theirs if row not in ours][:8]}"
            )

    def refused(self, engine: str, sql: str, named: str) -> None:
        try:
            (self.ours if engine == "Whimbrel" else self.theirs)(sql)
        except Refused as refused:
            self.names(refused, named, f"{engine}: {sql}")
            return
        raise Different(f"{engine} should refuse: {sql}")

    def names(self, refused: Refused, named: str, what: str) -> None:
        text = str(refused)
        short = " ".join(text.split())[:300]
        if re.search(named, text, re.IGNORECASE):
            print(f"  refused by name: {what}: {short}", flush=True)
        else:
            self.wrong += 1
            print(f"  MISLEADING: {what}: {short}\n    it should name {named}", flush=True)
