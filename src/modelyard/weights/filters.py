"""Which files of a source are taken: patterns as in .gitignore."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache


def keeper(include: Sequence[str], exclude: Sequence[str]) -> Callable[[str], bool]:
    """Says of a path whether it is taken: it matches any of `include`, where there is one, and none of `exclude`."""
    wanted, unwanted = [_compiled(pattern) for pattern in include], [_compiled(pattern) for pattern in exclude]

    def keeps(path: str) -> bool:
        return (not wanted or any(one.match(path) for one in wanted)) and not any(one.match(path) for one in unwanted)

    return keeps


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A name alone is looked for in every folder; with a slash before its end, the pattern begins at the top.

    What matches a folder takes all that is in it; with a slash at its end, it matches folders alone.
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    anywhere = "/" not in pattern.rstrip("/")
    below = "/.*" if pattern.endswith("/") else "(?:/.*)?"
    return re.compile(("(?:.*/)?" if anywhere else "") + "".join(_translated(parts)) + below + r"\Z", re.DOTALL)


def _translated(parts: list[str]) -> Iterator[str]:
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            yield ".*" if last else "(?:.*/)?"
        else:
            yield "".join(map(_piece, re.findall(r"\*+|\?|\[!?\]?[^\]]*\]|.", part, re.DOTALL))) + ("" if last else "/")


def _piece(sign: str) -> str:
    if sign.startswith("*"):
        return "[^/]*"
    if sign == "?":
        return "[^/]"
    if len(sign) > 2 and sign.startswith("["):
        inner = sign[1:-1].replace("\\", r"\\")
        inner = "^" + inner[1:] if inner.startswith("!") else inner
        try:
            re.compile(f"[{inner}]")
        except re.error:
            return re.escape(sign)
        return f"[{inner}]"
    return re.escape(sign)
