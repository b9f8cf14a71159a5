"""The words of an examination: a check, what it finds, what it wants to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from modelyard.packaging.doctor.case import Case

Severity = Literal["error", "warning", "info"]
Group = Literal["Config", "Python", "Environment"]


# Files as they shall be; None where one shall be gone. They change in this order, those that go last.
Changes = Mapping[Path, bytes | None]


class CannotMend(Exception):
    """What was found has to be mended by a person; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was found. `file` and `line` say where, as far as it has a place; `remedy` is the next step.

    `info` is something to know, which counts as nothing.
    """

    severity: Severity
    message: str
    file: str = ""
    line: int = 0
    remedy: str = ""

    @property
    def text(self) -> str:
        """`run.py:3 — …`: its place, where it has one, and what it is."""
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place} — {self.message}" if place else self.message

    def to_json(self) -> dict[str, Any]:
        place = {"file": self.file or None, "line": self.line or None}
        return {"severity": self.severity, **place, "message": self.message, "remediation": self.remedy or None}


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a project. `look` answers with what it finds, None where it cannot be asked.

    `mend` gives the changes that answer some of the findings; None where none can be. It raises CannotMend.
    """

    name: str
    group: Group
    about: str
    look: Callable[[Case], list[Finding] | None]
    mend: Callable[[Case], Changes] | None = None
