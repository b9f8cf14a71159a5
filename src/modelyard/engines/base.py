"""The port of everything that can start an instance of a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from modelyard_runner.last_words import LastWords


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What an instance may take. `gpus` are the identifiers that it sees, none when empty."""

    memory_bytes: int
    cpus: float
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A version as an image that a container engine has. `speaks_link`: our worker is in it; else it is one of Cog's,
    which is driven through its HTTP API. `folder`: where in it the project lies."""

    reference: str
    speaks_link: bool = True
    folder: str = "/src"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """Everything that an engine needs to start one instance.

    `python` is the interpreter of the version's environment and `source` a folder that is this instance's own working
    copy, for engines without containers; `image` for those with. `scratch` and `cache` are folders of this host; `link`
    is where the worker dials (`unix:/path`, `tcp:host:port`).
    """

    instance: str
    python: Path
    source: Path
    ref: str
    scratch: Path
    cache: Path
    link: str
    token: str
    limits: Limits
    environment: Mapping[str, str] = field(default_factory=dict)
    # Variables like those above, which win over them; engines hand them to the process and write them nowhere.
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    mode: str = "predict"
    concurrency: int | None = None
    reconnect_seconds: float = 60.0
    private_urls: bool = True
    weights: str | None = None
    # Folders that the model alone sees, read-only, at absolute paths: `(folder, target)`; `/src` stands for `source`.
    folders: Sequence[tuple[Path, str]] = ()
    image: Image | None = None
    # What its native code wrote and it did not live to read: for engines that can hold a worker's pipes.
    unread: LastWords = field(default_factory=LastWords, repr=False, compare=False)

    def told(self, root: str) -> dict[str, Any]:
        """What its worker is told, as `modelyard_runner.worker.Options` reads it; `root`: where it finds the source."""
        return {
            "link": self.link,
            "token": self.token,
            "ref": self.ref,
            "root": root,
            "scratch": str(self.scratch),
            "mode": self.mode,
            "concurrency": self.concurrency,
            "reconnect_seconds": self.reconnect_seconds,
            "private_urls": self.private_urls,
            "weights": self.weights,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Handle:
    """A running instance as the host knows it: `started_at` (seconds since 1970) tells a reused pid apart."""

    instance: str
    pid: int
    started_at: float


# Told once when an instance is gone: its id, and in words why ("killed by signal 9 (SIGKILL)").
OnExit = Callable[[str, str], None]


class Engine(Protocol):
    """Starts and stops instances. What it lists is the truth, also about instances of an earlier life of this yard.

    `contained`: an instance sees nothing of this host but its own folders, and what it says of files is not believed.
    """

    name: str
    contained: bool

    async def start(self, spec: Spec) -> Handle:
        """Start an instance; returns once its process exists. Raises EngineError when that fails."""

    async def stop(self, instance: str, grace: float) -> None:
        """End it and everything that it started, after at most `grace` seconds; no error when it is gone."""

    async def list(self) -> list[Handle]:
        """The instances that are alive; from now on their deaths are reported too."""

    async def close(self) -> None:
        """Stop watching; instances live on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptImage:
    """The image of a version that an engine pulled from this yard, and has. `version`: 64 hexadecimal digits; `unique`:
    the bytes that no other image of the engine shares."""

    reference: str
    repository: str
    version: str
    bytes: int
    unique: int


class Images(Protocol):
    """Brings the images of versions to where an engine can make containers of them, and takes them away there."""

    async def bring(self, repository: str, digest: str, config: str, report: Callable[[str], None]) -> str:
        """Have it there, by its manifest's and its configuration's digest; gives its reference. Raises EngineError."""

    async def kept(self) -> list[KeptImage]:
        """All that it brought and that are still there. Raises EngineError."""

    async def drop(self, image: KeptImage) -> None:
        """Take it away; no error when it is gone. Raises EngineError where something there still needs it."""


class EngineError(Exception):
    """An instance could not be started; the text says why."""
