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
LINE = "import sys; sys.stdout.write('hello\\n')"


def first(session: Session) -> None:
    """From a request to its answer, where a container has to be made for it; beside `docker run` of the same image."""
    session.attempt("containers", lambda: _first(session))


def _first(session: Session) -> None:
    name = f"{images.IMAGES}/first:1"
    with _reachable() as scratch, images.forgotten(name), _yard(scratch) as server:
        project = images.write_project(scratch / "project")
        images.yard_build(session, project, name, home=scratch / "home")
        target = _pushed(session, server, project, scratch)
        targets.first_result(target)  # the first one ever pulls the image, which no later one does
        for _ in range(session.rounds * 3):
            bare = _docker_run(name)
            _wait_for_none(server)
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
    """A yard whose instances are containers; none of them is left."""
    label = ""
    try:
        with targets.yard(scratch, idle_seconds=0.2, name="yard containers", MODELYARD_ENGINE="docker") as server:
            yield server
            label = _label(server)
    finally:
        if label:
            for kind in ("container", "network"):
                images.docker(kind, "prune", "--force", "--filter", f"label=org.modelyard.yard={label}")


def _label(server: Server) -> str:
    """What the containers and networks of this yard say that they are of: those whose folders are its own."""
    for container in images.docker("ps", "--all", "--quiet", "--filter", "label=org.modelyard.yard").split():
        told = images.docker("inspect", "--format", '{{.HostConfig.Mounts}} {{index .Config.Labels "org.modelyard.yard"}}', container)
        if str(server.log.parent) in told:
            return told.rpartition(" ")[2]
    return ""


def _pushed(session: Session, server: Server, project: Path, scratch: Path) -> targets.Target:
    variables = images.home_of(session, scratch / "home")
    return targets.push(server, targets.HELLO_SYNC, name="first", folder=project, variables=variables)


def _docker_run(name: str) -> float:
    began = time.monotonic()
    said = images.docker("run", "--rm", "--network", "none", name, "python", "-c", LINE)
    seconds = time.monotonic() - began
    if said != "hello":
        raise load.MeasuringError(f"docker run printed {said!r}")
    return seconds


def _wait_for_none(server: Server) -> None:
    """Until no container of the yard runs."""

    def none() -> bool:
        shown = images.docker("ps", "--quiet", "--filter", "label=org.modelyard.yard").split()
        return not any(str(server.log.parent) in images.docker("inspect", each) for each in shown)

    processes.wait_until(none, "the yard has scaled to zero", seconds=30)


# Many versions


def versions(session: Session) -> None:
    """The data folder of a yard with one version that has run, and with many that share its environment."""
    session.attempt("versions", lambda: _versions(session))


def _versions(session: Session) -> None:
    count = VERSIONS if session.rounds > 1 else VERSIONS_OF_QUICK
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    project = images.write_project(session.scratch / "versions" / "project", packages=images.PACKAGES, python=minor)
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
