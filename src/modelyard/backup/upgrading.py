"""Before an upgrade changes tables their rows are kept, and it is said how to go back."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from modelyard import errors
from modelyard.backup import making, restoring
from modelyard.backup.making import Source
from modelyard.db import copies, migrations
from modelyard.db.base import DatabaseError, Statement

FOLDER = "backups"
# How many of them stay, unless `keep_backups` says something else.
KEPT = 5

_NAME = re.compile(r"before-\d{4,}-\d{8}-\d{6}(?:-\d+)?\.tar")
SET_VERSION = Statement(
    "set_program_version",
    "INSERT INTO meta (key, value) VALUES ('program_version', :version)"
    " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
)
_VERSION = Statement("program_version", "SELECT value FROM meta WHERE key = 'program_version'")


async def bring_up_to_date(source: Source, report: Callable[[str], None], keep: int = KEPT) -> None:
    """Undo what a restore that was killed left, then bring the tables of a yard to what this program uses.

    `report` is told, a sentence each time, what is done and how to go back; `keep`: how many backups stay. Raises
    MigrationError, NewerSchemaError.
    """
    if await restoring.recover(source.database_url, source.data):
        report("a restore was cut off here; what it had begun was undone")
    try:
        await migrations.migrate(source.database_url, before(source, report, keep), report)
    except migrations.NewerSchemaError as error:
        usable = [path for path in kept(source.data / FOLDER) if path.name.split("-")[1] in migrations.revisions()]
        if not usable:
            raise
        back = f"yard restore --replace {shlex.quote(str(usable[-1]))}"
        hint = f"run the newer Modelyard that made it, or go back to what was kept before its upgrade: {back}"
        raise migrations.NewerSchemaError(error.detail, hint=hint) from None


def before(source: Source, report: Callable[[str], None], keep: int = KEPT) -> Callable[[str], Awaitable[Path]]:
    """What `migrations.migrate` calls before it changes tables: keeps their rows below the data folder, says how to go
    back, and lets go of the oldest that it kept. Raises MigrationError where they cannot be kept."""

    async def back_up(revision: str) -> Path:
        folder = source.data / FOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = _free_name(folder, revision, source.clock())
            await making.write(source, path)
        except (errors.ModelyardError, OSError) as error:
            why = error.strerror or str(error) if isinstance(error, OSError) else error.detail
            raise migrations.MigrationError(
                f"the backup before the upgrade cannot be written into {folder}: {why}",
                hint="nothing was changed; make room, or give this user access to the data folder",
            ) from error
        for old in kept(folder)[:-keep]:
            old.unlink(missing_ok=True)
        report(way_back(path, _version_before(source.database_url)))
        return path

    return back_up


def way_back(path: Path, version: str | None) -> str:
    """How to have the yard again as it was before an upgrade."""
    program = f"pip install modelyard=={version}" if version else "install the Modelyard that you had before"
    return (
        f"to go back: yard down, then {program}, then yard restore --replace {shlex.quote(str(path))} (with the --data"
        " and --database of this yard); what came after the upgrade is then not in the yard any more"
    )


def kept(folder: Path) -> list[Path]:
    """What upgrades have kept, the oldest first."""
    found = [path for path in folder.glob("before-*.tar") if _NAME.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _free_name(folder: Path, revision: str, now: int) -> Path:
    stem = f"before-{revision}-{datetime.fromtimestamp(now // 1_000_000, UTC):%Y%m%d-%H%M%S}"
    path, number = folder / f"{stem}.tar", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.tar"
    return path


def _version_before(database_url: str) -> str | None:
    with contextlib.suppress(DatabaseError):
        row = copies.one(database_url, _VERSION)
        return None if row is None else str(row["value"])
    return None
