"""The SQL of predictions, named. Rows and records are turned into each other here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard.db.base import Statement
from modelyard.predictions import record as records
from modelyard.predictions.record import Prediction, Status

_COLUMNS = tuple(Prediction.__struct_fields__)

INSERT = Statement(
    "insert_prediction",
    f"INSERT INTO predictions ({', '.join(_COLUMNS)}) VALUES ({', '.join(':' + c for c in _COLUMNS)})",  # noqa: S608
)

OPEN = "status IN ('starting', 'processing')"
_COLUMN_LIST = ", ".join(_COLUMNS)

GET = Statement("get_prediction", f"SELECT {_COLUMN_LIST} FROM predictions WHERE id = :id")  # noqa: S608

# Guarded: an id that another node has taken, or that has ended, is left alone and counts as no row.
CLAIM = Statement(
    "claim_prediction",
    "UPDATE predictions SET lease_node = :lease_node, lease_epoch = :lease_epoch, instance_id = :instance_id,"
    " attempts = :attempts WHERE id = :id AND status = 'starting' AND instance_id IS NULL",
    by_key=True,
)
START = Statement(
    "start_prediction",
    "UPDATE predictions SET status = 'processing', started_at = :started_at, journal = :journal"
    " WHERE id = :id AND status IN ('starting', 'processing') AND lease_node = :lease_node",
    by_key=True,
)
REQUEUE = Statement(
    "requeue_prediction",
    "UPDATE predictions SET status = 'starting', started_at = NULL, lease_node = NULL, lease_epoch = NULL,"
    " instance_id = NULL, journal = 0, attempts = :attempts"
    " WHERE id = :id AND status IN ('starting', 'processing') AND (lease_node = :lease_node OR lease_node IS NULL)",
    by_key=True,
)
START_ANEW = Statement(
    "start_open_predictions_anew",
    "UPDATE predictions SET status = 'starting', started_at = NULL, lease_node = NULL, lease_epoch = NULL,"
    " instance_id = NULL, journal = 0, attempts = 0 WHERE status IN ('starting', 'processing')",
)
ASK_CANCEL = Statement(
    "ask_cancel_prediction",
    "UPDATE predictions SET cancel_requested_at = :cancel_requested_at"
    " WHERE id = :id AND status IN ('starting', 'processing')",
    by_key=True,
)
FINISH = Statement(
    "finish_prediction",
    "UPDATE predictions SET status = :status, started_at = :started_at, completed_at = :completed_at,"
    " output = :output, error = :error, logs = :logs, metrics = :metrics, journal = :journal, secrets = NULL,"
    " instance_id = :instance_id, attempts = :attempts"
    " WHERE id = :id AND status IN ('starting', 'processing') AND (lease_node = :lease_node OR lease_node IS NULL)",
    by_key=True,
)
OPEN_ROWS = Statement(
    "open_predictions",
    f"SELECT {_COLUMN_LIST} FROM predictions WHERE {OPEN} AND (instance_id IS NOT NULL)"  # noqa: S608
    " ORDER BY created_at, id",
)
WAITING_POOLS = Statement(
    "waiting_pools",
    "SELECT model_id, version_id, COUNT(*) AS waiting FROM predictions"
    " WHERE status IN ('starting', 'processing') AND instance_id IS NULL GROUP BY model_id, version_id",
)
WAITING_PAGE = Statement(
    "waiting_page",
    "SELECT id, account_id, created_at, deadline_at FROM predictions"
    " WHERE model_id = :model_id AND version_id = :version_id AND status IN ('starting', 'processing')"
    " AND instance_id IS NULL AND (created_at > :after_at OR (created_at = :after_at AND id > :after_id))"
    " ORDER BY created_at, id LIMIT :limit",
)

# What a list shows: all but the logs, which may be long, and what nobody is shown.
_UNSEEN = {"logs": "'' AS logs", "secrets": "NULL AS secrets"}
LIST_COLUMNS = ", ".join(_UNSEEN.get(c, c) for c in _COLUMNS)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "replace")


def _clean(text: str | None) -> str | None:
    # PostgreSQL's texts hold no NUL.
    return text.replace("\x00", "\ufffd") if text and "\x00" in text else text


def values(record: Prediction) -> tuple[Any, ...]:
    """A record as the values of INSERT: one for each column, in their order."""
    events, context = record.webhook_events, record.context
    return (
        record.id,
        record.kind,
        record.account_id,
        record.model_id,
        record.model,
        record.version_id,
        record.deployment,
        record.status.value,
        record.source,
        record.input.decode("utf-8", "replace"),
        _text(record.output),
        _clean(record.logs),
        _clean(record.error),
        _text(record.metrics),
        record.webhook,
        None if events is None else ",".join(events),
        None if context is None else msgspec.json.encode(context).decode(),
        record.created_at,
        record.started_at,
        record.completed_at,
        record.deadline_at,
        record.cancel_requested_at,
        record.run_timeout_seconds,
        record.attempts,
        record.lease_node,
        record.lease_epoch,
        record.instance_id,
        int(record.journal),
        int(record.data_removed),
        record.secrets,
    )


def claim_params(record: Prediction) -> dict[str, Any]:
    """The parameters of CLAIM."""
    return {
        "id": record.id,
        "lease_node": record.lease_node,
        "lease_epoch": record.lease_epoch,
        "instance_id": record.instance_id,
        "attempts": record.attempts,
    }


def finish_params(record: Prediction) -> dict[str, Any]:
    """The parameters of FINISH."""
    return {
        "id": record.id,
        "status": record.status.value,
        "started_at": record.started_at,
        "completed_at": record.completed_at,
        "output": _text(record.output),
        "error": _clean(record.error),
        "logs": _clean(record.logs),
        "metrics": _text(record.metrics),
        "journal": int(record.journal),
        "instance_id": record.instance_id,
        "attempts": record.attempts,
        "lease_node": record.lease_node,
    }


def from_row(row: Mapping[str, Any]) -> records.Prediction:
    """A row as a record."""
    events, context = row["webhook_events"], row["context"]
    fields = {name: row[name] for name in _COLUMNS}
    fields.update(
        status=Status(row["status"]),
        input=row["input"].encode(),
        output=None if row["output"] is None else row["output"].encode(),
        logs=row["logs"] or "",
        metrics=None if row["metrics"] is None else row["metrics"].encode(),
        webhook_events=None if events is None else tuple(e for e in events.split(",") if e),
        context=None if context is None else msgspec.json.decode(context, type=dict[str, str]),
        journal=bool(row["journal"]),
        data_removed=bool(row["data_removed"]),
    )
    return Prediction(**fields)
