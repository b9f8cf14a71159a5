"""Who waits for the model, and what it runs next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

from modelyard_runner.job import Job


class Line:
    """Predictions in the order in which they came; each runs by itself.

    `lock`: whoever takes or removes one holds it, where others may do so at the same time.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._waiting: deque[Job] = deque()

    def __iter__(self) -> Iterator[Job]:
        return iter(tuple(self._waiting))

    @property
    def empty(self) -> bool:
        """Whether nobody waits."""
        return not self._waiting

    def add(self, job: Job) -> None:
        """One came."""
        self._waiting.append(job)

    def due(self) -> float | None:
        """Seconds until something is to be run: 0 for now, None while nobody waits."""
        return 0.0 if self._waiting else None

    def take(self) -> Any:
        """What is to be run now: a Job, or what looks like one; None: nobody waits."""
        return self._waiting.popleft() if self._waiting else None

    def remove(self, prediction: str) -> Job | None:
        """Takes out one that waits; None: it does not."""
        for job in self:
            if job.id == prediction:
                self._waiting.remove(job)
                return job
        return None

    def close(self) -> None:
        """No more will come."""
