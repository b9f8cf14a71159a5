"""The uv program: where it is, the environment it is given, and one way to call it."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard import errors
from modelyard.store import authorities, pip_settings

Report = Callable[[str], None]

# What belongs to the program that calls and would change what uv finds.
_NOT_HANDED_ON = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "PYTHONPATH",
    "PYTHONHOME",
    "UV_PROJECT",
    "UV_PROJECT_ENVIRONMENT",
    "UV_SYSTEM_PYTHON",
    "UV_PYTHON",
)
# What decides which packages and which files of them are found.
_CHOOSES = (
    "UV_CONSTRAINT",
    "UV_DEFAULT_INDEX",
    "UV_EXCLUDE",
    "UV_EXCLUDE_NEWER",
    "UV_EXTRA_INDEX_URL",
    "UV_FIND_LINKS",
    "UV_FORK_STRATEGY",
    "UV_INDEX",
    "UV_INDEX_STRATEGY",
    "UV_INDEX_URL",
    "UV_OVERRIDE",
    "UV_PRERELEASE",
    "UV_RESOLUTION",
    "UV_TORCH_BACKEND",
)
# Of those, names of files: what stands in them counts.
_FILES = ("UV_CONFIG_FILE", "UV_CONSTRAINT", "UV_EXCLUDE", "UV_OVERRIDE")
# What a lock has taken into account; uv would want hashes in it, too.
_ONLY_FOR_LOCKS = ("UV_CONSTRAINT", "UV_EXCLUDE", "UV_OVERRIDE", "UV_TORCH_BACKEND")
_USER = re.compile(r"(?<=://)(?!\$\{)(?!git@)[^/@\s]+@")


class UvError(errors.ModelyardError):
    """uv ended with an error; the detail has its last words."""

    code = "uv_failed"
    title = "uv failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uv:
    """How to call uv: its environment, and file descriptors that its process must keep open."""

    environ: Mapping[str, str]
    keep_open: tuple[int, ...] = ()

    def run(self, arguments: Sequence[str], *, cwd: Path | None = None, report: Report | None = None) -> str:
        """What uv prints on its standard output; its standard error goes line by line to `report`. Raises UvError."""
        report = report or _nobody
        env = environment(self.environ)
        for name in _ONLY_FOR_LOCKS if list(arguments[:2]) == ["pip", "install"] else ():
            env.pop(name, None)
        try:
            with authorities.bundle(env) as trusted:
                return self._run([*arguments, *flags(self.environ, arguments)], {**env, **trusted}, cwd, report)
        except authorities.NoCertificateError as error:
            raise UvError(str(error)) from None

    def _run(self, arguments: Sequence[str], env: Mapping[str, str], cwd: Path | None, report: Report) -> str:
        with subprocess.Popen(
            [binary(), "--color", "never", "--no-progress", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env=env,
            pass_fds=self.keep_open,
        ) as process:
            try:
                return _follow(process, report)
            except BaseException:
                process.kill()
                raise


@functools.cache
def binary() -> str:
    """The path of uv. Raises UvError when its wheel is not installed."""
    import uv  # late: only commands that resolve or install need it

    try:
        return uv.find_uv_bin()
    except FileNotFoundError as error:
        raise UvError(f"uv is not where its package should have it: {error}", hint="Install uv again.") from None


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for uv: the caller's, with pip's settings where uv has none of its own."""
    # uv takes an empty value for one it does not know.
    found = {key: value for key, value in environ.items() if key not in _NOT_HANDED_ON and (value or key[:3] != "UV_")}
    return found | pip_settings.variables(pip_settings.read(environ), environ)


def flags(environ: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """What pip was told and uv has only flags for, where `arguments` have to do with packages."""
    return pip_settings.flags(pip_settings.read(environ), environ) if arguments[:1] == ["pip"] else []


def choices(environ: Mapping[str, str]) -> str:
    """All that decides what a lock comes out as, but for the requirements, as one text; "" where nothing is set.

    It has no names and passwords of users, and changes when a file does that it names.
    """
    found = environment(environ)
    lines = [f"{name}={_USER.sub('', found[name])}" for name in _CHOOSES if found.get(name)]
    lines += flags(environ, ["pip"])
    paths = [Path(path) for name in _FILES for path in found.get(name, "").split()]
    home = Path(found.get("HOME") or Path("~").expanduser())
    for path in (*paths, Path(found.get("XDG_CONFIG_HOME") or home / ".config") / "uv" / "uv.toml"):
        with contextlib.suppress(OSError):
            lines.append(_USER.sub("", path.read_text(encoding="utf-8", errors="replace")))
    return "\n".join(lines)


def masked(text: str) -> str:
    """The text without names and passwords in its addresses; a `${NAME}` stays."""
    return _USER.sub("***@", text)


def _follow(process: subprocess.Popen[str], report: Report) -> str:
    lines: list[str] = []
    if process.stderr is None or process.stdout is None:
        raise UvError("uv has no output to read")
    # Standard output of every command called here is a few lines at most: it fits in the pipe until the end.
    for line in process.stderr:
        # Where it works is a folder that has another name in the end.
        if line.strip() and not line.startswith("Using Python "):
            lines.append(masked(line.rstrip()))
            report(lines[-1])
    output = process.stdout.read()
    if process.wait() != 0:
        raise UvError("\n".join(lines[-20:]) or f"uv ended with status {process.returncode}")
    return output


def _nobody(_: str) -> None:
    """Nobody listens."""


def quietly(uv: Uv, arguments: Sequence[str]) -> str | None:
    """What uv prints, stripped; None when it fails."""
    with contextlib.suppress(UvError):
        return uv.run(arguments).strip()
    return None
