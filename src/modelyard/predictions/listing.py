"""Lists of predictions: what a list may be narrowed by, and its SQL, made so that each shape of it has its index."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

from modelyard.db.base import Statement
from modelyard.predictions import statements
from modelyard.predictions.record import TERMINAL, Prediction, Status

Cursor = tuple[int, str]
_END: Cursor = (2**62, "")

COUNT_BY_STATUS = Statement(
    "count_predictions_by_status", "SELECT status, COUNT(*) AS number FROM predictions GROUP BY status"
)
COUNT_OPEN = Statement(
    "count_open_predictions",
    f"SELECT status, COUNT(*) AS number FROM predictions WHERE {statements.OPEN} GROUP BY status",  # noqa: S608
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a list of predictions holds; what is not said does not narrow it.

    `statuses`: any of these. `created_after` (included) and `created_before`: microseconds since 1970. `account_id`
    None: those of every account.
    """

    account_id: str | None = None
    model_id: str | None = None
    version_id: str | None = None
    statuses: tuple[Status, ...] = ()
    source: str | None = None
    created_after: int | None = None
    created_before: int | None = None

    def shows(self, record: Prediction) -> bool:
        """Does it hold this record, as far as that can change while a prediction lives?"""
        return not self.statuses or record.status in self.statuses


def query(wanted: Filter, *, limit: int, before: Cursor | None) -> tuple[Statement, dict[str, Any]]:
    """The page behind `before` (the last seen `created_at` and id), newest first, and its parameters."""
    # Equal on every page, so that `model_id` or the few that are open decide which index is read.
    only_open = bool(wanted.statuses) and not TERMINAL.intersection(wanted.statuses)
    statuses = sorted({status.value for status in wanted.statuses})
    given = {
        "account_id": wanted.account_id,
        "model_id": wanted.model_id,
        "version_id": wanted.version_id,
        "source": wanted.source,
        "created_after": wanted.created_after,
        "created_before": wanted.created_before,
    }
    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    before_at, before_id = before or _END
    statement = _statement(frozenset(values), tuple(statuses), only_open)
    return statement, {**values, "before_at": before_at, "before_id": before_id, "limit": limit}


@cache
def _statement(given: frozenset[str], statuses: tuple[str, ...], only_open: bool) -> Statement:
    terms = ["(created_at < :before_at OR (created_at = :before_at AND id < :before_id))"]
    terms += [_TERMS[name] for name in _TERMS if name in given]
    if "account_id" in given:
        # A model's own index, and that of the few which are open, are shorter than a busy account's.
        hidden = "model_id" in given or only_open
        terms.append("account_id || '' = :account_id" if hidden else "account_id = :account_id")
    if statuses:
        terms.append(_status_term(statuses, only_open))
    sql = (
        f"SELECT {statements.LIST_COLUMNS} FROM predictions WHERE {' AND '.join(terms)}"  # noqa: S608
        " ORDER BY created_at DESC, id DESC LIMIT :limit"
    )
    return Statement("list_predictions", sql)


_TERMS = {
    "model_id": "model_id = :model_id",
    "version_id": "version_id = :version_id",
    "source": "source = :source",
    "created_after": "created_at >= :created_after",
    "created_before": "created_at < :created_before",
}


def _status_term(statuses: Iterable[str], only_open: bool) -> str:
    listed = set(statuses)
    if not only_open:
        # What runs is written down after a moment only: until then its row says `starting`.
        also = {"starting"} if "processing" in listed else set()
        return _one_of(listed | also)
    both = statements.OPEN
    return f"{both} AND (status = 'processing' OR instance_id IS NOT NULL)" if listed == {"processing"} else both


def _one_of(statuses: set[str]) -> str:
    names = [f"'{status}'" for status in sorted(statuses)]
    return f"status = {names[0]}" if len(names) == 1 else f"status IN ({', '.join(names)})"
