"""The builder without containers: layers of source and weights; the environment is made from the lock where it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import Config, render_config
from modelyard.packaging.builders import packing
from modelyard.packaging.builders.base import Artifact, Context
from modelyard.packaging.recipe import Recipe


def build(recipe: Recipe, context: Context, report: Callable[[str], None]) -> Artifact:
    """An image of layers of weights below one of source: what changes most lies on top. Raises LayerError."""
    cache = packing.Cache(context.cache)
    layers = [packing.weights(recipe, path, cache, report) for path in recipe.weights]
    layers.append(packing.source(recipe, cache, report))
    cache.save()
    return _artifact(recipe, layers)


def _artifact(recipe: Recipe, layers: Sequence[Layer]) -> Artifact:
    config = render_config(
        Config(
            architecture=recipe.architecture,
            labels=recipe.labels,
            environment=recipe.environment,
            working_dir="/" + labels.SOURCE_FOLDER,
            diff_ids=tuple(layer.diff_id for layer in layers),
        )
    )
    return Artifact.of(config, layers)
