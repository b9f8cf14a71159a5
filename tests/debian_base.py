"""A root file system of Debian with Python, made once and kept in the user's cache: what test images begin with."""

from __future__ import annotations

import fcntl
import os
import subprocess
from pathlib import Path

SUITE = "bookworm"
PYTHON = "3.11"
PACKAGES = "python3,ca-certificates"


def tarball() -> Path:
    """The file; making it takes a minute and needs `mmdebstrap`, root and Debian's packages."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelyard-tests"
    cache.mkdir(parents=True, exist_ok=True)
    wanted = cache / "base.tar"
    # Two test processes at once: the second one waits, and finds it made.
    with (cache / "debian.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            partial = wanted.with_suffix(".partial.tar")
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(partial)]
            subprocess.run(command, check=True, timeout=900, stdin=subprocess.DEVNULL)
            partial.replace(wanted)
    return wanted


if __name__ == "__main__":
    # The gate makes it beside its first steps, so that no test has to wait for it.
    print(tarball())
