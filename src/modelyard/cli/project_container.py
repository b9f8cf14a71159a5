"""The project of the current folder in a container: `--container` of `run`, `serve`, `exec` and `train`.

The image has the environment alone. The project is mounted at /src, so what is changed here is seen there, and what the
model writes there is here.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from modelyard.cli import (
    bases,
    build_secrets,
    container,
    docker,
    docker_build,
    engine_images,
    imaging,
    mounted,
    project,
)
from modelyard.cli.container import PROJECT, Plan, Shown
from modelyard.cli.project import Folder, Project
from modelyard.cli.talk import Talk
from modelyard.oci.archive import Image
from modelyard.packaging import environment, recipe

_SERVER = ("python", "-m", "cog.server.http")
_NEEDS = "--container"


class Made(NamedTuple):
    """The engine, and what it is to run."""

    engine: docker.Engine
    plan: Plan


def image_name(root: Path) -> str:
    """What the engine calls the environment's image of a project: the same for each of its builds."""
    return f"modelyard/run:{hashlib.sha256(str(root.absolute()).encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def made(
    found: Folder, variables: Sequence[str], flags: Mapping[str, Any], environ: Mapping[str, str], said: Talk
) -> Iterator[Made]:
    """Have the image, and a plan for its container with the project and its weights, which stand until this is left.

    Raises UsageError, NoEngineError, NotCachedError, and what an image may fail with.
    """
    given = project.check_variables(variables, environ)
    engine = container.engine(_NEEDS, environ)
    mounted.check(found.root, found.config, environ)
    said.say("Building Docker image from environment in cog.yaml...")
    progress = flags["progress"] or environ.get(imaging.PROGRESS)
    order = imaging.Order(
        secrets=[build_secrets.parse(text) for text in flags["secret"]],
        cuda=flags["use_cuda_base_image"] or "auto",
        show=docker_build.hidden if progress == "quiet" else said.say,
    )
    if flags["dockerfile"]:
        from modelyard.cli import dockerfiles  # only who names one pays for it

        own = Path(flags["dockerfile"])
        image = dockerfiles.image(found, own, imaging.architecture(None), environ, said, order)
    else:
        image = _image(found, engine, flags["base_image"], order, environ, said)
    wanted, insists = container.gpus(flags["gpus"], found.config.gpu)
    with mounted.apart(found.root, found.config, environ) as weights:
        folders = [Shown(found.root, PROJECT, writable=True), *(Shown(*each) for each in weights)]
        plan = Plan(
            image=image,
            variables={**project.told(found), **given},
            folders=folders,
            gpus=wanted,
            insists=insists,
            small=True,
        )
        yield Made(engine, plan)


def server(mode: str) -> tuple[str, ...]:
    """What the server of an image, Cog's as ours, is started with to `predict` or to `train`."""
    return (*_SERVER, "--x-mode", "train") if mode == "train" else _SERVER


def leave_schema(found: Project) -> None:
    """The server in the container, as any server of Cog's, reads it in the project."""
    environment.leave_schema(found.root, recipe.compact(found.document))


def _image(
    found: Folder,
    engine: docker.Engine,
    base: str | None,
    order: imaging.Order,
    environ: Mapping[str, str],
    said: Talk,
) -> str:
    wanted = bases.wish(base, found.config.python_version, imaging.architecture(None), environ)
    on = imaging.base(found, wanted, environ, said, order)
    artifact = imaging.bare(found, on, environ, said, order)
    config = engine_images.marked(artifact.config_bytes, str(found.root.absolute()))
    image = Image(manifest=b"", config=config, layers=artifact.layers)
    name = image_name(found.root)
    with engine.replacing(name):
        engine.load(image, name, lambda layers: bases.complete(layers, on.ref, environ, said))
    return name
