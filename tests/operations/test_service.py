"""A yard as a service: what its supervisor is told and when, and the unit for systemd."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from modelyard.notify import Supervisor
from tests.faults.yard import Yard

UNIT = Path(__file__).parents[2] / "deploy" / "modelyard.service"

LONG = """
import os, time
from cog import BaseRunner

class Runner(BaseRunner):
    def run(self, until: str) -> str:
        print("began", flush=True)
        while not os.path.exists(until):
            time.sleep(0.02)
        return ",".join(sorted(name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG"))))
"""


class Heard:
    """The supervisor's end: datagrams as they come."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def next(self, timeout: float = 60) -> dict[str, str]:
        """The next message's lines, by name. Raises TimeoutError."""
        self._socket.settimeout(timeout)
        lines = self._socket.recv(4096).decode().splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def nothing(self) -> bool:
        """Has nothing more come?"""
        try:
            self.next(0.3)
        except TimeoutError:
            return True
        return False

    def close(self) -> None:
        self._socket.close()


@contextmanager
def supervisor(address: str) -> Iterator[Heard]:
    heard = Heard(address)
    try:
        yield heard
    finally:
        heard.close()


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    # A path of a socket has a hundred characters at most.
    name = f"/tmp/yard-notify-{os.getpid()}-{abs(hash(tmp_path)) % 10**6}"
    with supervisor(name) as found:
        yield found
    Path(name).unlink()


def test_ready_is_said_when_requests_are_answered_and_stopping_when_it_is_asked_to(
    make_yard: Callable[..., Yard], heard: Heard
) -> None:
    yard = make_yard(settings={"NOTIFY_SOCKET": heard.address, "MODELYARD_DRAIN_SECONDS": "7"})
    process = yard.launch()
    said = heard.next()
    assert said["READY"] == "1"
    assert said["STATUS"] == f"Answers at {yard.url}"
    # At that very moment.
    assert httpx.get(f"{yard.url}/healthz").status_code == 200
    assert heard.nothing()
    process.send_signal(signal.SIGTERM)
    said = heard.next()
    assert said["STOPPING"] == "1"
    assert int(said["EXTEND_TIMEOUT_USEC"]) > 7_000_000
    assert process.wait(30) == 0
    assert "READY" not in yard.log()
    # A journal is read by others than the owner.
    assert "/login/" not in yard.log()


def test_a_yard_that_cannot_start_never_says_that_it_is_ready(make_yard: Callable[..., Yard], heard: Heard) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yard = make_yard()
        refused = yard.command(
            "up", "--data", str(yard.data), "--port", str(taken.getsockname()[1]), NOTIFY_SOCKET=heard.address
        )
    assert refused.returncode == 1
    assert heard.nothing()


def test_a_supervisor_that_is_gone_keeps_no_yard_from_its_work(make_yard: Callable[..., Yard], tmp_path: Path) -> None:
    yard = make_yard(settings={"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "nonsense"}).start()
    assert yard.http.get("/healthz").status_code == 200
    assert yard.stop() == 0
    assert "cannot be told READY=1" in yard.log()


def test_the_watchdog_is_reassured_more_often_than_it_asks(make_yard: Callable[..., Yard], heard: Heard) -> None:
    yard = make_yard(settings={"NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": "2000000"})
    yard.launch()
    said = [heard.next() for _ in range(4)]
    assert sum("WATCHDOG" in each for each in said) == 3
    began = time.monotonic()
    while "WATCHDOG" not in heard.next():
        continue
    assert time.monotonic() - began < 2


def test_a_hang_up_ends_no_yard_that_is_supervised(make_yard: Callable[..., Yard], heard: Heard) -> None:
    yard = make_yard(settings={"NOTIFY_SOCKET": heard.address}).start()
    assert yard.process is not None
    yard.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    assert yard.http.get("/healthz").status_code == 200


def test_work_that_outlives_the_drain_is_taken_up_by_the_next_start(
    make_yard: Callable[..., Yard], heard: Heard, tmp_path: Path
) -> None:
    yard = make_yard(settings={"NOTIFY_SOCKET": heard.address, "MODELYARD_DRAIN_SECONDS": "0.2"})
    yard.launch()
    assert "READY" in heard.next()
    version = yard.push("long", LONG)
    made = yard.create(version, {"until": str(tmp_path / "go")})
    yard.until(made["id"], lambda shown: "began" in shown["logs"])
    # As the unit has it: the yard alone is told.
    assert yard.stop() == 0
    assert "STOPPING" in heard.next()
    yard.launch()
    assert "READY" in heard.next()
    (tmp_path / "go").touch()
    done = yard.finished(made["id"])
    assert done["status"] == "succeeded"
    assert done["logs"].count("began") == 1
    # Nor does a model hear of the supervisor.
    assert done["output"] == ""


@pytest.mark.parametrize(
    ("environ", "present", "watchdog"),
    [
        ({}, False, None),
        ({"NOTIFY_SOCKET": ""}, False, None),
        ({"NOTIFY_SOCKET": "relative"}, False, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "30000000"}, True, 30.0),
        ({"NOTIFY_SOCKET": "@abstract", "WATCHDOG_USEC": "0"}, True, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "-5"}, True, None),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "7"}, True, 1.0),
        ({"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "8"}, True, None),
    ],
)
def test_what_the_environment_says_of_the_supervisor(
    environ: dict[str, str], present: bool, watchdog: float | None
) -> None:
    found = Supervisor(environ, 7)
    assert (found.present, found.watchdog_seconds) == (present, watchdog)


@pytest.mark.skipif(sys.platform != "linux", reason="names without a file are Linux's")
def test_a_name_in_the_abstract_space_is_a_supervisor_too() -> None:
    address = f"@yard-{os.getpid()}"
    with supervisor(address) as heard:
        Supervisor({"NOTIFY_SOCKET": address}, 7).ready("http://here")
        assert heard.next() == {"READY": "1", "STATUS": "Answers at http://here"}


# The unit


def lines_of_unit() -> dict[str, str]:
    found = re.findall(r"^([A-Z]\w+)=(.*)$", UNIT.read_text(), re.MULTILINE)
    return dict(found)


def test_the_unit_says_what_the_yard_does() -> None:
    said = lines_of_unit()
    assert said["Type"] == "notify"
    # Workers are to outlive the yard, be it stopped, killed, or out of memory.
    assert said["KillMode"] == "process"
    assert said["OOMPolicy"] == "continue"
    assert said["KillSignal"] == "SIGTERM"
    assert "PrivateTmp" not in said
    assert said["RestartPreventExitStatus"] == "2"


def test_the_units_command_is_one_that_starts_a_yard(make_yard: Callable[..., Yard], heard: Heard) -> None:
    yard = make_yard()
    program, *arguments = lines_of_unit()["ExecStart"].split()
    assert program == "/opt/modelyard/bin/yard"
    arguments = [str(yard.data) if each == "/var/lib/modelyard" else each for each in arguments]
    (yard.folder / "yard.toml").write_text(f"port = {yard.port}\n")
    with (yard.folder / "yard.log").open("wb") as log:
        environment = {**os.environ, "HOME": str(yard.folder), "NOTIFY_SOCKET": heard.address}
        process = subprocess.Popen(
            [sys.executable, "-m", "modelyard", *arguments], cwd=yard.folder, env=environment, stdout=log, stderr=log
        )
    try:
        assert heard.next()["STATUS"] == f"Answers at {yard.url}"
        assert yard.log().startswith('{"ts": ')
    finally:
        process.terminate()
        assert process.wait(30) == 0


def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed (apt-get install systemd)")
    text = UNIT.read_text()
    yard = shutil.which("yard", path=str(Path(sys.executable).parent))
    assert yard is not None
    (tmp_path / "modelyard.service").write_text(text.replace("/opt/modelyard/bin/yard", yard))
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / "modelyard.service")], capture_output=True, text=True
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "modelyard.service" in line]
    assert said == []
    assert done.returncode == 0, done.stderr
