"""A bar for work that takes long enough to be watched, where somebody watches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from modelyard.cli.talk import Talk

# Less than this is there before a bar could be read.
WATCHED_BYTES = 8 * 1024 * 1024


class Bar(NamedTuple):
    """`advance(count)`: so many bytes more. `expect(total)`: so many it will be, when that is known at last."""

    advance: Callable[[int], None]
    expect: Callable[[int], None]


@contextlib.contextmanager
def bar(word: str, total: int | None, said: Talk | None) -> Iterator[Bar]:
    """Draw on the terminal, if there is one; else nothing is shown. `total` in bytes, None: not known yet."""
    if said is None or not said.is_terminal:
        yield Bar(_nobody, _nobody)
        return
    # Only what takes long enough to be watched pays for the library that draws it.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    columns = (word, BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield Bar(lambda count: progress.advance(task, count), lambda size: progress.update(task, total=size))


def _nobody(_: int) -> None:
    """Nobody watches."""
