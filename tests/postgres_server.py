"""A real PostgreSQL for the tests: found, initialised in a temporary folder, started, stopped.

It listens on a Unix socket of its own only. The server refuses to run as root, so that a test run as root starts it
as `postgres`, or `nobody`.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 60
HOW_TO_HAVE_IT = "PostgreSQL's server programs are not here: apt-get install postgresql, or brew install postgresql"

# Nothing here has to survive a power cut.
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "autovacuum": "off",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    folder: Path
    programs: Path
    user: str | None

    def url(self, database: str) -> str:
        return f"postgresql://yard@/{database}?host={self.folder}"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The server process, from when it answers until it is stopped."""
        settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        command = [str(self.programs / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *settings]
        if shutil.which("setpriv"):
            # However the tests end, the server does not outlive them.
            command = ["setpriv", "--pdeathsig", "INT", *command]
        with (self.folder / "server.log").open("ab") as log:
            server = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, **self._as_user())
        try:
            self._wait_until_it_answers(server)
            yield server
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(START_SECONDS)

    def initialise(self) -> None:
        command = [str(self.programs / "initdb"), "-D", str(self.folder / "data"), "-U", "yard"]
        command += ["--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True, **self._as_user())

    def _wait_until_it_answers(self, server: subprocess.Popen[bytes]) -> None:
        ready = [str(self.programs / "pg_isready"), "--quiet", "-h", str(self.folder), "-d", "postgres"]
        deadline = time.monotonic() + START_SECONDS
        while subprocess.run(ready, check=False).returncode:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'server.log').read_text()}")
            time.sleep(0.05)

    def _as_user(self) -> dict[str, object]:
        if self.user is None:
            return {}
        entry = pwd.getpwnam(self.user)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def find_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest where there are several; None where there is none."""
    folders = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    if shutil.which("pg_config"):
        told = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True, check=False)
        folders.append(Path(told.stdout.strip()))
    folders += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4), reverse=True
    )
    return next(
        (folder for folder in folders if all((folder / name).exists() for name in ("initdb", "postgres"))), None
    )


@contextmanager
def make_server(programs: Path) -> Iterator[PostgresServer]:
    """An initialised server, not running yet, in a folder that is removed afterwards."""
    user = _other_user() if os.geteuid() == 0 else None
    # Not pytest's folder: another user cannot look into it, and the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="yard-pg-"))
    try:
        if user is not None:
            shutil.chown(folder, user)
        server = PostgresServer(folder=folder, programs=programs, user=user)
        server.initialise()
        yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _other_user() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"
