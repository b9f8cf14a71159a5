"""Looks whether the source of a project has changed, and reads it again when it has."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from modelyard.cli.talk import Talk
from modelyard.errors import ModelyardError
from modelyard.packaging import ignore
from modelyard_runner.serve import ServeOptions

# What a model is made of. What it writes beside itself while it runs is mostly none of these.
_SUFFIXES = (".py", ".pyi", ".yaml", ".yml", ".toml")
_NAMES = ("requirements", "constraints", "weights.lock")

Stamps = dict[str, tuple[int, int]]


class Reloading:
    """Called again and again: the options to serve with after a change, None when there was none.

    A change is taken when two looks in a row have found the same: an editor or a checkout may still be writing.
    `read` reads the project. Where that fails the mistake is told, and the next change may mend it.
    """

    def __init__(self, root: Path, read: Callable[[], ServeOptions], talk: Talk) -> None:
        self._root = root
        self._read = read
        self._talk = talk
        self._loaded = self._last = _stamps(root)

    def __call__(self) -> ServeOptions | None:
        """Look once."""
        now, before = _stamps(self._root), self._last
        self._last = now
        if now == self._loaded or now != before:
            return None
        changed = sorted(name for name in now.keys() | self._loaded.keys() if now.get(name) != self._loaded.get(name))
        self._loaded = now
        named = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        try:
            options = self._read()
        except (ModelyardError, OSError) as error:
            self._talk.error(str(error), getattr(error, "hint", None))
            self._talk.say(f"{named} changed; what was loaded before goes on.")
            return None
        self._talk.say(f"{named} changed; loading the model again.")
        return replace(options, renewed=self)


def _stamps(root: Path) -> Stamps:
    """Time and size of each file of source in a project."""
    found: Stamps = {}
    for path in ignore.walk(root):
        name = os.path.basename(path)  # noqa: PTH119 - runs twice a second over every file
        if name.endswith(_SUFFIXES) or name.startswith(_NAMES):
            try:
                facts = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118 - as above
            except OSError:
                continue
            found[path] = (facts.st_mtime_ns, facts.st_size)
    return found
