"""Statements made ready for a driver: `:name` becomes the driver's placeholder, a mapping becomes a tuple."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

from modelyard.db import together
from modelyard.db.base import DatabaseError, Dialect, Params, Statement

# What must be passed over (comments, strings, quoted names, casts) stands before what is looked for.
_TOKENS = re.compile(
    r"""--[^\n]* | /\*.*?\*/ | '(?:[^']|'')*' | "(?:[^"]|"")*" | :: | (?<![\w:]):(?P<name>[a-z_][a-z0-9_]*)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


# Compared by identity: there is one for each statement of a dialect.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compiled:
    """A statement as its driver takes it.

    `bind`: params → the values in the order of the placeholders. `one_row`: an execution touches one row at most;
    `whole`: exactly one, or it fails. `together`: SQLite's statement for many executions, by their count.
    """

    statement: Statement
    sql: str
    names: tuple[str, ...]
    bind: Callable[[Params], tuple[Any, ...]]
    one_row: bool
    whole: bool
    together: together.Sql | None


class Compiler:
    """Compiles each statement once for one dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self._numbered = dialect == "postgres"
        self._compiled: dict[str, Compiled] = {}

    def __call__(self, stmt: Statement) -> Compiled:
        compiled = self._compiled.get(stmt.sql)
        if compiled is None:
            compiled = self._compiled[stmt.sql] = self._compile(stmt)
        return compiled

    def _compile(self, stmt: Statement) -> Compiled:
        names: list[str] = []

        def place(match: re.Match[str]) -> str:
            name = match["name"]
            if name is None:
                return match[0]
            if not self._numbered:
                names.append(name)
                return "?"
            if name not in names:
                names.append(name)
            return f"${names.index(name) + 1}"

        sql = _TOKENS.sub(place, stmt.sql)
        insert = together.ONE_ROW_INSERT.fullmatch(stmt.sql)
        one_row = stmt.by_key or insert is not None
        return Compiled(
            statement=stmt,
            sql=sql,
            names=tuple(names),
            bind=_binder(stmt, tuple(names)),
            one_row=one_row,
            whole=insert is not None and insert["conflict"] is None,
            together=together.of(sql, len(names), partial(_with_names, stmt.sql))
            if one_row and not self._numbered
            else None,
        )


def _with_names(sql: str, name: Callable[[int], str]) -> str:
    numbers = count()
    return _TOKENS.sub(lambda match: match[0] if match["name"] is None else name(next(numbers)), sql)


def _binder(stmt: Statement, names: tuple[str, ...]) -> Callable[[Params], tuple[Any, ...]]:
    if not names:
        return lambda params: ()
    take: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    if len(names) == 1:
        get_one = operator.itemgetter(names[0])
        take = lambda params: (get_one(params),)  # noqa: E731
    else:
        take = operator.itemgetter(*names)

    def bind(params: Params) -> tuple[Any, ...]:
        if isinstance(params, tuple):
            return params
        try:
            return take(params)
        except KeyError as missing:
            raise DatabaseError(f"{stmt.name}: the parameter {missing} is not given") from None

    return bind


def storable(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values with what a text cannot hold replaced by U+FFFD: NUL, and halves of surrogate pairs."""
    return tuple(_UNSTORABLE.sub("\ufffd", value) if isinstance(value, str) else value for value in values)
