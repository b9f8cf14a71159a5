"""What cog.yaml can say in more than one word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A secret that a build step may read."""

    type: str
    id: str
    target: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A shell command of the build."""

    command: str
    mounts: tuple[Mount, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is written in cog.yaml."""
        mounts = [{"type": mount.type, "id": mount.id, "target": mount.target} for mount in self.mounts]
        return {"command": self.command} | ({"mounts": mounts} if mounts else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where files of weights come from, and which of them are taken."""

    uri: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is written in cog.yaml."""
        lists = {"include": list(self.include), "exclude": list(self.exclude)}
        return {"uri": self.uri} | {name: patterns for name, patterns in lists.items() if patterns}


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Files that stand in the folder `target` when the model runs."""

    name: str
    target: str
    sources: tuple[Source, ...]

    def to_json(self) -> dict[str, Any]:
        """As it is written in cog.yaml; a single source stands alone."""
        sources = [source.to_json() for source in self.sources]
        return {"name": self.name, "target": self.target, "source": sources[0] if len(sources) == 1 else sources}
