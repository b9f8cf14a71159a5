"""Synchronous drivers behind the asynchronous port: one writer thread that commits in groups, a few reader threads.

What is handed in during one turn of the event loop goes to the writer together; what arrives while a commit runs is
the next group. Nothing ever waits for company. A whole group is answered with one call into the event loop.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from modelyard.db import base
from modelyard.db.base import NO_PARAMS, DatabaseClosed, Params, Row, Statement, Tx
from modelyard.db.dialect import Compiled, Compiler

T = TypeVar("T")
Values = tuple[Any, ...]
Then = Callable[[int, BaseException | None], None]

READERS = 4
# Writes that may wait before `run` makes its callers wait, and how many share a commit at most.
WAITING_LIMIT = 20_000
GROUP_LIMIT = 2_000


class Job:
    """One thing to do and who waits for it: a statement with values, or the work of a transaction."""

    __slots__ = ("compiled", "error", "result", "then", "values", "work")

    def __init__(
        self,
        then: asyncio.Future[Any] | Then,
        compiled: Compiled | None,
        values: Values = (),
        work: Callable[[Tx], Any] | None = None,
    ) -> None:
        self.then = then
        self.compiled = compiled
        self.values = values
        self.work = work
        self.result: Any = None
        self.error: BaseException | None = None

    def resolve(self) -> None:
        waiting = self.then
        if not isinstance(waiting, asyncio.Future):
            waiting(self.result or 0, self.error)
        elif waiting.done():
            return
        elif self.error is not None:
            waiting.set_exception(self.error)
        else:
            waiting.set_result(self.result)


class WriteSession(Protocol):
    """A connection that writes; made and used on the writer's thread."""

    def commit_group(self, jobs: list[Job]) -> None:
        """Do all jobs in one commit and set each one's `result` or `error`. Raises nothing."""

    def close(self) -> None: ...


class ReadSession(Protocol):
    """A connection that reads; made and used on one reader's thread."""

    def read(self, compiled: Compiled, values: Values, first: bool) -> Any:
        """The first row or None, or all rows."""

    def close(self) -> None: ...


class ThreadedDatabase:
    """All of the port but notifications, over the sessions of a dialect."""

    def __init__(
        self,
        dialect: base.Dialect,
        make_writer: Callable[[], WriteSession],
        make_reader: Callable[[], ReadSession],
    ) -> None:
        self.dialect: base.Dialect = dialect
        self._compile = Compiler(dialect)
        self._make_writer = make_writer
        self._make_reader = make_reader
        self._writes: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[tuple[Job, bool] | None] = queue.SimpleQueue()
        self._handed_in: list[Job] = []
        self.pace = base.Pace()
        self._room = asyncio.Event()
        self._threads: list[threading.Thread] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._start("db-writer", self._write_until_closed, loop, opened)
        try:
            await opened
        except BaseException:
            self._threads.clear()
            raise
        for number in range(READERS):
            self._start(f"db-reader-{number}", self._read_until_closed, loop)
        self._loop = loop

    async def close(self) -> None:
        if self._loop is None:
            return
        loop, self._loop = self._loop, None
        self._hand_over()
        self._writes.put(None)
        for _ in range(READERS):
            self._reads.put(None)
        for thread in self._threads:
            await loop.run_in_executor(None, thread.join)
        self._threads.clear()

    async def one(self, stmt: Statement, **params: Any) -> Row | None:
        row: Row | None = await self._read(stmt, params, first=True)
        return row

    async def all(self, stmt: Statement, **params: Any) -> list[Row]:
        rows: list[Row] = await self._read(stmt, params, first=False)
        return rows

    async def run(self, stmt: Statement, params: Params = NO_PARAMS) -> int:
        while self.pace.waiting >= WAITING_LIMIT:
            self._room.clear()
            await self._room.wait()
        return await self.run_nowait(stmt, params)

    def run_nowait(self, stmt: Statement, params: Params = NO_PARAMS) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self._opened().create_future()
        compiled = self._compile(stmt)
        self._hand_in(Job(future, compiled, compiled.bind(params)))
        return future

    def run_then(self, stmt: Statement, params: Params, then: Then) -> None:
        compiled = self._compile(stmt)
        self._hand_in(Job(then, compiled, compiled.bind(params)))

    async def transaction(self, work: Callable[[Tx], T]) -> T:
        future: asyncio.Future[T] = self._opened().create_future()
        self._hand_in(Job(future, None, work=work))
        return await future

    def _opened(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise DatabaseClosed
        return self._loop

    def _read(self, stmt: Statement, params: Params, *, first: bool) -> asyncio.Future[Any]:
        compiled = self._compile(stmt)
        future: asyncio.Future[Any] = self._opened().create_future()
        self._reads.put((Job(future, compiled, compiled.bind(params)), first))
        return future

    def _hand_in(self, job: Job) -> None:
        if not self._handed_in:
            self._opened().call_soon(self._hand_over)
        self._handed_in.append(job)
        self.pace.waiting += 1

    def _hand_over(self) -> None:
        if self._handed_in:
            self._writes.put(self._handed_in)
            self._handed_in = []

    def _resolve(self, jobs: list[Job]) -> None:
        self.pace.waiting -= len(jobs)
        if self.pace.waiting < WAITING_LIMIT:
            self._room.set()
        done = 0
        try:
            for job in jobs:
                done += 1
                job.resolve()
        finally:
            if done < len(jobs):
                # What one of them was told for failed; the others are told all the same.
                self.pace.waiting += len(jobs) - done
                _tell(asyncio.get_running_loop(), self._resolve, jobs[done:])

    def _start(self, name: str, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _write_until_closed(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            session = self._make_writer()
        except Exception as error:  # the caller of open() is told
            _tell(loop, _fail, opened, error)
            return
        _tell(loop, _succeed, opened)
        backlog: deque[Job] = deque()
        while True:
            more = self._collect(backlog)
            group = [backlog.popleft() for _ in range(min(len(backlog), GROUP_LIMIT))]
            if group:
                began = time.perf_counter()
                session.commit_group(group)
                self.pace.commits.observe(time.perf_counter() - began)
                self.pace.writes += len(group)
                _tell(loop, self._resolve, group)
            if not more and not backlog:
                break
        session.close()

    def _collect(self, backlog: deque[Job]) -> bool:
        """Move everything that was handed over to the backlog, waiting only when there is nothing; False at the end."""
        while True:
            try:
                batch = self._writes.get(block=not backlog)
            except queue.Empty:
                return True
            if batch is None:
                # Whoever comes after the end, and a further look at the queue, find the end again.
                self._writes.put(None)
                return False
            backlog.extend(batch)

    def _read_until_closed(self, loop: asyncio.AbstractEventLoop) -> None:
        session: ReadSession | None = None
        while (item := self._reads.get()) is not None:
            job, first = item
            try:
                # Connected at the first read: most processes never need all of them.
                session = session or self._make_reader()
                assert job.compiled is not None  # noqa: S101 - a read is always a statement
                job.result = session.read(job.compiled, job.values, first)
            except Exception as error:
                job.error = error
            _tell(loop, job.resolve)
        if session is not None:
            session.close()


def _tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *args: object) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:
        # The loop is closed: nobody is left to be told. What was committed stays committed.
        if not loop.is_closed():
            raise


def _succeed(opened: asyncio.Future[None]) -> None:
    if not opened.done():
        opened.set_result(None)


def _fail(opened: asyncio.Future[None], error: BaseException) -> None:
    if not opened.done():
        opened.set_exception(error)
