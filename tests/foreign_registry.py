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
from certificates import Pair

from tests.faults.yard import free_port

PROGRAM = "docker-registry"
# `me` with the password `secret`.
_PASSWORDS = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
_CONFIGURATION = """\
version: 0.1
log: {{level: info}}
storage:
  filesystem: {{rootdirectory: {folder}/blobs}}
"""
_PLAIN = 'http: {{addr: "{host}"}}\n'
_AUTH = "auth: {{htpasswd: {{realm: a-registry, path: {folder}/passwords}}}}\n"
_SECURE = 'http: {{addr: "{host}", tls: {{certificate: {pair.chain}, key: {pair.key}}}}}\n'
_TRIES = 100


@contextlib.contextmanager
def up(
    folder: Path, *, closed: bool = False, auth: str = "", address: str = "127.0.0.1", pair: Pair | None = None
) -> Iterator[str]:
    """Its HOST:PORT. `closed`: only `me` with the password `secret` gets in; `auth`: another way in, as its
    configuration has it; `pair`: its certificate."""
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"a registry that is no yard is wanted: apt-get install {PROGRAM}")
    host = f"{address}:{free_port()}"
    text = _CONFIGURATION + (_PLAIN if pair is None else _SECURE) + (_AUTH if closed else "")
    (folder / "passwords").write_text(_PASSWORDS)
    (folder / "config.yaml").write_text(text.format(folder=folder, host=host, pair=pair) + auth)
    with (folder / "log.txt").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(folder / "config.yaml")], stdout=log, stderr=log)
    try:
        _wait(f"{'https' if pair else 'http'}://{host}", process, folder / "log.txt")
        yield host
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(_TRIES):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            httpx.get(f"{url}/v2/", verify=False)
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text())
