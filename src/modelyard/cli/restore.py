"""`yard restore`: put a backup into a data folder and a database that no yard uses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from modelyard import host, settings
from modelyard.backup import restoring
from modelyard.backup.restoring import Checked, Restored
from modelyard.cli import backup, progress, quick, words
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import Conflict, NotFound
from modelyard.settings import Settings


def run(
    talk: Talk, file: str, *, data: str | None, database: str | None, replace: bool, only_check: bool, as_json: bool
) -> None:
    """Check it, then put it back."""
    found, _ = settings.load({"data": data, "database": database}, settings.environment(), Path.cwd())
    path = Path(file).expanduser()
    if not path.is_file():
        raise NotFound(f"there is no file {path}")
    with progress.bar("Checking", path.stat().st_size, talk) as bar:
        checked = restoring.check(path, bar.advance)
    if only_check:
        _tell_checked(checked, as_json=as_json)
        return
    with _alone(found), progress.bar("Restoring", checked.bytes, talk) as bar:
        name = _name(found.data)
        work = restoring.restore(checked, found.database, found.data, name=name, replace=replace, arrived=bar.advance)
        restored = asyncio.run(work)
    _tell(checked, restored, found, as_json=as_json)


@contextlib.contextmanager
def _alone(found: Settings) -> Iterator[None]:
    """The folder, made where it is missing; one that was made goes again after an error."""
    was_there = found.data.exists()
    try:
        with contextlib.ExitStack() as holding:
            try:
                holding.enter_context(host.alone_in(found.data))
            except Conflict:
                raise Conflict(
                    f"a yard runs on the data folder {found.data}; a backup is not put over a running yard",
                    hint="stop it first with `yard down`, or restore beside it: --data OTHER",
                ) from None
            yield
    except BaseException:
        if not was_there:
            with contextlib.suppress(OSError):
                (found.data / host.LOCK_FILE).unlink(missing_ok=True)
                found.data.rmdir()
        raise


def _name(data: Path) -> str:
    stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    name, number = stem, 1
    while (data / f"before-restore-{name}").exists():
        number += 1
        name = f"{stem}-{number}"
    return name


def _made_at(checked: Checked) -> str:
    return f"{datetime.fromtimestamp(checked.header.made_at / 1e6).astimezone():%Y-%m-%d %H:%M:%S}"


def _tell_checked(checked: Checked, *, as_json: bool) -> None:
    if as_json:
        result_json(_described(checked))
        return
    rows = sum(checked.contents.rows.values())
    files = "" if checked.header.holds == "rows" else f", {words.counted(checked.contents.blobs, 'file')}"
    result(
        f"{checked.path} is whole: a backup of {_made_at(checked)} by Modelyard {checked.header.yard},"
        f" {words.counted(rows, 'row')}{files}, {words.size(checked.bytes)}"
    )


def _described(checked: Checked) -> dict[str, Any]:
    written = backup.Written(checked.header, checked.contents, checked.end, checked.bytes)
    return backup.described(written) | {"file": str(checked.path)}


def _tell(checked: Checked, restored: Restored, found: Settings, *, as_json: bool) -> None:
    aside = None if restored.aside is None else str(restored.aside)
    if as_json:
        more = {"data": str(found.data), "aside": aside, "aside_schema": restored.schema}
        result_json(_described(checked) | more | {"revision": restored.revision})
        return
    rows = sum(checked.contents.rows.values())
    result(f"Restored {words.counted(rows, 'row')} of {_made_at(checked)} into {found.data}.")
    if aside is not None:
        result(f"What was there before is in {aside}; delete it when you are sure.")
    if restored.schema is not None:
        result(f"The tables from before are in the database's schema {restored.schema}; drop it when you are sure.")
    if checked.header.yard and restored.revision != checked.header.revision:
        result(f"Its tables were brought from revision {checked.header.revision} to {restored.revision}.")
    result(f"Next: yard up --data {found.data}")


COMMAND = quick.Command(
    name="restore",
    about="Put a backup back",
    text="""Put a backup into a data folder and a database, SQLite or PostgreSQL, whichever it was made of.

    The file is read to its end first, and nothing is touched where it is damaged, cut off, or of a newer yard. There
    must be nothing yet where it goes; with --replace what is there is moved aside, and comes back when something goes
    wrong. No yard may run there: `yard down` stops it. Beside a running yard, restore into another folder with --data.

    Predictions that had not ended run when the yard starts, from their beginning; tokens, links and models are as they
    were.
    """,
    examples=(
        "yard restore yard.tar",
        "yard restore --check yard.tar",
        "yard restore --data ./second yard.tar",
        "yard restore --replace yard.tar",
        "yard restore --database postgresql://yard@localhost/yard yard.tar",
    ),
    run=run,
    arguments=(quick.Argument("file", "FILE"),),
    options=(
        quick.Option(("--data",), "data", "The data folder to restore into.", "text", "DIR"),
        quick.Option(("--database",), "database", "The database to restore into.", "text", "URL"),
        quick.Option(("--replace",), "replace", "Move aside what is there."),
        quick.Option(("--check",), "only_check", "Read the file, say what it holds, and restore nothing."),
        quick.JSON,
    ),
)
