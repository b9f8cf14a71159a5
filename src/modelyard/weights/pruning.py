"""What of this machine's weights no project needs, and what broken-off commands left: found, and taken away.

Which project needs what is in its weights.lock, and where those are is noted by the commands that use them. What none
of them names may still be of a project that was never used here, so it stays while it was used lately.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard import amounts, errors
from modelyard.weights import lock
from modelyard.weights.cache import Cache

# What was written to so lately may be on its way, whatever age is asked for.
GRACE_SECONDS = 3600.0
# Files that only the command which made them can go on with.
SCRATCH_SECONDS = 24 * 3600.0
_SCRATCH = ("new-", "layer-")


class UnknownNeedsError(errors.ModelyardError):
    """A project's lock cannot be read, so that nobody knows what it needs."""

    code = "weights_needs_unknown"
    title = "It is not known what is needed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unneeded:
    """A file that may go."""

    kind: str
    path: Path
    bytes: int
    why: str


def look(cache: Cache, *, now: float, unused: float) -> list[Unneeded]:
    """What has not been used for `unused` seconds at `now`, and no noted lock names. Raises UnknownNeedsError."""
    needed = {file.digest for found in _locks(cache) for weight in found.weights for file in weight.files}
    return [*_files(cache, needed, now, max(unused, GRACE_SECONDS)), *_leftovers(cache, now, unused)]


def _locks(cache: Cache) -> Iterator[lock.Lock]:
    for path in cache.noted():
        try:
            found = lock.load(path)
        except (errors.ModelyardError, OSError) as error:
            raise UnknownNeedsError(
                f"{path} cannot be read: {error}",
                hint="Mend it, or delete it where its project is given up; then ask again.",
            ) from None
        if found is not None:
            yield found


def _files(cache: Cache, needed: set[str], now: float, unused: float) -> Iterator[Unneeded]:
    for path in cache.files():
        facts = path.stat()
        age = now - max(facts.st_atime, facts.st_mtime)
        # More names than one: a model that runs sees it under the other.
        if f"sha256:{path.name}" not in needed and facts.st_nlink == 1 and age >= unused:
            yield Unneeded(kind="weights", path=path, bytes=facts.st_size, why=f"no project needs it; {_for(age)}")


def _leftovers(cache: Cache, now: float, unused: float) -> Iterator[Unneeded]:
    for path in cache.unfinished():
        if path.suffix == ".lock":  # somebody may be waiting for it, and it is empty
            continue
        facts = path.stat()
        age = now - facts.st_mtime
        least = min(unused, SCRATCH_SECONDS) if path.name.startswith(_SCRATCH) else unused
        if age >= max(least, GRACE_SECONDS):
            yield Unneeded(kind="leftovers", path=path, bytes=facts.st_size, why=f"was broken off; {_for(age)}")


def _for(seconds: float) -> str:
    return f"unused for {amounts.age_text(seconds)}"
