"""Calls to hosts that somebody else named: in threads of their own, so many at one host and so many in all.

A host that accepts and says nothing, or says a letter a minute, holds what it was given and nothing else. The threads
end with the process; who waits no more for a call cuts its connections, which ends it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from modelyard.errors import Unavailable
from modelyard.oci.client import web

Value = TypeVar("Value")


class Asking:
    """`at_one`: so many at one host at the same time, the others wait for these; `in_all`: beyond so many at all hosts
    together, a call is refused. Of one event loop."""

    def __init__(self, *, at_one: int, in_all: int) -> None:
        self._at_one = at_one
        self._in_all = in_all
        self._count = 0
        self._hosts: dict[str, _Host] = {}

    async def call(
        self, host: str, client: web.Client, work: Callable[[], Value], began: Callable[[], None] = lambda: None
    ) -> Value:
        """What the work gives, which asks this host over this client and no other; `began` is called when it begins.

        Raises what it raises; Unavailable where too many are asked already.
        """
        with contextlib.ExitStack() as taken:
            at = self._hosts.setdefault(host, _Host(self._at_one))
            at.wanted += 1
            taken.callback(self._leave, host, at)
            await at.places.acquire()
            taken.callback(at.places.release)
            if self._count >= self._in_all:
                busy = f"{self._in_all} requests to other registries are on their way"
                raise Unavailable(busy, hint="try again later")
            self._count += 1
            taken.callback(self._one_less)
            began()
            # Given back when the work is at its end, which may be after nobody waits for it any more.
            over = taken.pop_all().close
        done = _run(work, over)
        try:
            return await done
        finally:
            client.cut()

    def _leave(self, host: str, at: _Host) -> None:
        at.wanted -= 1
        if not at.wanted:
            del self._hosts[host]

    def _one_less(self) -> None:
        self._count -= 1


class _Host:
    """Its places, and how many have one or wait for it."""

    def __init__(self, places: int) -> None:
        self.places = asyncio.Semaphore(places)
        self.wanted = 0


def _run(work: Callable[[], Value], over: Callable[[], None]) -> asyncio.Future[Value]:
    """The work in a thread. `over` is called in the loop when that is at its end, even if nobody waits any more."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Value] = loop.create_future()

    def end(value: Value | None, error: BaseException | None) -> None:
        over()
        if not done.done():
            done.set_result(value) if error is None else done.set_exception(error)  # type: ignore[arg-type]

    def run() -> None:
        value: Value | None = None
        error: BaseException | None = None
        try:
            value = work()
        except BaseException as caught:  # the border of a thread: who waits for it is told
            error = caught
        with contextlib.suppress(RuntimeError):  # nobody waits any more: the loop is closed
            loop.call_soon_threadsafe(end, value, error)

    threading.Thread(target=run, name="ask", daemon=True).start()
    return done
