"""What a version says of its managed weights: which files of which layers the model is to see, and where."""

from __future__ import annotations

import json
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Final

from modelyard import errors
from modelyard.oci.manifest import Manifest, is_digest

# What a weight's manifest is, in an index beside the image: Cog's name.
ARTIFACT: Final = "application/vnd.cog.weight.v1"


class WeightsError(errors.Invalid):
    """What a version says of its weights makes no sense."""

    code = "version_weights_invalid"
    title = "The version's weights cannot be shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Files for one folder: the absolute path `target`; each file's path below it and the digest of its layer."""

    name: str
    target: str
    files: tuple[tuple[str, str], ...]


def read(label: str | None) -> tuple[Weight, ...]:
    """What the label of an image says that has them in itself, as versions of before do. Raises WeightsError."""
    if label is None:
        return ()
    try:
        return tuple(_weight(item) for item in json.loads(label))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise WeightsError(f"the image's label of its weights cannot be read: {error}") from None


def of_artifact(found: Manifest, config: bytes) -> Weight:
    """What a weight's own manifest says, whoever wrote it; `config`: its configuration. Raises WeightsError."""
    try:
        weight = _weight(json.loads(config))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise WeightsError(f"the configuration of a weight cannot be read: {error}") from None
    check_layers((weight,), {layer.digest for layer in found.layers})
    return weight


def check_layers(weights: Sequence[Weight], named: Container[str]) -> None:
    """Raises WeightsError for a file of a layer that the version does not name: it is somebody else's."""
    for weight in weights:
        for path, layer in weight.files:
            if layer not in named:
                raise WeightsError(f'weight "{weight.name}": {path} is of {layer}, which the version does not name')


def _weight(item: Any) -> Weight:
    target = str(item["target"])
    if not target.startswith("/") or not _stays(target[1:]):
        raise ValueError(f"target is {target!r}, no absolute folder")
    files = tuple((str(file["path"]), str(file["layer"])) for file in item["files"])
    for path, layer in files:
        if not _stays(path):
            raise ValueError(f"{path!r} leads out of the folder")
        if not is_digest(layer):
            raise ValueError(f"{layer!r} is no digest")
    return Weight(name=str(item["name"]), target=target, files=files)


def _stays(path: str) -> bool:
    return "\0" not in path and all(part not in ("", ".", "..") for part in path.split("/"))
