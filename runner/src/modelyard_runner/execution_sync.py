"""Runs a model whose code is synchronous: one prediction at a time, in the main thread.

A running prediction is cancelled by a signal whose handler raises `CancelationException` where the model's code is,
a sleep or a wait included. The handler never raises inside the worker's own bookkeeping: then it is sent again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import cog.errors
import cog.scope
from modelyard_runner import capture as capturing
from modelyard_runner import health, job, link, protocol
from modelyard_runner.job import Job
from modelyard_runner.line import Line
from modelyard_runner.loader import Function, Model
from modelyard_runner.media import Fetch, InputError, Inputs
from modelyard_runner.outputs import File
from modelyard_runner.watcher import Watcher

# A signal that models do not use themselves; where there are no real-time ones, the least used of the others.
INTERRUPT = signal.SIGRTMAX - 4 if hasattr(signal, "SIGRTMAX") else signal.SIGUSR2
# Seconds between two attempts to interrupt the same prediction: first and longest.
FIRST_ATTEMPT, LONGEST_ATTEMPT = 0.002, 0.1
# Seconds that cancelled work gets before the process ends without it.
LAST_WORDS = 2.0

_LINK, _CAPTURE = vars(link), vars(capturing)

Result = tuple[str, list[File], bool]


class SyncExecution:
    """The main thread of a synchronous model. `early`: frames that came during setup."""

    def __init__(
        self,
        model: Model,
        the_link: link.Link,
        capture: capturing.Capture,
        watcher: Watcher,
        *,
        scratch: str,
        reconnect_seconds: float,
        train: bool,
        fetch: Fetch,
        clock: Callable[[], float],
        note: Callable[[str], None],
        line: Line,
    ) -> None:
        self._model = model
        self._link = the_link
        self._capture = capture
        self._watcher = watcher
        self._scratch = scratch
        self._reconnect_seconds = reconnect_seconds
        self._clock = clock
        self._note = note
        self._functions = Functions(model, train=train, fetch=fetch)
        self._line = line
        self._job: Any = None  # a Job, or what looks like one
        self._main = threading.get_ident()
        self._pid = os.getpid()
        self._stop_at: float | None = None
        self._attempt = FIRST_ATTEMPT
        self._loop: Any = None

    def run(self, early: list[protocol.Frame]) -> int:
        """Serves until it is told to stop or the link is gone for good; gives the exit code."""
        signal.signal(INTERRUPT, self._interrupt)
        self._watcher.handler = self
        for frame in early:
            self.dispatch(frame)
        receiving, line = self._watcher.receiving, self._line
        while True:
            wait = line.due()
            if wait == 0:
                self._take()
            elif wait is None and self._stop_at is not None:
                return 0
            else:
                with receiving:
                    wait = line.due()
                    if wait != 0 and not self._receive(wait):
                        return 1

    def _receive(self, within: float | None) -> bool:
        try:
            for frame in self._link.receive(wait=True, within=within):
                self.dispatch(frame)
        except link.LinkLostError:
            return self._link.survives and self._link.dial(self._reconnect_seconds, resumes=True)
        return True

    # Frames: from the main thread when nothing runs, else from the watcher's -----------------------------------

    def dispatch(self, frame: protocol.Frame) -> None:
        """Acts on one frame; one that makes no sense is noted."""
        try:
            self._act(frame)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._note(f"a frame that cannot be understood was ignored: {error!r}")

    def _act(self, frame: protocol.Frame) -> None:
        kind = frame.get("kind")
        if kind in ("predict", "train"):
            if self._link.hold(frame["id"]):
                self._line.add(Job(frame, self._link, scratch=self._scratch, clock=self._clock))
        elif kind == "cancel":
            self._cancel(frame["id"])
        elif kind == "healthcheck":
            health.ask(self._link, frame["id"], self._model.healthcheck)
        elif kind == "shutdown":
            self._stop_at = self._clock() + float(frame.get("grace") or 0)
            self._line.close()
        else:
            self._note(f"a frame of unknown kind {kind!r} was ignored")

    def _cancel(self, prediction: str) -> None:
        with self._line.lock:  # it is in one place or the other
            waiting, running = self._line.remove(prediction), self._job
        if waiting is not None:
            waiting.ended_by_cancel()
        elif running is not None and running.leave(prediction):
            self._cancel_running(running)

    def _cancel_running(self, running: Any) -> None:
        running.canceled = True
        self._link.hurry = True
        self._attempt = FIRST_ATTEMPT
        signal.pthread_kill(self._main, INTERRUPT)

    def urge(self) -> float | None:
        """Interrupts again what could not be interrupted, holds shutdown to its time; gives seconds to the next."""
        running = self._job
        waits: list[float] = []
        if running is not None and running.canceled and running.interruptible:
            signal.pthread_kill(self._main, INTERRUPT)
            self._attempt = min(self._attempt * 2, LONGEST_ATTEMPT)
            waits.append(self._attempt)
        if self._stop_at is not None:
            left = self._stop_at - self._clock()
            if left <= 0 and running is not None and not running.canceled:
                self._cancel_running(running)
            if left <= -LAST_WORDS:
                self._give_up()
            waits.append(left if left > 0 else max(left + LAST_WORDS, FIRST_ATTEMPT))
        return min(waits, default=None)

    def _give_up(self) -> None:
        for unfinished in ([self._job] if self._job is not None else []) + list(self._line):
            unfinished.ended_by_cancel()
        os._exit(0)

    def lost(self) -> None:
        """The link broke while a prediction runs: dials again, or ends the process with what it does."""
        if self._link.survives and self._link.dial(self._reconnect_seconds, resumes=True):
            return
        if self._job is not None:
            self._cancel_running(self._job)
        time.sleep(0.5)
        os._exit(1)

    # One prediction ------------------------------------------------------------------------------------------

    def _take(self) -> None:
        with self._line.lock:
            current = self._job = self._line.take()
        if current is None:  # it was cancelled at this moment
            return
        if current.canceled or (self._stop_at is not None and self._stop_at <= self._clock()):
            self._job = None
            current.ended_by_cancel()
            return
        self._watcher.begin(current)
        self._perform(current)
        self._job = None
        self._watcher.finish()

    def _perform(self, current: Any) -> None:
        self._link.hurry = False
        capturing.current.set(current.id)
        self._capture.begin(current.id, current.owners)
        current.started()
        failure: BaseException | None = None
        result: Result = ('"output":null', [], False)
        try:
            with cog.scope.use(cog.scope.Scope(current.context, current.metric)):
                result = self._call(current)
            current.interruptible = False
        except BaseException as error:  # the border: what a model raises ends its prediction and nothing else
            current.interruptible = False
            failure = error
        if os.getpid() != self._pid:
            end_fork(failure)
        self._capture.after_write = None
        self._capture.end(current.id)
        capturing.current.set(None)
        if current.canceled:
            current.ended_by_cancel()
        elif failure is None:
            current.done(result[0], result[1], iterator=result[2])
        else:
            job.fail(current, failure, urgent=True)

    def _call(self, current: Any) -> Result:
        """The only function that is interrupted: in itself and in what it calls."""
        current.interruptible = True
        if current.canceled:
            raise cog.errors.CancelationException
        function, inputs = self._functions.pick(current.kind)
        result = function.call(**current.arguments(inputs))
        if function.is_async or job.is_awaitable(result) or (current.yields and job.is_async_iterator(result)):
            return self._drive(current, function, result)
        if current.yields and job.is_iterator(result):
            try:
                for item in result:
                    current.item(item)
            finally:
                close_iterator(result)
            return '"output":null', [], True
        return (*current.encode(result, function.output), False)

    def _drive(self, current: Any, function: Function, result: Any) -> Result:
        """A synchronous model's one async function (its `train`, or a wrapped `run`) on a loop of its own."""
        import asyncio  # slow to load; most models here never need it

        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        if job.is_async_iterator(result):
            while True:
                try:
                    current.item(self._loop.run_until_complete(result.__anext__()))
                except StopAsyncIteration:
                    return '"output":null', [], True
        return (*current.encode(self._loop.run_until_complete(result), function.output), False)

    def _interrupt(self, _: int, frame: Any) -> None:
        running = self._job
        if running is None or not (running.canceled and running.interruptible):
            return
        while frame is not None and frame.f_code is not _CALL:
            if frame.f_globals is _LINK or frame.f_globals is _CAPTURE:
                self._capture.after_write = self._interrupt_now  # and the watcher asks again
                return
            frame = frame.f_back
        if frame is not None:
            running.interruptible = False
            raise cog.errors.CancelationException

    def _interrupt_now(self) -> None:
        running = self._job
        if running is not None and running.canceled and running.interruptible and threading.get_ident() == self._main:
            running.interruptible = False
            raise cog.errors.CancelationException


_CALL = SyncExecution._call.__code__


class Functions:
    """What each kind of frame calls, and what turns its input into arguments. In train mode all call `train`."""

    def __init__(self, model: Model, *, train: bool, fetch: Fetch) -> None:
        self._trainer = model.trainer
        self._fetch = fetch
        self._table: dict[str, tuple[Function, Inputs]] = {}
        self._add("predict", model.train if train else model.run)
        self._add("train", model.train)

    def _add(self, kind: str, function: Function | None) -> None:
        if function is not None:
            self._table[kind] = function, Inputs(function.signature, self._fetch)

    def pick(self, kind: str) -> tuple[Function, Inputs]:
        """The function for a frame of this kind. Raises InputError when the model has none, and what loading it raises.

        What trains and stands elsewhere is loaded by the first training, in whose log is what that prints.
        """
        if kind not in self._table and kind == "train" and self._trainer is not None:
            self._add(kind, self._trainer())
        if kind not in self._table:
            raise InputError(f"this model has no {'train' if kind == 'train' else 'run'} function")
        return self._table[kind]


def close_iterator(iterator: Any) -> None:
    """Lets a generator clean up; others have nothing to close."""
    close = getattr(iterator, "close", None)
    if close is not None:
        close()


def end_fork(failure: BaseException | None) -> None:
    """The model forked and its child came back here: it must not speak for its parent."""
    if failure is None:
        os._exit(0)
    if isinstance(failure, SystemExit):
        os._exit(failure.code if isinstance(failure.code, int) else int(failure.code is not None))
    sys.stderr.write(job.trace(failure))
    os._exit(1)
