"""Layers from the registry of a yard into the store: what the lock names, checked, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import weights_project
import yard_process
from weights_project import BASE, FILES, archive
from yard_process import Server

from modelyard.errors import UsageError
from modelyard.oci.client import credentials, reference, remote
from modelyard.oci.manifest import WrongDigestError, digest_of
from modelyard.weights import lock, pulling
from modelyard.weights.cache import Cache
from modelyard.weights.pulling import PullError

REPOSITORY = "yard/weights"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with yard_process.up(tmp_path_factory.mktemp("yard")) as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "store")


def locked_as(layer: bytes) -> lock.LockedWeight:
    """The weight whose only layer is this one."""
    weight = BASE.locked
    digest = digest_of(layer)
    return replace(
        weight,
        files=tuple(replace(file, layer=digest) for file in weight.files),
        layers=(replace(weight.layers[0], digest=digest, size=len(layer)),),
    )


def pull(server: Server, weight: lock.LockedWeight, cache: Cache) -> tuple[list[str], int]:
    registry = server.url.partition("://")[2]
    access = credentials.Access(token=server.token, url=server.url)
    done: list[str] = []
    came: list[int] = []
    with remote.open_repository(reference.parse(f"{registry}/{REPOSITORY}", "it"), lambda _: access) as repository:
        pulling.pull(
            pulling.look(weight, cache),
            cache,
            repository,
            done=lambda file: done.append(file.path),
            progress=came.append,
        )
    return sorted(done), sum(came)


def send(server: Server, *layers: bytes) -> None:
    weights_project.send(server.url.partition("://")[2], server.token, REPOSITORY, *layers)


def stored(cache: Cache) -> dict[str, bytes]:
    names = {digest_of(data): path for path, data in FILES.items()}
    found = (cache.root / "files").rglob("*")
    return {names.get(f"sha256:{path.name}", path.name): path.read_bytes() for path in found if path.is_file()}


@pytest.mark.parametrize("compressed", [False, True])
def test_files_of_a_layer_come_into_the_store(server: Server, cache: Cache, compressed: bool) -> None:
    layer = archive(FILES, compressed=compressed)
    send(server, layer)
    weight = locked_as(layer)
    assert pull(server, weight, cache) == (["a.txt", "sub/b.txt"], len(layer))
    assert stored(cache) == FILES
    assert not pulling.look(weight, cache).layers
    assert not [path for path in (cache.root / "partial").iterdir() if path.suffix != ".lock"]


def test_only_what_is_missing_is_brought(server: Server, cache: Cache) -> None:
    layers = [archive({path: data}) for path, data in FILES.items()]
    send(server, *layers)
    files = tuple(replace(file, layer=digest_of(layer)) for file, layer in zip(BASE.locked.files, layers, strict=True))
    whole = replace(
        BASE.locked,
        files=files,
        layers=tuple(replace(BASE.locked.layers[0], digest=digest_of(one), size=len(one)) for one in layers),
    )
    cache.add([FILES["a.txt"]])
    assert pull(server, whole, cache) == (["sub/b.txt"], len(layers[1]))
    cache.path(files[0].digest).unlink()
    assert pull(server, whole, cache)[0] == ["a.txt"]
    assert stored(cache) == FILES


def test_names_that_lead_elsewhere_and_files_that_nobody_wants_go_nowhere(
    server: Server, cache: Cache, tmp_path: Path
) -> None:
    tricks = {"../../escaped": b"x", "/tmp/escaped-absolute": b"x", "stranger": b"x"}
    layer = archive({**tricks, **FILES})
    send(server, layer)
    assert pull(server, locked_as(layer), cache)[0] == ["a.txt", "sub/b.txt"]
    assert stored(cache) == FILES
    assert not list(tmp_path.rglob("*escaped*"))
    assert not Path("/tmp/escaped-absolute").exists()


@pytest.mark.parametrize("content", [bytes(len(FILES["a.txt"])), b"of another size", bytes(50_000_000)])
def test_a_file_with_other_bytes_is_refused_and_not_kept(server: Server, cache: Cache, content: bytes) -> None:
    layer = archive({**FILES, "a.txt": content})
    send(server, layer)
    with pytest.raises(WrongDigestError, match=r'of weight "base": a\.txt: '):
        pull(server, locked_as(layer), cache)
    assert not [path for path in stored(cache) if path == "a.txt"]


def test_a_layer_without_one_of_its_files_is_refused(server: Server, cache: Cache) -> None:
    layer = archive({"a.txt": FILES["a.txt"]})
    send(server, layer)
    with pytest.raises(PullError, match=r"has no file sub/b\.txt"):
        pull(server, locked_as(layer), cache)


def test_what_is_no_archive_is_refused(server: Server, cache: Cache) -> None:
    layer = b"no archive at all"
    send(server, layer)
    with pytest.raises(PullError, match="cannot be read"):
        pull(server, locked_as(layer), cache)


def test_a_layer_that_the_registry_lacks_is_named(server: Server, cache: Cache) -> None:
    weight = locked_as(archive({"never": b"sent"}))
    with pytest.raises(PullError, match='weight "base" not found in registry') as refused:
        pull(server, weight, cache)
    assert weight.layers[0].digest in refused.value.detail


def test_all_unknown_names_are_told_at_once() -> None:
    known = lock.Lock(weights=(BASE.locked,))
    assert pulling.choose(known, []) == pulling.choose(known, ["base"]) == (BASE.locked,)
    with pytest.raises(UsageError) as refused:
        pulling.choose(known, ["b", "base", "a", "b"])
    assert refused.value.detail == "unknown weight(s): [b a]"
    assert refused.value.hint == "weights.lock has: base"
