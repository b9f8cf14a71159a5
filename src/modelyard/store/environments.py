"""Environments made from locks: each once on a host, whoever asks first, shared by every version with the same lock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from modelyard import errors
from modelyard.store import archives, pythons
from modelyard.store.uv import Report, Uv, UvError

LOCK_FILE = "requirements.lock"


class EnvironmentFailedError(errors.ModelyardError):
    """uv could not make the environment; the detail has its words."""

    code = "environment_failed"
    title = "The environment could not be made"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """Everything that goes into an environment.

    `text`: requirements pinned with hashes, in pip's format, valid on any platform; `python`: the minor (`3.12`) that
    it was made for.
    """

    text: str
    python: str

    @property
    def empty(self) -> bool:
        """Does it name no package at all?"""
        return not any(_requirements(self.text))

    @property
    def hashed(self) -> bool:
        """Has every requirement a hash? What comes from a repository or a folder has none."""
        return all("--hash=" in requirement for requirement in _requirements(self.text))


def key_of(lock: Lock, minor: str) -> str:
    """The name of the environment that this lock gives under this Python on this kind of machine."""
    parts = (lock.text, minor, sys.platform, platform.machine(), sys.implementation.name)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def ensure(
    lock: Lock,
    into: Path,
    *,
    environ: Mapping[str, str],
    report: Report | None = None,
    base: Path | None = None,
    wanted: str | None = None,
) -> Path:
    """The Python of the environment for `lock` below the folder `into`, made now if this host has none yet.

    Any number of processes may ask at once: one makes it, the others wait. It is made under another name and then
    renamed, so that a killed one leaves nothing that looks whole. `base`: the folder that relative paths in the lock
    start from; `wanted`: the minor to look for when it is not the lock's. Raises EnvironmentFailedError, NoPythonError.
    """
    into.mkdir(parents=True, exist_ok=True)
    say = report or (lambda _: None)
    found = pythons.find(wanted or lock.python, environ, memory=into / "pythons.json", report=say)
    key = key_of(lock, found.minor)
    python = into / key / "bin" / "python"
    if python.exists():
        return python
    if found.warning:
        say(f"warning: {found.warning}")
    with locked(into / f"{key}.lock", say, "Waiting for another process that makes this environment") as held:
        if not python.exists():
            _make(lock, found, into / key, Uv(environ=environ, keep_open=(held,)), report=say, base=base)
    return python


@contextlib.contextmanager
def locked(path: Path, report: Report, waiting: str) -> Iterator[int]:
    """Hold the file's lock; `waiting` is said where somebody else has it.

    The descriptor may be handed to uv, so that the lock lives as long as what works under it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(waiting)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _make(lock: Lock, found: pythons.Interpreter, target: Path, uv: Uv, *, report: Report, base: Path | None) -> None:
    partial = target.with_name(f"{target.name}.partial")
    # Left by a process that was killed; or an environment whose Python is gone from the host.
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    try:
        report(f"Making an environment with Python {found.minor}")
        uv.run(
            [
                "venv",
                "--quiet",
                "--no-project",
                "--no-config",
                "--relocatable",
                "--python",
                str(found.path),
                str(partial),
            ]
        )
        (partial / LOCK_FILE).write_text(lock.text)
        if not lock.empty:
            _install(lock, partial, uv, report=report, base=base)
    except UvError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise EnvironmentFailedError(error.detail.removeprefix("error: "), hint=index_hint(error.detail)) from None
    partial.rename(target)


def _install(lock: Lock, environment: Path, uv: Uv, *, report: Report, base: Path | None) -> None:
    hashes = ["--require-hashes"] if lock.hashed else []
    arguments = ["pip", "install", "--python", str(environment / "bin" / "python"), "--no-deps", *hashes]
    arguments += index_strategy(lock.text, uv.environ)
    try:
        with archives.readable(lock.text, base or Path()) as lines, tempfile.NamedTemporaryFile("w") as file:
            file.write(lines.text)
            file.flush()
            uv.run([*arguments, "--requirements", file.name], cwd=base, report=report)
    except archives.ArchiveError as error:
        raise UvError(str(error)) from None


def index_strategy(lines: str, environ: Mapping[str, str]) -> list[str]:
    """How uv is to look at several indexes where `lines` name one: as pip does, the best of all of them.

    uv's own way is that the first index that knows a package has all its versions. An index of a few packages, such
    as torch's, has an old copy of many others, and so would hide what is pinned.
    """
    named = re.search(r"^--extra-index-url\b", lines, re.MULTILINE) is not None
    return ["--index-strategy", "unsafe-best-match"] if named and not environ.get("UV_INDEX_STRATEGY") else []


def index_hint(words: str) -> str | None:
    """What to do about an index that does not answer; None where the words say something else."""
    if "dns error" in words or "Failed to fetch" in words or "error sending request" in words:
        return "The package index does not answer; the UV_* variables and pip's settings say which one is asked."
    return None


def _requirements(text: str) -> Iterator[str]:
    for line in text.replace("\\\n", " ").splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith(("#", "-")):
            yield stripped
