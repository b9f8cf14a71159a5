"""The command as a process of its own, with a home of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

YARD = str(Path(sys.executable).with_name("yard"))
TOKEN = "r8_" + "t0ken" * 7 + "ab"

Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(home: Path) -> dict[str, str]:
    """The environment of the tests with another home; uv's cache stays, or every test would download anew."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "XDG_"))}
    cache = os.environ.get("UV_CACHE_DIR") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/uv"
    # What is pushed needs no container here, and no way to a registry of bases.
    return {**kept, "HOME": str(home), "MODELYARD_BASE_IMAGE": "none", "UV_CACHE_DIR": str(Path(cache).expanduser())}


def called_cog(home: Path) -> str:
    """The command under Cog's name."""
    link = home / ".local" / "bin" / "cog"
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(YARD)
    return str(link)


def run(
    *arguments: str, home: Path, cwd: Path, stdin: str = "", program: str = "yard", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, by the name `yard` or `cog`."""
    return subprocess.run(
        [called_cog(home) if program == "cog" else YARD, *arguments],
        cwd=cwd,
        env={**environment(home), **variables},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A yard that runs; its owner is `yard`."""

    url: str
    token: str


@contextlib.contextmanager
def up(folder: Path, *, admin_token: str | None = TOKEN, **variables: str) -> Iterator[Server]:
    """A yard on a free port, with an owner whose token is known, and no word on bases unless `variables` has one."""
    given = {} if admin_token is None else {"MODELYARD_ADMIN_TOKEN": admin_token}
    process = subprocess.Popen(
        [YARD, "up", "--port", "0", "--data", str(folder / "data")],
        cwd=folder,
        env={**environment(folder), "MODELYARD_BASE_IMAGE": "", **given, **variables},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        while "http://" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        found = re.search(r"http://\S+", said)
        assert found, said
        yield Server(url=found[0], token=TOKEN)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stderr.close()
