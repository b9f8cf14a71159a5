"""One run of the benchmarks: how long, how often, the figures so far, and what could not be measured."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import load
from figures import Figures

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What every case is handed. Scratch files of the servers go to `scratch`, which is gone after the run."""

    rounds: int
    seconds: int
    scratch: Path
    figures: Figures

    def attempt(self, what: str, work: Callable[[], T]) -> T | None:
        """Do it, or note aloud why it could not be done: one broken part must not cost the other figures."""
        try:
            return work()
        except (load.MeasuringError, OSError, ImportError, KeyError, subprocess.SubprocessError) as error:
            self.note(f"{what}: {_told(error)}")
            return None

    def note(self, text: str) -> None:
        print(f"  not measured: {text}", flush=True)
        self.figures.missing.append(text)

    def enter(self, stack: ExitStack, what: str, context: AbstractContextManager[T]) -> T | None:
        return self.attempt(what, lambda: stack.enter_context(context))

    def add(self, case: str, who: str, **values: float) -> None:
        self.figures.add(case, who, **values)
        shown = "  ".join(f"{what}={value:,.4g}" for what, value in values.items())
        print(f"  {case:8} {who:18} {shown}", flush=True)


def _told(error: Exception) -> str:
    spoken = error.stderr if isinstance(error, subprocess.CalledProcessError) else None
    tail = spoken.decode(errors="replace")[-500:] if isinstance(spoken, bytes) else ""
    return f"{type(error).__name__}: {error} {tail}".strip()
