#!/usr/bin/env python3
"""Random statements to a real server, and to DuckDB, which has to come to the same rows.

    oracle.py                          300 statements, a new seed
    oracle.py --statements 20000       more of them
    oracle.py --statements 20000 --seconds 50   and of these, after 300, only what is begun in this time
    oracle.py --seed 7 --round 12      the twelfth round of seed 7 again
    oracle.py --dry                    only DuckDB: is every statement one that it can do?

A round is a pair of new tables and the statements that change them; its randomness comes from the seed
and its own number, so that a failure needs only its round to be run again. After each statement the
whole table is compared as a multiset of rows, and the number of changed rows with it; now and then a
query and an earlier version of the table too.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import signal
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import adbc_driver_manager
import duckdb
from model import Model
from server import Server
from statements import Statement, Statements, tables

STATEMENTS_AT_LEAST = 300
STATEMENTS_OF_A_ROUND = 60
SHOWN_ROWS = 70

# What DataFusion has no plan for: the statement is refused and nothing is lost.
NOT_PLANNED = re.compile(
    "a subquery stands where it cannot be planned"
    "|null_aware anti join only supports single column join key"
    "|Projections require unique expression names"
    "|Schema contains duplicate unqualified field name"
)


class Failure(Exception):
    """The server and the model disagree."""


class Dry:
    """Stands for the server when there is none."""

    def run(self, sql: str):
        return None, None

    def rows(self, sql: str):
        return None


class Whimbrel:
    """One connection to the server."""

    def __init__(self, cursor) -> None:
        self.cursor = cursor

    def run(self, sql: str):
        """The count of a statement, or the text of its error."""
        try:
            self.cursor.execute(sql)
            return self.cursor.fetchall()[0][0], None
        except adbc_driver_manager.Error as error:
            return None, str(error)

    def rows(self, sql: str) -> list[tuple]:
        try:
            self.cursor.execute(sql)
            return self.cursor.fetchall()
        except adbc_driver_manager.Error as error:
            raise Failure(f"refused: {error}\n  {sql}") from error


class Round:
    def __init__(self, server, options: argparse.Namespace, number: int) -> None:
        self.server = server
        self.chance = random.Random(f"{options.seed}:{number}")
        self.target, self.source = tables(self.chance)
        self.statements = Statements(self.chance, self.target, self.source)
        self.model = Model([self.target, self.source])
        # The content at some versions, with the columns of then.
        self.versions: dict[int, tuple[str, collections.Counter]] = {}
        self.done = collections.Counter()
        self.refused = collections.Counter()
        self.not_planned = collections.Counter()
        self.without_effect = collections.Counter()

    def begin(self) -> None:
        for table in (self.target, self.source):
            self.server.run(f"DROP TABLE IF EXISTS {table.name} PURGE")
            _, error = self.server.run(table.whole_definition())
            if error:
                raise Failure(f"{error}\n  {table.whole_definition()}")
        self.step(self.statements.fill_source())

    def next(self) -> Statement:
        return self.statements.next(self.model.count("t"))

    def step(self, statement: Statement) -> None:
        table = "s" if statement.sql.startswith("INSERT OVERWRITE s ") else "t"
        before = self.model.content(table)
        expected = self.model.run(statement)
        must_fail = bool(expected.refusals)
        version = self.version(table)
        count, error = self.server.run(statement.sql)
        right = expected.refusals + expected.allowed
        planned = not (error and NOT_PLANNED.search(error))
        if self.is_dry():
            error = "refused" if must_fail else None
        elif error and planned and not any(re.search(message, error, re.DOTALL) for message in right):
            self.fail(before, f"refused: {error}", f"should be: {expected}")
        elif must_fail and not error:
            self.fail(before, f"done: {count} rows changed", f"should be refused: {expected.refusals}")
        if error:
            self.model.undo()
            (self.refused if planned else self.not_planned)[statement.kind] += 1
            if version != self.version(table):
                self.fail(before, "refused, and there is a new version", f"should be: {version}")
        else:
            if statement.counts and not self.is_dry() and count != expected.count:
                self.fail(before, f"rows changed: {count}", f"should be: {expected.count}")
            self.model.keep()
            self.statements.done(statement)
            self.done[statement.kind] += 1
            if statement.counts and expected.count == 0:
                self.without_effect[statement.kind] += 1
        self.compare(before, table)

    def is_dry(self) -> bool:
        return isinstance(self.server, Dry)

    def version(self, table: str) -> int | None:
        rows = self.server.rows(f"DESCRIBE HISTORY {table} LIMIT 1")
        return rows[0][0] if rows else None

    def compare(self, before: collections.Counter, table: str) -> None:
        if self.is_dry():
            return
        names = ", ".join(column.quoted for column in self.model.tables[table].columns)
        ours = collections.Counter(self.server.rows(f"SELECT {names} FROM {table}"))
        theirs = self.model.content(table)
        if ours != theirs:
            self.fail(
                before,
                f"rows that should not be there:\n{show(ours - theirs)}",
                f"rows that are missing:\n{show(theirs - ours)}",
            )

    def ask(self) -> None:
        """A query answers the same rows. Its table may be partitioned, or skip files by their statistics."""
        query = self.statements.query()
        theirs = collections.Counter(self.model.rows(query))
        try:
            rows = self.server.rows(query)
        except Failure as failure:
            if not NOT_PLANNED.search(str(failure)):
                raise
            self.not_planned["SELECT"] += 1
            return
        self.done["SELECT"] += 1
        self.without_effect["SELECT"] += not theirs
        ours = collections.Counter(rows or [])
        if ours != theirs and not self.is_dry():
            self.fail(
                self.model.content("t"),
                f"{query}\nrows that should not be there:\n{show(ours - theirs)}",
                f"rows that are missing:\n{show(theirs - ours)}",
            )

    def remember_or_look_back(self) -> None:
        """The rows of an earlier version stay what they were."""
        if self.is_dry():
            return
        if not self.versions or self.chance.random() < 0.5:
            names = ", ".join(column.quoted for column in self.target.columns)
            self.versions[self.version("t")] = (names, self.model.content("t"))
            return
        version = self.chance.choice(list(self.versions))
        names, content = self.versions[version]
        ours = collections.Counter(self.server.rows(f"SELECT {names} FROM t VERSION AS OF {version}"))
        if ours != content:
            self.fail(
                content,
                f"VERSION AS OF {version}: rows that should not be there:\n{show(ours - content)}",
                f"rows that are missing:\n{show(content - ours)}",
            )

    def fail(self, before: collections.Counter, ours: str, theirs: str) -> None:
        raise Failure(f"the table before, {sum(before.values())} rows:\n{show(before)}\nWhimbrel: {ours}\nDuckDB: {theirs}")


def show(rows: collections.Counter) -> str:
    lines = [f"  {row}{f' x {count}' if count > 1 else ''}" for row, count in rows.items()]
    return "\n".join(sorted(lines)[:SHOWN_ROWS]) or "  none"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--statements", type=int, default=STATEMENTS_AT_LEAST)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after so long, no more than 300")
    parser.add_argument("--seed", type=int, default=os.environ.get("WHIMBREL_TEST_SEED"))
    parser.add_argument("--round", type=int, help="only this round of the seed")
    parser.add_argument("--failures", type=int, default=1, help="how many to see before it ends")
    parser.add_argument("--dry", action="store_true", help="only DuckDB, no server")
    parser.add_argument("--show", action="store_true", help="print every statement")
    return parser.parse_args()


def run(server, options: argparse.Namespace) -> int:
    began = time.monotonic()
    done, refused, not_planned, without_effect = (collections.Counter() for _ in range(4))
    failures = count = 0
    number = options.round or 0

    def enough() -> bool:
        late = time.monotonic() - began > options.seconds
        return count >= (min(STATEMENTS_AT_LEAST, options.statements) if late else options.statements)

    while not enough() and failures < options.failures:
        this = Round(server, options, number)
        statement = None
        number_in_round = 0
        try:
            this.begin()
            for number_in_round in range(1, STATEMENTS_OF_A_ROUND + 1):
                statement = this.next()
                if options.show:
                    print(f"{number}.{number_in_round}: {statement.sql}", flush=True)
                this.step(statement)
                if number_in_round % 2 == 0:
                    this.ask()
                if number_in_round % 7 == 0:
                    this.remember_or_look_back()
                count += 1
                if enough():
                    break
        except (Failure, duckdb.Error) as failure:
            failures += 1
            again = f"--seed {options.seed} --round {number}"
            print(f"\nFAILED: {again}, statement {number_in_round} of the round\n  {this.target.whole_definition()}")
            print(f"  checks: {this.target.checks}\n  {this.source.whole_definition()}")
            if statement:
                print(f"statement: {statement.sql}")
                if statement.model != [(statement.sql, True)]:
                    print(f"model: {statement.model}")
            print(f"source, for what it is worth:\n{show(this.model.content('s'))}" if not isinstance(failure, duckdb.Error) else "")
            print(f"{type(failure).__name__}: {failure}", flush=True)
        for total, of_round in (
            (done, this.done),
            (refused, this.refused),
            (not_planned, this.not_planned),
            (without_effect, this.without_effect),
        ):
            total.update(of_round)
        if options.round is not None:
            break
        number += 1
    seconds = time.monotonic() - began
    print(f"\n{count} statements in {seconds:.0f} s, seed {options.seed}, {failures} failures")
    print(f"{'':18}{'done':>8}{'no rows':>9}{'rightly refused':>17}{'not planned':>13}")
    for kind in sorted(done | refused | not_planned):
        print(f"{kind:18}{done[kind]:8}{without_effect[kind]:9}{refused[kind]:17}{not_planned[kind]:13}")
    return 1 if failures else 0


def main() -> int:
    # So that whoever ends this also ends the server.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = arguments()
    options.seed = int(options.seed) if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"seed {options.seed}", flush=True)
    if options.dry:
        return run(Dry(), options)
    with tempfile.TemporaryDirectory(prefix="whimbrel-oracle.") as folder:
        server = Server(pathlib.Path(folder)).start()
        try:
            with server.connect() as connection, connection.cursor() as cursor:
                return run(Whimbrel(cursor), options)
        finally:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
