"""`yard backup`: everything that a yard keeps in one file, while it runs or while it does not."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import signal
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from importlib import metadata
from pathlib import Path
from typing import IO, Any, NamedTuple

from modelyard import durable, host, settings, storage
from modelyard.backup import archive, making
from modelyard.backup.archive import Contents, DamagedBackup, End, Header, Reader
from modelyard.cli import client, progress, quick, wire, words
from modelyard.cli.talk import Talk, result, result_json
from modelyard.errors import Conflict, NotFound, OutOfSpace, Unavailable, UsageError
from modelyard.settings import Settings

_PATH = "/v1/yard/backup"
# The yard reads its rows meanwhile, and gives up a reader that takes nothing for a minute.
_TIMEOUT_SECONDS = 120.0
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_STDOUT = "-"


class Written(NamedTuple):
    """A backup that was written to its end and found whole."""

    header: Header
    contents: Contents
    end: End
    bytes: int


def run(talk: Talk, file: str, *, data: str | None, database: str | None, force: bool, as_json: bool) -> None:
    """Write it."""
    # Whoever stops this with a signal finds nothing half written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    to_stdout = file == _STDOUT
    path = Path(file).expanduser()
    _check_target(path, force=force, to_stdout=to_stdout)
    with _pieces(talk, data, database) as pieces:
        if to_stdout:
            written = _copy(pieces, sys.stdout.buffer, talk)
        else:
            with _whole_or_nothing(path) as out:
                written = _copy(pieces, out, talk)
    _tell(written, None if to_stdout else path, talk, as_json=as_json and not to_stdout)


def _check_target(path: Path, *, force: bool, to_stdout: bool) -> None:
    if to_stdout:
        if sys.stdout.isatty():
            raise UsageError("a backup is not for a terminal", hint="yard backup - > FILE, or into a pipe")
        return
    if path.is_dir():
        raise UsageError(f"{path} is a folder; wanted: the name of the file to write", hint=f"{path}/yard.tar")
    if path.exists() and not force:
        raise Conflict(f"{path} is there already", hint="choose another name, or say --force")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint=f"mkdir -p {path.parent}")


# -- where it comes from


@contextlib.contextmanager
def _pieces(talk: Talk, data: str | None, database: str | None) -> Iterator[Iterator[bytes]]:
    """The bytes of a backup: from the yard that one is logged in to; straight from a folder that is named, or of which
    the yard is down."""
    environ = settings.environment()
    found, _ = settings.load({"data": data, "database": database}, environ, Path.cwd())
    login = client.find_login(environ)
    if data is None and database is None:
        try:
            reply = _ask(login)
        except Unavailable as error:
            if not _is_down(login, found):
                hint = f"{error.hint}; of a yard that is down, name the data folder with --data"
                raise Unavailable(error.detail, hint=hint) from None
            talk.say(f"{error.detail}; reading {found.data}, whose yard is down.")
        else:
            with reply:
                yield _received(login, reply)
            return
    with _alone(found), contextlib.closing(_made(found)) as pieces:
        yield pieces


def _ask(login: client.Login) -> wire.Reply:
    if login.token is None:
        # Is it down, or does it want to know who asks? Both are better known before the folder is touched.
        client.call(login, "GET", "/healthz", timeout_seconds=5.0)
    return client.open_reply(login, _PATH, method="POST", accept="application/x-tar", timeout_seconds=_TIMEOUT_SECONDS)


def _received(login: client.Login, reply: wire.Reply) -> Iterator[bytes]:
    try:
        yield from reply.pieces()
    except (OSError, wire.WireError) as error:
        raise Unavailable(
            f"the yard at {login.url} went away, or could not make the backup to its end ({error})",
            hint="nothing was kept; the yard's log says why it ended",
        ) from None


def _is_down(login: client.Login, found: Settings) -> bool:
    """Is it the yard of our own folder that does not answer, and not one elsewhere?"""
    local = login.url.partition("://")[2].startswith(("127.", "localhost", "[::1]"))
    return local and (found.data / host.LOCK_FILE).exists()


@contextlib.contextmanager
def _alone(found: Settings) -> Iterator[None]:
    if not found.data.is_dir():
        raise NotFound(f"there is no data folder {found.data}", hint="name it with --data")
    with contextlib.ExitStack() as holding:
        try:
            holding.enter_context(host.alone_in(found.data))
        except Conflict:
            raise Conflict(
                f"a yard runs on the data folder {found.data}",
                hint="ask it: yard backup FILE without --data, with MODELYARD_URL as its address or after `yard login`",
            ) from None
        yield


def _made(found: Settings) -> Generator[bytes, None, None]:
    source = making.Source(
        database_url=found.database,
        data=found.data,
        version=metadata.version("modelyard"),
        clock=lambda: int(words.now() * 1_000_000),
        blobs=storage.open_blobs(found, settings.environment()),
    )
    with asyncio.Runner() as runner:
        pieces = making.make(source)
        while (piece := runner.run(_next(pieces))) is not None:
            yield piece


async def _next(pieces: AsyncIterator[bytes]) -> bytes | None:
    return await anext(pieces, None)


# -- where it goes


@contextlib.contextmanager
def _whole_or_nothing(path: Path) -> Iterator[IO[bytes]]:
    """A file that has its name when all of it is on the disk; else nothing of it is there."""
    part = path.with_name(path.name + ".part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as out:
            if not _alone_with(out, part):
                raise Conflict(f"another backup is being written to {part}")
            out.truncate(0)
            try:
                yield out
                out.flush()
                os.fsync(out.fileno())
                part.replace(path)
                durable.sync(path.absolute().parent)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise OutOfSpace(
                f"there is no room for the backup on the disk of {path}",
                hint="choose a file on another disk; nothing was kept of this one",
            ) from None
        raise


def _alone_with(out: IO[bytes], part: Path) -> bool:
    """Lock a file that was just opened. False: another one writes it, or has just given it its name."""
    try:
        fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(out.fileno()), part.stat())
    except OSError:
        return False


class _Tee:
    """A stream whose bytes are written down as they are read."""

    def __init__(self, pieces: Iterator[bytes], out: IO[bytes], bar: progress.Bar) -> None:
        self._pieces = pieces
        self._out = out
        self._bar = bar
        self._rest = memoryview(b"")
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, of which there is at least one before the end."""
        if not self._rest:
            piece = next(self._pieces, b"")
            self._out.write(piece)
            self.count += len(piece)
            self._bar.advance(len(piece))
            self._rest = memoryview(piece)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


def _copy(pieces: Iterator[bytes], out: IO[bytes], talk: Talk) -> Written:
    """Write down what comes, and check it on its way. Raises DamagedBackup where it is not whole."""
    with progress.bar("Backing up", None, talk) as bar:
        tee = _Tee(pieces, out, bar)
        reader = Reader(tee)
        for member in reader.members():
            if member.name == archive.CONTENTS and reader.contents is not None:
                bar.expect(tee.count + reader.contents.bytes)
    out.flush()
    if reader.contents is None or reader.end is None:
        raise DamagedBackup("the backup does not say what it holds")
    return Written(reader.header, reader.contents, reader.end, tee.count)


def _tell(written: Written, path: Path | None, talk: Talk, *, as_json: bool) -> None:
    end, contents = written.end, written.contents
    if end.lacks:
        some = ", ".join(end.missing[:3]) + (", …" if end.lacks > 3 else "")
        talk.warn(f"{words.counted(end.lacks, 'file')} that the rows name were not there: {some}")
    if as_json:
        result_json(described(written) | {"file": str(path)})
        return
    rows, files = sum(contents.rows.values()), contents.blobs
    text = (
        f"Backed up {words.counted(contents.rows.get('predictions', 0), 'prediction')} and"
        f" {words.counted(contents.rows.get('models', 0), 'model')}: {words.counted(rows, 'row')},"
        f" {words.counted(files, 'file')}, {words.size(written.bytes)}"
    )
    if path is None:
        talk.say(text)
    else:
        result(f"{text} in {path}")


def described(written: Written) -> dict[str, Any]:
    """A backup as `--json` shows it."""
    return {
        "yard": written.header.yard,
        "revision": written.header.revision,
        "database": written.header.database,
        "holds": written.header.holds,
        "made_at_us": written.header.made_at,
        "bytes": written.bytes,
        "rows": written.contents.rows,
        "files": written.contents.blobs,
        "journals": written.contents.journals,
        "missing": written.end.lacks,
    }


COMMAND = quick.Command(
    name="backup",
    about="Write the whole yard into one file, while it runs",
    text="""Write everything that a yard keeps into one file: rows, files, outputs, images, keys.

    The yard that you are logged in to is asked, and goes on with its work; you must be its owner. When it is down, its
    data folder is read; --data names another one. The rows are those of one moment, and every file that they name is
    with them. The backup is checked while it is written, and FILE is there when all of it is right, or not at all.

    Whoever can read FILE can read all that the yard keeps. Not in it: environments and caches, which are made again,
    and who is signed in with a browser.
    """,
    examples=(
        "yard backup yard.tar",
        'yard backup "yard-$(date +%F).tar"',
        "yard backup - | ssh elsewhere 'cat > yard.tar'",
        "yard backup --data ./yard yard.tar",
    ),
    run=run,
    arguments=(quick.Argument("file", "FILE"),),
    options=(
        quick.Option(("--data",), "data", "Read this data folder, whose yard is down.", "text", "DIR"),
        quick.Option(("--database",), "database", "Its database, where that is not in it.", "text", "URL"),
        quick.Option(("-f", "--force"), "force", "Put it in the place of a FILE that is there."),
        quick.JSON,
    ),
)
