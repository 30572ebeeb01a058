"""A column with the type that `CREATE TABLE` takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dbt.adapters.base.column import Column


@dataclass
class WhimbrelColumn(Column):
    TYPE_LABELS: ClassVar[dict[str, str]] = {"TEXT": "STRING", "FLOAT": "DOUBLE", "INTEGER": "BIGINT"}

    def is_string(self) -> bool:
        return self.dtype == "STRING"

    def is_integer(self) -> bool:
        return self.dtype in ("TINYINT", "SMALLINT", "INT", "BIGINT")

    def is_float(self) -> bool:
        return self.dtype in ("REAL", "DOUBLE")

    def is_numeric(self) -> bool:
        return self.dtype.startswith("DECIMAL")

    def string_size(self) -> int:
        """Lengths of texts are not kept, so one is as wide as the other."""
        return 256

    @classmethod
    def string_type(cls, size: int) -> str:
        return "STRING"

    @property
    def data_type(self) -> str:
        return self.dtype
