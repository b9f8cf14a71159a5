"""Shows what a command found: once or again and again, as a table for people or as JSON."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from modelyard.cli import table
from modelyard.cli.talk import Talk, result_json
from modelyard.errors import Unavailable

EVERY_SECONDS = 2.0
_TOP, _REST, _REST_OF_LINE = "\x1b[H", "\x1b[J", "\x1b[K"


class View(NamedTuple):
    """What a table may use: the room that there is, None without a terminal, and colours."""

    width: int | None
    paint: table.Paint


def show(
    talk: Talk, find: Callable[[], Any], draw: Callable[[Any, View], list[str]], *, as_json: bool, again: bool
) -> Any:
    """Find it and show it; with `again` for ever. Gives what was found. A yard that is away for a while is waited for.

    Raises what `find` raises.
    """
    out = talk.on(sys.stdout)
    view = View(table.width_of(sys.stdout), out.paint)
    warned = False
    if again:
        gc.enable()  # a command of a moment does without, this one may run for days
    while True:
        try:
            found = find()
        except Unavailable as error:
            if not again:
                raise
            if not warned:
                talk.warn(f"{error.detail}; trying again")
            warned = True
            time.sleep(EVERY_SECONDS)
            continue
        warned = False
        if as_json:
            result_json(found) if not again else out.say(json.dumps(found, ensure_ascii=False))
        else:
            _draw(out, draw(found, view), again=again)
        if not again:
            return found
        time.sleep(EVERY_SECONDS)
        view = View(table.width_of(sys.stdout), out.paint)


def _draw(out: Talk, lines: Sequence[str], *, again: bool) -> None:
    if not again:
        out.say("\n".join(lines))
    elif not out.is_terminal:
        out.say("\n".join(lines) + "\n")
    else:
        # Written over what was there, so that nothing flickers; what finds no room is left out.
        most = (table.height_of(sys.stdout) or 24) - 1
        kept = lines if len(lines) <= most else [*lines[: most - 1], f"… and {len(lines) - most + 1} more lines"]
        out.piece(_TOP + "".join(f"{line}{_REST_OF_LINE}\n" for line in kept) + _REST)
