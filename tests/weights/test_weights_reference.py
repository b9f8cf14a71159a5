"""Which repository and tag a model has."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from modelyard.errors import UsageError
from modelyard.oci.client import reference as client_reference
from modelyard.weights import reference

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "variables", "expected"),
    [
        ("owner/name", {}, "index.docker.io/owner/name:20260102T030405Z"),
        ("docker.io/owner/name", {}, "index.docker.io/owner/name:20260102T030405Z"),
        ("localhost:5000/a/b", {}, "localhost:5000/a/b:20260102T030405Z"),
        ("r8.im/a/b", {"COG_MODEL_REGISTRY": "127.0.0.1:9273"}, "127.0.0.1:9273/a/b:20260102T030405Z"),
        ("r8.im/a/b", {"COG_MODEL_REPO": "c/d", "COG_MODEL_TAG": "v1"}, "r8.im/c/d:v1"),
        (None, {"COG_MODEL_REPO": "c/d"}, "index.docker.io/c/d:20260102T030405Z"),
        ("r8.im/a/b", {"COG_MODEL": "localhost/x:t", "COG_MODEL_TAG": "v1"}, "localhost/x:t"),
        ("r8.im/a/b", {"COG_MODEL": "ghcr.io/x/y"}, "ghcr.io/x/y:20260102T030405Z"),
    ],
)
def test_variables_stand_above_the_file(model: str | None, variables: dict[str, str], expected: str) -> None:
    assert reference.resolve(model, variables).tagged(NOW) == expected
    assert reference.is_given(variables) is bool(variables)


@pytest.mark.parametrize(
    ("model", "variables", "words"),
    [
        (None, {}, "cog.yaml says no `model`"),
        ("a/b", {"COG_MODEL_TAG": "cog-weight.x"}, "COG_MODEL_TAG: the tag is 'cog-weight.x'"),
        ("a/b", {"COG_MODEL_TAG": "-x"}, "wanted: 1 to 128"),
        ("a/b", {"COG_MODEL_TAG": "x" * 129}, "wanted: 1 to 128"),
        ("a/b", {"COG_MODEL": "a/b:cog-x"}, "COG_MODEL: the tag is 'cog-x'"),
        ("a/b", {"COG_MODEL": "a/b@sha256:" + "a" * 64}, "and no digest"),
        ("a/b", {"COG_MODEL": "https://x.y/a"}, "without https://"),
        ("a/b", {"COG_MODEL_REPO": "A/b"}, "COG_MODEL_REPO is 'A/b'"),
        ("a/b", {"COG_MODEL_REGISTRY": "http://x"}, "COG_MODEL_REGISTRY is 'http://x'"),
        ("a//b", {}, "`model` of cog.yaml is 'a//b'"),
    ],
)
def test_what_is_no_repository_says_where_it_stands(model: str | None, variables: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError) as refusal:
        reference.resolve(model, variables)
    assert words in refusal.value.detail


@pytest.mark.parametrize(
    ("model", "variables", "expected"),
    [
        ("owner/name", {}, "yard.example:9273/owner/name"),
        ("r8.im/owner/name", {}, "yard.example:9273/owner/name"),
        ("docker.io/owner/name", {}, "index.docker.io/owner/name"),
        ("ghcr.io/owner/name", {}, "ghcr.io/owner/name"),
        ("owner/name", {"COG_MODEL_REGISTRY": "ghcr.io"}, "ghcr.io/owner/name"),
        ("owner/name", {"COG_MODEL": "a/b"}, "index.docker.io/a/b"),
        (None, {"COG_MODEL_REPO": "c/d"}, "index.docker.io/c/d"),
    ],
)
def test_a_model_without_a_host_is_at_home(model: str | None, variables: dict[str, str], expected: str) -> None:
    home = reference.Home(host="yard.example:9273", also=frozenset({"r8.im"}))
    found = reference.resolve(model, variables, home)
    assert found.name == expected
    assert found.implied is (expected.startswith("index.") and model != "docker.io/owner/name")


def test_a_name_that_no_yard_has_is_refused_with_dockers() -> None:
    with pytest.raises(UsageError, match="wanted: OWNER/NAME") as refusal:
        reference.resolve("name", {}, reference.Home(host="yard.example"))
    assert refusal.value.hint == "with its host it is in another registry: index.docker.io/name"


def test_what_is_on_this_machine_is_spoken_to_plainly() -> None:
    for registry in ("localhost", "localhost:5000", "127.0.0.1:80", "127.1.2.3", "[::1]:5000"):
        assert client_reference.is_local(registry)
    for registry in ("ghcr.io", "10.0.0.1:5000", "localhost.example.org"):
        assert not client_reference.is_local(registry)


def test_the_official_images_of_docker_have_a_name_of_their_own() -> None:
    assert reference.resolve("hello", {}).path == "library/hello"
    assert reference.resolve("a/hello", {}).path == "a/hello"
