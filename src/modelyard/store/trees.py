"""Environments for another place than this host: a folder that becomes a virtual environment in an image.

uv installs wheels for the image's Python and platform, whatever runs here; nothing of the model is imported or run.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from modelyard import errors
from modelyard.store import environments, pythons
from modelyard.store.environments import EnvironmentFailedError, Lock
from modelyard.store.uv import Report, Uv, UvError

# By the words that images have for machines. The glibc is that of Debian 11, older than any base of use.
PLATFORMS: Final = {"amd64": "x86_64-manylinux_2_31", "arm64": "aarch64-manylinux_2_31"}
_MACHINES: Final = {"amd64": ("x86_64", "amd64"), "arm64": ("aarch64", "arm64")}
# What says where a package came from on this machine, and when.
_ABOUT_HERE = ("uv_cache.json", "uv_build.json")
_DIRECT = "direct_url.json"
_NO_WHEEL = re.compile(r"Because ([A-Za-z0-9][\w.-]*)(?:==(\S+))? has no|Failed to build `([^`]+)`")


class NoWheelError(errors.Invalid):
    """A package has no wheel for the image's Python and platform; the detail says which."""

    code = "no_wheel"
    title = "A package cannot be installed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The Python of an image: its path there, its minor, and the kind of machine (`amd64`)."""

    python: str
    minor: str
    architecture: str


def make(
    lock: Lock,
    target: Target,
    folder: Path,
    *,
    machine: str,
    environ: Mapping[str, str],
    report: Report | None = None,
    base: Path | None = None,
) -> tuple[str, ...]:
    """Make the environment of a lock in a new folder; gives what `pip freeze` would print there, line by line.

    `machine`: the processor of this host, as the system calls it; `base`: where relative paths in the lock start.
    Raises NoWheelError, EnvironmentFailedError, NoPythonError.
    """
    say = report or (lambda _: None)
    made = _Making(lock, target, folder, Uv(environ=environ), say, base)
    try:
        made.tree(pythons.own().path)
        missing = made.install("--no-build")
        if missing is not None:
            made.from_source(missing, machine)
    except UvError as error:
        hint = environments.index_hint(error.detail)
        raise EnvironmentFailedError(error.detail.removeprefix("error: "), hint=hint) from None
    return _settle(folder, target)


class _Making(NamedTuple):
    """One environment on its way."""

    lock: Lock
    target: Target
    folder: Path
    uv: Uv
    report: Report
    base: Path | None

    def tree(self, python: Path) -> None:
        """An empty environment. Which Python of this host makes it does not matter, unless it is to build."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        arguments = ["venv", "--quiet", "--no-project", "--no-config", "--relocatable", "--python", str(python)]
        self.uv.run([*arguments, str(self.folder)])

    def install(self, *more: str) -> str | None:
        """Install what the lock names; gives the package that has no wheel, where that is what is wrong."""
        if self.lock.empty:
            return None
        listed = self.folder / environments.LOCK_FILE
        listed.write_text(self.lock.text)
        arguments = ["pip", "install", "--python", str(self.folder / "bin" / "python"), "--no-deps"]
        arguments += ["--no-compile-bytecode", "--python-version", self.target.minor]
        arguments += ["--python-platform", PLATFORMS[self.target.architecture]]
        arguments += ["--require-hashes"] if self.lock.hashed else []
        arguments += environments.index_strategy(self.lock.text, self.uv.environ)
        try:
            self.uv.run([*arguments, *more, "--requirements", str(listed)], cwd=self.base, report=self._say)
        except UvError as error:
            missing = _without_wheel(error.detail) if more else None
            if missing is None:
                raise
            return missing
        listed.unlink()
        return None

    def _say(self, line: str) -> None:
        """What goes wrong is an error's affair, and may turn out to be none."""
        if not line.startswith(("error:", "hint:", "  ")):
            self.report(line)

    def from_source(self, missing: str, machine: str) -> None:
        """Let the package be built here, where this host is like the image. Raises NoWheelError elsewhere."""
        here = sys.platform == "linux" and machine.lower() in _MACHINES[self.target.architecture]
        found = pythons.find(self.target.minor, self.uv.environ, report=self.report) if here else None
        if found is None or found.minor != self.target.minor:
            raise _no_wheel(missing, self.target)
        self.report(f"warning: {missing} has no wheel for this Python and platform; it is built from its source here")
        self.tree(found.path)
        self.install()


def _without_wheel(words: str) -> str | None:
    """The package that uv found no wheel of; None where its words are of something else."""
    plain = " ".join(words.split())
    if "no-build" not in plain and "wheel" not in plain and "building from source is disabled" not in plain.lower():
        return None
    match = _NO_WHEEL.search(plain)
    if match is None:
        return None
    return match[3] or (f"{match[1]}=={match[2]}" if match[2] else match[1])


def _no_wheel(missing: str, target: Target) -> NoWheelError:
    return NoWheelError(
        f"{missing} has no wheel for Python {target.minor} on linux/{target.architecture}",
        hint=f"pin a version that has one; or build on a linux/{target.architecture} machine with Python"
        f" {target.minor}, which can make one from its source",
    )


# What of it is of this machine


def _settle(folder: Path, target: Target) -> tuple[str, ...]:
    """Make the tree independent of this machine, and of when and where it was made."""
    for path in [*folder.iterdir(), *(folder / "bin").iterdir()]:
        if path.name.startswith(("activate", "deactivate", "pydoc.bat", ".gitignore", ".lock", "CACHEDIR")):
            path.unlink()
    for link in (folder / "bin").glob("python*"):
        if link.is_symlink():
            link.unlink()
    (folder / "bin" / "python").symlink_to(target.python)
    for name in ("python3", f"python{target.minor}"):
        (folder / "bin" / name).symlink_to("python")
    here = next((folder / "lib").glob("python3*"))
    packages = here.rename(here.with_name(f"python{target.minor}")) / "site-packages"
    for name in ("_virtualenv.py", "_virtualenv.pth"):
        (packages / name).unlink(missing_ok=True)
    home = target.python.rpartition("/")[0]
    (folder / "pyvenv.cfg").write_text(
        f"home = {home}\nimplementation = CPython\nversion = {target.minor}\ninclude-system-site-packages = false\n"
    )
    return tuple(sorted(_frozen(packages), key=str.lower))


def _frozen(packages: Path) -> Iterator[str]:
    for info in packages.glob("*.dist-info"):
        name, version = _name_and_version(info)
        origin = _origin(info / _DIRECT)
        _forget(info, origin is None)
        yield f"{name} @ {origin}" if origin else f"{name}=={version}"


def _name_and_version(info: Path) -> tuple[str, str]:
    found = {"Name": "", "Version": ""}
    with (info / "METADATA").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            key, colon, value = line.partition(":")
            if not line.strip():
                break
            if colon and key in found and not found[key]:
                found[key] = value.strip()
    return found["Name"], found["Version"]


def _origin(path: Path) -> str | None:
    """Where a package came from, when that was no index and no file of this machine."""
    import json  # late: few packages have one

    try:
        told = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    url = str(told.get("url", ""))
    if not url or url.startswith("file:"):
        return None
    vcs = told.get("vcs_info") or {}
    return f"{vcs['vcs']}+{url}@{vcs['commit_id']}" if vcs else url


def _forget(info: Path, here: bool) -> None:
    """Take away what tells of this machine, also from the list of the package's files."""
    names = [*_ABOUT_HERE, *([_DIRECT] if here else [])]
    gone = [name for name in names if (info / name).exists()]
    if not gone:
        return
    for name in gone:
        (info / name).unlink()
    record = info / "RECORD"
    lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
    marks = tuple(f"{info.name}/{name}," for name in gone)
    record.unlink()  # it may be linked to the cache's own file
    record.write_text("".join(line for line in lines if not line.startswith(marks)), encoding="utf-8")
