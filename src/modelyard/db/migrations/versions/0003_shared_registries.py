"""Layers that a yard knows and has not; a count by which processes that share a registry see others' changes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

Kind = sa.types.TypeEngine[Any]

# As in the first revision: times are microseconds, text sorts by its bytes.
Text: Kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
Big: Kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "blob_origins",
        sa.Column("repository", Text, nullable=False),
        sa.Column("digest", Text, nullable=False),
        sa.Column("origin", Text, nullable=False),
        sa.Column("size", Big, nullable=False),
        sa.Column("created_at", Big, nullable=False),
        sa.Column("fetched_at", Big, nullable=True),
        sa.PrimaryKeyConstraint("repository", "digest", name="blob_origins_key"),
        sqlite_strict=True,
    )
    op.create_index("blob_origins_digest", "blob_origins", ["digest", "origin"])
    op.create_table(
        "repository_changes",
        sa.Column("repository", Text, nullable=False),
        sa.Column("changes", Big, nullable=False),
        sa.PrimaryKeyConstraint("repository", name="repository_changes_key"),
        sqlite_strict=True,
    )
