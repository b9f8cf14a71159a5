"""Many executions of one statement as one statement of SQLite.

Its driver gives up the interpreter's lock at every execution and has to wait for it again, so that a busy process
makes a group of small writes wait as often as there are writes. What touches one row can be said for many at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

# 30 columns of 64 rows are far below what SQLite takes (32,766 parameters from 3.32 on).
MOST_ROWS = 64

# An insert of one row that returns nothing.
ONE_ROW_INSERT = re.compile(
    r"""(?P<head> \s* INSERT \s+ INTO \s+ [\w"]+ \s* \([^()]*\) \s* VALUES ) \s*
    (?P<row> \( (?: [^()] | \([^()]*\) )* \) ) \s*
    (?P<conflict> ON \s+ CONFLICT \b (?: (?! \bRETURNING\b ) . )* )?""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_UPDATE = re.compile(
    r"(?P<head> \s* UPDATE \s+ [\w]+ \s+ SET \b .*? ) (?P<tail> \s WHERE \b .* )",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_NOT_SO_SIMPLE = re.compile(r"\b(?:FROM|RETURNING|SELECT|WHERE\b.*\bWHERE)\b", re.DOTALL | re.IGNORECASE)

Sql = Callable[[int], str]


def of(sql: str, parameters: int, place: Callable[[Callable[[int], str]], str]) -> Sql | None:
    """Gives the statement for a count of rows; None where that cannot be said.

    `sql` has `?` for each of its `parameters`; `place(name)` is the same statement with `name(number)` for each.
    The values of the rows follow each other in the order of the parameters.
    """
    if not parameters:
        return None
    insert = ONE_ROW_INSERT.fullmatch(sql)
    if insert is not None:
        head, row, conflict = insert["head"], insert["row"], insert["conflict"] or ""
        return lru_cache(lambda count: f"{head} {', '.join([row] * count)} {conflict}")
    update = _UPDATE.fullmatch(place("p{}".format))
    if update is None or _NOT_SO_SIMPLE.search(sql):
        return None
    names = ", ".join(f"column{number + 1} AS p{number}" for number in range(parameters))
    row = f"({', '.join('?' * parameters)})"
    head, tail = update["head"], update["tail"]

    # The driver counts the rows of what begins with UPDATE, and of nothing that begins with WITH.
    def updates(count: int) -> str:
        rows = ", ".join([row] * count)
        return f"{head} FROM (SELECT {names} FROM (VALUES {rows})){tail}"  # noqa: S608 - of our own statements

    return lru_cache(updates)


def chunks(rows: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, list[Any]]]:
    """The rows in as few pieces as may be, each a power of two, so that few different statements are prepared."""
    start = 0
    while start < len(rows):
        size = min(MOST_ROWS, 1 << ((len(rows) - start).bit_length() - 1))
        yield size, list(chain.from_iterable(rows[start : start + size]))
        start += size


def is_one_chunk(count: int) -> bool:
    """Do so many rows make one statement?"""
    return count <= MOST_ROWS and count & (count - 1) == 0
