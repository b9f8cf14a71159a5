"""Tables for people: aligned columns, cut only where a terminal is too narrow, ids never.

What goes to a file or a pipe is whole, whatever its width.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TextIO

from modelyard.cli import words

GAP = "  "
_LEAST = 8  # an elastic column gets no narrower, whatever the terminal

Paint = Callable[[str, str], str]


class Column(NamedTuple):
    """`elastic`: gives way where there is not enough room. `colours`: by the cell's text."""

    title: str
    right: bool = False
    elastic: bool = False
    colours: Mapping[str, str] = {}


class Row(NamedTuple):
    """One row, and lines that belong to it."""

    cells: Sequence[str]
    under: Sequence[str] = ()


STATES = {
    "busy": "green",
    "ready": "green",
    "succeeded": "green",
    "processing": "yellow",
    "starting": "yellow",
    "draining": "yellow",
    "stopping": "yellow",
    "degraded": "red",
    "failed": "red",
    "aborted": "red",
}


def width_of(stream: TextIO) -> int | None:
    """The columns of the terminal that a stream shows on; None for anything else."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def height_of(stream: TextIO) -> int | None:
    """Its lines."""
    try:
        return os.get_terminal_size(stream.fileno()).lines or None
    except (OSError, ValueError):
        return None


def lines(columns: Sequence[Column], rows: Sequence[Row], *, width: int | None, paint: Paint) -> list[str]:
    """The table, a title first. `width`: of the terminal, None: as wide as it gets."""
    widths = _widths(columns, rows, width)
    shown = [_line(columns, [column.title for column in columns], widths, lambda text, colour: paint(text, "bold"))]
    for row in rows:
        shown.append(_line(columns, row.cells, widths, paint))
        shown += [GAP + (text if width is None else words.cut(text, width - len(GAP))) for text in row.under]
    return shown


def pairs(facts: Sequence[tuple[str, str]], *, width: int | None, paint: Paint) -> list[str]:
    """Names and values, the values one below the other; long values go on below themselves."""
    first = max((len(name) for name, _ in facts), default=0)
    shown = []
    for name, value in facts:
        for number, text in enumerate(_folded(value, None if width is None else width - first - len(GAP))):
            label = paint(name.ljust(first), "quiet") if number == 0 else " " * first
            shown.append(f"{label}{GAP}{text}".rstrip())
    return shown


def _folded(text: str, width: int | None) -> list[str]:
    """The lines of a text, folded at blanks where there is no room; a word stays whole."""
    folded: list[str] = []
    for whole in text.split("\n") or [""]:
        rest = whole
        while width is not None and len(rest) > max(width, _LEAST):
            at = rest.rfind(" ", 1, max(width, _LEAST) + 1)
            if at < 0:
                at = rest.find(" ", 1)
            if at < 0:
                break
            folded.append(rest[:at])
            rest = rest[at + 1 :]
        folded.append(rest)
    return folded


def _widths(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[int]:
    widths = [max([len(c.title), *(len(row.cells[i]) for row in rows)]) for i, c in enumerate(columns)]
    if width is None:
        return widths
    over = sum(widths) + len(GAP) * (len(columns) - 1) - width
    while over > 0:
        # The widest gives way first.
        able = [i for i, column in enumerate(columns) if column.elastic and widths[i] > _LEAST]
        if not able:
            break
        widest = max(able, key=lambda i: widths[i])
        widths[widest] -= 1
        over -= 1
    return widths


def _line(columns: Sequence[Column], cells: Sequence[str], widths: list[int], paint: Paint) -> str:
    parts = []
    for number, (column, cell, width) in enumerate(zip(columns, cells, widths, strict=True)):
        text = words.cut(cell, width)
        padded = text.rjust(width) if column.right else text if number == len(columns) - 1 else text.ljust(width)
        colour = column.colours.get(cell, "bold" if cell == column.title else "")
        parts.append(padded.replace(text, paint(text, colour), 1) if colour and text else padded)
    return GAP.join(parts).rstrip()
