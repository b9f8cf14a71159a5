"""Which Python a version gets on this host: the minor it asks for, or the nearest there is."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard import errors
from modelyard.store.uv import Report, Uv, quietly

# The oldest Python that the program beside a model runs on.
FLOOR = (3, 10)

_VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class NoPythonError(errors.ModelyardError):
    """This host has no Python that would do and can get none."""

    code = "no_python"
    title = "No Python found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """An interpreter on this host; `minor` as in `3.12`; `wanted` the minor that was asked for."""

    path: Path
    minor: str
    wanted: str

    @property
    def warning(self) -> str | None:
        """What to tell people when it is not the one that was asked for."""
        if self.minor == self.wanted:
            return None
        return f"Python {self.wanted} is not on this machine and could not be installed; Python {self.minor} is used"


def find(
    wanted: str, environ: Mapping[str, str], *, memory: Path | None = None, report: Report | None = None
) -> Interpreter:
    """The interpreter for `wanted` (`3.12`; a patch number is passed over).

    First the one that runs us, then what uv finds, then what pyenv keeps, then what uv can install, then the nearest
    minor from 3.10 up. `memory`: a file that keeps the answer, so that later calls start no process. Raises
    NoPythonError.
    """
    minor = minor_of(wanted)
    ours = own()
    if ours.minor == minor:
        return ours
    known = _recall(memory, minor)
    if known is not None and known.minor == minor:
        return known
    # A Python that could not be installed once is not tried again: it takes long on a machine without a way out.
    again = known is None
    found = _exact(minor, environ) or (_installed(minor, environ, report) if again else None)
    found = found or _nearest(minor, ours, environ)
    if found is None:
        raise NoPythonError(
            f"Python {minor} is wanted, and no Python from {FLOOR[0]}.{FLOOR[1]} up was found",
            hint=f"Install Python {minor}, for example with `uv python install {minor}`.",
        )
    _remember(memory, found)
    return found


def minor_of(version: str) -> str:
    """`3.12` of `3.12.1`. Raises NoPythonError for what is no version."""
    match = _VERSION.fullmatch(version.strip())
    if match is None:
        raise NoPythonError(f"{version!r} is no Python version: one like 3.12 is wanted")
    return f"{match[1]}.{match[2]}"


def own() -> Interpreter:
    """The interpreter that runs us, or that our own environment was made from."""
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    # In a virtual environment this is the Python that it was made from: others must not depend on ours.
    base = getattr(sys, "_base_executable", None) or sys.executable
    return Interpreter(path=Path(base), minor=minor, wanted=minor)


def _exact(minor: str, environ: Mapping[str, str]) -> Interpreter | None:
    arguments = ["python", "find", "--system", "--no-project", "--no-config", "--no-python-downloads", minor]
    path = quietly(Uv(environ=environ), arguments)
    if path and Path(path).exists():
        return Interpreter(path=Path(path), minor=minor, wanted=minor)
    return _of_pyenv(minor, environ)


def _of_pyenv(minor: str, environ: Mapping[str, str]) -> Interpreter | None:
    """pyenv's own folder: its shims answer only for versions that are switched on."""
    found = sorted(_pyenv(environ).glob(f"versions/{minor}.*/bin/python{minor}"), key=_patch_of)
    return Interpreter(path=found[-1], minor=minor, wanted=minor) if found else None


def _pyenv(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("PYENV_ROOT") or Path(environ.get("HOME") or "/nonexistent") / ".pyenv")


def _patch_of(path: Path) -> int:
    match = _VERSION.fullmatch(path.parent.parent.name)
    return int(match[3] or 0) if match else -1


def _installed(minor: str, environ: Mapping[str, str], report: Report | None) -> Interpreter | None:
    if environ.get("UV_PYTHON_DOWNLOADS") == "never" or environ.get("UV_OFFLINE"):
        return None
    if report:
        report(f"Installing Python {minor}")
    # A machine without a way out should learn so at once, not after a minute of trying again.
    patient = {"UV_HTTP_RETRIES": "0", **environ}
    if quietly(Uv(environ=patient), ["python", "install", minor]) is None:
        return None
    return _exact(minor, environ)


def _nearest(minor: str, own: Interpreter, environ: Mapping[str, str]) -> Interpreter | None:
    wanted = int(minor.partition(".")[2])
    there = {**_listed(environ), **_all_of_pyenv(environ), int(own.minor.partition(".")[2]): own.path}
    near = sorted(
        (number for number in there if number >= FLOOR[1]), key=lambda number: (abs(number - wanted), -number)
    )
    return Interpreter(path=there[near[0]], minor=f"3.{near[0]}", wanted=minor) if near else None


def _listed(environ: Mapping[str, str]) -> dict[int, Path]:
    """The interpreters that uv sees, by the minor's number."""
    text = quietly(Uv(environ=environ), ["python", "list", "--only-installed", "--output-format", "json"])
    found: dict[int, Path] = {}
    for entry in json.loads(text or "[]"):
        parts = entry["version_parts"]
        if entry["implementation"] == "cpython" and parts["major"] == FLOOR[0]:
            found.setdefault(parts["minor"], Path(entry["path"]))
    return found


def _all_of_pyenv(environ: Mapping[str, str]) -> dict[int, Path]:
    paths = sorted(_pyenv(environ).glob("versions/3.*.*/bin/python3"), key=_patch_of)
    versions = [(_VERSION.fullmatch(path.parent.parent.name), path) for path in paths]
    return {int(match[2]): path for match, path in versions if match}


def _recall(memory: Path | None, minor: str) -> Interpreter | None:
    kept = _load(memory).get(minor)
    if not isinstance(kept, dict):
        return None
    path, found = kept.get("path"), kept.get("minor")
    if not isinstance(path, str) or not isinstance(found, str) or not Path(path).exists():
        return None
    return Interpreter(path=Path(path), minor=found, wanted=minor)


def _remember(memory: Path | None, found: Interpreter) -> None:
    if memory is None:
        return
    kept = {**_load(memory), found.wanted: {"path": str(found.path), "minor": found.minor}}
    partial = memory.with_name(f"{memory.name}.{os.getpid()}.tmp")
    partial.write_text(json.dumps(kept, indent=1, sort_keys=True))
    partial.replace(memory)


def _load(memory: Path | None) -> dict[str, object]:
    if memory is None:
        return {}
    try:
        kept = json.loads(memory.read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
