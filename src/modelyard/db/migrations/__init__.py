"""The shape of the tables over time: numbered revisions, applied forward, each file never edited after a release.

The server does not import the migration library: it compares revisions with plain SQL, and only where they differ a
child process (`python -m modelyard.db.migrations`) does the work.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from modelyard import errors
from modelyard.db.base import DatabaseError

SCRIPTS = Path(__file__).parent
SQLITE_PREFIX = "sqlite:///"
POSTGRES_PREFIXES = ("postgresql://", "postgres://")

# Writes a backup of tables at a revision, and gives its file.
BackUp = Callable[[str], Awaitable[Path]]

_READ_REVISION = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """What was done: the revision before (None: there were no tables) and after, and the backup from before."""

    before: str | None
    after: str
    backup: Path | None = None


class NewerSchemaError(errors.ModelyardError):
    """The database was made by a newer Modelyard; this one must not touch it."""

    code = "newer_schema"
    title = "The database is newer than this program"


class MigrationError(errors.ModelyardError):
    """A revision could not be applied; the database is as it was."""

    code = "migration_failed"
    title = "Migration failed"


async def migrate(
    database_url: str,
    back_up: BackUp | None = None,
    report: Callable[[str], None] | None = None,
    *,
    scripts: Path = SCRIPTS,
    to: str | None = None,
) -> Migration:
    """Bring a database to the newest revision of `scripts`, or to the revision `to`; nothing happens when it is there.

    `database_url`: `sqlite:///` and a path (absolute with four slashes), or `postgresql://…`. `back_up` is called with
    the revision of tables that are about to be changed, and gives the file that it wrote; what it raises stops
    everything. Nobody else may have an SQLite file open. `report` is told what happens, a sentence each time. Raises
    `NewerSchemaError`, `MigrationError`, `errors.UsageError` for a URL of another kind.
    """
    known = revisions(scripts)
    wanted = to or known[-1]
    before = await asyncio.to_thread(read_revision, database_url)
    if before == wanted:
        return Migration(before=before, after=before)
    if before is not None and before not in known:
        raise NewerSchemaError(
            f"the database is at revision {before}; this version of Modelyard knows up to {known[-1]}",
            hint="run the newer Modelyard that made it, or restore the backup that was made before its upgrade",
        )
    backup = None
    if before is not None and back_up is not None:
        backup = await back_up(before)
    if report is not None and before is not None:
        report(f"migrating the database from revision {before} to {wanted}{_kept(backup)}")
    await _upgrade(database_url, scripts, backup, wanted)
    return Migration(before=before, after=wanted, backup=backup)


def revisions(scripts: Path = SCRIPTS) -> tuple[str, ...]:
    """The numbers of all revisions, the oldest first: the files' names begin with them."""
    return tuple(sorted(path.name.partition("_")[0] for path in (scripts / "versions").glob("[0-9]*_*.py")))


def sqlite_path(database_url: str) -> Path | None:
    """The file that an SQLite URL names; None for a URL of PostgreSQL. Raises `errors.UsageError` for any other."""
    if database_url.startswith(SQLITE_PREFIX) and len(database_url) > len(SQLITE_PREFIX):
        return Path(database_url.removeprefix(SQLITE_PREFIX))
    if database_url.startswith(POSTGRES_PREFIXES):
        return None
    kind = database_url.partition("://")[0]
    raise errors.UsageError(
        f"database: a URL that begins with {kind!r} is not understood",
        hint="use sqlite:///path/to/yard.db or postgresql://user:password@host/name",
    )


def read_revision(database_url: str) -> str | None:
    """The revision a database is at; None when it has no tables yet (or is no file yet)."""
    path = sqlite_path(database_url)
    return _read_postgres(database_url) if path is None else _read_sqlite(path)


def _read_sqlite(path: Path) -> str | None:
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            row = connection.execute(_READ_REVISION).fetchone() if "alembic_version" in tables else None
    except sqlite3.Error as error:
        raise DatabaseError(f"{path} cannot be read as a database: {error}") from error
    return _revision(row, foreign=bool(tables), where=str(path))


def _read_postgres(database_url: str) -> str | None:
    # An extra, and 20 MB: not loaded by those who use SQLite.
    try:
        postgres = importlib.import_module("modelyard.db.postgres")
    except ModuleNotFoundError as missing:
        raise errors.UsageError(
            "database: PostgreSQL needs its driver, which is not installed",
            hint='install it with: pip install "modelyard[postgres]"',
        ) from missing
    with contextlib.closing(postgres.connect(database_url)) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()").fetchall()
        has_revision = any(row["tablename"] == "alembic_version" for row in tables)
        row = connection.execute(_READ_REVISION).fetchone() if has_revision else None
    return _revision(tuple(row.values()) if row else None, foreign=bool(tables), where="the PostgreSQL database")


def _revision(row: tuple[str, ...] | None, *, foreign: bool, where: str) -> str | None:
    if row is not None:
        return row[0]
    if foreign:
        raise DatabaseError(f"{where} holds tables that are not Modelyard's", hint="name an empty database")
    return None


def _kept(backup: Path | None) -> str:
    return f"; a backup from before is {backup}" if backup else ""


async def _upgrade(database_url: str, scripts: Path, backup: Path | None, to: str) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "modelyard.db.migrations", "-", str(scripts), to),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, talk = await child.communicate(database_url.encode())
    if child.returncode:
        lines = talk.decode(errors="replace").strip().splitlines() or [f"exit status {child.returncode}"]
        raise MigrationError(
            f"the database could not be migrated: {lines[-1]}",
            hint=f"the database is unchanged{_kept(backup)}",
        )
