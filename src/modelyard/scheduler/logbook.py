"""What instances say outside of predictions: their setup, what is printed between runs, and how they began and ended.

One file an instance, `instance.log` in its folder, to which its process writes what no link carries (the last words of
a Python that could not start). A file that grows too long loses its older half. Offsets count what was dropped, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Container
from pathlib import Path

from modelyard import rest

log = logging.getLogger(__name__)

NAME = "instance.log"
MAX_BYTES = 4 * 1024 * 1024
READ_BYTES = 64 * 1024
# Of instances that have ended so many keep their logs: a model that dies at every start is not to fill the disk. How
# long a log stays is housekeeping's to say (`keep_logs`).
KEPT_FOLDERS = 500

Listener = Callable[[], None]


class Logbook:
    """The logs of this node's instances. `folder` holds one folder an instance; `clock`: microseconds since 1970."""

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self._folder = folder
        self._clock = clock
        self._files: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._silent: set[str] = set()  # what could not be written was said once

    def path(self, instance: str) -> Path:
        """Where an instance's log is."""
        return self._folder / instance / NAME

    # -- writing

    def add(self, instance: str, text: str) -> None:
        """What an instance said. A disk that does not take it costs the text and nothing else."""
        try:
            file = self._file(instance)
            os.write(file, text.encode("utf-8", "replace"))
            if os.fstat(file).st_size > MAX_BYTES:
                self._shorten(instance, file)
        except OSError as error:
            if instance not in self._silent:
                self._silent.add(instance)
                log.error("an instance's log cannot be written: %s", error, extra={"instance_id": instance})
        self._tell(instance)

    def note(self, instance: str, text: str) -> None:
        """What the yard has to say of an instance: a line with the time."""
        self.add(instance, f"[{rest.time_text(self._clock())}] {text}\n")

    def close(self, instance: str) -> None:
        """It has ended; its log can still be read."""
        file = self._files.pop(instance, None)
        if file is not None:
            os.close(file)
        self._silent.discard(instance)
        self._tell(instance)

    def _file(self, instance: str) -> int:
        file = self._files.get(instance)
        if file is None:
            path = self.path(instance)
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._files[instance] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        return file

    def _shorten(self, instance: str, file: int) -> None:
        # In place: the process has the file open, too, and appends to whatever is there.
        size = os.fstat(file).st_size
        kept = os.pread(file, MAX_BYTES // 2, size - MAX_BYTES // 2)
        kept = kept[kept.find(b"\n") + 1 :]
        os.ftruncate(file, 0)
        os.write(file, kept)
        self._dropped[instance] = self._dropped.get(instance, 0) + size - len(kept)

    def _tell(self, instance: str) -> None:
        for listener in tuple(self._listeners.get(instance, ())):
            listener()

    # -- reading

    def read(self, instance: str, offset: int) -> tuple[bytes, int]:
        """Some of what stands behind `offset`, and the offset behind that; empty when there is no more."""
        dropped = self._dropped.get(instance, 0)
        try:
            with self.path(instance).open("rb") as file:
                # An offset of an earlier life of this yard may lie behind the end.
                start = min(max(0, offset - dropped), os.fstat(file.fileno()).st_size)
                file.seek(start)
                found = file.read(READ_BYTES)
        except OSError:
            return b"", offset
        return found, dropped + start + len(found)

    def tail(self, instance: str, lines: int) -> int:
        """The offset at which the last `lines` lines begin."""
        dropped = self._dropped.get(instance, 0)
        with contextlib.suppress(OSError):
            content = self.path(instance).read_bytes()
            last = content.splitlines(keepends=True)[-lines:] if lines else []
            return dropped + len(content) - sum(map(len, last))
        return dropped

    def follow(self, instance: str, listener: Listener) -> Callable[[], None]:
        """Call `listener()` after every addition until the returned function is called."""
        self._listeners.setdefault(instance, []).append(listener)

        def unfollow() -> None:
            listeners = self._listeners.get(instance, [])
            if listener in listeners:
                listeners.remove(listener)
            if not listeners:
                self._listeners.pop(instance, None)

        return unfollow

    # -- upkeep

    def sweep(self, alive: Container[str], running: Container[str]) -> None:
        """Take away what instances left that are not `alive`: all but their logs, of which the newest stay.

        What they made for predictions that are `running` stays: it is still being kept elsewhere. Blocks.
        """
        gone = []
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            # What begins with a dot is housekeeping's trash.
            if folder.name not in alive and folder.is_dir() and not folder.name.startswith("."):
                gone.append((_written_at(folder / NAME), folder))
                _empty(folder, running)
        gone.sort(reverse=True)
        for _, folder in gone[KEPT_FOLDERS:]:
            shutil.rmtree(folder, ignore_errors=True)
        for instance in list(self._dropped):
            if instance not in alive and not self.path(instance).exists():
                self._dropped.pop(instance, None)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _empty(folder: Path, running: Container[str]) -> None:
    for entry in list(folder.iterdir()):
        if entry.name == "predictions":
            for prediction in list(entry.iterdir()):
                if prediction.name not in running:
                    shutil.rmtree(prediction, ignore_errors=True)
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name not in (NAME, "process.json"):
            entry.unlink(missing_ok=True)
