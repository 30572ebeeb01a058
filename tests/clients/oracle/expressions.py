"""Random SQL expressions that mean the same to DataFusion and to DuckDB.

What the two read differently is left out, so that every difference between their answers is a
mistake of one of them:

- `/`: of integers it is a float in DuckDB and an integer in DataFusion; of decimals the digits differ.
- The text of floats and timestamps, upper() and lower() beyond ASCII: each has rules of its own.
- `-0.0`: smaller than 0.0 to Arrow's kernels and equal to it in DuckDB, so floats are subtracted from
  zero and never negated. All are sums of few powers of two, and so exact.
- LIKE with a backslash: an escape in DataFusion, a character in DuckDB.
- ORDER BY with LIMIT: NULLs are first in one and last in the other.
- Overflow: arithmetic is kept small with `%` and CASE.
- Decimals with other casts: `m + 1.25` is a float in DataFusion, so literals are cast to DECIMAL(12, 2).
- DATE + INTERVAL is a TIMESTAMP in DuckDB and a DATE in DataFusion, so it is cast to DATE.
- NULL as a condition has no type in DataFusion, so it is cast to BOOLEAN.
- IS DISTINCT FROM binds less tightly than AND in DataFusion's parser, so it has parentheses.
"""

import dataclasses
import random

BIGINT = "BIGINT"
INTEGER = "INTEGER"
TEXT = "VARCHAR"
# Text in a column that a table is partitioned by: no empty string, which Delta reads back as NULL.
LABEL = "VARCHAR of a partition"
DOUBLE = "DOUBLE"
DECIMAL = "DECIMAL(12, 2)"
DATE = "DATE"
TIMESTAMP = "TIMESTAMP"
BOOLEAN = "BOOLEAN"

TEXTS = ["", "a", "b", "ab", "B", "it's", "ä🐦", "A b", "100%", "x_y", "NULL", " ", 'ß"q"', "a/b=c", "\\", "two\nlines"]
LABELS = ["x", "y", "o'k", "ä b/c", "100%", "k=v", "x:y", " "]
PATTERNS = ["a%", "%b", "%a%", "_", "__", "%", "x_%", "%'%", "A b", "%🐦", ""]
COMPARISONS = ["=", "<>", "<", "<=", ">", ">="]


@dataclasses.dataclass(frozen=True)
class Column:
    name: str
    kind: str

    @property
    def sql_type(self) -> str:
        return TEXT if self.kind == LABEL else self.kind

    @property
    def quoted(self) -> str:
        plain = self.name.isascii() and self.name == self.name.lower()
        return self.name if plain else f'"{self.name}"'


@dataclasses.dataclass(frozen=True)
class Relation:
    """What an expression may name: columns behind a name of the relation, which may be left out."""

    name: str
    columns: tuple[Column, ...]
    qualified: bool = True

    def of(self, kinds) -> list[str]:
        return [self.reference(column) for column in self.columns if column.kind in kinds]

    def reference(self, column: Column) -> str:
        return f"{self.name}.{column.quoted}" if self.qualified else column.quoted


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


class Expressions:
    """Makes expressions. `tables` are those that subqueries read: their names and columns."""

    def __init__(
        self, chance: random.Random, tables: list[tuple[str, tuple[Column, ...]]]
    ) -> None:
        self.chance = chance
        self.tables = tables
        self.aliases = 0

    # --- values ----------------------------------------------------------------------------------

    def literal(self, kind: str, nulls: float = 0.1) -> str:
        chance = self.chance
        if chance.random() < nulls:
            return "NULL"
        match kind:
            case "BIGINT":
                return str(chance.randint(0, 60))
            case "INTEGER":
                return str(chance.randint(-9, 30))
            case "VARCHAR":
                return quote(chance.choice(TEXTS))
            case "VARCHAR of a partition":
                return quote(chance.choice(LABELS))
            case "DOUBLE":
                return f"{chance.randint(-40, 200) / 4:.2f}"
            case "DECIMAL(12, 2)":
                return f"CAST('{chance.randint(-2000, 30000) / 100:.2f}' AS DECIMAL(12, 2))"
            case "DATE":
                return f"DATE '{self._day()}'"
            case "TIMESTAMP":
                fraction = chance.choice(["", ".5", ".000001", ".999999"])
                clock = f"{chance.randint(0, 23):02}:{chance.choice([0, 30, 59]):02}:{chance.choice([0, 59]):02}"
                return f"TIMESTAMP '{self._day()} {clock}{fraction}'"
            case "BOOLEAN":
                return chance.choice(["true", "false"])
        raise AssertionError(kind)

    def _day(self) -> str:
        chance = self.chance
        year = chance.choice([1899, 1969, 1970, 2024, 2024, 2025, 2100])
        return f"{year}-{chance.choice([1, 2, 6, 12]):02}-{chance.choice([1, 15, 28]):02}"

    def value(self, kind: str, scope: list[Relation], depth: int = 2, subqueries: bool = True) -> str:
        """An expression of the kind over the scope; the empty scope has only literals."""
        chance = self.chance
        same = [name for relation in scope for name in relation.of({kind})]
        if depth <= 0 or not scope:
            return chance.choice(same) if same and chance.random() < 0.7 else self.typed(kind, self.literal(kind))
        pick = chance.random()
        if pick < 0.25:
            # Nothing stands around it at the top, so that a NULL there needs no type.
            return self.literal(kind) if depth > 1 else self.typed(kind, self.literal(kind))
        if pick < 0.4 and same:
            return chance.choice(same)
        if pick < 0.55:
            condition = self.condition(scope, depth - 1, subqueries=False)
            one, two = (self.value(kind, scope, depth - 1, subqueries) for _ in range(2))
            default = f" ELSE {two}" if chance.random() < 0.8 else ""
            return f"CASE WHEN {condition} THEN {one}{default} END"
        if pick < 0.62:
            return f"coalesce({self.value(kind, scope, depth - 1, False)}, {self.literal(kind, 0)})"
        if pick < 0.67:
            return f"nullif({self.value(kind, scope, depth - 1, False)}, {self.literal(kind, 0)})"
        if pick < 0.75 and subqueries and self.tables:
            return self._scalar_subquery(kind, scope)
        return self._computed(kind, scope, depth)

    def typed(self, kind: str, value: str) -> str:
        """A NULL of the kind's type, where nothing else would give it one."""
        return f"CAST({value} AS {TEXT if kind == LABEL else kind})" if value == "NULL" else value

    def _computed(self, kind: str, scope: list[Relation], depth: int) -> str:
        chance = self.chance

        def part(other: str) -> str:
            return self.value(other, scope, depth - 1, subqueries=False)

        match kind:
            case "BIGINT":
                source = chance.choice([BIGINT, INTEGER])
                by = chance.choice(["+ 1", "+ 100", "- 7", "* 2"])
                return f"(({part(source)} {by}) % 1000)"
            case "INTEGER":
                choices = [f"+ {part(INTEGER)}", "+ 1", "- 3", "* 2", f"- {part(BIGINT)}"]
                return f"(({part(INTEGER)} {chance.choice(choices)}) % 100)"
            case "VARCHAR":
                return chance.choice(
                    [
                        f"substr({part(TEXT)} || {part(TEXT)}, 1, 9)",
                        f"substr({part(TEXT)}, 2, 3)",
                        f"substr('<' || {part(TEXT)}, 1, 9)",
                        f"CAST({part(INTEGER)} AS VARCHAR)",
                        f"replace({part(TEXT)}, 'a', 'o')",
                    ]
                )
            case "VARCHAR of a partition":
                return f"('p' || CAST({part(INTEGER)} % 3 AS VARCHAR))"
            case "DOUBLE":
                return chance.choice(
                    [
                        f"(0.0 - {part(DOUBLE)})",
                        f"({part(DOUBLE)} + {part(DOUBLE)})",
                        f"({part(DOUBLE)} * 0.5)",
                        f"CAST({part(INTEGER)} AS DOUBLE)",
                    ]
                )
            case "DECIMAL(12, 2)":
                small = part(DECIMAL)
                return chance.choice(
                    [
                        f"({part(DECIMAL)} + {self.literal(DECIMAL, 0)})",
                        f"({part(DECIMAL)} - {self.literal(DECIMAL, 0)})",
                        f"CAST({part(INTEGER)} AS DECIMAL(12, 2))",
                        f"(CASE WHEN {small} BETWEEN -500 AND 500 THEN {small} * 2 ELSE {small} END)",
                    ]
                )
            case "DATE":
                unit = chance.choice(["DAY", "MONTH", "YEAR"])
                sign = chance.choice("+-")
                return f"CAST({part(DATE)} {sign} INTERVAL '{chance.randint(1, 5)}' {unit} AS DATE)"
            case "TIMESTAMP":
                unit = chance.choice(["DAY", "HOUR", "MINUTE", "SECOND"])
                sign = chance.choice("+-")
                moved = f"({part(TIMESTAMP)} {sign} INTERVAL '{chance.randint(1, 90)}' {unit})"
                return chance.choice([moved, f"CAST({part(DATE)} AS TIMESTAMP)"])
            case "BOOLEAN":
                return f"({self.condition(scope, depth - 1, subqueries=False)})"
        raise AssertionError(kind)

    def _scalar_subquery(self, kind: str, scope: list[Relation]) -> str:
        """One value at most, whatever is in the table: an aggregate, perhaps of rows that fit the outer one."""
        inner, name = self._inner()
        same = inner.of({kind})
        where = self._inner_where(inner, scope)
        if kind in (BIGINT, INTEGER) and self.chance.random() < 0.4:
            return f"(SELECT count(*) FROM {name} AS {inner.name}{where})"
        if same and kind != BOOLEAN:
            function = self.chance.choice(["min", "max"])
            return f"(SELECT {function}({self.chance.choice(same)}) FROM {name} AS {inner.name}{where})"
        return self.typed(kind, self.literal(kind))

    def _inner(self) -> tuple[Relation, str]:
        name, columns = self.chance.choice(self.tables)
        self.aliases += 1
        return Relation(f"q{self.aliases}", columns), name

    def _inner_where(self, inner: Relation, scope: list[Relation], correlated: float = 0.5) -> str:
        """A WHERE of a subquery, with or without the rows outside."""
        conditions = []
        # An outer column without its relation's name would be taken for an inner one.
        outside = [relation for relation in scope if relation.qualified]
        if outside and self.chance.random() < correlated:
            outer = self.chance.choice(outside)
            pairs = [
                (inner.reference(one), outer.reference(two))
                for one in inner.columns
                for two in outer.columns
                if one.kind == two.kind and one.kind != BOOLEAN
            ]
            if pairs:
                one, two = self.chance.choice(pairs)
                comparison = "=" if self.chance.random() < 0.75 else self.chance.choice(COMPARISONS)
                conditions.append(f"{one} {comparison} {two}")
        if self.chance.random() < 0.5:
            conditions.append(self.condition([inner], 1, subqueries=False))
        return f" WHERE {' AND '.join(f'({c})' for c in conditions)}" if conditions else ""

    # --- conditions ------------------------------------------------------------------------------

    def condition(self, scope: list[Relation], depth: int = 2, subqueries: bool = True) -> str:
        """TRUE, FALSE or unknown."""
        chance = self.chance
        pick = chance.random()
        if depth > 0 and pick < 0.35:
            word = chance.choice(["AND", "OR"])
            parts = [self.condition(scope, depth - 1, subqueries) for _ in range(chance.choice([2, 2, 3]))]
            return f" {word} ".join(f"({part})" for part in parts)
        if depth > 0 and pick < 0.43:
            return f"NOT ({self.condition(scope, depth - 1, subqueries)})"
        if depth > 0 and pick < 0.47:
            state = chance.choice(["TRUE", "FALSE", "NOT TRUE", "NOT FALSE", "NULL", "NOT NULL"])
            return f"({self.condition(scope, depth - 1, subqueries)}) IS {state}"
        if subqueries and self.tables and pick < 0.62:
            return self._with_subquery(scope)
        return self._simple(scope)

    def _column(self, scope: list[Relation], but: tuple[str, ...] = ()) -> tuple[str, str]:
        columns = [(r.reference(c), c.kind) for r in scope for c in r.columns if c.kind not in but]
        # Partitions are filtered by the log rather than row by row, so they are asked for more often.
        columns += [(name, kind) for name, kind in columns if kind == LABEL]
        return self.chance.choice(columns)

    def _simple(self, scope: list[Relation]) -> str:
        chance = self.chance
        column, kind = self._column(scope)
        pick = chance.random()
        if pick < 0.04:
            return chance.choice(["true", "false", "1 = 0", "CAST(NULL AS BOOLEAN)"])
        if pick < 0.14:
            return f"{column} IS {chance.choice(['', 'NOT '])}NULL"
        if pick < 0.2:
            negated = chance.choice(["", "NOT "])
            return f"({column} IS {negated}DISTINCT FROM {self.value(kind, scope, 0)})"
        if kind == BOOLEAN:
            return chance.choice([column, f"NOT {column}", f"{column} = {self.literal(BOOLEAN, 0)}"])
        if pick < 0.36:
            negated = chance.choice(["", "NOT "])
            values = ", ".join(self.literal(kind, 0.08) for _ in range(chance.randint(1, 5)))
            if values.replace("NULL", "").strip(", ") == "":
                values = self.literal(kind, 0)
            return f"{column} {negated}IN ({values})"
        if pick < 0.46:
            negated = chance.choice(["", "NOT "])
            low, high = self.literal(kind, 0), self.literal(kind, 0)
            return f"{column} {negated}BETWEEN {low} AND {high}"
        if pick < 0.56 and kind in (TEXT, LABEL):
            negated = chance.choice(["", "NOT "])
            return f"{column} {negated}LIKE {quote(chance.choice(PATTERNS))}"
        if pick < 0.62 and kind in (BIGINT, INTEGER):
            return f"{column} % {chance.randint(2, 5)} {chance.choice(['=', '<>'])} {chance.randint(0, 2)}"
        if pick < 0.66 and kind in (TEXT, LABEL):
            return f"length({column}) {chance.choice(COMPARISONS)} {chance.randint(0, 4)}"
        comparison = chance.choice(COMPARISONS)
        return f"{column} {comparison} {self.value(kind, scope, 1, subqueries=False)}"

    def _with_subquery(self, scope: list[Relation]) -> str:
        chance = self.chance
        inner, name = self._inner()
        pick = chance.random()
        if pick < 0.5:
            column, kind = self._column(scope, but=(BOOLEAN,))
            same = inner.of({kind, TEXT} if kind == LABEL else {kind})
            if same:
                negated = chance.choice(["", "NOT "])
                where = self._inner_where(inner, scope, correlated=0.15)
                return f"{column} {negated}IN (SELECT {chance.choice(same)} FROM {name} AS {inner.name}{where})"
        if pick < 0.8:
            negated = chance.choice(["", "NOT "])
            where = self._inner_where(inner, scope, correlated=0.9)
            return f"{negated}EXISTS (SELECT 1 FROM {name} AS {inner.name}{where})"
        column, kind = self._column(scope, but=(BOOLEAN, LABEL))
        return f"{column} {chance.choice(COMPARISONS)} {self._scalar_subquery(kind, scope)}"
