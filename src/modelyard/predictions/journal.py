"""What one prediction has said so far: output and log text in order, each at an offset to resume from.

The newest part is in memory. When that grows, or when somebody needs what was said to outlive this process, it is
appended to a file, one line an entry: a letter and its JSON. `o` a list of output items that came together, `l` log
text, `m` a metric, `s` the start, `q` the worker's last frame number that the lines before it include. A process that
was killed leaves whole entries up to the last `q`; what follows is dropped on loading and sent again by the worker.
Offsets are bytes of that file, whether they are written already or still in memory, so 100,000 tokens or a gigabyte of
logs cost linear time and bounded memory.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

log = logging.getLogger(__name__)

OUTPUT, LOG, METRIC, START, SEQ = b"o", b"l", b"m", b"s", b"q"

# Entries that are safe in the file leave memory when they are more than this many bytes.
MEMORY_BYTES = 256 * 1024
# Where the file cannot be written, memory holds at most this much.
MOST_MEMORY_BYTES = 16 * 1024 * 1024
# What a reply shows of a log; the whole is in the journal. Longer logs lose their beginning, and say so.
SHOWN_LOG_BYTES = 1024 * 1024
# Where the log is, is noted once in so many characters of it.
_MARKED_CHARACTERS = 64 * 1024
# A journal takes no more log text than this; output has its own limit in `progress`.
MAX_LOG_BYTES = 1024 * 1024 * 1024


class Entry(NamedTuple):
    """One line: `end` is the offset behind it, `body` its JSON."""

    end: int
    kind: bytes
    body: bytes


class Journal:
    """The journal of one prediction. Not for several threads."""

    __slots__ = (
        "_base",
        "_entries",
        "_file",
        "_marks",
        "_path_text",
        "_unwritten",
        "end",
        "items",
        "log_bytes",
        "log_characters",
        "output_bytes",
        "seq",
    )

    def __init__(self, path: Path | str) -> None:
        # A path object is made when it is needed: most journals never have a file, and making one costs microseconds.
        self._path_text = path
        self._file: BinaryIO | None = None
        self._entries: deque[Entry] = deque()
        self._base = 0  # offset of the first entry that memory holds
        self._unwritten = 0  # entries at the end of `_entries` that the file lacks
        self._marks: deque[tuple[int, int]] = deque()  # offsets in the shown end of the log, characters before them
        self.end = 0
        self.items = 0
        self.output_bytes = 0
        self.log_bytes = 0
        self.log_characters = 0
        self.seq = 0

    @property
    def _path(self) -> Path:
        return Path(self._path_text)

    # -- writing

    def add(self, kind: bytes, body: bytes) -> None:
        """Append one entry. `body` is compact JSON without newlines."""
        self.end += len(body) + 2
        self._entries.append(Entry(self.end, kind, body))
        self._unwritten += 1

    def add_output(self, body: bytes, count: int) -> None:
        """Append output items that came together: `count` of them, as the JSON list that the worker sent."""
        if not count:
            return
        self.output_bytes += len(body)
        self.items += count
        self.add(OUTPUT, body)
        self._relieve()

    def add_log(self, text: str) -> None:
        """Append log text; beyond MAX_LOG_BYTES it is dropped, which the log says once."""
        if self.log_bytes > MAX_LOG_BYTES:
            return
        body = msgspec.json.encode(text)
        self.log_bytes += len(body)
        if self.log_bytes > MAX_LOG_BYTES:
            text = "\n[the log is longer than 1 GiB; what follows is not kept]\n"
            body = msgspec.json.encode(text)
        self._mark(self.end, len(text))
        self.add(LOG, body)
        self._relieve()

    def _mark(self, offset: int, characters: int) -> None:
        """Log text stands at `offset`. The end of a long log is found by this without reading all of it."""
        marks = self._marks
        if not marks or self.log_characters - marks[-1][1] >= _MARKED_CHARACTERS:
            marks.append((offset, self.log_characters))
        self.log_characters += characters
        while len(marks) > 1 and self.log_characters - marks[1][1] >= SHOWN_LOG_BYTES:
            marks.popleft()

    def _relieve(self) -> None:
        held = self.end - self._base
        if held > 2 * MEMORY_BYTES:
            try:
                self.write()
            except OSError:
                # A full disk may have room again in a moment; until then memory holds it, within reason.
                if held > MOST_MEMORY_BYTES:
                    raise

    def write(self) -> None:
        """Put everything into the file (into the system's hands: it survives this process). Raises OSError.

        After a failure the file is as it was before, and what it lacks is in memory.
        """
        if self._unwritten:
            if self.seq and self._entries[-1].kind != SEQ:
                self.add(SEQ, b"%d" % self.seq)
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
            fresh = [self._entries[i] for i in range(len(self._entries) - self._unwritten, len(self._entries))]
            _append(self._file, b"".join([part for e in fresh for part in (e.kind, e.body, b"\n")]))
            self._unwritten = 0
        while self._entries and self.end - self._base > MEMORY_BYTES:
            self._base = self._entries.popleft().end

    def write_if_possible(self) -> None:
        """The same, where a full disk does no harm: a row holds the end of what was said."""
        try:
            self.write()
        except OSError as error:
            log.warning("the end of %s could not be written: %s", self._path, error)

    @property
    def written(self) -> bool:
        """Is there a file, so that the record must point at it?"""
        return self._file is not None

    @property
    def unsafe(self) -> bool:
        """Are there entries that only memory holds?"""
        return self._unwritten > 0

    def close(self) -> None:
        """Let go of the file; the entries in memory stay readable."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def reset(self) -> None:
        """Forget everything: the prediction starts again from nothing."""
        self.close()
        self._path.unlink(missing_ok=True)
        self._entries.clear()
        self._marks.clear()
        self._base = self._unwritten = self.end = self.items = self.output_bytes = self.log_bytes = self.seq = 0
        self.log_characters = 0

    # -- reading

    def read(self, offset: int = 0) -> Iterator[Entry]:
        """The entries from `offset` (an entry's `end`, or 0) on: from the file first, then memory."""
        if offset < self._base:
            with self._path.open("rb") as file:
                yield from _entries(file, offset, self._base)
            offset = self._base
        # From the end backwards: a reader that keeps up wants only the last few of many.
        newer = list(takewhile(lambda entry: entry.end > offset, reversed(self._entries)))
        yield from reversed(newer)

    def output(self) -> bytes:
        """All output items as one JSON array."""
        return b"[" + b",".join([e.body[1:-1] for e in self.read() if e.kind == OUTPUT]) + b"]"

    def log(self, limit: int = SHOWN_LOG_BYTES) -> str:
        """The log text, or its last `limit` characters with a line that says what is left out.

        `limit` is at most SHOWN_LOG_BYTES: where the text before those is, is not known.
        """
        pieces: deque[str] = deque()
        size = 0
        start, dropped = self._marks[0] if self._marks else (0, 0)
        for entry in self.read(start):
            if entry.kind != LOG:
                continue
            text = msgspec.json.decode(entry.body, type=str)
            pieces.append(text)
            size += len(text)
            while size > limit and len(pieces) > 1:
                gone = len(pieces.popleft())
                size -= gone
                dropped += gone
        text = "".join(pieces)
        if size > limit:
            dropped += size - limit
            text = text[-limit:]
        return f"[{dropped:,} characters of log before this are left out here]\n{text}" if dropped else text


def _append(file: BinaryIO, data: bytes) -> None:
    before = file.seek(0, os.SEEK_END)
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError:
        file.truncate(before)
        raise


def _entries(file: BinaryIO, offset: int, stop: int) -> Iterator[Entry]:
    file.seek(offset)
    for line in file:
        offset += len(line)
        if not line.endswith(b"\n") or offset > stop:
            return
        yield Entry(offset, line[:1], line[1:-1])


def load(path: Path) -> tuple[Journal, list[Entry]]:
    """A journal from its file, and its facts other than output and logs (metrics, start) in order.

    What stands behind the last `q` line was not acknowledged to the worker and is cut off.
    """
    journal = Journal(path)
    facts: list[Entry] = []
    if not path.exists():
        return journal, facts
    safe = 0
    counts = (0, 0, 0)
    items = output_bytes = log_bytes = 0
    logs: list[tuple[int, int]] = []  # behind the last `q`: where they begin, how many characters they are
    start = 0
    with path.open("rb") as file:
        for entry in _entries(file, 0, path.stat().st_size):
            if entry.kind == OUTPUT:
                items += len(msgspec.json.decode(entry.body, type=list[msgspec.Raw]))
                output_bytes += len(entry.body)
            elif entry.kind == LOG:
                log_bytes += len(entry.body)
                logs.append((start, len(msgspec.json.decode(entry.body, type=str))))
            elif entry.kind == SEQ:
                safe, counts, journal.seq = entry.end, (items, output_bytes, log_bytes), int(entry.body)
                for offset, characters in logs:
                    journal._mark(offset, characters)
                logs.clear()
            else:
                facts.append(entry)
            start = entry.end
    with path.open("rb+") as file:
        file.truncate(safe)
    journal.items, journal.output_bytes, journal.log_bytes = counts
    journal.end = journal._base = safe
    journal._file = path.open("ab", buffering=0)
    return journal, [fact for fact in facts if fact.end <= safe]
