"""Ends a process with everything that it started, what fled into a session of its own included."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

# Names a worker in its environment, which its children inherit, wherever they go.
MARK = "MODELYARD_INSTANCE"
# A process may fork while we look: so often we look again.
_LOOKS = 5


def end_tree(leader: int, mark: str) -> None:
    """SIGKILL for the group of `leader` (it leads its session) and, on Linux, for all that carry `MARK=mark`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    if not sys.platform.startswith("linux"):
        return
    for _ in range(_LOOKS):
        found = [pid for pid in _marked(f"{MARK}={mark}".encode()) if pid != leader]
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not found:
            return


def _marked(mark: bytes) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def describe_exit(code: int) -> str:
    """How a process ended, from its exit code (negative: the signal), as a half sentence."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"killed by signal {-code}"
    hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"killed by signal {-code} ({name}){hint}"
