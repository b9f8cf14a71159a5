"""Cases of containers and of many versions: the first prediction of a container, and the disk that versions take."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import images
import load
import processes
import targets
from processes import Server
from session import Session

VERSIONS, VERSIONS_OF_QUICK = 200, 20
# With these an environment is still one of the smallest that a model has.
HEAVY = ("numpy==2.2.2", "scipy==1.15.1")
LINE = "import sys; sys.stdout.write('hello\\n')"


def first(session: Session) -> None:
    """From a request to its answer, where a container has to be made for it; beside `docker run` of the same image."""
    session.attempt("containers", lambda: _first(session))


def _first(session: Session) -> None:
    name = f"{images.IMAGES}/first:1"
    with _reachable() as scratch, images.forgotten(name), _yard(scratch) as server:
        project = images.write_project(scratch / "project")
        images.yard_build(session, project, name, home=scratch / "home")
        variables = images.home_of(session, scratch / "home")
        target = targets.push(server, targets.HELLO_SYNC, name="first", folder=project, variables=variables)
        targets.first_result(target)  # the first one ever pulls the image, which no later one does
        for _ in range(session.rounds * 3):
            bare = _docker_run(name)
            processes.wait_until(lambda: not _of(server), "the yard has scaled to zero", seconds=30)
            began = time.monotonic()
            targets.first_result(target)
            session.add("containers", "yard", first_seconds=time.monotonic() - began)
            session.add("containers", "docker run", first_seconds=bare)


@contextmanager
def _reachable() -> Iterator[Path]:
    """A folder that is not below /tmp, which is another one in a container."""
    folder = Path(tempfile.mkdtemp(prefix="yard-bench-", dir="/var/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _yard(scratch: Path) -> Iterator[Server]:
    """A yard whose instances are containers; none of them is left, nor their network."""
    found: set[str] = set()
    try:
        with targets.yard(scratch, idle_seconds=0.2, name="yard containers", MODELYARD_ENGINE="docker") as server:
            try:
                yield server
            finally:
                found = {_yard_of(each) for each in _of(server, "--all")} - {""}
    finally:
        for name in found:
            label = f"label=org.modelyard.yard={name}"
            if left := images.docker("ps", "--all", "--quiet", "--filter", label).split():
                images.docker("rm", "--force", *left)
            images.docker("network", "prune", "--force", "--filter", label)


def _of(server: Server, *flags: str) -> list[str]:
    """The containers of this yard: those that see its folders."""
    shown = images.docker("ps", "--quiet", *flags, "--filter", "label=org.modelyard.yard").split()
    return [each for each in shown if str(server.log.parent) in _told(each, "{{json .HostConfig.Mounts}}")]


def _yard_of(container: str) -> str:
    return _told(container, '{{index .Config.Labels "org.modelyard.yard"}}')


def _told(container: str, form: str) -> str:
    try:
        return images.docker("inspect", "--format", form, container)
    except subprocess.CalledProcessError:  # it is gone
        return ""


def _docker_run(name: str) -> float:
    began = time.monotonic()
    said = images.docker("run", "--rm", name, "python", "-c", LINE)
    seconds = time.monotonic() - began
    if said != "hello":
        raise load.MeasuringError(f"docker run printed {said!r}")
    return seconds


# Many versions


def versions(session: Session) -> None:
    """The data folder of a yard with one version that has run, and with many that share its environment."""
    session.attempt("versions", lambda: _versions(session))


def _versions(session: Session) -> None:
    count = VERSIONS if session.rounds > 1 else VERSIONS_OF_QUICK
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    packages = (*images.PACKAGES, *HEAVY)
    project = images.write_project(session.scratch / "versions" / "project", packages=packages, python=minor)
    with targets.yard(session.scratch, idle_seconds=0.2, name="yard versions") as server:
        data = session.scratch / "yard-versions"
        sizes = []
        for number in range(count):
            images.change(project, number)
            targets.first_result(targets.push(server, targets.HELLO_SYNC, name="many", folder=project))
            if number in (0, count - 1):
                processes.wait_until(lambda: server.workers() == 0, "the yard has scaled to zero", seconds=30)
                sizes.append(_disk_mb(data))
        session.add("versions", "yard", one_mb=sizes[0], all_mb=sizes[1], versions=count)


def _disk_mb(folder: Path) -> float:
    done = subprocess.run(["du", "-sk", folder], capture_output=True, check=True)
    return int(done.stdout.split()[0]) / 1000
