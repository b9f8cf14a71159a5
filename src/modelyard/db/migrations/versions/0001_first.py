"""The first tables: accounts, models, predictions, files, webhooks, instances and the registry."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

Kind = sa.types.TypeEngine[Any]

# Times are microseconds since 1970 in UTC, JSON is text, booleans are 0 and 1. Text sorts by its bytes everywhere.
Text: Kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Integer: Kind = sa.Integer()
Big: Kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Real: Kind = sa.Double().with_variant(sa.REAL(), "sqlite")


def upgrade() -> None:
    _people()
    _models()
    _predictions()
    _files()
    _machine()
    _registry()


def _table(name: str, *parts: sa.Column[Any] | sa.Constraint) -> None:
    # STRICT: SQLite refuses a value of the wrong type, as PostgreSQL does.
    op.create_table(name, *parts, sqlite_strict=True)


def _text(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, Text, nullable=False) for name in names]


def _big(*names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, Big, nullable=False) for name in names]


def _maybe(kind: Kind, *names: str) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=True) for name in names]


def _count(name: str, kind: Kind = Integer) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, server_default="0")


def _primary(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=f"{table}_key")


def _unique(name: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=name)


def _people() -> None:
    _table("meta", *_text("key", "value"), _primary("meta", "key"))
    _table(
        "accounts",
        *_text("id", "username", "name", "type"),
        *_big("created_at"),
        *_text("webhook_secret", "files_secret"),
        _primary("accounts", "id"),
        _unique("accounts_username", "username"),
    )
    _table(
        "tokens",
        *_text("id", "account_id", "name", "hash"),
        *_big("created_at"),
        *_maybe(Big, "disabled_at"),
        _primary("tokens", "id"),
        _unique("tokens_hash", "hash"),
    )
    op.create_index("tokens_account", "tokens", ["account_id"])


def _models() -> None:
    _table(
        "models",
        *_text("id", "owner", "name", "visibility"),
        *_maybe(Text, "description", "readme", "github_url", "paper_url", "license_url", "weights_url"),
        *_maybe(Text, "cover_image_url"),
        *_text("hardware"),
        _count("run_count", Big),
        *_maybe(Text, "latest_version_id"),
        *_maybe(Big, "latest_version_at"),
        *_maybe(Text, "default_example_id"),
        *_big("created_at", "updated_at"),
        _primary("models", "id"),
        _unique("models_owner_name", "owner", "name"),
    )
    op.create_index("models_visibility", "models", ["visibility", "created_at"])
    op.create_index("models_latest_version", "models", ["latest_version_at"])
    _table(
        "versions",
        *_text("model_id", "id"),
        *_big("created_at"),
        *_text("cog_version", "openapi_schema", "config"),
        sa.Column("concurrency", Integer, nullable=False),
        *_text("account_id"),
        *_maybe(Big, "deleted_at"),
        _primary("versions", "model_id", "id"),
    )
    op.create_index("versions_id", "versions", ["id"])
    op.create_index("versions_created", "versions", ["model_id", "created_at"])


def _predictions() -> None:
    _table(
        "predictions",
        *_text("id", "kind", "account_id", "model_id", "model", "version_id"),
        *_maybe(Text, "deployment"),
        *_text("status", "source", "input"),
        *_maybe(Text, "output", "logs", "error", "metrics", "webhook", "webhook_events", "context"),
        *_big("created_at"),
        *_maybe(Big, "started_at", "completed_at", "deadline_at", "cancel_requested_at"),
        *_maybe(Real, "run_timeout_seconds"),
        _count("attempts"),
        *_maybe(Text, "lease_node"),
        *_maybe(Big, "lease_epoch"),
        *_maybe(Text, "instance_id"),
        _count("journal"),
        _count("data_removed"),
        _primary("predictions", "id"),
    )
    op.create_index("predictions_account", "predictions", ["account_id", "created_at", "id"])
    is_open = sa.text("status IN ('starting', 'processing')")
    op.create_index(
        "predictions_open",
        "predictions",
        ["model_id", "version_id", "created_at", "id"],
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
    _table(
        "webhooks",
        *_text("id", "prediction_id", "event", "url", "body"),
        *_big("created_at"),
        _count("attempts"),
        *_maybe(Big, "next_attempt_at", "delivered_at", "failed_at"),
        *_maybe(Integer, "last_status"),
        *_maybe(Text, "last_error"),
        _primary("webhooks", "id"),
    )
    is_due = sa.text("delivered_at IS NULL AND failed_at IS NULL")
    op.create_index("webhooks_due", "webhooks", ["next_attempt_at"], sqlite_where=is_due, postgresql_where=is_due)


def _files() -> None:
    _table(
        "files",
        *_text("id", "account_id", "name", "content_type"),
        *_big("size"),
        *_text("md5", "sha256", "metadata", "blob_key"),
        *_big("created_at"),
        *_maybe(Big, "expires_at"),
        _primary("files", "id"),
    )
    op.create_index("files_account", "files", ["account_id", "created_at", "id"])


def _machine() -> None:
    _table(
        "nodes",
        *_text("id", "address"),
        *_big("epoch", "started_at", "heartbeat_at"),
        _primary("nodes", "id"),
    )
    _table(
        "instances",
        *_text("id", "node", "pool", "model_id", "version_id", "engine", "state"),
        *_maybe(Integer, "pid"),
        *_maybe(Real, "pid_started"),
        *_text("token_hash", "hardware"),
        *_big("memory_bytes"),
        sa.Column("cpus", Real, nullable=False),
        *_text("gpus"),
        sa.Column("concurrency", Integer, nullable=False),
        *_big("created_at"),
        *_maybe(Big, "ready_at", "stopped_at"),
        *_maybe(Text, "error"),
        _primary("instances", "id"),
    )
    op.create_index("instances_state", "instances", ["state"])


def _registry() -> None:
    _table(
        "manifests",
        *_text("repository", "digest", "media_type"),
        *_big("size"),
        *_text("blob_key"),
        *_big("created_at"),
        _primary("manifests", "repository", "digest"),
    )
    _table(
        "tags",
        *_text("repository", "tag", "digest"),
        *_big("updated_at"),
        _primary("tags", "repository", "tag"),
    )
    _table(
        "repository_blobs",
        *_text("repository", "digest"),
        *_big("size", "created_at"),
        _primary("repository_blobs", "repository", "digest"),
    )
