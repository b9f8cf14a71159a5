"""The labels of a version's image: Cog's, so that other tools understand it, and ours, from which it is run."""

from __future__ import annotations

from collections.abc import Mapping

from modelyard import errors

# Cog's names, the present and the older ones; each is written under both.
COG_VERSION = "version"
COG_CONFIG = "config"
COG_SCHEMA = "openapi_schema"
COG_PREFIX = "run.cog."

LOCK = "org.modelyard.lock"  # the text of the lock
PYTHON = "org.modelyard.python"  # the minor that the lock was made for: `3.12`
REF = "org.modelyard.ref"  # `run.py:Runner`
TRAIN_REF = "org.modelyard.train"  # `train.py:train`
CONCURRENCY = "org.modelyard.concurrency"  # predictions at once in one instance
MANAGED_WEIGHTS = "org.modelyard.weights"  # JSON: of each managed weight its name, target and files
VERSION = "org.modelyard.version"  # of the program that built it
BOX = "org.modelyard.box"  # the version of the program beside the model, in an image that has one: it speaks our link
# What each layer holds, lowest first, with spaces: tools that push an image anew lose the annotations that say so.
LAYERS = "org.modelyard.layers"

# Cog's further ones, and those that everybody has.
PIP_FREEZE = COG_PREFIX + "pip_freeze"
HAS_INIT = COG_PREFIX + "has_init"
PUSH_ID = COG_PREFIX + "push_id"  # differs with each push to a registry that is no yard
REVISION = "org.opencontainers.image.revision"
IMAGE_VERSION = "org.opencontainers.image.version"
BASE_NAME = "org.opencontainers.image.base.name"
BASE_DIGEST = "org.opencontainers.image.base.digest"

# The layer annotation's values, and the folder of the image that source and weights lie in.
SOURCE = "source"
WEIGHTS = "weights"
# The rest of an image that runs by itself; what runs a version from its lock passes these over.
BASE_LAYER = "base"
CERTIFICATES_LAYER = "certificates"
SYSTEM_LAYER = "system"
SERVER_LAYER = "server"
BOX_LAYER = "box"
ENVIRONMENT_LAYER = "environment"
RUN_LAYER = "run"
PLACED_LAYER = "placed-weights"
# Of managed weights; its archive is named from the weight's folder, and no part of the image's root.
MANAGED = "managed-weights"
SOURCE_FOLDER = "src"

# What is said of a version without a base: to who pushes it to a yard that runs processes; where a yard runs
# containers; and to who pulls it, from either.
WITHOUT_BASE = "the version has no base, so that it runs in this yard and not as a container"
NOT_HERE = "the version has no base, so that this yard, which runs containers, cannot run it"
NO_IMAGE = "the version has no base, so that no container can be made of it"
# What is said where the command of an image ended, and well, before anybody was served.
NO_SERVER = (
    "its command came to its end, where that of a model's image is a server with Cog's HTTP API; a Dockerfile of your"
    " own must bring one"
)
_HOW = "Push it again on a base, which --base-image, MODELYARD_BASE_IMAGE or the yard's setting base_image names"

_OLDER = {COG_VERSION: "cog_version", COG_CONFIG: "config", COG_SCHEMA: "openapi_schema"}


def cog(*, version: str, config: str, schema: str) -> dict[str, str]:
    """The labels that Cog writes, under their present and their older names. `config` and `schema` are JSON."""
    values = {COG_VERSION: version, COG_CONFIG: config, COG_SCHEMA: schema}
    present = {COG_PREFIX + key: value for key, value in values.items()}
    older = {f"org.cogmodel.{_OLDER[key]}": value for key, value in values.items()}
    return {**older, **present}


def read_cog(found: Mapping[str, str], key: str) -> str | None:
    """One of Cog's labels by `COG_VERSION`, `COG_CONFIG` or `COG_SCHEMA`, under whichever name the image has it."""
    return found.get(COG_PREFIX + key) or found.get(f"org.cogmodel.{_OLDER[key]}")


class NoBaseError(errors.NotFound):
    """An image that is only what a yard puts on a base, without one: nothing can be run of it."""

    code = "no_base_image"
    title = "No base image"


def check_base(found: Mapping[str, str], why: str) -> None:
    """Raises NoBaseError, which says `why`, for the labels of a version that was pushed without a base."""
    if LOCK in found and BOX not in found:
        raise NoBaseError(why[0].upper() + why[1:] + ".", hint=_HOW)
