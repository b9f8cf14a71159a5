"""Models whose native code has the last word: with the interpreter's lock (`held`) or without it."""

import ctypes
import os
import time


def aborts(text: str = "terminate called", held: bool = True, lines: int = 1) -> str:
    print("before")
    library = (ctypes.PyDLL if held else ctypes.CDLL)(None)
    for number in range(lines):
        library.dprintf(2, b"%s %d\n", text.encode(), ctypes.c_int(number))
    library.abort()
    return ""


async def aborts_beside_others(how: str) -> str:
    if how == "abort":
        aborts()
    import asyncio

    await asyncio.sleep(60)
    return ""


def hangs(seconds: int = 600) -> str:
    """Without one statement of Python that would let another thread have a turn."""
    library = ctypes.PyDLL(None)
    library.dprintf(2, b"waiting for the device\n")
    library.sleep(seconds)
    return ""


def leaves_a_child() -> str:
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    return aborts()


class SetupAborts:
    def setup(self) -> None:
        aborts()

    def run(self) -> str:
        return ""


class SetupHangs:
    def setup(self) -> None:
        hangs()

    def run(self) -> str:
        return ""
