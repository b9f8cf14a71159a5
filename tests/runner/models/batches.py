# ruff: noqa: B008
"""Models that run several predictions in one call."""

import asyncio
import os
import subprocess
import threading
import time
from pathlib import Path as Where

from cog import Input, Path, batch, current_scope

calls = 0


@batch(max_size=3, max_wait_ms=60_000)
def together(text: list[str], times: list[int] = Input(default=1, ge=0)) -> list[dict | Exception]:
    """Says with whom each was; waits for ever, so that only what fills a batch starts it."""
    global calls
    calls += 1
    return [{"call": calls, "all": text, "own": one * many} for one, many in zip(text, times, strict=True)]


@batch(max_size=3, max_wait_ms=60_000)
async def together_async(text: list[str], times: list[int] = Input(default=1, ge=0)) -> list[dict | Exception]:
    global calls
    calls += 1
    await asyncio.sleep(0)
    return [{"call": calls, "all": text, "own": one * many} for one, many in zip(text, times, strict=True)]


@batch(max_size=100, max_wait_ms=20)
def soon(text: list[str]) -> list[list[str]]:
    return [text for _ in text]


@batch(max_size=100, max_wait_ms=20)
async def soon_async(text: list[str]) -> list[list[str]]:
    return [text for _ in text]


class Runner:
    """Does to each prediction what it asks for. Two at a time."""

    def setup(self) -> None:
        self.running = 0

    @batch(max_size=2, max_wait_ms=60_000)
    def run(self, wish: list[str]) -> list[str | Exception]:
        return self.answer(wish)

    def train(self, rounds: int) -> str:
        return f"trained {rounds}"

    def answer(self, wish):
        if "raise" in wish:
            raise RuntimeError("the whole batch")
        if "exit" in wish:
            os._exit(7)
        if "short" in wish:
            return wish[1:]
        if "text" in wish:
            return "one for all"
        if "generator" in wish:
            return (one for one in wish)
        if "print" in wish:
            self.speak()
        if "sleep" in wish:
            Where("begun").touch()
            while not Where("go").exists():
                time.sleep(0.002)
        return [self.one(what) for what in wish]

    def one(self, what):
        if what == "error":
            return ValueError("no such wish")
        if what == "caught":
            try:
                raise LookupError("not there")
            except LookupError as error:
                return error
        return object() if what == "object" else what

    def speak(self):
        scope = current_scope()
        scope.record_metric("tokens", 2)
        scope.record_metric("tokens", 3, mode="incr")
        scope.record_metric("context", scope.context)
        print("printed")
        subprocess.run(["echo", "by a child"], check=True)
        thread = threading.Thread(target=print, args=("by a thread",))
        thread.start()
        thread.join()


class Async(Runner):
    async def setup(self) -> None:
        self.running = 0

    @batch(max_size=2, max_wait_ms=60_000)
    async def run(self, wish: list[str]) -> list[str | Exception]:
        if "sleep" in wish:
            Where("begun").touch()
            while not Where("go").exists():
                await asyncio.sleep(0.002)
            wish = [one if one != "sleep" else "slept" for one in wish]
        return self.answer(wish)


@batch(max_size=2, max_wait_ms=60_000)
def files(image: list[Path], name: list[str] = "out.txt") -> list[Path]:
    Where("begun").touch()
    while not Where("go").exists():
        time.sleep(0.002)
    made = []
    for one, wanted in zip(image, name, strict=True):
        Where(wanted).write_text(one.read_text() + str(len(image)))
        made.append(Path(wanted))
    return made


@batch(max_size=2, max_wait_ms=60_000)
async def files_async(image: list[Path], name: list[str] = "out.txt") -> list[Path]:
    return files(image=image, name=name)


@batch
def numbers(value: list[int]) -> list[int]:
    return [2 * one for one in value]


@batch(max_size=2, max_wait_ms=60_000)
def words(text: list[str]) -> list[list[str]]:
    """A list for each, but for one that is a word alone."""
    return [one.split() if " " in one else one for one in text]


@batch
def wrong(value: int) -> list[int]:
    return [value]


@batch
def wrong_output(value: list[int]) -> int:
    return len(value)


@batch(max_size=2, max_wait_ms=20)
def slow_pairs(text: list[str]) -> list[str]:
    time.sleep(0.8)
    return text


@batch(max_size=2, max_wait_ms=1500)
def patient_pairs(text: list[str]) -> list[str]:
    return text
