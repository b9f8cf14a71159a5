"""The port of everything that can build a version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from modelyard.oci.layers import Layer
from modelyard.oci.manifest import CONFIG, Config, Descriptor, Manifest, digest_of, render
from modelyard.packaging.recipe import Recipe

# Given the configuration of an image and its layers, what is executed on it: more layers.
Execute = Callable[[Config, Sequence[Layer]], Sequence[Layer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Where a builder may keep what can be made again: archives of layers and what it knows of them.

    `cache`: of this project; `images`: of this user, whatever the project. `machine`: this host's processor, as the
    system calls it; `environ`: what uv is given; `anew`: take nothing from before; `execute`: the steps that stand
    on the model's packages, where there are some.
    """

    cache: Path
    images: Path | None = None
    machine: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    anew: bool = False
    execute: Execute | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A built image, ready to be sent: the bytes of its configuration and manifest, and its layers, lowest first."""

    manifest: Manifest
    manifest_bytes: bytes
    digest: str
    config_bytes: bytes
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, config: bytes, layers: Sequence[Layer]) -> Artifact:
        """The image that has this configuration, which names these layers."""
        manifest = Manifest(
            config=Descriptor(media_type=CONFIG, digest=digest_of(config), size=len(config)),
            layers=tuple(layer.descriptor for layer in layers),
        )
        rendered = render(manifest)
        return cls(
            manifest=manifest,
            manifest_bytes=rendered,
            digest=digest_of(rendered),
            config_bytes=config,
            layers=tuple(layers),
        )


class Builder(Protocol):
    """Builds images. The same recipe over the same files gives the same digest."""

    def build(self, recipe: Recipe, context: Context, report: Callable[[str], None]) -> Artifact:
        """Build; `report` is told lines of progress. Raises ModelyardError."""
