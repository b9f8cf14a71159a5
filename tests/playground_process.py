"""`yard serve --playground` as a process of its own, on free ports."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yard_process import YARD, environment


@contextmanager
def serving(folder: Path, home: Path, *, until: str = "Ready.") -> Iterator[tuple[str, str]]:
    """The addresses of the model and of the page, once a line that begins with `until` was printed."""
    process = subprocess.Popen(
        [YARD, "serve", "-p", "0", "--playground", "--playground-port", "0"],
        cwd=folder,
        env=environment(home),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = ""
        for line in process.stderr:
            said += line
            if line.startswith(until):
                break
        model, page = re.findall(r"(?:Serving|Playground) at (http://\S+)", said)
        yield model, page
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        process.stderr.close()
