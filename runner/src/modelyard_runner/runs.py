"""Predictions under way: each worker frame goes through the record to whoever waits, reads or is called back."""

from __future__ import annotations

import asyncio
import itertools
import logging
import shutil
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard_runner import frames, outlet, replies, sse
from modelyard_runner.crew import Crew
from modelyard_runner.outlet import Outlet, UploadError
from modelyard_runner.prediction import Prediction
from modelyard_runner.slots import AtCapacity
from modelyard_runner.supervisor import Supervisor
from modelyard_runner.webhook import Hook

log = logging.getLogger(__name__)

# Canceled predictions that are remembered, so that a cancel may be repeated.
MAX_CANCELED = 1000


@dataclass(slots=True, kw_only=True)
class Task:
    """What the worker is to be given. `streaming`: its events are kept for readers."""

    name: str
    kind: str
    input: bytes
    files: Mapping[str, str]
    context: Mapping[str, str] | None
    streaming: bool


class Run:
    """One prediction under way. `name` is its name among ours: what callers call it never becomes a path."""

    __slots__ = (
        "_blocked",
        "_runs",
        "_timer",
        "hook",
        "name",
        "on_end",
        "prediction",
        "stream",
        "tidy",
    )

    def __init__(self, runs: Runs, name: str, prediction: Prediction, stream: sse.Stream | None) -> None:
        self._runs = runs
        self._blocked: deque[frames.Frame] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.name = name
        self.prediction = prediction
        self.stream = stream
        self.hook: Hook | None = None
        self.on_end: Callable[[], None] | None = None
        # Whether it may have left files behind.
        self.tidy = False

    def hear(self, frame: frames.Frame) -> None:
        """A frame came; the supervisor's listener."""
        if self._blocked is not None:
            self._blocked.append(frame)
        elif type(frame) in frames.VALUED and outlet.needs_work(frame):
            self._blocked = deque((frame,))
            self._runs.spawn(self._work())
        else:
            self._apply(frame)

    async def _work(self) -> None:
        """Applies frames whose values have to be made first, and those behind them, in order."""
        blocked = self._blocked
        while blocked:
            frame = blocked[0]
            if isinstance(frame, frames.VALUED) and outlet.needs_work(frame):
                self.tidy = True
                try:
                    await self._runs.outlet.resolve(frame, self.prediction.id)
                except UploadError as error:
                    frame = self._give_up(str(error))
                except OSError as error:
                    frame = self._give_up(f"an output file cannot be read: {error.strerror or error}")
            blocked.popleft()
            self._apply(frame)
        self._blocked = None

    def limit(self, waits: float = 0.0) -> None:
        """The time that it may take, from now on or, at most `waits` seconds later, from when it begins."""
        seconds = self._runs.timeout
        if seconds is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds + waits, self._time_out, seconds)

    def _time_out(self, seconds: float) -> None:
        if self._runs.supervisor.waits(self.name):
            self.limit()
            return
        self.hear(self._give_up(f"Prediction timed out after {seconds:g} seconds.", seconds))

    def _give_up(self, error: str, seconds: float = 0.0) -> frames.Failed:
        self._runs.supervisor.cancel(self.name)
        return frames.Failed(id=self.name, error=error, seconds=seconds)

    def _apply(self, frame: frames.Frame) -> None:
        now = self._runs.clock()
        told = self.hook is not None or self.stream is not None
        if told and not self.prediction.started_at and isinstance(frame, frames.ENDS) and frame.seconds > 0:
            # It was over before its worker would have said that it began; who listens hears of both.
            self._move(frames.Started(id=self.name), now - int(frame.seconds * 1e6))
        if isinstance(frame, frames.Output) and self.hook is not None and self.hook.wants("output"):
            for single in frames.single_items(frame):  # one webhook for each, also of those that came together
                self._move(single, now)
            return
        self._move(frame, now)

    def _move(self, frame: frames.Frame, at: int) -> None:
        prediction = self.prediction
        event = prediction.apply(frame, at)
        if event is None:
            if isinstance(frame, frames.ENDS):  # its end was told before: an upload failed, or it took too long
                self._runs.tidy(self.name)
            return
        if self.stream is not None:
            self._publish(self.stream, frame)
        if self.hook is not None:
            self.hook.tell(event)
        if event == "start":
            self.limit()
        if event == "completed":
            if self._timer is not None:
                self._timer.cancel()
            tidy = self.tidy or not isinstance(frame, frames.Done)
            self._runs.ended(self, canceled=prediction.status == "canceled", tidy=tidy)
            on_end, self.on_end = self.on_end, None  # or they would hold each other, for the collector to find
            if on_end is not None:
                on_end()

    def _publish(self, stream: sse.Stream, frame: frames.Frame) -> None:
        if isinstance(frame, frames.Output):
            stream.publish(sse.output(frame))
        elif isinstance(frame, frames.Log):
            stream.publish([sse.log(frame)])
        elif isinstance(frame, frames.Metric):
            stream.publish([sse.metric(frame)])
        elif isinstance(frame, frames.Started):
            stream.publish([sse.started(self.prediction.key)])
        else:
            stream.publish([sse.completed(self.state())], last=True)

    def state(self) -> bytes:
        """Its state as JSON."""
        return replies.render(self.prediction)


class Runs:
    """All predictions under way, by the id that callers know. `timeout`: seconds that one may run."""

    def __init__(
        self,
        supervisor: Supervisor | Crew,
        the_outlet: Outlet,
        *,
        clock: Callable[[], int],
        history: int,
        timeout: float | None = None,
    ) -> None:
        self.supervisor = supervisor
        self.outlet = the_outlet
        self.clock = clock
        self.timeout = timeout
        self._history = history
        self._names = itertools.count(1)
        self._running: dict[str, Run] = {}
        self._canceled: OrderedDict[str, None] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()

    def get(self, id: str) -> Run | None:
        """The one with this id, if it is under way."""
        return self._running.get(id)

    def new_name(self) -> str:
        """The name of the next one among ours."""
        return f"p{next(self._names)}"

    def folder(self, name: str) -> Path:
        """Where its input files are put."""
        return self.supervisor.scratch / "inputs" / name

    def start(self, prediction: Prediction, task: Task) -> Run:
        """Hands a prediction to the worker. Raises AtCapacity, NotReady."""
        if prediction.id in self._running:
            raise AtCapacity
        run = Run(self, task.name, prediction, sse.Stream(self._history) if task.streaming else None)
        run.tidy = bool(task.files)
        self.supervisor.predict(task.name, task.input, task.context, run.hear, kind=task.kind, files=task.files)
        if not prediction.ended:  # as it has where its input could not be stored
            self._running[prediction.id] = run
            run.limit(self.supervisor.waits_seconds)  # also for code that keeps its worker from saying that it began
        if self._canceled:
            self._canceled.pop(prediction.id, None)
        return run

    def cancel(self, id: str) -> bool:
        """Cancels one; True also for one that was canceled a moment ago."""
        run = self._running.get(id)
        if run is None:
            return id in self._canceled
        self.supervisor.cancel(run.name)
        return True

    def cancel_run(self, run: Run) -> None:
        """Cancels one whose caller left."""
        self.supervisor.cancel(run.name)

    def discard(self, name: str) -> None:
        """Removes the input files of one that was not started."""
        shutil.rmtree(self.folder(name), ignore_errors=True)

    def ended(self, run: Run, *, canceled: bool, tidy: bool) -> None:
        """One is over: it is forgotten, and what it left on the disk removed."""
        id = run.prediction.id
        if self._running.get(id) is run:
            del self._running[id]
        if canceled:
            self._canceled[id] = None
            if len(self._canceled) > MAX_CANCELED:
                self._canceled.popitem(last=False)
        if tidy:
            self.tidy(run.name)

    def tidy(self, name: str) -> None:
        """Removes the files of one that is over."""
        self.supervisor.tidy(name)
        self.discard(name)

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Runs a coroutine beside the frames."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self, timeout: float) -> None:
        """Gives uploads that are under way some time."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout)
