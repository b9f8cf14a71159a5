"""The same program as in `driver`, as a container of its own beside the one that it drives.

For a yard that is a container itself: a process of it would end with it, and could not reach the other container. This
one shares the other's network, so that it needs no way between them, and is made of the yard's own image.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

from modelyard.engines.base import Spec
from modelyard.engines.docker import container as containers
from modelyard.engines.docker import ends
from modelyard.engines.docker.connection import Connection
from modelyard.engines.docker.container import Site
from modelyard.engines.docker.driver import reason
from modelyard.engines.docker.log import Recorder
from modelyard_runner.driver_api import END_FILE

PROCESSES = 256
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class DriverContainer:
    """One that was started. `folder`: its instance's; `own`: the container, which has a log of its own; `url`: of the
    engine."""

    folder: Path
    own: Any
    url: str

    async def ended(self) -> str:
        """Wait for its end; why it ended, in words."""
        state = await ends.state(self.own, self.url)
        # What it has to say, it says seldom: its log is read once.
        await Recorder(self.folder.parent, self.folder.name).record(self.own, 0, follow=False)
        return reason(self.folder / END_FILE, "unknown" if state is None else str(state["ExitCode"]))

    async def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(aiodocker.DockerError, aiohttp.ClientError, OSError):
            await self.own.delete(force=True, v=True)


async def start(connection: Connection, spec: Spec, site: Site, driven: str, box: Sequence[str]) -> DriverContainer:
    """Start one for the container `driven`. Raises EngineError."""
    with connection.asking("start the program that drives a container"):
        own = await connection.client.containers.create(
            body(spec, site, driven, box), name=f"{containers.name_of(spec.instance)}-driver"
        )
    found = DriverContainer(spec.scratch, own, connection.url)
    try:
        with connection.asking("start the program that drives a container"):
            async with own.attach(stdin=True) as stream:
                await own.start()
                await stream.write_in(handed(spec))
    except BaseException:
        await found.kill()
        raise
    return found


def body(spec: Spec, site: Site, driven: str, box: Sequence[str]) -> dict[str, Any]:
    """The request that makes it."""
    assert site.within is not None  # noqa: S101 - the engine has checked it
    scratch = spec.scratch
    mounts = [site.mount(scratch, scratch)]
    if site.socket is not None:
        mounts.append(site.mount(site.socket, site.socket, read_only=True))
    return {
        "Image": site.within.image,
        "User": site.user,
        "Env": ["LANG=C.UTF-8", f"PYTHONPATH={':'.join(box)}", "PYTHONUNBUFFERED=1"],
        "Labels": {containers.YARD: site.yard, containers.INSTANCE: spec.instance, containers.KIND: containers.DRIVER},
        "Healthcheck": {"Test": ["NONE"]},
        "Entrypoint": [],
        "Cmd": [sys.executable, "-m", "modelyard_runner", "drive"],
        "WorkingDir": str(scratch),
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "HostConfig": {
            "NetworkMode": f"container:{driven}",
            "Mounts": mounts,
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "PidsLimit": PROCESSES,
            "Init": True,
            "LogConfig": containers.LOG,
            "RestartPolicy": {"Name": "no"},
        },
    }


def handed(spec: Spec) -> bytes:
    """What is said on stdin, the token included."""
    told = {
        "worker": spec.told("/src"),
        "address": f"{_LOOPBACK}:{containers.PORT}",
        "listening": {"host": _LOOPBACK, "name": _LOOPBACK},
    }
    return json.dumps(told).encode() + b"\n"
