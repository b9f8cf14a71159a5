"""The servers that a scenario can be shown on: ours, and the real Cog's in an environment of its own."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import yard_process
from scenario_client import Call, free_port, listens, pause

REPOSITORY = Path(__file__).resolve().parents[2]
BOX = f"{REPOSITORY / 'sdk/src'}{os.pathsep}{REPOSITORY / 'runner/src'}"
READY_SECONDS = 60.0
# Within the time limit of a test, with one more process waiting for it.
INSTALL_SECONDS = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server of one model: the command that starts it, without a port, and the variables that it needs."""

    name: str
    command: tuple[str, ...]
    variables: dict[str, str]

    @property
    def path(self) -> str:
        """Where programs are found: beside its own Python first."""
        return f"{Path(self.command[0]).parent}{os.pathsep}{os.environ['PATH']}"


OURS = Target(
    name="ours",
    command=(sys.executable, "-m", "modelyard_runner", "--host", "127.0.0.1"),
    variables={"PYTHONPATH": BOX, "MODELYARD_PYTHON": sys.executable},
)


def yard_serve(home: Path) -> Target:
    """`yard serve`, for one whose home this is."""
    return Target(name="ours", command=(yard_process.YARD, "serve"), variables=yard_process.environment(home))


class NotInstallable(Exception):
    """The package index did not give us the real Cog; why."""


def real_cog(run: str) -> Target:
    """The real Cog, as the benchmarks have it. Raises NotInstallable: at once where this `run` of tests saw it fail."""
    sys.path.append(str(REPOSITORY / "bench"))
    try:
        import environments
    finally:
        sys.path.remove(str(REPOSITORY / "bench"))
    environments.ROOT.mkdir(exist_ok=True)
    with (environments.ROOT / ".lock").open("a+") as lock:  # several processes run tests
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.seek(0)
        wanted = ", ".join(environments.COG.packages)
        if run and lock.read() == run:
            raise NotInstallable(f"{wanted} could not be installed")
        try:
            subprocess.run(
                [sys.executable, "-c", "import environments; environments.COG.make()"],
                cwd=REPOSITORY / "bench", check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS,
            )  # fmt: skip
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            lock.truncate(0)
            lock.write(run)
            said = [line for line in str(error.stderr or error).splitlines() if line.strip()][:1]
            raise NotInstallable(f"{wanted} could not be installed: {''.join(said)}") from None
    command = (str(environments.COG.python), "-m", "cog.server.http", "--host", "127.0.0.1")
    return Target(name="cog", command=command, variables={})


class Server:
    """A server that was started, in the model's folder."""

    def __init__(
        self, target: Target, folder: Path, flags: list[str], variables: dict[str, str], scratch: Path
    ) -> None:
        self.port = free_port()
        self.target = target
        self._log_path = scratch / f"server-{self.port}.log"
        (scratch / "tmp").mkdir(exist_ok=True)
        environment = {
            "HOME": str(scratch), "PATH": target.path,
            "TMPDIR": str(scratch / "tmp"), "PYTHONDONTWRITEBYTECODE": "1", "PORT": str(self.port),
            **target.variables, **variables,
        }  # fmt: skip
        if target.command[1] == "serve":
            flags = ["--port", str(self.port), *flags]
        with self._log_path.open("w") as log:
            self.process = subprocess.Popen(
                [*target.command, *flags],
                cwd=folder, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    @property
    def log(self) -> str:
        """What it wrote."""
        return self._log_path.read_text(errors="replace")

    @property
    def trouble(self) -> str:
        """The end of what it wrote, without what it says of everything it does."""
        return "\n".join(line for line in self.log.splitlines() if '"level":"INFO"' not in line)[-2000:]

    def wait_until_listening(self) -> None:
        """Until it takes requests."""
        self._wait(lambda: listens(self.port))

    def wait_until_settled(self) -> None:
        """Until setup is over, well or not."""
        self.wait_until_listening()
        self._wait(lambda: self.ask("/health-check").json["status"] not in ("UNKNOWN", "STARTING"))

    def ask(self, path: str) -> Call:
        """A plain GET."""
        return Call(self.port, "GET", path, None, {}).wait()

    def _wait(self, condition: object) -> None:
        assert callable(condition)
        until = time.monotonic() + READY_SECONDS
        while not condition():
            assert self.process.poll() is None, f"the server ended with {self.process.returncode}: {self.trouble}"
            assert time.monotonic() < until, f"the server is not ready: {self.trouble}"
            pause()

    def stop(self) -> None:
        """Ends it with all its children."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait(20)
