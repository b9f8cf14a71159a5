"""Models that print in every manner."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from cog import concurrent


def python() -> None:
    print("out line")
    print("err line", file=sys.stderr)
    sys.stdout.buffer.write("bytes ü\n".encode())
    print("no newline", end="")


def native() -> None:
    os.write(1, b"native out\n")
    os.write(2, b"native err\n")
    os.system("echo from a shell; echo half; printf partial >&2")


def child_process() -> None:
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    subprocess.run(["echo", "to our stdout"], stdout=sys.stdout, check=True)


def progress() -> None:
    for percent in range(0, 101, 50):
        sys.stderr.write(f"\r{percent}%")
        sys.stderr.flush()
    sys.stderr.write("\n")
    sys.stdout.write("windows\r")
    sys.stdout.write("\nline\r\n")


def partial(seconds: float = 1.0) -> None:
    sys.stdout.write("asking: ")
    time.sleep(seconds)
    print("done")


def thread() -> None:
    one = threading.Thread(target=print, args=("from a thread",))
    one.start()
    one.join()


def long_line(size: int = 100_000_000) -> None:
    print("x" * size)
    print("after")


def native_long_line(megabytes: int = 20) -> None:
    piece = b"y" * 1_000_000
    for _ in range(megabytes):
        view = memoryview(piece)
        while view:
            view = view[os.write(1, view) :]
    os.write(1, b"\nafter\n")


def many_lines(count: int = 1_000_000, width: int = 0) -> int:
    for number in range(count):
        print("x" * width + "line", number)
    return count


def many_native(count: int = 100_000) -> None:
    subprocess.run(["seq", str(count)], check=True)


@concurrent(max=4)
async def together(name: str) -> str:
    for number in range(5):
        print(f"{name} ", end="")
        await asyncio.sleep(0.005)
        print(number)
    return name


class Background:
    def setup(self) -> None:
        print("python setup")
        os.system("echo native setup")
        self.child = subprocess.Popen(
            [sys.executable, "-uc", "import time\nwhile True: print('tick'); time.sleep(0.02)"]
        )

    def run(self, seconds: float = 0.1) -> str:
        time.sleep(seconds)
        return "ran"


def mixed() -> Iterator[str]:
    for number in range(3):
        print(f"log {number}")
        yield f"item {number}"


class Finalizer:
    def __del__(self) -> None:
        print("finalized")


def printing_destructors(count: int = 2000) -> str:
    for _ in range(count):
        one = Finalizer()
        one.circle = one
        print("made")
    return "fine"


def quick_native(text: str) -> str:
    os.write(1, text.encode() * 10)
    return text
