"""Predictions that one call of the model answers: who waits for a batch, and a batch from its start to its end.

A batch looks like one prediction to whoever runs it, and keeps apart what is each one's own: inputs, output, error,
logs, status. Whoever takes a prediction out of `_open` ends it, so that nobody ends one twice: it is cancelled in
another thread than it runs in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any

from cog.shapes import Batch as Said
from modelyard_runner import job as jobs
from modelyard_runner.folder import Folder
from modelyard_runner.job import Job
from modelyard_runner.line import Line
from modelyard_runner.media import InputError, Inputs
from modelyard_runner.outputs import File, OutputError

SIZE = "batch_size"
# Threads that bring the files of one batch; each prediction may have several more of its own.
_PARALLEL = 8


class BatchLine(Line):
    """Predictions that wait for others. `slots`: how many the worker takes; when all are here nobody else can come."""

    def __init__(self, said: Said, slots: int, *, scratch: str, clock: Callable[[], float]) -> None:
        super().__init__()
        self._size = min(said.max_size, slots)
        self._seconds = said.max_wait_ms / 1000
        self._scratch = scratch
        self._clock = clock
        self._arrived: dict[str, float] = {}
        self._loners = 0
        self._closed = False

    def add(self, job: Job) -> None:
        """One came, now."""
        with self.lock:
            self._arrived[job.id] = self._clock()
            self._loners += job.alone
            super().add(job)

    def due(self) -> float | None:
        """A batch starts when it is full, when its first has waited long enough, or when none can join it."""
        with self.lock:
            if not self._waiting:
                return None
            if self._closed or len(self._waiting) >= self._size or self._loners:
                return 0.0
            return max(0.0, self._arrived[self._waiting[0].id] + self._seconds - self._clock())

    def take(self) -> Any:
        """The next batch, or a training; None: nobody waits."""
        taken: list[Job] = []
        while self._waiting and len(taken) < self._size:
            if taken and (self._waiting[0].alone or taken[0].alone):
                break
            taken.append(self._waiting.popleft())
            self._forget(taken[-1])
        if taken and taken[0].kind == "train":
            return taken[0]
        return Batch(taken, Folder(self._scratch, f"{taken[0].id}~batch")) if taken else None

    def remove(self, prediction: str) -> Job | None:
        """Takes out one that waits."""
        found = super().remove(prediction)
        if found is not None:
            self._forget(found)
        return found

    def _forget(self, job: Job) -> None:
        del self._arrived[job.id]
        self._loners -= job.alone

    def close(self) -> None:
        """Those who wait need not wait any longer."""
        self._closed = True


class Batch:
    """Some predictions, run as if they were one. `folder` has their input files.

    Their own folders may go before the run is over, with a prediction that is cancelled.
    """

    yields = False
    kind = "predict"

    def __init__(self, members: Sequence[Job], folder: Folder) -> None:
        self.id = f"batch:{members[0].id}"
        self.canceled = False
        self.interruptible = False
        self.worker: Any = None
        self.context = _common([member.context for member in members])
        self._folder = folder
        self._open = {member.id: member for member in members}
        # Those whose values the function was given, in order, and what became of each.
        self._called: list[Job] = []
        self._outcomes: dict[str, tuple[str, list[File]] | BaseException] = {}

    @property
    def owners(self) -> Collection[str]:
        """To whom belongs what is printed: all that have not ended."""
        return self._open.keys()

    def leave(self, prediction: str) -> bool:
        """Ends a prediction that is cancelled. True: it is the last one, and what runs has to be stopped for it."""
        if prediction not in self._open:
            return False
        if not any(id != prediction and id not in self._outcomes for id in tuple(self._open)):
            return True
        for member in self._taken(prediction):
            member.ended_by_cancel()
        return False

    def _taken(self, *ids: str) -> list[Job]:
        """Those of these that have not ended; from here on whoever asked has to end them."""
        taken = [self._open.pop(id, None) for id in ids]
        return [member for member in taken if member is not None]

    def started(self) -> None:
        """The model's code begins, for all."""
        for member in tuple(self._open.values()):
            member.started()

    def metric(self, name: str, value: Any, mode: str) -> None:
        """What the model measures is each one's."""
        for member in tuple(self._open.values()):
            member.metric(name, value, mode)

    # Inputs --------------------------------------------------------------------------------------------------

    def needs_files(self, inputs: Inputs) -> bool:
        """Whether something may have to be fetched for one of them."""
        return any(_needs_files(member, inputs) for member in tuple(self._open.values()))

    def arguments(self, inputs: Inputs) -> dict[str, Any]:
        """A list for each parameter. A prediction whose input cannot be had fails alone, and has no part in them."""
        members = tuple(self._open.values())
        found: dict[str, dict[str, Any]] = {}

        def gather(member: Job) -> None:
            try:
                found[member.id] = member.arguments(inputs, self._folder)
            except Exception as error:  # the border: it must cost the others nothing
                self._outcomes[member.id] = error

        _side_by_side(gather, [member for member in members if _needs_files(member, inputs)])
        for member in members:
            if member.id not in found and member.id not in self._outcomes:
                gather(member)
        self._called = [member for member in members if member.id in self._open and member.id in found]
        if not self._called:
            raise InputError("no prediction of this batch can be run")
        for member in self._called:
            member.metric(SIZE, len(self._called), "replace")
        given = [found[member.id] for member in self._called]
        return {name: [values[name] for values in given] for name in given[0]}

    # Ends ----------------------------------------------------------------------------------------------------

    def encode(self, results: Any, output: Any = None) -> tuple[str, list[File]]:
        """Gives each its item; what cannot be sent fails that one. Raises OutputError where this is no such list."""
        wanted = len(self._called)
        if not isinstance(results, list) or len(results) != wanted:
            came = f"a list of {len(results)}" if isinstance(results, list) else f"a {type(results).__name__}"
            raise OutputError(
                "a @batch function returns a list with one result for each prediction:"
                f" a list of {wanted} was wanted, {came} came"
            )
        for member, item in zip(self._called, results, strict=True):
            if member.id in self._open:
                self._outcomes[member.id] = _outcome(member, item, output)
        return "", []

    def done(self, _: str, __: list[File], *, iterator: bool, urgent: bool = True) -> None:
        """The function returned: each gets what `encode` found for it."""
        self._end(lambda member, urgent: member.failed("it has no result", urgent=urgent), urgent=urgent)

    def failed(self, error: str, traceback: str = "", *, urgent: bool = True) -> None:
        """It did not work, for all that had no end of their own before."""
        self._end(lambda member, urgent: member.failed(error, traceback, urgent=urgent), urgent=urgent)

    def ended_by_cancel(self, *, urgent: bool = True) -> None:
        """All that are left and had no end of their own before are cancelled."""
        self._end(lambda member, urgent: member.ended_by_cancel(urgent=urgent), urgent=urgent)

    def _end(self, otherwise: Callable[[Job, bool], None], *, urgent: bool) -> None:
        """Ends those that have not ended; with the last one everything leaves that waits."""
        self._folder.forget()
        rest = self._taken(*tuple(self._open))
        for member in rest:
            now = urgent and member is rest[-1]
            outcome = self._outcomes.get(member.id)
            if outcome is None:
                otherwise(member, now)
            elif isinstance(outcome, BaseException):
                jobs.fail(member, outcome, urgent=now)
            else:
                member.done(*outcome, iterator=False, urgent=now)


def _common(contexts: Sequence[dict[str, str]]) -> dict[str, str]:
    """What is said alike by all."""
    first, *others = contexts
    return {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}


def _needs_files(member: Job, inputs: Inputs) -> bool:
    try:
        return member.needs_files(inputs)
    except (OSError, ValueError):  # its input cannot be read: that is told when it is asked for
        return False


def _outcome(member: Job, item: Any, output: Any) -> tuple[str, list[File]] | BaseException:
    if isinstance(item, BaseException):
        return item
    try:
        return member.encode(item, output)
    except OutputError as error:
        return error


def _side_by_side(work: Callable[[Job], None], members: Sequence[Job]) -> None:
    """Does the same for several at once: much of it is waiting for others' servers."""
    queue = list(reversed(members))

    def take() -> None:
        while True:
            try:
                member = queue.pop()
            except IndexError:
                return
            work(member)

    threads = [threading.Thread(target=take, daemon=True) for _ in range(min(_PARALLEL, len(queue)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
