"""What a worker runs: each prediction with its listener, its place, and the time it has left once it is canceled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from modelyard_runner import frames

log = logging.getLogger(__name__)

Listener = Callable[[frames.Frame], None]


class AtCapacity(Exception):
    """All slots are taken, or one of them by a prediction of the same id."""


class _Run:
    __slots__ = ("begun", "input_file", "listener", "timer")

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.begun = False
        self.input_file: Path | None = None
        self.timer: asyncio.TimerHandle | None = None


class Slots:
    """As many predictions at once as the model can take. Long inputs are put aside in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.size = 1
        self._folder = folder
        self._runs: dict[str, _Run] = {}

    @property
    def full(self) -> bool:
        """Whether none is free."""
        return len(self._runs) >= self.size

    @property
    def free(self) -> int:
        """How many are."""
        return max(0, self.size - len(self._runs))

    def only(self) -> str | None:
        """The one that runs; None where none or several do."""
        return next(iter(self._runs)) if len(self._runs) == 1 else None

    def take(self, name: str, listener: Listener) -> None:
        """Takes a slot. Raises AtCapacity."""
        if len(self._runs) >= self.size or name in self._runs:
            raise AtCapacity
        self._runs[name] = _Run(listener)

    def put_aside(self, name: str, value: bytes) -> Path:
        """Writes an input that is too long for a frame; it is removed when its prediction ends. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._runs[name].input_file = self._folder / f"{name}.json"
        path.write_bytes(value)
        return path

    def end(self, frame: frames.Done | frames.Failed | frames.Canceled) -> None:
        """Frees the slot, then tells the listener."""
        run = self._runs.pop(frame.id, None)
        if run is None:
            return
        if run.timer is not None:
            run.timer.cancel()
        if run.input_file is not None:
            run.input_file.unlink(missing_ok=True)
        try:
            run.listener(frame)
        except Exception:  # as below
            log.exception("a listener failed")

    def tell(self, name: str, frame: frames.Frame) -> None:
        """Tells a listener of a step."""
        run = self._runs.get(name)
        if run is None:
            return
        run.begun = True
        try:
            run.listener(frame)
        except Exception:  # one prediction's listener must not cost the others their frames
            log.exception("a listener failed")

    def waits(self, name: str) -> bool:
        """Whether one has not begun because others run, as those do that are to be in the next batch."""
        run = self._runs.get(name)
        return run is not None and not run.begun and any(other.begun for other in self._runs.values())

    def cancel(self, name: str, grace: float, on_overdue: Callable[[], None]) -> bool:
        """Starts the time that a canceled prediction has left. False: there is none of this name."""
        run = self._runs.get(name)
        if run is None:
            return False
        if run.timer is None:
            run.timer = asyncio.get_running_loop().call_later(grace, on_overdue)
        return True

    def end_all(self, error: str) -> None:
        """Their worker is gone: those that were to be canceled are, the others failed."""
        for name, run in list(self._runs.items()):
            self.end(frames.Canceled(id=name) if run.timer is not None else frames.Failed(id=name, error=error))
