"""The parent of a worker: starts it, knows its state and its slots, hands it predictions, replaces it when it dies.

Nothing here runs per prediction but plain calls: a prediction is an entry in a table and a listener that gets its
frames. The slot of a prediction is free before its listener hears the last of them.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from modelyard_runner import frames, protocol, slots
from modelyard_runner.child import Child
from modelyard_runner.dock import Dock
from modelyard_runner.screen import Screen
from modelyard_runner.slots import AtCapacity

__all__ = ["AtCapacity", "NotReady", "State", "Supervisor"]

log = logging.getLogger(__name__)

State = Literal["UNKNOWN", "STARTING", "READY", "BUSY", "SETUP_FAILED", "DEFUNCT", "UNHEALTHY"]

# Characters of what setup prints that are kept: the last ones.
MAX_SETUP_LOG = 1024 * 1024
# Seconds that a canceled prediction may go on before its worker is ended.
CANCEL_GRACE = 10.0
# Seconds that a worker gets beyond the grace of its shutdown, and those between two tries to replace one.
EXIT_MARGIN = 4.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
# A little more than a worker gives the model's own check.
HEALTH_TIMEOUT = 6.0

_encode = msgspec.json.Encoder().encode
_STEPS = (frames.Started, frames.Output, frames.Metric)


class NotReady(Exception):
    """There is no worker that takes predictions. The text says why."""


class Supervisor:
    """Owns one worker at a time.

    `command` starts it (`[python, "-m", "modelyard_runner", "worker"]`) with `env`: both are the model's, not ours. It
    starts in `scratch`, a folder for it alone, and enters its `root` later, so that no file there hides a module that
    it needs. `options` are the worker's own (`ref`, `root`, `mode`, `concurrency`, `private_urls`, `weights`,
    `mounts`); the rest is added here. `setup_timeout` is in seconds. `replace`: a worker that dies is replaced, else
    the state stays DEFUNCT. `screen` gets whatever the model prints, as it comes.
    """

    def __init__(
        self,
        command: Sequence[str],
        options: Mapping[str, Any],
        *,
        env: Mapping[str, str],
        scratch: str | Path,
        setup_timeout: float | None = None,
        cancel_grace: float = CANCEL_GRACE,
        replace: bool = True,
        screen: Screen | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._command = list(command)
        self._options = dict(options)
        self._env = dict(env)
        self.scratch = Path(scratch)
        self._setup_timeout = setup_timeout
        self._cancel_grace = cancel_grace
        self._replace = replace
        self._screen = screen or Screen(lambda _: None)
        self._clock = clock
        self._phase: State = "UNKNOWN"
        self._stopping = False
        self._child: Child | None = None
        self._dock = Dock(
            on_hello=self._greeted,
            on_frames=self._received,
            on_lost=lambda: self._child.unlinked() if self._child else None,
        )
        self._slots = slots.Slots(self.scratch / "inputs")
        self._address = ""
        self._timer: asyncio.TimerHandle | None = None
        self._pause = FIRST_PAUSE
        self._settled: asyncio.Future[None] | None = None
        self._health: asyncio.Future[frames.Health] | None = None
        self._questions = 0
        self._printed = ""
        # The version of the worker's Python, the whole of it; "" before it said so.
        self.python = ""
        self._spawning: asyncio.Task[None] | None = None
        # The model's OpenAPI document as JSON; b"" until its setup is done.
        self.schema: bytes = b""
        self.streaming = False
        # How long a prediction may wait in the worker for others to join its batch.
        self.waits_seconds = 0.0
        # Why setup failed, or why there is no worker; "" while all is well.
        self.error = ""
        # Seconds since 1970.
        self.setup_started_at = self.setup_completed_at = 0.0
        # How many workers there have been.
        self.generation = 0

    # State ---------------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """One of Cog's words for the state of a server."""
        if self._phase != "READY":
            return self._phase
        return "BUSY" if self._slots.full else "READY"

    @property
    def concurrency(self) -> int:
        """How many predictions run at once."""
        return self._slots.size

    @property
    def free(self) -> int:
        """How many more could begin now."""
        return self._slots.free

    @property
    def setup_logs(self) -> str:
        """What setup printed (the last mebibyte), and how it failed, if it did."""
        gap = "\n" if self.error and self._printed and not self._printed.endswith("\n") else ""
        return f"{self._printed}{gap}{self.error}"

    async def settled(self) -> State:
        """Waits until no setup is running any more; gives the state."""
        while self._phase in ("UNKNOWN", "STARTING"):
            if self._settled is None or self._settled.done():
                self._settled = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._settled)
        return self.state

    def _become(self, phase: State, error: str = "") -> None:
        self._phase = phase
        self.error = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._settled is not None and not self._settled.done():
            self._settled.set_result(None)

    # The life of a worker ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listens and starts the worker; its setup goes on when this returns. Raises OSError when it cannot listen."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self._address = await self._dock.open(self.scratch)
        await self._spawn()

    async def _spawn(self) -> None:
        self._printed = ""
        self.setup_started_at = self._clock()
        self.generation += 1
        self._become("STARTING")
        child = self._child = Child(talk=lambda text: self._screen.put((self, ""), text), on_end=self._ended)
        facts = {
            "link": self._address,
            "token": self._dock.expect(),
            "scratch": str(self.scratch),
            "reconnect_seconds": 0,
        }
        if self._setup_timeout:
            self._timer = asyncio.get_running_loop().call_later(self._setup_timeout, self._too_slow, child)
        try:
            await child.start(self._command, {**self._options, **facts}, self._env, str(self.scratch))
        except OSError as error:
            self._setup_failed(f"the worker could not be started with {self._command[0]}: {error.strerror or error}")

    def _too_slow(self, child: Child) -> None:
        self._received(_unread(child, self._phase, self._slots))
        self._setup_failed("worker setup timed out")
        child.kill("its setup timed out")

    def _setup_failed(self, error: str) -> None:
        if self._phase != "STARTING":
            return
        self._screen.end((self, None))
        self.setup_completed_at = self._clock()
        if self.generation == 1:
            self._become("SETUP_FAILED", error)
            return
        log.error("a worker could not be replaced: %s", error)
        self._become("DEFUNCT", error)
        self._replace_after(self._pause)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _replace_after(self, pause: float) -> None:
        def respawn() -> None:
            if not self._stopping:
                self._spawning = loop.create_task(self._spawn())

        loop = asyncio.get_running_loop()
        if self._replace and not self._stopping:
            self._timer = loop.call_later(pause, respawn)

    def _ended(self, child: Child, how: str) -> None:
        if child is not self._child:
            return
        self._dock.hang_up()
        self._received(_unread(child, self._phase, self._slots))
        if self._phase == "STARTING":
            words = child.last_words()
            self._setup_failed(f"{words}\nthe worker ended during setup: {how}".lstrip())
        crash = f"Worker crashed: {how}"
        if self._phase == "READY":
            if not self._stopping:
                log.warning("the worker ended: %s", how)
            self._become("DEFUNCT", crash)
            self._replace_after(0)
        if self._health is not None and not self._health.done():
            self._health.set_result(frames.Health(id="", ok=False, error=crash))
        self._slots.end_all(crash)

    # Frames --------------------------------------------------------------------------------------------------

    def _greeted(self, hello: frames.Hello) -> None:
        self.python = hello.python
        if self._child is not None:
            self._child.linked()
        if hello.protocol not in protocol.ACCEPTED_VERSIONS:
            self._setup_failed(f"the worker speaks protocol {hello.protocol}; known are {protocol.ACCEPTED_VERSIONS}")
            self._dock.hang_up()

    def _received(self, received: list[frames.Frame]) -> None:
        for frame in received:
            kind = type(frame)
            if kind in frames.ENDS:
                self._screen.end((self, frame.id))  # type: ignore[union-attr]
                if isinstance(frame, frames.Failed) and not frame.copy:
                    self._screen.put((self, frame.id), frame.traceback)
                self._slots.end(frame)  # type: ignore[arg-type]
            elif kind in _STEPS:
                self._slots.tell(frame.id, frame)  # type: ignore[union-attr,arg-type]
            else:
                self._other(frame)

    def _other(self, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Log):
            if not frame.copy:
                self._screen.put((self, frame.id), frame.text)
            if frame.id is not None:
                self._slots.tell(frame.id, frame)
        elif isinstance(frame, frames.Setup):
            self._screen.put((self, None), frame.text)
            self._printed = (self._printed + frame.text)[-MAX_SETUP_LOG:]
        elif isinstance(frame, frames.Ready):
            self._ready(frame)
        elif isinstance(frame, frames.SetupFailed):
            self._setup_failed(_told_once(frame))
        elif isinstance(frame, frames.Health) and self._health is not None and not self._health.done():
            self._health.set_result(frame)

    def _ready(self, frame: frames.Ready) -> None:
        if self._phase == "STARTING":
            self._pause = FIRST_PAUSE
            self.setup_completed_at = self._clock()
            self.schema = bytes(frame.schema)
            self._slots.size = max(frame.concurrency, 1)
            self.streaming = frame.streaming
            self.waits_seconds = frame.waits
            self._become("READY")

    # Predictions ---------------------------------------------------------------------------------------------

    def predict(
        self,
        id: str,
        input: bytes,
        context: Mapping[str, str] | None,
        listener: slots.Listener,
        *,
        kind: str = "predict",
        files: Mapping[str, str] | None = None,
    ) -> None:
        """Starts a prediction, or with `kind="train"` a training; `listener` gets its frames, the last one included.

        `input` is a JSON object. `files` maps strings that stand in it to absolute paths of their bytes. The id must
        be a name that no file system minds. Raises AtCapacity, also for an id that runs, and NotReady; OSError when
        a long input cannot be written.
        """
        channel = self._dock.channel
        if self._phase != "READY" or channel is None or self._stopping:
            raise NotReady(self.error or "setup has not finished")
        self._slots.take(id, listener)
        parts = [b'{"kind":"%b","id":%b' % (kind.encode(), _encode(id))]
        if len(input) > protocol.INLINE_LIMIT:
            try:
                parts.append(b',"input_file":%b' % _encode(str(self._slots.put_aside(id, input))))
            except OSError as error:
                self._slots.end(frames.Failed(id=id, error=f"its input cannot be stored: {error.strerror or error}"))
                return
        else:
            parts.append(b',"input":%b' % input)
        if context:
            parts.append(b',"context":%b' % _encode(context))
        if files:
            parts.append(b',"files":%b' % _encode(files))
        parts.append(b"}")
        channel.send_raw(b"".join(parts))

    def cancel(self, id: str) -> bool:
        """Asks a prediction to stop; its worker is ended when it does not. False: no such prediction runs."""
        if not self._slots.cancel(id, self._cancel_grace, self._overdue):
            return False
        if self._child is not None:
            # Code that holds the interpreter keeps the worker from reading it.
            self._received(_unread(self._child, self._phase, self._slots))
        if self._dock.channel is not None:
            self._dock.channel.send({"kind": "cancel", "id": id})
        return True

    def waits(self, id: str) -> bool:
        """Whether a prediction has not begun because others run here."""
        return self._slots.waits(id)

    def _overdue(self) -> None:
        log.warning("a canceled prediction did not stop within %s s: its worker is ended", self._cancel_grace)
        if self._child is not None:
            self._child.kill("it ran a prediction that was canceled and did not stop")

    def tidy(self, id: str) -> None:
        """Removes what a prediction that is over left in its worker's folder."""
        shutil.rmtree(self.scratch / "predictions" / id, ignore_errors=True)

    async def healthcheck(self) -> str | None:
        """Asks the model's own healthcheck; None: all is well. Who asks meanwhile shares it. Raises NotReady."""
        if self._dock.channel is None or self._phase != "READY":
            raise NotReady(self.error or "setup has not finished")
        if self._health is None or self._health.done():
            self._health = asyncio.get_running_loop().create_future()
            self._questions += 1
            self._dock.channel.send({"kind": "healthcheck", "id": str(self._questions)})
        try:
            answer = await asyncio.wait_for(asyncio.shield(self._health), HEALTH_TIMEOUT)
        except asyncio.TimeoutError:
            if self.state == "BUSY":  # it computes, and has no turn for us: that is no illness
                return None
            return "Healthcheck failed: user-defined healthcheck timed out after 5.0 seconds"
        return None if answer.ok else answer.error or "Healthcheck failed"

    def kill(self) -> None:
        """Ends the worker and all that it started, now."""
        if self._child is not None:
            self._child.kill("the server stops")

    async def stop(self, grace: float = 0.0) -> None:
        """Lets what runs finish within `grace` seconds, then ends the worker and all that it started."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._spawning is not None:
            await asyncio.wait([self._spawning])
        child = self._child
        if child is not None and child.alive:
            if self._dock.channel is not None:
                self._dock.channel.send({"kind": "shutdown", "grace": grace})
                await child.gone(grace + EXIT_MARGIN)
            child.kill("the server stops")
            await child.gone(EXIT_MARGIN)
        if child is not None:
            child.forget()
        self._slots.end_all("the server stops")
        self._dock.close()
        for name in ("predictions", "inputs"):
            shutil.rmtree(self.scratch / name, ignore_errors=True)


def _unread(child: Child, phase: State, runs: slots.Slots) -> list[frames.Frame]:
    """What native code wrote and the worker could not read: of setup, else of the one that runs, else of the worker."""
    words = child.unread.read()
    if phase == "STARTING":
        return [frames.Setup(stream=stream, text=text) for stream, text in words]
    return [frames.Log(id=runs.only(), stream=stream, text=text) for stream, text in words]


def _told_once(frame: frames.SetupFailed) -> str:
    """Why setup failed, with the traceback before it: without its last line, where that says the same."""
    trace = frame.traceback
    if trace.endswith(f"{frame.error}\n"):
        trace = trace[: trace.rfind("\n", 0, -len(frame.error) - 1) + 1]
    return f"{trace}Setup failed: {frame.error}"
