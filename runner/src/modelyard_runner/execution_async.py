"""Runs a model whose code is asynchronous: up to `concurrency` predictions at once, on one loop in the main thread."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import cog.scope
from modelyard_runner import attendant, execution_sync, health, job, link, protocol
from modelyard_runner import capture as capturing
from modelyard_runner.job import Job
from modelyard_runner.line import Line
from modelyard_runner.loader import Function, Model
from modelyard_runner.media import Fetch

# Seconds that one prediction may keep the loop to itself when its items come without waiting.
SLICE = 0.001
_EAGER = sys.version_info >= (3, 12)


class AsyncExecution:
    """The loop of an asynchronous model."""

    def __init__(
        self,
        model: Model,
        the_link: link.Link,
        capture: capturing.Capture,
        loop: asyncio.AbstractEventLoop,
        *,
        concurrency: int,
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
        self._loop = loop
        self._concurrency = concurrency
        self._scratch = scratch
        self._reconnect_seconds = reconnect_seconds
        self._clock = clock
        self._note = note
        self._functions = execution_sync.Functions(model, train=train, fetch=fetch)
        self._line = line
        self._alarm: asyncio.TimerHandle | None = None
        self._running: dict[str, Any] = {}  # each a Job, or what looks like one
        self._stopping = False
        self._code = 0
        self._slice_from = 0.0
        self._pid = os.getpid()

    def run(self, early: list[protocol.Frame]) -> int:
        """Serves until it is told to stop or the link is gone for good; gives the exit code."""
        attendant.Attendant(
            self._link,
            self._capture,
            self._loop,
            dispatch=self.dispatch,
            lost=self._stop,
            reconnect_seconds=self._reconnect_seconds,
            last_words=execution_sync.LAST_WORDS,
        ).start()
        for frame in early:
            self.dispatch(frame)
        self._loop.run_forever()
        return self._code

    def _stop(self) -> None:
        self._code = 1
        self._loop.stop()

    # Frames --------------------------------------------------------------------------------------------------

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
                self._fill()
        elif kind == "cancel":
            self._cancel(frame["id"])
        elif kind == "healthcheck":
            self._loop.create_task(self._answer(frame["id"]))
        elif kind == "shutdown":
            self._stopping = True
            self._line.close()
            self._fill()
            self._loop.call_later(float(frame.get("grace") or 0), self._cancel_all)
            self._stop_when_idle()
        else:
            self._note(f"a frame of unknown kind {kind!r} was ignored")

    def _fill(self) -> None:
        while len(self._running) < self._concurrency:
            wait = self._line.due()
            if wait != 0:
                self._look_again(wait)
                return
            current = self._line.take()
            self._running[current.id] = current
            if _EAGER:
                current.worker = asyncio.Task(self._perform(current), loop=self._loop, eager_start=True)  # type: ignore[call-arg,unused-ignore]
            else:
                current.worker = self._loop.create_task(self._perform(current))

    def _look_again(self, wait: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if wait is None else self._loop.call_later(wait, self._fill)

    def _cancel(self, prediction: str) -> None:
        waiting = self._line.remove(prediction)
        if waiting is not None:
            waiting.ended_by_cancel()
        for running in tuple(self._running.values()):
            if running.leave(prediction):
                self._cancel_running(running)

    def _cancel_running(self, running: Any) -> None:
        running.canceled = True
        if running.interruptible:  # else it has not begun, and will see the mark
            running.worker.cancel()

    def _cancel_all(self) -> None:
        while not self._line.empty:
            self._line.take().ended_by_cancel()
        for running in tuple(self._running.values()):
            self._cancel_running(running)
        self._loop.call_later(execution_sync.LAST_WORDS, self._give_up)

    def _give_up(self) -> None:
        for running in tuple(self._running.values()):
            running.ended_by_cancel()
        os._exit(0)

    def _stop_when_idle(self) -> None:
        if self._stopping and not self._running and self._line.empty:
            self._loop.stop()

    async def _answer(self, question: str) -> None:
        check = self._model.healthcheck
        if check is None or not asyncio.iscoroutinefunction(check):
            health.ask(self._link, question, check)
            return
        try:
            fault = health.judge(await asyncio.wait_for(check(), health.TIMEOUT))
        except asyncio.TimeoutError:
            fault = health.late()
        except BaseException as error:  # the border: what a model raises is an answer
            fault = job.describe(error)
        health.report(self._link, question, fault)

    # One prediction ------------------------------------------------------------------------------------------

    async def _perform(self, current: Any) -> None:
        capturing.current.set(current.id)
        self._capture.begin(current.id, current.owners)
        current.started()
        failure: BaseException | None = None
        result: execution_sync.Result = ('"output":null', [], False)
        try:
            with cog.scope.use(cog.scope.Scope(current.context, current.metric)):
                result = await self._call(current)
        except BaseException as error:  # the border: what a model raises ends its prediction and nothing else
            failure = error
        current.interruptible = False
        if os.getpid() != self._pid:
            execution_sync.end_fork(failure)
        self._capture.end(current.id)
        del self._running[current.id]
        urgent = not self._running
        if current.canceled:
            current.ended_by_cancel(urgent=urgent)
        elif failure is None:
            current.done(result[0], result[1], iterator=result[2], urgent=urgent)
        else:
            job.fail(current, failure, urgent=urgent)
        self._fill()
        self._stop_when_idle()

    async def _call(self, current: Any) -> execution_sync.Result:
        current.interruptible = True
        if current.canceled:
            raise asyncio.CancelledError
        function, inputs = self._functions.pick(current.kind)
        if current.needs_files(inputs):
            arguments = await self._loop.run_in_executor(None, current.arguments, inputs)
        else:
            arguments = current.arguments(inputs)
        result = await self._result(function, arguments)
        if current.yields and job.is_async_iterator(result):
            await self._send_items(current, result)
        elif current.yields and job.is_iterator(result):
            for item in result:
                await self._send_item(current, item)
        else:
            return (*current.encode(result, function.output), False)
        return '"output":null', [], True

    async def _result(self, function: Function, arguments: dict[str, Any]) -> Any:
        if function.is_async:
            result = function.call(**arguments)
        else:  # such as a plain `train` beside an async `run`
            result = await asyncio.to_thread(function.call, **arguments)
        return await result if job.is_awaitable(result) else result

    async def _send_items(self, current: Job, items: Any) -> None:
        try:
            async for item in items:
                await self._send_item(current, item)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    async def _send_item(self, current: Job, item: Any) -> None:
        current.item(item)
        now = self._clock()
        if now - self._slice_from > SLICE:
            await asyncio.sleep(0)
            self._slice_from = self._clock()
        while self._link.crowded:
            self._link.flush()
            await asyncio.sleep(attendant.RETRY)
