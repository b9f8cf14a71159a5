"""The uv program: where it is, the environment it is given, and one way to call it."""

from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelyard import errors

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
# uv reads its own variables only. Where just pip's are set, they are meant for both.
_PIP_TO_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
}
_SAME_SETTING = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


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
        with subprocess.Popen(
            [binary(), "--color", "never", "--no-progress", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            cwd=cwd,
            env=environment(self.environ),
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
    found = {key: value for key, value in environ.items() if key not in _NOT_HANDED_ON}
    for theirs, ours in _PIP_TO_UV.items():
        if environ.get(theirs) and ours not in found and _SAME_SETTING.get(ours, ours) not in found:
            found[ours] = environ[theirs]
    return found


def _follow(process: subprocess.Popen[str], report: Report) -> str:
    lines: list[str] = []
    if process.stderr is None or process.stdout is None:
        raise UvError("uv has no output to read")
    # Standard output of every command called here is a few lines at most: it fits in the pipe until the end.
    for line in process.stderr:
        if line.strip():
            lines.append(line.rstrip())
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
