"""Models that misbehave."""

import ctypes
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator

from cog import CancelationException


def fails(text: str = "boom") -> str:
    print("before")
    raise ValueError(text)


def exits(code: int = 3) -> str:
    sys.exit(code)


def exits_hard() -> str:
    os._exit(7)


def exits_with_last_words(lines: int) -> str:
    for number in range(lines):
        print("last words", number)
    os._exit(7)


def segfaults() -> str:
    ctypes.string_at(0)
    return ""


def sleeps(seconds: float = 60) -> str:
    print("sleeping", flush=True)
    time.sleep(seconds)
    return "slept"


def loops() -> str:
    print("looping", flush=True)
    while True:
        pass


def prints_forever() -> str:
    while True:
        print("x" * 1000)


def waits() -> str:
    print("waiting", flush=True)
    threading.Event().wait()
    return ""


def deep(depth: int = 300) -> str:
    if depth:
        return deep(depth - 1)
    print("deep", flush=True)
    time.sleep(60)
    return ""


def cleans_up() -> str:
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        print("cleaned up")
    return ""


def cleans_up_iterator() -> Iterator[str]:
    try:
        while True:
            yield "item"
            time.sleep(0.01)
    finally:
        print("closed")


def swallows() -> str:
    try:
        print("working", flush=True)
        time.sleep(60)
    except CancelationException:
        return "swallowed"
    return "slept"


def quick(text: str = "x") -> str:
    return text


def forks() -> str:
    if os.fork() == 0:
        print("child prints")
        return "child returns"
    os.wait()
    return "parent"


def fork_fails() -> str:
    if os.fork() == 0:
        raise ValueError("in the child")
    _, status = os.wait()
    return str(os.waitstatus_to_exitcode(status))


def square(number: int) -> int:
    print("squaring", number, flush=True)
    return number * number


class Pool:
    method = "fork"

    def setup(self) -> None:
        self.pool = multiprocessing.get_context(self.method).Pool(2)

    def run(self, count: int = 4) -> list:
        return self.pool.map(square, range(count))


class SpawnPool(Pool):
    method = "spawn"


class ForkInSetup:
    def setup(self) -> None:
        if os.fork() == 0:
            time.sleep(3600)
            os._exit(0)

    def run(self) -> str:
        return "fine"


class ThreadInSetup:
    def setup(self) -> None:
        threading.Thread(target=time.sleep, args=(3600,)).start()

    def run(self) -> str:
        return "fine"


class SetupFails:
    def setup(self) -> None:
        print("loading")
        raise RuntimeError("bad weights")

    def run(self) -> str:
        return ""


class SetupExits(SetupFails):
    def setup(self) -> None:
        sys.exit("no weights here")


class SetupHangs(SetupFails):
    def setup(self) -> None:
        print("hanging", flush=True)
        time.sleep(3600)
