"""The builder that writes images which run by themselves, without a daemon: a base and our layers on it.

Bottom up: the base; /opt/modelyard/env, what the server needs; /opt/modelyard/box, our own code; /opt/model, the
model's packages; what was executed on them; weights; source. Of the base only what its manifest and configuration say
is needed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from modelyard.oci import labels
from modelyard.oci.layers import Layer
from modelyard.oci.manifest import LAYER_KIND, Config, render_config
from modelyard.packaging.base import LOCAL
from modelyard.packaging.builders import packing, standing
from modelyard.packaging.builders.base import Artifact, Context
from modelyard.packaging.recipe import Recipe, Standing
from modelyard_runner.versions import VERSION

COMMAND: Final = ("python", "-m", "cog.server.http")
PORT: Final = "5000/tcp"
# The beginning of Unix time: an image that says when it was made is another one each time.
CREATED: Final = "1970-01-01T00:00:00Z"
# Whoever looks for Cog's packages in the label finds what became of them, in a line that pip passes over.
_IN_THEIR_PLACE: Final = (
    f"# modelyard-sdk=={VERSION} and modelyard-runner=={VERSION} are in the place of cog, coglet and structlog, beside"
    " these packages"
)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def build(recipe: Recipe, context: Context, report: Callable[[str], None]) -> Artifact:
    """The image. Raises LayerError, NoWheelError, EnvironmentFailedError."""
    assert recipe.standing is not None  # noqa: S101 - whoever wants such an image says what it stands on
    kept = standing.Kept(recipe.standing.base.target, recipe.root, context, report)
    cache = packing.Cache(context.cache)
    server, _ = kept.server()
    box = kept.box()
    model, freeze = kept.model(recipe.lock)
    below = [*recipe.standing.base.layers, server, box, model]
    executed = context.execute(_below(recipe, recipe.standing, below), below) if context.execute else []
    weights = [packing.weights(recipe, path, cache, report) for path in recipe.weights]
    placed = kept.placed(recipe.standing.placed)
    layers = [*below, *executed, *weights, *placed, packing.source(recipe, cache, report)]
    cache.save()
    return _artifact(recipe, recipe.standing, layers, freeze)


def _below(recipe: Recipe, plan: Standing, layers: Sequence[Layer]) -> Config:
    """What steps are executed in: the image as far as it is, with its variables."""
    return Config(
        architecture=plan.base.target.architecture,
        variant=plan.base.config.variant,
        environment=_environment(plan.base.config.environment, recipe.told),
        diff_ids=tuple(layer.diff_id for layer in layers),
        created=CREATED,
    )


def _artifact(recipe: Recipe, plan: Standing, layers: Sequence[Layer], freeze: Sequence[str]) -> Artifact:
    base = plan.base.config
    kinds = [layer.descriptor.annotations[LAYER_KIND] for layer in layers]
    config = render_config(
        Config(
            architecture=plan.base.target.architecture,
            variant=base.variant,
            labels={**base.labels, **recipe.labels, **_labels(plan, kinds, freeze)},
            environment=_environment(base.environment, recipe.environment),
            working_dir="/" + labels.SOURCE_FOLDER,
            diff_ids=tuple(layer.diff_id for layer in layers),
            user=base.user,
            command=COMMAND,
            ports=(PORT,),
            created=plan.created or CREATED,
            history=tuple(f"modelyard: {kind}" for kind in kinds),
        )
    )
    return Artifact.of(config, layers)


def _labels(plan: Standing, kinds: Sequence[str], freeze: Sequence[str]) -> Mapping[str, str]:
    # Where a folder lay on the machine that built it is nobody's business who has the image.
    name = {} if plan.base.ref.startswith(LOCAL) else {labels.BASE_NAME: plan.base.ref}
    return {
        labels.BOX: VERSION,
        labels.LAYERS: " ".join(kinds),
        labels.HAS_INIT: "true",
        labels.PIP_FREEZE: "\n".join([*freeze, _IN_THEIR_PLACE]),
        **name,
        labels.BASE_DIGEST: plan.base.digest,
        **plan.labels,
    }


def _environment(base: Sequence[str], told: Sequence[str]) -> tuple[str, ...]:
    """The base's variables, what ours need, and what cog.yaml says, which counts most."""
    found = dict(line.partition("=")[::2] for line in base)
    found["PATH"] = f"/{standing.MODEL}/bin:{found.get('PATH') or _PATH}"
    found["PYTHONUNBUFFERED"] = "1"
    found["PYTHONPATH"] = f"/{standing.BOX}"
    found["MODELYARD_SERVER_PYTHON"] = f"/{standing.SERVER}/bin/python"
    # What NVIDIA's runtime brings into a container, where there is one.
    found["NVIDIA_DRIVER_CAPABILITIES"] = "all"
    found |= dict(line.partition("=")[::2] for line in told)
    return tuple(f"{name}={value}" for name, value in found.items())
