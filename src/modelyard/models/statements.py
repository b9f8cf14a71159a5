"""The SQL of models and versions, named. Rows are turned into records here and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from modelyard import timeouts
from modelyard.db.base import Row, Statement
from modelyard.models import interface
from modelyard.models.record import TEXTS, Direction, Model, Sort, Version, environment_of

_MODEL_COLUMNS = ", ".join(Model.__dataclass_fields__)
_VERSION_COLUMNS = "model_id, id, created_at, cog_version, openapi_schema, config, concurrency"
_SEEN = "(visibility = 'public' OR owner = :owner)"

INSERT = Statement(
    "insert_model",
    f"INSERT INTO models ({_MODEL_COLUMNS})"  # noqa: S608
    f" VALUES ({', '.join(':' + name for name in Model.__dataclass_fields__)})",
)
GET = Statement("get_model", f"SELECT {_MODEL_COLUMNS} FROM models WHERE owner = :owner AND name = :name")  # noqa: S608
BY_ID = Statement("get_model_by_id", f"SELECT {_MODEL_COLUMNS} FROM models WHERE id = :id")  # noqa: S608
DELETE = Statement("delete_model", "DELETE FROM models WHERE id = :id")
DELETE_SECRETS = Statement("delete_model_secrets", "DELETE FROM model_secrets WHERE model_id = :id")
UPDATE = Statement(
    "update_model",
    f"UPDATE models SET updated_at = :updated_at, {', '.join(f'{name} = :{name}' for name in TEXTS)} WHERE id = :id",  # noqa: S608
)
COUNT = Statement("count_models", "SELECT COUNT(*) AS number FROM models")
COUNT_VERSIONS = Statement("count_versions", "SELECT COUNT(*) AS number FROM versions WHERE deleted_at IS NULL")
SEARCH = Statement(
    "search_models",
    f"SELECT {_MODEL_COLUMNS} FROM models WHERE {_SEEN}"  # noqa: S608
    " AND (LOWER(owner || '/' || name) LIKE :pattern ESCAPE '!'"
    " OR LOWER(COALESCE(description, '')) LIKE :pattern ESCAPE '!')"
    " ORDER BY run_count DESC, created_at DESC LIMIT :limit",
)
RAN = Statement(
    "count_runs",
    "UPDATE models SET run_count = run_count + :runs, last_run_at = :at WHERE id = :id",
    by_key=True,
)

INSERT_VERSION = Statement(
    "insert_version",
    "INSERT INTO versions"
    " (model_id, id, created_at, cog_version, openapi_schema, config, concurrency, account_id, deleted_at)"
    " VALUES (:model_id, :id, :created_at, :cog_version, :openapi_schema, :config, :concurrency, :account_id, NULL)"
    " ON CONFLICT (model_id, id) DO UPDATE SET deleted_at = NULL",
)
SET_LATEST = Statement(
    "set_latest_version",
    "UPDATE models SET latest_version_id = :version_id, latest_version_at = :at, updated_at = :at WHERE id = :model_id",
)
RESET_LATEST = Statement(
    "reset_latest_version",
    "UPDATE models SET latest_version_id = (SELECT id FROM versions WHERE model_id = :model_id AND deleted_at IS NULL"
    " ORDER BY created_at DESC, id DESC LIMIT 1), latest_version_at = (SELECT created_at FROM versions"
    " WHERE model_id = :model_id AND deleted_at IS NULL ORDER BY created_at DESC, id DESC LIMIT 1)"
    " WHERE id = :model_id",
)
VERSION = Statement(
    "get_version",
    f"SELECT {_VERSION_COLUMNS} FROM versions WHERE model_id = :model_id AND id = :id AND deleted_at IS NULL",  # noqa: S608
)
BY_VERSION = Statement(
    "models_of_version",
    f"SELECT {', '.join('m.' + c for c in Model.__dataclass_fields__)} FROM versions v"  # noqa: S608
    " JOIN models m ON m.id = v.model_id WHERE v.id = :id AND v.deleted_at IS NULL ORDER BY v.created_at, m.id",
)
SCHEMA = Statement("get_schema", "SELECT openapi_schema FROM versions WHERE model_id = :model_id AND id = :id")
VERSIONS = Statement(
    "list_versions",
    f"SELECT {_VERSION_COLUMNS} FROM versions WHERE model_id = :model_id AND deleted_at IS NULL"  # noqa: S608
    " AND (created_at < :before_at OR (created_at = :before_at AND id < :before_id))"
    " ORDER BY created_at DESC, id DESC LIMIT :limit",
)
IDS = Statement("version_ids_of_model", "SELECT id FROM versions WHERE model_id = :model_id AND deleted_at IS NULL")
DELETE_VERSION = Statement(
    "delete_version",
    "UPDATE versions SET deleted_at = :deleted_at WHERE model_id = :model_id AND id = :id AND deleted_at IS NULL",
)
EVERY_VERSION = Statement(
    "every_version",
    "SELECT m.owner, m.name, v.id, v.created_at FROM versions v JOIN models m ON m.id = v.model_id"
    " WHERE v.deleted_at IS NULL ORDER BY m.owner, m.name, v.created_at DESC, v.id",
)
VERSION_IDS = Statement("version_ids", "SELECT DISTINCT id FROM versions")
LIVING = Statement(
    "living_versions",
    "SELECT model_id, id FROM versions WHERE deleted_at IS NULL"
    " UNION SELECT model_id, version_id FROM predictions WHERE status IN ('starting', 'processing')",
)
VERSION_IN_USE = Statement(
    "version_in_use",
    "SELECT id FROM predictions WHERE model_id = :model_id AND version_id = :version_id"
    " AND status IN ('starting', 'processing') LIMIT 1",
)

_SORTS: Mapping[Sort, str] = {
    "model_created_at": "created_at",
    "latest_version_created_at": "COALESCE(latest_version_at, created_at)",
}


def _list_statement(sort: Sort, direction: Direction) -> Statement:
    key = _SORTS[sort]
    sign, word = (">", "ASC") if direction == "asc" else ("<", "DESC")
    return Statement(
        f"list_models_{sort}_{direction}",
        f"SELECT {_MODEL_COLUMNS} FROM models WHERE {_SEEN}"  # noqa: S608
        f" AND ({key} {sign} :at OR ({key} = :at AND id {sign} :id)) ORDER BY {key} {word}, id {word} LIMIT :limit",
    )


LISTS = {(sort, direction): _list_statement(sort, direction) for sort in _SORTS for direction in ("asc", "desc")}


def model(row: Row) -> Model:
    """A row of `models` as a record."""
    return Model(**row)


def interface_of(row: Row) -> interface.Interface:
    """The interface in a row that has `openapi_schema`."""
    return interface.read(msgspec.json.decode(row["openapi_schema"] or "{}", type=dict[str, Any]))


def version(row: Row) -> Version:
    """A row of `versions` as a record."""
    schema = msgspec.json.decode(row["openapi_schema"] or "{}", type=dict[str, Any])
    config = msgspec.json.decode(row["config"] or "{}", type=dict[str, Any])
    return Version(
        model_id=row["model_id"],
        id=row["id"],
        created_at=row["created_at"],
        cog_version=row["cog_version"] or "",
        schema=schema,
        config=config,
        concurrency=row["concurrency"],
        interface=interface.read(schema),
        timeouts=timeouts.read(environment_of(config)),
    )
