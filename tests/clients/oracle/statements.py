"""Random statements that change a table, each with what DuckDB has to do for the same effect."""

import dataclasses
import random

from expressions import (
    BIGINT,
    BOOLEAN,
    DATE,
    DECIMAL,
    DOUBLE,
    INTEGER,
    LABEL,
    TEXT,
    TIMESTAMP,
    Column,
    Expressions,
    Relation,
)

SEVERAL_MATCH = r"several rows of the source match the same row"


@dataclasses.dataclass
class Refusal:
    """The statement has to be refused, with such a message, if DuckDB finds a row for the query."""

    query: str
    message: str
    # Both refusing and doing it is right.
    optional: bool = False


@dataclasses.dataclass
class Statement:
    kind: str
    sql: str
    # What DuckDB runs one after the other, and whether its count is part of the statement's.
    model: list[tuple[str, bool]]
    refusals: list[Refusal] = dataclasses.field(default_factory=list)
    # How often DuckDB counts a row that it has counted already: one that goes for several reasons.
    counted_again: str | None = None
    # A statement about the table rather than its rows has no count to compare.
    counts: bool = True
    adds_check: tuple[str, str] | None = None
    adds_column: Column | None = None


@dataclasses.dataclass
class Table:
    name: str
    columns: tuple[Column, ...]
    partitioned_by: tuple[str, ...] = ()
    not_null: tuple[str, ...] = ()
    properties: tuple[tuple[str, str], ...] = ()
    checks: dict[str, str] = dataclasses.field(default_factory=dict)

    def relation(self, name: str | None = None, qualified: bool = True) -> Relation:
        return Relation(name or self.name, self.columns, qualified)

    def definition(self) -> str:
        """Its columns, as both engines read them."""
        columns = (
            f"{column.quoted} {column.sql_type}{' NOT NULL' if column.name in self.not_null else ''}"
            for column in self.columns
        )
        return f"CREATE TABLE {self.name} ({', '.join(columns)})"

    def whole_definition(self) -> str:
        """With what only Whimbrel knows."""
        parts = [self.definition()]
        if self.partitioned_by:
            parts.append(f"PARTITIONED BY ({', '.join(self.partitioned_by)})")
        if self.properties:
            pairs = ", ".join(f"'{key}' = '{value}'" for key, value in self.properties)
            parts.append(f"TBLPROPERTIES ({pairs})")
        return " ".join(parts)


def tables(chance: random.Random) -> tuple[Table, Table]:
    """A target and a source with the same columns, the source's in another order and perhaps one more."""
    columns = [
        Column("id", BIGINT),
        Column("n", INTEGER),
        Column(chance.choice(["s", "Text", "größe"]), TEXT),
        Column("f", DOUBLE),
        Column("m", DECIMAL),
        Column(chance.choice(["d", "Day"]), DATE),
        Column("ts", TIMESTAMP),
        Column("b", BOOLEAN),
        Column("p", LABEL),
        Column("k", INTEGER),
    ]
    # Few columns make other plans and other files than many.
    for column in columns[2:8]:
        if chance.random() < 0.25:
            columns.remove(column)
    shuffled = columns[:1] + chance.sample(columns[1:], len(columns) - 1)
    if chance.random() < 0.3:
        shuffled.append(Column("extra", INTEGER))
    parted = chance.choice([(), (), ("p",), ("k",), ("p", "k")])
    properties = []
    if chance.random() < 0.3:
        properties.append(("delta.checkpointInterval", str(chance.choice([2, 5, 10]))))
    if chance.random() < 0.2:
        properties.append(("delta.dataSkippingNumIndexedCols", str(chance.choice([0, 1, 3]))))
    target = Table(
        "t",
        tuple(columns),
        partitioned_by=parted,
        not_null=("id",) if chance.random() < 0.25 else (),
        properties=tuple(properties),
    )
    source = Table("s", tuple(shuffled), partitioned_by=("p",) if chance.random() < 0.2 else ())
    return target, source


class Statements:
    """Makes statements that change the target; the source is only read, and filled anew at times."""

    def __init__(self, chance: random.Random, target: Table, source: Table) -> None:
        self.chance = chance
        self.target = target
        self.source = source
        self.constraints = 0
        self._learn()

    def _learn(self) -> None:
        tables = [(self.source.name, self.source.columns), (self.target.name, self.target.columns)]
        self.expressions = Expressions(self.chance, tables)

    def next(self, rows: int) -> Statement:
        """The next statement for a target of so many rows."""
        if rows > 60:
            shrink = [self.delete_many, self.delete_many, self.truncate, self.insert_overwrite]
            return self.chance.choice(shrink)()
        if rows < 5:
            return self.chance.choice([self.insert_values, self.insert_select, self.merge])()
        kinds = [
            (self.insert_values, 12),
            (self.insert_select, 6),
            (self.insert_by_name, 4),
            (self.insert_overwrite, 2),
            (self.replace_where, 5),
            (self.update, 24),
            (self.update_from, 9),
            (self.delete, 12),
            (self.delete_using, 5),
            (self.merge, 24),
            (self.truncate, 1),
            (self.add_check, 2),
            (self.add_column, 1),
            (self.optimize, 2),
            (self.fill_source, 5),
        ]
        makers, weights = zip(*kinds)
        return self.chance.choices(makers, weights)[0]()

    def query(self) -> str:
        """Some rows of the target, alone or with those of the source that go with them."""
        chance = self.chance
        target = self.target.relation("x")
        if chance.random() < 0.25:
            # Conditions as values: what is unknown is seen.
            items = ", ".join(f"({self.expressions.condition([target], 2)})" for _ in range(2))
            if chance.random() < 0.4:
                return f"SELECT {items}, count(*) FROM t AS x GROUP BY 1, 2"
            return f"SELECT x.id, {items} FROM t AS x"
        if chance.random() < 0.7:
            return f"SELECT x.id, x.p, x.k FROM t AS x WHERE {self.expressions.condition([target], 2)}"
        source = self.source.relation("y")
        pairs, _ = self._pairs(target, source)
        kind = chance.choice(["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]) if pairs == "x.id = y.id" else "JOIN"
        condition = self.expressions.condition([target, source], 2, subqueries=False)
        return f"SELECT x.id, x.p, y.id, y.p FROM t AS x {kind} s AS y ON {pairs} WHERE {condition}"

    # --- INSERT ----------------------------------------------------------------------------------

    def _rows(self, columns: list[Column], count: int) -> str:
        literal = self.expressions.literal
        rows = (", ".join(literal(column.kind) for column in columns) for _ in range(count))
        return "VALUES " + ", ".join(f"({row})" for row in rows)

    def _some_columns(self) -> list[Column]:
        columns = list(self.target.columns)
        chosen = self.chance.sample(columns, self.chance.randint(1, len(columns)))
        required = [column for column in columns if column.name in self.target.not_null]
        # Mostly: without it the statement is refused, which is right once in a while.
        if self.chance.random() < 0.8:
            chosen += [column for column in required if column not in chosen]
        return chosen

    def _query(self, columns: list[Column]) -> str:
        """A query with these columns, named like them."""
        chance = self.chance
        if chance.random() < 0.7:
            table, share = self.source, 1.0
        else:
            table, share = self.target, 0.4
        row = table.relation("x")
        items = []
        for column in columns:
            same = [c for c in table.columns if c == column]
            if same and chance.random() < 0.5:
                value = row.reference(same[0])
            else:
                value = self.expressions.value(column.kind, [row], 2)
            items.append(f"{value} AS {column.quoted}")
        conditions = []
        if share < 1 or chance.random() < 0.3:
            conditions.append(f"x.id % {chance.choice([2, 3, 4])} = 1")
        if chance.random() < 0.6:
            conditions.append(f"({self.expressions.condition([row], 2)})")
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {', '.join(items)} FROM {table.name} AS x{where}"

    def insert_values(self) -> Statement:
        columns = self._some_columns() if self.chance.random() < 0.3 else list(self.target.columns)
        named = f" ({', '.join(column.quoted for column in columns)})"
        if columns == list(self.target.columns) and self.chance.random() < 0.7:
            named = ""
        sql = f"INSERT INTO t{named} {self._rows(columns, self.chance.choice([1, 1, 2, 5, 12]))}"
        return Statement("INSERT VALUES", sql, [(sql, True)])

    def insert_select(self) -> Statement:
        if self.chance.random() < 0.4:
            columns = self._some_columns()
            named = f" ({', '.join(column.quoted for column in columns)})"
        else:
            columns, named = list(self.target.columns), ""
        sql = f"INSERT INTO t{named} {self._query(columns)}"
        return Statement("INSERT SELECT", sql, [(sql, True)])

    def insert_by_name(self) -> Statement:
        columns = self._some_columns()
        query = self._query(columns)
        named = ", ".join(column.quoted for column in columns)
        return Statement("INSERT BY NAME", f"INSERT INTO t BY NAME {query}", [(f"INSERT INTO t ({named}) {query}", True)])

    def _new_rows(self) -> str:
        if self.chance.random() < 0.4:
            return self._rows(list(self.target.columns), self.chance.randint(1, 8))
        return self._query(list(self.target.columns))

    def _staged(self, query: str) -> tuple[str, bool]:
        """The query reads the table as it was, so its rows are kept before any go."""
        columns = ", ".join(column.quoted for column in self.target.columns)
        types = ", ".join(f"CAST({c.quoted} AS {c.sql_type}) AS {c.quoted}" for c in self.target.columns)
        return f"CREATE OR REPLACE TEMP TABLE new_rows AS SELECT {types} FROM ({query}) AS x ({columns})", False

    def insert_overwrite(self) -> Statement:
        query = self._new_rows()
        model = [self._staged(query), ("DELETE FROM t", False), ("INSERT INTO t FROM new_rows", True)]
        return Statement("INSERT OVERWRITE", f"INSERT OVERWRITE t {query}", model)

    def replace_where(self) -> Statement:
        """The count is of the rows that go and of those that come."""
        condition = self.expressions.condition([self.target.relation(qualified=False)], 1, subqueries=False)
        rows = self._new_rows()
        columns = [column.quoted for column in self.target.columns]
        fits = self.chance.random() < 0.7
        if fits:
            rows = f"SELECT * FROM ({rows}) AS y ({', '.join(columns)}) WHERE {condition}"
        sql = f"INSERT INTO t REPLACE WHERE {condition} {rows}"
        model = [self._staged(rows), (f"DELETE FROM t WHERE {condition}", True), ("INSERT INTO t FROM new_rows", True)]
        others = f"SELECT 1 FROM new_rows WHERE ({condition}) IS NOT TRUE"
        return Statement("REPLACE WHERE", sql, model, [Refusal(others, "REPLACE WHERE")])

    # --- UPDATE and DELETE -----------------------------------------------------------------------

    def _assignments(self, scope: list[Relation], subqueries: bool = True) -> str:
        columns = self.chance.sample(self.target.columns, self.chance.choice([1, 1, 1, 2, 2, 3, 5]) % len(self.target.columns) or 1)
        return ", ".join(f"{c.quoted} = {self.expressions.value(c.kind, scope, 2, subqueries)}" for c in columns)

    def _target(self) -> tuple[str, Relation]:
        """The target as a statement names it, and what its expressions call it."""
        pick = self.chance.random()
        if pick < 0.4:
            return "t", self.target.relation(qualified=False)
        if pick < 0.7:
            return "t", self.target.relation("t")
        return "t AS tgt", self.target.relation("tgt")

    def _where(self, scope: list[Relation]) -> str:
        if self.chance.random() < 0.07:
            return ""
        return f" WHERE {self.expressions.condition(scope, 2)}"

    def update(self) -> Statement:
        named, row = self._target()
        sql = f"UPDATE {named} SET {self._assignments([row])}{self._where([row])}"
        return Statement("UPDATE", sql, [(sql, True)])

    def delete(self) -> Statement:
        named, row = self._target()
        sql = f"DELETE FROM {named}{self._where([row])}"
        return Statement("DELETE", sql, [(sql, True)])

    def delete_many(self) -> Statement:
        sql = "DELETE FROM t WHERE id % 3 <> 0 OR id IS NULL"
        return Statement("DELETE", sql, [(sql, True)])

    def truncate(self) -> Statement:
        return Statement("TRUNCATE", self.chance.choice(["TRUNCATE TABLE t", "TRUNCATE t"]), [("DELETE FROM t", True)])

    def _source(self) -> tuple[str, tuple[Column, ...]]:
        """A source: the table, or a query over it."""
        chance = self.chance
        if chance.random() < 0.5:
            return "s", self.source.columns
        row = self.source.relation("x")
        items = []
        for column in self.source.columns:
            computed = column.name != "id" and chance.random() < 0.3
            value = self.expressions.value(column.kind, [row], 1, False) if computed else row.reference(column)
            items.append(f"{value} AS {column.quoted}")
        where = f" WHERE {self.expressions.condition([row], 1)}" if chance.random() < 0.7 else ""
        return f"(SELECT {', '.join(items)} FROM s AS x{where})", self.source.columns

    def _pairs(self, target: Relation, source: Relation) -> tuple[str, str]:
        """What makes a row of the target and one of the source a pair; and how a refusal names the key."""
        chance = self.chance
        pick = chance.random()
        one, two = f"{target.name}.id", f"{source.name}.id"
        equal = f"{one} = {two}" if chance.random() < 0.5 else f"{two} = {one}"
        key = r".*\bid = "
        if pick < 0.7:
            return equal, key
        if pick < 0.8:
            more = self.expressions.condition([target, source], 1, subqueries=False)
            return f"{equal} AND ({more})", key
        if pick < 0.86:
            return f"({one} IS NOT DISTINCT FROM {two})", ""
        if pick < 0.92:
            return f"{one} = {two} AND {target.name}.p = {source.name}.p", key
        if pick < 0.95:
            return f"{one} + 1 = {two}", ""
        # Mostly refused.
        return f"{target.name}.n {chance.choice(['=', '<'])} {source.name}.n", ""

    def update_from(self) -> Statement:
        target = self.target.relation(self.chance.choice(["t", "tgt"]))
        named = "t" if target.name == "t" else "t AS tgt"
        relation, columns = self._source()
        source = Relation("src", columns)
        pairs, key = self._pairs(target, source)
        if self.chance.random() < 0.4:
            pairs = f"{pairs} AND ({self.expressions.condition([target, source], 1)})"
        sets = self._assignments([target, source], subqueries=False)
        sql = f"UPDATE {named} SET {sets} FROM {relation} AS src WHERE {pairs}"
        several = f"SELECT 1 FROM {named} JOIN {relation} AS src ON true WHERE {pairs} GROUP BY {target.name}.rowid HAVING count(*) > 1"
        return Statement("UPDATE FROM", sql, [(sql, True)], [Refusal(several, SEVERAL_MATCH + key)])

    def delete_using(self) -> Statement:
        """A row goes once, however many rows of the source fit it."""
        relation, columns = self._source()
        target, source = self.target.relation("t"), Relation("src", columns)
        pairs, _ = self._pairs(target, source)
        if self.chance.random() < 0.4:
            pairs = f"{pairs} AND ({self.expressions.condition([target, source], 1)})"
        sql = f"DELETE FROM t USING {relation} AS src WHERE {pairs}"
        model = f"DELETE FROM t WHERE EXISTS (SELECT 1 FROM {relation} AS src WHERE {pairs})"
        return Statement("DELETE USING", sql, [(model, True)])

    # --- MERGE -----------------------------------------------------------------------------------

    def merge(self) -> Statement:
        chance = self.chance
        target, (relation, columns) = self.target.relation("tgt"), self._source()
        source = Relation("src", columns)
        pairs, key = self._pairs(target, source)
        whole = {c.name for c in self.target.columns} <= {c.name for c in columns}
        clauses: list[tuple[str, str]] = []
        fired: list[str] = []
        updates = False
        chosen = [chance.random() < share for share in (0.8, 0.7, 0.35)]
        if not any(chosen):
            chosen[0] = True
        if chosen[0]:
            conditions = self._conditions([target, source])
            fired = [condition or "true" for condition in conditions]
            for condition in conditions:
                clause = f"WHEN MATCHED{f' AND {condition}' if condition else ''} THEN "
                if chance.random() < 0.3:
                    clauses.append((clause + "DELETE",) * 2)
                else:
                    updates = True
                    clauses.append(self._update_clause(clause, [target, source], whole))
        if chosen[1]:
            for condition in self._conditions([source]):
                by = chance.choice(["", "", " BY TARGET"])
                clause = f"WHEN NOT MATCHED{by}{f' AND {condition}' if condition else ''} THEN "
                clauses.append(self._insert_clause(clause, source, whole))
        if chosen[2]:
            for condition in self._conditions([target]):
                clause = f"WHEN NOT MATCHED BY SOURCE{f' AND {condition}' if condition else ''} THEN "
                if chance.random() < 0.4:
                    clauses.append((clause + "DELETE",) * 2)
                else:
                    updates = True
                    clauses.append(self._update_clause(clause, [target], whole=False))
        head = f"MERGE INTO t AS tgt USING {relation} AS src ON {pairs}"
        sql = " ".join([head] + [ours for ours, _ in clauses])
        model = " ".join([head] + [theirs for _, theirs in clauses])
        refusals = []
        again = None
        if fired:
            several = (
                f"SELECT 1 FROM t AS tgt JOIN {relation} AS src ON {pairs} WHERE {' OR '.join(f'({c})' for c in fired)}"
                " GROUP BY tgt.rowid HAVING count(*) > 1"
            )
            # A row that only goes may go for several reasons; engines differ in which they let pass.
            refusals.append(Refusal(several, SEVERAL_MATCH + key, optional=not updates))
            again = f"SELECT coalesce(sum(n - 1), 0) FROM ({several.replace('SELECT 1', 'SELECT count(*) AS n', 1)})"
        return Statement("MERGE", sql, [(model, True)], refusals, counted_again=again)

    def _conditions(self, scope: list[Relation]) -> list[str | None]:
        """The conditions of one or two clauses of a kind: only the last may take every row."""
        # Parentheses, because AND ends where THEN begins for some and at the first OR for others.
        conditions: list[str | None] = [
            f"({self.expressions.condition(scope, 1, subqueries=False)})" for _ in range(self.chance.choice([1, 1, 2]))
        ]
        if self.chance.random() < 0.6:
            conditions[-1] = None
        return conditions

    def _update_clause(self, clause: str, scope: list[Relation], whole: bool) -> tuple[str, str]:
        if whole and self.chance.random() < 0.3:
            sets = ", ".join(f"{c.quoted} = src.{c.quoted}" for c in self.target.columns)
            return f"{clause}UPDATE SET *", f"{clause}UPDATE SET {sets}"
        text = f"{clause}UPDATE SET {self._assignments(scope, subqueries=False)}"
        return text, text

    def _insert_clause(self, clause: str, source: Relation, whole: bool) -> tuple[str, str]:
        if whole and self.chance.random() < 0.4:
            names = ", ".join(c.quoted for c in self.target.columns)
            values = ", ".join(f"src.{c.quoted}" for c in self.target.columns)
            return f"{clause}INSERT *", f"{clause}INSERT ({names}) VALUES ({values})"
        columns = self._some_columns()
        values = []
        for column in columns:
            if column in source.columns and self.chance.random() < 0.6:
                values.append(source.reference(column))
            else:
                values.append(self.expressions.value(column.kind, [source], 1, subqueries=False))
        text = f"{clause}INSERT ({', '.join(c.quoted for c in columns)}) VALUES ({', '.join(values)})"
        return text, text

    # --- around the rows -------------------------------------------------------------------------

    def fill_source(self) -> Statement:
        """New rows for the source; no id twice, except once in a while."""
        chance = self.chance
        ids = [str(n) for n in chance.sample(range(61), chance.randint(3, 30))]
        if chance.random() < 0.5:
            ids.append("NULL")
        if chance.random() < 0.25:
            ids.append(chance.choice(ids))
        literal = self.expressions.literal
        rows = []
        for key in ids:
            others = [key if c.name == "id" else literal(c.kind) for c in self.source.columns]
            rows.append(f"({', '.join(others)})")
        values = f"VALUES {', '.join(rows)}"
        model = [("DELETE FROM s", False), (f"INSERT INTO s {values}", True)]
        return Statement("INSERT OVERWRITE", f"INSERT OVERWRITE s {values}", model)

    def add_check(self) -> Statement:
        if len(self.target.checks) >= 2:
            return self.update()
        self.constraints += 1
        name = f"check_{self.constraints}"
        chosen = self.expressions.condition([self.target.relation(qualified=False)], 1, subqueries=False)
        # One that most rows fulfil, so that statements go on to be done.
        condition = f"{chosen} OR id > 9 OR id IS NULL"
        sql = f"ALTER TABLE t ADD CONSTRAINT {name} CHECK ({condition})"
        broken = Refusal(f"SELECT 1 FROM t WHERE NOT ({condition})", f"CHECK '{name}'.* does not hold")
        return Statement("ADD CHECK", sql, [], [broken], counts=False, adds_check=(name, condition))

    def add_column(self) -> Statement:
        column = Column(f"x{len(self.target.columns)}", self.chance.choice([INTEGER, TEXT, DECIMAL, DATE]))
        sql = f"ALTER TABLE t ADD COLUMN {column.quoted} {column.sql_type}"
        return Statement("ADD COLUMN", sql, [(sql, False)], counts=False, adds_column=column)

    def optimize(self) -> Statement:
        return Statement("OPTIMIZE", "OPTIMIZE t", [], counts=False)

    def done(self, statement: Statement) -> None:
        """Learns what a statement has changed about the target."""
        if statement.adds_check:
            name, condition = statement.adds_check
            self.target.checks[name] = condition
        if statement.adds_column:
            self.target.columns += (statement.adds_column,)
            self._learn()
