"""Layers that must be executed to be made: the engine makes them once, and they are kept in the user's cache.

To whoever stands on them they are as any others: later builds need no engine for them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import IO, Any, Final, cast

from modelyard.cli import bases, docker, docker_build, engine_images
from modelyard.cli.build_secrets import Borrowed
from modelyard.cli.memory import Memory
from modelyard.cli.talk import Talk
from modelyard.oci.archive import Image
from modelyard.oci.layers import Layer, compress
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import LAYER_GZIP, LAYER_KIND, Config, Descriptor, render_config

_MADE: Final = "systems.json"
# Changed when a layer made from the same things would be made otherwise.
_FORMAT: Final = "2"
_GZIP: Final = b"\x1f\x8b"


class NeedsEngineError(docker.EngineError):
    """A key of cog.yaml asks for something that must be executed, and there is no engine; the detail names it."""

    code = "needs_engine"
    title = "It must be executed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Below:
    """What the steps stand on: its name in the engine, its configuration and layers, the base's name, from whose
    registry layers may have to be brought, and the project's folder, "" where many may stand on it."""

    name: str
    config: Config
    layers: Sequence[Layer]
    ref: str
    project: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One Dockerfile's worth: `inputs`, by which its layers are known again; `name`: what the engine calls the image
    with them; `order`: what is built, with what this machine lends to it, `with_indexes` or without; `anew`: also what
    was made before; `kind`: what they are in an image; `what`: a line for people; `needs` makes what is raised where
    there is no engine for it."""

    below: Below
    inputs: Sequence[str]
    name: str
    order: Callable[[Borrowed], docker_build.Order]
    with_indexes: bool
    anew: bool
    kind: str
    what: str
    needs: Callable[[], NeedsEngineError]


def layers(work: Work, environ: Mapping[str, str], said: Talk, show: Callable[[str], None]) -> list[Layer]:
    """The layers, made now if need be. Raises NeedsEngineError, StepError, EngineError."""
    home = bases.home(environ)
    store, memory = Layout(home), Memory(home / _MADE)
    key = hashlib.sha256("\0".join((_FORMAT, work.kind, *work.inputs)).encode()).hexdigest()
    made = known(memory.get(key), store, work.kind)
    if made is None or work.anew:
        engine = docker.Engine(environ)
        if engine.version() is None:
            raise work.needs()
        said.say(work.what)
        made = _make(work, engine, store, environ, said, show)
        memory.put(key, {"layers": [as_json(layer) for layer in made]})
        memory.put(work.below.name, {"executed": True})
    return made


def is_possible(name: str, environ: Mapping[str, str]) -> bool:
    """Is there an engine, or was something executed on what has this name, so that its layers may be here?"""
    known = Memory(bases.home(environ) / _MADE).get(name)
    return bool(known) or docker.Engine(environ).version() is not None


def _make(
    work: Work,
    engine: docker.Engine,
    store: Layout,
    environ: Mapping[str, str],
    said: Talk,
    show: Callable[[str], None],
) -> list[Layer]:
    below = work.below
    config = engine_images.marked(render_config(below.config), below.project)
    whole = Image(manifest=b"", config=config, layers=below.layers)
    with engine.replacing(below.name), engine.replacing(work.name):
        engine.load(whole, below.name, lambda absent: bases.complete(absent, below.ref, environ, said))
        with docker_build.lent(environ, with_indexes=work.with_indexes) as lent:
            docker_build.build(work.order(lent), environ, show)
        return saved(engine, work.name, len(below.layers), work.kind, store)[1]


def saved(engine: docker.Engine, name: str, without: int, kind: str, store: Layout) -> tuple[bytes, list[Layer]]:
    """What the engine has under a name: the configuration, and the layers, but for so many of the lowest, as archives
    of their own. Raises EngineError."""
    with store.making() as folder:
        engine.save(name, folder / "image.tar")
        with tarfile.open(folder / "image.tar") as archive:
            layers = []
            for member in _listed(archive)["Layers"][without:]:
                with _plain(archive, member) as source:
                    layer = compress(source, folder / "layer.tar.gz", {LAYER_KIND: kind})
                layers.append(replace(layer, path=store.take(layer.path, layer.descriptor.digest)))
            return engine_images.unmarked(config_of(archive)), layers


def config_of(archive: tarfile.TarFile) -> bytes:
    """The configuration of the only image of an archive of the engine's."""
    return cast(IO[bytes], archive.extractfile(_listed(archive)["Config"])).read()


def _listed(archive: tarfile.TarFile) -> dict[str, Any]:
    listed: list[dict[str, Any]] = json.load(cast(IO[bytes], archive.extractfile("manifest.json")))
    return listed[0]


def _plain(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """A layer as it is unpacked; some engines keep theirs compressed."""
    source = cast(IO[bytes], archive.extractfile(name))
    packed = source.read(len(_GZIP)) == _GZIP
    source.seek(0)
    return cast(IO[bytes], gzip.open(source)) if packed else source


def as_json(layer: Layer) -> dict[str, Any]:
    """What is remembered of a layer; `known` reads it."""
    return {"digest": layer.descriptor.digest, "size": layer.descriptor.size, "diff_id": layer.diff_id}


def known(found: Mapping[str, Any], store: Layout, kind: str) -> list[Layer] | None:
    """The layers that were made before, if all of them are still here."""
    there = []
    for told in found.get("layers", ()):
        descriptor = Descriptor(
            media_type=LAYER_GZIP, digest=told["digest"], size=told["size"], annotations={LAYER_KIND: kind}
        )
        if not store.has(descriptor):
            return None
        there.append(Layer(descriptor=descriptor, diff_id=told["diff_id"], path=store.path(told["digest"])))
    return there or None
