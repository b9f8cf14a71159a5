"""Every version that there is, for whoever keeps house."""

from __future__ import annotations

from modelyard.db.base import Database
from modelyard.models import statements


class Census:
    """Counts versions; remembers nothing."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def every(self) -> list[tuple[str, str, int]]:
        """Every version that is not deleted: its model's full name, its id, when it was made."""
        rows = await self._db.all(statements.EVERY_VERSION)
        return [(f"{row['owner']}/{row['name']}", row["id"], int(row["created_at"])) for row in rows]

    async def ever(self) -> set[str]:
        """The ids of all versions that there ever were, deleted ones too."""
        return {row["id"] for row in await self._db.all(statements.VERSION_IDS)}

    async def living(self) -> set[tuple[str, str]]:
        """Every version that is not deleted or has predictions that have not ended, as (model's id, version's id)."""
        return {(row["model_id"], row["id"]) for row in await self._db.all(statements.LIVING)}
