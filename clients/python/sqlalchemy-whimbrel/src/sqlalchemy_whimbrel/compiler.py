"""How Whimbrel's SQL differs from SQLAlchemy's own idea of SQL."""

from __future__ import annotations

import re

from sqlalchemy import exc, types, util
from sqlalchemy.sql import compiler, elements

NO_INDEXES = "-- Whimbrel has no indexes"

RESERVED = frozenset(
    """
    all analyze and anti any array as asc asof between both by case cast check cluster collate column connect
    constraint create cross cube current_date current_time current_timestamp current_user default delete desc
    describe distinct distribute drop else end escape except exclude exists explain extract false fetch filter
    following for foreign from full function grant group grouping having if in inner insert intersect interval
    into is join lateral leading left like limit localtime localtimestamp match_recognize merge minus natural
    not null of offset on or order outer over partition pivot preceding preserve primary qualify range recursive
    references returning right rollup row rows select semi session_user set settings similar some sort start
    struct symmetric table tablesample then time timestamp to top trailing true truncate try_cast type unbounded
    union unique unknown unnest unpivot update user using values view when where window with within
    """.split()
)
LEGAL = re.compile(r"^[a-z_][a-z0-9_]*$")


class WhimbrelIdentifierPreparer(compiler.IdentifierPreparer):
    reserved_words = RESERVED
    # Unquoted names are turned into lower case, and `$` is no part of one.
    legal_characters = LEGAL
    illegal_initial_characters = set("0123456789$")


class WhimbrelCompiler(compiler.SQLCompiler):
    def limit_clause(self, select, **kw) -> str:
        # LIMIT and OFFSET stand alone.
        text = ""
        if select._limit_clause is not None:
            text += "\n LIMIT " + self.process(select._limit_clause, **kw)
        if select._offset_clause is not None:
            text += "\n OFFSET " + self.process(select._offset_clause, **kw)
        return text

    def for_update_clause(self, select, **kw) -> str:
        raise exc.CompileError("Whimbrel has no locks that SELECT … FOR UPDATE could take")

    def delete_extra_from_clause(self, delete_stmt, from_table, extra_froms, from_hints, **kw) -> str:
        kw["asfrom"] = True
        return "USING " + ", ".join(t._compiler_dispatch(self, fromhints=from_hints, **kw) for t in extra_froms)

    def visit_truediv_binary(self, binary, operator, **kw) -> str:
        # Whole numbers are divided as whole numbers, unless one is none.
        right = binary.right
        if right.type._type_affinity is types.Integer:
            right = elements.Cast(right, types.Float())
        return f"{self.process(binary.left, **kw)} / {self.process(right, **kw)}"

    def visit_empty_set_expr(self, element_types, **kw) -> str:
        columns = ", ".join("NULL" for _ in element_types) or "NULL"
        return f"SELECT {columns} WHERE false"

    def visit_regexp_match_op_binary(self, binary, operator, **kw) -> str:
        return self._regexp(binary, "~", kw)

    def visit_not_regexp_match_op_binary(self, binary, operator, **kw) -> str:
        return self._regexp(binary, "!~", kw)

    def _regexp(self, binary, operator: str, kw) -> str:
        flags = binary.modifiers.get("flags")
        if flags not in (None, "i"):
            raise exc.CompileError(f"of the flags of a regular expression only 'i' is supported, not {flags!r}")
        operator += "*" if flags else ""
        return f"{self.process(binary.left, **kw)} {operator} {self.process(binary.right, **kw)}"

    def visit_regexp_replace_op_binary(self, binary, operator, **kw) -> str:
        arguments = [self.process(binary.left, **kw), self.process(binary.right, **kw)]
        if (flags := binary.modifiers.get("flags")) is not None:
            arguments.append(self.render_literal_value(flags, types.String()))
        return f"regexp_replace({', '.join(arguments)})"


class WhimbrelDDLCompiler(compiler.DDLCompiler):
    def get_column_specification(self, column, **kw) -> str:
        text = self.preparer.format_column(column)
        text += " " + self.dialect.type_compiler.process(column.type, type_expression=column)
        if column.computed is not None:
            text += " " + self.process(column.computed)
        if (default := self.get_column_default_string(column)) is not None:
            text += " DEFAULT " + default  # which the server refuses by its name
        if not column.nullable:
            text += " NOT NULL"
        if column.comment is not None:
            text += " COMMENT " + self._text(column.comment)
        return text

    def _text(self, text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    def visit_computed_column(self, generated, **kw) -> str:
        expression = self.sql_compiler.process(generated.sqltext, include_table=False, literal_binds=True)
        return f"GENERATED ALWAYS AS ({expression})"

    def post_create_table(self, table) -> str:
        options = table.dialect_options["whimbrel"]
        parts = []
        if options["partitioned_by"]:
            names = (self.preparer.quote(name) for name in util.to_list(options["partitioned_by"]))
            parts.append(f"PARTITIONED BY ({', '.join(names)})")
        if options["location"]:
            parts.append(f"LOCATION {self._text(options['location'])}")
        if options["tblproperties"]:
            pairs = (f"{self._text(key)} = {self._text(str(v))}" for key, v in options["tblproperties"].items())
            parts.append(f"TBLPROPERTIES ({', '.join(pairs)})")
        if table.comment:
            parts.append(f"COMMENT {self._text(table.comment)}")
        return "".join("\n" + part for part in parts)

    def visit_create_index(self, create, **kw) -> str:
        index = create.element
        if index.unique:
            raise exc.CompileError(f"Whimbrel has no indexes, so index {index.name!r} cannot keep rows unique")
        return NO_INDEXES

    def visit_drop_index(self, drop, **kw) -> str:
        return NO_INDEXES

    def visit_set_table_comment(self, create, **kw) -> str:
        return f"COMMENT ON TABLE {self.preparer.format_table(create.element)} IS {self._text(create.element.comment)}"

    def visit_drop_table_comment(self, drop, **kw) -> str:
        return f"COMMENT ON TABLE {self.preparer.format_table(drop.element)} IS NULL"

    def visit_set_column_comment(self, create, **kw) -> str:
        comment = "NULL" if create.element.comment is None else self._text(create.element.comment)
        return f"COMMENT ON COLUMN {self.preparer.format_column(create.element, use_table=True, use_schema=True)} IS {comment}"


class WhimbrelTypeCompiler(compiler.GenericTypeCompiler):
    def visit_TINYINT(self, type_, **kw) -> str:
        return "TINYINT"

    def visit_INTEGER(self, type_, **kw) -> str:
        return "INT"

    def visit_FLOAT(self, type_, **kw) -> str:
        # REAL has 24 bits, and FLOAT of SQLAlchemy without a precision means Python's.
        return "REAL" if type_.precision is not None and type_.precision <= 24 else "DOUBLE"

    def visit_DOUBLE(self, type_, **kw) -> str:
        return "DOUBLE"

    def visit_double(self, type_, **kw) -> str:
        return "DOUBLE"

    visit_DOUBLE_PRECISION = visit_DOUBLE

    def visit_NUMERIC(self, type_, **kw) -> str:
        # A decimal needs its digits; without them it has room on both sides of the point.
        precision = 38 if type_.precision is None else type_.precision
        scale = type_.scale if type_.scale is not None else (10 if type_.precision is None else 0)
        return f"DECIMAL({precision}, {scale})"

    visit_DECIMAL = visit_NUMERIC

    def visit_STRING(self, type_, **kw) -> str:
        return "STRING"

    # Lengths of texts are not kept.
    visit_VARCHAR = visit_NVARCHAR = visit_CHAR = visit_NCHAR = visit_TEXT = visit_CLOB = visit_STRING
    visit_UUID = visit_STRING

    def visit_BYTEA(self, type_, **kw) -> str:
        return "BYTEA"

    visit_BLOB = visit_BINARY = visit_VARBINARY = visit_large_binary = visit_BYTEA

    def visit_TIMESTAMP(self, type_, **kw) -> str:
        return "TIMESTAMP WITH TIME ZONE" if type_.timezone else "TIMESTAMP"

    visit_DATETIME = visit_TIMESTAMP

    def visit_TIME(self, type_, **kw) -> str:
        return "TIME"

    def visit_JSON(self, type_, **kw) -> str:
        raise exc.CompileError("Whimbrel has no type JSON; use STRUCT for known fields, or a text")

    def visit_ARRAY(self, type_, **kw) -> str:
        text = f"ARRAY<{self.process(type_.item_type, **kw)}>"
        for _ in range((type_.dimensions or 1) - 1):
            text = f"ARRAY<{text}>"
        return text

    def visit_STRUCT(self, type_, **kw) -> str:
        quote = self.dialect.identifier_preparer.quote
        return f"STRUCT<{', '.join(f'{quote(name)} {self.process(kind, **kw)}' for name, kind in type_.fields)}>"

    def visit_MAP(self, type_, **kw) -> str:
        return f"MAP<{self.process(type_.key, **kw)}, {self.process(type_.value, **kw)}>"
