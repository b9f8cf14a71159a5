"""Images that commands leave in the Docker Engine for their next time: marked when they are made, found, and cleared.

The mark is a label, which says for which project one was made. No image that somebody asked for has it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from modelyard.cli import docker, words

_MADE_FOR: Final = "org.modelyard.made-for"
_SHARED: Final = ""
_TRIES: Final = 3
# Where commands put their own; what somebody named otherwise is somebody's own.
_OWN: Final = tuple(
    f"modelyard/{kind}:" for kind in ("run", "environment", "steps", "base", "system", "cuda", "loaded")
)


class Kept(NamedTuple):
    """A layer, by itself and all below it; `bytes`: as it is unpacked."""

    chain: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One of ours. `project`: the folder that it was made for, "" for many; `is_used`: a container is made of it, or of
    what was built on it; `layers`: from the lowest on."""

    names: tuple[str, ...]
    project: str
    bytes: int
    made_at: float
    is_used: bool
    layers: tuple[Kept, ...]

    @property
    def name(self) -> str:
        """What people know it by."""
        return self.names[0]

    def why_not_needed(self) -> str:
        """Why nobody is going to use it again; "" where somebody may."""
        return f"{self.project} is no more" if self.project and _is_gone(self.project) else ""


# Marks


def marked(config: bytes, project: str = _SHARED) -> bytes:
    """The configuration of an image that was made for a project, or for many."""
    document: dict[str, Any] = json.loads(config)
    inner = document["config"] = document.get("config") or {}
    inner["Labels"] = {**(inner.get("Labels") or {}), _MADE_FOR: project}
    return _dumps(document)


def mark(project: str = _SHARED) -> str:
    """The same as a flag of `docker build`."""
    return f"--label={_MADE_FOR}={project}"


def unmarked(config: bytes) -> bytes:
    """The configuration for an image that somebody asked for, and that others may get."""
    document: dict[str, Any] = json.loads(config)
    inner = document.get("config") or {}
    if _MADE_FOR not in (inner.get("Labels") or {}):
        return config
    del inner["Labels"][_MADE_FOR]
    # Some builders note a label as a step.
    document["history"] = [each for each in document.get("history") or () if not _notes_mark(each)]
    return _dumps(document)


def _notes_mark(step: Mapping[str, Any]) -> bool:
    return bool(step.get("empty_layer")) and f"LABEL {_MADE_FOR}=" in str(step.get("created_by"))


def _dumps(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


# What is there


class Seen:
    """All that an engine has: `images`, which are ours, those on top of others first, and what others hold."""

    def __init__(self, images: Iterable[Image], held: Iterable[str]) -> None:
        self.images = sorted(images, key=lambda image: (-len(image.layers), image.name))
        self._held = frozenset(held)

    def freed(self, going: Sequence[Image]) -> list[int]:
        """The bytes that go with each of these, when all of them go."""
        kept = {layer.chain for image in self.images if image not in going for layer in image.layers}
        counted = {*self._held, *kept}
        found = []
        for image in going:
            own = [layer for layer in image.layers if layer.chain not in counted]
            counted.update(layer.chain for layer in own)
            found.append(sum(layer.bytes for layer in own))
        return found


def look(environ: Mapping[str, str]) -> tuple[docker.Engine, Seen] | None:
    """What the engine of this machine has; None where there is none. Raises EngineError."""
    engine = docker.Engine(environ)
    if engine.version() is None or docker.other_machine(environ):
        return None
    for left in reversed(range(_TRIES)):
        try:
            return engine, _look(engine)
        except docker.EngineError:  # an image that went in between
            if not left:
                raise
    raise AssertionError


def _look(engine: docker.Engine) -> Seen:
    # All but those that are below others; these go with them.
    there = sorted(set(engine.ask("image", "ls", "--quiet", "--no-trunc").split()))
    told: list[dict[str, Any]] = json.loads(engine.ask("image", "inspect", *there)) if there else []
    ours = [each for each in told if _is_ours(each)]
    others = [each for each in told if each not in ours]
    held = (chain for each in others for chain in _chain(_layers(each)))
    return Seen((_image(each, engine) for each in ours), held)


def remove(image: Image, engine: docker.Engine) -> None:
    """Take it away. Raises EngineError where the engine will not: somebody began to use it."""
    engine.ask("image", "rm", *image.names)


def _is_ours(shown: Mapping[str, Any]) -> bool:
    told = (shown.get("Config") or {}).get("Labels") or {}
    names = shown.get("RepoTags") or ()
    return _MADE_FOR in told and bool(names) and all(name.startswith(_OWN) for name in names)


def _image(shown: Mapping[str, Any], engine: docker.Engine) -> Image:
    layers = _layers(shown)
    return Image(
        names=tuple(shown["RepoTags"]),
        project=shown["Config"]["Labels"][_MADE_FOR],
        bytes=int(shown["Size"]),
        made_at=max(_time(shown.get("Created")), _time((shown.get("Metadata") or {}).get("LastTagTime"))),
        is_used=bool(engine.ask("ps", "--all", "--quiet", "--filter", f"ancestor={shown['Id']}").strip()),
        layers=tuple(map(Kept, _chain(layers), _sizes(engine, shown["Id"], len(layers)))),
    )


def _layers(shown: Mapping[str, Any]) -> list[str]:
    return (shown.get("RootFS") or {}).get("Layers") or []


def _chain(layers: Sequence[str]) -> Iterator[str]:
    """For each layer a name of it and all below it."""
    below = ""
    for layer in layers:
        below = hashlib.sha256(f"{below} {layer}".encode()).hexdigest()
        yield below


def _sizes(engine: docker.Engine, identity: str, count: int) -> list[int]:
    """Of each layer, the lowest first. The engine tells of steps, of which those without bytes may have no layer."""
    told = engine.ask("history", "--human=false", "--no-trunc", "--format", "{{.Size}}", identity).split()
    sizes = [int(each) for each in reversed(told)]
    if len(sizes) != count:
        sizes = [size for size in sizes if size]
    return [*sizes, *[0] * count][:count]


def _time(text: object) -> float:
    return words.moment(str(text)) if text else 0.0


def _is_gone(folder: str) -> bool:
    try:
        os.stat(folder)  # noqa: PTH116 - a path that may not be looked at is no path that is gone
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
