"""Other programs of this machine, asked for something short: what one answers, or why it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Answer(NamedTuple):
    """What a program wrote to its standard output; `failure`: why it gives none, "" where it does."""

    text: str
    failure: str = ""


def ask(command: Sequence[str], environ: Mapping[str, str], *, seconds: float) -> Answer:
    """Run a program of `PATH` with these variables and nothing to read; it has so long."""
    name = command[0]
    program = shutil.which(name, path=environ.get("PATH", os.defpath))
    if program is None:
        return Answer("", f"{name} was not found on PATH")
    try:
        done = subprocess.run(
            [program, *command[1:]],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer("", f"{name} did not answer within {seconds:g} seconds")
    except OSError as error:
        return Answer("", f"{name}: {error.strerror}")
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"{name} ended with status {done.returncode}"]
        return Answer("", lines[-1])
    return Answer(done.stdout)
