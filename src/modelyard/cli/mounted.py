"""The managed weights of a project for the commands that run it here: refused in time, shown, and taken away again.

What knows weights is loaded where a project has some: the others do not pay for it.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from modelyard.cli import program
from modelyard.packaging.config import Config

if TYPE_CHECKING:
    from modelyard.weights.lock import LockedWeight


class Shown(NamedTuple):
    """What a model's process is to see, and what keeps it there (see `weights.mounts.Shown`)."""

    mounts: Sequence[Mapping[str, Any]] = ()
    locks: Sequence[int] = ()


def weights(root: Path, config: Config) -> Sequence[LockedWeight]:
    """What weights.lock says of the project's weights. Raises LockError, OutOfSyncError."""
    from modelyard.weights import lock

    found = lock.load(lock.path_of(root))
    lock.require_sync(config.weights, found, program.name())
    return found.weights if found is not None else ()


def check(root: Path, config: Config, environ: Mapping[str, str]) -> None:
    """Raises OutOfSyncError, NotCachedError: before anything is made that takes long."""
    if not config.weights:
        return
    from modelyard.weights import lock, mounts
    from modelyard.weights.cache import Cache

    cache = Cache.of(environ)
    mounts.require_cached(weights(root, config), cache, program.name())
    cache.note(lock.path_of(root))


@contextlib.contextmanager
def shown(root: Path, config: Config, environ: Mapping[str, str]) -> Iterator[Shown]:
    """The weights at their targets, for a process that takes this view. Raises NotCachedError, NoPlaceError."""
    if not config.weights:
        yield Shown()
        return
    from modelyard.weights import mounts
    from modelyard.weights.cache import Cache
    from modelyard_runner import view

    room = mounts.Mounts(root.resolve(), home=environ.get("HOME", ""), trial=view.trial, name=program.name())
    with room.shown(weights(root, config), Cache.of(environ), lambda: secrets.token_hex(8)) as found:
        yield Shown(found.mounts, found.locks)


@contextlib.contextmanager
def apart(root: Path, config: Config, environ: Mapping[str, str]) -> Iterator[Sequence[tuple[Path, str]]]:
    """Their folders, each with its target, for a container. Raises NotCachedError, NoPlaceError."""
    if not config.weights:
        yield ()
        return
    from modelyard.weights import mounts
    from modelyard.weights.cache import Cache

    room = mounts.Mounts(root.resolve(), home=environ.get("HOME", ""), trial=lambda _: None, name=program.name())
    with room.apart(weights(root, config), Cache.of(environ), lambda: secrets.token_hex(8)) as found:
        yield found


class Showing:
    """The same for a server that reads its project again and again: what was shown stays until all is over."""

    def __init__(self, environ: Mapping[str, str], stack: contextlib.ExitStack) -> None:
        self._environ = environ
        self._stack = stack
        self._known: tuple[object, Shown] | None = None

    def take(self, root: Path, config: Config) -> Shown:
        """What the project's worker is to see."""
        wanted = weights(root, config) if config.weights else ()
        if self._known is None or self._known[0] != wanted:
            self._known = (wanted, self._stack.enter_context(shown(root, config, self._environ)))
        return self._known[1]
