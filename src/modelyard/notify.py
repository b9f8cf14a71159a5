"""Telling whoever supervises this process how it stands: systemd's protocol of datagrams, in a few lines.

Without such a supervisor nothing is sent and nothing fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)

SOCKET, WATCHDOG, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"


class Supervisor:
    """The supervisor that the environment names, if it names one."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        self._address = _address(environ.get(SOCKET, ""))
        self.watchdog_seconds = _watchdog(environ, pid)

    @property
    def present(self) -> bool:
        """Does anybody listen?"""
        return bool(self._address)

    def ready(self, where: str) -> None:
        """Requests are answered from now on."""
        self._send("READY=1", f"STATUS=Answers at {where}")

    def stopping(self, seconds: float) -> None:
        """It ends, and needs at most so long for it."""
        # The supervisor's own patience may be shorter than what the yard was told to wait for.
        self._send("STOPPING=1", "STATUS=Waits for what runs", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    async def reassure(self) -> None:
        """Say that the loop turns, twice in the time after which the supervisor gives up; until cancelled."""
        while self.watchdog_seconds is not None:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 2)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as channel:
                channel.setblocking(False)
                channel.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            # A yard that works is worth more than one that is known to.
            log.warning("the supervisor cannot be told %s: %s", lines[0], error)


def _address(text: str) -> str:
    """A path, or (with a zero byte first) a name in Linux's abstract space; empty for what is neither."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    span, meant = environ.get(WATCHDOG, ""), environ.get(WATCHDOG_PID, str(pid))
    if not span.isdecimal() or int(span) == 0 or meant != str(pid):
        return None
    return int(span) / 1e6
