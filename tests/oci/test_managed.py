"""What an image says of its managed weights, whoever wrote it."""

from __future__ import annotations

import json

import pytest

from modelyard.oci import managed
from modelyard.oci.managed import Weight, WeightsError
from modelyard.oci.manifest import Descriptor, Manifest

LAYER = "sha256:" + "a" * 64


def label(**changes: object) -> str:
    file = {"path": "a/b.bin", "layer": LAYER}
    weight: dict[str, object] = {"name": "base", "target": "/src/w", "files": [file]}
    file.update({key: str(value) for key, value in changes.items() if key in file})
    weight.update({key: value for key, value in changes.items() if key in weight})
    return json.dumps([weight])


def test_what_is_written_is_read() -> None:
    assert managed.read(label()) == (Weight(name="base", target="/src/w", files=(("a/b.bin", LAYER),)),)


def test_an_image_without_a_label_has_none() -> None:
    assert managed.read(None) == ()


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}x",
        "[1]",
        "[{}]",
        "7",
        label(target="relative"),
        label(target="/"),
        label(target="/src/../etc"),
        label(path="../x"),
        label(path="/etc/passwd"),
        label(path="a//b"),
        label(layer="sha256:short"),
        label(layer="../../x"),
        label(files=7),
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(WeightsError, match="the image's label of its weights cannot be read"):
        managed.read(text)


def test_a_weight_has_files_of_its_own_layers_alone() -> None:
    (config,) = json.loads(label())
    described = Descriptor(media_type="", digest=LAYER, size=1)
    whole = Manifest(config=described, layers=(described,))
    assert managed.of_artifact(whole, json.dumps(config).encode()).files == (("a/b.bin", LAYER),)
    with pytest.raises(WeightsError, match="which the version does not name"):
        managed.of_artifact(Manifest(config=described, layers=()), json.dumps(config).encode())
    with pytest.raises(WeightsError, match="the configuration of a weight cannot be read"):
        managed.of_artifact(whole, b"[]")
