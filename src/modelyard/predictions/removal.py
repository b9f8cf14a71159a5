"""Taking away predictions that have ended, with all that is kept of them: row, webhooks, journal, output files."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from urllib.parse import unquote

from modelyard.blobs.base import Blobs
from modelyard.db.base import Database, Statement, Tx
from modelyard.predictions import statements
from modelyard.predictions.outputs import Outputs
from modelyard.predictions.record import Prediction

# Guarded: what waits or runs stays, whoever asks.
_DELETE = Statement(
    "delete_prediction",
    "DELETE FROM predictions WHERE id = :id AND status NOT IN ('starting', 'processing')",
    by_key=True,
)
_DELETE_WEBHOOKS = Statement(
    "delete_webhooks_of_prediction",
    "DELETE FROM webhooks WHERE prediction_id = :id"
    " AND NOT EXISTS (SELECT 1 FROM predictions WHERE predictions.id = :id)",
)
_FORGET_EXAMPLE = Statement(
    "forget_example", "UPDATE models SET default_example_id = NULL WHERE default_example_id = :id"
)


async def remove(ids: Iterable[str], *, db: Database, blobs: Blobs, journal: Callable[[str], Path]) -> list[str]:
    """Remove those of `ids` that have ended, and give them back; what has not ended, or is not there, stays as it is.

    `journal` says where a prediction's journal is. The rows go last: what was interrupted can be asked for again.
    Raises OSError.
    """
    ended: list[str] = []
    for prediction_id in ids:
        row = await db.one(statements.GET, id=prediction_id)
        record = None if row is None else statements.from_row(row)
        if record is None or not record.terminal:
            continue
        for key in output_keys(record):
            await blobs.delete(key)
        await asyncio.to_thread(journal(prediction_id).unlink, missing_ok=True)
        ended.append(prediction_id)
    await db.transaction(partial(_delete_rows, ended))
    return ended


def _delete_rows(ids: list[str], tx: Tx) -> None:
    for prediction_id in ids:
        for statement in (_DELETE, _DELETE_WEBHOOKS, _FORGET_EXAMPLE):
            tx.run(statement, {"id": prediction_id})


def output_keys(record: Prediction) -> set[str]:
    """The blobs that the links in its output lead to."""
    pattern = rf"/outputs/{record.id}/(\d+)/[0-9a-f]+/([^\"\\?#\s]+)"
    found = re.findall(pattern, (record.output or b"").decode("utf-8", "replace"))
    return {Outputs.key(record.id, int(number), unquote(name)) for number, name in found}
