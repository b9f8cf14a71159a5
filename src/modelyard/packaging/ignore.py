"""Which files of a project go into a version: all but what `.dockerignore` names and what does not belong there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modelyard.oci import archive, layout

FILE_NAME = ".dockerignore"

_NEVER = frozenset(
    {".git", ".hg", ".svn", ".cog", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox"}
)
_NEVER_FILES = frozenset({".DS_Store"})
_NEVER_SUFFIXES = (".pyc", ".pyo")

# Is this path (relative, with `/`) in the version by another way?
Carried = Callable[[str], bool]
# Hears the path of what is left out as an image.
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    keep: bool


class Ignore:
    """The rules of a `.dockerignore`: the last one that matches a path, or a folder above it, decides.

    As Docker reads it: patterns start at the project's folder, `*` and `?` stay within one name, `**` is any number of
    folders, `!` takes back, `#` begins a comment line.
    """

    def __init__(self, text: str, carried: Carried | None = None) -> None:
        self._carried = carried
        self._rules = [rule for line in text.splitlines() if (rule := _rule(line)) is not None]
        # A folder that is left out may hold a file that is not: one that a later rule takes back, or nothing carries.
        self.looks_inside = carried is not None or any(rule.keep for rule in self._rules)

    def __call__(self, path: str, *, unless_named: bool = False) -> bool:
        """Is this path (relative, with `/`) left out? `unless_named`: so it is where no rule takes it back."""
        out = unless_named or (self._carried is not None and self._carried(path))
        for rule in self._rules:
            if rule.keep == out and rule.pattern.match(path):
                out = not rule.keep
        return out


def walk(root: Path, carried: Carried | None = None, tell: Tell | None = None) -> Iterator[str]:
    """Every file, link and folder of a project that belongs in a version: paths relative to `root`, with `/`.

    A folder comes before what is in it; order is otherwise that of the names. Links are not followed. `carried`: what
    a version has otherwise, and is left out unless `.dockerignore` takes it back. So is an image that `build -o` wrote:
    it would make each later one larger; `tell` hears of it.
    """
    try:
        text = (root / FILE_NAME).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    yield from _walk(str(root), "", Ignore(text, carried), tell)


def _walk(root: str, folder: str, ignore: Ignore, tell: Tell | None) -> Iterator[str]:
    with os.scandir(os.path.join(root, folder)) as found:  # noqa: PTH118 - this runs at every push, over every file
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = folder + entry.name
        if entry.is_dir(follow_symlinks=False):
            if _never(entry):
                continue
            out = ignore(path)
            if not out and _is_image(entry, path, ignore, tell):
                continue
            if not out:
                yield path
            if not out or ignore.looks_inside:
                yield from _walk(root, path + "/", ignore, tell)
        elif not _never_file(entry.name) and not ignore(path) and not _is_image(entry, path, ignore, tell):
            yield path


def _never(entry: os.DirEntry[str]) -> bool:
    """Version control, caches and virtual environments: this machine's own, and no part of a model."""
    return entry.name in _NEVER or os.path.exists(os.path.join(entry.path, "pyvenv.cfg"))  # noqa: PTH110, PTH118


def _never_file(name: str) -> bool:
    return name in _NEVER_FILES or name.endswith(_NEVER_SUFFIXES)


def _is_image(entry: os.DirEntry[str], path: str, ignore: Ignore, tell: Tell | None) -> bool:
    """Is it an image that was built here, and no rule takes it along?"""
    if entry.is_dir(follow_symlinks=False):
        found = layout.is_one(Path(entry.path))
    else:
        found = (
            entry.name.endswith(".tar") and entry.is_file(follow_symlinks=False) and archive.is_whole(Path(entry.path))
        )
    if not found or not ignore(path, unless_named=True):
        return False
    if tell is not None:
        tell(path)
    return True


def _rule(line: str) -> _Rule | None:
    text = line.strip()
    if not text or line.startswith("#"):
        return None
    keep = text.startswith("!")
    parts = [part for part in text.removeprefix("!").strip().split("/") if part not in ("", ".")]
    if not parts:
        return None
    # What lies below a matching folder matches with it.
    return _Rule(re.compile("".join(_translated(parts)) + r"(?:/.*)?\Z", re.DOTALL), keep)


def _translated(parts: list[str]) -> Iterator[str]:
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            yield ".*" if last else "(?:.*/)?"
        else:
            yield _name_pattern(part) + ("" if last else "/")


def _name_pattern(part: str) -> str:
    """One name with its wildcards, as Go's path matching has them."""
    tokens = re.findall(r"\*\*|\*|\?|\[\^?(?:\\.|[^\]\\])+\]|\\.|[^\\]", part, re.DOTALL)
    plain = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(plain.get(token) or _literal(token) for token in tokens)


def _literal(token: str) -> str:
    if len(token) > 2 and token.startswith("["):
        try:
            re.compile(token)
        except re.error:
            return re.escape(token)
        return token
    return re.escape(token[-1])
