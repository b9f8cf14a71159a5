"""A yard as whoever operates it has it: a process, with settings, behind a name."""

from __future__ import annotations

from tests.faults.conftest import make_yard, yard

__all__ = ["make_yard", "yard"]
