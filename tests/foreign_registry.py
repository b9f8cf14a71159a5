"""A registry that is no yard: Docker's own program, as Debian has it, over plain HTTP on a free port."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.faults.yard import free_port

PROGRAM = "docker-registry"
# `me` with the password `secret`.
_PASSWORDS = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
_CONFIGURATION = """\
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {folder}/blobs}}
http: {{addr: "{host}"}}
"""
_AUTH = "auth: {{htpasswd: {{realm: a-registry, path: {folder}/passwords}}}}\n"
_TRIES = 100


@contextlib.contextmanager
def up(folder: Path, *, closed: bool = False) -> Iterator[str]:
    """Its HOST:PORT. `closed`: only `me` with the password `secret` gets in."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"a registry that is no yard is wanted: apt-get install {PROGRAM}")
    host = f"127.0.0.1:{free_port()}"
    text = _CONFIGURATION + (_AUTH if closed else "")
    (folder / "passwords").write_text(_PASSWORDS)
    (folder / "config.yaml").write_text(text.format(folder=folder, host=host))
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yaml")], stdout=log, stderr=log)
    try:
        _wait(host, process, folder / "log.txt")
        yield host
    finally:
        process.terminate()
        process.wait(30)


def _wait(host: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_TRIES):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"http://{host}/v2/")
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
