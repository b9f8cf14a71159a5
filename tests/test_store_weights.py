"""Managed weights of a version in the store: on the disk once, a folder of links for each instance."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from weights_project import BASE, FILES, Weight

from modelyard.blobs.disk import DiskBlobs
from modelyard.oci.managed import WeightsError
from modelyard.oci.manifest import Manifest, blob_key, digest_of
from modelyard.packaging import recipe
from modelyard.packaging.builders import venv
from modelyard.packaging.builders.base import Context
from modelyard.packaging.recipe import Facts, SourceFile
from modelyard.store.environments import Lock
from modelyard.store.versions import Store
from modelyard.weights import carrying
from modelyard.weights.lock import LockedWeight

pytestmark = pytest.mark.anyio

OWN = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def blobs(tmp_path: Path) -> DiskBlobs:
    return DiskBlobs(tmp_path / "blobs", fsync="process")


@pytest.fixture
def store(tmp_path: Path, blobs: DiskBlobs) -> Store:
    return Store(tmp_path / "store", blobs, dict(os.environ))


async def push(blobs: DiskBlobs, root: Path, *weights: Weight, text: str = "hello") -> Manifest:
    for weight in weights:
        await blobs.put(blob_key(digest_of(weight.layer)), weight.layer)
    return await made(blobs, root, [weight.locked for weight in weights], text)


async def made(blobs: DiskBlobs, root: Path, weights: list[LockedWeight], text: str = "hello") -> Manifest:
    root.mkdir(exist_ok=True)
    (root / "run.py").write_text(text)
    facts = Facts(
        config={},
        schema={},
        lock=Lock(text="", python=OWN),
        ref="run.py:run",
        managed=carrying.shown(weights),
        layers=carrying.layers(weights),
    )
    planned = recipe.plan(root, [SourceFile(path="run.py", size=5)], facts, version="1", machine="x86_64")
    artifact = venv.build(planned, Context(cache=root / ".cog" / "layers"), lambda _: None)
    for layer in artifact.layers:
        await blobs.put(blob_key(layer.descriptor.digest), b"".join(layer.chunks()))
    await blobs.put(blob_key(artifact.manifest.config.digest), artifact.config_bytes)
    return artifact.manifest


def nobody(_: str) -> None:
    """Nobody listens."""


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_an_instance_gets_a_folder_of_each_and_the_source_has_none(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    other = Weight(name="other", target="/models/other", files={"c": b"c"})
    prepared = await store.materialise(await push(blobs, tmp_path / "p", BASE, other), "one", nobody)
    assert [(everything(folder), target) for folder, target in prepared.folders] == [
        (FILES, "/src/weights/base"),
        ({"c": b"c"}, "/models/other"),
    ]
    assert everything(prepared.source) == {"run.py": b"hello"}
    prepared.release()
    assert not prepared.folders[0][0].exists()


async def test_files_are_on_the_disk_once_for_all_versions_and_instances(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    found = []
    for instance, text in (("a", "one"), ("b", "one"), ("c", "two")):
        manifest = await push(blobs, tmp_path / "p", BASE, text=text)
        found.append((await store.materialise(manifest, instance, nobody)).folders[0][0] / "a.txt")
    assert len({path.stat().st_ino for path in found}) == 1
    assert not found[0].stat().st_mode & 0o222


async def test_weights_that_were_taken_away_come_again(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    manifest = await push(blobs, tmp_path / "p", BASE)
    (await store.materialise(manifest, "one", nobody)).release()
    shutil.rmtree(tmp_path / "store" / "layers")
    prepared = await store.materialise(manifest, "two", nobody)
    assert everything(prepared.folders[0][0]) == FILES


async def test_a_layer_brings_only_the_files_that_the_version_names(
    tmp_path: Path, blobs: DiskBlobs, store: Store
) -> None:
    locked = BASE.locked
    part = LockedWeight(**{name: getattr(locked, name) for name in locked.__slots__} | {"files": locked.files[:1]})
    await blobs.put(blob_key(digest_of(BASE.layer)), BASE.layer)
    prepared = await store.materialise(await made(blobs, tmp_path / "p", [part]), "one", nobody)
    assert everything(prepared.folders[0][0]) == {"a.txt": FILES["a.txt"]}


async def test_a_file_that_is_in_no_layer_is_named(tmp_path: Path, blobs: DiskBlobs, store: Store) -> None:
    manifest = await push(blobs, tmp_path / "p", BASE)
    await store.materialise(manifest, "one", nobody)
    layer = tmp_path / "store" / "layers" / digest_of(BASE.layer).removeprefix("sha256:")
    (layer / "sub" / "b.txt").unlink()
    with pytest.raises(WeightsError, match=r'weight "base": a layer has no file b\.txt'):
        await store.materialise(manifest, "two", nobody)
    assert store.uses(next((tmp_path / "store" / "sources").iterdir()).name) == 1


async def test_weights_change_a_version_and_their_order_does_not(tmp_path: Path, blobs: DiskBlobs) -> None:
    other = Weight(name="other", target="/models/other", files={"c": b"c"})
    plain = await push(blobs, tmp_path / "p")
    one = await push(blobs, tmp_path / "p", BASE, other)
    assert one == await push(blobs, tmp_path / "p", other, BASE)
    assert one != plain
    assert len(one.layers) == len(plain.layers) + 2
