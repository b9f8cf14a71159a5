"""The guide to a team's server, its commands run in their order; only paths, the name and the port are this test's own.

What cannot be had here is stood in for: `sudo`, `useradd`, `journalctl`, and `systemctl` by a few lines that do with
the unit what systemd does. `pip` puts this checkout where it would have put the package.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import tomllib

from tests.faults.yard import free_port

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guides" / "server.md"
BLOCK = re.compile(r"^```(\w+) ?(\S*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Places on the machine that are put below the test's folder.
PLACES = ("/opt/modelyard", "/var/lib/modelyard", "/etc/modelyard", "/etc/systemd/system")
NEEDS_A_GPU = ("nvidia-smi", "/v1/hardware")

SYSTEMCTL = """#!{python}
import os, re, signal, socket, subprocess, sys, time
from pathlib import Path

root, places = Path({root!r}), {places!r}
pid_file, log = root / "yard.pid", root / "journal.log"

def here(text):
    for place in places:
        text = text.replace(place, str(root) + place)
    return text

def start():
    text = here((root / "etc/systemd/system/modelyard.service").read_text())
    said = dict(re.findall(r"^([A-Z]\\w+)=(.*)$", text, re.M))
    state = root / "var/lib" / said["StateDirectory"]
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    environ = {{"PATH": os.environ["PATH"], "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", "")}}
    environ |= dict(each.split("=", 1) for each in said["Environment"].split())
    file = Path(said["EnvironmentFile"].removeprefix("-"))
    environ |= dict(line.split("=", 1) for line in file.read_text().splitlines())
    address = "@" + str(root) + str(time.time())
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind("\\0" + address[1:])
    heard.settimeout(60)
    with log.open("ab") as out:
        process = subprocess.Popen(said["ExecStart"].split(), cwd=said["WorkingDirectory"], stdout=out, stderr=out,
                                   stdin=subprocess.DEVNULL, env={{**environ, "NOTIFY_SOCKET": address}},
                                   start_new_session=True)
    pid_file.write_text(str(process.pid))
    assert b"READY=1" in heard.recv(4096)

def stop():
    pid = int(pid_file.read_text())
    os.kill(pid, signal.SIGTERM)
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{{pid}}/stat").exists() and " Z " in Path(f"/proc/{{pid}}/stat").read_text():
            return
        time.sleep(0.05)

verb, *rest = sys.argv[1:]
assert verb == "daemon-reload" or rest[-1] == "modelyard", rest
if verb in ("stop", "restart"):
    stop()
if verb in ("enable", "restart"):
    start()
"""


class Machine:
    """A machine of its own below a folder, and a person with root on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = str(free_port())
        programs = root / "programs"
        programs.mkdir()
        (root / "etc/systemd/system").mkdir(parents=True)
        self._write(programs / "sudo", '#!/bin/sh\nexec "$@"\n')
        self._write(programs / "useradd", "#!/bin/sh\nexit 0\n")
        self._write(programs / "journalctl", f'#!/bin/sh\nexec cat "{root}/journal.log"\n')
        self._write(programs / "systemctl", SYSTEMCTL.format(python=sys.executable, root=str(root), places=PLACES))
        self._write(programs / "pip-here", self._pip())
        cache = os.environ.get("UV_CACHE_DIR") or str(Path("~/.cache/uv").expanduser())
        path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MODELYARD_", "XDG_"))}
        (root / "home").mkdir()
        self.environ = {**kept, "HOME": str(root / "home"), "PATH": path, "UV_CACHE_DIR": cache}

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def _pip(self) -> str:
        """What stands for installing: the new environment finds what this one has."""
        opt = self.root / "opt/modelyard"
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        found = "\\n".join([str(ROOT / "src"), str(ROOT / "runner/src"), sysconfig.get_path("purelib")])
        return "\n".join(
            [
                "#!/bin/sh",
                "set -e",
                f"[ -x {opt}/bin/pip ]",
                f"printf '{found}\\n' >{opt}/lib/{version}/site-packages/here.pth",
                f"printf '#!/bin/sh\\nexec {opt}/bin/python -m modelyard \"$@\"\\n' >{opt}/bin/yard",
                f"chmod 755 {opt}/bin/yard",
                *self._data(f"{opt}/lib/{version}/site-packages"),
                "",
            ]
        )

    def _data(self, packages: str) -> Iterator[str]:
        """What the wheel brings along beside modules."""
        build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
        brought = build["targets"]["wheel"]["force-include"]
        for source, target in brought.items():
            if target.startswith("modelyard/deploy"):
                yield f"mkdir -p {packages}/{Path(target).parent}"
                yield f"cp -r {ROOT / source} {packages}/{target}"

    def own(self, text: str) -> str:
        """The guide's words with this machine's places, name and port in them."""
        text = text.replace("https://yard.example.org", f"http://127.0.0.1:{self.port}").replace("9273", self.port)
        text = text.replace("/opt/modelyard/bin/pip ", "pip-here ")
        for place in PLACES:
            text = text.replace(place, f"{self.root}{place}")
        return text

    def file(self, name: str, text: str) -> None:
        path = Path(self.own(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.own(text) + f"port = {self.port}\n")

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self.own(command)],
            cwd=ROOT,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=100,
        )
        # A search that finds nothing says so by its status.
        assert done.returncode == 0 or "grep" in command, f"{command}\n{done.stdout}{done.stderr}{self.journal()}"
        return done.stdout

    def journal(self) -> str:
        log = self.root / "journal.log"
        return log.read_text() if log.exists() else ""

    def token(self) -> str:
        return (self.root / "etc/modelyard/yard.env").read_text().strip().partition("=")[2]

    def end(self) -> None:
        try:
            os.kill(int((self.root / "yard.pid").read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            pass


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    found = Machine(tmp_path)
    yield found
    found.end()


def steps() -> Iterator[tuple[str, str]]:
    """Each command with what the guide shows below it; for a file its name and text, marked."""
    for kind, name, body in BLOCK.findall(GUIDE.read_text()):
        if name:
            yield f"file {name}", body
        elif kind == "console":
            for part in re.split(r"^\$ ", body, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                yield command, output


def test_the_guide_leads_from_nothing_to_a_server_that_is_upgraded_and_stopped(machine: Machine) -> None:
    ran = []
    for command, shown in steps():
        if command.startswith("file "):
            machine.file(command.removeprefix("file "), shown)
        elif not any(word in command for word in NEEDS_A_GPU):
            said = machine.run(command)
            assert not shown or said.strip() == machine.own(shown).strip()
            ran.append(command)
            if "enable --now" in command:
                check_the_service(machine)
    assert sum("systemctl" in command for command in ran) == 4
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{machine.port}/healthz")
    lines = [json.loads(line) for line in machine.journal().splitlines()]
    assert sum(line["message"].startswith("Yard ready at") for line in lines) == 2
    assert machine.token() not in machine.journal()
    assert "/login/" not in machine.journal()


def check_the_service(machine: Machine) -> None:
    """It runs with the guide's settings, and only the owner's token opens it."""
    url = f"http://127.0.0.1:{machine.port}"
    assert len(machine.token()) == len("r8_") + 37
    assert httpx.get(f"{url}/metrics").status_code == 401
    owner = {"authorization": f"Bearer {machine.token()}"}
    assert "modelyard_build_info" in httpx.get(f"{url}/metrics", headers=owner).text
    assert httpx.get(f"{url}/v1/yard", headers=owner).json()["data"] == f"{machine.root}/var/lib/modelyard"
    assert (machine.root / "etc/modelyard/yard.env").stat().st_mode & 0o77 == 0
    assert (machine.root / "var/lib/modelyard").stat().st_mode & 0o77 == 0
