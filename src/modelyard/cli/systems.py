"""A base with `system_packages` in it, which an engine makes once; after that it is as any other base."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

from modelyard.cli import docker, docker_build, executed
from modelyard.cli.build_secrets import Borrowed
from modelyard.cli.talk import Talk
from modelyard.oci import labels
from modelyard.packaging import dockerfile
from modelyard.packaging.base import Base


def base_name(base: Base) -> str:
    """What the engine calls the base while something is built on it."""
    return f"modelyard/base:{base.digest.partition(':')[2][:12]}"


def add(
    base: Base,
    packages: Sequence[str],
    environ: Mapping[str, str],
    said: Talk,
    show: Callable[[str], None],
    *,
    anew: bool,
) -> Base:
    """The base with these packages. Raises EngineError where they must be installed and cannot be."""
    name = base_name(base)
    plain = dockerfile.system_packages(name, packages)
    made = name.replace("base:", "system:") + "-" + hashlib.sha256(plain.encode()).hexdigest()[:12]

    def order(lent: Borrowed) -> docker_build.Order:
        return docker_build.Order(
            text=dockerfile.system_packages(name, packages, lent.files),
            name=made,
            anew=anew,
            secrets=lent.flags,
            platform=docker_build.elsewhere(base.target.architecture),
        )

    work = executed.Work(
        below=executed.Below(name=name, config=base.config, layers=base.layers, ref=base.ref),
        inputs=(base.digest, *(layer.diff_id for layer in base.layers), plain),
        name=made,
        order=order,
        with_indexes=False,
        anew=anew,
        kind=labels.SYSTEM_LAYER,
        what=f"Installing {', '.join(packages)} with the Docker Engine",
        needs=lambda: _needs(packages, environ),
    )
    try:
        added = executed.layers(work, environ, said, show)
    except docker_build.StepError as error:
        raise error.of(f"cog.yaml: build.system_packages ({', '.join(packages)}) could not be installed") from None
    return base.under(added)


def _needs(packages: Sequence[str], environ: Mapping[str, str]) -> executed.NeedsEngineError:
    return executed.NeedsEngineError(
        f"cog.yaml: build.system_packages ({', '.join(packages)}) must be installed in the image, which needs a"
        f" Docker Engine, and there is none {docker.place(environ)}",
        hint="start one; or take build.system_packages out, and name a base that has them with --base-image:"
        ' `make base-image OUT=FOLDER PACKAGES="…"` in Modelyard\'s checkout makes one',
    )
