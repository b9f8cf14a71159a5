"""Several workers of one model behind what looks like one supervisor: a prediction goes to the one with most room.

Each is a process of its own with a model of its own, so that sync code runs as often at once as there are workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from modelyard_runner import slots
from modelyard_runner.supervisor import AtCapacity, NotReady, State, Supervisor

# The state of all is the first of these that one of them is in: what works counts before what does not.
_ORDER: tuple[State, ...] = ("READY", "BUSY", "STARTING", "UNKNOWN", "UNHEALTHY", "DEFUNCT", "SETUP_FAILED")


class Crew:
    """As many supervisors as `size`, made by `make` with the folder of each. See `Supervisor` for what all of it means.

    What is said of setup is said of the worker that stands first in `_ORDER`.
    """

    def __init__(self, size: int, make: Callable[[Path], Supervisor], scratch: Path) -> None:
        self.scratch = scratch
        self._members = [make(scratch / f"w{number}") for number in range(size)]

    @property
    def _first(self) -> Supervisor:
        return min(self._members, key=lambda member: _ORDER.index(member.state))

    @property
    def state(self) -> State:
        """READY while one of them takes predictions."""
        return self._first.state

    @property
    def generation(self) -> int:
        """How many workers there have been."""
        return sum(member.generation for member in self._members)

    @property
    def schema(self) -> bytes:
        """The model's OpenAPI document as JSON."""
        return self._first.schema

    @property
    def streaming(self) -> bool:
        """Whether the model asks to be streamed."""
        return self._first.streaming

    @property
    def waits_seconds(self) -> float:
        """How long a prediction may wait in its worker for a batch."""
        return self._first.waits_seconds

    @property
    def error(self) -> str:
        """Why there is no worker."""
        return self._first.error

    @property
    def python(self) -> str:
        """The version of the workers' Python."""
        return self._first.python

    @property
    def setup_logs(self) -> str:
        """What setup printed."""
        return self._first.setup_logs

    @property
    def setup_started_at(self) -> float:
        """Seconds since 1970."""
        return self._first.setup_started_at

    @property
    def setup_completed_at(self) -> float:
        """Seconds since 1970."""
        return self._first.setup_completed_at

    async def start(self) -> None:
        """Starts all workers. Raises OSError."""
        await asyncio.gather(*(member.start() for member in self._members))

    async def settled(self) -> State:
        """Waits until no setup is running any more."""
        await asyncio.gather(*(member.settled() for member in self._members))
        return self.state

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
        """Starts a prediction where there is most room. Raises AtCapacity, NotReady."""
        ready = [member for member in self._members if member.state in ("READY", "BUSY")]
        if not ready:
            raise NotReady(self.error or "setup has not finished")
        freest = max(ready, key=lambda member: member.free)
        if not freest.free:
            raise AtCapacity
        freest.predict(id, input, context, listener, kind=kind, files=files)

    def cancel(self, id: str) -> bool:
        """Asks a prediction to stop. False: no such prediction runs."""
        return any(member.cancel(id) for member in self._members)

    def waits(self, id: str) -> bool:
        """Whether a prediction has not begun because others of its worker run."""
        return any(member.waits(id) for member in self._members)

    def tidy(self, id: str) -> None:
        """Removes what a prediction that is over left in its worker's folder."""
        for member in self._members:
            member.tidy(id)

    async def healthcheck(self) -> str | None:
        """Asks each that is set up; the first fault, None: all is well. Raises NotReady."""
        ready = [member for member in self._members if member.state in ("READY", "BUSY")]
        if not ready:
            raise NotReady(self.error or "setup has not finished")
        answers = await asyncio.gather(*(member.healthcheck() for member in ready), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, NotReady):
                raise answer
        return next((answer for answer in answers if isinstance(answer, str)), None)

    def kill(self) -> None:
        """Ends all workers now."""
        for member in self._members:
            member.kill()

    async def stop(self, grace: float = 0.0) -> None:
        """Lets what runs finish within `grace` seconds, then ends all workers."""
        await asyncio.gather(*(member.stop(grace) for member in self._members))
