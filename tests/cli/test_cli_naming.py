"""What a NAME given to `run` means; and what a bundle is, whatever the order of its weights."""

from __future__ import annotations

import pytest
from weights_project import BASE, Weight

from modelyard.cli import bundle, naming
from modelyard.cli.naming import Name
from modelyard.errors import UsageError
from modelyard.oci.manifest import parse
from modelyard.packaging.builders.base import Artifact


@pytest.mark.parametrize(
    ("name", "meaning", "pulled"),
    [
        ("owner/name", Name("model", "owner/name"), False),
        ("owner/name:2f0c", Name("model", "owner/name:2f0c"), False),
        ("my-model", Name("image", "my-model"), False),
        ("my-model:v1.2", Name("image", "my-model:v1.2"), False),
        ("localhost/name", Name("image", "localhost/name"), True),
        ("registry.example.org/owner/name:1", Name("image", "registry.example.org/owner/name:1"), True),
        ("r8.im/owner/name@sha256:00", Name("image", "r8.im/owner/name@sha256:00"), True),
        ("127.0.0.1:5000/name", Name("image", "127.0.0.1:5000/name"), True),
        ("docker:owner/name", Name("image", "owner/name"), True),
        ("docker:name", Name("image", "name"), False),
        ("a/b/c", Name("image", "a/b/c"), True),
        ("oci:folder/with.tar", Name("layout", "folder/with.tar"), False),
        ("./m.tar", Name("archive", "./m.tar"), False),
        ("out/m.tar", Name("archive", "out/m.tar"), False),
    ],
)
def test_a_name_is_a_yards_model_or_an_image_by_how_it_looks(name: str, meaning: Name, pulled: bool) -> None:
    found = naming.read(name, "run")
    assert found == meaning
    assert found.is_pulled == pulled


@pytest.mark.parametrize("name", ["owner/name", "docker:owner/name"])
def test_what_is_trained_is_never_a_yards_model(name: str) -> None:
    found = naming.read(name, "train")
    assert found == Name("image", "owner/name")
    assert found.is_pulled


def test_an_input_without_its_flag_is_told() -> None:
    with pytest.raises(UsageError, match=r"Invalid image name 'a=b'\. Did you forget `-i`\?"):
        naming.read("a=b", "run")


def test_a_bundle_is_the_same_whatever_the_order_of_its_weights() -> None:
    other = Weight(name="other", target="/models/other", files={"c": b"c"}).locked
    image = Artifact.of(b"{}", ())
    one = bundle.make(image, "amd64", [BASE.locked, other])
    assert one.data == bundle.make(image, "amd64", [other, BASE.locked]).data
    assert one.digest != bundle.make(image, "amd64", [other]).digest
    index = parse(one.data)
    described = index.manifests[1]  # type: ignore[union-attr]
    assert (described.platform, described.artifact_type) == ("unknown/unknown", "application/vnd.cog.weight.v1")
