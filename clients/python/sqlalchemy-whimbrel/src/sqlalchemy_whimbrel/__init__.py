"""SQLAlchemy for Whimbrel, over Arrow Flight SQL."""

from .dialect import WhimbrelDialect, WhimbrelWarning
from .types import ARRAY, BYTEA, DOUBLE, MAP, STRING, STRUCT, TINYINT

__all__ = [
    "ARRAY",
    "BYTEA",
    "DOUBLE",
    "MAP",
    "STRING",
    "STRUCT",
    "TINYINT",
    "WhimbrelDialect",
    "WhimbrelWarning",
]
__version__ = "0.1.0"
