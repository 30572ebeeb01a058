"""Whimbrel's types in SQLAlchemy's words, and the other way round."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
from sqlalchemy import types

try:
    from sqlalchemy.types import DOUBLE
except ImportError:  # SQLAlchemy 1.4

    class DOUBLE(types.Float):
        __visit_name__ = "DOUBLE"


class TINYINT(types.Integer):
    __visit_name__ = "TINYINT"


class STRING(types.String):
    __visit_name__ = "STRING"


class BYTEA(types.LargeBinary):
    __visit_name__ = "BYTEA"


class STRUCT(types.TypeEngine):
    """Named fields, each of a type of its own. Values are dictionaries."""

    __visit_name__ = "STRUCT"

    def __init__(self, *fields: tuple[str, types.TypeEngine]) -> None:
        self.fields = [(name, types.to_instance(kind)) for name, kind in fields]

    @property
    def python_type(self):
        return dict

    def __repr__(self) -> str:
        return f"STRUCT({', '.join(map(repr, self.fields))})"


class MAP(types.TypeEngine):
    """Keys and values. Only to read: Delta tables of other engines have such columns."""

    __visit_name__ = "MAP"

    def __init__(self, key: types.TypeEngine, value: types.TypeEngine) -> None:
        self.key, self.value = types.to_instance(key), types.to_instance(value)

    @property
    def python_type(self):
        return list

    def __repr__(self) -> str:
        return f"MAP({self.key!r}, {self.value!r})"


class ARRAY(types.ARRAY):
    """Values are lists, whose items have the item's type."""

    def bind_processor(self, dialect):
        return None

    def result_processor(self, dialect, coltype):
        return None


class Numeric(types.Numeric):
    """Parameters of one column have one type on their way, so that floats and decimals do not mix."""

    def bind_processor(self, dialect):
        return lambda value: value if value is None else Decimal(str(value))

    def result_processor(self, dialect, coltype):
        # What the server computes may be another type than SQLAlchemy thinks.
        kind = Decimal if self.asdecimal else float
        return lambda value: value if value is None or isinstance(value, kind) else kind(str(value))


class Float(types.Float):
    def bind_processor(self, dialect):
        return lambda value: value if value is None else float(value)


SIMPLE = {
    pa.bool_(): types.BOOLEAN,
    pa.int8(): TINYINT,
    pa.int16(): types.SMALLINT,
    pa.int32(): types.INTEGER,
    pa.int64(): types.BIGINT,
    # Delta has no unsigned integers; what queries answer is told as the next wider type.
    pa.uint8(): types.SMALLINT,
    pa.uint16(): types.INTEGER,
    pa.uint32(): types.BIGINT,
    pa.float16(): types.REAL,
    pa.float32(): types.REAL,
    pa.float64(): DOUBLE,
    pa.date32(): types.DATE,
    pa.date64(): types.DATE,
    pa.null(): types.NullType,
}


def of_arrow(kind: pa.DataType) -> types.TypeEngine:
    """The type of a column that travels as `kind`; `NullType` for what SQLAlchemy has no word for."""
    if kind in SIMPLE:
        return SIMPLE[kind]()
    if kind == pa.uint64():
        return types.DECIMAL(20, 0)
    if pa.types.is_decimal(kind):
        return types.DECIMAL(kind.precision, kind.scale)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return STRING()
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return BYTEA()
    if pa.types.is_timestamp(kind):
        return types.TIMESTAMP(timezone=kind.tz is not None)
    if pa.types.is_time(kind):
        return types.TIME()
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return types.Interval()
    if pa.types.is_struct(kind):
        return STRUCT(*((field.name, of_arrow(field.type)) for field in kind))
    if pa.types.is_map(kind):
        return MAP(of_arrow(kind.key_type), of_arrow(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item, dimensions = kind.value_type, 1
        while pa.types.is_list(item) or pa.types.is_large_list(item):
            item, dimensions = item.value_type, dimensions + 1
        return ARRAY(of_arrow(item), dimensions=dimensions)
    return types.NullType()
