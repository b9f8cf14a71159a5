"""Asks the model's own `healthcheck()`, beside whatever else it does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from modelyard_runner.job import describe, is_awaitable
from modelyard_runner.link import Link, quote

TIMEOUT = 5.0


def report(link: Link, question: str, fault: str | None) -> None:
    """Answers `healthcheck{id}`; no fault: all is well."""
    error = "null" if fault is None else quote(f"Healthcheck failed: {fault}")
    flag = "true" if fault is None else "false"
    link.post(f'{{"kind":"health","id":{quote(question)},"ok":{flag},"error":{error}', urgent=True)


def judge(result: Any) -> str | None:
    """What an answer of the model's means."""
    return "user-defined healthcheck returned False" if result is False else None


def late() -> str:
    """The fault of a check that does not end."""
    return f"user-defined healthcheck timed out after {TIMEOUT} seconds"


def ask(link: Link, question: str, check: Callable[[], Any] | None) -> None:
    """Runs a check in a thread and answers when it ends, or when it has taken too long."""
    if check is None:
        report(link, question, None)
        return
    threading.Thread(target=_watch, args=(link, question, check), daemon=True).start()


def _watch(link: Link, question: str, check: Callable[[], Any]) -> None:
    faults: list[str | None] = []
    thread = threading.Thread(target=lambda: faults.append(_run(check)), daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    report(link, question, faults[0] if faults else late())


def _run(check: Callable[[], Any]) -> str | None:
    try:
        result = check()
        if is_awaitable(result):
            import asyncio  # only a model with an async check needs it

            result = asyncio.run(_wait(result))
    except BaseException as error:  # the border: what a model raises is an answer
        return describe(error)
    return judge(result)


async def _wait(awaitable: Any) -> Any:
    return await awaitable
