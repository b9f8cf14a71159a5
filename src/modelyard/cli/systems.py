"""A base with `system_packages` in it, which an engine makes once; after that it is as any other base."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from modelyard.cli import bases, docker
from modelyard.cli.memory import Memory
from modelyard.cli.talk import Talk
from modelyard.oci import labels
from modelyard.oci.archive import Image
from modelyard.oci.layers import Layer, compress
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import LAYER_GZIP, LAYER_KIND, Descriptor, render_config
from modelyard.packaging import dockerfile
from modelyard.packaging.base import Base

_MADE = "systems.json"
# Changed when a layer made from the same base and packages would be made otherwise.
_FORMAT = "1"
_ANNOTATIONS = {LAYER_KIND: labels.SYSTEM_LAYER}


class _NoEngineError(docker.EngineError):
    """There is none to make it."""

    code = "needs_engine"
    title = "It must be executed"


def base_name(base: Base) -> str:
    """What the engine calls the base while something is built on it."""
    return f"modelyard/base:{base.digest.partition(':')[2][:12]}"


def add(base: Base, packages: Sequence[str], environ: Mapping[str, str], said: Talk, *, anew: bool) -> Base:
    """The base with these packages. Raises EngineError where they must be installed and cannot be."""
    text = dockerfile.system_packages(base_name(base), packages)
    key = hashlib.sha256(f"{_FORMAT}\0{base.digest}\0{text}".encode()).hexdigest()
    store, memory = Layout(bases.home(environ)), Memory(bases.home(environ) / _MADE)
    known = _known(memory.get(key), store)
    if known is None or anew:
        known = _make(base, packages, text, store, _engine(packages, environ), said, anew=anew, environ=environ)
        memory.put(key, {"layers": [_as_json(layer) for layer in known]})
    config = replace(base.config, diff_ids=(*base.config.diff_ids, *(layer.diff_id for layer in known)))
    return replace(base, config=config, layers=(*base.layers, *known))


def _engine(packages: Sequence[str], environ: Mapping[str, str]) -> docker.Engine:
    engine = docker.Engine(environ)
    if engine.version() is None:
        raise _NoEngineError(
            f"cog.yaml: build.system_packages ({', '.join(packages)}) must be installed in the image, which needs a"
            " Docker Engine, and there is none here",
            hint="start one; or take build.system_packages out, and name a base that has them with --base-image:"
            ' `make base-image OUT=FOLDER PACKAGES="…"` in Modelyard\'s checkout makes one',
        )
    return engine


def _make(
    base: Base,
    packages: Sequence[str],
    text: str,
    store: Layout,
    engine: docker.Engine,
    said: Talk,
    *,
    anew: bool,
    environ: Mapping[str, str],
) -> list[Layer]:
    said.say(f"Installing {', '.join(packages)} with the Docker Engine")
    whole = Image(manifest=b"", config=render_config(base.config), layers=base.layers)
    name = base_name(base)
    made = name.replace("base:", "system:") + "-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    engine.load(whole, name, lambda layers: bases.complete(layers, base.ref, environ, said))
    engine.build(text, made, anew=anew)
    store.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="modelyard-", dir=store.folder) as folder:
        saved = Path(folder) / "image.tar"
        engine.save(made, saved)
        return _above(base, saved, Path(folder), store)


def _above(base: Base, saved: Path, folder: Path, store: Layout) -> list[Layer]:
    """The layers that came on top, as archives of their own."""
    layers = []
    with tarfile.open(saved) as archive:
        listed = json.load(cast(IO[bytes], archive.extractfile("manifest.json")))
        for name in listed[0]["Layers"][len(base.layers) :]:
            source = cast(IO[bytes], archive.extractfile(name))
            layer = compress(source, folder / "layer.tar.gz", _ANNOTATIONS)
            layers.append(replace(layer, path=store.take(layer.path, layer.descriptor.digest)))
    return layers


def _as_json(layer: Layer) -> dict[str, Any]:
    return {"digest": layer.descriptor.digest, "size": layer.descriptor.size, "diff_id": layer.diff_id}


def _known(found: Mapping[str, Any], store: Layout) -> list[Layer] | None:
    """The layers that were made before, if all of them are still here."""
    layers = []
    for told in found.get("layers", ()):
        descriptor = Descriptor(
            media_type=LAYER_GZIP, digest=told["digest"], size=told["size"], annotations=_ANNOTATIONS
        )
        if not store.has(descriptor):
            return None
        layers.append(Layer(descriptor=descriptor, diff_id=told["diff_id"], path=store.path(told["digest"])))
    return layers or None
