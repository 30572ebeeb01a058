"""Names as Whimbrel has them: a catalog, a schema, an identifier, all of them quoted."""

from __future__ import annotations

from dataclasses import dataclass, field

from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.relation import RelationType


@dataclass(frozen=True, eq=False, repr=False)
class WhimbrelRelation(BaseRelation):
    # `CREATE OR REPLACE` swaps in one commit, so nothing is ever renamed.
    renameable_relations: frozenset[RelationType] = field(default_factory=frozenset)
    replaceable_relations: frozenset[RelationType] = field(
        default_factory=lambda: frozenset({RelationType.View, RelationType.Table})
    )

    # A query in the place of a table needs no name.
    require_alias: bool = False

    @property
    def kind(self) -> str:
        """What the statements call it: `TABLE`, `VIEW` or `MATERIALIZED VIEW`."""
        return "table" if self.type is None else str(self.type.value).replace("_", " ")
