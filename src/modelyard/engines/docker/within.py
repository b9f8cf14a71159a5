"""A yard that is itself a container of the engine that it uses: where its folders lie for that engine.

What is mounted into the containers of models is named by the engine's paths, and the yard knows its own. The two differ
where the data folder is a volume; the engine says how.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker

from modelyard.engines.base import EngineError
from modelyard.engines.docker.connection import Connection

MOUNT_INFO = Path("/proc/self/mountinfo")
# Files that an engine makes for each container and mounts into it, from a folder with the container's name.
_MADE_FOR_IT = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_IDENTIFIER = re.compile(r"/([0-9a-f]{64})/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Within:
    """The yard's own container: its image, and its mounts as `(here, at the engine)`."""

    image: str
    mounts: tuple[tuple[Path, Path], ...]

    def at_engine(self, path: Path) -> Path:
        """What the engine calls a folder of the yard. Raises EngineError."""
        holding = [(here, there) for here, there in self.mounts if path.is_relative_to(here)]
        if not holding:
            raise EngineError(
                f"the yard runs in a container, and its folder {path} is on no volume of it, so that the Docker Engine"
                " cannot show it to the containers of models. Mount a volume at the data folder."
            )
        here, there = max(holding, key=lambda each: len(each[0].parts))
        return there / path.relative_to(here)


def identifier(mount_info: str) -> str | None:
    """The identifier of the container whose `/proc/self/mountinfo` this is; None outside of containers."""
    for line in mount_info.splitlines():
        fields = line.split(" ")
        if len(fields) > 4 and fields[4] in _MADE_FOR_IT and (found := _IDENTIFIER.search(fields[3])):
            return found[1]
    return None


def _own_identifier() -> str | None:
    try:
        return identifier(MOUNT_INFO.read_text())
    except OSError:
        return None  # no Linux


async def find(connection: Connection, folder: Path) -> Within | None:
    """The container of this engine that the yard is in, if it is in one. Raises EngineError where the engine cannot see
    `folder`, which is to be shown to others."""
    own = _own_identifier()
    if own is None:
        return None
    try:
        shown = await (await connection.client.containers.get(own)).show()
    except aiodocker.DockerError as error:
        if error.status == 404:
            return None  # in one of another engine
        raise
    found = read(shown)
    found.at_engine(folder)
    return found


def read(shown: Mapping[str, Any]) -> Within:
    """What the engine shows of the yard's own container."""
    mounts = [(each.get("Destination"), each.get("Source")) for each in shown.get("Mounts") or ()]
    return Within(
        image=str(shown["Image"]),
        mounts=tuple((Path(here), Path(there)) for here, there in mounts if here and there),
    )
