"""`--dockerfile FILE`: an image that is all somebody's own, to which only what says that it is a model is added."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelyard.cli import bases, build_secrets, docker, docker_build, executed, steps
from modelyard.cli.project import Folder, Project
from modelyard.cli.talk import Talk
from modelyard.errors import UsageError
from modelyard.oci import labels
from modelyard.oci.layers import Layer, Member, write_layer
from modelyard.oci.layout import Layout
from modelyard.oci.manifest import LAYER_KIND, digest_of, parse_config
from modelyard.packaging import environment, recipe, revision, schema
from modelyard.packaging.base import Base
from modelyard.packaging.builders.base import Artifact
from modelyard.store.trees import Target

if TYPE_CHECKING:
    from modelyard.cli.imaging import Order

_SCHEMA = f"{labels.SOURCE_FOLDER}/{environment.CACHE_FOLDER}/{environment.SCHEMA}"
_MOUNTS_SECRET = re.compile(r"--mount=\S*type=[\"']?secret")
_KINDS = {LAYER_KIND: labels.BASE_LAYER}


def build(
    found: Project, path: Path, architecture: str, environ: Mapping[str, str], said: Talk, order: Order
) -> tuple[Artifact, Base]:
    """The image of a Dockerfile, with the labels and the schema of the project; beside it, what of it is the file's.

    Raises UsageError, NeedsEngineError, StepError, EngineError.
    """
    name = image(found, path, architecture, environ, said, order)
    with environment.building(found.root, said.say):
        return _described(found, docker.Engine(environ), name, architecture, environ, order)


def image(found: Folder, path: Path, architecture: str, environ: Mapping[str, str], said: Talk, order: Order) -> str:
    """Have the engine build it; gives its name there. The folder of the project is what it may copy from.

    Raises UsageError, NeedsEngineError, StepError, EngineError.
    """
    text = _read(path)
    engine = docker.Engine(environ)
    if engine.version() is None:
        raise executed.NeedsEngineError(
            f"--dockerfile {path} must be executed, which needs a Docker Engine, and there is none"
            f" {docker.place(environ)}",
            hint="start one; or leave the flag out, so that the image is made of what cog.yaml says",
        )
    name = steps.names(found.root)[1]
    said.say(f"Building {path} with the Docker Engine")
    with build_secrets.given(order.secrets, found.root, environ) as given, engine.replacing(name):
        wanted = docker_build.Order(
            text=text,
            name=name,
            # The engine would take what it made with another secret, or with one, for the same.
            anew=order.anew or bool(given.flags) or _MOUNTS_SECRET.search(text) is not None,
            folder=found.root,
            secrets=given.flags,
            platform=docker_build.elsewhere(architecture),
            made_for=str(found.root.absolute()),
        )
        try:
            docker_build.build(wanted, environ, order.show)
        except docker_build.StepError as error:
            raise error.of(f"--dockerfile {path}: `{error.instruction}` failed") from None
    return name


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--dockerfile: {path}: {reason or error}") from None


def _described(
    found: Project, engine: docker.Engine, name: str, architecture: str, environ: Mapping[str, str], order: Order
) -> tuple[Artifact, Base]:
    store = Layout(bases.home(environ))
    config, layers = executed.saved(engine, name, 0, labels.BASE_LAYER, store)
    target = Target(python="", minor="", architecture=architecture)
    base = Base(
        ref="--dockerfile",
        digest=digest_of(config),
        config=parse_config(config),
        layers=tuple(layers),
        target=target,
        made_here=True,
    )
    told = {**_labels(found, environ, order.push_id), labels.PIP_FREEZE: engine.frozen(name)}
    return _artifact(config, [*layers, _schema(found, store)], told), base


def _labels(found: Project, environ: Mapping[str, str], push_id: str) -> dict[str, str]:
    config, document = recipe.compact(found.config.to_json()), recipe.compact(found.document)
    told = labels.cog(version=schema.VERSION, config=config, schema=document)
    told[labels.VERSION] = schema.VERSION
    return {**told, labels.HAS_INIT: "true", **revision.labels(found.root, environ, push_id)}


def _schema(found: Project, store: Layout) -> Layer:
    """Cog's servers read it there."""
    environment.leave_schema(found.root, recipe.compact(found.document))
    member = Member(name=_SCHEMA, path=found.root / environment.CACHE_FOLDER / environment.SCHEMA)
    with store.making() as folder:
        layer = write_layer([member], folder / "layer.tar.gz", _KINDS)
        return replace(layer, path=store.take(layer.path, layer.descriptor.digest))


def _artifact(config: bytes, layers: list[Layer], told: Mapping[str, str]) -> Artifact:
    """All that the configuration had stays, also what no image of ours has."""
    document: dict[str, Any] = json.loads(config)
    inner = document["config"] = document.get("config") or {}
    inner["Labels"] = {**(inner.get("Labels") or {}), **told}
    document["rootfs"] = {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]}
    document["history"] = [*(document.get("history") or []), {"created_by": "modelyard: schema"}]
    rendered = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    return Artifact.of(rendered, layers)
