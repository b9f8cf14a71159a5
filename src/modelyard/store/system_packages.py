"""Which packages of the system, of those that a version names, this host lacks: for engines that bring none along."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence

_FORM = "-f=${db:Status-Status} ${Package} ${Provides}\n"
_QUERY = "dpkg-query"
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]*")


def missing(wanted: Sequence[str], query: str = _QUERY) -> list[str] | None:
    """Those of `wanted` (names as `apt-get install` takes them) that are not installed; None: this host cannot tell."""
    if not wanted:
        return []
    program = shutil.which(query)
    if program is None:
        return None
    done = subprocess.run([program, "-W", _FORM], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    there: set[str] = set()
    for line in done.stdout.splitlines():
        status, _, rest = line.partition(" ")
        if status == "installed":
            # What a package provides stands behind it: `libgl1, libgl (= 1.6)`.
            there.update(_NAME.findall(re.sub(r"\([^)]*\)", "", rest)))
    return [name for name in wanted if _plain(name) not in there]


def _plain(name: str) -> str:
    """`ffmpeg=7:5.1`, `libgl1:amd64` and `curl/bookworm` name a package, too."""
    return re.split(r"[=:/]", name.strip(), maxsplit=1)[0]
