"""Several things at once, in threads: what waits for servers and disks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from modelyard.weights.sources.base import Progress

AT_ONCE = 4

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


class StoppedError(Exception):
    """Another of the things that go on at once failed, or somebody pressed Ctrl-C."""


def at_once(
    function: Callable[[Item, Progress], Outcome], items: Iterable[Item], progress: Progress, *, most: int = AT_ONCE
) -> list[Outcome]:
    """What the function gives for each, `most` at a time. The first failure ends them all, at their next bytes."""
    stopped = threading.Event()

    def advance(count: int) -> None:
        if stopped.is_set():
            raise StoppedError
        progress(count)

    with ThreadPoolExecutor(most) as pool:
        futures = [pool.submit(function, item, advance) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
