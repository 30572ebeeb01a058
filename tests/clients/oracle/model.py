"""The tables as DuckDB has them."""

import collections
import dataclasses
import re

import duckdb

from statements import Statement, Table


@dataclasses.dataclass
class Expected:
    """What has to come of a statement."""

    count: int
    # One of these messages, if it has to be refused; the table is then as it was.
    refusals: list[str]
    # Messages of a refusal that would be right as well.
    allowed: list[str]


def _breaks_not_null(column: str) -> str:
    return f"column '{re.escape(column)}' .*NOT NULL"


def _breaks_check(name: str) -> str:
    return f"CHECK '{name}'"


def _constraints(table: Table) -> list[str]:
    return [_breaks_not_null(name) for name in table.not_null] + [_breaks_check(name) for name in table.checks]


class Model:
    def __init__(self, tables: list[Table]) -> None:
        self.database = duckdb.connect(":memory:")
        self.tables = {table.name: table for table in tables}
        for table in tables:
            # Its constraints are looked after here: DuckDB can add no CHECK to a table that is there.
            self.database.execute(dataclasses.replace(table, not_null=()).definition())

    def rows(self, query: str) -> list[tuple]:
        return self.database.execute(query).fetchall()

    def content(self, table: str) -> collections.Counter:
        names = ", ".join(column.quoted for column in self.tables[table].columns)
        return collections.Counter(self.rows(f"SELECT {names} FROM {table}"))

    def count(self, table: str) -> int:
        return self.rows(f"SELECT count(*) FROM {table}")[0][0]

    def run(self, statement: Statement) -> Expected:
        """Does the statement, unless it has to be refused. Its effect stays open until `keep` or `undo`."""
        expected = Expected(0, [], [])
        self.database.execute("BEGIN")
        before = [refusal for refusal in statement.refusals if "new_rows" not in refusal.query]
        after = [refusal for refusal in statement.refusals if "new_rows" in refusal.query]
        self._ask(before, expected)
        if expected.refusals:
            # Its rows may break a constraint too, and which of both is seen first is nobody's promise.
            for table in self.tables.values():
                expected.allowed += _constraints(table)
            return expected
        if statement.counted_again:
            expected.count -= int(self.rows(statement.counted_again)[0][0])
        for sql, counts in statement.model:
            rows = self.database.execute(sql).fetchall()
            if counts:
                expected.count += rows[0][0]
        self._ask(after, expected)
        self._ask_constraints(expected)
        return expected

    def _ask(self, refusals, expected: Expected) -> None:
        for refusal in refusals:
            if self.rows(f"{refusal.query} LIMIT 1"):
                (expected.allowed if refusal.optional else expected.refusals).append(refusal.message)

    def _ask_constraints(self, expected: Expected) -> None:
        for table in self.tables.values():
            for name in table.not_null:
                if self.rows(f"SELECT 1 FROM {table.name} WHERE {name} IS NULL LIMIT 1"):
                    expected.refusals.append(_breaks_not_null(name))
            for name, condition in table.checks.items():
                if self.rows(f"SELECT 1 FROM {table.name} WHERE NOT ({condition}) LIMIT 1"):
                    expected.refusals.append(_breaks_check(name))

    def keep(self) -> None:
        self.database.execute("COMMIT")

    def undo(self) -> None:
        self.database.execute("ROLLBACK")
