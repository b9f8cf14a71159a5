"""The database port: named statements, rows, and what every adapter offers.

A statement is SQL that both dialects understand, with `:name` parameters. Values are `str`, `int`, `float`, `None`
and `bool` (kept as 0 and 1); times are integers of microseconds; JSON is text. To be understood by both:
- compare with NULL by `IS NULL`, never by a parameter; a parameter whose type nothing around it tells needs a
  `CAST(:name AS TEXT)`;
- `INSERT … ON CONFLICT (column) DO …`, `RETURNING`, `LIMIT :n` and row values `(a, b) < (:a, :b)` are portable;
- a dialect's own words (`FOR UPDATE SKIP LOCKED`) go into a statement chosen by `Database.dialect`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from modelyard import errors, measures

Dialect = Literal["sqlite", "postgres"]
Row = dict[str, Any]
# By name; or, where every parameter stands once, the values alone in the order of the statement.
Params = Mapping[str, Any] | tuple[Any, ...]
T = TypeVar("T")

NO_PARAMS: Params = {}


@dataclass(frozen=True, slots=True)
class Statement:
    """One piece of SQL and the name it has in errors and logs.

    `by_key`: each execution touches at most one row (an update or delete by primary key). Such statements, and
    plain inserts of one row, are executed many at a time.
    """

    name: str
    sql: str
    by_key: bool = False


class DatabaseError(errors.ModelyardError):
    """The database refused a statement; the detail names the statement and gives the database's own words."""

    code = "database_error"
    title = "Database error"


class UniqueViolation(errors.Conflict):
    """There is a row with this key already. `table`: where."""

    code = "already_exists"
    title = "Already exists"

    def __init__(self, detail: str, table: str) -> None:
        super().__init__(detail)
        self.table = table


class DatabaseClosed(errors.Unavailable):
    """The database is not open, or no longer."""

    code = "database_closed"
    title = "The database is closed"


class DatabaseUnavailable(errors.Unavailable):
    """The database server does not answer, or the connection broke: whether the write happened is not known."""

    code = "database_unavailable"
    title = "The database does not answer"


class Tx(Protocol):
    """What `work` of a transaction may use, on the writer's thread. Later calls see what earlier ones wrote."""

    def one(self, stmt: Statement, **params: Any) -> Row | None: ...

    def all(self, stmt: Statement, **params: Any) -> list[Row]: ...

    def run(self, stmt: Statement, params: Params = NO_PARAMS) -> int: ...


class Pace:
    """How fast it writes: how long each commit of a group took, how many writes were in them, how many wait."""

    __slots__ = ("commits", "waiting", "writes")

    def __init__(self) -> None:
        self.commits = measures.Histogram(measures.COMMITS)
        self.writes = 0
        self.waiting = 0


class Database(Protocol):
    """Reads in parallel, writes in group commits. Called from one event loop, the one that opened it."""

    dialect: Dialect
    pace: Pace

    async def open(self) -> None:
        """Connect. The tables are the affair of `modelyard.db.migrations`."""

    async def close(self) -> None:
        """Finish what was handed in, then disconnect. Later calls raise `DatabaseClosed`."""

    async def one(self, stmt: Statement, **params: Any) -> Row | None:
        """The first row, or None. Sees every write that was awaited before."""

    async def all(self, stmt: Statement, **params: Any) -> list[Row]:
        """Every row."""

    async def run(self, stmt: Statement, params: Params = NO_PARAMS) -> int:
        """Write, in a commit shared with all that wait; returns after it, with the number of rows touched.

        Raises `UniqueViolation`, `errors.OutOfSpace`, `DatabaseUnavailable`, `DatabaseError`, `DatabaseClosed`.
        Waits first while very many writes are pending. A caller that is cancelled does not take its write back.
        """

    def run_nowait(self, stmt: Statement, params: Params = NO_PARAMS) -> asyncio.Future[int]:
        """The same, handed in at once. Writes are executed in the order in which they were handed in.

        Never waits for room: bounding what is pending is the caller's affair.
        """

    def run_then(self, stmt: Statement, params: Params, then: Callable[[int, BaseException | None], None]) -> None:
        """The same for the hot path: `then(rows touched, error)` is called in the turn that learns of the commit.

        `then` must raise nothing.
        """

    async def transaction(self, work: Callable[[Tx], T]) -> T:
        """Run `work` on the writer's thread, between the writes around it; returns what it gave, after the commit.

        An exception of `work` undoes what it wrote, alone, and is raised here. `work` must not block.
        """

    async def notify(self, topic: str, payload: str = "") -> None:
        """Tell every process on this database. The payload is an id: rows are the truth, this shortens waiting."""

    def listen(self, topic: str, callback: Callable[[str], None]) -> Callable[[], None]:
        """Have `callback(payload)` called on the event loop at every notify, this process's own included.

        Returns what ends it. What is notified while a connection is lost is not told later.
        """
