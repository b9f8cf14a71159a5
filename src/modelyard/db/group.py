"""A group commit: many callers' writes in one transaction, each with its own answer.

What differs between the dialects (how many writes are sent at once, what a failed statement leaves behind) is in the
subclasses; whose failure is whose is here.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from modelyard import errors
from modelyard.db.base import NO_PARAMS, Params, Row, Statement, Tx
from modelyard.db.dialect import Compiled, Compiler
from modelyard.db.threads import Job, Values


class GroupLost(BaseException):
    """The transaction of the whole group is gone. Not an `Exception`: the work of a transaction must not catch it."""

    def __init__(self, reason: errors.ModelyardError) -> None:
        self.reason = reason


class GroupWriter(abc.ABC):
    """The one connection that writes; also the `Tx` that the work of a transaction is given."""

    def __init__(self, compiler: Compiler) -> None:
        self._compile = compiler

    def commit_group(self, jobs: list[Job]) -> None:
        """Do all jobs in one commit and set each one's `result` or `error`. Raises nothing."""
        try:
            self.begin()
            self.do_group(jobs)
            self.commit()
        except GroupLost as lost:
            self.roll_back()
            # Nothing was kept. Who had an error of their own keeps it; it was true.
            for job in jobs:
                job.error = job.error or lost.reason

    def do_alone(self, job: Job) -> None:
        """One job whose failure is its caller's alone."""
        try:
            if job.work is not None:
                job.result = self._do_work(job.work)
            elif job.compiled is not None:
                job.result = self.execute(job.compiled, job.values)[1]
        except Exception as error:  # of the caller's own work or statement
            job.error = error

    def one(self, stmt: Statement, **params: Any) -> Row | None:
        return next(iter(self.all(stmt, **params)), None)

    def all(self, stmt: Statement, **params: Any) -> list[Row]:
        compiled = self._compile(stmt)
        return self.execute(compiled, compiled.bind(params))[0]

    def run(self, stmt: Statement, params: Params = NO_PARAMS) -> int:
        compiled = self._compile(stmt)
        return self.execute(compiled, compiled.bind(params))[1]

    @abc.abstractmethod
    def begin(self) -> None:
        """Begin the transaction of a group. Raises `GroupLost`, as all below."""

    @abc.abstractmethod
    def do_group(self, jobs: list[Job]) -> None:
        """Do the jobs in their order: many at once where that is safe, else by `do_alone`."""

    @abc.abstractmethod
    def commit(self) -> None:
        """End the transaction of a group; afterwards it is kept."""

    @abc.abstractmethod
    def roll_back(self) -> None:
        """Undo whatever is open. Raises nothing."""

    @abc.abstractmethod
    def execute(self, compiled: Compiled, values: Values) -> tuple[list[Row], int]:
        """Rows and row count of one statement. One that fails is undone alone and raises an error of the port."""

    @abc.abstractmethod
    def command(self, sql: str) -> None:
        """A savepoint is set, left or returned to."""

    def _do_work(self, work: Callable[[Tx], Any]) -> Any:
        self.command("SAVEPOINT work")
        try:
            result = work(self)
        except Exception:
            self.command("ROLLBACK TO SAVEPOINT work")
            self.command("RELEASE SAVEPOINT work")
            raise
        self.command("RELEASE SAVEPOINT work")
        return result
