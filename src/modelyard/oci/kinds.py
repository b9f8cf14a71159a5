"""What a manifest is for: an image that runs, a list with one in it, or files of another kind."""

from __future__ import annotations

import json

from modelyard.oci.manifest import CONFIG, IMAGE_TYPES, Descriptor, Index, Manifest

DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
# What runs on the machines that Cog builds for comes first.
PLATFORM = "linux/amd64"
_SYSTEM = "linux/"


def is_image(found: Manifest | Index) -> bool:
    """Is this one image, rather than a list, or files of another kind: weights, signatures, charts?"""
    return (
        isinstance(found, Manifest)
        and found.artifact_type is None
        and found.config.media_type in (CONFIG, DOCKER_CONFIG)
    )


def image_in(index: Index) -> Descriptor | None:
    """The image that is run: the one for linux/amd64, else another one for Linux, else one of no platform."""
    images = [each for each in index.manifests if each.media_type in IMAGE_TYPES]
    for suits in (
        lambda each: each.platform == PLATFORM,
        lambda each: each.platform.startswith(_SYSTEM),
        lambda each: not each.platform,
    ):
        for each in images:
            if suits(each):
                return each
    return None


def is_schema_one(data: bytes) -> bool:
    """Is this a manifest in Docker's form of before 2016?"""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(document, dict) and document.get("schemaVersion") == 1
