"""What an image is put on: which one, which Python it has, and whether a project may stand on it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from modelyard import errors
from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import (
    DOCKER_LAYER_GZIP,
    DOCKER_LAYER_TAR,
    LAYER_GZIP,
    LAYER_KIND,
    LAYER_TAR,
    Config,
    Descriptor,
    Manifest,
)
from modelyard.store.trees import Target

# The path of a base's Python and its minor: `/usr/bin/python3.11 3.11`.
PYTHON_LABEL: Final = "org.modelyard.python"
# Begins the name of a folder of this disk.
LOCAL: Final = "oci:"
# In a name: the minor of the Python that a project wants.
PYTHON: Final = "{python}"
# What says that there is none.
NONE: Final = "none"
DEFAULT: Final = "docker.io/library/python:{python}-slim"
HOW: Final = (
    "name one with --base-image REF or MODELYARD_BASE_IMAGE: an image of any registry, or oci:FOLDER; "
    "`make base-image OUT=FOLDER` in Modelyard's checkout makes one from Debian's packages"
)
# An image of an engine is not reached by its name, since not every machine that builds has one.
OF_ENGINE: Final = (
    "a base comes from a registry or an OCI layout; of an image of the Docker Engine, `skopeo copy docker-daemon:{name}"
    " oci:FOLDER` makes one, for --base-image oci:FOLDER"
)
_OFFICIAL = "/usr/local/bin/python"
_KINDS = {DOCKER_LAYER_GZIP: LAYER_GZIP, DOCKER_LAYER_TAR: LAYER_TAR}


class BaseError(errors.Invalid):
    """The base cannot be had, or no model can stand on it; the detail says why."""

    code = "base_image_invalid"
    title = "The base image cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An image to begin with. `layers` may not be on this machine yet: `Layer.path` is where they go.

    `made_here`: an engine gave them, in bytes that no registry has.
    """

    ref: str
    digest: str
    config: Config
    layers: tuple[Layer, ...]
    target: Target
    made_here: bool = False

    def under(self, layers: Sequence[Layer]) -> Base:
        """The base with these layers on it."""
        config = replace(self.config, diff_ids=(*self.config.diff_ids, *(layer.diff_id for layer in layers)))
        return replace(self, config=config, layers=(*self.layers, *layers))


def default(minor: str) -> str:
    """The base that is taken where nobody names one."""
    return named(DEFAULT, minor)


def named(ref: str, minor: str) -> str:
    """The name of a base for this Python."""
    return ref.replace(PYTHON, minor)


def of(ref: str, digest: str, manifest: Manifest, config: Config, path: Callable[[str], Path]) -> Base:
    """The base from its manifest and configuration; `path` says where a layer of this digest lies, or will.

    Raises BaseError for what has no Python or whose parts do not fit each other.
    """
    if len(manifest.layers) != len(config.diff_ids):
        raise BaseError(f"{ref}: its manifest names {len(manifest.layers)} layers, its configuration another number")
    layers = tuple(
        Layer(descriptor=_plain(layer), diff_id=diff_id, path=path(layer.digest))
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
    return Base(ref=ref, digest=digest, config=config, layers=layers, target=_target(ref, config))


def check(base: Base, python: str, architecture: str) -> None:
    """Raises BaseError where a project with this Python, for this kind of machine, cannot stand on it."""
    if base.config.os not in ("", "linux") or base.target.architecture != architecture:
        found = f"{base.config.os}/{base.target.architecture}"
        raise BaseError(
            f"{base.ref} is for {found}; wanted: linux/{architecture}",
            hint=f"name a base for {architecture} with --base-image, or build for the machines that this one is for:"
            f" --platform linux/{base.target.architecture}",
        )
    if base.target.minor != python:
        raise BaseError(
            f"{base.ref} has Python {base.target.minor}; wanted: Python {python}, as build.python_version says",
            hint=f'write python_version: "{base.target.minor}" in cog.yaml, or name a base with Python {python}',
        )


def _target(ref: str, config: Config) -> Target:
    """Its Python: what the label says, else that of the official images."""
    variables = dict(line.partition("=")[::2] for line in config.environment)
    label = config.labels.get(PYTHON_LABEL, "").split()
    if len(label) == 2 and label[0].startswith("/") and re.fullmatch(r"3\.\d+", label[1]):
        return Target(python=label[0], minor=label[1], architecture=config.architecture)
    version = re.match(r"3\.\d+", variables.get("PYTHON_VERSION", ""))
    if version is not None and not label:
        return Target(python=_OFFICIAL, minor=version[0], architecture=config.architecture)
    raise BaseError(
        f"{ref} does not say which Python it has: it has no label {PYTHON_LABEL} with a path and a minor, and no"
        " PYTHON_VERSION",
        hint=f'give it one, as in a Dockerfile: LABEL {PYTHON_LABEL}="/usr/bin/python3.11 3.11"',
    )


def _plain(descriptor: Descriptor) -> Descriptor:
    """A layer under the name that the OCI has for its kind, and what it is to us."""
    kind = _KINDS.get(descriptor.media_type, descriptor.media_type)
    return replace(descriptor, media_type=kind, annotations={LAYER_KIND: labels.BASE_LAYER}, platform="")
