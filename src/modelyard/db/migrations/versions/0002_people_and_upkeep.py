"""Browsers that are signed in, secrets of models and of inputs, and what lists of predictions are read by."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Kind = sa.types.TypeEngine[Any]

# As in the first revision: times are microseconds, text sorts by its bytes.
Text: Kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Big: Kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _browsers()
    _secrets()
    _lists()


def _table(name: str, *parts: sa.Column[Any] | sa.Constraint) -> None:
    op.create_table(name, *parts, sqlite_strict=True)


def _browsers() -> None:
    _table(
        "sessions",
        sa.Column("hash", Text, nullable=False),
        sa.Column("account_id", Text, nullable=False),
        sa.Column("created_at", Big, nullable=False),
        sa.Column("expires_at", Big, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="sessions_key"),
    )
    op.create_index("sessions_expires", "sessions", ["expires_at"])
    _table(
        "login_links",
        sa.Column("hash", Text, nullable=False),
        sa.Column("account_id", Text, nullable=False),
        sa.Column("expires_at", Big, nullable=False),
        sa.PrimaryKeyConstraint("hash", name="login_links_key"),
    )


def _secrets() -> None:
    _table(
        "model_secrets",
        sa.Column("model_id", Text, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.Column("created_at", Big, nullable=False),
        sa.Column("updated_at", Big, nullable=False),
        sa.PrimaryKeyConstraint("model_id", "name", name="model_secrets_key"),
    )
    op.add_column("predictions", sa.Column("secrets", Text, nullable=True))
    op.add_column("instances", sa.Column("secrets", Text, nullable=True))


def _lists() -> None:
    op.add_column("models", sa.Column("last_run_at", Big, nullable=True))
    # What is removed of a prediction is removed of its webhooks.
    op.create_index("webhooks_prediction", "webhooks", ["prediction_id"])
    op.create_index("predictions_model", "predictions", ["model_id", "created_at", "id"])
    # Failures are looked for often and written seldom.
    failed = sa.text("status = 'failed'")
    op.create_index(
        "predictions_failed",
        "predictions",
        ["account_id", "created_at", "id"],
        sqlite_where=failed,
        postgresql_where=failed,
    )
